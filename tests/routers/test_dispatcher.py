"""The dispatcher with real sinks on loopback and both databases: what is sent, how often, and what holds it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from routers import leases
from routers.dispatcher import Dispatcher, Limits
from routers.lanes import SHUT_AFTER
from routers.messages import Message
from routers.outcomes import Delivered, Outcome
from routers.retries import Policy
from routers.schema import DeliveryState, attempts, deliveries
from routers.sinks.sink import Check, Sink
from tests.fakes.destination import (
    Behaviour,
    Destination,
    answer,
    break_off_in_the_body,
    close,
    hang,
    redirect,
    reset,
    running_destination,
    talk_nonsense,
)
from tests.fakes.receiver_of_webhooks import SECRET, answer_when, first, ids_of, times_arrived
from tests.routers.dispatching import AT_ONCE, HOUR, World, to
from tests.routers.store import NOW, FixedClock, opened, put_deliveries, real_clock, rows_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Once on SQLite and once on PostgreSQL."""
    with opened(database_url) as database:
        yield World(database)


# --- one delivery ----------------------------------------------------------------------------------------------------


async def test_a_500_and_then_a_200_is_one_delivery_of_two_tries(world: World, destination: Destination) -> None:
    """The second try has the id of the first, and both are listed."""
    destination.behaves(answer(500, body=b"oops"), answer(200))
    (made,) = await world.put()

    async with world.dispatching({"crm": to(destination)}):
        await world.all_are(DeliveryState.DELIVERED)

    (row,) = world.deliveries()
    assert ids_of(destination.requests) == [made, made]
    assert (row.attempts, row.reason, row.lease_until) == (2, "HTTP 200", None)
    assert [(attempt.outcome, attempt.reason) for attempt in rows_of(world.database, attempts)] == [
        ("retry", "HTTP 500: oops"),
        ("delivered", "HTTP 200"),
    ]


async def test_each_of_many_is_sent_once(world: World, destination: Destination) -> None:
    """More than a batch, more than the sink takes at once, each arrives once."""
    made = await world.put(count=50)

    async with world.dispatching({"crm": to(destination, concurrency=8)}):
        await world.all_are(DeliveryState.DELIVERED)

    assert times_arrived(destination.requests) == dict.fromkeys(made, 1)


async def test_never_more_are_on_the_way_than_the_sink_takes(world: World, destination: Destination) -> None:
    """With three at once, the fourth is sent only when one has come back."""
    released = asyncio.Event()
    destination.behaves(answer_when(released))
    await world.put(count=7)

    async with world.dispatching({"crm": to(destination, concurrency=3)}):
        await destination.received(3)
        await until(lambda: sorted(world.states()) == ["pending"] * 4 + ["sending"] * 3)
        assert len(destination.requests) == 3
        released.set()
        await world.all_are(DeliveryState.DELIVERED)


async def test_what_comes_later_is_sent_at_a_hint(world: World, destination: Destination) -> None:
    """An idle lane wakes for a delivery put into the outbox while it runs."""
    async with world.dispatching({"crm": to(destination)}) as dispatcher:
        (first_made,) = await world.put()
        dispatcher.hint()
        await world.all_are(DeliveryState.DELIVERED)
        (second_made,) = await world.put()
        await world.all_are(DeliveryState.DELIVERED)  # and without one, by polling

    assert ids_of(destination.requests) == [first_made, second_made]


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(reset, id="resets-after-reading"),
        pytest.param(close, id="closes"),
        pytest.param(talk_nonsense, id="speaks-another-protocol"),
        pytest.param(break_off_in_the_body, id="breaks-off"),
    ],
)
async def test_a_lost_answer_is_uncertain_and_sent_again_under_the_same_id(
    world: World, destination: Destination, behaviour: Behaviour
) -> None:
    """The receiver may have acted on the first, and can tell by the id."""
    destination.behaves(behaviour, answer(200))
    (made,) = await world.put()

    async with world.dispatching({"crm": to(destination)}):
        await world.all_are(DeliveryState.DELIVERED)

    assert ids_of(destination.requests) == [made, made]
    assert world.outcomes() == ["uncertain", "delivered"]


async def test_a_reset_after_accept_is_uncertain_and_sent_again(world: World, destination: Destination) -> None:
    """Before a byte was read; the second connection is served."""
    destination.on_accept(first(reset, lambda: destination.on_accept(None)))
    (made,) = await world.put()

    async with world.dispatching({"crm": to(destination)}):
        await world.all_are(DeliveryState.DELIVERED)

    assert destination.connections == 2
    assert ids_of(destination.requests) == [made]
    assert world.outcomes() == ["uncertain", "delivered"]


