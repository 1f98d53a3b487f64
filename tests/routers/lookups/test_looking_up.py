"""Events enriched by the API: asked only where it is needed, once for all, and told in time whatever the API does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.database import Database
from routers.fake_callrail import faults
from routers.privacy import erase
from routers.rules.answers import LOOKED_UP, LOOKUP
from routers.schema import lookups
from routers.searching import search
from routers.serve import Role
from tests.routers.lookups.office import Office, an_office, body_of
from tests.routers.running import SECRETS, run
from tests.routers.store import opened, real_clock, rows_of

pytestmark = pytest.mark.anyio

WHO_CALLS_OFTEN = """
rules:
  - id: regular
    when: [call.missed]
    if: {lookup.lead_timeline.total_interactions: {gte: 1}}
    send: [{to: crm}]
"""
WITH_CAMPAIGN = """
rules:
  - id: missed
    when: [call.missed]
    lookups: [tracker]
    send: [{to: crm}]
"""


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALLRAIL_API_KEY", "CALLRAIL_ACCOUNT_ID", "CALLRAIL_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


@pytest.fixture
async def office(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    async with an_office(tmp_path, database_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        yield office


def noted(row: Any) -> Any:
    return row.details[LOOKED_UP]


async def test_a_condition_is_decided_by_what_the_api_says(office: Office) -> None:
    office.write(WHO_CALLS_OFTEN)
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        (told,) = await office.until_told(1)

    assert told["lookup"]["lead_timeline"]["total_interactions"] >= 1
    assert len(office.asked("timeline")) == 1
    row = await office.until_decided("call.missed")
    assert (row.state, row.verdicts) == ("routed", {"regular": "fired"})
    assert noted(row)["lead_timeline"]["from"] == "api"


async def test_nothing_is_asked_for_a_rule_that_stays_silent_in_any_case(office: Office) -> None:
    office.write(WHO_CALLS_OFTEN.replace("if: {", "if: {duration: {gt: 600}, "))
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")

    assert row.verdicts == {"regular": "if duration"}
    assert office.fake.requests == []


async def test_what_a_message_shows_is_asked_only_when_its_rule_fires(office: Office) -> None:
    office.write(
        """
rules:
  - id: long
    when: [call.missed]
    if: {lookup.lead_timeline.calls: {gt: 1000}}
    lookups: [tracker]
    send: [{to: crm}]
"""
    )
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")

    assert row.verdicts == {"long": "if lookup.lead_timeline.calls"}
    assert len(office.asked("timeline")) == 1
    assert office.asked("trackers") == []


async def test_an_answer_holds_for_a_while_and_a_cached_one_makes_nobody_wait(office: Office) -> None:
    office.write(WITH_CAMPAIGN)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_told(1)
        await office.post_call(office.a_call(), resource_id="CAL2")
        await office.until_told(2)

    first, second = office.transitions("call.missed")
    assert len(office.asked("trackers")) == 1
    assert noted(first)["tracker"]["from"] == "api"
    assert noted(second)["tracker"]["from"] == "cache"
    assert second.details[LOOKUP] == first.details[LOOKUP]
    assert second.due_at is None


async def test_a_hundred_calls_at_once_make_one_request(office: Office) -> None:
    office.write(WITH_CAMPAIGN)
    call = office.a_call()
    async with office.open():
        for number in range(100):
            await office.post_call(call, resource_id=f"CAL{number}")
        await office.until_told(100)

    assert len(office.asked("trackers")) == 1


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (faults.status(500), "CallRail answered 500"),
        (faults.html(502), "CallRail answered 502"),
        (faults.truncated(), "CallRail answered 200"),
        (faults.status(401), "the key is wrong (401)"),
        (faults.status(403), "the key may not (403)"),
        (faults.status(404), "CallRail knows none (404)"),
        (faults.too_many(3600), "the account's allowance is used up"),
        (faults.hang(), "CallRail did not answer in time"),
    ],
)
async def test_whatever_the_api_does_the_event_is_told_in_time_without_it(
    office: Office, fault: faults.Fault, problem: str
) -> None:
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 500ms}")
    office.fake.faults.add("GET", "*/trackers/*", fault, times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        (told,) = await office.until_told(1)

    assert told.get("lookup", {}) == {}
    row = await office.until_decided("call.missed")
    assert noted(row)["tracker"]["problem"] == problem
    assert row.verdicts == {"missed": "fired"}


async def test_a_condition_on_what_nobody_answers_keeps_the_rule_silent(office: Office) -> None:
    office.write(WHO_CALLS_OFTEN)
    office.fake.faults.add("GET", "*/timeline*", faults.status(404), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")

    assert row.verdicts == {"regular": "if lookup.lead_timeline.total_interactions"}
    assert office.deliveries() == []


async def test_who_wants_to_waits_until_the_api_answers(office: Office) -> None:
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}")
    office.fake.faults.add("GET", "*/trackers/*", faults.status(503), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_tried("call.missed")
        (row,) = office.transitions("call.missed")
        assert (row.state, row.reason) == ("waiting", "waits for tracker")
        assert office.destination.requests == []
        seen = json.loads((await asyncio.to_thread(run, "status", *office.stored, "-o", "json")).out)
        assert seen["looking_up"]["transitions"] == 1
        ran = await asyncio.to_thread(run, "events", "show", row.event_id, *office.stored)
        assert "waits for tracker" in ran.out or "It waits for what is looked up at CallRail: tracker." in ran.out

        office.fake.faults.clear()
        office.make_due()
        (told,) = await office.until_told(1)

    assert told["lookup"]["tracker"]["name"]


async def test_a_message_may_be_told_only_with_its_look_up(office: Office) -> None:
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 500ms, on_failure: drop}")
    office.fake.faults.add("GET", "*/trackers/*", faults.status(404), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")

    assert row.verdicts == {"missed": "no answer tracker"}
    assert row.reason == "no answer"
    assert office.deliveries() == []


async def test_what_comes_later_waits_behind_what_came_first(office: Office) -> None:
    """A rule that speaks once of two transitions speaks of the first, though only that one needs a look-up."""
    office.write(
        """
