"""The order of one person's messages: who waits for whom, what lets the next one go, and who is never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import Connection, select, update

from receiver.database import Database, find_by_index
from receiver.ids import Prefix, new_id
from routers import leases, outbox
from routers.amending import Amendment, amend, tell_with_firsts, with_stories
from routers.corrections import Correction, correct
from routers.crm_memory import _bring_together
from routers.dispatcher import Limits
from routers.lanes import claimed_elsewhere
from routers.leads import Found, Key, KeyKind
from routers.leases import Delivery, Tried, claim_due, record
from routers.messages import Amend, Message
from routers.ordering import Pair, held_back, let_pass, promote, promote_forgotten
from routers.outbox import NewDelivery, insert_deliveries
from routers.outcomes import AuthFailed, Delivered, Outcome, Retry
from routers.retries import Policy
from routers.rules.ruleset import NOT_AMENDED, Amending
from routers.schema import DeliveryState, deliveries, transitions
from routers.sinks.sink import Check
from routers.transitions import Transition
from routers.uncertain import OnUncertain
from tests.routers.dispatching import HOUR, World
from tests.routers.store import NOW, FixedClock, opened, put_deliveries, rows_of, statements_of, tried
from tests.routers.waiting import until

LEASE = timedelta(minutes=1)
ANN = "acme:+14045550101"
BOB = "acme:+14045550102"


def states(database: Database) -> list[str]:
    """Of all deliveries, in the order they were made."""
    return [row.state for row in rows_of(database, deliveries)]


def claimed(conn: Connection, *, limit: int = 100, after: str | None = None) -> list[leases.Delivery]:
    """All that may be sent."""
    until = NOW + LEASE
    return leases.claim_due(conn, sink="crm", now=NOW, lease_until=until, instance="in_1", limit=limit, after=after)


def about_the_same(conn: Connection, delivery_id: str) -> NewDelivery:
    """Later news of what the delivery told of."""
    row = conn.execute(deliveries.select().where(deliveries.c.id == delivery_id)).one()
    copied = ("transition_id", "object_id", "company", "rule", "send", "sink", "order_key")
    return NewDelivery(key=f"later than {delivery_id}", **{name: getattr(row, name) for name in copied})


# --- who waits -------------------------------------------------------------------------------------------------------


def test_only_the_first_of_a_person_may_go_and_other_people_and_sinks_do_not_wait(database_url: str) -> None:
    """Blocked are the later ones of the same sink and order key, also within one insert; without a key none is."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            put_deliveries(conn, count=2, order_key=ANN)
            put_deliveries(conn, order_key=ANN)
            put_deliveries(conn, order_key=BOB)
            put_deliveries(conn, order_key=ANN, sink="slack")
            put_deliveries(conn, count=2)

        assert states(database) == ["pending", "blocked", "blocked", "pending", "pending", "pending", "pending"]


def test_postgresql_looks_for_those_of_one_person_and_does_not_read_all_that_wait(postgresql_url: str) -> None:
    """It made a hash of all blocked deliveries for each batch that was routed, which cost more the more waited."""
    with opened(postgresql_url) as database, database.writing.begin() as conn:
        put_deliveries(conn, count=50, order_key=ANN)
        with statements_of(database.writing) as asked:
            held_back(conn, [Pair("crm", ANN), Pair("crm", BOB)])
            promote(conn, [Pair("crm", ANN), Pair("crm", BOB)])
        plans = [conn.exec_driver_sql(f"EXPLAIN {statement}", bound).scalars().all() for statement, bound in asked]

    assert len(plans) == 2
    assert [line for plan in plans for line in plan if "hashed" in line] == []


def test_who_writes_all_day_reads_no_table_through_on_postgresql(postgresql_url: str) -> None:
    """A plan made while there were few stayed, and each turn read all deliveries, and all that were blocked."""
    with opened(postgresql_url) as database, database.writing.connect() as conn:
        find_by_index(conn)
        put_deliveries(conn, count=2, order_key=ANN)
        with statements_of(database.writing) as asked:
            claimed_elsewhere(conn, "crm", "in_1")
            leases.record(conn, [tried(item, DeliveryState.DELIVERED) for item in claimed(conn)], now=NOW)
            assert len(claimed(conn, after="acme")) == 1
        plans = [conn.exec_driver_sql(f"EXPLAIN {statement}", bound).scalars().all() for statement, bound in asked]

    assert len(plans) >= 4
    whole = ("Seq Scan", "Bitmap", "Hash Join", "Hash Semi", "Merge")
    assert [line for plan in plans for line in plan if any(word in line for word in whole)] == []
    (promoting,) = (plan for (statement, _), plan in zip(asked, plans, strict=True) if "|| ''" in statement)
    assert any("pk_deliveries on deliveries" in line for line in promoting), promoting


