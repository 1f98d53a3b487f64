"""The server in front of the org: it reads requests, lets faults have their way, and records everything."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tests.fakes.destination import Conversation, Destination, running_destination
from tests.fakes.salesforce.api import Api, Asked, read
from tests.fakes.salesforce.faults import Fault, nothing_wrong
from tests.fakes.salesforce.limits import Limits
from tests.fakes.salesforce.org import Org
from tests.fakes.salesforce.refusals import Answer


@dataclass
class Exchange:
    """One request and what became of it.

    Attributes:
        at: By the fake's clock.
        answer: What the org said, whether or not the client heard it; None if it was not asked.
        fault: Name of the fault that it met; empty for none.
        is_over: Whether nothing more comes of it.
    """

    asked: Asked
    at: datetime
    answer: Answer | None = None
    fault: str = ""
    is_over: bool = False

    @property
    def operation(self) -> str:
        return self.asked.operation


@dataclass
class FakeSalesforce:
    """The org behind a URL."""

    destination: Destination
    api: Api = field(default_factory=Api)
    exchanges: list[Exchange] = field(default_factory=list)
    _next: list[tuple[str | None, deque[Fault]]] = field(default_factory=list)
    _always: list[tuple[str | None, float, Sequence[Fault], random.Random]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def base_url(self) -> str:
        return self.destination.url

    @property
    def org(self) -> Org:
        return self.api.org

    @property
    def operations(self) -> list[str]:
        """What was asked for, in order, without the requests for a session."""
        return [exchange.operation for exchange in self.exchanges if exchange.operation != "token"]

    def count(self, operation: str) -> int:
        """How many requests came of one operation."""
        return sum(exchange.operation == operation for exchange in self.exchanges)

    def meets(self, *faults: Fault, to: str | None = None) -> None:
        """The next requests, or the next that ask for *to*, meet these, one each."""
        self._next.append((to, deque(faults)))

    def always_meets(self, fault: Fault, *, to: str | None = None) -> None:
        """Every request meets it, or every one that asks for *to*, until `calms`."""
        self._always.append((to, 1.0, [fault], random.Random(0)))

    def sometimes_meets(self, *faults: Fault, share: float, rng: random.Random, to: str | None = None) -> None:
        """A *share* of requests, drawn by *rng*, meets one of these, until `calms`."""
        self._always.append((to, share, faults, rng))

    def calms(self) -> None:
        """Nothing is wrong any more."""
        self._next.clear()
        self._always.clear()

    async def settled(self) -> None:
        """Wait until every request that came is over, also those that are done too late."""
        async with self._news:
            await self._news.wait_for(lambda: all(exchange.is_over for exchange in self.exchanges))

    async def behave(self, conversation: Conversation) -> None:
        request = conversation.request
        assert request is not None
        asked = read(request.method, request.target, request.headers, request.body)
        exchange = Exchange(asked, self.org.clock())
        self.exchanges.append(exchange)

        def act() -> Answer:
            if exchange.answer is None:
                exchange.answer = self.api.answer(asked)
            return exchange.answer

        fault = self._fault_for(asked.operation)
        if fault is not nothing_wrong:
            exchange.fault = fault.__qualname__.partition(".")[0]
        try:
            await fault(conversation, act)
        finally:
            exchange.is_over = True
            async with self._news:
                self._news.notify_all()

    def _fault_for(self, operation: str) -> Fault:
        for to, faults in self._next:
            if faults and to in (None, operation):
                return faults.popleft()
        for to, share, choice, rng in self._always:
            if to in (None, operation) and rng.random() < share:
                return rng.choice(choice)
        return nothing_wrong


@asynccontextmanager
async def running_salesforce(org: Org | None = None, limits: Limits | None = None) -> AsyncIterator[FakeSalesforce]:
    """A `FakeSalesforce` with an org without records and own fields, unless one is given."""
    async with running_destination() as destination:
        salesforce = FakeSalesforce(destination, Api(org or Org(), limits or Limits()))
        destination.behaves(salesforce.behave)
        yield salesforce
