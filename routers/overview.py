"""How the whole is doing, as the database has it: what `status`, `doctor` and the metrics ask.

Every question is answered from an index over what waits or is rare, or looks at a bounded stretch of the newest rows,
so none grows with history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, select, union_all

from receiver import instances
from receiver.columns import fixed
from receiver.ids import Prefix, first_id
from receiver.schema import EventState, Origin, events, quarantine
from routers import lanes, ledger
from routers.lanes import Condition
from routers.media.rows import MediaOverview, media_overview
from routers.schema import OPEN, DeliveryState, TransitionState, attempts, deliveries, transitions

# What is counted over a stretch of time is counted no further than this.
MOST_COUNTED = 100_000

_ROLES_THAT_SEND = ("all", "dispatch")


@dataclass(slots=True)
class SinkOverview:
    """One sink. *states* are its deliveries that have not ended or may be taken up again, by state.

    Attributes:
        condition: None where no server has opened its lane yet.
        oldest: When the oldest was made that has not ended.
        sent: How many arrived in the last hour.
    """

    condition: Condition | None = None
    states: dict[str, int] = field(default_factory=dict)
    oldest: datetime | None = None
    sent: int = 0

    def of(self, *states: DeliveryState) -> int:
        return sum(self.states.get(state, 0) for state in states)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many events or transitions wait, and when the *oldest* came about."""

    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """The quarantine of one company, or of whoever calls himself so. *bytes* are what it takes of its bucket."""

    company: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it at the moment *now*.

    Attributes:
        kinds: By kind, what came in the last hour.
        last_day: How many events came in a day; `MOST_COUNTED` means that many or more, as in all counts over a time.
        looking_up: Transitions that wait for what is looked up, or behind one that does.
        failed: Events that could not be routed.
        media: Recordings and media of texts that wait to be fetched, or could not be, of those of a week.
        repeats: Events of the last hour that repeat another.
        processes: Rows of `instances` with a heartbeat of late.
    """

    now: datetime
    kinds: Mapping[str, int]
    last_day: int
    waiting: Waiting
    looking_up: Waiting
    failed: int
    repeats: int
    held: Sequence[Held]
    sinks: Mapping[str, SinkOverview]
    processes: Sequence[Any]
    media: MediaOverview = field(default_factory=MediaOverview)

    def age(self, since: datetime | None) -> float:
        """The seconds since a moment; 0 where there is none."""
        return 0.0 if since is None else max((self.now - since).total_seconds(), 0.0)

    @property
    def dispatchers(self) -> int:
        return sum(row.role in _ROLES_THAT_SEND for row in self.processes)

    @property
    def spooled(self) -> int:
        return sum(row.spooled for row in self.processes)

    @property
    def spooling_since(self) -> datetime | None:
        return min((row.spooling_since for row in self.processes if row.spooling_since is not None), default=None)


def overview(conn: Connection, now: datetime) -> Overview:
    """Ask all questions."""
    hour = now - timedelta(hours=1)
    return Overview(
        now=now,
        kinds=_kinds_since(conn, hour),
        last_day=_count_since(conn, now - timedelta(days=1)),
        waiting=_waiting(conn),
        looking_up=_looking_up(conn),
        failed=_count(conn, events.c.state == fixed(EventState.FAILED)),
        repeats=_count(conn, events.c.repeat_of.is_not(None), events.c.id >= first_id(Prefix.EVENT, hour)),
        held=held_by_company(conn),
        sinks=sinks_overview(conn, hour),
        processes=instances.alive(conn, now),
        media=media_overview(conn, now - timedelta(days=7)),
    )


# --- events ----------------------------------------------------------------------------------------------------------


def _newest(table: Table, prefix: Prefix, since: datetime, *columns: Any) -> Select[Any]:
    """The newest rows made since a moment, `MOST_COUNTED` at most."""
    stretch = select(*columns).where(table.c.id >= first_id(prefix, since))
    return stretch.order_by(table.c.id.desc()).limit(MOST_COUNTED)


_came_in = events.c.origin != fixed(Origin.ROUTER)  # our own alarms did not


def _kinds_since(conn: Connection, since: datetime) -> dict[str, int]:
    newest = _newest(events, Prefix.EVENT, since, events.c.kind).where(_came_in).subquery()
    query = select(newest.c.kind, func.count().label("events")).group_by(newest.c.kind).order_by(func.count().desc())
    return {row.kind: row.events for row in conn.execute(query)}


def _count_since(conn: Connection, since: datetime) -> int:
    newest = _newest(events, Prefix.EVENT, since, events.c.id).where(_came_in).subquery()
    counted: int = conn.execute(select(func.count()).select_from(newest)).scalar_one()
    return counted


def _count(conn: Connection, *conditions: ColumnElement[bool]) -> int:
    counted: int = conn.execute(select(func.count()).select_from(events).where(*conditions)).scalar_one()
    return counted


def _waiting(conn: Connection) -> Waiting:
    is_received = events.c.state == fixed(EventState.RECEIVED)
    oldest = select(events.c.received_at).where(is_received).order_by(events.c.id).limit(1)
    return Waiting(_count(conn, is_received), conn.execute(oldest).scalar())


def _looking_up(conn: Connection) -> Waiting:
    is_waiting = transitions.c.state == fixed(TransitionState.WAITING)
    count, oldest = conn.execute(select(func.count(), func.min(transitions.c.created_at)).where(is_waiting)).one()
    return Waiting(count, oldest)


def held_by_company(conn: Connection) -> list[Held]:
    """What the quarantine holds, by the name in the URL: from the index that has the sizes, not from the bodies."""
    size = func.coalesce(func.sum(quarantine.c.bytes), 0)
    query = select(quarantine.c.company, func.count(), size).group_by(quarantine.c.company)
    return [
        Held(company, rows, int(size)) for company, rows, size in conn.execute(query.order_by(quarantine.c.company))
    ]


# --- deliveries ------------------------------------------------------------------------------------------------------


def sinks_overview(conn: Connection, since: datetime) -> dict[str, SinkOverview]:
    """Each sink that has a lane or something to tell; what arrived is counted from *since* on."""
    found = {name: SinkOverview(lanes.read_lane(conn, name)) for name in ledger.names_of_lanes(conn)}
    for row in conn.execute(_open_by_state()):
        sink = found.setdefault(row.sink, SinkOverview())
        sink.states[row.state] = row.deliveries
        sink.oldest = min(sink.oldest or row.oldest, row.oldest)
    for row in conn.execute(_RETRYABLE_BY_STATE):
        found.setdefault(row.sink, SinkOverview()).states[row.state] = row.deliveries
    for row in conn.execute(_sent_since(since)):
        found.setdefault(row.sink, SinkOverview()).sent = row.deliveries
    return found


def _open_by_state() -> Select[Any]:
    """By sink and state, each state from the index that holds only it; the oldest is the one with the lowest id."""
    counted = union_all(*map(_counted, OPEN)).subquery()
    oldest = select(deliveries.c.created_at).where(deliveries.c.id == counted.c.first).scalar_subquery()
    return select(counted.c.sink, counted.c.state, counted.c.deliveries, oldest.label("oldest"))


def _counted(state: DeliveryState) -> Select[Any]:
    columns = (deliveries.c.sink, fixed(state).label("state"), func.count().label("deliveries"))
    counted = select(*columns, func.min(deliveries.c.id).label("first")).where(ledger.is_in(state))
    return counted.group_by(deliveries.c.sink)


_RETRYABLE_BY_STATE = (
    select(deliveries.c.sink, deliveries.c.state, func.count().label("deliveries"))
    .where(ledger.is_retryable)
    .group_by(deliveries.c.sink, deliveries.c.state)
)


def _sent_since(since: datetime) -> Select[Any]:
    tried = _newest(attempts, Prefix.ATTEMPT, since, attempts.c.delivery_id, attempts.c.outcome).subquery()
    arrived = select(deliveries.c.sink, func.count().label("deliveries"))
    arrived = arrived.join(tried, tried.c.delivery_id == deliveries.c.id).where(tried.c.outcome == ledger.DELIVERED)
    return arrived.group_by(deliveries.c.sink)
