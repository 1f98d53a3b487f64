"""Work that comes round again and again: heartbeats, retention, alarms, replays.

A job is done by whichever process finds it due: its timer is a row, so there is no leader and no cron. A job of its own
process alone, like a heartbeat, needs no row.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Update, or_, update

from receiver.bulk import BulkInsert
from receiver.clock import Clock
from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from receiver.writer import Writer
from routers.schema import timers

_log = get_logger(__name__)

# Who is at a job says so anew before this is over. After a crash the job rests for as long. A process that was frozen
# for longer may find another at its job: each piece of the work must bear that.
LEASE = timedelta(seconds=30)
_RENEW_EVERY = LEASE / 3
_LAST_WORDS = timedelta(seconds=5)

_insert = BulkInsert(timers, timers.c.purpose, timers.c.subject, timers.c.due_at)


@dataclass(frozen=True, slots=True)
class Job:
    """What is done every *every*.

    Attributes:
        work: One round. It goes through the writer in small pieces; what it raises is logged and tried again.
        is_shared: One process does it for all, whichever finds it due; else each does it for itself.
    """

    name: str
    every: timedelta
    work: Callable[[], Awaitable[object]]
    is_shared: bool = True


class Periodic:
    """The jobs of a process."""

    def __init__(self, writer: Writer, clock: Clock, jobs: Sequence[Job]) -> None:
        self._writer = writer
        self._clock = clock
        self._jobs = jobs
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Do each job when it is due, until `stop`."""
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._repeat(job))
            await self._stopping.wait()

    def stop(self) -> None:
        """Begin no further round; one that is under way is broken off if it does not end soon."""
        self._stopping.set()

    async def _repeat(self, job: Job) -> None:
        while not self._stopping.is_set():
            round_ = asyncio.create_task(self._round(job))
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([round_, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not round_.done():
                await asyncio.wait([round_], timeout=_LAST_WORDS.total_seconds())
                round_.cancel()
            stopping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await round_
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), job.every.total_seconds())

    async def _round(self, job: Job) -> None:
        try:
            if not job.is_shared:
                await job.work()
            elif await self._writer.run(lambda conn: take_turn(conn, job, self._clock.now(conn))):
                await self._do(job)
        except DatabaseUnavailable:
            pass  # the writer has said so
        except Exception:  # it must not end the jobs beside it
            _log.exception("periodic.job_failed", job=job.name)

    async def _do(self, job: Job) -> None:
        """The round of a job whose turn we have."""
        renewing = asyncio.create_task(self._renew(job))
        try:
            await job.work()
        except BaseException:  # whoever finds it next tries it again; if this cannot be told either, the lease ends
            with contextlib.suppress(DatabaseUnavailable):
                await self._writer.run(lambda conn: leave_turn(conn, job))
            raise
        finally:
            renewing.cancel()
        await self._writer.run(lambda conn: end_turn(conn, job, self._clock.now(conn)))

    async def _renew(self, job: Job) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY.total_seconds())
            with contextlib.suppress(DatabaseUnavailable):
                await self._writer.run(lambda conn: keep_turn(conn, job, self._clock.now(conn)))


def take_turn(conn: Connection, job: Job, now: datetime) -> bool:
    """Whether *job* is due and nobody is at it; then its timer is leased."""
    _insert(conn, [(job.name, "", now)])
    is_free = or_(timers.c.lease_until.is_(None), timers.c.lease_until < now)
    due = _timer_of(job).where(timers.c.due_at <= now, is_free)
    return conn.execute(due.values(lease_until=now + LEASE)).rowcount == 1


def keep_turn(conn: Connection, job: Job, now: datetime) -> None:
    """We are still at *job*."""
    conn.execute(_timer_of(job).values(lease_until=now + LEASE))


def leave_turn(conn: Connection, job: Job) -> None:
    """*job* could not be done, and is as due as it was."""
    conn.execute(_timer_of(job).values(lease_until=None))


def end_turn(conn: Connection, job: Job, now: datetime) -> None:
    """*job* is done for this time."""
    # A little less than its interval, or the sleeper who did it now finds it not quite due at the next waking.
    conn.execute(_timer_of(job).values(lease_until=None, due_at=now + job.every * 0.9))


def _timer_of(job: Job) -> Update:
    return update(timers).where(timers.c.purpose == job.name, timers.c.subject == "")
