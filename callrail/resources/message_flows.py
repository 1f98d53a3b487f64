"""Flows that answer texts by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from callrail.bodies import FlowStep
from callrail.model import Deleted, Id, Model, Moment, Object, Text, Texts
from callrail.operation import UNSET, Danger, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing


class MessageFlow(Model):
    """A flow. A single one holds its `steps` by their ids; lists leave them out."""

    id: Id = ""
    name: Text = None
    updated_at: Moment = None
    tracker_ids: Texts = None
    initial_step_id: Text = None
    steps: Object = None


_MOST_LETTERS = 1_550


def _leads_somewhere(given: Mapping[str, Any]) -> str | None:
    """That every step named is one of the steps, and that texts are not too long."""
    steps = given.get("steps")
    if steps is None:
        return None
    named = [("initial_step_id", given["initial_step_id"])] if "initial_step_id" in given else []
    for number, step in steps.items():
        leading = [step, *step.get("branches", ())]
        named += [(f"step {number}", each.get("next_step_id")) for each in leading]
        if len(str(step.get("message") or "")) > _MOST_LETTERS:
            return f"step {number}: its message has more than {_MOST_LETTERS:,} characters"
    for where, wanted in named:
        if wanted is not None and wanted not in steps:
            return f"{where} leads to {wanted}, which is none of the steps"
    return None


class MessageFlows(Resource, named="message_flows"):
    """Flows that answer texts: by schedule, with a text, a tag, or a forward.

    A step has ``id``, ``type``, ``initial_step`` and ``next_step_id`` (None ends the flow). Its type is ``schedule``
    (``branches`` with ``times`` of ``day``, ``start_time`` and ``end_time`` as HHMM), ``sms_response`` (``message``,
    ``first_text``), ``no_response``, ``tag`` (``tag_ids``) or ``forward_message`` (``destination_number``).
    """

    @listing("message-flows.json", "message-flows")
    def list(self, **options: Unpack[ListOptions]) -> Listing[MessageFlow]:
        """List flows that answer texts."""

    @operation("POST", "message-flows.json", rule=_leads_somewhere)
    async def create(
        self,
        *,
        company_id: str,
        name: str,
        initial_step_id: str,
        steps: Mapping[str, FlowStep],
        **options: Unpack[WriteOptions],
    ) -> MessageFlow:
        """Create a flow. Its numbers must be local ones with a 10DLC registration, and take texts.

        Not in accounts with Lead Center; ``forward_message`` neither in HIPAA nor in white-label accounts.

        Args:
            company_id: ``COM...``.
            name: Name of the flow, a new one.
            initial_step_id: Step to begin with.
            steps: Steps by ids of your own; CallRail replaces the ids.
        """

    @operation("GET", "message-flows/{flow_id}.json")
    async def get(self, flow_id: str, **options: Unpack[Options]) -> MessageFlow:
        """Get one flow with its steps by its id.

        Args:
            flow_id: ``MFL...``.
        """

    @operation("PUT", "message-flows/{flow_id}.json", rule=_leads_somewhere)
    async def update(
        self,
        flow_id: str,
        *,
        name: str = UNSET,
        initial_step_id: str = UNSET,
        steps: Mapping[str, FlowStep] = UNSET,
        **options: Unpack[WriteOptions],
    ) -> MessageFlow:
        """Change a flow or its name.

        Args:
            flow_id: ``MFL...``.
            name: New name.
            initial_step_id: Step to begin with.
            steps: Steps by their ids.
        """

    @operation("DELETE", "message-flows/{flow_id}.json", dangers=[Danger.DELETES])
    async def delete(self, flow_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a flow that no tracker uses.

        Args:
            flow_id: ``MFL...``.
        """
