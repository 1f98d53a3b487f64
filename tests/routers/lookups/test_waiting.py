"""What waits for look-ups: in its order, whatever ends or fails meanwhile, and held up by nobody else's trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update
from starlette.responses import Response

from routers.fake_callrail import FakeCallRail, faults, small_world
from routers.fake_callrail.serving import serving
from routers.lookups.waiting import LEASE
from routers.rules.answers import LOOKED_UP
from routers.schema import transitions
from routers.serve import Role
from tests.client import post_signed
from tests.routers.lookups.office import Office, body_of
from tests.routers.running import KEY, run
from tests.routers.store import opened
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

WITH_CAMPAIGN = "rules:\n  - {id: missed, when: [call.missed], lookups: [tracker], send: [{to: crm}]}"
WAITS = "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}"


def answer_after(released: asyncio.Event) -> faults.Fault:
    """The right answer, once *released* is set."""

    async def when_released(right: Callable[[], Awaitable[Response]]) -> Response:
        await released.wait()
        return await right()

    return when_released


# --- order -----------------------------------------------------------------------------------------------------------


def a_text(call: Any, number: int, **told: Any) -> dict[str, Any]:
    return {
        "resource_id": f"MSG{number}",
        "source_number": call.person["phone"],
        "destination_number": "+12125550001",
        "content": f"text {number}",
        "person_resource_id": call.person["id"],
        "company_resource_id": call.tracker["company"]["id"],
        **told,
    }


async def test_what_is_about_one_person_is_told_in_its_order(office: Office) -> None:
    """Their texts come while the first still waits; another person is not held up."""
    office.write("rules:\n  - {id: t, when: [text.received], lookups: [company], send: [{to: crm}]}")
    released = asyncio.Event()
    office.fake.faults.add("GET", "*/companies/*", answer_after(released), times=1)
    call = office.a_call()
    async with office.open():
        await office.post("text_received", a_text(call, 0))
        await office.until_asked("companies")
        for number in range(1, 8):
            await office.post("text_received", a_text(call, number))
        await until(lambda: len(office.transitions("text.received")) == 8)
        released.set()
        await office.until_told(8)

    assert [told["fields"]["content"] for told in office.told()] == [f"text {number}" for number in range(8)]


async def test_who_waits_long_holds_back_another_thing_of_the_same_person_for_two_minutes(office: Office) -> None:
    office.write(
        """rules:
  - {id: m, when: [call.missed], lookups: [tracker], send: [{to: crm}]}
  - {id: t, when: [text.received], send: [{to: crm}]}
