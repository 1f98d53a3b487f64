"""Carrying a replay out, on both databases: its rate, live traffic before it, and nothing twice whatever happens."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from routers import lanes, migrate
from routers.audience import Audience
from routers.lanes import Condition, save_lane
from routers.operating import cancel, retry
from routers.rates import parse_rate
from routers.replaying import GIVES_WAY, GIVES_WAY_FOR, IS_FULL, MOST_OPEN, step
from routers.replays import LeftOut, WrongState, call_off, pause, progress_of, resume, start
from routers.schema import OPEN, DeliveryState, ReplayState, audit, deliveries, replays
from tests.routers.replaying import SECOND, World, a_world
from tests.routers.store import put_deliveries, receive, rows_of

FAST = parse_rate("1000/s")


def dead_calls(world: World, count: int, **values: Any) -> None:
    """So many calls of which nobody heard."""
    for number in range(count):
        world.call(f"CAL{number}")
    world.become(DeliveryState.DEAD, **values)


def open_ones(world: World, replay_id: str) -> int:
    return sum(row.replay == replay_id and row.state in OPEN for row in world.deliveries())


def test_what_is_taken_up_keeps_its_id_and_key_and_says_whose_it_is(database_url: str) -> None:
    """And is as if never tried; when it would have expired it still does."""
    with a_world(database_url) as world:
        expires_at = world.clock.moment + timedelta(hours=1)
        dead_calls(world, 1, attempts=7, expires_at=expires_at)
        (before,) = world.deliveries()
        replay_id = world.started()

        done = world.step(replay_id)

        (after,) = world.deliveries()
        assert (done.queued, done.sinks) == (1, {"crm"})
        assert (after.id, after.key, after.replay, after.state) == (before.id, before.key, replay_id, "pending")
        assert (after.attempts, after.expires_at) == (0, expires_at)


def test_it_is_done_when_nothing_of_it_is_open(database_url: str) -> None:
    """With what became of it."""
    with a_world(database_url) as world:
        dead_calls(world, 2)
        replay_id = world.started()
        world.clock.moment += SECOND
        world.step(replay_id)
        world.step(replay_id)
        assert world.replay(replay_id).state == "running"

        world.send(DeliveryState.DEAD)
        world.step(replay_id)

        row = world.replay(replay_id)
        assert (row.state, row.summary["outcome"]) == ("done", {"dead": 2})
        assert row.finished_at == world.clock.moment


@pytest.mark.parametrize(
    ("state", "failed"),
    [("dead", 1), ("uncertain", 1), ("expired", 1), ("delivered", 0), ("superseded", 0), ("cancelled", 0)],
)
def test_what_did_not_arrive_counts_as_failed(database_url: str, state: str, failed: int) -> None:
    """What expired in the outbox too; what was told otherwise, or taken back by an operator, was not to arrive."""
    with a_world(database_url) as world:
        dead_calls(world, 1)
        replay_id = world.started()
        world.step(replay_id)
        world.send(DeliveryState(state))

        with world.database.reading.connect() as conn:
            assert progress_of(conn, replay_id).failed == failed


def test_a_replay_of_nothing_is_done_at_once(database_url: str) -> None:
    """All of it is left out."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED)

        assert world.carry_out(world.started()) == "done"
        assert {row.replay for row in world.deliveries()} == {None}


def test_what_was_changed_since_the_plan_is_left(database_url: str) -> None:
    """Taken up by hand, delivered, or late by now: each says so."""
    with a_world(database_url) as world:
        dead_calls(world, 2)
        late, by_hand = world.deliveries()
        with world.database.writing.begin() as conn:
            expires_at = world.clock.moment + SECOND
            conn.execute(update(deliveries).where(deliveries.c.id == late.id).values(expires_at=expires_at))
        replay_id = world.started()
        world.clock.moment += SECOND
        with world.database.writing.begin() as conn:
            retry(conn, [by_hand.id], now=world.clock.moment)

        world.step(replay_id)

        assert [(item.state, item.reason) for item in world.items(replay_id)] == [
            ("skipped", LeftOut.LATE.value),
            ("skipped", "pending since the plan was made"),
        ]
        assert {row.replay for row in world.deliveries()} == {None}


