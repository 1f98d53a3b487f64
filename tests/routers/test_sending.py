"""What a lane has claimed and not recorded: it leaves through the slots, and what waits for one may be taken back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, event, exc, select
from structlog.testing import capture_logs

from receiver.events import insert_events
from receiver.exceptions import DatabaseUnavailable
from receiver.writer import Writer
from routers.dispatcher import Limits
from routers.leases import Delivery
from routers.messages import Message
from routers.outcomes import Delivered, Outcome, Retry
from routers.rates import Rate
from routers.retries import Policy
from routers.schema import DeliveryState, deliveries
from routers.sending import Result, Sending
from routers.sinks.sink import Check, Prepared
from routers.templates import built_in_templates
from routers.uncertain import OnUncertain
from tests.routers.dispatching import HOUR, World
from tests.routers.store import FixedClock, a_delivery, opened
from tests.routers.waiting import LONGEST, until

pytestmark = pytest.mark.anyio

MOMENT = timedelta(milliseconds=200)


@dataclass
class Gated:
    """A sink that takes the first *free* messages at once, and each later one when its gate is opened."""

    free: int = 0
    keys: list[str] = field(default_factory=list)
    gates: list[asyncio.Future[Outcome]] = field(default_factory=list)
    has_come: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def deliver(self, message: Message) -> Outcome:
        self.keys.append(message.key)
        gate: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if len(self.keys) <= self.free:
            return Delivered()
        self.gates.append(gate)
        async with self.has_come:
            self.has_come.notify_all()
        return await gate

    async def came(self, count: int) -> None:
        """Wait until *count* have come."""
        async with self.has_come:
            await self.has_come.wait_for(lambda: len(self.keys) >= count)

    def open(self, outcome: Outcome | None = None) -> None:
        """Answer the oldest that waits."""
        self.gates.pop(0).set_result(outcome or Delivered())

    async def check(self) -> Sequence[Check]:
        return []

    async def aclose(self) -> None:
        pass


def sending_to(sink: Gated, *, slots: int = 2) -> Sending:
    return Sending("crm", sink, slots=slots, timeout=HOUR, templates=built_in_templates(), zones={})


def some(count: int) -> list[Delivery]:
    return [a_delivery({}, id=f"dl_{n}") for n in range(1, count + 1)]


def ids(found: Sequence[Delivery | Result]) -> list[str]:
    return [item.id if isinstance(item, Delivery) else item.delivery.id for item in found]


@pytest.fixture
def nothing_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a gate takes counts as at once."""
    monkeypatch.setattr("routers.sending._AT_ONCE", HOUR)


# --- the slots of one lane -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_slow")
async def test_what_waits_leaves_as_slots_get_free() -> None:
    """In the order in which it was claimed, and never more at once than there are slots."""
    sink = Gated()
    sending = sending_to(sink)
    sending.send(some(4))
    await sink.came(2)
    assert (sink.keys, sending.claimed) == (["dl_1", "dl_2"], 4)

    sink.open()
    await sink.came(3)
    assert (sink.keys, sending.claimed) == (["dl_1", "dl_2", "dl_3"], 3)
    assert not sending.wake.is_set()  # no slot stands empty, so the result may wait for others

    for _ in range(2):
        sink.open()
    await sink.came(4)
    sink.open()
    await sending.wake.wait()
    assert ids(sending.take_results()) == ["dl_1", "dl_2", "dl_3", "dl_4"]
    assert (sending.claimed, sending.has_results) == (0, False)


@pytest.mark.usefixtures("nothing_is_slow")
async def test_behind_what_was_not_taken_nothing_leaves_and_the_rest_is_taken_back() -> None:
    sink = Gated()
    sending = sending_to(sink)
    sending.send(some(5))
    await sink.came(2)

    sink.open(Retry("HTTP 503"))
    sink.open()
    await sending.wake.wait()

    assert sink.keys == ["dl_1", "dl_2"]
    assert ids(sending.take_results()) == ["dl_1", "dl_2"]
    assert ids(sending.take_back()) == ["dl_3", "dl_4", "dl_5"]
    assert (sending.claimed, sending.take_back()) == (0, [])


