"""`type: callrail`: what a rule does in CallRail is done once, whatever the API does, and its echo is no news."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import update

from callrail.budgets import InMemoryBudgets, Told
from callrail.client import CallRail
from callrail.request import Budget
from receiver.exceptions import DatabaseUnavailable
from receiver.schema import events
from routers.config import check_config
from routers.fake_callrail import faults
from routers.outbox import expire
from routers.outcomes import Outcome, Retry, Uncertain
from routers.schema import deliveries, own_writes
from routers.sinks.callrail import Acting, CallRailConfig
from routers.templates import built_in_templates, render
from routers.troubles import troubles
from tests.client import post_signed
from tests.routers.lookups.office import LONG_AGO, Office, an_office, body_of
from tests.routers.running import KEY, SECRETS, run
from tests.routers.store import a_delivery, opened, real_clock, rows_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

TAGS = "{type: callrail, do: calls.update, with: {tags: [missed], append_tags: true}}"
MISSED = "rules:\n  - {id: tag, when: [call.missed], on_late: deliver, send: [{to: acts}]}\n"
TEXTS = (
    "{type: callrail, do: text_messages.send, with: {company_id: '{{ company_resource_id }}',"
    " tracking_number: '{{ tracking_phone_number }}', customer_phone_number: '{{ customer_phone_number }}',"
    " content: 'We call you back. {{ title }}'}}"
)


@pytest.fixture
async def office(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    async with an_office(tmp_path, database_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        yield office


def write(office: Office, sink: str, rules: str = MISSED) -> None:
    """The office's file, with one sink that acts."""
    office.write(rules)
    office.config.write_text(office.config.read_text().replace("sinks:\n", f"sinks:\n  acts: {sink}\n", 1))


def written(office: Office) -> list[str]:
    """The requests that change something."""
    return [f"{each.method} {each.path}" for each in office.fake.requests if each.method != "GET"]


async def until_over(office: Office, *states: str) -> Any:
    """The only delivery, once it is in one of *states*."""
    await until(lambda: [row.state for row in office.deliveries() if row.state in (states or ("delivered",))])
    (delivery,) = office.deliveries()
    return delivery


def has_changes(office: Office, count: int) -> bool:
    return len(office.transitions("call.changed")) == count


def all_routed(office: Office) -> bool:
    with opened(office.database_url) as database:
        return all(row.state == "routed" for row in rows_of(database, events))


def tags_of(call: Any) -> set[str]:
    return set(call.tags)


async def test_a_missed_call_is_tagged(office: Office) -> None:
    write(office, TAGS)
    call = office.a_call()
    before = tags_of(call)
    async with office.open():
        await office.post_call(call)
        delivery = await until_over(office)

    assert tags_of(call) == before | {"missed"}
    assert delivery.remote_id == call.id
    assert len(written(office)) == 1


async def test_what_is_so_already_is_not_written_again(office: Office) -> None:
    """A repeated delivery, after a crash or by a replay, asks first."""
    write(office, TAGS)
    call = office.a_call()
    call.tags = (*call.tags, "Missed")
    async with office.open():
        await office.post_call(call)
        await until_over(office)

    assert written(office) == []


async def test_what_a_template_says_of_true_and_false_counts(office: Office) -> None:
    """`False` is a text that is not empty; taken for true, nothing would be replaced."""
    write(office, TAGS.replace("append_tags: true", "append_tags: '{{ first_call }}'"))
    call = office.a_call()
    call.tags = ("missed", "other")
    async with office.open():
        await office.post_call(call, first_call=False)
        await until_over(office)

    assert tags_of(call) == {"missed"}


async def test_note_score_and_name_are_told_by_templates(office: Office) -> None:
    write(
        office,
        "{type: callrail, do: calls.update, with: {note: '{{ title }}: {{ source }}', lead_status: good_lead,"
        " customer_name: '{{ customer_name }}'}}",
    )
    call = office.a_call()
    async with office.open():
        await office.post_call(call, source="Google Ads", customer_name="")
        await until_over(office)

    assert call.note == "Missed call · Acme: Google Ads"
    assert call.lead_status == "good_lead"
    assert call.person["name"]  # an empty text clears nothing


