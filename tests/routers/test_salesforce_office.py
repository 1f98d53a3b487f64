"""From webhooks to a Salesforce of our own, with the memory that `serve` gives the sink, on both databases."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from routers.outcomes import Delivered, Postponed, Uncertain
from tests.fakes.salesforce import CLIENT_ID, CLIENT_SECRET, FakeSalesforce, faults, running_salesforce
from tests.fakes.salesforce.org import KEY, Record
from tests.routers.crm_office import CALL, PHONE, CrmOffice, a_crm_office

pytestmark = pytest.mark.anyio


@pytest.fixture
async def salesforce() -> AsyncIterator[FakeSalesforce]:
    async with running_salesforce() as running:
        running.org.define_keys()
        running.org.index_lag = timedelta(minutes=5)
        yield running


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACME_KEY": "0f1e2d3c", "SF_ID": CLIENT_ID, "SF_SECRET": CLIENT_SECRET}.items():
        monkeypatch.setenv(name, value)


def settings_of(salesforce: FakeSalesforce) -> str:
    return f"type: salesforce, base_url: '{salesforce.base_url}', client_id: env:SF_ID, client_secret: env:SF_SECRET"


@pytest.fixture
async def office(database_url: str, tmp_path: Path, salesforce: FakeSalesforce) -> AsyncIterator[CrmOffice]:
    async with a_crm_office(database_url, tmp_path, settings_of(salesforce)) as office:
        yield office


def tasks(salesforce: FakeSalesforce) -> list[Record]:
    return salesforce.org.all("Task")


def the_lead(salesforce: FakeSalesforce) -> Record:
    (found,) = salesforce.org.all("Lead")
    return found


async def test_calls_of_one_caller_are_tasks_of_one_lead(salesforce: FakeSalesforce, office: CrmOffice) -> None:
    """Two companies, a call that tells the number alone and one that tells the person alone."""
    office.calls(person_resource_id="PER1")
    office.calls("CAL2")
    office.calls("CAL3", customer_phone_number=None, person_resource_id="PER1")
    office.hears("post_call", {**CALL, "resource_id": "CAL4"}, company="globex")
    await office.sends_until_done()

    assert the_lead(salesforce).values[KEY] == PHONE
    assert {task.values[KEY]: task.values["WhoId"] for task in tasks(salesforce)} == dict.fromkeys(
        ("CAL1", "CAL2", "CAL3", "CAL4"), the_lead(salesforce).id
    )


@pytest.mark.parametrize(("zone", "day"), [(None, "2026-03-11"), ("America/New_York", "2026-03-10")])
async def test_the_day_of_a_call_is_the_company_s_and_not_this_machine_s(
    salesforce: FakeSalesforce, office: CrmOffice, monkeypatch: pytest.MonkeyPatch, zone: str | None, day: str
) -> None:
    """In UTC, where nobody told the company's zone."""
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        office.calls(start_time="2026-03-10T23:15:00-04:00", company_time_zone=zone)
        await office.sends()
    finally:
        monkeypatch.undo()
        time.tzset()
    (task,) = tasks(salesforce)
    assert task.values["ActivityDate"] == day


async def test_ten_pieces_of_news_are_one_task_and_few_edits(salesforce: FakeSalesforce, office: CrmOffice) -> None:
    office.calls()
    await office.sends()
    salesforce.exchanges.clear()
    for n in range(10):
        told = {"tags": [f"tag {n}"], "answered": True, "call_type": "answered", "changes": ["tags"]}
        office.hears("call_modified", {**CALL, **told})
        office.clock.moment += timedelta(seconds=3)
    await office.sends_until_done()

    (task,) = tasks(salesforce)
    assert (task.values["Subject"], task.values["CallDisposition"]) == ("Call: answered", "Answered")
    assert "Tags: tag 9" in task.values["Description"]
    assert len(salesforce.operations) <= 6  # each edit looks and writes


@pytest.mark.parametrize("fault", [faults.lost, faults.closed_before], ids=["done", "not done"])
async def test_an_answer_that_is_lost_holds_up_the_person_and_doubles_nothing(
    salesforce: FakeSalesforce, office: CrmOffice, fault: faults.Fault
) -> None:
    salesforce.meets(fault, to="composite")
    office.calls()
    assert isinstance(await office.sends(), Uncertain)
    assert isinstance(await office.sends(), Postponed)
    await office.sends_until_done()
    office.repeats()
    assert isinstance(await office.sends(), Delivered)
    assert (len(salesforce.org.all("Lead")), len(tasks(salesforce))) == (1, 1)


async def test_of_a_withheld_number_there_is_a_task_alone(salesforce: FakeSalesforce, office: CrmOffice) -> None:
    for number in ("CAL1", "CAL2"):
        office.calls(number, customer_phone_number="anonymous", person_resource_id="PER1")
    await office.sends_until_done()
    assert (len(salesforce.org.all("Lead")), len(tasks(salesforce))) == (0, 2)


async def test_only_fields_that_are_allowed_leave(salesforce: FakeSalesforce, sqlite_url: str, tmp_path: Path) -> None:
    """The story is laid out by templates, which name others, and so it is not told."""
    async with a_crm_office(sqlite_url, tmp_path, f"{settings_of(salesforce)}, fields: [source]") as office:
        office.calls(note="gate code 4711", transcription="my boiler leaks")
        await office.sends_until_done()

    (task,) = tasks(salesforce)
    assert task.values["Description"] == "Source: Google Ads"
    assert "Quill" not in str([task.values, the_lead(salesforce).values])
    assert the_lead(salesforce).values[KEY] == PHONE
