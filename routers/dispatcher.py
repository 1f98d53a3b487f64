"""The dispatcher: a lane a sink, each sending as fast as its sink allows and hurting no other.

A lane takes turns. A turn is one transaction that records what came back and claims as `sending` what leaves next.
While one turn waits for its COMMIT the next results gather, so the batches grow with the load by themselves. A result
waits a moment for those that are still on the way: a turn costs as much as three sends, however few it is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

from sqlalchemy import Connection

from receiver.clock import Clock
from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from receiver.writer import Writer
from routers import lanes, leases, outbox
from routers.amending import tell_with_firsts, with_stories
from routers.homes import dispatchers_alive, homes
from routers.lanes import Condition
from routers.leases import Delivery, Tried
from routers.ordering import let_pass, promote_forgotten
from routers.rates import Rate
from routers.retries import GONE, NOT_AUTHORISED, Policy, Step, next_step
from routers.sending import Result, Sending
from routers.sinks.sink import Sink
from routers.templates import Templates, built_in_templates
from routers.uncertain import OnUncertain

_log = get_logger(__name__)

POLL = timedelta(seconds=1)
_YIELD = timedelta(seconds=1.5)  # so long that who polls looks meanwhile
_YIELD_EVERY = timedelta(seconds=30)
_IDLE = timedelta(minutes=1)  # of a lane in which nothing waits: the dispatcher looks for all of those at once
RETURN_EVERY = timedelta(seconds=5)
LOOK_FOR_FORGOTTEN_EVERY = timedelta(minutes=1)
DRAIN_WITHIN = timedelta(seconds=5)
_LEASE_MARGIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Limits:
    """How a lane treats its sink.

    *holds_back*: for how long a delivery that is tried again holds back later ones about the same person.
    """

    concurrency: int
    timeout: timedelta
    policy: Policy
    rate: Rate | None = None
    holds_back: timedelta = timedelta(minutes=2)


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
            Lane(
                writer,
                clock,
                name,
                limits,
                instance,
                rng,
                Sending(name, sink, slots=limits.concurrency, timeout=limits.timeout, templates=templates, zones=zones),
            )
            for name, (sink, limits) in sinks.items()
        ]
        self._is_alone = False
        self._stopping = asyncio.Event()
        self._look_for_forgotten_at = time.monotonic() + LOOK_FOR_FORGOTTEN_EVERY.total_seconds()

    async def start(self, *, alone: bool) -> None:
        """Open the lanes and put back what earlier holders left; all of it when this process is *alone*."""
        self._is_alone = alone

        def open_lanes(conn: Connection) -> int:
            for lane in self._lanes:
                lanes.open_lane(conn, lane.name)
                lane.is_alone = alone
            promote_forgotten(conn)
            return self._return_leases(conn, self._clock.now(conn), everything=alone)

        returned = await self._writer.run(open_lanes)
        if returned:
            _log.info("dispatcher.leases_returned", deliveries=returned)

    def hint(self, sinks: Collection[str] | None = None) -> None:
        """There may be something to send to *sinks*, or to any where None."""
        for lane in self._lanes:
            if sinks is None or lane.name in sinks:
                lane.hint()

    async def run(self) -> None:
        """Send until `stop`, then let what is on the way come back."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())
            group.create_task(self._look_around())
            group.create_task(self._keep_tidy())

    def stop(self) -> None:
        """Claim nothing further; `run` ends when what is on the way is recorded, at the latest after 10 seconds."""
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()

    def _return_leases(self, conn: Connection, now: datetime, *, everything: bool = False) -> int:
        on_uncertain = {lane.name: lane.limits.policy.on_uncertain for lane in self._lanes}
        return leases.return_leases(conn, now=now, everything=everything, on_uncertain=on_uncertain)

    def _tidy_up(self, conn: Connection) -> bool:
        """One transaction's worth of it; whether there is more."""
        now = self._clock.now(conn)
        self._return_leases(conn, now)
        let_pass(conn, now=now)
        if expired := outbox.expire(conn, now=now):
            _log.info("dispatcher.deliveries_expired", deliveries=expired)
        if time.monotonic() >= self._look_for_forgotten_at:
            self._look_for_forgotten_at = time.monotonic() + LOOK_FOR_FORGOTTEN_EVERY.total_seconds()
            if forgotten := promote_forgotten(conn):
                _log.warning("dispatcher.forgotten_promoted", deliveries=forgotten)
        return expired == outbox.MOST_EXPIRED

    async def _look_around(self) -> None:
        """Wake idle lanes in which something is due that nobody has told of, for another process made it; and let
        each lane know whether this process comes first there."""
        while not await self._is_stopped_within(POLL):
            try:
                await self._look_for_idle_lanes()
                if not self._is_alone:
                    await self._look_for_others()
            except DatabaseUnavailable:
                pass  # the writer has said so
            except Exception:  # it must not end the lanes
                _log.exception("dispatcher.not_looked_around")

    async def _look_for_idle_lanes(self) -> None:
        if idle := [lane.name for lane in self._lanes if lane.is_idle]:
            self.hint(await self._writer.run(lambda conn: leases.due_of(conn, idle, now=self._clock.now(conn))))

    async def _look_for_others(self) -> None:
        others = await self._writer.run(lambda conn: dispatchers_alive(conn, self._clock.now(conn)))
        at_home = homes([lane.name for lane in self._lanes], {*others, self._instance})
        for lane in self._lanes:
            lane.is_at_home = at_home[lane.name] == self._instance

    async def _is_stopped_within(self, wait: timedelta) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait.total_seconds())
        return self._stopping.is_set()

    async def _keep_tidy(self) -> None:
        """Return leases that ran out and end what nobody wants to hear of any more."""
        while not await self._is_stopped_within(RETURN_EVERY):
            try:
                # At once again: what has expired stands before the due in its lane, and is looked at by each claim.
                while await self._writer.run(self._tidy_up) and not self._stopping.is_set():
                    pass
            except DatabaseUnavailable:
                pass  # the writer has said so
            except Exception:  # it must not end the lanes beside it
                _log.exception("dispatcher.not_tidied")


