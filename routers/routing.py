"""Routing: from received events to deliveries in the outbox, many events in one transaction, and no I/O but SQL.

Claim events, lock their objects, let the life cycle say what happened and the rules whom to tell, write it all. An
event that cannot be understood is retried alone and given up after five tries; it never holds up the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, exc

from callrail.kinds import FAMILY, Family, Kind, kind_of
from callrail.payload import object_id, read_payload
from receiver.clock import Clock
from receiver.database import is_data_error
from receiver.exceptions import DatabaseUnavailable
from receiver.ids import Prefix, new_id
from receiver.writer import Writer
from routers import lifecycle
from routers.facts import facts_of
from routers.lifecycle import Event, Happened
from routers.objects import (
    Held,
    ObjectKey,
    ObjectTaken,
    TransitionRow,
    claim_received,
    insert_transitions,
    lock_objects,
    mark_routed,
    record_failure,
    save_objects,
)
from routers.outbox import NewDelivery, existing_keys, insert_deliveries
from routers.rules.reasons import Reason
from routers.rules.ruleset import Fired, RuleSet
from routers.schema import TransitionState

_log = structlog.get_logger(__name__)

# A batch holds the writer for a few milliseconds, and the intake waits behind it.
MAX_BATCH = 24
MAX_TRIES = 5
POLL = timedelta(seconds=0.5)

# A time far from any telephone is a mistake, and at the ends of the calendar none that every database can keep.
_PLAUSIBLE_YEARS = range(1970, 2200)

ALREADY_TOLD = Reason.ALREADY_TOLD.value

T = TypeVar("T")


class Router:
    """Routes whatever waits, until stopped.

    Args:
        on_deliveries: Called after a COMMIT that put deliveries into the outbox.
    """

    def __init__(
        self, writer: Writer, clock: Clock, rules: RuleSet, *, on_deliveries: Callable[[], None] = lambda: None
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._rules = rules
        self._on_deliveries = on_deliveries
        self._wake = asyncio.Event()
        self._stopping = False

    def hint(self) -> None:
        """There may be something to route."""
        self._wake.set()

    def stop(self) -> None:
        """Route nothing further. What is stored waits for the next start."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Route until `stop`. Polling is the truth, a hint only saves waiting."""
        while not self._stopping:
            self._wake.clear()
            try:
                routed = await self._route_batch()
            except DatabaseUnavailable:
                routed = 0  # the writer has said so; the events are safe and wait
            except Exception:
                routed = 0
                _log.exception("routing.failed")
            if routed < MAX_BATCH and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL.total_seconds())

    async def _route_batch(self) -> int:
        try:
            report = await self._writer.run(partial(route, clock=self._clock, rules=self._rules, limit=MAX_BATCH))
        except DatabaseUnavailable:
            raise
        except ObjectTaken:
            return MAX_BATCH  # at once again
        except Exception as error:  # one event's data broke the statement: find it by taking each alone
            _log.warning("routing.batch_failed", error=type(error).__name__)
            return await self._route_singly()
        if report.deliveries:
            self._on_deliveries()
        return report.events

    async def _route_singly(self) -> int:
        for _ in range(MAX_BATCH):
            try:
                report = await self._writer.run(partial(_route_alone, clock=self._clock, rules=self._rules))
            except DatabaseUnavailable:
                raise
            except ObjectTaken:
                continue
            except _NotRouted as failed:
                await self._writer.run(failed.note)
                continue
            if report.deliveries:
                self._on_deliveries()
            if not report.events:
                return 0
        return MAX_BATCH


@dataclass(slots=True)
class Report:
    """How much one transaction did."""

    events: int = 0
    deliveries: int = 0


@dataclass(slots=True)
class _Read:
    """A claimed event, read: which object it is of, or why it cannot be told."""

    id: str
    received_at: datetime
    attempts: int
    key: ObjectKey
    event: Event
    reason: str | None


