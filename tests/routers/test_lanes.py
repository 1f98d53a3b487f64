"""Lanes: what follows from a sink's condition, and that all processes share it; one lane never disturbs another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers import lanes
from routers.dispatcher import Dispatcher, Limits
from routers.lanes import SHUT_AFTER, Condition
from routers.messages import Message
from routers.outcomes import AuthFailed, Delivered, Outcome, Retry
from routers.rates import Rate
from routers.retries import PAUSE, Policy
from routers.schema import DeliveryState
from routers.sinks.sink import Check, Sink
from routers.uncertain import OnUncertain
from tests.routers.dispatching import AT_ONCE, HOUR, World
from tests.routers.store import NOW, FixedClock, opened
from tests.routers.waiting import until

SECOND = timedelta(seconds=1)
IDLE = Condition("crm")


# --- failures and pauses: pure ---------------------------------------------------------------------------------------


def after_failures(count: int) -> tuple[Condition, list[timedelta]]:
    """The condition after *count* failures in a row, each as soon as it may be, and the rests between them."""
    condition, now, rests = IDLE, NOW, []
    for _ in range(count):
        condition = condition.failed(now, "HTTP 500")
        until = max(condition.paused_until or now, now)
        rests.append(until - now)
        now = until
    return condition, rests


def test_the_fifth_failure_in_a_row_shuts_the_lane_for_ever_longer_rests() -> None:
    """From five seconds, doubled each time, never longer than five minutes."""
    _, rests = after_failures(20)

    assert rests[:8] == [timedelta(seconds=seconds) for seconds in (0, 0, 0, 0, 5, 10, 20, 40)]
    assert max(rests) == rests[-1] == timedelta(minutes=5)
    assert rests == sorted(rests)


def test_a_shut_lane_sends_one_probe_and_its_success_opens_it() -> None:
    """Before that it has all its slots, and so it has afterwards."""
    almost, _ = after_failures(SHUT_AFTER - 1)
    shut, _ = after_failures(SHUT_AFTER)

    assert [condition.slots(8) for condition in (almost, shut, shut.answered(NOW))] == [8, 1, 8]
    assert IDLE.shut().slots(8) == 1


def test_what_was_on_the_way_when_the_lane_was_paused_says_nothing_new() -> None:
    """Eight that fail together are one failure's worth of rest, not eight."""
    shut, _ = after_failures(SHUT_AFTER)

    assert shut.failed(NOW, "HTTP 500") == shut
    assert Condition("crm", is_held=True).failed(NOW, "HTTP 500").failures == 0


@given(st.lists(st.timedeltas(min_value=timedelta(0), max_value=HOUR), min_size=1))
def test_the_longest_pause_holds(pauses: list[timedelta]) -> None:
    """Whatever the order in which they are asked for."""
    condition = IDLE
    for pause in pauses:
        condition = condition.paused(NOW + pause, str(pause))

    assert condition.paused_until == NOW + max(pauses)
    assert condition.reason == str(max(pauses))
    assert condition.is_paused(NOW) is (max(pauses) > timedelta(0))
    assert not condition.is_paused(NOW + max(pauses))


def test_a_reason_stays_until_the_sink_has_proved_well() -> None:
    """The pause may be over and the probe still out."""
    paused = IDLE.failed(NOW, "HTTP 429").paused(NOW + SECOND, "HTTP 429")

    assert paused.answered(NOW).reason == "HTTP 429"  # a success that was on the way already
    assert paused.failed(NOW + SECOND, "HTTP 429").reason == "HTTP 429"
    assert paused.answered(NOW + SECOND) == IDLE


def test_a_held_lane_keeps_its_reason() -> None:
    """It is paused without an end."""
    held = Condition("crm", is_held=True, reason="moving house")

    assert held.answered(NOW + 1000 * HOUR) == held
    assert held.paused(NOW + HOUR, "HTTP 429").reason == "moving house"  # of what was on the way when it was paused
    assert held.is_paused(NOW + 1000 * HOUR)


# --- tokens: pure ----------------------------------------------------------------------------------------------------

rates = st.builds(Rate, st.integers(1, 50), st.timedeltas(min_value=timedelta(milliseconds=1), max_value=HOUR))
steps = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 60)), max_size=40)


def sent(rate: Rate, steps: Sequence[tuple[float, int]]) -> list[tuple[timedelta, int]]:
    """When how many were sent by a lane that sends as many as it has tokens for, and at most as many as are there.

    Each step is a wait, in parts of the rate's time, and how many are there then.
    """
    condition, now, found = IDLE, NOW, []
    for wait, there in steps:
        now += rate.per * wait
        condition = condition.filled(rate, now)
        assert condition.tokens is not None
        count = min(int(condition.tokens), there)
        condition = condition.taken(count)
        found.append((now - NOW, count))
    return found