async def test_a_redirect_is_a_dead_letter(world: World, destination: Destination) -> None:
    """Refused for good at the first try; nothing goes to where it points."""
    destination.behaves(redirect(f"{destination.url}/elsewhere"))
    await world.put()

    async with world.dispatching({"crm": to(destination)}):
        await world.all_are(DeliveryState.DEAD)

    (row,) = world.deliveries()
    assert (row.attempts, row.reason) == (1, "rejected: HTTP 307: redirects are not followed")
    assert len(destination.requests) == 1


async def test_after_the_last_wait_a_delivery_is_a_dead_letter(world: World, destination: Destination) -> None:
    """One try more than the schedule has waits, and the reason says how many and why."""
    destination.behaves(answer(500))
    (made,) = await world.put()

    async with world.dispatching({"crm": to(destination, schedule=AT_ONCE[:2])}):
        await world.all_are(DeliveryState.DEAD)

    (row,) = world.deliveries()
    assert (row.attempts, row.reason) == (3, "gave up after 3 tries: HTTP 500")
    assert row.finished_at is not None
    assert ids_of(destination.requests) == [made] * 3


async def test_a_message_that_cannot_be_made_is_a_dead_letter_and_holds_up_nobody(
    world: World, destination: Destination
) -> None:
    """Fields no version of ours ever wrote: nothing is sent, and the reason says where to look."""
    (broken,) = await world.put(fields=["no fields"])
    (good,) = await world.put()

    async with world.dispatching({"crm": to(destination)}):
        await until(lambda: sorted(world.states()) == [DeliveryState.DEAD, DeliveryState.DELIVERED])

    reasons = {row.id: row.reason for row in world.deliveries()}
    assert reasons[broken].startswith("rejected: the message could not be made")
    assert ids_of(destination.requests) == [good]


async def test_a_sink_with_a_bug_is_uncertain_and_its_lane_goes_on(world: World) -> None:
    """Whatever it raises, the delivery is kept and tried again; and at the end it breaks off nothing."""

    class FailsOnce:
        def __init__(self) -> None:
            self.keys: list[str] = []

        async def check(self) -> Sequence[Check]:
            return []

        async def deliver(self, message: Message) -> Outcome:
            self.keys.append(message.key)
            if len(self.keys) == 1:
                raise RuntimeError("a bug")
            return Delivered()

        async def aclose(self) -> None:
            raise RuntimeError("another bug")

    sink = FailsOnce()
    (made,) = await world.put()

    async with world.dispatching({"crm": (sink, Limits(1, HOUR, Policy(AT_ONCE)))}):
        await world.all_are(DeliveryState.DELIVERED)

    assert sink.keys == [made, made]
    assert world.outcomes() == ["uncertain", "delivered"]


async def test_what_comes_back_together_is_recorded_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction for all of it, and the last does not wait for others that are not on the way."""
    monkeypatch.setattr("routers.sending._GATHER", HOUR)

    class OneAfterAnother:
        calls = 0

        async def check(self) -> Sequence[Check]:
            return []

        async def deliver(self, message: Message) -> Outcome:
            self.calls += 1
            await asyncio.sleep(0.01 * self.calls)
            return Delivered()

        async def aclose(self) -> None:
            pass

    await world.put(count=5)

    async with world.dispatching({"crm": (OneAfterAnother(), Limits(8, HOUR, Policy(AT_ONCE)))}):
        await world.all_are(DeliveryState.DELIVERED)

    assert len({row.finished_at for row in world.deliveries()}) == 1


async def test_one_that_hangs_holds_up_no_other_of_its_lane(world: World, destination: Destination) -> None:
    """What came back does not wait for it, nor do those that wait for a slot."""
    destination.behaves(hang, answer(200))
    await world.put(count=20)

    async with world.dispatching({"crm": to(destination, concurrency=2, timeout=timedelta(seconds=5))}):
        await until(lambda: world.states().count(DeliveryState.DELIVERED) == 19)
        assert world.states().count(DeliveryState.SENDING) == 1
        await destination._end()  # its connection breaks, so that the lane need not wait for its timeout


# --- one lane among others -------------------------------------------------------------------------------------------


async def test_a_lane_without_anything_asks_for_nothing(
    world: World, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred of them would each take a turn a second. What another process makes is found all the same."""
    monkeypatch.setattr("routers.dispatcher.POLL", timedelta(milliseconds=20))
    claims: list[str] = []
    claim_due = leases.claim_due

    def claim(*args: Any, sink: str, **options: Any) -> list[leases.Delivery]:
        claims.append(sink)
        return claim_due(*args, sink=sink, **options)

    monkeypatch.setattr(leases, "claim_due", claim)

    async with world.dispatching({"crm": to(destination), "quiet": to(destination)}):
        for _ in range(5):
            await world.put()
            await world.all_are(DeliveryState.DELIVERED)
        assert claims.count("quiet") == 1
        await world.put(sink="quiet")
        await world.all_are(DeliveryState.DELIVERED, "quiet")


