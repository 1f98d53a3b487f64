"""What operators read: deliveries and transitions with all that explains them. Named questions, no writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, or_, select

from receiver.ids import Prefix, id_range
from routers.schema import DeliveryState, attempts, deliveries, lanes, objects, transitions, versions

A_DAY = timedelta(hours=24)


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
        if self.cause is not None:
            yield columns.cause == self.cause if self.cause else columns.cause.is_(None)
        if self.since is not None:
            yield columns.created_at >= self.since
        if self.until is not None:
            yield columns.created_at < self.until
        if self.callrail_id is not None:
            of_object = select(transitions.c.id).join(objects, objects.c.id == transitions.c.object_id)
            yield columns.transition_id.in_(of_object.where(objects.c.object_id == self.callrail_id))


def newest_deliveries(conn: Connection, selection: Selection, *, limit: int) -> Sequence[Row[Any]]:
    """The newest deliveries first, with the name of their transition."""
    query = (
        select(deliveries, transitions.c.name)
        .join(transitions, transitions.c.id == deliveries.c.transition_id)
        .where(*selection.conditions())
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


def count_by_state(conn: Connection) -> Sequence[Row[Any]]:
    """By sink and state: how many deliveries, when the oldest was made and when the last was finished."""
    groups = (deliveries.c.sink, deliveries.c.state)
    query = select(
        *groups,
        func.count().label("deliveries"),
        func.min(deliveries.c.created_at).label("oldest"),
        func.max(deliveries.c.finished_at).label("finished_at"),
    )
    return conn.execute(query.group_by(*groups)).all()


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
    columns = [objects.c.id, objects.c.type, objects.c.object_id, objects.c.stage, objects.c.outcome, objects.c.version]
    found: Sequence[Any] = conn.execute(select(*columns).where(objects.c.id.in_(set(ids)))).all()
    return {row.id: row for row in found}
