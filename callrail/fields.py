"""The fields CallRail tells of calls, texts and forms: their types, who tells them, and which are opinions.

A *fact* (who called, how long, the recording) is filled once known and never blanked. An *opinion* (tags, note,
value, spam) is what people or models think now: each full object replaces it, also by nothing.

Names are those of the API's call object and of the webhooks. Which kinds tell a field is what CallRail documents and
what live bodies held; a body may lack any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from callrail.kinds import FAMILY, Family, Kind


class FieldType(StrEnum):
    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"  # told as text, perhaps with a currency: "$1,250.00"
    LIST = "list"
    OBJECT = "object"
    TIME = "time"
    PHONE = "phone"


class FieldClass(StrEnum):
    FACT = "fact"
    OPINION = "opinion"


_ENDED = frozenset({Kind.POST_CALL, Kind.CALL_MODIFIED, Kind.OUTBOUND_POST_CALL, Kind.OUTBOUND_CALL_MODIFIED})
_MODIFIED = frozenset({Kind.CALL_MODIFIED, Kind.OUTBOUND_CALL_MODIFIED})
_ROUTED = _ENDED | {Kind.CALL_ROUTING_COMPLETE}
_RINGING = _ROUTED | {Kind.PRE_CALL}
_TEXTS = frozenset({Kind.TEXT_RECEIVED, Kind.TEXT_SENT})
_SENT = frozenset({Kind.TEXT_SENT})
_FORM = frozenset({Kind.FORM_SUBMISSION})
_CONVERT = frozenset({Kind.CONVERT_ASSIST})
_VOICE = frozenset({Kind.VOICE_ASSIST})
_ASSIST = _CONVERT | _VOICE


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of one field. Fields CallRail adds later are facts of type text until they stand here.

    *kinds* are the webhooks that can tell it. *values* are all it can have, if the set is closed; CallRail may add
    some. *meaning* is for people, with the unit.
    """

    name: str
    type: FieldType
    kinds: frozenset[Kind]
    meaning: str
    cls: FieldClass = FieldClass.FACT
    values: tuple[str, ...] = ()

    @property
    def families(self) -> frozenset[Family]:
        """The sorts of thing that can tell it."""
        return frozenset(FAMILY[kind] for kind in self.kinds)


_BOOLEAN, _INTEGER, _NUMBER, _LIST = FieldType.BOOLEAN, FieldType.INTEGER, FieldType.NUMBER, FieldType.LIST
_OBJECT, _PHONE, _TEXT, _TIME = FieldType.OBJECT, FieldType.PHONE, FieldType.TEXT, FieldType.TIME
_OPINION = FieldClass.OPINION

_CALL_TYPES = ("abandoned", "answered", "in_progress", "missed", "outbound", "voicemail", "voicemail_transcription")
_LEAD_STATUSES = ("good_lead", "not_a_lead", "previously_marked_good_lead")

