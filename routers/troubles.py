"""What is in trouble now, as the database tells: read only, by indexes over what waits, fails or is new.

Nothing here knows what was told of it before; `routers.alarms` does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, literal_column, or_, select

from receiver.columns import fixed
from receiver.ids import Prefix, first_id
from receiver.instances import ALIVE_FOR
from receiver.schema import EventState, Origin, QuarantineReason, events, instances, quarantine
from routers.alarm_events import ACCOUNT, HOST, ROUTING, SINK, SOURCE
from routers.budgets import Usage, usages
from routers.lanes import SHUT_AFTER
from routers.schema import NO_ACCESS, DeliveryState, deliveries, lanes, transitions
from routers.transitions import ALARMS, Transition

BACKLOG_AFTER = timedelta(minutes=5)
LOW_AT = 80  # per cent of an hour's or a day's allowance
# A spool that is emptied, and a sink that is let go on, bring in old things, which are gone in no time.
_BACKLOG_LASTS = timedelta(seconds=30)
BAD_SIGNATURES_FOR = timedelta(minutes=5)
_PROVED_WITHIN = timedelta(minutes=1)
MOST_COUNTED = 1_000
_REFUSAL_LASTS = timedelta(hours=1)  # after the last that expired; what succeeds meanwhile may be of another account
_MOST_FAILED = 100_000  # that one more has failed is seen up to so many
_MOST_CAUSES = 5

# What rules and templates see of a trouble that was told last at some moment, or never.
Tell = Callable[[datetime | None], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now.

    Attributes:
        type: What the subject is: sink, routing, host, source, account.
        tell: Reads what rules and templates see of it; asked only if it is told.
        patience: How long it must last to be told at all.
        is_known: Whether nobody need hear of it, who knows of its reason; one that was told before goes on, though.
    """

    name: Transition
    type: str
    subject: str
    since: datetime
    tell: Tell
    patience: timedelta = timedelta(0)
    is_known: bool = False


def troubles(conn: Connection, now: datetime, *, spooled_since: datetime | None = None) -> Iterator[Trouble]:
    """All that is wrong at *now* and lasts: sinks, routing, spools, allowances, signatures.

    Args:
        spooled_since: What has been received since then may have come out of a spool just now; None if nothing may.
    """
    yield from _sinks_down(conn, now)
    yield from _sinks_behind(conn, now)
    yield from _routing_behind(conn, now)
    yield from _budgets_low(conn, now)
    yield from _spooling(conn, now)
    lately = now - BAD_SIGNATURES_FOR
    yield from _bad_signatures(conn, now, min(lately, spooled_since or lately))


# --- sinks -----------------------------------------------------------------------------------------------------------


def _sinks_down(conn: Connection, now: datetime) -> Iterator[Trouble]:
    """Lanes that failures or a refusal have shut, wholly or for a part; what an operator holds, they know of."""
    for row in conn.execute(select(lanes, _refused.label("refused")), {"lately": now - _REFUSAL_LASTS}):
        why = row.refused or ((row.reason or "it fails") if row.failures >= SHUT_AFTER else None)
        if why is not None:
            # How it failed, without what the destination wrote, which may hold anything.
            tell = partial(_of_sink, conn, row.sink, {"reason": ": ".join(why.split(": ")[:2])})
            yield Trouble(Transition.ROUTER_SINK_DOWN, SINK, row.sink, now, tell, is_known=row.held)


# Why one was put off that waits for somebody to act, also while it is tried again, and for a while after it was late.
_refused = (
    select(deliveries.c.reason)
    .where(
        deliveries.c.sink == lanes.c.sink,
        deliveries.c.cause == fixed(NO_ACCESS),
        or_(deliveries.c.finished_at.is_(None), deliveries.c.finished_at > bindparam("lately")),
    )
    .limit(1)
    .scalar_subquery()
)