@given(rates, steps)
def test_in_no_time_more_is_sent_than_a_burst_and_what_the_rate_gives(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    """From any moment on: `count` at once, and `count` in each `per` that passes."""
    found = sent(rate, steps)
    for first in range(len(found)):
        total = 0
        for moment, count in found[first:]:
            total += count
            passed = (moment - found[first][0]) / rate.per
            assert total <= rate.count * (1 + passed) + 1e-6


@given(rates)
def test_a_token_is_there_when_it_is_said_to_be(rate: Rate) -> None:
    """The lane waits that long, to the microsecond, and neither too short nor for ever."""
    empty = IDLE.filled(rate, NOW).taken(rate.count)
    wait = empty.next_token(rate)
    tokens = empty.filled(rate, NOW + wait + timedelta(microseconds=1)).tokens

    assert tokens is not None
    assert tokens >= 1 or rate.per < timedelta(milliseconds=1)
    assert wait <= rate.per / rate.count + timedelta(microseconds=1)


@given(rates, st.timedeltas(min_value=timedelta(0), max_value=1000 * HOUR))
def test_a_clock_set_back_gives_no_tokens_and_takes_none(rate: Rate, back: timedelta) -> None:
    """The lane goes on from there at its rate."""
    some = IDLE.filled(rate, NOW).taken(rate.count)
    set_back = some.filled(rate, NOW - back)

    assert set_back.tokens == some.tokens
    assert set_back.filled(rate, NOW - back + rate.per).tokens == pytest.approx(rate.count)


def test_a_lane_without_a_rate_has_no_tokens_and_loses_those_of_an_earlier_one() -> None:
    """The rate was taken out of the file."""
    had = IDLE.filled(Rate(5, SECOND), NOW)

    assert IDLE.filled(None, NOW) == IDLE == had.filled(None, NOW)
    assert IDLE.next_token(None) == timedelta(0)


# --- on real databases -----------------------------------------------------------------------------------------------


@dataclass
class Refuses:
    """A sink that refuses one message, as a filter before a server does for what stands in it."""

    key: str = ""
    messages: list[str] = field(default_factory=list)

    async def check(self) -> Sequence[Check]:
        return []

    async def deliver(self, message: Message) -> Outcome:
        self.messages.append(message.key)
        return AuthFailed("HTTP 403") if message.key == self.key else Delivered()

    async def aclose(self) -> None:
        pass


@dataclass
class Takes:
    """A sink that takes everything, or answers *told* first; with a gate, only when that is open."""

    told: list[Outcome] = field(default_factory=list)
    gate: asyncio.Event | None = None
    messages: list[Message] = field(default_factory=list)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self) -> Sequence[Check]:
        return []

    async def deliver(self, message: Message) -> Outcome:
        self.messages.append(message)
        self.is_asked.set()
        if self.gate is not None:
            await self.gate.wait()
        return self.told.pop(0) if self.told else Delivered()

    async def aclose(self) -> None:
        pass

    @property
    def keys(self) -> list[str]:
        return [message.key for message in self.messages]


def lane_of(
    sink: Sink, *, concurrency: int = 2, rate: Rate | None = None, schedule: Sequence[timedelta] = AT_ONCE
) -> tuple[Sink, Limits]:
    return sink, Limits(concurrency, HOUR, Policy(tuple(schedule)), rate)


@asynccontextmanager
async def two_dispatchers(
    url: str, sink: Sink, clock: FixedClock | None = None, **limits: Any
) -> AsyncIterator[tuple[World, list[Dispatcher]]]:
    """Two of them on one database, each with the lane `crm` and one of its own, on connections of their own."""
    async with AsyncExitStack() as stack:
        dispatchers = []
        for number in (1, 2):
            world = World(stack.enter_context(opened(url)))
            sinks = {"crm": lane_of(sink, **limits), f"witness {number}": lane_of(Takes())}
            running = world.dispatching(sinks, clock=clock, instance=f"in_{number}")
            dispatchers.append(await stack.enter_async_context(running))
        yield world, dispatchers


async def both_have_had_a_turn(world: World, dispatchers: Sequence[Dispatcher], **about: Any) -> None:
    """Wait until each has delivered something that is put in only now, and has taken a turn of the lane since."""
    for _ in range(2):
        for number, dispatcher in enumerate(dispatchers, 1):
            await world.put(sink=f"witness {number}", **about)
            dispatcher.hint()
        for number in range(1, len(dispatchers) + 1):
            await world.all_are(DeliveryState.DELIVERED, f"witness {number}")


