"""Logging at a Salesforce of our own: one lead, one task of each call, whatever is lost and whoever works there too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from callrail.http import HttpClient
from routers.leads import Key, KeyKind, lead_of, undo_merge
from routers.messages import Message
from routers.outcomes import AuthFailed, Delivered, Outcome, Postponed, Rejected, Retry, Uncertain
from routers.schema import lead_merges
from routers.sinks.salesforce_deals import Deal
from routers.sinks.salesforce_log import Log
from routers.sinks.salesforce_people import KEY, NAMELESS, Told
from routers.sinks.salesforce_plan import Wanted
from routers.sinks.salesforce_session import BySecret, Session
from routers.sinks.salesforce_tasks import Activity
from tests.fakes.salesforce import (
    CLIENT_ID,
    CLIENT_SECRET,
    OWNER,
    Answer,
    Clock,
    FakeSalesforce,
    Limits,
    faults,
    running_salesforce,
)
from tests.fakes.salesforce.org import DuplicateRule, Record
from tests.routers.crm_store import LEASE, PHONE, CrmStore, a_crm_store

pytestmark = pytest.mark.anyio

CALL = Activity("CAL1", "Missed call", "Avery Quill\nvia Google Ads", date(2026, 3, 10), "Inbound", 75, "Missed")
FIRST = Wanted(CALL, Told("Avery Quill"))
ANSWERED = replace(FIRST, activity=replace(CALL, title="Call answered", duration=80, result="Answered"))


def of_call(key: str, wanted: Wanted = FIRST) -> Wanted:
    return replace(wanted, activity=replace(wanted.activity, key=key))


class Org:
    """The org, and us who log there. Who calls is Avery, until `is_told_of` says who else."""

    def __init__(self, salesforce: FakeSalesforce, client: HttpClient, store: CrmStore) -> None:
        self.salesforce = salesforce
        self.session = Session(client, salesforce.base_url, "66.0", BySecret(CLIENT_ID, CLIENT_SECRET))
        self.store = store
        self.who: dict[str, Any] = {"customer_phone_number": PHONE}
        self.messages: dict[str, Message] = {}
        self.log_to = Log(self.session, store.memory, salesforce.base_url)

    async def log(self, *wanted: Wanted) -> Outcome:
        """The outcome of the last of *wanted*, each tried when turns that were not given back have run out.

        What was asked before is forgotten.
        """
        for each in wanted or (FIRST,):
            self.store.clock.moment += LEASE
            outcome = await self.tries(each)
        return outcome

    async def tries(self, wanted: Wanted) -> Outcome:
        """The outcome of trying at once. What was asked before is forgotten."""
        self.salesforce.exchanges.clear()
        return await self.log_to.log(self.message(wanted.activity.key), wanted)

    def message(self, key: str) -> Message:
        """Of the call *key*, which is told of now if it was not before."""
        if key not in self.messages:
            self.messages[key] = self.store.message(**self.who)
        return self.messages[key]

    def is_told_of(self, company: str = "acme", type_: str = "call", **who: Any) -> None:
        """Who calls from now on, and whom."""
        self.who = {"company": company, "type_": type_, **who}

    def restarted(self) -> None:
        """As another process, that remembers nothing but what was kept."""
        self.log_to = Log(self.session, self.store.memory, self.salesforce.base_url)

    def forgetful(self) -> None:
        """As one whose memory is lost."""
        self.store.forgets()
        self.restarted()

    @property
    def lead(self) -> Record:
        (found,) = self.salesforce.org.all("Lead")
        return found

    @property
    def task(self) -> Record:
        (found,) = self.salesforce.org.all("Task")
        return found

    @property
    def holds(self) -> tuple[int, int, int]:
        """How many contacts, leads and tasks there are."""
        contacts, leads, tasks = (len(self.salesforce.org.all(kind)) for kind in ("Contact", "Lead", "Task"))
        return contacts, leads, tasks


@pytest.fixture
async def org(sqlite_url: str) -> AsyncIterator[Org]:
    """On one database: test_crm_memory.py and test_salesforce_office.py show that the memory is the same on both."""
    client = HttpClient(timeout=timedelta(seconds=5), allow_hosts=["127.0.0.1"], max_answer=2**22)
    async with running_salesforce() as salesforce, a_crm_store(sqlite_url) as store:
        salesforce.org.define_keys()
        yield Org(salesforce, client, store)
    await client.aclose()


# --- one call --------------------------------------------------------------------------------------------------------


async def test_a_first_call_makes_a_lead_and_its_task_by_two_requests(org: Org) -> None:
    """One that looks and one that writes; the session is another, once in a while."""
    outcome = await org.log()

    assert outcome == Delivered("logged", org.task.id, f"{org.salesforce.base_url}/{org.task.id}")
    assert org.salesforce.operations == ["batch", "composite"]
    assert org.task.values["WhoId"] == org.lead.id
    assert (org.lead.values["FirstName"], org.lead.values["LastName"]) == ("Avery", "Quill")
    assert (org.lead.values[KEY], org.task.values[KEY]) == (PHONE, "CAL1")
    assert (org.task.values["TaskSubtype"], org.task.values["Status"]) == ("Call", "Completed")


async def test_a_later_call_makes_a_task_by_two_requests_that_count_as_two(org: Org) -> None:
    """No search is needed for whom we know."""
    await org.log()
    before = org.salesforce.api.limits.used

    await org.log(of_call("CAL2"))

    assert org.salesforce.operations == ["composite", "composite"]
    assert org.salesforce.api.limits.used == before + 2
    assert org.holds == (0, 1, 2)


async def test_what_was_delivered_and_comes_again_writes_nothing(org: Org) -> None:
    """One request that looks; also where nobody remembers."""
    await org.log()
    again = await org.log()
    operations = org.salesforce.operations
    org.forgetful()
    anew = await org.log()

    assert (again.reason, anew.reason) == ("it was so already", "it was so already")
    assert operations == ["composite"]
    assert org.salesforce.operations == ["batch"]
    assert org.holds == (0, 1, 1)


async def test_late_truth_changes_the_same_task(org: Org) -> None:
    """Ten pieces of news, one task, and the last values stand there."""
    news = [replace(ANSWERED, activity=replace(ANSWERED.activity, text=f"summary {n}")) for n in range(10)]

    outcome = await org.log(FIRST, *news)

    assert outcome.reason == "updated"
    assert org.holds == (0, 1, 1)
    shown = org.task.values
    assert (shown["Subject"], shown["Description"]) == ("Call answered", "summary 9")
    assert (shown["CallDisposition"], shown["CallDurationInSeconds"]) == ("Answered", 80)


async def test_a_caller_who_cannot_be_known_has_a_task_of_nobody(org: Org) -> None:
    """A withheld number: no search, and no lead of nothing."""
    org.is_told_of(customer_phone_number="anonymous")
    await org.log()
    org.is_told_of(person_resource_id="PER1")
    await org.log(of_call("CAL2"))

    assert org.holds == (0, 0, 2)
    assert all("WhoId" not in task.values for task in org.salesforce.org.all("Task"))


async def test_a_number_that_an_operator_has_said_is_another_s_is_no_key(org: Org) -> None:
    """Two leads were one by mistake, and that was taken back: a call that tells of both is of the stronger key's.

    Its number was asked for by no key at all, and the call refused; the number's lead is somebody else's.
    """
    org.is_told_of(customer_phone_number=PHONE)
    await org.log(of_call("CAL1", replace(FIRST, told=Told("Somebody Else"))))
    org.is_told_of(person_resource_id="PER1", customer_phone_number=PHONE)
    await org.log(of_call("CAL2"))
    with org.store.database.writing.begin() as conn:
        (merge,) = conn.execute(select(lead_merges.c.id)).scalars()
        undo_merge(conn, merge, now=org.store.clock.moment)

    outcome = await org.log(of_call("CAL3"))

    assert isinstance(outcome, Delivered)
    tasks = {task.values[KEY]: task.values.get("WhoId") for task in org.salesforce.org.all("Task")}
    assert tasks == {"CAL1": org.lead.id, "CAL2": org.lead.id, "CAL3": None}
    assert (org.lead.values["FirstName"], org.lead.values["LastName"]) == ("Somebody", "Else")


async def test_a_form_without_a_number_is_known_by_its_address(org: Org) -> None:
    """In any case of letters, and at once: no search is needed for an address."""
    org.salesforce.org.index_lag = timedelta(minutes=5)
    org.is_told_of(type_="form", form_data={"email": "Avery@Example.com"})
    await org.log()
    org.forgetful()
    org.is_told_of("globex", type_="form", form_data={"email": "avery@example.com"})
    await org.log(of_call("FRM2"))

    assert org.lead.values[KEY] == "avery@example.com"
    assert org.holds == (0, 1, 2)


async def test_an_address_that_salesforce_does_not_take_costs_no_lead(org: Org) -> None:
    """The form is logged all the same, and the reason says that the address is left out."""
    org.salesforce.org.define("Lead", "Email", type="email", length=80)
    org.is_told_of(type_="form", form_data={"email": f"avery@{'long.' * 16}example.com"})

    outcome = await org.log()

    assert isinstance(outcome, Delivered)
    assert outcome.reason == "logged; left out: STRING_TOO_LONG (Email)"
    assert "Email" not in org.lead.values
    assert org.holds == (0, 1, 1)


async def test_an_address_that_salesforce_does_not_take_costs_a_contact_no_key(org: Org) -> None:
    """One write fills all that is empty, and one refused value left all of it empty, with every call anew."""
    contact = org.salesforce.org.human_creates("Contact", {"LastName": "Quill", "OtherPhone": PHONE})
    address = f"avery@{'long.' * 16}example.com"
    org.is_told_of(type_="form", form_data={"email": address, "phone_number": PHONE}, customer_phone_number=PHONE)

    outcome = await org.log()
    later = await org.log(of_call("FRM2"))

    assert outcome.reason == "updated; left out: STRING_TOO_LONG (Email)"
    assert later.reason == "logged; left out: STRING_TOO_LONG (Email)"
    assert org.salesforce.operations == ["composite", "composite"]
    assert (contact.values[KEY], "Email" in contact.values) == (PHONE, False)
    assert org.holds == (1, 0, 2)


async def test_a_person_of_hundreds_of_numbers_is_asked_for_by_some(org: Org) -> None:
    """Forms that are sent by machines, each with another number and one address, are one person."""
    keys = [Key(KeyKind.PHONE, f"+1404556{number:04d}") for number in range(400)]
    keys.append(Key(KeyKind.EMAIL, "machine@example.com"))
    with org.store.database.writing.begin() as conn:
        lead_of(conn, "acme", keys, object_id="ob_forms", now=org.store.clock.moment)
    org.is_told_of(type_="form", customer_phone_number=PHONE, form_data={"email": "machine@example.com"})

    outcome = await org.log()

    assert isinstance(outcome, Delivered)
    assert org.lead.values[KEY] == PHONE
    assert org.holds == (0, 1, 1)


async def test_two_companies_find_the_same_lead(org: Org) -> None:
    """The key is the number, and a query does not lag."""
    org.salesforce.org.index_lag = timedelta(minutes=5)
    await org.log()
    org.is_told_of("globex", customer_phone_number=PHONE)
    await org.log(of_call("CAL2"))

    assert org.holds == (0, 1, 2)


async def test_no_lead_is_made_where_that_is_not_wanted(org: Org) -> None:
    """A task of nobody, and once the person is there, of the person."""
    quiet = replace(FIRST, creates_leads=False)
    await org.log(quiet)
    contact = org.salesforce.org.human_creates("Contact", {"LastName": "Quill", "Phone": "404-555-0123"})
    await org.log(quiet)

    assert org.holds == (1, 0, 1)
    assert org.task.values["WhoId"] == contact.id


# --- who works there -------------------------------------------------------------------------------------------------


async def test_a_contact_that_people_have_typed_is_found_and_left_as_it_is(org: Org) -> None:
    """Only our key is filled in; two with the number are told of."""
    people = [{"LastName": "Typed", "Phone": "(404) 555-0123", "Email": "typed@example.com"}, {"LastName": "Twin"}]
    for values in people:
        org.salesforce.org.human_creates("Contact", {"MobilePhone": "404.555.0123", **values})
    org.salesforce.org.human_creates("Lead", {"LastName": "Old", "Company": "X", "Phone": PHONE})

    outcome = await org.log()

    chosen = org.salesforce.org.records["Contact"][org.task.values["WhoId"]]
    assert outcome.reason == "logged; 2 others fitted as well"
    assert chosen.values[KEY] == PHONE
    assert {record.values["LastName"] for record in org.salesforce.org.all("Contact")} == {"Typed", "Twin"}
    assert org.holds == (2, 1, 1)


async def test_a_name_that_a_person_has_given_stays(org: Org) -> None:
    """Also where another call tells another name; our own word for nobody gives way."""
    nameless = replace(FIRST, told=Told())
    await org.log(nameless)
    assert org.lead.values["LastName"] == NAMELESS

    await org.log(of_call("CAL2"))
    assert org.lead.values["LastName"] == "Quill"

    org.salesforce.org.human_edits(org.lead.id, LastName="Quill-Jones", OwnerId=OWNER)
    await org.log(of_call("CAL3", replace(FIRST, told=Told("Somebody Else"))))
    assert (org.lead.values["FirstName"], org.lead.values["LastName"]) == ("Avery", "Quill-Jones")


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_words_that_a_person_has_changed_stay(org: Org, *, is_remembered: bool) -> None:
    """The truth goes on beside them, time and again; also where it is not remembered what we wrote."""
    await org.log()
    org.salesforce.org.human_edits(org.task.id, Description="Spoke to her, wants a quote")
    if not is_remembered:
        org.forgetful()

    await org.log(ANSWERED)
    await org.log(replace(ANSWERED, activity=replace(ANSWERED.activity, title="Corrected", duration=90)))

    shown = org.task.values
    assert (shown["Subject"], shown["Description"]) == ("Missed call", "Spoke to her, wants a quote")
    assert (shown["CallDisposition"], shown["CallDurationInSeconds"]) == ("Answered", 90)


async def test_a_converted_lead_s_calls_are_its_contact_s(org: Org) -> None:
    """By no more than two requests; also where nobody remembers the lead."""
    await org.log()
    contact = org.salesforce.org.human_converts(org.lead.id)

    await org.log(of_call("CAL2"))
    operations = org.salesforce.operations
    org.forgetful()
    await org.log(of_call("CAL3"))

    assert operations == ["composite", "composite"]
    assert {task.values["WhoId"] for task in org.salesforce.org.all("Task")} == {contact.id}
    assert org.holds == (1, 0, 3)


async def test_a_merged_contact_s_calls_are_its_master_s(org: Org) -> None:
    """The master is named in the recycle bin."""
    typed = org.salesforce.org.human_creates("Contact", {"LastName": "Typed", "Phone": PHONE})
    await org.log()
    master = org.salesforce.org.human_creates("Contact", {"LastName": "Master"})
    org.salesforce.org.human_merges(master.id, typed.id)

    await org.log(of_call("CAL2"))

    assert {task.values["WhoId"] for task in org.salesforce.org.all("Task")} == {master.id}
    assert org.holds == (1, 0, 2)


@pytest.mark.parametrize("heir", ["nobody", "", 4, "001000000000001AAA", "003' OR Id != '"])
async def test_an_heir_that_is_none_is_not_remembered(org: Org, heir: object) -> None:
    """It would be asked for with every call of the person from then on, and there is no such thing to ask for."""
    await org.log()
    org.salesforce.org.human_edits(org.lead.id, MasterRecordId=heir)
    org.salesforce.org.human_deletes(org.lead.id)

    outcomes = [await org.log(of_call("CAL2")), await org.log(of_call("CAL3"))]

    assert [type(outcome) for outcome in outcomes] == [Delivered, Delivered]
    assert {task.values["WhoId"] for task in org.salesforce.org.all("Task")} == {org.lead.id}
    assert org.holds == (0, 1, 2)


async def test_a_lead_that_a_person_deletes_is_made_again_when_it_calls_again(org: Org) -> None:
    """The key is free then."""
    await org.log()
    org.salesforce.org.human_deletes(org.lead.id)

    await org.log(of_call("CAL2"))

    assert org.holds == (0, 1, 1)
    assert org.task.values["WhoId"] == org.lead.id


async def test_a_deleted_contact_of_a_converted_lead_does_not_hold_its_calls_up(org: Org) -> None:
    """The converted lead has the key for ever, so the new lead has one that is made of it; and only one."""
    await org.log()
    contact = org.salesforce.org.human_converts(org.lead.id)
    org.salesforce.org.human_deletes(contact.id)
    org.salesforce.meets(faults.nothing_wrong, faults.lost, to="composite")

    lost = await org.log(of_call("CAL2"))
    await org.log(of_call("CAL2"))

    assert isinstance(lost, Uncertain)
    assert org.holds == (0, 1, 1)
    assert org.task.values["WhoId"] == org.lead.id


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_a_contact_that_was_merged_and_deleted_then_holds_nothing_up(org: Org, *, is_remembered: bool) -> None:
    """The converted lead names the contact, that names the one it was merged into, and that one is gone."""
    await org.log()
    contact = org.salesforce.org.human_converts(org.lead.id)
    master = org.salesforce.org.human_creates("Contact", {"LastName": "Master"})
    org.salesforce.org.human_merges(master.id, contact.id)
    if is_remembered:
        await org.log(of_call("CAL2"))
    else:
        org.forgetful()
    org.salesforce.org.human_deletes(master.id)

    outcome = await org.log(of_call("CAL3"))

    assert isinstance(outcome, Delivered)
    assert org.task.values["WhoId"] == org.lead.id
    assert org.holds == (0, 1, 1)


@pytest.mark.parametrize("address", [None, "a_very@example.com"])
async def test_a_contact_may_be_deleted_time_and_again(org: Org, address: str | None) -> None:
    """Each of its converted leads keeps its key for ever, and the next one has another, which is found by all."""
    org.salesforce.org.index_lag = timedelta(minutes=5)
    who: dict[str, Any] = {"customer_phone_number": PHONE}
    if address is not None:
        who = {"type_": "form", "form_data": {"email": address}}
    for number in range(4):
        org.is_told_of(**who)
        assert isinstance(await org.log(of_call(f"CAL{number}")), Delivered)
        org.forgetful()
        org.is_told_of("globex", **who)
        assert isinstance(await org.log(of_call(f"CAL{number}B")), Delivered)
        assert org.holds == (0, 1, 2)
        org.salesforce.org.human_deletes(org.salesforce.org.human_converts(org.lead.id).id)

    assert len(org.salesforce.org.records["Lead"]) == 4


async def test_a_task_that_a_person_deletes_stays_deleted(org: Org) -> None:
    """Late news of it is delivered to nobody."""
    await org.log()
    org.salesforce.org.human_deletes(org.task.id)

    outcome = await org.log(ANSWERED)
    org.forgetful()
    anew = await org.log(ANSWERED)

    assert outcome.reason == anew.reason == "its task was deleted there, and is not written again"
    assert org.holds == (0, 1, 0)


async def test_a_person_who_is_converted_between_look_and_write_is_looked_for_again(org: Org) -> None:
    """The task is refused, and another look finds the contact."""
    await org.log()
    lead, real = org.lead.id, org.salesforce.org.find

    async def converts_first(conversation: Any, act: faults.Act) -> None:
        org.salesforce.org.human_converts(lead)
        await faults.nothing_wrong(conversation, act)

    org.salesforce.meets(faults.nothing_wrong, converts_first, to="composite")
    await org.log(of_call("CAL2"))

    assert real(lead).values["IsConverted"] is True
    assert org.salesforce.operations == ["composite"] * 4
    assert org.holds == (1, 0, 2)


# --- what is lost ----------------------------------------------------------------------------------------------------

LOST = [faults.lost, faults.lost_by_reset, faults.cut_short, faults.closed_before, faults.reset_before]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.__name__)
async def test_a_lost_answer_to_a_write_makes_nothing_twice(org: Org, fault: faults.Fault) -> None:
    """Whether it was done or not: the next try looks first."""
    org.salesforce.meets(fault, to="composite")

    lost = await org.log()
    org.restarted()
    again = await org.log()

    assert isinstance(lost, Uncertain)
    assert isinstance(again, Delivered)
    assert org.holds == (0, 1, 1)
    assert org.task.values["WhoId"] == org.lead.id


@pytest.mark.parametrize("fault", [*LOST, faults.html(), faults.wrong_types()], ids=lambda fault: fault.__qualname__)
async def test_a_lost_answer_to_a_look_is_no_matter_of_doubt(org: Org, fault: faults.Fault) -> None:
    """Nothing was written."""
    org.salesforce.meets(fault, to="batch")

    assert isinstance(await org.log(), Retry)
    assert isinstance(await org.log(), Delivered)
    assert org.holds == (0, 1, 1)


async def test_late_truth_after_a_lost_answer_is_told(org: Org) -> None:
    """The task is there, nobody else has touched it, so its words are ours to change."""
    org.salesforce.meets(faults.lost, to="composite")
    await org.log()

    await org.log(ANSWERED)

    assert org.task.values["Subject"] == "Call answered"
    assert org.holds == (0, 1, 1)


@pytest.mark.parametrize("task_is_external", [True, False], ids=["external id", "no external id"])
async def test_a_write_that_acts_too_late_makes_nothing_twice(org: Org, *, task_is_external: bool) -> None:
    """It acts while the turn is not given back; whoever comes next looks first."""
    org.salesforce.org.define_keys(task_is_external=task_is_external)
    gate = asyncio.Event()
    org.salesforce.meets(faults.too_late(gate), to="composite")

    lost = await org.log()
    gate.set()
    await org.salesforce.settled()
    await org.log()
    await org.log(of_call("CAL2"))

    assert isinstance(lost, Uncertain)
    assert org.holds == (0, 1, 2)


@pytest.mark.parametrize("fault", [faults.html(), faults.wrong_types()], ids=["a page", "odd types"])
async def test_an_answer_to_a_write_that_cannot_be_read_is_a_matter_of_doubt(org: Org, fault: faults.Fault) -> None:
    """And no exception."""
    org.salesforce.meets(fault, to="composite")

    assert isinstance(await org.log(), Uncertain)


@pytest.mark.parametrize(
    ("fault", "is_given_back"), [(faults.lost, False), (faults.failing_after(502), False), (faults.expired(), True)]
)
async def test_a_turn_is_given_back_unless_something_may_still_act(
    org: Org, fault: faults.Fault, *, is_given_back: bool
) -> None:
    """Whoever comes next waits until it can act no more."""
    org.salesforce.meets(fault, to="composite")
    await org.log()

    outcome = await org.tries(of_call("CAL2"))

    assert isinstance(outcome, Delivered if is_given_back else Postponed)


async def test_a_gateway_that_fails_after_the_org_has_written_makes_nothing_twice(org: Org) -> None:
    """A 502, and both records are there."""
    org.salesforce.meets(faults.failing_after(502), to="composite")

    first = await org.log()
    await org.log()

    assert isinstance(first, Retry)
    assert org.holds == (0, 1, 1)


# --- tasks without an external id ------------------------------------------------------------------------------------


async def test_where_the_key_of_tasks_is_no_external_id_they_are_looked_up(org: Org) -> None:
    """That is learned once, by one more look and write; a lost answer makes no second task."""
    org.salesforce.org.define_keys(task_is_external=False)
    await org.log()
    learning = len(org.salesforce.operations)
    org.salesforce.meets(faults.nothing_wrong, faults.lost, to="composite")

    lost = await org.log(of_call("CAL2"))
    await org.log(of_call("CAL2"))
    await org.log(of_call("CAL3"))

    assert (learning, isinstance(lost, Uncertain)) == (4, True)
    assert org.salesforce.operations == ["composite", "composite"]
    assert org.holds == (0, 1, 3)


# --- rules of the org ------------------------------------------------------------------------------------------------


async def test_a_duplicate_rule_s_match_is_the_person(org: Org) -> None:
    """The org says that they are one; a contact before a lead."""
    org.salesforce.org.human_creates("Lead", {"LastName": "Quill", "Company": "X"})
    contact = org.salesforce.org.human_creates("Contact", {"LastName": "Quill"})
    org.salesforce.org.rules.append(DuplicateRule())

    outcome = await org.log()

    assert isinstance(outcome, Delivered)
    assert (org.task.values["WhoId"], contact.values[KEY]) == (contact.id, PHONE)
    assert org.holds == (1, 1, 1)


@pytest.mark.parametrize(("may_be_saved", "leads"), [(True, 1), (False, 0)])
async def test_a_duplicate_may_be_saved_where_rule_and_settings_allow_it(
    org: Org, *, may_be_saved: bool, leads: int
) -> None:
    """A rule that blocks prevails."""
    org.salesforce.org.human_creates("Contact", {"LastName": "Quill"})
    org.salesforce.org.rules.append(DuplicateRule(may_be_saved=may_be_saved))

    await org.log(replace(FIRST, allows_duplicates=True))

    assert org.holds == (1, leads, 1)


async def test_a_rule_that_compares_names_alone_makes_no_two_callers_one(org: Org) -> None:
    """Nameless callers have one name, ours, and so do a rule's eyes: it names a lead that is somebody else."""
    org.salesforce.org.rules.append(DuplicateRule())
    for key, phone in (("CAL1", PHONE), ("CAL2", "+14045550199"), ("CAL3", PHONE)):
        org.is_told_of(customer_phone_number=phone)
        outcome = await org.log(of_call(key, replace(FIRST, told=Told())))
        assert isinstance(outcome, Delivered)

    leads = {lead.id: lead.values["Phone"] for lead in org.salesforce.org.all("Lead")}
    tasks = {task.values[KEY]: leads[task.values["WhoId"]] for task in org.salesforce.org.all("Task")}
    assert org.holds == (0, 2, 3)
    assert tasks == {"CAL1": PHONE, "CAL2": "+14045550199", "CAL3": PHONE}


