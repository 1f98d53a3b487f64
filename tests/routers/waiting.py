"""Waiting for what nothing announces, such as a row written by another process; bounded, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LONGEST = 60.0
_PAUSE = 0.01


def wait_until(condition: Callable[[], object], *, longest: float = LONGEST) -> None:
    """Return as soon as *condition* is true; an AssertionError after *longest* seconds."""
    deadline = time.monotonic() + longest
    while not condition():
        assert time.monotonic() < deadline, f"not within {longest:g} s: {condition.__qualname__}"
        time.sleep(_PAUSE)


async def until(condition: Callable[[], object], *, longest: float = LONGEST) -> None:
    """The same on an event loop, which goes on meanwhile; *condition* may read a database."""
    await asyncio.to_thread(wait_until, condition, longest=longest)
