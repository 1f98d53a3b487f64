"""`type: stdout`: messages on the terminal. What a newcomer sees first, and the way to try a rule."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, TextIO

from routers.audience import Audience
from routers.messages import Message
from routers.outcomes import Delivered, Outcome
from routers.sinks.config import SinkConfig
from routers.sinks.sink import Check
from routers.uncertain import OnUncertain


class StdoutConfig(SinkConfig):
    """Prints each message on the terminal of the server."""

    type: Literal["stdout"]
    """What sort of sink it is."""
    audience: Audience = Audience.PEOPLE
    """Who is at the other end: people, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.REPEAT
    """What follows a message of which it is not known whether it was printed: it is printed once more, and says so."""

    def build(self) -> StdoutSink:
        return StdoutSink(sys.stdout)


class StdoutSink:
    """Writes each message as one block of text."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    async def deliver(self, message: Message) -> Outcome:
        text = message.text()
        replayed = [f"  Replayed · happened {message.timestamp}"] * message.is_replayed
        lines = [f"● {text.title}", *(f"  {line}" for line in text.lines), *replayed, "", ""]
        self._out.write("\n".join(map(_printable, lines)))
        self._out.flush()
        return Delivered("printed")

    async def check(self) -> Sequence[Check]:
        return [Check("the terminal of the server takes text", ok=True)]

    async def aclose(self) -> None:
        self._out.flush()


def _printable(line: str) -> str:
    """*line* without control characters: a caller's name must not steer the terminal, nor begin a line of its own."""
    return "".join(char if char.isprintable() else "�" for char in line)
