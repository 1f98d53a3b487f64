"""The outbox on both databases: leases and fences under a state machine, then each named question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, delete, select

from receiver.clock import WallClock
from receiver.database import Database
from routers import leases, outbox
from routers.corrections import Correction, correct
from routers.lanes import Condition, open_lane, read_lane, save_lane
from routers.leases import MAY_REPEAT, Delivery
from routers.ordering import let_pass, promote_forgotten
from routers.outbox import UNSENT
from routers.rules.ruleset import NOT_AMENDED
from routers.schema import OPEN, DeliveryState, attempts, deliveries, lanes, objects, transitions, versions
from routers.transitions import Transition
from routers.uncertain import OnUncertain
from tests.routers.store import NOW, opened, put_deliveries, rows_of, statements_of, tried

LEASE = timedelta(seconds=50)
HOLDS_BACK = timedelta(seconds=40)
DONE = {DeliveryState.DELIVERED, DeliveryState.DEAD}


def claim(
    conn: Connection, now: datetime, *, sink: str = "crm", limit: int = 10, instance: str = "in_1"
) -> list[Delivery]:
    return leases.claim_due(conn, sink=sink, now=now, lease_until=now + LEASE, instance=instance, limit=limit)


def test_postgresql_finds_a_version_by_its_object_although_it_knows_no_sizes(postgresql_url: str) -> None:
    """It looked for its number alone, through all there were: the plan it had made while there were few stayed."""
    with opened(postgresql_url) as database, database.writing.begin() as conn:
        with statements_of(database.writing) as asked:
            claim(conn, NOW)
        ((statement, parameters),) = asked
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")  # which it prefers where it knows that there are none
        for n, name in enumerate(parameters, 1):
            statement = statement.replace(f"%({name})s", f"${n}")
        plan = conn.connection.cursor().execute(f"EXPLAIN (GENERIC_PLAN) {statement}").fetchall()

    looked_up = [after for line, after in pairwise(row[0] for row in plan) if "pk_versions" in line]
    assert len(looked_up) == 2
    assert all("object_id =" in line and "version =" in line for line in looked_up), looked_up


# --- leases, fences and order ----------------------------------------------------------------------------------------


@dataclass
class Expected:
    """What a row should hold. *holder* is whose lease runs; a lease returned leaves the fence where it was.

    *was_taken_up*: a correction had ended it and another brought it back, so that later ones may have gone before it.
    """

    object_id: str
    order_key: str | None
    due_at: datetime
    expires_at: datetime | None
    state: DeliveryState = DeliveryState.PENDING
    fence: int = 0
    attempts: int = 0
    holder: int | None = None
    lease_until: datetime = NOW
    blocks: bool = True
    blocks_until: datetime | None = None
    may_repeat: bool = False
    was_taken_up: bool = False

    def ends(self, state: DeliveryState) -> None:
        self.state, self.holder, self.blocks_until = state, None, None

    @property
    def holds_back(self) -> bool:
        return self.blocks and self.state in OPEN and self.state is not DeliveryState.BLOCKED


class TwoHolders(RuleBasedStateMachine):
    """Two dispatchers of one lane, with leases that run out under them, against a model of who holds what.

    Each may have died, or slept so long that others took over: it keeps what it believes to have on the way. Beside
    them calls are made and corrected, and messages about the same person keep their order.
    """

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.expected: dict[str, Expected] = {}
        self.on_the_way: list[list[Delivery]] = [[], []]
        self.tries = 0

    @initialize()
    def begin_with_nothing(self) -> None:
        with self.database.writing.begin() as conn:
            for table in (attempts, deliveries, transitions, versions, objects, lanes):
                conn.execute(delete(table))

    # --- what routing does -------------------------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 3),
        order_key=st.sampled_from([None, "ann", "bob"]),
        lasts=st.sampled_from([None, timedelta(seconds=30)]),
    )
    def something_happens(self, count: int, order_key: str | None, lasts: timedelta | None) -> None:
        expires_at = None if lasts is None else self.now + lasts
        with self.database.writing.begin() as conn:
            made = put_deliveries(conn, count=count, now=self.now, order_key=order_key, expires_at=expires_at)
            mine = select(deliveries.c.object_id).where(deliveries.c.id == made[0])
            object_id = conn.execute(mine).scalar_one()
        for delivery_id in made:
            has_to_wait = any(row.state in OPEN and self._stands_before(row) for row in self._of(order_key))
            row = Expected(object_id, order_key, self.now, expires_at)
            row.state = DeliveryState.BLOCKED if has_to_wait else DeliveryState.PENDING
            self.expected[delivery_id] = row

    @rule(data=st.data(), is_right=st.booleans())
    def the_outcome_is_corrected(self, data: st.DataObject, is_right: bool) -> None:
        """That the call was missed proves wrong, or right after all."""
        if not self.expected:
            return
        object_id = data.draw(st.sampled_from(sorted({row.object_id for row in self.expected.values()})))
        wrong, right = Transition.CALL_MISSED, Transition.CALL_ANSWERED
        if is_right:
            wrong, right = right, wrong
        with self.database.writing.begin() as conn:
            correction = Correction(object_id, wrong, right, "tr_correction", lambda *_: NOT_AMENDED)
            correct(conn, correction, now=self.now)
        mine = [row for row in self.expected.values() if row.object_id == object_id]
        for row in mine:
            if is_right and row.state is DeliveryState.SUPERSEDED:
                row.state = DeliveryState.BLOCKED if row.order_key else DeliveryState.PENDING
                row.fence, row.due_at, row.was_taken_up = row.fence + 1, self.now, True
            elif not is_right and row.state in UNSENT:
                row.ends(DeliveryState.SUPERSEDED)
        self._promote(row.order_key for row in mine)

    # --- what dispatchers do -----------------------------------------------------------------------------------------

    @precondition(lambda self: any(map(self._may_go, self.expected.values())))
    @rule(who=st.sampled_from([0, 1]), limit=st.integers(1, 3))
    def claim(self, who: int, limit: int) -> None:
        with self.database.writing.begin() as conn:
            taken = claim(conn, self.now, limit=limit, instance=f"in_{who}")
        may_go = sorted((row.due_at, key) for key, row in self.expected.items() if self._may_go(row))
        assert [item.id for item in taken] == [key for _, key in may_go[:limit]]
        for delivery in taken:
            row = self.expected[delivery.id]
            assert (delivery.fence, delivery.attempts) == (row.fence + 1, row.attempts)
            row.state, row.fence, row.holder = DeliveryState.SENDING, delivery.fence, who
            row.lease_until = self.now + LEASE
            earlier = [other for key, other in self.expected.items() if key < delivery.id]
            assert not any(
                other.order_key == row.order_key and other.holds_back and not other.was_taken_up
                for other in earlier
                if row.order_key is not None
            )
        self.on_the_way[who] += taken

    @precondition(lambda self: any(self.on_the_way))
    @rule(
        who=st.sampled_from([0, 1]),
        state=st.sampled_from([*DONE, DeliveryState.PENDING]),
        wait=st.sampled_from([timedelta(0), timedelta(seconds=10)]),
        data=st.data(),
    )
    def record(self, who: int, state: DeliveryState, wait: timedelta, data: st.DataObject) -> None:
        if not self.on_the_way[who]:
            return
        delivery = data.draw(st.sampled_from(self.on_the_way[who]))
        self.on_the_way[who].remove(delivery)
        until = delivery.blocks_until or self.now + HOLDS_BACK
        blocks = delivery.blocks and until > self.now
        step = tried(delivery, state, due_at=self.now + wait)
        with self.database.writing.begin() as conn:
            leases.record(conn, [replace(step, blocks=blocks, blocks_until=until if blocks else None)], now=self.now)
        self.tries += 1
        row = self.expected[delivery.id]
        if row.fence != delivery.fence:  # somebody else took it over, and nothing of this is heard
            return
        if state in DONE:
            row.ends(state)
            row.attempts = delivery.attempts + 1
        elif row.state is DeliveryState.SENDING:  # else it was returned, and is pending or kept already
            row.state, row.holder, row.attempts, row.due_at = state, None, delivery.attempts + 1, self.now + wait
            row.blocks, row.blocks_until, row.may_repeat = blocks, until if blocks else None, False
        self._promote([row.order_key])

    @precondition(lambda self: any(self.on_the_way))
    @rule(who=st.sampled_from([0, 1]), data=st.data())
    def give_back(self, who: int, data: st.DataObject) -> None:
        """What was claimed ahead never left."""
        if not self.on_the_way[who]:
            return
        delivery = data.draw(st.sampled_from(self.on_the_way[who]))
        self.on_the_way[who].remove(delivery)
        with self.database.writing.begin() as conn:
            leases.give_back(conn, [delivery], instance=f"in_{who}")
        row = self.expected[delivery.id]
        if (row.fence, row.state) == (delivery.fence, DeliveryState.SENDING):
            row.state, row.holder = DeliveryState.PENDING, None

    # --- what time does ----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 20, 60]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: any(row.state is DeliveryState.SENDING for row in self.expected.values()))
    @rule(everything=st.booleans(), on_uncertain=st.sampled_from(OnUncertain))
    def return_leases(self, everything: bool, on_uncertain: OnUncertain) -> None:
        with self.database.writing.begin() as conn:
            policy = {"crm": on_uncertain}
            returned = leases.return_leases(conn, now=self.now, everything=everything, on_uncertain=policy)
        lost = [
            row
            for row in self.expected.values()
            if row.state is DeliveryState.SENDING and (everything or self._is_over(row))
        ]
        for row in lost:
            self.tries += 1  # the interrupted one is listed too
            row.state, row.holder, row.due_at = DeliveryState.PENDING, None, self.now
            if on_uncertain is OnUncertain.HOLD:
                row.ends(DeliveryState.UNCERTAIN)
            elif on_uncertain is OnUncertain.REPEAT:
                row.due_at += timedelta(seconds=60)
                if row.may_repeat:
                    row.ends(DeliveryState.UNCERTAIN)
            row.may_repeat = True
        assert returned == len(lost)
        self._promote(row.order_key for row in lost)

    @precondition(lambda self: any(map(self._is_late, self.expected.values())))
    @rule()
    def expire(self) -> None:
        with self.database.writing.begin() as conn:
            expired = outbox.expire(conn, now=self.now)
        waiting = (DeliveryState.PENDING, DeliveryState.BLOCKED)
        over = [row for row in self.expected.values() if row.state in waiting and self._is_late(row)]
        for row in over:
            row.ends(DeliveryState.EXPIRED)
        assert expired == len(over)
        self._promote(row.order_key for row in over)

    @precondition(lambda self: any(row.blocks_until is not None for row in self.expected.values()))
    @rule()
    def let_pass(self) -> None:
        with self.database.writing.begin() as conn:
            let_pass(conn, now=self.now)
        over = [row for row in self.expected.values() if row.blocks_until is not None and row.blocks_until <= self.now]
        for row in over:
            row.blocks, row.blocks_until = False, None
        self._promote(row.order_key for row in over)

    @precondition(lambda self: any(row.state is DeliveryState.BLOCKED for row in self.expected.values()))
    @rule()
    def nothing_is_forgotten(self) -> None:
        with self.database.writing.begin() as conn:
            assert promote_forgotten(conn) == 0

    # --- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        stored = rows_of(self.database, deliveries)
        assert {row.id: (row.state, row.fence, row.attempts) for row in stored} == {
            key: (row.state, row.fence, row.attempts) for key, row in self.expected.items()
        }
        assert len(rows_of(self.database, attempts)) == self.tries
        for row in stored:
            expected = self.expected[row.id]
            assert row.leased_by == (None if expected.holder is None else f"in_{expected.holder}")
            # A lease without an end would be a delivery that is never returned.
            assert row.lease_until == (expected.lease_until if row.state == DeliveryState.SENDING else None)
            assert (row.finished_at is not None) == (row.state not in OPEN)
            if row.state in OPEN:
                assert (row.blocks, row.blocks_until) == (expected.blocks, expected.blocks_until)

    @invariant()
    def one_of_a_person_goes_and_the_others_wait_for_it(self) -> None:
        """Two that go would pass each other, and one that waits for nothing would never be sent."""
        stored = [row for row in rows_of(self.database, deliveries) if row.state in OPEN and row.order_key is not None]
        going = Counter(row.order_key for row in stored if row.blocks and row.state != DeliveryState.BLOCKED)
        assert set(going.values()) <= {1}
        assert {row.order_key for row in stored if row.state == DeliveryState.BLOCKED} <= set(going)

    def teardown(self) -> None:
        """Whatever happened, a dispatcher that starts afterwards brings everything to an end."""
        self.now += timedelta(minutes=5)
        for _ in self.expected:  # at most one round each, where all are about one person
            with self.database.writing.begin() as conn:
                leases.return_leases(conn, now=self.now, everything=True)
                outbox.expire(conn, now=self.now)
                left = claim(conn, self.now, limit=1000)
                leases.record(conn, [tried(item, DeliveryState.DELIVERED) for item in left], now=self.now)
        assert not {row.state for row in rows_of(self.database, deliveries)} & set(OPEN)

    # --- the model ---------------------------------------------------------------------------------------------------

    def _of(self, order_key: str | None) -> list[Expected]:
        return [row for row in self.expected.values() if order_key is not None and row.order_key == order_key]

    def _stands_before(self, row: Expected) -> bool:
        return row.holds_back or row.state is DeliveryState.BLOCKED

    def _promote(self, order_keys: Iterable[str | None]) -> None:
        for order_key in {*order_keys}:
            mine = self._of(order_key)
            waiting = [row for row in mine if row.state is DeliveryState.BLOCKED]  # in the order they were made
            if waiting and not any(row.holds_back for row in mine):
                waiting[0].state = DeliveryState.PENDING

    def _may_go(self, row: Expected) -> bool:
        return row.state is DeliveryState.PENDING and row.due_at <= self.now and not self._is_late(row)

    def _is_late(self, row: Expected) -> bool:
        return row.expires_at is not None and row.expires_at <= self.now

    def _is_over(self, row: Expected) -> bool:
        return row.lease_until < self.now


@pytest.mark.long
def test_a_delivery_never_has_two_holders_is_never_lost_and_passes_none_of_its_person(database_url: str) -> None:
    """Claim, send, record, give back, correct and expire in any order: one holder, stale fences unheard, order kept."""
    with opened(database_url) as opened_database:

        class OnThisDatabase(TwoHolders):
            database = opened_database

        run_state_machine_as_test(
            OnThisDatabase,
            settings=settings(
                max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )


# --- claiming --------------------------------------------------------------------------------------------------------


def test_the_oldest_due_deliveries_of_the_lane_are_claimed_first(database_url: str) -> None:
    """By due time, never more than asked for, none of another lane and none that is not due."""
    with opened(database_url) as database, database.writing.begin() as conn:
        (late,) = put_deliveries(conn, now=NOW)
        (early,) = put_deliveries(conn, now=NOW - timedelta(minutes=1))
        put_deliveries(conn, now=NOW + timedelta(microseconds=1))
        put_deliveries(conn, now=NOW, sink="slack")

        assert [item.id for item in claim(conn, NOW, limit=1)] == [early]
        assert [item.id for item in claim(conn, NOW)] == [late]
        assert claim(conn, NOW) == []


def test_a_claimed_delivery_has_all_that_is_needed_to_render_it(database_url: str) -> None:
    """Whose it is, what happened and when, and the fields at that moment."""
    with opened(database_url) as database, database.writing.begin() as conn:
        (made,) = put_deliveries(conn, fields={"customer_name": "Zoë", "tags": None, "duration": 20})
        (delivery,) = claim(conn, NOW)
        object_id = conn.execute(select(objects.c.object_id)).scalar_one()

    assert delivery == Delivery(
        id=made,
        fence=1,
        attempts=0,
        rule="r",
        sink="crm",
        company="acme",
        object_type="call",
        callrail_id=object_id,
        transition=delivery.transition,
        occurred_at=NOW,
        stage="ended",
        outcome="missed",
        fields={"customer_name": "Zoë", "tags": None, "duration": 20},
    )
    assert delivery.transition.value == "call.missed"
    assert delivery.occurred_at.tzinfo is UTC


def test_two_claims_at_once_share_no_delivery(postgresql_url: str) -> None:
    """The second skips what the first has locked, instead of waiting for it."""
    with opened(postgresql_url) as one, opened(postgresql_url) as other:
        with one.writing.begin() as conn:
            made = put_deliveries(conn, count=4)
        with one.writing.begin() as first, other.writing.begin() as second:
            shares = [claim(first, NOW, limit=2), claim(second, NOW, limit=4)]

    assert [[item.id for item in share] for share in shares] == [made[:2], made[2:]]


def test_the_lanes_in_which_something_is_due_are_found_at_once(database_url: str) -> None:
    """What is due later, held or finished counts as nothing, nor does what nobody asked about."""
    with opened(database_url) as database, database.writing.begin() as conn:
        for sink, due in {"crm": NOW, "later": NOW + timedelta(seconds=1), "slack": NOW, "other": NOW}.items():
            put_deliveries(conn, now=due, sink=sink)
        asked = ["crm", "later", "slack", "empty"]

        assert leases.due_of(conn, asked, now=NOW) == {"crm", "slack"}
        claim(conn, NOW)
        assert leases.due_of(conn, asked, now=NOW) == {"slack"}
        assert leases.due_of(conn, [], now=NOW) == set()


def test_the_next_due_time_is_that_of_the_lanes_first_pending_delivery(database_url: str) -> None:
    """What is held or finished is not waited for, nor what is another lane's."""
    with opened(database_url) as database, database.writing.begin() as conn:
        put_deliveries(conn, now=NOW)
        put_deliveries(conn, now=NOW + timedelta(hours=1))
        put_deliveries(conn, now=NOW - timedelta(hours=1), sink="slack")

        assert leases.next_due(conn, "crm") == NOW
        claim(conn, NOW)
        assert leases.next_due(conn, "crm") == NOW + timedelta(hours=1)
        claim(conn, NOW + timedelta(hours=1))
        assert leases.next_due(conn, "crm") is None