@dataclass(slots=True)
class _Turn:
    """What a turn tells its lane: what is to be sent now, and how long nothing else is due.

    *had_its_turn*: where more waits than was claimed, the company that was last. *is_open*: the lane is not paused.
    """

    claimed: list[Delivery]
    wait: timedelta
    had_its_turn: str | None = None
    is_open: bool = True


@dataclass(slots=True)
class Lane:
    """One sink's queue and what is on the way there.

    *is_alone*: no other process sends to the sink. *is_at_home*: none that does comes first here (`routers.homes`).
    *is_idle*: nothing waited at its last turn.
    """

    writer: Writer
    clock: Clock
    name: str
    limits: Limits
    instance: str
    rng: random.Random
    sending: Sending
    is_alone: bool = False
    is_at_home: bool = True
    is_idle: bool = False
    _had_its_turn: str | None = None
    _is_hinted: bool = False
    _yields_until: float = 0.0
    _yields_again_at: float = 0.0
    _stopping: bool = False

    @property
    def has_free_slot(self) -> bool:
        return self.sending.claimed < self.limits.concurrency

    def hint(self) -> None:
        """Something may be due: it is looked for now, or when a slot gets free."""
        self._is_hinted = True
        if self.has_free_slot:
            self.sending.wake.set()

    def stop(self) -> None:
        self._stopping = True
        self.sending.halt()
        self.sending.wake.set()

    async def run(self) -> None:
        """Take turns until stopped, then drain."""
        while not self._stopping:
            self._is_hinted = False
            self.sending.wake.clear()
            try:
                wait = await self._take_turn()
            except Exception:  # a lane that ends would be a sink that is never told again
                _log.exception("lane.turn_failed", sink=self.name)
                wait = POLL
            if wait > timedelta(0) and not self._stopping and not (self._is_hinted and self.has_free_slot):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait.total_seconds()):
                        await self.sending.wake.wait()
        await self._drain()

    async def _take_turn(self) -> timedelta:
        """One turn; how long to wait for the next unless something happens."""
        sending = self.sending
        if not (sending.has_results or self.has_free_slot):
            return POLL
        results, taken_back = sending.take_results(), sending.take_back()
        yields = time.monotonic() < self._yields_until
        loop = asyncio.get_running_loop()
        function = partial(
            self._turn,
            results=results,
            taken_back=taken_back,
            # Counted now: what comes back while the turn waits is not recorded in it, and still holds its slot.
            claimed=sending.claimed,
            yields=yields,
            write=lambda claimed: loop.call_soon_threadsafe(sending.write, claimed),
        )
        try:
            turn = await self.writer.run(function)
        except BaseException as error:
            sending.restore(results, taken_back)
            if isinstance(error, DatabaseUnavailable):
                return POLL
            raise
        self._had_its_turn = turn.had_its_turn
        self.is_idle = turn.wait == _IDLE
        if turn.claimed and turn.had_its_turn is not None and not self.is_at_home:  # more waits than it could claim
            self._leave_a_gap(time.monotonic())
        if not turn.is_open:
            sending.halt()
        sending.send(turn.claimed)
        return POLL if sending.claimed and not turn.wait else turn.wait

    def _leave_a_gap(self, now: float) -> None:
        """Claim nothing for a moment; not again for long, for where nobody has used it nobody else may serve this."""
        if now >= self._yields_again_at:
            self._yields_until = now + _YIELD.total_seconds()
            self._yields_again_at = now + _YIELD_EVERY.total_seconds()

    async def _drain(self) -> None:
        sending = self.sending
        await sending.drain(DRAIN_WITHIN)
        results, taken_back = sending.take_results(), sending.take_back()
        try:
            await self.writer.run(partial(self._last_turn, results=results, taken_back=taken_back))
        except Exception as error:  # leases end by themselves; the other lanes drain on
            _log.error("lane.not_drained", sink=self.name, results=len(results), error=type(error).__name__)
        try:
            await sending.aclose()
        except Exception:  # or it would break off the others' draining
            _log.exception("lane.sink_not_closed", sink=self.name)

    # --- in the writer's transaction ---------------------------------------------------------------------------------

    def _turn(
        self,
        conn: Connection,
        *,
        results: Sequence[Result],
        taken_back: Sequence[Delivery],
        claimed: int,
        yields: bool,
        write: Callable[[list[Delivery]], object],
    ) -> _Turn:
        """Record, see what the lane allows, and claim. It may be undone, so it changes nothing in memory.

        Args:
            write: Told what is claimed, just before the COMMIT. It may be called again, where the turn is tried again.
        """
        now = self.clock.now(conn)
        stored, condition = self._settle(conn, results, taken_back, now)
        filled = condition.filled(self.limits.rate, now)
        if condition.is_paused(now):
            turn = self._paused(condition, now)
        elif yields:
            turn = _Turn([], POLL, self._had_its_turn)
        else:
            turn = self._claim(conn, filled, now, claimed, self._ahead(condition, results))
        if turn.claimed:  # tokens that time alone has brought are not stored: an idle lane would write all day
            condition = filled.taken(len(turn.claimed))
        if condition.is_paused(now) and condition.reason != stored.reason:
            _log.warning("lane.paused", sink=self.name, reason=condition.reason)
        if condition != stored:
            lanes.save_lane(conn, condition)
        if turn.claimed:
            write(turn.claimed)
        return turn

    def _last_turn(self, conn: Connection, *, results: Sequence[Result], taken_back: Sequence[Delivery]) -> None:
        stored, condition = self._settle(conn, results, taken_back, self.clock.now(conn))
        if condition != stored:
            lanes.save_lane(conn, condition)

    def _settle(
        self, conn: Connection, results: Sequence[Result], taken_back: Sequence[Delivery], now: datetime
    ) -> tuple[Condition, Condition]:
        """Store what came back, and put back what never left; the lane's condition before it and after it."""
        stored = lanes.lock_lane(conn, self.name)
        condition = self._record(conn, stored, results, now)
        given_back = leases.give_back(conn, taken_back, instance=self.instance)
        return stored, condition.refunded(given_back)

    def _ahead(self, condition: Condition, results: Sequence[Result]) -> int:
        """How many more than there are slots may be claimed: where the sink drops repeats, and took all in at once.

        A process that is killed leaves what it had claimed as sent perhaps.
        """
        is_safe = self.limits.policy.on_uncertain is OnUncertain.RETRY and not condition.is_shut
        is_quick = bool(results) and all(result.was_taken_at_once for result in results)
        return self.limits.concurrency if is_safe and is_quick else 0

    def _paused(self, condition: Condition, now: datetime) -> _Turn:
        until = POLL if condition.is_held or condition.paused_until is None else condition.paused_until - now
        return _Turn([], min(POLL, until), self._had_its_turn, is_open=False)

    def _claim(self, conn: Connection, condition: Condition, now: datetime, claimed: int, ahead: int) -> _Turn:
        room = self._room(conn, condition, claimed, ahead)
        if not room:  # while nothing may be sent, nobody loses their turn
            return _Turn([], self._wait(conn, condition, now), self._had_its_turn)
        claim = partial(
            leases.claim_due,
            conn,
            sink=self.name,
            now=now,
            lease_until=now + self.limits.timeout + _LEASE_MARGIN,
            instance=self.instance,
        )
        due = claim(limit=room, after=self._had_its_turn)
        if len(due) < room and self._had_its_turn is not None:  # those whose turn it was may have nothing that is due
            due += claim(limit=room - len(due))
        if len(due) == room:
            return _Turn(with_stories(conn, due), timedelta(0), due[-1].company)
        # Whatever is on the way wakes the lane when it comes back, so the question need not be asked.
        wait = POLL if due or claimed else self._wait(conn, condition, now)
        return _Turn(with_stories(conn, due), wait)

    def _room(self, conn: Connection, condition: Condition, claimed: int, ahead: int) -> int:
        """How many may be claimed now. What others have claimed may all be on the way, and leaves room for no more."""
        slots = condition.slots(self.limits.concurrency)
        elsewhere = 0 if self.is_alone else lanes.claimed_elsewhere(conn, self.name, self.instance)
        free = max(slots + (0 if elsewhere else ahead) - claimed - elsewhere, 0)
        return free if condition.tokens is None else min(free, max(int(condition.tokens), 0))

    def _wait(self, conn: Connection, condition: Condition, now: datetime) -> timedelta:
        due = leases.next_due(conn, self.name)
        if due is None:
            return _IDLE
        wait = max(due - now, condition.next_token(self.limits.rate))
        return min(wait, POLL) if wait > timedelta(0) else POLL  # something is due and all slots are taken

    def _record(self, conn: Connection, condition: Condition, results: Sequence[Result], now: datetime) -> Condition:
        """Store what came back; the lane's condition after it."""
        if not results:
            return condition
        tried = []
        for result in results:
            delivery = result.delivery
            step = next_step(
                result.outcome,
                attempts=delivery.attempts,
                now=now,
                policy=self.limits.policy,
                rng=self.rng,
                may_repeat=delivery.may_repeat,
                is_alone=delivery.cause in (NOT_AUTHORISED, GONE) and not condition.is_shut,
            )
            tried.append(self._tried(result, step, now))
            condition = _after(condition, step, now)
        leases.record(conn, tried, now=now)
        tell_with_firsts(conn, tried, now=now)
        return condition

    def _tried(self, result: Result, step: Step, now: datetime) -> Tried:
        delivery = result.delivery
        blocks, blocks_until = delivery.blocks, delivery.blocks_until
        if blocks and (step.attempts > delivery.attempts or step.is_silent):  # it did get its chance
            blocks_until = blocks_until or now + self.limits.holds_back
        blocks = blocks and (blocks_until is None or blocks_until > now)  # others may have been let past meanwhile
        return Tried(
            delivery=delivery,
            started_at=result.started_at,
            took=result.took,
            outcome=type(result.outcome).__name__.lower(),
            state=step.state,
            due_at=step.due_at,
            attempts=step.attempts,
            reason=step.reason,
            remote_id=step.remote_id,
            may_repeat=step.may_repeat,
            done=step.done or delivery.done,
            cause=step.cause,
            blocks=blocks,
            blocks_until=blocks_until if blocks else None,
        )


def _after(condition: Condition, step: Step, now: datetime) -> Condition:
    """The lane's condition after *step*."""
    if step.shuts_lane:
        condition = condition.shut()
    elif step.blames_sink:
        condition = condition.failed(now, step.reason)
    elif step.pause_lane is None and not step.is_silent:
        condition = condition.answered(now)
    return condition if step.pause_lane is None else condition.paused(now + step.pause_lane, step.reason)
