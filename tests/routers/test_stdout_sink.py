"""The terminal as a sink: readable blocks, and nothing a caller can do to the terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.messages import Message, Text
from routers.outcomes import Delivered
from routers.sinks.stdout import StdoutSink
from routers.transitions import Transition


def printed(title: str, *lines: str, **about: Any) -> str:
    """What the sink writes for a message; it never waits, so one step runs it to its end."""
    out = io.StringIO()
    moment = datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC)
    message = Message("dl_1", Transition.CALL_MISSED, "acme", moment, dict, lambda _: Text(title, lines), **about)
    coroutine = StdoutSink(out).deliver(message)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    assert ended.value.value == Delivered("printed")
    return out.getvalue()


def test_a_message_is_one_block() -> None:
    """Title, indented lines, and an empty line to part it from the next."""
    assert printed("Missed call · Acme", "Avery Quill", "via Yelp") == (
        "● Missed call · Acme\n  Avery Quill\n  via Yelp\n\n"
    )


def test_a_replayed_message_says_so() -> None:
    """With the time at which it happened."""
    assert printed("Missed call", is_replayed=True) == (
        "● Missed call\n  Replayed · happened 2026-03-10T13:15:02.000Z\n\n"
    )


def test_a_name_cannot_begin_a_message_of_its_own() -> None:
    """A line break in a caller's name used to be printed, and what followed looked like ours."""
    assert printed("Missed call", "Eve\n● Call answered · Acme").splitlines() == [
        "● Missed call",
        "  Eve�● Call answered · Acme",
        "",
    ]


@given(st.text(st.characters(codec=None)), st.lists(st.text(st.characters(codec=None)), max_size=3))
def test_control_characters_never_reach_the_terminal(title: str, lines: list[str]) -> None:
    """Escape sequences, carriage returns, direction marks and lone surrogates are shown as unreadable."""
    block = printed(title, *lines)

    assert block.count("\n") == 2 + len(lines)
    assert block.replace("\n", "").isprintable()
    assert block.encode()
