"""From a delivery to its message: readable with few facts and with many, and never a failure."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callrail.fields import FIELDS
from routers.messages import Message
from routers.outbox import Delivery
from routers.templates import phone, render
from routers.transitions import Transition

OCCURRED_AT = datetime(2026, 3, 10, 18, 15, 2, tzinfo=UTC)
FULL: dict[str, Any] = {
    "company_name": "Acme Plumbing",
    "company_time_zone": "America/New_York",
    "customer_name": "Avery Quill",
    "customer_phone_number": "+14045550101",
    "customer_city": "Atlanta",
    "customer_state": "GA",
    "first_call": True,
    "source": "Google Ads",
    "duration": 75,
    "call_summary": "A pipe burst.",
    "transcription": "Hello, a pipe burst.",
    "source_number": "404-555-0101",
    "destination_number": "+17705550102",
    "content": "Can somebody come?",
    "form_data": {"your_name": "Avery Quill", "message": "Water\non the floor", "empty": ""},
}


def rendered(transition: Transition, facts: dict[str, Any], occurred_at: datetime = OCCURRED_AT) -> Message:
    return render(
        Delivery(
            id="dl_1",
            fence=1,
            attempts=0,
            rule="r",
            company="acme",
            object_type="call",
            callrail_id="CAL1",
            transition=transition,
            occurred_at=occurred_at,
            stage=facts.get("stage", "ended"),
            outcome=facts.get("outcome"),
            fields=facts,
        )
    )


@pytest.mark.parametrize(
    ("transition", "title", "lines"),
    [
        (
            Transition.CALL_MISSED,
            "Missed call · Acme Plumbing",
            (
                "Avery Quill · (404) 555-0101 · Atlanta, GA · first call",
                "via Google Ads · 1 min 15 s · 10 Mar 14:15",
                "“A pipe burst.”",
            ),
        ),
        (
            Transition.TEXT_RECEIVED,
            "Text received · Acme Plumbing",
            ("404-555-0101 → (770) 555-0102", "“Can somebody come?”", "10 Mar 14:15"),
        ),
        (
            Transition.FORM_SUBMITTED,
            "Form submitted · Acme Plumbing",
            ("your name: Avery Quill", "message: Water on the floor", "via Google Ads · 10 Mar 14:15"),
        ),
        (
            Transition.UNKNOWN_RECEIVED,
            "Unknown webhook received · Acme Plumbing",
            ("Stored and kept; its kind is not understood yet.", "10 Mar 14:15"),
        ),
    ],
    ids=["call", "text", "form", "unknown"],
)
def test_a_message_says_who_what_and_when(transition: Transition, title: str, lines: tuple[str, ...]) -> None:
    """In the company's own time, with the number as people write it."""
    message = rendered(transition, FULL)

    assert (message.title, message.lines) == (title, lines)


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("facts", [{}, dict.fromkeys(FULL), FULL], ids=["nothing-told", "all-told-empty", "full"])
def test_every_transition_has_a_text_without_holes(transition: Transition, facts: dict[str, Any]) -> None:
    """What is not known leaves out its part: no `None`, no empty line, no dangling separator."""
    message = rendered(transition, facts)

    assert message.title.endswith("Acme Plumbing" if facts.get("company_name") else " · acme")
    for line in (message.title, *message.lines):
        assert line
        assert "None" not in line
        assert line == line.strip(" ·")
        assert "·  ·" not in line


def test_a_withheld_number_is_said_and_an_unknown_zone_is_utc() -> None:
    """Nobody is told a wrong time of day."""
    message = rendered(Transition.CALL_MISSED, {"customer_phone_number": None})

    assert message.lines == ("number withheld", "10 Mar 18:15 UTC")


@pytest.mark.parametrize("zone", ["America", "../../etc/passwd", "", "\x00", "x" * 300, "Mars/Base", "-05:00"])
def test_a_time_zone_that_is_none_costs_nobody_a_message(zone: str) -> None:
    """`America` alone is a folder of the zone files: reading it raised OSError, and the lead was a dead letter."""
    message = rendered(Transition.CALL_MISSED, {"company_time_zone": zone})

    assert message.lines[-1] == "10 Mar 18:15 UTC"


def test_a_long_text_is_cut() -> None:
    """Three hundred characters of a transcript are enough for a notification."""
    (_, _, said) = rendered(Transition.CALL_VOICEMAIL, {"transcription": "word " * 500}).lines

    assert len(said) == 302
    assert said.endswith("…”")


def test_a_long_form_is_cut() -> None:
    """Twelve of its fields at most, and the time."""
    form = {f"field {number}": "x" for number in range(100)}

    assert len(rendered(Transition.FORM_SUBMITTED, {"form_data": form}).lines) == 13


def test_systems_get_the_fields_and_whose_they_are() -> None:
    """The data names company, object and rule; the key is the delivery's id."""
    message = rendered(Transition.CALL_MISSED, {"duration": 20, "tags": None})

    assert message.key == "dl_1"
    assert message.data == {
        "company": "acme",
        "object": {"type": "call", "id": "CAL1"},
        "rule": "r",
        "fields": {"duration": 20, "tags": None, **OWN},
    }


OWN = {"company": "acme", "outcome": None, "stage": "ended"}
SECRET_LINK = "https://app.callrail.com/calls/CAL1/recording/redirect?access_key=0123456789"


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(SECRET_LINK, id="text"),
        pytest.param([SECRET_LINK, SECRET_LINK], id="list"),
        pytest.param({"left": [{"url": SECRET_LINK}]}, id="nested"),
    ],
)
def test_a_link_with_an_access_key_never_leaves(told: object) -> None:
    """Whoever holds such a link can listen; links in lists and blocks used to slip through."""
    message = rendered(Transition.CALL_ENDED, {"recording": told, "waveforms": told, "duration": 20})

    assert message.data["fields"] == {"duration": 20, **OWN}
    assert "access_key" not in f"{message.title} {message.lines}"


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("+14045550101", "(404) 555-0101"),
        ("404-555-0101", "404-555-0101"),
        ("+442079460000", "+442079460000"),
        ("+1404555010x", "+1404555010x"),
        (None, ""),
        ("", ""),
    ],
)
def test_a_north_american_number_is_written_as_people_do(number: object, written: str) -> None:
    """Any other stays as it was told."""
    assert phone(number) == written


_text = st.text(max_size=40) | st.text(string.digits + "+-", max_size=14)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=10,
)


@given(
    st.sampled_from(Transition),
    st.dictionaries(st.sampled_from([*FULL, *FIELDS, "outcome", "new_field"]), _values, max_size=12),
    st.datetimes(timezones=st.just(UTC)),
)
@example(Transition.CALL_MISSED, {"company_time_zone": "Asia/Tokyo"}, datetime.max.replace(tzinfo=UTC))
def test_no_fact_can_break_a_message(transition: Transition, facts: dict[str, Any], occurred_at: datetime) -> None:
    """Whatever CallRail may tell, there is a message for people and data that is JSON."""
    message = rendered(transition, facts, occurred_at)

    assert message.title
    assert all(message.lines)
    assert orjson.loads(orjson.dumps(message.data))["fields"].keys() <= facts.keys() | OWN.keys()
