"""The bodies CallRail would post about an invented call, text or form, key by key and byte by byte.

Keys and types are those of live deliveries (observed) and of the API reference (documented). In calls and texts
unknown is `""`; in forms it is null.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routers.simulated_facts import Call, Company, Ending, Person, Source, Talk, Thread

Body = dict[str, object]

_ZONE = "America/New_York"
_ACCOUNT = 700200300
_COMPANY_NUMBER = 700200399  # webhooks still carry a number beside the COM id (observed until 2026)

# What Rails escapes in JSON, so that it can stand in a web page.
_RAILS_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "&<>\u2028\u2029"})


def to_wire(body: Mapping[str, object]) -> bytes:
    """*body* in the very bytes a Rails application writes: compact, UTF-8 unescaped, but `&`, `<` and `>` escaped."""
    compact = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return compact.translate(_RAILS_ESCAPES).encode()


# --- calls -----------------------------------------------------------------------------------------------------------


def ringing_call(call: Call) -> Body:
    """The pre-call body: a call that has only begun to ring is told as a missed one of no duration (documented)."""
    return {**_outcome("missed", timedelta(0)), **_caller(call), **_call_ids(call)}


def routed_call(call: Call) -> Body:
    """The body while it rings at the business: as ringing, with the number called and where the caller came from."""
    return {
        **_outcome("in_progress", timedelta(0)),
        **_caller(call),
        **_call_ids(call),
        **_destination(call.business_number),
        "tags": [],
        **_attribution(call),
    }


def ended_call(call: Call, ending: Ending) -> Body:
    """The post-call body: everything, the legacy names included."""
    return {
        **_outcome(ending.call_type, ending.duration),
        **_caller(call),
        **_destination(call.business_number if ending.is_routed else ""),
        **_display(call),
        **_attribution(call),
        **_session(call),
        **_recording(call, ending),
        **_insights(ending),
        **_opinions(ending),
        **_never_told(),
        **_legacy(call, ending),
        **_call_ids(call),
    }


def changed_call(call: Call, ending: Ending, *, tag: str, note: str) -> Body:
    """The call-modified body after somebody set *tag* and *note*: all new values, and the names of what changed."""
    return {**ended_call(call, ending), "tags": [tag], "note": note, "changes": ["tags", "note"]}


def _outcome(call_type: str, duration: timedelta) -> Body:
    seconds = duration // timedelta(seconds=1)
    return {
        "answered": call_type == "answered",
        "call_type": call_type,
        "duration": str(seconds),
        "formatted_call_type": _CALL_TYPE_NAMES[call_type],
        "formatted_duration": f"{seconds // 60}m {seconds % 60}s" if seconds >= 60 else f"{seconds}s",
        "voicemail": call_type == "voicemail",
    }


_CALL_TYPE_NAMES = {
    "abandoned": "Abandoned Call",
    "answered": "Answered Call",
    "in_progress": "In Progress",
    "missed": "Missed Call",
    "voicemail": "Voicemail",
}


def _caller(call: Call) -> Body:
    person = call.person
    return {
        "company_id": _COMPANY_NUMBER,
        "company_name": call.company.name,
        "company_time_zone": _ZONE,
        "created_at": _local(call.created_at),
        "customer_city": person.city,
        "customer_country": "US",
        "customer_name": person.caller_id,
        "customer_phone_number": person.phone_number,
        "customer_state": person.state,
        "direction": "inbound",
        "first_call": person.prior_calls == 0,
        "formatted_tracking_phone_number": _dashed(call.tracking_number),
        "prior_calls": person.prior_calls,
        "source_name": call.source.tracker_name,
        "start_time": _local(call.started_at),
        "total_calls": person.prior_calls + 1,
        "tracking_phone_number": call.tracking_number,
    }


def _call_ids(call: Call) -> Body:
    return {
        "timestamp": _local(call.started_at),
        "person_resource_id": call.person.resource_id,
        "resource_id": call.resource_id,
        "company_resource_id": call.company.resource_id,
        "tracker_resource_id": call.tracker_resource_id,
    }


def _destination(number: str) -> Body:
    return {"business_phone_number": number, "formatted_business_phone_number": _dashed(number)}


def _display(call: Call) -> Body:
    person, name = call.person, call.person.caller_id.title()
    return {
        "formatted_customer_location": f"{person.city}, {person.state}",
        "formatted_customer_name": name,
        "formatted_customer_name_or_phone_number": name,
        "formatted_customer_phone_number": _dashed(person.phone_number),
        "formatted_tracking_source": call.source.name,
        "formatted_value": "--",
    }


def _attribution(call: Call) -> Body:
    source = call.source
    return {
        "source": source.name,
        "medium": source.medium,
        "campaign": source.campaign,
        "keywords": source.keywords,
        "landing_page_url": source.landing_page,
        "referring_url": source.referring_url,
        "utm_source": source.utm_source,
        "utm_medium": source.utm.get("utm_medium", ""),
        "utm_campaign": source.campaign,
        "gclid": call.click_id if source.utm_source == "google" else "",
    }


def _session(call: Call) -> Body:
    source = call.source
    is_online = bool(source.landing_page)
    touch = _touch(source, call.visited_at)
    return {
        "device_type": "mobile" if is_online else "",
        "last_requested_url": "https://www.example.com/contact" if is_online else "",
        "milestones": {"first_touch": touch, "lead_created": touch},
        "referrer_domain": source.referrer_domain,
        "session_uuid": call.session_uuid if is_online else "",
        "timeline_url": _timeline_url(call.person, call.resource_id, "call"),
    }


def _touch(source: Source, at: datetime) -> Body:
    return {
        "event_date": _local(at),
        "ad_position": None,
        "campaign": source.campaign or None,
        "device": "mobile" if source.landing_page else None,
        "keywords": source.keywords or None,
        "landing": source.landing_page or None,
        "landing_page_url_params": source.utm,
        "match_type": None,
        "medium": source.medium or None,
        "referrer": source.referring_url or None,
        "referrer_url_params": {},
        "session_browser": "Safari" if source.landing_page else None,
        "url_utm_params": source.utm,
        "source": source.name,
    }


def _recording(call: Call, ending: Ending) -> Body:
    if not ending.talk:
        return dict.fromkeys(
            ("recording", "recording_duration", "recording_player", "recording_redirect", "waveforms"), ""
        )
    page = f"https://app.callrail.com/calls/{call.resource_id}/recording"
    query = f"?access_key={call.access_key}"
    waveform = f"https://waveforms.example.com/{call.resource_id}"
    return {
        "recording": f"{page}/redirect{query}",
        "recording_duration": ending.recorded // timedelta(seconds=1),
        "recording_player": f"{page}{query}",
        "recording_redirect": f"{page}/redirect{query}",
        "waveforms": [f"{waveform}/left.png", f"{waveform}/right.png"],
    }


def _insights(ending: Ending) -> Body:
    talk = ending.talk
    if not talk:
        texts = ("transcription", "conversational_transcript", "keywords_spotted", "speaker_percent", "call_summary")
        scores = ("sentiment", "lead_score", "lead_explanation")
        return {**dict.fromkeys(texts + scores, ""), "call_highlights": []}
    transcript = _transcript(talk, ending.recorded)
    return {
        "transcription": " ".join(f"{speaker.capitalize()}: {phrase}" for speaker, phrase in talk.lines),
        "conversational_transcript": transcript,
        "keywords_spotted": [
            {"keyword": talk.keyword, "locations": [{"speaker": line["speaker"], "start": line["start"]}]}
            for line in transcript
            if talk.keyword in str(line["phrase"])
        ],
        "speaker_percent": _speaker_percent(talk),
        "call_summary": talk.summary,
        "sentiment": talk.sentiment,
        "lead_score": talk.lead_score,
        "lead_explanation": talk.lead_explanation,
        "call_highlights": [talk.keyword],
    }


def _transcript(talk: Talk, recorded: timedelta) -> list[Body]:
    pace = recorded.total_seconds() / len(talk.lines)
    return [
        {"speaker": speaker, "phrase": phrase, "start": round(0.8 + position * pace, 2)}
        for position, (speaker, phrase) in enumerate(talk.lines)
    ]


def _speaker_percent(talk: Talk) -> Body:
    total = sum(len(phrase) for _, phrase in talk.lines)
    agent = round(100 * sum(len(phrase) for speaker, phrase in talk.lines if speaker == "agent") / total)
    return {"agent": agent, "customer": 100 - agent}


def _opinions(ending: Ending) -> Body:
    unset = ("good_lead_call_id", "good_lead_call_time", "lead_status", "note", "value", "score")
    return {**dict.fromkeys(unset, ""), "tags": [], "detail_tags": [], "spam": False, "agent_email": ending.agent_email}


def _never_told() -> Body:
    """What calls have a key for and our invented ones no value."""
    untold = (
        *("utm_term", "utm_content", "utma", "utmb", "utmc", "utmv", "utmz", "ga", "fbclid", "msclkid"),
        *("custom", "keypad_entries", "kissmetrics_id", "tag"),
    )
    return {**dict.fromkeys(untold, ""), "integration_data": [{"integration": "Webhooks", "data": None}]}


def _legacy(call: Call, ending: Ending) -> Body:
    person, source = call.person, call.source
    return {
        "callercity": person.city,
        "callercountry": "US",
        "callername": person.caller_id,
        "callernum": person.phone_number,
        "callerstate": person.state,
        "callsource": source.legacy_name,
        "datetime": call.started_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "destinationnum": call.business_number if ending.is_routed else "",
        "landingpage": source.landing_page,
        "referrer": source.legacy_name,
        "referrermedium": source.medium,
        "trackingnum": call.tracking_number,
    }


# --- texts -----------------------------------------------------------------------------------------------------------


def received_text(thread: Thread, *, resource_id: str, content: str, at: datetime) -> Body:
    """The body about a text the customer wrote at *at*."""
    numbers = (thread.person.phone_number, thread.tracking_number)
    return {**_text(thread, resource_id, numbers, content), "received_at": _local(at), "timestamp": _local(at)}


def sent_text(thread: Thread, *, resource_id: str, agent: str, content: str, at: datetime) -> Body:
    """The body about the answer *agent* wrote at *at*; the name is the only mark of a sent text (documented)."""
    numbers = (thread.tracking_number, thread.person.phone_number)
    return {"agent": agent, **_text(thread, resource_id, numbers, content), "timestamp": _local(at)}


def _text(thread: Thread, resource_id: str, numbers: tuple[str, str], content: str) -> Body:
    source_number, destination_number = numbers
    return {
        "resource_id": resource_id,
        "source_number": _dashed(source_number),
        "destination_number": _dashed(destination_number),
        "lead_status": None,
        "conversation_id": thread.conversation_id,
        "company_id": _COMPANY_NUMBER,
        "person_id": thread.person.resource_id,
        "thread_resource_id": thread.resource_id,
        "company_resource_id": thread.company.resource_id,
        "person_resource_id": thread.person.resource_id,
        "message_type": "sms",
        "media_urls": [],
        "content": content,
    }


# --- forms -----------------------------------------------------------------------------------------------------------


def submitted_form(
    company: Company, person: Person, source: Source, *, resource_id: str, message: str, at: datetime
) -> Body:
    """The body about a contact form sent at *at*. Who sent it stands only in the fields the site chose."""
    unknown = ("lead_status", "utma", "utmb", "utmc", "utmv", "utmz", "ga", "session_uuid", "hidden", "fcid")
    stored_at = _local(at + timedelta(milliseconds=24))
    return {
        "resource_id": resource_id,
        "company_id": _COMPANY_NUMBER,
        "company_resource_id": company.resource_id,
        "person_resource_id": person.resource_id,
        "form_data": {
            "full_name": person.name,
            "email": f"{person.name.replace(' ', '.').lower()}@example.com",
            "phone": _dashed(person.phone_number),
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
        "timeline_url": _timeline_url(person, resource_id, "form_capture"),
        "first_form": person.prior_calls == 0,
        **dict.fromkeys(unknown),
        "submitted_at": _local(at),
        **dict.fromkeys(("created_at", "updated_at", "timestamp"), stored_at),
    }


# --- values ----------------------------------------------------------------------------------------------------------


def _local(at: datetime) -> str:
    return at.astimezone(ZoneInfo(_ZONE)).isoformat(timespec="milliseconds")


def _dashed(number: str) -> str:
    """*number*, E.164 of the USA, as 404-555-0100; empty stays empty."""
    return f"{number[2:5]}-{number[5:8]}-{number[8:]}" if number else ""


def _timeline_url(person: Person, event_id: str, event_type: str) -> str:
    page = f"https://app.callrail.com/analytics/a/{_ACCOUNT}/events/{person.resource_id}"
    return f"{page}?event_id={event_id}&event_type={event_type}"
