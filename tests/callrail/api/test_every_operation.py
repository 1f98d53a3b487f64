"""Every operation, sent over a real socket: the request it makes, and that its answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from callrail.model import Model
from callrail.paging import Listing
from tests.callrail.api.conftest import ACCOUNT, Api, page
from tests.callrail.api.test_operations import OPERATIONS

pytestmark = pytest.mark.anyio

COMPANY = "COM0191f00a1b2c7d3e8f405162738495a6"
# What an operation is called with, where something is required, and what must be in its query or body for it.
CALLED_WITH: Mapping[str, tuple[dict[str, Any], Any]] = {
    "calls.list": (
        {"date_range": "today", "tags": ["A", "B"]},
        [("date_range", "today"), ("tags[]", "A"), ("tags[]", "B")],
    ),
    "calls.create": (
        {"caller_id": "+17705550147", "customer_phone_number": "4045550123", "business_phone_number": "4045550188"},
        {"caller_id": "+17705550147", "customer_phone_number": "4045550123", "business_phone_number": "4045550188"},
    ),
    "calls.update": ({"note": None, "tags": ["Sales"], "spam": True}, {"note": None, "tags": ["Sales"], "spam": True}),
    "calls.summary": ({"date_range": "today", "group_by": "source"}, [("date_range", "today"), ("group_by", "source")]),
    "calls.timeseries": ({"date_range": "today", "interval": "hour"}, [("date_range", "today"), ("interval", "hour")]),
    "tags.create": ({"name": "New", "company_id": COMPANY}, {"name": "New", "company_id": COMPANY}),
    "tags.update": ({"disabled": True}, {"disabled": "true"}),
    "companies.create": ({"name": "New"}, {"name": "New"}),
    "companies.update": ({"swap_landing_override": None}, {"swap_landing_override": None}),
    "companies.bulk_update": (
        {"company_ids": ["all"], "external_form_capture": True},
        {"company_ids": ["all"], "external_form_capture": True},
    ),
    "form_submissions.list": ({"start_date": "2026-03-01"}, [("start_date", "2026-03-01")]),
    "form_submissions.create": (
        {"company_id": COMPANY, "form_url": "https://e.com/", "form_data": {"name": "Taylor"}, "session_id": "SES1"},
        {"company_id": COMPANY, "form_url": "https://e.com/", "form_data": {"name": "Taylor"}, "session_id": "SES1"},
    ),
    "form_submissions.update": ({"lead_status": None}, {"lead_status": None}),
    "form_submissions.ignore_fields": (
        {"company_ids": ["all"], "field_names": ["ssn"]},
        {"company_ids": ["all"], "field_names": ["ssn"]},
    ),
    "form_submissions.summary": (
        {"date_range": "today", "form_url": "https://www.example.com/"},
        [("date_range", "today"), ("form_URL", "https://www.example.com/")],
    ),
    "integrations.list": (
        {"company_id": COMPANY, "fields": ["signing_key"]},
        [("company_id", COMPANY), ("fields", "signing_key")],
    ),
    "integrations.create": (
        {"company_id": COMPANY, "type": "Webhooks", "config": {"post_call_webhook": ["https://h.example.com/"]}},
        {"company_id": COMPANY, "type": "Webhooks", "config": {"post_call_webhook": ["https://h.example.com/"]}},
    ),
    "integrations.update": ({"state": "active"}, {"state": "active"}),
    "integration_triggers.list": ({"company_id": COMPANY}, [("company_id", COMPANY)]),
    "integration_triggers.create": (
        {"company_id": COMPANY, "call_type": "vm"},
        {"company_id": COMPANY, "call_type": "vm"},
    ),
    "integration_triggers.update": ({"max_duration": None}, {"max_duration": None}),
    "notifications.create": ({"call_enabled": True, "alert_type": "all"}, {"call_enabled": True, "alert_type": "all"}),
    "notifications.update": ({"sms_enabled": False}, {"sms_enabled": False}),
    "caller_ids.list": ({"company_id": COMPANY}, [("company_id", COMPANY)]),
    "caller_ids.create": (
        {"company_id": COMPANY, "phone_number": "+14045550190", "name": "Van"},
        {"company_id": COMPANY, "phone_number": "+14045550190", "name": "Van"},
    ),
    "sms_threads.list": (
        {"start_date": "2026-03-01", "end_date": "2026-03-02"},
        [("start_date", "2026-03-01"), ("end_date", "2026-03-02")],
    ),
    "sms_threads.get": ({"with_msg_errors": True}, [("with_msg_errors", "true")]),
    "sms_threads.update": ({"notes": "Wants a quote", "value": "$5.00"}, {"notes": "Wants a quote", "value": "$5.00"}),
    "summary_emails.list": ({"frequency": ["daily", "weekly"]}, [("frequency[]", "daily"), ("frequency[]", "weekly")]),
    "summary_emails.create": (
        {"frequency": ["weekly"], "config": {"call_log": True}, "user_id": "USR1"},
        {"frequency": ["weekly"], "config": {"call_log": True}, "user_id": "USR1"},
    ),
    "summary_emails.update": ({"config": {"call_log": False}}, {"config": {"call_log": False}}),
    "text_messages.list": ({"date_range": "recent"}, [("date_range", "recent")]),
    "text_messages.get": ({"page": 2, "per_page": 50}, [("page", "2"), ("per_page", "50")]),
    "text_messages.send": (
        {"company_id": COMPANY, "customer_phone_number": "+14045550123", "content": "On our way."},
        {"company_id": COMPANY, "customer_phone_number": "+14045550123", "content": "On our way."},
    ),
    "text_messages.update": ({"state": "archived"}, {"state": "archived"}),
    "message_flows.create": (
        {"company_id": COMPANY, "name": "After hours", "initial_step_id": "1", "steps": {"1": {"type": "no_response"}}},
        {"company_id": COMPANY, "name": "After hours", "initial_step_id": "1", "steps": {"1": {"type": "no_response"}}},
    ),
    "message_flows.update": ({"name": "At night"}, {"name": "At night"}),
    "trackers.list": ({"type": "session"}, [("type", "session")]),
    "trackers.create": (
        {
            "name": "Billboard",
            "type": "source",
            "company_id": COMPANY,
            "call_flow": {"type": "basic", "destination_number": "+14045550188"},
            "source": {"type": "offline"},
            "tracking_number": {"area_code": "404"},
        },
        {
            "name": "Billboard",
            "type": "source",
            "company_id": COMPANY,
            "call_flow": {"type": "basic", "destination_number": "+14045550188"},
            "source": {"type": "offline"},
            "tracking_number": {"area_code": "404"},
        },
    ),
    "trackers.update": ({"message_flow": None}, {"message_flow": None}),
    "users.create": (
        {"first_name": "Sam", "last_name": "Example", "email": "sam@example.com", "role": "admin"},
        {"first_name": "Sam", "last_name": "Example", "email": "sam@example.com", "role": "admin"},
    ),
    "users.update": ({"companies": [COMPANY]}, {"companies": [COMPANY]}),
    "leads.list": ({"fields": ["name"]}, [("fields", "name")]),
    "leads.timeline": ({"sort": "created_at"}, [("sort", "created_at")]),
}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_it_is_sent_as_documented_and_its_answer_read(api: Api, operation: Any) -> None:
    arguments, told = CALLED_WITH.get(operation.name, ({}, {} if operation.method in ("POST", "PUT") else []))
    ids = {name: "ID1" for name, each in operation.parameters.items() if each.place == "path"}
    api.answers(page(operation.rows, {"id": "X1", "new_key": 1}) if operation.rows else {"id": "X1", "new_key": 1})

    called = getattr(getattr(api.client, operation.resource), operation.verb)(**ids, **arguments)
    (model,) = [row async for row in called] if isinstance(called, Listing) else [await called]

    (request,) = api.server.requests
    parts = urlsplit(request.target)
    assert request.method == operation.method
    assert parts.path == operation.full_path.format_map({"account_id": ACCOUNT} | ids)
    assert request.headers["authorization"].startswith('Token token="')
    if operation.method == "DELETE":
        assert request.body == b""
    elif operation.writes:
        assert api.body == told
    else:
        query = [pair for pair in parse_qsl(parts.query) if pair[0] not in _PAGING or pair in told]
        assert query == told
    assert isinstance(model, Model)
    assert isinstance(model, operation.answer)
    assert model.told == {"id": "X1", "new_key": 1}
    assert (model.model_extra or {}).get("new_key") == 1


_PAGING = ("per_page", "relative_pagination")


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.writes], ids=lambda operation: operation.name
)
async def test_a_dry_run_sends_nothing(api: Api, operation: Any) -> None:
    arguments, told = CALLED_WITH.get(operation.name, ({}, {}))
    ids = {name: "ID1" for name, each in operation.parameters.items() if each.place == "path"}

    model = await getattr(getattr(api.client, operation.resource), operation.verb)(**ids, **arguments, dry_run=True)

    assert api.server.requests == []
    assert model.planned is not None
    assert (model.planned.method, model.planned.body or {}) == (operation.method, told or {})