async def echo_of(office: Office, call: Any, **told: Any) -> Any:
    """The transition that CallRail's word of a change is."""
    await office.post("call_modified", body_of(call) | {"start_time": BEGUN} | told)
    await office.until_recorded("call.changed")
    return office.transitions("call.changed")[-1]


BEGUN = "2026-11-20T10:00:00Z"
ON_CHANGES = MISSED + "  - {id: changes, when: [call.changed], send: [{to: crm}]}\n"


async def test_our_own_echo_is_recorded_and_told_to_nobody(office: Office) -> None:
    write(office, TAGS, ON_CHANGES)
    call = office.a_call()
    async with office.open():
        await office.post_call(call, tags=["old"], start_time=BEGUN)
        await until_over(office)
        row = await echo_of(office, call, tags=["old", "missed"], changes=["tags"])

    assert (row.state, row.reason) == ("superseded", "own_echo")
    assert [delivery.rule for delivery in office.deliveries()] == ["tag"]
    ran = await asyncio.to_thread(run, "events", "show", row.event_id, *office.stored)
    assert "own_echo" in ran.out or "We changed it ourselves" in ran.out
    ran = await asyncio.to_thread(run, "explain", row.event_id, "--config", office.config, *office.stored)
    assert "We changed it ourselves" in ran.out


@pytest.mark.parametrize(
    "told",
    [
        {"tags": ["old", "missed", "vip"], "changes": ["tags"]},
        {"tags": ["missed"], "changes": ["tags"]},
        {"tags": ["old", "missed"], "note": "call back", "changes": ["tags", "note"]},
        {"tags": ["old"], "changes": ["tags"]},
    ],
    ids=["one-tag-more", "one-tag-less", "a-note-too", "taken-away"],
)
async def test_what_somebody_else_changed_is_news(office: Office, told: Mapping[str, Any]) -> None:
    write(office, TAGS, ON_CHANGES)
    call = office.a_call()
    async with office.open():
        await office.post_call(call, tags=["old"], start_time=BEGUN)
        await until_over(office)
        row = await echo_of(office, call, **told)
        assert row.state == "routed"
        await office.until_told(1)


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        (faults.status(401), "pending", "HTTP 401"),
        (faults.status(403), "pending", "HTTP 403"),
        (faults.status(404), "pending", "HTTP 404"),
        (faults.status(422, {"error": "no such tag for +12125550001"}), "dead", "HTTP 422"),
        (faults.status(500), "pending", "HTTP 500"),
        (faults.too_many(3600), "pending", "HTTP 429"),
        (faults.html(502), "pending", "HTTP 502"),
    ],
    ids=["401", "403", "404", "422", "500", "429", "html"],
)
async def test_whatever_the_api_answers_is_an_outcome(
    office: Office, fault: faults.Fault, state: str, reason: str
) -> None:
    write(office, TAGS.replace("do:", "timeout: 2s, do:"))
    office.fake.faults.add("*", "*/calls/*", fault, times=1_000)
    async with office.open():
        await office.post_call(office.a_call())
        await until(lambda: [row for row in office.deliveries() if row.reason])

    (delivery,) = office.deliveries()
    assert delivery.state == state
    assert reason in delivery.reason
    assert "+1212" not in delivery.reason


async def test_what_was_refused_has_no_echo(office: Office) -> None:
    """Who then does the same is somebody else."""
    write(office, "{type: callrail, do: calls.update, with: {lead_status: good_lead}}", ON_CHANGES)
    office.fake.faults.add("PUT", "*/calls/*", faults.status(422, {"error": "no"}), times=100)
    call = office.a_call()
    call.lead_status = None
    async with office.open():
        await office.post_call(call, lead_status=None, start_time=BEGUN)
        await until_over(office, "dead")
        row = await echo_of(office, call, lead_status="good_lead", changes=["lead_status"])

    assert row.state == "routed"