@pytest.mark.parametrize(
    ("audiences", "reason"),
    [({"sales": Audience.SYSTEMS}, LeftOut.NO_SINK), ({"crm": Audience.PEOPLE}, LeftOut.PEOPLE)],
)
@pytest.mark.parametrize("again", [True, False])
def test_a_sink_that_was_changed_since_the_plan_is_left_out(
    database_url: str, audiences: Mapping[str, Audience], reason: LeftOut, again: bool
) -> None:
    """One that is gone would hold up the replay for good; one that people read now was not asked for."""
    with a_world(database_url) as world:
        dead_calls(world, 2)
        if again:
            world.become(DeliveryState.DELIVERED)
        before = world.deliveries()
        replay_id = world.started(again=again)
        world.audiences = audiences

        assert world.carry_out(replay_id) == "done"
        assert [(item.state, item.reason) for item in world.items(replay_id)] == [("skipped", reason)] * 2
        assert world.deliveries() == before


def test_it_says_which_sinks_hold_up_its_end(database_url: str) -> None:
    """All is in the outbox, and a lane may rest for long."""
    with a_world(database_url) as world:
        dead_calls(world, 1)
        replay_id = world.started()
        world.step(replay_id)

        world.step(replay_id)

        assert (world.replay(replay_id).state, world.replay(replay_id).reason) == ("running", f"{IS_FULL}: crm")


def test_a_person_hears_one_after_another(database_url: str) -> None:
    """The order of the outbox holds for what is taken up too."""
    with a_world(database_url) as world:
        dead_calls(world, 3, order_key="acme:+14045550101")
        replay_id = world.started()
        world.clock.moment += SECOND

        world.step(replay_id)

        assert [row.state for row in world.deliveries()] == ["pending", "blocked", "blocked"]


# --- rate and live traffic -------------------------------------------------------------------------------------------


def test_its_rate_holds_whatever_the_pace_of_the_rounds(database_url: str) -> None:
    """Two a second: one at the start, then what the clock allows, and after a gap no more than a second's worth."""
    with a_world(database_url) as world:
        dead_calls(world, 12)
        replay_id = world.started(rate=parse_rate("2/s"))

        def queued_after(seconds: float) -> int:
            world.clock.moment += seconds * SECOND
            return world.step(replay_id).queued

        assert [queued_after(seconds) for seconds in (0, 0, 0.4, 0.1, 1, 0, 60, 0)] == [1, 0, 0, 1, 2, 0, 3, 0]


def test_a_clock_set_back_does_not_hold_it_up(database_url: str) -> None:
    """A time further ahead than the rate can have put it means nothing."""
    with a_world(database_url) as world:
        dead_calls(world, 2)
        replay_id = world.started(rate=parse_rate("1/s"))
        world.step(replay_id)

        world.clock.moment -= timedelta(hours=1)

        assert world.step(replay_id).queued == 1


def test_it_has_few_of_its_own_waiting(database_url: str) -> None:
    """So a live message stands behind no more than those."""
    with a_world(database_url) as world:
        dead_calls(world, MOST_OPEN + 5)
        replay_id = world.started(rate=parse_rate("10/s"))
        for _ in range(60):
            world.step(replay_id)
            world.clock.moment += SECOND

        assert (open_ones(world, replay_id), world.replay(replay_id).reason) == (MOST_OPEN, f"{IS_FULL}: crm")
        world.send()
        assert world.step(replay_id).queued == 5
        assert world.replay(replay_id).reason is None


def test_it_gives_way_to_live_deliveries_and_not_for_ever(database_url: str) -> None:
    """While one waits for longer than a second nothing is put in; after 30 s one message is, each time."""
    with a_world(database_url) as world:
        dead_calls(world, 3)
        replay_id = world.started(rate=FAST)
        with world.database.writing.begin() as conn:
            put_deliveries(conn, now=world.clock.moment - SECOND)

        assert (world.step(replay_id).queued, world.replay(replay_id).reason) == (0, GIVES_WAY)
        world.clock.moment += GIVES_WAY_FOR
        assert [world.step(replay_id).queued for _ in range(3)] == [1, 0, 0]
        world.send()
        assert world.step(replay_id).queued == 2


