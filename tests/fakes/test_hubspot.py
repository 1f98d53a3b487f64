"""The fake HubSpot keeps, answers and fails as HubSpot does, over real sockets and by its contract."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from callrail.exceptions import AnswerLost
from callrail.http import HttpClient
from tests.contract.hubspot_schema import hubspot_contract, hubspot_contract_if_any
from tests.fakes.hubspot import OWNER, TOKEN, Account, Answer, Clock, FakeHubSpot, Limits, faults, running_hubspot

pytestmark = pytest.mark.anyio

PHONE = "+14045550123"
CALL_KEY = "CAL0191f00a1b2c7d3e8f405162738495a6"
Told = dict[str, Any]


@dataclass
class Sink:
    """The asking side, with no more sense than a test needs."""

    hubspot: FakeHubSpot
    client: HttpClient
    version: str = "2026-03"
    within: float = 10.0
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body of one request; `objects/...` and `properties/...` get their date."""
        area, _, rest = path.partition("/")
        answer = await self.client.request(
            method,
            f"{self.hubspot.base_url}/crm/{area}/{self.version}/{rest}",
            content=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
            within=self.within,
        )
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        is_json = self.headers["content-type"].startswith("application/json")
        return answer.status, json.loads(answer.body) if is_json else answer.body.decode()

    async def search(self, name: str, value: str, **more: Any) -> Told:
        condition = {"propertyName": name, "operator": "EQ", "value": value}
        return await self.search_by([[condition]], **more)

    async def search_by(self, groups: list[list[Told]], **more: Any) -> Told:
        asked = {"filterGroups": [{"filters": group} for group in groups], "properties": ["phone"]}
        status, told = await self.ask(
            "POST", "objects/contacts/search", {**asked, "limit": 10, "after": "0", "sorts": [], **more}
        )
        assert status == 200, told
        return dict(told)

    async def upsert(self, kind: str, key: str, value: str, trace: str | None = None, **properties: str) -> Told:
        """One input, its row of the answer."""
        status, told = await self.ask(
            "POST", f"objects/{kind}/batch/upsert", {"inputs": [row(key, value, trace, **properties)]}
        )
        assert status == 200, told
        return dict(told["results"][0])


def row(key: str, value: str, trace: str | None = None, **properties: Any) -> Told:
    traced = {} if trace is None else {"objectWriteTraceId": trace}
    return {"idProperty": key, "id": value, "properties": {key: value, **properties}, **traced}


def call(**properties: Any) -> Told:
    return {"hs_timestamp": "2026-11-24T12:00:00Z", "hs_call_direction": "INBOUND", **properties}


OWN = {"label": "Ours", "type": "string", "fieldType": "text", "hasUniqueValue": True}


@asynccontextmanager
async def a_client() -> AsyncIterator[HttpClient]:
    client = HttpClient(timeout=timedelta(seconds=10), allow_hosts=["127.0.0.1"], max_answer=2**22)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def bare() -> AsyncIterator[Sink]:
    """An account as it is before the sink is set up."""
    async with running_hubspot() as hubspot, a_client() as client:
        yield Sink(hubspot, client)


@pytest.fixture
async def sink(bare: Sink) -> Sink:
    """An account with our unique properties."""
    for kind, name in (
        ("contacts", "callrail_phone"),
        ("calls", "callrail_call_id"),
        ("communications", "callrail_key"),
        ("tasks", "callrail_key"),
        ("leads", "callrail_key"),
        ("deals", "callrail_key"),
    ):
        bare.hubspot.account.define(kind, name)
    return bare


def fits_the_contract(sink: Sink) -> bool:
    """Whether all that was said does. Where there is no contract nothing is known, and the rest of a test stands."""
    contract = hubspot_contract_if_any()
    assert contract is None or contract.problems(sink.hubspot.exchanges) == []
    return True


# --- set-up ----------------------------------------------------------------------------------------------------------


