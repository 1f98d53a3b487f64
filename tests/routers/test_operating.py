"""What an operator changes in the outbox, on both databases: taken up again or cancelled, and who goes on waiting."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Row, select, update

from receiver.database import Database
from routers import lanes, leases
from routers.lanes import Condition, lock_lane, save_lane
from routers.leases import claim_due, record
from routers.ledger import Selection
from routers.operating import CANCELLABLE, CANCELLED, cancel, change_all, clock_of, resume, retry
from routers.schema import RETRYABLE, DeliveryState, attempts, deliveries
from tests.routers.store import NOW, FixedClock, opened, put_deliveries, rows_of, tried

LATER = NOW + timedelta(hours=30)
FINISHED: dict[str, Any] = {
    "attempts": 7,
    "expires_at": NOW,
    "finished_at": NOW,
    "cause": "gave up: HTTP 500",
    "reason": "gave up after 7 tries: HTTP 500",
    "blocks": False,
    "done": "the first of two",
}


def put(conn: Connection, state: DeliveryState, *, sink: str = "crm", **values: Any) -> str:
    """A delivery in *state* with *values*; its id."""
    (made,) = put_deliveries(conn, sink=sink)
    conn.execute(update(deliveries).where(deliveries.c.id == made).values(state=state.value, **values))
    return made


def row_of(conn: Connection, delivery_id: str) -> Row[Any]:
    return conn.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()


def claim(conn: Connection, limit: int = 10) -> list[leases.Delivery]:
    return claim_due(conn, sink="crm", now=LATER, lease_until=LATER, instance="in_1", limit=limit)


# --- retry -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RETRYABLE)
def test_what_is_taken_up_again_is_as_if_never_tried(database_url: str, state: DeliveryState) -> None:
    """Same id and key, no tries, no end in sight; what was achieved is kept, and what may have arrived says so."""
    with opened(database_url) as database, database.writing.begin() as conn:
        made = put(conn, state, **FINISHED)
        before = row_of(conn, made)

        assert retry(conn, [made], now=LATER) == 1

        after = row_of(conn, made)
        assert (after.id, after.key, after.done) == (before.id, before.key, "the first of two")
        assert (after.state, after.due_at, after.attempts) == (DeliveryState.PENDING, LATER, 0)
        assert (after.expires_at, after.finished_at, after.cause, after.reason) == (None, None, None, None)
        assert (after.blocks, after.blocks_until) == (True, None)
        assert after.may_repeat == (state is DeliveryState.UNCERTAIN)
        assert after.fence > before.fence  # an earlier holder has nothing more to say
        assert [item.id for item in claim(conn)] == [made]


def test_what_may_repeat_goes_on_to_say_so(database_url: str) -> None:
    """A dead letter of which an earlier try may have arrived is still such a one."""
    with opened(database_url) as database, database.writing.begin() as conn:
        made = put(conn, DeliveryState.DEAD, may_repeat=True)

        retry(conn, [made], now=LATER)

        assert row_of(conn, made).may_repeat


@pytest.mark.parametrize("state", [state for state in DeliveryState if state not in RETRYABLE])
def test_what_is_open_or_arrived_is_not_taken_up_again(database_url: str, state: DeliveryState) -> None:
    """Nothing twice: not a column of it changes."""
    with opened(database_url) as database, database.writing.begin() as conn:
        made = put(conn, state, **FINISHED)
        before = row_of(conn, made)

        assert retry(conn, [made], now=LATER) == 0
        assert row_of(conn, made) == before


def test_a_lane_stays_as_it_is(database_url: str) -> None:
    """A pause is ended by `sinks resume` and by nothing else."""
    paused = Condition("crm", paused_until=LATER + timedelta(hours=1), reason="gone", failures=5)
    with opened(database_url) as database, database.writing.begin() as conn:
        made = put(conn, DeliveryState.DEAD)
        save_lane(conn, paused)

        retry(conn, [made], now=LATER)
        cancel(conn, [made], now=LATER)

        assert lanes.read_lane(conn, "crm") == paused


def test_what_is_taken_up_again_waits_for_the_open_one_of_its_person(database_url: str) -> None:
    """One after another, also when an operator asks for it."""
    with opened(database_url) as database, database.writing.begin() as conn:
        dead = put(conn, DeliveryState.DEAD, order_key="acme:+14045550101")
        other_person = put(conn, DeliveryState.DEAD, order_key="acme:+14045550102")
        put(conn, DeliveryState.PENDING, order_key="acme:+14045550101")

        assert retry(conn, [dead, other_person], now=LATER) == 2

        assert row_of(conn, dead).state == DeliveryState.BLOCKED
        assert row_of(conn, other_person).state == DeliveryState.PENDING
        record(conn, [tried(item, DeliveryState.DELIVERED) for item in claim(conn)], now=LATER)
        assert row_of(conn, dead).state == DeliveryState.PENDING


def test_several_of_one_person_go_in_the_order_they_were_made(database_url: str) -> None:
    """The first of them is due, the others wait for it."""
    with opened(database_url) as database, database.writing.begin() as conn:
        made = [put(conn, DeliveryState.DEAD, order_key="acme:+14045550101") for _ in range(3)]

        retry(conn, list(reversed(made)), now=LATER)

        assert [row_of(conn, one).state for one in made] == ["pending", "blocked", "blocked"]


# --- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", CANCELLABLE)
def test_what_is_not_sent_yet_is_cancelled(database_url: str, state: DeliveryState) -> None:
    """With its reason, and nobody claims it any more."""
    with opened(database_url) as database, database.writing.begin() as conn:
        made = put(conn, state, leased_by="in_1", lease_until=NOW)

        assert cancel(conn, [made], now=LATER) == 1

        row = row_of(conn, made)
        assert (row.state, row.reason, row.cause, row.finished_at) == ("cancelled", CANCELLED, None, LATER)
        assert (row.lease_until, row.leased_by) == (None, None)
        assert claim(conn) == []


@pytest.mark.parametrize("state", [state for state in DeliveryState if state not in CANCELLABLE])
def test_what_is_on_the_wire_or_over_is_not_cancelled(database_url: str, state: DeliveryState) -> None:
    """What is being sent cannot be called back, and the ledger does not say that it was."""
    with opened(database_url) as database, database.writing.begin() as conn:
        made = put(conn, state, **FINISHED)
        before = row_of(conn, made)

        assert cancel(conn, [made], now=LATER) == 0
        assert row_of(conn, made) == before


def test_what_waited_for_a_cancelled_one_may_go(database_url: str) -> None:
    """But for those that are cancelled with it."""
    with opened(database_url) as database, database.writing.begin() as conn:
        first = put(conn, DeliveryState.PENDING, order_key="acme:+14045550101")
        second, third = (put(conn, DeliveryState.BLOCKED, order_key="acme:+14045550101") for _ in range(2))

        cancel(conn, [first, second], now=LATER)

        assert [row_of(conn, one).state for one in (first, second, third)] == ["cancelled", "cancelled", "pending"]


def test_a_cancelled_one_can_be_taken_up_again(database_url: str) -> None:
    """So a mistake of the operator's is no loss."""
    with opened(database_url) as database, database.writing.begin() as conn:
        made = put(conn, DeliveryState.PENDING)
        cancel(conn, [made], now=LATER)

        assert retry(conn, [made], now=LATER) == 1
        assert [item.id for item in claim(conn)] == [made]


