"""The time, from one source a transaction: read once and passed on, never `now()` amid a statement.

On PostgreSQL it is the server's, so that several machines agree. On SQLite it is this machine's, watched: a clock set
back must not leave leases and due times in the future for as long as it was wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sqlalchemy import Connection, text

from receiver.loggers import get_logger

_log = get_logger(__name__)

JUMP = timedelta(seconds=5)
ASK_EVERY = 1.0  # seconds

OnJump = Callable[[Connection, timedelta], None]


class Clock(Protocol):
    def now(self, conn: Connection) -> datetime:
        """The present moment in UTC, as this transaction is to see it."""
        ...


class DatabaseClock:
    """The clock of PostgreSQL, asked once a second: each question is a round trip. Between two it runs on by ours."""

    def __init__(self) -> None:
        self._told = (datetime.min.replace(tzinfo=UTC), -ASK_EVERY)  # and when; in one, for two threads may ask

    def now(self, conn: Connection) -> datetime:
        told, told_at = self._told
        since = time.monotonic() - told_at
        if not since < ASK_EVERY:
            moment: datetime = conn.execute(_DATABASE_NOW).scalar_one()
            # From when the answer is here: a bit behind the server, and never ahead of it.
            told, since = moment.astimezone(UTC), 0.0
            self._told = (told, time.monotonic())
        return told + timedelta(seconds=since)


_DATABASE_NOW = text("SELECT clock_timestamp()")


class WallClock:
    """This machine's clock, checked against its monotonic one.

    Args:
        on_jump: Called in the same transaction when the wall clock was set back by more than `JUMP`, with how far.
    """

    def __init__(self, on_jump: OnJump) -> None:
        self._on_jump = on_jump
        self._drift: float | None = None

    def now(self, conn: Connection) -> datetime:
        wall = time.time()
        drift = wall - time.monotonic()
        if self._drift is not None and self._drift - drift > JUMP.total_seconds():
            back = timedelta(seconds=self._drift - drift)
            _log.warning("clock.jumped_back", seconds=back.total_seconds())
            self._on_jump(conn, back)
        self._drift = drift
        return datetime.fromtimestamp(wall, UTC)
