"""The kinds of webhook: how the path names them, and what the body has to say about it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callrail.kinds import FAMILY, FROM_API, Family, Kind, kind_of, kind_of_segment, kind_of_shape
from callrail.payload import read_payload
from tests.callrail.samples import ABSENT, SAMPLES, as_sent


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in FROM_API])
def test_a_kind_is_named_by_its_own_path_segment(kind: Kind) -> None:
    """Underscores, hyphens and capitals all name the same kind: people type these URLs."""
    hyphenated = kind.value.replace("_", "-")

    assert {kind_of_segment(s) for s in (kind.value, hyphenated, hyphenated.title(), kind.value.upper())} == {kind}


@pytest.mark.parametrize(
    "segment", ["", *sorted(FROM_API), "lead_created", "post call", "post_call ", "post__call", "../post_call", "é"]
)
def test_a_segment_nobody_knows_is_the_unknown_kind(segment: str) -> None:
    """A kind CallRail may invent later is taken in like the others."""
    assert kind_of_segment(segment) is Kind.UNKNOWN


@given(st.text())
def test_every_segment_names_a_kind(segment: str) -> None:
    """No path is refused for what its last segment says."""
    assert kind_of_segment(segment) in Kind


def test_every_kind_belongs_to_a_family() -> None:
    """A kind without a family could not be held against the shape of a body."""
    assert FAMILY.keys() == set(Kind)
    assert set(FAMILY.values()) == set(Family)


CALL = {"resource_id": "CAL1", "call_type": "answered", "answered": True, "direction": "inbound"}
OUTBOUND = CALL | {"direction": "outbound"}
TEXT = {"resource_id": "SCI1", "content": "Can you come?", "conversation_id": "k8mc8"}
FORM = {"resource_id": "FRM1", "form_data": {"name": "Kim"}}
CONVERT_ASSIST = {"answers": [], "last_interaction_resource_id": "CAL1"}
VOICE_ASSIST = {"call_id": "CAL1", "agent": "Ann"}

SHAPES = {
    "call": (CALL, Kind.POST_CALL),
    "call with changes": (CALL | {"changes": ["tags"]}, Kind.CALL_MODIFIED),
    "call told by one field": ({"tracking_phone_number": "+1"}, Kind.POST_CALL),
    "call with a field told empty": ({"call_type": None}, Kind.POST_CALL),
    "text": (TEXT, Kind.TEXT_RECEIVED),
    "text of an agent": (TEXT | {"agent": "Ann"}, Kind.TEXT_SENT),
    "text told by its type": ({"content": "Hi", "message_type": "sms"}, Kind.TEXT_RECEIVED),
    "content alone": ({"content": "Hi"}, Kind.UNKNOWN),
    "form": (FORM, Kind.FORM_SUBMISSION),
    "form with call fields": (FORM | {"customer_phone_number": "+1"}, Kind.FORM_SUBMISSION),
    "answers of Convert Assist": (CONVERT_ASSIST, Kind.CONVERT_ASSIST),
    "Voice Assist": (VOICE_ASSIST, Kind.VOICE_ASSIST),
    "call that also has call_id": (CALL | {"call_id": "CAL1"}, Kind.POST_CALL),
    "test ping": ({"foo": "bar"}, Kind.UNKNOWN),
    "nothing": ({}, Kind.UNKNOWN),
}


@pytest.mark.parametrize(("fields", "kind"), SHAPES.values(), ids=SHAPES)
def test_a_shape_has_one_likeliest_kind(fields: dict[str, Any], kind: Kind) -> None:
    """The body alone tells the family, and within it as much as a body can tell."""
    assert kind_of_shape(fields) is kind


AGAINST_THE_PATH: dict[str, tuple[Kind, dict[str, Any], Kind]] = {
    "pre-call keeps its path": (Kind.PRE_CALL, CALL, Kind.PRE_CALL),
    "routing-complete keeps its path": (Kind.CALL_ROUTING_COMPLETE, CALL, Kind.CALL_ROUTING_COMPLETE),
    "post-call keeps its path": (Kind.POST_CALL, CALL, Kind.POST_CALL),
    "post-call with changes keeps its path": (Kind.POST_CALL, CALL | {"changes": ["note"]}, Kind.POST_CALL),
    "call-modified without changes keeps its path": (Kind.CALL_MODIFIED, CALL, Kind.CALL_MODIFIED),
    "no direction told, inbound": (Kind.POST_CALL, {"answered": True}, Kind.POST_CALL),
    "no direction told, outbound": (Kind.OUTBOUND_POST_CALL, {"answered": True}, Kind.OUTBOUND_POST_CALL),
    "outbound on the inbound path": (Kind.POST_CALL, OUTBOUND, Kind.OUTBOUND_POST_CALL),
    "outbound change on the inbound path": (Kind.CALL_MODIFIED, OUTBOUND, Kind.OUTBOUND_CALL_MODIFIED),
    "inbound on the outbound path": (Kind.OUTBOUND_POST_CALL, CALL, Kind.POST_CALL),
    "inbound change on the outbound path": (Kind.OUTBOUND_CALL_MODIFIED, CALL, Kind.CALL_MODIFIED),
    "outbound on its own path": (Kind.OUTBOUND_POST_CALL, OUTBOUND, Kind.OUTBOUND_POST_CALL),
    "outbound pre-call has no twin": (Kind.PRE_CALL, OUTBOUND, Kind.PRE_CALL),
    "text on the call path": (Kind.POST_CALL, TEXT, Kind.TEXT_RECEIVED),
    "sent text on the call path": (Kind.POST_CALL, TEXT | {"agent": "Ann"}, Kind.TEXT_SENT),
    "sent text on the path of received ones": (Kind.TEXT_RECEIVED, TEXT | {"agent": "Ann"}, Kind.TEXT_RECEIVED),
    "form on the text path": (Kind.TEXT_SENT, FORM, Kind.FORM_SUBMISSION),
    "call on the form path": (Kind.FORM_SUBMISSION, CALL, Kind.UNKNOWN),
    "changed call on the form path": (Kind.FORM_SUBMISSION, CALL | {"changes": ["note"]}, Kind.CALL_MODIFIED),
    "changed outbound call on the form path": (
        Kind.FORM_SUBMISSION,
        OUTBOUND | {"changes": ["note"]},
        Kind.OUTBOUND_CALL_MODIFIED,
    ),
    "call on an unknown path": (Kind.UNKNOWN, CALL, Kind.UNKNOWN),
    "outbound call on an unknown path": (Kind.UNKNOWN, OUTBOUND, Kind.UNKNOWN),
    "changed call on an unknown path": (Kind.UNKNOWN, CALL | {"changes": ["note"]}, Kind.CALL_MODIFIED),
    "changed outbound call on an unknown path": (
        Kind.UNKNOWN,
        OUTBOUND | {"changes": ["note"]},
        Kind.OUTBOUND_CALL_MODIFIED,
    ),
    "text on an unknown path": (Kind.UNKNOWN, TEXT, Kind.TEXT_RECEIVED),
    "Convert Assist on the call path": (Kind.POST_CALL, CONVERT_ASSIST, Kind.CONVERT_ASSIST),
    "Voice Assist on the path of Convert Assist": (Kind.CONVERT_ASSIST, VOICE_ASSIST, Kind.CONVERT_ASSIST),
    "test ping on the call path": (Kind.POST_CALL, {"foo": "bar"}, Kind.UNKNOWN),
    "nothing understood on the call path": (Kind.POST_CALL, {}, Kind.UNKNOWN),
    "test ping on an unknown path": (Kind.UNKNOWN, {"foo": "bar"}, Kind.UNKNOWN),
}


@pytest.mark.parametrize(("posted", "fields", "kind"), AGAINST_THE_PATH.values(), ids=AGAINST_THE_PATH)
def test_path_and_shape_give_one_kind(posted: Kind, fields: dict[str, Any], kind: Kind) -> None:
    """The unsigned path decides within a family, the signed body between families and between in- and outbound."""
    assert kind_of(posted, fields) is kind


@given(st.sampled_from(Kind), st.dictionaries(st.sampled_from(["direction", "answers", "content"]), st.text()))
def test_a_call_told_outbound_is_never_an_inbound_kind_with_an_outcome(posted: Kind, more: dict[str, str]) -> None:
    """Nobody hears of a missed call that was our own: whatever the path, outbound calls keep their own kinds."""
    fields = OUTBOUND | {"changes": ["note"]} | more | {"direction": "outbound"}

    assert kind_of(posted, fields) not in (Kind.POST_CALL, Kind.CALL_MODIFIED)


POSTED_AS = {
    "pre_call.json": Kind.PRE_CALL,
    "call_routing_complete.json": Kind.CALL_ROUTING_COMPLETE,
    "post_call.json": Kind.POST_CALL,
    "post_call.recording_not_ready.json": Kind.POST_CALL,
    "post_call.form_urlencoded.txt": Kind.POST_CALL,
    "call_modified.json": Kind.CALL_MODIFIED,
    "outbound_post_call.json": Kind.OUTBOUND_POST_CALL,
    "outbound_call_modified.json": Kind.OUTBOUND_CALL_MODIFIED,
    "text_message_received.json": Kind.TEXT_RECEIVED,
    "text_message_received.mms.json": Kind.TEXT_RECEIVED,
    "text_message_received.docs_literal.json": Kind.TEXT_RECEIVED,
    "text_message_sent.json": Kind.TEXT_SENT,
    "form_submission.json": Kind.FORM_SUBMISSION,
    "form_submission.docs_literal.json": Kind.FORM_SUBMISSION,
    "convert_assist_complete.json": Kind.CONVERT_ASSIST,
    "voice_assist_call_answered.observed.json": Kind.VOICE_ASSIST,
    "test_ping.observed.json": Kind.UNKNOWN,
}
# What no body tells: these are calls, and the rest is in the path.
TOLD_BY_THE_PATH_ALONE = {Kind.PRE_CALL, Kind.CALL_ROUTING_COMPLETE, Kind.OUTBOUND_POST_CALL}


@pytest.mark.skipif(not SAMPLES.exists(), reason=ABSENT)
@pytest.mark.parametrize(("name", "kind"), POSTED_AS.items(), ids=POSTED_AS)
def test_a_sample_is_of_the_kind_it_is_posted_as(name: str, kind: Kind) -> None:
    """Every collected body agrees with its own path, and betrays its kind on another as far as a body can."""
    fields = read_payload(as_sent(name)).fields

    assert kind_of(kind, fields) is kind
    if kind is Kind.OUTBOUND_CALL_MODIFIED:
        assert kind_of_shape(fields) is Kind.CALL_MODIFIED
    elif kind in TOLD_BY_THE_PATH_ALONE:
        assert kind_of_shape(fields) is Kind.POST_CALL
    else:
        assert kind_of_shape(fields) is kind


@pytest.mark.skipif(not SAMPLES.exists(), reason=ABSENT)
def test_every_sample_has_its_row() -> None:
    """A sample that is added is tested, too."""
    found = {path.name for path in SAMPLES.iterdir() if path.is_file()} - {"signatures.json", "README.md"}

    assert found == POSTED_AS.keys()
