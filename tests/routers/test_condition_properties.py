"""Laws of conditions over random blocks and random facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from callrail.fields import FIELDS, FieldType
from routers.rules.conditions import Condition, compile_conditions
from routers.rules.fields import fields_at, own_fields
from routers.rules.operators import OPERATORS, operators_for
from routers.rules.questions import all_true, any_true, deny
from routers.transitions import Transition

EVERYWHERE = tuple(Transition)

# --- blocks that are right -------------------------------------------------------------------------------------------

_texts = st.sampled_from(["a", "A", "b", "ab", "straße", "STRASSE", "missed", "true", "7", "open"])
_phones = st.sampled_from(["+17705550123", "(770) 555-0123", "7705550124", "72345", "+442079460958"])
_times = st.sampled_from(["2026-03-10", "2026-03-10T18:15:02Z", "2026-03-10T14:15:02-04:00", "2026-03-11"])
_numbers = st.integers(-2, 9) | st.sampled_from([0.5, 7.0, 1250])
_FIELDS_BY_TYPE: Mapping[FieldType, list[str]] = {
    FieldType.TEXT: ["source", "note", "company", "call_type", "outcome", "hours"],
    FieldType.BOOLEAN: ["spam", "first_call"],
    FieldType.INTEGER: ["duration", "prior_calls"],
    FieldType.NUMBER: ["value", "score"],
    FieldType.LIST: ["tags", "changes", "keywords_spotted"],
    FieldType.TIME: ["start_time", "timestamp"],
    FieldType.PHONE: ["customer_phone_number", "source_number"],
}
_DOTTED = ["form_data.x", "form_data.y.z", "custom.x"]
_VALUES: Mapping[FieldType | None, st.SearchStrategy[Any]] = {
    FieldType.TEXT: _texts,
    FieldType.BOOLEAN: st.booleans(),
    FieldType.INTEGER: _numbers,
    FieldType.NUMBER: _numbers,
    FieldType.LIST: _texts,
    FieldType.TIME: _times,
    FieldType.PHONE: _phones,
    None: _texts | _numbers | st.booleans(),
}


def _one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


def _wanted_by(name: str, type_: FieldType | None) -> st.SearchStrategy[Any]:
    values = _VALUES[type_]
    bounds = _times if type_ is FieldType.TIME else _numbers
    match name:
        case "not":
            return _one_or_more(values)
        case "exists" | "changed":
            return st.booleans()
        case "between":
            return st.lists(bounds, min_size=2, max_size=2).map(sorted)
        case "gt" | "gte" | "lt" | "lte":
            return bounds
        case "phone_in":
            return st.lists(_phones, min_size=1, max_size=3)
        case "within":
            return st.sampled_from(["1m", "15m", "2d"])
        case "prefix" | "suffix" | "contains" if type_ is FieldType.PHONE:
            return st.sampled_from(["+1770", "+1 (770)", "+44"])
        case "matches":
            return _one_or_more(st.sampled_from(["^a", "b$", "(?-i)A", "[0-9]+", "."]))
        case _:
            return _one_or_more(_texts)


def _wanted(type_: FieldType | None) -> st.SearchStrategy[Any]:
    operators = st.fixed_dictionaries(
        {}, optional={name: _wanted_by(name, type_) for name in operators_for(type_)}
    ).filter(bool)
    return _one_or_more(_VALUES[type_]) | operators | st.fixed_dictionaries({"not": operators})


_lines: st.SearchStrategy[dict[str, Any]] = st.one_of(
    *(
        st.dictionaries(st.sampled_from(names), _wanted(type_), min_size=1, max_size=2)
        for type_, names in _FIELDS_BY_TYPE.items()
    ),
    st.dictionaries(st.sampled_from(_DOTTED), _wanted(None), min_size=1, max_size=2),
    st.dictionaries(
        st.sampled_from(["custom", "form_data"]),
        st.fixed_dictionaries({"exists": st.booleans()}),
        min_size=1,
        max_size=1,
    ),
)
_blocks = st.recursive(
    _lines,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=6,
)

# --- facts -----------------------------------------------------------------------------------------------------------

_scalars = _texts | _numbers | st.booleans() | st.none() | _phones | _times | st.just("$1,250.00")
_oddities = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)
)


def _told(name: str) -> st.SearchStrategy[Any]:
    field = FIELDS.get(name)
    type_ = field.type if field else FieldType.TEXT
    usual = st.lists(_texts, min_size=1, max_size=3) if type_ is FieldType.LIST else _VALUES.get(type_, _oddities)
    return usual | st.none() | _oddities


_names = sorted({name for names in _FIELDS_BY_TYPE.values() for name in names} - {"changes"})
_facts = st.fixed_dictionaries(
    {},
    optional={
        **{name: _told(name) for name in _names},
        "form_data": st.dictionaries(st.sampled_from("xyz"), _oddities, max_size=3) | st.none(),
        "custom": st.dictionaries(st.sampled_from("xyz"), _oddities, max_size=3),
        "changes": st.lists(st.sampled_from(_names), max_size=4) | st.none(),
        "$before": st.fixed_dictionaries({}, optional={name: _told(name) for name in _names}),
        "$received": st.just(datetime(2026, 3, 10, 18, 20, tzinfo=UTC)),
    },
)


def compiled(block: Mapping[str, object]) -> tuple[Condition, ...]:
    def complain(at: object, problem: str, hint: str = "", *, key: bool = False, warning: bool = False) -> None:
        assert warning or "nothing is between" in problem, (at, problem, hint)

    return compile_conditions(block, EVERYWHERE, complain)


@given(_blocks, _facts)
def test_both_twins_say_the_same(block: dict[str, Any], facts: dict[str, Any]) -> None:
    """What `explain` says of a verdict is what the fast closure decided."""
    for condition in compiled(block):
        finding = condition.explain(facts)

        assert condition.holds(facts) is (finding.holds is True), finding
        assert finding.sentence


@given(_blocks, _facts)
def test_not_turns_a_block_round_and_nothing_else(block: dict[str, Any], facts: dict[str, Any]) -> None:
    """`not` of a block is its opposite, and unknown where it is unknown; all, any and not keep the laws of logic."""
    lines = [condition.explain(facts).holds for condition in compiled(block)]
    if not lines:
        return

    def verdict(joined: dict[str, Any]) -> bool | None:
        (condition,) = compiled(joined)
        return condition.explain(facts).holds

    parts = [{name: wanted} for name, wanted in block.items()]
    assert verdict({"all": [block]}) is all_true(lines)
    assert verdict({"not": block}) is deny(all_true(lines))
    assert verdict({"not": {"not": block}}) is all_true(lines)
    assert verdict({"any": parts}) is any_true(lines)
    assert verdict({"not": {"any": parts}}) is verdict({"all": [{"not": part} for part in parts]})


@given(_blocks, _facts)
def test_of_a_thing_nothing_is_told_of_nothing_holds(block: dict[str, Any], facts: dict[str, Any]) -> None:
    """Whatever is asked, no rule speaks of what nobody knows."""
    for condition in compiled(block):
        untold = {name: value for name, value in facts.items() if name not in condition.fields and name != "changes"}

        assert condition.explain(untold).holds is None
        assert condition.holds(untold) is False


@given(_blocks, _facts)
def test_what_is_told_later_never_overturns_a_verdict(block: dict[str, Any], facts: dict[str, Any]) -> None:
    """A verdict stands on what is known: a fact it did without cannot change it."""
    for condition in compiled(block):
        whole = condition.explain(facts).holds
        for name in condition.fields & facts.keys():
            less = condition.explain({key: value for key, value in facts.items() if key != name}).holds

            assert less is None or less is whole


# --- blocks that are anything ----------------------------------------------------------------------------------------

_scribble = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | _texts | _phones,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*OPERATORS, "any", "all", "source"]) | st.text(max_size=3), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from([*fields_at(()), "any", "all", "not", "form_data.x", "custom.a.b"]) | st.text(max_size=3),
        _scribble,
        max_size=3,
    ),
    st.sets(st.sampled_from(Transition), max_size=3),
    st.dictionaries(st.sampled_from([*FIELDS, *own_fields()]), _oddities, max_size=6),
)
def test_a_block_is_refused_when_read_or_answers_for_any_facts(
    block: dict[str, Any], when: set[Transition], facts: dict[str, Any]
) -> None:
    """Reading never raises, and after it no fact CallRail may tell makes a condition raise."""
    told: list[str] = []

    def complain(at: object, problem: str, hint: str = "", *, key: bool = False, warning: bool = False) -> None:
        told.append(problem)

    good = compile_conditions(block, when, complain)

    assert len(good) == len(block) or told
    for condition in good:
        assert condition.holds(facts) is (condition.explain(facts).holds is True)
        assert condition.reading
