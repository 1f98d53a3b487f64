"""Flows that answer texts by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from callrail.bodies import FlowStep, FlowTime
from callrail.model import Deleted, Id, Model, Moment, Object, Text, Texts
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Danger


class MessageFlow(Model):
    """A flow. A single one holds its `steps` by their ids; lists leave them out."""

    id: Id = ""
    name: Text = None
    updated_at: Moment = None
    tracker_ids: Texts = None
    initial_step_id: Text = None
    steps: Object = None


_MOST_LETTERS = 1_550
_OF_EVERY_STEP = {"id", "type", "initial_step", "next_step_id"}
# What a step has by its type; what it needs of that stands first.
_OF_TYPE = {
    "schedule": ("branches",),
    "sms_response": ("message", "first_text"),
    "no_response": (),
    "tag": ("tag_ids",),
    "forward_message": ("destination_number",),
}
_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = {"any_day": _WEEK, "weekdays": _WEEK[:5], "weekends": _WEEK[5:]}


def _leads_to_its_steps(steps: Any, initial_step_id: Any) -> str | None:
    """Every step named is one of the steps."""
    if steps is UNSET:
        return None
    named = [("initial_step_id", initial_step_id)] if initial_step_id is not UNSET else []
    for number, step in enumerate(steps.values(), 1):
        named += [(f"step {number}", each.get("next_step_id")) for each in [step, *step.get("branches", ())]]
    for where, wanted in named:
        if wanted is not None and wanted not in steps:
            return f"{where} leads to none of the steps"
    return None


def _whole_steps(steps: Any) -> str | None:
    """Every step has what its type needs, and nothing of another type.

    Steps are told by their place, for an id may be anything.
    """
    if steps is UNSET:
        return None
    for number, (name, step) in enumerate(steps.items(), 1):
        kind, own = step["type"], _OF_TYPE[step["type"]]
        if step.get("id", name) != name:
            return f"step {number} has another id than the name it stands under"
        if own and not step.get(own[0]):
            return f"step {number}: a step of type {kind} needs {own[0]}"
        if others := sorted(step.keys() - _OF_EVERY_STEP - set(own)):
            return f"step {number}: a step of type {kind} takes no {others[0]}"
        if len(step.get("message", "")) > _MOST_LETTERS:
            return f"step {number}: its message has more than {_MOST_LETTERS:,} characters"
        if wrong := _wrong_times([time for branch in step.get("branches", ()) for time in branch["times"]]):
            return f"step {number}: {wrong}"
    return None


def _wrong_times(times: Sequence[FlowTime]) -> str | None:
    taken: dict[str, list[tuple[str, str]]] = {}
    for time in times:
        begin, end = time["start_time"], time["end_time"]
        if begin >= end:
            return "a time ends before it begins; write one over midnight as two"
        for day in _DAYS.get(time["day"], (time["day"],)):
            if any(begin < other_end and other_begin < end for other_begin, other_end in taken.setdefault(day, [])):
                return f"two of its times overlap on {day}"
            taken[day].append((begin, end))
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

    @operation("POST", "message-flows.json", rules=[_leads_to_its_steps, _whole_steps])
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

    @operation("PUT", "message-flows/{flow_id}.json", rules=[_whole_steps])
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
