"""The dispatcher: a lane a sink, each sending as fast as its sink allows and hurting no other.

A lane takes turns. A turn is one transaction that records what came back, claims what may be sent next, and marks what
is about to leave as `sending`; only what is marked is sent. While one turn waits for its COMMIT the next results
gather, so the batches grow with the load by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType

import structlog
from sqlalchemy import Connection

from receiver.clock import Clock
from receiver.exceptions import DatabaseUnavailable
from receiver.writer import Writer
from routers import outbox
from routers.hours import time_zone
from routers.outbox import Delivery, Tried
from routers.outcomes import AuthFailed, Gone, Outcome, Rejected, Retry, Uncertain
from routers.retries import Step, next_step
from routers.sinks.sink import Sink
from routers.templates import Templates, built_in_templates, render

_log = structlog.get_logger(__name__)

POLL = timedelta(seconds=1)
RETURN_EVERY = timedelta(seconds=5)
DRAIN_WITHIN = timedelta(seconds=5)
_LEASE_MARGIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Limits:
    """How a lane treats its sink."""

    concurrency: int
    timeout: timedelta
    schedule: tuple[timedelta, ...]


class Dispatcher:
    """All lanes of a process.

    Args:
        instance: Names this process on the leases it holds.
        templates: What messages are written with; the built-in ones where None.
        zones: By company, the time zone in which it reads times; the one its call tells where there is none.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        sinks: Mapping[str, tuple[Sink, Limits]],
        *,
        instance: str,
        rng: random.Random,
        templates: Templates | None = None,
        zones: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._instance = instance
        templates = templates or built_in_templates()
        self._lanes = [
            Lane(writer, clock, name, *sink, instance=instance, rng=rng, templates=templates, zones=zones)
            for name, sink in sinks.items()
        ]
        self._stopping = asyncio.Event()

    async def start(self, *, alone: bool) -> None:
        """Open the lanes and put back what earlier holders left; all of it when this process is *alone*."""

        def open_lanes(conn: Connection) -> int:
            for lane in self._lanes:
                outbox.open_lane(conn, lane.name)
            return outbox.return_leases(conn, now=self._clock.now(conn), everything=alone)

        returned = await self._writer.run(open_lanes)
        if returned:
            _log.info("dispatcher.leases_returned", deliveries=returned)

    def hint(self) -> None:
        """There may be something to send."""
        for lane in self._lanes:
            lane.hint()

    async def run(self) -> None:
        """Send until `stop`, then let what is on the way come back."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())
            group.create_task(self._keep_tidy())

    def stop(self) -> None:
        """Claim nothing further; `run` ends when what is on the way is recorded, at the latest after 10 seconds."""
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()

    def _tidy_up(self, conn: Connection) -> None:
        now = self._clock.now(conn)
        outbox.return_leases(conn, now=now)
        if expired := outbox.expire(conn, now=now):
            _log.info("dispatcher.deliveries_expired", deliveries=expired)

    async def _keep_tidy(self) -> None:
        """Return leases that ran out and end what nobody wants to hear of any more."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RETURN_EVERY.total_seconds())
                return
            try:
                await self._writer.run(self._tidy_up)
            except DatabaseUnavailable:
                pass  # the writer has said so
            except Exception:  # it must not end the lanes beside it
                _log.exception("dispatcher.not_tidied")


@dataclass(slots=True)
class _Turn:
    """What a turn tells its lane: what may be sent now, what is claimed for later, and how long nothing else is due."""

    marked: list[Delivery]
    claimed: list[Delivery]
    wait: timedelta


@dataclass(slots=True)
class _Result:
    delivery: Delivery
    outcome: Outcome
    started_at: datetime
    took: timedelta