def _sinks_behind(conn: Connection, now: datetime) -> Iterator[Trouble]:
    """Lanes whose oldest message has been due for long, though they might have sent it."""
    is_pending = deliveries.c.state == fixed(DeliveryState.PENDING)
    oldest = select(func.min(deliveries.c.due_at)).where(deliveries.c.sink == lanes.c.sink, is_pending)
    due = oldest.scalar_subquery().label("due")
    for row in conn.execute(select(lanes.c.sink, lanes.c.held, lanes.c.failures, lanes.c.paused_until, due)):
        if row.due is None or now - row.due <= BACKLOG_AFTER:
            continue
        since = max(row.due, row.paused_until or row.due)
        is_known = row.held or row.failures >= SHUT_AFTER or now - since <= BACKLOG_AFTER
        tell = partial(_of_sink, conn, row.sink, {"minutes": minutes(now - since)})
        yield Trouble(Transition.ROUTER_BACKLOG, SINK, row.sink, since, tell, _BACKLOG_LASTS, is_known)


def _of_sink(conn: Connection, sink: str, facts: Mapping[str, Any], _told_at: datetime | None) -> dict[str, Any]:
    return {"sink": sink, "count": _waiting(conn, sink), **facts}


def _waiting(conn: Connection, sink: str) -> int:
    """How many messages wait for *sink*, as far as they are counted."""
    waiting = (DeliveryState.PENDING, DeliveryState.BLOCKED)
    counts = [
        _count(conn, select(deliveries.c.id).where(deliveries.c.sink == sink, deliveries.c.state == fixed(state)))
        for state in waiting
    ]
    return min(sum(counts), MOST_COUNTED)


def given_up(conn: Connection, sink: str, after: datetime, until: datetime) -> tuple[int, list[str]]:
    """How many messages of *sink* were given up between two moments, and why.

    Alarms are left out, so that none is about another.
    """
    query = (
        select(deliveries.c.cause)
        .join(transitions, transitions.c.id == deliveries.c.transition_id)
        .where(
            deliveries.c.sink == sink,
            deliveries.c.state.in_((fixed(DeliveryState.DEAD), fixed(DeliveryState.UNCERTAIN))),
            deliveries.c.finished_at > after,
            deliveries.c.finished_at <= until,
            transitions.c.name.not_in(ALARMS),
        )
        .limit(MOST_COUNTED)
    )
    causes = conn.execute(query).scalars().all()
    return len(causes), _most_frequent(causes)


# --- routing ---------------------------------------------------------------------------------------------------------


def _routing_behind(conn: Connection, now: datetime) -> Iterator[Trouble]:
    """Events that wait to be routed for long."""
    waiting = select(events.c.received_at).where(events.c.state == fixed(EventState.RECEIVED))
    since = conn.execute(waiting.order_by(events.c.id).limit(1)).scalar()
    if since is not None and now - since > BACKLOG_AFTER:

        def tell(_told_at: datetime | None) -> dict[str, Any]:
            return {"count": _count(conn, waiting), "minutes": minutes(now - since)}

        yield Trouble(Transition.ROUTER_BACKLOG, ROUTING, ROUTING, since, tell, _BACKLOG_LASTS)


def failed_events(conn: Connection) -> int:
    """How many events could not be routed."""
    return _count(conn, select(events.c.id).where(_HAS_FAILED), most=_MOST_FAILED)


def causes_of_failures(conn: Connection, newest: int) -> list[str]:
    """Why the *newest* of them could not."""
    query = select(events.c.reason).where(_HAS_FAILED).order_by(events.c.id.desc()).limit(newest)
    return _most_frequent(conn.execute(query).scalars().all())


_HAS_FAILED = events.c.state == fixed(EventState.FAILED)


# --- the API ---------------------------------------------------------------------------------------------------------


def _budgets_low(conn: Connection, now: datetime) -> Iterator[Trouble]:
    """Accounts of which an allowance is nearly spent; of several the one that is spent most."""
    fullest: dict[str, Usage] = {}
    for usage in usages(conn, now):
        if usage.percent >= fullest.get(usage.account_id, usage).percent:
            fullest[usage.account_id] = usage
    for account_id, usage in fullest.items():
        if usage.percent >= LOW_AT:
            tell = partial(_of_budget, usage)
            yield Trouble(Transition.ROUTER_BUDGET_LOW, ACCOUNT, account_id, now, tell)


