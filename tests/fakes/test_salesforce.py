"""The fake Salesforce keeps, answers and fails as Salesforce does, over real sockets, in the shapes of its answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from callrail.exceptions import AnswerLost
from callrail.http import HttpClient
from tests.contract.salesforce_fixtures import differences, salesforce_answer
from tests.fakes.salesforce import (
    CLIENT_ID,
    CLIENT_SECRET,
    KEY,
    OWNER,
    USERNAME,
    Clock,
    FakeSalesforce,
    Limits,
    faults,
    running_salesforce,
)
from tests.fakes.salesforce.org import DuplicateRule, with_suffix
from tests.fakes.salesforce.soql import read_query

pytestmark = pytest.mark.anyio

PHONE = "+14045550123"
LEAD = {"LastName": "Quill", "Company": "[not provided]", "Phone": PHONE}
Told = dict[str, Any]


@dataclass
class Asker:
    """The asking side, with no more sense than a test needs."""

    salesforce: FakeSalesforce
    client: HttpClient
    token: str = ""
    within: float = 10.0
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: Any = None, version: str = "66.0") -> tuple[int, Any]:
        """Status and body of one request, below the version."""
        answer = await self.client.request(
            method,
            f"{self.salesforce.base_url}/services/data/v{version}/{path}",
            content=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json"},
            within=self.within,
        )
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, json.loads(answer.body) if answer.body else None

    async def log_in(self, **form: str) -> tuple[int, Any]:
        asked = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET} | form
        answer = await self.client.post(
            f"{self.salesforce.base_url}/services/oauth2/token",
            content=urlencode(asked).encode(),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        told = json.loads(answer.body)
        self.token = told.get("access_token", "none")
        return answer.status, told

    async def query(self, soql: str, *, deleted: bool = False) -> list[Told]:
        status, told = await self.ask("GET", f"query{'All' if deleted else ''}?q={quote(soql)}")
        assert status == 200, told
        return list(told["records"])

    async def found(self, number: str) -> list[str]:
        """Ids of what a search for a number finds."""
        sosl = f"FIND {{{number}}} IN PHONE FIELDS RETURNING Contact(Id), Lead(Id WHERE IsConverted = false LIMIT 5)"
        _, told = await self.ask("GET", f"search?q={quote(sosl)}")
        return [row["Id"] for row in told["searchRecords"]]

    async def upsert(self, body: Told | None = None, key: str = PHONE, **more: Any) -> tuple[int, Any]:
        return await self.ask("PATCH", f"sobjects/Lead/{KEY}/{quote(key)}", body or LEAD, **more)


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    """Somebody with a session at an org that has our fields."""
    client = HttpClient(timeout=timedelta(seconds=10), allow_hosts=["127.0.0.1"], max_answer=2**22)
    async with running_salesforce() as salesforce:
        salesforce.org.define_keys()
        found = Asker(salesforce, client)
        await found.log_in()
        yield found
    await client.aclose()


def fits(answer: tuple[int, Any], name: str) -> bool:
    """Whether an answer has the status and the shape of the real one of that name."""
    theirs = salesforce_answer(name)
    assert answer[0] == theirs.status
    assert differences(answer[1], theirs.body) == []
    return True


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_is_given_for_the_app_s_secret_and_ends_when_it_expires(asker: Asker) -> None:
    """A wrong secret gives none; after an end of all sessions each request is a 401."""
    given, refused = await asker.log_in(), await asker.log_in(client_secret="wrong")
    without = await asker.ask("GET", "sobjects/Lead/describe")
    await asker.log_in()
    with_one = await asker.ask("GET", "sobjects/Lead/describe")
    asker.salesforce.org.expire_sessions()
    after = await asker.ask("GET", "sobjects/Lead/describe")

    assert (refused[1]["error"], without[0], with_one[0], after[0]) == ("invalid_client", 401, 200, 401)
    assert fits(given, "token_success")
    assert fits(refused, "token_error")
    assert fits(after, "expired_session")


def an_assertion(key: rsa.RSAPrivateKey, **claims: Any) -> str:
    in_three_minutes = int((datetime.now(UTC) + timedelta(minutes=3)).timestamp())
    told = {"iss": CLIENT_ID, "sub": USERNAME, "aud": "https://login.salesforce.com", "exp": in_three_minutes} | claims
    parts = [json.dumps({"alg": "RS256"}).encode(), json.dumps(told).encode()]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({}, None),
        ({"exp": 4_000_000_000}, "assertion has expired"),
        ({"exp": 1_000_000_000}, "assertion has expired"),
        ({"aud": "https://acme.example"}, "audience is invalid"),
        ({"sub": "nobody@acme.example"}, "user hasn't approved this consumer"),
    ],
    ids=["good", "runs too long", "is over", "wrong audience", "user not approved"],
)
async def test_a_session_is_given_for_a_signed_assertion(asker: Asker, claims: Told, said: str | None) -> None:
    """By the key of the app's certificate, for its user, for at most five minutes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    asker.salesforce.org.public_key = key.public_key()
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": an_assertion(key, **claims)}

    status, told = await asker.log_in(**form)

    assert (status, told.get("error_description")) == ((200, None) if said is None else (400, said))


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_an_upsert_by_an_external_id_makes_one_record(asker: Asker) -> None:
    """The first creates, the next updates the same; of more than one that fit a list is told."""
    first, second = await asker.upsert(), await asker.upsert({"FirstName": "Avery"})
    (lead,) = asker.salesforce.org.all("Lead")
    asker.salesforce.org.answers_empty = True
    third = await asker.upsert({"FirstName": "Bo"})
    asker.salesforce.org.human_creates("Lead", {**LEAD, KEY: PHONE})
    many = await asker.upsert({"FirstName": "Cy"})

    assert (first[1]["created"], second[1]["created"], second[0]) == (True, False, 200)
    assert first[1]["id"] == second[1]["id"] == lead.id
    assert (lead.values["FirstName"], lead.values["LastName"], lead.values[KEY]) == ("Bo", "Quill", PHONE)
    assert fits(first, "upsert_created")
    assert fits(third, "upsert_updated")
    assert fits(many, "upsert_multiple_matches")