def _its_story(conn: Connection) -> None:
    """What a turn reads of a message that later news amends."""
    with_stories(conn, [replace(each, amend=Amend.EDIT) for each in claimed(conn, limit=2)])


def _its_news(conn: Connection) -> None:
    """What routing reads of a message that there is later news of."""
    news = NewDelivery("news", "tr_1", "ob_1", "acme", "r", "0", "crm", order_key=ANN)
    amend(conn, [Amendment(news, ("r",), Amending(Amend.EDIT, tells_all=True), first="dl_1")], now=NOW)


def _its_correction(conn: Connection) -> None:
    told = conn.execute(select(transitions).limit(1)).one()
    wrong, right = Transition.CALL_MISSED, Transition.CALL_ANSWERED
    correct(conn, Correction(told.object_id, wrong, right, "tr_1", lambda *_: NOT_AMENDED), now=NOW)


def _its_lead(conn: Connection) -> None:
    """What is about a lead under another of its keys, when its delivery has its turn."""
    row = Mock(sink="crm", company="acme", order_key="acme:PER1")
    keys = (Key(KeyKind.PERSON, "PER1"), Key(KeyKind.PHONE, "+14045550101"))
    _bring_together(conn, row, Found("ld_1", ("ld_1",), keys, "ob_1"))


@pytest.mark.parametrize("asks", [_its_story, _its_news, _its_correction, _its_lead])
def test_what_is_about_one_thing_is_found_without_reading_all_deliveries(
    postgresql_url: str, asks: Callable[[Connection], None]
) -> None:
    """Of two conditions with an index each PostgreSQL made a bitmap, or read all that was ever delivered."""
    with opened(postgresql_url) as database, database.writing.connect() as conn:
        find_by_index(conn)
        put_deliveries(conn, count=2_000)
        conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED))
        put_deliveries(conn, count=20, order_key=ANN)
        conn.exec_driver_sql("ANALYZE")
        with statements_of(database.writing) as asked:
            asks(conn)
        plans = [conn.exec_driver_sql(f"EXPLAIN {statement}", bound).scalars().all() for statement, bound in asked]

    scans = [pair for plan in plans for pair in pairwise([*plan, ""]) if "Scan" in pair[0] and "on deliver" in pair[0]]
    assert scans
    assert [pair for pair in scans if "Index Cond" not in pair[1]] == []


def test_one_that_was_made_before_holds_nobody_back_when_it_is_made_again(database_url: str) -> None:
    """It was left out for its key, and what came with it used to wait for it all the same, up to a minute."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            (done,) = put_deliveries(conn, order_key=ANN)
            leases.record(conn, [tried(item, DeliveryState.DELIVERED) for item in claimed(conn)], now=NOW)
            again = about_the_same(conn, done)
            made_before = conn.execute(deliveries.select()).one().key
            insert_deliveries(conn, [replace(again, key=made_before), again], now=NOW)

        assert states(database) == [DeliveryState.DELIVERED, DeliveryState.PENDING]


# --- what lets the next one go ---------------------------------------------------------------------------------------


def _record(state: DeliveryState) -> Callable[[Connection], Any]:
    return lambda conn: leases.record(conn, [tried(item, state) for item in claimed(conn)], now=NOW)


def _is_held_as_uncertain(conn: Connection) -> None:
    claimed(conn)
    policy = {"crm": OnUncertain.HOLD}
    leases.return_leases(conn, now=NOW, everything=True, on_uncertain=policy)


def _expires(conn: Connection) -> None:
    conn.execute(update(deliveries).where(deliveries.c.state == "pending").values(expires_at=NOW))
    outbox.expire(conn, now=NOW)


def _is_corrected(conn: Connection) -> None:
    object_id = conn.execute(deliveries.select().where(deliveries.c.state == "pending")).one().object_id
    wrong, right = Transition.CALL_MISSED, Transition.CALL_ANSWERED
    correct(conn, Correction(object_id, wrong, right, "tr_1", lambda *_: NOT_AMENDED), now=NOW)


ENDS = {
    "delivered": _record(DeliveryState.DELIVERED),
    "dead": _record(DeliveryState.DEAD),
    "uncertain": _record(DeliveryState.UNCERTAIN),
    "held": _is_held_as_uncertain,
    "expired": _expires,
    "corrected": _is_corrected,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_whatever_ends_the_first_lets_the_next_go_in_the_same_transaction(
    database_url: str, end: Callable[[Connection], Any]
) -> None:
    """One, and not the one after it."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for _ in range(3):
                put_deliveries(conn, order_key=ANN)
            end(conn)

        assert states(database)[1:] == [DeliveryState.PENDING, DeliveryState.BLOCKED]
        with database.writing.begin() as conn:
            assert promote_forgotten(conn) == 0