# --- recording -------------------------------------------------------------------------------------------------------


def test_a_try_and_what_follows_are_stored(database_url: str) -> None:
    """The delivery stands where the step says, the lease is over, and the try has a row of its own."""
    due_at = NOW + timedelta(seconds=7)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            put_deliveries(conn)
            held = claim(conn, NOW)
            leases.record(conn, [tried(held[0], DeliveryState.PENDING, due_at=due_at, reason="HTTP 500")], now=NOW)

        (row,) = rows_of(database, deliveries)
        (attempt,) = rows_of(database, attempts)
    assert (row.state, row.due_at, row.lease_until, row.leased_by) == (DeliveryState.PENDING, due_at, None, None)
    assert (row.attempts, row.reason, row.remote_id, row.finished_at) == (1, "HTTP 500", "42", None)
    assert (attempt.delivery_id, attempt.milliseconds, attempt.outcome, attempt.reason) == (
        row.id,
        12,
        "retry",
        "HTTP 500",
    )


def test_what_an_earlier_holder_says_is_noted_and_changes_nothing(database_url: str) -> None:
    """Its try happened and is listed; the delivery belongs to whoever took it over."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            put_deliveries(conn)
            late = claim(conn, NOW)
            leases.return_leases(conn, now=NOW, everything=True)
            claim(conn, NOW, instance="in_2")
            leases.record(conn, [tried(late[0], DeliveryState.DEAD)], now=NOW)

        (row,) = rows_of(database, deliveries)
        assert (row.state, row.leased_by, row.fence, row.attempts) == (DeliveryState.SENDING, "in_2", 2, 0)
        assert [try_.outcome for try_ in rows_of(database, attempts)] == ["uncertain", "retry"]


@pytest.mark.parametrize(
    ("late", "state"),
    [(DeliveryState.PENDING, DeliveryState.UNCERTAIN), (DeliveryState.DELIVERED, DeliveryState.DELIVERED)],
    ids=["again", "delivered"],
)
def test_of_a_returned_lease_only_the_end_is_heard(
    database_url: str, late: DeliveryState, state: DeliveryState
) -> None:
    """That it is to be tried again used to open what was kept for a person, beside the next one of its order key."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for _ in range(2):
                put_deliveries(conn, order_key="ann")
            held = claim(conn, NOW)
            leases.return_leases(conn, now=NOW, everything=True, on_uncertain={"crm": OnUncertain.HOLD})
            leases.record(conn, [tried(held[0], late)], now=NOW)

        assert [row.state for row in rows_of(database, deliveries)] == [state, DeliveryState.PENDING]