@pytest.mark.anyio
async def test_two_dispatchers_share_the_slots_of_a_sink(postgresql_url: str) -> None:
    """What one has on the way counts for the other."""
    sink = Takes(gate=asyncio.Event())
    async with two_dispatchers(postgresql_url, sink, concurrency=3) as (world, dispatchers):
        made = await world.put(count=20)
        await until(lambda: len(sink.keys) >= 3)
        await both_have_had_a_turn(world, dispatchers)
        assert len(sink.keys) == 3
        assert world.states().count("sending") == 3

        assert sink.gate is not None
        sink.gate.set()
        await world.all_are(DeliveryState.DELIVERED)
    assert Counter(sink.keys) == dict.fromkeys(made, 1)


@pytest.mark.anyio
async def test_two_dispatchers_share_the_tokens_of_a_sink(postgresql_url: str) -> None:
    """Five an hour are five, whoever sends them; the clock stands still until it is moved."""
    sink, clock, rate = Takes(), FixedClock(), Rate(5, HOUR)
    async with two_dispatchers(postgresql_url, sink, clock, rate=rate, concurrency=4) as (world, dispatchers):
        await world.put(count=12, now=NOW)
        await until(lambda: world.states().count("delivered") == 5)
        await both_have_had_a_turn(world, dispatchers, now=NOW)
        assert len(sink.keys) == 5

        clock.moment += HOUR * 2 / 5
        await until(lambda: world.states().count("delivered") == 7)
        await both_have_had_a_turn(world, dispatchers, now=NOW)
    assert len(sink.keys) == 7


@pytest.mark.anyio
async def test_a_pause_that_one_dispatcher_was_told_holds_for_the_other(postgresql_url: str) -> None:
    """It is the sink that asked, not the connection."""
    sink = Takes([Retry("HTTP 429", after=HOUR, whole_lane=True)])
    async with two_dispatchers(postgresql_url, sink, FixedClock(), concurrency=1) as (world, dispatchers):
        await world.put(count=6, now=NOW)
        await until(lambda: world.lane().paused_until is not None)
        await both_have_had_a_turn(world, dispatchers, now=NOW)

        assert len(sink.keys) == 1
        assert world.states() == ["pending"] * 6


@pytest.mark.anyio
async def test_one_probe_is_sent_to_a_sink_that_failed_however_many_dispatchers_there_are(postgresql_url: str) -> None:
    """Only its success lets the others go."""
    sink = Takes(gate=asyncio.Event())
    with opened(postgresql_url) as database, database.writing.begin() as conn:
        lanes.open_lane(conn, "crm")
        lanes.save_lane(conn, Condition("crm", failures=SHUT_AFTER))
    async with two_dispatchers(postgresql_url, sink, concurrency=4) as (world, dispatchers):
        await world.put(count=6)
        await sink.is_asked.wait()
        await both_have_had_a_turn(world, dispatchers)
        assert len(sink.keys) == 1

        assert sink.gate is not None
        sink.gate.set()
        await world.all_are(DeliveryState.DELIVERED)
        await until(lambda: world.lane().failures == 0)


@pytest.mark.anyio
async def test_a_message_that_is_always_refused_does_not_stop_its_sink_for_ever(database_url: str) -> None:
    """A 403 once meant five minutes' rest each time: one such message, due again when that was over, was an outage."""
    sink, clock = Refuses(), FixedClock()
    with opened(database_url) as database:
        world = World(database)
        (sink.key,) = await world.put(now=NOW)
        async with world.dispatching({"crm": lane_of(sink, schedule=[HOUR])}, clock=clock) as dispatcher:
            dispatcher.hint()
            await until(lambda: world.lane().paused_until is not None)
            (other,) = await world.put(now=NOW)
            clock.moment += PAUSE
            dispatcher.hint()
            await until(lambda: world.outcomes().count("authfailed") == 2)

            assert sink.messages == [sink.key, other, sink.key]
            assert not Condition("crm", paused_until=world.lane().paused_until).is_paused(clock.moment)
            refused = world.deliveries()[0]
            assert (refused.state, refused.attempts, refused.cause) == ("pending", 1, "not authorised")


@pytest.mark.anyio
async def test_an_idle_lane_with_a_rate_writes_nothing(database_url: str) -> None:
    """Its tokens were stored at every look, once a second for each such sink. They count from the last send."""
    sink = Takes()
    with opened(database_url) as database:
        world = World(database)
        sinks = {"crm": lane_of(sink, rate=Rate(2, HOUR)), "witness 1": lane_of(Takes())}
        async with world.dispatching(sinks) as dispatcher:
            await world.put()
            dispatcher.hint()
            await world.all_are(DeliveryState.DELIVERED)
            after_it = world.lane()
            await both_have_had_a_turn(world, [dispatcher])

            assert after_it.tokens == 1
            assert world.lane() == after_it


