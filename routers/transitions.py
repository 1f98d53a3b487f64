"""The closed list of what can happen to an object, by the names that rules, sinks and operators use."""

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
