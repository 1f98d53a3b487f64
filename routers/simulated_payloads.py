"""The bodies CallRail would post about an invented call, key by key.

Keys and types are those of live deliveries (observed) and of the API reference (documented). Unknown is `""`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from routers.simulated_wire import COMPANY_NUMBER, ZONE, Body, dashed, local, timeline_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routers.simulated_facts import Call, Ending, Source, Talk


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
        **_legacy(call, call.business_number if ending.is_routed else ""),
        **_call_ids(call),
    }


def outbound_call(call: Call, ending: Ending) -> Body:
    """The outbound post-call body: everything, told of a call that the company made; who was called is the customer."""
    return {
        **ended_call(call, ending),
        "call_type": "outbound",
        "formatted_call_type": "Outbound Call",
        "direction": "outbound",
    }


def changed_call(told: Body, new: Body, *, names: Sequence[str] = ()) -> Body:
    """The call-modified body that follows *told* where *new* replaces some of it: no old values (documented).

    Args:
        names: What `changes` holds, because not all of its names are those of fields (documented); those of *new*
            where none are given.
    """
    return {**told, **new, "changes": [*(names or new)]}


def unscored(told: Body) -> Body:
    """The body *told* before anybody or anything has judged the lead."""
    return {**told, "lead_score": "", "lead_explanation": ""}


def good_lead(call: Call, *, value: int, at: datetime) -> Body:
    """What changes when somebody marks a call as a good lead worth *value* dollars, at *at*."""
    return {
        "lead_status": "good_lead",
        "good_lead_call_id": _old_number(call.resource_id),
        "good_lead_call_time": local(at),
        "score": 1,
        "value": f"{value}.00",
        "formatted_value": f"${value}.00",
    }


def voice_message(call: Call, message: str) -> Body:
    """What the ended call holds in addition when CallRail's assistant took *message* (observed)."""
    taken = {"contents": {"message": message}, "overrides": {}, "recorded_at": local(call.created_at), "urgency": "low"}
    return {"voice_assist_message": taken}


def legacy_call(call: Call, ending: Ending | None) -> Body:
    """A call in the names of before 2021 only, with numbers for ids; without an *ending* it still rings."""
    seconds = ending.duration // timedelta(seconds=1) if ending else 0
    return {
        "id": _old_number(call.resource_id),
        "company_id": COMPANY_NUMBER,
        "tracker_id": _old_number(call.tracker_resource_id),
        "person_id": _old_number(call.person.resource_id),
        "answered": ending is not None and ending.call_type == "answered",
        "duration": str(seconds),
        "first_call": call.person.prior_calls == 0,
        "ip": "",
        "gclid": call.click_id if call.source.utm_source == "google" else "",
        "keywords": call.source.keywords,
        "recording": str(_recording(call, ending)["recording"]) if ending else "",
        "transcription": _transcription(ending.talk) if ending and ending.talk else "",
        **_legacy(call, call.business_number if ending else ""),
    }


def _old_number(resource_id: str) -> int:
    """The number a thing had before it had *resource_id*."""
    return int(resource_id[-8:], 16) % 900_000_000 + 100_000_000


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
        "company_id": COMPANY_NUMBER,
        "company_name": call.company.name,
        "company_time_zone": ZONE,
        "created_at": local(call.created_at),
        "customer_city": person.city,
        "customer_country": "US",
        "customer_name": person.caller_id,
        "customer_phone_number": person.phone_number,
        "customer_state": person.state,
        "direction": "inbound",
        "first_call": person.prior_calls == 0,
        "formatted_tracking_phone_number": dashed(call.tracking_number),
        "prior_calls": person.prior_calls,
        "source_name": call.source.tracker_name,
        "start_time": local(call.started_at),
        "total_calls": person.prior_calls + 1,
        "tracking_phone_number": call.tracking_number,
    }


def _call_ids(call: Call) -> Body:
    return {
        "timestamp": local(call.started_at),
        "person_resource_id": call.person.resource_id,
        "resource_id": call.resource_id,
        "company_resource_id": call.company.resource_id,
        "tracker_resource_id": call.tracker_resource_id,
    }


def _destination(number: str) -> Body:
    return {"business_phone_number": number, "formatted_business_phone_number": dashed(number)}


def _display(call: Call) -> Body:
    person, name = call.person, call.person.caller_id.title()
    return {
        "formatted_customer_location": ", ".join(filter(None, (person.city, person.state))),
        "formatted_customer_name": name,
        "formatted_customer_name_or_phone_number": name or dashed(person.phone_number),
        "formatted_customer_phone_number": dashed(person.phone_number),
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
        "timeline_url": timeline_url(call.person.resource_id, call.resource_id, "call"),
    }


def _touch(source: Source, at: datetime) -> Body:
    return {
        "event_date": local(at),
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
        "transcription": _transcription(talk),
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


def _transcription(talk: Talk) -> str:
    return " ".join(f"{speaker.capitalize()}: {phrase}" for speaker, phrase in talk.lines)


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


def _legacy(call: Call, destination: str) -> Body:
    person, source = call.person, call.source
    return {
        "callercity": person.city,
        "callercountry": "US",
        "callername": person.caller_id,
        "callernum": person.phone_number,
        "callerstate": person.state,
        "callsource": source.legacy_name,
        "datetime": call.started_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "destinationnum": destination,
        "landingpage": source.landing_page,
        "referrer": source.legacy_name,
        "referrermedium": source.medium,
        "trackingnum": call.tracking_number,
    }
