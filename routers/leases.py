"""Leases: how dispatchers claim deliveries, record what came of them, and return what is held no longer.

A delivery is claimed under a lease as `sending`, before its first byte leaves. Its `fence` rises with each claim, so
what an earlier holder still has to say is not heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from receiver.bulk import BulkInsert, BulkQuery, BulkUpdate
from receiver.columns import Json, fixed
from receiver.ids import Prefix, new_id
from receiver.loggers import get_logger
from routers.facts import facts_of
from routers.lifecycle import INBOUND_OUTCOMES, OUTCOME_TRANSITIONS, Outcome
from routers.messages import Amend
from routers.ordering import Pair, promote
from routers.outbox import SPEAKS_OF_BOTH, SUPERSEDED, UNSENT, end
from routers.schema import DeliveryState, attempts, deliveries, objects, transitions, versions
from routers.transitions import Transition
from routers.uncertain import OnUncertain

_log = get_logger(__name__)

MAY_REPEAT = "may repeat: the process ended while it was being sent"
MAY_HAVE_ARRIVED = "may have arrived: the process ended while it was being sent"
UNCERTAIN = "uncertain"  # the cause of deliveries that are kept for a person to decide


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed delivery with all that is needed to render it.

    *template* is None where the rule names none; *present* are the object's fields now, None where they are the same.
    *amends* and *remote_id* are of the first message of the same thing, *story* are those told with it or before.
    """

    id: str
    fence: int
    attempts: int
    rule: str
    sink: str
    company: str
    object_type: str
    callrail_id: str
    transition: Transition
    occurred_at: datetime
    stage: str
    outcome: str | None
    fields: dict[str, Any]
    details: dict[str, Any] | None = None
    template: str | None = None
    expires_at: datetime | None = None
    present: dict[str, Any] | None = None
    order_key: str | None = None
    blocks: bool = True
    blocks_until: datetime | None = None
    may_repeat: bool = False
    done: str | None = None
    cause: str | None = None
    amend: Amend | None = None
    amends: str | None = None
    remote_id: str | None = None
    replay: str | None = None
    story: tuple[Delivery, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What rules saw when it was decided."""
        return facts_of(self.company, self.object_type, self.fields, self.outcome, self.stage, self.details)


@dataclass(frozen=True, slots=True)
class Tried:
    """One try and what follows from it: the delivery's next state and when it is due."""

    delivery: Delivery
    started_at: datetime
    took: timedelta
    outcome: str
    state: DeliveryState
    due_at: datetime
    attempts: int
    reason: str
    remote_id: str | None = None
    may_repeat: bool = False
    done: str | None = None
    cause: str | None = None
    blocks: bool = True
    blocks_until: datetime | None = None


# --- claiming --------------------------------------------------------------------------------------------------------


def _may_go(table: FromClause = deliveries, *, by_index: bool = True) -> ColumnElement[bool]:
    """Whether a delivery may be sent now. If not *by_index*, no index of what is pending is used to find out."""
    state = table.c.state if by_index else table.c.state.concat("")
    return and_(
        table.c.sink == bindparam("lane"),
        state == fixed(DeliveryState.PENDING),
        table.c.due_at <= bindparam("now"),
        or_(table.c.expires_at.is_(None), table.c.expires_at > bindparam("now")),
    )


_due = select(deliveries.c.id).where(_may_go()).order_by(deliveries.c.due_at, deliveries.c.id).limit(bindparam("limit"))


def _claiming(due: Select[tuple[str]]) -> ReturningUpdate[Any]:
    locked = due.with_for_update(skip_locked=True).cte("due")
    return (
        update(deliveries)
        .where(deliveries.c.id == locked.c.id)
        .values(
            state=DeliveryState.SENDING.value,
            lease_until=bindparam("lease_until"),
            leased_by=bindparam("instance"),
            fence=deliveries.c.fence + 1,
        )
        .returning(*deliveries.c)
    )


_in_lane = and_(deliveries.c.sink == bindparam("lane"), deliveries.c.state == fixed(DeliveryState.PENDING))
_companies = select(func.min(deliveries.c.company).label("company")).where(_in_lane).cte("companies", recursive=True)
_companies = _companies.union_all(  # from one to the next by the index: what each of them has waiting is not read
    select(
        select(func.min(deliveries.c.company))
        .where(_in_lane, deliveries.c.company > _companies.c.company)
        .correlate(_companies)
        .scalar_subquery()
    ).where(_companies.c.company.is_not(None))
)
_limit = bindparam("limit", type_=Integer)


def _in_turn(*, lateral: bool) -> Select[tuple[str]]:
    """The oldest of each company, then the next of each, those behind the company *after* first, to the limit."""
    had_its_turn = _companies.c.company <= bindparam("after")
    place = func.row_number().over(order_by=(had_its_turn, _companies.c.company)).label("place")
    turn = select(_companies.c.company, place).where(_companies.c.company.is_not(None)).cte("turn")
    share = select(case((func.count() >= _limit, 1), else_=_limit)).select_from(turn).scalar_subquery()
    mine = deliveries.alias("mine")
    first = (
        select(mine.c.id, mine.c.due_at)
        .where(_may_go(mine), mine.c.company == turn.c.company)
        .order_by(mine.c.due_at, mine.c.id)
        .limit(share)
        .correlate(turn)
    )
    if lateral:
        oldest: FromClause = first.lateral("oldest")
        of_each = turn.join(oldest, true())
    else:  # SQLite has no LATERAL, but looks up what a list names
        oldest = deliveries.alias("oldest")
        of_each = turn.join(oldest, oldest.c.id.in_(select(first.subquery().c.id)))
    nth = func.row_number().over(partition_by=turn.c.company, order_by=(oldest.c.due_at, oldest.c.id)).label("nth")
    ranked = select(oldest.c.id, turn.c.place, nth).select_from(of_each).where(turn.c.place <= _limit).subquery()
    return select(ranked.c.id).order_by(ranked.c.nth, ranked.c.place).limit(_limit)


def _version(name: str, of: ColumnElement[str], number: ColumnElement[int], *, lateral: bool) -> tuple[Any, Any]:
    """A version of the object whose id is *of*, and what joins it.

    Joined to several tables, PostgreSQL looks for it by its number alone while it takes the table for small, which it
    does of a new one for good: a prepared plan stays. A lateral subquery with a LIMIT leaves it no choice.
    """
    version = versions.alias(name)
    is_it = and_(version.c.object_id == of, version.c.version == number)
    return (select(version).where(is_it).limit(1).lateral(), true()) if lateral else (version, is_it)


def _reading(claimed: FromClause, fence: ColumnElement[int], *, lateral: bool = False) -> Select[Any]:
    """Deliveries of *claimed* with all that is needed to render them."""
    own = [
        "id",
        "key",
        "attempts",
        "rule",
        "company",
        "template",
        "expires_at",
        "sink",
        "order_key",
        "blocks",
        "blocks_until",
        "may_repeat",
        "done",
        "cause",
        "amend",
        "amends",
        "replay",
    ]
    then, is_then = _version("told", claimed.c.object_id, transitions.c.version, lateral=lateral)
    now, is_now = _version("present", claimed.c.object_id, objects.c.version, lateral=lateral)
    present = case((objects.c.version == transitions.c.version, None), else_=now.c.fields)
    return (
        select(
            *(claimed.c[name] for name in own),
            fence.label("fence"),
            objects.c.type,
            objects.c.object_id,
            objects.c.id.label("own_object_id"),
            transitions.c.name,
            transitions.c.occurred_at,
            transitions.c.details,
            then.c.stage,
            then.c.outcome,
            then.c.fields,
            objects.c.outcome.label("present_outcome"),
            type_coerce(present, Json).label("present"),
        )
        .select_from(claimed)
        .join(transitions, transitions.c.id == claimed.c.transition_id)
        .join(objects, objects.c.id == claimed.c.object_id)
        .join(then, is_then)
        .join(now, is_now)
        .order_by(claimed.c.due_at, claimed.c.id)
    )


def _claiming_and_reading(due: Select[tuple[str]]) -> Select[Any]:
    claimed = _claiming(due).cte("claimed")
    return _reading(claimed, claimed.c.fence, lateral=True)


# What another has claimed since is seen once its row is locked. Each is looked up by its id: where PostgreSQL took few
# to be due it read all that were instead, and claiming sixteen beside 30,000 took 60 ms instead of 3 (measured).
_still_due = select(deliveries.c.id).where(deliveries.c.id.in_(_in_turn(lateral=True)), _may_go(by_index=False))
_claim_oldest, _claim_in_turn = _claiming_and_reading(_due), _claiming_and_reading(_still_due)
# SQLite knows no UPDATE within a SELECT. It has one writer: what was read is still so when it is claimed.
_reading_due = _reading(deliveries, deliveries.c.fence + 1)
_read_oldest, _read_in_turn = (_reading_due.where(deliveries.c.id.in_(due)) for due in (_due, _in_turn(lateral=False)))
_mark_sending = BulkUpdate(
    deliveries,
    deliveries.c.state,
    deliveries.c.lease_until,
    deliveries.c.leased_by,
    deliveries.c.fence,
    key=[deliveries.c.id],
)


def claim_due(
    conn: Connection,
    *,
    sink: str,
    now: datetime,
    lease_until: datetime,
    instance: str,
    limit: int,
    after: str | None = None,
) -> list[Delivery]:
    """Take up to *limit* due deliveries of one lane as `sending`, oldest first; they are to be sent after the COMMIT.

    The lane must not be paused.
    One that tells of an outcome which proved wrong meanwhile (it was being sent then) tells of the right one if it
    speaks of both, and is ended if not.

    Args:
        after: Where more waits than can be sent: the company whose turn was last, so that each gets its share.
    """
    parameters = {"lane": sink, "now": now, "lease_until": lease_until, "instance": instance, "limit": limit}
    rows = _claim(conn, {**parameters, "after": after})
    untrue = [row for row in rows if row.name in OUTCOME_TRANSITIONS and row.outcome != row.present_outcome]
    for row in rows:
        if row.name in OUTCOME_TRANSITIONS and row.fence > 1 and row not in untrue:  # corrected there and back
            _is_told_without(conn, row, [each.id for each in _corrections(conn, row)], now)
    if untrue:
        turned = _turn(conn, untrue, now)
        ended = [row for row in untrue if row.id not in turned]
        end(conn, ended, DeliveryState.SUPERSEDED, SUPERSEDED, now)
        for row in ended:
            if not row.may_repeat:  # nobody can have read it, so nobody is told that it was wrong
                _is_told_without(conn, row, [each.id for each in _corrections(conn, row)], now)
    return [_delivery(row) for row in rows if row not in untrue]


def _turn(conn: Connection, untrue: Sequence[Any], now: datetime) -> set[str]:
    """Let deliveries that speak of both outcomes tell of the right one, once they are claimed again. Which do."""
    turned = set()
    for row in untrue:
        corrections = _corrections(conn, row)
        right = INBOUND_OUTCOMES.get(Outcome(row.present_outcome)) if row.present_outcome else None
        speaks_of_both = corrections and row.key in (corrections[0].details or {}).get(SPEAKS_OF_BOTH, ())
        if right is None or not speaks_of_both:
            continue
        mine = transitions.c.object_id == row.own_object_id
        told = conn.execute(select(transitions.c.id).where(mine, transitions.c.name == right)).one()
        if _is_told_without(conn, row, [told.id, *(each.id for each in corrections)], now):
            continue
        again = {"transition_id": told.id, "state": DeliveryState.PENDING.value, "lease_until": None, "leased_by": None}
        conn.execute(update(deliveries).where(deliveries.c.id == row.id).values(again))
        turned.add(row.id)
    return turned


def _corrections(conn: Connection, row: Any) -> Sequence[Any]:
    """The corrections of the outcome that *row* told, newest first."""
    corrections = select(transitions.c.id, transitions.c.details).where(
        transitions.c.object_id == row.own_object_id, transitions.c.name == Transition.CALL_CORRECTED
    )
    return conn.execute(corrections.order_by(transitions.c.id.desc())).all()


def _is_told_without(conn: Connection, first: Any, news: Sequence[str], now: datetime) -> bool:
    """Whether later *news* of its outcome went ahead of a message. What did not is not told: nobody read otherwise."""
    of_it = select(deliveries.c.id, deliveries.c.sink, deliveries.c.order_key, deliveries.c.state).where(
        deliveries.c.amends == first.id, deliveries.c.transition_id.in_(news)
    )
    rows = conn.execute(of_it.with_for_update()).all()
    unsent = [row for row in rows if row.state in UNSENT]
    if any(row.state not in (*UNSENT, DeliveryState.SUPERSEDED) for row in rows):
        return True
    end(conn, unsent, DeliveryState.SUPERSEDED, SUPERSEDED, now)
    told_with_it = [row.id for row in rows if row.state == DeliveryState.SUPERSEDED]
    if told_with_it and _was_tried(conn, first.id):
        conn.execute(update(deliveries).where(deliveries.c.id.in_(told_with_it)).values(reason=SUPERSEDED))
    return False


def _was_tried(conn: Connection, delivery: str) -> bool:
    """Whether it was on the wire, also where that counts as no try."""
    return conn.execute(select(attempts.c.id).where(attempts.c.delivery_id == delivery).limit(1)).first() is not None


def _claim(conn: Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """Claim what is due and read it; each company its share where one of them had its turn last."""
    is_in_turn = parameters["after"] is not None
    if conn.dialect.name == "postgresql":
        return conn.execute(_claim_in_turn if is_in_turn else _claim_oldest, parameters).all()
    rows = conn.execute(_read_in_turn if is_in_turn else _read_oldest, parameters).all()
    held = (DeliveryState.SENDING, parameters["lease_until"], parameters["instance"])
    _mark_sending(conn, [(*held, row.fence, row.id) for row in rows])
    return rows


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row.id,
        fence=row.fence,
        attempts=row.attempts,
        rule=row.rule,
        sink=row.sink,
        company=row.company,
        object_type=row.type,
        callrail_id=row.object_id,
        transition=Transition(row.name),
        occurred_at=row.occurred_at,
        stage=row.stage,
        outcome=row.outcome,
        fields=row.fields,
        details=row.details,
        present=None if row.present is None else {**row.present, "outcome": row.present_outcome},
        template=row.template,
        expires_at=row.expires_at,
        order_key=row.order_key,
        blocks=row.blocks,
        blocks_until=row.blocks_until,
        may_repeat=row.may_repeat,
        done=row.done,
        cause=row.cause,
        amend=Amend(row.amend) if row.amend else None,
        amends=row.amends,
        replay=row.replay,
    )


_next_due = select(func.min(deliveries.c.due_at)).where(
    and_(deliveries.c.sink == bindparam("lane"), deliveries.c.state == fixed(DeliveryState.PENDING))
)


def next_due(conn: Connection, sink: str) -> datetime | None:
    """When the next pending delivery of a lane is due, None when none is pending."""
    found: datetime | None = conn.execute(_next_due, {"lane": sink}).scalar()
    return found


_due_of = BulkQuery(
    """SELECT sink FROM {given} WHERE EXISTS (SELECT 1 FROM deliveries AS d
        WHERE d.sink = given.sink AND d.state = 'pending' AND d.due_at <= given.due_at)""",
    deliveries.c.sink,
    deliveries.c.due_at,
)


def due_of(conn: Connection, sinks: Sequence[str], *, now: datetime) -> set[str]:
    """Those of *sinks* in whose lane something is due."""
    return {row.sink for row in _due_of(conn, [(sink, now) for sink in sinks])}


# --- recording -------------------------------------------------------------------------------------------------------

_RECORDED = (
    deliveries.c.state,
    deliveries.c.due_at,
    deliveries.c.lease_until,
    deliveries.c.leased_by,
    deliveries.c.attempts,
    deliveries.c.remote_id,
    deliveries.c.reason,
    deliveries.c.cause,
    deliveries.c.may_repeat,
    deliveries.c.done,
    deliveries.c.blocks,
    deliveries.c.blocks_until,
    deliveries.c.finished_at,
)
_record_end = BulkUpdate(deliveries, *_RECORDED, key=[deliveries.c.id, deliveries.c.fence])
_record_again = BulkUpdate(deliveries, *_RECORDED, key=[deliveries.c.id, deliveries.c.fence, deliveries.c.state])
_insert_attempts = BulkInsert(attempts, *attempts.c)
FINISHED = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.UNCERTAIN)


