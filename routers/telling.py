"""Writing whom to tell: the deliveries of what was decided, and what becomes of earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from routers.amending import Amendment, amend
from routers.corrections import Correction, correct
from routers.ordering import Pair
from routers.outbox import NewDelivery, insert_deliveries


def tell(
    conn: Connection,
    deliveries: Collection[NewDelivery],
    corrections: Sequence[Correction],
    amendments: Sequence[Amendment],
    *,
    now: datetime,
) -> set[Pair]:
    """Put it into the outbox. Where deliveries were made to wait for earlier ones."""
    blocked = insert_deliveries(conn, deliveries, now=now)
    for correction in corrections:
        blocked |= correct(conn, correction, now=now)
    # After it, for a correction may bring the first message back.
    return blocked | amend(conn, amendments, now=now)


def sinks_told(deliveries: Collection[NewDelivery], amendments: Sequence[Amendment]) -> frozenset[str]:
    """The sinks that there is something for."""
    return frozenset(item.sink for item in (*deliveries, *(amendment.news for amendment in amendments)))
