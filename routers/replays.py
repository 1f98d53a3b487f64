"""Replays as they are stored: what is asked for, the frozen plan, and the words that set one going and stop it.

A replay sends what did not arrive, or sends again what did. Its plan is a list of items, one a message, written once
and never changed by what comes later; the server carries it out (`routers/replaying.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from receiver.bulk import BulkInsert
from receiver.clock import Clock
from receiver.database import Database
from receiver.exceptions import ReceiverError
from receiver.ids import Prefix, first_id, id_range, new_id
from receiver.schema import events
from routers.audit import note
from routers.operating import CANCELLABLE, cancel
from routers.rates import Rate
from routers.schema import OPEN, DeliveryState, ReplayItemState, ReplayState, deliveries, replay_items, replays
from routers.schema import transitions as transitions_

DEFAULT_RATE = Rate(5, timedelta(seconds=1))
_BATCH = 500  # items a transaction: the intake waits behind it


class Routing(StrEnum):
    """Which rules say what is told: those that did when it happened, or those of router.yaml as it is."""

    ORIGINAL = "original"
    TODAY = "today"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be replayed: all that every part which is given holds for.

    Attributes:
        since: Routed then or later.
        until: Routed before.
        kind: Of the event that brought it about, as its URL named it.
        transition: What happened, like call.missed.
        states: Deliveries in one of these; any where there is none.
    """

    since: datetime | None = None
    until: datetime | None = None
    company: str | None = None
    kind: str | None = None
    transition: str | None = None
    rule: str | None = None
    sink: str | None = None
    states: tuple[DeliveryState, ...] = ()

    def of_transitions(self) -> Iterator[ColumnElement[bool]]:
        """What the rows of `transitions` must fulfil."""
        columns = transitions_.c
        if self.since is not None:
            yield columns.id >= first_id(Prefix.TRANSITION, self.since)
        if self.until is not None:
            yield columns.id < first_id(Prefix.TRANSITION, self.until)
        if self.company is not None:
            yield columns.company == self.company
        if self.transition is not None:
            yield columns.name == self.transition
        if self.kind is not None:
            yield columns.event_id.in_(select(events.c.id).where(events.c.kind == self.kind).scalar_subquery())

    def of_deliveries(self) -> Iterator[ColumnElement[bool]]:
        """What the rows of `deliveries` must fulfil beside that."""
        for column, wanted in ((deliveries.c.rule, self.rule), (deliveries.c.sink, self.sink)):
            if wanted is not None:
                yield column == wanted
        if self.states:
            yield deliveries.c.state.in_([state.value for state in self.states])

    def takes(self, rule: str, sink: str, state: str | None) -> bool:
        """Whether a delivery is meant, if its transition is; *state* is None for one that is not made yet."""
        is_its_state = not self.states or state in self.states
        return self.rule in (None, rule) and self.sink in (None, sink) and is_its_state

    def written(self) -> dict[str, Any]:
        """As it is stored: only what is given."""
        parts = {
            "since": self.since,
            "until": self.until,
            "company": self.company,
            "kind": self.kind,
            "transition": self.transition,
            "rule": self.rule,
            "sink": self.sink,
            "states": [state.value for state in self.states] or None,
        }
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(frozen=True, slots=True)
class Options:
    """How it is replayed.

    Attributes:
        again: What was delivered is sent again, as a new generation of it.
        to_people: Sinks that people read are told too.
        late: So is what is past its max_age or expires, and it has no such time any more.
    """

    routing: Routing = Routing.ORIGINAL
    again: bool = False
    to_people: bool = False
    late: bool = False
    rate: Rate = DEFAULT_RATE

    def written(self) -> dict[str, Any]:
        """As it is stored."""
        flags = {"again": self.again, "to_people": self.to_people, "late": self.late}
        return {"routing": self.routing.value, **flags, "rate": str(self.rate)}