def test_it_gives_way_to_events_that_are_not_routed_yet(database_url: str) -> None:
    """Nobody knows yet whom they tell."""
    with a_world(database_url) as world:
        dead_calls(world, 1)
        replay_id = world.started()
        with world.database.writing.begin() as conn:
            receive(conn, "post_call", {"resource_id": "CAL9"})
        world.clock.moment += 5 * SECOND

        assert (world.step(replay_id).queued, world.replay(replay_id).reason) == (0, GIVES_WAY)


@pytest.mark.parametrize("why", ["not due", "held", "paused", "shut", "another's"])
def test_what_cannot_go_is_no_live_traffic(database_url: str, why: str) -> None:
    """A lane that rests for a day does not hold a replay up for a day."""
    with a_world(database_url) as world:
        dead_calls(world, 1)
        replay_id = world.started()
        now = world.clock.moment
        with world.database.writing.begin() as conn:
            put_deliveries(conn, sink="sales", now=now + SECOND if why == "not due" else now - 60 * SECOND)
            paused_until = now + SECOND if why == "paused" else None
            save_lane(conn, Condition("sales", paused_until=paused_until, failures=5 if why == "shut" else 0))
            if why == "held":
                lanes.hold(conn, "sales", "said")

        if why == "another's":
            world.audiences = {"crm": Audience.SYSTEMS}
        assert world.step(replay_id).queued == 1


# --- stopping --------------------------------------------------------------------------------------------------------


def test_pause_and_resume(database_url: str) -> None:
    """Nothing more goes into the outbox until it is resumed; then it goes on where it was."""
    with a_world(database_url) as world:
        dead_calls(world, 3)
        replay_id = world.started(rate=parse_rate("1/s"))
        world.step(replay_id)
        with world.database.writing.begin() as conn:
            pause(conn, replay_id, now=world.clock.moment)
        world.clock.moment += 60 * SECOND

        assert world.step(replay_id).queued == 0
        assert open_ones(world, replay_id) == 1
        with world.database.writing.begin() as conn:
            resume(conn, replay_id, now=world.clock.moment)
        assert world.step(replay_id).queued == 1
        assert world.carry_out(replay_id) == "done"
        assert world.replay(replay_id).summary["outcome"] == {"delivered": 3}


def test_cancel_takes_back_what_is_not_sent(database_url: str) -> None:
    """What was delivered stays, what is on the wire is left, and nothing more is sent."""
    with a_world(database_url) as world:
        dead_calls(world, 4)
        replay_id = world.started(rate=parse_rate("3/s"))
        world.step(replay_id)
        world.clock.moment += SECOND
        world.step(replay_id)
        with world.database.writing.begin() as conn:
            ids = conn.execute(select(deliveries.c.id).where(deliveries.c.replay == replay_id)).scalars().all()
            for state, made in zip(("delivered", "sending"), ids, strict=False):
                conn.execute(update(deliveries).where(deliveries.c.id == made).values(state=state))

        taken_back = call_off(world.database, world.clock, replay_id)

        assert taken_back == len(ids) - 2
        assert world.step(replay_id).queued == 0
        counts = Counter(row.state for row in world.deliveries() if row.replay == replay_id)
        assert counts == {"delivered": 1, "sending": 1, "cancelled": len(ids) - 2}
        assert world.replay(replay_id).state == "cancelled"
        assert call_off(world.database, world.clock, replay_id) == 0  # once more, should the first have been broken off


VERBS = {"run": start, "pause": pause, "resume": resume}
ABLE = {("run", "planned"), ("pause", "running"), ("resume", "paused")}


@pytest.mark.parametrize("state", ReplayState)
def test_each_word_has_its_state(database_url: str, state: ReplayState) -> None:
    """Others are refused, and change nothing."""
    with a_world(database_url) as world:
        dead_calls(world, 1)
        replay_id = world.planned()
        for verb, do in VERBS.items():
            with world.database.writing.begin() as conn:
                conn.execute(update(replays).values(state=state.value))
            if (verb, state.value) in ABLE:
                with world.database.writing.begin() as conn:
                    do(conn, replay_id, now=world.clock.moment)
                continue
            before = world.replay(replay_id)
            with world.database.writing.begin() as conn, pytest.raises(WrongState, match=f"is {state} and cannot"):
                do(conn, replay_id, now=world.clock.moment)
            assert world.replay(replay_id) == before