def record(conn: Connection, tried: Sequence[Tried], *, now: datetime) -> None:
    """Store what came of tries, and let go whatever waited for them.

    A holder whose lease was taken over changes nothing but the list of attempts. One whose lease was returned is heard
    only if it tells the end: that the delivery is to be tried again says nothing new, and it may have ended meanwhile.
    """
    ended = [_recorded(item, now) for item in tried if item.state in FINISHED]
    again = [(*_recorded(item, now), DeliveryState.SENDING) for item in tried if item.state not in FINISHED]
    if _record_end(conn, ended) + _record_again(conn, again) < len(tried):
        _log.warning("outbox.lease_lost", tries=len(tried))
    let_go = [item.delivery for item in tried if item.state in FINISHED or not item.blocks]
    promote(conn, [Pair(item.sink, item.order_key) for item in let_go if item.order_key is not None])
    _insert_attempts(
        conn,
        [
            (
                new_id(Prefix.ATTEMPT),
                item.delivery.id,
                item.started_at,
                round(item.took.total_seconds() * 1000),
                item.outcome,
                item.reason,
            )
            for item in tried
        ],
    )


def _recorded(item: Tried, now: datetime) -> tuple[Any, ...]:
    is_finished = item.state in FINISHED
    return (
        item.state,
        item.due_at,
        None,
        None,
        item.attempts,
        item.remote_id,
        item.reason,
        item.cause,
        item.may_repeat,
        item.done,
        item.blocks,
        None if is_finished else item.blocks_until,
        now if is_finished else None,
        item.delivery.id,
        item.delivery.fence,
    )


