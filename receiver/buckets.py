"""How much the quarantine may hold, and how fast it may be filled: anybody on the internet can write into it.

Each configured company has a bucket of its own, and all unknown ones have one together, so that a stranger who invents
names cannot fill the place of a company whose key is wrong. A bucket that is full takes in nothing new: what was there
first is not thrown out by a flood.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from receiver.quarantine import bytes_in
from receiver.writer import Writer

_log = get_logger(__name__)

_ASK_FOR = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class BucketLimits:
    """What is kept at most: bytes of bodies and headers by bucket, and writes a second of one process."""

    company_bytes: int = 100_000_000
    unknown_bytes: int = 10_000_000
    writes_a_second: int = 20
    refresh: timedelta = timedelta(seconds=10)

    def of(self, company: str | None) -> int:
        """The size of the bucket of *company*, or of the unknown ones, which None stands for."""
        return self.unknown_bytes if company is None else self.company_bytes


LIMITS = BucketLimits()


@dataclass(slots=True)
class _Level:
    """How full a bucket is taken to be, and when that was read."""

    bytes: int = 0
    read_at: float = float("-inf")


class Buckets:
    """Whether there is room for one more unproved request.

    The levels are kept in memory and read anew now and then, because other processes fill the buckets too: one may be
    passed by as much as arrives in between, which the write budget bounds.
    """

    def __init__(
        self, writer: Writer, limits: BucketLimits = LIMITS, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._writer = writer
        self._limits = limits
        self._levels: dict[str | None, _Level] = {}
        self._writes = float(limits.writes_a_second)
        self._counted_at = self._monotonic()

    async def admit(self, company: str | None, size: int) -> bool:
        """Whether *size* bytes for the bucket of *company* (None: of the unknown ones) may be written; they count."""
        level = self._levels.setdefault(company, _Level())
        if self._monotonic() - level.read_at > self._limits.refresh.total_seconds():
            await self._read(company, level)
        if level.bytes + size > self._limits.of(company) or not self._may_write(company):
            return False
        level.bytes += size
        return True

    async def _read(self, company: str | None, level: _Level) -> None:
        level.read_at = self._monotonic()  # before the answer: those who come meanwhile do not ask as well
        try:
            async with asyncio.timeout(_ASK_FOR):
                level.bytes = await self._writer.run(partial(bytes_in, company=company))
        except (DatabaseUnavailable, TimeoutError):
            return  # what is known has to do
        if level.bytes >= self._limits.of(company) * 0.9:
            _log.warning("quarantine.nearly_full", company=company, bytes=level.bytes, of=self._limits.of(company))

    def _may_write(self, company: str | None) -> bool:
        """Whether the write budget has one left. Unknown companies leave half of it to the known ones."""
        now, rate = self._monotonic(), self._limits.writes_a_second
        self._writes = min(rate, self._writes + (now - self._counted_at) * rate)
        self._counted_at = now
        if self._writes < 1 + (rate / 2 if company is None else 0):
            return False
        self._writes -= 1
        return True