async def test_an_echo_comes_once(office: Office) -> None:
    """Who takes the tag away and puts it back is somebody else."""
    write(office, TAGS, ON_CHANGES)
    call = office.a_call()
    async with office.open():
        await office.post_call(call, tags=["old"], start_time=BEGUN)
        await until_over(office)
        states = []
        for count, tags in enumerate((["old", "missed"], ["old"], ["old", "missed"]), 1):
            told = {"start_time": BEGUN, "tags": tags, "changes": ["tags"]}
            await office.post("call_modified", body_of(call) | told)
            await until(partial(has_changes, office, count))
            states.append(office.transitions("call.changed")[-1].state)

    assert states == ["superseded", "routed", "routed"]


async def test_an_echo_that_came_with_somebodys_change_has_come(office: Office) -> None:
    """That webhook is news. Who later takes our tag away and puts it back is somebody else as well."""
    write(office, TAGS, ON_CHANGES)
    call = office.a_call()
    async with office.open():
        await office.post_call(call, tags=["old"], start_time=BEGUN)
        await until_over(office)
        for count, tags in enumerate((["old", "missed", "vip"], ["old"], ["old", "missed"]), 1):
            told = {"start_time": BEGUN, "tags": tags, "changes": ["tags"]}
            await office.post("call_modified", body_of(call) | told)
            await until(partial(has_changes, office, count))

    assert [row.state for row in office.transitions("call.changed")] == ["routed"] * 3


@pytest.mark.parametrize(
    "told",
    [[["old", "missed", "late"]], [["old", "missed"], ["old", "missed", "late"]], [["old", "missed", "late"]] * 2],
    ids=["in-one", "in-two", "twice"],
)
async def test_tags_of_two_sinks_are_ours(office: Office, told: list[list[str]]) -> None:
    """CallRail may tell of both in one webhook, and may tell the same twice: the second time it is no change."""
    to_both = ON_CHANGES.replace("[{to: acts}]", "[{to: acts}, {to: acts2}]")
    write(office, TAGS, to_both)
    second = f"sinks:\n  acts2: {TAGS.replace('[missed]', '[late]')}\n"
    office.config.write_text(office.config.read_text().replace("sinks:\n", second, 1))
    call = office.a_call()
    async with office.open():
        await office.post_call(call, tags=["old"], start_time=BEGUN)
        await until(lambda: [row.state for row in office.deliveries()] == ["delivered"] * 2)
        for tags in told:
            await office.post("call_modified", body_of(call) | {"start_time": BEGUN, "tags": tags, "changes": ["tags"]})
        await until(lambda: all_routed(office))

    rows = office.transitions("call.changed")
    assert {row.state for row in rows[: len({*map(tuple, told)})]} == {"superseded"}
    assert [row.rule for row in office.deliveries()] == ["tag", "tag"] + ["changes"] * (
        len(rows) - len({*map(tuple, told)})
    )


@pytest.mark.parametrize("before", [{}, {"tags": None}], ids=["absent", "null"])
async def test_tags_that_no_webhook_told_before_are_known_from_the_api(
    office: Office, before: Mapping[str, Any]
) -> None:
    write(office, TAGS, ON_CHANGES)
    call = office.a_call()
    call.tags = ("old",)
    async with office.open():
        await office.post_call(call, start_time=BEGUN, **before)
        await until_over(office)
        row = await echo_of(office, call, tags=["old", "missed"], changes=["tags"])

    assert row.state == "superseded"