@dataclass(slots=True)
class _Work:
    """What a transaction is going to write."""

    objects: dict[ObjectKey, Held] = field(default_factory=dict)
    routed: list[tuple[str, str | None, str | None, str]] = field(default_factory=list)
    transitions: list[TransitionRow] = field(default_factory=list)
    deliveries: dict[str, NewDelivery] = field(default_factory=dict)


def route(conn: Connection, clock: Clock, rules: RuleSet, *, limit: int) -> Report:
    """Route up to *limit* received events within the transaction of *conn*."""
    return route_claimed(conn, claim_received(conn, limit=limit), clock, rules)


def route_claimed(conn: Connection, claimed: Sequence[Any], clock: Clock, rules: RuleSet) -> Report:
    """Route events that this transaction has claimed."""
    if not claimed:
        return Report()
    now = clock.now(conn)
    events = [read for row in claimed if (read := _tolerantly(conn, row, _read, row)) is not None]
    work = _Work(objects=lock_objects(conn, (read.key for read in events)))
    # The furthest first: what waited while we were down and is over by now is then recorded and not told.
    for read in sorted(events, key=lambda read: lifecycle.stage_of(read.event), reverse=True):
        _tolerantly(conn, read, _route_one, conn, work, read, rules, now)
    _write(conn, work, now)
    return Report(events=len(claimed), deliveries=len(work.deliveries))


def _tolerantly(conn: Connection, event: Any, think: Callable[..., T], *args: Any) -> T | None:
    """What *think* returns. If it fails, that is noted on the event, which is taken up again or given up."""
    try:
        return think(*args)
    except exc.DBAPIError:  # not the event's doing, and after it this transaction can note nothing
        raise
    except Exception as error:
        attempts = event.attempts + 1
        reason = f"{type(error).__name__} while routing"
        record_failure(conn, event.id, attempts=attempts, reason=reason, final=attempts >= MAX_TRIES)
        _log.exception("routing.event_failed", event_id=event.id, attempts=attempts)
        return None


@dataclass
class _NotRouted(Exception):
    """One event, taken alone, could not be stored as routed."""

    event_id: str
    attempts: int
    reason: str

    def note(self, conn: Connection) -> None:
        """Count the try on this very event, whatever other dispatchers hold meanwhile."""
        final = self.attempts >= MAX_TRIES
        record_failure(conn, self.event_id, attempts=self.attempts, reason=self.reason, final=final)
        _log.error("routing.event_failed", event_id=self.event_id, attempts=self.attempts, reason=self.reason)


def _route_alone(conn: Connection, clock: Clock, rules: RuleSet) -> Report:
    """Route the oldest received event by itself.

    Raises:
        _NotRouted: It was this one.
    """
    claimed = claim_received(conn, limit=1)
    try:
        return route_claimed(conn, claimed, clock, rules)
    except ObjectTaken:
        raise
    except exc.DBAPIError as error:
        if not is_data_error(error):
            raise
        raise _not_routed(claimed[0], error) from error
    except Exception as error:
        raise _not_routed(claimed[0], error) from error


def _not_routed(event: Any, error: Exception) -> _NotRouted:
    return _NotRouted(event.id, event.attempts + 1, f"cannot be stored: {type(error).__name__}")


# --- one event: decides, writes nothing ------------------------------------------------------------------------------

_TYPES = {Family.CALL: "call", Family.TEXT: "text", Family.FORM: "form"}


def _read(row: Any) -> _Read:
    payload = read_payload(row.body, row.content_type)
    posted = Kind(row.kind)
    kind = kind_of(posted, payload.fields)
    type_ = _TYPES.get(FAMILY[kind], "unknown") if kind in lifecycle.UNDERSTOOD else "unknown"
    # Without an id of CallRail's, and for what we do not understand yet, each event is an object of its own.
    identity = (object_id(payload.fields) if type_ != "unknown" else None) or row.id
    odd = f"posted as {posted}, but the body looks like {kind}" if kind is not posted else None
    event = Event(row.id, kind, payload.fields, row.sha256.hex())
    key = ObjectKey(row.company, type_, identity)
    return _Read(row.id, row.received_at, row.attempts, key, event, payload.problem or odd)


