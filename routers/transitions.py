"""The closed list of what can happen to an object or to ourselves, by the names that rules, sinks and operators use."""

from __future__ import annotations

from enum import StrEnum


class Transition(StrEnum):
    """One thing that happened. The part before the full stop is the sort of object it happened to."""

    CALL_RINGING = "call.ringing"
    CALL_ROUTED = "call.routed"
    CALL_ENDED = "call.ended"
    CALL_ANSWERED = "call.answered"
    CALL_MISSED = "call.missed"
    CALL_ABANDONED = "call.abandoned"
    CALL_VOICEMAIL = "call.voicemail"
    CALL_RECORDING_READY = "call.recording_ready"
    CALL_TRANSCRIPT_READY = "call.transcript_ready"
    CALL_CHANGED = "call.changed"
    CALL_SPAM = "call.spam"
    CALL_CORRECTED = "call.corrected"
    OUTBOUND_ANSWERED = "outbound.answered"
    OUTBOUND_UNANSWERED = "outbound.unanswered"
    OUTBOUND_CHANGED = "outbound.changed"
    TEXT_RECEIVED = "text.received"
    TEXT_SENT = "text.sent"
    FORM_SUBMITTED = "form.submitted"
    ASSIST_COMPLETED = "assist.completed"
    ASSIST_ANSWERED = "assist.answered"
    UNKNOWN_RECEIVED = "unknown.received"
    SOURCE_BAD_SIGNATURE = "source.bad_signature"
    SOURCE_RECOVERED = "source.recovered"
    ROUTER_SINK_DOWN = "router.sink_down"
    ROUTER_DEAD_LETTERS = "router.dead_letters"
    ROUTER_BACKLOG = "router.backlog"
    ROUTER_SPOOLING = "router.spooling"
    ROUTER_BUDGET_LOW = "router.budget_low"
    ROUTER_RECOVERED = "router.recovered"


def template_name(transition: Transition) -> str:
    """The name of the template that *transition* has by default: `call_missed` for `call.missed`."""
    return transition.value.replace(".", "_")


# Alarms: what we tell of ourselves. Those of the installation belong to no company; in the place of one stands a name
# that none can have.
OF_THE_INSTALLATION = frozenset(name for name in Transition if name.startswith("router."))
ALARMS = OF_THE_INSTALLATION | {Transition.SOURCE_BAD_SIGNATURE, Transition.SOURCE_RECOVERED}
INSTALLATION = "_installation"