def _of_budget(usage: Usage, _told_at: datetime | None) -> dict[str, Any]:
    return {"account": usage.account_id, "allowance": usage.kind, "percent": usage.percent}


# --- intake ----------------------------------------------------------------------------------------------------------


def _spooling(conn: Connection, now: datetime) -> Iterator[Trouble]:
    """Hosts on which a process has webhooks in its spool, or died with some and has no successor yet."""
    hosts = defaultdict(list)
    for row in conn.execute(select(instances)):
        hosts[row.host].append(row)
    for host, rows in hosts.items():
        started = [row.started_at for row in rows if row.seen_at > now - ALIVE_FOR]
        spooling = [row for row in rows if row.spooling_since and not _is_replaced(row, started, now)]
        if spooling:
            since = min(row.spooling_since for row in spooling)
            tell = partial(_of_spool, host, sum(row.spooled for row in spooling))
            yield Trouble(Transition.ROUTER_SPOOLING, HOST, host, since, tell)


def _of_spool(host: str, spooled: int, _told_at: datetime | None) -> dict[str, Any]:
    return {"host": host, "count": spooled}


def _is_replaced(row: Any, started: Sequence[datetime], now: datetime) -> bool:
    """Whether a process is dead, and one that lives has begun since, which empties its spool."""
    return row.seen_at <= now - ALIVE_FOR and any(moment > row.seen_at for moment in started)


def _bad_signatures(conn: Connection, now: datetime, after: datetime) -> Iterator[Trouble]:
    """Companies of which webhooks came lately that no key proves. Whatever comes for others is nobody's trouble."""
    newest = _unproved(after).order_by(quarantine.c.id.desc()).limit(MOST_COUNTED)
    since: dict[str, datetime] = {}
    for row in conn.execute(newest):
        since[row.company] = row.received_at  # the last of a company is its oldest
    for company, oldest in since.items():
        tell = partial(_of_source, conn, company, after, min(after, now - timedelta(hours=1)))
        yield Trouble(Transition.SOURCE_BAD_SIGNATURE, SOURCE, company, oldest, tell)


def _of_source(
    conn: Connection, company: str, after: datetime, earliest: datetime, told_at: datetime | None
) -> dict[str, Any]:
    """How many came since that was told last, though not before *earliest*; *after* if it never was."""
    told = _unproved(max(told_at or after, earliest)).where(quarantine.c.company == company)
    rows = conn.execute(told.limit(MOST_COUNTED)).all()
    return {"count": len(rows), "causes": _most_frequent([row.reason.replace("_", " ") for row in rows])}


def _unproved(after: datetime) -> Select[Any]:
    return select(quarantine.c.company, quarantine.c.reason, quarantine.c.received_at).where(
        quarantine.c.id >= first_id(Prefix.EVENT, after),
        quarantine.c.reason != fixed(QuarantineReason.COMPANY_UNKNOWN),
    )


def is_proved_again(conn: Connection, company: str, now: datetime) -> bool:
    """Whether a webhook of *company* came in just now that a key proved."""
    proved = select(events.c.id).where(
        events.c.id >= first_id(Prefix.EVENT, now - _PROVED_WITHIN),
        events.c.company == company,
        events.c.origin == Origin.WEBHOOK.value,
    )
    return conn.execute(proved.limit(1)).first() is not None


# --- counting --------------------------------------------------------------------------------------------------------


def minutes(time: timedelta) -> int:
    """*time* in whole minutes."""
    return int(time.total_seconds() // 60)


def _count(conn: Connection, query: Select[Any], most: int = MOST_COUNTED) -> int:
    """How many rows *query* finds, *most* at the most: further nobody reads on."""
    few = query.with_only_columns(literal_column("1").label("one")).limit(most).subquery()
    found: int = conn.execute(select(func.count()).select_from(few)).scalar_one()
    return found


def _most_frequent(causes: Sequence[str | None]) -> list[str]:
    return [cause for cause, _ in Counter(cause or "no reason is stored" for cause in causes).most_common(_MOST_CAUSES)]
