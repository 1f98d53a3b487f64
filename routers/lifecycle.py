"""What a webhook means: object + event -> object' + transitions. Pure: no clock, no database, no configuration.

Webhooks of one call arrive in any order and more than once. So nothing here depends on the order of arrival: each
field keeps the telling of the highest precedence, a call's stage only rises, and the outcome is decided by ended
sources alone, because a ringing call is posted as `answered: false, call_type: missed` (documented).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from callrail.fields import OPINIONS, PLACEHOLDERS
from callrail.kinds import FAMILY, FROM_API, OUTBOUND, Family, Kind
from callrail.payload import RAW_NUMBERS, Fields
from routers.transitions import Transition

# Under this many seconds an unanswered caller gave up; after it nobody came to the phone.
ABANDONED_BELOW = 15
# Under this name the details of a transition hold what its fields were before.
BEFORE = "$before"
_MOST_SEEN = 50  # equal bodies are looked for among so many of a kind


class Stage(IntEnum):
    """How far an object is. Texts and forms are complete as they arrive."""

    NEW = 0
    RINGING = 1
    ROUTED = 2
    ENDED = 3
    COMPLETE = 4


class Outcome(StrEnum):
    """How a call ended; `unanswered` is said of outbound calls. `unknown` means that nothing told so yet."""

    ANSWERED = "answered"
    MISSED = "missed"
    ABANDONED = "abandoned"
    VOICEMAIL = "voicemail"
    UNANSWERED = "unanswered"
    UNKNOWN = "unknown"


class Source(NamedTuple):
    """Which event a field's value comes from."""

    event_id: str
    kind: str


class Newest(NamedTuple):
    """The newest event of a kind, its body's hash, and the beginnings of older hashes."""

    event_id: str
    sha256: str
    older: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One webhook, read. Ids rise with the time of receipt."""

    id: str
    kind: Kind
    fields: Fields
    sha256: str


class Object(NamedTuple):
    """One call, text, form or assistant's answer, as far as it is known."""

    stage: Stage = Stage.NEW
    outcome: Outcome | None = None
    outcome_source: Source | None = None
    version: int = 0
    fields: Mapping[str, Any] = MappingProxyType({})
    sources: Mapping[str, Source] = MappingProxyType({})
    newest: Mapping[str, Newest] = MappingProxyType({})
    told: frozenset[str] = frozenset()


class Happened(NamedTuple):
    """A transition, and whether the object was already further when the news of it came.

    *details* are what a transition knows that its version does not tell: what changed, from what. *n* counts what
    happens again and again.
    """

    name: Transition
    superseded: bool = False
    details: Mapping[str, Any] | None = None
    n: int = 0


def repeat_of(obj: Object, event: Event) -> str | None:
    """The id of the event that *event* repeats: the newest of its kind, if its body is the same; else None.

    An older equal body is no repeat: a tag put on, taken off and put on again is told in equal bodies, and is news.
    """
    newest = obj.newest.get(event.kind)
    return newest.event_id if newest is not None and newest.sha256 == event.sha256 else None


def is_seen_before(obj: Object, event: Event) -> bool:
    """Whether an older event of the kind, not the newest, had the body of *event*."""
    newest = obj.newest.get(event.kind)
    return newest is not None and _beginning(event.sha256) in newest.older


def renew(obj: Object, repeated: str, event: Event) -> Object:
    """*obj* after the repeat *event* of the event *repeated*: what that one told counts as told now.

    So an event received between the two and applied later (another dispatcher had it) does not win over the newer.
    """
    if event.id <= repeated:
        return obj
    source = Source(event.id, event.kind.value)
    newest = obj.newest[event.kind.value]
    decided = obj.outcome_source is not None and obj.outcome_source.event_id == repeated
    return obj._replace(
        sources={name: source if held.event_id == repeated else held for name, held in obj.sources.items()},
        newest={**obj.newest, event.kind.value: newest._replace(event_id=event.id)},
        outcome_source=source if decided else obj.outcome_source,
    )


