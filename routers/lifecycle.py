"""What a webhook means: object + event -> object' + transitions. Pure: no clock, no database, no configuration.

Webhooks of one call arrive in any order and more than once. So nothing here depends on the order of arrival: each
field keeps the telling of the highest precedence, a call's stage only rises, and the outcome is decided by ended
sources alone, because a ringing call is posted as `answered: false, call_type: missed` (documented).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from callrail.fields import OPINIONS
from callrail.kinds import FAMILY, Family, Kind
from callrail.payload import Fields
from routers.transitions import Transition

# Under this many seconds an unanswered caller gave up; after it nobody came to the phone.
ABANDONED_BELOW = 15


class Stage(IntEnum):
    """How far an object is. Texts and forms are complete as they arrive."""

    NEW = 0
    RINGING = 1
    ROUTED = 2
    ENDED = 3
    COMPLETE = 4


class Outcome(StrEnum):
    """How an inbound call ended. `unknown` means that nothing told so yet."""

    ANSWERED = "answered"
    MISSED = "missed"
    ABANDONED = "abandoned"
    VOICEMAIL = "voicemail"
    UNKNOWN = "unknown"


class Source(NamedTuple):
    """Which event a field's value comes from."""

    event_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Event:
    """One webhook, read. Ids rise with the time of receipt."""

    id: str
    kind: Kind
    fields: Fields
    sha256: str


@dataclass(frozen=True, slots=True)
class Object:
    """One call, text or form, as far as it is known."""

    stage: Stage = Stage.NEW
    outcome: Outcome | None = None
    outcome_event: str | None = None
    version: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    newest: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    told: frozenset[str] = frozenset()


class Happened(NamedTuple):
    """A transition, and whether the object was already further when the news of it came."""

    name: Transition
    superseded: bool = False


def repeat_of(obj: Object, event: Event) -> str | None:
    """The id of the event that *event* repeats: the newest of its kind, if its body is the same; else None.

    An older equal body is no repeat: a tag put on, taken off and put on again is told in equal bodies, and is news.
    """
    newest = obj.newest.get(event.kind)
    return newest[0] if newest is not None and newest[1] == event.sha256 else None


def renew(obj: Object, repeated: str, event: Event) -> Object:
    """*obj* after the repeat *event* of the event *repeated*: what that one told counts as told now.

    So an event received between the two and applied later (another dispatcher had it) does not win over the newer.
    """
    if event.id <= repeated:
        return obj
    source = Source(event.id, event.kind.value)
    sources = {name: source if held.event_id == repeated else held for name, held in obj.sources.items()}
    return replace(
        obj,
        sources=sources,
        newest={**obj.newest, event.kind.value: (event.id, event.sha256)},
        outcome_event=event.id if obj.outcome_event == repeated else obj.outcome_event,
    )


def apply(obj: Object, event: Event) -> tuple[Object, list[Happened]]:
    """*obj* after *event*, and what happened. The caller has made sure that *event* is no repeat."""
    obj = _merge(obj, event)
    match FAMILY[event.kind]:
        case Family.CALL if event.kind in _STAGES:
            obj, happened = _apply_call(obj, event)
        case Family.TEXT:
            name = Transition.TEXT_SENT if event.kind is Kind.TEXT_SENT else Transition.TEXT_RECEIVED
            obj, happened = replace(obj, stage=Stage.COMPLETE), [Happened(name)]
        case Family.FORM:
            obj, happened = replace(obj, stage=Stage.COMPLETE), [Happened(Transition.FORM_SUBMITTED)]
        case _:
            obj, happened = replace(obj, stage=Stage.COMPLETE), [Happened(Transition.UNKNOWN_RECEIVED)]
    news = [item for item in happened if item.name not in obj.told]
    return replace(obj, told=obj.told | {item.name for item in news}), news


# --- calls -----------------------------------------------------------------------------------------------------------

_STAGES = {
    Kind.PRE_CALL: Stage.RINGING,
    Kind.CALL_ROUTING_COMPLETE: Stage.ROUTED,
    Kind.POST_CALL: Stage.ENDED,
    Kind.CALL_MODIFIED: Stage.ENDED,
}
# The kinds this module gives a meaning; all others are kept and told as `unknown.received`.
UNDERSTOOD = frozenset(_STAGES) | {Kind.TEXT_RECEIVED, Kind.TEXT_SENT, Kind.FORM_SUBMISSION}