async def test_a_property_of_ones_own_is_made_once(bare: Sink) -> None:
    """The properties API lists groups, makes a group and a unique property, and refuses the second of a name."""
    _, before = await bare.ask("GET", "properties/calls/groups")
    made = await bare.ask("POST", "properties/calls/groups", {"name": "callrail", "label": "CallRail"})
    asked = {**OWN, "name": "callrail_call_id", "groupName": "callrail"}
    missing, _ = await bare.ask("GET", "properties/calls/callrail_call_id")
    first, told = await bare.ask("POST", "properties/calls", asked)
    second, _ = await bare.ask("POST", "properties/calls", asked)
    _, got = await bare.ask("GET", "properties/calls/callrail_call_id")
    _, listed = await bare.ask("GET", "properties/calls")

    assert [group["name"] for group in before["results"]] == ["call"]
    assert made[0] == 201
    assert (missing, first, second) == (404, 201, 409)
    assert told == got
    assert got["hasUniqueValue"] is True
    assert got in listed["results"]
    assert fits_the_contract(bare)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"groupName": "none"}, "group"), ({"name": "Own Name"}, "lower case"), ({"type": "text"}, "type")],
    ids=["unknown group", "bad name", "unknown type"],
)
async def test_a_property_that_cannot_be_is_refused(bare: Sink, change: Told, word: str) -> None:
    """A property needs a group that exists, a name of HubSpot's letters and one of its types."""
    asked = {**OWN, "name": "callrail_phone", "groupName": "contactinformation", **change}

    status, told = await bare.ask("POST", "properties/contacts", asked)

    assert (status, told["category"]) == (400, "VALIDATION_ERROR")
    assert word in told["message"]
    assert "callrail_phone" not in bare.hubspot.account.properties["contacts"]


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_an_upsert_by_a_unique_value_makes_one_record(sink: Sink) -> None:
    """The first creates, the next updates the same; the trace id comes back, ids are numbers as texts."""
    first = await sink.upsert("contacts", "callrail_phone", PHONE, "t1", firstname="Avery")
    second = await sink.upsert("contacts", "callrail_phone", PHONE, "t2", lastname="Quill")

    assert (first["new"], second["new"]) == (True, False)
    assert (first["objectWriteTraceId"], second["objectWriteTraceId"]) == ("t1", "t2")
    assert first["id"] == second["id"]
    assert first["id"].isdecimal()
    (contact,) = sink.hubspot.account.all("contacts")
    assert (contact.properties["firstname"], contact.properties["lastname"]) == ("Avery", "Quill")
    assert fits_the_contract(sink)


@pytest.mark.parametrize(("version", "status"), [("2026-03", 207), ("2026-09", 200)])
async def test_a_batch_that_fails_in_part_says_so_as_its_version_does(sink: Sink, version: str, status: int) -> None:
    """With trace ids the good input is kept; 2026-03 tells the bad one by 207, 2026-09 in the body of a 200."""
    sink.version = version
    good = row("callrail_call_id", CALL_KEY, "good", **call())
    bad = row("callrail_call_id", "CAL2", "bad", **call(hs_call_status="MISSED"))

    answered, told = await sink.ask("POST", "objects/calls/batch/upsert", {"inputs": [good, bad]})

    assert answered == status
    assert [found["objectWriteTraceId"] for found in told["results"]] == ["good"]
    assert told["numErrors"] == 1
    assert told["errors"][0]["context"]["objectWriteTraceId"] == ["bad"]
    assert told["errors"][0]["errors"][0]["code"] == "INVALID_OPTION"
    assert len(sink.hubspot.account.all("calls")) == 1
    assert fits_the_contract(sink)


async def test_a_batch_without_trace_ids_is_kept_whole_or_not_at_all(sink: Sink) -> None:
    """One bad input is a 400 for all, and the good ones are not kept."""
    good = row("callrail_call_id", CALL_KEY, **call())
    bad = row("callrail_call_id", "CAL2", **call(hs_call_duration="long"))

    status, told = await sink.ask("POST", "objects/calls/batch/upsert", {"inputs": [good, bad]})

    assert (status, told["category"]) == (400, "VALIDATION_ERROR")
    assert sink.hubspot.account.all("calls") == []


async def test_one_record_twice_in_a_batch_is_refused(sink: Sink) -> None:
    """Two inputs of one id are a 400."""
    twins = [row("callrail_phone", PHONE, "a"), row("callrail_phone", PHONE, "b")]

    status, told = await sink.ask("POST", "objects/contacts/batch/upsert", {"inputs": twins})

    assert status == 400
    assert told["context"]["ids"] == [PHONE]


async def test_a_property_without_unique_values_identifies_nothing(sink: Sink) -> None:
    """An upsert by `phone` is refused."""
    status, told = await sink.ask("POST", "objects/contacts/batch/upsert", {"inputs": [row("phone", PHONE)]})

    assert status == 400
    assert told["context"]["idProperty"] == ["phone"]


