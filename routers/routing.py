"""Routing: from received events to deliveries in the outbox, many events in one transaction, and no I/O but SQL.

Claim events, lock their objects, let the life cycle say what happened and the rules whom to tell, write it all. An
event that cannot be understood is retried alone and given up after five tries; it never holds up the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Connection, exc

from callrail.kinds import FROM_API, Kind, kind_of
from callrail.payload import read_payload
from receiver.clock import Clock
from receiver.database import is_data_error
from receiver.exceptions import DatabaseUnavailable
from receiver.key_uses import KeyUses, Uses, uses_in
from receiver.loggers import get_logger
from receiver.schema import Origin
from receiver.writer import Writer
from routers import lifecycle
from routers.alarm_events import Alarm, apply_alarm, read_alarm
from routers.amending import Amendment
from routers.corrections import Correction
from routers.deciding import Decided, Decider, Looking, Occasion
from routers.echo import Kept, echo_in
from routers.facts import own_time
from routers.forgetting import Forgotten, end_erased
from routers.lifecycle import Event
from routers.media.rows import NewMedia, insert_media
from routers.media.wanted import wanted_of
from routers.objects import (
    Held,
    ObjectKey,
    ObjectTaken,
    TransitionRow,
    anything_waits,
    claim_received,
    identity_of,
    insert_transitions,
    lock_objects,
    mark_routed,
    order_key_waits,
    record_failure,
    save_objects,
)
from routers.ordering import Pair, promote_made
from routers.outbox import NewDelivery, has_spoken
from routers.own_writes import keep_rest, written_to
from routers.rules.ruleset import RuleSet
from routers.schema import TransitionState
from routers.telling import sinks_told, tell
from routers.zones import remember_zone
from routers.zones import told_zones as read_told_zones

_log = get_logger(__name__)

# A batch holds the writer for some milliseconds, and the intake waits behind it: in a flood it is smaller.
MAX_BATCH, MAX_BATCH_IN_FLOOD = 48, 24
MAX_BATCH_ALONE = 96  # where nothing waits behind it
MAX_TRIES = 5
POLL = timedelta(seconds=0.5)
LOOK_AGAIN = timedelta(milliseconds=50)
_LOOK_AMID_LOAD = timedelta(milliseconds=250)
_ZONES_HOLD = timedelta(seconds=10)

T = TypeVar("T")
Fetched = Mapping[str, timedelta | None]
LookingIn = Callable[[Connection], Looking | None]  # how look-ups are found within a transaction


class Router:
    """Routes whatever waits, until stopped.

    Args:
        most: Events of one transaction.
        fetched: Companies of which recordings and media are fetched, with the age at which those are removed.

    Attributes:
        on_waiting: Called after a COMMIT of something that waits for look-ups.
        on_deliveries: Called after a COMMIT that put deliveries into the outbox, with the sinks they are for.
        zones: By company, the newest time zone that a call of it told.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        rules: RuleSet,
        *,
        forgotten: Forgotten | None = None,
        looking: LookingIn = lambda _: None,
        fetched: Fetched = MappingProxyType({}),
        most: int = MAX_BATCH,
    ) -> None:
        self._writer = writer
        self._most = most
        self._clock = clock
        self._rules = rules
        self._forgotten = forgotten or Forgotten(None)
        self._looking = looking
        self._fetched = fetched
        self.on_deliveries: Callable[[Collection[str]], None] = lambda _: None
        self.on_waiting: Callable[[], None] = lambda: None
        self._wake = asyncio.Event()
        self._stopping = False
        self.zones: dict[str, str] = {}
        self._zones_hold_until = 0.0
        self._blocked: set[Pair] = set()  # in which it is not sure yet that what waits does so for something
        self._looks_at = 0.0  # at those
        self._key_uses = KeyUses(writer)

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
            goes_on = False
            try:
                goes_on = await self._route_batch()
            except DatabaseUnavailable:
                pass  # the writer has said so; the events are safe and wait
            except Exception:
                _log.exception("routing.failed")
            if not goes_on and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    pause = LOOK_AGAIN if self._blocked else POLL
                    await asyncio.wait_for(self._wake.wait(), pause.total_seconds())

    async def _route_batch(self) -> bool:
        """Route some of what waits, and return whether there may be more."""
        limit = MAX_BATCH_IN_FLOOD if self._writer.is_flooded else self._most
        try:
            report = await self._writer.run(partial(self._in_writer, limit=limit))
        except DatabaseUnavailable:
            raise
        except ObjectTaken:
            return True
        except Exception as error:  # one event's data broke the statement: find it by taking each alone
            _log.warning("routing.batch_failed", error=type(error).__name__)
            return await self._route_singly()
        goes_on = report.events == limit
        await self._after(report, is_busy=goes_on)
        return goes_on

    def _in_writer(self, conn: Connection, *, limit: int) -> Report:
        if time.monotonic() > self._zones_hold_until:  # other processes learn of them too
            self.zones.update(read_told_zones(conn))
            self._zones_hold_until = time.monotonic() + _ZONES_HOLD.total_seconds()
        claimed = claim_received(conn, limit=limit)
        return route_claimed(
            conn,
            claimed,
            self._clock,
            self._rules,
            self.zones,
            self._forgotten,
            self._looking(conn),
            fetched=self._fetched,
        )

    async def _after(self, report: Report, *, is_busy: bool = False) -> None:
        """What follows from a COMMIT."""
        self.zones.update(report.zones)
        self._blocked |= report.blocked
        told = report.told
        if self._blocked and not (is_busy and time.monotonic() < self._looks_at):
            told |= await self._let_go()
        if told:
            self.on_deliveries(told)
        if report.waits:
            self.on_waiting()
        await self._key_uses.see(report.signed)

    async def _let_go(self) -> set[str]:
        """Promote what waits for something that has just been ended by who could not see it; the sinks it is for.

        It is rare, and to look costs as much as to route ten events: where many wait, some batches share a look.
        """
        blocked = self._blocked
        self._looks_at = time.monotonic() + _LOOK_AMID_LOAD.total_seconds()
        self._blocked = await self._writer.run(partial(promote_made, pairs=blocked))
        return {pair.sink for pair in blocked - self._blocked}

    async def _route_singly(self) -> bool:
        for _ in range(self._most):
            try:
                report = await self._writer.run(
                    partial(
                        _route_alone,
                        clock=self._clock,
                        rules=self._rules,
                        forgotten=self._forgotten,
                        looking=self._looking,
                        fetched=self._fetched,
                    )
                )
            except DatabaseUnavailable:
                raise
            except ObjectTaken:
                continue
            except _NotRouted as failed:
                await self._writer.run(failed.note)
                continue
            await self._after(report)
            if not report.events:
                return False
        return True