# --- in batches ------------------------------------------------------------------------------------------------------

DEAD = Selection(states=(DeliveryState.DEAD,))


def put_dead(database: Database, count: int) -> list[str]:
    with database.writing.begin() as conn:
        return [put(conn, DeliveryState.DEAD) for _ in range(count)]


def states(database: Database) -> list[str]:
    return [row.state for row in rows_of(database, deliveries)]


def test_many_are_changed_a_batch_a_transaction(database_url: str) -> None:
    """None of them twice, and whoever watches hears how far it is."""
    told: list[int] = []
    with opened(database_url) as database:
        put_dead(database, 5)

        assert change_all(database, DEAD, retry, clock=FixedClock(), on_batch=told.append, size=2) == 5
        assert states(database) == ["pending"] * 5
    assert told == [2, 4, 5]


def test_what_is_broken_off_keeps_what_is_done_and_goes_on_when_repeated(database_url: str) -> None:
    """Ctrl-C after a batch: that batch stands, and the same command does the rest."""

    def break_off(_changed: int) -> None:
        raise KeyboardInterrupt

    with opened(database_url) as database:
        put_dead(database, 5)
        with pytest.raises(KeyboardInterrupt):
            change_all(database, DEAD, retry, clock=FixedClock(), on_batch=break_off, size=2)
        assert states(database) == ["pending"] * 2 + ["dead"] * 3

        assert change_all(database, DEAD, retry, clock=FixedClock(), size=2) == 3


