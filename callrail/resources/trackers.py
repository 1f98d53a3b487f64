"""Trackers: numbers that tell where a call came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Unpack

from pydantic import Field

from callrail.bodies import CallFlow, Dialled, NumberWanted, Source, TextAnswer
from callrail.model import Deleted, Flag, Id, Model, Moment, Object, Text, Texts
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Danger

TrackerType = Literal["source", "session"]
TrackerField = Literal["campaign_name", "swap_targets"]


class Tracker(Model):
    """A tracker. `source` and `message_flow` are told in several shapes, `call_flow` as the app set it up."""

    id: Id = ""
    name: Text = None
    type: Text = None
    status: Text = None
    destination_number: Text = None
    tracking_numbers: Texts = None
    whisper_message: Text = None
    sms_enabled: Flag = None
    sms_supported: Flag = None
    company: Object = None
    call_flow: Object = None
    source: Any = None
    message_flow: Any = None
    created_at: Moment = None
    disabled_at: Moment = None
    campaign_name: Text = None
    swap_targets: Any = None


def _numbers_of_its_type(type: str, tracking_number: Any, pool_size: Any, pool_numbers: Any) -> str | None:  # noqa: A002  (CallRail's name)
    """A single number, or a pool of some size."""
    needed = {"source": ["tracking_number"], "session": ["pool_size", "pool_numbers"]}[type]
    given = {"tracking_number": tracking_number, "pool_size": pool_size, "pool_numbers": pool_numbers}
    for name, value in given.items():
        if name in needed and value is UNSET:
            return f"a {type} tracker needs {name}"
        if name not in needed and value is not UNSET:
            return f"a {type} tracker takes no {name}"
    wanted = needed[-1]
    return None if any(given[wanted].values()) else f"{wanted} needs area_code, local or toll_free"


def _campaign_of_its_type(type: str, campaign_name: Any) -> str | None:  # noqa: A002  (CallRail's name)
    return "a session tracker takes no campaign_name" if type == "session" and campaign_name is not UNSET else None


# What each type of tracker may be counted for, beside ``type``, ``landing`` and ``referrer``.
_SOURCE_KEYS = {"source": {"search_engine", "search_type"}, "session": {"google", "bing", "yahoo", "inverted"}}
_TYPES_OF_SESSIONS = ("all", "direct")
_SOURCE_NEEDS = {
    "landing_url": "landing",
    "landing_params": "landing",
    "web_referrer": "referrer",
    "search": "search_engine",
}


def _source_of_its_type(type: str, source: Any) -> str | None:  # noqa: A002  (CallRail's name)
    if source == "all":
        return None if type == "session" else "a source tracker needs an object as source, such as {'type': 'all'}"
    other = "session" if type == "source" else "source"
    for key in source.keys() & _SOURCE_KEYS[other]:
        return f"{key} in source is of a {other} tracker"
    if type == "session":
        wrong = source.get("type", "all") not in _TYPES_OF_SESSIONS
        return f"the source of a session tracker has type {' or '.join(_TYPES_OF_SESSIONS)}, or none" if wrong else None
    return _whole_source(source) if "type" in source else "source needs a type"


def _whole_source(source: Any) -> str | None:
    """What can be told where the tracker's type is not known."""
    if source is UNSET or source == "all":
        return None
    if all(source.keys() & keys for keys in _SOURCE_KEYS.values()):
        return "source mixes what is of a source tracker with what is of a session tracker"
    needed = _SOURCE_NEEDS.get(source.get("type", ""))
    return f"a source of type {source['type']} needs {needed}" if needed and not source.get(needed) else None


def _whole_call_flow(call_flow: Any) -> str | None:
    if call_flow is UNSET:
        return None
    needed = {"basic": "destination_number", "advanced": "uuid"}[call_flow["type"]]
    return None if call_flow.get(needed) else f"a call_flow of type {call_flow['type']} needs {needed}"


def _whole_answer(message_flow: Any) -> str | None:
    if message_flow is UNSET or message_flow is None:
        return None
    needed = {"auto-reply": "message", "advanced": "id"}[message_flow["type"]]
    return None if message_flow.get(needed) else f"a message_flow of type {message_flow['type']} needs {needed}"


