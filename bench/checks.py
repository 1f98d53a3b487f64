"""The checks by id: a figure counts only if nothing was lost and nothing came twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import select

from bench.load import Answered
from bench.sink import Arrival
from receiver.database import open_database
from receiver.schema import events
from routers.schema import DeliveryState, deliveries, objects


class CheckFailed(Exception):
    """The router did not do what it said."""


def check_stored(url: str, answered: Iterable[Answered]) -> None:
    """Every body that was answered with 2xx has a row, and no body has two.

    Raises:
        CheckFailed: With how many are missing or too many.
    """
    database = open_database(url)
    with database.reading.connect() as conn:
        stored = Counter(conn.execute(select(events.c.sha256)).scalars().all())
    database.dispose()
    acknowledged = {item.sha256 for item in answered if item.is_stored}
    _require("acknowledged but not stored", acknowledged - stored.keys())
    _require("stored twice", [body for body, n in stored.items() if n > 1])


def check_delivered(url: str, answered: Iterable[Answered], arrivals: Iterable[Arrival]) -> None:
    """Every acknowledged call has one delivery, which is recorded as delivered and arrived at the sink just once.

    Raises:
        CheckFailed: With how many are missing or too many.
    """
    query = select(deliveries.c.id, deliveries.c.state, objects.c.object_id).join(
        objects, objects.c.id == deliveries.c.object_id
    )
    database = open_database(url)
    with database.reading.connect() as conn:
        rows = conn.execute(query).all()
    database.dispose()
    due = {(row.id, row.object_id) for row in rows}
    arrived = Counter((arrival.webhook_id, arrival.call_id) for arrival in arrivals)
    acknowledged = {item.call_id for item in answered if item.is_stored}
    _require("acknowledged but without a delivery", acknowledged - {row.object_id for row in rows})
    _require("with several deliveries", [call for call, n in Counter(row.object_id for row in rows).items() if n > 1])
    _require("due but never arrived", due - arrived.keys())
    _require("arrived but not due", arrived.keys() - due)
    _require("arrived twice", [item for item, n in arrived.items() if n > 1])
    _require("arrived but not recorded", [row.id for row in rows if row.state != DeliveryState.DELIVERED])


def _require(what: str, wrong: Iterable[object]) -> None:
    if count := len(list(wrong)):
        raise CheckFailed(f"{count} {what}")
