"""All operations of the API are there, each once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from callrail.client import resources
from callrail.exceptions import InvalidRequest
from callrail.operation import Operation
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
        ("trackers.create", {"type": "session", "pool_size": 3, "pool_numbers": AREA}, "CallRail takes 4 to 50"),
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
            "source at type: Input should be 'all'",
        ),
        ("trackers.update", {"tracker_id": "TRK1", "message_flow": {"type": "auto"}}, "message_flow at type"),
        ("text_messages.send", {"media_url": "https://e.com/a.png", "media_file": "a.png"}, "not both"),
        ("text_messages.send", {"media_file": "/etc/hostname"}, "JPEG, PNG and GIF"),
        ("text_messages.send", {"media_file": "/nowhere/a.png"}, "there is no file"),
        ("sms_threads.list", {"start_date": "2026-03-01"}, "given together"),
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
        ("notifications.create", {"email": "a@example.com"}, "needs company_id or tracker_id"),
        ("summary_emails.create", {"frequency": ["daily"], "config": {}}, "needs user_id or email"),
        ("summary_emails.create", {"frequency": ["daily"], "config": {}, "email": "a@example.com"}, "needs company_id"),
        (
            "summary_emails.create",
            {"frequency": ["daily"], "config": {"call_logs": True}, "user_id": "USR1"},
            "config has no key call_logs; did you mean call_log?",
        ),
        ("integrations.update", {"integration_id": "1", "config": {"pre_call": []}}, "did you mean pre_call_webhook"),
        (
            "message_flows.update",
            {"flow_id": "MFL1", "steps": {"a": {"type": "no_response", "next_step_id": "b"}}},
            "step a leads to b, which is none of the steps",
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
    (operation,) = [each for each in OPERATIONS if each.name == name]
    needed = {"trackers.create": NEW_TRACKER, "text_messages.send": NEW_TEXT}.get(name, {})
    with pytest.raises(InvalidRequest) as raised:
        operation.request(operation.given((), needed | arguments), "ACC1")
    assert said in str(raised.value)


def test_extra_params_send_what_is_not_known_here() -> None:
    (operation,) = [each for each in OPERATIONS if each.name == "integrations.update"]
    given = operation.given((), {"integration_id": "1", "extra_params": {"config": {"new_webhook": []}}})
    assert operation.request(given, "ACC1").body == {"config": {"new_webhook": []}}
