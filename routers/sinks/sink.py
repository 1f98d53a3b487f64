"""What a sink is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from routers.messages import Message
from routers.outcomes import Outcome, Rejected


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `sinks test` looked at, in words for an operator. *remedy* says what to do where it is not ok."""

    what: str
    ok: bool
    remedy: str = ""


@runtime_checkable
class NeedsSetUp(Protocol):
    """A destination in which something of ours has to be made before anything is sent."""

    async def plan_setup(self) -> Sequence[str]:
        """What there is to be made, in sentences for an operator; nothing is made."""
        ...

    async def set_up(self) -> Sequence[Check]:
        """Make what is missing, and look at all."""
        ...


Prepared = Callable[[], Awaitable[Outcome]]
"""A message as it will leave. Called once, it is sent once, and says what came of it as `Sink.deliver` does."""


def refused(reason: str) -> Prepared:
    """In place of a message that cannot be written: nothing leaves, and it is `Rejected` for *reason*."""

    async def send() -> Outcome:
        return Rejected(reason)

    return send


@runtime_checkable
class Prepares(Protocol):
    """A sink that can write what it sends before it is sent.

    Messages that are written one after another, and then sent one after another, take a seventh less of the
    processor than those written and sent by turns (measured): its caches hold the code of the one or of the other.
    """

    def prepare(self, message: Message) -> Prepared:
        """Write what tells *message*; nothing leaves yet."""
        ...


class Sink(Protocol):
    """A destination. It sends once and says what came of it; it never sleeps, retries or reads the database."""

    async def deliver(self, message: Message) -> Outcome:
        """Send *message* once. What can be expected to go wrong is an outcome and no exception."""
        ...

    async def check(self) -> Sequence[Check]:
        """Try credentials and rights without telling people anything."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
