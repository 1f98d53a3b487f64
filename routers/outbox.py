"""The outbox: deliveries, and how they are claimed, recorded, returned and retried.

A delivery is written in the transaction that makes it necessary. From there a dispatcher claims it under a lease,
marks it `sending` before the first byte leaves, and records what came of it. Its `fence` rises with each claim, so
what an earlier holder still has to say is not heard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    type_coerce,
    update,
)

from receiver.bulk import BulkInsert, BulkUpdate
from receiver.columns import Json, fixed
from receiver.ids import Prefix, new_id
from routers.facts import facts_of
from routers.lifecycle import OUTCOME_TRANSITIONS
from routers.schema import DeliveryState, attempts, deliveries, lanes, objects, transitions, versions
from routers.transitions import Transition

_log = structlog.get_logger(__name__)

MAY_REPEAT = "may repeat: the process ended while it was being sent"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One thing to tell one sink. *key* is its idempotency key: a second one with the same key is not made."""

    key: str
    transition_id: str
    object_id: str
    company: str
    rule: str
    send: str
    sink: str
    template: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed delivery with all that is needed to render it.

    *template* is None where the rule names none; *present* are the object's fields now, None where they are the same.
    """

    id: str
    fence: int
    attempts: int
    rule: str
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
    deliveries.c.state,
    deliveries.c.expires_at,
    deliveries.c.due_at,
    deliveries.c.fence,
    deliveries.c.attempts,
    deliveries.c.created_at,
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


def insert_deliveries(conn: Connection, new: Iterable[NewDelivery], *, now: datetime) -> None:
    """Put deliveries into the outbox, due at once. One whose key is there already is left out."""
    rows = [
        (
            new_id(Prefix.DELIVERY),
            item.key,
            item.transition_id,
            item.object_id,
            item.company,
            item.rule,
            item.send,
            0,
            item.sink,
            item.template,
            DeliveryState.PENDING,
            item.expires_at,
            now,
            0,
            0,
            now,
        )
        for item in new
    ]
    _insert_deliveries(conn, rows)


def has_spoken(conn: Connection, object_id: str, rules: Collection[str], send: str) -> bool:
    """Whether a delivery of the object (our id) was made for one of *rules* and their *send*, whatever became of it."""
    return conn.execute(_spoken, {"object_id": object_id, "rules": list(rules), "send": send}).first() is not None


# --- claiming --------------------------------------------------------------------------------------------------------

_paused = exists().where(lanes.c.sink == bindparam("lane"), lanes.c.paused_until > bindparam("now"))
_due = (
    select(deliveries.c.id)
    .where(
        deliveries.c.sink == bindparam("lane"),
        deliveries.c.state == fixed(DeliveryState.PENDING),
        deliveries.c.due_at <= bindparam("now"),
        or_(deliveries.c.expires_at.is_(None), deliveries.c.expires_at > bindparam("now")),
        ~_paused,
    )
    .order_by(deliveries.c.due_at, deliveries.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_claim = (
    update(deliveries)
    .where(deliveries.c.id == _due.c.id)
    .values(
        state=DeliveryState.LEASED.value,
        lease_until=bindparam("lease_until"),
        leased_by=bindparam("instance"),
        fence=deliveries.c.fence + 1,
    )
    .returning(deliveries.c.id)
)
_present = versions.alias("present")
_present_fields = type_coerce(case((objects.c.version == transitions.c.version, None), else_=_present.c.fields), Json)
_claimed = (
    select(
        deliveries.c.id,
        deliveries.c.fence,
        deliveries.c.attempts,
        deliveries.c.rule,
        deliveries.c.company,
        deliveries.c.template,
        deliveries.c.expires_at,
        objects.c.type,
        objects.c.object_id,
        transitions.c.name,
        transitions.c.occurred_at,
        transitions.c.details,
        versions.c.stage,
        versions.c.outcome,
        versions.c.fields,
        objects.c.outcome.label("present_outcome"),
        type_coerce(case((objects.c.version == transitions.c.version, None), else_=_present.c.fields), Json).label(
            "present"
        ),
    )
    .join(transitions, transitions.c.id == deliveries.c.transition_id)
    .join(objects, objects.c.id == deliveries.c.object_id)
    .join(versions, and_(versions.c.object_id == objects.c.id, versions.c.version == transitions.c.version))
    .join(_present, and_(_present.c.object_id == objects.c.id, _present.c.version == objects.c.version))
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(deliveries.c.due_at, deliveries.c.id)
)
_mark_sending = BulkUpdate(
    deliveries,
    deliveries.c.state,
    deliveries.c.lease_until,
    key=[deliveries.c.id, deliveries.c.fence, deliveries.c.state],
)
_sending = select(deliveries.c.id, deliveries.c.fence).where(
    deliveries.c.id.in_(bindparam("ids", expanding=True)), deliveries.c.state == fixed(DeliveryState.SENDING)
)


def claim_due(
    conn: Connection, *, sink: str, now: datetime, lease_until: datetime, instance: str, limit: int
) -> list[Delivery]:
    """Take up to *limit* due deliveries of one lane, oldest first; none while the lane is paused.

    One that tells of an outcome which proved wrong meanwhile (it was being sent then) is ended instead.
    """
    parameters = {"lane": sink, "now": now, "lease_until": lease_until, "instance": instance, "limit": limit}
    ids = conn.execute(_claim, parameters).scalars().all()
    if not ids:
        return []
    rows = conn.execute(_claimed, {"ids": ids}).all()
    untrue = [row.id for row in rows if row.name in OUTCOME_TRANSITIONS and row.outcome != row.present_outcome]
    if untrue:
        ended = {"state": DeliveryState.SUPERSEDED.value, "reason": SUPERSEDED, "finished_at": now}
        conn.execute(
            update(deliveries).where(deliveries.c.id.in_(untrue)).values(lease_until=None, leased_by=None, **ended)
        )
    return [
        Delivery(
            id=row.id,
            fence=row.fence,
            attempts=row.attempts,
            rule=row.rule,
            company=row.company,
            object_type=row.type,
            callrail_id=row.object_id,
            transition=Transition(row.name),
            occurred_at=row.occurred_at,
            stage=row.stage,
            outcome=row.outcome,
            fields=row.fields,
            details=row.details,
            present=row.present,
            template=row.template,
            expires_at=row.expires_at,
        )
        for row in rows
        if row.id not in untrue
    ]


def mark_sending(conn: Connection, claimed: Sequence[Delivery], *, lease_until: datetime) -> list[Delivery]:
    """Those of *claimed* whose next is their first byte on the wire: all but the ones whose lease was lost."""
    rows = [(DeliveryState.SENDING, lease_until, item.id, item.fence, DeliveryState.LEASED) for item in claimed]
    if _mark_sending(conn, rows) == len(rows):
        return list(claimed)
    _log.warning("outbox.lease_lost", tries=0)
    ours = {(row.id, row.fence) for row in conn.execute(_sending, {"ids": [item.id for item in claimed]})}
    return [item for item in claimed if (item.id, item.fence) in ours]


# --- recording -------------------------------------------------------------------------------------------------------

_record = BulkUpdate(
    deliveries,
    deliveries.c.state,
    deliveries.c.due_at,
    deliveries.c.lease_until,
    deliveries.c.leased_by,
    deliveries.c.attempts,
    deliveries.c.remote_id,
    deliveries.c.reason,
    deliveries.c.finished_at,
    key=[deliveries.c.id, deliveries.c.fence],
)
_insert_attempts = BulkInsert(attempts, *attempts.c)


def record(conn: Connection, tried: Sequence[Tried], *, now: datetime) -> None:
    """Store what came of tries. A holder whose lease was taken over changes nothing but the list of attempts."""
    finished = (DeliveryState.DELIVERED, DeliveryState.DEAD)
    rows = [
        (
            item.state,
            item.due_at,
            None,
            None,
            item.attempts,
            item.remote_id,
            item.reason,
            now if item.state in finished else None,
            item.delivery.id,
            item.delivery.fence,
        )
        for item in tried
    ]
    if _record(conn, rows) < len(rows):
        _log.warning("outbox.lease_lost", tries=len(rows))
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


# --- returning -------------------------------------------------------------------------------------------------------

_HELD = (fixed(DeliveryState.LEASED), fixed(DeliveryState.SENDING))


def return_leases(conn: Connection, *, now: datetime, everything: bool = False) -> int:
    """Put back what a dispatcher holds no longer: leases that ran out by *now*, or *everything*. How many those were.

    What was only leased is pending again. What was being sent is sent once more under the same id, and its list of
    attempts says that it may repeat.
    """
    held: ColumnElement[bool] = deliveries.c.state.in_(
        _HELD
    )  # in these words, or SQLite does not see that its partial index fits
    if not everything:
        held = and_(held, deliveries.c.lease_until < now)
    pending = {"state": DeliveryState.PENDING.value, "lease_until": None, "leased_by": None, "due_at": now}
    leased = update(deliveries).where(deliveries.c.state == fixed(DeliveryState.LEASED), held).values(pending)
    sending = update(deliveries).where(deliveries.c.state == fixed(DeliveryState.SENDING), held)
    returned = conn.execute(leased).rowcount
    interrupted = conn.execute(sending.values(reason=MAY_REPEAT, **pending).returning(deliveries.c.id)).scalars().all()
    tries = [(new_id(Prefix.ATTEMPT), delivery_id, now, 0, "uncertain", MAY_REPEAT) for delivery_id in interrupted]
    _insert_attempts(conn, tries)
    return returned + len(interrupted)


_put_back = BulkUpdate(
    deliveries,
    deliveries.c.state,
    deliveries.c.due_at,
    deliveries.c.lease_until,
    deliveries.c.leased_by,
    key=[deliveries.c.id, deliveries.c.fence, deliveries.c.state],
)


def put_back(conn: Connection, claimed: Iterable[Delivery], *, now: datetime) -> None:
    """Claimed and not begun: pending again at once, for whoever comes next."""
    pending, leased = DeliveryState.PENDING, DeliveryState.LEASED
    _put_back(conn, [(pending, now, None, None, item.id, item.fence, leased) for item in claimed])


_next_due = select(func.min(deliveries.c.due_at)).where(
    and_(deliveries.c.sink == bindparam("lane"), deliveries.c.state == fixed(DeliveryState.PENDING))
)


def next_due(conn: Connection, sink: str) -> datetime | None:
    """When the next pending delivery of a lane is due, None when none is pending."""
    found: datetime | None = conn.execute(_next_due, {"lane": sink}).scalar()
    return found


def shift_open_times(conn: Connection, by: timedelta) -> None:
    """The clock was set back by *by*: so are the due times and leases of all that is open, and the lanes' pauses."""
    for row in conn.execute(select(deliveries.c.id, deliveries.c.due_at, deliveries.c.lease_until).where(_is_open)):
        lease_until = row.lease_until - by if row.lease_until is not None else None
        conn.execute(
            update(deliveries).where(deliveries.c.id == row.id).values(due_at=row.due_at - by, lease_until=lease_until)
        )
    for row in conn.execute(select(lanes).where(lanes.c.paused_until.is_not(None))):
        conn.execute(update(lanes).where(lanes.c.sink == row.sink).values(paused_until=row.paused_until - by))