@dataclass(slots=True)
class Report:
    """How much one transaction did: which sinks there is something for, which time zones of companies it learned,
    where it made deliveries wait, which keys had signed what it routed, and whether something waits for look-ups."""

    events: int = 0
    deliveries: int = 0
    told: frozenset[str] = frozenset()
    zones: dict[str, str] = field(default_factory=dict)
    blocked: set[Pair] = field(default_factory=set)
    signed: Uses = field(default_factory=dict)
    waits: bool = False


@dataclass(slots=True)
class _Read:
    """A claimed event, read: which object it is of, or why it cannot be told."""

    id: str
    received_at: datetime
    attempts: int
    key: ObjectKey
    event: Event | Alarm
    reason: str | None

    @property
    def stage(self) -> lifecycle.Stage:
        """How far it says that its object is."""
        return lifecycle.Stage.COMPLETE if isinstance(self.event, Alarm) else lifecycle.stage_of(self.event)


@dataclass(slots=True)
class _Work:
    """What a transaction is going to write."""

    objects: dict[ObjectKey, Held] = field(default_factory=dict)
    fetched: Fetched = field(default_factory=dict)
    routed: list[tuple[str, str | None, str | None, str]] = field(default_factory=list)
    transitions: list[TransitionRow] = field(default_factory=list)
    deliveries: dict[str, NewDelivery] = field(default_factory=dict)
    amendments: list[Amendment] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    zones: dict[str, str] = field(default_factory=dict)
    media: list[NewMedia] = field(default_factory=list)
    blocked: set[Pair] = field(default_factory=set)
    anything_waits: bool = False
    written: dict[ObjectKey, list[Kept]] = field(default_factory=dict)
    rests: dict[str, Kept] = field(default_factory=dict)

    def held_up(self, conn: Connection, now: datetime, order_key: str) -> bool:
        """Whether something about the one whom *order_key* names waits, of this transaction or of an earlier one."""
        return self.anything_waits and (
            any(row.order_key == order_key for row in self.transitions) or order_key_waits(conn, order_key, now)
        )

    def spoken(self, conn: Connection, our_id: str, rules: Collection[str], send: str) -> bool:
        """Whether a delivery of an object was made for one of *rules*, in this transaction or in an earlier one."""
        made = self.deliveries.values()
        return any(
            item.object_id == our_id and item.rule in rules and item.send == send for item in made
        ) or has_spoken(conn, our_id, rules, send)

    def use_up(self, key: ObjectKey, told: Sequence[tuple[Kept, str]]) -> None:
        """CallRail has told of these fields of what we wrote."""
        for one, name in told:
            rest = self.rests.get(one.id, one).without(name)
            self.rests[one.id] = rest
            self.written[key] = [rest if each.id == one.id else each for each in self.written[key]]

    def add(self, decided: Decided) -> None:
        """What was decided of one event."""
        self.transitions += decided.transitions
        self.anything_waits = self.anything_waits or decided.waits
        self.deliveries |= decided.deliveries
        self.amendments += decided.amendments
        if decided.correction is not None:
            self.corrections.append(decided.correction)


