"""Carrying replays out: items go into the outbox a few at a time, at the replay's rate, and behind live traffic.

A step is one transaction: it takes the replay's row, so that of several dispatchers one works at it, puts the next
items into the outbox and moves the cursor. What is undone is undone whole; what is done again finds the keys taken.

Live deliveries come first in two ways. A replay has only a few of its own waiting at any time, so that what is made now
stands behind no more than those; and it puts none in while live ones wait for longer than a moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, or_, select, update

from receiver.bulk import BulkUpdate
from receiver.clock import Clock
from receiver.columns import fixed
from receiver.loggers import get_logger
from receiver.schema import EventState, events
from receiver.writer import Writer
from routers.audience import Audience
from routers.deciding import order_key_of
from routers.lanes import SHUT_AFTER
from routers.messages import Amend
from routers.operating import retry
from routers.ordering import Pair, let_go
from routers.outbox import NewDelivery, insert_deliveries
from routers.periodic import Job
from routers.rates import parse_rate
from routers.replays import LeftOut, count_deliveries, count_open
from routers.schema import (
    OPEN,
    DeliveryState,
    ReplayItemState,
    ReplayState,
    deliveries,
    lanes,
    objects,
    replay_items,
    replays,
    transitions,
    versions,
)
from routers.transitions import Transition

_log = get_logger(__name__)

EVERY = timedelta(seconds=0.5)
MOST = 20  # items in one transaction
# A replay lets so many of its deliveries wait in the outbox, or as many as its rate gives in two seconds.
MOST_OPEN = 20
_OPEN_FOR = timedelta(seconds=2)
_BURST = timedelta(seconds=1)
# Live traffic waits if something of it is due for this long ...
LIVE_WAITS = timedelta(seconds=1)
# ... and a replay that gave way for this long lets one message through, so that it comes to its end.
GIVES_WAY_FOR = timedelta(seconds=30)

GIVES_WAY = "gives way to live traffic"
IS_FULL = "waits until some of its deliveries are sent"


@dataclass(slots=True)
class Step:
    """What one transaction did: how many items it put into the outbox, for which sinks, and where one has to wait for
    an earlier one. *has_more*: the next may go at once.
    """

    queued: int = 0
    sinks: set[str] = field(default_factory=set)
    blocked: set[Pair] = field(default_factory=set)
    has_more: bool = False


def replay_job(
    writer: Writer,
    clock: Clock,
    audiences: Mapping[str, Audience],
    on_deliveries: Callable[[Collection[str]], None],
) -> Job:
    """The job that carries out whatever replays are running.

    Each process looks for itself, at the price of a question; the rows' locks see to it that none is done twice.

    Args:
        audiences: Who is at each sink of this process: what waits for others says nothing of live traffic.
        on_deliveries: Called after a COMMIT that put deliveries into the outbox, with the sinks they are for.
    """

    async def work() -> None:
        for replay_id in await writer.run(_running):
            while True:
                done = await writer.run(partial(step, replay_id=replay_id, clock=clock, audiences=audiences))
                if done.blocked:  # what those wait for may have ended in a transaction that could not see them
                    await let_go(writer, done.blocked)
                if done.sinks:
                    on_deliveries(done.sinks)
                if not done.has_more:
                    break

    return Job("replay", EVERY, work, is_shared=False)


def _running(conn: Connection) -> Sequence[str]:
    query = select(replays.c.id).where(replays.c.state == fixed(ReplayState.RUNNING)).order_by(replays.c.id)
    return conn.execute(query).scalars().all()


def step(conn: Connection, *, replay_id: str, clock: Clock, audiences: Mapping[str, Audience]) -> Step:
    """Put the next items of a running replay into the outbox: as many as its rate and live traffic allow."""
    running = select(replays).where(replays.c.id == replay_id, replays.c.state == fixed(ReplayState.RUNNING))
    replay = conn.execute(running.with_for_update(skip_locked=True)).one_or_none()
    if replay is None:  # stopped meanwhile, or another process is at it
        return Step()
    now = clock.now(conn)
    waiting = _next_items(conn, replay)
    is_open = count_open(conn, replay_id)
    if not waiting:
        if is_open:
            _say(conn, replay, _waits_for(conn, replay_id))
        else:
            _finish(conn, replay, now)
        return Step()
    count, reason = _how_many(conn, replay, is_open, audiences, now)
    if not count:
        _say(conn, replay, reason)
        return Step()
    items = waiting[:count]
    done = _queue(conn, replay, items, audiences, now)
    due_at = max(_due_at(replay, now), now - _BURST) + len(items) * _interval(replay)
    moved = {"next_item": items[-1].n + 1, "due_at": due_at, "reason": None}
    conn.execute(update(replays).where(replays.c.id == replay_id).values(moved))
    done.has_more = due_at <= now
    return done


def _next_items(conn: Connection, replay: Row[Any]) -> Sequence[Row[Any]]:
    query = select(replay_items).where(
        replay_items.c.replay_id == replay.id,
        replay_items.c.n >= replay.next_item,
        replay_items.c.state == ReplayItemState.WAITING.value,
    )
    return conn.execute(query.order_by(replay_items.c.n).limit(MOST)).all()


def _interval(replay: Row[Any]) -> timedelta:
    rate = parse_rate(replay.options["rate"])
    return rate.per / rate.count


def _due_at(replay: Row[Any], now: datetime) -> datetime:
    """When its rate lets the next go. Further ahead than a step puts it, only a clock that was set back did."""
    due_at: datetime = replay.due_at
    return due_at if due_at <= now + MOST * _interval(replay) else now


def _say(conn: Connection, replay: Row[Any], reason: str | None) -> None:
    if reason != replay.reason:
        conn.execute(update(replays).where(replays.c.id == replay.id).values(reason=reason))


def _waits_for(conn: Connection, replay_id: str) -> str:
    """That its deliveries are not sent yet, and to which sinks: one that rests holds up the others."""
    is_open = deliveries.c.state.in_([fixed(state) for state in OPEN])
    sinks = select(deliveries.c.sink).where(deliveries.c.replay == replay_id, is_open).distinct()
    return f"{IS_FULL}: {', '.join(sorted(conn.execute(sinks).scalars()))}"


def _finish(conn: Connection, replay: Row[Any], now: datetime) -> None:
    summary = {**replay.summary, "outcome": dict(count_deliveries(conn, replay.id))}
    ended = {"state": ReplayState.DONE.value, "finished_at": now, "reason": None, "summary": summary}
    conn.execute(update(replays).where(replays.c.id == replay.id).values(ended))
    _log.info("replay.done", replay=replay.id, **summary["outcome"])


# --- how many ---------------------------------------------------------------------------------------------------------


def _how_many(
    conn: Connection, replay: Row[Any], is_open: int, audiences: Mapping[str, Audience], now: datetime
) -> tuple[int, str | None]:
    """How many items may go now; if none, why not, None where it is only the rate."""
    interval = _interval(replay)
    due_at = _due_at(replay, now)
    if due_at > now:
        return 0, None
    room = max(MOST_OPEN, math.ceil(_OPEN_FOR / interval)) - is_open
    if room <= 0:
        return 0, _waits_for(conn, replay.id)
    if _live_waits(conn, audiences, now):
        return (1, None) if now - due_at >= GIVES_WAY_FOR else (0, GIVES_WAY)
    return min(room, MOST, (now - max(due_at, now - _BURST)) // interval + 1), None


_oldest_event = (
    select(events.c.received_at).where(events.c.state == fixed(EventState.RECEIVED)).order_by(events.c.id).limit(1)
)

_going = select(lanes.c.sink).where(
    ~lanes.c.held,
    lanes.c.failures < SHUT_AFTER,
    or_(lanes.c.paused_until.is_(None), lanes.c.paused_until <= bindparam("now")),
)


def _live_waits(conn: Connection, sinks: Collection[str], now: datetime) -> bool:
    """Whether an event, or a delivery that is of no replay and may be sent, waits for longer than a moment."""
    overdue = now - LIVE_WAITS
    received_at = conn.execute(_oldest_event).scalar()
    if received_at is not None and received_at <= overdue:
        return True
    going = set(conn.execute(_going, {"now": now}).scalars()) & set(sinks)
    waiting = select(deliveries.c.id).where(
        deliveries.c.sink.in_(sorted(going)),
        deliveries.c.state == fixed(DeliveryState.PENDING),
        deliveries.c.due_at <= overdue,
        deliveries.c.replay.is_(None),
    )
    return conn.execute(waiting.limit(1)).first() is not None


# --- into the outbox --------------------------------------------------------------------------------------------------

_mark = BulkUpdate(
    replay_items, replay_items.c.state, replay_items.c.reason, key=[replay_items.c.replay_id, replay_items.c.n]
)


def _queue(
    conn: Connection, replay: Row[Any], items: Sequence[Row[Any]], audiences: Mapping[str, Audience], now: datetime
) -> Step:
    """Put *items* into the outbox, and note on each what became of it."""
    reasons: dict[int, str] = {}
    for item in items:
        if why_not := _why_not_there(replay, item.sink, audiences):
            reasons[item.n] = why_not
    going = [item for item in items if item.n not in reasons]
    _take_up(conn, replay, [item for item in going if item.new is None], reasons, now)
    blocked = _make(conn, replay, [item for item in going if item.new is not None], reasons, now)
    queued, skipped = ReplayItemState.QUEUED, ReplayItemState.SKIPPED
    rows = [(skipped if item.n in reasons else queued, reasons.get(item.n), replay.id, item.n) for item in items]
    _mark(conn, rows)
    told = [item for item in items if item.n not in reasons]
    return Step(len(told), {item.sink for item in told}, blocked)


def _why_not_there(replay: Row[Any], sink: str, audiences: Mapping[str, Audience]) -> LeftOut | None:
    """Why nothing is sent there after all: router.yaml may have been changed since the plan."""
    if sink not in audiences:
        return LeftOut.NO_SINK
    is_for_people = audiences[sink] is Audience.PEOPLE
    return LeftOut.PEOPLE if is_for_people and not replay.options["to_people"] else None


def _take_up(
    conn: Connection, replay: Row[Any], items: Sequence[Row[Any]], reasons: dict[int, str], now: datetime
) -> None:
    """Take deliveries up again under their own key. What is too late or was changed since the plan gets a reason."""
    ids = [item.delivery_id for item in items]
    columns = (deliveries.c.id, deliveries.c.state, deliveries.c.replay, deliveries.c.expires_at, objects.c.erased_at)
    about = objects.c.id == deliveries.c.object_id
    query = select(*columns).join(objects, about).where(deliveries.c.id.in_(ids))
    before = {row.id: row for row in conn.execute(query)}
    is_late = {row.id for row in before.values() if _is_late(replay, row.expires_at, now)}
    due = [id_ for id_ in ids if id_ not in is_late]
    retry(conn, due, now=now, replay=replay.id, keeps_expiry=not replay.options["late"])
    after = {row.id: row for row in conn.execute(query)}
    for item in items:
        row = after.get(item.delivery_id)
        if row is None:
            reasons[item.n] = LeftOut.FORGOTTEN
        elif row.erased_at is not None:
            reasons[item.n] = LeftOut.ERASED
        elif row.id in is_late:
            reasons[item.n] = LeftOut.LATE
        elif row.replay != replay.id or row.state not in OPEN:
            reasons[item.n] = f"{row.state} since the plan was made"


def _make(
    conn: Connection, replay: Row[Any], items: Sequence[Row[Any]], reasons: dict[int, str], now: datetime
) -> set[Pair]:
    """Make deliveries. One whose key is there already was made since the plan, and gets a reason."""
    if not items:
        return set()
    known = {row.id: row for row in conn.execute(_facts, {"ids": [item.transition_id for item in items]})}
    made: dict[int, NewDelivery] = {}
    for item in items:
        expires_at = item.new["expires_at"] and datetime.fromisoformat(item.new["expires_at"])
        if item.transition_id not in known:
            reasons[item.n] = LeftOut.FORGOTTEN
        elif known[item.transition_id].erased_at is not None:
            reasons[item.n] = LeftOut.ERASED
        elif _is_late(replay, expires_at, now):
            reasons[item.n] = LeftOut.LATE
        else:
            made[item.n] = _new_delivery(replay, item, known[item.transition_id], expires_at)
    blocked = insert_deliveries(conn, made.values(), now=now)
    keys = select(deliveries.c.key).where(deliveries.c.key.in_([new.key for new in made.values()]))
    ours = set(conn.execute(keys.where(deliveries.c.replay == replay.id)).scalars())
    reasons |= {n: "made since the plan" for n, new in made.items() if new.key not in ours}
    return blocked if conn.dialect.name == "postgresql" else set()  # SQLite has one writer at a time


_facts = (
    select(
        transitions.c.id,
        transitions.c.company,
        transitions.c.object_id,
        objects.c.type,
        objects.c.told,
        objects.c.erased_at,
        versions.c.fields,
    )
    .join(objects, objects.c.id == transitions.c.object_id)
    .join(versions, and_(versions.c.object_id == objects.c.id, versions.c.version == transitions.c.version))
    .where(transitions.c.id.in_(bindparam("ids", expanding=True)))
)


def _new_delivery(replay: Row[Any], item: Row[Any], about: Any, expires_at: datetime | None) -> NewDelivery:
    new = item.new
    is_sent = Transition.TEXT_SENT in about.told
    return NewDelivery(
        key=new["key"],
        transition_id=item.transition_id,
        object_id=about.object_id,
        company=about.company,
        rule=new["rule"],
        send=new["send"],
        sink=item.sink,
        template=new["template"],
        expires_at=expires_at,
        order_key=order_key_of(about.company, about.type, about.object_id, about.fields, is_sent=is_sent),
        amend=Amend(new["amend"]) if new["amend"] else None,
        amends=new["amends"],
        generation=new["generation"],
        replay=replay.id,
    )


def _is_late(replay: Row[Any], expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is not None and expires_at <= now and not replay.options["late"]