def _route_one(conn: Connection, work: _Work, read: _Read, rules: RuleSet, now: datetime) -> None:
    """Add to *work* what one event brings about; all of it or, if this fails, nothing."""
    held = work.objects[read.key]
    obj = held.object
    repeated = lifecycle.repeat_of(obj, read.event)
    if repeated is not None:
        held.become(lifecycle.renew(obj, repeated, read.event), read.id)
        work.routed.append((held.id, repeated, read.reason, read.id))
        return
    changed, happened = lifecycle.apply(obj, read.event)
    facts = facts_of(read.key.company, read.key.type, changed.fields, changed.outcome, changed.stage.name.lower())
    occurred_at = _own_time(facts) or read.received_at
    transitions: list[TransitionRow] = []
    deliveries: dict[str, NewDelivery] = {}
    for item in happened:
        transition = _transition(item, read, held.id, changed.version, occurred_at, now)
        if not item.superseded:
            transition.rules_hash = rules.hash
            decision = rules.decide(read.key.company, item.name, facts)
            transition.verdicts = decision.reasons
            for fired in decision.fired:
                new = {
                    delivery.key: delivery
                    for delivery in _deliveries(fired, transition)
                    if not _is_told(conn, fired, delivery.key, obj.told, work.deliveries, deliveries)
                }
                deliveries |= new
                if not new:
                    decision.reasons[fired.rule.id] = ALREADY_TOLD
        transitions.append(transition)
    held.become(changed, read.id)
    work.routed.append((held.id, None, read.reason, read.id))
    work.transitions += transitions
    work.deliveries |= deliveries


def _transition(
    item: Happened, read: _Read, object_id: str, version: int, occurred_at: datetime, now: datetime
) -> TransitionRow:
    return TransitionRow(
        id=new_id(Prefix.TRANSITION),
        object_id=object_id,
        company=read.key.company,
        name=item.name,
        event_id=read.id,
        occurred_at=occurred_at,
        created_at=now,
        state=TransitionState.SUPERSEDED if item.superseded else TransitionState.ROUTED,
        version=version,
    )


def _deliveries(fired: Fired, transition: TransitionRow) -> list[NewDelivery]:
    rule = fired.rule
    about = transition.object_id if rule.speaks_once else transition.id
    return [
        NewDelivery(
            key=f"{about}:{rule.id}:{send.id}:0",
            transition_id=transition.id,
            object_id=transition.object_id,
            company=transition.company,
            rule=rule.id,
            send=send.id,
            sink=send.sink,
        )
        for send in fired.send
    ]


def _is_told(conn: Connection, fired: Fired, key: str, told: frozenset[str], *new: dict[str, NewDelivery]) -> bool:
    """Whether a rule that speaks once an object has spoken: in this transaction or in an earlier one."""
    if not fired.rule.speaks_once:
        return False
    if any(key in deliveries for deliveries in new):
        return True
    return not told.isdisjoint(fired.rule.when) and bool(existing_keys(conn, [key]))


def _own_time(facts: dict[str, Any]) -> datetime | None:
    """The thing's own time as CallRail tells it; None if it tells none that can be read."""
    for name in ("start_time", "submitted_at", "timestamp", "received_at", "created_at"):
        told = facts.get(name)
        if isinstance(told, str):
            try:
                moment = datetime.fromisoformat(told)
            except ValueError:
                continue
            if moment.tzinfo is not None and moment.year in _PLAUSIBLE_YEARS:
                return moment
    return None


def _write(conn: Connection, work: _Work, now: datetime) -> None:
    save_objects(conn, work.objects, now=now)
    insert_transitions(conn, work.transitions)
    insert_deliveries(conn, work.deliveries.values(), now=now)
    mark_routed(conn, work.routed)
