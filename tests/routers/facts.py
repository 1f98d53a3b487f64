"""Facts of invented calls, texts and forms, as a template sees them."""

from __future__ import annotations

from typing import Any

from routers.transitions import Transition

_COMPANY = {"company_name": "Acme Plumbing", "company_time_zone": "America/New_York", "company": "acme"}
_SOURCE = {"source": "Google Ads", "source_name": "Website pool", "medium": "cpc", "campaign": "Emergency"}

CALL: dict[str, Any] = {
    **_COMPANY,
    **_SOURCE,
    "resource_id": "CAL0191f00a1b2c7d3e8f405162738495a6",
    "customer_name": "AVERY QUILL",
    "customer_phone_number": "+14045550101",
    "customer_city": "Atlanta",
    "customer_state": "GA",
    "customer_country": "US",
    "tracking_phone_number": "+17705550102",
    "business_phone_number": "+17705550103",
    "direction": "inbound",
    "first_call": True,
    "total_calls": 1,
    "duration": 75,
    "spam": False,
    "tags": ["Quote", "Emergency"],
    "note": None,
    "outcome": "missed",
    "stage": "ended",
    "milestones": {"first_touch": {"device": "mobile", "medium": "cpc"}},
    "timeline_url": "https://app.callrail.com/analytics/a/1/events/PER1?event_id=CAL1&event_type=call",
}
_RECORDED: dict[str, Any] = {
    **CALL,
    "recording": "https://app.callrail.com/calls/CAL1/recording/redirect?access_key=0123456789",
    "recording_player": "https://app.callrail.com/calls/CAL1/recording",
    "recording_duration": 62,
    "transcription": "Agent: Acme Plumbing, this is Kim. Caller: Hello, a pipe burst and the kitchen is under water.",
    "call_summary": "A pipe burst in the kitchen; the caller wants somebody to come today.",
    "agent_email": "kim@example.com",
}
_VOICEMAIL: dict[str, Any] = {
    **_RECORDED,
    "outcome": "voicemail",
    "call_summary": None,
    "transcription": "Hello, this is Avery. A pipe burst, please call me back.",
}
_CHANGED: dict[str, Any] = {
    **_RECORDED,
    "outcome": "answered",
    "first_call": False,
    "total_calls": 3,
    "changes": ["tags", "note", "lead_status"],
    "$before": {"tags": ["Quote"], "note": "call back", "lead_status": None},
    "lead_status": "good_lead",
}
TEXT: dict[str, Any] = {
    **_COMPANY,
    "resource_id": "SCI1",
    "source_number": "404-555-0101",
    "destination_number": "770-555-0102",
    "content": "Can somebody come today? The kitchen is under water.",
    "message_type": "mms",
    "media_urls": ["https://app.callrail.com/media/0", "https://app.callrail.com/media/1"],
}
FORM: dict[str, Any] = {
    **_COMPANY,
    **_SOURCE,
    "resource_id": "FRM1",
    "form_data": {
        "full_name": "Avery Quill",
        "email": "avery.quill@example.com",
        "phone": "404-555-0101",
        "city": "Atlanta",
        "how_can_we_help": "A pipe burst.\nPlease come.",
    },
    "contact_name": "Avery Quill",
    "contact_email": "avery.quill@example.com",
    "contact_phone": "+14045550101",
    "first_form": True,
    "timeline_url": "https://app.callrail.com/analytics/a/1/events/PER1?event_id=FRM1&event_type=form_capture",
}
_ASSIST: dict[str, Any] = {
    **_COMPANY,
    "last_interaction_resource_id": "CAL1",
    "last_interaction_type": "Call",
    "answers": [
        {"answer_key": "Action plan", "answer_text": "Send a plumber today."},
        {"answer_key": "Smart follow-up", "answer_text": "Hello Avery, we are on our way."},
    ],
}
_OUTBOUND = {**_RECORDED, "direction": "outbound", "source": None, "source_name": None, "first_call": False}

_SINCE = "2026-03-10T18:05:00+00:00"
_CRM = {"subject": "crm", "sink": "crm"}
_ACME = {"subject": "acme", "company": "acme"}

_BY_TRANSITION: dict[Transition, dict[str, Any]] = {
    Transition.CALL_ANSWERED: {**_RECORDED, "outcome": "answered"},
    Transition.CALL_ENDED: {**_RECORDED, "outcome": "answered"},
    Transition.CALL_VOICEMAIL: _VOICEMAIL,
    Transition.CALL_RECORDING_READY: _RECORDED,
    Transition.CALL_TRANSCRIPT_READY: _RECORDED,
    Transition.CALL_CHANGED: _CHANGED,
    Transition.CALL_SPAM: {**CALL, "changes": ["spam"], "$before": {"spam": False}, "spam": True},
    Transition.CALL_CORRECTED: {**_RECORDED, "was_outcome": "missed", "outcome": "answered", "changes": ["answered"]},
    Transition.OUTBOUND_ANSWERED: {**_OUTBOUND, "total_calls": 4},
    Transition.OUTBOUND_UNANSWERED: {**_OUTBOUND, "call_summary": None, "duration": 22},
    Transition.OUTBOUND_CHANGED: {**_CHANGED, "direction": "outbound"},
    Transition.TEXT_RECEIVED: TEXT,
    Transition.TEXT_SENT: {
        **TEXT,
        "agent": "Kim Lee",
        "content": "We are on our way.",
        "source_number": TEXT["destination_number"],
        "destination_number": TEXT["source_number"],
        "message_type": "sms",
        "media_urls": None,
    },
    Transition.FORM_SUBMITTED: FORM,
    Transition.ASSIST_COMPLETED: _ASSIST,
    Transition.ASSIST_ANSWERED: {**_COMPANY, "call_id": "CAL1", "tracking_number": "+17705550102"},
    Transition.UNKNOWN_RECEIVED: {**_COMPANY, "new_field": "x"},
    Transition.SOURCE_BAD_SIGNATURE: {
        **_ACME,
        "count": 12,
        "causes": ["signature wrong", "signature missing"],
        "since": _SINCE,
    },
    Transition.SOURCE_RECOVERED: {**_ACME, "since": _SINCE, "minutes": 70},
    Transition.ROUTER_SINK_DOWN: {**_CRM, "reason": "not authorised: HTTP 401", "count": 12, "since": _SINCE},
    Transition.ROUTER_DEAD_LETTERS: {**_CRM, "count": 3, "causes": ["rejected: HTTP 422", "gave up: HTTP 500"]},
    Transition.ROUTER_BACKLOG: {**_CRM, "count": 40, "minutes": 6, "since": _SINCE},
    Transition.ROUTER_SPOOLING: {"subject": "web-1", "host": "web-1", "count": 12, "since": _SINCE},
    Transition.ROUTER_BUDGET_LOW: {
        "subject": "ACC1",
        "account": "ACC1",
        "allowance": "requests",
        "percent": 83,
        "since": _SINCE,
    },
    Transition.ROUTER_RECOVERED: {**_CRM, "trouble": "router.sink_down", "minutes": 12, "since": _SINCE},
}


def facts_of(transition: Transition) -> dict[str, Any]:
    """What is known when *transition* happens."""
    return _BY_TRANSITION.get(transition, CALL)
