"""Logging at a HubSpot of our own: one contact, one record of each call, whatever is lost and whoever works there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Postponed, Rejected, Retry, Uncertain
from routers.retries import Policy, next_step
from routers.sinks.hubspot_records import body_of
from routers.sinks.sink import NeedsSetUp
from tests.contract.hubspot_schema import hubspot_contract_if_any
from tests.fakes.hubspot import OWNER, TOKEN, Answer, FakeHubSpot, Limits, Record, faults, running_hubspot
from tests.routers.crm_office import CALL, PHONE, CrmOffice, a_crm_office
from tests.routers.running import Ran, run
from tests.routers.store import NOW

pytestmark = pytest.mark.anyio

KINDS = ("calls", "communications", "tasks", "deals", "leads")


@pytest.fixture
async def hubspot() -> AsyncIterator[FakeHubSpot]:
    """An account that is set up. All that is asked of it is held against HubSpot's contract, where that can be had."""
    async with running_hubspot() as running:
        running.account.define("contacts", "callrail_phone")
        for kind in KINDS:
            running.account.define(kind, "callrail_id")
        yield running
        contract = hubspot_contract_if_any()
        assert contract is None or contract.problems(running.exchanges) == []


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACME_KEY": "0f1e2d3c", "HUBSPOT_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)


def an_office(
    url: str, folder: Path, hubspot: FakeHubSpot, more: str = "", *, blocks: str = ""
) -> AbstractAsyncContextManager[CrmOffice]:
    """The office; *more* are settings of its sink, *blocks* further blocks of its file."""
    settings = f"type: hubspot, token: env:HUBSPOT_TOKEN, base_url: '{hubspot.base_url}'{more}"
    return a_crm_office(url, folder, settings, more=blocks)


@pytest.fixture
async def office(database_url: str, tmp_path: Path, hubspot: FakeHubSpot) -> AsyncIterator[CrmOffice]:
    async with an_office(database_url, tmp_path, hubspot) as office:
        yield office


def one(hubspot: FakeHubSpot, kind: str) -> Record:
    (found,) = hubspot.account.all(kind)
    return found


def holds(hubspot: FakeHubSpot) -> tuple[int, int]:
    """How many contacts and calls there are."""
    return len(hubspot.account.all("contacts")), len(hubspot.account.all("calls"))


def alarms(outcome: Outcome) -> bool:
    """Whether people are told at once that the sink takes nothing."""
    return next_step(outcome, attempts=0, now=NOW, policy=Policy([timedelta(seconds=5)]), rng=Random(1)).shuts_lane


# --- one call --------------------------------------------------------------------------------------------------------


