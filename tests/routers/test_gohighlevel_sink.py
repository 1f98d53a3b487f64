"""Logging at a GoHighLevel of our own: one contact, one note of each call, whatever is lost and whoever works there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from receiver.exceptions import DatabaseUnavailable
from routers.crm_memory import SqlTurn
from routers.leases import Delivery
from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Postponed, Rejected, Retry, Uncertain
from routers.retries import Policy, next_step
from routers.schema import DeliveryState
from routers.sinks.crm import Of
from routers.sinks.gohighlevel import GoHighLevelConfig
from routers.uncertain import OnUncertain
from tests.contract.gohighlevel_schema import gohighlevel_contract_if_any
from tests.fakes.destination import Conversation
from tests.fakes.gohighlevel import LOCATION, TOKEN, Contact, FakeGoHighLevel, Note, running_gohighlevel
from tests.fakes.gohighlevel.location import USER
from tests.fakes.hubspot import Answer, faults
from tests.fakes.hubspot.faults import Act
from tests.routers.crm_office import CALL, PHONE, CrmOffice, a_crm_office
from tests.routers.store import NOW

pytestmark = pytest.mark.anyio

WORKFLOW = "wf00000000000000001"
LAG = timedelta(minutes=5)


@pytest.fixture
async def gohighlevel() -> AsyncIterator[FakeGoHighLevel]:
    """A location. All that is asked of it is held against the vendor's contract, where that can be had."""
    async with running_gohighlevel() as running:
        running.location.workflows[WORKFLOW] = "published"
        yield running
        contract = gohighlevel_contract_if_any()
        assert contract is None or contract.problems(running.exchanges) == []


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACME_KEY": "0f1e2d3c", "GHL_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)


def an_office(
    url: str, folder: Path, gohighlevel: FakeGoHighLevel, more: str = "", *, blocks: str = "", patience: str = "10s"
) -> AbstractAsyncContextManager[CrmOffice]:
    """The office; *more* are settings of its sink, which waits for *patience*, *blocks* further blocks of its file."""
    where = f"location: '{LOCATION}', base_url: '{gohighlevel.base_url}'"
    settings = f"type: gohighlevel, token: env:GHL_TOKEN, {where}{more}"
    return a_crm_office(url, folder, settings, more=blocks, patience=patience)


@pytest.fixture
async def office(database_url: str, tmp_path: Path, gohighlevel: FakeGoHighLevel) -> AsyncIterator[CrmOffice]:
    async with an_office(database_url, tmp_path, gohighlevel) as office:
        gohighlevel.location.clock = lambda: office.clock.moment
        yield office


def the_contact(gohighlevel: FakeGoHighLevel) -> Contact:
    (found,) = gohighlevel.location.all
    return found


def the_note(gohighlevel: FakeGoHighLevel) -> Note:
    (found,) = gohighlevel.location.notes
    return found


def holds(gohighlevel: FakeGoHighLevel) -> tuple[int, int]:
    """How many contacts and notes there are."""
    return len(gohighlevel.location.all), len(gohighlevel.location.notes)


def step_after(outcome: Outcome, on_uncertain: OnUncertain = OnUncertain.HOLD) -> Any:
    policy = Policy([timedelta(seconds=5)], on_uncertain)
    return next_step(outcome, attempts=0, now=NOW, policy=policy, rng=Random(1))


# --- one call --------------------------------------------------------------------------------------------------------


