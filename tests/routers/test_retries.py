"""What follows from an outcome: state, count of tries, and when."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.audience import Audience
from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Postponed, Rejected, Retry, Uncertain
from routers.retries import OWN_TROUBLE, PAUSE, REPEAT_AFTER, Policy, Step, next_step
from routers.schema import DeliveryState
from routers.sinks.config import SCHEDULES
from routers.uncertain import OnUncertain

NOW = datetime(2026, 3, 10, 13, 15, tzinfo=UTC)
SCHEDULE = (timedelta(seconds=2), timedelta(seconds=10), timedelta(minutes=1))
LONGEST_JITTER = 1.1


class NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


def step(outcome: Outcome, *, attempts: int = 0, rng: random.Random | None = None) -> Step:
    return next_step(outcome, attempts=attempts, now=NOW, policy=Policy(SCHEDULE), rng=rng or NoJitter())


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(
            Delivered("HTTP 200", remote_id="42"),
            Step(DeliveryState.DELIVERED, "HTTP 200", 3, NOW, remote_id="42"),
            id="delivered",
        ),
        pytest.param(
            Rejected("HTTP 400"),
            Step(DeliveryState.DEAD, "rejected: HTTP 400", 3, NOW, cause="rejected: HTTP 400"),
            id="rejected-is-dead",
        ),
        pytest.param(
            AuthFailed("HTTP 401"),
            Step(
                DeliveryState.PENDING,
                "not authorised: HTTP 401",
                2,
                NOW + PAUSE,
                pause_lane=PAUSE,
                shuts_lane=True,
                cause="not authorised",
            ),
            id="auth-costs-no-attempt",
        ),
        pytest.param(
            Gone("HTTP 410"),
            Step(
                DeliveryState.PENDING,
                "gone: HTTP 410",
                2,
                NOW + PAUSE,
                pause_lane=PAUSE,
                shuts_lane=True,
                cause="gone",
            ),
            id="gone-costs-no-attempt",
        ),
        pytest.param(
            Postponed("the allowance is used up", timedelta(hours=1)),
            Step(DeliveryState.PENDING, "the allowance is used up", 2, NOW + timedelta(hours=1), is_silent=True),
            id="postponed-costs-no-attempt-and-says-nothing-of-the-others",
        ),
        pytest.param(
            Postponed("no access: HTTP 401", PAUSE, needs_somebody=True),
            Step(DeliveryState.PENDING, "no access: HTTP 401", 2, NOW + PAUSE, is_silent=True, cause="no access"),
            id="postponed-until-somebody-acts",
        ),
        pytest.param(
            Uncertain("no answer"),
            Step(
                DeliveryState.PENDING, "uncertain: no answer", 3, NOW + SCHEDULE[2], blames_sink=True, may_repeat=True
            ),
            id="uncertain-is-tried-again",
        ),
        pytest.param(
            Retry("HTTP 500"),
            Step(DeliveryState.PENDING, "HTTP 500", 3, NOW + SCHEDULE[2], blames_sink=True),
            id="retry",
        ),
        pytest.param(
            Retry("HTTP 500", after=timedelta(seconds=5)),
            Step(DeliveryState.PENDING, "HTTP 500", 3, NOW + SCHEDULE[2], blames_sink=True),
            id="a-shorter-retry-after-hastens-nothing",
        ),
        pytest.param(
            Retry("HTTP 500", after=timedelta(hours=2)),
            Step(DeliveryState.PENDING, "HTTP 500", 3, NOW + timedelta(hours=2), blames_sink=True),
            id="a-longer-retry-after-is-kept",
        ),
        pytest.param(
            Retry("HTTP 429", after=timedelta(hours=2), whole_lane=True),
            Step(
                DeliveryState.PENDING,
                "HTTP 429",
                3,
                NOW + timedelta(hours=2),
                pause_lane=timedelta(hours=2),
                shuts_lane=True,
                blames_sink=True,
            ),
            id="a-429-that-asks-for-hours-shuts-the-lane",
        ),
        pytest.param(
            Retry("HTTP 429", after=timedelta(minutes=5), whole_lane=True),
            Step(
                DeliveryState.PENDING,
                "HTTP 429",
                3,
                NOW + timedelta(minutes=5),
                pause_lane=timedelta(minutes=5),
                blames_sink=True,
            ),
            id="a-429-that-asks-for-minutes-pauses-it",
        ),
        pytest.param(
            Retry("HTTP 429", whole_lane=True),
            Step(DeliveryState.PENDING, "HTTP 429", 3, NOW + SCHEDULE[2], pause_lane=SCHEDULE[2], blames_sink=True),
            id="a-429-that-asks-for-no-time-pauses-it-by-the-schedule",
        ),
    ],
)
def test_each_outcome_has_its_step(outcome: Outcome, expected: Step) -> None:
    """The table of what a third try leads to, with the waits of the schedule."""
    assert step(outcome, attempts=2) == expected


def test_a_429_that_asks_for_no_time_rests_the_lane_for_minutes_however_often_the_delivery_failed_before() -> None:
    """The schedule of systems waits a day after the ninth try: that is this delivery's, and once was everybody's."""
    policy = Policy(SCHEDULES[Audience.SYSTEMS])
    ninth = next_step(Retry("HTTP 429", whole_lane=True), attempts=8, now=NOW, policy=policy, rng=NoJitter())

    assert ninth.due_at == NOW + timedelta(hours=24)
    assert ninth.pause_lane == timedelta(minutes=5)


@pytest.mark.parametrize(("attempts", "wait"), [(0, SCHEDULE[0]), (1, SCHEDULE[1]), (2, SCHEDULE[2])])
def test_the_schedule_gives_the_wait_after_each_try(attempts: int, wait: timedelta) -> None:
    """The first wait follows the first try."""
    assert step(Retry("HTTP 500"), attempts=attempts).due_at == NOW + wait


@pytest.mark.parametrize("outcome", [Retry("HTTP 500"), Uncertain("no answer")])
def test_after_the_last_wait_a_delivery_is_dead(outcome: Outcome) -> None:
    """One try more than there are waits; the reason says how many and why."""
    dead = step(outcome, attempts=3)

    assert (dead.state, dead.attempts) == (DeliveryState.DEAD, 4)
    assert dead.reason.startswith("gave up after 4 tries: ")
    assert outcome.reason in dead.reason


@pytest.mark.parametrize(("attempts", "state"), [(0, DeliveryState.PENDING), (3, DeliveryState.DEAD)])
def test_what_is_refused_again_while_others_get_through_fails_for_itself(attempts: int, state: DeliveryState) -> None:
    """Its tries are counted, and no lane rests for it."""
    refused = next_step(
        AuthFailed("HTTP 403"), attempts=attempts, now=NOW, policy=Policy(SCHEDULE), rng=NoJitter(), is_alone=True
    )

    assert (refused.state, refused.attempts, refused.pause_lane, refused.shuts_lane) == (
        state,
        attempts + 1,
        None,
        False,
    )
    assert refused.cause == ("not authorised" if state is DeliveryState.PENDING else "gave up: not authorised")


@pytest.mark.parametrize("may_repeat", [False, True])
def test_where_people_read_a_lost_answer_is_repeated_once_and_marked(may_repeat: bool) -> None:
    """After a minute; the second time a person has to look."""
    policy = Policy(SCHEDULE, OnUncertain.REPEAT)
    follows = next_step(
        Uncertain("no answer"), attempts=0, now=NOW, policy=policy, rng=NoJitter(), may_repeat=may_repeat
    )

    assert follows.may_repeat
    assert (follows.state, follows.due_at, follows.cause) == (
        (DeliveryState.UNCERTAIN, NOW, "uncertain") if may_repeat else (DeliveryState.PENDING, NOW + REPEAT_AFTER, None)
    )


def test_what_must_not_happen_twice_is_held_when_its_answer_is_lost() -> None:
    """Nothing is sent again before somebody has looked."""
    policy = Policy(SCHEDULE, OnUncertain.HOLD)
    held = next_step(Uncertain("no answer"), attempts=0, now=NOW, policy=policy, rng=NoJitter())

    assert (held.state, held.reason, held.cause) == (DeliveryState.UNCERTAIN, "uncertain: no answer", "uncertain")


def test_trouble_of_our_own_network_counts_for_nothing() -> None:
    """No try is used up and the sink is not blamed; nothing is sent there for a moment, lest every row finds out."""
    waits = step(Retry("no route", is_ours=True), attempts=2)

    assert (waits.state, waits.attempts, waits.blames_sink) == (DeliveryState.PENDING, 2, False)
    assert (waits.due_at, waits.pause_lane) == (NOW + OWN_TROUBLE, OWN_TROUBLE)


def test_what_was_achieved_is_kept_for_the_next_try() -> None:
    """The recipients who have the mail are not sent it again."""
    assert step(Retry("450", done='["a@example.com"]')).done == '["a@example.com"]'


def test_a_dead_delivery_pauses_its_lane_all_the_same() -> None:
    """What the last 429 asked for holds for those behind it."""
    dead = step(Retry("HTTP 429", timedelta(minutes=3), whole_lane=True), attempts=3)

    assert (dead.state, dead.pause_lane) == (DeliveryState.DEAD, timedelta(minutes=3))


@given(st.integers(0, 2), st.integers(0, 90_000) | st.none(), st.integers())
def test_jitter_only_lengthens_a_wait(attempts: int, asked: int | None, seed: int) -> None:
    """Nobody is asked sooner than the schedule or the destination says, nor much later."""
    after = None if asked is None else timedelta(seconds=asked)
    shortest = max(SCHEDULE[attempts], after or timedelta(0))

    due_at = step(Retry("HTTP 503", after), attempts=attempts, rng=random.Random(seed)).due_at

    assert NOW + shortest <= due_at <= NOW + shortest * LONGEST_JITTER


def test_jitter_parts_what_failed_together() -> None:
    """A hundred deliveries that failed at once do not come back at once."""
    rng = random.Random(1)

    assert len({step(Retry("HTTP 503"), rng=rng).due_at for _ in range(100)}) > 90


@pytest.mark.parametrize(
    ("audience", "longest"),
    [(Audience.PEOPLE, timedelta(hours=2)), (Audience.SYSTEMS, timedelta(days=4))],
)
def test_people_are_told_soon_and_systems_in_the_end(audience: Audience, longest: timedelta) -> None:
    """Waits never shrink, and in sum are hours where people read and days where systems do."""
    schedule = SCHEDULES[audience]

    assert list(schedule) == sorted(schedule)
    assert longest / 2 < sum(schedule, timedelta(0)) < longest