@pytest.mark.parametrize(
    ("typed", "is_they"),
    [
        ({"LastName": "QUILL", "FirstName": "avery jo"}, True),
        ({"LastName": "Quill", "FirstName": "Bob"}, False),
        ({"LastName": "Quill", "Phone": "404-555-0199"}, False),
        ({"LastName": "Quill", "Email": "bob@example.com"}, False),
        ({"LastName": "Quill", KEY: "bob@example.com"}, False),
        ({"LastName": "Bob", "Phone": "555-0123"}, True),
        ({"LastName": "Bob", "OtherPhone": "ask for her: 404-555-0123 (or 0199)"}, True),
        ({"LastName": NAMELESS}, False),
    ],
    ids=[
        *("one name", "another first name", "another number", "another address", "another key"),
        *("a number without area code", "a number among words", "our word for nobody"),
    ],
)
async def test_whom_a_rule_names_is_asked_whether_it_can_be_the_caller(
    org: Org, typed: dict[str, str], *, is_they: bool
) -> None:
    """By number or address; by name only where it has neither. Search, which sees whole numbers, finds none of them."""
    contact = org.salesforce.org.human_creates("Contact", typed)
    org.salesforce.org.rules.append(DuplicateRule(compares="anything"))

    outcome = await org.log()

    assert isinstance(outcome, Delivered)
    assert org.holds == (1, 0 if is_they else 1, 1)
    assert org.task.values["WhoId"] == (contact.id if is_they else org.lead.id)


