"""Accounts: what a key sees first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from callrail.model import Flag, Id, Model, Number, Text
from callrail.operation import ListOptions, Options, Resource, listing, operation
from callrail.paging import Listing

AccountField = Literal["numeric_id"]


class Account(Model):
    """An account. `numeric_id` is told where asked for by ``fields``."""

    id: Id = ""
    name: Text = None
    outbound_recording_enabled: Flag = None
    hipaa_account: Flag = None
    numeric_id: Number = None


class Accounts(Resource, named="accounts"):
    """Accounts that the API key sees."""

    @listing("/v3/a.json", "accounts")
    def list(
        self,
        *,
        hipaa_account: bool | None = None,
        sort: Literal["name"] | None = None,
        order: Literal["asc", "desc"] | None = None,
        fields: Sequence[AccountField] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Account]:
        """List the accounts of the API key.

        Args:
            hipaa_account: Only those that are, or are not, HIPAA accounts.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Fields to add: ``numeric_id``, the other id that paths take.
        """

    @operation("GET", "/v3/a/{account_id}.json")
    async def get(
        self, account_id: str, *, fields: Sequence[AccountField] | None = None, **options: Unpack[Options]
    ) -> Account:
        """Get one account by its id.

        Args:
            account_id: ``ACC...`` or the number in the app's address behind ``/a/``.
            fields: Fields to add: ``numeric_id``.

        Raises:
            NotFound: There is none, or it answers to its other id only (observed).
        """
