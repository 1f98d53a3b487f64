"""Trackers: numbers that tell where a call came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

from callrail.bodies import CallFlow, NumberWanted, Source, TextAnswer
from callrail.model import Deleted, Flag, Id, Model, Moment, Object, Text, Texts
from callrail.operation import UNSET, Danger, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing

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


_OF_TYPE = {"source": ("tracking_number",), "session": ("pool_size", "pool_numbers")}
_OF_SOURCES_ONLY = "campaign_name"
_POOL = range(4, 51)


def _of_its_type(given: Mapping[str, Any]) -> str | None:
    """What a tracker of this type needs and does not take."""
    kind = given["type"]
    for name in _OF_TYPE[kind]:
        if name not in given:
            return f"a {kind} tracker needs {name}"
    others = [name for each, names in _OF_TYPE.items() if each != kind for name in names]
    for name in [*others, *([_OF_SOURCES_ONLY] if kind == "session" else [])]:
        if name in given:
            return f"a {kind} tracker takes no {name}"
    wanted = given[_OF_TYPE[kind][-1]]
    if isinstance(wanted, Mapping) and not any(wanted.values()):
        return f"{_OF_TYPE[kind][-1]} needs area_code, local or toll_free"
    if "pool_size" in given and given["pool_size"] not in _POOL:
        return f"pool_size is {given['pool_size']}, but CallRail takes {_POOL[0]} to {_POOL[-1]}"
    return None


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

    @operation("POST", "trackers.json", dangers=[Danger.COSTS], rule=_of_its_type)
    async def create(
        self,
        *,
        name: str,
        type: TrackerType,  # noqa: A002  (CallRail's name)
        company_id: str,
        call_flow: CallFlow,
        source: Source | Literal["all"],
        tracking_number: NumberWanted = UNSET,
        pool_size: int = UNSET,
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

    @operation("PUT", "trackers/{tracker_id}.json", dangers=[Danger.COSTS])
    async def update(
        self,
        tracker_id: str,
        *,
        name: str = UNSET,
        call_flow: CallFlow = UNSET,
        source: Source | Literal["all"] = UNSET,
        pool_size: int = UNSET,
        replace_tracking_number: str = UNSET,
        campaign_name: str = UNSET,
        swap_targets: Sequence[str] = UNSET,
        whisper_message: str = UNSET,
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
