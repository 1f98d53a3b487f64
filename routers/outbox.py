"""The outbox: what is to be told, from the moment it is necessary until it is claimed, or ends without being sent.

A delivery is written in the transaction that makes it necessary, under an idempotency key. How dispatchers take it from
there is in `routers/leases.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    select,
    update,
)

from receiver.bulk import BulkInsert
from receiver.columns import fixed
from receiver.ids import Prefix, new_id
from routers.lanes import shift_lanes
from routers.media.rows import shift_due
from routers.messages import Amend
from routers.ordering import Pair, held_back, promote
from routers.schema import IS_WAITING, NO_ACCESS, OPEN, DeliveryState, deliveries, lookups, transitions


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One thing to tell one sink. *key* is its idempotency key: a second one with the same key is not made.

    Attributes:
        order_key: Whom it is about; those of one key reach a sink one after another. None where order does not matter.
        amend: How later news amends the first message of a thing; None if not at all.
        amends: The delivery of the first message, if this is later news.
        due_at: When it may be sent; None for at once.
        told_by: Why it need not be sent, if another message tells of it.
        generation: The how manieth time it is told on purpose, from 0; its key ends with it.
        replay: The replay that makes it.
    """

    key: str
    transition_id: str
    object_id: str
    company: str
    rule: str
    send: str
    sink: str
    template: str | None = None
    expires_at: datetime | None = None
    order_key: str | None = None
    amend: Amend | None = None
    amends: str | None = None
    due_at: datetime | None = None
    told_by: str | None = None
    generation: int = 0
    replay: str | None = None


# --- writing ---------------------------------------------------------------------------------------------------------

_insert_deliveries = BulkInsert(
    deliveries,
    deliveries.c.id,
    deliveries.c.key,
    deliveries.c.transition_id,
    deliveries.c.object_id,
    deliveries.c.company,
    deliveries.c.rule,
    deliveries.c.send,
    deliveries.c.generation,
    deliveries.c.sink,
    deliveries.c.template,
    deliveries.c.order_key,
    deliveries.c.amends,
    deliveries.c.amend,
    deliveries.c.state,
    deliveries.c.expires_at,
    deliveries.c.due_at,
    deliveries.c.fence,
    deliveries.c.attempts,
    deliveries.c.reason,
    deliveries.c.replay,
    deliveries.c.created_at,
    deliveries.c.finished_at,
)
_spoken = (
    select(deliveries.c.id)
    .join(transitions, transitions.c.id == deliveries.c.transition_id)
    .where(
        transitions.c.object_id == bindparam("object_id"),
        deliveries.c.rule.in_(bindparam("rules", expanding=True)),
        deliveries.c.send == bindparam("send"),
    )
    .limit(1)
)


def insert_deliveries(conn: Connection, new: Iterable[NewDelivery], *, now: datetime) -> set[Pair]:
    """Put deliveries into the outbox. One whose key is there already is left out.

    Returns the pairs of sink and order key in which one has to wait for an earlier one.
    """
    items = list(new)
    waiting = {Pair(item.sink, item.order_key) for item in items if item.order_key is not None}
    taken = held_back(conn, waiting) if waiting else set()
    blocked: set[Pair] = set()
    rows = []
    for item in items:
        state = DeliveryState.PENDING
        if item.told_by is not None:
            state = DeliveryState.SUPERSEDED
        elif item.order_key is not None:
            pair = Pair(item.sink, item.order_key)
            if pair in taken:
                state = DeliveryState.BLOCKED
                blocked.add(pair)
            taken.add(pair)
        rows.append(_row(item, state, now))
    if _insert_deliveries(conn, rows) < len(rows):  # one that is there already may have ended: it holds nobody back
        promote(conn, blocked)
    return blocked


def _row(item: NewDelivery, state: DeliveryState, now: datetime) -> tuple[Any, ...]:
    return (
        new_id(Prefix.DELIVERY),
        item.key,
        item.transition_id,
        item.object_id,
        item.company,
        item.rule,
        item.send,
        item.generation,
        item.sink,
        item.template,
        item.order_key,
        item.amends,
        item.amend,
        state,
        item.expires_at,
        item.due_at or now,
        0,
        0,
        item.told_by,
        item.replay,
        now,
        now if state is DeliveryState.SUPERSEDED else None,
    )


