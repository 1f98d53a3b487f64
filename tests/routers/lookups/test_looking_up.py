"""Events enriched by the API: asked only where it is needed, once for all, and told in time whatever the API does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from receiver.database import Database
from receiver.schema import events
from routers.deciding import Decided, Decider, Occasion
from routers.fake_callrail import faults
from routers.fake_callrail.faults import Fault
from routers.lookups.waiting import again_after
from routers.objects import TransitionRow
from routers.privacy import erase
from routers.rules.answers import LOOKED_UP, LOOKUP
from routers.schema import lookups
from routers.searching import search
from routers.serve import Role
from tests.routers.lookups.office import Office, body_of
from tests.routers.running import SECRETS, run, running
from tests.routers.store import real_clock, rows_of
from tests.routers.waiting import until

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
    deadline = "500ms" if problem.endswith("in time") else "1500ms"  # a slow machine is no slow API
    office.write(WITH_CAMPAIGN, f"lookups:\n  tracker: {{deadline: {deadline}}}")
    office.fake.faults.add("GET", "*/trackers/*", fault, times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        (told,) = await office.until_told(1)

    assert told.get("lookup", {}) == {}
    row = await office.until_decided("call.missed")
    assert noted(row)["tracker"]["problem"] == problem
    assert row.verdicts == {"missed": "fired"}


async def test_a_key_that_is_revoked_in_the_middle_loses_nothing(office: Office) -> None:
    """What was answered before holds still; what would be asked after is told without, and why is noted."""
    office.write(WITH_CAMPAIGN.replace("[tracker]", "[tracker, lead_timeline]"))
    async with office.open():
        await office.post_call(office.a_call())
        (before,) = await office.until_told(1)
        office.fake.faults.add("GET", "*", faults.status(401), times=1_000)
        await office.post_call(office.a_call(), resource_id="CAL2", person_resource_id="PER2")
        _, after = await office.until_told(2)

    assert before["lookup"]["lead_timeline"]["total_interactions"]
    assert after["lookup"]["tracker"] == before["lookup"]["tracker"]
    assert "lead_timeline" not in after["lookup"]
    _, row = office.transitions("call.missed")
    assert noted(row)["tracker"]["from"] == "cache"
    assert noted(row)["lead_timeline"]["problem"] == "the key is wrong (401)"


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

    def is_told() -> bool:
        office.make_due()  # again and again, for that CallRail is down is believed for some seconds
        return bool(office.destination.requests)

    async with office.open():
        await office.post_call(office.a_call())
        await office.until_tried("call.missed")
        (row,) = office.transitions("call.missed")
        assert (row.state, row.reason) == ("waiting", "waits for tracker")
        assert office.destination.requests == []
        seen = json.loads((await asyncio.to_thread(run, "status", *office.stored, "-o", "json")).out)
        assert seen["looking_up"]["transitions"] == 2  # its end, which no rule looks at, waits with it
        ran = await asyncio.to_thread(run, "events", "show", row.event_id, *office.stored)
        assert "waits for tracker" in ran.out or "It waits for what is looked up at CallRail: tracker." in ran.out

        office.fake.faults.clear()
        await until(is_told)
        (told,) = await office.until_told(1)

    assert told["lookup"]["tracker"]["name"]


async def test_a_message_may_be_told_only_with_its_look_up(office: Office) -> None:
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 500ms, on_failure: drop}")
    office.fake.faults.add("GET", "*/trackers/*", faults.status(404), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")

    assert row.verdicts == {"missed": "no answer tracker"}
    assert row.reason == "no answer tracker"
    assert office.deliveries() == []


async def test_what_comes_later_waits_behind_what_came_first(office: Office) -> None:
    """A rule that speaks once of two transitions speaks of the first, though only that one needs a look-up."""
    office.write(
        """
rules:
  - id: once
    when: [call.missed, call.changed]
    if: {lookup.tracker.name: {exists: true}}
    send: [{to: crm}]
