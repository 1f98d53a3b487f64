"""What an operator changes in the outbox: deliveries are taken up again or cancelled, sinks resumed. The server does
what follows.

Each batch is one transaction that first takes the rows of the lanes, as a dispatcher's turn does: so the two never wait
for each other crosswise, and what a turn has claimed is either sent or taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, and_, case, exists, not_, or_, select, update

from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.columns import fixed
from receiver.database import Database
from routers import lanes
from routers.ledger import Selection, ids_of_deliveries, last_of_deliveries
from routers.ordering import Pair, promote
from routers.outbox import TAKEN_BACK, UNSENT, end
from routers.retries import GONE, NOT_AUTHORISED
from routers.schema import NO_ACCESS, RETRYABLE, DeliveryState, deliveries, objects

CANCELLED = "cancelled by an operator"
_BATCH = 500

CANCELLABLE = (*UNSENT, DeliveryState.LEASED)


class Change(Protocol):
    """`retry` or `cancel`."""

    def __call__(self, conn: Connection, ids: Collection[str], *, now: datetime) -> int: ...


def retry(
    conn: Connection, ids: Collection[str], *, now: datetime, replay: str | None = None, keeps_expiry: bool = False
) -> int:
    """Take deliveries up again, under their old id and key, as if never tried and without a time to expire.

    How many those were: such as are not finished, or arrived, or are about an erased person, are left out. One that
    may have arrived says so when it is sent. One about a person of whom another is open waits for that.

    Args:
        replay: The replay that does so; they say it from then on.
        keeps_expiry: Whether they expire when they would have.
    """
    which = and_(_which(ids, RETRYABLE), not_(_is_of_an_erased))
    _lock_lanes(conn, which)
    is_ordered = deliveries.c.order_key.is_not(None)
    is_uncertain = deliveries.c.state == fixed(DeliveryState.UNCERTAIN)
    values: dict[str, Any] = {
        "state": case((is_ordered, DeliveryState.BLOCKED.value), else_=DeliveryState.PENDING.value),
        "due_at": now,
        "attempts": 0,
        "finished_at": None,
        "cause": None,
        "reason": None,
        "blocks": True,
        "blocks_until": None,
        "may_repeat": or_(deliveries.c.may_repeat, is_uncertain),
        **TAKEN_BACK,
    }
    values |= {} if keeps_expiry else {"expires_at": None}
    values |= {} if replay is None else {"replay": replay}
    retried = update(deliveries).where(which).values(values).returning(deliveries.c.sink, deliveries.c.order_key)
    rows = conn.execute(retried).all()
    promote(conn, [Pair(*row) for row in rows if row.order_key is not None])
    return len(rows)


def cancel(conn: Connection, ids: Collection[str], *, now: datetime, reason: str = CANCELLED) -> int:
    """End deliveries that are not sent yet, and let go what waited for them. How many those were.

    One that a dispatcher has claimed is taken back from it. One that is being sent is left out.
    """
    which = _which(ids, CANCELLABLE)
    _lock_lanes(conn, which)
    columns = (deliveries.c.id, deliveries.c.sink, deliveries.c.order_key)
    rows = conn.execute(update(deliveries).where(which).values(TAKEN_BACK).returning(*columns)).all()
    if rows:
        end(conn, rows, DeliveryState.CANCELLED, reason, now)
    return len(rows)


_is_of_an_erased = exists().where(objects.c.id == deliveries.c.object_id, objects.c.erased_at.is_not(None))
_waits_for_somebody = and_(
    deliveries.c.state == fixed(DeliveryState.PENDING), deliveries.c.cause.in_((NOT_AUTHORISED, GONE, NO_ACCESS))
)


def resume(conn: Connection, sink: str, *, now: datetime) -> bool:
    """End every pause of *sink*, forget its failures, and let go at once what waited for somebody to act.

    Whether there is such a lane.
    """
    is_there = lanes.release(conn, sink)
    early = and_(deliveries.c.sink == sink, _waits_for_somebody, deliveries.c.due_at > now)
    # What an account took not is asked of it again, and not put off for what is remembered of it.
    has_acted = case((deliveries.c.cause == NO_ACCESS, None), else_=deliveries.c.cause)
    conn.execute(update(deliveries).where(early).values(due_at=now, cause=has_acted))
    return is_there


def change_all(
    database: Database,
    selection: Selection,
    change: Change,
    *,
    clock: Clock,
    on_batch: Callable[[int], None] = lambda _: None,
    size: int = _BATCH,
) -> int:
    """Make *change* of all of *selection*, *size* a transaction; how many those were.

    What is made after the beginning is not meant. Ended amid the work, it goes on where it was when it is called again.

    Args:
        on_batch: Told after each transaction how many are changed so far.
    """
    with database.reading.connect() as conn:
        last = last_of_deliveries(conn, selection)
    after, changed = "", 0
    while last is not None and after < last:
        with database.writing.begin() as conn:
            ids = ids_of_deliveries(conn, selection, after=after, last=last, limit=size)
            changed += change(conn, ids, now=clock.now(conn))
        after = ids[-1] if ids else last
        on_batch(changed)
    return changed


def _which(ids: Collection[str], states: Collection[DeliveryState]) -> ColumnElement[bool]:
    return and_(deliveries.c.id.in_(ids), deliveries.c.state.in_([state.value for state in states]))


def _lock_lanes(conn: Connection, which: ColumnElement[bool]) -> None:
    sinks = select(deliveries.c.sink).where(which).distinct().order_by(deliveries.c.sink)
    for sink in conn.execute(sinks).scalars().all():
        lanes.open_lane(conn, sink)
        lanes.lock_lane(conn, sink)


def clock_of(database: Database) -> Clock:
    """The clock of a command. A clock set back is for the server to mend, which sees it too."""
    return WallClock(lambda _conn, _by: None) if database.is_sqlite else DatabaseClock()