def test_what_an_operator_does_is_noted(database_url: str) -> None:
    """Who, what and which; of people nothing."""
    with a_world(database_url) as world:
        dead_calls(world, 1)
        replay_id = world.started()
        call_off(world.database, world.clock, replay_id)

        noted = rows_of(world.database, audit)
        assert [(row.action, row.subject) for row in noted] == [
            ("replay.plan", replay_id),
            ("replay.run", replay_id),
            ("replay.cancel", replay_id),
        ]
        assert noted[0].details["messages"] == 1
        assert all(row.actor for row in noted)


# --- whatever happens ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replaying") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


DOINGS = st.lists(st.sampled_from(["step", "crash", "send", "fail", "time", "cancel one", "pause"]), max_size=25)


@settings(max_examples=25, deadline=None)
@given(doings=DOINGS, again=st.booleans())
def test_nothing_is_doubled_or_forgotten_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, template: Path, doings: Sequence[str], again: bool
) -> None:
    """The cursor and the deliveries always agree, and in the end each message was put into the outbox exactly once."""
    path = tmp_path_factory.mktemp("world") / "test.db"
    path.write_bytes(template.read_bytes())
    with a_world(f"sqlite:///{path}") as world:
        dead_calls(world, 5)
        if again:
            world.become(DeliveryState.DELIVERED)
        replay_id = world.started(again=again, rate=parse_rate("2/s"))
        for doing in doings:
            do(world, replay_id, doing)
            agree(world, replay_id)

        if world.replay(replay_id).state == "paused":
            do(world, replay_id, "pause")
        assert world.carry_out(replay_id) == "done"
        agree(world, replay_id)
        assert [item.state for item in world.items(replay_id)] == ["queued"] * 5
        assert len(world.deliveries()) == (10 if again else 5)


def do(world: World, replay_id: str, doing: str) -> None:
    match doing:
        case "step":
            world.step(replay_id)
        case "crash":
            _crash(world, replay_id)
        case "send":
            world.send()
        case "fail":
            world.send(DeliveryState.DEAD)
        case "time":
            world.clock.moment += SECOND
        case "cancel one":
            with world.database.writing.begin() as conn:
                one = select(deliveries.c.id).where(deliveries.c.replay == replay_id).limit(1)
                cancel(conn, conn.execute(one).scalars().all(), now=world.clock.moment)
        case "pause":
            with world.database.writing.begin() as conn:
                is_paused = world.replay(replay_id).state == "paused"
                if is_paused or world.replay(replay_id).state == "running":
                    (resume if is_paused else pause)(conn, replay_id, now=world.clock.moment)


def _crash(world: World, replay_id: str) -> None:
    with world.database.writing.connect() as conn:  # without a COMMIT
        step(conn, replay_id=replay_id, clock=world.clock, audiences=world.audiences)


def agree(world: World, replay_id: str) -> None:
    """What lies before the cursor is in the outbox, what lies behind it is not."""
    items, cursor = world.items(replay_id), world.replay(replay_id).next_item
    assert [item.state for item in items] == ["queued"] * cursor + ["waiting"] * (len(items) - cursor)
    assert sum(row.replay == replay_id for row in world.deliveries()) == cursor


def test_two_dispatchers_carry_it_out_together(postgresql_url: str) -> None:
    """Each item once, whichever of them takes it."""
    with a_world(postgresql_url) as world:
        dead_calls(world, 30)
        replay_id = world.started(rate=FAST)
        world.clock.moment += SECOND
        barrier = threading.Barrier(2)

        def work() -> None:
            with a_world(postgresql_url, clock=world.clock) as mine:
                barrier.wait()
                for _ in range(12):
                    mine.step(replay_id)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        world.step(replay_id)
        world.send()
        world.clock.moment += SECOND
        assert world.carry_out(replay_id) == "done"
        agree(world, replay_id)
        with world.database.reading.connect() as conn:
            progress = progress_of(conn, replay_id)
        assert (progress.total, progress.delivered, progress.waiting, progress.failed) == (30, 30, 0, 0)
