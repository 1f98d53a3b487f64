"""The look-ups that need no configuration. What the API's answers hold: CallRail's documentation, unless marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from callrail.fields import FIELDS, FieldType
from callrail.payload import object_id
from routers.lookups.definitions import Facts, Lookup, OnFailure, Settings, Told, answer_fields
from routers.rules.values import instant_of

_TEXT, _INTEGER, _NUMBER = FieldType.TEXT, FieldType.INTEGER, FieldType.NUMBER
_BOOLEAN, _TIME, _LIST = FieldType.BOOLEAN, FieldType.TIME, FieldType.LIST
_HOURS = Settings(ttl=timedelta(hours=6))
_A_PAGE = 250
_A_YEAR = timedelta(days=365)

Arguments = Mapping[str, Any]


def _rows(told: Told, name: str) -> Sequence[Any]:
    rows = told.get(name)
    return rows if isinstance(rows, list) else ()


def _names(told: Any) -> list[Any]:
    """Tags are told as names (documented) or as objects with a name (observed)."""
    return [tag.get("name") if isinstance(tag, dict) else tag for tag in told or ()]


def _of(name: str, parameter: str, **more: Any) -> Any:
    """Calls the operation with the id that the fact *name* holds."""

    def arguments(facts: Facts, _today: date) -> Arguments | None:
        found = facts.get(name)
        return {parameter: str(found), **more} if found else None

    return arguments


# --- the call, its recording, the form -------------------------------------------------------------------------------

# Told by the API and not, or not yet, by webhooks; each with its type where the webhooks do not tell it at all.
_OF_A_CALL: dict[str, FieldType | None] = {
    "call_type": None,
    "first_call": None,
    "prior_calls": None,
    "total_calls": None,
    "source": None,
    "source_name": None,
    "medium": None,
    "campaign": None,
    "keywords": None,
    "gclid": None,
    "landing_page_url": None,
    "agent_email": None,
    "lead_status": None,
    "value": None,
    "note": None,
    "tags": None,
    "call_summary": None,
    "transcription": None,
    "sentiment": _TEXT,
    "lead_score": _TEXT,
    "lead_explanation": _TEXT,
    "call_highlights": _LIST,
    "device_type": None,
}
_ALWAYS_TOLD = ("answered", "voicemail", "duration", "customer_name", "customer_city", "customer_state")


def _told_field(name: str, type_: FieldType | None) -> tuple[str, FieldType, str, Any]:
    known = FIELDS.get(name)
    meaning = known.meaning if known is not None else name.replace("_", " ")
    told = type_ or (known.type if known is not None else _TEXT)
    if name == "tags":
        return name, told, meaning, lambda answer: _names(answer.get("tags"))
    if name == "call_summary":  # text in lists, an array in single answers (documented)
        return name, told, meaning, lambda answer: _joined(answer.get("call_summary"))
    return name, told, meaning, name


def _transcript_status(told: Told) -> str:
    """Why there is no transcript. CallRail posts an ended call when recording and transcript are attached (documented),
    so where a recording stands alone it is the plan that lacks the transcript, or nobody spoke (assumed)."""
    if told.get("transcription"):
        return "told"
    if not told.get("recording"):
        return "not_recorded"
    return "not_in_plan" if told.get("transcription") is None else "empty"


def _joined(told: Any) -> Any:
    return "\n".join(map(str, told)) if isinstance(told, list) else told


def _call_id(parameter: str, **more: Any) -> Any:
    def arguments(facts: Facts, _today: date) -> Arguments | None:
        found = object_id(dict(facts))
        return {parameter: found, **more} if found else None

    return arguments


_CALL = Lookup(
    "call",
    "calls.get",
    "the call as the API tells it now",
    ("call_type",),  # told of calls, and of nothing else
    _call_id("call_id", fields=list(_OF_A_CALL)),
    answer_fields(
        *(_told_field(name, None) for name in _ALWAYS_TOLD),
        *(_told_field(name, type_) for name, type_ in _OF_A_CALL.items()),
        (
            "transcript_status",
            _TEXT,
            "told, empty, not_recorded (not yet, or never), or not_in_plan: recorded, and CallRail tells no transcript",
            _transcript_status,
        ),
    ),
    is_of_itself=True,
    plan="transcription, call_summary, sentiment and lead_score: Premium Conversation Intelligence; empty without it",
)
_RECORDING = Lookup(
    "recording",
    "calls.recording",
    "whether there is a recording; CallRail prepares it for one to three minutes (observed)",
    ("call_type",),
    _call_id("call_id"),
    answer_fields(
        # Its address lets whoever has it listen, and is not kept.
        ("is_ready", _BOOLEAN, "whether there is one", lambda told: bool(told.get("url"))),
    ),
    Settings(negative_ttl=timedelta(seconds=20), on_failure=OnFailure.WAIT, wait=timedelta(minutes=5)),
    is_prepared=True,
    is_of_itself=True,
)
_FORM = Lookup(
    "form",
    "form_submissions.get",
    "the form as the API tells it now; the operation is undocumented (observed)",
    ("form_data",),
    _call_id("form_id", fields=["lead_status", "note", "tags", "value", "form_name", "utm_campaign"]),
    answer_fields(
        ("source", _TEXT, "where the visitor came from", "source"),
        ("medium", _TEXT, "how the visitor came", "medium"),
        ("campaign", _TEXT, "the campaign", "campaign"),
        ("keywords", _TEXT, "what was searched for", "keywords"),
        ("first_form", _BOOLEAN, "whether it is the person's first", "first_form"),
        ("form_name", _TEXT, "the form's name", "form_name"),
        ("lead_status", _TEXT, "how it was scored", "lead_status"),
        ("value", _NUMBER, "what it is worth", "value"),
        ("note", _TEXT, "the note", "note"),
        ("tags", _LIST, "names of its tags", lambda told: _names(told.get("tags"))),
    ),
    is_of_itself=True,
)

# --- the person ------------------------------------------------------------------------------------------------------


def _events(told: Told, type_: str) -> list[Any]:
    return [event for event in _rows(told, "timeline") if event.get("type") == type_]


def _lead(path: str) -> Any:
    return f"lead.{path}"


def _first_contact(told: Told) -> Any:
    lead = told.get("lead") or {}
    created, first = lead.get("lead_creation") or {}, lead.get("first_touch") or {}
    return created.get("lead_creation_time") or created.get("created_at") or first.get("created_at")


_LEAD_TIMELINE = Lookup(
    "lead_timeline",
    "leads.timeline",
    "the person, and what that person did before",
    ("person_resource_id",),
    _of("person_resource_id", "lead_id", per_page=_A_PAGE),
    answer_fields(
        ("total_interactions", _INTEGER, "calls, texts, forms and chats so far", _lead("total_interactions")),
        ("first_contact_at", _TIME, "when the person was first heard of", _first_contact),
        ("source", _TEXT, "where the person came from first", _lead("source")),
        ("medium", _TEXT, "how the person came first", _lead("medium")),
        ("campaign", _TEXT, "the campaign that brought the person first", _lead("campaign")),
        ("landing_page_url", _TEXT, "the first page the person saw", _lead("landing_page_url")),
        ("referrer_url", _TEXT, "the page the person came from first", _lead("referrer_url")),
        ("gclid", _TEXT, "Google's id of the click", _lead("click_id.gclid")),
        ("tags", _LIST, "names of the tags of all that the person did", lambda told: _names(told["lead"].get("tags"))),
        ("calls", _INTEGER, f"calls among the newest {_A_PAGE} events", lambda told: len(_events(told, "call"))),
        ("texts", _INTEGER, "conversations among them", lambda told: len(_events(told, "sms"))),
        ("forms", _INTEGER, "forms among them", lambda told: len(_events(told, "form_submission"))),
        (
            "answered_calls",
            _INTEGER,
            "calls among them that were answered, by a person or by voicemail",
            lambda told: sum(event.get("answered") is True for event in _events(told, "call")),
        ),
    ),
    is_for_one_thing=True,
)


def _digits(number: object) -> str:
    return "".join(filter(str.isdigit, str(number or "")))[-10:]


def _earlier(told: Told, facts: Facts) -> Told:
    """The calls of the answer but the one that it is about. CallRail finds a number anywhere in a call (observed)."""
    own, digits = object_id(dict(facts)), _digits(facts.get("customer_phone_number"))
    return {
        "calls": [
            call
            for call in _rows(told, "calls")
            if call.get("id") != own
            and call.get("direction") == "inbound"
            and _digits(call.get("customer_phone_number")) == digits
            and _is_earlier(call, facts)
        ]
    }


def _is_earlier(call: Mapping[str, Any], facts: Facts) -> bool:
    begun, own = instant_of(call.get("start_time")), instant_of(facts.get("start_time"))
    return begun is None or own is None or begun < own


def _was_answered(call: Mapping[str, Any]) -> bool:
    return call.get("answered") is True and call.get("voicemail") is not True


def _searching(facts: Facts, today: date) -> Arguments | None:
    digits = _digits(facts.get("customer_phone_number"))
    if len(digits) < 10:
        return None
    return {
        "search": digits,
        "start_date": (today - _A_YEAR).isoformat(),
        "fields": ["lead_status", "source"],
        "sort": "start_time",
        "order": "desc",
    }


_PREVIOUS_CALLS = Lookup(
    "previous_calls",
    "calls.list",
    "earlier inbound calls of the same number, to all companies of the account, in the last 365 days",
    ("customer_phone_number", "call_type"),
    _searching,
    answer_fields(
        ("count", _INTEGER, f"how many; of the newest {_A_PAGE} that CallRail finds", lambda told: len(told["calls"])),
        ("answered", _INTEGER, "those that a person answered", lambda told: sum(map(_was_answered, told["calls"]))),
        (
            "missed",
            _INTEGER,
            "those that nobody answered, or voicemail",
            lambda told: sum(not _was_answered(call) for call in told["calls"]),
        ),
        ("last_at", _TIME, "when the last one was", lambda told: told["calls"][0].get("start_time")),
        ("last_answered", _BOOLEAN, "whether a person answered it", lambda told: _was_answered(told["calls"][0])),
        (
            "was_good_lead",
            _BOOLEAN,
            "whether one of them was scored a good lead",
            lambda told: any(
                call.get("lead_status") in ("good_lead", "previously_marked_good_lead") for call in told["calls"]
            ),
        ),
        (
            "sources",
            _LIST,
            "where they came from",
            lambda told: list(dict.fromkeys(call["source"] for call in told["calls"] if call.get("source"))),
        ),
    ),
    narrow=_earlier,
    is_for_one_thing=True,
)

# --- the number, the company, the conversation -----------------------------------------------------------------------

_TRACKER = Lookup(
    "tracker",
    "trackers.get",
    "the tracking number that was called",
    ("tracker_resource_id",),
    _of("tracker_resource_id", "tracker_id", fields=["campaign_name", "swap_targets"]),
    answer_fields(
        ("name", _TEXT, "its name", "name"),
        ("campaign_name", _TEXT, "its campaign", "campaign_name"),
        ("type", _TEXT, "source or session", "type"),
        ("status", _TEXT, "active or disabled", "status"),
        ("destination_number", _TEXT, "where its calls go", "destination_number"),
        ("whisper_message", _TEXT, "what the agent hears first", "whisper_message"),
        ("sms_enabled", _BOOLEAN, "whether it takes texts", "sms_enabled"),
    ),
    _HOURS,
)
_COMPANY = Lookup(
    "company",
    "companies.get",
    "the company as CallRail knows it",
    ("company_resource_id",),
    _of("company_resource_id", "company_id"),
    answer_fields(
        ("name", _TEXT, "its name", "name"),
        ("time_zone", _TEXT, "its time zone", "time_zone"),
        ("status", _TEXT, "active or disabled", "status"),
        ("script_url", _TEXT, "the address of its script", "script_url"),
    ),
    _HOURS,
)
_CONVERSATION = Lookup(
    "conversation",
    "text_messages.get",
    "the conversation of a text",
    ("conversation_id",),
    _of("conversation_id", "conversation_id", fields=["lead_status", "source"]),
    answer_fields(
        ("texts", _INTEGER, "how many texts it has", "total_records"),
        ("state", _TEXT, "active or archived", "state"),
        ("customer_name", _TEXT, "the customer's name", "customer_name"),
        ("lead_status", _TEXT, "how it was scored", "lead_status"),
        ("source", _TEXT, "where the customer came from", "source"),
        ("last_message_at", _TIME, "when the last text was", "last_message_at"),
        (
            "last_answer",
            _TEXT,
            "the newest text that the company sent, of those on the first page",
            lambda told: next(
                (text.get("content") for text in _rows(told, "messages") if text.get("direction") == "outgoing"), None
            ),
        ),
    ),
    Settings(ttl=timedelta(seconds=30)),
    is_of_itself=True,
)
_SMS_THREAD = Lookup(
    "sms_thread",
    "sms_threads.get",
    "the thread of a text, with tags, note and score",
    ("thread_resource_id",),
    _of("thread_resource_id", "thread_id"),
    answer_fields(
        ("texts", _INTEGER, "how many texts it has", "total_records"),
        ("tags", _LIST, "names of its tags", lambda told: _names(told.get("tags"))),
        ("notes", _TEXT, "the note", "notes"),
        ("value", _NUMBER, "what it is worth", "value"),
        ("lead_qualification", _TEXT, "how it was scored", "lead_qualification"),
        ("state", _TEXT, "active or archived", "state"),
    ),
    Settings(ttl=timedelta(seconds=30)),
    is_of_itself=True,
)

BUILT_IN: Mapping[str, Lookup] = {
    lookup.name: lookup
    for lookup in (
        _CALL,
        _LEAD_TIMELINE,
        _PREVIOUS_CALLS,
        _TRACKER,
        _COMPANY,
        _CONVERSATION,
        _SMS_THREAD,
        _RECORDING,
        _FORM,
    )
}