def test_one_that_is_tried_again_lets_others_pass_when_its_time_is_over(database_url: str) -> None:
    """Until then they wait; afterwards they go on one after another, and it goes on beside them."""
    until = NOW + timedelta(minutes=2)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for _ in range(3):
                put_deliveries(conn, order_key=ANN)
            again = replace(tried(claimed(conn)[0], DeliveryState.PENDING), blocks_until=until)
            leases.record(conn, [again], now=NOW)
            assert let_pass(conn, now=until - timedelta(microseconds=1)) == 0
        assert states(database) == ["pending", "blocked", "blocked"]

        with database.writing.begin() as conn:
            assert let_pass(conn, now=until) == 1
        assert states(database) == ["pending", "pending", "blocked"]


class Refuses:
    """A sink that answers as *told*, by the number of the try, and then takes everything; *keys* are in order."""

    def __init__(self, *told: Outcome) -> None:
        self.told = list(told)
        self.keys: list[str] = []

    async def check(self) -> Sequence[Check]:
        return []

    async def deliver(self, message: Message) -> Outcome:
        self.keys.append(message.key)
        return self.told.pop(0) if self.told else Delivered()

    async def aclose(self) -> None:
        pass


@pytest.mark.anyio
async def test_a_lane_tells_of_a_person_in_order_until_one_has_been_tried_for_too_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first while that is tried again, and passes it after `holds_back`."""
    monkeypatch.setattr("routers.dispatcher.RETURN_EVERY", timedelta(milliseconds=20))
    clock, sink = FixedClock(), Refuses(Retry("HTTP 500"))
    limits = Limits(4, HOUR, Policy((HOUR,)), holds_back=timedelta(minutes=2))
    with opened(database_url) as database:
        world = World(database)
        first, second, third = [(await world.put(order_key=ANN, now=NOW))[0] for _ in range(3)]
        async with world.dispatching({"crm": (sink, limits)}, clock=clock) as dispatcher:
            await until(lambda: world.deliveries()[0].attempts == 1)
            assert world.states() == ["pending", "blocked", "blocked"]
            clock.moment += timedelta(minutes=2)
            await until(lambda: world.states() == ["pending", "delivered", "delivered"])
            clock.moment += 2 * HOUR
            dispatcher.hint()
            await world.all_are(DeliveryState.DELIVERED)

    assert sink.keys == [first, second, third, first]


@pytest.mark.anyio
async def test_an_answer_that_costs_no_try_does_not_hold_back_again_whom_it_had_let_pass(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time was over when the sink did not know us any more; it used to stand in the way once more."""
    monkeypatch.setattr("routers.dispatcher.RETURN_EVERY", HOUR)
    monkeypatch.setattr("routers.retries.PAUSE", timedelta(0))
    clock, sink = FixedClock(), Refuses(Retry("HTTP 500"), AuthFailed("HTTP 401"), AuthFailed("HTTP 401"))
    limits = Limits(1, HOUR, Policy((HOUR,)), holds_back=timedelta(minutes=2))
    with opened(database_url) as database:
        world = World(database)
        first, second = [(await world.put(order_key=ANN, now=NOW))[0] for _ in range(2)]
        async with world.dispatching({"crm": (sink, limits)}, clock=clock) as dispatcher:
            await until(lambda: world.deliveries()[0].attempts == 1)
            clock.moment += 2 * HOUR
            dispatcher.hint()
            await world.all_are(DeliveryState.DELIVERED)
    assert sink.keys[:3] == [first, first, second]


# --- who is never forgotten ------------------------------------------------------------------------------------------


def test_later_news_made_while_another_transaction_ends_what_it_waits_for_is_said_to_wait(postgresql_url: str) -> None:
    """Neither transaction sees the other, so the router looks after it; it used to for first messages only."""
    news = Amending(Amend.NEW)
    with opened(postgresql_url) as router, opened(postgresql_url) as dispatcher:
        with router.writing.begin() as conn:
            (told,) = put_deliveries(conn, order_key=ANN)
            leases.record(conn, [tried(item, DeliveryState.DELIVERED) for item in claimed(conn)], now=NOW)
            put_deliveries(conn, order_key=ANN)
            (on_the_way,) = claimed(conn)
        with dispatcher.writing.begin() as ending:
            leases.record(ending, [tried(on_the_way, DeliveryState.DELIVERED)], now=NOW)
            with router.writing.begin() as conn:
                another = about_the_same(conn, on_the_way.id).transition_id
                later = replace(about_the_same(conn, told), transition_id=another)
                waiting = amend(conn, [Amendment(later, ("r",), news, first=told)], now=NOW)
        assert states(router) == ["delivered", "delivered", "blocked"]

        assert waiting == {Pair("crm", ANN)}
        with router.writing.begin() as conn:
            assert promote(conn, waiting) == 1
        assert states(router) == ["delivered", "delivered", "pending"]


