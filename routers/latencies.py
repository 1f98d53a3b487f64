"""How long deliveries took, read from the rows of what arrived since the last look.

Read and not observed by whoever sends, so that the numbers are of the whole installation, the same in each process,
and sending pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, exists, select, tuple_

from receiver.columns import fixed
from receiver.ids import Prefix, first_id
from receiver.schema import events
from routers.facts import own_time
from routers.ledger import DELIVERED
from routers.schema import DeliveryState, attempts, deliveries, transitions, versions

# Ids are made a moment before their rows are committed, by clocks that differ a little: what is younger is not looked
# at yet, or a row that comes late would be passed over.
SETTLED_AFTER = timedelta(seconds=10)
MOST_READ = 5_000  # a look
_A_DAY = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery that arrived. *since_hang_up* is None unless it is the first message about a call that ended."""

    sink: str
    since_received: timedelta
    since_hang_up: timedelta | None


class Latencies:
    """Goes through the tries since it was made, each once."""

    def __init__(self, now: datetime, *, settled_after: timedelta = SETTLED_AFTER) -> None:
        self._after = first_id(Prefix.ATTEMPT, now)
        self._settled_after = settled_after

    def look(self, conn: Connection, now: datetime, observe: Callable[[Arrived], None]) -> None:
        """Call *observe* for what arrived since the last look; after much of it the next look goes on."""
        until = first_id(Prefix.ATTEMPT, now - self._settled_after)
        tries = conn.execute(_tries(self._after, until)).all()
        arrived = [row.delivery_id for row in tries if row.outcome == DELIVERED]
        for one in _arrived(conn, arrived):
            observe(one)
        if len(tries) == MOST_READ:
            self._after = tries[-1].id
        else:
            self._after = max(self._after, until)


def _tries(after: str, until: str) -> Any:
    query = select(attempts.c.id, attempts.c.delivery_id, attempts.c.outcome)
    return query.where(attempts.c.id > after, attempts.c.id <= until).order_by(attempts.c.id).limit(MOST_READ)


def _arrived(conn: Connection, ids: list[str]) -> Iterator[Arrived]:
    earlier, its_transition = deliveries.alias(), transitions.alias()
    is_first = ~exists().where(
        its_transition.c.object_id == transitions.c.object_id,
        earlier.c.transition_id == its_transition.c.id,
        earlier.c.state == fixed(DeliveryState.DELIVERED),
        tuple_(earlier.c.finished_at, earlier.c.id) < tuple_(deliveries.c.finished_at, deliveries.c.id),
    )
    query = (
        select(
            deliveries.c.sink,
            deliveries.c.finished_at,
            events.c.received_at,
            transitions.c.name,
            versions.c.stage,
            versions.c.fields,
            is_first.label("is_first"),
        )
        .join(transitions, transitions.c.id == deliveries.c.transition_id)
        .join(events, events.c.id == transitions.c.event_id)
        .join(
            versions,
            (versions.c.object_id == transitions.c.object_id) & (versions.c.version == transitions.c.version),
        )
        .where(deliveries.c.id.in_(ids), deliveries.c.finished_at.is_not(None))
    )
    for row in conn.execute(query):
        since_received = max(row.finished_at - row.received_at, timedelta(0))
        yield Arrived(row.sink, since_received, _since_hang_up(row) if row.is_first else None)


def _since_hang_up(row: Row[Any]) -> timedelta | None:
    """From the end of a call, as CallRail tells its beginning and its length; None if it is none or tells neither."""
    begun, seconds = own_time(row.fields), row.fields.get("duration")
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < _A_DAY
    if not row.name.startswith("call.") or begun is None or not is_number:
        return None
    since: timedelta = row.finished_at - begun - timedelta(seconds=seconds)
    return max(since, timedelta(0))