@pytest.mark.parametrize(
    ("sent", "told", "state"),
    [
        ("value: '5'", {"value": 5.0, "formatted_value": "$5.00"}, "superseded"),
        ("value: '1,250'", {"value": "$1,250.00"}, "superseded"),
        ("value: '-5'", {"value": "-$5.00"}, "superseded"),
        ("value: '5'", {"value": "$6.00"}, "routed"),
        ("customer_name: Jane Doe", {"customer_name": "JANE DOE"}, "superseded"),
        ("lead_status: good_lead", {"lead_status": "good_lead", "good_lead_call_id": "CAL9"}, "superseded"),
        ("lead_status: good_lead", {"lead_status": "not_a_lead", "good_lead_call_id": "CAL9"}, "routed"),
        ("note: '12,5'", {"note": "125"}, "routed"),
        ("note: Call back", {"note": "call back"}, "routed"),
        ("note: Call back", {"note": "Call back "}, "superseded"),
        ("note: null", {"note": ""}, "superseded"),
    ],
)
async def test_values_are_told_in_a_way_of_callrails(
    office: Office, sent: str, told: Mapping[str, Any], state: str
) -> None:
    # A value is answered by a fault, and repeated: ending waits for that, for as long as a try may last.
    write(office, f"{{type: callrail, do: calls.update, timeout: 2s, with: {{{sent}}}}}", ON_CHANGES)
    before = {"note": "old", "value": None, "formatted_value": None, "customer_name": "x"}
    before |= {"lead_status": None, "good_lead_call_id": None}
    call = office.a_call()
    call.note, call.value, call.lead_status = "old", None, None
    async with office.open():
        await office.post_call(call, start_time=BEGUN, **before)
        await until(lambda: written(office))  # whose answer may be a fault: it may be so all the same
        row = await echo_of(office, call, **{**before, **told}, changes=[sent.partition(":")[0]])

    assert row.state == state


@pytest.mark.parametrize(
    ("sent", "has", "is_written"),
    [
        ("customer_name: Jane Doe", {"name": "JANE DOE"}, True),
        ("note: '12,5'", {"note": "125"}, True),
        ("note: 'file: see there'", {"note": None}, True),
        ("note: a b", {"note": "a b\n"}, False),
        ("value: '5'", {"value": 5.0}, False),
    ],
)
async def test_only_what_is_so_is_not_written(
    office: Office, sent: str, has: Mapping[str, Any], is_written: bool
) -> None:
    write(office, f"{{type: callrail, do: calls.update, with: {{{sent}}}}}")
    call = office.a_call()
    for name, value in has.items():
        if name == "name":
            call.person["name"] = value
        else:
            setattr(call, name, value)
    async with office.open():
        await office.post_call(call)
        await until_over(office)

    assert bool(written(office)) is is_written


async def test_what_is_empty_within_an_object_is_not_written(office: Office) -> None:
    company = office.a_call().tracker["company"]["id"]
    filled = FORMS.replace("COM1", company).replace("{a: b}", "{name: '{{ customer_name }}', note: '{{ note }}', a: b}")
    write(office, filled)
    async with office.open():
        await office.post_call(office.a_call(), customer_name="", note=None)
        await until_over(office)

    (request,) = [each for each in office.fake.requests if each.method == "POST"]
    assert request.body is not None
    assert request.body["form_data"] == {"a": "b"}


async def test_nothing_is_written_where_all_is_empty(office: Office) -> None:
    write(office, "{type: callrail, do: calls.update, with: {note: '{{ customer_name }}'}}")
    async with office.open():
        await office.post_call(office.a_call(), customer_name="")
        delivery = await until_over(office)

    assert delivery.reason == "there was nothing to write"
    assert office.asked("/calls/") == []


# --- several accounts ------------------------------------------------------------------------------------------------


