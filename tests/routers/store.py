"""Rows put into a real database and read back, for tests of what works on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Row, Table, event, select

from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.database import Database, open_database
from receiver.events import ReceivedRequest, event_row, insert_events
from receiver.ids import Prefix, new_id
from routers.lanes import open_lane
from routers.leases import Delivery, Tried
from routers.outbox import NewDelivery, insert_deliveries, shift_open_times
from routers.rules.conditions import Condition, compile_conditions
from routers.rules.ruleset import Rule, RuleSet, To
from routers.schema import DeliveryState, deliveries, objects, transitions, versions
from routers.transitions import Transition

NOW = datetime(2026, 3, 10, 13, 15, tzinfo=UTC)


@dataclass
class FixedClock:
    """A clock that stands still until a test moves it."""

    moment: datetime = NOW

    def now(self, conn: Connection) -> datetime:
        return self.moment


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database at *url*, closed at the end."""
    database = open_database(url)
    try:
        yield database
    finally:
        database.dispose()


def real_clock(database: Database) -> Clock:
    """The clock that `serve` would take."""
    return WallClock(shift_open_times) if database.is_sqlite else DatabaseClock()


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed within, each with what is bound to it."""
    asked: list[tuple[str, Any]] = []

    def listen(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", listen)


def rows_of(database: Database, table: Table) -> Sequence[Row[Any]]:
    """All rows, in the order of their ids."""
    with database.reading.connect() as conn:
        return conn.execute(select(table).order_by(*table.primary_key.columns)).all()


def receive(
    conn: Connection, kind: str, body: dict[str, Any] | bytes, *, company: str = "acme", event_id: str | None = None
) -> str:
    """Store an event as the intake does; its id."""
    event_id = event_id or new_id(Prefix.EVENT)
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    request = ReceivedRequest(datetime.now(UTC), company, kind, "application/json", {}, raw)
    insert_events(conn, [event_row(event_id, request, hashlib.sha256(raw).digest(), "01234567")])
    return event_id


def a_rule(
    rule_id: str = "r",
    *when: Transition,
    companies: frozenset[str] | None = None,
    if_: dict[str, object] | None = None,
    unless: dict[str, object] | None = None,
    send: Sequence[str] = ("crm",),
) -> Rule:
    """A rule that looks at *when*, a missed call if nothing is named, and sends to the sinks *send*."""
    looks_at = frozenset(when or {Transition.CALL_MISSED})
    return Rule(
        id=rule_id,
        companies=companies,
        when=looks_at,
        conditions=conditions(if_ or {}, *looks_at),
        exceptions=conditions(unless or {}, *looks_at),
        send=tuple(To(sink, sink) for sink in send),
    )


def conditions(block: Mapping[str, object], *when: Transition) -> tuple[Condition, ...]:
    """The conditions of *block*, which must be without mistakes."""

    def complain(at: object, problem: str, hint: str = "", *, key: bool = False, warning: bool = False) -> None:
        assert warning, (at, problem, hint)

    return compile_conditions(block, when, complain)


def rule_set(*rules: Rule) -> RuleSet:
    return RuleSet(rules, "0123456789abcdef")


def put_deliveries(
    conn: Connection,
    *,
    sink: str = "crm",
    count: int = 1,
    now: datetime = NOW,
    fields: dict[str, Any] | None = None,
    company: str = "acme",
    type_: str = "call",
    order_key: str | None = None,
    expires_at: datetime | None = None,
) -> list[str]:
    """Open the lane of *sink* and put *count* deliveries of one missed call into it, due *now*; their ids in order."""
    object_id, transition_id = new_id(Prefix.OBJECT), new_id(Prefix.TRANSITION)
    conn.execute(
        objects.insert().values(
            id=object_id,
            company=company,
            type=type_,
            object_id=f"CAL{object_id}",
            stage="ended",
            outcome="missed",
            version=1,
            sources={},
            newest={},
            told=[],
            created_at=now,
            updated_at=now,
        )
    )
    conn.execute(
        versions.insert().values(
            object_id=object_id,
            version=1,
            event_id=new_id(Prefix.EVENT),
            stage="ended",
            outcome="missed",
            fields=fields or {},
        )
    )
    conn.execute(
        transitions.insert().values(
            id=transition_id,
            object_id=object_id,
            company=company,
            name=Transition.CALL_MISSED,
            n=0,
            event_id=new_id(Prefix.EVENT),
            occurred_at=now,
            created_at=now,
            state="routed",
            version=1,
        )
    )
    open_lane(conn, sink)
    new = [
        NewDelivery(
            f"{transition_id}:{number}",
            transition_id,
            object_id,
            company,
            "r",
            str(number),
            sink,
            order_key=order_key,
            expires_at=expires_at,
        )
        for number in range(count)
    ]
    insert_deliveries(conn, new, now=now)
    mine = select(deliveries.c.id).where(deliveries.c.transition_id == transition_id).order_by(deliveries.c.id)
    return list(conn.execute(mine).scalars())


def a_delivery(fields: dict[str, Any], **changed: Any) -> Delivery:
    """A claimed delivery that tells a missed call of *fields*, but for what is *changed*."""
    delivery = Delivery(
        id="dl_1",
        fence=1,
        attempts=0,
        rule="r",
        sink="crm",
        company="acme",
        object_type="call",
        callrail_id="CAL1",
        transition=Transition.CALL_MISSED,
        occurred_at=NOW,
        stage="ended",
        outcome="missed",
        fields=fields,
    )
    return replace(delivery, **changed)


def tried(delivery: Delivery, state: DeliveryState, *, due_at: datetime = NOW, reason: str = "said") -> Tried:
    """A first-hand account of a try of *delivery*, after which it is in *state*."""
    return Tried(
        delivery=delivery,
        started_at=NOW,
        took=timedelta(milliseconds=12),
        outcome="retry",
        state=state,
        due_at=due_at,
        attempts=delivery.attempts + 1,
        reason=reason,
        remote_id="42",
    )
