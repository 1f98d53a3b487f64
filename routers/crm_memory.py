"""What a CRM sink remembers, in SQL: turns at leads, what the CRM calls its records, and what was about to be created.

A turn is a lease on a lead (or on the thing, where nobody can be known). Its token shuts out an earlier holder. Leads
may be merged while one of them has its turn: then the turn of any of the family keeps the others waiting, and what is
kept of any of them is found.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, insert, select, union_all, update

from receiver.bulk import BulkInsert
from receiver.clock import Clock
from receiver.columns import fixed
from receiver.exceptions import DatabaseUnavailable
from receiver.ids import Prefix, new_id
from receiver.writer import Writer
from routers import lanes
from routers.leads import Found, Key, KeyKind, keys_of, lead_of
from routers.messages import Message
from routers.ordering import Pair, promote
from routers.outbox import UNSENT
from routers.schema import ACTIVE, DeliveryState, deliveries, objects, remote_ids, turns, versions
from routers.sinks.crm import Known, Lead, Of, TurnLost, TurnTaken
from routers.transitions import Transition

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Taken:
    """A turn. *subjects* are those of the lead's family and of the thing under which something may be kept."""

    token: str
    subject: str
    thing: str
    family: tuple[str, ...]
    lead: Lead | None

    def subjects(self, of: Of) -> tuple[str, ...]:
        """Under which a record may be kept, the one under which it is kept from now on first."""
        return self.family if of is Of.LEAD and self.family else (self.thing,)