def write_two(office: Office, monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    """Two companies, each with an account; the key of bob's is *key*."""
    if key is not None:
        monkeypatch.setenv("BOBS_KEY", key)
    account = f"account_id: {office.account.id}, base_url: '{office.url}'"
    office.config.write_text(
        f"accounts:\n  main: {{{account}, api_key: env:OFFICE_KEY}}\n  bobs: {{{account}, api_key: env:BOBS_KEY}}\n"
        "companies:\n  acme: {signing_keys: [env:ACME_KEY], account: main}\n"
        "  bob: {signing_keys: [env:ACME_KEY], account: bobs}\n"
        f"sinks:\n  acts: {TAGS}\n{MISSED}"
    )


async def post_call_of(office: Office, company: str, call: Any) -> None:
    body = json.dumps(body_of(call)).encode()
    assert (await post_signed(office.port, f"/callrail/{company}/post_call", body, key=KEY)).status == 204


def state_of(office: Office, company: str) -> list[str]:
    return [row.state for row in office.deliveries() if row.company == company and row.reason]


@pytest.mark.parametrize("key", ["0" * 32, None], ids=["refused", "missing"])
async def test_an_account_that_takes_nothing_holds_up_no_other(
    office: Office, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """What is of it is kept, an alarm says so, and it goes out when the key is right."""
    write_two(office, monkeypatch, key)
    async with office.open():
        for position in range(5):
            await post_call_of(office, "bob", office.a_call(position))
        await until(lambda: len(state_of(office, "bob")) == 5)
        await post_call_of(office, "acme", office.a_call(6))
        await until(lambda: state_of(office, "acme") == ["delivered"])
        with opened(office.database_url) as database, database.reading.connect() as conn:
            (down,) = [each for each in troubles(conn, real_clock(database).now(conn)) if each.subject == "acts"]
            told = down.tell(None)
    assert (down.name, told["count"]) == ("router.sink_down", 5)
    assert told["reason"].startswith("no access: ")
    assert {row.attempts for row in office.deliveries() if row.company == "bob"} == {0}

    monkeypatch.setenv("BOBS_KEY", office.fake.world.key)
    async with office.open():
        ran = await asyncio.to_thread(run, "sinks", "resume", "acts", *office.stored)
        assert ran.code == 0
        await until(lambda: state_of(office, "bob") == ["delivered"] * 5)


async def test_an_allowance_that_is_used_up_holds_up_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two(office, monkeypatch, office.fake.world.key)
    # Another account to us, for an allowance goes by the id that is written.
    written = office.config.read_text().replace(f"bobs: {{account_id: {office.account.id}", "bobs: {account_id: OTHER")
    office.config.write_text(written.replace("OTHER", f"'{office.account.numeric_id}'"))
    office.fake.faults.add("GET", f"*/calls/{office.a_call(0).id}*", faults.too_many(3600), times=1)
    async with office.open():
        await post_call_of(office, "bob", office.a_call(0))
        await until(lambda: state_of(office, "bob") == ["pending"])
        await post_call_of(office, "acme", office.a_call(1))
        await until(lambda: state_of(office, "acme") == ["delivered"])


async def test_what_was_refused_rests_others_are_asked_and_a_resume_asks_all(office: Office) -> None:
    write(office, TAGS)
    office.fake.faults.add("*", "*/calls/*", faults.status(403), times=1_000)
    async with office.open():
        for position in range(5):
            await office.post_call(office.a_call(position), customer_phone_number=f"+1404555010{position}")
        await until(lambda: [row.cause for row in office.deliveries()] == ["no access"] * 5)
        office.fake.faults.clear()
        asked = len(office.fake.requests)
        with office.database.writing.begin() as conn:  # the clock moves on, and nobody has acted
            conn.execute(update(deliveries).values(due_at=LONG_AGO))
        await until(lambda: all(row.due_at > LONG_AGO for row in office.deliveries()))
        assert len(office.fake.requests) == asked

        await office.post_call(office.a_call(5), customer_phone_number="+14045550109")
        await until(lambda: [row.state for row in office.deliveries()].count("delivered") == 1)
        assert (await asyncio.to_thread(run, "sinks", "resume", "acts", *office.stored)).code == 0
        await until(lambda: [row.state for row in office.deliveries()] == ["delivered"] * 6)


async def test_that_an_account_takes_nothing_is_not_over_because_messages_were_late(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_two(office, monkeypatch, None)
    async with office.open():
        await post_call_of(office, "bob", office.a_call())
        await until(lambda: state_of(office, "bob") == ["pending"])
    clock = real_clock(office.database)
    with office.database.writing.begin() as conn:
        now = clock.now(conn)
        conn.execute(update(deliveries).values(expires_at=now))
        assert expire(conn, now=now) == 1
        assert [each.subject for each in troubles(conn, now + timedelta(minutes=59))] == ["acts"]
        assert [each.subject for each in troubles(conn, now + timedelta(minutes=61))] == []


async def test_sinks_test_says_which_account_has_no_key(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two(office, monkeypatch, None)
    environ = {"OFFICE_KEY": "a" * 32}
    ran = await asyncio.to_thread(partial(run, environ=environ), "sinks", "test", "acts", "--config", office.config)
    assert ran.code == 1
    assert "✓ the account main has a key" in ran.out
    assert "✗ the account bobs has a key" in ran.out
    assert "BOBS_KEY" in ran.out


async def test_a_text_of_which_the_answer_is_lost_is_held(office: Office) -> None:
    """It may have been sent, and a second one would cost money and annoy somebody."""
    write(office, TEXTS.replace("do:", "timeout: 1s, do:"))
    office.fake.faults.add("POST", "*text-messages*", faults.hang(), times=1)
    call = office.a_call()
    async with office.open():
        await office.post_call(call, tracking_phone_number=call.tracker["tracking_numbers"][0])
        delivery = await until_over(office, "uncertain")

    assert delivery.state == "uncertain"
    assert len(written(office)) == 1


class WithoutDatabase(InMemoryBudgets):
    """An allowance in a database that fails once CallRail has answered."""

    async def learn(self, account: str, budget: Budget, told: Told) -> None:
        raise DatabaseUnavailable("gone")


@pytest.mark.parametrize(("sink", "outcome"), [(TEXTS, Uncertain), (TAGS, Retry)], ids=["text", "tags"])
async def test_a_database_that_fails_after_the_answer_sends_no_text_twice(
    office: Office, sink: str, outcome: type[Outcome]
) -> None:
    """Whether it was sent nobody can tell any more; a tag is written again, or found to be there."""
    told = {"x-rate-limit-hourly-allowed": "150", "x-rate-limit-hourly-used": "1"}
    for method in ("POST", "PUT"):
        office.fake.faults.add(method, "*", faults.status(200, {"id": "X"}, told), times=5)
    call = office.a_call()
    fields = body_of(call) | {"tracking_phone_number": call.tracker["tracking_numbers"][0]}
    message = render(a_delivery(fields, callrail_id=call.id), built_in_templates())
    budgets = WithoutDatabase()

    async def keep(_company: str, _call_id: str, _written: object) -> str:
        return ""  # nothing is heard of it

    async def take_back(_write: str) -> None:
        """What may have arrived stays."""
        raise AssertionError

    async with CallRail(office.fake.world.key, office.account.id, base_url=office.url, budgets=budgets) as client:
        config = CallRailConfig.model_validate(yaml.safe_load(sink))
        found = await config.build(Acting(lambda _company, _account: client, keep, take_back)).deliver(message)

    assert isinstance(found, outcome), found
    assert len(written(office)) == 1


async def test_a_text_is_sent(office: Office) -> None:
    write(office, TEXTS)
    call = office.a_call()
    async with office.open():
        await office.post_call(call, tracking_phone_number=call.tracker["tracking_numbers"][0])
        await until_over(office)

    assert written(office) == [f"POST /v3/a/{office.account.id}/text-messages.json"]


async def test_what_callrail_did_not_tell_is_not_sent(office: Office) -> None:
    write(office, TEXTS)
    async with office.open():
        await office.post_call(office.a_call(), company_resource_id=None, tracking_phone_number="+12125550001")
        delivery = await until_over(office, "dead")

    assert delivery.reason == "rejected: CallRail did not tell what is needed for company_id"
    assert written(office) == []


async def test_what_we_wrote_of_somebody_goes_with_them(office: Office) -> None:
    from tests.routers.lookups.test_looking_up import erase_person

    write(office, TAGS)
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await until_over(office)
    with opened(office.database_url) as database:
        assert len(rows_of(database, own_writes)) == 1
        await asyncio.to_thread(erase_person, database, call)
        assert rows_of(database, own_writes) == []
        assert real_clock(database) is not None


# --- rules check -----------------------------------------------------------------------------------------------------


def checked(tmp_path: Path, sink: str, rules: str = MISSED, *, accounts: str = "main") -> list[str]:
    """Problems, then warnings."""
    names = [name for name in accounts.split() if name]
    blocks = "".join(f"  {name}: {{account_id: ACC{name}, api_key: env:OFFICE_KEY}}\n" for name in names)
    path = tmp_path / "router.yaml"
    path.write_text(
        (f"accounts:\n{blocks}" if names else "")
        + "companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n"
        + f"sinks:\n  acts: {sink}\n  crm: {{type: stdout}}\n{rules}"
    )
    found = check_config(path)
    return [str(problem).removeprefix(f"{path}:") for problem in (*found.problems, *found.warnings)]


@pytest.mark.parametrize(
    ("sink", "problem"),
    [
        (
            "{type: callrail, do: calls.updat}",
            "'calls.updat' is no operation that writes; did you mean 'calls.update'?",
        ),
        ("{type: callrail, do: calls.get}", "'calls.get' is no operation that writes"),
        ("{type: callrail, do: calls.update, with: {tagz: [a]}}", "calls.update takes no 'tagz'; did you mean 'tags'?"),
        ("{type: callrail, do: calls.update, with: {tags: missed}}", "tags takes a list, and is one text"),
        ("{type: callrail, do: calls.update, with: {lead_status: good}}", "lead_status is 'good', but CallRail knows"),
        ("{type: callrail, do: text_messages.send, with: {content: hi}}", "text_messages.send needs company_id"),
        (
            "{type: callrail, do: tags.create, with: {name: a, company_id: C}, on_uncertain: retry}",
            "done twice is two",
        ),
        ("{type: callrail, do: calls.update, with: {value: '$5', tags: [a]}}", "value goes in a request of its own"),
        (
            "{type: callrail, do: calls.update, with: {value: '{{ value }}', note: a}}",
            "value goes in a request of its own",
        ),
        ("{type: callrail, do: calls.update, with: {tags: '{{ tags }}'}}", "tags takes a list, and is one template"),
        ("{type: callrail, do: calls.update, with: {note: ['{{ title }}']}}", "note takes one text"),
        ("{type: callrail, do: calls.update, with: {spam: '{{ first_call }}'}}", "spam takes true, and no template"),
        ("{type: callrail, do: calls.update, with: {note: a, call_id: ''}}", "call_id is empty or no id"),
        ("{type: callrail, do: calls.update}", "nothing is to be written: name under with: what calls.update"),
        ("{type: callrail, do: calls.update, with: {append_tags: true}}", "nothing is to be written"),
        (
            TEXTS.replace("We call you back. {{ title }}", ""),
            "content is empty",
        ),
        ("{type: callrail, do: calls.update, account: mian, with: {note: a}}", "there is no account 'mian'"),
        ("{type: callrail, do: calls.update, with: {note: '{{ sorce }}'}}", "sorce"),
        ("{type: callrail, do: forms.create}", "is no operation that writes"),
        ("{type: callrail, do: sms_threads.update, with: {notes: a}}", "sms_threads.update needs thread_id"),
    ],
)
def test_a_mistake_in_it_is_told(tmp_path: Path, sink: str, problem: str) -> None:
    assert any(problem in told for told in checked(tmp_path, sink)), checked(tmp_path, sink)


def test_a_company_without_an_account_is_told(tmp_path: Path) -> None:
    problem = "the sink 'acts' acts in CallRail, and acme has no account there"
    assert any(problem in told for told in checked(tmp_path, TAGS, accounts=""))
    assert any(problem in told for told in checked(tmp_path, TAGS, accounts="one two"))
    named = checked(tmp_path, TAGS.replace("do:", "account: one, do:"), accounts="one two")
    assert not any("account" in told for told in named)


def test_a_thing_of_another_sort_is_told(tmp_path: Path) -> None:
    rules = "rules:\n  - {id: t, when: [call.missed, text.received], send: [{to: acts}]}\n"
    problem = "the sink 'acts' needs a call, and text.received tells of none"
    assert any(problem in told for told in checked(tmp_path, TAGS, rules))
    with_id = TAGS.replace("{tags", "{call_id: '{{ resource_id }}', tags")
    assert not any("needs a call" in told for told in checked(tmp_path, with_id, rules))


FORMS = (
    "{type: callrail, do: form_submissions.create, with: {company_id: COM1, form_url: 'https://a.example',"
    " referrer: direct, referring_url: 'https://a.example', landing_page_url: 'https://a.example', form_data: {a: b}}}"
)


@pytest.mark.parametrize(
    ("sink", "rules", "problem"),
    [
        (
            FORMS,
            "rules:\n  - {id: a, when: [form.submitted], send: [{to: acts}]}\n",
            "this could go on for ever: form_submissions.create brings about form.submitted",
        ),
        (
            TAGS,
            "rules:\n  - {id: a, when: [call.changed], send: [{to: acts}]}\n",
            "this could go on for ever: calls.update brings about call.changed",
        ),
        (
            TAGS,
            "rules:\n  - {id: a, when: [call.changed], if: {note: {changed: true}}, send: [{to: acts}]}\n",
            None,
        ),
        (
            TAGS,
            "rules:\n  - {id: a, when: [call.changed], if: {tags: {added: vip}}, send: [{to: acts}]}\n",
            "could go on for ever",
        ),
        (
            TAGS,
            "rules:\n  - {id: a, when: [call.changed], if: {note: {changed: false}}, send: [{to: acts}]}\n",
            "could go on for ever",
        ),
        (
            FORMS,
            "rules:\n  - {id: a, when: [call.missed], send: [{to: crm}]}\nunmatched: {forms: acts}\n",
            "form_submissions.create brings about form.submitted",
        ),
        (
            FORMS,
            "rules:\n  - {id: a, when: [form.submitted], send: [{to: crm}]}\nunmatched: {forms: acts}\n",
            None,
        ),
        (TAGS, MISSED, None),
    ],
    ids=[
        "forms",
        "changes",
        "another-field",
        "the-same-field",
        "what-was-not-changed",
        "unmatched",
        "all-matched",
        "none",
    ],
)
def test_a_rule_that_could_feed_itself_is_told(tmp_path: Path, sink: str, rules: str, problem: str | None) -> None:
    told = [line for line in checked(tmp_path, sink, rules) if "for ever" in line]
    assert (problem is None) == (told == [])
    assert problem is None or problem in told[0]


@pytest.mark.parametrize("sends", ["[{to: acts}, {to: dials}]", "[{to: dials}, {to: acts}]"])
def test_what_makes_something_new_weighs_more_than_what_changes(tmp_path: Path, sends: str) -> None:
    """Whichever is sent first: it is a mistake, and no warning."""
    dials = (
        "{type: callrail, do: calls.create, with: {caller_id: '+12125550001', business_phone_number: '+12125550002',"
        " customer_phone_number: '+12125550003'}}"
    )
    rules = f"  dials: {dials}\nrules:\n  - {{id: a, when: [outbound.changed], send: {sends}}}\n"
    told = [line for line in checked(tmp_path, TAGS, rules) if "for ever" in line]
    assert told == [told[0]]
    assert "this could go on for ever: calls.create brings about outbound.changed" in told[0]


def test_unmatched_is_held_against_accounts_and_ids(tmp_path: Path) -> None:
    rules = "rules:\n  - {id: a, when: [form.submitted], send: [{to: crm}]}\nunmatched: {texts: acts, calls: acts}\n"
    assert any(
        "the sink 'acts' needs a call, and text.received tells" in told for told in checked(tmp_path, TAGS, rules)
    )
    problem = "the sink 'acts' acts in CallRail, and acme has no account there"
    assert any(problem in told for told in checked(tmp_path, TAGS, rules, accounts=""))


def test_two_rules_that_feed_each_other_are_told_once(tmp_path: Path) -> None:
    texts = TEXTS.replace("'{{ company_resource_id }}'", "COM1")
    rules = f"""  texts: {texts}
rules:
  - {{id: a, when: [text.sent], send: [{{to: acts}}]}}
  - {{id: b, when: [form.submitted], send: [{{to: texts}}]}}
"""
    told = [line for line in checked(tmp_path, FORMS, rules) if "for ever" in line]
    assert len(told) == 1
    assert "form_submissions.create brings about form.submitted, text_messages.send brings about text.sent" in told[0]
    assert "which b listens to" in told[0]
