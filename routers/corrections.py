"""An outcome that was told proved wrong: what is not sent yet is not sent, and what was sent is amended."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, or_, select, update

from routers.amending import TOLD_ELSEWHERE, Amendment, amend
from routers.ordering import Pair, promote
from routers.outbox import SUPERSEDED, TAKEN_BACK, UNSENT, NewDelivery, end, insert_deliveries
from routers.rules.ruleset import Amending
from routers.schema import DeliveryState, deliveries, transitions
from routers.transitions import Transition


@dataclass(frozen=True, slots=True)
class Correction:
    """An outcome that was told of an object proved *wrong*, and another is *right*.

    Attributes:
        transition_id: The `call.corrected` that says so.
        keys: Those of deliveries that speak once of the object and would speak of the right outcome too.
        unmatched: Tells of it where no rule does, if nothing was told of the object; its transition is looked up.
        amending: How later news amends what a rule sent to one of its destinations: asked by rule, send and sink.
        retold: Rules and their sends that amend what they have told by themselves, with the right outcome.
    """

    object_id: str
    wrong: Transition
    right: Transition
    transition_id: str
    amending: Callable[[str, str, str], Amending]
    keys: tuple[str, ...] = ()
    unmatched: NewDelivery | None = None
    retold: Collection[tuple[str, str]] = ()


def correct(conn: Connection, correction: Correction, *, now: datetime) -> set[Pair]:
    """What is not sent yet of the wrong outcome is not sent any more, and nobody misses the right one.

    A delivery that speaks of both turns to the right one. What an earlier correction had ended is taken up again where
    that outcome holds after all. One in a dispatcher's hands is taken from it: its text is the old one. Whoever was
    told of the wrong one is told that it was.

    Returns the pairs of sink and order key in which something may have to wait for an earlier one.
    """
    told = select(transitions.c.id).where(transitions.c.object_id == correction.object_id)
    right = conn.execute(told.where(transitions.c.name == correction.right)).scalar()
    wrong = conn.execute(told.where(transitions.c.name == correction.wrong)).scalar()
    ended_so = and_(deliveries.c.state == DeliveryState.SUPERSEDED.value, deliveries.c.reason == SUPERSEDED)
    unsent_or_ended = or_(deliveries.c.state.in_(UNSENT), ended_so)
    blocked = _take_up(conn, and_(deliveries.c.key.in_(correction.keys), unsent_or_ended), right, now)
    blocked |= _take_up(conn, and_(deliveries.c.transition_id == right, ended_so), right, now)
    unsent = select(deliveries.c.id, deliveries.c.sink, deliveries.c.order_key).where(
        deliveries.c.transition_id == wrong, deliveries.c.state.in_(UNSENT)
    )
    unsent = unsent.with_for_update()  # one that a dispatcher begins to send meanwhile was told, and is amended
    end(conn, conn.execute(unsent).all(), DeliveryState.SUPERSEDED, SUPERSEDED, now)
    if correction.unmatched is not None and right is not None:
        heard = select(deliveries.c.id).where(deliveries.c.transition_id.in_(told), ~ended_so).limit(1)
        if conn.execute(heard).first() is None:
            blocked |= insert_deliveries(conn, [replace(correction.unmatched, transition_id=right)], now=now)
    return blocked | amend(conn, _amendments(conn, correction, wrong), now=now)


def _take_up(conn: Connection, which: ColumnElement[bool], transition_id: str | None, now: datetime) -> set[Pair]:
    """Let *which* tell of *transition_id*, at once. One that waits for an earlier one, or has to now, waits."""
    waits = or_(deliveries.c.state == DeliveryState.BLOCKED.value, deliveries.c.state == DeliveryState.SUPERSEDED.value)
    state = case(
        (and_(waits, deliveries.c.order_key.is_not(None)), DeliveryState.BLOCKED.value),
        else_=DeliveryState.PENDING.value,
    )
    values: dict[str, Any] = {"due_at": now, "reason": None, "finished_at": None, **TAKEN_BACK}
    taken_up = update(deliveries).where(which).values(transition_id=transition_id, state=state, **values)
    rows = conn.execute(taken_up.returning(deliveries.c.sink, deliveries.c.order_key)).all()
    pairs = {Pair(*row) for row in rows if row.order_key is not None}
    promote(conn, pairs)
    return pairs


def _amendments(conn: Connection, correction: Correction, wrong: str | None) -> list[Amendment]:
    """What is to be told to those who were told of the wrong outcome, each under the first message of the thing."""
    columns = (deliveries.c.id, deliveries.c.amends, deliveries.c.rule, deliveries.c.send, deliveries.c.sink)
    is_told = or_(deliveries.c.state.in_(_MAY_BE_READ), deliveries.c.reason.in_(TOLD_ELSEWHERE))
    # An earlier correction said what is wrong now, or will when it is sent.
    is_earlier = and_(transitions.c.name == Transition.CALL_CORRECTED, transitions.c.id != correction.transition_id)
    # In one list, or PostgreSQL reads all deliveries to find those of the one transition or of the others.
    said = select(transitions.c.id).where(
        transitions.c.object_id == correction.object_id, or_(transitions.c.id == wrong, is_earlier)
    )
    will_be_said = and_(deliveries.c.transition_id != wrong, deliveries.c.state.in_(UNSENT))
    told = and_(deliveries.c.transition_id.in_(said), or_(is_told, will_be_said))
    query = select(*columns, deliveries.c.company).where(told)
    amendments: dict[str, Amendment] = {}
    for row in conn.execute(query.order_by(deliveries.c.id)):
        how = correction.amending(row.rule, row.send, row.sink)
        if (row.rule, row.send) in correction.retold and not how.tells_all:
            continue  # the right outcome itself is told there
        key = f"{correction.transition_id}:{row.rule}:{row.send}:0"
        news = NewDelivery(
            key=key,
            transition_id=correction.transition_id,
            object_id=correction.object_id,
            company=row.company,
            rule=row.rule,
            send=row.send,
            sink=row.sink,
        )
        amendments.setdefault(key, Amendment(news, (row.rule,), how, first=row.amends or row.id))
    return list(amendments.values())


_MAY_BE_READ = (DeliveryState.DELIVERED, DeliveryState.SENDING, DeliveryState.UNCERTAIN)