async def test_a_rule_s_match_by_number_is_found_however_late_search_is(org: Org) -> None:
    """A lead that a person typed a moment ago: search does not know it, the rule does."""
    org.salesforce.org.index_lag = timedelta(minutes=5)
    typed = {"LastName": "Typed", "Company": "X", "Phone": "(404) 555-0123"}
    lead = org.salesforce.org.human_creates("Lead", typed, since=org.salesforce.org.clock())
    org.salesforce.org.rules.append(DuplicateRule(compares="Phone", may_be_saved=False))

    await org.log()

    assert org.holds == (0, 1, 1)
    assert org.task.values["WhoId"] == lead.id


async def test_where_a_rule_forbids_a_lead_and_names_others_the_task_is_nobody_s(org: Org) -> None:
    """The call is logged, on no other person's record, and the reason says so; a better rule makes up for it."""
    for number in range(300):  # more than are looked at
        org.salesforce.org.human_creates("Contact", {"LastName": "Quill", "Phone": f"404-555-9{number:03d}"})
    org.salesforce.org.rules.append(DuplicateRule(may_be_saved=False))

    outcome = await org.log()
    whose = org.task.values.get("WhoId")
    org.salesforce.org.rules.clear()
    await org.log()

    assert outcome.reason == "logged; left out: the lead, DUPLICATES_DETECTED"
    assert whose is None
    assert org.task.values["WhoId"] == org.lead.id
    assert org.holds == (300, 1, 1)