rules:
  - id: once
    when: [call.ringing, call.missed]
    if: {lookup.tracker.name: {exists: true}}
    send: [{to: crm}]
""",
        "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}",
    )
    office.fake.faults.add("GET", "*/trackers/*", faults.status(503), times=1_000)
    call = office.a_call()
    async with office.open():
        await office.post("pre_call", body_of(call))
        await office.until_tried("call.ringing")
        await office.post_call(call)
        await office.until_recorded("call.missed")
        assert {row.name: row.state for row in office.transitions()}["call.missed"] == "waiting"

        office.fake.faults.clear()
        office.make_due()
        await office.until_told(1)
        row = await office.until_decided("call.missed")

    (delivery,) = office.deliveries()
    assert delivery.transition_id == office.transitions("call.ringing")[0].id
    assert row.verdicts == {"once": "already told"}


async def test_what_waited_when_a_process_died_is_asked_anew(office: Office) -> None:
    """The crash window: the look-up was answered or not, and nothing was stored of it."""
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {on_failure: wait}")
    office.fake.faults.add("GET", "*/trackers/*", faults.hang(), times=1)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_asked("trackers")
    assert office.destination.requests == []
    (row,) = office.transitions("call.missed")
    assert row.state == "waiting"

    office.make_due()
    office.forget_answers()  # whoever asked has time until then
    async with office.open():
        (told,) = await office.until_told(1)
    assert told["lookup"]["tracker"]["name"]


async def test_a_company_whose_key_is_missing_is_told_without(office: Office) -> None:
    office.write(WITH_CAMPAIGN, key="env:NOT_THERE")
    async with office.open():
        await office.post_call(office.a_call())
        (told,) = await office.until_told(1)

    assert "lookup" not in told or told["lookup"] == {}
    row = await office.until_decided("call.missed")
    assert noted(row)["tracker"]["problem"] == "the company's account at CallRail has no key here"


async def test_what_callrail_did_not_tell_is_not_asked_with(office: Office) -> None:
    office.write(WITH_CAMPAIGN)
    async with office.open():
        await office.post_call(office.a_call(), tracker_resource_id=None)
        await office.until_told(1)

    row = await office.until_decided("call.missed")
    assert noted(row)["tracker"]["problem"] == "CallRail did not tell tracker_resource_id"
    assert office.fake.requests == []


async def test_a_field_of_callrails_that_is_named_like_our_answers_is_none_of_them(office: Office) -> None:
    office.write(WHO_CALLS_OFTEN)
    office.fake.faults.add("GET", "*/timeline*", faults.status(404), times=1_000)
    async with office.open():
        await office.post_call(office.a_call(), lookup={"lead_timeline": {"total_interactions": 99}})
        row = await office.until_decided("call.missed")

    assert row.verdicts == {"regular": "if lookup.lead_timeline.total_interactions"}


async def test_a_person_with_thousands_of_calls_costs_one_request(office: Office) -> None:
    office.write(WHO_CALLS_OFTEN)
    call = office.a_call()
    for number in range(5_000):
        office.account.calls.add(replace(call, id=f"CAL-{number}", start=call.start - timedelta(minutes=number)))
    async with office.open():
        await office.post_call(call)
        (told,) = await office.until_told(1)

    assert told["lookup"]["lead_timeline"]["total_interactions"] > 5_000
    assert told["lookup"]["lead_timeline"]["calls"] <= 250
    assert len(office.fake.requests) == 1


@pytest.mark.parametrize("is_named_by_number", [True, False])
async def test_an_account_that_answers_to_its_number_alone(office: Office, is_named_by_number: bool) -> None:
    office.account.answers_to_masked_id = False
    office.write(WITH_CAMPAIGN)
    if is_named_by_number:
        by_number = office.config.read_text().replace(office.account.id, f"'{office.account.numeric_id}'")
        office.config.write_text(by_number)
    async with office.open():
        await office.post_call(office.a_call())
        (told,) = await office.until_told(1)

    assert told["lookup"]["tracker"]["name"]


async def test_dispatchers_that_share_a_database_ask_once(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them, who know nothing of each other but the database; SQLite has one."""
    async with an_office(tmp_path, postgresql_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        office.write(WITH_CAMPAIGN)
        async with office.open(Role.INTAKE):
            for number in range(100):
                await office.post_call(office.a_call(), resource_id=f"CAL{number}")
        async with office.open(Role.DISPATCH), office.open(Role.DISPATCH):
            await office.until_told(100)

        assert len(office.asked("trackers")) == 1
        assert {row.state for row in office.transitions()} == {"routed"}


def erase_person(database: Database, call: Any) -> None:
    erase(database, search(database, call.person["phone"]), b"k" * 32, clock=real_clock(database))


async def test_who_is_erased_while_the_look_up_waits_is_told_to_nobody(office: Office) -> None:
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}")
    office.fake.faults.add("GET", "*/trackers/*", faults.status(503), times=1_000)
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_tried("call.missed")
        with opened(office.database_url) as database:
            await asyncio.to_thread(erase_person, database, call)
        office.fake.faults.clear()
        office.make_due()
        row = await office.until_decided("call.missed")

    assert (row.state, office.deliveries(), office.destination.requests) == ("superseded", [], [])