def apply(obj: Object, event: Event) -> tuple[Object, list[Happened]]:
    """*obj* after *event*, and what happened. The caller has made sure that *event* is no repeat."""
    after = _merge(obj, event)
    match FAMILY[event.kind]:
        case Family.CALL:
            after, happened = _apply_call(obj, after, event)
        case Family.ASSIST if event.kind is Kind.VOICE_ASSIST:  # tells of the call that it took
            after, happened = _raised(after, Stage.ROUTED), [Happened(Transition.ASSIST_ANSWERED)]
        case family:
            name = Transition.TEXT_SENT if is_sent(event) else _AT_ONCE[family]
            after, happened = after._replace(stage=Stage.COMPLETE), [Happened(name)]
    news = [item for item in happened if item.name in EACH_VERSION or item.name not in obj.told]
    return after._replace(told=obj.told | {item.name for item in news if item.name not in EACH_VERSION}), news


_AT_ONCE = {
    Family.TEXT: Transition.TEXT_RECEIVED,
    Family.FORM: Transition.FORM_SUBMITTED,
    Family.ASSIST: Transition.ASSIST_COMPLETED,
    Family.UNKNOWN: Transition.UNKNOWN_RECEIVED,
}


def is_sent(event: Event) -> bool:
    """Whether *event* tells of a text that the company sent."""
    return event.kind is Kind.TEXT_SENT or event.fields.get("direction") in ("outgoing", "outbound")


# All others happen once an object.
EACH_VERSION = frozenset({Transition.CALL_CHANGED, Transition.OUTBOUND_CHANGED, Transition.CALL_CORRECTED})


# --- calls -----------------------------------------------------------------------------------------------------------

_STAGES = {
    Kind.PRE_CALL: Stage.RINGING,
    Kind.CALL_ROUTING_COMPLETE: Stage.ROUTED,
    Kind.POST_CALL: Stage.ENDED,
    Kind.CALL_MODIFIED: Stage.ENDED,
    Kind.OUTBOUND_POST_CALL: Stage.ENDED,
    Kind.OUTBOUND_CALL_MODIFIED: Stage.ENDED,
    Kind.API_CALL: Stage.ENDED,
}
_STAGE_TRANSITION = {
    Stage.RINGING: Transition.CALL_RINGING,
    Stage.ROUTED: Transition.CALL_ROUTED,
    Stage.ENDED: Transition.CALL_ENDED,
}
# By outcome, the transition that tells it.
INBOUND_OUTCOMES = {
    Outcome.ANSWERED: Transition.CALL_ANSWERED,
    Outcome.MISSED: Transition.CALL_MISSED,
    Outcome.ABANDONED: Transition.CALL_ABANDONED,
    Outcome.VOICEMAIL: Transition.CALL_VOICEMAIL,
}
OUTBOUND_OUTCOMES = {
    Outcome.ANSWERED: Transition.OUTBOUND_ANSWERED,
    Outcome.UNANSWERED: Transition.OUTBOUND_UNANSWERED,
}
OUTCOME_TRANSITIONS = frozenset({*INBOUND_OUTCOMES.values(), *OUTBOUND_OUTCOMES.values()})


def _apply_call(before: Object, after: Object, event: Event) -> tuple[Object, list[Happened]]:
    stage, outbound = stage_of(event), is_outbound(event)
    after = _raised(after, stage)
    happened: list[Happened] = []
    if not outbound:
        happened.append(Happened(_STAGE_TRANSITION[stage], superseded=before.stage > stage))
    if stage is Stage.ENDED:
        outcome = _outbound_outcome_of(event.fields) if outbound else outcome_of(event.fields)
        if _decides(before, event, outcome):
            after = after._replace(outcome=outcome, outcome_source=Source(event.id, event.kind.value))
    if after.stage is Stage.ENDED:
        happened += _of_the_end(before, after, event, outbound=outbound)
    return after, happened