async def test_a_rule_that_names_nobody_whom_we_see_holds_no_lead_up(org: Org) -> None:
    """It looks at records that are not shared with the app's user."""
    org.salesforce.org.human_creates("Contact", {"LastName": "Quill"})
    org.salesforce.org.rules.append(DuplicateRule(is_silent=True))

    assert isinstance(await org.log(), Delivered)
    assert org.holds == (1, 1, 1)


async def test_a_required_field_is_named_and_nothing_is_left_open(org: Org) -> None:
    """Never its value; once the administrator has seen to it, the same is delivered."""
    org.salesforce.org.require("Lead", "Region__c")
    refused = await org.log()
    org.salesforce.org.define("Lead", "Region__c")
    delivered = await org.log()

    assert refused == Rejected("REQUIRED_FIELD_MISSING (Region__c)")
    assert isinstance(delivered, Delivered)
    assert org.holds == (0, 1, 1)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ({"type": "double"}, "a lot", "JSON_PARSER_ERROR"),
        ({"length": 5}, "much too long", "STRING_TOO_LONG (Score__c)"),
        ({"values": ("A", "B")}, "C", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST (Score__c)"),
    ],
    ids=["wrong type", "too long", "no choice"],
)
async def test_a_field_of_the_settings_that_does_not_take_its_value_is_left_out(
    org: Org, field: dict[str, Any], value: str, said: str
) -> None:
    """The call is logged all the same, and the reason says which field; never its value."""
    org.salesforce.org.define("Task", "Score__c", **field)

    outcome = await org.log(replace(FIRST, activity=replace(CALL, more={"Score__c": value})))

    assert outcome.reason == f"logged; left out: {said}"
    assert org.holds == (0, 1, 1)