async def test_a_sink_that_hangs_hurts_no_other(world: World, destination: Destination) -> None:
    """While all it takes are on the way there, another lane delivers everything it has."""
    async with running_destination() as hanging:
        hanging.behaves(hang)
        await world.put(sink="slow", count=5)
        await world.put(count=30)
        sinks = {"slow": to(hanging, concurrency=2), "crm": to(destination, concurrency=2)}

        async with world.dispatching(sinks):
            await hanging.received(2)
            await world.all_are(DeliveryState.DELIVERED)
            assert world.states("slow").count(DeliveryState.SENDING) == 2
            assert len(hanging.requests) == 2
            hanging.behaves(answer(200))
            await hanging._end()  # its connections break, so that the lane need not wait for its timeout
            await world.all_are(DeliveryState.DELIVERED, "slow")


async def test_a_sink_that_hangs_is_given_up_in_time_and_tried_again(world: World, destination: Destination) -> None:
    """No answer in time is uncertain: it may have arrived."""
    destination.behaves(hang, answer(200))
    (made,) = await world.put()

    async with world.dispatching({"crm": to(destination, timeout=timedelta(seconds=2))}):
        await world.all_are(DeliveryState.DELIVERED)

    assert ids_of(destination.requests) == [made, made]
    assert world.outcomes() == ["uncertain", "delivered"]


async def absence_is_shown(
    world: World, stack: AsyncExitStack, sinks: dict[str, tuple[Sink, Limits]]
) -> Callable[[Dispatcher], Awaitable[None]]:
    """Adds a second sink; what is returned waits until that has delivered something put in only then."""
    witness = await stack.enter_async_context(running_destination())
    sinks["witness"] = to(witness)

    async def something_else_arrives(dispatcher: Dispatcher) -> None:
        await world.put(sink="witness")
        dispatcher.hint()
        await world.all_are(DeliveryState.DELIVERED, "witness")

    return something_else_arrives


async def test_a_429_pauses_the_lane_and_is_not_undercut(world: World, destination: Destination) -> None:
    """Also what was claimed already goes back and waits; it used to be sent into the pause."""
    destination.behaves(answer(429, headers={"retry-after": "3600"}), answer(200))
    (asked, *others) = await world.put(count=6)
    sinks = {"crm": to(destination)}

    async with AsyncExitStack() as stack:
        something_else_arrives = await absence_is_shown(world, stack, sinks)
        async with world.dispatching(sinks) as dispatcher:
            await until(lambda: world.lane().paused_until is not None)
            await something_else_arrives(dispatcher)

            rows = {row.id: row for row in world.deliveries()}
            lane = world.lane()
            assert ids_of(destination.requests) == [asked]
            assert set(world.states()) == {DeliveryState.PENDING}
            assert (lane.reason, lane.failures) == ("HTTP 429", SHUT_AFTER)  # an hour is worth an alarm
            assert rows[asked].due_at >= lane.paused_until
            assert rows[asked].due_at - rows[asked].created_at >= HOUR
            assert {rows[other].attempts for other in others} == {0}