""",
        "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}",
    )
    office.spoil("*/trackers/*")
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_tried("call.missed")
        await office.post("call_modified", body_of(call) | {"note": "x", "changes": ["note"]})
        await office.until_recorded("call.changed")
        assert {row.name: row.state for row in office.transitions()}["call.changed"] == "waiting"

        office.fake.faults.clear()
        office.make_due()
        await office.until_told(1)
        row = await office.until_decided("call.changed")

    (delivery,) = office.deliveries()
    assert delivery.transition_id == office.transitions("call.missed")[0].id
    assert row.verdicts == {"once": "already told"}


async def test_that_it_rings_is_told_to_nobody_once_the_call_is_over(office: Office) -> None:
    """It waited for its look-up so long."""
    office.write(
        "rules:\n  - {id: r, when: [call.ringing, call.missed], lookups: [tracker], send: [{to: crm}]}",
        "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}",
    )
    office.spoil("*/trackers/*")
    call = office.a_call()
    async with office.open():
        await office.post("pre_call", body_of(call))
        await office.until_tried("call.ringing")
        await office.post_call(call)
        await office.until_recorded("call.missed")
        office.fake.faults.clear()
        office.make_due()
        await office.until_told(1)

    (ringing,), (missed,) = office.transitions("call.ringing"), office.transitions("call.missed")
    assert (ringing.state, missed.verdicts) == ("superseded", {"r": "fired"})


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


async def test_two_processes_that_share_a_database_ask_once(office_on_postgresql: Office) -> None:
    """They know nothing of each other but the database; SQLite has one alone.

    The one answer comes when all calls wait for it.
    """
    office = office_on_postgresql
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 30s}")
    gate = asyncio.Event()
    office.fake.faults.add("GET", "*/trackers/*", held_until(gate))
    environ = {**SECRETS, "OFFICE_KEY": office.fake.world.key}
    arguments = ("serve", "--role", "dispatch", "--config", office.config, *office.stored)
    with running(*arguments, environ=environ) as one, running(*arguments, environ=environ) as other:
        for each in (one, other):
            await asyncio.to_thread(each.wait_until_it_says, "serve.ready")
        async with office.open(Role.INTAKE):
            for number in range(100):
                await office.post_call(office.a_call(), resource_id=f"CAL{number}")
        await until(lambda: len(office.transitions("call.missed")) == 100)
        gate.set()
        await office.until_told(100)

    assert len(office.asked("trackers")) == 1
    assert {row.state for row in office.transitions()} == {"routed"}


def held_until(gate: asyncio.Event) -> Fault:
    async def answer(right: Callable[[], Awaitable[Response]]) -> Response:
        await gate.wait()
        return await right()

    return answer


def erase_person(database: Database, call: Any) -> None:
    erase(database, search(database, call.person["phone"]), b"k" * 32, clock=real_clock(database))


async def test_who_is_erased_while_the_look_up_waits_is_told_to_nobody(office: Office) -> None:
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}")
    office.spoil("*/trackers/*")
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_tried("call.missed")
        await asyncio.to_thread(erase_person, office.database, call)
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
    assert rows_of(office.database, lookups)
    await asyncio.to_thread(erase_person, office.database, call)
    assert rows_of(office.database, lookups) == []

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


# --- answers ---------------------------------------------------------------------------------------------------------


def deep() -> Any:
    value: Any = 1
    for _ in range(250):
        value = [value]
    return value


@pytest.mark.parametrize(
    "odd",
    [2**70, deep(), "\ud800", {"a": float("1e400")}],
    ids=["beyond-64-bits", "deep", "half-a-character", "infinite"],
)
async def test_an_answer_that_cannot_be_kept_is_none(office: Office, odd: Any) -> None:
    office.write(
        "rules:\n  - {id: m, when: [call.missed], lookups: [own], send: [{to: crm}]}",
        "lookups:\n  own: {get: trackers.get, fields: {flow: call_flow},"
        ' with: {tracker_id: "{{ tracker_resource_id }}"}}',
    )
    office.fake.faults.add("GET", "*/trackers/*", faults.changed(lambda told: told | {"call_flow": odd}), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_told(1)

    row = await office.until_decided("call.missed")
    assert row.verdicts == {"m": "fired"}


@pytest.mark.parametrize(
    ("look_up", "path", "told"),
    [
        ("previous_calls", "*/calls*", {"calls": [None, 3, "x"], "total_records": "many"}),
        ("previous_calls", "*/calls*", {"calls": None}),
        ("lead_timeline", "*/timeline*", {"lead": [], "timeline": [None, 3], "total_records": "x"}),
        ("tracker", "*/trackers/*", []),
    ],
)
async def test_an_answer_of_another_shape_stops_nobody(office: Office, look_up: str, path: str, told: Any) -> None:
    office.write(WITH_CAMPAIGN.replace("[tracker]", f"[{look_up}]"))
    office.fake.faults.add("GET", path, faults.changed(lambda _: told), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_told(1)


async def test_of_the_recording_no_address_is_kept(office: Office) -> None:
    """With it anybody could listen; and a signed one does not look like a link with an access key."""
    secret = "https://example.com/rec.mp3?X-Amz-Signature=SECRET"
    office.write(WITH_CAMPAIGN.replace("[tracker]", "[recording]"))
    office.fake.faults.add("GET", "*/recording*", faults.status(200, {"url": secret}), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        (told,) = await office.until_told(1)

    assert told["lookup"]["recording"] == {"is_ready": True}
    kept = [*rows_of(office.database, lookups), *office.transitions()]
    assert "SECRET" not in repr(kept)


@pytest.mark.parametrize("not_yet", [faults.status(404), faults.status(200, {"url": None})], ids=["404", "no-address"])
async def test_a_recording_that_callrail_prepares_is_asked_for_again(office: Office, not_yet: Fault) -> None:
    office.write(WITH_CAMPAIGN.replace("lookups: [tracker]", "if: {lookup.recording.is_ready: true}"))
    office.fake.faults.add("GET", "*/recording*", not_yet, times=1_000)
    async with office.open():
        await office.post_call(next(call for call in office.account.calls if call.is_recorded))
        await office.until_tried("call.missed")
        assert office.destination.requests == []

        office.fake.faults.clear()
        office.make_due()
        (told,) = await office.until_told(1)

    assert told["lookup"]["recording"] == {"is_ready": True}


async def test_what_was_answered_before_a_change_of_the_call_does_not_tell_of_it(office: Office) -> None:
    office.write(
        """rules:
  - {id: a, when: [call.missed], lookups: [call, tracker], send: [{to: crm}]}
  - {id: b, when: [call.changed], if: {lookup.call.note: call back}, lookups: [tracker], send: [{to: crm}]}
