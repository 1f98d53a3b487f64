"""All operations of the API are there, each once."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest

from callrail.client import resources
from callrail.dates import require_dates
from callrail.exceptions import InvalidRequest
from callrail.operation import Operation
from callrail.parameter import Parameter
from callrail.request import Budget, Danger, Request
from tests.callrail.api.documented import DOCUMENTED, UNDOCUMENTED, pairs

OPERATIONS = [operation for resource in resources().values() for operation in resource.operations.values()]
AREA = {"area_code": "404"}
NEW_TRACKER: dict[str, Any] = {
    "name": "New",
    "company_id": "COM1",
    "call_flow": {"type": "basic", "destination_number": "+14045550188"},
    "source": "all",
}
NEW_TEXT: dict[str, Any] = {"company_id": "COM1", "customer_phone_number": "+14045550123", "content": "On our way."}
# Each with what it needs, but for what a case says.
SINGLE: dict[str, Any] = {"type": "source", "tracking_number": AREA, "source": {"type": "all"}}
POOL: dict[str, Any] = {"type": "session", "pool_size": 4, "pool_numbers": AREA}
FLOW = NEW_TRACKER["call_flow"]
EMERGENCY = {"caller_id": "1", "customer_phone_number": "911", "business_phone_number": "4045550188"}
CUSTOM: dict[str, Any] = {"company_id": "COM1", "type": "Custom"}


def step(**told: Any) -> dict[str, Any]:
    return {"flow_id": "MFL1", "steps": {"a": told}}


def schedule(*times: tuple[str, str, str]) -> dict[str, Any]:
    told = [dict(zip(("day", "start_time", "end_time"), time, strict=True)) for time in times]
    return step(type="schedule", branches=[{"times": told, "next_step_id": None}])


def method_and_path(operation: Operation) -> tuple[str, str]:
    return operation.method, re.sub(r"{\w+}", "{}", operation.path)


def test_every_documented_operation_is_declared_once() -> None:
    declared = [method_and_path(operation) for operation in OPERATIONS if not operation.undocumented]

    assert len(pairs(DOCUMENTED)) == 71
    assert sorted(declared) == sorted(pairs(DOCUMENTED))


def test_what_is_not_documented_is_marked() -> None:
    declared = [method_and_path(operation) for operation in OPERATIONS if operation.undocumented]

    assert sorted(declared) == sorted(pairs(UNDOCUMENTED))


def test_every_operation_says_what_it_does_and_what_each_parameter_means() -> None:
    for operation in OPERATIONS:
        assert operation.purpose.endswith("."), operation.name
        for parameter in operation.parameters.values():
            assert parameter.help.endswith("."), f"{operation.name}: {parameter.name} is not explained"


def test_what_deletes_is_known_to_be_dangerous() -> None:
    assert [each.name for each in OPERATIONS if each.method == "DELETE" and not each.dangers] == []


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("trackers.create", {"type": "source"}, "a source tracker needs tracking_number"),
        ("trackers.create", {"type": "source", "tracking_number": AREA, "pool_size": 4}, "takes no pool_size"),
        ("trackers.create", {"type": "session", "pool_size": 4}, "a session tracker needs pool_numbers"),
        (
            "trackers.create",
            {"type": "session", "pool_size": 3, "pool_numbers": AREA},
            "pool_size (int): Input should be greater than or equal to 4",
        ),
        ("trackers.create", {"type": "session", "pool_size": 4, "pool_numbers": {}}, "needs area_code, local"),
        (
            "trackers.create",
            {"type": "session", "pool_size": 4, "pool_numbers": AREA, "campaign_name": "x"},
            "takes no campaign_name",
        ),
        (
            "trackers.create",
            {"type": "source", "tracking_number": AREA, "call_flow": {"type": "basic", "destinaton_number": "1"}},
            "call_flow has no key destinaton_number; did you mean destination_number?",
        ),
        (
            "trackers.create",
            {"type": "source", "tracking_number": AREA, "source": {"type": "offlin"}},
            "or 'bing_all'; did you mean offline?",
        ),
        ("trackers.create", SINGLE | {"source": "all"}, "a source tracker needs an object as source"),
        ("trackers.create", SINGLE | {"source": {"landing": "/a"}}, "source needs a type"),
        (
            "trackers.create",
            SINGLE | {"source": {"type": "all", "google": ["paid"]}},
            "google in source is of a session",
        ),
        ("trackers.create", SINGLE | {"source": {"type": "search"}}, "a source of type search needs search_engine"),
        ("trackers.create", SINGLE | {"source": {"type": "landing_url"}}, "a source of type landing_url needs landing"),
        ("trackers.create", POOL | {"source": {"type": "offline"}}, "a session tracker has type all or direct"),
        ("trackers.create", POOL | {"source": {"search_type": "paid"}}, "search_type in source is of a source tracker"),
        ("trackers.create", POOL | {"call_flow": {"type": "advanced"}}, "a call_flow of type advanced needs uuid"),
        ("trackers.create", POOL | {"call_flow": {"type": "basic"}}, "type basic needs destination_number"),
        ("trackers.create", POOL | {"message_flow": {"type": "advanced"}}, "a message_flow of type advanced needs id"),
        (
            "trackers.update",
            {"tracker_id": "TRK1", "source": {"inverted": True, "search_type": "paid"}},
            "source mixes what is of a source tracker",
        ),
        ("trackers.update", {"tracker_id": "TRK1", "source": {"type": "web_referrer"}}, "web_referrer needs referrer"),
        ("trackers.update", {"tracker_id": "TRK1", "call_flow": {"type": "advanced"}}, "type advanced needs uuid"),
        ("trackers.update", {"tracker_id": "TRK1", "message_flow": {"type": "auto-reply"}}, "auto-reply needs message"),
        ("trackers.update", {"tracker_id": "TRK1", "pool_size": 51}, "less than or equal to 50"),
        ("trackers.update", {"tracker_id": "TRK1", "message_flow": {"type": "auto"}}, "message_flow at type"),
        ("text_messages.send", {"media_url": "https://e.com/a.png", "media_file": "a.png"}, "not both"),
        ("text_messages.send", {"media_file": "/etc/hostname"}, "no JPEG, PNG or GIF"),
        ("text_messages.send", {"media_file": "/nowhere/a.png"}, "media_file cannot be read"),
        ("sms_threads.list", {"start_date": "2026-03-01"}, "given together"),
        (
            "sms_threads.list",
            {"start_date": "2026-03-01T10:00", "end_date": "2026-03-02"},
            "start_date and end_date are days here",
        ),
        ("sms_threads.get", {"thread_id": "SMT1", "per_page": 101}, "less than or equal to 100"),
        ("leads.timeline", {"lead_id": "PER1", "per_page": 251}, "less than or equal to 250"),
        (
            "companies.update",
            {"company_id": "COM1", "swap_cookie_duration": 27, "swap_cookie_duration_unit": "weeks"},
            "more than six months: 26 weeks",
        ),
        ("companies.update", {"company_id": "COM1", "swap_cookie_duration": -1}, "greater than or equal to 1"),
        ("companies.bulk_update", {"company_ids": [], "external_form_capture": True}, "company_ids is empty"),
        ("form_submissions.ignore_fields", {"company_ids": ["all", "COM1"], "field_names": ["a"]}, "or 'all' alone"),
        ("calls.update", {"call_id": "CAL1", "value": "$5", "note": "x"}, "value goes in a request of its own"),
        ("calls.create", EMERGENCY, "customer_phone_number (str): a number takes ten digits"),
        ("calls.list", {"date_range": "today", "company_id": ""}, "company_id is empty"),
        ("calls.list", {"date_range": "today", "tags": []}, "tags is empty"),
        ("text_messages.send", {"content": ""}, "content is empty"),
        ("sms_threads.list", {"start_date": "2026-03-01 10:00", "end_date": "2026-03-02"}, "are days here"),
        ("calls.get", {"call_id": "CAL1", "dry_run": True}, "calls.get takes no dry_run"),
        ("calls.get", {"call_id": "CAL1", "extra_params": "x=1"}, "extra_params takes names and values"),
        ("companies.update", {"company_id": "COM1", "swap_cookie_duration": 185}, "more than six months: 184 days"),
        ("tags.list", {"order": "desc"}, "order needs sort"),
        ("tags.list", {"tag_level": "account", "company_id": "COM1"}, "not given together"),
        ("tags.create", {"name": "x"}, "needs company_id, or tag_level='account'"),
        (
            "form_submissions.create",
            {"company_id": "COM1", "form_url": "https://e.com/", "form_data": {}, "referrer": "direct"},
            "without session_id it needs referring_url, landing_page_url",
        ),
        (
            "users.create",
            {"first_name": "A", "last_name": "B", "email": "a@example.com", "role": "reporting"},
            "needs companies",
        ),
        ("notifications.create", {"call_enabled": True}, "call_enabled needs alert_type"),
        ("summary_emails.create", {"frequency": ["daily"], "config": {}}, "needs user_id or email"),
        ("summary_emails.create", {"frequency": ["daily"], "config": {}, "email": "a@example.com"}, "needs company_id"),
        (
            "summary_emails.create",
            {"frequency": ["daily"], "config": {"call_logs": True}, "user_id": "USR1"},
            "config has no key call_logs; did you mean call_log?",
        ),
        ("integrations.update", {"integration_id": "1", "config": {"pre_call": []}}, "did you mean pre_call_webhook"),
        ("integrations.create", CUSTOM | {"config": {"post_call_webhook": []}}, "of type Custom needs grab_cookies"),
        (
            "integrations.create",
            CUSTOM | {"config": {"grab_cookies": ["a"], "post_call_webhook": []}},
            "and takes nothing else",
        ),
        (
            "integrations.create",
            CUSTOM | {"type": "Webhooks", "config": {"grab_cookies": ["a"]}},
            "Webhooks takes no grab_cookies",
        ),
        (
            "integrations.update",
            {"integration_id": "1", "config": {"grab_cookies": [], "pre_call_webhook": []}},
            "beside addresses, of type Webhooks",
        ),
        ("message_flows.update", step(type="no_response", id="b"), "another id than the name it stands under"),
        ("message_flows.update", step(type="sms_response"), "a step of type sms_response needs message"),
        ("message_flows.update", step(type="tag", tag_ids=[1], message="x"), "a step of type tag takes no message"),
        ("message_flows.update", schedule(("monday", "2500", "2600")), "start_time: String should match pattern"),
        ("message_flows.update", schedule(("monday", "2200", "0600")), "write one over midnight as two"),
        (
            "message_flows.update",
            schedule(("weekdays", "0800", "1200"), ("any_day", "1130", "1500")),
            "two of its times overlap on monday",
        ),
        (
            "message_flows.create",
            {
                "company_id": "COM1",
                "name": "x",
                "initial_step_id": "a",
                "steps": {"a": {"type": "no_response", "next_step_id": "b"}},
            },
            "step 1 leads to none of the steps",
        ),
        (
            "message_flows.update",
            {"flow_id": "MFL1", "steps": {"a": {"type": "sms_response", "message": "x" * 1_551}}},
            "more than 1,550 characters",
        ),
        (
            "message_flows.update",
            {"flow_id": "MFL1", "steps": {"a": {"type": "tag", "tag_id": 1}}},
            "steps has no key a.tag_id; did you mean tag_ids?",
        ),
    ],
)
def test_what_belongs_together_and_what_stands_in_objects_is_checked(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    """Nothing is sent: what CallRail would refuse, or ignore without a word, is told at once."""
    needed = {"trackers.create": NEW_TRACKER, "text_messages.send": NEW_TEXT}.get(name, {})
    with pytest.raises(InvalidRequest) as raised:
        planned(name, needed | arguments)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("trackers.create", NEW_TRACKER | SINGLE | {"source": {"type": "search", "search_engine": "google"}}),
        ("trackers.create", NEW_TRACKER | SINGLE | {"call_flow": {"type": "advanced", "uuid": "u"}}),
        ("trackers.create", NEW_TRACKER | POOL | {"source": {"google": ["paid"], "landing": ["/a"]}}),
        ("trackers.create", NEW_TRACKER | POOL | {"source": {"type": "direct"}, "message_flow": None}),
        ("trackers.update", {"tracker_id": "TRK1", "source": {"type": "search", "search_engine": "all"}}),
        ("integrations.create", CUSTOM | {"config": {"grab_cookies": ["_ga"]}}),
        ("message_flows.update", schedule(("weekdays", "0800", "1200"), ("any_day", "1200", "2400"))),
        ("notifications.create", {"email": "a@example.com", "company_id": "COM1", "send_email": True}),
        ("companies.update", {"company_id": "COM1", "swap_cookie_duration": 184, "swap_cookie_duration_unit": "days"}),
        ("sms_threads.list", {"start_date": date(2026, 3, 1), "end_date": "2026-03-02"}),
        # As CallRail tells it, and so as it is sent back.
        ("trackers.update", {"tracker_id": "TRK1", "call_flow": {**FLOW, "greeting_recording_url": None}}),
        ("trackers.update", {"tracker_id": "TRK1", "whisper_message": None, "campaign_name": None}),
        ("companies.update", {"company_id": "COM1", "swap_ppc_override": None}),
        ("notifications.update", {"notification_id": "1", "tracker_id": None}),
        ("notifications.create", {"email": "a@example.com", "send_push": True}),
        ("summary_emails.update", {"summary_email_id": "CSS1", "config": {}, "filters": None}),
        ("integrations.update", {"integration_id": "1", "config": {"pre_call_webhook": None}}),
        ("calls.update", {"call_id": "CAL1", "tags": None}),
        ("calls.update", {"call_id": "CAL1", "value": "$5"}),
        ("message_flows.update", step(type="no_response", next_step_id="MFS2")),
        ("message_flows.update", step(type="schedule", branches=[{"times": []}])),
        ("integration_triggers.create", {"company_id": "COM1", "integration_id": "4013"}),
    ],
)
def test_what_is_whole_is_not_refused(name: str, arguments: dict[str, Any]) -> None:
    assert planned(name, arguments).operation == name


def planned(name: str, arguments: dict[str, Any]) -> Request:
    (operation,) = [each for each in OPERATIONS if each.name == name]
    return operation.request(operation.given((), arguments), "ACC1")


SECRET = "3125550147"


@pytest.mark.parametrize("secret", [[f"+1{SECRET}"], {"at": f"+1{SECRET}"}, f"+1{SECRET}", int(SECRET), {SECRET: 1}])
def test_no_refusal_repeats_what_was_given(secret: Any) -> None:
    """Which may be a person's number, or an address that holds a key."""
    said = []
    for operation in OPERATIONS:
        needed = {name: NEEDED.get((operation.name, name), needed_by(each)) for name, each in required(operation)}
        for name in operation.parameters:
            try:
                operation.request(operation.given((), needed | {name: secret}), "ACC1")
            except InvalidRequest as error:
                said.append(str(error))
    assert len(said) > 100
    assert [each for each in said if SECRET in each] == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("integrations.update", {"integration_id": "1", "config": {f"https://e.com/?token={SECRET}": []}}),
        ("message_flows.update", {"flow_id": "MFL1", "steps": {f"text {SECRET}": {"type": "sms_response"}}}),
        ("message_flows.update", {"flow_id": "MFL1", "steps": {f"n{SECRET}": {"type": "tag", "colour": 1}}}),
        ("message_flows.update", step(type="sms_response", message=f"{SECRET} " * 500)),
        ("calls.update", {"call_id": "CAL1", "lead_status": f"Jane {SECRET}"}),
        ("users.create", {"first_name": SECRET, "last_name": SECRET, "email": SECRET, "role": "reporting"}),
        ("form_submissions.create", {"company_id": "C", "form_url": SECRET, "form_data": {SECRET: SECRET}}),
    ],
)
def test_a_refusal_by_a_rule_or_of_a_key_repeats_nothing_either(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        planned(name, arguments)
    assert SECRET not in str(raised.value)


def required(operation: Operation) -> list[tuple[str, Parameter]]:
    return [(name, each) for name, each in operation.parameters.items() if each.is_required]


def needed_by(parameter: Parameter) -> Any:
    """A value that is right for the parameter, so that others are looked at."""
    if parameter.choices:
        return [parameter.choices[0]] if parameter.is_many else parameter.choices[0]
    if parameter.is_object:
        return {}
    return ["1"] if parameter.is_many else bool(1) if parameter.kind is bool else "4045550123"


NEEDED: dict[tuple[str, str], Any] = {
    ("trackers.create", "call_flow"): FLOW,
    ("trackers.create", "source"): {"type": "all"},
    ("integrations.create", "config"): {},
}


@pytest.mark.parametrize(
    ("start", "end"),
    [("2026-03-02T01:00+09:00", "2026-03-01T20:00+00:00"), ("2026-03-01", "2026-03-01"), ("2026-03-01", None)],
)
def test_moments_of_different_zones_are_compared_as_moments(start: str, end: str | None) -> None:
    require_dates("calls.list", {"start_date": start} | ({"end_date": end} if end else {}), date(2026, 3, 5))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"end_date": "2026-03-01"}, "needs start_date beside end_date"),
        ({"start_date": 20260301}, "start_date is no date; it takes"),
        ({"start_date": "+13125550147"}, "start_date is no date; it takes"),
        ({"start_date": "2026-03-02T01:00+00:00", "end_date": "2026-03-02T01:00+09:00"}, "before start_date"),
    ],
)
def test_a_range_that_is_none_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        require_dates("calls.list", given, date(2026, 3, 5))