async def test_what_expires_while_it_waits_its_turn_is_not_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a slow one, it used to be sent an hour too late."""
    monkeypatch.setattr("routers.dispatcher.RETURN_EVERY", timedelta(milliseconds=20))
    clock, asked, answered = FixedClock(), asyncio.Event(), asyncio.Event()
    keys: list[str] = []

    class Slow:
        async def check(self) -> Sequence[Check]:
            return []

        async def deliver(self, message: Message) -> Outcome:
            keys.append(message.key)
            asked.set()
            await answered.wait()
            return Delivered()

        async def aclose(self) -> None:
            pass

    with world.database.writing.begin() as conn:
        (early, late) = put_deliveries(conn, count=2)
        conn.execute(update(deliveries).where(deliveries.c.id == late).values(expires_at=NOW + HOUR))
    async with world.dispatching({"crm": (Slow(), Limits(1, timedelta(seconds=20), Policy(AT_ONCE)))}, clock=clock):
        await until(lambda: asked.is_set() and world.states() == [DeliveryState.SENDING, DeliveryState.PENDING])
        clock.moment += 2 * HOUR
        answered.set()
        await until(lambda: world.states() == [DeliveryState.DELIVERED, DeliveryState.EXPIRED])

    assert keys == [early]


async def test_a_shorter_pause_does_not_cut_a_longer_one(world: World, destination: Destination) -> None:
    """Two answers to requests that were on the way together: the later, shorter one used to win."""
    released = asyncio.Event()
    short = answer(429, headers={"retry-after": "1"})
    destination.behaves(answer(429, headers={"retry-after": "3600"}), answer_when(released, short), answer(200))
    await world.put(count=2)

    async with world.dispatching({"crm": to(destination, concurrency=2)}):
        await until(lambda: world.lane().paused_until is not None)
        paused_until = world.lane().paused_until
        released.set()
        await until(lambda: world.outcomes() == ["retry", "retry"])

        assert world.lane().paused_until == paused_until
    assert len(destination.requests) == 2


async def test_after_a_pause_the_lane_goes_on_and_its_reason_is_gone(world: World, destination: Destination) -> None:
    """One second as asked, then everything that waited; the old trouble used to stay written on the lane."""
    destination.behaves(answer(503, headers={"retry-after": "1"}), answer(200))
    made = await world.put(count=3)

    async with world.dispatching({"crm": to(destination)}):
        await world.all_are(DeliveryState.DELIVERED)
        await until(lambda: world.lane().reason is None)

    lane, rows = world.lane(), rows_of(world.database, attempts)
    assert (lane.failures, lane.paused_until) == (0, None)
    assert times_arrived(destination.requests) == {made[0]: 2, made[1]: 1, made[2]: 1}
    assert rows[1].started_at - rows[0].started_at >= timedelta(seconds=1)


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [(401, "not authorised: HTTP 401", "authfailed"), (410, "gone: HTTP 410", "gone")],
)
async def test_a_sink_that_does_not_know_us_is_left_alone_and_its_rows_are_kept(
    world: World, destination: Destination, status: int, reason: str, outcome: str
) -> None:
    """No attempt is used up, nothing else is sent there, and the lane says why."""
    destination.behaves(answer(status), answer(200))
    await world.put(count=3)
    sinks = {"crm": to(destination)}

    async with AsyncExitStack() as stack:
        something_else_arrives = await absence_is_shown(world, stack, sinks)
        async with world.dispatching(sinks) as dispatcher:
            await until(lambda: world.lane().paused_until is not None)
            await something_else_arrives(dispatcher)

            assert len(destination.requests) == 1
            assert [(row.state, row.attempts) for row in world.deliveries()] == [("pending", 0)] * 3
            assert (world.lane().reason, world.lane().failures) == (reason, SHUT_AFTER)
            assert world.outcomes()[0] == outcome


async def test_failures_in_a_row_are_counted_and_a_success_ends_the_row(world: World, destination: Destination) -> None:
    """The lane's row says how its sink does."""
    destination.behaves(answer(500), answer(500), answer_when(released := asyncio.Event()))
    await world.put()

    async with world.dispatching({"crm": to(destination)}):
        await until(lambda: world.lane().failures == 2)
        released.set()
        await world.all_are(DeliveryState.DELIVERED)
        await until(lambda: world.lane().failures == 0)


# --- stopping, dying and coming back ---------------------------------------------------------------------------------


async def test_stopping_waits_for_what_is_on_the_way_and_begins_nothing_else(
    world: World, destination: Destination
) -> None:
    """The answer that comes after the stop is recorded; what was not begun is pending for the next process."""
    released = asyncio.Event()
    destination.behaves(answer_when(released))
    made = await world.put(count=3)

    async with world.dispatching({"crm": to(destination)}) as dispatcher:
        await destination.received(1)
        await until(lambda: sorted(world.states()) == ["pending", "pending", "sending"])
        dispatcher.stop()
        released.set()

    assert [(row.id, row.state, row.leased_by) for row in world.deliveries()] == [
        (made[0], DeliveryState.DELIVERED, None),
        (made[1], DeliveryState.PENDING, None),
        (made[2], DeliveryState.PENDING, None),
    ]
    assert ids_of(destination.requests) == made[:1]