@pytest.mark.parametrize("how", [{"values": ("Task", "Email")}, {"is_createable": False}], ids=["none", "no right"])
async def test_a_subtype_that_the_org_does_not_take_is_left_out(org: Org, how: dict[str, Any]) -> None:
    """It is told at a task's creation only, and so refused as well where the task is there by now."""
    org.salesforce.org.define("Task", "TaskSubtype", is_updateable=False, **how)

    outcome = await org.log()

    assert isinstance(outcome, Delivered)
    assert outcome.reason.startswith("logged; left out: INVALID_")
    assert outcome.reason.endswith("(TaskSubtype)")
    assert org.holds == (0, 1, 1)


@pytest.mark.parametrize("is_deleted", [True, False])
@pytest.mark.parametrize("kind", ["Task", "Lead"])
async def test_what_the_settings_refer_to_and_is_gone_is_left_out(org: Org, kind: str, *, is_deleted: bool) -> None:
    """Salesforce names no field, as if the person had moved on; if the person has not, it is a field of theirs."""
    org.salesforce.org.define("Lead", "Partner__c", type="reference")
    gone = "003000000000009AAA"
    if is_deleted:
        gone = org.salesforce.org.human_creates("Contact", {"LastName": "Gone"}).id
        org.salesforce.org.human_deletes(gone)
    wanted = replace(FIRST, activity=replace(CALL, more={"WhatId": gone, "Priority": "High"}))
    if kind == "Lead":
        wanted = replace(FIRST, told=Told("Avery Quill", {"Partner__c": gone, "OwnerId": OWNER}))

    outcome = await org.log(wanted)
    operations = org.salesforce.operations
    again = await org.log(of_call("CAL2", wanted))

    code = "ENTITY_IS_DELETED" if is_deleted else "INVALID_CROSS_REFERENCE_KEY"
    assert outcome.reason == f"logged; left out: {code}"
    assert len(operations) == (6 if kind == "Lead" else 4)  # the task is of a lead that was just made: it is there
    assert isinstance(again, Delivered)
    assert org.lead.values["OwnerId"] == OWNER
    assert org.holds == (0, 1, 2)