_ALL = [
    # What and whose it is
    Field("resource_id", _TEXT, _RINGING | _TEXTS | _FORM, "CallRail's id of the call, text or form"),
    Field("call_id", _TEXT, _VOICE, "CallRail's id of the call the assistant took"),
    Field("company_id", _TEXT, _RINGING | _TEXTS | _FORM, "the company's old id, a number"),
    Field("company_resource_id", _TEXT, _RINGING | _TEXTS | _FORM, "the company's id, COM..."),
    Field("company_name", _TEXT, _RINGING, "the company's name in CallRail"),
    Field("company_time_zone", _TEXT, _RINGING, "the company's time zone, like America/New_York"),
    Field("tracker_resource_id", _TEXT, _RINGING, "the id of the tracking number, TRK..."),
    Field("person_resource_id", _TEXT, _RINGING | _TEXTS | _FORM | _ASSIST, "the id of the person, PER..."),
    Field("session_uuid", _TEXT, _ROUTED | _FORM, "the visit to the website"),
    Field("timeline_url", _TEXT, _ENDED | _FORM, "link to the person's timeline in CallRail"),
    Field("integration_data", _LIST, _ENDED, "what other integrations did with the call"),
    # How a call went
    Field("direction", _TEXT, _RINGING, "who called whom", values=("inbound", "outbound")),
    Field("call_type", _TEXT, _RINGING, "how CallRail sorts the call; better ask outcome", values=_CALL_TYPES),
    Field("answered", _BOOLEAN, _RINGING, "whether somebody took the call; also true for voicemail"),
    Field("voicemail", _BOOLEAN, _RINGING, "whether the caller left a message"),
    Field("duration", _INTEGER, _RINGING, "length of the call in seconds"),
    Field("first_call", _BOOLEAN, _RINGING, "whether it is this caller's first call to the company"),
    Field("prior_calls", _INTEGER, _RINGING, "how many calls this caller made before"),
    Field("total_calls", _INTEGER, _RINGING, "how many calls this caller made, this one included"),
    Field("start_time", _TIME, _RINGING, "when the call began"),
    Field("created_at", _TIME, _RINGING | _FORM, "when CallRail made the record"),
    Field("timestamp", _TIME, _RINGING | _TEXTS | _FORM | _ASSIST, "when it happened; of a call, when it began"),
    Field("agent_email", _TEXT, _ENDED, "who took or made the call"),
    Field("keypad_entries", _OBJECT, _ROUTED, "what the caller typed on the keypad"),
    Field("zip_code", _LIST, _ROUTED, "the postal code the caller typed"),
    # Who called and what was called
    Field("customer_phone_number", _PHONE, _RINGING, "the caller's number, or the number called"),
    Field("customer_name", _TEXT, _RINGING, "the caller's name by caller ID or as edited", cls=_OPINION),
    Field("customer_city", _TEXT, _RINGING, "the city of the caller's number, a guess"),
    Field("customer_state", _TEXT, _RINGING, "the state of the caller's number, a guess"),
    Field("customer_zip", _TEXT, _ROUTED, "the postal code of the caller's number, a guess"),
    Field("customer_country", _TEXT, _RINGING, "the country of the caller's number"),
    Field("tracking_phone_number", _PHONE, _RINGING, "the tracking number that was dialled"),
    Field("business_phone_number", _PHONE, _ROUTED, "the number the call was sent on to"),
    Field("tracking_number", _PHONE, _VOICE, "the tracking number the assistant answered at"),
    Field("source_name", _TEXT, _RINGING, "the name of the tracking number"),
    # Recording and what was said
    Field("recording", _TEXT, _ENDED, "link to the recording"),
    Field("recording_player", _TEXT, _ENDED, "link to a page that plays the recording"),
    Field("recording_redirect", _TEXT, _ENDED, "link that leads to the recording"),
    Field("recording_duration", _INTEGER, _ENDED, "length of the recording in seconds"),
    Field("waveforms", _LIST, _ENDED, "links to pictures of the sound"),
    Field("transcription", _TEXT, _ENDED, "what was said, as text"),
    Field("conversational_transcript", _LIST, _ENDED, "what was said, by speaker"),
    Field("call_summary", _TEXT, _ENDED, "the call in a few sentences, by a model", cls=_OPINION),
    Field("sentiment", _TEXT, _ENDED, "the caller's mood, by a model"),
    Field("call_highlights", _LIST, _ENDED, "words that stood out"),
    Field("keywords_spotted", _LIST, _ENDED, "key words that were said, and where"),
    Field("speaker_percent", _OBJECT, _ENDED, "how much each side talked, in percent"),
    Field("voice_assist_message", _OBJECT, _ENDED, "the message the assistant took"),
    # What people and models think of it
    Field("spam", _BOOLEAN, _ENDED, "whether it is marked as spam", cls=_OPINION),
    Field("tags", _LIST, _ROUTED, "names of the tags", cls=_OPINION),
    Field("detail_tags", _LIST, _ENDED, "the tags with their details", cls=_OPINION),
    Field("note", _TEXT, _ENDED, "the note", cls=_OPINION),
    Field("value", _NUMBER, _ENDED, "what the lead is worth, in the account's currency", cls=_OPINION),
    Field("lead_status", _TEXT, _ENDED | _TEXTS | _FORM, "whether it is a lead", cls=_OPINION, values=_LEAD_STATUSES),
    Field("score", _NUMBER, _ENDED, "the old score, 1 for a good lead", cls=_OPINION),
    Field("lead_score", _TEXT, _ENDED, "how good the lead is, in words, by a model", cls=_OPINION),
    Field("lead_explanation", _TEXT, _ENDED, "why the lead has its score, by a model", cls=_OPINION),
    Field("good_lead_call_id", _TEXT, _ENDED, "the person's call that was first a good lead", cls=_OPINION),
    Field("good_lead_call_time", _TIME, _ENDED, "when that call was", cls=_OPINION),
    Field("changes", _LIST, _MODIFIED, "what changed, by CallRail's names"),
    # Where the person came from
    Field("source", _TEXT, _ROUTED | _FORM, "the marketing source, like Google Ads"),
    Field("medium", _TEXT, _ROUTED | _FORM, "the sort of source, like organic or cpc"),
    Field("campaign", _TEXT, _ROUTED | _FORM, "the campaign"),
    Field("keywords", _TEXT, _ROUTED | _FORM, "what was searched for"),
    Field("referring_url", _TEXT, _ROUTED | _FORM, "the page before the website"),
    Field("referrer", _TEXT, _ROUTED | _FORM, "the site before the website"),
    Field("referrer_domain", _TEXT, _ROUTED, "the domain of the page before the website"),
    Field("landing_page_url", _TEXT, _ROUTED | _FORM, "the first page of the visit"),
    Field("last_requested_url", _TEXT, _ROUTED, "the last page before the call"),
    Field("utm_source", _TEXT, _ROUTED | _FORM, "utm_source of the first page"),
    Field("utm_medium", _TEXT, _ROUTED | _FORM, "utm_medium of the first page"),
    Field("utm_term", _TEXT, _ROUTED | _FORM, "utm_term of the first page"),
    Field("utm_content", _TEXT, _ROUTED | _FORM, "utm_content of the first page"),
    Field("utm_campaign", _TEXT, _ROUTED | _FORM, "utm_campaign of the first page"),
    Field("gclid", _TEXT, _ROUTED | _FORM, "Google's click id"),
    Field("fbclid", _TEXT, _ROUTED | _FORM, "Facebook's click id"),
    Field("msclkid", _TEXT, _ROUTED | _FORM, "Microsoft's click id"),
    Field("ga", _TEXT, _ROUTED | _FORM, "the visitor's id in Google Analytics"),
    Field("utma", _TEXT, _ROUTED | _FORM, "cookie of old Google Analytics"),
    Field("utmb", _TEXT, _ROUTED | _FORM, "cookie of old Google Analytics"),
    Field("utmc", _TEXT, _ROUTED | _FORM, "cookie of old Google Analytics"),
    Field("utmv", _TEXT, _ROUTED | _FORM, "cookie of old Google Analytics"),
    Field("utmx", _TEXT, _ROUTED | _FORM, "cookie of old Google Analytics"),
    Field("utmz", _TEXT, _ROUTED | _FORM, "cookie of old Google Analytics"),
    Field("milestones", _OBJECT, _ROUTED, "first touch, lead created, qualified, last touch, each with its source"),
    Field("device_type", _TEXT, _ROUTED, "the visitor's device, like mobile or desktop"),
    Field("custom", _OBJECT, _ROUTED, "cookies the account captures"),
    Field("ip", _TEXT, _ROUTED | _FORM, "the visitor's address on the internet"),
    Field("kissmetrics_id", _TEXT, _ROUTED, "the visitor's id in Kissmetrics"),
    # Texts
    Field("source_number", _PHONE, _TEXTS, "the number that sent the text"),
    Field("destination_number", _PHONE, _TEXTS, "the number that received the text"),
    Field("content", _TEXT, _TEXTS, "what the text says"),
    Field("message_type", _TEXT, _TEXTS, "whether it is a text or has pictures", values=("sms", "mms")),
    Field("media_urls", _LIST, _TEXTS, "links to the pictures of the text"),
    Field("received_at", _TIME, _TEXTS, "when the text was received"),
    Field("conversation_id", _TEXT, _TEXTS, "the conversation of these two numbers"),
    Field("thread_resource_id", _TEXT, _TEXTS, "the thread of these two numbers, SMT..."),
    Field("agent", _TEXT, _SENT, "who sent the text"),
    # Forms
    Field("form_data", _OBJECT, _FORM, "what the visitor wrote, by the website's own names"),
    Field("form_url", _TEXT, _FORM, "the page of the form"),
    Field("first_form", _BOOLEAN, _FORM, "whether it is this person's first form"),
    Field("submitted_at", _TIME, _FORM, "when the form was sent"),
    Field("updated_at", _TIME, _FORM, "when CallRail last wrote the record"),
    Field("fcid", _TEXT, _FORM, "the visitor's id in form tracking"),
    # Assists
    Field("last_interaction_resource_id", _TEXT, _CONVERT, "the call or text the answers are about"),
    Field("last_interaction_type", _TEXT, _CONVERT, "what that was, like Call"),
    Field("interaction_count", _INTEGER, _CONVERT, "how many interactions the person had"),
    Field("answers", _LIST, _CONVERT, "the assistant's answers"),
]

