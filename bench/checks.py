"""The checks by id: a figure counts only if nothing was lost and nothing came twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

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


def check_delivered(url: str, answered: Iterable[Answered], arrivals: Iterable[Arrival], *, each: int = 1) -> None:
    """Every acknowledged call has *each* deliveries, which are recorded as delivered and arrived at the sink just once.

    Raises:
        CheckFailed: With how many are missing or too many.
    """
    made = Counter(call for _, call in check_arrived(url, arrivals))
    acknowledged = {item.call_id for item in answered if item.is_stored}
    _require("acknowledged but without a delivery", acknowledged - made.keys())
    _require(f"not with {each} deliveries", [call for call, n in made.items() if n != each])


def check_arrived(url: str, arrivals: Iterable[Arrival]) -> set[tuple[str, str]]:
    """Every delivery is recorded as delivered and arrived at the sink just once. Their ids, and their calls'.

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
    _require("due but never arrived", due - arrived.keys())
    _require("arrived but not due", arrived.keys() - due)
    _require("arrived twice", [item for item, n in arrived.items() if n > 1])
    _require("arrived but not recorded", [row.id for row in rows if row.state != DeliveryState.DELIVERED])
    return due


def check_in_order(arrivals: Iterable[Arrival]) -> None:
    """Each delivery arrived after all that were made before it, and once.

    Raises:
        CheckFailed: With how many did not.
    """
    ids = [arrival.webhook_id for arrival in arrivals]
    _require("out of order", [later for earlier, later in pairwise(ids) if later <= earlier])


def _require(what: str, wrong: Iterable[object]) -> None:
    if count := len(list(wrong)):
        raise CheckFailed(f"{count} {what}")
