"""The database goes away under a hundred requests a second, and comes back: who was refused, and who had to wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sqlalchemy import func, select

from bench.checks import CheckFailed
from bench.load import Answered, Load, open_loop, percentile
from bench.report import Figure, Target
from bench.servers import Kind, Workspace
from receiver.database import Database, open_database
from receiver.schema import EventState, Origin, events

_RATE = 100
_BEFORE = 5.0
_AFTER = 10.0
# Whoever came when the database went away has waited for it; from then on everything goes to the spool.
_NOTICED_WITHIN = 3.0
_BACK_WITHIN = 120.0


def measure(workspace: Workspace, kind: Kind, *, away: float) -> Iterator[Figure]:
    """The database is gone for *away* seconds: PostgreSQL stopped, the SQLite file locked by another process."""
    with workspace.database(kind) as url, workspace.server(url) as server, ThreadPoolExecutor(1) as pool:
        posting = pool.submit(open_loop, server.port, rate=_RATE, seconds=_BEFORE + away + _AFTER)
        time.sleep(_BEFORE)
        with _away(workspace, kind, url):
            gone = time.monotonic()
            time.sleep(away)
            back = time.monotonic()
        load = posting.result()
        _wait_until(lambda: _is_all_routed(url, load))
        routed_after = time.monotonic() - back
    spooling = [item for item in load.everything if gone + _NOTICED_WITHIN < item.sent < back]
    what = f"away for {away:g} s under {_RATE} a second"
    yield Figure("outage", kind, f"{what}: refused", load.refused, "", Target("<=", 0))
    yield Figure("outage", kind, f"{what}: slowest answer", _slowest(load.everything), "ms", Target("<=", 2000))
    waits = [item.answered - item.sent for item in spooling]
    yield Figure("outage", kind, "while spooling: p50", percentile(waits, 50) * 1000, "ms")
    yield Figure("outage", kind, "while spooling: slowest answer", _slowest(spooling), "ms", Target("<", 50))
    yield Figure("outage", kind, "the last is routed so long after its return", routed_after, "s")


def _slowest(answered: list[Answered]) -> float:
    return max(item.answered - item.sent for item in answered) * 1000


@contextmanager
def _away(workspace: Workspace, kind: Kind, url: str) -> Iterator[None]:
    if kind is Kind.POSTGRESQL:
        with workspace.postgresql_halted():
            yield
        return
    database = open_database(url)
    with database.writing.begin():  # BEGIN IMMEDIATE: nobody else writes until it ends
        yield
    database.dispose()


def _wait_until(is_so: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not is_so():
        if time.monotonic() - begun > _BACK_WITHIN:
            raise CheckFailed(f"not everything was routed within {_BACK_WITHIN:g} s of the database's return")
        time.sleep(0.05)


def _is_all_routed(url: str, load: Load) -> bool:
    stored = {item.sha256 for item in load.everything if item.is_stored}
    database = open_database(url)
    try:
        return _routed(database) == len(stored)
    finally:
        database.dispose()


def _routed(database: Database) -> int:
    with database.reading.connect() as conn:
        told = (events.c.state == EventState.ROUTED) & (events.c.origin == Origin.WEBHOOK)  # and not our own alarms
        count: int = conn.execute(select(func.count()).where(told)).scalar_one()
        return count