def _of_the_end(before: Object, after: Object, event: Event, *, outbound: bool) -> Iterator[Happened]:
    """What there is to tell of an ended call beside its end."""
    changed = _changed(before, after, event)
    details = {"changes": changed, BEFORE: {name: before.fields.get(name) for name in _told_before(before, changed)}}
    outcome = (OUTBOUND_OUTCOMES if outbound else INBOUND_OUTCOMES).get(after.outcome or Outcome.UNKNOWN)
    if after.outcome is not before.outcome and outcome is not None:
        if before.outcome not in (None, Outcome.UNKNOWN) and not outbound:
            was = {"was_outcome": before.outcome.value, "changes": ["outcome", *changed]}
            yield Happened(Transition.CALL_CORRECTED, details={**details, **was})
        yield Happened(outcome)
    if after.fields.get("recording"):
        yield Happened(Transition.CALL_RECORDING_READY)
    if after.fields.get("transcription") or after.fields.get("conversational_transcript"):
        yield Happened(Transition.CALL_TRANSCRIPT_READY)
    if after.fields.get("spam") is True and not outbound:
        yield Happened(Transition.CALL_SPAM, details=details)
    if changed and event.kind in TELLS_CHANGES:
        yield Happened(Transition.OUTBOUND_CHANGED if outbound else Transition.CALL_CHANGED, details=details)


def stage_of(event: Event) -> Stage:
    """How far *event* says that its object is; NEW where it says nothing of a call."""
    stage = _STAGES.get(event.kind, Stage.NEW)
    still_going_on = event.fields.get("call_type") == "in_progress"
    return min(stage, Stage.ROUTED) if still_going_on else stage


def is_outbound(event: Event) -> bool:
    """Whether *event* tells of a call that the company made."""
    return event.kind in OUTBOUND or (event.kind in FROM_API and event.fields.get("direction") == "outbound")


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


def _outbound_outcome_of(fields: Fields) -> Outcome:
    answered = fields.get("answered")
    if answered is None:
        return Outcome.UNKNOWN
    return Outcome.ANSWERED if answered else Outcome.UNANSWERED


def _decides(obj: Object, event: Event, outcome: Outcome) -> bool:
    """Whether *event* decides the outcome: the best source does, of equally good ones the newest, and one that tells
    nothing only for lack of any."""
    if obj.outcome in (None, Outcome.UNKNOWN) or obj.outcome_source is None:
        return obj.outcome is not outcome
    held = obj.outcome_source
    return outcome is not Outcome.UNKNOWN and (_rank(event.kind), event.id) > (_rank(held.kind), held.event_id)


def _raised(obj: Object, stage: Stage) -> Object:
    return obj._replace(stage=stage) if stage > obj.stage else obj


# --- changes ---------------------------------------------------------------------------------------------------------

# Post-calls fill in; these tell that something was changed.
# Kinds that come because something about an ended call was changed, or that may tell so.
TELLS_CHANGES = frozenset({Kind.CALL_MODIFIED, Kind.OUTBOUND_CALL_MODIFIED, Kind.API_CALL})
# Names under `changes` that are no names of fields, and the fields they mean (documented; an open set).
_CHANGES = {
    "tag": "tags",
    "notes": "note",
    "transcription_text": "transcription",
    "auto_score": "lead_status",
    "manual_score": "lead_status",
    "summary": "call_summary",
}
# What differs from one telling to the next though nobody changed anything: links, counters, times of the telling.
_RESTLESS = frozenset(
    {"changes", "timestamp", "updated_at", "created_at", "integration_data", "waveforms", "timeline_url", RAW_NUMBERS}
    | {"recording_player", "recording_redirect", "prior_calls", "total_calls", "milestones"}
)
_LINKS = frozenset({"recording"})  # the same recording behind another link is no change
_ACCESS_KEY = re.compile(r"(?<=access_key=)[^&#]*")  # in a link; CallRail gives a new one with each telling