@pytest.mark.parametrize("kind", ["Task", "Lead"])
async def test_a_record_type_that_the_user_may_not_give_is_left_out(org: Org, kind: str) -> None:
    """It is no person who has moved on, though the code is the same."""
    org.salesforce.org.define(kind, "RecordTypeId", type="reference")
    more = {"RecordTypeId": "012000000000001AAA"}
    wanted = (
        replace(FIRST, activity=replace(CALL, more=more)) if kind == "Task" else replace(FIRST, told=Told(more=more))
    )

    outcome = await org.log(wanted)

    assert isinstance(outcome, Delivered)
    assert outcome.reason.endswith("; left out: INVALID_CROSS_REFERENCE_KEY (RecordTypeId)")
    assert org.holds == (0, 1, 1)


async def test_a_number_that_a_template_writes_is_written_once(org: Org) -> None:
    """The template writes a text, the field holds a number."""
    org.salesforce.org.define("Task", "Score__c", type="double")
    scored = replace(FIRST, activity=replace(CALL, more={"Score__c": "87"}))
    await org.log(scored)

    again = await org.log(scored)
    await org.log(replace(FIRST, activity=replace(CALL, more={"Score__c": "88"})))

    assert again.reason == "it was so already"
    assert org.task.values["Score__c"] == 88


@pytest.mark.parametrize(
    ("owner", "code"),
    [("005000000000009AAA", "INVALID_CROSS_REFERENCE_KEY (OwnerId)"), (OWNER, "INACTIVE_OWNER_OR_USER")],
)
async def test_a_wrong_owner_pauses_the_lane(org: Org, owner: str, code: str) -> None:
    """Nothing is burnt: somebody has to look at the setting."""
    org.salesforce.org.inactive_owners.add(OWNER)

    outcome = await org.log(replace(FIRST, activity=replace(CALL, owner=owner)))
    of_lead = await org.log(of_call("CAL2", replace(FIRST, told=Told(more={"OwnerId": owner}))))

    assert isinstance(outcome, AuthFailed)
    assert outcome.reason.startswith(code)
    assert isinstance(of_lead, Delivered)  # the lead is there, and keeps the owner that it has
    assert org.holds == (0, 1, 1)