class LeftOut(StrEnum):
    """Why a message of the selection is not sent by a replay."""

    OPEN = "on its way already"
    DELIVERED = "delivered already"
    SUPERSEDED = "superseded: proved wrong, or another message tells it"
    NEWS = "later news of a message; only the message itself is sent again"
    NOT_TODAY = "today's rules do not send it"
    NO_SINK = "router.yaml has no such sink"
    PEOPLE = "people read it, and the plan is without --to-people"
    LATE = "late: its max_age or expires is over, and the plan is without --late"
    FORGOTTEN = "what was known of it is not stored any more"


@dataclass(frozen=True, slots=True)
class Item:
    """One message of a plan.

    Attributes:
        delivery_id: The delivery to take up again; None for one to be made.
        new: What is needed to make one; nothing of a person is in it.
        reason: Why it is left out; None if it is to be sent.
        is_late: Whether its max_age or expires is over, be it left out for that or sent all the same.
    """

    transition_id: str
    sink: str
    delivery_id: str | None = None
    new: dict[str, Any] | None = None
    reason: LeftOut | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replay would do: its items in the order in which they are sent, and what an operator should know first."""

    items: Sequence[Item]
    summary: dict[str, Any]


class WrongState(ReceiverError):
    """A replay cannot do that where it stands."""


# --- writing a plan ---------------------------------------------------------------------------------------------------

_insert_items = BulkInsert(
    replay_items,
    replay_items.c.replay_id,
    replay_items.c.n,
    replay_items.c.transition_id,
    replay_items.c.delivery_id,
    replay_items.c.new,
    replay_items.c.sink,
    replay_items.c.state,
    replay_items.c.reason,
)


def store_plan(database: Database, clock: Clock, scope: Scope, options: Options, plan: Plan) -> str:
    """Write *plan* down, in pieces; the id of the replay. One that is broken off stays `planning` and never runs."""
    replay_id = new_id(Prefix.REPLAY)
    with database.writing.begin() as conn:
        stored = {"selection": scope.written(), "options": options.written(), "summary": plan.summary}
        made = {"id": replay_id, "state": ReplayState.PLANNING.value, "created_at": clock.now(conn)}
        conn.execute(insert(replays).values(**made, **stored))
    for first in range(0, len(plan.items), _BATCH):
        part = plan.items[first : first + _BATCH]
        with database.writing.begin() as conn:
            _insert_items(conn, [_row(replay_id, n, item) for n, item in enumerate(part, first)])
    with database.writing.begin() as conn:
        _set(conn, replay_id, state=ReplayState.PLANNED.value)
        details = {"messages": plan.summary["messages"], **scope.written(), **options.written()}
        note(conn, now=clock.now(conn), action="replay.plan", subject=replay_id, details=details)
    return replay_id


def _row(replay_id: str, n: int, item: Item) -> tuple[Any, ...]:
    state = ReplayItemState.WAITING if item.reason is None else ReplayItemState.SKIPPED
    return (replay_id, n, item.transition_id, item.delivery_id, item.new, item.sink, state, item.reason)


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: its items by state, and its deliveries by theirs."""

    items: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """Messages that are not sent yet."""
        return self.items[ReplayItemState.WAITING] + sum(self.deliveries[state] for state in OPEN)

    @property
    def delivered(self) -> int:
        return self.deliveries[DeliveryState.DELIVERED]

    @property
    def failed(self) -> int:
        """Messages that did not arrive, or may not have."""
        return self.deliveries[DeliveryState.DEAD] + self.deliveries[DeliveryState.UNCERTAIN]

    @property
    def total(self) -> int:
        """All that are not left out."""
        return self.items[ReplayItemState.WAITING] + self.items[ReplayItemState.QUEUED]


def newest_replays(conn: Connection, *, limit: int) -> Sequence[Row[Any]]:
    """The newest replays first."""
    return conn.execute(select(replays).order_by(replays.c.id.desc()).limit(limit)).all()


def find_replays(conn: Connection, written: str) -> Sequence[Row[Any]]:
    """The replays whose id begins as *written*; at most two, which is enough to know that it is not unique."""
    first, last = id_range(Prefix.REPLAY, written)
    return conn.execute(select(replays).where(replays.c.id.between(first, last)).limit(2)).all()