@pytest.mark.parametrize(
    ("kind", "properties", "word"),
    [
        ("contacts", {"callrail_phone": 14045550123}, "deserialize"),
        ("contacts", {"nickname": "Av"}, "PROPERTY_DOESNT_EXIST"),
        ("contacts", {"email": "none"}, "INVALID_EMAIL"),
        ("contacts", {"hubspot_owner_id": "1"}, "INVALID_OWNER_ID"),
        ("contacts", {"hs_searchable_calculated_phone_number": "1"}, "READ_ONLY_VALUE"),
        ("calls", {"hs_call_title": "Call"}, "required properties"),
        ("calls", {"hs_timestamp": "yesterday"}, "INVALID_DATE"),
        ("communications", {"hs_timestamp": "1764000000000", "hs_communication_channel_type": "SMS"}, "required"),
        ("deals", {"dealname": "D", "pipeline": "none", "dealstage": "closedwon"}, "INVALID_OPTION"),
        ("deals", {"dealname": "D", "pipeline": "default", "dealstage": "none"}, "INVALID_OPTION"),
        ("leads", {"hs_lead_name": "L"}, "associated"),
    ],
    ids=[
        *("a number", "no such property", "no e-mail address", "unknown owner", "read-only", "no time", "no date"),
        *("text not logged from the CRM", "unknown pipeline", "unknown stage", "lead of nobody"),
    ],
)
async def test_a_record_that_cannot_be_is_refused(sink: Sink, kind: str, properties: Told, word: str) -> None:
    """A value of a wrong type, a missing property or an unknown pipeline is a 400, and nothing is kept."""
    status, told = await sink.ask("POST", f"objects/{kind}", {"properties": properties, "associations": []})

    assert (status, told["category"]) == (400, "VALIDATION_ERROR")
    assert word in told["message"]
    assert sink.hubspot.account.all(kind) == []


@pytest.mark.parametrize(("version", "status"), [("2026-03", 201), ("2026-09", 400)])
async def test_a_property_that_an_administrator_requires_is_required_since_2026_09(
    sink: Sink, version: str, status: int
) -> None:
    """The validation rules of an account hold for the API in 2026-09 only."""
    sink.hubspot.account.require("contacts", "region")
    sink.version = version

    answered, _ = await sink.ask("POST", "objects/contacts", {"properties": {"phone": PHONE}, "associations": []})

    assert answered == status
    assert fits_the_contract(sink)


@pytest.mark.parametrize("status", [409, 400])
async def test_a_value_that_another_has_is_a_conflict(sink: Sink, status: int) -> None:
    """A second contact with one unique value is refused, by PATCH and by POST, with the status that is set."""
    sink.hubspot.account.unique_conflict = status
    await sink.upsert("contacts", "callrail_phone", PHONE)
    other = sink.hubspot.account.human_creates("contacts", {"firstname": "Bo"})
    properties = {"properties": {"callrail_phone": PHONE}}

    patched, _ = await sink.ask("PATCH", f"objects/contacts/{other.id}", properties)
    posted, _ = await sink.ask("POST", "objects/contacts", {**properties, "associations": []})

    assert (patched, posted) == (status, status)
    assert fits_the_contract(sink)


async def test_a_record_is_read_with_what_was_asked_for(sink: Sink) -> None:
    """GET shows the named properties, null where one is not set, and what it is associated with."""
    contact = await sink.upsert("contacts", "callrail_phone", PHONE, firstname="Avery")
    logged = await sink.upsert("calls", "callrail_call_id", CALL_KEY, **call())
    await sink.ask("PUT", f"objects/calls/{logged['id']}/associations/default/contacts/{contact['id']}")

    path = f"objects/contacts/{PHONE}?idProperty=callrail_phone&properties=phone,callrail_phone&associations=calls"
    status, told = await sink.ask("GET", path)
    absent, _ = await sink.ask("GET", "objects/contacts/1")

    assert (status, absent) == (200, 404)
    assert told["properties"] | {"phone": None, "callrail_phone": PHONE, "firstname": "Avery"} == told["properties"]
    assert [found["id"] for found in told["associations"]["calls"]["results"]] == [logged["id"]]
    assert fits_the_contract(sink)


async def test_an_association_is_made_as_often_as_one_likes(sink: Sink) -> None:
    """The default association is one however often it is made, is listed in 2026-03, and knows both directions."""
    contact = await sink.upsert("contacts", "callrail_phone", PHONE)
    logged = await sink.upsert("calls", "callrail_call_id", CALL_KEY, **call())
    path = f"objects/calls/{logged['id']}/associations"

    told = [await sink.ask("PUT", f"{path}/default/contacts/{contact['id']}") for _ in range(2)]
    listed = await sink.ask("GET", f"{path}/contacts")
    nobody, _ = await sink.ask("PUT", f"{path}/default/contacts/1")
    batch = {"inputs": [{"from": {"id": logged["id"]}, "to": {"id": contact["id"]}}]}
    by_batch = await sink.ask("POST", "associations/calls/contacts/batch/associate/default", batch)
    assert fits_the_contract(sink)
    sink.version = "2026-09"
    later, _ = await sink.ask("GET", f"{path}/contacts")

    assert [status for status, _ in told] == [200, 200]
    assert [found["toObjectId"] for found in listed[1]["results"]] == [contact["id"]]
    assert (nobody, by_batch[0], later) == (404, 200, 404)
    assert sink.hubspot.account.linked("contacts", contact["id"], "calls") == [logged["id"]]


