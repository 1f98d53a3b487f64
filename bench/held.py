"""What a lane costs the others while it waits: much that is held by an operator, or blocked behind one delivery.

The dispatcher and the outbox in this process, without HTTP: the measured lane's sink takes everything at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

import structlog
import uvloop

from bench.backlog import fill_held, let_go, make_due, pile_up
from bench.report import Figure, Target
from bench.servers import Kind, Workspace
from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.ids import Prefix, new_id
from receiver.writer import Writer
from routers.dispatcher import Dispatcher, Limits
from routers.messages import Message
from routers.outbox import shift_open_times
from routers.outcomes import Delivered, Outcome
from routers.retries import Policy
from routers.sinks.sink import Check

_MEASURED, _OTHER = "crm", "other"
_DELIVERIES = 2_000
_WAITING = 50_000
_ORDER_KEY = "client-00:+14045550123"
_LIMITS = Limits(concurrency=8, timeout=timedelta(seconds=20), policy=Policy([timedelta(seconds=5)]))


def measure(workspace: Workspace, kind: Kind, *, rounds: int) -> Iterator[Figure]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with ExitStack() as stack:
        alone, beside_held, beside_blocked = (stack.enter_context(workspace.database(kind)) for _ in range(3))
        fill_held(beside_held, [_OTHER], partial(pile_up, count=_WAITING, sink=_OTHER))
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        blocked = partial(pile_up, count=_WAITING, sink=_MEASURED, order_key=_ORDER_KEY, due_at=tomorrow)
        fill_held(beside_blocked, [_MEASURED], blocked)
        urls = [alone, beside_held, beside_blocked]
        for url in urls:
            _seconds(url)  # the warming up
        times = [[_seconds(url) for url in urls] for _ in range(rounds)]
    yield Figure(
        "held", kind, "a delivery's turns, nothing else waiting", median(each[0] for each in times) * 1000, "ms"
    )
    for n, what in ((1, "held in another lane"), (2, "blocked in the same lane")):
        cost = median(each[n] / each[0] for each in times)
        yield Figure("held", kind, f"its cost beside {_WAITING:,} {what}", cost, "x", Target("<=", 1.1))


def _seconds(url: str) -> float:
    """Seconds a delivery to dispatch `_DELIVERIES` of one lane."""
    fill_held(url, [_MEASURED], partial(make_due, count=_DELIVERIES, sinks=[_MEASURED]))
    let_go(url, [_MEASURED])
    database = open_database(url)
    gc.collect()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took = runner.run(_dispatch(database))
    database.dispose()
    return took / _DELIVERIES


async def _dispatch(database: Database) -> float:
    """Seconds from the first to the last that the measured lane sends."""
    writer = Writer(database, insert_events)
    writer.start()
    clock: Clock = WallClock(shift_open_times) if database.is_sqlite else DatabaseClock()
    sink = _TakesAll(_DELIVERIES)
    dispatcher = Dispatcher(
        writer,
        clock,
        {_MEASURED: (sink, _LIMITS), _OTHER: (_TakesAll(0), _LIMITS)},
        instance=new_id(Prefix.INSTANCE),
        rng=random.Random(1),
    )
    await dispatcher.start(alone=database.is_sqlite)
    running = asyncio.create_task(dispatcher.run())
    await sink.has_all.wait()
    dispatcher.stop()
    await running
    await writer.stop()
    return sink.last - sink.first


class _TakesAll:
    """Takes every message at once, and notes when the first of *count* came and the last."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self.first = self.last = 0.0
        self.has_all = asyncio.Event()

    async def deliver(self, message: Message) -> Outcome:
        message.text()
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self._missing -= 1
        if not self._missing:
            self.has_all.set()
        return Delivered("taken")

    async def check(self) -> Sequence[Check]:
        return []

    async def aclose(self) -> None:
        pass
