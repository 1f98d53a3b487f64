"""What a message wants to be there at Salesforce: its task, in the words of now and of the whole story, and whose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from routers.escapes import plain
from routers.messages import Message
from routers.outcomes import Delivered, Outcome, Rejected
from routers.sandbox import TemplateFailed, View
from routers.sinks.filling import Values, filled
from routers.sinks.salesforce_deals import Deal
from routers.sinks.salesforce_people import NAMELESS, Told
from routers.sinks.salesforce_plan import Wanted
from routers.sinks.salesforce_tasks import Activity
from routers.transitions import Transition

# A call that is not over yet is nothing to log: it may end in any way.
_UNDER_WAY = frozenset({Transition.CALL_RINGING, Transition.CALL_ROUTED})
_LOGGED = frozenset({"call", "text", "form"})
_TITLES = {
    ("call", False): "Call",
    ("call", True): "Outbound call",
    ("text", False): "Text received",
    ("text", True): "Text sent",
    ("form", False): "Form submitted",
}
# What is told beside the story, if it is known now; what is longest comes last, should there be no room.
_PRESENT = {
    "source": "Source",
    "campaign": "Campaign",
    "tags": "Tags",
    "value": "Value",
    "lead_status": "Lead status",
    "note": "Note",
    "call_summary": "Summary",
    "transcription": "Transcript",
}


@dataclass(frozen=True, slots=True)
class Opens:
    """What opportunities are opened as."""

    stage: str
    closes_in: timedelta


@dataclass(frozen=True, slots=True)
class Mapped:
    """What the settings say of how a message becomes records. *of_leads*, *of_tasks*: further fields, as templates."""

    owner: str | None = None
    creates_leads: bool = True
    allows_duplicates: bool = False
    logs_spam: bool = False
    opens: Opens | None = None
    of_leads: Mapping[str, Any] = field(default_factory=dict)
    of_tasks: Mapping[str, Any] = field(default_factory=dict)


def wanted_of(message: Message, mapped: Mapped) -> Wanted | Outcome:
    """What *message* wants to be there; an outcome where it wants nothing."""
    if message.object_type not in _LOGGED or not message.callrail_id:
        return Delivered(f"nothing to log: it is about no {', '.join(sorted(_LOGGED))}")
    if message.transition in _UNDER_WAY:
        return Delivered("nothing to log yet: the call is under way")
    present = _present(message)
    try:
        values = Values(message)
        of_tasks, of_leads = (_told(filled(laid_out, values)) for laid_out in (mapped.of_tasks, mapped.of_leads))
    except TemplateFailed as error:
        return Rejected(f"a template of the sink cannot be written: {error}")
    owned = {"OwnerId": mapped.owner} if mapped.owner is not None else {}
    return Wanted(
        _activity(message, present, mapped.owner, of_tasks),
        Told(_name(present), {**of_leads, **owned}),
        _deal(message, present, mapped) if mapped.opens is not None else None,
        creates_leads=mapped.creates_leads,
        allows_duplicates=mapped.allows_duplicates,
        only_changes=message.is_spam and not mapped.logs_spam,
    )


def _activity(message: Message, present: Mapping[str, Any], owner: str | None, more: Mapping[str, Any]) -> Activity:
    is_call, is_outbound = message.object_type == "call", _is_outbound(message, present)
    duration, outcome = present.get("duration"), present.get("outcome")
    result = "Spam" if message.is_spam else _RESULTS.get(str(outcome)) if is_call else None
    title = _TITLES.get((message.object_type, is_outbound), _TITLES["call", False])
    return Activity(
        message.callrail_id,
        f"{title}: {result.lower()}" if result is not None else title,
        "\n".join(_lines(message, present)),
        message.occurred_at.astimezone(message.zone).date(),
        ("Outbound" if is_outbound else "Inbound") if is_call else None,
        duration if is_call and isinstance(duration, int) and not isinstance(duration, bool) else None,
        result,
        owner,
        more,
    )


def _deal(message: Message, present: Mapping[str, Any], mapped: Mapped) -> Deal | None:
    """What an inbound thing opens."""
    if mapped.opens is None or message.is_spam or _is_outbound(message, present):
        return None
    on = message.occurred_at.astimezone(message.zone).date()
    name = f"{_name(present) or NAMELESS}, {message.object_type} of {on.isoformat()}"
    stage, closes_on = mapped.opens.stage, on + mapped.opens.closes_in
    return Deal(message.callrail_id, name, stage, closes_on, _amount(present.get("value")), mapped.owner)


def _amount(told: object) -> float | None:
    """A value as CallRail tells it, perhaps as a text with a currency; None for none, and for what is none."""
    if isinstance(told, str):
        told = re.sub(r"[^0-9.]", "", told)
        told = float(told) if re.fullmatch(r"\d{1,12}(\.\d*)?", told) else None
    return float(told) if isinstance(told, int | float) and not isinstance(told, bool) and told > 0 else None


_RESULTS = {
    "answered": "Answered",
    "missed": "Missed",
    "abandoned": "Abandoned",
    "voicemail": "Voicemail",
    "unanswered": "Unanswered",
}


def _is_outbound(message: Message, present: Mapping[str, Any]) -> bool:
    return (
        message.transition is Transition.TEXT_SENT
        or message.transition.startswith("outbound.")
        or present.get("direction") == "outbound"
    )


def _lines(message: Message, present: Mapping[str, Any]) -> Iterator[str]:
    """The whole story, oldest first, each line once; then what is known now; then where to look."""
    said: set[str] = set()
    for chapter in message.chapters:
        text = chapter.write(plain)
        yield f"{message.local(chapter.occurred_at, '%d %b %H:%M')} {text.title}"
        for line in text.lines:
            if line not in said and line not in message.links.values():
                said.add(line)
                yield line
    for name, label in _PRESENT.items():
        if told := _text(present.get(name)):
            yield f"{label}: {told}"
    yield from message.links.values()


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(plain(part) for part in value if isinstance(part, str))
    return plain(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _name(present: Mapping[str, Any]) -> str | None:
    told = (present.get(name) for name in ("customer_name", "contact_name"))
    return next((plain(name).strip() for name in told if isinstance(name, str) and name.strip()), None)


def _present(message: Message) -> Mapping[str, Any]:
    now = message.values().get("now")
    return now.fields if isinstance(now, View) else {}


def _told(more: Mapping[str, Any]) -> dict[str, Any]:
    """*more* without what a template left empty: that would clear what stands there."""
    return {name: value for name, value in more.items() if value != ""}
