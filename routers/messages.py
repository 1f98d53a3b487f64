"""A message: what one sink is to be told of one transition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from routers.escapes import Escape, plain
from routers.transitions import Transition


@dataclass(frozen=True, slots=True)
class Text:
    """What people read: a title, and lines that may be none. Neither holds a line break."""

    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """For systems in *data*; for people in `text`, which is written only for a sink that asks.

    *key* is the delivery's id: the same in every try, so that a receiver can tell a repeat.
    """

    key: str
    transition: Transition
    company: str
    occurred_at: datetime
    data: Mapping[str, Any]
    write: Callable[[Escape], Text]

    def text(self, escape: Escape = plain) -> Text:
        """The text, with what CallRail told escaped for the sink that asks. Never raises."""
        return self.write(escape)
