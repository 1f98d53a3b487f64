"""What a CRM sink remembers: one at a time has its turn at a lead, and what it keeps is found by whoever comes next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.writer import Writer
from routers.crm_memory import SqlMemory, SqlTurn
from routers.escapes import Escape
from routers.messages import Message, Text
from routers.schema import DeliveryState, deliveries, remote_ids, turns, versions
from routers.sinks.crm import Known, Of, TurnLost, TurnTaken
from routers.transitions import Transition
from tests.routers.store import NOW, FixedClock, opened, put_deliveries, rows_of

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)
PHONE = "+14045550123"


@dataclass
class Office:
    """A store, and a CRM's memory over it."""

    database: Database
    memory: SqlMemory
    clock: FixedClock

    def turn(self, order_key: str = f"acme:{PHONE}", **fields: Any) -> AbstractAsyncContextManager[SqlTurn]:
        """The turn of a new delivery about a call with *fields*, which is being sent."""
        return self.memory.turn(self.message(order_key, **fields))

    def message(self, order_key: str = f"acme:{PHONE}", **fields: Any) -> Message:
        fields = fields or {"customer_phone_number": PHONE}
        with self.database.writing.begin() as conn:
            (delivery,) = put_deliveries(conn, fields=fields, order_key=order_key)
            of_it = deliveries.c.id == delivery
            conn.execute(update(deliveries).where(of_it).values(state=DeliveryState.SENDING.value))
        return Message(delivery, Transition.CALL_MISSED, "acme", NOW, dict, _no_text)


def _no_text(_escape: Escape) -> Text:
    return Text("")


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with an_office(database_url) as office:
        yield office


@asynccontextmanager
async def an_office(database_url: str) -> AsyncIterator[Office]:
    own, clock = open_database(database_url), FixedClock()  # a writer keeps its connection
    writer = Writer(own, insert_events)
    writer.start()
    try:
        with opened(database_url) as database:
            yield Office(database, SqlMemory(writer, clock, "crm", lease=LEASE, shared={"+14045559999"}), clock)
    finally:
        await writer.stop()
        own.dispose()


async def test_what_is_kept_is_known_in_the_next_turn(office: Office) -> None:
    async with office.turn() as turn:
        assert turn.lead is not None
        assert (turn.lead.phone, turn.lead.phones, turn.lead.is_new) == (PHONE, (PHONE,), True)
        assert await turn.known("contact", Of.LEAD) is None
        await turn.intend("contact", Of.LEAD)
        assert await turn.intended_for("contact", Of.LEAD) == timedelta(0)
        await turn.keep("contact", Of.LEAD, "501", "digest")
        await turn.keep("call", Of.THING, "701")
        assert await turn.intended_for("contact", Of.LEAD) is None
    async with office.turn() as turn:
        assert turn.lead is not None
        assert not turn.lead.is_new
        assert await turn.known("contact", Of.LEAD) == Known("501", "digest")
        assert await turn.known("call", Of.THING) is None  # another call
        await turn.forget("contact", Of.LEAD)
        assert await turn.known("contact", Of.LEAD) is None


async def test_what_was_about_to_be_written_is_noted_beside_what_was_before(office: Office) -> None:
    async with office.turn() as turn:
        await turn.intend("contact", Of.LEAD, "one")
        await turn.intend("contact", Of.LEAD, "two")
        assert await turn.noted("contact", Of.LEAD) == "one two"
        await turn.keep("contact", Of.LEAD, "501", "three")
        assert await turn.noted("contact", Of.LEAD) == "three"
        assert await turn.noted("call", Of.THING) is None


async def test_one_at_a_time_has_its_turn(office: Office) -> None:
    async with office.turn():
        with pytest.raises(TurnTaken) as taken:
            async with office.turn(person_resource_id="PER1", customer_phone_number=PHONE):
                pytest.fail("two at once")
        assert taken.value.after == LEASE
        async with office.turn(order_key="acme:x", customer_phone_number="+14045550199"):
            """Somebody else."""
    assert rows_of(office.database, turns) == []


@pytest.mark.parametrize("how", ["an answer lost", "an exception", "cancelled"])
async def test_a_turn_whose_request_may_still_act_runs_out(office: Office, how: str) -> None:
    entered = asyncio.Event()

    async def take() -> None:
        async with office.turn() as turn:
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
        async with office.turn():
            pytest.fail("it may still act")
    office.clock.moment += LEASE
    async with office.turn() as turn:
        assert await turn.intended_for("contact", Of.LEAD) == LEASE


