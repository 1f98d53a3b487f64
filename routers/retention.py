"""Retention: what is older than its age is removed, a little at a time.

Everything that came of a webhook is found by its event, and events sort by time: so each kind of data goes through them
by id, remembers in the table `retention` how far it is, and asks for no row twice. Each piece is one short transaction;
ended between two, it goes on with the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, insert, select, update

from callrail.fields import Personal
from receiver.bulk import BulkUpdate
from receiver.clock import Clock
from receiver.columns import fixed
from receiver.ids import Prefix, first_id
from receiver.schema import EventState, events
from receiver.writer import Writer
from routers.blocks import RetentionConfig
from routers.leads import forget_unused
from routers.lookups.answers import drop_older
from routers.media.aging import Age, remove_kept
from routers.personal import details_without, without
from routers.schema import OPEN, TransitionState, attempts, deliveries, retention, transitions, versions

RETAIN_EVERY = timedelta(hours=1)
# A piece is to take a few milliseconds, and whoever waits for the writer gets as much time as it took.
_PIECE = 50
_ATTEMPTS_PIECE = 500
_PAUSE = 0.005  # seconds
# What was passed over, because it was still to be sent or came late under an old id, is found by beginning anew.
BEGIN_ANEW = timedelta(days=30)


class _Piece(Protocol):
    """A short transaction's worth of work; whether there may be more of it."""

    def __call__(self, conn: Connection, *, now: datetime) -> bool: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of data. *remove* takes it out of what came of events, given as rows of (id, object)."""

    name: str
    age: timedelta
    remove: Callable[[Connection, Sequence[Row[Any]]], None]


def kinds_of(config: RetentionConfig) -> list[Kind]:
    """What is removed by events. A body holds numbers and texts, so it goes with whichever goes first."""
    ages = [age for age in (config.raw_bodies, config.transcripts, config.numbers) if age is not None]
    kinds = [Kind("bodies", min(ages), _empty_bodies)] if ages else []
    if config.transcripts is not None:
        kinds.append(Kind("transcripts", config.transcripts, _remove_transcripts))
    if config.numbers is not None:
        kinds.append(Kind("numbers", config.numbers, _remove_numbers))
    return kinds


class Retention:
    """All of it, as a job of the server; *media* are the ages of files of CallRail's."""

    def __init__(self, writer: Writer, clock: Clock, config: RetentionConfig, media: Sequence[Age] = ()) -> None:
        self._writer = writer
        self._clock = clock
        self._config = config
        self._media = media

    async def run(self) -> None:
        """Remove what is too old by now, until nothing is."""
        for piece in self._pieces():
            is_more = True
            while is_more:
                is_more = await self._writer.run(partial(self._remove, piece))
                await asyncio.sleep(_PAUSE)

    def _remove(self, piece: _Piece, conn: Connection) -> bool:
        return piece(conn, now=self._clock.now(conn))

    def _pieces(self) -> Iterator[_Piece]:
        for kind in kinds_of(self._config):
            yield partial(remove_piece, kind=kind)
        if self._config.attempts is not None:
            yield partial(remove_attempts, age=self._config.attempts)
        if (age := self._config.of_both) is not None:
            yield partial(remove_answers, age=age)
        if self._config.numbers is not None:
            yield partial(remove_unused_leads, age=self._config.numbers)
        yield remove_kept
        for of_media in self._media:
            yield of_media.remove_old


# --- by event --------------------------------------------------------------------------------------------------------

# Those that are not routed keep what they hold: they are still needed.
_next_events = (
    select(events.c.id, events.c.object_id, events.c.state)
    .where(events.c.id > bindparam("after"), events.c.id < bindparam("until"))
    .order_by(events.c.id)
    .limit(bindparam("limit"))
)
_with_open = (
    select(transitions.c.object_id)
    .join(deliveries, deliveries.c.transition_id == transitions.c.id)
    .where(
        transitions.c.object_id.in_(bindparam("objects", expanding=True)),
        deliveries.c.state.in_([fixed(state) for state in OPEN]),
    )
    .union(
        select(transitions.c.object_id).where(
            transitions.c.object_id.in_(bindparam("objects", expanding=True)),
            transitions.c.state == fixed(TransitionState.WAITING),
        )
    )
)