class SqlMemory:
    """`routers.sinks.crm.CrmMemory` of one sink.

    Args:
        lease: How long a turn may last: longer than the sink tries once.
        shared: Numbers in E.164 that are of several persons.
    """

    def __init__(
        self, writer: Writer, clock: Clock, sink: str, *, lease: timedelta, shared: Collection[str] = ()
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._sink = sink
        self._lease = lease
        self._shared = shared

    @asynccontextmanager
    async def turn(self, message: Message) -> AsyncIterator[SqlTurn]:
        """See `CrmMemory`."""
        taken = await self._writer.run(lambda conn: self._take(conn, message.key))
        turn = SqlTurn(self._writer, self._clock, self._sink, taken)
        yield turn  # whatever ends the block otherwise leaves the turn to run out: a request may still act
        if not turn.is_left_to_run_out:
            with suppress(DatabaseUnavailable):
                await self._writer.run(turn.give_back)

    def _take(self, conn: Connection, delivery_id: str) -> _Taken:
        now = self._clock.now(conn)
        row = conn.execute(_about, {"id": delivery_id}).one()
        is_sent = Transition.TEXT_SENT in row.told
        keys = keys_of(row.type, row.fields, is_sent=is_sent, shared=self._shared)
        found = lead_of(conn, row.company, keys, object_id=row.object_id, now=now) if keys else None
        subject = found.id if found is not None else row.object_id
        family = found.family if found is not None else ()
        # Of the thing too: while its number was not told yet, it had a turn of its own.
        self._refuse_if_taken(conn, (*family, row.object_id), now)
        token = new_id(Prefix.TURN)
        if not _insert_turn(conn, [(self._sink, subject, token, now + self._lease)]):  # somebody has just taken it
            raise TurnTaken(self._lease)
        if found is not None:
            _bring_together(conn, row, found)
        lead = _lead(found, keys, row.object_id) if found is not None else None
        return _Taken(token, subject, row.object_id, family, lead)

    def _refuse_if_taken(self, conn: Connection, subjects: Collection[str], now: datetime) -> None:
        """Raise `TurnTaken` if any of *subjects* has its turn; turns that ran out are removed."""
        theirs = and_(turns.c.sink == self._sink, turns.c.subject.in_(subjects))
        ends = max(conn.execute(select(turns.c.lease_until).where(theirs).with_for_update()).scalars(), default=now)
        if now < ends <= now + self._lease:  # not so if the clock was set back
            raise TurnTaken(ends - now)
        conn.execute(delete(turns).where(theirs))


_about = (
    select(
        deliveries.c.sink,
        deliveries.c.order_key,
        deliveries.c.company,
        objects.c.id.label("object_id"),
        objects.c.type,
        objects.c.told,
        versions.c.fields,
    )
    .join(objects, objects.c.id == deliveries.c.object_id)
    .join(versions, and_(versions.c.object_id == objects.c.id, versions.c.version == objects.c.version))
    .where(deliveries.c.id == bindparam("id"))
)
_insert_turn = BulkInsert(turns, *turns.c)


def _lead(found: Found, keys: Collection[Key], object_id: str) -> Lead:
    """What a sink is told of the lead: what this thing told of it comes first."""
    known = sorted(found.keys, key=lambda key: key not in keys)
    phones = tuple(key.value for key in known if key.kind is KeyKind.PHONE)
    emails = tuple(key.value for key in known if key.kind is KeyKind.EMAIL)
    phone = next((key.value for key in keys if key.value in phones), None)  # not one that an operator gave to another
    return Lead(found.id, phone, phones, emails, is_new=found.first_object == object_id)


# In the words of the partial index, or SQLite does not see that it fits.
_IS_ACTIVE = and_(deliveries.c.state.in_([fixed(state) for state in ACTIVE]), deliveries.c.order_key.is_not(None))


def _bring_together(conn: Connection, row: Any, found: Found) -> None:
    """Put what else is about the lead, under another of its keys, behind the delivery that has its turn."""
    own = {f"{row.company}:{key.value}" for key in found.keys if key.kind in (KeyKind.PERSON, KeyKind.PHONE)}
    others = and_(deliveries.c.sink == row.sink, deliveries.c.order_key.in_(own - {row.order_key}))
    # Each state by its own index: for both at once PostgreSQL reads all deliveries, with each that is sent.
    waiting = union_all(
        select(deliveries.c.id).where(others, deliveries.c.state == fixed(DeliveryState.PENDING), _IS_ACTIVE),
        select(deliveries.c.id).where(others, deliveries.c.state == fixed(DeliveryState.BLOCKED)),
    )
    theirs = and_(deliveries.c.id.in_(waiting), deliveries.c.state.in_([fixed(state) for state in UNSENT]))
    if conn.execute(select(deliveries.c.id).where(theirs).limit(1)).first() is None:
        return
    lanes.lock_lane(conn, row.sink)  # before deliveries, as a dispatcher's turn does
    conn.execute(update(deliveries).where(theirs).values(order_key=row.order_key, state=DeliveryState.BLOCKED.value))
    promote(conn, [Pair(row.sink, row.order_key)])


class SqlTurn:
    """`routers.sinks.crm.Turn`."""

    def __init__(self, writer: Writer, clock: Clock, sink: str, taken: _Taken) -> None:
        self._writer = writer
        self._clock = clock
        self._sink = sink
        self._taken = taken
        self.is_left_to_run_out = False

    @property
    def lead(self) -> Lead | None:
        """See `Turn`."""
        return self._taken.lead

    async def known(self, kind: str, of: Of) -> Known | None:
        """See `Turn`."""
        row = await self._during(lambda conn, _: self._row(conn, kind, of))
        return Known(row.remote_id, row.written) if row is not None else None

    async def intended_for(self, kind: str, of: Of) -> timedelta | None:
        """See `Turn`."""
        intended = select(remote_ids.c.intended_at).where(self._of(kind, of), remote_ids.c.intended_at.is_not(None))
        newest = intended.order_by(remote_ids.c.intended_at.desc()).limit(1)

        def since(conn: Connection, now: datetime) -> timedelta | None:
            begun: datetime | None = conn.execute(newest).scalar()
            return now - begun if begun is not None else None

        return await self._during(since)

    async def intend(self, kind: str, of: Of, written: str | None = None) -> None:
        """See `Turn`."""

        def intend(conn: Connection, now: datetime) -> None:
            both = " ".join(filter(None, (self._noted(conn, kind, of), written)))
            self._put(conn, kind, of, intended_at=now, written=both or None)

        await self._during(intend)

    async def noted(self, kind: str, of: Of) -> str | None:
        """See `Turn`."""
        return await self._during(lambda conn, _: self._noted(conn, kind, of))

    async def keep(self, kind: str, of: Of, remote_id: str, written: str | None = None) -> None:
        """See `Turn`."""

        def keep(conn: Connection, _now: datetime) -> None:
            self._end_intents(conn, kind, of)
            self._put(conn, kind, of, remote_id=remote_id, written=written, intended_at=None)

        await self._during(keep)

    async def forget(self, kind: str, of: Of) -> None:
        """See `Turn`."""

        def forget(conn: Connection, _now: datetime) -> None:
            self._end_intents(conn, kind, of)
            if (row := self._row(conn, kind, of)) is not None:  # what another of the family has is then what is known
                conn.execute(delete(remote_ids).where(self._of(kind, of), remote_ids.c.subject == row.subject))

        await self._during(forget)

    def may_still_act(self) -> None:
        """See `Turn`."""
        self.is_left_to_run_out = True

    def give_back(self, conn: Connection) -> None:
        """The lead is free for who comes next."""
        conn.execute(delete(turns).where(self._is_mine))

    # --- in the writer's thread ---------------------------------------------------------------------------------------

    @property
    def _is_mine(self) -> ColumnElement[bool]:
        taken = self._taken
        return and_(turns.c.sink == self._sink, turns.c.subject == taken.subject, turns.c.token == taken.token)

    async def _during(self, do: Callable[[Connection, datetime], T]) -> T:
        """What *do* returns, done while the turn holds and committed."""

        def run(conn: Connection) -> T:
            now = self._clock.now(conn)
            until = conn.execute(select(turns.c.lease_until).where(self._is_mine).with_for_update()).scalar()
            if until is None or until <= now:
                raise TurnLost
            return do(conn, now)

        return await self._writer.run(run)

    def _of(self, kind: str, of: Of) -> ColumnElement[bool]:
        mine = remote_ids.c.sink == self._sink, remote_ids.c.kind == kind
        return and_(*mine, remote_ids.c.subject.in_(self._taken.subjects(of)))

    def _row(self, conn: Connection, kind: str, of: Of) -> Row[Any] | None:
        """What is known; of several of the family, the oldest lead's."""
        known = select(remote_ids).where(self._of(kind, of), remote_ids.c.remote_id.is_not(None))
        return conn.execute(known.order_by(remote_ids.c.subject).limit(1)).one_or_none()

    def _noted(self, conn: Connection, kind: str, of: Of) -> str | None:
        noted = select(remote_ids.c.written).where(self._of(kind, of), remote_ids.c.written.is_not(None))
        found: str | None = conn.execute(noted.order_by(remote_ids.c.subject).limit(1)).scalar()
        return found

    def _put(self, conn: Connection, kind: str, of: Of, **values: Any) -> None:
        one = {"sink": self._sink, "subject": self._taken.subjects(of)[0], "kind": kind}
        matches = and_(*(remote_ids.c[name] == value for name, value in one.items()))
        if not conn.execute(update(remote_ids).where(matches).values(values)).rowcount:
            conn.execute(insert(remote_ids).values(**one, **values))

    def _end_intents(self, conn: Connection, kind: str, of: Of) -> None:
        intents = self._of(kind, of), remote_ids.c.intended_at.is_not(None)
        conn.execute(delete(remote_ids).where(*intents, remote_ids.c.remote_id.is_(None)))
        conn.execute(update(remote_ids).where(*intents).values(intended_at=None))
