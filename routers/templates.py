"""From a delivery to its message: one built-in text a transition, made when it is sent, from the stored facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from routers.messages import Message
from routers.outbox import Delivery
from routers.transitions import Transition

_TITLES = {
    Transition.CALL_RINGING: "Call ringing",
    Transition.CALL_ROUTED: "Call put through",
    Transition.CALL_ENDED: "Call ended",
    Transition.CALL_ANSWERED: "Call answered",
    Transition.CALL_MISSED: "Missed call",
    Transition.CALL_ABANDONED: "Caller hung up",
    Transition.CALL_VOICEMAIL: "New voicemail",
    Transition.CALL_RECORDING_READY: "Recording ready",
    Transition.CALL_TRANSCRIPT_READY: "Transcript ready",
    Transition.CALL_CHANGED: "Call changed",
    Transition.CALL_SPAM: "Call marked as spam",
    Transition.CALL_CORRECTED: "Call corrected",
    Transition.OUTBOUND_ANSWERED: "Outbound call answered",
    Transition.OUTBOUND_UNANSWERED: "Outbound call not answered",
    Transition.OUTBOUND_CHANGED: "Outbound call changed",
    Transition.TEXT_RECEIVED: "Text received",
    Transition.TEXT_SENT: "Text sent",
    Transition.FORM_SUBMITTED: "Form submitted",
    Transition.ASSIST_COMPLETED: "Assistant's answers",
    Transition.ASSIST_ANSWERED: "Answered by the voice assistant",
    Transition.UNKNOWN_RECEIVED: "Unknown webhook received",
}
_MAX_TEXT = 300
_MAX_FORM_LINES = 12


def render(delivery: Delivery) -> Message:
    """The message for *delivery*. Missing fields leave out their part of the text, never a hole in it."""
    facts = delivery.facts
    return Message(
        key=delivery.id,
        transition=delivery.transition,
        company=delivery.company,
        occurred_at=delivery.occurred_at,
        title=f"{_TITLES[delivery.transition]} · {facts.get('company_name') or delivery.company}",
        lines=tuple(line for line in _lines(delivery.transition, facts, delivery.occurred_at) if line),
        data=_data(delivery, facts),
    )


def _lines(transition: Transition, facts: Mapping[str, Any], occurred_at: datetime) -> list[str]:
    match transition.partition(".")[0]:
        case "call" | "outbound":
            return [
                _who(facts),
                _how(facts, occurred_at),
                _said(facts.get("call_summary") or facts.get("transcription")),
            ]
        case "text":
            return [_text_route(facts), _said(facts.get("content")), _clock_time(facts, occurred_at)]
        case "form":
            return [*_form_lines(facts), _joined(_source(facts), _clock_time(facts, occurred_at))]
        case _:
            return ["Stored and kept; its kind is not understood yet.", _clock_time(facts, occurred_at)]


# --- parts -----------------------------------------------------------------------------------------------------------


def _who(facts: Mapping[str, Any]) -> str:
    place = ", ".join(str(facts[name]) for name in ("customer_city", "customer_state") if facts.get(name))
    number = phone(facts.get("customer_phone_number")) or "number withheld"
    first = "first call" if facts.get("first_call") is True else ""
    return _joined(facts.get("customer_name"), number, place, first)


def _how(facts: Mapping[str, Any], occurred_at: datetime) -> str:
    duration = facts.get("duration")
    lasted = _duration(duration) if isinstance(duration, int) and duration > 0 else ""
    return _joined(_source(facts), lasted, _clock_time(facts, occurred_at))


def _text_route(facts: Mapping[str, Any]) -> str:
    return f"{phone(facts.get('source_number')) or 'unknown'} → {phone(facts.get('destination_number')) or 'unknown'}"


def _form_lines(facts: Mapping[str, Any]) -> list[str]:
    form = facts.get("form_data")
    if not isinstance(form, dict):
        return []
    named = [f"{str(name).replace('_', ' ')}: {_cut(str(value))}" for name, value in form.items() if value]
    return named[:_MAX_FORM_LINES]


def _source(facts: Mapping[str, Any]) -> str:
    source = facts.get("source") or facts.get("source_name")
    return f"via {source}" if source else ""


def _clock_time(facts: Mapping[str, Any], occurred_at: datetime) -> str:
    """The time in the company's zone; where none is known, in UTC and saying so."""
    try:
        local = occurred_at.astimezone(ZoneInfo(str(facts["company_time_zone"])))
    except (KeyError, ValueError, OverflowError, OSError, ZoneInfoNotFoundError):  # OSError: 'America' is a folder
        return f"{occurred_at:%d %b %H:%M} UTC"
    return f"{local:%d %b %H:%M}"


def _said(text: object) -> str:
    return f"“{_cut(text)}”" if isinstance(text, str) and text else ""


def _cut(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _MAX_TEXT else one_line[: _MAX_TEXT - 1] + "…"


def _joined(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part)


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def phone(number: object) -> str:
    """A North American number as people write it; any other as it is; nothing for nothing."""
    text = str(number) if number else ""
    if len(text) == 12 and text.startswith("+1") and text[1:].isdigit():
        return f"({text[2:5]}) {text[5:8]}-{text[8:]}"
    return text


# --- for systems -----------------------------------------------------------------------------------------------------


def _data(delivery: Delivery, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "company": delivery.company,
        "object": {"type": delivery.object_type, "id": delivery.callrail_id},
        "rule": delivery.rule,
        "fields": {name: value for name, value in facts.items() if not _holds_access_key(value)},
    }


def _holds_access_key(value: object) -> bool:
    """Whether a link in *value* lets whoever holds it listen: such a link leaves only where it is asked for."""
    if isinstance(value, dict):
        return any(_holds_access_key(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_access_key(item) for item in value)
    return isinstance(value, str) and "access_key=" in value
