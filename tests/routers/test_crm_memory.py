"""What a CRM sink remembers: one at a time has its turn at a lead, and what it keeps is found by whoever comes next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from routers.leads import undo_merge
from routers.messages import Message
from routers.schema import deliveries, lead_merges, remote_ids, turns, versions
from routers.sinks.crm import Known, Of, TurnLost, TurnTaken
from tests.routers.crm_store import LEASE, PHONE, SHARED, CrmStore, a_crm_store
from tests.routers.store import put_deliveries, rows_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[CrmStore]:
    async with a_crm_store(database_url) as store:
        yield store


async def test_what_is_kept_is_known_in_the_next_turn(store: CrmStore) -> None:
    async with store.turn() as turn:
        assert turn.lead is not None
        assert (turn.lead.phone, turn.lead.phones, turn.lead.is_new) == (PHONE, (PHONE,), True)
        assert await turn.known("contact", Of.LEAD) is None
        await turn.intend("contact", Of.LEAD)
        assert await turn.intended_for("contact", Of.LEAD) == timedelta(0)
        await turn.keep("contact", Of.LEAD, "501", "digest")
        await turn.keep("call", Of.THING, "701")
        assert await turn.intended_for("contact", Of.LEAD) is None
    async with store.turn() as turn:
        assert turn.lead is not None
        assert not turn.lead.is_new
        assert await turn.known("contact", Of.LEAD) == Known("501", "digest")
        assert await turn.known("call", Of.THING) is None  # another call
        await turn.forget("contact", Of.LEAD)
        assert await turn.known("contact", Of.LEAD) is None


async def test_what_was_about_to_be_written_is_noted_beside_what_was_before(store: CrmStore) -> None:
    async with store.turn() as turn:
        await turn.intend("contact", Of.LEAD, "one")
        await turn.intend("contact", Of.LEAD, "two")
        assert await turn.noted("contact", Of.LEAD) == "one two"
        await turn.keep("contact", Of.LEAD, "501", "three")
        assert await turn.noted("contact", Of.LEAD) == "three"
        assert await turn.noted("call", Of.THING) is None


async def test_one_at_a_time_has_its_turn(store: CrmStore) -> None:
    async with store.turn():
        with pytest.raises(TurnTaken) as taken:
            async with store.turn(person_resource_id="PER1", customer_phone_number=PHONE):
                pytest.fail("two at once")
        assert taken.value.after == LEASE
        async with store.turn(order_key="acme:x", customer_phone_number="+14045550199"):
            """Somebody else."""
    assert rows_of(store.database, turns) == []


@pytest.mark.parametrize("how", ["an answer lost", "an exception", "cancelled"])
async def test_a_turn_whose_request_may_still_act_runs_out(store: CrmStore, how: str) -> None:
    entered = asyncio.Event()

    async def take() -> None:
        async with store.turn() as turn:
            await turn.intend("contact", Of.LEAD)
            entered.set()
            match how:
                case "an answer lost":
                    turn.may_still_act()
                case "an exception":
                    raise RuntimeError
                case _:
                    await asyncio.Event().wait()

    task = asyncio.create_task(take())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    with pytest.raises(TurnTaken):
        async with store.turn():
            pytest.fail("it may still act")
    store.clock.moment += LEASE
    async with store.turn() as turn:
        assert await turn.intended_for("contact", Of.LEAD) == LEASE


async def test_who_comes_back_after_its_turn_keeps_nothing(store: CrmStore) -> None:
    async with store.turn() as late:
        store.clock.moment += LEASE
        async with store.turn() as turn:
            with pytest.raises(TurnLost):
                await late.keep("contact", Of.LEAD, "501")
            assert await turn.known("contact", Of.LEAD) is None
            await turn.keep("contact", Of.LEAD, "502")
        with pytest.raises(TurnLost):
            await late.intend("call", Of.THING)
    assert [row.remote_id for row in rows_of(store.database, remote_ids)] == ["502"]


async def test_a_clock_set_back_lets_nobody_wait_for_ever(store: CrmStore) -> None:
    async with store.turn() as turn:
        turn.may_still_act()
    store.clock.moment -= timedelta(days=1)
    async with store.turn() as turn:
        assert turn.lead is not None


async def test_of_who_cannot_be_known_there_is_the_thing_alone(store: CrmStore) -> None:
    for number in ("anonymous", SHARED):
        message = store.message("acme:ob", customer_phone_number=number, person_resource_id="PER1")
        async with store.memory.turn(message) as turn:
            assert turn.lead is None
            await turn.keep("call", Of.THING, "701")
            await turn.keep("contact", Of.LEAD, "501")
        async with store.memory.turn(message) as turn:
            assert await turn.known("call", Of.THING) == Known("701")
            assert await turn.known("contact", Of.LEAD) == Known("501")  # of this thing alone
        async with store.turn("acme:ob", customer_phone_number=number) as turn:
            assert await turn.known("contact", Of.LEAD) is None


async def test_two_that_prove_to_be_one_wait_for_each_other_and_share_what_is_known(store: CrmStore) -> None:
    async with store.turn() as by_phone:
        await by_phone.keep("contact", Of.LEAD, "501")
    both = {"customer_phone_number": PHONE, "person_resource_id": "PER1"}
    async with store.turn("acme:PER1", person_resource_id="PER1") as by_person:
        await by_person.keep("contact", Of.LEAD, "502")
        with pytest.raises(TurnTaken):
            async with store.turn(**both):
                pytest.fail("one of the family has its turn")
        await by_person.keep("deal", Of.LEAD, "901")
    async with store.turn(**both) as turn:
        assert turn.lead is not None
        assert await turn.known("contact", Of.LEAD) == Known("501")
        assert await turn.known("deal", Of.LEAD) == Known("901")
        await turn.forget("contact", Of.LEAD)
        assert await turn.known("contact", Of.LEAD) == Known("502")


async def test_a_thing_whose_number_comes_late_has_no_second_turn(store: CrmStore) -> None:
    message = store.message("acme:ob", person_resource_id=None, duration=3)
    async with store.memory.turn(message):
        with store.database.writing.begin() as conn:
            conn.execute(update(versions).values(fields={"customer_phone_number": PHONE}))
        with pytest.raises(TurnTaken):
            async with store.memory.turn(message):
                pytest.fail("two at once")


async def test_a_number_that_an_operator_gave_back_to_another_is_not_the_lead_s(store: CrmStore) -> None:
    """A record found or written by it would be the other's."""
    both = {"customer_phone_number": PHONE, "person_resource_id": "PER1"}
    async with store.turn() as theirs, store.turn(person_resource_id="PER1"):
        pass
    async with store.turn(**both):
        pass
    with store.database.writing.begin() as conn:
        (merge,) = conn.execute(select(lead_merges.c.id)).scalars()
        undo_merge(conn, merge, now=store.clock.moment)
    async with store.turn(**both) as turn:
        assert turn.lead is not None
        assert turn.lead != theirs.lead
        assert (turn.lead.phone, turn.lead.phones) == (None, ())


