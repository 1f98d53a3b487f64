"""Requests to GoHighLevel and answers of our fake against the vendor's published contract of contacts."""

from __future__ import annotations

from tests.contract.openapi import Asked, Contract

# Of the same API, and not in the contract.
_UNWRITTEN = frozenset({"workflows.list"})


class GoHighLevelContract(Contract):
    """Contacts, notes, tags and workflows of version 2021-07-28."""

    def problems_of_request(self, asked: Asked) -> list[str]:
        """As for any operation that is written down."""
        return [] if asked.operation in _UNWRITTEN else super().problems_of_request(asked)


def gohighlevel_contract_if_any() -> GoHighLevelContract | None:
    """The contract, or None where it cannot be had."""
    return GoHighLevelContract.if_any("gohighlevel", "contacts.openapi.json")