async def test_what_was_looked_up_of_somebody_goes_with_them(office: Office) -> None:
    office.write(WHO_CALLS_OFTEN)
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_told(1)
    with opened(office.database_url) as database:
        assert rows_of(database, lookups)
        await asyncio.to_thread(erase_person, database, call)
        assert rows_of(database, lookups) == []

    (row,) = office.transitions("call.missed")
    assert LOOKUP not in row.details


async def test_explain_says_what_was_looked_up_and_masks_whom_it_is_about(office: Office) -> None:
    office.write(WHO_CALLS_OFTEN.replace("send:", "lookups: [tracker]\n    send:"))
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_told(1)

    event = office.transitions("call.missed")[0].event_id
    ran = await asyncio.to_thread(
        run, "explain", event, "--config", office.config, "--database-url", office.database_url
    )
    assert "looked up lead_timeline (just asked): total_interactions" in ran.out, ran.err
    assert f"looked up tracker (just asked): name {office.a_call().tracker['name']}" in ran.out
    assert "if lookup.lead_timeline.total_interactions: is" in ran.out


async def test_a_rule_of_ones_own_asks_what_it_likes(office: Office) -> None:
    office.write(
        """
rules:
  - id: named
    when: [call.missed]
    if: {lookup.theirs.name: {exists: true}, lookup.first.count: {gte: 1}}
    send: [{to: crm}]
""",
        """lookups:
  theirs: {get: companies.get, with: {company_id: "{{ company_resource_id }}"}, fields: {name: name}}
  first:
    get: trackers.list
    with: {company_id: "{{ company_resource_id }}", search: "{{ source_name | default('Pool') }}"}
    fields: {count: {path: total_records, type: integer}, name: trackers.0.name}
""",
    )
    async with office.open():
        await office.post_call(office.a_call(), source_name="Pool")
        (told,) = await office.until_told(1)

    assert told["lookup"]["theirs"]["name"] == office.a_call().tracker["company"]["name"]
    assert told["lookup"]["first"] == {"count": 1, "name": "Website Pool"}


async def test_an_api_that_hangs_costs_one_event_its_deadline_and_the_others_nothing(office: Office) -> None:
    """Each asks about another number, so that no answer of one is one for the others."""
    office.write(WHO_CALLS_OFTEN.replace("if: {", "unless: {"), "lookups:\n  lead_timeline: {deadline: 2s}")
    office.fake.faults.add("GET", "*/timeline*", faults.hang(), times=1_000)
    async with office.open():
        await office.post_call(office.a_call(), person_resource_id="PER0")
        await office.until_told(1)
        for number in range(50):
            await office.post_call(office.a_call(), resource_id=f"CAL{number}", person_resource_id=f"PER{number + 1}")
        await office.until_told(51)

    assert len(office.asked("timeline")) < 10
    assert all(noted(row)["lead_timeline"]["problem"] == "CallRail did not answer in time" for row in decided(office))


def decided(office: Office) -> list[Any]:
    return list(office.transitions("call.missed"))
