"""What is asked is enough, and no more: rules decide with it as they would if everything were known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from callrail.fields import FieldType
from routers.rules.answers import LOOKUP, Answering
from routers.rules.conditions import Condition, compile_conditions
from routers.rules.fields import RuleField
from routers.rules.needs import Needs
from routers.rules.ruleset import Rule, RuleSet, To
from routers.transitions import Transition

MISSED = Transition.CALL_MISSED
NAMES = ("one", "two", "three")
ANSWERS = {
    name: Answering({"a": RuleField("a", FieldType.INTEGER, ""), "b": RuleField("b", FieldType.TEXT, "")}, bool)
    for name in NAMES
}

told: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"duration": {"gt": 30}}, {"duration": {"lt": 30}}, {"source": "Yelp"}, {"first_call": True}]
)
asked: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda name, wanted: {f"lookup.{name}.{wanted[0]}": wanted[1]},
    st.sampled_from(NAMES),
    st.sampled_from([("a", 1), ("a", {"gte": 2}), ("b", "x"), ("b", {"exists": False}), ("b", {"not": "x"})]),
)
lines: st.SearchStrategy[dict[str, Any]] = st.recursive(
    told | asked,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)
rules = st.lists(
    st.tuples(lines, st.none() | lines, st.booleans(), st.sets(st.sampled_from(NAMES), max_size=1)), max_size=4
)
facts_told = st.fixed_dictionaries(
    {},
    optional={
        "duration": st.sampled_from([10, 60]),
        "source": st.sampled_from(["Yelp", None]),
        "first_call": st.booleans(),
    },
)
answer = st.none() | st.fixed_dictionaries({"a": st.sampled_from([None, 1, 2]), "b": st.sampled_from([None, "x", "y"])})
answers_known = st.fixed_dictionaries(dict.fromkeys(NAMES, answer))


def conditions(block: Mapping[str, Any] | None) -> tuple[Condition, ...]:
    def complain(*problem: object, **_more: object) -> None:
        raise AssertionError(problem)

    return compile_conditions(block or {}, {MISSED}, complain, ANSWERS)


def rule_set(written: list[Any]) -> RuleSet:
    return RuleSet(
        tuple(
            Rule(
                f"r{number}",
                None,
                frozenset({MISSED}),
                conditions(if_),
                conditions(unless),
                (To("crm", "crm"),),
                lookups=tuple(shown),
                stop=stop,
            )
            for number, (if_, unless, stop, shown) in enumerate(written)
        ),
        "hash",
        answers=ANSWERS,
    )


def fired(decided: RuleSet, facts: Mapping[str, Any], answers: Mapping[str, Any]) -> list[str]:
    known = {name: fields for name, fields in answers.items() if fields is not None}
    return [one.rule.id for one in decided.decide("acme", MISSED, {**facts, LOOKUP: known}).fired]


UNLESS_ONE = ({"duration": {"gt": 30}}, {"lookup.one.a": 1}, False, {"two"})


@given(written=rules, facts=facts_told, answers=answers_known)
@example(written=[UNLESS_ONE], facts={"duration": 60}, answers=dict.fromkeys(NAMES))
@settings(max_examples=400)
def test_what_is_asked_decides_as_everything_would(
    written: list[Any], facts: dict[str, Any], answers: dict[str, Any]
) -> None:
    decided, tried = rule_set(written), dict[str, Any]()
    needs = Needs(decided)
    while missing := needs.missing("acme", MISSED, {**facts, LOOKUP: _answered(tried)}, tried):
        assert not missing & tried.keys()
        tried |= {name: answers[name] for name in missing}

    told_by = fired(decided, facts, tried)
    assert told_by == fired(decided, facts, answers)
    # And whoever is told is shown what the message shows.
    for rule in decided.rules:
        if rule.id in told_by:
            assert set(rule.lookups) <= tried.keys()


def _answered(tried: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields for name, fields in tried.items() if fields is not None}


@given(written=rules, facts=facts_told)
def test_nothing_is_asked_for_rules_that_are_silent_whatever_the_answers(
    written: list[Any], facts: dict[str, Any]
) -> None:
    only_told = [
        (if_, unless, stop, shown) for if_, unless, stop, shown in written if not _asks(if_) and not _asks(unless)
    ]
    decided = rule_set(only_told)
    missing = Needs(decided).missing("acme", MISSED, facts, ())
    shown = {name for rule in decided.rules if rule.id in fired(decided, facts, {}) for name in rule.lookups}
    assert missing == shown


def _asks(block: Any) -> bool:
    return LOOKUP in repr(block)