"""
    )
    call, note = office.a_call(), {"note": "none yet"}
    office.fake.faults.add("GET", "*/calls/*", faults.changed(lambda told: told | note), times=1_000)
    async with office.open():
        await office.post_call(call)
        await office.until_told(1)
        note["note"] = "call back"
        await office.post("call_modified", body_of(call) | {"changes": ["note"]})
        await office.until_told(2)

    row = await office.until_decided("call.changed")
    assert {name: about["from"] for name, about in noted(row).items()} == {"call": "api", "tracker": "cache"}


async def test_previous_calls_are_inbound_and_before_this_one(office: Office) -> None:
    office.write(WITH_CAMPAIGN.replace("[tracker]", "[previous_calls]"))
    call = office.a_call()
    number = call.person["phone"]

    def some(told: Any) -> Any:
        def one(id_: str, start: str, direction: str = "inbound") -> dict[str, Any]:
            about = {"id": id_, "direction": direction, "customer_phone_number": number}
            return about | {"start_time": start, "answered": True, "voicemail": False}

        rows = [
            one("CALLATER", "2026-03-11T10:00:00Z"),
            one(call.id, "2026-03-10T10:00:00Z"),
            one("CALOUT", "2026-03-09T10:00:00Z", "outbound"),
            one("CALBEFORE", "2026-03-08T10:00:00-05:00"),
        ]
        return told | {"calls": rows, "total_records": 4}

    office.fake.faults.add("GET", "*/calls*", faults.changed(some), times=1_000)
    async with office.open():
        await office.post_call(call, start_time="2026-03-10T10:00:00Z")
        row = await office.until_decided("call.missed")

    assert row.details[LOOKUP]["previous_calls"]["count"] == 1
    assert row.details[LOOKUP]["previous_calls"]["last_at"] == "2026-03-08T10:00:00-05:00"


async def test_what_was_not_asked_is_noted_so(office: Office) -> None:
    office.write(WITH_CAMPAIGN)
    async with office.open():
        await office.post_call(office.a_call(), tracker_resource_id=None)
        await office.until_told(1)

    row = await office.until_decided("call.missed")
    assert noted(row)["tracker"]["from"] == "not_asked"
    ran = await asyncio.to_thread(run, "explain", row.event_id, "--config", office.config, *office.stored)
    assert "looked up tracker (not asked): no answer, CallRail did not tell tracker_resource_id" in ran.out


async def test_explain_masks_what_a_look_up_of_ones_own_tells(office: Office) -> None:
    """Nobody knows whom it is about, so that numbers are masked too."""
    office.write(
        "rules:\n  - {id: m, when: [call.missed], lookups: [own], send: [{to: crm}]}",
        """lookups:
  own:
    get: trackers.get
    with: {tracker_id: "{{ tracker_resource_id }}"}
    fields: {name: name, number: {path: number, type: integer}, source: source_name}
""",
    )
    more = {"number": 3125550123, "source_name": "Jane Doe"}
    office.fake.faults.add("GET", "*/trackers/*", faults.changed(lambda told: told | more), times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")
    ran = await asyncio.to_thread(run, "explain", row.event_id, "--config", office.config, *office.stored)
    assert "looked up own" in ran.out
    assert not {"3125550123", "Jane"} & set(ran.out.replace(",", " ").split())


def test_a_rule_that_may_wait_until_its_message_is_too_old_is_warned_of(tmp_path: Path) -> None:
    def warned(max_age: str, wait: str) -> str:
        (tmp_path / "router.yaml").write_text(
            f"""accounts: {{main: {{account_id: ACC1, api_key: env:OFFICE_KEY}}}}
