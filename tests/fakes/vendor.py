"""The server in front of a vendor's fake: it reads requests, lets faults have their way, and records everything."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from tests.fakes.destination import Conversation, Destination, Request
from tests.fakes.hubspot.faults import Fault, nothing_wrong
from tests.fakes.hubspot.refusals import Answer


class Named(Protocol):
    """A request, read. *operation* is a name for what it asks."""

    @property
    def operation(self) -> str: ...


A = TypeVar("A", bound=Named)


@dataclass
class Exchange(Generic[A]):
    """One request and what became of it.

    Attributes:
        at: By the fake's clock.
        answer: What the vendor said, whether or not the client heard it; None if it was not asked.
        fault: Name of the fault that it met; empty for none.
        is_over: Whether nothing more comes of it.
    """

    asked: A
    at: datetime
    answer: Answer | None = None
    fault: str = ""
    is_over: bool = False

    @property
    def operation(self) -> str:
        return self.asked.operation


@dataclass
class FakeVendor(ABC, Generic[A]):
    """What a vendor keeps, behind a URL."""

    destination: Destination
    exchanges: list[Exchange[A]] = field(default_factory=list)
    _next: list[tuple[str | None, deque[Fault]]] = field(default_factory=list)
    _always: list[tuple[str | None, float, Sequence[Fault], random.Random]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @abstractmethod
    def read(self, request: Request) -> A:
        """What *request* asks for."""

    @abstractmethod
    def answer(self, asked: A) -> Answer:
        """Do what is asked, and tell."""

    @abstractmethod
    def now(self) -> datetime:
        """The present moment over there."""

    @property
    def base_url(self) -> str:
        return self.destination.url

    @property
    def operations(self) -> list[str]:
        """What was asked for, in order."""
        return [exchange.operation for exchange in self.exchanges]

    def count(self, operation: str | None = None) -> int:
        """How many requests came, of one operation or of all."""
        found = [exchange.operation for exchange in self.exchanges]
        return len(found) if operation is None else found.count(operation)

    def meets(self, *faults: Fault, to: str | None = None) -> None:
        """The next requests, or the next that ask for *to*, meet these, one each."""
        self._next.append((to, deque(faults)))

    def always_meets(self, fault: Fault, *, to: str | None = None) -> None:
        """Every request meets it, or every one that asks for *to*, until `calms`."""
        self._always.append((to, 1.0, [fault], random.Random(0)))

    def sometimes_meets(
        self, *faults: Fault, share: float, rng: random.Random | None = None, to: str | None = None
    ) -> None:
        """A *share* of requests, drawn by *rng*, meets one of these, until `calms`."""
        self._always.append((to, share, faults, rng or random.Random(0)))

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
        asked = self.read(request)
        exchange = Exchange(asked, self.now())
        self.exchanges.append(exchange)

        def act() -> Answer:
            if exchange.answer is None:
                exchange.answer = self.answer(asked)
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
