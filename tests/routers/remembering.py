"""What a CRM sink remembers of one lead, in a dictionary: to try a sink alone, whose memory has tests of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from routers.messages import Message
from routers.sinks.crm import Known, Lead, Of, TurnTaken

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
_Key = tuple[str, Of, str]


@dataclass
class Memory:
    """The memory of whoever sends about *lead*; None for somebody who cannot be identified."""

    lead: Lead | None
    known: dict[_Key, Known] = field(default_factory=dict)
    intents: set[_Key] = field(default_factory=set)
    _is_held: bool = False
    _is_working: bool = False

    @asynccontextmanager
    async def turn(self, message: Message) -> AsyncIterator[Held]:
        if self._is_held:
            raise TurnTaken(timedelta(minutes=1))
        self._is_held = self._is_working = True
        turn = Held(self, message.callrail_id)
        try:
            yield turn
            self._is_held = turn.is_open
        finally:
            self._is_working = False

    def run_out(self) -> None:
        """The lease of whoever gave no turn back is over. One who is still at work keeps it."""
        self._is_held = self._is_working


@dataclass
class Held:
    """One turn; *is_open* if something of it may still act."""

    memory: Memory
    thing: str
    is_open: bool = False

    @property
    def lead(self) -> Lead | None:
        return self.memory.lead

    async def known(self, kind: str, of: Of) -> Known | None:
        return self.memory.known.get(self._key(kind, of))

    async def intended_for(self, kind: str, of: Of) -> timedelta | None:
        return timedelta(0) if self._key(kind, of) in self.memory.intents else None

    async def intend(self, kind: str, of: Of, written: str | None = None) -> None:
        self.memory.intents.add(self._key(kind, of))

    async def noted(self, kind: str, of: Of) -> str | None:
        known = await self.known(kind, of)
        return known.written if known is not None else None

    async def keep(self, kind: str, of: Of, remote_id: str, written: str | None = None) -> None:
        self.memory.intents.discard(self._key(kind, of))
        self.memory.known[self._key(kind, of)] = Known(remote_id, written)

    async def forget(self, kind: str, of: Of) -> None:
        self.memory.intents.discard(self._key(kind, of))
        self.memory.known.pop(self._key(kind, of), None)

    def may_still_act(self) -> None:
        self.is_open = True

    def _key(self, kind: str, of: Of) -> _Key:
        whose = self.memory.lead.id if of is Of.LEAD and self.memory.lead is not None else self.thing
        return kind, of, whose
