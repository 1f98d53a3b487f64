"""Messages about one invented call, chapter by chapter, in the words of the built-in templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from routers.escapes import Escape
from routers.messages import Chapter, Message, Text
from routers.templates import built_in_templates
from routers.transitions import Transition, template_name
from tests.routers.facts import facts_of

RANG_AT = datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC)
CALL_URL = "https://app.callrail.com/analytics/a/1/events/PER1?event_id=CAL1&event_type=call"
RECORDING_URL = "https://app.callrail.com/calls/CAL1/recording"
LINKS = {"call": CALL_URL, "recording": RECORDING_URL}


def words_of(transition: Transition, **facts: Any) -> Callable[[Escape], Text]:
    """The built-in text of *transition* for the invented caller, with *facts* of one's own."""
    told = {**facts_of(transition), "who": "AVERY QUILL · (404) 555-0101 · first call", "occurred_at": RANG_AT} | facts
    values = {**told, "fields": told, "before": told.get("$before", {})}
    return lambda escape: built_in_templates().render(template_name(transition), values, escape, zone=UTC)


def story(*transitions: Transition, **facts: Any) -> tuple[Chapter, ...]:
    """A chapter for each, a minute apart."""
    return tuple(
        Chapter(transition, RANG_AT + timedelta(minutes=minute), words_of(transition, **facts))
        for minute, transition in enumerate(transitions)
    )


def message_of(*chapters: Chapter, **more: Any) -> Message:
    """The message of the last of *chapters*, which tells the others with it."""
    *earlier, last = chapters
    about: dict[str, Any] = {"object_type": "call", "callrail_id": "CAL1", "links": LINKS} | more
    return Message(
        key=f"dl_{len(chapters)}",
        transition=last.transition,
        company="acme",
        occurred_at=last.occurred_at,
        data=dict,
        write=last.write,
        story=tuple(earlier),
        **about,
    )