def test_what_is_made_meanwhile_is_not_meant(database_url: str) -> None:
    """Who retries what is dead does not race with what dies again."""
    with opened(database_url) as database:
        put_dead(database, 3)

        def another_dies(_changed: int) -> None:
            put_dead(database, 1)

        changed = change_all(database, DEAD, retry, clock=FixedClock(), on_batch=another_dies, size=2)

        assert changed == 3
        assert states(database) == ["pending"] * 3 + ["dead"] * 2


def test_nothing_to_change_is_no_mistake(database_url: str) -> None:
    """Nothing is what is changed then."""
    with opened(database_url) as database:
        assert change_all(database, DEAD, retry, clock=clock_of(database)) == 0


def test_cancelling_beside_a_dispatcher_loses_and_doubles_nothing(database_url: str) -> None:
    """Each delivery is either sent once or cancelled unsent, and neither of the two waits for the other for ever."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for number in range(60):
                waits = DeliveryState.PENDING if number < 3 else DeliveryState.BLOCKED
                put(conn, waits, order_key=f"acme:+1404555010{number % 3}")
        dispatcher = threading.Thread(target=send_all, args=(database_url,))
        dispatcher.start()
        cancelled = change_all(database, Selection(states=CANCELLABLE), cancel, clock=FixedClock(LATER), size=7)
        dispatcher.join(timeout=60)

        assert not dispatcher.is_alive()
        rows, tries = rows_of(database, deliveries), rows_of(database, attempts)
    assert {row.state for row in rows} <= {"delivered", "cancelled"}
    assert sum(row.state == "cancelled" for row in rows) == cancelled
    delivered = [row.id for row in rows if row.state == "delivered"]
    assert sorted(item.delivery_id for item in tries) == delivered


def send_all(url: str) -> None:
    """Turns of a lane, until nothing is open."""
    with opened(url) as database:
        sent: list[leases.Delivery] = []
        is_open = True
        while is_open or sent:
            with database.writing.begin() as conn:
                lock_lane(conn, "crm")
                record(conn, [tried(item, DeliveryState.DELIVERED) for item in sent], now=LATER)
                sent = claim(conn, 2)
                unsent = select(deliveries.c.id).where(deliveries.c.state.in_(CANCELLABLE)).limit(1)
                is_open = conn.execute(unsent).first() is not None


# --- resume ----------------------------------------------------------------------------------------------------------


def test_what_waited_for_somebody_to_act_goes_at_once_when_its_sink_is_resumed(database_url: str) -> None:
    """It was due only minutes later. What waits for its next try, or for another sink, waits on."""
    with opened(database_url) as database, database.writing.begin() as conn:
        waits: dict[str, Any] = {"due_at": LATER, "cause": "not authorised"}
        refused, failed = put(conn, DeliveryState.PENDING, **waits), put(conn, DeliveryState.PENDING, due_at=LATER)
        elsewhere = put(conn, DeliveryState.PENDING, sink="mail", **waits)
        save_lane(conn, Condition("crm", paused_until=LATER, reason="not authorised: HTTP 401").shut())

        assert resume(conn, "crm", now=NOW)
        assert not resume(conn, "nobody", now=NOW)

        assert lanes.read_lane(conn, "crm") == Condition("crm")
        assert [row_of(conn, one).due_at for one in (refused, failed, elsewhere)] == [NOW, LATER, LATER]
