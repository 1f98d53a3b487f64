"""The Salesforce sink: its settings, and what a message wants to be there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from receiver.exceptions import SecretMissing
from routers.audience import Audience
from routers.messages import Amend, Message
from routers.outcomes import Delivered, Outcome, Rejected, Retry
from routers.sandbox import View
from routers.sinks.salesforce import SalesforceConfig
from routers.sinks.salesforce_deals import Deal
from routers.sinks.salesforce_people import KEY
from routers.sinks.salesforce_plan import Wanted
from routers.sinks.salesforce_reading import Mapped, wanted_of
from routers.transitions import Transition
from routers.uncertain import OnUncertain
from tests.fakes.salesforce import CLIENT_ID, CLIENT_SECRET, OWNER, running_salesforce
from tests.routers.facts import facts_of
from tests.routers.stories import CALL_URL, LINKS, message_of, story

pytestmark = pytest.mark.anyio

WHOLE = {
    "type": "salesforce",
    "base_url": "https://acme.my.salesforce.com",
    "client_id": "env:SF_CLIENT_ID",
    "client_secret": "env:SF_CLIENT_SECRET",
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("SF_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("SF_KEY", "no key")


def config_of(**settings: Any) -> SalesforceConfig:
    return SalesforceConfig.model_validate({**WHOLE, **settings})


# --- settings --------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_a_system_whose_records_grow() -> None:
    """Late truth edits, and a lost answer is looked up."""
    config = config_of()

    assert (config.audience, config.amend, config.on_uncertain) == (Audience.SYSTEMS, Amend.EDIT, OnUncertain.RETRY)
    assert config.amending.tells_all


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": "https://login.salesforce.com"}, "My Domain"),
        ({"base_url": "https://test.salesforce.com"}, "My Domain"),
        ({"base_url": "https://acme.lightning.force.com"}, "My Domain"),
        ({"base_url": "http://acme.my.salesforce.com"}, "My Domain"),
        ({"base_url": "https://acme.my.salesforce.com.evil.example"}, "My Domain"),
        ({"base_url": "https://user:secret@acme.my.salesforce.com"}, "My Domain"),
        ({"base_url": "https://acme.my.salesforce.com/services"}, "My Domain"),
        ({"api_version": "v66"}, "a version is written"),
        ({"api_version": "30.0"}, "oldest"),
        ({"client_secret": None}, "client_secret, or private_key"),
        ({"private_key": "env:SF_KEY"}, "client_secret, or private_key"),
        ({"client_secret": None, "private_key": "env:SF_KEY"}, "username goes with"),
        ({"username": "router@acme.example"}, "username goes with"),
        ({"client_secret": "written out"}, "secret"),
        ({"owner": "Kim"}, "an owner is told by the id"),
        ({"lead_fields": {"Lead Source": "Web"}}, "no API name"),
        ({"task_fields": {"Score__c": ["a"]}}, "valid"),
        ({"task_fields": {"score__c": 1, "Score__c": 2}}, "score__c and Score__c are one field"),
        ({"task_fields": {"subject": "{{ title }}"}}, "Subject is written by the sink itself"),
        ({"task_fields": {"CallDisposition": "x"}}, "CallDisposition is written by the sink itself"),
        ({"task_fields": {"TaskSubtype": "Email"}}, "TaskSubtype is written by the sink itself"),
        ({"lead_fields": {KEY: "x"}}, f"{KEY} is written by the sink itself"),
        ({"amend": "thread"}, "amend is one of: edit, silent"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: Mapping[str, Any], said: str) -> None:
    """In words that say what is wanted."""
    with pytest.raises(ValidationError) as raised:
        config_of(**settings)

    assert said in str(raised.value)


@pytest.mark.parametrize(
    "host", ["acme.my.salesforce.com", "acme--uat.sandbox.my.salesforce.com", "acme-dev-ed.develop.my.salesforce.com"]
)
def test_my_domain_of_any_sort_is_taken(host: str) -> None:
    """Of production, sandboxes and developers."""
    assert config_of(base_url=f"https://{host}").base_url == f"https://{host}"


def test_another_host_is_taken_where_it_is_allowed_by_name() -> None:
    """A proxy of one's own, or a server of a test."""
    assert config_of(base_url="http://127.0.0.1:8080", allow_hosts=["127.0.0.1"]).base_url == "http://127.0.0.1:8080"


