"""What a sink is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from routers.messages import Message
from routers.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `sinks test` looked at, in words for an operator. *remedy* says what to do where it is not ok."""

    what: str
    ok: bool
    remedy: str = ""


class Sink(Protocol):
    """A destination. It sends once and says what came of it. It never sleeps, retries, logs secrets or reads SQL."""

    async def deliver(self, message: Message) -> Outcome:
        """Send *message* once. What can be expected to go wrong is an outcome and no exception."""
        ...

    async def check(self) -> Sequence[Check]:
        """Try credentials and rights without telling people anything."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