class Trackers(Resource, named="trackers"):
    """Tracking numbers, single ones (``source``) and pools that follow a visitor (``session``)."""

    @listing("trackers.json", "trackers")
    def list(
        self,
        *,
        company_id: str | None = None,
        type: TrackerType | None = None,  # noqa: A002  (CallRail's name)
        status: Literal["active", "disabled"] | None = None,
        search: str | None = None,
        sort: Literal["name"] | None = None,
        order: Literal["asc", "desc"] | None = None,
        fields: Sequence[TrackerField] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Tracker]:
        """List tracking numbers and pools.

        Args:
            company_id: Only trackers of this company, ``COM...``.
            type: Only trackers of this type.
            status: Only trackers of this status.
            search: Part of the name.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Fields to add.
        """

    @operation("GET", "trackers/{tracker_id}.json")
    async def get(
        self, tracker_id: str, *, fields: Sequence[TrackerField] | None = None, **options: Unpack[Options]
    ) -> Tracker:
        """Get one tracker by its id.

        Args:
            tracker_id: ``TRK...``.
            fields: Fields to add.
        """

    @operation(
        "POST",
        "trackers.json",
        dangers=[Danger.COSTS],
        rules=[_numbers_of_its_type, _campaign_of_its_type, _source_of_its_type, _whole_call_flow, _whole_answer],
    )
    async def create(
        self,
        *,
        name: str,
        type: TrackerType,  # noqa: A002  (CallRail's name)
        company_id: str,
        call_flow: CallFlow,
        source: Source | Literal["all"],
        tracking_number: NumberWanted = UNSET,
        pool_size: Annotated[int, Field(ge=4, le=50)] = UNSET,
        pool_numbers: NumberWanted = UNSET,
        campaign_name: str = UNSET,
        swap_targets: Sequence[str] = UNSET,
        whisper_message: str = UNSET,
        sms_enabled: bool = UNSET,
        message_flow: TextAnswer | None = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Tracker:
        """Buy a tracking number, or a pool of them.

        A number is asked for by ``area_code`` (an error where there is none left), ``local`` (near that number) or
        ``toll_free``. A ``source`` tracker takes ``tracking_number``, a ``session`` tracker ``pool_size`` and
        ``pool_numbers``.

        Args:
            name: Name of the tracker.
            type: One number, or a pool.
            company_id: ``COM...``.
            call_flow: Such as ``{"type": "basic", "destination_number": "+1...", "recording_enabled": true}``.
            source: What the calls are counted for, such as ``{"type": "offline"}``; ``all`` for a pool.
            tracking_number: The number wanted, for a ``source`` tracker.
            pool_size: How many numbers, 4 to 50, for a ``session`` tracker.
            pool_numbers: The numbers wanted, for a ``session`` tracker.
            campaign_name: Name of the campaign, for a ``source`` tracker.
            swap_targets: Numbers on the website that are replaced.
            whisper_message: Text the agent hears first; ``[source]`` is spoken as the source.
            sms_enabled: Whether it takes texts.
            message_flow: Answer to texts, such as ``{"type": "auto-reply", "message": "..."}``; None for none.

        Raises:
            Rejected: There is no such number, or what the type needs is missing.
        """

    @operation("PUT", "trackers/{tracker_id}.json", rules=[_whole_source, _whole_call_flow, _whole_answer])
    async def update(
        self,
        tracker_id: str,
        *,
        name: str = UNSET,
        call_flow: CallFlow = UNSET,
        source: Source | Literal["all"] = UNSET,
        pool_size: Annotated[int, Field(ge=4, le=50), Danger.COSTS] = UNSET,
        replace_tracking_number: Annotated[Dialled, Danger.COSTS] = UNSET,
        campaign_name: str | None = UNSET,
        swap_targets: Sequence[str] = UNSET,
        whisper_message: str | None = UNSET,
        sms_enabled: bool = UNSET,
        message_flow: TextAnswer | None = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Tracker:
        """Change a tracker. A larger pool and a replaced number cost money.

        Args:
            tracker_id: ``TRK...``.
            name: New name.
            call_flow: All of the call flow; it is replaced as a whole (observed).
            source: What the calls are counted for.
            pool_size: How many numbers; it can only grow.
            replace_tracking_number: Number in E.164 to be replaced by another, one that gets too much spam.
            campaign_name: Name of the campaign, for a ``source`` tracker.
            swap_targets: Numbers on the website that are replaced.
            whisper_message: Text the agent hears first.
            sms_enabled: Whether it takes texts.
            message_flow: Answer to texts; None for none.
        """

    @operation("DELETE", "trackers/{tracker_id}.json", dangers=[Danger.DELETES])
    async def delete(self, tracker_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Disable a tracker; its numbers stop.

        Args:
            tracker_id: ``TRK...``.

        Raises:
            Rejected: It is needed elsewhere, for calls after forms for example.
        """
