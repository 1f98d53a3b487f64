"""The kinds of webhook CallRail posts, and how to tell them.

CallRail names the kind nowhere in body or headers (observed), so each kind has a URL of its own. The path is not
signed, which is why the shape of the body is held against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What CallRail posted. The value is the last segment of the URL path; those of the API have none."""

    PRE_CALL = "pre_call"
    CALL_ROUTING_COMPLETE = "call_routing_complete"
    POST_CALL = "post_call"
    CALL_MODIFIED = "call_modified"
    OUTBOUND_POST_CALL = "outbound_post_call"
    OUTBOUND_CALL_MODIFIED = "outbound_call_modified"
    TEXT_RECEIVED = "text_received"
    TEXT_SENT = "text_sent"
    FORM_SUBMISSION = "form_submission"
    CONVERT_ASSIST = "convert_assist"
    VOICE_ASSIST = "voice_assist"
    # What the API told when asked; nothing posts these.
    API_CALL = "api_call"
    API_TEXT = "api_text"
    API_FORM = "api_form"
    UNKNOWN = "unknown"


class Family(StrEnum):
    """The sort of thing a webhook tells of; kinds of one family share their fields."""

    CALL = "call"
    TEXT = "text"
    FORM = "form"
    ASSIST = "assist"
    UNKNOWN = "unknown"


FAMILY = {
    Kind.PRE_CALL: Family.CALL,
    Kind.CALL_ROUTING_COMPLETE: Family.CALL,
    Kind.POST_CALL: Family.CALL,
    Kind.CALL_MODIFIED: Family.CALL,
    Kind.OUTBOUND_POST_CALL: Family.CALL,
    Kind.OUTBOUND_CALL_MODIFIED: Family.CALL,
    Kind.TEXT_RECEIVED: Family.TEXT,
    Kind.TEXT_SENT: Family.TEXT,
    Kind.FORM_SUBMISSION: Family.FORM,
    Kind.CONVERT_ASSIST: Family.ASSIST,
    Kind.VOICE_ASSIST: Family.ASSIST,
    Kind.API_CALL: Family.CALL,
    Kind.API_TEXT: Family.TEXT,
    Kind.API_FORM: Family.FORM,
    Kind.UNKNOWN: Family.UNKNOWN,
}
FROM_API = frozenset({Kind.API_CALL, Kind.API_TEXT, Kind.API_FORM})
OUTBOUND = frozenset({Kind.OUTBOUND_POST_CALL, Kind.OUTBOUND_CALL_MODIFIED})

_BY_SEGMENT = {kind.value: kind for kind in Kind if kind not in FROM_API}

# CallRail documents separate outbound webhooks but also calls post-call "including outbound": the body's direction
# is the truth (webhooks article against the API reference).
_OUTBOUND_TWIN = {Kind.POST_CALL: Kind.OUTBOUND_POST_CALL, Kind.CALL_MODIFIED: Kind.OUTBOUND_CALL_MODIFIED}
_INBOUND_TWIN = {outbound: inbound for inbound, outbound in _OUTBOUND_TWIN.items()}

_CALL_MARKS = frozenset({"call_type", "answered", "customer_phone_number", "tracking_phone_number", "direction"})
_TEXT_MARKS = ("message_type", "conversation_id", "thread_resource_id", "source_number")


def kind_of_segment(segment: str) -> Kind:
    """The kind a URL path names; anything CallRail may invent later is `Kind.UNKNOWN`, never refused."""
    return _BY_SEGMENT.get(segment.replace("-", "_").lower(), Kind.UNKNOWN)


def kind_of(posted: Kind, fields: Mapping[str, object]) -> Kind:
    """The kind of a body posted as *posted*: the path decides within a family, the body's shape between families.

    Pre-call, routing-complete and post-call cannot be told apart by shape, so a call posted to `unknown` stays
    unknown unless it carries `changes`.
    """
    shape = kind_of_shape(fields)
    if FAMILY[shape] is not FAMILY[posted]:
        if shape is Kind.POST_CALL:
            return Kind.UNKNOWN
        posted = shape
    if fields.get("direction") == "outbound" or fields.get("call_type") == "outbound":
        return _OUTBOUND_TWIN.get(posted, posted)
    if fields.get("direction") == "inbound":
        return _INBOUND_TWIN.get(posted, posted)
    return posted


def kind_of_shape(fields: Mapping[str, object]) -> Kind:
    """The likeliest kind by the body alone. `Kind.POST_CALL` stands for any call that is neither more nor less."""
    if "answers" in fields and "last_interaction_resource_id" in fields:
        return Kind.CONVERT_ASSIST
    if "call_id" in fields and "resource_id" not in fields:
        return Kind.VOICE_ASSIST
    is_call = not _CALL_MARKS.isdisjoint(fields)
    if "form_data" in fields or (not is_call and _is_flat_form(fields)):
        return Kind.FORM_SUBMISSION
    if "content" in fields and any(mark in fields for mark in _TEXT_MARKS):
        return Kind.TEXT_SENT if "agent" in fields else Kind.TEXT_RECEIVED
    if is_call:
        return Kind.CALL_MODIFIED if "changes" in fields else Kind.POST_CALL
    return Kind.UNKNOWN


def _is_flat_form(fields: Mapping[str, object]) -> bool:
    """Whether this may be a form submission sent form-encoded, its nested keys written as Rails does (assumed)."""
    return "form_url" in fields or any(name.startswith("form_data[") for name in fields)
