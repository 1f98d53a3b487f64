"""Fetching: what is pending of one account is asked for at CallRail, and kept.

CallRail prepares a recording for some minutes after a call (observed: one to three, documented: up to twenty before it
posts without). Until then it answers 404, or tells no address (assumed); it is asked again at growing intervals, and
given up in the end. What the account or our own machine is at fault for counts as no try, and waits until somebody
mends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from callrail.downloading import in_thread
from callrail.exceptions import (
    AnswerError,
    BudgetSpent,
    CallRailError,
    ForeignHost,
    HttpError,
    InvalidRequest,
    NoFile,
    NoNetwork,
    NotFound,
    RateLimited,
    TooLong,
    Unauthorized,
)
from receiver.clock import Clock
from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from receiver.writer import Writer
from routers.audience import Audience
from routers.media.folder import NotAllowed, keep, make, part_of, remove
from routers.media.rows import Kept, Lease, Step, claim_due, give_back, is_there, record_step
from routers.media.settings import MediaConfig
from routers.schema import MediaState
from routers.sinks.config import SCHEDULES

if TYPE_CHECKING:
    from callrail.client import CallRail

_log = get_logger(__name__)

FETCH_EVERY = timedelta(seconds=5)
DEADLINE = timedelta(minutes=9)  # for one file, however slowly it comes
LEASE = timedelta(minutes=10)
AT_ONCE = 4
# While CallRail prepares it; after these it is taken for gone.
PREPARING: Sequence[timedelta] = tuple(timedelta(seconds=each) for each in (10, 30, 60, 120, 300, 600, 1200, 3600))
FAILING: Sequence[timedelta] = SCHEDULES[Audience.SYSTEMS]
# After what keeps all files of the account, or of this machine, from being fetched.
REST = timedelta(minutes=5)
_JITTER = 0.1
_LEFT_FREE = 256 * 1024 * 1024


class Fault(Enum):
    """Whose fault it is that a file was not kept, and so what is done about it."""

    NOT_YET = "not yet"  # CallRail has none, or none yet
    FILE = "file"  # it may not be kept, whoever asks
    FAILED = "failed"  # this try
    OTHERS = "others"  # the account's, the network's, or the disk's: other files would fare no better


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file was not kept, in words that hold no link. *free_at*: it is known until when that holds."""

    fault: Fault
    reason: str
    free_at: datetime | None = None