def route(
    conn: Connection, clock: Clock, rules: RuleSet, *, limit: int, told_zones: Mapping[str, str] | None = None
) -> Report:
    """Route up to *limit* received events within the transaction of *conn*.

    Args:
        told_zones: By company, the time zone its calls told; read from the store where None.
    """
    return route_claimed(conn, claim_received(conn, limit=limit), clock, rules, told_zones)


def route_claimed(
    conn: Connection,
    claimed: Sequence[Any],
    clock: Clock,
    rules: RuleSet,
    told_zones: Mapping[str, str] | None = None,
    forgotten: Forgotten | None = None,
    looking: Looking | None = None,
    *,
    fetched: Fetched = MappingProxyType({}),
) -> Report:
    """Route events that this transaction has claimed; those of persons who are *forgotten* bring nothing about."""
    if not claimed:
        return Report()
    now = clock.now(conn)
    events = [read for row in claimed if (read := _tolerantly(conn, row, _read, row)) is not None]
    held = lock_objects(conn, (read.key for read in events))
    work = _Work(objects=held, fetched=fetched, anything_waits=anything_waits(conn))
    work.written = written_to(conn, (read.key for read in events if _may_be_echo(read)), now)
    events = _without_erased(conn, events, work, forgotten)
    zones = read_told_zones(conn) if told_zones is None else told_zones
    decider = Decider(rules, zones, partial(work.spoken, conn), looking, partial(work.held_up, conn, now))
    # The furthest first: what waited while we were down and is over by now is then recorded and not told.
    for read in sorted(events, key=lambda read: read.stage, reverse=True):
        _tolerantly(conn, read, _route_one, work, read, decider, now)
    _write(conn, work, zones, now)
    blocked = work.blocked if conn.dialect.name == "postgresql" else set()  # SQLite has one writer at a time
    return Report(
        len(claimed),
        len(work.deliveries) + len(work.amendments),
        told=sinks_told(work.deliveries.values(), work.amendments),
        zones=work.zones,
        blocked=blocked,
        signed=uses_in(claimed),
        waits=any(row.state is TransitionState.WAITING for row in work.transitions),
    )


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


def _route_alone(
    conn: Connection, clock: Clock, rules: RuleSet, forgotten: Forgotten, looking: LookingIn, fetched: Fetched
) -> Report:
    """Route the oldest received event by itself.

    Raises:
        _NotRouted: It was this one.
    """
    claimed = claim_received(conn, limit=1)
    try:
        return route_claimed(conn, claimed, clock, rules, forgotten=forgotten, looking=looking(conn), fetched=fetched)
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


def _read(row: Any) -> _Read:
    if row.origin == Origin.ROUTER:  # by this alone: whatever is posted as an alarm is a webhook of an unknown kind
        alarm = read_alarm(row.body)
        key = ObjectKey(row.company, alarm.type, alarm.object_id)
        return _Read(row.id, row.received_at, row.attempts, key, alarm, None)
    payload = read_payload(row.body, row.content_type)
    posted = Kind(row.kind)
    kind = kind_of(posted, payload.fields)
    odd = f"posted as {posted}, but the body looks like {kind}" if kind is not posted else None
    event = Event(row.id, kind, payload.fields, row.sha256.hex())
    key = ObjectKey(row.company, *identity_of(kind, payload.fields, row.id))
    return _Read(row.id, row.received_at, row.attempts, key, event, payload.problem or odd)