def _changed(before: Object, after: Object, event: Event) -> list[str]:
    """Names of the fields that *event* changed: those in which our versions differ, and those it says itself.

    A field told for the first time is filled in, not changed. Where no ended version was known before there is nothing
    to compare with, and only what it says counts.
    """
    changed: set[str] = set()
    if before.stage >= Stage.ENDED:
        changed = {name for name in before.fields if name not in _RESTLESS and _differs(before, after, name)}
    told = event.fields.get("changes")
    if isinstance(told, list):
        changed |= {_CHANGES.get(name, name) for name in told if isinstance(name, str) and name}
    return sorted(changed)


def _differs(before: Object, after: Object, name: str) -> bool:
    was, now = before.fields[name], after.fields[name]
    if was == now:  # nearly always
        return False
    if name in _LINKS:
        return bool(was) is not bool(now)
    return bool(_without_key(was) != _without_key(now))


def _without_key(value: Any) -> Any:
    """*value*, if it is a link or a list of some, without what changes of it though it leads to the same thing."""
    if isinstance(value, list):
        return [_without_key(item) for item in value]
    if isinstance(value, str) and value.startswith(("https://", "http://")):
        return _ACCESS_KEY.sub("", value)
    return value


def _told_before(before: Object, names: list[str]) -> list[str]:
    return [name for name in names if name in before.fields]


# --- merging ---------------------------------------------------------------------------------------------------------

# What a source knows best: a call that has ended is told whole, a ringing one in part. What the API told is whole too,
# but may have been asked too early.
_RANK: dict[str, int] = {Kind.PRE_CALL: 1, Kind.VOICE_ASSIST: 1, Kind.CALL_ROUTING_COMPLETE: 2}
_API_RANK = 3
_FULL_RANK = 4

# Names of the fields this one event changed; no property of the object.
_OF_THE_EVENT = frozenset({"changes"})


def _rank(kind: str) -> int:
    return _API_RANK if kind in FROM_API else _RANK.get(kind, _FULL_RANK)


def _merge(obj: Object, event: Event) -> Object:
    source = Source(event.id, event.kind.value)
    still_going_on = stage_of(event) in (Stage.RINGING, Stage.ROUTED)
    left_out = PLACEHOLDERS if still_going_on else _OF_THE_EVENT
    news = event.fields
    if not news.keys().isdisjoint(left_out):
        news = {name: value for name, value in news.items() if name not in left_out}
    fields, sources = obj.fields, obj.sources
    if sources:
        news = {
            name: value
            for name, value in news.items()
            # A field that has a source and no value was removed since, for its age or because the person asked for it.
            if name not in sources
            or _precedence(name, value, source) > _precedence(name, fields.get(name), sources[name])
        }
    return obj._replace(
        fields={**fields, **news} if fields else news,
        sources={**sources, **dict.fromkeys(news, source)} if sources else dict.fromkeys(news, source),
        newest=_with_newest(obj.newest, event),
        version=obj.version + 1,
    )


def _with_newest(newest: Mapping[str, Newest], event: Event) -> Mapping[str, Newest]:
    held = newest.get(event.kind)
    if held is None or held.event_id == event.id:
        older = held.older if held is not None else ()
        return {**newest, event.kind.value: Newest(event.id, event.sha256, older)}
    if event.id < held.event_id:
        return {**newest, event.kind.value: held._replace(older=_seen(held.older, event.sha256))}
    return {**newest, event.kind.value: Newest(event.id, event.sha256, _seen(held.older, held.sha256))}


def _seen(older: tuple[str, ...], sha256: str) -> tuple[str, ...]:
    beginning = _beginning(sha256)
    return older if beginning in older or len(older) == _MOST_SEEN else tuple(sorted((*older, beginning)))


def _beginning(sha256: str) -> str:
    return sha256[:12]


def _precedence(name: str, value: Any, source: Source) -> tuple[bool, bool, int, str]:
    """Which of two tellings of a field holds: the greater. A total order, so the order of arrival cannot matter.

    A fact: something beats nothing, then the better source, then the newer. An opinion: the newest full object, even
    if it says nothing; before there is one, as with a fact.
    """
    rank = _rank(source.kind)
    if rank >= _API_RANK and name in OPINIONS:
        return (True, True, 0, source.event_id)
    return (False, value is not None, rank, source.event_id)