_is_open = deliveries.c.state.in_([fixed(DeliveryState.PENDING), *_HELD])


# --- ending without being sent ---------------------------------------------------------------------------------------

EXPIRED = "late: what happened is longer ago than the rule's max_age, or its expires is over"
SUPERSEDED = "superseded: the outcome was corrected before this was sent"
_UNSENT = (fixed(DeliveryState.PENDING), fixed(DeliveryState.LEASED))


def expire(conn: Connection, *, now: datetime) -> int:
    """End the pending deliveries that nobody wants to hear of any more. How many those were."""
    ended = {"state": DeliveryState.EXPIRED.value, "reason": EXPIRED, "finished_at": now}
    return conn.execute(
        update(deliveries)
        .where(deliveries.c.state == fixed(DeliveryState.PENDING), deliveries.c.expires_at <= now)
        .values(ended)
    ).rowcount


@dataclass(frozen=True, slots=True)
class Correction:
    """An outcome that was told of an object proved *wrong*, and another is *right*.

    *keys* are those of deliveries that speak once of the object and would speak of the right outcome too. *unmatched*
    tells of it where no rule does, if nothing was told of the object at all; its transition is looked up.
    """

    object_id: str
    wrong: Transition
    right: Transition
    keys: tuple[str, ...] = ()
    unmatched: NewDelivery | None = None