""",
        WAITS,
    )
    office.spoil("*/trackers/*")
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_tried("call.missed")
        await office.post("text_received", a_text(call, 1))
        await office.until_recorded("text.received")
        assert [row.state for row in office.transitions("text.received")] == ["waiting"]
        long_ago = datetime.now(UTC) - timedelta(minutes=3)
        with office.database.writing.begin() as conn:
            conn.execute(update(transitions).where(transitions.c.name == "call.missed").values(created_at=long_ago))
            conn.execute(update(transitions).where(transitions.c.name == "call.ended").values(created_at=long_ago))
        (told,) = await office.until_told(1)
        await office.post("text_received", a_text(call, 2))
        await office.until_told(2)

    assert told["fields"]["content"] == "text 1"
    assert [row.state for row in office.transitions("call.missed")] == ["waiting"]


@pytest.mark.parametrize("looks_up", ["", "lookups: [company], "])
async def test_a_text_that_was_sent_is_about_whom_it_was_sent_to(office: Office, looks_up: str) -> None:
    office.write(f"rules:\n  - {{id: t, when: [text.sent], {looks_up}send: [{{to: crm}}]}}")
    sent = a_text(office.a_call(), 1, source_number="+12125550001", destination_number="+13125559999")
    async with office.open():
        await office.post("text_sent", sent)
        await until(office.deliveries)

    (delivery,) = office.deliveries()
    assert delivery.order_key == "acme:+13125559999"


# --- ends and failures -----------------------------------------------------------------------------------------------


async def test_an_orderly_end_leaves_nothing_to_be_waited_for(office: Office) -> None:
    """The next process takes up at once what was being looked up, and the one beside it need not wait either."""
    office.write(WITH_CAMPAIGN)
    office.fake.faults.add("GET", "*/trackers/*", faults.hang(), times=1)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_asked("trackers")
    (row,) = office.transitions("call.missed")
    assert row.state == "waiting"
    assert row.due_at <= datetime.now(UTC)


async def test_alone_it_takes_up_what_a_killed_process_had_taken(office: Office) -> None:
    """SQLite has one dispatcher: whatever is taken when it starts, nobody is at."""
    office.write(WITH_CAMPAIGN, WAITS)
    office.spoil("*/trackers/*")
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_tried("call.missed")
    office.fake.faults.clear()
    office.forget_answers()
    taken = datetime.now(UTC) + 60 * LEASE
    with office.database.writing.begin() as conn:
        conn.execute(update(transitions).where(transitions.c.state == "waiting").values(due_at=taken))
        is_alone = conn.dialect.name == "sqlite"
    async with office.open():
        if is_alone:
            await office.until_told(1)
        else:  # somebody else may be at it
            await office.post_call(office.a_call(), resource_id="CAL2", customer_phone_number="+13125550199")
            await office.until_told(1)
            assert [row.state for row in office.transitions("call.missed")] == ["waiting", "routed"]


async def test_a_database_that_breaks_off_costs_no_minute(office_on_postgresql: Office) -> None:
    """Every connection is cut while the API is asked; the answer is decided with as soon as there is a new one."""
    office = office_on_postgresql
    office.write(WITH_CAMPAIGN)
    released = asyncio.Event()

    office.fake.faults.add("GET", "*/trackers/*", answer_after(released), times=1)
    cut = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def break_off() -> None:
        with opened(office.database_url) as administrator, administrator.reading.connect() as conn:
            conn.execute(cut)

    async with office.open():
        await office.post_call(office.a_call())
        await office.until_asked("trackers")
        await asyncio.to_thread(break_off)
        released.set()
        await office.until_told(1)

    (row,) = office.transitions("call.missed")
    assert row.state == "routed"
    assert office.deliveries()[0].created_at - row.created_at < LEASE


# --- others' trouble -------------------------------------------------------------------------------------------------


async def test_an_account_that_hangs_holds_up_no_other(office: Office) -> None:
    """More of its calls wait than are asked for at once."""
    theirs = FakeCallRail(small_world(calls=3, seed=8))
    theirs.faults.add("GET", "*", faults.hang(), times=1_000)
    their_id = theirs.world.accounts[0].id
    async with serving(theirs) as their_url:
        office.write(WITH_CAMPAIGN.replace("tracker]", "lead_timeline]"), "lookups:\n  lead_timeline: {deadline: 30s}")
        written = office.config.read_text().replace(
            "companies:\n  acme: {",
            f"  other: {{account_id: {their_id}, api_key: env:OFFICE_KEY, base_url: '{their_url}'}}\n"
            "companies:\n  beta: {signing_keys: [env:ACME_KEY], account: other}\n  acme: {account: main, ",
        )
        office.config.write_text(written)
        async with office.open():
            for number in range(60):
                told = body_of(office.a_call()) | {
                    "resource_id": f"CAL{number}",
                    "person_resource_id": f"PER{number}",
                    "customer_phone_number": f"+1312555{number:04}",
                }
                await post_signed(office.port, "/callrail/beta/post_call", json.dumps(told).encode(), key=KEY)
            await until(lambda: len(theirs.requests) >= 5)
            await office.post_call(office.a_call())
            (told,) = await office.until_told(1)

    assert told["company"] == "acme"


async def test_one_look_up_that_is_slow_silences_no_other(office: Office) -> None:
    """A deadline of its own is not the account's failure; only what nobody could answer is nobody asked."""
    office.write(
        """rules:
  - {id: slow, when: [call.missed], if: {duration: 30}, lookups: [lead_timeline], send: [{to: crm}]}
  - {id: other, when: [call.missed], if: {duration: 60}, lookups: [tracker], send: [{to: crm}]}
""",
        "lookups:\n  lead_timeline: {deadline: 200ms}\n  tracker: {on_failure: drop}",
    )
    office.fake.faults.add("GET", "*/timeline*", faults.hang(), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_told(1)
        await office.post_call(office.a_call(), resource_id="CAL2", duration=60)
        _, told = await office.until_told(2)

    assert told["lookup"]["tracker"]["name"]


async def test_a_key_that_is_refused_is_not_tried_by_the_next_look_up(office: Office) -> None:
    """It is the account's failure: of whatever is asked next it says so, and that nobody was asked."""
    office.write(
        """rules:
  - {id: m, when: [call.missed], if: {duration: 30}, lookups: [tracker], send: [{to: crm}]}
  - {id: n, when: [call.missed], if: {duration: 60}, lookups: [company], send: [{to: crm}]}
"""
    )
    office.fake.faults.add("GET", "*", faults.status(401), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_told(1)
        await office.post_call(office.a_call(), resource_id="CAL2", duration=60)
        await office.until_told(2)

    noted = office.transitions("call.missed")[1].details[LOOKED_UP]["company"]
    assert (noted["from"], noted["problem"]) == ("not_asked", "the key is wrong (401)")
    assert office.asked("companies") == []


# --- replays ---------------------------------------------------------------------------------------------------------


def replay_today(office: Office) -> str:
    """What a replay by today's rules would send."""
    arguments = ("--since", "1h", "--routing", "today", "--config", office.config, *office.stored)
    ran = run("replay", "plan", *arguments)
    return ran.out + ran.err


@pytest.mark.parametrize("on_failure", ["wait", "drop"])
async def test_a_replay_sends_neither_what_waits_nor_what_was_dropped(office: Office, on_failure: str) -> None:
    office.write(WITH_CAMPAIGN, f"lookups:\n  tracker: {{deadline: 500ms, on_failure: {on_failure}}}")
    office.fake.faults.add("GET", "*/trackers/*", faults.status(503), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        if on_failure == "wait":
            await office.until_tried("call.missed")
        else:
            await office.until_decided("call.missed")
    assert "nothing would be" in await asyncio.to_thread(replay_today, office)


async def test_explain_says_what_was_dropped_and_that_nobody_was_told(office: Office) -> None:
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 500ms, on_failure: drop}")
    office.fake.faults.add("GET", "*/trackers/*", faults.status(503), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")
    ran = await asyncio.to_thread(run, "explain", row.event_id, "--config", office.config, *office.stored)
    assert "Nobody was told" in ran.out
    assert "tracker (just asked): no answer, CallRail answered 503" in ran.out


async def test_two_dispatchers_decide_what_an_intake_left_waiting(office_on_postgresql: Office) -> None:
    """One hangs in a look-up and ends; the other takes over without its lease having to run out."""
    office = office_on_postgresql
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 30s}")
    office.fake.faults.add("GET", "*/trackers/*", faults.hang(), times=1)
    async with office.open(Role.INTAKE):
        await office.post_call(office.a_call())
    async with office.open(Role.DISPATCH):
        await office.until_asked("trackers")
    async with office.open(Role.DISPATCH):
        await office.until_told(1)