class Fetching:
    """The files of one account.

    Args:
        companies: Whose files those are.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        client: CallRail,
        companies: Collection[str],
        config: MediaConfig,
        rng: random.Random,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._client = client
        self._companies = companies
        self._config = config
        self._folder = config.path
        self._rng = rng
        self._rests_until: datetime | None = None

    async def fetch(self) -> None:
        """Fetch what is due, until nothing is or nothing can be had for a while."""
        for ended in await asyncio.gather(*(self._fetch_on() for _ in range(AT_ONCE)), return_exceptions=True):
            if ended is not None:
                raise ended

    async def _fetch_on(self) -> None:
        """One after another: a file that is slow holds up no other."""
        while leases := await self._writer.run(self._claim):
            await self._fetch_one(*leases)

    def _claim(self, conn: Connection) -> list[Lease]:
        now = self._clock.now(conn)
        if self._rests_until is not None and now < self._rests_until <= now + REST:  # not so if the clock was set back
            return []
        return claim_due(conn, companies=self._companies, now=now, lease_for=LEASE, limit=1)

    async def _fetch_one(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                came_of_it: Kept | Failure = await self._kept(lease)
        except asyncio.CancelledError:  # an orderly end: who comes next need not wait for us
            with contextlib.suppress(DatabaseUnavailable):
                await self._writer.run(lambda conn: give_back(conn, lease, now=self._clock.now(conn)))
            raise
        except (CallRailError, NotAllowed, OSError) as error:  # TimeoutError is one of the last
            came_of_it = failure_of(error)
        except DatabaseUnavailable:  # in which the allowance is counted; it is taken up again when the lease is over
            raise
        except Exception as error:  # or it would be tried for ever
            _log.exception("media.failed", media_id=lease.id)
            came_of_it = Failure(Fault.FAILED, type(error).__name__)
        await self._record(lease, came_of_it)

    async def _kept(self, lease: Lease) -> Kept:
        """Fetch a file, and keep it.

        Raises:
            CallRailError, TimeoutError: It cannot be had.
            NotAllowed: It is not to be kept.
            OSError: It cannot be written.
        """
        part = part_of(self._folder, lease)
        await in_thread(make, self._folder)
        if (await in_thread(shutil.disk_usage, self._folder)).free < _LEFT_FREE + AT_ONCE * self._config.max_size:
            raise OSError(errno.ENOSPC, "the disk is nearly full")  # which may hold the database and the spool, too
        saved = await self._client.download(
            f"/v3/a/{{account_id}}/{lease.source}",
            part,
            max_bytes=self._config.max_size,
            only_from=self._config.hosts,
        )
        if not saved.size:
            await in_thread(part.unlink)
            raise NoFile("download", 200, "it is empty")
        return await in_thread(keep, part, lease, saved.content_type, self._config)

    async def _record(self, lease: Lease, came_of_it: Kept | Failure) -> None:
        def record(conn: Connection) -> tuple[Step, bool]:
            now = self._clock.now(conn)
            step = next_step(came_of_it, attempts=lease.attempts, now=now, rng=self._rng)
            if step.kept is not None and self._config.keep_for is not None:
                # It holds also if nothing of the account is fetched any more by then.
                step = replace(step, keep_until=now + self._config.keep_for)
            if isinstance(came_of_it, Failure) and came_of_it.fault is Fault.OTHERS:
                self._rests_until = now + REST
            return step, record_step(conn, lease, step, now=now) or is_there(conn, lease)

        step, is_known = await self._writer.run(record)
        # A file of which another try has another one is swept; a name that both have must stay.
        if step.kept is not None and not is_known:  # the person was erased meanwhile
            await in_thread(remove, step.kept.path)
        _log.info("media.tried", media_id=lease.id, state=step.state.value, attempts=step.attempts, reason=step.reason)


# --- decides ---------------------------------------------------------------------------------------------------------


def failure_of(error: Exception) -> Failure:
    """What *error* means for the file. The text of those that may hold a link stays here."""
    match error:
        case NotFound() | NoFile():
            return Failure(Fault.NOT_YET, "CallRail has no such file, or not yet")
        case TooLong():
            return Failure(Fault.FILE, f"too large: {error.said}")
        case NotAllowed() | ForeignHost() | InvalidRequest():
            return Failure(Fault.FILE, str(error))
        case BudgetSpent():
            return Failure(Fault.OTHERS, "the account's allowance is used up", error.free_at)
        case Unauthorized() | RateLimited():
            said = "the key is wrong" if isinstance(error, Unauthorized) else "the account's allowance is used up"
            return Failure(Fault.OTHERS, f"{said} ({error.status})")
        case AnswerError():
            return Failure(Fault.FAILED, f"answered {error.status}{f': {error.said}' if error.said else ''}")
        case TimeoutError():
            return Failure(Fault.FAILED, f"it was not whole within {DEADLINE.total_seconds() / 60:g} minutes")
        case OSError():
            return Failure(Fault.OTHERS, f"it cannot be written: {(error.strerror or type(error).__name__).lower()}")
        case NoNetwork():
            return Failure(Fault.OTHERS, f"our own network: {error}")
        case _:
            return Failure(Fault.FAILED, str(error) if isinstance(error, HttpError) else type(error).__name__)


def next_step(came_of_it: Kept | Failure, *, attempts: int, now: datetime, rng: random.Random) -> Step:
    """What follows for a file that was tried *attempts* times before. Jitter only lengthens a wait."""
    if isinstance(came_of_it, Kept):
        return Step(MediaState.STORED, attempts + 1, kept=came_of_it)
    reason, tried = "".join(filter(str.isprintable, came_of_it.reason))[:500], attempts + 1
    match came_of_it.fault:
        case Fault.FILE:
            return Step(MediaState.REFUSED, tried, f"refused: {reason}")
        case Fault.OTHERS:
            return Step(MediaState.PENDING, attempts, f"waits: {reason}", max(came_of_it.free_at or now, now + REST))
        case Fault.NOT_YET | Fault.FAILED:
            schedule = PREPARING if came_of_it.fault is Fault.NOT_YET else FAILING
            if tried > len(schedule):
                return Step(MediaState.GONE, tried, f"gave up after {tried} tries: {reason}")
            wait = schedule[tried - 1] * (1 + _JITTER * rng.random())
            return Step(MediaState.PENDING, tried, f"tried again: {reason}", now + wait)
