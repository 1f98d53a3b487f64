"""Several dispatchers on one PostgreSQL: each has lanes in which it comes first, and none waits for a dead one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.instances import ALIVE_FOR, Instance, beat
from routers.dispatcher import Limits
from routers.homes import dispatchers_alive, homes
from routers.messages import Message
from routers.outcomes import Delivered, Outcome
from routers.retries import Policy
from routers.sinks.sink import Check
from tests.routers.dispatching import HOUR, World
from tests.routers.store import opened, real_clock
from tests.routers.waiting import LONGEST

LANES = ("crm", "slack")

names = st.sets(st.text(min_size=1, max_size=5), max_size=8)


@given(lanes=names, dispatchers=names)
def test_lanes_are_dealt_out_evenly_and_by_all_in_the_same_way(lanes: set[str], dispatchers: set[str]) -> None:
    dealt = homes(lanes, dispatchers)
    assert dealt == homes(sorted(lanes, reverse=True), sorted(dispatchers))
    assert set(dealt) == (lanes if dispatchers else set())
    counts = [Counter(dealt.values())[each] for each in dispatchers]
    assert not counts or max(counts) - min(counts) <= 1


def test_who_takes_in_alone_or_was_silent_for_long_serves_no_lane(postgresql_url: str) -> None:
    with opened(postgresql_url) as database, database.writing.begin() as conn:
        now = real_clock(database).now(conn)
        for name, role, seen in (("in_1", "all", now), ("in_2", "dispatch", now), ("in_3", "intake", now)):
            beat(conn, Instance(name, role), now=seen)
        beat(conn, Instance("in_4", "dispatch"), now=now - ALIVE_FOR - timedelta(seconds=1))
        assert dispatchers_alive(conn, now) == {"in_1", "in_2"}


@dataclass
class Notes:
    """A sink that takes everything at once and notes which lane it came by."""

    keys: list[str] = field(default_factory=list)
    has_some: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(self, message: Message) -> Outcome:
        self.keys.append(message.key)
        self.has_some.set()
        return Delivered()

    async def check(self) -> Sequence[Check]:
        return []

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def dispatching(url: str, instance: str, *, others: Sequence[str] = ()) -> AsyncIterator[dict[str, Notes]]:
    """A dispatcher that is known to be alive as *others* are; its sinks."""
    with opened(url) as database:
        with database.writing.begin() as conn:
            for name in (instance, *others):
                beat(conn, Instance(name, "dispatch"), now=real_clock(database).now(conn))
        sinks = {lane: Notes() for lane in LANES}
        limits = Limits(2, HOUR, Policy((timedelta(0),)))
        async with World(database).dispatching(
            {name: (sink, limits) for name, sink in sinks.items()}, instance=instance
        ):
            yield sinks


async def put_until(world: World, event: asyncio.Event) -> int:
    """Let something wait in both lanes until *event*; how many were put into each."""
    count = 0
    deadline = time.monotonic() + LONGEST
    while not event.is_set():
        assert time.monotonic() < deadline
        states = await asyncio.to_thread(lambda: [world.states(lane) for lane in LANES])
        if min(each.count("pending") for each in states) < 100:
            for lane in LANES:
                await world.put(sink=lane, count=100)
            count += 100
    return count


@pytest.mark.anyio
async def test_a_second_dispatcher_gets_its_lanes_though_much_waits(postgresql_url: str) -> None:
    """The first, which had them all, never left a slot free that the second could have found."""
    async with AsyncExitStack() as stack:
        world = World(stack.enter_context(opened(postgresql_url)))
        first = await stack.enter_async_context(dispatching(postgresql_url, "in_1"))
        count = await put_until(world, first["slack"].has_some)
        second = await stack.enter_async_context(dispatching(postgresql_url, "in_2"))
        count += await put_until(world, second["slack"].has_some)
        await world.all_are_over(LANES)
        for lane in LANES:
            assert len({*first[lane].keys, *second[lane].keys}) == count
            assert len(first[lane].keys) + len(second[lane].keys) == count


@pytest.mark.anyio
async def test_a_lane_whose_home_is_dead_is_served_all_the_same(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap is left for it once, and then not again for long."""
    monkeypatch.setattr("routers.dispatcher.POLL", timedelta(milliseconds=1))  # so that it is known at once
    async with AsyncExitStack() as stack:
        world = World(stack.enter_context(opened(postgresql_url)))
        for lane in LANES:
            await world.put(sink=lane, count=400)
        sinks = await stack.enter_async_context(dispatching(postgresql_url, "in_1", others=["in_2"]))
        await world.all_are_over(LANES)
        assert [len(sinks[lane].keys) for lane in LANES] == [400, 400]