async def test_a_first_call_costs_four_requests_and_a_later_one_one(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    office.calls()
    assert await office.sends() == Delivered("logged", the_note(gohighlevel).id)
    assert gohighlevel.operations == ["contacts.find", "contacts.upsert", "contacts.update", "notes.create"]
    contact, note = the_contact(gohighlevel), the_note(gohighlevel)
    assert contact.fields == {"phone": PHONE, "firstName": "Avery", "lastName": "Quill", "source": "Google Ads"}
    assert note.title == "Call: missed"
    assert "Source: Google Ads" in note.body
    assert note.body.endswith("\nCallRail id: CAL1")

    gohighlevel.exchanges.clear()
    office.calls("CAL2")
    await office.sends()
    assert gohighlevel.operations == ["notes.create"]
    assert holds(gohighlevel) == (1, 2)


async def test_what_was_delivered_and_comes_again_writes_nothing(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    office.calls()
    await office.sends()
    gohighlevel.exchanges.clear()
    office.repeats()
    assert (await office.sends()).reason == "it was so already"
    assert gohighlevel.operations == ["notes.get"]


async def test_a_call_that_rings_is_not_logged(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    office.hears("pre_call", {"resource_id": "CAL1", "customer_phone_number": PHONE})
    assert (await office.sends()).reason == "nothing to log yet: the call is under way"
    assert gohighlevel.exchanges == []


async def test_late_truth_changes_the_same_note(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    """Ten pieces of news that come together are one note, and few edits; the last values stand there."""
    office.calls()
    await office.sends()
    for n in range(10):
        told = {"tags": [f"tag {n}"], "value": f"${n}", "changes": ["tags", "value"]}
        office.hears("call_modified", {**CALL, **told, "answered": True, "call_type": "answered"})
        office.clock.moment += timedelta(seconds=3)
    await office.sends_until_done()

    note = the_note(gohighlevel)
    assert note.title == "Call: answered"
    assert "Tags: tag 9" in note.body
    assert "tag 8" not in note.body.split("Source:")[1]
    assert 1 <= gohighlevel.count("notes.update") <= 3
    assert gohighlevel.count("notes.create") == 1


async def test_what_a_person_has_typed_is_theirs(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    office.calls()
    await office.sends()
    contact, note = the_contact(gohighlevel), the_note(gohighlevel)
    contact.fields |= {"firstName": "Dr. Avery", "email": "avery@example.com"}
    contact.tags.append("vip")
    note.body = "<p>Wants a new boiler</p>"
    office.hears("call_modified", {**CALL, "note": "ours", "customer_name": "A. QUILL", "changes": ["note"]})
    office.calls("CAL2")
    await office.sends_until_done()

    assert (contact.fields["firstName"], contact.fields["email"], contact.tags) == (
        "Dr. Avery",
        "avery@example.com",
        ["vip"],
    )
    assert note.body == "<p>Wants a new boiler</p>"
    assert "somebody has changed the note, and it stays as it is" in office.reasons


@pytest.mark.parametrize("told", [{"note": None}, {"note": []}, {}, {"note": {"id": "nt1"}}, {"note": {"body": None}}])
async def test_a_note_that_cannot_be_read_is_not_taken_for_a_changed_one(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, told: dict[str, Any]
) -> None:
    office.calls()
    await office.sends()
    office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
    office.clock.moment += timedelta(minutes=1)
    gohighlevel.meets(faults.says(Answer(200, told)), to="notes.get")
    assert await office.sends() == Retry("GoHighLevel did not say what stands in the note")
    await office.sends_until_done()
    assert "Note: late" in the_note(gohighlevel).body


async def test_an_editor_that_writes_html_in_its_own_way_has_typed_nothing(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    office.calls()
    await office.sends()
    note = the_note(gohighlevel)
    note.body = "".join(f"<p>{line}</p>" for line in note.body.splitlines())
    office.hears("call_modified", {**CALL, "note": "ours", "changes": ["note"]})
    await office.sends_until_done()
    assert "Note: ours" in note.body


# --- who it is -------------------------------------------------------------------------------------------------------


async def test_a_contact_from_before_us_keeps_all_it_has(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    """Only gaps are filled: an upsert would overwrite names, and tags as a field all that are there."""
    gohighlevel.location.types_in(phone=PHONE, lastName="Quill-Smith", tags=["vip"], source="Walk-in")
    office.calls()
    await office.sends()
    contact = the_contact(gohighlevel)
    assert contact.fields == {"phone": PHONE, "lastName": "Quill-Smith", "source": "Walk-in"}
    assert contact.tags == ["vip"]
    assert gohighlevel.operations == ["contacts.find", "notes.create"]


async def test_gaps_are_filled(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    gohighlevel.location.types_in(email="bea@example.com")
    form = {"name": "Bea Low", "email": "Bea@example.com", "phone": PHONE}
    office.hears("form_submission", {"resource_id": "FRM1", "form_data": form})
    await office.sends()
    contact = the_contact(gohighlevel)
    assert (contact.fields["firstName"], contact.fields["lastName"]) == ("Bea", "Low")
    assert contact.fields["email"] == "bea@example.com"
    assert the_note(gohighlevel).title == "Form submitted"


async def test_a_gap_that_cannot_be_filled_is_left(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    """The number is another contact's; the address decides which is meant, and nothing is lost of either."""
    gohighlevel.location.types_in(phone="+14045550177", firstName="Carl")
    gohighlevel.location.types_in(email="bea@example.com", firstName="Bea")
    gohighlevel.meets(faults.says(Answer(400, {"statusCode": 400, "message": "no"})), to="contacts.update")
    office.hears("form_submission", {"resource_id": "FRM1", "form_data": {"email": "bea@example.com", "phone": PHONE}})
    assert (await office.sends()).reason == "logged; left out: phone"
    assert holds(gohighlevel) == (2, 1)


async def test_a_name_that_a_search_does_not_show_yet_stays(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    """Somebody makes the contact while the phone rings, and types the name as they talk."""
    contact = gohighlevel.location.types_in(phone=PHONE, firstName="Dr. Avery")
    contact.shown = {"phone": PHONE}
    office.calls()
    assert (await office.sends()).reason == "logged"
    assert contact.fields == {"phone": PHONE, "firstName": "Dr. Avery"}


@pytest.mark.parametrize("by", [{"phone": PHONE}, {"email": "a.q@example.org"}], ids=["number", "address"])
async def test_a_name_of_whom_a_search_does_not_show_yet_stays(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, by: dict[str, str]
) -> None:
    """An upsert finds the contact, and would write over its name."""
    gohighlevel.location.index_lag = LAG
    contact = gohighlevel.location.types_in(firstName="Dr. Avery", **by)
    form = {"name": "A. Q.", "email": "a.q@example.org", "phone": PHONE}
    office.hears("form_submission", {"resource_id": "FRM1", "form_data": form})
    assert (await office.sends()).reason == "logged"
    assert (contact.fields["firstName"], contact.fields.get("lastName")) == ("Dr. Avery", None)
    assert holds(gohighlevel) == (1, 1)


@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before, faults.failing(502)], ids=["done", "not", "502"])
async def test_a_contact_that_was_made_gets_its_name_whatever_is_lost(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, fault: faults.Fault
) -> None:
    gohighlevel.meets(fault, to="contacts.update")
    office.calls()
    assert isinstance(await office.sends(), Retry)
    await office.sends_until_done()
    assert the_contact(gohighlevel).fields["lastName"] == "Quill"
    assert holds(gohighlevel) == (1, 1)


@pytest.mark.parametrize("is_there", [False, True], ids=["made", "was there"])
async def test_an_address_that_is_not_taken_is_left_out(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, is_there: bool
) -> None:
    """It costs neither the contact nor its name nor the note."""
    if is_there:
        gohighlevel.location.types_in(phone=PHONE)
    form = {"name": "Bea Low", "email": f"bea@{'x' * 70}.com", "phone": PHONE}
    office.hears("form_submission", {"resource_id": "FRM1", "form_data": form})
    assert (await office.sends()).reason == "logged; left out: email"
    assert the_contact(gohighlevel).fields == {"phone": PHONE, "firstName": "Bea", "lastName": "Low"}
    assert holds(gohighlevel) == (1, 1)


@pytest.mark.parametrize("number", ["anonymous", "+266696687", "+14045559999"])
async def test_of_who_cannot_be_known_nothing_is_logged(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path, number: str
) -> None:
    shared = 'leads: {shared_numbers: ["+14045559999"]}'
    async with an_office(database_url, tmp_path, gohighlevel, blocks=shared) as office:
        office.calls(customer_phone_number=number)
        outcome = await office.sends()
    assert outcome == Delivered("not logged: nobody there is it, and a note is always somebody's")
    assert gohighlevel.exchanges == []


async def test_who_is_not_found_may_be_left_alone(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    async with an_office(database_url, tmp_path, gohighlevel, ", create_contacts: false") as office:
        office.calls()
        assert (await office.sends()).reason == "not logged: nobody there is it, and a note is always somebody's"
        gohighlevel.location.types_in(phone=PHONE)
        office.calls("CAL2")
        assert (await office.sends()).reason == "logged"
    assert holds(gohighlevel) == (1, 1)


async def test_two_companies_in_one_location_have_one_contact(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    """Search does not see yet what the first has made; an upsert finds it."""
    gohighlevel.location.index_lag = LAG
    office.calls()
    office.hears("post_call", {**CALL, "resource_id": "CAL2"}, company="globex")
    await office.sends()
    assert holds(gohighlevel) == (1, 2)


async def test_texts_are_of_the_other_side(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    text = {"content": "Hello", "timestamp": "2026-03-10T13:15:00Z"}
    ours, theirs = "+14045550100", PHONE
    office.hears("text_received", {**text, "resource_id": "MSG1", "source_number": theirs, "destination_number": ours})
    office.hears("text_sent", {**text, "resource_id": "MSG2", "source_number": ours, "destination_number": theirs})
    await office.sends()
    assert the_contact(gohighlevel).fields["phone"] == PHONE
    assert [note.title for note in gohighlevel.location.notes] == ["Text received", "Text sent"]


async def test_further_fields_and_an_owner_are_of_new_contacts(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    gohighlevel.location.custom_fields["cf00000000000000001"] = frozenset()
    fields = "{city: '{{ now.customer_city }}', cf00000000000000001: '{{ source }}', state: ''}"
    async with an_office(database_url, tmp_path, gohighlevel, f", owner: {USER}, contact_fields: {fields}") as office:
        office.calls(customer_city="Atlanta")
        await office.sends()
    contact = the_contact(gohighlevel).fields
    assert (contact["city"], contact["assignedTo"], contact.get("state")) == ("Atlanta", USER, None)
    assert contact["customFields"] == [{"id": "cf00000000000000001", "field_value": "Google Ads"}]


# --- trouble ---------------------------------------------------------------------------------------------------------

_FAULTS = {
    "lost": faults.lost,
    "reset after": faults.lost_by_reset,
    "closed before": faults.closed_before,
    "cut": faults.cut_short,
    "502": faults.failing(502),
    "504 but done": faults.failing_after(504),
    "408 but done": faults.failing_after(408),
    "html": faults.html(),
}


@pytest.mark.parametrize("operation", ["contacts.find", "contacts.upsert", "contacts.update", "notes.create"])
@pytest.mark.parametrize("fault", _FAULTS.values(), ids=_FAULTS)
async def test_whatever_answer_is_lost_there_is_one_contact_and_one_note(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, operation: str, fault: faults.Fault
) -> None:
    """Though for five minutes neither a search, nor an upsert, nor a list of notes shows what was made."""
    gohighlevel.location.index_lag, gohighlevel.location.upserts_lag = LAG, True
    gohighlevel.meets(fault, to=operation)
    office.calls()
    assert isinstance(await office.sends(), Retry)
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 1)


async def test_whatever_a_contact_has_been_told_its_notes_can_be_read(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    """Long transcripts in a script that takes three bytes a letter, and a frequent caller: more than a megabyte."""
    told = {"transcription": "\u6c34" * 30_000}
    for n in range(1, 21):
        office.calls(f"CAL{n}", **told)
    await office.sends()
    gohighlevel.meets(faults.lost, to="notes.create")
    office.calls("CAL21", **told)
    await office.sends_until_done()
    office.hears("call_modified", {**CALL, **told, "resource_id": "CAL21", "value": "$9", "changes": ["value"]})
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 21)
    assert office.reasons[-1] == "updated"


@pytest.mark.parametrize("told", [{"notes": None}, {"notes": {}}, {}])
async def test_notes_that_cannot_be_read_are_not_taken_for_none(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, told: dict[str, Any]
) -> None:
    gohighlevel.meets(faults.lost, to="notes.create")
    gohighlevel.meets(faults.says(Answer(200, told)), to="notes.list")
    office.calls()
    await office.sends_until_done()
    assert "GoHighLevel did not say which notes there are" in office.reasons
    assert holds(gohighlevel) == (1, 1)


async def test_after_a_lost_answer_it_is_said_what_is_waited_for(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    gohighlevel.meets(faults.lost, to="notes.create")
    office.calls()
    await office.sends()
    office.clock.moment += timedelta(minutes=1)
    outcome = await office.sends()
    assert isinstance(outcome, Postponed)
    assert outcome.reason == "an answer was lost; whether there is a note now is looked up later"
    assert LAG - timedelta(minutes=1) < outcome.after < LAG


@pytest.mark.parametrize("operation", ["notes.create", "notes.update"])
@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before], ids=["done", "not done"])
async def test_words_whose_fate_is_not_known_stay_ours(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, operation: str, fault: faults.Fault
) -> None:
    office.calls()
    if operation == "notes.update":
        await office.sends()
        office.hears("call_modified", {**CALL, "note": "first", "changes": ["note"]})
        office.clock.moment += timedelta(minutes=1)
    gohighlevel.meets(fault, to=operation)
    assert isinstance(await office.sends(), Retry)
    office.hears("call_modified", {**CALL, "note": "second", "changes": ["note"]})
    await office.sends_until_done()
    assert "Note: second" in the_note(gohighlevel).body
    assert holds(gohighlevel) == (1, 1)


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ({}, OnUncertain.RETRY),
        ({"workflows": [{"id": WORKFLOW, "when": ["missed"]}]}, OnUncertain.HOLD),
        ({"on_uncertain": "hold"}, OnUncertain.HOLD),
    ],
    ids=["without workflows", "with workflows", "as written"],
)
def test_only_where_workflows_are_started_is_anything_held(settings: dict[str, Any], policy: OnUncertain) -> None:
    """What was under way when a process was killed is looked up; a lane that holds would keep it for a person."""
    told = {"type": "gohighlevel", "token": "env:GHL_TOKEN", "location": LOCATION, **settings}
    assert GoHighLevelConfig.model_validate(told).on_uncertain is policy


@pytest.fixture
def _patient_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request alone may take a minute: the sink's own time is over first, as it is after several slow ones."""
    client = GoHighLevelConfig.client
    patient = {"timeout": timedelta(minutes=1)}
    monkeypatch.setattr(GoHighLevelConfig, "client", lambda config: client(config.model_copy(update=patient)))


@pytest.mark.usefixtures("_patient_client")
async def test_who_takes_too_long_is_tried_again_and_not_held(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    """Of all requests together the lane would not wait for the end, and say that it is uncertain."""
    gohighlevel.meets(faults.lost_by_silence)
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS, patience="3s") as office:
        office.calls()
        assert await office.sends() == Retry("no answer in time")
        await office.sends_until_done()
    assert holds(gohighlevel) == (1, 1)
    assert the_contact(gohighlevel).entered == [WORKFLOW]


@pytest.mark.usefixtures("_patient_client")
async def test_a_workflow_whose_answer_does_not_come_in_time_is_held(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    gohighlevel.meets(faults.lost_by_silence, to="workflows.start")
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS, patience="3s") as office:
        office.calls()
        while not isinstance(outcome := await office.sends(), Uncertain):  # a slow machine does not come so far at once
            office.clock.moment += LAG
    assert outcome == Uncertain(f"logged; whether the workflow {WORKFLOW} was started is not known")


async def test_a_workflow_of_which_nothing_can_be_kept_is_held(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away just when the answer was lost: tried again by itself, it might be started twice."""
    keep = SqlTurn.keep

    async def kept_and_lost(turn: SqlTurn, kind: str, of: Of, remote_id: str, written: str | None = None) -> None:
        await keep(turn, kind, of, remote_id, written)
        if remote_id == "lost":
            raise DatabaseUnavailable("gone")

    monkeypatch.setattr(SqlTurn, "keep", kept_and_lost)
    gohighlevel.meets(faults.lost, to="workflows.start")
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        outcome = await office.sends()
    assert outcome == Uncertain(f"logged; whether the workflow {WORKFLOW} was started is not known")


async def test_what_is_done_too_late_makes_no_second(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    """As long as a request may act, nobody else has the lead's turn."""
    gate = asyncio.Event()
    gohighlevel.meets(faults.too_late(gate), to="contacts.upsert")
    office.calls()
    assert isinstance(await office.sends(), Retry)
    assert isinstance(await office.sends(), Postponed)
    gate.set()
    await gohighlevel.settled()
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 1)


async def test_an_id_that_begins_like_another_is_another(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    office.calls("CAL12")
    await office.sends()
    gohighlevel.meets(faults.closed_before, to="notes.create")
    office.calls("CAL1")
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 2)


async def test_a_note_that_speaks_of_a_call_is_not_the_note_of_it(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    """And the note of a call that speaks of another one is."""
    office.calls("CAL2")
    await office.sends()
    typed = Note("nt-typed", "Called back. See CallRail id: CAL1 for what they want.", "", NOW)
    the_contact(gohighlevel).notes[typed.id] = typed
    gohighlevel.meets(faults.closed_before, to="notes.create")
    office.calls("CAL1", note="again, as CallRail id: CAL12")
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 3)

    gohighlevel.meets(faults.lost, to="notes.create")
    office.calls("CAL3", note="again, as in CallRail id: CAL31")
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 4)


async def test_a_contact_that_somebody_deleted_is_made_anew_and_a_note_is_not(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    office.calls()
    await office.sends()
    gohighlevel.location.deletes(the_contact(gohighlevel))
    office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
    office.calls("CAL2")
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 1)
    assert the_note(gohighlevel).body.endswith("CallRail id: CAL2")
    assert "its note was deleted there, or its contact, and is not written again" in office.reasons


async def test_a_contact_that_is_found_and_is_not_there_is_looked_for_later(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    """Whoever was deleted a moment ago is still found, also by an upsert, and cannot be read."""
    gone = {"contact": {"id": "ct-gone", "phone": PHONE}}
    gohighlevel.meets(faults.says(Answer(200, gone)), to="contacts.find")
    gohighlevel.meets(faults.says(Answer(200, gone | {"new": False})), to="contacts.upsert")
    office.calls()
    assert await office.sends() == Retry("the contact changes while it is written to", timedelta(seconds=10))
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 1)


async def test_a_note_that_somebody_deleted_stays_deleted(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    office.calls()
    await office.sends()
    the_contact(gohighlevel).notes.clear()
    office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 0)


async def test_a_contact_that_somebody_merged_goes_on_as_the_other(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    office.calls()
    await office.sends()
    ours, theirs = the_contact(gohighlevel), gohighlevel.location.types_in(firstName="A. Q.", phone="+14045550177")
    theirs.fields["phone"] = PHONE
    gohighlevel.location.merges(ours, theirs)
    office.calls("CAL2")
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 2)
    assert the_contact(gohighlevel).fields["firstName"] == "A. Q."


async def test_who_has_several_numbers_is_looked_for_by_each(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    """Merged into a contact that has the other number, they are not made once more."""
    other = "+14045550124"
    office.calls(customer_phone_number=other, person_resource_id="PER1")
    office.calls("CAL2", person_resource_id="PER1")
    await office.sends()
    ours, theirs = the_contact(gohighlevel), gohighlevel.location.types_in(firstName="A. Q.", phone=other)
    gohighlevel.location.merges(ours, theirs)
    office.calls("CAL3", person_resource_id="PER1")
    await office.sends_until_done()
    assert holds(gohighlevel) == (1, 3)
    assert the_contact(gohighlevel).fields["firstName"] == "A. Q."


async def test_spam_is_not_logged_and_what_is_logged_is_marked(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    office.calls("CAL2", spam=True)
    assert (await office.sends()).reason == "spam is not logged, and was not before"
    office.calls()
    await office.sends()
    office.hears("call_modified", {**CALL, "spam": True, "changes": ["spam"]})
    await office.sends_until_done()
    assert the_note(gohighlevel).title == "Call: spam"


@pytest.mark.parametrize(("fault", "title"), [(faults.lost, "Call: spam"), (faults.closed_before, None)])
async def test_what_may_have_been_logged_before_it_was_spam_is_marked(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, fault: faults.Fault, title: str | None
) -> None:
    gohighlevel.location.index_lag = LAG
    gohighlevel.meets(fault, to="notes.create")
    office.calls()
    await office.sends()
    office.hears("call_modified", {**CALL, "spam": True, "changes": ["spam"]})
    await office.sends_until_done()
    assert [note.title for note in gohighlevel.location.notes] == ([title] if title is not None else [])


async def test_a_revoked_token_and_a_scope_that_lacks_pause_the_lane(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    gohighlevel.location.token = None
    office.calls()
    outcome = await office.sends()
    assert isinstance(outcome, AuthFailed)
    assert (step_after(outcome).attempts, step_after(outcome).shuts_lane) == (0, True)
    gohighlevel.location.token = TOKEN
    gohighlevel.location.scopes -= {"contacts.write"}
    assert isinstance(await office.sends(), AuthFailed)
    gohighlevel.location.scopes |= {"contacts.write"}
    assert (await office.sends()).reason == "logged"  # nothing was made, so nothing is waited for


@pytest.mark.parametrize(
    ("headers", "after", "alarms"),
    [({}, timedelta(seconds=10), False), ({"X-RateLimit-Daily-Remaining": "0"}, timedelta(hours=1), True)],
    ids=["ten seconds", "day"],
)
async def test_a_limit_pauses_the_lane(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, headers: dict[str, str], after: timedelta, alarms: bool
) -> None:
    gohighlevel.meets(faults.says(Answer(429, {"statusCode": 429, "message": "Too Many Requests"}, headers)))
    office.calls()
    outcome = await office.sends()
    assert isinstance(outcome, Retry)
    assert (outcome.after, outcome.whole_lane) == (after, True)
    assert step_after(outcome).shuts_lane is alarms


@pytest.mark.parametrize("told", [{}, {"name": "(404) 555-0123", "contactName": "(404) 555-0123"}])
async def test_whatever_is_told_of_a_new_contact_it_gets_its_name_and_nothing_twice(
    gohighlevel: FakeGoHighLevel, office: CrmOffice, told: dict[str, Any]
) -> None:
    """An answer need not hold the number, and may call who has no name by it."""

    async def says_little(conversation: Conversation, act: Act) -> None:
        made = act().body["contact"]
        answer = Answer(200, {"new": True, "contact": {"id": made["id"], **told}})
        await faults.says(answer)(conversation, act)

    gohighlevel.meets(says_little, to="contacts.upsert")
    office.calls()
    await office.sends()
    (filled,) = [each.asked.body for each in gohighlevel.exchanges if each.operation == "contacts.update"]
    assert filled == {"firstName": "Avery", "lastName": "Quill"}


async def test_a_field_that_the_location_requires_is_named(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    gohighlevel.location.required = frozenset({"city"})
    office.calls()
    assert await office.sends() == Rejected("HTTP 422 (city)")


async def test_a_name_that_the_location_requires_is_told_at_once(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    gohighlevel.location.required = frozenset({"firstName"})
    office.calls()
    assert (await office.sends()).reason == "logged"
    assert the_contact(gohighlevel).fields["firstName"] == "Avery"


@pytest.mark.parametrize("keeps", [False, True], ids=["refused", "refused and made"])
async def test_a_field_of_the_settings_that_is_refused_is_left_out(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path, keeps: bool
) -> None:
    """And no other, where the refusal names it."""
    gohighlevel.location.keeps_what_it_refuses = keeps
    gohighlevel.location.custom_fields["cf00000000000000001"] = frozenset({"north", "south"})
    fields = ", contact_fields: {city: Atlanta, cf00000000000000001: west}"
    async with an_office(database_url, tmp_path, gohighlevel, fields) as office:
        office.calls()
        outcome = await office.sends()
    assert outcome.reason == "logged; left out: cf00000000000000001"
    assert the_contact(gohighlevel).fields["city"] == "Atlanta"
    assert holds(gohighlevel) == (1, 1)


async def test_where_no_field_is_named_all_of_the_settings_are_left_out(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    fields = ", contact_fields: {city: Atlanta, cf00000000000000001: west}"
    async with an_office(database_url, tmp_path, gohighlevel, fields) as office:
        office.calls()
        outcome = await office.sends()
    assert outcome.reason == "logged; left out: cf00000000000000001; left out: city"
    assert the_contact(gohighlevel).fields["source"] == "Google Ads"


@pytest.mark.parametrize("name", ["firstName", "postal_code", "companyname", "assignedTo", "customFields"])
def test_a_field_that_is_written_in_another_way_is_no_custom_field(name: str) -> None:
    told = {"type": "gohighlevel", "token": "env:GHL_TOKEN", "location": LOCATION, "contact_fields": {name: "x"}}
    with pytest.raises(ValueError, match=f"'{name}' is no field: write address1"):
        GoHighLevelConfig.model_validate(told)


async def test_an_owner_who_is_none_pauses_the_lane(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    more = ", owner: somebody-else, contact_fields: {city: Atlanta}"
    async with an_office(database_url, tmp_path, gohighlevel, more) as office:
        office.calls()
        outcome = await office.sends()
        assert outcome == AuthFailed("HTTP 422 (assignedTo): there is no such user; look at owner")
        assert gohighlevel.count("contacts.upsert") == 1


async def test_redirects_and_other_servers_pause_the_lane(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> None:
    office.calls()
    for status in (302, 404):
        gohighlevel.meets(faults.says(Answer(status, b"<html>", {"Location": "https://evil.example"})))
        assert isinstance(await office.sends(), Gone)


# --- hostile and odd -------------------------------------------------------------------------------------------------


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
async def test_names_arrive_harmless(gohighlevel: FakeGoHighLevel, office: CrmOffice, name: str) -> None:
    office.calls(customer_name=name, note=name)
    assert isinstance(await office.sends(), Delivered)
    contact, note = the_contact(gohighlevel).fields, the_note(gohighlevel)
    assert "<" not in note.body + note.title + contact["firstName"] + contact.get("lastName", "")
    assert len(note.body) <= 21_000
    assert not {"\r", "\n"} & {*contact["firstName"], *contact.get("lastName", "")}
    assert max(len(contact["firstName"]), len(contact.get("lastName", ""))) <= 100


@pytest.mark.parametrize(
    ("fields", "leaves", "stays"),
    [
        ("", ["Avery", "4711", "leaks", "/recording", "Google Ads"], []),
        (", fields: [source, tags]", ["Google Ads", "Tags: boiler, urgent"], ["Avery", "4711", "leaks", "/recording"]),
        (", fields: [customer_name, recording]", ["Avery", "/recording"], ["4711", "leaks", "Google Ads"]),
    ],
    ids=["all", "statistics", "no words"],
)
async def test_only_fields_that_are_allowed_leave(
    gohighlevel: FakeGoHighLevel, sqlite_url: str, tmp_path: Path, fields: str, leaves: list[str], stays: list[str]
) -> None:
    told: dict[str, Any] = {
        "customer_name": "Avery Quill",
        "note": "gate code 4711",
        "transcription": "my boiler leaks",
        "recording": "https://app.callrail.com/calls/CAL1/recording",
        "tags": ["boiler", "urgent"],
    }
    async with an_office(sqlite_url, tmp_path, gohighlevel, fields) as office:
        office.calls(**told)
        await office.sends()
        office.hears("call_modified", {**CALL, **told, "answered": True, "call_type": "answered", "changes": ["note"]})
        await office.sends_until_done()
    sent = b"".join(exchange.asked.raw for exchange in gohighlevel.exchanges).decode()
    assert [text for text in leaves if text not in sent] == []
    assert [text for text in stays if text in sent] == []
    assert the_note(gohighlevel).title == "Call: answered"


# --- tags and workflows ----------------------------------------------------------------------------------------------

_FOLLOWS = f", tags: [callrail, '{{{{ source }}}}'], workflows: [{{id: {WORKFLOW}, when: [missed], who: new}}]"


async def test_tags_are_added_and_a_workflow_is_started_once_of_whom_it_is_wanted(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    gohighlevel.location.types_in(phone=PHONE, tags=["vip"])
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        office.calls("CAL2")
        await office.sends()
        office.repeats()
        await office.sends_until_done()
    contact = the_contact(gohighlevel)
    assert (contact.tags, contact.entered) == (["vip", "callrail", "google ads"], [WORKFLOW])


@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before], ids=["done", "not done"])
async def test_a_workflow_of_which_nobody_knows_is_held_and_started_again_by_a_person_alone(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path, fault: faults.Fault
) -> None:
    gohighlevel.meets(fault, to="workflows.start")
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        outcome = await office.sends()
        assert outcome == Uncertain(f"logged; whether the workflow {WORKFLOW} was started is not known")
        assert step_after(outcome).state is DeliveryState.UNCERTAIN
        begun = gohighlevel.count("workflows.start")
        office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})  # by another delivery
        office.clock.moment += timedelta(minutes=1)
        (held, *later) = office.claims()
        for delivery in later:
            await office.tries(delivery)
        assert gohighlevel.count("workflows.start") == begun
        await office.tries(held)  # as `deliveries retry` does
        assert gohighlevel.count("workflows.start") == begun + 1
        await office.sends_until_done()
    assert gohighlevel.count("workflows.start") == begun + 1
    assert holds(gohighlevel) == (1, 1)


async def test_a_workflow_in_doubt_is_not_started_again_for_the_sake_of_another(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    other = "wf00000000000000002"
    gohighlevel.location.workflows[other] = "published"
    limited = faults.says(Answer(429, {"statusCode": 429, "message": "Too Many Requests"}))
    gohighlevel.meets(faults.lost, limited, to="workflows.start")
    both = ", ".join(f"{{id: {each}, when: [missed]}}" for each in (WORKFLOW, other))
    async with an_office(database_url, tmp_path, gohighlevel, f", workflows: [{both}]") as office:
        office.calls()
        outcome = await office.sends()
    assert outcome == Uncertain(f"logged; whether the workflow {WORKFLOW} was started is not known")


async def is_stopped_while_a_workflow_starts(gohighlevel: FakeGoHighLevel, office: CrmOffice) -> Delivery:
    """As by a kill: there is an intent, and no answer was seen. The delivery, which is put back."""
    gate, stopped = asyncio.Event(), asyncio.Event()

    async def waits(conversation: Conversation, act: Act) -> None:
        act()
        stopped.set()
        await gate.wait()

    gohighlevel.meets(waits, to="workflows.start")
    office.calls()
    (delivery,) = office.claims()
    trying = asyncio.create_task(office.tries(delivery))
    await stopped.wait()
    trying.cancel()
    await asyncio.wait([trying])
    office.put_back(delivery)
    gate.set()
    office.clock.moment += timedelta(minutes=2)
    return delivery


async def test_who_is_stopped_while_a_workflow_starts_does_not_start_it_again(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        await is_stopped_while_a_workflow_starts(gohighlevel, office)
        assert isinstance(await office.sends(), Uncertain)
    assert the_contact(gohighlevel).entered == [WORKFLOW]


async def test_later_news_is_not_held_for_a_workflow_that_another_delivery_started(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    """The one that was stopped is kept as uncertain, which holds back nobody."""
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.holds(await is_stopped_while_a_workflow_starts(gohighlevel, office))
        office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
        office.clock.moment += timedelta(minutes=1)
        assert (await office.sends()).reason == "updated"
    assert "Note: late" in the_note(gohighlevel).body
    assert the_contact(gohighlevel).entered == [WORKFLOW]


async def test_a_workflow_that_is_none_pauses_the_lane_and_starts_once_it_is_there(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    gohighlevel.location.workflows.clear()
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        outcome = await office.sends()
        assert outcome == AuthFailed(f"HTTP 400: there is no such workflow, or it is a draft: {WORKFLOW}")
        gohighlevel.location.workflows[WORKFLOW] = "published"
        await office.sends_until_done()
    assert the_contact(gohighlevel).entered == [WORKFLOW]
    assert holds(gohighlevel) == (1, 1)


async def test_a_moment_in_which_nothing_is_there_costs_no_call(
    gohighlevel: FakeGoHighLevel, office: CrmOffice
) -> None:
    """As while they put up something new: it is tried again, with the contact that is known."""
    office.calls()
    await office.sends()
    gohighlevel.meets(faults.says(Answer(404, {"statusCode": 404, "message": "Not Found"})), to="notes.create")
    office.calls("CAL2")
    assert await office.sends() == Retry("HTTP 404: not found, it says, though the contact is there")
    await office.sends_until_done()
    assert (gohighlevel.count("contacts.upsert"), *holds(gohighlevel)) == (1, 1, 2)


@pytest.mark.parametrize(("to", "status"), [("workflows.start", 400), ("workflows.start", 404), ("tags.add", 404)])
async def test_what_is_not_there_is_not_taken_for_the_contact(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path, to: str, status: int
) -> None:
    """Of what it is said that it is not there the answer need not say. The contact is asked for, and is there."""
    gohighlevel.always_meets(faults.says(Answer(status, {"statusCode": status, "message": "Not found"})), to=to)
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        outcome = await office.sends()
        assert isinstance(outcome, AuthFailed if to == "workflows.start" else Retry)
        assert (gohighlevel.count("contacts.upsert"), *holds(gohighlevel)) == (1, 1, 1)
        office.hears("call_modified", {**CALL, "note": "late", "changes": ["note"]})
        gohighlevel.calms()
        await office.sends_until_done()
    assert the_contact(gohighlevel).entered == [WORKFLOW]
    assert (gohighlevel.count("contacts.upsert"), *holds(gohighlevel)) == (1, 1, 1)


async def test_a_limit_of_workflows_is_a_limit(gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path) -> None:
    said = {"statusCode": 429, "message": "Too many requests for this workflow"}
    gohighlevel.meets(faults.says(Answer(429, said)), to="workflows.start")
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        assert await office.sends() == Retry("HTTP 429", timedelta(seconds=10), whole_lane=True)
        await office.sends_until_done()
    assert the_contact(gohighlevel).entered == [WORKFLOW]


async def test_what_is_to_follow_follows_though_somebody_deleted_the_note(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    """The workflow was a draft, and its sink paused; meanwhile somebody tidied up."""
    gohighlevel.location.workflows.clear()
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        assert isinstance(await office.sends(), AuthFailed)
        the_contact(gohighlevel).notes.clear()
        gohighlevel.location.workflows[WORKFLOW] = "published"
        await office.sends_until_done()
    assert the_contact(gohighlevel).entered == [WORKFLOW]
    assert holds(gohighlevel) == (1, 0)


@pytest.mark.parametrize("word", ["succeded", "succeeded"])
async def test_a_workflow_that_is_told_not_to_have_started_is_told(
    gohighlevel: FakeGoHighLevel, sqlite_url: str, tmp_path: Path, word: str
) -> None:
    gohighlevel.meets(faults.says(Answer(200, {word: False})), to="workflows.start")
    async with an_office(sqlite_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        office.calls()
        assert await office.sends() == Rejected(f"logged; GoHighLevel did not start the workflow {WORKFLOW}")
        await office.sends_until_done()  # as after `deliveries retry`
    assert the_contact(gohighlevel).entered == [WORKFLOW]
    assert holds(gohighlevel) == (1, 1)


async def test_at_the_published_limit_nothing_is_refused(
    gohighlevel: FakeGoHighLevel, database_url: str, tmp_path: Path
) -> None:
    gohighlevel.api.limits.per_ten_seconds = 100
    async with an_office(database_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        gohighlevel.location.clock = lambda: office.clock.moment
        rate = office.configuration.sink_configs["crm"].rate
        assert rate is not None
        for n in range(60):
            office.calls(f"CAL{n}", customer_phone_number=f"+140455501{n:02}", person_resource_id=f"PER{n}")
        for n, delivery in enumerate(office.claims()):
            if n % rate.count == 0:
                office.clock.moment += rate.per
            assert isinstance(await office.tries(delivery), Delivered)
    assert holds(gohighlevel) == (60, 60)


# --- sinks test ------------------------------------------------------------------------------------------------------


async def test_all_is_looked_at_and_nothing_is_written(
    gohighlevel: FakeGoHighLevel, sqlite_url: str, tmp_path: Path
) -> None:
    async with an_office(sqlite_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        checks = await office.sink.check()
    assert [check.ok for check in checks] == [True, True, True]
    assert holds(gohighlevel) == (0, 0)


@pytest.mark.parametrize(
    ("lacks", "remedy"),
    [
        ("contacts.readonly", "with the scope contacts.readonly"),
        ("contacts.write", "give the token the scope contacts.write"),
        ("workflows.readonly", "give the token the scope workflows.readonly, by which they are looked at"),
    ],
)
async def test_each_scope_that_lacks_is_named(
    gohighlevel: FakeGoHighLevel, sqlite_url: str, tmp_path: Path, lacks: str, remedy: str
) -> None:
    gohighlevel.location.scopes -= {lacks}
    async with an_office(sqlite_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        (wrong,) = [check for check in await office.sink.check() if not check.ok]
    assert wrong.remedy.endswith(remedy)


@pytest.mark.parametrize("state", ["draft", None])
async def test_a_workflow_that_starts_nothing_is_told(
    gohighlevel: FakeGoHighLevel, sqlite_url: str, tmp_path: Path, state: str | None
) -> None:
    gohighlevel.location.workflows = {WORKFLOW: state} if state is not None else {}
    async with an_office(sqlite_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        (wrong,) = [check for check in await office.sink.check() if not check.ok]
    assert wrong.what == f"the workflow {WORKFLOW} is published"


@pytest.mark.parametrize("to", ["contacts.find", "tags.add", "workflows.list"])
async def test_a_check_that_gets_no_answer_says_so(
    gohighlevel: FakeGoHighLevel, sqlite_url: str, tmp_path: Path, to: str
) -> None:
    gohighlevel.meets(faults.failing(502), to=to)
    async with an_office(sqlite_url, tmp_path, gohighlevel, _FOLLOWS) as office:
        (wrong,) = [check for check in await office.sink.check() if not check.ok]
    assert wrong.what in ("GoHighLevel answers", "GoHighLevel tells of workflows")
