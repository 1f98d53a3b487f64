"""Writing whom to tell: the deliveries of what was decided, and what becomes of earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from routers.amending import Amendment, amend
from routers.corrections import Correction, correct
from routers.lanes import lock_lanes
from routers.ordering import Pair
from routers.outbox import NewDelivery, insert_deliveries
from routers.schema import deliveries as outbox
from routers.schema import transitions


def tell(
    conn: Connection,
    deliveries: Collection[NewDelivery],
    corrections: Sequence[Correction],
    amendments: Sequence[Amendment],
    *,
    now: datetime,
) -> set[Pair]:
    """Put it into the outbox. Where deliveries were made to wait for earlier ones."""
    about = {item.object_id for item in corrections} | {amendment.news.object_id for amendment in amendments}
    if about and conn.dialect.name == "postgresql":
        lock_lanes(conn, _sinks_told_of.params(objects=sorted(about)))
    blocked = insert_deliveries(conn, deliveries, now=now)
    for correction in corrections:
        blocked |= correct(conn, correction, now=now)
    # After it, for a correction may bring the first message back.
    return blocked | amend(conn, amendments, now=now)


_sinks_told_of = (
    select(outbox.c.sink)
    .join(transitions, transitions.c.id == outbox.c.transition_id)
    .where(transitions.c.object_id.in_(bindparam("objects", expanding=True)))
)


def sinks_told(deliveries: Collection[NewDelivery], amendments: Sequence[Amendment]) -> frozenset[str]:
    """The sinks that there is something for."""
    return frozenset(item.sink for item in (*deliveries, *(amendment.news for amendment in amendments)))
