"""What a message tells a CRM: the person, and one thing that happened, in the words of now and of the whole story."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from routers.escapes import plain
from routers.filters import label
from routers.messages import Message
from routers.sandbox import View
from routers.transitions import Transition

# A call that is not over yet is nothing to log: it may end in any way.
UNDER_WAY = frozenset({Transition.CALL_RINGING, Transition.CALL_ROUTED})
LOGGED = ("call", "form", "text")
RESULTS = {
    "answered": "Answered",
    "missed": "Missed",
    "abandoned": "Abandoned",
    "voicemail": "Voicemail",
    "unanswered": "Unanswered",
}
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
# What a call was and by which numbers, without which nothing is logged.
_ALWAYS = frozenset({"direction", "outcome", "duration", "customer_phone_number", "tracking_phone_number"})


def nothing_to_log(message: Message) -> str | None:
    """Why *message* tells of nothing that a CRM keeps; None if it does."""
    if message.object_type not in LOGGED or not message.callrail_id:
        return f"nothing to log: it is about no {', '.join(LOGGED)}"
    if message.transition in UNDER_WAY:
        return "nothing to log yet: the call is under way"
    return None


def present_of(message: Message, fields: Collection[str] | None = None) -> Mapping[str, Any]:
    """The fields of the thing as they are now; only *fields* of them and what it was, unless that is None."""
    now = message.values().get("now")
    present = now.fields if isinstance(now, View) else {}
    if fields is None:
        return present
    return {name: present[name] for name in present if name in fields or name in _ALWAYS}


def links_of(message: Message, fields: Collection[str] | None) -> Mapping[str, str]:
    """What a person may open, by what it is; the recording only where that is among *fields*."""
    hidden = frozenset[str]() if fields is None or "recording" in fields else frozenset({"recording"})
    return {what: link for what, link in message.links.items() if what not in hidden}


def name_of(present: Mapping[str, Any]) -> str | None:
    """What the person is called, on one line."""
    told = (present.get(name) for name in ("customer_name", "contact_name"))
    return next((plain(name).strip() for name in told if isinstance(name, str) and name.strip()), None)


def is_outbound(message: Message, present: Mapping[str, Any]) -> bool:
    """Whether the company called or wrote."""
    return (
        message.transition is Transition.TEXT_SENT
        or message.transition.startswith("outbound.")
        or present.get("direction") == "outbound"
    )


def result_of(message: Message, present: Mapping[str, Any]) -> str | None:
    """How a call ended, or that it is spam; None for what is no call, or if nobody knows."""
    if message.is_spam:
        return "Spam"
    return RESULTS.get(str(present.get("outcome"))) if message.object_type == "call" else None


def event_of(message: Message) -> str:
    """What happened, in the words of the settings."""
    if message.object_type != "call":
        return message.object_type
    present = present_of(message)
    return "outbound" if is_outbound(message, present) else str(present.get("outcome"))


def title_of(message: Message, present: Mapping[str, Any]) -> str:
    """The thing in a line, like `Call: missed`."""
    title = _TITLES.get((message.object_type, is_outbound(message, present)), _TITLES["call", False])
    result = result_of(message, present)
    return f"{title}: {result.lower()}" if result is not None else title


def lines_of(message: Message, present: Mapping[str, Any], fields: Collection[str] | None) -> Iterator[str]:
    """The whole story, oldest first, each line once; then what is known now; then where to look.

    Args:
        fields: The only ones that are told, in this order, and without the story, whose templates may name any other;
            None for all.
    """
    if fields is None:
        yield from _story(message)
    for name in _PRESENT if fields is None else fields:
        if told := _text(present.get(name)):
            yield f"{_PRESENT.get(name) or label(name).capitalize()}: {told}"
    yield from links_of(message, fields).values()


def _story(message: Message) -> Iterator[str]:
    said: set[str] = set()
    for chapter in message.chapters:
        text = chapter.write(plain)
        yield f"{message.local(chapter.occurred_at, '%d %b %H:%M')} {text.title}"
        for line in text.lines:
            if line not in said and line not in message.links.values():
                said.add(line)
                yield line


def bare(text: object) -> str:
    """*text* without what an editor may write otherwise: marks of HTML, blanks, line breaks."""
    return "".join(html.unescape(re.sub(r"<[^>]*>", " ", str(text or ""))).split())


def digest(texts: Iterable[object]) -> str:
    """Of bare *texts*: by it is known again later whether they are those that we wrote."""
    return hashlib.sha256("\0".join(bare(text) for text in texts).encode()).hexdigest()[:32]


def _text(value: object) -> str:
    if isinstance(value, Mapping):  # what a visitor wrote into a form
        return ", ".join(f"{plain(str(name))}: {told}" for name, part in value.items() if (told := _text(part)))
    if isinstance(value, list):
        return ", ".join(plain(part) for part in value if isinstance(part, str))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(str(value)) if isinstance(value, str | int | float) else ""