_STAGE_TRANSITION = {
    Stage.RINGING: Transition.CALL_RINGING,
    Stage.ROUTED: Transition.CALL_ROUTED,
    Stage.ENDED: Transition.CALL_ENDED,
}
_OUTCOME_TRANSITION = {
    Outcome.ANSWERED: Transition.CALL_ANSWERED,
    Outcome.MISSED: Transition.CALL_MISSED,
    Outcome.ABANDONED: Transition.CALL_ABANDONED,
    Outcome.VOICEMAIL: Transition.CALL_VOICEMAIL,
}


def _apply_call(obj: Object, event: Event) -> tuple[Object, list[Happened]]:
    stage = stage_of(event)
    happened = [Happened(_STAGE_TRANSITION[stage], superseded=obj.stage > stage)]
    obj = replace(obj, stage=max(obj.stage, stage))
    if stage is not Stage.ENDED:
        return obj, happened
    outcome = outcome_of(event.fields)
    if not _decides(obj, event, outcome):
        return obj, happened
    obj = replace(obj, outcome=outcome, outcome_event=event.id)
    if outcome in _OUTCOME_TRANSITION:
        happened.append(Happened(_OUTCOME_TRANSITION[outcome]))
    return obj, happened


def stage_of(event: Event) -> Stage:
    """How far *event* says that its object is; NEW where it says nothing of a call."""
    stage = _STAGES.get(event.kind, Stage.NEW)
    still_going_on = event.fields.get("call_type") == "in_progress"
    return min(stage, Stage.ROUTED) if still_going_on else stage


def outcome_of(fields: Fields) -> Outcome:
    """The outcome an ended call's own fields tell. Voicemail comes first: such calls are also told as answered."""
    call_type, answered = fields.get("call_type"), fields.get("answered")
    if fields.get("voicemail") is True or call_type in ("voicemail", "voicemail_transcription"):
        return Outcome.VOICEMAIL
    if answered is True or (answered is None and call_type == "answered"):
        return Outcome.ANSWERED
    if call_type in ("abandoned", "abandonded"):  # the documentation spells it both ways
        return Outcome.ABANDONED
    if call_type == "missed":
        return Outcome.MISSED
    if answered is False:
        duration = fields.get("duration")
        return Outcome.ABANDONED if duration is not None and duration < ABANDONED_BELOW else Outcome.MISSED
    return Outcome.UNKNOWN


def _decides(obj: Object, event: Event, outcome: Outcome) -> bool:
    """Whether *event* decides the outcome: the newest telling does, and one that tells nothing only for lack of one."""
    if obj.outcome in (None, Outcome.UNKNOWN):
        return obj.outcome is not outcome
    return outcome is not Outcome.UNKNOWN and event.id > (obj.outcome_event or "")


# --- merging ---------------------------------------------------------------------------------------------------------

# What a source knows best: a call that has ended is told whole, a ringing one in part.
_RANK: dict[str, int] = {Kind.PRE_CALL: 1, Kind.VOICE_ASSIST: 1, Kind.CALL_ROUTING_COMPLETE: 2}
_FULL_RANK = 4

# Before a call has ended these are placeholders, not facts: the call is posted as missed while it rings.
_PLACEHOLDERS = frozenset({"answered", "call_type", "duration", "voicemail"})
# Names of the fields this one event changed; no property of the object.
_OF_THE_EVENT = frozenset({"changes"})


def _merge(obj: Object, event: Event) -> Object:
    fields, sources = dict(obj.fields), dict(obj.sources)
    source = Source(event.id, event.kind.value)
    still_going_on = stage_of(event) in (Stage.RINGING, Stage.ROUTED)
    left_out = _PLACEHOLDERS if still_going_on else _OF_THE_EVENT
    told = {name: value for name, value in event.fields.items() if name not in left_out}
    news = {
        name: value
        for name, value in told.items()
        if name not in sources or _precedence(name, value, source) > _precedence(name, fields[name], sources[name])
    }
    fields.update(news)
    sources.update(dict.fromkeys(news, source))
    newest = dict(obj.newest)
    if event.id > newest.get(event.kind, ("", ""))[0]:
        newest[event.kind.value] = (event.id, event.sha256)
    return replace(obj, fields=fields, sources=sources, newest=newest, version=obj.version + 1)


def _precedence(name: str, value: Any, source: Source) -> tuple[bool, bool, int, str]:
    """Which of two tellings of a field holds: the greater. A total order, so the order of arrival cannot matter.

    A fact: something beats nothing, then the better source, then the newer. An opinion: the newest full object, even
    if it says nothing; before there is one, as with a fact.
    """
    rank = _RANK.get(source.kind, _FULL_RANK)
    if rank == _FULL_RANK and name in OPINIONS:
        return (True, True, 0, source.event_id)
    return (False, value is not None, rank, source.event_id)