FIELDS: dict[str, Field] = {field.name: field for field in _ALL}

OPINIONS = frozenset(field.name for field in _ALL if field.cls is FieldClass.OPINION)


class Personal(StrEnum):
    """What a field tells of a person: who they are and where they came from, what they said or wrote, or who of the
    company dealt with them."""

    WHO = "who"
    SAID = "said"
    AGENT = "agent"


# A field that is not known, and what a website adds, may hold anything: treat it as `WHO`.
PERSONAL: dict[str, Personal] = {
    **dict.fromkeys(
        (
            *("customer_phone_number", "customer_name", "customer_city", "customer_zip", "zip_code", "ip"),
            *("source_number", "destination_number", "form_data", "person_resource_id", "timeline_url", "custom"),
            *("conversation_id", "thread_resource_id", "integration_data", "session_uuid", "milestones"),
            *("landing_page_url", "last_requested_url", "referring_url", "form_url", "gclid", "fbclid", "msclkid"),
            *("ga", "utma", "utmb", "utmc", "utmv", "utmx", "utmz", "kissmetrics_id", "fcid"),
        ),
        Personal.WHO,
    ),
    **dict.fromkeys(
        (
            *("content", "media_urls", "transcription", "conversational_transcript", "call_summary", "note"),
            *("call_highlights", "keywords_spotted", "lead_explanation", "voice_assist_message", "answers"),
            *("keypad_entries", "recording", "recording_player", "recording_redirect", "waveforms"),
        ),
        Personal.SAID,
    ),
    **dict.fromkeys(("agent", "agent_email"), Personal.AGENT),
}


def personal(name: str) -> Personal | None:
    """What the field *name* tells of a person; None for what says nothing of one."""
    return PERSONAL.get(name) if name in FIELDS else Personal.WHO


# Before a call has ended these are told but say nothing: every ringing call is posted as unanswered and missed.
PLACEHOLDERS = frozenset({"answered", "call_type", "duration", "voicemail"})

# Names of older webhooks and the present name of the same thing. The documentation says not to rely on the old ones;
# they are read only where the present name is not told.
LEGACY_NAMES = {
    "callernum": "customer_phone_number",
    "callername": "customer_name",
    "callercity": "customer_city",
    "callerstate": "customer_state",
    "callercountry": "customer_country",
    "callerzip": "customer_zip",
    "callsource": "source",
    "trackingnum": "tracking_phone_number",
    "destinationnum": "business_phone_number",
    "landingpage": "landing_page_url",
    "referrermedium": "medium",
    "tag": "tags",
    "tracker_id": "tracker_resource_id",
    "person_id": "person_resource_id",
    "thread_id": "thread_resource_id",
    "url": "form_url",
    "landing": "landing_page_url",
    "referrer_url": "referring_url",
}
