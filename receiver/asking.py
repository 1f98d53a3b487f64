"""Asking the database beside the event loop, so that one that never answers keeps no process from ending."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def ask(question: Callable[[], T]) -> T:
    """What *question* returns, in a thread of its own.

    `asyncio.to_thread` would not do: its threads are waited for at the end, and one that asks a frozen server never
    ends.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def answer() -> None:
        try:
            result = question()
        except Exception as error:
            tell(future.set_exception, error)
        else:
            tell(future.set_result, result)

    def tell(how: Callable[[Any], None], what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(lambda: None if future.done() else how(what))

    threading.Thread(target=answer, name="asking", daemon=True).start()
    return await future