async def test_a_task_a_lead_and_a_deal_are_created_with_their_contact(sink: Sink) -> None:
    """One POST makes the record and its association, by the number of its type."""
    contact = await sink.upsert("contacts", "callrail_phone", PHONE)
    wanted = {
        "tasks": ({"hs_timestamp": "2026-11-25T09:00:00Z", "hs_task_subject": "Call", "hubspot_owner_id": OWNER}, 204),
        "leads": ({"hs_lead_name": "Avery Quill"}, 578),
        "deals": ({"dealname": "Quill", "pipeline": "default", "dealstage": "appointmentscheduled"}, 3),
    }
    for kind, (properties, number) in wanted.items():
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}]
        association = {"to": {"id": contact["id"]}, "types": types}
        status, told = await sink.ask(
            "POST", f"objects/{kind}", {"properties": properties, "associations": [association]}
        )

        assert status == 201, told
        assert sink.hubspot.account.linked(kind, told["id"], "contacts") == [contact["id"]]
    assert fits_the_contract(sink)


async def test_batch_read_tells_what_is_not_there(sink: Sink) -> None:
    """Records come by unique values; those that are missing are errors of the batch."""
    await sink.upsert("contacts", "callrail_phone", PHONE)
    asked = {"idProperty": "callrail_phone", "properties": ["phone"], "propertiesWithHistory": []}

    status, told = await sink.ask(
        "POST", "objects/contacts/batch/read", {**asked, "inputs": [{"id": PHONE}, {"id": "+14045550199"}]}
    )

    assert (status, len(told["results"]), told["numErrors"]) == (207, 1, 1)
    assert told["errors"][0]["context"]["ids"] == ["+14045550199"]
    assert fits_the_contract(sink)


async def test_every_kind_is_upserted_by_a_key_of_ours(sink: Sink) -> None:
    """A text, a task, a deal and, where the account allows one without a contact, a lead are written as calls are."""
    sink.hubspot.account.leads_need_a_contact = False
    text = {
        "hs_communication_channel_type": "SMS",
        "hs_communication_logged_from": "CRM",
        "hs_timestamp": "1764000000000",
    }
    wanted: dict[str, dict[str, str]] = {
        "communications": text,
        "tasks": {"hs_timestamp": "1764000000000"},
        "leads": {"hs_lead_name": "Quill"},
        "deals": {"dealname": "Quill", "pipeline": "default", "dealstage": "closedwon"},
    }
    for kind, properties in wanted.items():
        news = [(await sink.upsert(kind, "callrail_key", "dl_1", **properties))["new"] for _ in range(2)]

        assert (kind, news, len(sink.hubspot.account.all(kind))) == (kind, [True, False], 1)
    assert fits_the_contract(sink)


async def test_batches_create_and_update(sink: Sink) -> None:
    """Many contacts are made in one request, and changed in another."""
    inputs = [{"properties": {"callrail_phone": f"+1404555010{n}"}, "associations": []} for n in range(3)]
    created, made = await sink.ask("POST", "objects/contacts/batch/create", {"inputs": inputs})
    changes = [{"id": found["id"], "properties": {"firstname": "Avery"}} for found in made["results"]]
    updated, _ = await sink.ask("POST", "objects/contacts/batch/update", {"inputs": changes})
    too_many, _ = await sink.ask("POST", "objects/contacts/batch/create", {"inputs": inputs * 34})

    assert (created, updated, too_many) == (201, 200, 400)
    assert {found.properties["firstname"] for found in sink.hubspot.account.all("contacts")} == {"Avery"}
    assert fits_the_contract(sink)


# --- searching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["(404) 555-0123", "+1 404 555 0123", "404.555.0123"])
@pytest.mark.parametrize("source", ["phone", "mobilephone"])
async def test_a_number_is_found_however_it_was_typed(sink: Sink, source: str, typed: str) -> None:
    """The calculated fields hold its digits, with the country's code or without, and the right one alone finds it."""
    found = sink.hubspot.account.human_creates("contacts", {source: typed})
    name = "phone" if source == "phone" else "mobile"

    national = await sink.search(f"hs_searchable_calculated_{name}_number", "4045550123")
    international = await sink.search(f"hs_searchable_calculated_international_{name}_number", "14045550123")
    mistaken = await sink.search(f"hs_searchable_calculated_{name}_number", "14045550123")

    assert [hit["id"] for hit in national["results"]] == [found.id]
    assert (national["total"], international["total"], mistaken["total"]) == (1, 1, 0)
    assert fits_the_contract(sink)


