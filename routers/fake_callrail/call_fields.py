"""A call as it is told: the fields that are always there, and those to be asked for."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from routers.fake_callrail.asking import Ask
from routers.fake_callrail.times import local
from routers.fake_callrail.world import Call, Json

_CITY = {"404": ("Atlanta", "GA"), "212": ("New York", "NY"), "303": ("Denver", "CO"), "512": ("Austin", "TX")}


def default_fields(ask: Ask, call: Call, zone: ZoneInfo) -> Json:
    """The fields of every answer about a call."""
    number = call.person["phone"]
    city, state = _CITY.get((number or "")[2:5], (None, None))
    place = f"{ask.origin}/v3/a/{ask.account.numeric_id}/calls/{call.id}/recording.json"
    is_over = is_call_over(ask, call)
    recorded = call.is_recorded and is_over
    return {
        "answered": call.answered if is_over else None,
        "business_phone_number": call.tracker["destination_number"] if call.answered and not call.voicemail else None,
        "customer_city": city,
        "customer_country": "US",
        "customer_name": call.customer_name,
        "customer_phone_number": number,
        "customer_state": state,
        "direction": call.direction,
        "duration": call.duration if is_over else None,
        "id": call.id,
        "recording": place if recorded else None,
        # A string, although durations are numbers elsewhere (documented).
        "recording_duration": str(call.duration) if recorded else None,
        "recording_player": f"{ask.origin}/calls/{call.id}/recording?access_key={access_key(call.id)}"
        if recorded
        else None,
        "start_time": local(call.start, zone),
        "tracking_phone_number": call.tracker["tracking_numbers"][0],
        "voicemail": call.voicemail if is_over else None,
        "agent_email": call.agent_email if is_over else None,
    }


def is_call_over(ask: Ask, call: Call) -> bool:
    """While a call goes on, nothing is told of its end (assumed: it is not documented)."""
    return call.start + timedelta(seconds=call.duration or 0) <= ask.world.now()


def every_field(ask: Ask, call: Call, zone: ZoneInfo, *, is_single: bool) -> Json:
    """All fields that `fields=` may name; some are told of single calls only."""
    company = call.tracker["company"]
    every = {
        "company_id": company["id"],
        "company_name": company["name"],
        "company_time_zone": ask.account.companies[company["id"]]["time_zone"],
        "tracker_id": call.tracker["id"],
        "person_id": call.person["id"],
        "call_type": _call_type(call) if is_call_over(ask, call) else "in_progress",
        "created_at": local(call.start, zone),
        "tags": _tags(ask, call),
        "note": call.note,
        "value": call.value,
        "formatted_value": f"${call.value:.2f}" if call.value is not None else "--",
        "lead_status": call.lead_status,
        "good_lead_call_id": None,
        "good_lead_call_time": local(call.start, zone) if call.lead_status == "good_lead" else None,
        "first_call": call.is_first,
        "timeline_url": call.page or f"{ask.origin}/calls/{call.id}",
        "zip_code": [],
        "keypad_entries": None,
        "waveforms": [f"{ask.origin}/waveforms/{call.id}/{side}.png" for side in (0, 1)] if call.is_recorded else None,
        "milestones": _milestones(call, zone),
        **_counts(ask, call),
        **_attribution(call),
        **_session(call),
        **_said(ask, call),
        **_formatted(call),
    }
    if is_single:
        every["conversational_transcript"] = _phrases(call) if _is_told_words(ask, call) else None
        every["integration_data"] = []
    return every


def _call_type(call: Call) -> str:
    if call.direction == "outbound":
        return "outbound"
    if call.voicemail:
        return "voicemail"
    if call.answered:
        return "answered"
    # The first is CallRail's own spelling (documented).
    return "abandonded" if (call.duration or 0) < 10 else "missed"


def _tags(ask: Ask, call: Call) -> list[Any]:
    """Names (documented), or objects (observed)."""
    if not ask.quirks.tags_are_objects:
        return list(call.tags)
    numbers = {tag["name"]: tag["id"] for tag in ask.account.tags.values()}
    return [{"id": numbers.get(name), "name": name} for name in call.tags]


def _counts(ask: Ask, call: Call) -> Json:
    calls = ask.account.calls.of_person(call.person["id"])
    return {"prior_calls": sum(each.start < call.start for each in calls), "total_calls": len(calls)}


def _attribution(call: Call) -> Json:
    is_paid = call.medium == "cpc"
    return {
        "source": call.source,
        "source_name": call.tracker["name"],
        "medium": call.medium,
        "campaign": call.campaign,
        "keywords": "drain cleaning" if is_paid else None,
        "utm_source": "google" if is_paid else None,
        "utm_medium": "cpc" if is_paid else None,
        "utm_campaign": call.campaign if is_paid else None,
    }


def _session(call: Call) -> Json:
    """What is known of trackers that follow a visit; nothing for others."""
    landing = (
        f"https://www.example.com/?gclid=TEST{call.id[-8:]}" if call.medium == "cpc" else "https://www.example.com/"
    )
    told: Json = {
        "device_type": call.device,
        "custom": {},
        "fbclid": None,
        "ga": f"GA1.2.{int(call.person['id'][3:11], 16)}.1700000000",
        "gclid": f"TEST{call.id[-8:]}" if call.medium == "cpc" else None,
        "msclkid": None,
        "landing_page_url": landing,
        "last_requested_url": "https://www.example.com/contact",
        "referring_url": "https://www.google.com/" if call.medium in ("cpc", "organic") else None,
        "referrer_domain": "www.google.com" if call.medium in ("cpc", "organic") else None,
        "session_uuid": f"SES{call.person['id'][3:]}",
        "utm_content": None,
        "utm_term": None,
    }
    return told if call.tracker["type"] == "session" else dict.fromkeys(told)


def _is_told_words(ask: Ask, call: Call) -> bool:
    """What is said is told only where the plan has it (documented since May 2026)."""
    return ask.account.has_premium and call.is_recorded


def _said(ask: Ask, call: Call) -> Json:
    names = (
        *("transcription", "call_summary", "sentiment", "call_highlights", "keywords_spotted"),
        *("lead_score", "lead_explanation", "speaker_percent", "voice_assist_message"),
    )
    if not _is_told_words(ask, call):
        return dict.fromkeys(names)
    return {
        "transcription": " ".join(phrase["phrase"] for phrase in _phrases(call)),
        "call_summary": "The caller reported a blocked drain and asked for a visit.",
        "sentiment": "positive",
        "call_highlights": ["blocked drain"],
        "keywords_spotted": [{"keyword": "drain", "locations": [{"speaker": "caller", "start": 1.2}]}],
        "lead_score": "good",
        "lead_explanation": "Asked for a visit at an address.",
        "speaker_percent": {"agent": 45, "customer": 55},
        "voice_assist_message": None,
    }


def _phrases(call: Call) -> list[Json]:
    caller = {"speaker": "caller", "phrase": "Hello, my kitchen drain is blocked.", "start": 1.2}
    agent = {"speaker": "agent", "phrase": "We can be there on Thursday.", "start": 6.85}
    return [caller] if call.voicemail else [caller, agent]


def _milestones(call: Call, zone: ZoneInfo) -> Json:
    """One that was not reached is an object full of nulls."""
    names = (
        *("event_date", "ad_position", "campaign", "device", "keywords", "landing", "landing_page_url_params"),
        *("match_type", "medium", "referrer", "referrer_url_params", "session_browser", "source", "url_utm_params"),
    )
    reached = dict.fromkeys(names) | {
        "event_date": local(call.start, zone),
        "campaign": call.campaign,
        "device": call.device,
        "landing": "https://www.example.com/",
        "landing_page_url_params": {},
        "medium": call.medium,
        "referrer_url_params": {},
        "source": call.source,
        "url_utm_params": {},
    }
    is_qualified = call.lead_status == "good_lead"
    return {
        "first_touch": reached,
        "lead_created": reached,
        "qualified": reached if is_qualified else dict.fromkeys(names),
        "last_touch": reached,
    }


def _formatted(call: Call) -> Json:
    number = formatted_number(call.person["phone"])
    city, state = _CITY.get((call.person["phone"] or "")[2:5], (None, None))
    return {
        "formatted_call_type": f"{_call_type(call).capitalize()} Call",
        "formatted_customer_location": f"{city}, {state}" if city else None,
        "formatted_business_phone_number": formatted_number(call.tracker["destination_number"]),
        "formatted_customer_name": (call.customer_name or "").title() or None,
        "formatted_customer_name_or_phone_number": (call.customer_name or "").title() or number,
        "formatted_customer_phone_number": number,
        "formatted_duration": formatted_duration(call.duration),
        "formatted_tracking_phone_number": formatted_number(call.tracker["tracking_numbers"][0]),
        "formatted_tracking_source": call.source,
    }


def formatted_number(number: str | None) -> str | None:
    """+14045550123 as 404-555-0123."""
    return f"{number[2:5]}-{number[5:8]}-{number[8:]}" if number else None


def formatted_duration(seconds: int | None) -> str | None:
    """194 as `3m 14s`."""
    if seconds is None:
        return None
    return f"{seconds // 60}m {seconds % 60}s" if seconds >= 60 else f"{seconds}s"


def session_page_views(call: Call, zone: ZoneInfo) -> list[Json]:
    """The pages of the visit before the call, newest first."""
    pages = ("https://www.example.com/contact", "https://www.example.com/drains", "https://www.example.com/")
    return [
        {
            "referrer_url": pages[at + 1] if at + 1 < len(pages) else "https://www.google.com/",
            "page_url": url,
            "created_at": (call.start - timedelta(seconds=40 * (at + 1)))
            .astimezone(zone)
            .isoformat(timespec="seconds"),
        }
        for at, url in enumerate(pages)
    ]


def access_key(call_id: str) -> str:
    """What an address of a recording holds instead of the API key."""
    return hashlib.blake2b(call_id.encode(), digest_size=10).hexdigest()