def has_spoken(conn: Connection, object_id: str, rules: Collection[str], send: str) -> bool:
    """Whether a delivery of the object (our id) was made for one of *rules* and their *send*, whatever became of it."""
    return conn.execute(_spoken, {"object_id": object_id, "rules": list(rules), "send": send}).first() is not None


def shift_open_times(conn: Connection, by: timedelta) -> None:
    """The clock was set back by *by*: so are the due times and leases of all that is open, waits for look-ups or is to
    be fetched, and the lanes' pauses."""
    times = (deliveries.c.due_at, deliveries.c.lease_until, deliveries.c.blocks_until)
    for row in conn.execute(select(deliveries.c.id, *times).where(_is_open)):
        shifted = {time.name: row[n] - by for n, time in enumerate(times, 1) if row[n] is not None}
        conn.execute(update(deliveries).where(deliveries.c.id == row.id).values(shifted))
    waiting = select(transitions.c.id, transitions.c.due_at).where(transitions.c.due_at.is_not(None), IS_WAITING)
    for id_, due_at in conn.execute(waiting).all():
        conn.execute(update(transitions).where(transitions.c.id == id_).values(due_at=due_at - by))
    shift_due(conn, by)
    conn.execute(delete(lookups))  # what holds until a time that is far away now
    shift_lanes(conn, by)


_is_open = deliveries.c.state.in_([fixed(state) for state in OPEN])


# --- ending without being sent ---------------------------------------------------------------------------------------

EXPIRED = "late: what happened is longer ago than the rule's max_age, or its expires is over"
SUPERSEDED = "superseded: the outcome was corrected before this was sent"
TOLD_WITH_FIRST = "told with the first message of it, which was not sent yet"
MOST_EXPIRED = 500  # in one transaction
# What a correction knows for later: the idempotency keys of deliveries that speak once, and would of the right outcome.
SPEAKS_OF_BOTH = "$speaks_of_both"
UNSENT = (DeliveryState.PENDING, DeliveryState.BLOCKED)
# What shuts out whoever held a delivery before: what they still have to say is of another try.
TAKEN_BACK: Mapping[str, Any] = MappingProxyType(
    {"lease_until": None, "leased_by": None, "fence": deliveries.c.fence + 1}
)


def end(
    conn: Connection,
    rows: Collection[Any],
    state: DeliveryState,
    reason: str,
    now: datetime,
    *,
    cause: str | None = None,
) -> None:
    """End *rows*, which have an id, a sink and an order key, without their being sent, and let go what waited."""
    ended = {"state": state.value, "reason": reason, "cause": cause, "finished_at": now, "blocks_until": None}
    ids = [row.id for row in rows]
    conn.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(lease_until=None, leased_by=None, **ended))
    promote(conn, [Pair(row.sink, row.order_key) for row in rows if row.order_key is not None])


def expire(conn: Connection, *, now: datetime, limit: int = MOST_EXPIRED) -> int:
    """End up to *limit* deliveries that nobody wants to hear of any more. How many those were."""
    found = conn.execute(_expired, {"now": now, "limit": limit}).all()
    # That an account took it not is still to be seen: the next would fare no better.
    for cause in {row.cause if row.cause == NO_ACCESS else None for row in found}:
        some = [row for row in found if (row.cause if row.cause == NO_ACCESS else None) == cause]
        end(conn, some, DeliveryState.EXPIRED, EXPIRED, now, cause=cause)
    return len(found)


_expired = (
    select(deliveries.c.id, deliveries.c.sink, deliveries.c.order_key, deliveries.c.cause)
    .where(
        deliveries.c.state.in_((fixed(DeliveryState.PENDING), fixed(DeliveryState.BLOCKED))),
        deliveries.c.expires_at.is_not(None),
        deliveries.c.expires_at <= bindparam("now"),
    )
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
