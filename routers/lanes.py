"""A lane: the condition of one sink, shared by all processes, and what follows from it for what may be sent now.

It is paused by an operator, for a time that an answer asked for, or for a growing time after failures in a row; after
those one probe is sent, and only its success opens the lane again. A rate fills it with tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, update

from receiver.bulk import BulkInsert
from receiver.columns import fixed
from routers.rates import Rate
from routers.schema import DeliveryState, deliveries, lanes

# So many failures in a row are no accident: the sink is down.
SHUT_AFTER = 5
_FIRST_REST = timedelta(seconds=5)
_LONGEST_REST = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a sink.

    *is_held*: an operator has paused it. *failures* are in a row. *tokens* were there at *tokens_at*; both are None for
    a lane without a rate.
    """

    sink: str
    is_held: bool = False
    paused_until: datetime | None = None
    reason: str | None = None
    failures: int = 0
    tokens: float | None = None
    tokens_at: datetime | None = None

    def is_paused(self, now: datetime) -> bool:
        return self.is_held or (self.paused_until is not None and self.paused_until > now)

    @property
    def is_shut(self) -> bool:
        """Whether nothing gets through, as far as we know."""
        return self.failures >= SHUT_AFTER

    def slots(self, concurrency: int) -> int:
        """How many may be on the way at once: a sink that failed is given one probe."""
        return 1 if self.is_shut else concurrency

    def paused(self, until: datetime, reason: str) -> Condition:
        """With a pause until *until*, unless a longer one holds. What an operator gave as reason stays."""
        if self.paused_until is not None and self.paused_until >= until:
            return self
        return replace(self, paused_until=until, reason=self.reason if self.is_held else reason)

    def failed(self, now: datetime, reason: str) -> Condition:
        """After a failure. What was on the way already when the lane was paused says nothing new."""
        if self.is_paused(now):
            return self
        failed = replace(self, failures=self.failures + 1)
        if failed.failures < SHUT_AFTER:
            return failed
        rest = min(_FIRST_REST * 2 ** min(failed.failures - SHUT_AFTER, 10), _LONGEST_REST)
        return failed.paused(now + rest, f"{failed.failures} failures in a row: {reason}")

    def shut(self) -> Condition:
        """After an answer that only a person can change: the next is a probe."""
        return replace(self, failures=max(self.failures, SHUT_AFTER))

    def answered(self, now: datetime) -> Condition:
        """After the sink has taken something in, or has refused it for what it was: the trouble before is over.

        Until then its reason stays, so that one trouble is logged once.
        """
        if self.is_paused(now):
            return replace(self, failures=0)
        return replace(self, failures=0, paused_until=None, reason=None)

    # --- tokens -------------------------------------------------------------------------------------------------------

    def filled(self, rate: Rate | None, now: datetime) -> Condition:
        """With the tokens that *rate* gives by *now*."""
        if rate is None:
            return self if self.tokens is None else replace(self, tokens=None, tokens_at=None)
        if self.tokens is None or self.tokens_at is None:
            return replace(self, tokens=float(rate.count), tokens_at=now)
        gained = max(now - self.tokens_at, timedelta(0)) / rate.per * rate.count
        return replace(self, tokens=min(self.tokens + gained, float(rate.count)), tokens_at=now)

    def taken(self, count: int) -> Condition:
        """With *count* tokens less."""
        return self if self.tokens is None else replace(self, tokens=self.tokens - count)

    def refunded(self, count: int) -> Condition:
        """With the tokens of *count* that were claimed and never left; `filled` keeps them to what there can be."""
        return self.taken(-count)

    def next_token(self, rate: Rate | None) -> timedelta:
        """How long until there is a token."""
        if rate is None or self.tokens is None or self.tokens >= 1:
            return timedelta(0)
        return (1 - self.tokens) / rate.count * rate.per


# --- stored -----------------------------------------------------------------------------------------------------------

_insert = BulkInsert(lanes, lanes.c.sink, lanes.c.failures)
_lane = select(lanes).where(lanes.c.sink == bindparam("lane"))
_locked = _lane.with_for_update()
_save = (
    update(lanes)
    .where(lanes.c.sink == bindparam("lane"))
    .values({column: bindparam(f"new_{column.name}") for column in lanes.c if column.name not in ("sink", "held")})
)
_sending = select(func.count()).where(
    deliveries.c.sink == bindparam("lane"),
    deliveries.c.state == fixed(DeliveryState.SENDING),
    deliveries.c.state.in_((fixed(DeliveryState.LEASED), fixed(DeliveryState.SENDING))),  # so that the index fits
    deliveries.c.leased_by != bindparam("instance"),
)


def open_lane(conn: Connection, sink: str) -> None:
    """Make sure that *sink* has a lane. A pause outlives a restart only as long as it asked for."""
    _insert(conn, [(sink, 0)])


def read_lane(conn: Connection, sink: str) -> Condition:
    """The condition of *sink*."""
    return _of(conn.execute(_lane, {"lane": sink}).one())


def lock_lane(conn: Connection, sink: str) -> Condition:
    """The condition of *sink*, which nobody else changes before this transaction ends."""
    return _of(conn.execute(_locked, {"lane": sink}).one())


def lock_lanes(conn: Connection, sinks: Select[tuple[str]]) -> None:
    """Let no turn be taken in *sinks* before this transaction ends.

    Whoever changes several deliveries that may be on the way does so before, as a turn does, or the two wait for each
    other.
    """
    conn.execute(select(lanes.c.sink).where(lanes.c.sink.in_(sinks)).order_by(lanes.c.sink).with_for_update()).all()


def save_lane(conn: Connection, lane: Condition) -> None:
    """Store the condition, all but whether an operator holds the lane."""
    values = {
        "paused_until": lane.paused_until,
        "reason": lane.reason,
        "failures": lane.failures,
        "tokens": lane.tokens,
        "tokens_at": lane.tokens_at,
    }
    conn.execute(_save, {"lane": lane.sink} | {f"new_{name}": value for name, value in values.items()})


def hold(conn: Connection, sink: str, reason: str) -> bool:
    """Pause *sink* until it is released. Whether there is such a lane."""
    held = update(lanes).where(lanes.c.sink == sink).values(held=True, reason=reason)
    return conn.execute(held).rowcount == 1


def release(conn: Connection, sink: str) -> bool:
    """End every pause of *sink*, and forget its failures. Whether there is such a lane."""
    freed = update(lanes).where(lanes.c.sink == sink).values(held=False, paused_until=None, reason=None, failures=0)
    return conn.execute(freed).rowcount == 1


def claimed_elsewhere(conn: Connection, sink: str, instance: str) -> int:
    """How many deliveries other processes have claimed for *sink*."""
    found: int = conn.execute(_sending, {"lane": sink, "instance": instance}).scalar_one()
    return found


def shift_lanes(conn: Connection, by: timedelta) -> None:
    """The clock was set back by *by*: so are the ends of pauses and the times of tokens."""
    for row in conn.execute(select(lanes)):
        times = {
            name: value - by for name in ("paused_until", "tokens_at") if (value := getattr(row, name)) is not None
        }
        if times:
            conn.execute(update(lanes).where(lanes.c.sink == row.sink).values(times))


def _of(row: Any) -> Condition:
    return Condition(row.sink, bool(row.held), row.paused_until, row.reason, row.failures, row.tokens, row.tokens_at)
