"""Conditions: what each operator asks, and what it makes of a value, of nothing and of what was not told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callrail.fields import FIELDS, FieldType
from routers.rules.conditions import OWN_FIELDS, compile_condition
from routers.rules.operators import BadCondition

FORM = {"form_data": {"service": "repair", "age": 41, "address": {"city": "Atlanta"}, "empty": None}}


@pytest.mark.parametrize(
    ("field", "wanted", "facts", "holds"),
    [
        pytest.param("source", "Yelp", {"source": "Yelp"}, True, id="value-equal"),
        pytest.param("source", "Yelp", {"source": "Bing"}, False, id="value-other"),
        pytest.param("source", "Yelp", {"source": "yelp"}, False, id="value-case-matters"),
        pytest.param("first_call", True, {"first_call": True}, True, id="boolean-equal"),
        pytest.param("first_call", False, {"first_call": True}, False, id="boolean-other"),
        pytest.param("duration", 60, {"duration": 60}, True, id="number-equal"),
        pytest.param("company", "acme", {"company": "acme"}, True, id="own-field-company"),
        pytest.param("outcome", "missed", {"outcome": "missed"}, True, id="own-field-outcome"),
        pytest.param("source", ["Yelp", "Bing"], {"source": "Bing"}, True, id="list-holds-it"),
        pytest.param("source", ["Yelp", "Bing"], {"source": "Direct"}, False, id="list-lacks-it"),
        pytest.param("tags", "vip", {"tags": ["new", "vip"]}, True, id="tag-among-others"),
        pytest.param("tags", ["vip", "press"], {"tags": ["press"]}, True, id="any-tag-of-a-list"),
        pytest.param("tags", "vip", {"tags": ["new"]}, False, id="tag-absent"),
        pytest.param("duration", {"gt": 60}, {"duration": 61}, True, id="gt-above"),
        pytest.param("duration", {"gt": 60}, {"duration": 60}, False, id="gt-equal"),
        pytest.param("duration", {"lt": 60}, {"duration": 59}, True, id="lt-below"),
        pytest.param("duration", {"lt": 60}, {"duration": 60}, False, id="lt-equal"),
        pytest.param("duration", {"gt": 10.5, "lt": 60}, {"duration": 11}, True, id="both-operators-hold"),
        pytest.param("duration", {"gt": 10, "lt": 60}, {"duration": 60}, False, id="one-operator-does-not"),
        pytest.param("duration", {"not": {"gt": 60}}, {"duration": 5}, True, id="not-of-an-operator"),
        pytest.param("source", {"not": "Test"}, {"source": "Yelp"}, True, id="not-other"),
        pytest.param("source", {"not": "Test"}, {"source": "Test"}, False, id="not-equal"),
        pytest.param("source", {"not": ["Test", "Yelp"]}, {"source": "Yelp"}, False, id="not-of-a-list"),
        pytest.param("tags", {"not": "spam"}, {"tags": ["spam", "x"]}, False, id="not-a-tag-it-has"),
        pytest.param("recording", {"exists": True}, {"recording": "https://a"}, True, id="exists"),
        pytest.param("recording", {"exists": False}, {"recording": "https://a"}, False, id="exists-not-asked"),
        pytest.param("form_data.service", "repair", FORM, True, id="dotted"),
        pytest.param("form_data.address.city", "Atlanta", FORM, True, id="dotted-twice"),
        pytest.param("form_data.age", {"gt": 40}, FORM, True, id="dotted-number"),
        pytest.param("form_data.service", {"gt": 40}, FORM, False, id="dotted-text-is-not-above-a-number"),
        pytest.param("form_data.service.name", "x", FORM, False, id="dotted-below-a-text"),
    ],
)
def test_an_operator_asks_what_it_says(field: str, wanted: object, facts: dict[str, Any], holds: bool) -> None:
    """One row per operator and kind of value."""
    assert compile_condition(field, wanted).holds(facts) is holds


ASKED = [
    pytest.param("Yelp", id="value"),
    pytest.param(["Yelp", "Bing"], id="list"),
    pytest.param({"not": "Yelp"}, id="not"),
    pytest.param({"not": {"not": "Yelp"}}, id="not-not"),
    pytest.param({"exists": True}, id="exists"),
    pytest.param({"exists": False}, id="exists-false"),
    pytest.param({"not": {"exists": True}}, id="not-exists"),
]


@pytest.mark.parametrize("wanted", ASKED)
def test_a_field_not_told_yet_satisfies_nothing(wanted: object) -> None:
    """No rule speaks of what nobody knows, however the question is turned."""
    assert compile_condition("source", wanted).holds({"customer_name": "A"}) is False


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
    ],
    ids=str,
)
def test_a_field_told_empty_satisfies_not(wanted: object, holds: bool) -> None:
    """Empty is known: it is not any value."""
    assert compile_condition("source", wanted).holds({"source": None}) is holds


def test_an_empty_number_is_neither_above_nor_below() -> None:
    """Told empty, a duration compares with nothing, and is not above anything either."""
    told = {"duration": None}

    assert not compile_condition("duration", {"gt": -1}).holds(told)
    assert not compile_condition("duration", {"lt": 999}).holds(told)
    assert compile_condition("duration", {"not": {"gt": 60}}).holds(told)


def test_an_empty_list_of_tags_is_not_any_tag() -> None:
    """Tags told empty satisfy `not`, and no tag."""
    assert compile_condition("tags", {"not": "spam"}).holds({"tags": None})
    assert not compile_condition("tags", "spam").holds({"tags": None})


def test_a_key_a_form_does_not_have_is_empty_once_the_form_is_told() -> None:
    """A form told is told whole; without a form nothing is known of its keys."""
    missing = compile_condition("form_data.colour", {"exists": False})

    assert missing.holds(FORM)
    assert not missing.holds({"source": "Yelp"})


@pytest.mark.parametrize(
    ("field", "wanted", "problem", "hint"),
    [
        pytest.param("sorce", "x", "unknown field 'sorce'", "did you mean 'source'?", id="unknown-field"),
        pytest.param("zzzz", "x", "unknown field 'zzzz'", "", id="unknown-field-unlike-any"),
        pytest.param("source.name", "x", "'source' has no fields of its own", "write source", id="dot-below-a-text"),
        pytest.param(
            "form_data", "x", "'form_data' holds several fields", "name one, like form_data.name", id="object-undotted"
        ),
        pytest.param("duration", {"gte": 1}, "unknown operator 'gte'", "did you mean 'gt'?", id="unknown-operator"),
        pytest.param(
            "duration",
            {"over": 1},
            "unknown operator 'over'",
            "there are: not, exists, gt, lt",
            id="unknown-operator-unlike-any",
        ),
        pytest.param("source", [], "an empty list matches nothing", "name at least one value", id="empty-list"),
        pytest.param(
            "source", {}, "a condition without an operator", "use one of not, exists, gt, lt", id="empty-block"
        ),
        pytest.param(
            "source", None, "no value", "to ask whether a field is empty, write {exists: false}", id="nothing"
        ),
        pytest.param("source", [["x"]], "a value is expected here", "", id="list-in-a-list"),
        pytest.param("source", [{"not": "x"}], "a value is expected here", "", id="block-in-a-list"),
        pytest.param("recording", {"exists": "yes"}, "exists is true or false, not 'yes'", "", id="exists-of-a-text"),
        pytest.param(
            "customer_phone_number",
            14045550100,
            "this is read as a number",
            "quote it: '+14045550100'",
            id="phone-unquoted",
        ),
        pytest.param("source", 7, "this is read as a number", "quote it: '7'", id="number-for-a-text"),
        pytest.param("start_time", 2026, "this is read as a number", "quote it: '2026'", id="number-for-a-time"),
        pytest.param("tags", 7, "this is read as a number", "quote it: '7'", id="number-for-a-tag"),
        pytest.param("first_call", "yes", "'yes' does not fit this field", "write true or false", id="text-for-a-bool"),
        pytest.param("first_call", 1, "1 does not fit this field", "write true or false", id="number-for-a-bool"),
        pytest.param("duration", "60", "'60' does not fit this field", "write a number", id="text-for-a-number"),
        pytest.param("duration", True, "True does not fit this field", "write a number", id="bool-for-a-number"),
        pytest.param("source", True, "True does not fit this field", "write text", id="bool-for-a-text"),
        pytest.param(
            "duration", {"gt": "1"}, "'1' is no number", "gt and lt compare numbers, like gt: 60", id="gt-of-a-text"
        ),
        pytest.param(
            "duration", {"lt": True}, "True is no number", "gt and lt compare numbers, like gt: 60", id="lt-of-a-bool"
        ),
        pytest.param(
            "source",
            {"gt": 1},
            "this field is never a number",
            "gt and lt compare numbers, like duration",
            id="gt-on-a-text",
        ),
    ],
)
def test_a_condition_that_cannot_be_meant_says_what_to_write(
    field: str, wanted: object, problem: str, hint: str
) -> None:
    """The mistake in words, and the remedy beside it."""
    with pytest.raises(BadCondition) as caught:
        compile_condition(field, wanted)

    assert (caught.value.problem, caught.value.hint) == (problem, hint)


@pytest.mark.parametrize(
    ("field", "wanted", "at"),
    [
        ("sorce", "x", ()),
        ("source", ["x", 7], (1,)),
        ("source", {"not": ["x", 7]}, ("not", 1)),
        ("duration", {"not": {"gt": "x"}}, ("not", "gt")),
    ],
)
def test_a_bad_condition_says_where_below_its_field(field: str, wanted: object, at: tuple[str | int, ...]) -> None:
    """The configuration turns it into line and column."""
    with pytest.raises(BadCondition) as caught:
        compile_condition(field, wanted)

    assert caught.value.at == at


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
_any_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
_operators = st.fixed_dictionaries({}, optional=dict.fromkeys(("not", "exists", "gt", "lt"), _any_json))


@given(
    st.sampled_from([*FIELDS, *OWN_FIELDS, "form_data.x", "custom.a.b"]),
    _any_json | _operators,
    st.dictionaries(st.sampled_from([*FIELDS, "outcome"]), _any_json, max_size=4),
    _any_json,
)
def test_a_condition_is_refused_when_read_or_answers_for_any_facts(
    field: str, wanted: object, facts: dict[str, Any], found: object
) -> None:
    """After loading, no fact CallRail may tell makes a condition raise."""
    try:
        condition = compile_condition(field, wanted)
    except BadCondition:
        return

    told = {**facts, field.partition(".")[0]: found}
    if FIELDS.get(field) is not None and FIELDS[field].type is FieldType.LIST and found is not None:
        told[field] = [found]  # normalising makes a list of whatever is told for such a field
    assert condition.holds(told) in (True, False)
