"""A rule set: which rules look, which fire, whom they tell, and the reason of each that does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.hours import Schedule, Span
from routers.rules.conditions import Condition
from routers.rules.reasons import Reason, reason_of, sentence_of
from routers.rules.ruleset import FIRED, Fired, Rule, RuleSet, Send, To, nearest
from routers.transitions import Transition
from tests.routers.store import a_rule, conditions, rule_set

MISSED = Transition.CALL_MISSED


def reasons(rule: Rule, facts: dict[str, object]) -> list[str]:
    return list(rule_set(rule).decide("acme", MISSED, facts).reasons.values())


def test_every_matching_rule_fires_in_the_order_they_are_written() -> None:
    """No rule hides another; each that looks has a reason."""
    rules = rule_set(a_rule("b"), a_rule("a"), a_rule("silent", if_={"spam": True}))

    decision = rules.decide("acme", MISSED, {"spam": False})

    assert list(decision.reasons.items()) == [("b", FIRED), ("a", FIRED), ("silent", "if spam")]
    assert [(fired.rule.id, fired.send) for fired in decision.fired] == [
        ("b", (Send("crm", "crm"),)),
        ("a", (Send("crm", "crm"),)),
    ]
    assert decision.is_matched


@pytest.mark.parametrize(
    ("companies", "looks_at"),
    [
        pytest.param(None, ["acme", "globex"], id="all"),
        pytest.param(frozenset({"acme"}), ["acme"], id="list"),
        pytest.param(frozenset({"globex"}), ["globex"], id="all-but-acme"),
    ],
)
def test_a_rule_looks_only_at_its_companies(companies: frozenset[str] | None, looks_at: list[str]) -> None:
    """A rule of another company has no reason at all."""
    rules = rule_set(a_rule(companies=companies))

    found = [company for company in ("acme", "globex") if rules.decide(company, MISSED, {}).reasons]

    assert found == looks_at


def test_a_rule_looks_only_at_its_transitions() -> None:
    """What a rule does not name under `when` is none of its business."""
    rules = rule_set(a_rule("r", MISSED, Transition.CALL_VOICEMAIL))

    looks_at = [name for name in Transition if rules.decide("acme", name, {}).reasons]

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


def test_a_rule_with_several_transitions_speaks_once_unless_it_repeats() -> None:
    """One transition: each time. Several: once an object, or each time if it says so."""
    several = a_rule("r", MISSED, Transition.CALL_VOICEMAIL)

    assert not a_rule().speaks_once
    assert several.speaks_once
    assert not replace(several, repeat=True).speaks_once


# --- stop and mute ---------------------------------------------------------------------------------------------------


def test_a_rule_that_stops_ends_the_list_when_it_fires() -> None:
    """The later ones have it as their reason, and those before it have spoken."""
    rules = rule_set(a_rule("first"), replace(a_rule("stops", if_={"spam": True}), stop=True), a_rule("last"))

    assert rules.decide("acme", MISSED, {"spam": True}).reasons == {
        "first": FIRED,
        "stops": FIRED,
        "last": "stopped by stops",
    }
    assert rules.decide("acme", MISSED, {"spam": False}).reasons == {
        "first": FIRED,
        "stops": "if spam",
        "last": FIRED,
    }


def test_a_muted_rule_tells_nobody_and_has_matched() -> None:
    """What it would have said is known, so that `unmatched` does not speak in its place."""
    rules = rule_set(replace(a_rule("quiet"), mute=True))

    decision = rules.decide("acme", MISSED, {})

    assert (decision.reasons, decision.fired, decision.is_matched) == ({"quiet": "muted"}, [], True)


def test_a_muted_rule_that_stops_swallows_what_it_matches() -> None:
    """The way to say: of test calls nobody is told."""
    rules = rule_set(replace(a_rule("tests", if_={"source": "Test"}), mute=True, stop=True), a_rule("all"))

    assert rules.decide("acme", MISSED, {"source": "Test"}).reasons == {"tests": "muted", "all": "stopped by tests"}


# --- roles and unmatched ---------------------------------------------------------------------------------------------

TO_ROLES = replace(a_rule("r"), send=(To("alerts", "alerts", is_role=True), To("crm", "crm")))
ROLES = {"acme": {"alerts": "acme-slack"}}


def test_a_role_is_the_sink_that_plays_it_in_the_company() -> None:
    """The id of the send stays the role's, whichever sink plays it."""
    rules = RuleSet((TO_ROLES,), "h", roles=ROLES)

    (acme,) = rules.decide("acme", MISSED, {}).fired

    assert acme == Fired(TO_ROLES, (Send("alerts", "acme-slack", "alerts"), Send("crm", "crm")))


def test_a_send_whose_role_the_company_lacks_is_left_out() -> None:
    """The other sends of the rule are not; with none left that is the reason, and the call counts as unmatched."""
    only = replace(TO_ROLES, id="only", send=TO_ROLES.send[:1])
    decision = RuleSet((TO_ROLES, only), "h", roles=ROLES).decide("globex", MISSED, {})

    assert decision.reasons == {"r": "fired (no role alerts)", "only": "no role alerts"}
    assert sentence_of("fired (no role alerts)") == "The rule fired (no role alerts)."
    assert [(fired.rule.id, fired.send) for fired in decision.fired] == [("r", (Send("crm", "crm"),))]
    assert not RuleSet((only,), "h").decide("globex", MISSED, {}).is_matched


