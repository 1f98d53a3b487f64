"""The bodies CallRail would post about invented texts and forms, and what its assistants say of a call.

Keys and types are those of live deliveries (observed) and of the API reference (documented). In forms unknown is null.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from routers.simulated_wire import ACCOUNT, COMPANY_NUMBER, Body, dashed, local, timeline_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routers.simulated_facts import Call, Company, Person, Source, Thread


# --- texts -----------------------------------------------------------------------------------------------------------


def received_text(thread: Thread, *, resource_id: str, content: str, at: datetime, pictures: int = 0) -> Body:
    """The body about a text the customer wrote at *at*, with that many *pictures*."""
    numbers = (thread.person.phone_number, thread.tracking_number)
    text = _text(thread, resource_id, numbers, content, pictures)
    return {**text, "received_at": local(at), "timestamp": local(at)}


def sent_text(thread: Thread, *, resource_id: str, agent: str, content: str, at: datetime) -> Body:
    """The body about the answer *agent* wrote at *at*; the name is the only mark of a sent text (documented)."""
    numbers = (thread.tracking_number, thread.person.phone_number)
    return {"agent": agent, **_text(thread, resource_id, numbers, content, 0), "timestamp": local(at)}


def _text(thread: Thread, resource_id: str, numbers: tuple[str, str], content: str, pictures: int) -> Body:
    source_number, destination_number = numbers
    media = f"https://app.callrail.com/msg/a/{ACCOUNT}/messages/{resource_id}/media"
    return {
        "resource_id": resource_id,
        "source_number": dashed(source_number),
        "destination_number": dashed(destination_number),
        "lead_status": None,
        "conversation_id": thread.conversation_id,
        "company_id": COMPANY_NUMBER,
        "person_id": thread.person.resource_id,
        "thread_resource_id": thread.resource_id,
        "company_resource_id": thread.company.resource_id,
        "person_resource_id": thread.person.resource_id,
        "message_type": "mms" if pictures else "sms",
        "media_urls": [f"{media}/{position}" for position in range(pictures)],
        "content": content,
    }


# --- forms -----------------------------------------------------------------------------------------------------------


def submitted_form(
    company: Company, person: Person, source: Source, *, resource_id: str, message: str, at: datetime
) -> Body:
    """The body about a contact form sent at *at*. Who sent it stands only in the fields the site chose."""
    unknown = ("lead_status", "utma", "utmb", "utmc", "utmv", "utmz", "ga", "session_uuid", "hidden", "fcid")
    stored_at = local(at + timedelta(milliseconds=24))
    return {
        "resource_id": resource_id,
        "company_id": COMPANY_NUMBER,
        "company_resource_id": company.resource_id,
        "person_resource_id": person.resource_id,
        "form_data": {
            "full_name": person.name,
            "email": f"{person.name.replace(' ', '.').lower()}@example.com",
            "phone": dashed(person.phone_number),
            "city": person.city,
            "how_can_we_help": message,
        },
        **dict.fromkeys(("url", "form_url"), "https://www.example.com/contact"),
        **dict.fromkeys(("landing", "landing_page_url"), source.landing_page),
        **dict.fromkeys(("referrer_url", "referring_url"), source.referring_url or None),
        "referrer": source.legacy_name,
        "source": source.name,
        "keywords": source.keywords or None,
        "campaign": source.campaign or None,
        "medium": source.medium or None,
        **{name: source.utm.get(name) for name in ("utm_source", "utm_medium", "utm_campaign")},
        "timeline_url": timeline_url(person.resource_id, resource_id, "form_capture"),
        "first_form": person.prior_calls == 0,
        **dict.fromkeys(unknown),
        "submitted_at": local(at),
        **dict.fromkeys(("created_at", "updated_at", "timestamp"), stored_at),
    }


# --- assistants ------------------------------------------------------------------------------------------------------


def assistant_answered(call: Call, *, at: datetime) -> Body:
    """The body posted when CallRail's assistant picks up: four fields, none of them the company (observed)."""
    return {
        "call_id": call.resource_id,
        "person_id": call.person.resource_id,
        "tracking_number": call.tracking_number,
        "timestamp": local(at),
    }


def advice(call: Call, answers: Sequence[tuple[str, str]], *, at: datetime) -> Body:
    """The body with which Convert Assist has finished a call: *answers* as (name, text); no company (documented)."""
    return {
        "person_resource_id": call.person.resource_id,
        "last_interaction_resource_id": call.resource_id,
        "last_interaction_type": "Call",
        "answers": [{"answer_key": key, "answer_text": text} for key, text in answers],
        "interaction_count": call.person.prior_calls + 1,
        "timestamp": local(at),
    }
