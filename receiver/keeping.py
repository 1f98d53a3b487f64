"""Keeping what came in: in the database, or in the spool while the database is away.

Once one webhook had to go to the spool all further ones do, until the spool is empty: otherwise the end of a call could
be in the database, and be told, before its beginning is brought back. To bring something back twice is harmless: ids
are made at the intake, and the same id is never stored twice.

What holds the database back does not matter: if a COMMIT takes too long, be it for a lock, a checkpoint or a function
of our own, then CallRail must not wait for it. The first probe after it ends the spooling again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection

from receiver.database import answers
from receiver.exceptions import DatabaseUnavailable, ReceiverError
from receiver.loggers import get_logger
from receiver.records import event_record, insert_records, record_id
from receiver.spool import BATCH, SEGMENT_SIZE, Backlog, Spool, open_spool, take_over
from receiver.writer import STALLED_AFTER, Row, Writer

_log = get_logger(__name__)

PROBE_EVERY = timedelta(seconds=1)
PROBE_WITHIN = timedelta(seconds=2)
# How often a process looks for what dead ones left, and for a spool that could not be opened.
LOOK_EVERY = timedelta(seconds=10)
# Seconds for which requests wait while the last records are brought back.
_LAST_WITHIN = 0.5
_NO_COMMIT = f"no commit within {STALLED_AFTER.total_seconds():g} s"
# What cannot be proved may take this part of the spool: anybody can send it.
_PART_OF_UNPROVED = 10

P = ParamSpec("P")
T = TypeVar("T")


class SpoolUnavailable(DatabaseUnavailable):
    """Neither the database nor the spool takes it."""


class UnprovedNotKept(ReceiverError):
    """What cannot be proved has filled its part of the spool, or must not take more of the writer's time."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether what comes in can be kept, and where.

    *since*: when spooling began, None while the database is used; *spooled*: records that wait on disk.
    """

    can_keep: bool
    since: datetime | None
    spooled: int


class Keeper:
    """Start it on the event loop that will use it, after the writer, and stop it before.

    Args:
        folder: Where the spool is, for all processes of a database.

    Attributes:
        writer: Whose the direct way is.
        folder: As given.
        on_began: Called when spooling begins.
        on_answer: Awaited when the database answers again, before anything is brought back.
    """

    def __init__(
        self,
        writer: Writer,
        folder: Path,
        *,
        segment_size: int = SEGMENT_SIZE,
        probe_every: timedelta = PROBE_EVERY,
        look_every: timedelta = LOOK_EVERY,
    ) -> None:
        self.writer = writer
        self.folder = folder
        self._segment_size = segment_size
        self._probe_every = probe_every.total_seconds()
        self._look_every = look_every.total_seconds()
        self.on_began: Callable[[], None] = lambda: None
        self.on_answer: Callable[[], Awaitable[None]] = _nothing
        self.since: datetime | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._spool: Spool | None = None
        self._leftovers: list[Backlog] = []
        self._queue: list[tuple[bytes, asyncio.Future[None]]] = []
        self._appending: asyncio.Task[None] | None = None
        self._has_room = False
        self._said = ""
        self._taken = 0
        self._unproved = 0
        self._decided = asyncio.Event()  # not set while the last of the spool is brought back
        self._wake = asyncio.Event()
        self._asking = asyncio.Lock()
        self._running: asyncio.Task[None]

    async def start(self) -> None:
        """Open the spool and take over what dead processes left. Waits for the disk, not for the database."""
        await self._look()
        if self._leftovers and self._spool is not None:
            self._begin("an earlier process left webhooks in the spool")
        self._decided.set()
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End. What waits in the spool stays there for the next process."""
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        self._decided.set()
        if self._appending is not None:
            await self._appending
        await self._on_thread(self._close)
        self._thread.shutdown()

    # --- what comes in -----------------------------------------------------------------------------------------------

    async def keep(self, row: Row) -> None:
        """Return when *row* of `events` is durable, here or there, or set aside if the database refuses this very row.

        Raises:
            DatabaseUnavailable: It is not.
            Exception: It is not, because the database refused this very row (a data error) and there is no spool.
        """
        await self._decided.wait()
        if self.since is not None:
            try:
                return await self._append(event_record(row))
            except SpoolUnavailable:  # perhaps the database is back: better out of order than lost
                return await self.writer.store(row)
        try:
            await self.writer.store(row)
        except DatabaseUnavailable as error:
            self._begin(str(error))
            await self._append(event_record(row))
        except Exception as error:  # it lies in this row, and nobody posts it again
            if self._spool is None:
                raise
            await self._set_aside(self._spool, event_record(row), error)

    async def keep_unproved(self, insert: Callable[[Connection], T], record: bytes) -> T | None:
        """What *insert* returns; or None if *record* waits in the spool instead.

        Raises:
            UnprovedNotKept: It is not kept.
            DatabaseUnavailable: It is not, and nothing else would be.
        """
        await self._decided.wait()
        if self.since is None:
            try:
                async with asyncio.timeout(PROBE_WITHIN.total_seconds()):
                    return await self.writer.run(insert)
            except DatabaseUnavailable as error:
                self._begin(str(error))
            except TimeoutError:
                if not self.writer.is_stalled:  # there is only much to do, and proved ones go first
                    raise UnprovedNotKept from None
                self._begin(_NO_COMMIT)
        if self._spool is not None and self._unproved + len(record) > self._spool.allocated / _PART_OF_UNPROVED:
            raise UnprovedNotKept
        self._unproved += len(record)
        await self._append(record)
        return None

    async def condition(self) -> Condition:
        """Where a webhook would be kept now; asks the database unless that is known."""
        if self.since is None:
            try:
                # One question at a time waits behind the events.
                async with asyncio.timeout(PROBE_WITHIN.total_seconds()), self._asking:
                    await self.writer.run(answers)
            except DatabaseUnavailable as error:
                self._begin(str(error))
            except TimeoutError:
                if not self.writer.is_stalled:  # there is only much to do, and webhooks go first
                    return Condition(True, None, self.spooled)
                self._begin(_NO_COMMIT)
            else:
                return Condition(True, None, self.spooled)
        return Condition(self._has_room, self.since, self.spooled)

    @property
    def spooled(self) -> int:
        """How many records wait in the spool, also those that dead processes left."""
        own = self._spool.count if self._spool is not None else 0
        return own + sum(backlog.count for backlog in self._leftovers)

    def _begin(self, cause: str) -> None:
        if self.since is not None or self._spool is None:
            return
        self.since, self._taken, self._unproved = datetime.now(UTC), 0, 0
        _log.error("spool.began", cause=cause)
        self.writer.give_up_rows(cause)
        self._wake.set()
        self.on_began()

    # --- into the spool ----------------------------------------------------------------------------------------------

    async def _append(self, record: bytes) -> None:
        """Return when *record* is durable in the spool. What comes while one batch is synced is the next."""
        if self._spool is None:
            raise SpoolUnavailable("the database does not answer, and there is no spool")
        future = asyncio.get_running_loop().create_future()
        self._queue.append((record, future))
        if self._appending is None or self._appending.done():
            self._appending = asyncio.create_task(self._append_all(self._spool))
        await future

    async def _append_all(self, spool: Spool) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            try:
                await self._append_batch(spool, batch)
            except Exception as error:  # a fault of ours: who waits is told that it is not kept
                _log.exception("spool.not_appended")
                self._tell([future for _, future in batch], OSError(0, type(error).__name__))

    async def _append_batch(self, spool: Spool, batch: Sequence[tuple[bytes, asyncio.Future[None]]]) -> None:
        error = await self._on_thread(spool.append, [record for record, _ in batch])
        parts = [[waiting] for waiting in batch] if error is not None and len(batch) > 1 else [batch]
        for part in parts:
            if len(parts) > 1:  # perhaps only the largest found no room
                error = await self._on_thread(spool.append, [record for record, _ in part])
            self._tell([future for _, future in part], error)

    def _tell(self, futures: Sequence[asyncio.Future[None]], error: OSError | None) -> None:
        if error is None:
            self._taken += len(futures)
        else:
            self._complain(error)
        self._has_room = error is None
        for future in futures:
            if future.done():  # its request was cancelled
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(SpoolUnavailable(f"the spool cannot be written: {error.strerror}"))

    def _complain(self, error: OSError) -> None:
        if error.strerror != self._said:
            self._said = str(error.strerror)
            _log.error("spool.unusable", folder=str(self.folder), reason=error.strerror)

    # --- back into the database --------------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time() + self._look_every
        while True:
            is_busy = self.since is not None or self._leftovers
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._probe_every if is_busy else self._look_every)
            self._wake.clear()
            try:
                if loop.time() >= look_at or not self._has_room:
                    look_at = loop.time() + self._look_every
                    await self._look()
                if self.since is not None or self._leftovers:
                    await self._bring_back()
            except Exception:  # whatever it is, what waits must not wait for a restart
                _log.exception("spool.failed", folder=str(self.folder))

    async def _look(self) -> None:
        """See that there is a spool with room, and take over what dead processes left."""
        try:
            if self._spool is None:
                self._spool = await self._on_thread(open_spool, self.folder, segment_size=self._segment_size)
            found = await self._on_thread(take_over, self.folder)
            self._leftovers.extend(backlog for backlog in found if backlog.count)
            for backlog in found:
                if not backlog.count:
                    await self._on_thread(backlog.remove)
            await self._on_thread(self._spool.make_room)
        except OSError as error:
            self._has_room = False
            self._complain(error)
        else:
            self._has_room, self._said = True, ""

    async def _bring_back(self) -> None:
        """Everything, if the database answers: first what dead processes left, it is older."""
        try:
            async with asyncio.timeout(PROBE_WITHIN.total_seconds()):
                await self.writer.run(answers)
            await self.on_answer()
            while self._leftovers:
                await self._drain(self._leftovers[0])
                # Should it not let itself be removed, that holds up nothing.
                await self._on_thread(self._leftovers.pop(0).remove)
            if self.since is not None and self._spool is not None:
                await self._drain(self._spool, leave=BATCH)
                await self._end(self._spool)
        except (DatabaseUnavailable, TimeoutError):
            pass  # the next probe comes
        except OSError as error:
            self._has_room = False  # until somebody has looked
            self._complain(error)

    async def _drain(self, backlog: Backlog, *, leave: int = 0) -> None:
        """Bring *backlog* back until less than *leave* records wait, but one batch at least: it is not hurried here."""
        while (batch := await self._on_thread(backlog.read)).records:
            try:
                await self.writer.run(partial(insert_records, records=batch.records))
            except DatabaseUnavailable:
                raise
            except Exception:  # it lies in one of them
                await self._insert_singly(backlog, batch.records)
            await self._on_thread(backlog.forward, batch)
            self.writer.on_stored()
            if backlog.count < leave:
                break

    async def _insert_singly(self, backlog: Backlog, records: Sequence[bytes]) -> None:
        for record in records:
            try:
                await self.writer.run(partial(insert_records, records=[record]))
            except DatabaseUnavailable:
                raise
            except Exception as error:  # set aside, or it would hold up all that come after it
                await self._set_aside(backlog, record, error)

    async def _set_aside(self, backlog: Backlog, record: bytes, error: Exception) -> None:
        name = record_id(record)
        path = await self._on_thread(backlog.refuse, name, record)
        _log.error("spool.refused", id=name, reason=type(error).__name__, file=str(path))

    async def _end(self, spool: Spool) -> None:
        """Bring back the last records while further ones wait a moment: under load the spool would never be empty."""
        self._decided.clear()
        try:
            async with asyncio.timeout(_LAST_WITHIN):
                if self._appending is not None:
                    await asyncio.wait([self._appending])
                await self._drain(spool)
            assert self.since is not None  # noqa: S101  (only this ends it)
            seconds = (datetime.now(UTC) - self.since).total_seconds()
            _log.info("spool.ended", webhooks=self._taken, seconds=round(seconds, 1))
            self.since = None
        finally:
            self._decided.set()
        await self._on_thread(spool.renew)  # before whatever may come to it next: there is one thread

    # --- the spool's thread ------------------------------------------------------------------------------------------

    async def _on_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(function, *args, **kwargs))

    def _close(self) -> None:
        for backlog in [*self._leftovers, *([self._spool] if self._spool is not None else [])]:
            if backlog.count or backlog.read().records:
                backlog.close()
            else:
                backlog.remove()


async def _nothing(*_: Any) -> None:
    """Nobody is to be told."""