def test_what_no_rule_speaks_of_goes_where_unmatched_says() -> None:
    """By the sort of object and the company's role; nothing else is ever unmatched."""
    rules = RuleSet((), "h", roles=ROLES, everyone_else={"calls": To("unmatched", "alerts", is_role=True)})

    found = {name: rules.unmatched("acme", name) for name in Transition}

    calls = {Transition.CALL_ANSWERED, MISSED, Transition.CALL_ABANDONED, Transition.CALL_VOICEMAIL}
    assert {name for name, send in found.items() if send is not None} == calls
    assert found[MISSED] == Send("unmatched", "acme-slack", "alerts")
    assert rules.unmatched("globex", MISSED) is None


# --- explaining ------------------------------------------------------------------------------------------------------

NEW_YORK = ZoneInfo("America/New_York")
NINE_TO_FIVE = Schedule(tuple((Span(540, 1020),) if day < 5 else () for day in range(7)))


def test_an_explanation_has_what_each_condition_found() -> None:
    """And of a rule that stayed silent, what else would have had to be."""
    rules = rule_set(a_rule("r", if_={"duration": {"gt": 10}, "spam": False}, unless={"source": "Test"}))

    (explained,) = rules.explain("acme", MISSED, {"duration": 3, "spam": False, "source": "Test"})

    assert (explained.fired, explained.reason) == (False, "if duration")
    duration, source = explained.misses
    assert duration.startswith("if duration: is 3, wanted ")
    assert source.startswith("unless source: is Test")
    assert [asked.keeps_silent for asked in explained.asked] == [True, False, True]


def test_an_explanation_of_a_rule_that_fired_misses_nothing() -> None:
    """Every condition held and no exception did."""
    (explained,) = rule_set(a_rule("r", unless={"spam": True})).explain("acme", MISSED, {})

    assert (explained.fired, explained.misses) == (True, ())


def test_a_closed_company_is_told_when_it_opens() -> None:
    """On a Saturday afternoon: on Monday."""
    rules = RuleSet((a_rule("r", if_={"hours": "open"}),), "h", hours={"acme": NINE_TO_FIVE})
    saturday = datetime(2026, 3, 14, 15, 0, tzinfo=NEW_YORK)

    (explained,) = rules.explain("acme", MISSED, {"hours": "closed"}, local=saturday)

    assert explained.misses == ("if hours: is closed, wanted open; opens Mon 09:00",)


def test_the_nearest_miss_is_the_rule_that_missed_by_the_fewest_conditions() -> None:
    """Of equals the first."""
    rules = rule_set(
        a_rule("two", if_={"spam": True, "first_call": True}), a_rule("one", if_={"spam": True}), a_rule("fires")
    )

    found = nearest(rules.explain("acme", MISSED, {"spam": False, "first_call": False}))

    assert found is not None
    assert found.rule.id == "one"
    assert nearest(rule_set(a_rule()).explain("acme", MISSED, {})) is None


SHARED = conditions(
    {"spam": True, "duration": {"gt": 5}, "source": ["Yelp", "Test"], "first_call": {"not": True}}, MISSED
)
some_conditions = st.lists(st.sampled_from(SHARED), max_size=3).map(tuple)
some_facts = st.fixed_dictionaries(
    {},
    optional={
        "spam": st.sampled_from([True, False, None]),
        "duration": st.sampled_from([1, 9, None]),
        "source": st.sampled_from(["Yelp", "Google", None]),
        "first_call": st.booleans(),
    },
)


@given(st.lists(st.tuples(some_conditions, some_conditions), min_size=1, max_size=8), some_facts)
def test_rules_that_share_conditions_decide_as_each_would_alone(
    asked: list[tuple[tuple[Condition, ...], tuple[Condition, ...]]], facts: dict[str, object]
) -> None:
    """That an answer is kept for the next rule changes no reason, and the explanation says the same as the decision."""
    rules = [
        replace(a_rule(f"r{number}"), conditions=if_, exceptions=unless) for number, (if_, unless) in enumerate(asked)
    ]

    together = rule_set(*rules).decide("acme", MISSED, facts).reasons

    assert list(together.values()) == [reasons(rule, facts)[0] for rule in rules]
    for explained in rule_set(*rules).explain("acme", MISSED, facts):
        assert explained.reason == together[explained.rule.id]
        assert explained.fired is not bool(explained.misses)


# --- reasons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_can_be_told_in_a_sentence(reason: Reason) -> None:
    """The stored text leads back to its reason, with and without what it is about."""
    assert reason_of(reason) is reason_of(reason.about("x")) is reason
    assert sentence_of(reason.about("x")).endswith(".")


def test_a_sentence_names_what_the_reason_is_about() -> None:
    """The rule, the field or the role."""
    assert sentence_of("if duration") == "The condition on duration did not hold."
    assert "missed-open" in sentence_of("stopped by missed-open")


def test_what_is_no_reason_is_refused() -> None:
    """A stored text of no known reason must not be explained as another."""
    with pytest.raises(ValueError, match="is no reason"):
        reason_of("because")
