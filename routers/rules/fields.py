"""What a rule can ask, by transition: CallRail's fields as far as they can be told by then, and our own."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from callrail.fields import FIELDS, PLACEHOLDERS, FieldType
from callrail.kinds import Kind
from routers.transitions import ALARMS, Transition


@dataclass(frozen=True, slots=True)
class RuleField:
    """One field of a rule. *values* are all it can have, empty if the set is open; *meaning* is a few words."""

    name: str
    type: FieldType
    meaning: str
    values: tuple[str, ...] = ()


_T = Transition

_RINGING = frozenset({Kind.PRE_CALL})
_ROUTED = _RINGING | {Kind.CALL_ROUTING_COMPLETE}
_ENDED = _ROUTED | {Kind.POST_CALL, Kind.CALL_MODIFIED}
_OUTBOUND = frozenset({Kind.OUTBOUND_POST_CALL, Kind.OUTBOUND_CALL_MODIFIED})

# The webhooks whose fields an object can hold when the transition happens.
_KINDS: Mapping[Transition, frozenset[Kind]] = {
    _T.CALL_RINGING: _RINGING,
    _T.CALL_ROUTED: _ROUTED,
    _T.CALL_ENDED: _ENDED,
    _T.CALL_ANSWERED: _ENDED,
    _T.CALL_MISSED: _ENDED,
    _T.CALL_ABANDONED: _ENDED,
    _T.CALL_VOICEMAIL: _ENDED,
    _T.CALL_RECORDING_READY: _ENDED | _OUTBOUND,
    _T.CALL_TRANSCRIPT_READY: _ENDED | _OUTBOUND,
    _T.CALL_CHANGED: _ENDED,
    _T.CALL_SPAM: _ENDED,
    _T.CALL_CORRECTED: _ENDED,
    _T.OUTBOUND_ANSWERED: _OUTBOUND,
    _T.OUTBOUND_UNANSWERED: _OUTBOUND,
    _T.OUTBOUND_CHANGED: _OUTBOUND,
    _T.TEXT_RECEIVED: frozenset({Kind.TEXT_RECEIVED}),
    _T.TEXT_SENT: frozenset({Kind.TEXT_SENT}),
    _T.FORM_SUBMITTED: frozenset({Kind.FORM_SUBMISSION}),
    _T.ASSIST_COMPLETED: frozenset({Kind.CONVERT_ASSIST}),
    _T.ASSIST_ANSWERED: _ROUTED | {Kind.VOICE_ASSIST},  # the assistant takes a call that is told like any other
    _T.UNKNOWN_RECEIVED: frozenset(Kind),
}
# Transitions of a call that has not ended: what CallRail tells of its end are placeholders.
GOING_ON = frozenset({_T.CALL_RINGING, _T.CALL_ROUTED, _T.ASSIST_ANSWERED})
# Transitions that come of comparing two versions of an object, and so know what was before.
COMPARING = frozenset({_T.CALL_CHANGED, _T.CALL_SPAM, _T.CALL_CORRECTED, _T.OUTBOUND_CHANGED})

_INBOUND_OUTCOMES = ("answered", "missed", "abandoned", "voicemail", "unknown")
_OUTBOUND_OUTCOMES = ("answered", "unanswered", "unknown")
_STAGES = ("new", "ringing", "routed", "ended", "complete")

_HOURS = RuleField("hours", FieldType.TEXT, "whether the company was open when it happened", ("open", "closed"))
_COMPANY = RuleField("company", FieldType.TEXT, "the company's name in router.yaml")
_EVERYWHERE = (
    _COMPANY,
    RuleField("stage", FieldType.TEXT, "how far the call, text or form is", _STAGES),
    _HOURS,
    RuleField("seen_before", FieldType.BOOLEAN, "whether an equal, older webhook is known"),
)
_INBOUND_OUTCOME = RuleField("outcome", FieldType.TEXT, "how the call ended", _INBOUND_OUTCOMES)
_OUTBOUND_OUTCOME = RuleField("outcome", FieldType.TEXT, "how the call ended", _OUTBOUND_OUTCOMES)
_CHANGES = RuleField(
    "changes", FieldType.LIST, "names of the fields that changed", tuple(sorted({*FIELDS, "outcome", "stage"}))
)
_WAS_OUTCOME = RuleField("was_outcome", FieldType.TEXT, "the outcome before the correction", _INBOUND_OUTCOMES)
_OPT_OUT = RuleField("opt_out", FieldType.BOOLEAN, "whether the text is a word like STOP that ends texting")
_CONTACT = (
    RuleField("contact_name", FieldType.TEXT, "the name found in the form"),
    RuleField("contact_email", FieldType.TEXT, "the e-mail address found in the form"),
    RuleField("contact_phone", FieldType.PHONE, "the phone number found in the form"),
)

# What alarms tell.
_SUBJECT = RuleField("subject", FieldType.TEXT, "what is in trouble: a sink, a host, a company, or routing")
_SINK = RuleField("sink", FieldType.TEXT, "the sink that is in trouble")
_HOST = RuleField("host", FieldType.TEXT, "the machine whose webhooks go to its spool")
_REASON = RuleField("reason", FieldType.TEXT, "why nothing is sent through the sink")
_CAUSES = RuleField("causes", FieldType.LIST, "why they were given up, or not believed, the most frequent first")
_COUNT = RuleField("count", FieldType.INTEGER, "how many messages or webhooks wait, were given up, or not believed")
_SINCE = RuleField("since", FieldType.TIME, "since when there is trouble")
_MINUTES = RuleField("minutes", FieldType.INTEGER, "how long the oldest has waited, or how long the trouble was")
_ACCOUNT = RuleField("account", FieldType.TEXT, "the account at CallRail whose allowance is nearly spent")
_ALLOWANCE = RuleField("allowance", FieldType.TEXT, "which allowance it is", ("requests", "texts", "outbound calls"))
_PERCENT = RuleField("percent", FieldType.INTEGER, "how much of an hour's or a day's allowance is used")
_WITH_AN_END = (_T.ROUTER_SINK_DOWN, _T.ROUTER_BACKLOG, _T.ROUTER_SPOOLING, _T.ROUTER_BUDGET_LOW)
_TROUBLE = RuleField("trouble", FieldType.TEXT, "what is over", tuple(name.value for name in _WITH_AN_END))
_OF_ALARMS: Mapping[Transition, tuple[RuleField, ...]] = {
    _T.SOURCE_BAD_SIGNATURE: (_COMPANY, _HOURS, _SUBJECT, _COUNT, _CAUSES, _SINCE),
    _T.SOURCE_RECOVERED: (_COMPANY, _HOURS, _SUBJECT, _SINCE, _MINUTES),
    _T.ROUTER_SINK_DOWN: (_SUBJECT, _SINK, _REASON, _COUNT, _SINCE),
    _T.ROUTER_DEAD_LETTERS: (_SUBJECT, _SINK, _COUNT, _CAUSES),
    _T.ROUTER_BACKLOG: (_SUBJECT, _SINK, _COUNT, _SINCE, _MINUTES),
    _T.ROUTER_SPOOLING: (_SUBJECT, _HOST, _COUNT, _SINCE),
    _T.ROUTER_BUDGET_LOW: (_SUBJECT, _ACCOUNT, _ALLOWANCE, _PERCENT, _SINCE),
    _T.ROUTER_RECOVERED: (_SUBJECT, _SINK, _HOST, _ACCOUNT, _TROUBLE, _SINCE, _MINUTES),
}


@cache
def fields_of(transition: Transition) -> Mapping[str, RuleField]:
    """What can be told when *transition* happens, by name. What is placeholder while a call goes on is left out."""
    if transition in ALARMS:
        return {field.name: field for field in _own_fields(transition)}
    kinds = _KINDS[transition]
    left_out = {"changes"} | (PLACEHOLDERS if transition in GOING_ON else set())
    told = [
        RuleField(field.name, field.type, field.meaning, field.values)
        for field in FIELDS.values()
        if field.kinds & kinds and field.name not in left_out
    ]
    return {field.name: field for field in [*told, *_EVERYWHERE, *_own_fields(transition)]}


def _own_fields(transition: Transition) -> Iterable[RuleField]:
    if transition in ALARMS:
        yield from _OF_ALARMS[transition]
        return
    if _KINDS[transition] == _OUTBOUND:
        yield _OUTBOUND_OUTCOME
    elif Kind.POST_CALL in _KINDS[transition] and transition is not Transition.UNKNOWN_RECEIVED:
        yield _INBOUND_OUTCOME
    if transition in COMPARING:
        yield _CHANGES
    if transition is Transition.CALL_CORRECTED:
        yield _WAS_OUTCOME
    if transition is Transition.TEXT_RECEIVED:
        yield _OPT_OUT
    if transition is Transition.FORM_SUBMITTED:
        yield from _CONTACT


@cache
def own_fields() -> frozenset[str]:
    """Names of what a rule can ask beside CallRail's fields."""
    everywhere = {field.name for field in _EVERYWHERE}
    return frozenset(everywhere | {field.name for name in Transition for field in _own_fields(name)})


def fields_at(transitions: Collection[Transition]) -> Mapping[str, RuleField]:
    """What can be told at one of *transitions*, at any if none is named; a field's values are those of all of them."""
    return _fields_at(frozenset(transitions) or frozenset(Transition))


@cache
def _fields_at(transitions: frozenset[Transition]) -> Mapping[str, RuleField]:
    together: dict[str, RuleField] = {}
    for transition in sorted(transitions):
        for name, field in fields_of(transition).items():
            known = together.get(name, field)
            together[name] = replace(known, values=tuple(dict.fromkeys((*known.values, *field.values))))
    return together


@cache
def told_at(name: str) -> tuple[Transition, ...]:
    """The transitions at which the field *name* can be told, in the order of the closed list."""
    return tuple(transition for transition in Transition if name in fields_of(transition))


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """A hint with the nearest of *known*, empty if none is near."""
    by_small = {name.lower(): name for name in known}
    near = difflib.get_close_matches(written.lower(), list(by_small), n=1)
    return f"did you mean '{by_small[near[0]]}'?" if near else ""
