"""What storing and delivering cost when much is stored already: the same work beside none and beside a million.

The writer and the outbox alone, in this process, without HTTP.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import uvloop
from sqlalchemy import Connection

from bench.backlog import make_due
from bench.preload import preload
from bench.report import Figure, Target
from bench.servers import Kind, Workspace
from bench.traffic import CLIENTS
from callrail.kinds import Kind as WebhookKind
from receiver.database import Database, open_database
from receiver.events import ReceivedRequest, event_row, insert_events
from receiver.ids import Prefix, new_id
from receiver.writer import MAX_BATCH, Writer
from routers.lanes import open_lane
from routers.leases import Delivery, Tried, claim_due, record
from routers.schema import DeliveryState

_EVENTS = 6_000
_DELIVERIES = 3_000
_SINK = "crm"
# As many as a lane of the default concurrency takes in a turn.
_CLAIM = 8


def measure(workspace: Workspace, kind: Kind, *, rounds: int, stored: int) -> Iterator[Figure]:
    with workspace.database(kind) as full:
        preload(full, stored)
        insert: list[tuple[float, float]] = []
        deliver: list[tuple[float, float]] = []
        _round(full)  # the warming up
        for _ in range(rounds):
            with workspace.database(kind) as empty:
                beside_none, beside_many = _round(empty), _round(full)
            insert.append((beside_none[0], beside_many[0]))
            deliver.append((beside_none[1], beside_many[1]))
    for what, times in (("insert", insert), ("claim and record", deliver)):
        count = _EVENTS if what == "insert" else _DELIVERIES
        yield Figure("history", kind, f"{what}, none stored", median(count / none for none, _ in times), "/s")
        yield Figure("history", kind, f"{what}, {stored:,} stored", median(count / many for _, many in times), "/s")
        cost = median(many / none for none, many in times)
        yield Figure("history", kind, f"{what}: cost beside {stored:,}", cost, "x", Target("<=", 1.25))


def _round(url: str) -> tuple[float, float]:
    """Seconds to insert the events, and to claim and record the deliveries."""
    database = open_database(url)
    rows = [_event() for _ in range(_EVENTS + MAX_BATCH)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        inserting = runner.run(_insert(database, rows))
    with database.writing.connect() as conn:
        with conn.begin():
            open_lane(conn, _SINK)
            make_due(conn, _DELIVERIES + _CLAIM, [_SINK])
        delivering = _deliver(conn)
    database.dispose()
    return inserting, delivering


# --- storing ---------------------------------------------------------------------------------------------------------


def _event() -> tuple[Any, ...]:
    request = ReceivedRequest(
        received_at=datetime.now(UTC),
        company=CLIENTS[0].slug,
        kind=WebhookKind.POST_CALL,
        content_type="application/json",
        headers={"content-type": "application/json", "user-agent": "CallRail"},
        body=os.urandom(5_500),
    )
    return event_row(new_id(Prefix.EVENT), request, os.urandom(32), "00000000")


async def _insert(database: Database, rows: list[tuple[Any, ...]]) -> float:
    writer = Writer(database, insert_events)
    writer.start()
    await asyncio.gather(*(writer.store(row) for row in rows[:MAX_BATCH]))  # connects and prepares
    gc.collect()
    begun = time.perf_counter()
    await asyncio.gather(*(writer.store(row) for row in rows[MAX_BATCH:]))
    took = time.perf_counter() - begun
    await writer.stop()
    return took


# --- delivering ------------------------------------------------------------------------------------------------------


def _deliver(conn: Connection) -> float:
    """Take turns as a lane does: record what came back, claim, mark as sending, all in one transaction."""
    with conn.begin():
        claimed = _take_turn(conn, [])  # prepares
    gc.collect()
    begun = time.perf_counter()
    while claimed:
        with conn.begin():
            claimed = _take_turn(conn, claimed)
    return time.perf_counter() - begun


def _take_turn(conn: Connection, sent: list[Delivery]) -> list[Delivery]:
    now = datetime.now(UTC)
    if sent:
        record(
            conn,
            [
                Tried(
                    delivery=delivery,
                    started_at=now,
                    took=timedelta(milliseconds=1),
                    outcome="delivered",
                    state=DeliveryState.DELIVERED,
                    due_at=now,
                    attempts=1,
                    reason="HTTP 204",
                )
                for delivery in sent
            ],
            now=now,
        )
    lease_until = now + timedelta(seconds=50)
    return claim_due(conn, sink=_SINK, now=now, lease_until=lease_until, instance="bench", limit=_CLAIM)