async def test_what_is_no_external_id_identifies_nothing(asker: Asker) -> None:
    """Neither for an upsert nor with the key in the body as well."""
    unknown = await asker.ask("PATCH", "sobjects/Lead/Namez/1", LEAD)
    twice = await asker.upsert({**LEAD, KEY: PHONE})

    assert twice[1][0]["errorCode"] == "INVALID_FIELD"
    assert fits(unknown, "upsert_external_id_unknown")
    assert fits(unknown, "find_error")


async def test_a_record_is_created_read_and_written(asker: Asker) -> None:
    """By its kind and by its id, of either length."""
    made = await asker.ask("POST", "sobjects/Lead", LEAD)
    path = f"sobjects/Lead/{made[1]['id']}"
    written = await asker.ask("PATCH", path[:-3], {"FirstName": "Avery"})
    _, told = await asker.ask("GET", f"{path}?fields=Id,FirstName,LastName")

    assert (written, told["FirstName"], told["Id"]) == ((204, None), "Avery", made[1]["id"])
    assert fits(made, "create_success")
    assert fits(await asker.ask("POST", "sobjects/Lead", {**LEAD, "foo": 1}), "write_error")


@pytest.mark.parametrize(
    ("kind", "values", "code", "fields"),
    [
        ("Lead", {"Company": None}, "REQUIRED_FIELD_MISSING", ["Company"]),
        ("Lead", {"Email": "none"}, "INVALID_EMAIL_ADDRESS", ["Email"]),
        ("Lead", {"FirstName": "A" * 41}, "STRING_TOO_LONG", ["FirstName"]),
        ("Lead", {"IsConverted": True}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["IsConverted"]),
        ("Lead", {"OwnerId": "005000000000009AAA"}, "INVALID_CROSS_REFERENCE_KEY", ["OwnerId"]),
        ("Lead", {KEY: "taken"}, "DUPLICATE_VALUE", []),
        ("Task", {"CallDurationInSeconds": "long"}, "JSON_PARSER_ERROR", None),
        ("Task", {"ActivityDate": "yesterday"}, "JSON_PARSER_ERROR", None),
        ("Task", {"CallType": "Sideways"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ["CallType"]),
        ("Task", {"WhoId": "003000000000009AAA"}, "INVALID_CROSS_REFERENCE_KEY", []),
    ],
    ids=[
        *("missing", "no address", "too long", "read-only", "no such owner", "taken key", "no number", "no date"),
        *("no choice", "no such person"),
    ],
)
async def test_a_record_that_cannot_be_is_refused(
    asker: Asker, kind: str, values: Told, code: str, fields: list[str] | None
) -> None:
    """With a code, and the fields where Salesforce names them; nothing is kept."""
    asker.salesforce.org.human_creates("Lead", {**LEAD, KEY: "taken"})
    whole = LEAD if kind == "Lead" else {"Subject": "Call"}

    status, told = await asker.ask("POST", f"sobjects/{kind}", {**whole, **values})

    assert (status, told[0]["errorCode"], told[0].get("fields")) == (400, code, fields)
    assert len(asker.salesforce.org.all(kind)) == (kind == "Lead")


async def test_the_subtype_of_a_task_is_told_at_its_creation_only(asker: Asker) -> None:
    """Later it is a field that cannot be written."""
    _, made = await asker.ask("POST", "sobjects/Task", {"Subject": "Call", "TaskSubtype": "Call"})

    status, told = await asker.ask("PATCH", f"sobjects/Task/{made['id']}", {"TaskSubtype": "Call"})

    assert (status, told[0]["errorCode"]) == (400, "INVALID_FIELD_FOR_INSERT_UPDATE")


async def test_a_duplicate_rule_blocks_a_creation_unless_it_may_be_saved(asker: Asker) -> None:
    """The answer names what it found under a key that is misspelt; a header overrules it where the rule allows that."""
    known = asker.salesforce.org.human_creates("Contact", {"LastName": "Quill"})
    asker.salesforce.org.rules.append(DuplicateRule())
    blocked = await asker.upsert()
    part = {"method": "PATCH", "url": f"/services/data/v66.0/sobjects/Lead/{KEY}/1", "referenceId": "a", "body": LEAD}
    part["httpHeaders"] = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
    _, allowed = await asker.ask("POST", "composite", {"compositeRequest": [part]})

    match = blocked[1][0]["duplicateResut"]["matchResults"][0]["matchRecords"][0]["record"]
    assert match["Id"] == known.id
    assert allowed["compositeResponse"][0]["httpStatusCode"] == 201
    assert fits(blocked, "duplicates_detected")


# --- finding ---------------------------------------------------------------------------------------------------------


async def test_search_lags_and_a_query_does_not(asker: Asker) -> None:
    """What was just written is found by a query at once, by a search when the index has come so far."""
    clock = Clock()
    asker.salesforce.org.clock, asker.salesforce.org.index_lag = clock, timedelta(minutes=5)
    known = asker.salesforce.org.human_creates("Contact", {"LastName": "Old", "Phone": "(404) 555-0123"})
    _, made = await asker.upsert({**LEAD, "Phone": "404.555.0123"})

    soon = await asker.found("4045550123")
    at_once = await asker.query(f"SELECT Id FROM Lead WHERE {KEY} = '{PHONE}'")
    clock.advance(timedelta(minutes=5))

    assert (soon, [row["Id"] for row in at_once]) == ([known.id], [made["id"]])
    assert await asker.found("14045550123 OR 4045550123") == [known.id, made["id"]]


async def test_a_query_takes_conditions_and_tells_rows(asker: Asker) -> None:
    """In any case of letters; what it cannot read or does not see it refuses."""
    asker.salesforce.org.human_creates("Lead", {**LEAD, "Email": "Avery@Example.com"})
    text = "SELECT Id, Email FROM Lead WHERE (Email IN ('avery@example.com', 'o\\'x') OR Phone = 'x') AND Email != null"

    found = await asker.ask("GET", f"query?q={quote(text)}")
    nothing = await asker.ask("GET", f"query?q={quote(text.replace('avery', 'nobody'))}")
    unknown = await asker.ask("GET", f"query?q={quote('SELECT foo FROM Lead')}")
    twice = await asker.ask("GET", f"query?q={quote('SELECT Id, Email, email FROM Lead')}")
    odd = await asker.ask("GET", f"query?q={quote('SELECT Id FROM Lead WHERE Email LIKE 4')}")
    no_search = await asker.ask("GET", "search?q=FIND")

    assert found[1]["records"][0]["Email"] == "Avery@Example.com"
    assert odd[1][0]["errorCode"] == "MALFORMED_QUERY"
    assert twice[1][0]["message"] == "duplicate field selected: Email"
    assert differences(found[1], {**salesforce_answer("query_success").body, "records": [{"attributes": {}}]}) == []
    assert fits(nothing, "query_empty")
    assert fits(unknown, "query_error")
    assert fits(no_search, "search_error")


def test_a_query_is_sorted_by_the_newest_and_cut() -> None:
    """ORDER BY ... DESC LIMIT."""
    rows = [{"Id": "1", "At": "a"}, {"Id": "2", "At": "c"}, {"Id": "3", "At": "b"}]

    assert read_query("SELECT Id FROM Lead ORDER BY At DESC LIMIT 2").answer(rows) == [rows[1], rows[2]]


async def test_fields_and_objects_without_a_right_are_not_seen(asker: Asker) -> None:
    """A hidden field does not exist for us, nor does a forbidden kind of objects."""
    org = asker.salesforce.org
    org.hidden["Lead"], org.read_only = {KEY}, {"Contact"}
    org.forbidden.add("Task")

    _, described = await asker.ask("GET", "sobjects/Lead/describe")
    upserted = await asker.upsert()
    created = await asker.ask("POST", "sobjects/Contact", {"LastName": "Quill"})
    gone = await asker.ask("GET", "sobjects/Task/describe")
    unseen = await asker.ask("GET", f"query?q={quote('SELECT Id FROM Task')}")

    assert KEY not in [found["name"] for found in described["fields"]]
    assert (upserted[0], created[1][0]["errorCode"]) == (404, "INSUFFICIENT_ACCESS_OR_READONLY")
    assert (gone[0], unseen[1][0]["errorCode"]) == (404, "INVALID_TYPE")


# --- many in one -----------------------------------------------------------------------------------------------------


def part_of(reference: str, path: str, body: Told, method: str = "PATCH") -> Told:
    url = f"/services/data/v66.0/sobjects/{path}"
    return {"method": method, "url": url, "referenceId": reference, "body": body}


async def test_a_composite_request_does_all_in_order_and_counts_as_one(asker: Asker) -> None:
    """A part names what an earlier one told."""
    parts = [
        part_of("lead", f"Lead/{KEY}/{quote(PHONE)}", LEAD),
        part_of("task", f"Task/{KEY}/CAL1", {"Subject": "Call", "WhoId": "@{lead.id}"}),
    ]
    before = asker.salesforce.api.limits.used

    _, told = await asker.ask("POST", "composite", {"allOrNone": False, "compositeRequest": parts})

    (lead,), (task,) = asker.salesforce.org.all("Lead"), asker.salesforce.org.all("Task")
    assert [row["httpStatusCode"] for row in told["compositeResponse"]] == [201, 201]
    assert task.values["WhoId"] == lead.id
    assert asker.salesforce.api.limits.used == before + 1


@pytest.mark.parametrize("all_or_none", [False, True])
async def test_a_composite_request_fails_in_part_or_whole(asker: Asker, *, all_or_none: bool) -> None:
    """What depends on a failed part fails; the others are kept, or undone where all or none was asked for."""
    parts = [
        part_of("bad", f"Lead/{KEY}/{quote(PHONE)}", {"LastName": "Quill"}),
        part_of("task", f"Task/{KEY}/CAL1", {"Subject": "Call", "WhoId": "@{bad.id}"}),
        part_of("other", f"Task/{KEY}/CAL2", {"Subject": "Call"}),
    ]

    status, told = await asker.ask("POST", "composite", {"allOrNone": all_or_none, "compositeRequest": parts})

    bad, task, other = told["compositeResponse"]
    assert (status, bad["body"][0]["errorCode"]) == (200, "REQUIRED_FIELD_MISSING")
    assert task["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert other["httpStatusCode"] == (400 if all_or_none else 201)
    assert len(asker.salesforce.org.all("Task")) == (0 if all_or_none else 1)


async def test_a_batch_takes_a_search_and_counts_as_each_of_its_parts(asker: Asker) -> None:
    """A composite request takes none."""
    sosl = quote("FIND {4045550123} IN PHONE FIELDS RETURNING Lead(Id)")
    asked = [{"method": "GET", "url": "v66.0/query/?q=SELECT+Id+FROM+Lead"}]
    asked.append({"method": "GET", "url": f"v66.0/search/?q={sosl}"})
    before = asker.salesforce.api.limits.used

    _, told = await asker.ask("POST", "composite/batch", {"batchRequests": asked})
    used = asker.salesforce.api.limits.used
    whole = {"compositeRequest": [{**part, "referenceId": f"r{at}"} for at, part in enumerate(asked)]}
    _, composite = await asker.ask("POST", "composite", whole)

    assert (told["hasErrors"], [row["statusCode"] for row in told["results"]]) == (False, [200, 200])
    assert used == before + 2
    assert [row["httpStatusCode"] for row in composite["compositeResponse"]] == [200, 400]


@pytest.mark.parametrize(
    "body",
    [
        {"compositeRequest": []},
        {"compositeRequest": [part_of(f"r{n}", "Lead", LEAD, "POST") for n in range(26)]},
        {
            "compositeRequest": [
                {"method": "GET", "url": "/services/data/v66.0/query?q=x", "referenceId": str(n)} for n in range(6)
            ]
        },
    ],
    ids=["none", "too many", "too many queries"],
)
async def test_a_composite_request_has_its_bounds(asker: Asker, body: Told) -> None:
    """From one to 25 parts, five queries at most."""
    status, _ = await asker.ask("POST", "composite", body)

    assert status == 400
    assert asker.salesforce.org.all("Lead") == []


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_the_day_s_requests_are_counted_told_and_refused(asker: Asker) -> None:
    """In each answer's header, over any 24 hours; a 403, and no 429."""
    clock = Clock()
    asker.salesforce.org.clock, asker.salesforce.api.limits = clock, Limits(per_day=2)

    await asker.ask("GET", "sobjects/Lead/describe")
    told = asker.headers["sforce-limit-info"]
    await asker.ask("GET", "sobjects/Lead/describe")
    refused = await asker.ask("GET", "sobjects/Lead/describe")
    clock.advance(timedelta(hours=24))
    later = await asker.ask("GET", "sobjects/Lead/describe")

    assert (told, later[0]) == ("api-usage=1/2", 200)
    assert (refused[0], refused[1][0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")


async def test_a_version_that_is_not_there_has_nothing(asker: Asker) -> None:
    """A 404."""
    assert (await asker.ask("GET", "sobjects/Lead/describe", version="99.0"))[0] == 404


# --- what people do --------------------------------------------------------------------------------------------------


async def test_a_converted_lead_lives_on_as_a_contact(asker: Asker) -> None:
    """It tells whose it is, its tasks hang there, and neither it nor a task for it is written any more."""
    _, lead = await asker.upsert()
    _, task = await asker.ask("POST", "sobjects/Task", {"Subject": "Call", "WhoId": lead["id"]})

    contact = asker.salesforce.org.human_converts(lead["id"])
    (told,) = await asker.query(f"SELECT IsConverted, ConvertedContactId FROM Lead WHERE Id = '{lead['id']}'")
    (moved,) = await asker.query(f"SELECT WhoId FROM Task WHERE Id = '{task['id']}'")
    written = await asker.upsert()
    hung = await asker.ask("POST", "sobjects/Task", {"Subject": "Call", "WhoId": lead["id"]})

    assert (told["IsConverted"], told["ConvertedContactId"], moved["WhoId"]) == (True, contact.id, contact.id)
    assert {written[1][0]["errorCode"], hung[1][0]["errorCode"]} == {"CANNOT_UPDATE_CONVERTED_LEAD"}
    assert asker.salesforce.org.all("Lead") == []


async def test_a_merged_contact_names_its_master_in_the_recycle_bin(asker: Asker) -> None:
    """The master keeps its id and values; its tasks are those of both, and the key of the other is gone."""
    org = asker.salesforce.org
    master = org.human_creates("Contact", {"LastName": "Quill"})
    other = org.human_creates("Contact", {"LastName": "Quil", "Phone": PHONE, KEY: PHONE})
    task = org.human_creates("Task", {"Subject": "Call", "WhoId": other.id})

    org.human_merges(master.id, other.id)
    (told,) = await asker.query(f"SELECT IsDeleted, MasterRecordId FROM Contact WHERE Id = '{other.id}'", deleted=True)

    assert (told["IsDeleted"], told["MasterRecordId"]) == (True, master.id)
    assert (master.values["LastName"], master.values["Phone"], KEY in master.values) == ("Quill", PHONE, False)
    assert task.values["WhoId"] == master.id


async def test_what_is_deleted_is_gone_with_its_tasks_and_its_key_is_free(asker: Asker) -> None:
    """An upsert by the key of a deleted record makes a new one."""
    _, lead = await asker.upsert()
    await asker.ask("POST", "sobjects/Task", {"Subject": "Call", "WhoId": lead["id"]})

    asker.salesforce.org.human_deletes(lead["id"])
    asker.salesforce.org.human_edits((await asker.upsert())[1]["id"], LastName="Renamed")
    hung = await asker.ask("POST", "sobjects/Task", {"Subject": "Call", "WhoId": lead["id"]})

    (new,) = asker.salesforce.org.all("Lead")
    assert (new.id != lead["id"], new.values["LastName"]) == (True, "Renamed")
    assert asker.salesforce.org.all("Task") == []
    assert hung[1][0]["errorCode"] == "ENTITY_IS_DELETED"


async def test_an_administrator_requires_a_field_and_a_user_leaves(asker: Asker) -> None:
    """A field of the org's own, and an owner who is active no longer."""
    org = asker.salesforce.org
    org.inactive_owners.add(OWNER)
    inactive = await asker.upsert({**LEAD, "OwnerId": OWNER})
    org.require("Lead", "Region__c")
    required = await asker.upsert()

    assert inactive[1][0]["errorCode"] == "INACTIVE_OWNER_OR_USER"
    assert required[1][0]["fields"] == ["Region__c"]


def test_an_id_of_fifteen_characters_has_one_of_eighteen() -> None:
    """As Salesforce's own documentation shows it."""
    assert with_suffix("001D000000IqhSL") == "001D000000IqhSLIAZ"


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [faults.lost, faults.lost_by_reset, faults.cut_short], ids=lambda fault: fault.__name__
)
async def test_an_answer_is_lost_after_it_was_done(asker: Asker, fault: faults.Fault) -> None:
    """The record is there all the same."""
    asker.salesforce.meets(fault, to="upsert")

    with pytest.raises(AnswerLost):
        await asker.upsert()

    assert len(asker.salesforce.org.all("Lead")) == 1


async def test_a_request_is_done_too_late(asker: Asker) -> None:
    """The client has given up, and the record comes a moment after."""
    gate = asyncio.Event()
    asker.salesforce.meets(faults.too_late(gate), to="upsert")

    with pytest.raises(AnswerLost):
        await asker.upsert()
    at_first = len(asker.salesforce.org.all("Lead"))
    gate.set()
    await asker.salesforce.settled()

    assert (at_first, len(asker.salesforce.org.all("Lead"))) == (0, 1)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (faults.failing(), 503, "SERVER_UNAVAILABLE"),
        (faults.expired(), 401, "INVALID_SESSION_ID"),
        (faults.locked(), 400, "UNABLE_TO_LOCK_ROW"),
        (faults.over_the_day(), 403, "REQUEST_LIMIT_EXCEEDED"),
        (faults.concurrent_limit(), 403, "REQUEST_LIMIT_EXCEEDED"),
    ],
    ids=["busy", "expired", "locked", "over the day", "too many at once"],
)
async def test_nothing_is_done_and_an_error_told(asker: Asker, fault: faults.Fault, status: int, code: str) -> None:
    """In the shape of all errors."""
    asker.salesforce.meets(fault)

    answered, told = await asker.upsert()

    assert (answered, told[0]["errorCode"]) == (status, code)
    assert asker.salesforce.org.all("Lead") == []


async def test_a_gateway_fails_though_it_was_done(asker: Asker) -> None:
    """A 502, and the record is there."""
    asker.salesforce.meets(faults.failing_after(502), to="upsert")

    assert (await asker.upsert())[0] == 502
    assert len(asker.salesforce.org.all("Lead")) == 1