async def test_what_waits_under_another_key_of_the_lead_comes_behind(store: CrmStore) -> None:
    with store.database.writing.begin() as conn:
        waiting = put_deliveries(conn, count=2, order_key="acme:PER1")
        others = put_deliveries(conn, order_key="acme:PER2")
    async with store.turn(customer_phone_number=PHONE, person_resource_id="PER1"):
        rows = {row.id: row for row in rows_of(store.database, deliveries)}
        assert {(rows[id_].order_key, rows[id_].state) for id_ in waiting} == {(f"acme:{PHONE}", "blocked")}
        assert {(rows[id_].order_key, rows[id_].state) for id_ in others} == {("acme:PER2", "pending")}


async def test_two_processes_give_one_turn(postgresql_url: str) -> None:
    async with a_crm_store(postgresql_url) as one, a_crm_store(postgresql_url) as other:
        messages = [one.message() for _ in range(20)]
        at_once, most = 0, 0

        async def work(store: CrmStore, message: Message) -> None:
            nonlocal at_once, most
            while True:
                try:
                    async with store.memory.turn(message):
                        at_once += 1
                        most = max(most, at_once)
                        await asyncio.sleep(0)
                        at_once -= 1
                        return
                except TurnTaken:
                    await asyncio.sleep(0)

        await asyncio.gather(*(work((one, other)[n % 2], message) for n, message in enumerate(messages)))
    assert most == 1