async def test_a_first_call_costs_three_requests_and_a_later_one_one(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    office.calls()
    assert await office.sends() == Delivered("logged", one(hubspot, "calls").id)
    assert hubspot.operations == ["contacts.search", "contacts.create", "calls.create"]
    contact, call = one(hubspot, "contacts").properties, one(hubspot, "calls").properties
    assert (contact["firstname"], contact["lastname"]) == ("Avery", "Quill")
    assert (contact["phone"], contact["callrail_phone"]) == (PHONE, PHONE)
    assert (call["callrail_id"], call["hs_call_title"]) == ("CAL1", "Call: missed")
    assert (call["hs_call_direction"], call["hs_call_status"], call["hs_call_duration"]) == (
        "INBOUND",
        "NO_ANSWER",
        "30000",
    )
    assert (call["hs_call_from_number"], call["hs_call_to_number"]) == (PHONE, "+14045550100")
    assert call["hs_timestamp"] == "1773148500000"
    assert "Source: Google Ads" in call["hs_call_body"]

    hubspot.exchanges.clear()
    office.calls("CAL2")
    await office.sends()
    assert hubspot.operations == ["calls.create"]
    linked = [hubspot.account.linked("calls", call.id, "contacts") for call in hubspot.account.all("calls")]
    assert linked == [[one(hubspot, "contacts").id]] * 2


async def test_what_was_delivered_and_comes_again_writes_nothing(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    office.calls()
    await office.sends()
    hubspot.exchanges.clear()
    office.repeats()
    assert (await office.sends()).reason == "it was so already"
    assert hubspot.operations == ["calls.get"]


async def test_a_call_that_rings_or_a_thing_that_is_no_call_is_not_logged(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    office.hears("pre_call", {"resource_id": "CAL1", "customer_phone_number": PHONE})
    assert (await office.sends()).reason == "nothing to log yet: the call is under way"
    assert hubspot.exchanges == []


async def test_late_truth_changes_the_same_record(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """Ten pieces of news that come together are one record, and few edits; the last values stand there."""
    office.calls()
    await office.sends()
    for n in range(10):
        told = {"tags": [f"tag {n}"], "value": f"${n}", "changes": ["tags", "value"]}
        office.hears("call_modified", {**CALL, **told, "answered": True, "call_type": "answered"})
        office.clock.moment += timedelta(seconds=3)
    await office.sends_until_done()

    call = one(hubspot, "calls").properties
    assert (call["hs_call_title"], call["hs_call_status"]) == ("Call: answered", "COMPLETED")
    assert "Tags: tag 9" in call["hs_call_body"]
    assert "tag 8" not in call["hs_call_body"].split("Source:")[1]
    assert 1 <= hubspot.count("calls.update") <= 3
    assert hubspot.count("calls.create") == 1


async def test_what_a_person_has_typed_is_theirs(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    office.calls()
    await office.sends()
    contact, call = one(hubspot, "contacts"), one(hubspot, "calls")
    hubspot.account.human_edits("contacts", contact.id, firstname="Dr. Avery", phone="404 555 0123")
    hubspot.account.human_edits("calls", call.id, hs_call_body="<p>Wants a new boiler</p>")
    told = {"note": "ours", "answered": True, "call_type": "answered", "duration": 62}
    office.hears("call_modified", {**CALL, **told, "customer_name": "A. QUILL", "changes": ["note"]})
    await office.sends_until_done()

    assert contact.properties["firstname"] == "Dr. Avery"
    assert (call.properties["hs_call_body"], call.properties["hs_call_title"]) == (
        "<p>Wants a new boiler</p>",
        "Call: missed",
    )
    assert (call.properties["hs_call_status"], call.properties["hs_call_duration"]) == ("COMPLETED", "62000")


async def test_an_editor_that_writes_html_in_its_own_way_has_typed_nothing(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    office.calls()
    await office.sends()
    call = one(hubspot, "calls")
    body = call.properties["hs_call_body"]
    hubspot.account.human_edits("calls", call.id, hs_call_body=f"<div><p>{body.replace('<br>', '</p> <p>')}</p></div>")
    office.hears("call_modified", {**CALL, "note": "ours", "changes": ["note"]})
    await office.sends_until_done()
    assert "Note: ours" in call.properties["hs_call_body"]


# --- who it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["(404) 555-0123", "+1 404 555 0123", "404.555.0123"])
async def test_a_contact_from_before_us_is_found_and_its_gaps_are_filled(
    hubspot: FakeHubSpot, office: CrmOffice, typed: str
) -> None:
    hubspot.account.human_creates("contacts", {"lastname": "Quill-Smith", "mobilephone": typed})
    office.calls()
    await office.sends()

    contact = one(hubspot, "contacts").properties
    assert (contact["lastname"], contact.get("firstname"), contact.get("phone")) == ("Quill-Smith", None, None)
    assert contact["callrail_phone"] == PHONE
    assert hubspot.operations == ["contacts.search", "contacts.get", "contacts.update", "calls.create"]


async def test_what_somebody_has_just_typed_stays_though_search_shows_it_empty(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    contact = hubspot.account.human_creates("contacts", {"phone": PHONE})
    hubspot.account.index_lag = timedelta(minutes=5)
    hubspot.account.human_edits("contacts", contact.id, firstname="Dr. Avery", mobilephone="+13125550147")
    office.calls()
    await office.sends()
    assert (contact.properties["firstname"], contact.properties.get("lastname")) == ("Dr. Avery", None)
    assert contact.properties["callrail_phone"] == PHONE
    assert holds(hubspot) == (1, 1)


async def test_who_was_deleted_behind_the_lag_of_search_is_made_anew(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    contact = hubspot.account.human_creates("contacts", {"phone": PHONE})
    hubspot.account.index_lag = timedelta(minutes=5)
    hubspot.account.human_archives("contacts", contact.id)
    office.calls()
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)
    assert one(hubspot, "contacts").id != contact.id


async def test_of_several_the_one_with_our_number_is_taken(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    for more in ({}, {"callrail_phone": PHONE}, {}):
        hubspot.account.human_creates("contacts", {"phone": PHONE, "firstname": "A", **more})
    office.calls()
    await office.sends()
    assert hubspot.account.linked("calls", one(hubspot, "calls").id, "contacts") == [
        hubspot.account.all("contacts")[1].id
    ]


async def test_a_number_of_another_country_with_the_same_digits_is_somebody_else(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    hubspot.account.human_creates("contacts", {"phone": "+44 4045550123"})
    office.calls()
    office.calls("CAL2", customer_phone_number="+442079460123", customer_name="Bea")
    await office.sends()
    assert [each.properties["phone"] for each in hubspot.account.all("contacts")] == [
        "+44 4045550123",
        PHONE,
        "+442079460123",
    ]


@pytest.mark.parametrize("number", ["anonymous", "+266696687", "+14045559999"])
async def test_who_cannot_be_known_has_a_call_of_nobody(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path, number: str
) -> None:
    shared = 'leads: {shared_numbers: ["+14045559999"]}'
    async with an_office(database_url, tmp_path, hubspot, blocks=shared) as office:
        office.calls(customer_phone_number=number)
        office.calls("CAL2", customer_phone_number=number)
        await office.sends()
    assert holds(hubspot) == (0, 2)
    assert hubspot.operations == ["calls.create"] * 2


async def test_two_companies_in_one_account_have_one_contact(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """Search does not see yet what the first has made; HubSpot itself refuses the second."""
    hubspot.account.index_lag = timedelta(minutes=5)
    office.calls()
    office.hears("post_call", {**CALL, "resource_id": "CAL2"}, company="globex")
    await office.sends()
    assert holds(hubspot) == (1, 2)


@pytest.mark.parametrize("status", [409, 400])
async def test_a_contact_that_search_does_not_see_yet_is_taken(
    hubspot: FakeHubSpot, office: CrmOffice, status: int
) -> None:
    hubspot.account.unique_conflict = status
    hubspot.account.index_lag = timedelta(minutes=5)
    hubspot.account.human_creates("contacts", {"callrail_phone": PHONE}, since=hubspot.account.clock())
    office.calls()
    await office.sends()
    assert holds(hubspot) == (1, 1)
    assert hubspot.operations == ["contacts.search", "contacts.create", "contacts.batch_read", "calls.create"]


async def test_a_contact_that_has_the_address_behind_the_lag_of_search_is_the_one_that_hubspot_names(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    hubspot.account.index_lag = timedelta(minutes=5)
    hubspot.account.human_creates("contacts", {"email": "bea@example.invalid"}, since=hubspot.account.clock())
    office.hears("form_submission", {**FORM, "form_data": {**FORM["form_data"], "phone": PHONE}})
    assert isinstance(await office.sends(), Delivered)
    contact = one(hubspot, "contacts").properties
    assert (contact["callrail_phone"], contact["lastname"]) == (PHONE, "Low")
    assert hubspot.operations == [
        *("contacts.search", "contacts.create", "contacts.batch_read", "contacts.update", "tasks.create")
    ]


async def test_who_has_the_address_as_a_second_one_is_the_contact(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """HubSpot refuses another contact with it, and does not find it by that address (assumed)."""
    theirs = hubspot.account.human_creates(
        "contacts", {"email": "b@example.invalid", "hs_additional_emails": "bea@example.invalid;c@example.invalid"}
    )
    said = {"status": "error", "category": "CONFLICT", "message": f"Contact already exists. Existing ID: {theirs.id}"}
    hubspot.meets(faults.says(Answer(409, said)), to="contacts.create")
    office.hears("form_submission", FORM)
    assert isinstance(await office.sends(), Delivered)
    assert hubspot.account.linked("tasks", one(hubspot, "tasks").id, "contacts") == [theirs.id]
    assert theirs.properties["email"] == "b@example.invalid"


async def test_a_form_is_known_by_its_address(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    form = {"resource_id": "FRM1", "form_data": {"name": "Bea Low", "email": "Bea@example.com", "message": "Hi"}}
    hubspot.account.human_creates("contacts", {"email": "bea@example.com"})
    office.hears("form_submission", form)
    await office.sends()
    contact, task = one(hubspot, "contacts"), one(hubspot, "tasks")
    assert (contact.properties["firstname"], contact.properties["lastname"]) == ("Bea", "Low")
    assert (task.properties["hs_task_subject"], task.properties["hs_task_status"]) == ("Form submitted", "COMPLETED")
    assert hubspot.account.linked("tasks", task.id, "contacts") == [contact.id]


async def test_texts_are_of_the_other_side(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    text = {"content": "Hello", "timestamp": "2026-03-10T13:15:00Z"}
    office.hears(
        "text_received", {**text, "resource_id": "MSG1", "source_number": PHONE, "destination_number": "+14045550100"}
    )
    office.hears(
        "text_sent", {**text, "resource_id": "MSG2", "source_number": "+14045550100", "destination_number": PHONE}
    )
    await office.sends()
    assert one(hubspot, "contacts").properties["callrail_phone"] == PHONE
    assert [each.properties["callrail_id"] for each in hubspot.account.all("communications")] == ["MSG1", "MSG2"]


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["contacts.search", "contacts.create", "calls.create"])
@pytest.mark.parametrize(
    "fault",
    [
        faults.lost,
        faults.lost_by_reset,
        faults.closed_before,
        faults.cut_short,
        faults.failing(502),
        faults.failing_after(504),
        faults.html(),
        faults.locked(),
    ],
    ids=["lost", "reset after", "closed before", "cut", "502", "504 but done", "html", "locked"],
)
async def test_whatever_answer_is_lost_there_is_one_contact_and_one_call(
    hubspot: FakeHubSpot, office: CrmOffice, operation: str, fault: faults.Fault
) -> None:
    hubspot.account.index_lag = timedelta(minutes=5)
    hubspot.meets(fault, to=operation)
    office.calls()
    first = await office.sends()
    assert isinstance(first, Retry | Uncertain)
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)
    assert hubspot.account.linked("calls", one(hubspot, "calls").id, "contacts") == [one(hubspot, "contacts").id]


@pytest.mark.parametrize("operation", ["calls.create", "calls.update"])
@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before], ids=["done", "not done"])
async def test_words_whose_fate_is_not_known_stay_ours(
    hubspot: FakeHubSpot, office: CrmOffice, operation: str, fault: faults.Fault
) -> None:
    """What is told next is written over them, and not taken for something that a person has typed."""
    office.calls()
    if operation == "calls.update":
        await office.sends()
        office.hears("call_modified", {**CALL, "note": "first", "changes": ["note"]})
        office.clock.moment += timedelta(minutes=1)
    hubspot.meets(fault, to=operation)
    assert isinstance(await office.sends(), Uncertain)
    office.hears("call_modified", {**CALL, "note": "second", "changes": ["note"]})
    await office.sends_until_done()
    assert "Note: second" in one(hubspot, "calls").properties["hs_call_body"]
    assert holds(hubspot) == (1, 1)


@pytest.mark.parametrize(
    "met",
    [[faults.failing_after(408)], [faults.lost, faults.limited()], [faults.lost, faults.locked(), faults.locked()]],
    ids=["408 but done", "lost, then limited", "lost, then locked"],
)
@pytest.mark.parametrize("is_spam", [False, True])
async def test_what_may_have_been_made_is_ours_whatever_a_later_try_is_told(
    hubspot: FakeHubSpot, office: CrmOffice, met: list[faults.Fault], is_spam: bool
) -> None:
    """Its words may be written over, and if it turns out to be spam it is marked."""
    hubspot.meets(*met, to="calls.create")
    office.calls()
    for _ in met:
        assert not isinstance(await office.sends(), Delivered | Postponed)
        office.clock.moment += timedelta(minutes=1)
    office.hears("call_modified", {**CALL, "note": "second", "spam": is_spam, "changes": ["note", "spam"]})
    await office.sends_until_done()
    call = one(hubspot, "calls").properties
    assert call["hs_call_title"] == ("Call: spam" if is_spam else "Call: missed")
    assert "Note: second" in call["hs_call_body"]


async def test_what_is_done_too_late_makes_no_second(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """As long as a request may act, nobody else has the lead's turn."""
    gate = asyncio.Event()
    hubspot.meets(faults.too_late(gate), to="contacts.create")
    office.calls()
    assert isinstance(await office.sends(), Uncertain)
    assert isinstance(await office.sends(), Postponed)
    gate.set()
    await hubspot.settled()
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)


async def test_a_contact_that_somebody_deleted_is_made_anew_and_a_call_is_not(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    hubspot.account.index_lag = timedelta(minutes=5)
    office.calls()
    await office.sends()
    hubspot.account.clock.advance(timedelta(minutes=10))  # type: ignore[attr-defined]
    hubspot.account.human_archives("contacts", one(hubspot, "contacts").id)
    hubspot.account.human_archives("calls", one(hubspot, "calls").id)
    office.calls("CAL2")  # search shows the contact still
    office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)
    assert one(hubspot, "calls").properties["callrail_id"] == "CAL2"
    assert hubspot.account.linked("calls", one(hubspot, "calls").id, "contacts") == [one(hubspot, "contacts").id]


async def test_a_record_whose_answer_was_lost_goes_to_whoever_replaces_a_deleted_contact(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    hubspot.meets(faults.lost, to="calls.create")
    office.calls()
    await office.sends()
    hubspot.account.human_archives("contacts", one(hubspot, "contacts").id)
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)
    assert one(hubspot, "contacts").id in hubspot.account.linked("calls", one(hubspot, "calls").id, "contacts")


@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before, faults.limited()], ids=["done", "not", "limited"])
async def test_a_record_goes_to_whoever_replaces_a_deleted_contact_whatever_is_lost(
    hubspot: FakeHubSpot, office: CrmOffice, fault: faults.Fault
) -> None:
    hubspot.meets(faults.lost, to="calls.create")
    office.calls()
    await office.sends()
    hubspot.account.human_archives("contacts", one(hubspot, "contacts").id)
    hubspot.meets(faults.nothing_wrong, fault, to="calls.associate")
    await office.sends_until_done()
    assert hubspot.count("calls.associate") >= 2
    assert one(hubspot, "contacts").id in hubspot.account.linked("calls", one(hubspot, "calls").id, "contacts")


async def test_a_task_goes_to_whoever_replaces_a_deleted_contact(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path
) -> None:
    async with an_office(database_url, tmp_path, hubspot, ", creates: [{object: task, when: [missed]}]") as office:
        hubspot.meets(faults.closed_before, to="tasks.create")
        office.calls()
        await office.sends()
        hubspot.account.human_archives("contacts", one(hubspot, "contacts").id)
        await office.sends_until_done()
    assert hubspot.account.linked("tasks", one(hubspot, "tasks").id, "contacts") == [one(hubspot, "contacts").id]


@pytest.mark.parametrize("is_primary", [True, False])
async def test_a_contact_that_somebody_merged_goes_on_as_the_other(
    hubspot: FakeHubSpot, office: CrmOffice, is_primary: bool
) -> None:
    office.calls()
    await office.sends()
    ours = one(hubspot, "contacts").id
    theirs = hubspot.account.human_creates("contacts", {"firstname": "A. Q."}).id
    merged = hubspot.account.human_merges(*((ours, theirs) if is_primary else (theirs, ours)))
    office.calls("CAL2")
    await office.sends_until_done()
    assert holds(hubspot) == (1, 2)
    assert {*hubspot.account.linked("contacts", merged.id, "calls")} == {
        call.id for call in hubspot.account.all("calls")
    }


OTHER = "+14045550124"


async def test_who_has_several_numbers_is_looked_for_by_each(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """The contact that we knew was deleted, and people have made one with the other number."""
    office.calls(customer_phone_number=OTHER, person_resource_id="PER1")
    office.calls("CAL2", person_resource_id="PER1")
    await office.sends()
    hubspot.account.human_archives("contacts", one(hubspot, "contacts").id)
    theirs = hubspot.account.human_creates("contacts", {"firstname": "Dr. Avery", "mobilephone": "(404) 555-0124"})
    office.calls("CAL3", person_resource_id="PER1")
    await office.sends_until_done()
    assert one(hubspot, "contacts") is theirs
    assert holds(hubspot) == (1, 3)


@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before], ids=["done", "not done"])
async def test_who_may_have_been_made_by_another_number_is_not_made_again(
    hubspot: FakeHubSpot, office: CrmOffice, fault: faults.Fault
) -> None:
    """Its answer was lost, search does not show it, and HubSpot would refuse the same number alone."""
    hubspot.account.index_lag = timedelta(minutes=5)
    hubspot.meets(fault, to="contacts.create")
    office.calls(customer_phone_number=OTHER, person_resource_id="PER1")
    (delivery,) = office.claims()
    await office.tries(delivery)
    office.dies(delivery)
    office.clock.moment += timedelta(minutes=1)
    office.calls("CAL2", person_resource_id="PER1")
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)
    office.repeats()
    await office.sends_until_done()
    assert holds(hubspot) == (1, 2)


async def test_spam_is_not_logged_and_what_is_logged_is_marked(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    office.calls("CAL2", spam=True)
    assert (await office.sends()).reason == "spam is not logged, and was not before"
    office.calls()
    await office.sends()
    office.hears("call_modified", {**CALL, "spam": True, "changes": ["spam"]})
    await office.sends_until_done()
    assert one(hubspot, "calls").properties["hs_call_title"] == "Call: spam"


@pytest.mark.parametrize(("fault", "title"), [(faults.lost, "Call: spam"), (faults.closed_before, None)])
async def test_what_may_have_been_logged_before_it_was_spam_is_marked(
    hubspot: FakeHubSpot, office: CrmOffice, fault: faults.Fault, title: str | None
) -> None:
    hubspot.meets(fault, to="calls.create")
    office.calls()
    await office.sends()
    office.hears("call_modified", {**CALL, "spam": True, "changes": ["spam"]})
    await office.sends_until_done()
    calls = hubspot.account.all("calls")
    assert [call.properties["hs_call_title"] for call in calls] == ([title] if title is not None else [])


async def test_a_revoked_token_and_a_scope_that_lacks_pause_the_lane(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.account.token = None
    office.calls()
    outcome = await office.sends()
    assert isinstance(outcome, AuthFailed)
    assert outcome.reason == "HTTP 401 INVALID_AUTHENTICATION: HubSpot takes the token no longer; make another"
    hubspot.account.token = TOKEN
    hubspot.account.scopes.remove("crm.objects.contacts.write")
    assert (await office.sends()).reason == (
        "HTTP 403 MISSING_SCOPES: the token lacks the scope crm.objects.contacts.write; `sinks test` looks at all"
    )


@pytest.mark.parametrize(
    ("policy", "after"),
    [
        ("DAILY", timedelta(hours=1)),
        ("TEN_SECONDLY_ROLLING", timedelta(seconds=10)),
        ("SECONDLY", timedelta(seconds=2)),
    ],
)
async def test_a_limit_pauses_the_lane(hubspot: FakeHubSpot, office: CrmOffice, policy: str, after: timedelta) -> None:
    hubspot.meets(faults.limited(policy))
    office.calls()
    outcome = await office.sends()
    assert isinstance(outcome, Retry)
    assert (outcome.after, outcome.whole_lane) == (after, True)
    assert alarms(outcome) is (policy == "DAILY")
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)


async def test_an_account_that_is_moved_is_waited_for(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.meets(faults.migrating(3_600))
    office.calls()
    outcome = await office.sends()
    assert isinstance(outcome, Retry)
    assert (outcome.after, outcome.whole_lane, alarms(outcome)) == (timedelta(hours=1), True, True)


@pytest.mark.parametrize(
    ("settings", "spoil", "said"),
    [
        ("", "callrail_id", "make the property callrail_id; `sinks setup` makes those of ours"),
        (", owner: '999'", "", "there is no such owner; look at owner"),
        (
            ", creates: [{object: deal, when: [missed], fields: {pipeline: nope, dealstage: closedwon}}]",
            "",
            "there is no such pipeline",
        ),
    ],
)
async def test_what_somebody_has_to_put_right_pauses_the_lane_and_burns_nothing(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path, settings: str, spoil: str, said: str
) -> None:
    if spoil:
        del hubspot.account.properties["calls"][spoil]
    async with an_office(database_url, tmp_path, hubspot, settings) as office:
        office.calls()
        outcome = await office.sends()
    assert isinstance(outcome, AuthFailed)
    assert outcome.reason.endswith(said)


async def test_a_property_that_the_account_requires_is_named(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.account.require("contacts", "city")
    office.calls()
    outcome = await office.sends()
    assert outcome == Rejected("HTTP 400 VALIDATION_ERROR (city)")


async def test_a_field_of_the_settings_that_is_refused_is_left_out(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path
) -> None:
    hubspot.account.define("calls", "minutes", type="number", is_unique=False)
    hubspot.account.define("contacts", "region", options=("north", "south"), is_unique=False)
    fields = ", contact_fields: {region: '{{ source }}'}, call_fields: {minutes: many}"
    async with an_office(database_url, tmp_path, hubspot, fields) as office:
        office.calls()
        outcome = await office.sends()
    assert outcome.reason == "logged; left out: minutes; left out: region"
    assert holds(hubspot) == (1, 1)


@pytest.mark.parametrize("names_it", [False, True])
async def test_a_field_of_the_settings_whose_unique_value_another_record_has_is_left_out(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path, names_it: bool
) -> None:
    hubspot.account.unique_conflict = 400 if names_it else 409
    hubspot.account.define("calls", "campaign")
    hubspot.account.define("contacts", "member")
    fields = ", contact_fields: {member: '{{ source }}'}, call_fields: {campaign: '{{ source }}'}"
    async with an_office(database_url, tmp_path, hubspot, fields) as office:
        office.calls("CAL1")
        first = await office.sends()
        office.calls("CAL2", customer_phone_number="+13125550147", person_resource_id="PER2")
        second = await office.sends()
    assert (first.reason, second.reason) == ("logged", "logged; left out: campaign; left out: member")
    assert holds(hubspot) == (2, 2)


FORM: dict[str, Any] = {
    "resource_id": "FRM1",
    "form_data": {"name": "Bea Low", "email": "bea@example.invalid", "message": "Hi"},
}


def refused(*names: str, code: str = "INVALID_EMAIL") -> faults.Fault:
    """As HubSpot says that a value is none, or breaks a rule of the account."""
    errors = [{"message": "It is not valid.", "code": code, "context": {"propertyName": [name]}} for name in names]
    told = {"status": "error", "category": "VALIDATION_ERROR", "message": "It is not valid.", "errors": errors}
    return faults.says(Answer(400, told))


async def test_a_contact_is_made_without_what_is_refused_of_it(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.meets(refused("firstname", code="REGULAR_EXPRESSION"), to="contacts.create")
    office.calls()
    assert (await office.sends()).reason == "logged; left out: firstname"
    contact = one(hubspot, "contacts").properties
    assert (contact.get("firstname"), contact["lastname"], contact["callrail_phone"]) == (None, "Quill", PHONE)


async def test_an_address_that_is_none_costs_no_form_with_a_number(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.meets(refused("email"), to="contacts.create")
    office.hears("form_submission", {**FORM, "form_data": {**FORM["form_data"], "phone": PHONE}})
    assert (await office.sends()).reason == "logged; left out: email"
    contact = one(hubspot, "contacts")
    assert (contact.properties.get("email"), contact.properties["callrail_phone"]) == (None, PHONE)
    assert hubspot.account.linked("tasks", one(hubspot, "tasks").id, "contacts") == [contact.id]


async def test_an_address_that_somebody_has_who_cannot_be_found_costs_no_form_with_a_number(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    hubspot.meets(faults.says(Answer(409, {"status": "error", "category": "CONFLICT"})), to="contacts.create")
    office.hears("form_submission", {**FORM, "form_data": {**FORM["form_data"], "phone": PHONE}})
    assert (await office.sends()).reason == "logged; left out: email"
    assert one(hubspot, "contacts").properties["callrail_phone"] == PHONE


async def test_who_has_only_an_address_that_is_none_has_a_form_of_nobody(
    hubspot: FakeHubSpot, office: CrmOffice
) -> None:
    hubspot.meets(refused("email"), to="contacts.create")
    office.hears("form_submission", FORM)
    assert (await office.sends()).reason == "logged; left out: email"
    assert one(hubspot, "tasks").properties["callrail_id"] == "FRM1"
    assert hubspot.account.all("contacts") == []


@pytest.mark.parametrize("names_it", [False, True])
async def test_of_a_gap_that_is_refused_the_others_are_filled(
    hubspot: FakeHubSpot, office: CrmOffice, names_it: bool
) -> None:
    hubspot.account.unique_conflict = 400 if names_it else 409
    theirs = hubspot.account.human_creates("contacts", {"phone": PHONE})
    hubspot.account.index_lag = timedelta(minutes=5)
    hubspot.account.human_creates("contacts", {"email": "bea@example.invalid"}, since=hubspot.account.clock())
    office.hears("form_submission", {**FORM, "form_data": {**FORM["form_data"], "phone": PHONE}})
    assert (await office.sends()).reason == "logged; left out: email"
    assert (theirs.properties["callrail_phone"], theirs.properties["lastname"]) == (PHONE, "Low")
    assert len(hubspot.account.all("contacts")) == 2


async def test_a_call_is_logged_without_what_is_refused_of_it(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.meets(refused("hs_call_recording_url", code="INVALID_URL"), to="calls.create")
    office.calls(recording="https://app.callrail.com/calls/CAL1/recording")
    assert (await office.sends()).reason == "logged; left out: hs_call_recording_url"
    hubspot.meets(refused("hs_call_recording_url", code="INVALID_URL"), to="calls.update")
    office.hears("call_modified", {**CALL, **TOLD, "note": "late", "changes": ["note"]})
    office.clock.moment += timedelta(minutes=1)
    assert (await office.sends()).reason == "updated; left out: hs_call_recording_url"
    assert "Note: late" in one(hubspot, "calls").properties["hs_call_body"]


async def test_redirects_and_other_servers_pause_the_lane(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    office.calls()
    for status in (302, 404):
        hubspot.meets(faults.says(Answer(status, b"<html>", {"Location": "https://evil.example"})))
        assert isinstance(await office.sends(), Gone)


async def test_a_version_that_hubspot_has_retired_pauses_the_lane_and_loses_nothing(
    hubspot: FakeHubSpot, office: CrmOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its 'not found' is of no record. It is no reason to take one for deleted."""
    office.calls()
    await office.sends()
    office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
    office.clock.moment += timedelta(minutes=1)
    with monkeypatch.context() as retired:
        retired.setattr("tests.fakes.hubspot.api.VERSIONS", ("2027-03",))
        assert isinstance(await office.sends(), Gone)
    hubspot.meets(faults.says(Answer(404, b"<html>")), to="calls.get")
    assert isinstance(await office.sends(), Gone)
    await office.sends_until_done()
    assert "Note: late" in one(hubspot, "calls").properties["hs_call_body"]


async def test_a_record_that_somebody_made_again_is_brought_up_to_date(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """As by a restore, or an import of what was exported: it has our id, and another one of HubSpot's."""
    office.calls()
    await office.sends()
    call = one(hubspot, "calls")
    hubspot.account.human_archives("calls", call.id)
    again = hubspot.account.human_creates("calls", dict(call.properties))
    office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
    await office.sends_until_done()
    assert "Note: late" in again.properties["hs_call_body"]


async def test_what_is_not_found_is_the_contact_only_if_it_is(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path
) -> None:
    not_there = faults.says(Answer(404, {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "It is not."}))
    async with an_office(database_url, tmp_path, hubspot, ", creates: [{object: task, when: [missed]}]") as office:
        office.calls()
        await office.sends()
        hubspot.account.human_edits("contacts", one(hubspot, "contacts").id, callrail_phone="")
        hubspot.account.index_lag = timedelta(minutes=5)
        office.calls("CAL2")
        hubspot.meets(not_there, to="calls.create")
        hubspot.meets(not_there, to="tasks.create")
        for _ in range(2):
            assert isinstance(await office.sends(), Retry)
        await office.sends_until_done()
    assert holds(hubspot) == (1, 2)
    assert len(hubspot.account.all("tasks")) == 2


# --- hostile and odd -------------------------------------------------------------------------------------------------


async def test_a_search_that_tells_no_list_has_not_found_nobody(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.account.human_creates("contacts", {"phone": PHONE, "firstname": "Dr. Avery"})
    hubspot.meets(faults.says(Answer(200, {"total": 1})), to="contacts.search")
    office.calls()
    assert isinstance(await office.sends(), Retry)
    await office.sends_until_done()
    assert holds(hubspot) == (1, 1)


@pytest.mark.parametrize("told", [{}, {"status": "COMPLETE", "errors": []}, {"results": [{"id": "1"}]}])
async def test_a_look_up_that_tells_nothing_of_the_contact_overwrites_nothing(
    hubspot: FakeHubSpot, office: CrmOffice, told: dict[str, Any]
) -> None:
    hubspot.account.index_lag = timedelta(minutes=5)
    now = hubspot.account.clock()
    hubspot.account.human_creates("contacts", {"callrail_phone": PHONE, "firstname": "Dr. Avery"}, since=now)
    hubspot.meets(faults.says(Answer(200, told)), to="contacts.batch_read")
    office.calls()
    assert isinstance(await office.sends(), Retry)
    await office.sends_until_done()
    assert one(hubspot, "contacts").properties["firstname"] == "Dr. Avery"
    assert holds(hubspot) == (1, 1)


@pytest.mark.parametrize("operation", ["calls.get", "contacts.get"])
async def test_a_record_of_which_nothing_is_told_is_asked_for_again(
    hubspot: FakeHubSpot, office: CrmOffice, operation: str
) -> None:
    """And not taken for one that somebody has changed, or that is empty."""
    person = hubspot.account.human_creates("contacts", {"phone": PHONE})
    office.calls()
    if operation == "calls.get":
        await office.sends()
    office.hears("call_modified", {**CALL, "note": "new", "changes": ["note"]})
    if operation == "contacts.get":
        hubspot.account.index_lag = timedelta(minutes=5)
        hubspot.account.human_edits("contacts", person.id, firstname="Dr. Avery")
    hubspot.meets(faults.says(Answer(200, {"id": person.id})), to=operation)
    await office.sends_until_done()
    assert "HubSpot did not say what stands in it" in office.reasons
    assert "Note: new" in one(hubspot, "calls").properties["hs_call_body"]
    assert person.properties["firstname"] == ("Dr. Avery" if operation == "contacts.get" else "Avery")


async def test_a_body_of_more_bytes_than_others_may_answer_is_read(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """Of letters of three bytes: HubSpot takes 65,536 characters, and answers them when they are written and read."""
    office.calls(transcription="通话" * 20_000)
    assert (await office.sends()).reason == "logged"
    office.hears("call_modified", {**CALL, "value": "$9", "changes": ["value"]})
    await office.sends_until_done()
    assert "Value: $9" in one(hubspot, "calls").properties["hs_call_body"]


async def test_a_check_reads_all_properties_that_an_account_has(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """Contacts have some hundreds from the beginning."""
    for n in range(400):
        hubspot.account.define("contacts", f"own_{n}", is_unique=False, description="What people here mean by it. " * 9)
    assert [check for check in await office.sink.check() if not check.ok] == []
    assert await cast(NeedsSetUp, office.sink).plan_setup() == []


@pytest.mark.parametrize(
    "name",
    [
        "<b>Bob</b><script>alert(1)</script>",
        '=HYPERLINK("http://evil")',
        "\u202eevil \U0001f600",
        "Bob\r\nX-Evil: 1",
        "A" * 10_000,
    ],
)
async def test_names_arrive_harmless(hubspot: FakeHubSpot, office: CrmOffice, name: str) -> None:
    office.calls(customer_name=name, note=name)
    assert isinstance(await office.sends(), Delivered)
    contact, call = one(hubspot, "contacts").properties, one(hubspot, "calls").properties
    assert "<script" not in call["hs_call_body"]
    assert len(call["hs_call_body"]) <= 65_536
    assert not {"\r", "\n"} & {*contact["firstname"], *contact.get("lastname", "")}
    assert max(len(contact["firstname"]), len(contact.get("lastname", ""))) <= 255


def test_a_text_of_any_length_is_cut_within_no_character_and_no_entity() -> None:
    body = body_of(["&" * 40_000, "\U0001f600" * 40_000])
    assert len(body) <= 65_536
    assert body.replace("&amp;", "").replace("<br>", "").strip("\U0001f600") == ""
    assert json.loads(json.dumps(body)) == body
    assert body_of(["a", "", "<b>"]) == "a<br><br>&lt;b&gt;"


# --- what may leave --------------------------------------------------------------------------------------------------

TOLD: dict[str, Any] = {
    "customer_name": "Avery Quill",
    "note": "gate code 4711",
    "transcription": "my boiler leaks",
    "recording": "https://app.callrail.com/calls/CAL1/recording",
    "tags": ["boiler", "urgent"],
    "first_call": True,
}


@pytest.mark.parametrize(
    ("fields", "leaves", "stays"),
    [
        ("", ["Avery", "4711", "leaks", "/recording", "Google Ads"], []),
        (
            ", fields: [source, tags, first_call]",
            ["Source: Google Ads<br>Tags: boiler, urgent<br>First call: yes"],
            ["Avery", "4711", "leaks", "/recording"],
        ),
        (", fields: [customer_name, recording]", ["Avery", "/recording"], ["4711", "leaks", "Google Ads"]),
    ],
    ids=["all", "statistics", "no words"],
)
async def test_only_fields_that_are_allowed_leave(
    hubspot: FakeHubSpot, sqlite_url: str, tmp_path: Path, fields: str, leaves: list[str], stays: list[str]
) -> None:
    """Neither at first nor with later news, though the rule's templates name them all."""
    async with an_office(sqlite_url, tmp_path, hubspot, fields) as office:
        office.calls(**TOLD)
        await office.sends()
        told = {**CALL, **TOLD, "answered": True, "call_type": "answered", "changes": ["note", "transcription"]}
        office.hears("call_modified", told)
        await office.sends_until_done()

    sent = b"".join(exchange.asked.raw for exchange in hubspot.exchanges).decode()
    assert [text for text in leaves if text not in sent] == []
    assert [text for text in stays if text in sent] == []
    call, contact = one(hubspot, "calls").properties, one(hubspot, "contacts").properties
    assert (call["hs_call_title"], call["hs_call_direction"], call["hs_call_duration"]) == (
        "Call: answered",
        "INBOUND",
        "30000",
    )
    assert contact["phone"] == PHONE


async def test_of_a_form_what_is_allowed_leaves(hubspot: FakeHubSpot, sqlite_url: str, tmp_path: Path) -> None:
    form = {"name": "Bea Low", "email": "bea@example.com", "message": "Hi\r\n<b>there</b>"}
    async with an_office(sqlite_url, tmp_path, hubspot, ", fields: [form_data]") as office:
        office.hears("form_submission", {"resource_id": "FRM1", "source": "Bing", "form_data": form})
        await office.sends()
    body = one(hubspot, "tasks").properties["hs_task_body"]
    assert "message: Hi &lt;b&gt;there&lt;/b&gt;" in body
    assert "Bing" not in body


# --- what else is made -----------------------------------------------------------------------------------------------


async def test_a_task_a_lead_and_a_deal_are_made_once_of_whom_they_are_wanted(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path
) -> None:
    creates = (
        f", owner: '{OWNER}', creates: [{{object: task, when: [missed, voicemail], due_in: 1h}},"
        "{object: lead, when: [missed], who: new},"
        "{object: deal, when: [missed], who: known, fields: "
        "{dealname: '{{ now.customer_name }} again', pipeline: default, dealstage: closedwon}}]"
    )
    async with an_office(database_url, tmp_path, hubspot, creates) as office:
        office.calls()
        office.calls("CAL2")
        office.calls("CAL3", answered=True, call_type="answered")
        await office.sends()
        office.repeats()
        await office.sends_until_done()

    tasks, (lead,), (deal,) = (hubspot.account.all(kind) for kind in ("tasks", "leads", "deals"))
    assert [task.properties["callrail_id"] for task in tasks] == ["CAL1-1", "CAL2-1"]
    assert tasks[0].properties["hs_timestamp"] == "1773152100000"
    assert tasks[0].properties["hubspot_owner_id"] == OWNER
    assert (lead.properties["callrail_id"], deal.properties["callrail_id"]) == ("CAL1-2", "CAL2-3")
    assert deal.properties["dealname"] == "Avery Quill again"
    contact = one(hubspot, "contacts").id
    assert all(
        hubspot.account.linked(each.kind.name, each.id, "contacts") == [contact] for each in (*tasks, lead, deal)
    )


@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before], ids=["done", "not done"])
async def test_what_else_is_made_is_made_in_the_end(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path, fault: faults.Fault
) -> None:
    hubspot.meets(fault, to="tasks.create")
    creates = ", creates: [{object: task, when: [missed]}]"
    async with an_office(database_url, tmp_path, hubspot, creates) as office:
        office.calls()
        assert isinstance(await office.sends(), Uncertain)
        await office.sends_until_done()
        office.repeats()
        await office.sends_until_done()
    assert one(hubspot, "tasks").properties["callrail_id"] == "CAL1-1"
    assert holds(hubspot) == (1, 1)


async def test_what_else_is_refused_costs_neither_the_others_nor_later_news(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path
) -> None:
    """It is told as rejected, as often as it is, until somebody puts it right."""
    hubspot.account.require("deals", "closedate")
    deal = "{object: deal, when: [missed], fields: {pipeline: default, dealstage: closedwon}}"
    creates = f", creates: [{deal}, {{object: task, when: [missed]}}]"
    async with an_office(database_url, tmp_path, hubspot, creates) as office:
        office.calls()
        (delivery,) = office.claims()
        assert await office.tries(delivery) == Rejected("logged; deals: HTTP 400 VALIDATION_ERROR (closedate)")
        assert one(hubspot, "tasks").properties["callrail_id"] == "CAL1-2"
        office.dies(delivery)
        office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
        office.clock.moment += timedelta(minutes=1)
        assert await office.sends() == Rejected("updated; deals: HTTP 400 VALIDATION_ERROR (closedate)")
        assert "Note: late" in one(hubspot, "calls").properties["hs_call_body"]
        hubspot.account.define("deals", "closedate", is_unique=False)
        office.repeats()
        await office.sends_until_done()
    assert one(hubspot, "deals").properties["callrail_id"] == "CAL1-1"
    assert holds(hubspot) == (1, 1)


@pytest.mark.parametrize("names_it", [False, True])
async def test_what_else_has_a_value_of_another_is_not_taken_for_made(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path, names_it: bool
) -> None:
    hubspot.account.unique_conflict = 400 if names_it else 409
    hubspot.account.define("tasks", "ticket")
    hubspot.account.human_creates("tasks", {"ticket": "Google Ads"})
    creates = ", creates: [{object: task, when: [missed], fields: {ticket: '{{ source }}'}}]"
    async with an_office(database_url, tmp_path, hubspot, creates) as office:
        office.calls()
        outcome = await office.sends()
    assert isinstance(outcome, Rejected)
    assert outcome.reason.startswith("logged; tasks: HTTP 4")


async def test_no_number_stands_in_a_url(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.account.index_lag = timedelta(minutes=5)
    office.calls()
    office.hears("post_call", {**CALL, "resource_id": "CAL2"}, company="globex")
    await office.sends()
    asked = [f"{exchange.asked.path}?{exchange.asked.query}" for exchange in hubspot.exchanges]
    assert "contacts.batch_read" in hubspot.operations
    assert not [each for each in asked if "4045550123" in each]


@pytest.mark.parametrize("extras", [0, 4, 10])
async def test_at_the_published_limit_nothing_is_refused(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path, extras: int
) -> None:
    """Sixty new callers at once: at the pace of the lane, HubSpot's limit for free accounts is never reached."""
    hubspot.api.limits = Limits.of_free()
    creates = f", creates: [{', '.join(['{object: task, when: [missed]}'] * extras)}]" if extras else ""
    async with an_office(database_url, tmp_path, hubspot, creates) as office:
        rate = office.configuration.sink_configs["crm"].rate
        assert rate is not None
        for n in range(60):
            office.calls(f"CAL{n}", customer_phone_number=f"+140455501{n:02}")
        for n, delivery in enumerate(office.claims()):
            if n % rate.count == 0:
                hubspot.account.clock.advance(rate.per)  # type: ignore[attr-defined]
            assert isinstance(await office.tries(delivery), Delivered)
    assert (*holds(hubspot), len(hubspot.account.all("tasks"))) == (60, 60, 60 * extras)


# --- setting up ------------------------------------------------------------------------------------------------------


async def setup_by_hand(hubspot: FakeHubSpot, config: Path, *more: str) -> Ran:
    environ = {"HUBSPOT_TOKEN": TOKEN, "ACME_KEY": "0f1e2d3c"}
    return await asyncio.to_thread(run, "sinks", "setup", "crm", *more, "--config", str(config), environ=environ)


async def test_an_operator_sees_what_would_be_made_and_has_it_made(tmp_path: Path) -> None:
    config = tmp_path / "router.yaml"
    async with running_hubspot() as hubspot:
        settings = f"type: hubspot, token: env:HUBSPOT_TOKEN, base_url: '{hubspot.base_url}', allow_hosts: [127.0.0.1]"
        config.write_text(
            "companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n"
            f"sinks:\n  crm: {{{settings}}}\n  terminal: {{type: stdout}}\n"
            "rules:\n  - {id: all, when: [call.missed], send: [{to: crm}, {to: terminal}]}\n"
        )
        planned = await setup_by_hand(hubspot, config, "--plan")
        assert (planned.code, planned.out.count("would make")) == (0, 8)
        made = await setup_by_hand(hubspot, config)
        assert (made.code, made.out.count("✓"), made.out.count("✗")) == (0, 8, 0)
        again = await setup_by_hand(hubspot, config, "--plan")
        assert (again.code, again.out.count("✓"), "would make" in again.out) == (0, 8, False)

        hubspot.account.scopes.remove("crm.objects.contacts.read")
        lacking = await setup_by_hand(hubspot, config)
        assert (lacking.code, "give the token the scope crm.objects.contacts.read" in lacking.out) == (1, True)
        hubspot.account.token = None
        revoked = await setup_by_hand(hubspot, config, "--plan")
        assert (revoked.code, "it is revoked or mistyped" in revoked.out) == (1, True)


async def test_a_property_whose_values_are_not_unique_is_told(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    hubspot.account.define("calls", "callrail_id", is_unique=False)
    (wrong,) = [check for check in await office.sink.check() if not check.ok]
    assert "which cannot be changed: delete it in HubSpot" in wrong.remedy


@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize(("of", "lacks"), [("contacts", 4), ("deals", 1), ("leads", 1)])
async def test_each_scope_that_lacks_is_named_and_nothing_is_written(
    hubspot: FakeHubSpot, sqlite_url: str, tmp_path: Path, of: str, lacks: int, way: str
) -> None:
    hubspot.account.scopes.remove(f"crm.objects.{of}.{way}")
    creates = ", creates: [{object: deal, when: [missed]}, {object: lead, when: [missed]}]"
    async with an_office(sqlite_url, tmp_path, hubspot, creates) as office:
        wrong = [check for check in await office.sink.check() if not check.ok]
    assert [check.what.partition(" change ")[0] for check in wrong] == ["the token may read and"] * lacks
    assert {check.remedy for check in wrong} == {f"give the token the scope crm.objects.{of}.{way}"}
    assert {each.asked.action for each in hubspot.exchanges} == {"properties.list", "batch_read", "batch_update"}
    assert not any(each.asked.body["inputs"] for each in hubspot.exchanges if each.asked.body is not None)


async def test_a_scope_is_named_where_hubspot_names_none(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """As it is documented then."""
    for operation in ("calls.batch_read", "calls.batch_update"):
        hubspot.meets(faults.says(Answer(403, {"status": "error", "category": "MISSING_SCOPES"})), to=operation)
    (wrong,) = [check for check in await office.sink.check() if not check.ok]
    assert wrong.remedy == (
        "give the token the scope crm.objects.contacts.read; give the token the scope crm.objects.contacts.write"
    )


@pytest.mark.parametrize("fault", [faults.limited("DAILY"), faults.failing(502), faults.html()])
async def test_a_check_that_gets_no_answer_says_so(
    hubspot: FakeHubSpot, office: CrmOffice, fault: faults.Fault
) -> None:
    hubspot.meets(fault, to="calls.batch_update")
    (wrong,) = [check for check in await office.sink.check() if not check.ok]
    assert wrong.what == "HubSpot tells of calls"


async def test_an_account_without_such_records_is_told(hubspot: FakeHubSpot, office: CrmOffice) -> None:
    """As leads are where the account has no Sales Hub (assumed)."""
    hubspot.meets(faults.says(Answer(400, {"status": "error", "category": "VALIDATION_ERROR"})), to="properties.list")
    (wrong,) = await office.sink.check()
    assert (wrong.what, wrong.ok, wrong.remedy) == ("HubSpot tells of contacts", False, "HTTP 400 VALIDATION_ERROR")


async def test_what_could_not_be_made_is_told_and_made_the_next_time(
    hubspot: FakeHubSpot, sqlite_url: str, tmp_path: Path
) -> None:
    """One is not made, of one only the answer is lost, one lacks a scope; the rest is made, and nothing twice."""
    for kind in ("calls", "communications", "tasks", "deals"):
        del hubspot.account.properties[kind]["callrail_id"]
    hubspot.account.scopes.remove("crm.schemas.deals.write")
    hubspot.meets(faults.failing(502), faults.lost, to="properties.create")
    creates = ", creates: [{object: deal, when: [missed]}]"
    async with an_office(sqlite_url, tmp_path, hubspot, creates) as office:
        sink = cast(NeedsSetUp, office.sink)
        told = {check.what: check.remedy for check in await sink.set_up() if not check.ok}
        assert list(told) == [
            "the property callrail_id of calls, with unique values cannot be made",
            "the group callrail of properties of deals cannot be made",
            "the property callrail_id of deals, with unique values cannot be made",
            "calls have the property callrail_id",
            "deals have the property callrail_id",
        ]
        assert told["the group callrail of properties of deals cannot be made"] == (
            "give the token the scope crm.schemas.deals.write"
        )

        hubspot.account.scopes.add("crm.schemas.deals.write")
        assert await sink.plan_setup() == [
            "would make the property callrail_id of calls, with unique values",
            "would make the group callrail of properties of deals",
            "would make the property callrail_id of deals, with unique values",
        ]
        assert all(check.ok for check in await sink.set_up())
    made = [each.asked.body for each in hubspot.exchanges if each.answer and each.answer.status == 201]
    assert len(made) == 8


async def test_set_up_makes_what_is_missing_once(tmp_path: Path, database_url: str) -> None:
    async with running_hubspot() as hubspot, an_office(database_url, tmp_path, hubspot) as office:
        before = [check for check in await office.sink.check() if not check.ok]
        assert [check.what for check in before] == [
            "contacts have the property callrail_phone",
            "calls have the property callrail_id",
            "communications have the property callrail_id",
            "tasks have the property callrail_id",
        ]
        sink = cast(NeedsSetUp, office.sink)
        planned = await sink.plan_setup()
        assert planned[:2] == [
            "would make the group callrail of properties of contacts",
            "would make the property callrail_phone of contacts, with unique values",
        ]
        assert len(planned) == 8
        assert hubspot.count("properties.create") == 0
        assert all(check.ok for check in await sink.set_up())
        assert hubspot.count("properties.create") == 4
        assert await sink.plan_setup() == []
        assert all(check.ok for check in await office.sink.check())
        office.calls()
        assert isinstance(await office.sends(), Delivered)