def _may_be_echo(read: _Read) -> bool:
    return isinstance(read.event, Event) and read.event.kind in lifecycle.TELLS_CHANGES


def _without_erased(conn: Connection, events: list[_Read], work: _Work, forgotten: Forgotten | None) -> list[_Read]:
    """*events* but for those of what happened before its person was erased: they end here, without their bodies."""
    erased = [read for read in events if work.objects[read.key].erased]
    if forgotten is not None and forgotten.knows_any(conn):
        erased += [
            read
            for read in events
            if isinstance(read.event, Event) and forgotten.covers(read.key.type, read.event, read.received_at)
        ]
    if not erased:
        return events
    end_erased(conn, [read.id for read in erased])
    return [read for read in events if read not in erased]


def _route_one(work: _Work, read: _Read, decider: Decider, now: datetime) -> None:
    """Add to *work* what one event brings about; all of it or, if this fails, nothing."""
    held, event = work.objects[read.key], read.event
    before = held.object
    if isinstance(event, Alarm):
        _decide(work, read, decider, now, *apply_alarm(before, event))
        return
    repeated = lifecycle.repeat_of(before, event)
    if repeated is not None:
        held.become(lifecycle.renew(before, repeated, event), read.id)
        work.routed.append((held.id, repeated, read.reason, read.id))
        return
    after, happened = lifecycle.apply(before, event)
    changed: Sequence[str] = next(
        (item.details["changes"] for item in happened if item.details and "changes" in item.details), ()
    )
    echo = echo_in(work.written.get(read.key, ()), changed, before.fields, after.fields)
    _decide(
        work,
        read,
        decider,
        now,
        after,
        happened,
        is_live=event.kind not in FROM_API,
        seen_before=lifecycle.is_seen_before(before, event),
        is_echo=echo.is_all,
    )
    work.use_up(read.key, echo.told)
    if read.key.type == "call" and isinstance(zone := event.fields.get("company_time_zone"), str):
        work.zones[read.key.company] = zone


def _decide(
    work: _Work,
    read: _Read,
    decider: Decider,
    now: datetime,
    after: lifecycle.Object,
    happened: Sequence[lifecycle.Happened],
    *,
    is_live: bool = True,
    seen_before: bool = False,
    is_echo: bool = False,
) -> None:
    """Add to *work* that the event's object became *after*, and whom to tell of what *happened*."""
    held = work.objects[read.key]
    occasion = Occasion(
        company=read.key.company,
        type=read.key.type,
        object_id=held.id,
        before=held.object,
        after=after,
        event_id=read.id,
        received_at=read.received_at,
        now=now,
        is_matched=held.matched,
        is_live=is_live,
        seen_before=seen_before,
        is_echo=is_echo,
    )
    decided = decider.decide(occasion, happened, waits=held.waits)
    files = list(_to_be_fetched(read, held.id, after, work.fetched, now))
    held.become(after, read.id)
    held.matched, held.waits = decided.is_matched, decided.waits
    work.routed.append((held.id, None, read.reason, read.id))
    work.add(decided)
    work.media += files


def _to_be_fetched(
    read: _Read, our_id: str, after: lifecycle.Object, fetched: Fetched, now: datetime
) -> Iterator[NewMedia]:
    """The files of an object that became *after*, if they are fetched and would not be removed at once for their age.

    So what was removed does not come back with news of an old call. An object without an id has none to ask for.
    """
    company = read.key.company
    if company not in fetched or read.key.object_id == read.id:
        return
    age = fetched[company]
    if age is None or (own_time(after.fields) or read.received_at) > now - age:
        for wanted in wanted_of(read.key.type, read.key.object_id, after.stage, after.fields):
            yield NewMedia(our_id, company, wanted)


def _write(conn: Connection, work: _Work, told_zones: Mapping[str, str], now: datetime) -> None:
    save_objects(conn, work.objects, now=now)
    insert_transitions(conn, work.transitions)
    work.blocked = tell(conn, work.deliveries.values(), work.corrections, work.amendments, now=now)
    keep_rest(conn, list(work.rests.values()))
    insert_media(conn, work.media, now=now)
    mark_routed(conn, work.routed)
    work.zones = {company: zone for company, zone in work.zones.items() if told_zones.get(company) != zone}
    for company, zone in sorted(work.zones.items()):  # in one order, or two workers wait for each other
        remember_zone(conn, company, zone)