def test_of_a_claim_that_was_undone_nothing_is_given_back(database_url: str) -> None:
    """Another's next claim has the same fence, and what it claimed is on the way by then."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            put_deliveries(conn)
        with database.writing.connect() as conn:
            undone = claim(conn, NOW)
            conn.rollback()
        with database.writing.begin() as conn:
            claimed = claim(conn, NOW, instance="in_2")
            assert claimed == undone
            assert leases.give_back(conn, undone, instance="in_1") == 0
            assert leases.give_back(conn, claimed, instance="in_2") == 1
            assert leases.give_back(conn, claimed, instance="in_2") == 0


# --- returning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("everything", [True, False], ids=["at-the-start", "as-leases-end"])
def test_what_was_being_sent_says_that_it_may_repeat(database_url: str, everything: bool) -> None:
    """What a dispatcher of an older version had only leased is simply pending again; both are due at once."""
    now = NOW if everything else NOW + LEASE + timedelta(seconds=1)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            put_deliveries(conn, count=2)
            held = claim(conn, NOW)
            leased = deliveries.update().where(deliveries.c.id == held[1].id)
            conn.execute(leased.values(state=DeliveryState.LEASED.value))
            assert leases.return_leases(conn, now=now, everything=everything) == 2

        rows = {row.id: row for row in rows_of(database, deliveries)}
    assert [rows[item.id].reason for item in held] == [MAY_REPEAT, None]
    for row in rows.values():
        assert (row.state, row.due_at, row.lease_until, row.leased_by) == (DeliveryState.PENDING, now, None, None)


def test_a_lease_that_runs_is_not_returned(database_url: str) -> None:
    """Until its last moment it belongs to its holder."""
    with opened(database_url) as database, database.writing.begin() as conn:
        put_deliveries(conn)
        claim(conn, NOW)

        assert leases.return_leases(conn, now=NOW + LEASE) == 0


def test_a_clock_set_back_takes_everything_open_with_it(database_url: str) -> None:
    """Due times, leases and pauses move by as much; what is finished stays where it was."""
    by = timedelta(hours=3)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            put_deliveries(conn)
            leases.record(conn, [tried(item, DeliveryState.DELIVERED) for item in claim(conn, NOW)], now=NOW)
            put_deliveries(conn)
            claim(conn, NOW)
            put_deliveries(conn, now=NOW + timedelta(minutes=1))
            save_lane(conn, Condition("crm", failures=3, paused_until=NOW + LEASE, reason="HTTP 429"))
        before = {row.id: row for row in rows_of(database, deliveries)}
        with database.writing.begin() as conn:
            outbox.shift_open_times(conn, by)

        for row in rows_of(database, deliveries):
            old = before[row.id]
            moved = timedelta(0) if row.state == DeliveryState.DELIVERED else by
            assert row.due_at == old.due_at - moved
            assert row.lease_until == (None if old.lease_until is None else old.lease_until - moved)
        (lane,) = rows_of(database, lanes)
    assert (lane.paused_until, lane.reason, lane.failures) == (NOW + LEASE - by, "HTTP 429", 3)


def test_the_wall_clock_shifts_what_is_open_only_when_it_was_set_back(sqlite_url: str) -> None:
    """A clock that runs on leaves every time as it is."""
    shifted: list[Any] = []
    with opened(sqlite_url) as database, database.writing.begin() as conn:
        clock = WallClock(lambda _conn, by: shifted.append(by))
        first, second = clock.now(conn), clock.now(conn)

    assert first <= second
    assert shifted == []


# --- lanes -----------------------------------------------------------------------------------------------------------


def test_opening_a_lane_again_leaves_its_condition(database_url: str) -> None:
    """A pause outlives a restart."""
    with opened(database_url) as database, database.writing.begin() as conn:
        open_lane(conn, "crm")
        assert read_lane(conn, "crm") == Condition("crm")
        paused = Condition("crm", paused_until=NOW, reason="gone", failures=2, tokens=0.5, tokens_at=NOW)
        save_lane(conn, paused)
        open_lane(conn, "crm")

        assert read_lane(conn, "crm") == paused