def progress_of(conn: Connection, replay_id: str) -> Progress:
    """How far it is."""
    items = select(replay_items.c.state, func.count()).where(replay_items.c.replay_id == replay_id)
    return Progress(
        _counted(conn.execute(items.group_by(replay_items.c.state)).all()),
        count_deliveries(conn, replay_id),
    )


def count_deliveries(conn: Connection, replay_id: str) -> Counter[str]:
    """How many deliveries the replay has made or taken up, by state."""
    made = select(deliveries.c.state, func.count()).where(deliveries.c.replay == replay_id)
    return _counted(conn.execute(made.group_by(deliveries.c.state)).all())


def _counted(rows: Sequence[Any]) -> Counter[str]:
    return Counter(dict(map(tuple, rows)))


def items_of(conn: Connection, replay_id: str, *, limit: int) -> Sequence[Row[Any]]:
    """The first *limit* items in order."""
    query = select(replay_items).where(replay_items.c.replay_id == replay_id)
    return conn.execute(query.order_by(replay_items.c.n).limit(limit)).all()


# --- setting one going, and stopping it -------------------------------------------------------------------------------


def start(conn: Connection, replay_id: str, *, now: datetime) -> None:
    """Let the server carry out a plan.

    Raises:
        WrongState: It is not a plan any more, or not yet a whole one.
    """
    _require(conn, replay_id, "run", ReplayState.PLANNED)
    _set(conn, replay_id, state=ReplayState.RUNNING.value, started_at=now, due_at=now)
    note(conn, now=now, action="replay.run", subject=replay_id)


def pause(conn: Connection, replay_id: str, *, now: datetime) -> None:
    """Let nothing more of it into the outbox.

    Raises:
        WrongState: It is not running.
    """
    _require(conn, replay_id, "paused", ReplayState.RUNNING)
    _set(conn, replay_id, state=ReplayState.PAUSED.value, reason="paused by an operator")
    note(conn, now=now, action="replay.pause", subject=replay_id)


def resume(conn: Connection, replay_id: str, *, now: datetime) -> None:
    """Let a paused one go on where it was.

    Raises:
        WrongState: It is not paused.
    """
    _require(conn, replay_id, "resumed", ReplayState.PAUSED)
    _set(conn, replay_id, state=ReplayState.RUNNING.value, reason=None, due_at=now)
    note(conn, now=now, action="replay.resume", subject=replay_id)


def call_off(database: Database, clock: Clock, replay_id: str) -> int:
    """End a replay for good, and take back what it has put into the outbox and is not sent; how many those were.

    One that was called off already is called off once more: what an earlier call left is taken back.

    Raises:
        WrongState: It is done.
    """
    able = [state for state in ReplayState if state is not ReplayState.DONE]
    with database.writing.begin() as conn:
        was = _require(conn, replay_id, "cancelled", *able)
        if was != ReplayState.CANCELLED:
            now = clock.now(conn)
            ended = {"state": ReplayState.CANCELLED.value, "reason": "cancelled by an operator", "finished_at": now}
            _set(conn, replay_id, **ended)
            note(conn, now=now, action="replay.cancel", subject=replay_id)
    taken_back = 0
    unsent = select(deliveries.c.id).where(deliveries.c.replay == replay_id)
    unsent = unsent.where(or_(*(deliveries.c.state == state.value for state in CANCELLABLE))).limit(_BATCH)
    while True:
        with database.writing.begin() as conn:
            ids = conn.execute(unsent).scalars().all()
            taken_back += cancel(conn, ids, now=clock.now(conn))
        if len(ids) < _BATCH:
            return taken_back


def _require(conn: Connection, replay_id: str, done: str, *able: ReplayState) -> str:
    """The state of the replay, which nobody else changes before this transaction ends; it must be one of *able*."""
    state: str = conn.execute(select(replays.c.state).where(replays.c.id == replay_id).with_for_update()).scalar_one()
    if state not in able:
        hint = "; its plan was broken off, make another" if state == ReplayState.PLANNING else ""
        raise WrongState(f"{replay_id} is {state} and cannot be {done}{hint}")
    return state


def _set(conn: Connection, replay_id: str, **values: Any) -> None:
    conn.execute(update(replays).where(replays.c.id == replay_id).values(values))