async def test_a_wrong_owner_of_leads_pauses_the_lane(org: Org) -> None:
    """A lead without the owner that is set would be nobody's work."""
    outcome = await org.log(replace(FIRST, told=Told(more={"OwnerId": "005000000000009AAA", "LeadSource": "Web"})))

    assert isinstance(outcome, AuthFailed)
    assert outcome.reason.startswith("INVALID_CROSS_REFERENCE_KEY (OwnerId)")
    assert org.holds == (0, 0, 0)


@pytest.mark.parametrize("kind", ["Contact", "Lead", "Task"])
async def test_a_field_that_is_not_there_pauses_the_lane(org: Org, kind: str) -> None:
    """And is named; nothing is written."""
    org.salesforce.org.hidden[kind] = {KEY}

    outcome = await org.log()

    assert isinstance(outcome, AuthFailed)
    assert outcome.reason.startswith(f"INVALID_FIELD ({KEY})")
    assert org.holds == (0, 0, 0)


@pytest.mark.parametrize(("kind", "field"), [("Lead", "Company"), ("Task", "CallDisposition"), ("Task", KEY)])
async def test_a_field_that_may_not_be_edited_pauses_the_lane(org: Org, kind: str, field: str) -> None:
    """Each call would be refused for it, until somebody gives the right; then all of them are logged."""
    external = {"is_external_id": True} if field == KEY else {}
    org.salesforce.org.define(kind, field, is_createable=False, is_updateable=False, **external)

    outcome = await org.log()
    org.salesforce.org.define(kind, field, **external)
    delivered = await org.log()

    assert isinstance(outcome, AuthFailed)
    assert outcome.reason.startswith(f"INVALID_FIELD_FOR_INSERT_UPDATE ({field})")
    assert isinstance(delivered, Delivered)
    assert org.holds == (0, 1, 1)


@pytest.mark.parametrize(("missing", "kind"), [("forbidden", "Contact"), ("read_only", "Lead"), ("read_only", "Task")])
async def test_a_missing_right_pauses_the_lane(org: Org, missing: str, kind: str) -> None:
    """To see a kind of objects, or to create one."""
    getattr(org.salesforce.org, missing).add(kind)

    assert isinstance(await org.log(), AuthFailed)


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "not shared with us"])
async def test_a_lead_that_another_upsert_has_made_at_the_same_time_is_found(org: Org, *, is_seen: bool) -> None:
    """Of two upserts by one key at once Salesforce refuses one; whoever has the key is there in the next look."""

    async def is_second(conversation: Any, act: faults.Act) -> None:
        if is_seen and not org.salesforce.org.all("Lead"):
            org.salesforce.org.human_creates("Lead", {"LastName": "First", "Company": "X", KEY: PHONE})
        refused = {"errorCode": "DUPLICATE_VALUE", "message": "duplicate value found: <unknown>", "fields": []}
        halted = {"errorCode": "PROCESSING_HALTED", "message": "Invalid reference specified."}
        parts = [{"httpStatusCode": 400, "httpHeaders": {}, "body": [body]} for body in (refused, halted)]
        told = {"compositeResponse": [parts[0] | {"referenceId": "lead"}, parts[1] | {"referenceId": "task"}]}
        await faults.send(conversation, Answer(200, told))

    org.salesforce.meets(is_second, *([] if is_seen else [is_second]), to="composite")

    outcome = await org.log()

    if is_seen:
        assert isinstance(outcome, Delivered)
        assert (org.task.values["WhoId"], org.lead.values["LastName"]) == (org.lead.id, "First")
    else:
        assert outcome == Rejected("DUPLICATE_VALUE")


async def test_more_than_one_record_with_a_key_that_is_ours_alone_is_rejected(org: Org) -> None:
    """Where the field was made without being unique, and two were made while we looked."""

    async def makes_two(conversation: Any, act: faults.Act) -> None:
        for _ in range(2):
            org.salesforce.org.human_creates("Lead", {"LastName": "Twin", "Company": "X", KEY: PHONE})
        await faults.nothing_wrong(conversation, act)

    org.salesforce.meets(makes_two, to="composite")

    outcome = await org.log()

    assert outcome == Rejected(f"HTTP 300: more than one record has this {KEY}")


# --- opportunities ---------------------------------------------------------------------------------------------------

OPENS = replace(FIRST, deal=Deal("CAL1", "Avery Quill, call", "Prospecting", date(2026, 4, 9)))


def opening(key: str, **deal: Any) -> Wanted:
    assert OPENS.deal is not None
    return replace(of_call(key), deal=replace(OPENS.deal, key=key, **deal))


def deals_of(org: Org) -> list[dict[str, Any]]:
    return [record.values for record in org.salesforce.org.all("Opportunity")]


async def test_a_contact_s_call_opens_one_opportunity(org: Org) -> None:
    """In the same two requests; the next one is opened when that one is closed, and a replay opens none."""
    contact = org.salesforce.org.human_creates("Contact", {"LastName": "Quill", "Phone": PHONE})
    await org.log(OPENS)
    operations = org.salesforce.operations
    await org.log(opening("CAL2"))
    (first,) = org.salesforce.org.all("Opportunity")
    org.salesforce.org.human_edits(first.id, StageName="Closed Won")
    await org.log(OPENS, opening("CAL2"), opening("CAL3"))

    assert operations == ["batch", "composite"]
    assert (first.values["ContactId"], first.values["CloseDate"]) == (contact.id, "2026-04-09")
    assert [deal[KEY] for deal in deals_of(org)] == ["CAL1", "CAL3"]


