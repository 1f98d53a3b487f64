"""Routing alone: stored webhooks to transitions and deliveries, in batches of the size the router takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from statistics import median

from bench.load import post_all
from bench.report import Figure, Target
from bench.servers import Kind, Workspace
from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.database import open_database
from routers.config import read_config
from routers.outbox import shift_open_times
from routers.routing import MAX_BATCH, route

_EVENTS = 4_000
_CONNECTIONS = 32
_WANTED = {Kind.SQLITE: 3_000, Kind.POSTGRESQL: 1_500}


def measure(workspace: Workspace, kind: Kind, *, rounds: int) -> Iterator[Figure]:
    rates = [_rate(workspace, kind) for _ in range(rounds)]
    what = f"events routed, {MAX_BATCH} a batch, twenty rules"
    yield Figure("routing", kind, what, median(rates), "/s", Target(">=", _WANTED[kind]))


def _rate(workspace: Workspace, kind: Kind) -> float:
    with workspace.database(kind) as url:
        with workspace.server(url, role="intake") as server:
            post_all(server.port, connections=_CONNECTIONS, count=_EVENTS)
        database = open_database(url)
        clock: Clock = WallClock(shift_open_times) if database.is_sqlite else DatabaseClock()
        rules = read_config(workspace.config).rules
        told_zones: dict[str, str] = {}
        gc.freeze()  # as `serve` does
        begun = time.monotonic()
        with database.writing.connect() as conn:
            while True:
                with conn.begin():
                    report = route(conn, clock, rules, limit=MAX_BATCH, told_zones=told_zones)
                told_zones |= report.zones
                if not report.events:
                    break
        took = time.monotonic() - begun
        database.dispose()
    return _EVENTS / took
