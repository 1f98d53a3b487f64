"""A rule in plain English, for the person who wrote it and wants to know what it will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from routers.rules.conditions import Condition
from routers.rules.ruleset import DEFAULT_MAX_AGE, OnLate, Rule, Send, To
from routers.transitions import Transition

_WHEN = {
    Transition.CALL_RINGING: "a call begins to ring",
    Transition.CALL_ROUTED: "a call is put through",
    Transition.CALL_ENDED: "a call has ended",
    Transition.CALL_ANSWERED: "a call was answered",
    Transition.CALL_MISSED: "a call is missed",
    Transition.CALL_ABANDONED: "a caller hangs up before anybody answers",
    Transition.CALL_VOICEMAIL: "a call goes to voicemail",
    Transition.CALL_RECORDING_READY: "a call's recording is ready",
    Transition.CALL_TRANSCRIPT_READY: "a call's transcript is ready",
    Transition.CALL_CHANGED: "something about a call is changed",
    Transition.CALL_SPAM: "a call is marked as spam",
    Transition.CALL_CORRECTED: "what was said of a call proves wrong",
    Transition.OUTBOUND_ANSWERED: "a call we made was answered",
    Transition.OUTBOUND_UNANSWERED: "a call we made was not answered",
    Transition.OUTBOUND_CHANGED: "something about a call we made is changed",
    Transition.TEXT_RECEIVED: "a text message comes in",
    Transition.TEXT_SENT: "a text message was sent",
    Transition.FORM_SUBMITTED: "a form is submitted",
    Transition.ASSIST_COMPLETED: "the assistant has finished its questions",
    Transition.ASSIST_ANSWERED: "the voice assistant has answered a call",
    Transition.UNKNOWN_RECEIVED: "a webhook comes in that is not understood",
    Transition.SOURCE_BAD_SIGNATURE: "webhooks come that no key of the company proves",
    Transition.SOURCE_RECOVERED: "the company's webhooks are proved again",
    Transition.ROUTER_SINK_DOWN: "a sink fails",
    Transition.ROUTER_DEAD_LETTERS: "messages are given up",
    Transition.ROUTER_BACKLOG: "messages or events wait too long",
    Transition.ROUTER_SPOOLING: "webhooks went to the spool while the database was away",
    Transition.ROUTER_BUDGET_LOW: "an account's allowance at CallRail is nearly spent",
    Transition.ROUTER_RECOVERED: "a trouble is over",
}
_A_CALL = "a call "
_LATE = {
    OnLate.DELIVER: "is still sent",
    OnLate.RECORDS_ONLY: "goes to systems only",
    OnLate.IGNORE: "is not sent",
}


def reading_of(rule: Rule, send: Sequence[Send | To]) -> str:
    """What *rule* does, in one or a few sentences; *send* are its destinations in the company that is asked about."""
    sentence = f"When {_when(rule)}"
    if rule.conditions:
        sentence += f", if {_conditions(rule.conditions, 'and')}"
    if rule.exceptions:
        sentence += f", unless {_conditions(rule.exceptions, 'or')}"
    return " ".join([f"{sentence}: {_what(rule, send)}.", *_more(rule)])


def _when(rule: Rule) -> str:
    """The transitions in one clause; where all are of a call, "a call is missed or goes to voicemail"."""
    first, *rest = [_WHEN[name] for name in Transition if name in rule.when]
    if all(clause.startswith(_A_CALL) for clause in (first, *rest)):
        rest = [clause.removeprefix(_A_CALL) for clause in rest]
    return _joined([first, *rest], "or")


def _what(rule: Rule, send: Sequence[Send | To]) -> str:
    told = ", and ".join(map(_destination, send))
    if rule.mute:
        return f"tell nobody (muted{f'; else it would tell {told}' if told else ''})"
    return f"tell {told}" if told else "tell nobody, for the company has no such role"


def _more(rule: Rule) -> list[str]:
    more = []
    if rule.speaks_once:
        more.append("Once for each of them, whichever of these comes first.")
    if rule.stop:
        more.append("No later rule is asked then.")
    if (rule.on_late, rule.max_age) != (OnLate.RECORDS_ONLY, DEFAULT_MAX_AGE):
        more.append(f"What happened more than {_lasting(rule.max_age)} ago {_LATE[rule.on_late]}.")
    return more


def _destination(send: Send | To) -> str:
    if isinstance(send, To):
        text = f"the company's {send.name}" if send.is_role else send.name
    else:
        text = f"{send.sink} (role {send.role})" if send.role else send.sink
    if send.template:
        text += f" with template {send.template}"
    return text + (f" for at most {_lasting(send.expires)}" if send.expires else "")


def _conditions(conditions: Iterable[Condition], word: str) -> str:
    return _joined((condition.reading for condition in conditions), word)


def _joined(parts: Iterable[str], word: str) -> str:
    *first, last = list(parts) or [""]
    return f"{', '.join(first)} {word} {last}" if first else last


def _lasting(duration: timedelta) -> str:
    """*duration* in its largest whole unit: 90 min, 2 h."""
    seconds = duration.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0 and (unit != "d" or seconds > length):
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"