@pytest.mark.anyio
async def test_a_held_lane_sends_nothing_until_it_is_released(database_url: str) -> None:
    """Also what was claimed goes back; what arrives meanwhile waits."""
    sink = Takes()
    with opened(database_url) as database:
        world = World(database)
        await world.put(count=3)
        with database.writing.begin() as conn:
            assert lanes.hold(conn, "crm", "moving house")
            assert not lanes.hold(conn, "nobody", "moving house")
        async with world.dispatching({"crm": lane_of(sink), "witness 1": lane_of(Takes())}) as dispatcher:
            await both_have_had_a_turn(world, [dispatcher])
            assert (sink.keys, world.states()) == ([], ["pending"] * 3)
            assert (world.lane().held, world.lane().reason) == (True, "moving house")

            await asyncio.to_thread(_release, world)
            dispatcher.hint()
            await world.all_are(DeliveryState.DELIVERED)
            assert (world.lane().held, world.lane().reason) == (False, None)


def _release(world: World) -> None:
    with world.database.reading.begin() as conn:
        assert lanes.release(conn, "crm")


@pytest.mark.anyio
async def test_a_hundred_lanes_are_not_disturbed_by_one_that_hangs(database_url: str) -> None:
    """All that the others have is delivered while it has not given one answer."""
    hangs = Takes(gate=asyncio.Event())
    others = {f"sink {number}": Takes() for number in range(99)}
    with opened(database_url) as database:
        world = World(database)
        await world.put(sink="hangs", count=10)
        for name in others:
            await world.put(sink=name, count=2)
        sinks = {name: lane_of(sink) for name, sink in {"hangs": hangs, **others}.items()}
        async with world.dispatching(sinks):
            await until(lambda: delivered_beside(world, "hangs") == 198)
            assert world.states("hangs").count("delivered") == 0
            assert len(hangs.keys) == 2

            assert hangs.gate is not None
            hangs.gate.set()
            await world.all_are(DeliveryState.DELIVERED, "hangs")
    assert {len(sink.keys) for sink in others.values()} == {2}


def delivered_beside(world: World, sink: str) -> int:
    """How many have been delivered to all the others."""
    return sum(row.state == "delivered" for row in world.every_delivery() if row.sink != sink)


@pytest.mark.anyio
async def test_ten_thousand_of_one_company_do_not_delay_one_of_another(database_url: str) -> None:
    """By the number of those sent before it: what was claimed already, and its share of the turns."""
    sink = Takes()
    with opened(database_url) as database:
        world = World(database)
        await world.put(count=10_000, company="acme")
        (alone,) = await world.put(company="zeta")
        async with world.dispatching({"crm": lane_of(sink, concurrency=4)}) as dispatcher:
            await until(lambda: alone in sink.keys)
            dispatcher.stop()

    assert sink.keys.index(alone) < 4 * 4


@pytest.mark.anyio
async def test_companies_take_turns_where_more_waits_than_may_be_sent(database_url: str) -> None:
    """With one token a second, the oldest used to go first: a company with many kept the others waiting for hours."""
    sink, clock, rate = Takes(), FixedClock(), Rate(1, SECOND)
    companies = ("acme", "beta", "gamma")
    with opened(database_url) as database:
        world = World(database)
        for company in companies:
            await world.put(count=5, company=company, now=NOW)
        async with world.dispatching({"crm": lane_of(sink, rate=rate)}, clock=clock) as dispatcher:
            for count in range(1, 16):
                await until(lambda count=count: world.states().count("delivered") == count)  # type: ignore[misc]
                clock.moment += SECOND
                dispatcher.hint()

    told = [message.company for message in sink.messages]
    assert Counter(told) == dict.fromkeys(companies, 5)
    assert all(one != next_one for one, next_one in pairwise(told))


@pytest.mark.anyio
async def test_a_company_of_which_nothing_is_due_yet_costs_no_turn(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked in its turn and had nothing; the slot stayed free until the lane looked again, a second later."""
    sink, clock = Takes(), FixedClock()
    monkeypatch.setattr("routers.dispatcher.POLL", timedelta(hours=1))
    with opened(database_url) as database:
        world = World(database)
        await world.put(company="acme", now=NOW + timedelta(hours=1))
        await world.put(count=6, company="beta", now=NOW)
        limits = Limits(1, HOUR, Policy((HOUR,), OnUncertain.REPEAT))  # so that nothing is claimed ahead
        async with world.dispatching({"crm": (sink, limits)}, clock=clock):
            await until(lambda: world.states().count("delivered") == 6, longest=20)