async def test_behind_what_took_long_nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits would be late: the object may have changed since it was claimed."""
    monkeypatch.setattr("routers.sending._AT_ONCE", timedelta(0))
    sink = Gated()
    sending = sending_to(sink, slots=1)
    sending.send(some(2))
    await sink.came(1)
    sink.open()
    await sending.wake.wait()
    assert (sink.keys, ids(sending.take_back())) == (["dl_1"], ["dl_2"])


@pytest.mark.usefixtures("nothing_is_slow")
async def test_after_a_turn_that_failed_the_same_is_recorded_and_given_back_and_told_once() -> None:
    sink = Gated(free=1)
    sending = sending_to(sink, slots=1)
    with capture_logs() as lines:
        sending.send(some(1))
        await sending.wake.wait()
        results = sending.take_results()
        sending.restore(results, some(3)[1:])
        assert sending.has_results
        assert (sending.take_results(), ids(sending.take_back())) == (results, ["dl_2", "dl_3"])
    assert [line["id"] for line in lines if line["event"] == "delivery.attempted"] == ["dl_1"]


async def test_all_are_written_before_the_first_is_sent() -> None:
    """A message that cannot be written is refused, and holds up no other."""
    done: list[str] = []

    class Writes(Gated):
        def prepare(self, message: Message) -> Prepared:
            done.append(f"{message.key} written")
            if message.key == "dl_2":
                raise RuntimeError("a bug")

            async def send() -> Outcome:
                done.append(f"{message.key} sent")
                return Delivered()

            return send

    sending = sending_to(Writes(), slots=3)
    sending.send(some(3))
    await sending.wake.wait()
    assert done == ["dl_1 written", "dl_2 written", "dl_3 written", "dl_1 sent", "dl_3 sent"]
    outcomes = {result.delivery.id: type(result.outcome).__name__ for result in sending.take_results()}
    assert outcomes == {"dl_1": "Delivered", "dl_2": "Rejected", "dl_3": "Delivered"}


async def test_what_a_turn_claimed_that_was_tried_again_is_not_given_back() -> None:
    """The second time it claims the same, under the same fences; of what it left out then, nothing is sent."""
    sink = Gated(free=9)
    sending = sending_to(sink)
    sending.write(some(3))
    sending.write(some(2))
    sending.send(some(2))
    await sending.wake.wait()
    assert (sink.keys, ids(sending.take_back()), sending.take_back()) == (["dl_1", "dl_2"], ["dl_3"], [])


# --- claimed ahead ---------------------------------------------------------------------------------------------------


def lane(
    sink: Gated, on_uncertain: OnUncertain = OnUncertain.RETRY, *, rate: Rate | None = None
) -> dict[str, tuple[Gated, Limits]]:
    return {"crm": (sink, Limits(2, HOUR, Policy((timedelta(0),), on_uncertain), rate))}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Once on SQLite and once on PostgreSQL, with twelve deliveries that are due."""
    with opened(database_url) as database:
        world = World(database)
        await world.put(count=12)
        yield world


@pytest.mark.usefixtures("nothing_is_slow")
async def test_where_a_sink_takes_all_at_once_twice_its_slots_are_claimed(world: World) -> None:
    """They leave through the slots all the same; at a stop what has not left is due as before."""
    sink = Gated(free=2)
    async with world.dispatching(lane(sink)) as dispatcher:
        await sink.came(4)
        await until(lambda: sorted(world.states()) == ["delivered"] * 2 + ["pending"] * 6 + ["sending"] * 4)
        assert len(sink.keys) == 4
        dispatcher.stop()
        for _ in range(2):
            sink.open()
    assert len(sink.keys) == 4
    assert sorted(world.states()) == ["delivered"] * 4 + ["pending"] * 8
    waiting = [row for row in world.deliveries() if row.state == DeliveryState.PENDING]
    assert {(row.attempts, row.lease_until, row.leased_by, row.may_repeat) for row in waiting} == {
        (0, None, None, False)
    }
    assert len(world.outcomes()) == 4


@pytest.mark.usefixtures("nothing_is_slow")
@pytest.mark.parametrize("on_uncertain", [OnUncertain.REPEAT, OnUncertain.HOLD])
async def test_where_a_repeat_would_be_seen_no_more_is_claimed_than_may_leave(
    world: World, on_uncertain: OnUncertain
) -> None:
    """After a kill, what was claimed is sent perhaps: a person would be told twice, or have to decide."""
    sink = Gated(free=2)
    async with world.dispatching(lane(sink, on_uncertain)):
        await sink.came(4)
        await until(lambda: sorted(world.states()) == ["delivered"] * 2 + ["pending"] * 8 + ["sending"] * 2)
        sink.free = 12
        for _ in range(2):
            sink.open()
        await world.all_are(DeliveryState.DELIVERED)


@pytest.mark.usefixtures("nothing_is_slow")
async def test_what_was_claimed_ahead_is_not_sent_to_a_sink_in_trouble(world: World) -> None:
    """A 429 rests the lane, and what had not left waits with the others, untried."""
    sink = Gated(free=2)
    async with world.dispatching(lane(sink)):
        await sink.came(4)
        sink.open(Retry("HTTP 429", after=HOUR, whole_lane=True))
        sink.open()
        await until(lambda: sorted(world.states()) == ["delivered"] * 3 + ["pending"] * 9)
        assert len(sink.keys) == 4
        assert world.lane().reason == "HTTP 429"
    assert sorted(row.attempts for row in world.deliveries()) == [0] * 8 + [1] * 4
    assert len(world.outcomes()) == 4


