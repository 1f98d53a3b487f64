"""Requests to HubSpot and answers of our fake against HubSpot's own contract; see `openapi` for where it is sought."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract import openapi
from tests.contract.openapi import Asked, Told, specs_folder
from tests.fakes.hubspot import Answer

_WRITTEN_DOWN = "2026-03"
# The contract holds contacts and calls; all other kinds of objects have the same operations with the same bodies.
_AS_CALLS = re.compile(r"(?<=/crm/objects/2026-03/)(communications|tasks|leads|deals)(?=/|$)")


class Contract(openapi.Contract):
    """HubSpot's: what it says of 2026-03 holds for later versions and other kinds of objects."""

    def problems_of_answer(self, asked: Asked, answer: Answer) -> list[str]:
        """Of its status and its body; the 2026-09 way of telling errors of a batch is read as that of 2026-03."""
        key = self.key(asked)
        if key is None or answer.status == 429:  # documented in another shape than the contract's one for errors
            return []
        answers, status, body = self.operations[key]["responses"], str(answer.status), _without_nulls(answer.body)
        if isinstance(body, dict) and "numErrors" in body and "207" in answers:
            status = "207"
        if status not in answers:
            if answer.status < 400:
                return [f"status {status} is not in the contract"]
            status = "default"
            body = {name: value for name, value in body.items() if name != "status"}  # documented, not in the contract
        return self.against(key, answers[status]["content"]["application/json"]["schema"], body)

    def key(self, asked: Asked) -> tuple[str, str] | None:
        dated = re.sub(r"(?<=/)20\d\d-\d\d(?=/)", _WRITTEN_DOWN, asked.path, count=1)
        return self.key_of(asked.method, _AS_CALLS.sub("calls", dated))


def hubspot_contract_if_any() -> Contract | None:
    """The contract, or None where it cannot be had."""
    return Contract.if_any("hubspot")


def hubspot_contract() -> Contract:
    """The contract; where it cannot be had, the test that asks is skipped."""
    found = hubspot_contract_if_any()
    if found is None:
        pytest.skip(f"no contract of HubSpot in {specs_folder()}; CONTRACT_SPECS names the folder that holds it")
    return found


def _without_nulls(body: Any) -> Any:
    """An answer without nulls: HubSpot's clients allow them for properties, this contract knows texts alone."""
    if isinstance(body, dict):
        return {name: _without_nulls(value) for name, value in body.items() if value is not None}
    if isinstance(body, list):
        return [_without_nulls(value) for value in body]
    return body


__all__ = ["Contract", "Told", "hubspot_contract", "hubspot_contract_if_any", "specs_folder"]