async def test_search_sees_a_write_only_after_its_lag(sink: Sink) -> None:
    """A contact made, changed or archived is found as it was until the index has come so far; GET sees it at once."""
    clock, lag = sink.hubspot.account.clock, timedelta(minutes=5)
    assert isinstance(clock, Clock)
    sink.hubspot.account.index_lag = lag
    contact = await sink.upsert("contacts", "callrail_phone", PHONE, phone=PHONE)

    totals = [(await sink.search("phone", PHONE))["total"]]
    clock.advance(lag)
    totals.append((await sink.search("phone", PHONE))["total"])
    sink.hubspot.account.human_archives("contacts", contact["id"])
    totals.append((await sink.search("phone", PHONE))["total"])
    status, _ = await sink.ask("GET", f"objects/contacts/{contact['id']}")
    clock.advance(lag)
    totals.append((await sink.search("phone", PHONE))["total"])

    assert totals == [0, 1, 1, 0]
    assert status == 404


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ({"operator": "EQ", "value": "avery"}, "Avery"),
        ({"operator": "NEQ", "value": "Avery"}, "Bo Cy Anna -"),
        ({"operator": "IN", "values": ["bo", "cy"]}, "Bo Cy"),
        ({"operator": "NOT_IN", "values": ["bo", "cy"]}, "Avery Anna -"),
        ({"operator": "HAS_PROPERTY"}, "Avery Bo Cy Anna"),
        ({"operator": "NOT_HAS_PROPERTY"}, "-"),
        ({"operator": "GT", "value": "bo"}, "Cy"),
        ({"operator": "GTE", "value": "bo"}, "Bo Cy"),
        ({"operator": "LT", "value": "avery"}, "Anna"),
        ({"operator": "LTE", "value": "avery"}, "Avery Anna"),
        ({"operator": "BETWEEN", "value": "av", "highValue": "c"}, "Avery Bo"),
        ({"operator": "CONTAINS_TOKEN", "value": "A*"}, "Avery Anna"),
        ({"operator": "NOT_CONTAINS_TOKEN", "value": "a*"}, "Bo Cy -"),
    ],
    ids=lambda value: value["operator"] if isinstance(value, dict) else "",
)
async def test_each_operator_finds_its_contacts(sink: Sink, condition: Told, names: str) -> None:
    """Texts are compared in any case."""
    for name in ("Avery", "Bo", "Cy", "Anna", ""):
        sink.hubspot.account.human_creates("contacts", {"firstname": name} if name else {})

    told = await sink.search_by([[{"propertyName": "firstname", **condition}]])

    assert " ".join(hit["properties"]["firstname"] or "-" for hit in told["results"]) == names
    assert fits_the_contract(sink)


async def test_search_goes_page_by_page_in_order(sink: Sink) -> None:
    """`total` counts all, `after` leads on, `sorts` turns the order; one group suffices, with all of its filters."""
    for name in ("Bo", "Avery", "Cy"):
        sink.hubspot.account.human_creates("contacts", {"firstname": name, "lastname": "Quill"})
    quills: list[list[Told]] = [
        [{"propertyName": "lastname", "operator": "EQ", "value": "Nobody"}],
        [{"propertyName": name, "operator": "HAS_PROPERTY"} for name in ("firstname", "lastname")],
    ]

    first = await sink.search_by(quills, limit=2, sorts=["-firstname"])
    rest = await sink.search_by(quills, limit=2, sorts=["-firstname"], after=first["paging"]["next"]["after"])
    worded = await sink.search_by([], query="quill av")

    assert (first["total"], "paging" in rest) == (3, False)
    found = [hit["properties"]["firstname"] for told in (first, rest, worded) for hit in told["results"]]
    assert found == ["Cy", "Bo", "Avery", "Avery"]
    assert fits_the_contract(sink)


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 201},
        {"after": "10000"},
        {"filterGroups": [{"filters": []}] * 6},
        {"filterGroups": [{"filters": [{"propertyName": "nickname", "operator": "HAS_PROPERTY"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "phone", "operator": "LIKE", "value": "4"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "phone", "operator": "EQ", "value": 4045550123}]}]},
    ],
    ids=["limit", "beyond ten thousand", "groups", "unknown property", "unknown operator", "number as value"],
)
async def test_a_search_beyond_the_rules_is_refused(sink: Sink, change: Told) -> None:
    """A limit that is broken is a 400."""
    asked = {"filterGroups": [], "properties": [], "limit": 10, "after": "0", "sorts": [], **change}

    status, told = await sink.ask("POST", "objects/contacts/search", asked)

    assert (status, told["category"]) == (400, "VALIDATION_ERROR")