@pytest.mark.usefixtures("nothing_is_slow")
async def test_what_was_claimed_ahead_and_never_left_costs_no_token(world: World) -> None:
    """Each try costs one: of twelve an hour four are used up, and not the six that were claimed."""
    sink = Gated(free=2)
    async with world.dispatching(lane(sink, rate=Rate(12, HOUR)), clock=FixedClock(datetime.now(UTC))):
        await sink.came(4)
        await until(lambda: (world.states().count("sending"), world.lane().tokens) == (4, 6))
        sink.open(Retry("HTTP 429", after=HOUR, whole_lane=True))
        sink.open()
        await until(lambda: sorted(world.states()) == ["delivered"] * 3 + ["pending"] * 9)
        assert world.lane().tokens == 8


# --- written while the COMMIT is awaited -----------------------------------------------------------------------------


@dataclass
class Written(Gated):
    """A sink that says, also to another thread, what it has written."""

    written: list[str] = field(default_factory=list)
    has_written: threading.Event = field(default_factory=threading.Event)

    def prepare(self, message: Message) -> Prepared:
        self.written.append(message.key)
        self.has_written.set()
        return partial(self.deliver, message)


def at_the_first_claim(world: World, act: Callable[[Connection], None]) -> None:
    """Let *act* come between the first transaction that claims something and its COMMIT."""
    claimed = select(deliveries.c.id).where(deliveries.c.state == DeliveryState.SENDING.value).limit(1)
    waits = [act]

    def before_the_commit(conn: Connection) -> None:
        if waits and conn.execute(claimed).first() is not None:
            waits.pop()(conn)

    event.listen(world.database.writing, "commit", before_the_commit)


async def test_messages_are_written_while_their_claim_waits_for_its_commit(world: World) -> None:
    """And leave only after it: what is sent under a claim that is not durable may be sent again, and not say so."""
    sink = Written(free=12)
    seen: list[tuple[bool, int]] = []
    at_the_first_claim(world, lambda _: seen.append((sink.has_written.wait(LONGEST), len(sink.keys))))
    async with world.dispatching(lane(sink)):
        await world.all_are(DeliveryState.DELIVERED)
    assert seen == [(True, 0)]


def refuse(_conn: Connection) -> None:
    raise exc.OperationalError("COMMIT", None, Exception("the connection is gone"))


async def test_a_claim_whose_commit_does_not_come_sends_nothing(world: World) -> None:
    """Its messages were written for nothing: they are claimed, and written, once more."""
    sink = Written(free=12)
    at_the_first_claim(world, refuse)
    async with world.dispatching(lane(sink)):
        await world.all_are(DeliveryState.DELIVERED)
    assert len(sink.keys) == len(set(sink.keys)) == 12
    assert len(sink.written) == 12 + 2
    assert {row.fence for row in world.deliveries()} == {1}


def commit_and_lose_the_answer(conn: Connection) -> None:
    conn.connection.commit()
    refuse(conn)


@pytest.mark.parametrize("on_uncertain", OnUncertain)
async def test_a_claim_whose_commit_came_though_nobody_was_told_is_given_back(
    world: World, on_uncertain: OnUncertain
) -> None:
    """They were `sending` until their lease ended, an hour here, and then came as repeats or were kept as uncertain."""
    sink = Written(free=12)
    at_the_first_claim(world, commit_and_lose_the_answer)
    async with world.dispatching(lane(sink, on_uncertain)):
        await world.all_are(DeliveryState.DELIVERED)
    assert len(sink.keys) == len(set(sink.keys)) == 12
    assert sorted(row.fence for row in world.deliveries()) == [1] * 10 + [2] * 2
    assert not any(row.may_repeat for row in world.deliveries())


async def test_a_claim_that_is_committed_after_it_was_given_up_is_given_back(world: World) -> None:
    """Nobody waits for that turn any more, and so nobody sends what it has claimed."""
    sink = Written(free=12)
    writer = Writer(world.database, insert_events, stalled_after=MOMENT, functions_stalled_after=MOMENT)
    stalls, is_given_up = threading.Event(), threading.Event()

    def stall(_conn: Connection) -> None:
        stalls.set()
        is_given_up.wait(LONGEST)

    at_the_first_claim(world, stall)
    async with world.dispatching(lane(sink), writer=writer):
        await until(stalls.is_set)
        with pytest.raises(DatabaseUnavailable):  # given up together with the turn
            await writer.run(lambda _: None)
        is_given_up.set()
        await world.all_are(DeliveryState.DELIVERED)
    assert len(sink.keys) == len(set(sink.keys)) == 12
    assert not any(row.may_repeat for row in world.deliveries())