@dataclass(slots=True)
class Lane:
    """One sink's queue and what is on the way there."""

    writer: Writer
    clock: Clock
    name: str
    sink: Sink
    limits: Limits
    instance: str
    rng: random.Random
    templates: Templates
    zones: Mapping[str, str]
    _claimed: list[Delivery] = field(default_factory=list)
    _on_the_way: set[asyncio.Task[None]] = field(default_factory=set)
    _results: deque[_Result] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    def hint(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Take turns until stopped, then drain."""
        while not self._stopping:
            self._wake.clear()
            try:
                wait = await self._take_turn()
            except Exception:  # a lane that ends would be a sink that is never told again
                _log.exception("lane.turn_failed", sink=self.name)
                wait = POLL
            if wait > timedelta(0):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait.total_seconds())
        await self._drain()

    async def _take_turn(self) -> timedelta:
        """One turn; how long to wait for the next unless something happens."""
        free = self.limits.concurrency - len(self._on_the_way)
        room = free + self.limits.concurrency - len(self._claimed)
        if not (self._results or room > 0 or (self._claimed and free > 0)):
            return POLL
        results = [self._results.popleft() for _ in range(len(self._results))]
        try:
            turn = await self.writer.run(
                partial(self._turn, results=results, claimed=self._claimed, room=room, free=free)
            )
        except BaseException as error:
            self._results.extendleft(reversed(results))
            if isinstance(error, DatabaseUnavailable):
                return POLL
            raise
        self._claimed = turn.claimed
        for delivery in turn.marked:
            task = asyncio.create_task(self._send(delivery))
            self._on_the_way.add(task)  # asyncio itself keeps only weak references to tasks
            task.add_done_callback(self._came_back)
        return turn.wait

    def _came_back(self, task: asyncio.Task[None]) -> None:
        self._on_the_way.discard(task)
        self._wake.set()

    async def _drain(self) -> None:
        if self._on_the_way:
            _, late = await asyncio.wait(self._on_the_way, timeout=DRAIN_WITHIN.total_seconds())
            for task in late:  # stays `sending`, and says at the next start that it may repeat
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        results = list(self._results)
        try:
            await self.writer.run(partial(self._turn, results=results, claimed=[], room=0, free=0))
            await self.writer.run(partial(self._put_back, unsent=self._claimed))
        except Exception as error:  # leases end by themselves; the other lanes drain on
            _log.error("lane.not_drained", sink=self.name, results=len(results), error=type(error).__name__)
        await self.sink.aclose()

    # --- in the writer's transaction ---------------------------------------------------------------------------------

    def _turn(
        self, conn: Connection, *, results: list[_Result], claimed: list[Delivery], room: int, free: int
    ) -> _Turn:
        now = self.clock.now(conn)
        if results and self._record(conn, results, now):
            outbox.put_back(conn, claimed, now=now)
            return _Turn([], [], POLL)
        late = [item for item in claimed if item.expires_at is not None and item.expires_at <= now]
        outbox.put_back(conn, late, now=now)  # it is not claimed again, and its end is noted with that of others
        claimed = [item for item in claimed if item not in late]
        lease_until = now + self.limits.timeout + _LEASE_MARGIN
        new: list[Delivery] = []
        if room > 0:
            new = outbox.claim_due(
                conn, sink=self.name, now=now, lease_until=lease_until, instance=self.instance, limit=room
            )
        held = [*claimed, *new]
        marked = outbox.mark_sending(conn, held[:free], lease_until=lease_until)
        return _Turn(marked, held[free:], self._wait(conn, now, idle=not new))

    def _put_back(self, conn: Connection, *, unsent: list[Delivery]) -> None:
        outbox.put_back(conn, unsent, now=self.clock.now(conn))

    def _wait(self, conn: Connection, now: datetime, *, idle: bool) -> timedelta:
        if not idle:
            return timedelta(0)
        due = outbox.next_due(conn, self.name)
        if due is None or due <= now:  # nothing, or nothing that may be sent: full or paused
            return POLL
        return min(POLL, due - now)

    def _record(self, conn: Connection, results: list[_Result], now: datetime) -> bool:
        """Store what came back. Whether the lane is paused now."""
        steps = [
            next_step(
                result.outcome,
                attempts=result.delivery.attempts,
                now=now,
                schedule=self.limits.schedule,
                rng=self.rng,
            )
            for result in results
        ]
        outbox.record(conn, [_tried(result, step) for result, step in zip(results, steps, strict=True)], now=now)
        return self._note_condition(conn, results, steps, now)

    def _note_condition(self, conn: Connection, results: list[_Result], steps: list[Step], now: datetime) -> bool:
        """Keep the lane's row: failures in a row, and a pause where an answer asked for one. Whether it is paused.

        The longest pause asked for holds. Its reason stays until a try succeeds, so that one trouble is logged once.
        """
        lane = outbox.lane(conn, self.name)
        failures, until, reason = lane.failures, lane.paused_until, lane.reason
        for result, step in zip(results, steps, strict=True):
            failed = isinstance(result.outcome, Retry | Uncertain | AuthFailed | Gone)
            failures = failures + 1 if failed else 0
            if step.pause_lane is not None and (until is None or now + step.pause_lane > until):
                until, reason = now + step.pause_lane, step.reason
        paused = until is not None and until > now
        if not paused and failures == 0:
            until = reason = None
        if paused and reason != lane.reason:
            _log.warning("lane.paused", sink=self.name, reason=reason)
        if (failures, until, reason) != (lane.failures, lane.paused_until, lane.reason):
            outbox.set_lane(conn, self.name, failures=failures, paused_until=until, reason=reason)
        return paused

    # --- on the event loop -------------------------------------------------------------------------------------------

    async def _send(self, delivery: Delivery) -> None:
        started_at, started = datetime.now(UTC), time.monotonic()
        outcome = await self._deliver(delivery)
        took = timedelta(seconds=time.monotonic() - started)
        self._results.append(_Result(delivery, outcome, started_at, took))
        _log.info(
            "delivery.attempted",
            id=delivery.id,
            sink=self.name,
            transition=delivery.transition.value,
            outcome=type(outcome).__name__,
            milliseconds=round(took.total_seconds() * 1000),
        )

    async def _deliver(self, delivery: Delivery) -> Outcome:
        try:
            zone = self.zones.get(delivery.company)
            message = render(delivery, self.templates, present=delivery.present, zone=time_zone(zone) if zone else None)
        except Exception:
            _log.exception("delivery.not_rendered", id=delivery.id)
            return Rejected("the message could not be made; see the log for this delivery's id")
        try:
            async with asyncio.timeout(self.limits.timeout.total_seconds()):
                return await self.sink.deliver(message)
        except TimeoutError:
            return Uncertain("no answer in time")
        except Exception:
            _log.exception("delivery.sink_failed", id=delivery.id, sink=self.name)
            return Uncertain("the sink failed; see the log for this delivery's id")


def _tried(result: _Result, step: Step) -> Tried:
    return Tried(
        delivery=result.delivery,
        started_at=result.started_at,
        took=result.took,
        outcome=type(result.outcome).__name__.lower(),
        state=step.state,
        due_at=step.due_at,
        attempts=step.attempts,
        reason=step.reason,
        remote_id=step.remote_id,
    )