def test_a_secret_that_is_not_there_or_no_key_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name, and never with what it holds."""
    monkeypatch.delenv("SF_CLIENT_SECRET")
    with pytest.raises(SecretMissing, match="SF_CLIENT_SECRET"):
        config_of().build()
    with pytest.raises(ValueError, match="private_key"):
        config_of(client_secret=None, private_key="env:SF_KEY", username="router@acme.example").build()


async def test_without_a_memory_nothing_is_sent() -> None:
    """A sink that is only looked at delivers nothing."""
    sink = config_of().build()

    assert isinstance(await sink.deliver(told(Transition.CALL_MISSED)), Retry)
    await sink.aclose()


async def test_the_steps_of_a_set_up_name_all_that_is_needed() -> None:
    """Each field by its object, the rights, the flow; and no secret."""
    sink = config_of(task_fields={"Score__c": "{{ now.lead_score }}"}).build()
    text = "\n".join(await sink.plan_setup())
    await sink.aclose()

    for word in (KEY, "Activity", "Score__c", "Client Credentials Flow", "API Enabled", "HomePhone"):
        assert word in text
    assert CLIENT_SECRET not in text


async def test_setting_up_looks_and_makes_nothing() -> None:
    """What is missing is named as `sinks test` names it; the org is asked to describe, and to do nothing else."""
    async with running_salesforce() as salesforce:
        sink = config_of(base_url=salesforce.base_url, allow_hosts=["127.0.0.1"]).build()
        set_up, checked = await sink.set_up(), await sink.check()
        await sink.aclose()

    missing = [check.what for check in set_up if not check.ok]
    assert missing == [f"{kind} has the field {KEY}" for kind in ("Contact", "Lead", "Task")]
    assert [check.what for check in checked if not check.ok] == missing
    assert set(salesforce.operations) == {"describe"}


# --- what a message wants --------------------------------------------------------------------------------------------


def told(*transitions: Transition, **present: Any) -> Message:
    """A message about the invented call, with the fields as they are now."""
    last = transitions[-1]
    now = {**facts_of(last), **present}
    sort = {"text": "text", "form": "form"}.get(last.partition(".")[0], "call")
    message = message_of(*story(*transitions), object_type=sort, is_spam=now.get("spam") is True)
    return replace(message, values=lambda: {**now, "now": View(now)})


def wanted(message: Message, **mapped: Any) -> Wanted:
    found = wanted_of(message, Mapped(**mapped))
    assert isinstance(found, Wanted), found
    return found


@pytest.mark.parametrize(
    ("transition", "title", "direction", "result"),
    [
        (Transition.CALL_MISSED, "Call: missed", "Inbound", "Missed"),
        (Transition.CALL_VOICEMAIL, "Call: voicemail", "Inbound", "Voicemail"),
        (Transition.CALL_ANSWERED, "Call: answered", "Inbound", "Answered"),
        (Transition.TEXT_RECEIVED, "Text received", None, None),
        (Transition.TEXT_SENT, "Text sent", None, None),
        (Transition.FORM_SUBMITTED, "Form submitted", None, None),
    ],
)
def test_a_thing_has_a_title_that_says_what_it_is_now(
    transition: Transition, title: str, direction: str | None, result: str | None
) -> None:
    """Of a call with its way and its result; a text is a task as well, for Salesforce has nothing better."""
    activity = wanted(told(transition)).activity

    assert (activity.title, activity.direction, activity.result) == (title, direction, result)
    assert activity.on == date(2026, 3, 10)


def test_an_outbound_call_is_outbound() -> None:
    """By the transition, or by what the call tells."""
    activity = wanted(told(Transition.OUTBOUND_UNANSWERED, outcome="unanswered")).activity

    assert (activity.title, activity.direction) == ("Outbound call: unanswered", "Outbound")


def test_the_text_tells_the_whole_story_and_what_is_known_now() -> None:
    """Not the last news alone, and no line twice; links that let anybody listen are left out."""
    news = (Transition.CALL_MISSED, Transition.CALL_RECORDING_READY, Transition.CALL_CORRECTED)
    lines = wanted(told(*news, note="call back", value="1,250.00")).activity.text.split("\n")

    titles = [line for line in lines if "Acme Plumbing" in line and " UTC " in line]
    assert [re.sub(r"^.* UTC ", "", title).partition(" ·")[0] for title in titles] == [
        "Missed call",
        "Recording ready",
        "Call corrected",
    ]
    assert {"Note: call back", "Value: 1,250.00", "Tags: Quote, Emergency", CALL_URL} <= set(lines)
    assert any(line.startswith("Transcript: Agent: Acme Plumbing") for line in lines)
    assert lines.count(next(line for line in lines if "AVERY QUILL" in line)) == 1
    assert "access_key" not in "\n".join(lines)
    assert lines[-len(LINKS) :] == list(LINKS.values())


def test_what_a_caller_is_named_begins_no_line_of_its_own() -> None:
    """A name with a line break is one line."""
    found = wanted(told(Transition.CALL_MISSED, customer_name="Avery\r\nTags: none", note="a\nb"))

    assert found.told.name == "Avery Tags: none"
    assert "Note: a b" in found.activity.text.split("\n")


@pytest.mark.parametrize(
    "transition",
    [Transition.CALL_RINGING, Transition.CALL_ROUTED],
)
def test_a_call_under_way_is_not_logged(transition: Transition) -> None:
    """It may end in any way."""
    assert isinstance(wanted_of(told(transition), Mapped()), Delivered)


def test_what_is_no_call_text_or_form_is_not_logged() -> None:
    """An alarm, for one."""
    alarm = replace(told(Transition.CALL_MISSED), object_type="router")

    assert isinstance(wanted_of(alarm, Mapped()), Delivered)


def test_spam_changes_what_is_there_and_makes_nothing() -> None:
    """Unless the settings say so."""
    spam = told(Transition.CALL_SPAM)

    assert (wanted(spam).only_changes, wanted(spam).activity.result) == (True, "Spam")
    assert not wanted(spam, logs_spam=True).only_changes


def test_fields_of_the_settings_are_filled_and_empty_ones_left_out() -> None:
    """An empty one would clear what stands there."""
    of_tasks = {"Score__c": "{{ now.lead_score }}", "Tags__c": "{{ tags | join(';') }}", "Fixed__c": 3}
    mapped = config_of(task_fields=of_tasks, lead_fields={"LeadSource": "{{ source }}"}, owner=OWNER)

    found = wanted_of(told(Transition.CALL_MISSED), mapped.mapped())

    assert isinstance(found, Wanted)
    assert found.activity.more == {"Tags__c": "Quote;Emergency", "Fixed__c": 3}
    assert found.told.more == {"LeadSource": "Google Ads", "OwnerId": OWNER}
    assert found.activity.owner == OWNER


@pytest.mark.parametrize(("value", "amount"), [("$1,250.00", 1250.0), (800, 800.0), ("soon", None), (None, None)])
def test_an_inbound_call_opens_an_opportunity_where_that_is_set(value: object, amount: float | None) -> None:
    """With its stage, a close date and what the call is worth; an outbound one and spam open none."""
    mapped = config_of(opportunity={"stage": "Prospecting", "closes_in": "30d"}).mapped()
    found = wanted_of(told(Transition.CALL_MISSED, value=value), mapped)
    outbound = wanted_of(told(Transition.OUTBOUND_ANSWERED), mapped)
    spam = wanted_of(told(Transition.CALL_SPAM), mapped)

    assert isinstance(found, Wanted)
    assert found.deal == Deal("CAL1", "AVERY QUILL, call of 2026-03-10", "Prospecting", date(2026, 4, 9), amount)
    assert [each.deal for each in (outbound, spam) if isinstance(each, Wanted)] == [None, None]


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        *(("250", 250.0), ("$250.00", 250.0), ("CA$ 1,250", 1250.0), ("USD 1234567.5", 1234567.5), (".", None)),
        *(("1.234,50", 1234.5), ("1234,50 €", 1234.5), ("1.234.567", 1234567.0), ("1.234", None), ("12,34,56", None)),
        *(("-50.00", None), ("($50.00)", None), ("100 - 200", None), ("5k", None), ("1e5", None), ("", None)),
        *((0, None), (-5, None), (True, None), (1e300, None), ("9" * 400, None)),
    ],
)
def test_an_amount_is_read_as_it_was_meant_or_not_at_all(value: object, amount: float | None) -> None:
    """A comma and a point may stand for either; less than nothing, or from one to another, is none."""
    mapped = config_of(opportunity={"stage": "Prospecting"}).mapped()

    found = wanted(told(Transition.CALL_MISSED, value=value), opens=mapped.opens).deal

    assert found is not None
    assert found.amount == amount


def test_a_template_that_fails_is_a_dead_letter() -> None:
    """With what is wrong, and without a value."""
    mapped = config_of(task_fields={"Score__c": "{{ 1 / 0 }}"}).mapped()

    found: Wanted | Outcome = wanted_of(told(Transition.CALL_MISSED), mapped)

    assert isinstance(found, Rejected)
    assert "template" in found.reason
