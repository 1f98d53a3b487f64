"""A message: what one sink is to be told of one transition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from routers.transitions import Transition


@dataclass(frozen=True, slots=True)
class Message:
    """Rendered for people in *title* and *lines*, and as *data* for systems.

    *key* is the delivery's id: the same in every try, so that a receiver can tell a repeat.
    """

    key: str
    transition: Transition
    company: str
    occurred_at: datetime
    title: str
    lines: tuple[str, ...]
    data: Mapping[str, Any]