def test_an_argument_is_given_once() -> None:
    operation = next(each for each in OPERATIONS if each.name == "calls.update")
    with pytest.raises(InvalidRequest, match="call_id is given twice"):
        operation.given(("CAL1",), {"call_id": "CAL2", "spam": True})


def test_what_rings_texts_and_costs_is_known_to() -> None:
    known = {each.name: (each.budget, set(each.dangers)) for each in OPERATIONS}
    assert known["calls.create"] == (Budget.CALLS, {Danger.RINGS, Danger.COSTS})
    assert known["text_messages.send"] == (Budget.TEXTS, {Danger.TEXTS, Danger.COSTS})
    assert known["caller_ids.create"] == (Budget.GENERAL, {Danger.RINGS})
    assert known["trackers.create"] == (Budget.GENERAL, {Danger.COSTS})
    assert known["users.create"] == (Budget.GENERAL, {Danger.MAILS})


def test_extra_params_send_what_is_not_known_here() -> None:
    request = planned("integrations.update", {"integration_id": "1", "extra_params": {"config": {"new_webhook": []}}})
    assert request.body == {"config": {"new_webhook": []}}


def test_extra_params_may_hold_what_is_needed() -> None:
    wanted = {key: value for key, value in NEW_TRACKER.items() if key != "source"} | SINGLE
    del wanted["source"]
    assert planned("trackers.create", wanted | {"extra_params": {"source": {"type": "new"}}}).body == wanted | {
        "source": {"type": "new"}
    }


def test_extra_params_switch_off_no_rule_that_is_about_something_else() -> None:
    with pytest.raises(InvalidRequest, match="needs tracking_number"):
        planned("trackers.create", NEW_TRACKER | {"type": "source", "extra_params": {"color": "red"}})


@pytest.mark.parametrize(
    ("name", "arguments", "is_repeatable"),
    [
        ("calls.update", {"call_id": "CAL1", "note": "x"}, True),
        ("calls.update", {"call_id": "CAL1", "spam": True}, False),
        ("calls.update", {"call_id": "CAL1", "extra_params": {"spam": True}}, False),
        ("trackers.update", {"tracker_id": "TRK1", "name": "x"}, True),
        ("trackers.update", {"tracker_id": "TRK1", "pool_size": 8}, False),
        ("integrations.update", {"integration_id": "1", "state": "active"}, True),
        ("integrations.update", {"integration_id": "1", "state": "disabled"}, False),
    ],
)
def test_what_cannot_be_taken_back_is_told_by_what_is_given(
    name: str, arguments: dict[str, Any], is_repeatable: bool
) -> None:
    assert planned(name, arguments).is_repeatable is is_repeatable