# --- returning -------------------------------------------------------------------------------------------------------

_give_back = BulkUpdate(
    deliveries,
    deliveries.c.state,
    deliveries.c.lease_until,
    deliveries.c.leased_by,
    key=[deliveries.c.id, deliveries.c.fence, deliveries.c.state, deliveries.c.leased_by],
)


def give_back(conn: Connection, claimed: Sequence[Delivery], *, instance: str) -> int:
    """Put back what *instance* has claimed, and what never left: it is due as before. How many those were.

    Of a claim that was undone nothing is put back; the next, perhaps another's, has the same fence.
    """
    states = (DeliveryState.PENDING, None, None)
    return _give_back(conn, [(*states, item.id, item.fence, DeliveryState.SENDING, instance) for item in claimed])


# In these words, or SQLite does not see that its partial index fits.
_is_held = deliveries.c.state.in_((fixed(DeliveryState.LEASED), fixed(DeliveryState.SENDING)))
_UNCERTAIN_FOR = timedelta(seconds=60)


def return_leases(
    conn: Connection,
    *,
    now: datetime,
    everything: bool = False,
    on_uncertain: Mapping[str, OnUncertain] = MappingProxyType({}),
) -> int:
    """Put back what a dispatcher holds no longer: leases that ran out by *now*, or *everything*. How many those were.

    It may have arrived, and its list of attempts says so; what follows is the sink's *on_uncertain*: sent once more
    under the same id, or kept for a person to decide.
    """
    held: ColumnElement[bool] = _is_held
    if not everything:
        held = and_(held, deliveries.c.lease_until < now)
    pending = {"state": DeliveryState.PENDING.value, "lease_until": None, "leased_by": None, "due_at": now}
    claimed_only = update(deliveries).where(held, deliveries.c.state == fixed(DeliveryState.LEASED)).values(pending)
    returned = conn.execute(claimed_only).rowcount
    sending = select(deliveries.c.id, deliveries.c.sink, deliveries.c.order_key, deliveries.c.may_repeat)
    interrupted = conn.execute(sending.where(held).with_for_update(skip_locked=True)).all()
    _insert_attempts(conn, [(new_id(Prefix.ATTEMPT), row.id, now, 0, "uncertain", MAY_REPEAT) for row in interrupted])
    kept = [row for row in interrupted if _is_kept(on_uncertain.get(row.sink, OnUncertain.RETRY), row.may_repeat)]
    if kept:
        end(conn, kept, DeliveryState.UNCERTAIN, MAY_HAVE_ARRIVED, now, cause=UNCERTAIN)
    for row in interrupted:
        if row in kept:
            continue
        waits = on_uncertain.get(row.sink) is OnUncertain.REPEAT
        again: dict[str, Any] = pending | {"due_at": now + _UNCERTAIN_FOR if waits else now}
        again |= {"may_repeat": True, "reason": MAY_REPEAT}
        conn.execute(update(deliveries).where(deliveries.c.id == row.id).values(again))
    return returned + len(interrupted)


def _is_kept(on_uncertain: OnUncertain, was_uncertain: bool) -> bool:
    """Whether a send that may have arrived is not repeated."""
    return on_uncertain is OnUncertain.HOLD or (on_uncertain is OnUncertain.REPEAT and was_uncertain)
