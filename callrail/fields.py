"""The fields CallRail tells of calls, texts and forms: their types, and which are facts and which are opinions.

A *fact* (who called, how long, the recording) is filled once known and never blanked. An *opinion* (tags, note,
value, spam) is what people or models think now: each full object replaces it, also by nothing.

Names are those of the API's call object and of the webhooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FieldType(StrEnum):
    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    LIST = "list"
    OBJECT = "object"
    TIME = "time"
    PHONE = "phone"


class FieldClass(StrEnum):
    FACT = "fact"
    OPINION = "opinion"


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of one field. Fields CallRail adds later are facts of type text until they stand here."""

    name: str
    type: FieldType
    cls: FieldClass = FieldClass.FACT


def _facts(type_: FieldType, names: str) -> list[Field]:
    return [Field(name, type_) for name in names.split()]


def _opinions(type_: FieldType, names: str) -> list[Field]:
    return [Field(name, type_, FieldClass.OPINION) for name in names.split()]


_ALL = [
    *_facts(
        FieldType.TEXT,
        "resource_id company_id company_resource_id tracker_resource_id person_resource_id company_name "
        "company_time_zone direction call_type customer_city customer_state customer_country recording "
        "recording_player recording_redirect transcription sentiment source source_name medium campaign keywords "
        "referring_url referrer referrer_domain landing_page_url last_requested_url utm_source utm_medium utm_term "
        "utm_content utm_campaign gclid fbclid msclkid ga utma utmb utmc utmv utmx utmz device_type session_uuid "
        "timeline_url agent_email agent content message_type conversation_id thread_resource_id form_url fcid ip "
        "kissmetrics_id call_id last_interaction_resource_id last_interaction_type customer_zip",
    ),
    *_facts(FieldType.PHONE, "customer_phone_number tracking_phone_number business_phone_number"),
    *_facts(FieldType.PHONE, "source_number destination_number tracking_number"),
    *_facts(FieldType.BOOLEAN, "answered voicemail first_call first_form"),
    *_facts(FieldType.INTEGER, "duration recording_duration prior_calls total_calls interaction_count"),
    *_facts(FieldType.TIME, "start_time created_at timestamp received_at submitted_at updated_at"),
    *_facts(FieldType.LIST, "conversational_transcript call_highlights keywords_spotted waveforms media_urls"),
    *_facts(FieldType.LIST, "integration_data zip_code answers changes"),
    *_facts(FieldType.OBJECT, "milestones speaker_percent custom keypad_entries voice_assist_message form_data"),
    *_opinions(FieldType.TEXT, "customer_name note value lead_status score lead_score lead_explanation call_summary"),
    *_opinions(FieldType.TEXT, "good_lead_call_id good_lead_call_time"),
    *_opinions(FieldType.BOOLEAN, "spam"),
    *_opinions(FieldType.LIST, "tags detail_tags"),
]

FIELDS: dict[str, Field] = {field.name: field for field in _ALL}

OPINIONS = frozenset(field.name for field in _ALL if field.cls is FieldClass.OPINION)

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
