"""A receiver of signed webhooks: the `Destination`, its requests read as Standard Webhooks describes them.

How it answers is the destination's: any status, a redirect, a 500 and then a 200, nothing, or a reset.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from tests.fakes.destination import Behaviour, Conversation, Destination, Request, answer, running_destination

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Webhook:
    """One webhook as it arrived."""

    id: str
    sent_at: int
    type: str
    timestamp: str
    data: dict[str, Any]


def webhook_of(request: Request) -> Webhook:
    """*request* read; fails if it is none."""
    told = orjson.loads(request.body)
    assert told.keys() == {"type", "timestamp", "data"}
    return Webhook(request.headers["webhook-id"], int(request.headers["webhook-timestamp"]), **told)


def ids_of(requests: Sequence[Request]) -> list[str]:
    """The `webhook-id` of each request, in order of arrival."""
    return [request.headers["webhook-id"] for request in requests]


def times_arrived(requests: Sequence[Request]) -> Counter[str]:
    """How often each `webhook-id` arrived."""
    return Counter(ids_of(requests))


def answer_when(released: asyncio.Event, behaviour: Behaviour | None = None) -> Behaviour:
    """Behave so, by default answer 200, once *released* is set."""

    async def behave(conversation: Conversation) -> None:
        await released.wait()
        await (behaviour or answer(200))(conversation)

    return behave


def slowly(behaviour: Behaviour, *, seconds: float) -> Behaviour:
    """Behave so after some work, as a real receiver does."""

    async def behave(conversation: Conversation) -> None:
        await asyncio.sleep(seconds)
        await behaviour(conversation)

    return behave


def first(behaviour: Behaviour, then: Callable[[], None]) -> Behaviour:
    """Behave so, and before that do *then*: to change what follows."""

    async def behave(conversation: Conversation) -> None:
        then()
        await behaviour(conversation)

    return behave


@contextmanager
def receiver_in_a_thread() -> Iterator[Destination]:
    """A running destination on a loop and a thread of its own, for a test that runs the router as a process."""
    ready, stop = threading.Event(), asyncio.Event()
    running: list[tuple[Destination, asyncio.AbstractEventLoop]] = []

    async def run() -> None:
        async with running_destination() as destination:
            running.append((destination, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="receiver of webhooks")
    thread.start()
    assert ready.wait(timeout=30)
    destination, loop = running[0]
    try:
        yield destination
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
