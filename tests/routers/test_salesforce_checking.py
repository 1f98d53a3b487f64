"""`sinks test` of a Salesforce org: what is missing is named, and nothing is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from callrail.http import HttpClient
from routers.sinks.salesforce_checking import check_org, needed
from routers.sinks.salesforce_people import KEY
from routers.sinks.salesforce_session import BySecret, Session
from routers.sinks.sink import Check
from tests.fakes.salesforce import CLIENT_ID, CLIENT_SECRET, FakeSalesforce, Limits, faults, running_salesforce

pytestmark = pytest.mark.anyio


@pytest.fixture
async def salesforce() -> AsyncIterator[FakeSalesforce]:
    async with running_salesforce() as running:
        running.org.define_keys()
        yield running


async def checked(salesforce: FakeSalesforce, *, opens: bool = False, **more: tuple[str, ...]) -> list[Check]:
    client = HttpClient(timeout=timedelta(seconds=2), allow_hosts=["127.0.0.1"], max_answer=2**22)
    session = Session(client, salesforce.base_url, "66.0", BySecret(CLIENT_ID, CLIENT_SECRET))
    try:
        return await check_org(session, needed(more, opens=opens))
    finally:
        await client.aclose()


def wrong(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.what, check.remedy) for check in checks if not check.ok]


async def test_an_org_that_is_set_up_is_found_right(salesforce: FakeSalesforce) -> None:
    """By reading alone: a session, the rights, the fields, the allowance."""
    checks = await checked(salesforce)

    assert wrong(checks) == []
    assert {exchange.operation for exchange in salesforce.exchanges} == {"token", "describe"}
    assert any("of the org's 15,000 requests" in check.what for check in checks)


@pytest.mark.parametrize("kind", ["Contact", "Lead", "Task", "Opportunity"])
async def test_a_field_that_is_missing_or_hidden_is_named(salesforce: FakeSalesforce, kind: str) -> None:
    """With what to make of it, and of tasks where; opportunities need one where some are opened."""
    salesforce.org.hidden[kind] = {KEY}

    ((what, remedy),) = wrong(await checked(salesforce, opens=True))

    assert what == f"{kind} has the field {KEY}"
    assert remedy.startswith(f"make the field {KEY} of {'Activity' if kind == 'Task' else kind}")


async def test_a_key_that_is_not_unique_is_found(salesforce: FakeSalesforce) -> None:
    """Two people could have it."""
    salesforce.org.define("Lead", KEY, is_external_id=True)

    assert [what for what, _ in wrong(await checked(salesforce))] == [f"Lead.{KEY} is an external id"]


async def test_a_key_of_tasks_that_is_no_external_id_does(salesforce: FakeSalesforce) -> None:
    """Tasks are looked up by it then, which is said."""
    salesforce.org.define_keys(task_is_external=False)

    checks = await checked(salesforce)

    assert wrong(checks) == []
    assert any("no external id" in check.what for check in checks)


async def test_missing_rights_are_named(salesforce: FakeSalesforce) -> None:
    """To see a kind of objects, to create one, to see a field, and to edit one."""
    org = salesforce.org
    org.forbidden.add("Contact")
    org.read_only.add("Lead")
    org.hidden["Lead"] = {"MobilePhone"}
    org.define("Task", "Score__c", is_updateable=False)

    found = dict(wrong(await checked(salesforce, Task=("Score__c", "Region__c"))))

    assert found == {
        "the app's user sees Contact": "let the app's user read and edit Contact, and look at api_version",
        "the app's user may do what it has to with Lead": "let the app's user read, create and edit Lead",
        "the app's user sees and edits the fields of Lead": "make MobilePhone, or let the app's user see what is there",
        "the app's user sees and edits the fields of Task": "make Region__c, or let the app's user see what is there; "
        "let the app's user edit Score__c",
    }


async def test_without_a_session_that_is_all_there_is_to_say(salesforce: FakeSalesforce) -> None:
    """Salesforce knows no such app, or takes no session of it."""
    salesforce.org.has_app = False
    no_app = wrong(await checked(salesforce))
    salesforce.org.has_app = True
    salesforce.always_meets(faults.expired(), to="describe")
    refused = wrong(await checked(salesforce))

    assert [what for what, _ in (*no_app, *refused)] == ["Salesforce gives the app a session"] * 2
    assert "invalid_client_id" in no_app[0][1]


@pytest.mark.parametrize(
    "fault", [faults.html(), faults.failing(503), faults.wrong_types()], ids=["page", "503", "odd"]
)
async def test_an_answer_that_describes_nothing_is_told(salesforce: FakeSalesforce, fault: faults.Fault) -> None:
    """And is no exception."""
    salesforce.meets(fault, to="describe")

    assert wrong(await checked(salesforce))


async def test_an_allowance_that_is_nearly_used_up_is_told(salesforce: FakeSalesforce) -> None:
    """Before everything waits."""
    salesforce.api.limits = Limits(per_day=3)

    ((what, _),) = wrong(await checked(salesforce))

    assert what.startswith("3 of the org's 3 requests")


async def test_no_remedy_holds_a_secret(salesforce: FakeSalesforce) -> None:
    """Nor the host's whole URL."""
    salesforce.org.forbidden |= {"Contact", "Lead", "Task"}
    texts: list[Any] = [text for check in await checked(salesforce) for text in (check.what, check.remedy)]

    assert CLIENT_SECRET not in " ".join(texts)