def remove_piece(conn: Connection, kind: Kind, *, now: datetime, limit: int = _PIECE) -> bool:
    """Remove *kind* from the next events that are old enough. Whether there may be more of them."""
    done_to = _done_to(conn, kind, now)
    until = first_id(Prefix.EVENT, now - kind.age)
    found: Sequence[Any] = conn.execute(_next_events, {"after": done_to, "until": until, "limit": limit}).all()
    if not found:
        return False
    routed = [row for row in found if row.state == EventState.ROUTED]
    about = sorted({row.object_id for row in routed if row.object_id is not None})
    still_needed = set(conn.execute(_with_open, {"objects": about}).scalars()) if about else set()
    kind.remove(conn, [row for row in routed if row.object_id is not None and row.object_id not in still_needed])
    conn.execute(update(retention).where(retention.c.kind == kind.name).values(done_to=found[-1].id))
    return len(found) == limit


def _done_to(conn: Connection, kind: Kind, now: datetime) -> str:
    """How far it is, with the row locked; from the oldest where it was never begun, or long ago."""
    row = conn.execute(select(retention).where(retention.c.kind == kind.name).with_for_update()).one_or_none()
    if row is not None and row.begun_at > now - BEGIN_ANEW:
        done_to: str = row.done_to
        return done_to
    begun = {"done_to": "", "begun_at": now}
    if row is None:
        conn.execute(insert(retention).values(kind=kind.name, **begun))
    else:
        conn.execute(update(retention).where(retention.c.kind == kind.name).values(begun))
    return ""


def _empty_bodies(conn: Connection, rows: Sequence[Row[Any]]) -> None:
    ids = [row.id for row in rows]
    conn.execute(update(events).where(events.c.id.in_(ids), events.c.body != b"").values(body=b""))


def _remove_transcripts(conn: Connection, rows: Sequence[Row[Any]]) -> None:
    _remove_fields(conn, rows, Personal.SAID)


def _remove_numbers(conn: Connection, rows: Sequence[Row[Any]]) -> None:
    _remove_fields(conn, rows, Personal.WHO)
    told = select(transitions.c.id).where(_made_by(rows))
    mine = deliveries.c.transition_id.in_(told)
    conn.execute(update(deliveries).where(mine, deliveries.c.order_key.is_not(None)).values(ORDERED_BY_OBJECT))


# Whom it was about is forgotten; what it was about still groups the rows.
ORDERED_BY_OBJECT = {"order_key": deliveries.c.company + ":" + deliveries.c.object_id}


def _remove_fields(conn: Connection, rows: Sequence[Row[Any]], sort: Personal) -> None:
    """Take the fields of *sort* out of the versions that these events made, and out of what happened then."""
    if not rows:
        return
    made = select(versions.c.fields, versions.c.object_id, versions.c.version).where(
        versions.c.object_id.in_({row.object_id for row in rows}), versions.c.event_id.in_([row.id for row in rows])
    )
    known = [(row, without(row.fields, (sort,))) for row in conn.execute(made)]
    _set_fields(conn, [(kept, *row[1:]) for row, kept in known if len(kept) < len(row.fields)])
    happened = select(transitions.c.details, transitions.c.id).where(_made_by(rows), transitions.c.details.is_not(None))
    told = [(row, details_without(row.details, (sort,))) for row in conn.execute(happened)]
    _set_details(conn, [(kept, row.id) for row, kept in told if kept != row.details])


_set_fields = BulkUpdate(versions, versions.c.fields, key=[versions.c.object_id, versions.c.version])
_set_details = BulkUpdate(transitions, transitions.c.details, key=[transitions.c.id])


def _made_by(rows: Sequence[Row[Any]]) -> ColumnElement[bool]:
    """The transitions that these events brought about, by the index there is."""
    return and_(
        transitions.c.object_id.in_({row.object_id for row in rows}),
        transitions.c.event_id.in_([row.id for row in rows]),
    )


# --- answers of look-ups ---------------------------------------------------------------------------------------------


def remove_answers(conn: Connection, age: timedelta, *, now: datetime) -> bool:
    """Remove answers that hold still but are older than *age*. They are few, so there are never more of them."""
    drop_older(conn, now - age)
    return False


# --- leads -----------------------------------------------------------------------------------------------------------


def remove_unused_leads(conn: Connection, age: timedelta, *, now: datetime, limit: int = _PIECE) -> bool:
    """Remove the leads of whom nobody was told for *age*. Whether there may be more of them."""
    return forget_unused(conn, before=now - age, limit=limit)


# --- attempts --------------------------------------------------------------------------------------------------------


def remove_attempts(conn: Connection, age: timedelta, *, now: datetime, limit: int = _ATTEMPTS_PIECE) -> bool:
    """Remove the oldest tries, if they are older than *age*. Whether there may be more of them."""
    old = select(attempts.c.id).where(attempts.c.id < first_id(Prefix.ATTEMPT, now - age))
    ids = conn.execute(old.order_by(attempts.c.id).limit(limit)).scalars().all()
    conn.execute(delete(attempts).where(attempts.c.id.in_(ids)))
    return len(ids) == limit
