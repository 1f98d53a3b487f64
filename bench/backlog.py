"""Deliveries that wait, made through the router's own tables in lanes that are held until the measurement begins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection

from bench.preload import settle
from bench.traffic import CLIENTS, requests
from callrail.payload import read_payload
from receiver.database import open_database
from receiver.ids import Prefix, new_id
from routers.lanes import hold, open_lane, release
from routers.lifecycle import Object, Outcome, Stage
from routers.objects import ObjectKey, TransitionRow, insert_transitions, lock_objects, save_objects
from routers.outbox import NewDelivery, insert_deliveries
from routers.schema import TransitionState
from routers.transitions import Transition

_AT_ONCE = 500


def fill_held(url: str, sinks: Collection[str], fill: Callable[[Connection], None]) -> None:
    """Hold the lanes of *sinks* and *fill* them."""
    database = open_database(url)
    with database.writing.begin() as conn:
        for sink in sinks:
            open_lane(conn, sink)
            hold(conn, sink, "until it is measured")
    with database.writing.begin() as conn:
        fill(conn)
    settle(database)
    database.dispose()


def let_go(url: str, sinks: Collection[str]) -> None:
    """Release the lanes of *sinks*. A running dispatcher notices within a second."""
    database = open_database(url)
    with database.writing.begin() as conn:
        for sink in sinks:
            release(conn, sink)
    database.dispose()


def make_due(conn: Connection, count: int, sinks: Sequence[str]) -> None:
    """Put *count* deliveries into the outbox, each of another call and person, in turn of each client and sink."""
    now = datetime.now(UTC)
    for numbers in _batches(count):
        calls = _insert_calls(conn, [CLIENTS[n % len(CLIENTS)].slug for n in numbers], now)
        new = [
            _delivery(call, sinks[n % len(sinks)], f"{call.company}:{call.id}")
            for n, call in zip(numbers, calls, strict=True)
        ]
        insert_deliveries(conn, new, now=now)


def pile_up(
    conn: Connection, count: int, sink: str, *, order_key: str | None = None, due_at: datetime | None = None
) -> None:
    """Put *count* deliveries about one call into a lane; with an *order_key* each waits for the one before."""
    now = datetime.now(UTC)
    (call,) = _insert_calls(conn, [CLIENTS[0].slug], now)
    for numbers in _batches(count):
        new = [_delivery(call, sink, order_key, due_at=due_at, n=n) for n in numbers]
        insert_deliveries(conn, new, now=now)


def _batches(count: int) -> Iterator[range]:
    return (range(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))


@cache
def _facts() -> dict[str, Any]:
    (request,) = requests(1, port=0)
    return dict(read_payload(request.wire.partition(b"\r\n\r\n")[2], "application/json").fields)


def _insert_calls(conn: Connection, companies: Sequence[str], now: datetime) -> list[TransitionRow]:
    """An answered call of each of *companies*, told by the first event of it."""
    ids = [f"CAL{new_id(Prefix.OBJECT)}" for _ in companies]
    found = lock_objects(
        conn, [ObjectKey(company, "call", call_id) for company, call_id in zip(companies, ids, strict=True)]
    )
    for key, held in found.items():
        fields = {**_facts(), "resource_id": key.object_id}
        held.become(Object(Stage.ENDED, Outcome.ANSWERED, version=1, fields=fields), new_id(Prefix.EVENT))
    save_objects(conn, found, now=now)
    happened = [
        TransitionRow(
            id=new_id(Prefix.TRANSITION),
            object_id=held.id,
            company=key.company,
            name=Transition.CALL_ANSWERED,
            event_id=new_id(Prefix.EVENT),
            occurred_at=now,
            created_at=now,
            state=TransitionState.ROUTED,
            version=1,
        )
        for key, held in sorted(found.items(), key=lambda item: item[0].object_id)  # as they were made
    ]
    insert_transitions(conn, happened)
    return happened


def _delivery(
    call: TransitionRow, sink: str, order_key: str | None, *, due_at: datetime | None = None, n: int = 0
) -> NewDelivery:
    return NewDelivery(
        f"{call.id}:answered:{sink}:{n}",
        call.id,
        call.object_id,
        call.company,
        "answered",
        sink,
        sink,
        order_key=order_key,
        due_at=due_at,
    )