# --- people ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("into_a_new_id", [True, False], ids=["new id", "the primary's id"])
async def test_the_old_id_of_a_merged_contact_leads_to_the_other(sink: Sink, into_a_new_id: bool) -> None:
    """Both ids read and write the one that is left, which has the calls of both."""
    one, other = [await sink.upsert("contacts", "callrail_phone", f"{PHONE[:-1]}{n}") for n in (1, 2)]
    logged = await sink.upsert("calls", "callrail_call_id", CALL_KEY, **call())
    await sink.ask("PUT", f"objects/calls/{logged['id']}/associations/default/contacts/{other['id']}")

    left = sink.hubspot.account.human_merges(one["id"], other["id"], into_a_new_id=into_a_new_id)
    _, read_by_old = await sink.ask("GET", f"objects/contacts/{other['id']}")
    patched, _ = await sink.ask("PATCH", f"objects/contacts/{other['id']}", {"properties": {"city": "Atlanta"}})

    assert (left.id == one["id"]) is not into_a_new_id
    assert (read_by_old["id"], patched) == (left.id, 200)
    assert set(left.properties["hs_merged_object_ids"].split(";")) == {one["id"], other["id"]} - {left.id}
    assert sink.hubspot.account.all("contacts") == [left]
    assert left.properties["city"] == "Atlanta"
    assert sink.hubspot.account.linked("contacts", left.id, "calls") == [logged["id"]]
    assert fits_the_contract(sink)


@pytest.mark.parametrize("found", [False, True])
async def test_the_unique_value_of_a_merged_contact_is_lost_unless_told_otherwise(sink: Sink, found: bool) -> None:
    """The one who relies on an upsert alone makes a second contact of a caller who was merged away."""
    sink.hubspot.account.merged_values_are_found = found
    one, other = [await sink.upsert("contacts", "callrail_phone", f"{PHONE[:-1]}{n}") for n in (1, 2)]
    sink.hubspot.account.human_merges(one["id"], other["id"])

    again = await sink.upsert("contacts", "callrail_phone", f"{PHONE[:-1]}2")

    assert again["new"] is not found


async def test_what_people_do_is_seen_at_once(sink: Sink) -> None:
    """A contact that was renamed shows the new name, and one that was deleted is a 404 and comes with `archived`."""
    contact = await sink.upsert("contacts", "callrail_phone", PHONE, firstname="Avery")
    sink.hubspot.account.human_edits("contacts", contact["id"], firstname="Av")
    _, renamed = await sink.ask("GET", f"objects/contacts/{contact['id']}")
    sink.hubspot.account.human_archives("contacts", contact["id"])

    statuses = [
        (await sink.ask("GET", f"objects/contacts/{contact['id']}"))[0],
        (await sink.ask("PATCH", f"objects/contacts/{contact['id']}", {"properties": {"city": "Rome"}}))[0],
        (await sink.ask("GET", f"objects/contacts/{contact['id']}?archived=true"))[0],
    ]

    assert renamed["properties"]["firstname"] == "Av"
    assert statuses == [404, 404, 200]
    assert fits_the_contract(sink)


# --- tokens and limits -----------------------------------------------------------------------------------------------


async def test_a_revoked_token_and_a_missing_scope_are_told_apart(sink: Sink) -> None:
    """401 and 403, with the category of each and the scope that is missing."""
    sink.hubspot.account.scopes.discard("crm.objects.contacts.write")
    body: Told = {"properties": {}, "associations": []}
    forbidden, scope = await sink.ask("POST", "objects/contacts", body)
    readable, _ = await sink.ask("GET", "properties/contacts")
    sink.hubspot.account.token = None
    revoked, told = await sink.ask("GET", "properties/contacts")

    assert (forbidden, readable, revoked) == (403, 200, 401)
    assert scope["category"] == "MISSING_SCOPES"
    assert scope["errors"][0]["context"]["requiredScopes"] == ["crm.objects.contacts.write"]
    assert told["category"] == "INVALID_AUTHENTICATION"
    assert fits_the_contract(sink)


async def test_the_limit_of_ten_seconds_rolls(sink: Sink) -> None:
    """One more than allowed is a 429 in its own shape; ten seconds later there is room; headers count down."""
    clock = sink.hubspot.account.clock
    assert isinstance(clock, Clock)
    sink.hubspot.api.limits = Limits(per_ten_seconds=2)

    statuses, left = [], []
    for _ in range(3):
        status, told = await sink.ask("GET", "properties/contacts")
        statuses.append(status)
        left.append(sink.headers["x-hubspot-ratelimit-remaining"])
    clock.advance(timedelta(seconds=10))
    later, _ = await sink.ask("GET", "properties/contacts")

    assert (statuses, left, later) == ([200, 200, 429], ["1", "0", "0"], 200)
    assert (told["errorType"], told["policyName"]) == ("RATE_LIMIT", "TEN_SECONDLY_ROLLING")
    assert "category" not in told
    assert "retry-after" not in sink.headers


