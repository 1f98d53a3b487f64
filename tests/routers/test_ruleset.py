"""A rule set: which rules look, which fire, and the reason of each that does not."""

from __future__ import annotations

import pytest

from routers.rules.ruleset import FIRED, Rule, RuleSet, rules_hash
from routers.transitions import Transition
from tests.routers.store import a_rule

MISSED = Transition.CALL_MISSED


def reasons(rule: Rule, facts: dict[str, object]) -> list[str]:
    return [verdict.why for verdict in RuleSet((rule,), "h").decide("acme", MISSED, facts)]


def test_every_matching_rule_fires_in_the_order_they_are_written() -> None:
    """No rule hides another; each gives a verdict of its own."""
    rules = RuleSet((a_rule("b"), a_rule("a"), a_rule("silent", if_={"spam": True})), "h")

    verdicts = rules.decide("acme", MISSED, {"spam": False})

    assert [(verdict.rule.id, verdict.why, verdict.fired) for verdict in verdicts] == [
        ("b", FIRED, True),
        ("a", FIRED, True),
        ("silent", "if spam", False),
    ]


@pytest.mark.parametrize(
    ("companies", "looks_at"),
    [
        pytest.param(None, ["acme", "globex"], id="all"),
        pytest.param(frozenset({"acme"}), ["acme"], id="list"),
        pytest.param(frozenset({"globex"}), ["globex"], id="all-but-acme"),
    ],
)
def test_a_rule_looks_only_at_its_companies(companies: frozenset[str] | None, looks_at: list[str]) -> None:
    """A rule of another company gives no verdict at all."""
    rules = RuleSet((a_rule(companies=companies),), "h")

    assert [company for company in ("acme", "globex") if rules.decide(company, MISSED, {})] == looks_at


def test_a_rule_looks_only_at_its_transitions() -> None:
    """What a rule does not name under `when` is none of its business."""
    rules = RuleSet((a_rule("r", MISSED, Transition.CALL_VOICEMAIL),), "h")

    looks_at = [name for name in Transition if rules.decide("acme", name, {})]

    assert looks_at == [MISSED, Transition.CALL_VOICEMAIL]


def test_all_conditions_must_hold_and_the_first_that_does_not_is_the_reason() -> None:
    """Conditions are joined by `all`, in the order they are written."""
    rule = a_rule(if_={"first_call": True, "duration": {"gt": 10}})

    assert reasons(rule, {"first_call": True, "duration": 11}) == [FIRED]
    assert reasons(rule, {"first_call": False, "duration": 1}) == ["if first_call"]
    assert reasons(rule, {"first_call": True, "duration": 1}) == ["if duration"]


def test_any_exception_that_holds_keeps_a_rule_silent() -> None:
    """Exceptions are joined by `any`, and the one that holds is the reason."""
    rule = a_rule(unless={"spam": True, "source": "Test"})

    assert reasons(rule, {"spam": False, "source": "Yelp"}) == [FIRED]
    assert reasons(rule, {"spam": True, "source": "Yelp"}) == ["unless spam"]
    assert reasons(rule, {"spam": False, "source": "Test"}) == ["unless source"]


def test_a_field_not_told_yet_blocks_under_if_and_not_under_unless() -> None:
    """Nobody said it is spam, so the caller is not kept waiting; nobody said it is the first call, so no claim."""
    assert reasons(a_rule(if_={"first_call": True}), {}) == ["if first_call"]
    assert reasons(a_rule(unless={"spam": True}), {}) == [FIRED]
    assert reasons(a_rule(unless={"spam": {"not": False}}), {}) == [FIRED]


def test_a_field_told_empty_satisfies_a_negated_exception() -> None:
    """Empty is known: it is not Yelp, so an exception for all but Yelp holds."""
    assert reasons(a_rule(unless={"source": {"not": "Yelp"}}), {"source": None}) == ["unless source"]


def test_a_rule_with_several_transitions_speaks_once() -> None:
    """One transition: each time. Several: once an object."""
    assert not a_rule().speaks_once
    assert a_rule("r", MISSED, Transition.CALL_VOICEMAIL).speaks_once


def test_the_hash_names_the_exact_text() -> None:
    """Equal texts have equal hashes, a changed character changes it."""
    assert rules_hash("a") == rules_hash("a") != rules_hash("a ")
    assert len(rules_hash("")) == 16