async def test_what_does_not_come_back_after_a_stop_stays_marked_as_being_sent(
    sqlite_url: str, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop has an end too; the next start sends it again, and says that it may repeat."""
    monkeypatch.setattr("routers.dispatcher.DRAIN_WITHIN", timedelta(milliseconds=50))
    destination.behaves(hang, answer(200))
    with opened(sqlite_url) as database:
        world = World(database)
        (made,) = await world.put()
        async with world.dispatching({"crm": to(destination)}):
            await destination.received(1)
        assert world.states() == [DeliveryState.SENDING]

        async with world.dispatching({"crm": to(destination)}):
            await world.all_are(DeliveryState.DELIVERED)
    assert ids_of(destination.requests) == [made, made]


async def test_what_a_dead_process_was_sending_is_sent_once_more_under_the_same_id(
    world: World, destination: Destination
) -> None:
    """Nobody knows whether it arrived. It is marked so, and so is nothing that was not claimed."""
    (sending, pending) = await world.put(count=2)
    await leave_as_a_dead_process_would(world, sending=1)

    async with world.dispatching({}):
        await until(lambda: set(world.states()) == {DeliveryState.PENDING})
    assert {row.id: row.reason for row in world.deliveries()} == {sending: leases.MAY_REPEAT, pending: None}

    async with world.dispatching({"crm": to(destination)}):
        await world.all_are(DeliveryState.DELIVERED)
    assert times_arrived(destination.requests) == {sending: 1, pending: 1}


async def leave_as_a_dead_process_would(world: World, *, sending: int) -> None:
    """Claim the first *sending*, and let their leases run out without a word."""

    def claim() -> None:
        with world.database.writing.begin() as conn:
            now = real_clock(world.database).now(conn)
            # PostgreSQL may have other dispatchers, so there a start returns only leases that are over.
            over = now - timedelta(seconds=1)
            leases.claim_due(conn, sink="crm", now=now, lease_until=over, instance="in_dead", limit=sending)

    await asyncio.to_thread(claim)


async def test_on_sqlite_a_start_returns_leases_that_still_run(sqlite_url: str, destination: Destination) -> None:
    """The file lock proves that their holder is dead, so nobody waits for them to end."""
    with opened(sqlite_url) as database:
        world = World(database)
        (made,) = await world.put()
        with database.writing.begin() as conn:
            conn.execute(update(deliveries).values(state="sending", lease_until=real_clock(database).now(conn) + HOUR))

        async with world.dispatching({"crm": to(destination)}):
            await world.all_are(DeliveryState.DELIVERED)
    assert ids_of(destination.requests) == [made]


async def test_on_postgresql_a_start_leaves_the_leases_of_others(postgresql_url: str, destination: Destination) -> None:
    """Another dispatcher may hold them; only when they are over are they taken up."""
    with opened(postgresql_url) as database:
        world = World(database)
        (held,) = await world.put()
        with database.writing.begin() as conn:
            conn.execute(update(deliveries).values(state="sending", lease_until=real_clock(database).now(conn) + HOUR))
        (free,) = await world.put()

        async with world.dispatching({"crm": to(destination)}):
            await until(lambda: sorted(world.states()) == ["delivered", "sending"])
    assert ids_of(destination.requests) == [free]
    assert held != free


async def test_two_dispatchers_of_one_lane_send_each_delivery_once(
    postgresql_url: str, destination: Destination
) -> None:
    """PostgreSQL is shared by as many as wanted."""
    with opened(postgresql_url) as one, opened(postgresql_url) as other:
        made = await World(one).put(count=80)

        async with (
            World(one).dispatching({"crm": to(destination, concurrency=4)}),
            World(other).dispatching({"crm": to(destination, concurrency=4)}),
        ):
            await World(one).all_are(DeliveryState.DELIVERED)
    assert times_arrived(destination.requests) == dict.fromkeys(made, 1)


async def test_a_database_that_breaks_off_ends_no_lane(postgresql_url: str, destination: Destination) -> None:
    """Every connection of ours is cut in the middle; what came back meanwhile is recorded later, so nothing repeats."""
    with opened(postgresql_url) as database, opened(postgresql_url) as administrator:
        world = World(database)
        made = await world.put(count=60)
        cut = text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        def break_off() -> int:
            with administrator.reading.connect() as conn:
                count: int = conn.execute(cut).scalar_one()
                return count

        async with world.dispatching({"crm": to(destination, concurrency=4)}):
            for enough in (8, 24):
                await destination.received(enough)
                await until(break_off)  # after the first it may take a moment until there is one again
            # A claim whose COMMIT broke off may have been made: then it waits for the end of its lease.
            await until(lambda: "pending" not in world.states() and "sending" not in world.states())
            with administrator.writing.begin() as conn:
                over = real_clock(administrator).now(conn) - timedelta(seconds=1)
                conn.execute(update(deliveries).where(deliveries.c.state == "leased").values(lease_until=over))
            await world.all_are(DeliveryState.DELIVERED)

    assert times_arrived(destination.requests) == dict.fromkeys(made, 1)
