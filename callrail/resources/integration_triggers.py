"""Filters of integrations: which calls an integration is told of. One on Webhooks silently keeps webhooks back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from callrail.model import Deleted, Id, Model, Number, Object, Text, Texts
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Danger

FilteredCalls = Literal["first_call", "vm", "missed_and_vm"]


class IntegrationTrigger(Model):
    """A filter: all that is not None must hold. `integration_id` None is for integrations without one of their own."""

    id: Id = ""
    company_id: Text = None
    integration_id: Text = None
    tracker_ids: Texts = None
    call_type: Text = None
    min_duration: Number = None
    max_duration: Number = None
    lead_status: Any = None
    integration: Object = None


class IntegrationTriggers(Resource, named="integration_triggers"):
    """Filters of integrations, called integration criteria in the app."""

    @listing("integration_triggers.json", "integration_criteria")
    def list(self, *, company_id: str, **options: Unpack[ListOptions]) -> Listing[IntegrationTrigger]:
        """List a company's filters.

        Args:
            company_id: ``COM...``.
        """

    @operation("POST", "integration_triggers.json")
    async def create(
        self,
        *,
        company_id: str,
        integration_id: int | str | None = UNSET,
        tracker_ids: Sequence[str] | None = UNSET,
        call_type: FilteredCalls | None = UNSET,
        min_duration: int | None = UNSET,
        max_duration: int | None = UNSET,
        lead_status: int | str | None = UNSET,
        **options: Unpack[WriteOptions],
    ) -> IntegrationTrigger:
        """Create a filter. The integration is told of fewer calls from then on.

        Args:
            company_id: ``COM...``.
            integration_id: Number of the integration; left out, the filter is the company's default (assumed).
            tracker_ids: Only calls of these trackers, ``TRK...``.
            call_type: Only calls of this type: first ones, voicemails, or missed ones and voicemails.
            min_duration: Seconds at least.
            max_duration: Seconds at most.
            lead_status: Score; typed a number, described as ``good_lead`` or ``not_a_lead``.

        Raises:
            Rejected: The integration has a filter already, or cannot have one.
        """

    @operation("GET", "integration_triggers/{trigger_id}.json")
    async def get(self, trigger_id: str, **options: Unpack[Options]) -> IntegrationTrigger:
        """Get one filter by its id.

        Args:
            trigger_id: Number of the filter.
        """

    @operation("PUT", "integration_triggers/{trigger_id}.json")
    async def update(
        self,
        trigger_id: str,
        *,
        tracker_ids: Sequence[str] | None = UNSET,
        call_type: FilteredCalls | None = UNSET,
        min_duration: int | None = UNSET,
        max_duration: int | None = UNSET,
        lead_status: int | str | None = UNSET,
        **options: Unpack[WriteOptions],
    ) -> IntegrationTrigger:
        """Change a filter; None takes a condition away.

        Args:
            trigger_id: Number of the filter.
            tracker_ids: Only calls of these trackers.
            call_type: Only calls of this type.
            min_duration: Seconds at least.
            max_duration: Seconds at most.
            lead_status: Score.
        """

    @operation("DELETE", "integration_triggers/{trigger_id}.json", dangers=[Danger.DELETES])
    async def delete(self, trigger_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a filter; the integration goes on without.

        Args:
            trigger_id: Number of the filter.
        """