companies: {{acme: {{signing_keys: [env:ACME_KEY]}}}}
sinks: {{crm: {{type: stdout}}}}
rules:
  - {{id: m, when: [call.missed], on_late: ignore, max_age: {max_age}, lookups: [tracker], send: [{{to: crm}}]}}
lookups: {{tracker: {{on_failure: wait, wait: {wait}}}}}
"""
        )
        ran = run("rules", "check", "--config", tmp_path / "router.yaml")
        assert ran.code == 0, ran.err
        return ran.out + ran.err

    problem = "this rule may wait 15m for tracker, and does not tell what is older than 10m"
    assert problem in warned("10m", "15m")
    assert "may wait" not in warned("20m", "15m")


@pytest.mark.parametrize(
    ("waited", "again_in"), [(0, 10), (9, 10), (13, 30), (39, 30), (46, 60), (99, 60), (110, 120), (10_000, 120)]
)
def test_it_is_tried_again_ever_later(waited: int, again_in: int) -> None:
    assert again_after(timedelta(seconds=waited)) == timedelta(seconds=again_in)


def fails_where(monkeypatch: pytest.MonkeyPatch, is_wrong: Callable[[TransitionRow], bool]) -> None:
    """A fault of ours: what is decided with certain answers is not decided."""
    decide = Decider.ask

    def fails(decider: Decider, occasion: Occasion, rows: list[TransitionRow], **waits: bool) -> Decided:
        decided = decide(decider, occasion, rows, **waits)
        if not decided.waits and any(map(is_wrong, decided.transitions)):
            raise RuntimeError("nobody thought of that")
        return decided

    monkeypatch.setattr(Decider, "ask", fails)


def has_answer(row: TransitionRow) -> bool:
    return "tracker" in (row.details or {}).get(LOOKUP, {})


async def test_what_a_fault_of_ours_keeps_from_being_decided_is_told_without(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that nobody thought of must not hold a missed call back for ever."""
    fails_where(monkeypatch, has_answer)
    office.write(WITH_CAMPAIGN)
    async with office.open():
        await office.post_call(office.a_call())
        await office.until_told(1)

    row = await office.until_decided("call.missed")
    assert noted(row)["tracker"]["problem"].startswith("it could not be used, by a fault of the router's own")


async def test_a_rule_that_is_not_told_without_it_is_not(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_where(monkeypatch, has_answer)
    office.write(WITH_CAMPAIGN, "lookups:\n  tracker: {on_failure: drop}")
    async with office.open():
        await office.post_call(office.a_call())
        row = await office.until_decided("call.missed")

    assert row.verdicts == {"missed": "no answer tracker"}
    assert office.deliveries() == []


async def test_what_cannot_be_decided_at_all_is_given_up_with_an_alarm(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_where(monkeypatch, lambda row: row.details is not None and LOOKED_UP in row.details)
    office.write(WITH_CAMPAIGN)

    def received() -> list[Any]:  # and not the alarm about it
        return [row for row in rows_of(office.database, events) if row.origin == "webhook"]

    def has_failed() -> bool:
        office.make_due()
        return [row.state for row in received()] == ["failed"]

    async with office.open():
        await office.post_call(office.a_call())
        await until(has_failed)

    (event,) = received()
    assert {row.state for row in office.transitions() if row.event_id == event.id} == {"superseded"}
    assert (event.attempts, event.reason) == (5, "cannot be decided: RuntimeError")


@pytest.mark.parametrize(
    ("is_recorded", "has_premium", "status"),
    [(True, True, "told"), (True, False, "not_in_plan"), (False, True, "not_recorded")],
)
async def test_a_transcript_that_the_plan_lacks_is_told_apart_from_one_to_come(
    office: Office, is_recorded: bool, has_premium: bool, status: str
) -> None:
    office.write(WITH_CAMPAIGN.replace("tracker", "call"))
    call = office.a_call()
    call.is_recorded, office.account.has_premium = is_recorded, has_premium
    async with office.open():
        await office.post_call(call)
        (told,) = await office.until_told(1)

    assert told["lookup"]["call"]["transcript_status"] == status


async def test_a_429_for_an_hour_is_asked_for_once(office: Office) -> None:
    """Nothing of the account is asked for as long as CallRail says; and each event is told in time."""
    office.write(WITH_CAMPAIGN.replace("tracker", "call"))
    office.fake.faults.add("*", "*", faults.too_many(3600), times=1_000)
    async with office.open():
        for position in range(4):
            await office.post_call(office.a_call(position))
            await office.until_told(position + 1)

    assert len(office.fake.requests) == 1
