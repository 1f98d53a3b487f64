"""The order in which one person's messages reach a sink: one after another, in the order they were made.

Of the open deliveries of a sink and an order key only the first is `pending`; the others are `blocked`, and whatever
ends the first promotes the next in the same transaction. So a claim never has to ask what comes before a row.
A delivery that is tried again holds the others back for a while only (`blocks_until`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from receiver.bulk import BulkQuery
from receiver.columns import fixed
from receiver.writer import Writer
from routers.schema import ACTIVE, DeliveryState, deliveries


class Pair(NamedTuple):
    """Those of one sink about one person."""

    sink: str
    order_key: str


_COLUMNS = (deliveries.c.sink, deliveries.c.order_key)
_MINE = "d.sink = given.sink AND d.order_key = given.order_key"
_BLOCKED = f"SELECT d.id FROM deliveries AS d WHERE {_MINE} AND d.state = 'blocked'"  # noqa: S608  (words of our own)
# In the words of the partial index, or SQLite does not see that it fits.
_ACTIVE = ", ".join(f"'{state}'" for state in ACTIVE)
_BLOCKING = f"SELECT d.id FROM deliveries AS d WHERE {_MINE} AND d.state IN ({_ACTIVE}) AND d.blocks"  # noqa: S608
# Not with EXISTS: of that PostgreSQL makes a hash of all that waits, of anybody, for each question.
_IS_BLOCKED = f"({_BLOCKED} LIMIT 1) IS NOT NULL"
_IS_BLOCKING = f"({_BLOCKING} LIMIT 1) IS NOT NULL"

_held_back = BulkQuery(
    f"SELECT sink, order_key FROM {{given}} WHERE {_IS_BLOCKED} OR {_IS_BLOCKING}",  # noqa: S608
    *_COLUMNS,
)
# `|| ''` keeps it from the index of all that are blocked, which PostgreSQL would read through instead of the ids.
_promote = BulkQuery(
    f"""UPDATE deliveries SET state = 'pending' WHERE state || '' = 'blocked' AND id IN (
        SELECT ({_BLOCKED} ORDER BY d.id LIMIT 1) FROM {{given}} WHERE NOT ({_IS_BLOCKING})
    ) RETURNING sink, order_key""",  # noqa: S608
    *_COLUMNS,
)
# Of PostgreSQL alone; each pair is looked up by itself, also where a plan was made while nothing was there.
_FIRSTS = f"SELECT id, sink, order_key FROM {{given}} CROSS JOIN LATERAL ({_BLOCKING} %s) AS d"  # noqa: S608
_first = BulkQuery(_FIRSTS % "OFFSET 0", *_COLUMNS)
_first_in_nobodys_hands = BulkQuery(_FIRSTS % "FOR UPDATE SKIP LOCKED", *_COLUMNS)


def held_back(conn: Connection, pairs: Collection[Pair]) -> set[Pair]:
    """Those of *pairs* in which a new delivery has to wait for an earlier one."""
    return {Pair(*row) for row in _held_back(conn, sorted(set(pairs)))}


def promote(conn: Connection, pairs: Collection[Pair]) -> int:
    """Let the next of each of *pairs* go, unless an open one still holds it back. How many those were."""
    return len(_promote(conn, sorted(set(pairs))))


async def let_go(writer: Writer, pairs: Collection[Pair]) -> None:
    """Promote what was made to wait in *pairs*, after the COMMIT of that on PostgreSQL."""
    for pause in _LOOK_AFTER:
        await asyncio.sleep(pause)
        pairs = await writer.run(partial(promote_made, pairs=pairs))
        if not pairs:
            break


_LOOK_AFTER = (0, 0.02, 0.05, 0.1, 0.2, 0.5)  # seconds; what is left then, `promote_forgotten` finds


def promote_made(conn: Connection, pairs: Collection[Pair]) -> set[Pair]:
    """Let the next of each of *pairs* go, after the COMMIT that made it wait; those of them to ask about again.

    What it waits for may just be ended by a transaction that did not see it, and whose end is not to be seen yet
    either: neither would let it go. As long as another has such a delivery in its hands nothing is sure; whoever takes
    it into theirs later sees what waits.
    """
    asked = sorted(set(pairs))
    firsts = _first(conn, asked)
    free = {row.id for row in _first_in_nobodys_hands(conn, asked)}  # locked: nobody begins before this is over
    promote(conn, asked)
    return {Pair(row.sink, row.order_key) for row in firsts if row.id not in free}


# --- what nothing else promotes ---------------------------------------------------------------------------------------

_over = (
    update(deliveries)
    .where(deliveries.c.blocks_until.is_not(None), deliveries.c.blocks_until <= bindparam("moment"))
    .values(blocks=False, blocks_until=None)
    .returning(deliveries.c.sink, deliveries.c.order_key)
)
_waiting = (
    select(deliveries.c.sink, deliveries.c.order_key)
    .where(deliveries.c.state == fixed(DeliveryState.BLOCKED))
    .distinct()
)


def let_pass(conn: Connection, *, now: datetime) -> int:
    """Deliveries that were tried again for long enough hold nobody back any more. How many others may go now."""
    over = conn.execute(_over, {"moment": now}).all()
    return promote(conn, [Pair(*row) for row in over if row.order_key is not None])


def promote_forgotten(conn: Connection) -> int:
    """Promote what waits for nothing. How many those were; none, unless a process died at an unlucky moment.

    On PostgreSQL a delivery can be made, and be blocked, while another transaction ends the one it is to wait for; who
    made it looks after it (`promote_made`), and this after one that could not.
    """
    waiting = conn.execute(_waiting).all()
    return promote(conn, [Pair(*row) for row in waiting])
