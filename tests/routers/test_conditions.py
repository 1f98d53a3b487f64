"""Conditions: what each operator asks, and what it makes of a value, of nothing and of what was not told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from receiver.positioned_yaml import read
from routers.rules.conditions import Condition, compile_conditions
from routers.rules.operators import OPERATORS
from routers.transitions import Transition

GOLDEN = Path(__file__).parent / "golden" / "conditions.txt"

CHANGED, ENDED, FORM_SENT = Transition.CALL_CHANGED, Transition.CALL_ENDED, Transition.FORM_SUBMITTED
RECEIVED = datetime(2026, 3, 10, 18, 30, tzinfo=UTC)
FORM: dict[str, Any] = {
    "form_data": {
        "service": "Repair",
        "age": 41,
        "budget": "$1,250.00",
        "agreed": "true",
        "rooms": ["Kitchen", "Bath"],
        "address": {"city": "Atlanta"},
        "empty": "",
        "phone": "(770) 555-0123",
        "wished": "2026-03-12",
    }
}
NUMBER = "customer_phone_number"


def compiled(block: Mapping[str, object], *when: Transition) -> tuple[Condition, ...]:
    """The conditions of *block*, which must be without mistakes."""

    def complain(at: object, problem: str, hint: str = "", *, key: bool = False, warning: bool = False) -> None:
        assert warning, (at, problem, hint)

    return compile_conditions(block, when or tuple(Transition), complain)


def verdict(block: Mapping[str, object], facts: Mapping[str, Any], *when: Transition) -> bool | None:
    """What the one line of *block* makes of *facts*; both twins must say so."""
    (condition,) = compiled(block, *when)
    finding = condition.explain(facts)
    assert condition.holds(facts) is (finding.holds is True)
    return finding.holds


@pytest.mark.parametrize(
    ("field", "wanted", "facts", "holds"),
    [
        pytest.param("source", "Yelp", {"source": "Yelp"}, True, id="value-equal"),
        pytest.param("source", "Yelp", {"source": "Bing"}, False, id="value-other"),
        pytest.param("source", "Yelp", {"source": "yELP"}, True, id="value-in-other-capitals"),
        pytest.param("customer_city", "Straße", {"customer_city": "STRASSE"}, True, id="value-folded-as-unicode"),
        pytest.param("source", "Yelp", {"source": ["yelp", "x"]}, True, id="text-told-as-list"),
        pytest.param("source", "Yelp", {"source": 7}, False, id="text-told-as-number"),
        pytest.param("call_type", "missed", {"call_type": "missed"}, True, id="enumeration-equal"),
        pytest.param("call_type", "missed", {"call_type": "Missed"}, False, id="enumeration-is-exact"),
        pytest.param("call_type", ["missed", "voicemail"], {"call_type": "voicemail"}, True, id="enumeration-list"),
        pytest.param("first_call", True, {"first_call": True}, True, id="boolean-equal"),
        pytest.param("first_call", False, {"first_call": True}, False, id="boolean-other"),
        pytest.param("first_call", [True, False], {"first_call": False}, True, id="boolean-either"),
        pytest.param("duration", 60, {"duration": 60}, True, id="number-equal"),
        pytest.param("duration", [30, 60], {"duration": 60}, True, id="number-list"),
        pytest.param("company", "acme", {"company": "acme"}, True, id="own-field-company"),
        pytest.param("outcome", "missed", {"outcome": "missed"}, True, id="own-field-outcome"),
        pytest.param("hours", "open", {"hours": "closed"}, False, id="own-field-hours"),
        pytest.param("source", ["Yelp", "Bing"], {"source": "bing"}, True, id="list-holds-it"),
        pytest.param("source", ["Yelp", "Bing"], {"source": "Direct"}, False, id="list-lacks-it"),
        pytest.param("tags", "vip", {"tags": ["new", "VIP"]}, True, id="tag-among-others"),
        pytest.param("tags", ["vip", "press"], {"tags": ["press"]}, True, id="any-tag-of-a-list"),
        pytest.param("tags", "vip", {"tags": ["new", "vip customer"]}, False, id="tag-absent"),
        pytest.param("keywords_spotted", "leak", {"keywords_spotted": [{"keyword": "Leak"}]}, True, id="item-object"),
        pytest.param("duration", {"gt": 60}, {"duration": 61}, True, id="gt-above"),
        pytest.param("duration", {"gt": 60}, {"duration": 60}, False, id="gt-equal"),
        pytest.param("duration", {"gte": 60}, {"duration": 60}, True, id="gte-equal"),
        pytest.param("duration", {"gte": 60}, {"duration": 59}, False, id="gte-below"),
        pytest.param("duration", {"lt": 60}, {"duration": 59}, True, id="lt-below"),
        pytest.param("duration", {"lt": 60}, {"duration": 60}, False, id="lt-equal"),
        pytest.param("duration", {"lte": 60}, {"duration": 60}, True, id="lte-equal"),
        pytest.param("duration", {"lte": 60}, {"duration": 61}, False, id="lte-above"),
        pytest.param("duration", {"between": [10, 60]}, {"duration": 10}, True, id="between-lower-end"),
        pytest.param("duration", {"between": [10, 60]}, {"duration": 60}, True, id="between-upper-end"),
        pytest.param("duration", {"between": [10, 60]}, {"duration": 61}, False, id="between-above"),
        pytest.param("duration", {"gt": 10.5, "lt": 60}, {"duration": 11}, True, id="both-operators-hold"),
        pytest.param("duration", {"gt": 10, "lt": 60}, {"duration": 60}, False, id="one-operator-does-not"),
        pytest.param("duration", {"gt": 1, "lt": 9, "not": 5}, {"duration": 5}, False, id="one-of-three-does-not"),
        pytest.param("duration", {"not": {"gt": 60}}, {"duration": 5}, True, id="not-of-an-operator"),
        pytest.param("value", 1250, {"value": "$1,250.00"}, True, id="money-equal"),
        pytest.param("value", {"gt": 1000}, {"value": "$1,250.00"}, True, id="money-above"),
        pytest.param("value", {"lt": 1000}, {"value": "999.5"}, True, id="money-below"),
        pytest.param("value", {"lt": 1000}, {"value": "--"}, False, id="money-that-is-none"),
        pytest.param("score", 1, {"score": "1"}, True, id="score-told-as-text"),
        pytest.param("source", {"not": "Test"}, {"source": "Yelp"}, True, id="not-other"),
        pytest.param("source", {"not": "Test"}, {"source": "Test"}, False, id="not-equal"),
        pytest.param("source", {"not": ["Test", "Yelp"]}, {"source": "Yelp"}, False, id="not-of-a-list"),
        pytest.param("tags", {"not": "spam"}, {"tags": ["spam", "x"]}, False, id="not-a-tag-it-has"),
        pytest.param("recording", {"exists": True}, {"recording": "https://a"}, True, id="exists"),
        pytest.param("recording", {"exists": False}, {"recording": "https://a"}, False, id="exists-not-asked"),
        pytest.param("custom", {"exists": True}, {"custom": {"a": 1}}, True, id="exists-of-an-object"),
        pytest.param("source", {"prefix": "google"}, {"source": "Google Ads"}, True, id="prefix"),
        pytest.param("source", {"prefix": "ads"}, {"source": "Google Ads"}, False, id="prefix-elsewhere"),
        pytest.param("source", {"suffix": "ADS"}, {"source": "Google Ads"}, True, id="suffix"),
        pytest.param("source", {"suffix": "google"}, {"source": "Google Ads"}, False, id="suffix-elsewhere"),
        pytest.param("note", {"contains": "urgent"}, {"note": "Very URGENT!"}, True, id="contains"),
        pytest.param("note", {"contains": ["asap", "urgent"]}, {"note": "asap"}, True, id="contains-one-of"),
        pytest.param("note", {"contains": "urgent"}, {"note": "no hurry"}, False, id="contains-not"),
        pytest.param("tags", {"contains": "vip"}, {"tags": ["new", "A VIP customer"]}, True, id="contains-in-an-item"),
        pytest.param("tags", {"prefix": "vip"}, {"tags": ["new", "a vip"]}, False, id="prefix-of-no-item"),
        pytest.param("note", {"matches": r"\burgent\b"}, {"note": "so Urgent!"}, True, id="matches"),
        pytest.param("note", {"matches": "^urgent"}, {"note": "so urgent"}, False, id="matches-not"),
        pytest.param("note", {"matches": "(?-i)URGENT"}, {"note": "urgent"}, False, id="matches-capitals"),
        pytest.param("note", {"matches": ["^a", "b$"]}, {"note": "xb"}, True, id="matches-one-of"),
        pytest.param(NUMBER, "(770) 555-0123", {NUMBER: "+17705550123"}, True, id="phone-in-other-writing"),
        pytest.param(NUMBER, "+17705550123", {NUMBER: "770-555-0123"}, True, id="phone-told-dashed"),
        pytest.param(NUMBER, "+17705550123", {NUMBER: "+17705550124"}, False, id="phone-other"),
        pytest.param(NUMBER, "+17705550123", {NUMBER: "anonymous"}, False, id="phone-withheld"),
        pytest.param("source_number", "72345", {"source_number": "72345"}, True, id="phone-short-code"),
        pytest.param(NUMBER, {"phone_in": ["770.555.0123"]}, {NUMBER: "+17705550123"}, True, id="phone-in"),
        pytest.param(NUMBER, {"phone_in": ["770.555.0123"]}, {NUMBER: "+17705550124"}, False, id="phone-not-in"),
        pytest.param(NUMBER, {"prefix": "+1 (770)"}, {NUMBER: "770-555-0123"}, True, id="phone-prefix"),
        pytest.param(NUMBER, {"suffix": "555-0123"}, {NUMBER: "+17705550123"}, True, id="phone-suffix"),
        pytest.param(NUMBER, {"matches": r"^\+1770"}, {NUMBER: "(770) 555-0123"}, True, id="phone-matches-e164"),
        pytest.param("form_data.service", "repair", FORM, True, id="dotted"),
        pytest.param("form_data.address.city", "Atlanta", FORM, True, id="dotted-twice"),
        pytest.param("form_data.age", {"gt": 40}, FORM, True, id="dotted-number"),
        pytest.param("form_data.age", 41, FORM, True, id="dotted-number-equal"),
        pytest.param("form_data.age", "41", FORM, True, id="dotted-number-in-quotes"),
        pytest.param("form_data.budget", {"between": [1000, 2000]}, FORM, True, id="dotted-money"),
        pytest.param("form_data.agreed", True, FORM, True, id="dotted-tick"),
        pytest.param("form_data.agreed", False, FORM, False, id="dotted-other-tick"),
        pytest.param("form_data.rooms", "kitchen", FORM, True, id="dotted-list"),
        pytest.param("form_data.service", {"gt": 40}, FORM, False, id="dotted-text-is-not-above-a-number"),
        pytest.param("form_data.service.name", "x", FORM, False, id="dotted-below-a-text"),
        pytest.param("form_data.empty", {"exists": False}, FORM, True, id="dotted-empty"),
        pytest.param("form_data.phone", {"phone_in": ["+17705550123"]}, FORM, True, id="dotted-phone"),
        pytest.param("form_data.wished", {"lt": "2026-03-13"}, FORM, True, id="dotted-time"),
    ],
)
def test_an_operator_asks_what_it_says(field: str, wanted: object, facts: dict[str, Any], holds: bool) -> None:
    """One row per operator and kind of value."""
    assert verdict({field: wanted}, facts) is holds


def test_every_operator_has_a_row() -> None:
    """A new operator is not forgotten above or below."""
    source = Path(__file__).read_text()

    assert [name for name in OPERATORS if f'{{"{name}": ' not in source] == []


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        pytest.param("2026-03-10", True, id="that-day"),
        pytest.param("2026-03-11", False, id="another-day"),
        pytest.param("2026-03-10T14:15:02-04:00", True, id="same-instant-of-another-zone"),
        pytest.param({"gt": "2026-03-10"}, False, id="after-a-day-begins-when-it-ends"),
        pytest.param({"gt": "2026-03-09"}, True, id="after-the-day-before"),
        pytest.param({"gte": "2026-03-10"}, True, id="from-a-day"),
        pytest.param({"lt": "2026-03-10"}, False, id="before-a-day"),
        pytest.param({"lte": "2026-03-10"}, True, id="until-a-day-includes-it"),
        pytest.param({"between": ["2026-03-01", "2026-03-10"]}, True, id="between-days-includes-the-last"),
        pytest.param({"between": ["2026-03-01", "2026-03-09"]}, False, id="between-days-before"),
        pytest.param({"lt": "2026-03-10T18:15:02.001Z"}, True, id="before-an-instant"),
        pytest.param({"within": "15m"}, True, id="within"),
        pytest.param({"within": "14m"}, False, id="not-within"),
        pytest.param({"not": {"within": "14m"}}, True, id="not-of-within"),
    ],
)
def test_a_time_compares_by_instant(wanted: object, holds: bool) -> None:
    """A day is the whole of it, in UTC; `within` looks back from when the webhook came."""
    facts = {"start_time": "2026-03-10T13:15:02-05:00", "$received": RECEIVED}

    assert verdict({"start_time": wanted}, facts) is holds


def test_within_needs_to_know_when_the_webhook_came() -> None:
    """Nobody knows how old a call is when nobody knows when its webhook came."""
    assert verdict({"start_time": {"within": "15m"}}, {"start_time": "2026-03-10T13:15:02Z"}) is None
    assert verdict({"start_time": {"within": "15m"}}, {"$received": RECEIVED}) is None
    assert verdict({"start_time": {"within": "15m"}}, {"start_time": None, "$received": RECEIVED}) is False
    assert verdict({"start_time": {"within": "15m"}}, {"start_time": "soon", "$received": RECEIVED}) is False


def test_a_time_after_the_webhook_came_is_within() -> None:
    """Clocks differ: a call that began a minute from now is no old one."""
    facts = {"start_time": "2026-03-10T18:31:00Z", "$received": RECEIVED}

    assert verdict({"start_time": {"within": "15m"}}, facts) is True


TAGGED: dict[str, Any] = {"tags": ["vip", "new"], "changes": ["tags"], "$before": {"tags": ["vip", "old"]}}


@pytest.mark.parametrize(
    ("field", "wanted", "facts", "holds"),
    [
        pytest.param("tags", {"changed": True}, TAGGED, True, id="changed"),
        pytest.param("tags", {"changed": False}, TAGGED, False, id="changed-not-asked"),
        pytest.param("note", {"changed": True}, TAGGED, False, id="another-changed"),
        pytest.param("note", {"changed": False}, TAGGED, True, id="unchanged"),
        pytest.param("note", {"changed": True}, {"changes": None}, False, id="nothing-changed"),
        pytest.param("note", {"changed": True}, {"note": "a"}, None, id="changes-not-told"),
        pytest.param("tags", {"added": "NEW"}, TAGGED, True, id="added"),
        pytest.param("tags", {"added": "vip"}, TAGGED, False, id="added-that-was-there"),
        pytest.param("tags", {"added": ["x", "new"]}, TAGGED, True, id="added-one-of"),
        pytest.param("tags", {"removed": "old"}, TAGGED, True, id="removed"),
        pytest.param("tags", {"removed": "vip"}, TAGGED, False, id="removed-that-is-there"),
        pytest.param("tags", {"removed": "new"}, {**TAGGED, "changes": ["note"]}, False, id="removed-of-another"),
        pytest.param("tags", {"removed": "old"}, {**TAGGED, "tags": None}, True, id="removed-the-last"),
        pytest.param(
            "tags",
            {"added": "new"},
            {"tags": ["new"], "changes": ["tags"], "$before": {"tags": None}},
            True,
            id="added-to-nothing",
        ),
        pytest.param("tags", {"added": "new"}, {"tags": ["new"], "changes": ["tags"]}, None, id="added-to-the-unknown"),
        pytest.param("tags", {"added": "new"}, {"tags": ["new"]}, None, id="added-changes-not-told"),
        pytest.param("tags", {"not": {"added": "new"}}, {"tags": ["new"]}, None, id="not-added-changes-not-told"),
        pytest.param("tags", {"not": {"added": "new"}}, TAGGED, False, id="not-added"),
        pytest.param("tags", {"changed": True, "contains": "ne"}, TAGGED, True, id="changed-and-contains"),
        pytest.param("tags", {"changed": True, "contains": "xx"}, TAGGED, False, id="changed-and-contains-not"),
        pytest.param("changes", "tags", TAGGED, True, id="changes-is-a-list-itself"),
    ],
)
def test_changes_are_asked_of_two_versions(
    field: str, wanted: object, facts: dict[str, Any], holds: bool | None
) -> None:
    """`changed`, `added` and `removed` look at what was before; where nobody knows, they say nothing."""
    assert verdict({field: wanted}, facts, CHANGED) is holds


ASKED = [
    pytest.param("Yelp", id="value"),
    pytest.param(["Yelp", "Bing"], id="list"),
    pytest.param({"not": "Yelp"}, id="not"),
    pytest.param({"not": {"not": "Yelp"}}, id="not-not"),
    pytest.param({"exists": True}, id="exists"),
    pytest.param({"exists": False}, id="exists-false"),
    pytest.param({"not": {"exists": True}}, id="not-exists"),
    pytest.param({"not": {"contains": "x"}}, id="not-contains"),
    pytest.param({"prefix": "a", "suffix": "b"}, id="two"),
]


@pytest.mark.parametrize("wanted", ASKED)
def test_a_field_not_told_yet_satisfies_nothing(wanted: object) -> None:
    """No rule speaks of what nobody knows, however the question is turned."""
    assert verdict({"source": wanted}, {"customer_name": "A"}) is None
    assert verdict({"not": {"source": wanted}}, {"customer_name": "A"}) is None
    assert verdict({"any": [{"source": wanted}, {"note": "x"}]}, {"note": "y"}) is None


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ("Yelp", False),
        (["Yelp"], False),
        ({"not": "Yelp"}, True),
        ({"not": ["Yelp", "Bing"]}, True),
        ({"not": {"not": "Yelp"}}, False),
        ({"exists": True}, False),
        ({"exists": False}, True),
        ({"not": {"exists": True}}, True),
        ({"contains": "x"}, False),
        ({"not": {"matches": "x"}}, True),
    ],
    ids=str,
)
def test_a_field_told_empty_satisfies_not(wanted: object, holds: bool) -> None:
    """Empty is known: it is not any value."""
    assert verdict({"source": wanted}, {"source": None}) is holds


def test_an_empty_number_is_neither_above_nor_below() -> None:
    """Told empty, a duration compares with nothing, and is not above anything either."""
    told = {"duration": None}

    assert verdict({"duration": {"gt": -1}}, told) is False
    assert verdict({"duration": {"lt": 999}}, told) is False
    assert verdict({"duration": {"not": {"gt": 60}}}, told) is True


def test_an_empty_list_of_tags_is_not_any_tag() -> None:
    """Tags told empty satisfy `not`, and no tag."""
    assert verdict({"tags": {"not": "spam"}}, {"tags": None}) is True
    assert verdict({"tags": "spam"}, {"tags": None}) is False


def test_a_key_a_form_does_not_have_is_empty_once_the_form_is_told() -> None:
    """A form told is told whole; without a form nothing is known of its keys."""
    missing = {"form_data.colour": {"exists": False}}

    assert verdict(missing, FORM) is True
    assert verdict(missing, {"source": "Yelp"}) is None


A, B = {"source": "a"}, {"medium": "b"}


@pytest.mark.parametrize(
    ("block", "facts", "holds"),
    [
        pytest.param({"all": [A, B]}, {"source": "a", "medium": "b"}, True, id="all"),
        pytest.param({"all": [A, B]}, {"source": "a", "medium": "x"}, False, id="all-but-one"),
        pytest.param({"all": [A, B]}, {"source": "a"}, None, id="all-one-unknown"),
        pytest.param({"all": [A, B]}, {"source": "x"}, False, id="all-one-false-one-unknown"),
        pytest.param({"any": [A, B]}, {"source": "x", "medium": "b"}, True, id="any"),
        pytest.param({"any": [A, B]}, {"source": "x", "medium": "x"}, False, id="any-none"),
        pytest.param({"any": [A, B]}, {"source": "a"}, True, id="any-one-true-one-unknown"),
        pytest.param({"any": [A, B]}, {"source": "x"}, None, id="any-one-false-one-unknown"),
        pytest.param({"any": [{**A, **B}]}, {"source": "a", "medium": "x"}, False, id="lines-of-a-block-must-all-hold"),
        pytest.param({"not": {**A, **B}}, {"source": "a", "medium": "b"}, False, id="not-of-both"),
        pytest.param({"not": {**A, **B}}, {"source": "a", "medium": "x"}, True, id="not-of-one"),
        pytest.param({"not": {"any": [A, B]}}, {"source": "x", "medium": "x"}, True, id="not-any"),
        pytest.param({"not": A}, {"medium": "b"}, None, id="not-of-the-unknown"),
        pytest.param({"not": {**A, **B}}, {"medium": "x"}, True, id="not-of-one-unknown-one-false"),
    ],
)
def test_blocks_are_joined_by_three_valued_logic(
    block: dict[str, object], facts: dict[str, Any], holds: bool | None
) -> None:
    """What nobody knows decides nothing, and hinders nothing that is decided without it."""
    assert verdict(block, facts) is holds


def test_a_condition_names_its_fields() -> None:
    """Who asks what a rule depends on hears every field once, without what is below the dot."""
    (first, joined) = compiled({"form_data.email": "a", "any": [{"source": "b"}, {"not": {"medium": "c"}}]})

    assert (first.field, set(first.fields)) == ("form_data.email", {"form_data"})
    assert (joined.field, set(joined.fields)) == ("any", {"source", "medium"})


@pytest.mark.parametrize(
    ("block", "reading"),
    [
        ({"first_call": True}, "first_call is true"),
        ({"source": ["Yelp", "Bing", "Direct"]}, "source is Yelp, Bing or Direct"),
        ({"source": {"not": "Yelp"}}, "source is not Yelp"),
        ({"tags": "vip"}, "tags has vip"),
        ({"tags": {"not": ["vip", "new"]}}, "tags does not have vip or new"),
        ({"duration": {"gt": 60}}, "duration is more than 60"),
        ({"duration": {"not": {"gt": 60}}}, "duration is not more than 60"),
        ({"duration": {"gte": 60, "lt": 3600}}, "duration is 60 or more and less than 3,600"),
        ({"duration": {"lte": 60}}, "duration is 60 or less"),
        ({"duration": {"between": [10, 60]}}, "duration is between 10 and 60"),
        ({"start_time": {"gt": "2026-01-31"}}, "start_time is after 2026-01-31"),
        ({"start_time": {"gte": "2026-01-31"}}, "start_time is 2026-01-31 or later"),
        ({"start_time": {"lt": "2026-01-31"}}, "start_time is before 2026-01-31"),
        ({"start_time": {"lte": "2026-01-31"}}, "start_time is 2026-01-31 or earlier"),
        ({"start_time": {"within": "15m"}}, "start_time is at most 15m before the webhook came"),
        ({"note": {"exists": True}}, "note is not empty"),
        ({"note": {"exists": False}}, "note is empty"),
        ({"source": {"prefix": "Google"}}, "source starts with 'Google'"),
        ({"source": {"suffix": "Ads"}}, "source ends with 'Ads'"),
        ({"note": {"contains": ["a", "b"]}}, "note contains 'a' or 'b'"),
        ({"note": {"not": {"contains": "a"}}}, "note does not contain 'a'"),
        ({"note": {"matches": "^a"}}, "note matches /^a/"),
        ({"tags": {"changed": True}}, "tags changed"),
        ({"tags": {"changed": False}}, "tags did not change"),
        ({"tags": {"added": "vip"}}, "tags gained vip"),
        ({"tags": {"removed": "vip"}}, "tags lost vip"),
        ({NUMBER: {"phone_in": ["(770) 555-0123"]}}, f"{NUMBER} is +17705550123"),
        ({"any": [A, B]}, "one of these: source is a; medium is b"),
        ({"all": [A, B]}, "source is a and medium is b"),
        ({"not": {**A, **B}}, "not (source is a and medium is b)"),
    ],
    ids=str,
)
def test_a_condition_reads_as_a_sentence(block: dict[str, object], reading: str) -> None:
    """`rules show` says in plain English what a rule asks."""
    assert [condition.reading for condition in compiled(block, CHANGED)] == [reading]


@pytest.mark.parametrize(
    ("block", "facts", "sentence"),
    [
        ({"duration": {"gt": 60}}, {"duration": 12}, "duration: is 12, wanted more than 60"),
        ({"hours": "open"}, {"hours": "closed"}, "hours: is closed, wanted open"),
        ({"tags": "vip"}, {}, "tags: not told yet"),
        ({"tags": "vip"}, {"tags": ["a", "b"]}, "tags: is a, b, wanted one that has vip"),
        ({"tags": "vip"}, {"tags": None}, "tags: is empty, wanted one that has vip"),
        ({"spam": {"not": True}}, {"spam": True}, "spam: is true, wanted not true"),
        ({"note": {"contains": "x"}}, {"note": "a" * 200}, f"note: is {'a' * 79}…, wanted one that contains 'x'"),
        ({"note": "x"}, {"note": "two\nlines"}, "note: is two lines, wanted x"),
        ({"note": "x"}, {"note": "\u202eevil\x1b[2J " * 1_000}, f"note: is {'evil [2J ' * 8}evil [2…, wanted x"),
        ({"tags": {"added": "vip"}}, TAGGED, "tags: was vip, old, is vip, new, wanted one that gained vip"),
        ({"note": {"changed": True}}, TAGGED, "note: did not change, wanted one that changed"),
        ({"note": {"changed": True}}, {}, "note: what changed is not known, wanted one that changed"),
        (
            {"start_time": {"within": "15m"}},
            {"start_time": "2026-01-31T08:00:00Z", "$received": RECEIVED},
            "start_time: is 2026-01-31T08:00:00Z, wanted at most 15m before the webhook came",
        ),
        ({"start_time": {"within": "15m"}}, {}, "start_time: not told yet, wanted at most 15m before the webhook came"),
        (
            {"any": [A, B]},
            {"source": "x", "medium": "y"},
            "none of these: source: is x, wanted a; medium: is y, wanted b",
        ),
        ({"any": [A, B]}, {"source": "x", "medium": "b"}, "medium: is b, wanted b"),
        ({"all": [A, B]}, {"source": "a", "medium": "y"}, "medium: is y, wanted b"),
        ({"all": [A, B]}, {"source": "a"}, "medium: not told yet"),
        ({"not": A}, {"source": "a"}, "not wanted: source: is a, wanted a"),
    ],
    ids=str,
)
def test_a_finding_says_what_was_found_and_wanted(
    block: dict[str, object], facts: dict[str, Any], sentence: str
) -> None:
    """`explain` says it in words, cut to 80 characters a value."""
    (condition,) = compiled(block, CHANGED)

    assert condition.explain(facts).sentence == sentence


# --- what is refused -------------------------------------------------------------------------------------------------

_RINGING, _TEXT = Transition.CALL_RINGING, Transition.TEXT_RECEIVED
_deep: dict[str, Any] = {"source": "x"}
for _ in range(30):
    _deep = {"not": _deep}

BAD: list[tuple[str, dict[Any, object], tuple[Transition, ...]]] = [
    ("unknown field", {"sorce": "x"}, (ENDED,)),
    ("unknown field unlike any", {"zzzz": "x"}, (ENDED,)),
    ("a field of another kind of thing, misspelt", {"form_dat.x": "x"}, (ENDED,)),
    ("an operator where a field is expected", {"contains": "x"}, (ENDED,)),
    ("no text as a field", {7: "x"}, (ENDED,)),
    ("a dot below a text", {"source.name": "x"}, (ENDED,)),
    ("nothing behind a dot", {"form_data.": "x"}, (FORM_SENT,)),
    ("an object without a dot", {"form_data": "x"}, (FORM_SENT,)),
    ("an object as a block", {"form_data": {"email": "x"}}, (FORM_SENT,)),
    ("an operator of an object", {"custom": {"contains": "x"}}, (ENDED,)),
    ("unknown operator", {"duration": {"gtt": 1}}, (ENDED,)),
    ("unknown operator unlike any", {"duration": {"over": 1}}, (ENDED,)),
    ("no text as an operator", {"duration": {7: 1}}, (ENDED,)),
    ("an empty list", {"source": []}, (ENDED,)),
    ("an empty block", {"source": {}}, (ENDED,)),
    ("no value", {"source": None}, (ENDED,)),
    ("no value in a list", {"source": ["x", None]}, (ENDED,)),
    ("an empty text", {"source": " "}, (ENDED,)),
    ("a list in a list", {"source": [["x"]]}, (ENDED,)),
    ("a block in a list", {"source": [{"not": "x"}]}, (ENDED,)),
    ("too many values", {"source": ["x"] * 1001}, (ENDED,)),
    ("a phone number without quotes", {NUMBER: 14045550100}, (ENDED,)),
    ("a phone number of ten digits without quotes", {NUMBER: {"phone_in": [4045550100]}}, (ENDED,)),
    ("a phone number that is none", {NUMBER: "555-012"}, (ENDED,)),
    ("a filler code as a phone number", {NUMBER: "+266696687"}, (ENDED,)),
    ("a phone number where a list is expected", {NUMBER: {"phone_in": "+17705550123"}}, (ENDED,)),
    ("true for a phone number", {NUMBER: True}, (ENDED,)),
    ("part of a phone number without its country code", {NUMBER: {"prefix": "770"}}, (ENDED,)),
    ("part of a phone number with letters", {NUMBER: {"contains": "abc"}}, (ENDED,)),
    ("phone_in of a text", {"source": {"phone_in": ["+17705550123"]}}, (ENDED,)),
    ("a number for a text", {"source": 7}, (ENDED,)),
    ("a number for a tag", {"tags": 7}, (ENDED,)),
    ("true for a text", {"source": True}, (ENDED,)),
    ("a number for a time", {"start_time": 2026}, (ENDED,)),
    ("a time of day for a time", {"start_time": {"gt": "08:00"}}, (ENDED,)),
    ("a time without a zone", {"start_time": {"lt": "2026-01-31T08:00"}}, (ENDED,)),
    ("a text for a time", {"start_time": {"gte": "yesterday"}}, (ENDED,)),
    ("a day that is none", {"start_time": "2026-02-30"}, (ENDED,)),
    ("yes for true", {"first_call": "yes"}, (ENDED,)),
    ("on for true", {"first_call": "on"}, (ENDED,)),
    ("true in quotes", {"first_call": "true"}, (ENDED,)),
    ("a number for true", {"first_call": 1}, (ENDED,)),
    ("a number in quotes", {"duration": "60"}, (ENDED,)),
    ("a number with a zero in front", {"duration": {"gt": "0123"}}, (ENDED,)),
    ("minutes and seconds for a number", {"duration": "1:30"}, (ENDED,)),
    ("minutes and seconds for a bound", {"duration": {"gt": "1:30"}}, (ENDED,)),
    ("true for a number", {"duration": True}, (ENDED,)),
    ("money in quotes", {"value": {"gt": "$500"}}, (ENDED,)),
    ("gt of a text", {"duration": {"gt": "x"}}, (ENDED,)),
    ("lt of true", {"duration": {"lt": True}}, (ENDED,)),
    ("gte of a list", {"duration": {"gte": [1]}}, (ENDED,)),
    ("lte of nothing", {"duration": {"lte": None}}, (ENDED,)),
    ("gt of a number in quotes below a dot", {"form_data.age": {"gt": "40"}}, (FORM_SENT,)),
    ("exists of nothing", {"note": {"exists": None}}, (ENDED,)),
    ("within of a block", {"start_time": {"within": {"lt": 5}}}, (ENDED,)),
    ("a very long text for a number", {"duration": "x" * 100_000}, (ENDED,)),
    ("gt on a text", {"source": {"gt": 1}}, (ENDED,)),
    ("between of one value", {"duration": {"between": 10}}, (ENDED,)),
    ("between of three values", {"duration": {"between": [1, 2, 3]}}, (ENDED,)),
    ("between of a text", {"duration": {"between": [1, "x"]}}, (ENDED,)),
    ("between the wrong way round", {"duration": {"between": [60, 10]}}, (ENDED,)),
    ("between a number and a time", {"form_data.x": {"between": [1, "2026-01-31"]}}, (FORM_SENT,)),
    ("contains of a number", {"note": {"contains": 7}}, (ENDED,)),
    ("contains of nothing", {"note": {"contains": ""}}, (ENDED,)),
    ("contains on a number", {"duration": {"contains": "6"}}, (ENDED,)),
    ("prefix of a block", {"note": {"prefix": {"a": 1}}}, (ENDED,)),
    ("suffix on true or false", {"spam": {"suffix": "x"}}, (ENDED,)),
    ("matches of an open bracket", {"note": {"matches": "(a"}}, (ENDED,)),
    ("matches that looks ahead", {"note": {"matches": "a(?=b)"}}, (ENDED,)),
    ("matches that refers back", {"note": {"matches": r"(a)\1"}}, (ENDED,)),
    ("matches with nothing to repeat", {"note": {"matches": "*a"}}, (ENDED,)),
    ("matches that repeats too often", {"note": {"matches": "a{2000}"}}, (ENDED,)),
    ("matches that grows too large", {"note": {"matches": "(.{1,30}){1,30}x"}}, (ENDED,)),
    ("matches of 201 characters", {"note": {"matches": "a" * 201}}, (ENDED,)),
    ("matches of a number", {"note": {"matches": 7}}, (ENDED,)),
    ("exists of a text", {"recording": {"exists": "yes"}}, (ENDED,)),
    ("changed of a text", {"tags": {"changed": "yes"}}, (CHANGED,)),
    ("changed below a dot", {"form_data.x": {"changed": True}}, (FORM_SENT,)),
    ("changed where nothing is compared", {"tags": {"changed": True}}, (ENDED,)),
    ("changed where something is compared sometimes", {"tags": {"changed": True}}, (ENDED, CHANGED)),
    ("added on a text", {"note": {"added": "x"}}, (CHANGED,)),
    ("added of a number", {"tags": {"added": 7}}, (CHANGED,)),
    ("removed where nothing is compared", {"tags": {"removed": "x"}}, (ENDED,)),
    ("within of a number", {"start_time": {"within": 15}}, (ENDED,)),
    ("within of words", {"start_time": {"within": "15 minutes"}}, (ENDED,)),
    ("within on a number", {"duration": {"within": "15m"}}, (ENDED,)),
    ("not of nothing", {"source": {"not": None}}, (ENDED,)),
    ("not of an unknown operator", {"source": {"not": {"is": "x"}}}, (ENDED,)),
    ("any of a block", {"any": {"source": "x"}}, (ENDED,)),
    ("any of nothing", {"any": []}, (ENDED,)),
    ("all of texts", {"all": ["source"]}, (ENDED,)),
    ("all of an empty block", {"all": [{}]}, (ENDED,)),
    ("not of a list", {"not": [{"source": "x"}]}, (ENDED,)),
    ("not of an empty block", {"not": {}}, (ENDED,)),
    ("nested without end", _deep, (ENDED,)),
    ("mistakes in depth", {"any": [{"source": "x"}, {"not": {"duration": "60", "sorce": 1}}]}, (ENDED,)),
    ("a field never told there", {"recording": {"exists": True}}, (_RINGING,)),
    ("a field never told there, near to one that is", {"customer_zip": "30301"}, (_RINGING,)),
    ("a field never told at some", {"recording": {"exists": True}}, (_RINGING, ENDED)),
    ("a field of forms at a call", {"form_data.email": "x"}, (ENDED,)),
    ("answered of a ringing call", {"answered": False}, (_RINGING,)),
    ("call_type of a routed call", {"call_type": "missed"}, (_RINGING, Transition.CALL_ROUTED)),
    ("duration of a ringing and an ended call", {"duration": {"gt": 5}}, (_RINGING, ENDED)),
    ("outcome of a text", {"outcome": "missed"}, (_TEXT,)),
    ("opt_out of a call", {"opt_out": True}, (ENDED,)),
    ("a value outside the enumeration", {"call_type": "Missed"}, (ENDED,)),
    ("a value outside the enumeration unlike any", {"direction": "sideways"}, (ENDED,)),
    ("a name no change has", {"changes": "tag"}, (CHANGED,)),
    ("several mistakes at once", {"sorce": "x", "duration": {"gt": "x", "ltt": 1}, "source": ["a", 7]}, (ENDED,)),
]


def complaints(block: dict[Any, object], when: tuple[Transition, ...]) -> list[str]:
    """Every complaint of *block* as one line: place, sort, problem, hint."""
    lines: list[str] = []

    def complain(
        at: tuple[str | int, ...], problem: str, hint: str = "", *, key: bool = False, warning: bool = False
    ) -> None:
        place = ".".join(map(str, at)) if len(at) < 10 else f"{at[0]}...{at[-1]}"
        sort = "warning" if warning else "error"
        lines.append(f"  {place}{' (the key)' if key else ''}: {sort}: {problem}{f'; {hint}' if hint else ''}")

    compile_conditions(block, when, complain)
    return lines


def test_every_complaint_is_as_in_the_golden_file() -> None:
    """Each mistake in words and the remedy beside it; UPDATE_GOLDEN=1 writes the file anew."""
    lines: list[str] = []
    for title, block, when in BAD:
        told = complaints(block, when)
        assert told, f"nothing is said of: {title}"
        lines += [f"{title}, at {' and '.join(when)}", *told, ""]
    text = "\n".join(lines)

    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text.splitlines() == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("first_call: on", "first_call: error: 'on' does not fit this field; write true or false"),
        ("first_call: no", "first_call: error: 'no' does not fit this field; write true or false"),
        ("duration: 0123", "duration: error: '0123' does not fit this field; write a number"),
        ("duration: 1:30", "duration: error: '1:30' does not fit this field; write a number of seconds: 90"),
        ("customer_zip: 30301", "customer_zip: error: this is read as a number; quote it: '30301'"),
        ("source: null", "source: error: no value; to ask whether a field is empty, write {exists: false}"),
        (
            "customer_phone_number: +17705550123",
            "customer_phone_number: error: this is read as a number; quote it: '+17705550123'",
        ),
        (
            "start_time: {gt: 12:30}",
            "start_time.gt: error: '12:30' is a time of day, and start_time has a date; write hours: open, or a date",
        ),
    ],
)
def test_what_yaml_makes_of_unquoted_values_is_told(tmp_path: Path, written: str, told: str) -> None:
    """`on`, `no`, leading zeros, clock times and numbers come from the reader as something else than was meant."""
    path = tmp_path / "block.yaml"
    path.write_text(written)

    assert complaints(read(path).value, (ENDED,)) == [f"  {told}"]


@pytest.mark.parametrize("written", ["customer_zip: '30301'", "source: on", "start_time: 2026-01-31", "note: 0123"])
def test_what_yaml_leaves_as_text_needs_no_quotes(tmp_path: Path, written: str) -> None:
    """A date, a word and digits with a zero in front are text already."""
    path = tmp_path / "block.yaml"
    path.write_text(written)

    assert complaints(read(path).value, (ENDED,)) == []


def test_a_complaint_leaves_the_good_lines() -> None:
    """All mistakes are told at once, and what is right is still read."""
    told: list[object] = []
    good = compile_conditions(
        {"sorce": "x", "source": "y", "duration": {"gt": "x"}}, [ENDED], lambda *args, **_: told.append(args)
    )

    assert [condition.field for condition in good] == ["source"]
    assert len(told) == 2


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        pytest.param("(a+)+$", "a" * 5_000 + "!", id="nested-quantifiers"),
        pytest.param("(a|a)*b", "a" * 5_000, id="equal-alternatives"),
        pytest.param("(a|aa)+$", "a" * 5_000 + "!", id="overlapping-alternatives"),
        pytest.param("(.*a){25}", "a" * 5_000, id="many-ways-to-part"),
        pytest.param(r"^(\w+\s?)*$", "word " * 1_000 + "!", id="words"),
        pytest.param("((((.*)*)*)*)*x", "a" * 5_000, id="stars-of-stars"),
        pytest.param("(x+x+)+y", "x" * 1_000_000, id="a-million-letters"),
        pytest.param("(.{1,30}){1,20}x", "é" * 5_000, id="the-dearest-allowed"),
    ],
)
def test_no_pattern_explodes(pattern: str, text: str) -> None:
    """What takes Python's own engine hours is refused or found out in a blink."""
    (condition,) = compiled({"note": {"matches": pattern}}, ENDED)
    begun = time.process_time()
    condition.holds({"note": text})

    assert time.process_time() - begun < 1


def test_rules_without_numbers_and_patterns_load_neither_library() -> None:
    """Their tables cost start time, which an installation without such rules does not pay."""
    code = "import sys, routers.rules.conditions; print({'phonenumbers', 're2'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "set()"
