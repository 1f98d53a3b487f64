"""The single writer: one thread through which everything this process writes reaches the database.

Many requests share one COMMIT. The thread takes what waits and never waits for more, so a batch is as large as the
load makes it. Waiting intake rows go first, then one function of a connection, all in one transaction; who waits is
told after the COMMIT. Under a flood of webhooks the functions get only a share of the time (`receiver/turns.py`). Reads
inside such a function see what they are about to change, so read-merge-write is safe.

Two classes of errors. A *data* error lies in a row: the members of the batch are tried singly, and only the guilty one
fails. A *database* error, or a COMMIT that does not come, fails everyone who waits: nobody is told "stored" on hope.
Rows are given up on soon, because CallRail waits and there is the spool. Functions are not: what one did may be
committed after all, and its caller would not know.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, exc

from receiver.database import Database, driver_text, find_by_index, is_data_error, is_database_error
from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from receiver.turns import Turns

_log = get_logger(__name__)

# Group commit of 32 to 64 is the sweet spot; larger batches only lengthen the tail (measured).
MAX_BATCH = 64
STALLED_AFTER = timedelta(seconds=1.5)
FUNCTIONS_STALLED_AFTER = timedelta(seconds=10)
STOP_WITHIN = timedelta(seconds=5)
_STOP_LOOK_EVERY = 0.02  # seconds
_RECONNECT_PAUSE = 0.2
_SAY_AGAIN_AFTER = 10.0  # seconds until the same trouble of the database is logged again

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(slots=True)
class _Waiting:
    """A row or a function on its way into the database, and who waits for it."""

    future: asyncio.Future[Any]
    row: Row | None = None
    function: Callable[[Connection], Any] | None = None
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Start it on the event loop that will use it.

    Args:
        insert_rows: Stores a batch of intake rows in one statement.

    Attributes:
        on_stored: Called on the event loop after each COMMIT that held intake rows.
    """

    def __init__(
        self,
        database: Database,
        insert_rows: Callable[[Connection, Sequence[Row]], None],
        *,
        stalled_after: timedelta = STALLED_AFTER,
        functions_stalled_after: timedelta = FUNCTIONS_STALLED_AFTER,
    ) -> None:
        self._engine = database.writing
        self._insert_rows = insert_rows
        self.on_stored: Callable[[], None] = lambda: None
        self._stalled_after = stalled_after.total_seconds()
        self._functions_stalled_after = functions_stalled_after.total_seconds()
        self._rows: deque[_Waiting] = deque()
        self._functions: deque[_Waiting] = deque()
        self._in_hand: list[_Waiting] = []
        self._in_hand_since = 0.0
        self._turns = Turns()
        self._said = ""
        self._said_at = 0.0
        self._wake = threading.Event()
        self._running = False
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._watch: asyncio.TimerHandle

    def start(self) -> None:
        """Begin to write. Does not wait for the database."""
        self._loop = asyncio.get_running_loop()
        self._running = True
        self._thread.start()
        self._look_for_a_stall()

    async def stop(self) -> None:
        """Write what waits, then end; a database that does not answer is not waited for longer than `STOP_WITHIN`."""
        self._running = False
        self._wake.set()
        end = time.monotonic() + STOP_WITHIN.total_seconds()
        # Not on a thread of the loop's: those may all wait for the same database.
        while self._thread.is_alive() and not self.is_stalled and time.monotonic() < end:  # noqa: ASYNC110  (a thread)
            await asyncio.sleep(_STOP_LOOK_EVERY)
        self._watch.cancel()
        self._give_up([*self._in_hand, *self._rows, *self._functions], "the writer has ended")

    def hurry(self) -> None:
        """The process is about to end: from now on functions are given up as soon as rows are."""
        self._functions_stalled_after = min(self._functions_stalled_after, self._stalled_after)

    async def store(self, row: Row) -> None:
        """Return when *row* is durable.

        Raises:
            DatabaseUnavailable: It is not known to be; the caller must not say that it is.
            Exception: The database refused this very row (a data error).
        """
        await self._wait_in(self._rows, row=row)

    @property
    def is_stalled(self) -> bool:
        """Whether the transaction in hand has waited too long for its COMMIT."""
        return self._waited() > self._stalled_after

    @property
    def is_flooded(self) -> bool:
        """Whether so many rows come in that what else is written should be short."""
        return self._turns.is_flood(time.monotonic())

    def give_up_rows(self, why: str) -> None:
        """Fail every row that waits, also in the transaction in hand: it is kept elsewhere."""
        self._give_up([waiting for waiting in [*self._in_hand, *self._rows] if waiting.row is not None], why)

    async def run(self, function: Callable[[Connection], T]) -> T:
        """What *function* returns, after the COMMIT of all it did. At most 20 ms of work: everyone waits behind it.

        Raises:
            DatabaseUnavailable: The transaction is not known to be committed.
            Exception: Whatever *function* raised; nothing it did is stored.
        """
        result: T = await self._wait_in(self._functions, function=function)
        return result

    def _wait_in(self, queue: deque[_Waiting], **what: Any) -> asyncio.Future[Any]:
        if not self._running:
            raise DatabaseUnavailable("the writer is not running")
        waiting = _Waiting(self._loop.create_future(), **what)
        queue.append(waiting)
        self._wake.set()
        return waiting.future

    # --- on the event loop -------------------------------------------------------------------------------------------

    def _tell(self, done: list[_Waiting]) -> None:
        for waiting in done:
            if waiting.future.done():  # given up on, or its request was cancelled
                continue
            if isinstance(waiting.error, StopIteration):  # asyncio refuses to hand this one on
                waiting.future.set_exception(RuntimeError("the function raised StopIteration"))
            elif waiting.error is not None:
                waiting.future.set_exception(waiting.error)
            else:
                waiting.future.set_result(waiting.result)
        if any(waiting.row is not None and waiting.error is None for waiting in done):
            self.on_stored()

    def _look_for_a_stall(self) -> None:
        """Give up on those who wait when the transaction in hand has waited too long. What it stores later is harmless:
        the same id is never stored twice, and nobody was told that it was."""
        if self.is_stalled:
            self.give_up_rows(f"no commit within {self._stalled_after:g} s")
        if self._waited() > self._functions_stalled_after:
            why = f"no commit within {self._functions_stalled_after:g} s"
            self._give_up([*self._in_hand, *self._functions], why)
        self._watch = self._loop.call_later(self._stalled_after / 10, self._look_for_a_stall)

    def _waited(self) -> float:
        return time.monotonic() - self._in_hand_since if self._in_hand else 0.0

    def _give_up(self, those: list[_Waiting], why: str) -> None:
        for waiting in those:
            if not waiting.future.done():
                waiting.future.set_exception(DatabaseUnavailable(why))

    # --- on the writer's thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        conn: Connection | None = None
        while True:
            self._wake.wait()
            self._wake.clear()
            running = self._running  # read before the queues: what was queued before the end is still written
            while self._rows or self._functions:
                self._in_hand_since = time.monotonic()
                self._in_hand = batch = self._take()
                if not batch:  # the functions' turn comes later, unless webhooks come first
                    self._wake.wait(self._turns.wait(time.monotonic()))
                    self._wake.clear()
                    continue
                try:
                    conn = self._write(conn, batch)
                except BaseException as error:  # whatever it is, who waits is told, and the next batch is written
                    conn = None
                    self._engine.dispose()  # and with it a connection in no known state
                    for waiting in batch:
                        waiting.error = DatabaseUnavailable(f"the writer failed: {type(error).__name__}")
                self._in_hand = []
                try:
                    self._loop.call_soon_threadsafe(self._tell, batch)
                except RuntimeError:  # the loop is closed: nobody is left to be told
                    return
            if not running:
                if conn is not None:
                    conn.close()
                return

    def _take(self) -> list[_Waiting]:
        batch = [self._rows.popleft() for _ in range(min(len(self._rows), MAX_BATCH))]
        self._turns.rows_taken(len(batch), self._in_hand_since)
        if self._functions and (not self._running or self._turns.wait(self._in_hand_since) <= 0):
            batch.append(self._functions.popleft())
        return [waiting for waiting in batch if not waiting.future.done()]

    def _write(self, conn: Connection | None, batch: list[_Waiting], *, again: bool = True) -> Connection | None:
        """Write *batch*, noting on each member what became of it. The connection to go on with, None if it broke."""
        for waiting in batch:
            waiting.error = None  # of an earlier try
        try:
            if conn is None:
                conn = self._engine.connect()
                find_by_index(conn)
            self._transact(conn, batch)
        except Exception as error:
            if not is_database_error(error) and len(batch) > 1:
                return self._write_singly(conn, batch)
            rows = [waiting for waiting in batch if waiting.row is not None]
            if is_database_error(error) and rows and again:
                # A cut connection, or a function's deadlock, must not cost events: nobody posts them again.
                conn = self._fail(conn, [waiting for waiting in batch if waiting.row is None], error)
                return self._write(conn, rows, again=False)
            return self._fail(conn, batch, error)
        return conn

    def _write_singly(self, conn: Connection | None, batch: list[_Waiting]) -> Connection | None:
        for waiting in batch:
            conn = self._write(conn, [waiting])
        return conn

    def _transact(self, conn: Connection, batch: list[_Waiting]) -> None:
        rows = [waiting.row for waiting in batch if waiting.row is not None]
        with conn.begin():
            if rows:
                self._insert_rows(conn, rows)
            for waiting in batch:
                if waiting.function is None:
                    continue
                began = time.monotonic()
                if rows:
                    self._call_beside_rows(conn, waiting, waiting.function)
                else:
                    waiting.result = waiting.function(conn)
                self._turns.function_ran(began, time.monotonic())

    def _call_beside_rows(self, conn: Connection, waiting: _Waiting, function: Callable[[Connection], Any]) -> None:
        """Call *function* so that its own fault does not cost the intake rows of the same transaction."""
        try:
            with conn.begin_nested():
                waiting.result = function(conn)
        except exc.DBAPIError as error:
            if not is_data_error(error):
                raise
            waiting.error = error
        except Exception as error:  # whatever it is, its caller gets it
            waiting.error = error

    def _fail(self, conn: Connection | None, batch: list[_Waiting], error: Exception) -> Connection | None:
        """Note *error* on all of *batch*. A database error becomes `DatabaseUnavailable` and costs the connection."""
        if not is_database_error(error):
            for waiting in batch:
                waiting.error = error
            return conn
        self._say(driver_text(error), len(batch))
        for waiting in batch:
            waiting.error = DatabaseUnavailable("the database refused the transaction")
            waiting.error.__cause__ = error
        if conn is not None:
            conn.invalidate()
            conn.close()
        time.sleep(_RECONNECT_PAUSE)
        return None

    def _say(self, trouble: str, waiting: int) -> None:
        """Log *trouble*, but not at every try of an hour without a database."""
        if trouble == self._said and time.monotonic() - self._said_at < _SAY_AGAIN_AFTER:
            return
        self._said, self._said_at = trouble, time.monotonic()
        _log.error("writer.database_error", error=trouble, waiting=waiting)