def test_one_taken_up_while_another_transaction_ends_what_it_waits_for_is_said_to_wait(postgresql_url: str) -> None:
    """The same where a correction brings back what an earlier one had ended."""
    missed, answered = Transition.CALL_MISSED, Transition.CALL_ANSWERED
    with opened(postgresql_url) as router, opened(postgresql_url) as dispatcher:
        with router.writing.begin() as conn:
            put_deliveries(conn, order_key=ANN)
            (object_id,) = [row.object_id for row in conn.execute(deliveries.select())]
            correct(conn, Correction(object_id, missed, answered, "tr_1", lambda *_: NOT_AMENDED), now=NOW)
            put_deliveries(conn, order_key=ANN)
            (on_the_way,) = claimed(conn)
        with dispatcher.writing.begin() as ending:
            leases.record(ending, [tried(on_the_way, DeliveryState.DELIVERED)], now=NOW)
            with router.writing.begin() as conn:
                back = Correction(object_id, answered, missed, "tr_2", lambda *_: NOT_AMENDED)
                waiting = correct(conn, back, now=NOW)
        assert states(router) == ["blocked", "delivered"]

        with router.writing.begin() as conn:
            assert promote(conn, waiting) == 1


def test_two_that_end_at_once_let_one_go_each_time(postgresql_url: str) -> None:
    """The one that was let past and the one that goes in order: neither forgets, and neither lets two go."""
    with opened(postgresql_url) as one, opened(postgresql_url) as other:
        with one.writing.begin() as conn:
            for _ in range(4):
                put_deliveries(conn, order_key=ANN)
            (slow,) = claimed(conn)
            conn.execute(update(deliveries).where(deliveries.c.id == slow.id).values(blocks_until=NOW))
            let_pass(conn, now=NOW)
            (next_one,) = claimed(conn)
        with one.writing.begin() as first, other.writing.begin() as second:
            leases.record(first, [tried(slow, DeliveryState.DELIVERED)], now=NOW)
            leases.record(second, [tried(next_one, DeliveryState.DELIVERED)], now=NOW)

        assert states(one) == ["delivered", "delivered", "pending", "blocked"]


@pytest.mark.anyio
async def test_a_start_promotes_what_a_process_left_behind(database_url: str) -> None:
    """It died between its COMMIT and its look after those that wait."""
    with opened(database_url) as database:
        world, sink = World(database), Refuses()
        for _ in range(2):
            await world.put(order_key=ANN)
        with database.writing.begin() as conn:
            conn.execute(update(deliveries).values(state="blocked"))

        async with world.dispatching({"crm": (sink, Limits(4, HOUR, Policy((HOUR,))))}):
            await asyncio.wait_for(world.all_are(DeliveryState.DELIVERED), 60)
        assert sink.keys == [row.id for row in world.deliveries()]


def test_a_first_message_that_is_tried_again_tells_the_news_that_came_while_it_was_being_sent(
    database_url: str,
) -> None:
    """It was once let past after two minutes: people got two messages, and the older news last."""
    later = NOW + timedelta(minutes=10)
    with opened(database_url) as database, database.writing.begin() as conn:
        (first,) = put_deliveries(conn, order_key="acme:ann")
        conn.execute(update(deliveries).values(amend=Amend.EDIT))
        told = conn.execute(select(transitions)).one()
        known = {**told._asdict(), "id": new_id(Prefix.TRANSITION), "name": Transition.CALL_TRANSCRIPT_READY}
        conn.execute(transitions.insert().values(known))
        (sent,) = _claimed_with_story(conn, NOW)
        news = NewDelivery("news", known["id"], told.object_id, "acme", "r", "0", "crm", order_key="acme:ann")
        amend(conn, [Amendment(news, ("r",), Amending(Amend.EDIT, tells_all=True), first=first)], now=NOW)
        failed = [Tried(sent, NOW, timedelta(0), "retry", DeliveryState.PENDING, later, 1, "HTTP 503", blocks=False)]

        tell_with_firsts(conn, failed, now=NOW)  # not heard: it is still being sent, and tells what it told
        assert [row.state for row in conn.execute(select(deliveries).order_by(deliveries.c.id))][1] == "blocked"
        record(conn, failed, now=NOW)
        tell_with_firsts(conn, failed, now=NOW)

        (again,) = _claimed_with_story(conn, later)
        assert (again.id, again.transition) == (first, Transition.CALL_TRANSCRIPT_READY)
        assert [chapter.transition for chapter in again.story] == [Transition.CALL_MISSED]


def _claimed_with_story(conn: Connection, now: datetime) -> list[Delivery]:
    lease = now + timedelta(hours=1)
    return with_stories(conn, claim_due(conn, sink="crm", now=now, lease_until=lease, instance="in_1", limit=9))