async def test_the_day_ends_at_the_midnight_of_the_account(sink: Sink) -> None:
    """The daily limit names itself, and is back at midnight where the account is: the fake's noon is 7 in New York."""
    clock = sink.hubspot.account.clock
    assert isinstance(clock, Clock)
    sink.hubspot.api.limits = Limits(per_day=1, zone=ZoneInfo("America/New_York"))

    await sink.ask("GET", "properties/contacts")
    told = await sink.ask("GET", "properties/contacts")
    clock.advance(timedelta(hours=16, minutes=59))
    before, _ = await sink.ask("GET", "properties/contacts")
    clock.advance(timedelta(minutes=1))
    after, _ = await sink.ask("GET", "properties/contacts")

    assert (told[0], told[1]["policyName"], before, after) == (429, "DAILY", 429, 200)


async def test_search_has_a_limit_of_its_own_and_no_headers(sink: Sink) -> None:
    """A search too many in one second is a 429, while other requests go through."""
    sink.hubspot.api.limits = Limits(searches_per_second=1, per_ten_seconds=100)
    asked = {"filterGroups": [], "properties": [], "limit": 10, "after": "0", "sorts": []}

    first, _ = await sink.ask("POST", "objects/contacts/search", asked)
    assert [name for name in sink.headers if "ratelimit" in name] == []
    second, told = await sink.ask("POST", "objects/contacts/search", asked)
    other, _ = await sink.ask("GET", "properties/contacts")

    assert (first, second, other) == (200, 429, 200)
    assert told["policyName"] == "SECONDLY"


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "is_kept"),
    [
        (faults.lost, True),
        (faults.lost_by_reset, True),
        (faults.lost_by_silence, True),
        (faults.cut_short, True),
        (faults.reset_before, False),
        (faults.closed_before, False),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_lost_answer_hides_whether_it_was_done(sink: Sink, fault: faults.Fault, is_kept: bool) -> None:
    """The client learns nothing; the account has the contact or not; the exchange says which."""
    sink.hubspot.meets(fault)
    sink.within = 0.3 if fault is faults.lost_by_silence else 10.0

    with pytest.raises(AnswerLost):
        await sink.upsert("contacts", "callrail_phone", PHONE)

    (exchange,) = sink.hubspot.exchanges
    assert len(sink.hubspot.account.all("contacts")) == is_kept
    assert (exchange.answer is not None, exchange.fault) == (is_kept, getattr(fault, "__name__", ""))


async def test_what_is_done_too_late_comes_after_the_next_request(sink: Sink) -> None:
    """A client that tries again is served first, and the lost request then writes over it; still it is one contact."""
    gate = asyncio.Event()
    sink.hubspot.meets(faults.too_late(gate))
    with pytest.raises(AnswerLost):
        await sink.upsert("contacts", "callrail_phone", PHONE, city="Atlanta")

    again = await sink.upsert("contacts", "callrail_phone", PHONE, city="Rome")
    gate.set()
    await sink.hubspot.settled()

    (contact,) = sink.hubspot.account.all("contacts")
    assert (again["new"], contact.properties["city"]) == (True, "Atlanta")


async def test_requests_at_once_are_answered_in_the_order_of_their_slowness(sink: Sink) -> None:
    """While one takes its time others go on; the first that is done creates."""
    gate = asyncio.Event()
    sink.hubspot.meets(faults.slow(gate))
    both = [asyncio.create_task(sink.upsert("contacts", "callrail_phone", PHONE)) for _ in range(2)]
    (fast,), (slow,) = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    gate.set()

    assert (fast.result()["new"], (await slow)["new"]) == (True, False)
    assert len(sink.hubspot.account.all("contacts")) == 1


@pytest.mark.parametrize(
    ("fault", "status", "is_kept"),
    [
        (faults.locked(), 423, False),
        (faults.migrating(3_600), 477, False),
        (faults.failing(), 502, False),
        (faults.failing_after(504), 504, True),
        (faults.html(), 200, False),
        (faults.limited("DAILY"), 429, False),
        (faults.limited_in_the_old_shape(), 429, False),
    ],
    ids=["locked", "migrating", "failing", "failing after", "html", "limited", "limited, old shape"],
)
async def test_trouble_is_answered_once_and_then_all_is_well(
    sink: Sink, fault: faults.Fault, status: int, is_kept: bool
) -> None:
    """One request meets it; what it asked for was done only where the fault says so; the next succeeds."""
    sink.hubspot.meets(fault)
    asked = {"inputs": [row("callrail_phone", PHONE)]}

    answered, told = await sink.ask("POST", "objects/contacts/batch/upsert", asked)
    kept = len(sink.hubspot.account.all("contacts"))

    assert (answered, kept) == (status, is_kept)
    assert sink.headers.get("retry-after") == ("3600" if status == 477 else None)
    assert isinstance(told, str) is (status == 200)
    assert sink.hubspot.exchanges[0].fault == ("failing_after" if is_kept else f"says {status}")
    assert (await sink.upsert("contacts", "callrail_phone", PHONE))["new"] is not is_kept


async def test_faults_come_to_one_operation_or_by_chance(sink: Sink) -> None:
    """A fault can wait for an operation, stay, or come to a share of requests, the same for the same seed."""
    sink.hubspot.meets(faults.failing(), to="contacts.upsert")
    assert (await sink.ask("GET", "properties/contacts"))[0] == 200
    assert (await sink.ask("POST", "objects/contacts/batch/upsert", {"inputs": [row("callrail_phone", PHONE)]}))[
        0
    ] == 502

    sink.hubspot.sometimes_meets(faults.failing(503), faults.failing(504), share=0.5, rng=random.Random(7))
    drawn = [(await sink.ask("GET", "properties/contacts"))[0] for _ in range(20)]
    sink.hubspot.calms()

    sink.hubspot.always_meets(faults.locked(), to="properties.list")
    stuck = [(await sink.ask("GET", "properties/contacts"))[0] for _ in range(2)]
    sink.hubspot.calms()

    assert set(drawn) == {200, 503, 504}
    assert stuck == [423, 423]
    assert (await sink.ask("GET", "properties/contacts"))[0] == 200
    assert sink.hubspot.count() == 25
    assert sink.hubspot.count("contacts.upsert") == 1


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("objects/contacts/batch/upsert", {"inputs": [{"id": PHONE, "properties": {"phone": 4}}]}, "not of type"),
        ("objects/contacts/batch/upsert", {"inputs": [{"properties": {}}]}, "'id' is a required"),
        ("objects/deals/batch/upsert", {"inputs": [{"id": "1", "properties": {}, "trace": "1"}]}, "'trace' was"),
        ("objects/contacts/search", {"filterGroups": [], "properties": [], "limit": 1, "sorts": []}, "'after'"),
        ("objects/contacts/merge", {}, "no POST"),
        ("objects/contacts?id=1", {"properties": {}, "associations": []}, "no parameter id"),
    ],
    ids=["a number", "no id", "unknown key", "no after", "unknown path", "unknown parameter"],
)
async def test_the_contract_is_broken_by_what_does_not_fit(sink: Sink, path: str, body: Told, word: str) -> None:
    """The checker finds a wrong type, a missing key, a key too many, and a path or parameter that is not there."""
    contract = hubspot_contract()
    sink.version = "2026-09"
    await sink.ask("POST", path, body)

    problems = contract.problems_of_request(sink.hubspot.exchanges[-1].asked)

    assert any(word in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"results": [{"id": 1}]}, "not of type"),
        ({"results": None}, "'results' is a required"),
        ({"startedAt": "yesterday"}, "date-time"),
        ({"hints": []}, "'hints' was unexpected"),
        ({"numErrors": 1, "errors": [{"message": "no"}]}, "'category' is a required"),
    ],
    ids=["a number as id", "no results", "no time", "unknown key", "half an error"],
)
async def test_the_contract_is_broken_by_an_answer_that_does_not_fit(sink: Sink, change: Told, word: str) -> None:
    """The checker finds the same in an answer, also in the errors that 2026-09 tells in a 200."""
    contract = hubspot_contract()
    sink.version = "2026-09"
    await sink.upsert("contacts", "callrail_phone", PHONE)
    exchange = sink.hubspot.exchanges[-1]
    assert exchange.answer is not None
    assert contract.problems_of_answer(exchange.asked, exchange.answer) == []

    problems = contract.problems_of_answer(exchange.asked, Answer(200, {**exchange.answer.body, **change}))

    assert any(word in problem for problem in problems), problems


async def test_an_account_can_be_made_before_the_server() -> None:
    """A test brings its own clock and records, and looks at them behind the server's back."""
    clock = Clock()
    account = Account(clock=clock, index_lag=timedelta(seconds=30))
    known = account.human_creates("contacts", {"phone": "(404) 555-0123"}, since=clock.now - timedelta(days=1))
    async with running_hubspot(account, Limits.of_professional()) as hubspot, a_client() as client:
        told = await Sink(hubspot, client).search("hs_searchable_calculated_phone_number", "4045550123")

    assert [hit["id"] for hit in told["results"]] == [known.id]