async def test_a_lead_s_call_opens_none(org: Org) -> None:
    """Salesforce makes one when the lead is converted."""
    await org.log(OPENS)

    assert deals_of(org) == []


async def test_what_it_is_worth_is_filled_in_once(org: Org) -> None:
    """What a person has put there stays."""
    org.salesforce.org.human_creates("Contact", {"LastName": "Quill", "Phone": PHONE})
    await org.log(OPENS, opening("CAL1", amount=1250.0))
    (deal,) = org.salesforce.org.all("Opportunity")
    filled = deal.values["Amount"]
    org.salesforce.org.human_edits(deal.id, Amount=900)
    await org.log(opening("CAL1", amount=2000.0))

    assert (filled, deal.values["Amount"]) == (1250.0, 900)


async def test_an_unknown_stage_pauses_the_lane_and_is_made_up_for(org: Org) -> None:
    """The task is logged; once the setting is right, the opportunity is opened."""
    org.salesforce.org.human_creates("Contact", {"LastName": "Quill", "Phone": PHONE})
    refused = await org.log(opening("CAL1", stage="Nowhere"))
    org.restarted()
    delivered = await org.log(OPENS)

    assert isinstance(refused, AuthFailed)
    assert refused.reason.startswith("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST (StageName)")
    assert isinstance(delivered, Delivered)
    assert (org.holds, len(deals_of(org))) == ((1, 0, 1), 1)


async def test_a_lost_answer_opens_nothing_twice(org: Org) -> None:
    """Neither the task nor the opportunity."""
    org.salesforce.org.human_creates("Contact", {"LastName": "Quill", "Phone": PHONE})
    org.salesforce.meets(faults.lost, to="composite")

    await org.log(OPENS)
    await org.log(OPENS)

    assert (org.holds, len(deals_of(org))) == ((1, 0, 1), 1)


# --- sessions and limits ---------------------------------------------------------------------------------------------


async def test_a_session_that_ends_in_the_middle_is_renewed(org: Org) -> None:
    """Between the look and the write."""
    org.salesforce.meets(faults.expired(), to="composite")

    assert isinstance(await org.log(), Delivered)
    assert org.holds == (0, 1, 1)


async def test_a_revoked_app_pauses_the_lane(org: Org) -> None:
    """Whatever it was in the middle of."""
    await org.log()
    org.salesforce.org.has_app = False
    org.salesforce.org.expire_sessions()

    outcome = await org.log(of_call("CAL2"))

    assert isinstance(outcome, AuthFailed)
    assert outcome.reason.startswith("no session: invalid_client_id")


async def test_a_day_s_allowance_that_is_used_up_makes_all_wait(org: Org) -> None:
    """For an hour, and again until there is some."""
    clock = Clock()
    org.salesforce.org.clock, org.salesforce.api.limits = clock, Limits(per_day=5)
    await org.log()

    waits = await org.log(of_call("CAL2"))
    clock.advance(timedelta(hours=24))
    later = await org.log(of_call("CAL2"))

    assert isinstance(waits, Retry)
    assert (waits.after, waits.whole_lane) == (timedelta(hours=1), True)
    assert isinstance(later, Delivered)


@pytest.mark.parametrize(
    ("fault", "whole_lane"), [(faults.concurrent_limit(), True), (faults.locked(), False), (faults.failing(), False)]
)
async def test_what_passes_is_tried_again(org: Org, fault: faults.Fault, *, whole_lane: bool) -> None:
    """Too many requests at once, a locked row, a server that is too busy."""
    org.salesforce.meets(fault, to="composite")

    outcome = await org.log()

    assert isinstance(outcome, Retry)
    assert outcome.whole_lane is whole_lane
    assert isinstance(await org.log(), Delivered)
    assert org.holds == (0, 1, 1)


async def test_a_locked_row_of_one_part_is_tried_again(org: Org) -> None:
    """The lead is made, its task met a lock: the next try has the lead."""
    locked = {"body": [{"message": "locked", "errorCode": "UNABLE_TO_LOCK_ROW"}], "httpStatusCode": 400}

    async def locks_the_task(conversation: Any, act: faults.Act) -> None:
        answer = act()
        for task in org.salesforce.org.all("Task"):
            del org.salesforce.org.records["Task"][task.id]
        rows = answer.body["compositeResponse"]
        told = {"compositeResponse": [rows[0], {**rows[1], **locked}]}
        await faults.send(conversation, replace(answer, body=told))

    org.salesforce.meets(locks_the_task, to="composite")
    first = await org.log()
    await org.log()

    assert isinstance(first, Retry)
    assert org.salesforce.operations == ["composite", "composite"]
    assert org.holds == (0, 1, 1)


@pytest.mark.parametrize(
    "name",
    [
        "Zoë 😀 O'Brien-Smith",
        "محمد عبد الله",
        "A" * 10_000,
        "<script>alert(1)</script>",
        '=HYPERLINK("http://x")',
        "a\r\nb",
    ],
    ids=["emoji", "right to left", "10 kB", "HTML", "formula", "line break"],
)
async def test_names_of_any_sort_arrive_harmless(org: Org, name: str) -> None:
    """As text, in their length, and in the same request."""
    outcome = await org.log(replace(FIRST, told=Told(name), activity=replace(CALL, title=name, text=name * 5)))

    assert isinstance(outcome, Delivered)
    assert len(org.lead.values["LastName"]) <= 80
    assert len(org.task.values["Subject"]) <= 255
    assert "\n" not in org.lead.values["LastName"]


async def test_a_turn_that_another_has_is_waited_for(org: Org) -> None:
    """Nothing is asked; one that was not given back runs out."""
    async with org.store.memory.turn(org.message("CAL2")):
        outcome = await org.tries(FIRST)

    assert isinstance(outcome, Postponed)
    assert org.salesforce.exchanges == []
    assert isinstance(await org.log(), Delivered)
