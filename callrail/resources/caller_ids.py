"""Numbers that outbound calls may show, verified by ringing them."""

from __future__ import annotations

from typing import Unpack

from callrail.model import Deleted, Flag, Id, Model, Moment, Text
from callrail.operation import ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Danger


class CallerId(Model):
    """A number for outbound calls. `validation_code` is what the verification call asks for."""

    id: Id = ""
    phone_number: Text = None
    name: Text = None
    company_id: Text = None
    verified: Flag = None
    created_at: Moment = None
    validation_code: Text = None


class CallerIds(Resource, named="caller_ids"):
    """Caller ids for outbound calls."""

    @listing("caller_ids.json", "caller_ids")
    def list(self, *, company_id: str, **options: Unpack[ListOptions]) -> Listing[CallerId]:
        """List a company's caller ids.

        Args:
            company_id: ``COM...``.

        Raises:
            Forbidden: The account has no caller ids (observed on some).
        """

    @operation("POST", "caller_ids.json", dangers=[Danger.RINGS])
    async def create(
        self, *, company_id: str, phone_number: str, name: str, **options: Unpack[WriteOptions]
    ) -> CallerId:
        """Register a number: it is rung at once, and asked for the answer's `validation_code`.

        Args:
            company_id: ``COM...``.
            phone_number: Number to be verified.
            name: Name of the caller id.

        Raises:
            Forbidden: The account has no caller ids (observed on some).
        """

    @operation("GET", "caller_ids/{caller_id}.json")
    async def get(self, caller_id: str, **options: Unpack[Options]) -> CallerId:
        """Get one caller id by its id.

        Args:
            caller_id: Number of the caller id in CallRail; no telephone number.
        """

    @operation("DELETE", "caller_ids/{caller_id}.json", dangers=[Danger.DELETES])
    async def delete(self, caller_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a caller id.

        Args:
            caller_id: Number of the caller id in CallRail; no telephone number.
        """
