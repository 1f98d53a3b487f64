"""Transitions that wait for look-ups: what is missing is asked for, then they are decided like any other.

What is about one person is decided in its order: what came later waits behind what came first. A transition that waits
is a row with a due time. Whoever takes it moves that time into the future; if it is never heard of again, the
next one asks anew. Only reading is done meanwhile, so nothing can happen twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, select, update

from receiver.bulk import BulkUpdate
from receiver.clock import Clock
from receiver.columns import fixed
from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from receiver.schema import EventState, events
from receiver.writer import Writer
from routers.deciding import Decider, Looking
from routers.lifecycle import Outcome, Stage
from routers.lookups.answers import Answer, Source, give_up_all
from routers.lookups.asking import Lookups
from routers.lookups.definitions import About, OnFailure
from routers.objects import HOLDS_BACK, TransitionRow, is_waiting
from routers.ordering import Pair, let_go
from routers.outbox import has_spoken
from routers.redeciding import LIVES, occasion_of
from routers.rules.needs import Needs
from routers.rules.reasons import Reason
from routers.rules.ruleset import RuleSet
from routers.schema import TransitionState, objects, transitions
from routers.telling import sinks_told, tell
from routers.transitions import Transition
from routers.zones import told_zones

_log = get_logger(__name__)

POLL = timedelta(seconds=1)
LEASE = timedelta(seconds=15)
_RENEW_EVERY = timedelta(seconds=5)
_AT_ONCE = 20  # of one company, about: whoever asks another account is not held up by one that hangs
# With on_failure: wait. The last is repeated until the look-up's own time is over.
_MAX_TRIES = 5  # of what a fault of ours keeps from being decided
_TRY_AGAIN = (timedelta(seconds=10), timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2))


def looking_in(
    conn: Connection, lookups: Lookups, needs: Needs, clock: Clock, asked: Mapping[str, Answer] | None = None
) -> Looking:
    """How look-ups are found within a transaction: those just *asked* for, else what is at hand."""
    just_asked = asked or {}

    def find(names: Collection[str], about: About) -> Mapping[str, Answer]:
        others = [name for name in names if name not in just_asked]
        found = {name: just_asked[name] for name in names if name in just_asked}
        return found | (lookups.at_hand(conn, others, about, clock.now(conn)) if others else {})

    return Looking(needs, find, lookups.dropping)


class Waiting:
    """Decides whatever waits, until stopped.

    Attributes:
        on_deliveries: Called after a COMMIT that put deliveries into the outbox, with the sinks they are for.
    """

    def __init__(
        self, writer: Writer, clock: Clock, rules: RuleSet, lookups: Lookups, needs: Needs, zones: Mapping[str, str]
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._rules = rules
        self._lookups = lookups
        self._needs = needs
        self._zones = zones
        self.on_deliveries: Callable[[Collection[str]], None] = lambda _: None
        self._wake = asyncio.Event()
        self._stopping = False
        self._under_way: dict[str, _UnderWay] = {}
        self._renewed_at = time.monotonic()
        self._failures: Counter[str] = Counter()  # by object, of ours

    def hint(self) -> None:
        """Something waits."""
        self._wake.set()

    def stop(self) -> None:
        """Take up nothing further. What waits goes on waiting, in the database."""
        self._stopping = True
        self._wake.set()

    async def start(self, *, alone: bool) -> None:
        """Take back what an earlier process had taken, when this one is *alone*."""
        if alone:
            await self._writer.run(partial(_take_back_all, clock=self._clock))

    async def run(self) -> None:
        """Decide until `stop`, then let what is under way end."""
        while not self._stopping:
            self._wake.clear()
            try:
                await self._renew()
                await self._take_up()
            except DatabaseUnavailable:
                pass  # the writer has said so
            except Exception:
                _log.exception("lookups.waiting_failed")
            if not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL.total_seconds())
        left = dict(self._under_way)
        for under_way in left.values():
            under_way.task.cancel()
        await asyncio.gather(*(under_way.task for under_way in left.values()), return_exceptions=True)
        with contextlib.suppress(DatabaseUnavailable):  # the next one finds them due, and need not wait for us
            await self._writer.run(partial(_give_back, object_ids=list(left), clock=self._clock))

    async def _renew(self) -> None:
        """What we are at takes as long as it takes; who never comes back is waited for no longer than the lease."""
        if self._under_way and time.monotonic() - self._renewed_at > _RENEW_EVERY.total_seconds():
            self._renewed_at = time.monotonic()
            under_way = list(self._under_way)
            await self._writer.run(partial(_put_off, object_ids=under_way, by=LEASE, clock=self._clock))

    async def _take_up(self) -> None:
        while not self._stopping:
            counted = Counter(under_way.company for under_way in self._under_way.values())
            full = [company for company, count in counted.items() if count >= _AT_ONCE]
            # What comes next of an object under way would be taken, and nobody be at it.
            taken = await self._writer.run(
                partial(_take, clock=self._clock, limit=_AT_ONCE, under_way=list(self._under_way), full=full)
            )
            for row in taken:
                task = asyncio.create_task(self._decide(row.object_id))
                self._under_way[row.object_id] = _UnderWay(row.company, task)
                task.add_done_callback(partial(self._done, row.object_id))
            if not taken:
                return

    def _done(self, object_id: str, task: asyncio.Task[None]) -> None:
        del self._under_way[object_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("lookups.not_decided", object_id=object_id, error=type(error).__name__, exc_info=error)
            return
        self.hint()  # there may be room now, and what waited behind it

    async def _decide(self, object_id: str) -> None:
        """Decide the oldest transitions of an object that wait, as soon as the database answers.

        What a fault of ours keeps from being decided with its look-ups is decided without them.
        """
        decide = self._ask_and_decide
        while True:
            try:
                await decide(object_id)
            except DatabaseUnavailable:  # the writer has said so
                await asyncio.sleep(POLL.total_seconds())
            except Exception as error:
                if decide == self._decide_without:
                    self._failures[object_id] += 1
                    await self._writer.run(partial(self._put_off_or_fail, object_id=object_id, error=error))
                    raise
                _log.exception("lookups.decided_without", object_id=object_id)
                decide = self._decide_without
            else:
                self._failures.pop(object_id, None)
                if decide == self._ask_and_decide:
                    return
                decide = self._ask_and_decide  # there may be more of it

    async def _decide_without(self, object_id: str) -> None:
        await self._tell(await self._writer.run(partial(self._try, object_id=object_id)))

    def _put_off_or_fail(self, conn: Connection, *, object_id: str, error: Exception) -> None:
        """Try again later what cannot be decided even so; in the end its event has failed, which is an alarm."""
        tries = self._failures[object_id]
        if tries < _MAX_TRIES:
            _put_off(conn, object_ids=[object_id], by=_TRY_AGAIN[tries - 1], clock=self._clock)
            return
        life = _locked_life(conn, object_id)
        rows = list(takewhile(lambda row: row.event_id == life.waiting[0].event_id, life.waiting))
        if rows:
            _end(conn, rows)
            failed = {"state": EventState.FAILED.value, "reason": f"cannot be decided: {type(error).__name__}"}
            conn.execute(update(events).where(events.c.id == rows[0].event_id).values(attempts=tries, **failed))

    async def _tell(self, step: _Step) -> None:
        if step.told:
            self.on_deliveries(step.told)
        if step.blocked:
            await let_go(self._writer, step.blocked)
            self.on_deliveries({pair.sink for pair in step.blocked})

    async def _ask_and_decide(self, object_id: str) -> None:
        """Ask for what is missing, and decide."""
        asked: dict[str, Answer] = {}
        event_id: str | None = None
        while True:
            step = await self._writer.run(partial(self._try, object_id=object_id, asked=asked, event_id=event_id))
            await self._tell(step)
            if step.about is None:
                return
            if step.event_id != event_id:  # what was asked for another one does not tell
                event_id, asked = step.event_id, {}
            names = sorted(step.missing)
            answers = await asyncio.gather(*(self._lookups.ask(name, step.about, step.now) for name in names))
            found = dict(zip(names, answers, strict=True))
            if (again_in := self._wait_for(found, step.waiting_for)) is not None:
                await self._writer.run(partial(_put_off, object_ids=[object_id], by=again_in, clock=self._clock))
                return
            asked |= found

    def _wait_for(self, found: Mapping[str, Answer], waited: timedelta) -> timedelta | None:
        """After how long a failed look-up is tried again before anybody is told; None if it is not."""
        times = []
        for name, answer in found.items():
            settings = self._lookups.known[name].settings
            left = settings.wait - waited
            if answer.may_pass and settings.on_failure is OnFailure.WAIT and left > timedelta(0):
                times.append(min(again_after(waited), left))
        return min(times, default=None)

    def _try(
        self,
        conn: Connection,
        *,
        object_id: str,
        asked: Mapping[str, Answer] | None = None,
        event_id: str | None = None,
    ) -> _Step:
        """Decide with what was *asked* for *event_id* so far, or say what is missing; one transaction.

        Without *asked* it is decided without any look-up.
        """
        now = self._clock.now(conn)
        life = _locked_life(conn, object_id)
        rows = list(takewhile(lambda row: row.event_id == life.waiting[0].event_id, life.waiting))
        if not rows:
            return _Step(now)
        if life.erased:
            _end(conn, rows)
            return _Step(now)
        past = [row for row in life.rows if row.version < rows[0].version]
        # All that the event brought about counts for what was before it, also what was superseded at once.
        siblings = [row for row in life.rows if (row.event_id, row.version) == (rows[0].event_id, rows[0].version)]
        occasion = occasion_of(siblings, past, is_matched=life.is_matched, now=now)
        if any(row.name == Transition.CALL_ENDED for row in rows):
            # Its end tells no outcome that is known to be wrong by now.
            occasion = replace(occasion, after=occasion.after._replace(outcome=life.outcome))
        if asked is None:
            found = Looking(self._needs, partial(_not_looked_up, now=now), self._lookups.dropping)
        else:
            just_asked = asked if rows[0].event_id == event_id else {}
            found = looking_in(conn, self._lookups, self._needs, self._clock, just_asked)
        looking = _Noticing(found)
        zones = {**told_zones(conn), **self._zones}
        decider = Decider(self._rules, zones, partial(has_spoken, conn), looking.looking)
        decided = decider.ask(occasion, [_row(row, life.stage) for row in rows])
        if decided.waits:
            waiting_for = now - rows[0].created_at
            return _Step(now, looking.about, looking.missing, rows[0].event_id, waiting_for=waiting_for)
        _set_decided(conn, [_values(row) for row in decided.transitions])
        conn.execute(update(objects).where(objects.c.id == object_id).values(matched=decided.is_matched))
        corrections = [decided.correction] if decided.correction is not None else []
        blocked = tell(conn, decided.deliveries.values(), corrections, decided.amendments, now=now)
        return _Step(
            now,
            told=sinks_told(decided.deliveries.values(), decided.amendments),
            blocked=blocked if conn.dialect.name == "postgresql" else set(),
        )


def _not_looked_up(names: Collection[str], _about: About, *, now: datetime) -> Mapping[str, Answer]:
    problem = "it could not be used, by a fault of the router's own: see its log"
    return {name: Answer(None, now, problem, source=Source.NOT_ASKED) for name in names}


def again_after(waited: timedelta) -> timedelta:
    """When to try again what was tried for so long."""
    begin = timedelta(0)
    for pause in _TRY_AGAIN:
        begin += pause
        if waited < begin:
            return pause
    return _TRY_AGAIN[-1]


@dataclass(frozen=True, slots=True)
class _Step:
    """What one transaction found: look-ups that are *missing*, and what to ask them *about*; or who is told."""

    now: datetime
    about: About | None = None
    missing: frozenset[str] = frozenset()
    event_id: str | None = None
    waiting_for: timedelta = timedelta(0)
    told: frozenset[str] = frozenset()
    blocked: set[Pair] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """An object of *company* that is being decided."""

    company: str
    task: asyncio.Task[None]


class _Noticing:
    """*looking*, and what it did not find."""

    def __init__(self, looking: Looking) -> None:
        self._find = looking.find
        self.looking = replace(looking, find=self._noticed)
        self.missing: frozenset[str] = frozenset()
        self.about: About | None = None

    def _noticed(self, names: Collection[str], about: About) -> Mapping[str, Answer]:
        found = self._find(names, about)
        self.missing |= frozenset(names) - found.keys()
        self.about = about
        return found


# --- the rows --------------------------------------------------------------------------------------------------------

_earlier = transitions.alias("earlier")
_is_before = (_earlier.c.state == fixed(TransitionState.WAITING), _earlier.c.id < transitions.c.id)
_due = (
    select(transitions.c.id, transitions.c.object_id, transitions.c.company)
    .where(
        is_waiting,
        transitions.c.due_at <= bindparam("now"),
        transitions.c.object_id.not_in(bindparam("under_way", expanding=True)),
        transitions.c.company.not_in(bindparam("full", expanding=True)),
        ~exists().where(_earlier.c.object_id == transitions.c.object_id, *_is_before),
        ~exists().where(
            _earlier.c.order_key == transitions.c.order_key, _earlier.c.created_at > bindparam("since"), *_is_before
        ),
    )
    .order_by(transitions.c.due_at, transitions.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_due_now = (
    update(transitions).where(is_waiting, transitions.c.due_at > bindparam("now")).values(due_at=bindparam("now"))
)
_life = LIVES.add_columns(objects.c.matched, objects.c.stage.label("present_stage"))
_set_decided = BulkUpdate(
    transitions,
    transitions.c.state,
    transitions.c.details,
    transitions.c.rules_hash,
    transitions.c.verdicts,
    transitions.c.reason,
    transitions.c.due_at,
    transitions.c.order_key,
    key=[transitions.c.id],
)


def _take(
    conn: Connection, *, clock: Clock, limit: int, under_way: Sequence[str], full: Sequence[str]
) -> Sequence[Any]:
    """The objects, with their companies, of which something is due, taken for a while.

    Args:
        under_way: The objects that this process is at already.
        full: Companies of which it is at enough.
    """
    now = clock.now(conn)
    asked = {"now": now, "since": now - HOLDS_BACK, "limit": limit, "under_way": under_way, "full": full}
    rows = conn.execute(_due, asked).all()
    if rows:
        taken = update(transitions).where(transitions.c.id.in_([row.id for row in rows]), is_waiting)
        conn.execute(taken.values(due_at=now + LEASE))
    return rows


def _give_back(conn: Connection, *, object_ids: Sequence[str], clock: Clock) -> None:
    mine = update(transitions).where(transitions.c.object_id.in_(object_ids), is_waiting)
    conn.execute(mine.values(due_at=clock.now(conn)))


def _take_back_all(conn: Connection, *, clock: Clock) -> None:
    conn.execute(_due_now, {"now": clock.now(conn)})
    give_up_all(conn)


def _put_off(conn: Connection, *, object_ids: Sequence[str], by: timedelta, clock: Clock) -> None:
    mine = update(transitions).where(transitions.c.object_id.in_(object_ids), is_waiting)
    conn.execute(mine.values(due_at=clock.now(conn) + by))


@dataclass(frozen=True, slots=True)
class _Life:
    """All transitions of a locked object, oldest first, and those that wait."""

    rows: Sequence[Row[Any]]
    waiting: Sequence[Row[Any]]
    is_matched: bool
    erased: bool
    stage: Stage
    outcome: Outcome | None


def _locked_life(conn: Connection, object_id: str) -> _Life:
    conn.execute(select(objects.c.id).where(objects.c.id == object_id).with_for_update())
    rows = conn.execute(_life, {"ids": [object_id]}).all()
    waiting = sorted((row for row in rows if row.state == TransitionState.WAITING), key=lambda row: row.version)
    first = rows[0]
    outcome = Outcome(first.present_outcome) if first.present_outcome else None
    stage = Stage[first.present_stage.upper()]
    return _Life(rows, waiting, first.matched, first.erased_at is not None, stage, outcome)


# What is over once an object is so far, and told to nobody then.
_OVER_AT = {Transition.CALL_RINGING: Stage.ROUTED, Transition.CALL_ROUTED: Stage.ENDED}


def _row(row: Row[Any], stage: Stage) -> TransitionRow:
    """The transition to be decided, of an object that is at *stage* by now."""
    name = Transition(row.name)
    is_over = name in _OVER_AT and stage >= _OVER_AT[name]
    return TransitionRow(
        id=row.id,
        object_id=row.object_id,
        company=row.company,
        name=name,
        event_id=row.event_id,
        occurred_at=row.occurred_at,
        created_at=row.created_at,
        state=TransitionState.SUPERSEDED if is_over else TransitionState.ROUTED,
        version=row.version,
        details=row.details,
        n=row.n,
    )


def _values(row: TransitionRow) -> tuple[Any, ...]:
    return row.state, row.details, row.rules_hash, row.verdicts, row.reason, None, None, row.id


def _end(conn: Connection, rows: Sequence[Row[Any]]) -> None:
    """End what waits: its person was erased, and nobody is told of it."""
    ended = update(transitions).where(transitions.c.id.in_([row.id for row in rows]))
    reason = Reason.SUPERSEDED.value
    conn.execute(ended.values(state=TransitionState.SUPERSEDED.value, reason=reason, due_at=None, order_key=None))