def correct(conn: Connection, correction: Correction, *, now: datetime) -> None:
    """What is not sent yet of the wrong outcome is not sent any more, and nobody misses the right one.

    A delivery that speaks of both turns to the right one. What an earlier correction had ended is taken up again where
    that outcome holds after all. One in a dispatcher's hands is taken from it: its text is the old one.
    """
    told = select(transitions.c.id).where(transitions.c.object_id == correction.object_id)
    right = conn.execute(told.where(transitions.c.name == correction.right)).scalar()
    ended_so = and_(deliveries.c.state == fixed(DeliveryState.SUPERSEDED), deliveries.c.reason == SUPERSEDED)
    again: dict[Any, Any] = {"state": DeliveryState.PENDING.value, "due_at": now, "reason": None, "finished_at": None}
    released: dict[Any, Any] = {"lease_until": None, "leased_by": None, "fence": deliveries.c.fence + 1}
    is_open = or_(deliveries.c.state.in_(_UNSENT), ended_so)
    conn.execute(
        update(deliveries)
        .where(deliveries.c.key.in_(correction.keys), is_open)
        .values(transition_id=right, **again, **released)
    )
    conn.execute(update(deliveries).where(deliveries.c.transition_id == right, ended_so).values(**again, **released))
    conn.execute(
        update(deliveries)
        .where(
            deliveries.c.transition_id.in_(told.where(transitions.c.name == correction.wrong)),
            deliveries.c.state.in_(_UNSENT),
        )
        .values(state=DeliveryState.SUPERSEDED.value, reason=SUPERSEDED, finished_at=now, **released)
    )
    if correction.unmatched is not None and right is not None:
        heard = select(deliveries.c.id).where(deliveries.c.transition_id.in_(told), ~ended_so).limit(1)
        if conn.execute(heard).first() is None:
            insert_deliveries(conn, [replace(correction.unmatched, transition_id=right)], now=now)


# --- lanes -----------------------------------------------------------------------------------------------------------


def open_lane(conn: Connection, sink: str) -> None:
    """Make sure that *sink* has a lane. A pause outlives a restart only as long as it asked for."""
    _insert_lanes(conn, [(sink, 0)])


_insert_lanes = BulkInsert(lanes, lanes.c.sink, lanes.c.failures)


def lane(conn: Connection, sink: str) -> Row[Any]:
    """The condition of *sink*."""
    return conn.execute(_lane, {"lane": sink}).one()


_lane = select(lanes).where(lanes.c.sink == bindparam("lane")).with_for_update()  # read to be changed


def set_lane(
    conn: Connection, sink: str, *, failures: int, paused_until: datetime | None = None, reason: str | None = None
) -> None:
    """Note how *sink* does: failures in a row, and until when nothing is sent there and why."""
    conn.execute(
        update(lanes).where(lanes.c.sink == sink).values(failures=failures, paused_until=paused_until, reason=reason)
    )