async def test_who_comes_back_after_its_turn_keeps_nothing(office: Office) -> None:
    async with office.turn() as late:
        office.clock.moment += LEASE
        async with office.turn() as turn:
            with pytest.raises(TurnLost):
                await late.keep("contact", Of.LEAD, "501")
            assert await turn.known("contact", Of.LEAD) is None
            await turn.keep("contact", Of.LEAD, "502")
        with pytest.raises(TurnLost):
            await late.intend("call", Of.THING)
    assert [row.remote_id for row in rows_of(office.database, remote_ids)] == ["502"]


async def test_a_clock_set_back_lets_nobody_wait_for_ever(office: Office) -> None:
    async with office.turn() as turn:
        turn.may_still_act()
    office.clock.moment -= timedelta(days=1)
    async with office.turn() as turn:
        assert turn.lead is not None


async def test_of_who_cannot_be_known_there_is_the_thing_alone(office: Office) -> None:
    for number in ("anonymous", "+14045559999"):
        message = office.message("acme:ob", customer_phone_number=number, person_resource_id="PER1")
        async with office.memory.turn(message) as turn:
            assert turn.lead is None
            await turn.keep("call", Of.THING, "701")
            await turn.keep("contact", Of.LEAD, "501")
        async with office.memory.turn(message) as turn:
            assert await turn.known("call", Of.THING) == Known("701")
            assert await turn.known("contact", Of.LEAD) == Known("501")  # of this thing alone
        async with office.turn("acme:ob", customer_phone_number=number) as turn:
            assert await turn.known("contact", Of.LEAD) is None


async def test_two_that_prove_to_be_one_wait_for_each_other_and_share_what_is_known(office: Office) -> None:
    async with office.turn() as by_phone:
        await by_phone.keep("contact", Of.LEAD, "501")
    both = {"customer_phone_number": PHONE, "person_resource_id": "PER1"}
    async with office.turn("acme:PER1", person_resource_id="PER1") as by_person:
        await by_person.keep("contact", Of.LEAD, "502")
        with pytest.raises(TurnTaken):
            async with office.turn(**both):
                pytest.fail("one of the family has its turn")
        await by_person.keep("deal", Of.LEAD, "901")
    async with office.turn(**both) as turn:
        assert turn.lead is not None
        assert await turn.known("contact", Of.LEAD) == Known("501")
        assert await turn.known("deal", Of.LEAD) == Known("901")
        await turn.forget("contact", Of.LEAD)
        assert await turn.known("contact", Of.LEAD) == Known("502")


async def test_a_thing_whose_number_comes_late_has_no_second_turn(office: Office) -> None:
    message = office.message("acme:ob", person_resource_id=None, duration=3)
    async with office.memory.turn(message):
        with office.database.writing.begin() as conn:
            conn.execute(update(versions).values(fields={"customer_phone_number": PHONE}))
        with pytest.raises(TurnTaken):
            async with office.memory.turn(message):
                pytest.fail("two at once")


async def test_what_waits_under_another_key_of_the_lead_comes_behind(office: Office) -> None:
    with office.database.writing.begin() as conn:
        waiting = put_deliveries(conn, count=2, order_key="acme:PER1")
        others = put_deliveries(conn, order_key="acme:PER2")
    async with office.turn(customer_phone_number=PHONE, person_resource_id="PER1"):
        rows = {row.id: row for row in rows_of(office.database, deliveries)}
        assert {(rows[id_].order_key, rows[id_].state) for id_ in waiting} == {(f"acme:{PHONE}", "blocked")}
        assert {(rows[id_].order_key, rows[id_].state) for id_ in others} == {("acme:PER2", "pending")}


async def test_two_processes_give_one_turn(postgresql_url: str) -> None:
    async with an_office(postgresql_url) as one, an_office(postgresql_url) as other:
        messages = [one.message() for _ in range(20)]
        at_once, most = 0, 0

        async def work(office: Office, message: Message) -> None:
            nonlocal at_once, most
            while True:
                try:
                    async with office.memory.turn(message):
                        at_once += 1
                        most = max(most, at_once)
                        await asyncio.sleep(0)
                        at_once -= 1
                        return
                except TurnTaken:
                    await asyncio.sleep(0)

        await asyncio.gather(*(work((one, other)[n % 2], message) for n, message in enumerate(messages)))
    assert most == 1
