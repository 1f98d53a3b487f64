"""What operators read: deliveries and transitions with all that explains them. Named questions, no writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, or_, select, union_all

from receiver.columns import fixed
from receiver.ids import Prefix, first_id, id_range
from routers.schema import OPEN, RETRYABLE, DeliveryState, attempts, deliveries, lanes, objects, transitions, versions

A_DAY = timedelta(hours=24)
# Among so many of the newest is looked for what no index finds: a rare one among millions keeps nobody waiting.
MOST_LOOKED_AT = 100_000
_NEWEST_TRIES = 10_000
DELIVERED = "delivered"  # as an attempt's outcome
# An id and the time beside it are told by two clocks.
_CLOCKS_DIFFER = timedelta(hours=1)

is_retryable = deliveries.c.state.in_([fixed(state) for state in RETRYABLE])


@dataclass(frozen=True, slots=True)
class Selection:
    """Which deliveries are meant: all that every part which is given holds for.

    Attributes:
        states: One of these; any where there is none.
        since: Made then or later.
        until: Made before.
        callrail_id: Of the call, text or form that CallRail calls so.
        cause: The sort of the reason; the empty text is of those that have none.
    """

    ids: tuple[str, ...] = ()
    states: tuple[DeliveryState, ...] = ()
    sink: str | None = None
    company: str | None = None
    rule: str | None = None
    cause: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    callrail_id: str | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """What the rows of `deliveries` must fulfil."""
        columns = deliveries.c
        for column, wanted in ((columns.sink, self.sink), (columns.company, self.company), (columns.rule, self.rule)):
            if wanted is not None:
                yield column == wanted
        if self.ids:
            yield columns.id.in_(self.ids)
        if self.states:
            yield columns.state.in_([state.value for state in self.states])
            yield from _from_an_index(self.states)
        if self.cause is not None:
            yield columns.cause == self.cause if self.cause else columns.cause.is_(None)
        if self.since is not None:
            yield columns.created_at >= self.since
            yield columns.id >= first_id(Prefix.DELIVERY, self.since - _CLOCKS_DIFFER)
        if self.until is not None:
            yield columns.created_at < self.until
            yield columns.id < first_id(Prefix.DELIVERY, self.until + _CLOCKS_DIFFER)
        if self.callrail_id is not None:
            of_object = select(transitions.c.id).join(objects, objects.c.id == transitions.c.object_id)
            yield columns.transition_id.in_(of_object.where(objects.c.object_id == self.callrail_id))

    @property
    def is_indexed(self) -> bool:
        """Whether an index finds these rows, however many others there are."""
        states = set(self.states)
        is_rare = bool(states) and (states <= {*RETRYABLE} or states <= {*OPEN})
        return is_rare or bool(self.ids) or self.callrail_id is not None


def _from_an_index(states: Sequence[DeliveryState]) -> Iterator[ColumnElement[bool]]:
    """The same once more, so that the partial indexes fit."""
    if {*states} <= {*RETRYABLE}:
        yield is_retryable
    elif {*states} <= {*OPEN}:
        yield deliveries.c.id.in_(union_all(*(select(deliveries.c.id).where(is_in(state)) for state in states)))


def is_in(state: DeliveryState) -> ColumnElement[bool]:
    """Whether a delivery is in the open *state*, in the words of the index for it."""
    is_it = deliveries.c.state == fixed(state)
    if state in _CLAIMED:
        return and_(is_it, deliveries.c.state.in_([fixed(claimed) for claimed in _CLAIMED]))
    return is_it


_CLAIMED = (DeliveryState.LEASED, DeliveryState.SENDING)


def reach(conn: Connection, selection: Selection, *, most: int = MOST_LOOKED_AT) -> tuple[str, datetime] | None:
    """Id and time of the last of the *most* newest deliveries before `until`; None where no end is needed."""
    if selection.is_indexed:
        return None
    query = select(deliveries.c.id, deliveries.c.created_at).order_by(deliveries.c.id.desc())
    query = query.where(*Selection(until=selection.until).conditions())
    last = conn.execute(query.offset(most - 1).limit(1)).one_or_none()
    return None if last is None else (last[0], last[1])


def newest_deliveries(conn: Connection, selection: Selection, *, limit: int, down_to: str = "") -> Sequence[Row[Any]]:
    """The newest deliveries first, with the name of their transition; none before the id *down_to*."""
    query = (
        select(deliveries, transitions.c.name)
        .join(transitions, transitions.c.id == deliveries.c.transition_id)
        .where(*selection.conditions(), deliveries.c.id >= down_to)
        .order_by(deliveries.c.id.desc())
        .limit(limit)
    )
    return conn.execute(query).all()


def last_of_deliveries(conn: Connection, selection: Selection) -> str | None:
    """The last id; None if there is no such delivery."""
    found: str | None = conn.execute(select(func.max(deliveries.c.id)).where(*selection.conditions())).scalar()
    return found


def ids_of_deliveries(conn: Connection, selection: Selection, *, after: str, last: str, limit: int) -> Sequence[str]:
    """The ids of the next *limit* deliveries behind the id *after* and up to *last*, in order."""
    query = select(deliveries.c.id).where(*selection.conditions(), deliveries.c.id > after, deliveries.c.id <= last)
    return conn.execute(query.order_by(deliveries.c.id).limit(limit)).scalars().all()


def count_by_cause(conn: Connection, selection: Selection, *, now: datetime) -> Sequence[Row[Any]]:
    """The deliveries by sink, cause and state: how many, how many older than a day, the oldest and the newest."""
    groups = (deliveries.c.sink, deliveries.c.cause, deliveries.c.state)
    query = select(
        *groups,
        func.count().label("deliveries"),
        func.sum(case((deliveries.c.created_at < now - A_DAY, 1), else_=0)).label("older_than_a_day"),
        func.min(deliveries.c.created_at).label("oldest"),
        func.max(deliveries.c.created_at).label("newest"),
    )
    return conn.execute(query.where(*selection.conditions()).group_by(*groups).order_by(*groups)).all()


def in_front_of(conn: Connection, delivery: Row[Any]) -> str | None:
    """The delivery that a blocked one waits for: the one that holds its person back, else the next before it."""
    is_earlier = and_(deliveries.c.state == DeliveryState.BLOCKED.value, deliveries.c.id < delivery.id)
    holding = and_(deliveries.c.state.in_([state.value for state in _HOLDING]), deliveries.c.blocks)
    query = select(deliveries.c.id).where(
        deliveries.c.sink == delivery.sink, deliveries.c.order_key == delivery.order_key, or_(holding, is_earlier)
    )
    found: str | None = conn.execute(query.order_by(is_earlier, deliveries.c.id).limit(1)).scalar()
    return found


_HOLDING = (DeliveryState.PENDING, DeliveryState.LEASED, DeliveryState.SENDING)


def amendments_of(conn: Connection, delivery_id: str) -> Sequence[str]:
    """The deliveries of later news of the same thing, oldest first."""
    query = select(deliveries.c.id).where(deliveries.c.amends == delivery_id)
    return conn.execute(query.order_by(deliveries.c.id)).scalars().all()


def names_of_lanes(conn: Connection) -> Sequence[str]:
    """The sinks that have a lane, by name."""
    return conn.execute(select(lanes.c.sink).order_by(lanes.c.sink)).scalars().all()


def last_delivered(conn: Connection) -> dict[str, datetime]:
    """By sink, when the last delivery arrived, as far as the newest tries tell."""
    tried = select(attempts.c.delivery_id, attempts.c.outcome).order_by(attempts.c.id.desc()).limit(_NEWEST_TRIES)
    newest = tried.subquery()
    # Row by row from its index: a join of so many would make PostgreSQL read the whole table.
    of_try = deliveries.c.id == newest.c.delivery_id
    columns = [
        select(column).where(of_try).scalar_subquery().label(column.name)
        for column in (deliveries.c.sink, deliveries.c.finished_at)
    ]
    arrived = select(*columns).where(newest.c.outcome == DELIVERED).subquery()
    query = select(arrived.c.sink, func.max(arrived.c.finished_at)).group_by(arrived.c.sink)
    return {sink: moment for sink, moment in conn.execute(query) if moment is not None}


def find_deliveries(conn: Connection, written: str) -> Sequence[Row[Any]]:
    """The deliveries whose id begins as *written*; at most two, which is enough to know that it is not unique."""
    first, last = id_range(Prefix.DELIVERY, written)
    query = (
        select(deliveries, transitions.c.name, transitions.c.event_id, transitions.c.occurred_at)
        .join(transitions, transitions.c.id == deliveries.c.transition_id)
        .where(deliveries.c.id.between(first, last))
        .limit(2)
    )
    return conn.execute(query).all()


def attempts_of(conn: Connection, delivery_id: str) -> Sequence[Row[Any]]:
    """Every try of a delivery, oldest first."""
    query = select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.id)
    return conn.execute(query).all()


def transitions_of_event(conn: Connection, event_id: str, object_id: str | None) -> Sequence[Row[Any]]:
    """What an event brought about, in the order it happened."""
    query = select(transitions).where(transitions.c.object_id == object_id, transitions.c.event_id == event_id)
    return conn.execute(query.order_by(transitions.c.id)).all()


def find_transitions(conn: Connection, written: str) -> Sequence[Row[Any]]:
    """The transitions whose id begins as *written*; at most two, which is enough to know that it is not unique."""
    first, last = id_range(Prefix.TRANSITION, written)
    return conn.execute(select(transitions).where(transitions.c.id.between(first, last)).limit(2)).all()


def transition_with(conn: Connection, transition_id: str) -> Row[Any]:
    """The transition that a delivery is of."""
    return conn.execute(select(transitions).where(transitions.c.id == transition_id)).one()


def version_of(conn: Connection, object_id: str, version: int) -> Row[Any] | None:
    """What was known of an object in one of its versions; None if that is not stored."""
    query = select(versions).where(versions.c.object_id == object_id, versions.c.version == version)
    return conn.execute(query).one_or_none()


def transitions_of_object(conn: Connection, object_id: str) -> Sequence[Row[Any]]:
    """All that happened of an object (our id), oldest first."""
    return conn.execute(
        select(transitions).where(transitions.c.object_id == object_id).order_by(transitions.c.id)
    ).all()


def deliveries_of_object(conn: Connection, object_id: str) -> Sequence[Row[Any]]:
    """Whom an object (our id) was told, in the order of the deliveries' ids."""
    query = (
        select(deliveries)
        .join(transitions, transitions.c.id == deliveries.c.transition_id)  # by which there are indexes
        .where(transitions.c.object_id == object_id)
        .order_by(deliveries.c.id)
    )
    return conn.execute(query).all()


def objects_of(conn: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """The objects with our *ids*, by id."""
    names = ("id", "type", "object_id", "stage", "outcome", "version", "erased_at")
    columns = [objects.c[name] for name in names]
    found: Sequence[Any] = conn.execute(select(*columns).where(objects.c.id.in_(set(ids)))).all()
    return {row.id: row for row in found}
