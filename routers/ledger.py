"""What operators read: deliveries and transitions with all that explains them. Named questions, no writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from receiver.ids import Prefix, id_range
from routers.schema import DeliveryState, attempts, deliveries, objects, transitions, versions


def newest_deliveries(
    conn: Connection, *, limit: int, sink: str | None = None, state: DeliveryState | None = None
) -> Sequence[Row[Any]]:
    """The newest deliveries first, with the name of their transition."""
    query = (
        select(deliveries, transitions.c.name)
        .join(transitions, transitions.c.id == deliveries.c.transition_id)
        .order_by(deliveries.c.id.desc())
        .limit(limit)
    )
    if sink is not None:
        query = query.where(deliveries.c.sink == sink)
    if state is not None:
        query = query.where(deliveries.c.state == state.value)
    return conn.execute(query).all()


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
