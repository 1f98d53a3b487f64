"""Which look-ups the rules need of one thing that happened: those that decide whether a rule fires, and those that its
messages show. Nothing is looked up for a rule that stays silent in any case."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from routers.rules.answers import lookups_in
from routers.rules.conditions import Condition, Facts
from routers.rules.questions import Truth
from routers.rules.ruleset import Rule, RuleSet
from routers.transitions import Transition, template_name


class Needs:
    """What *rules* need looked up. Where something cannot be looked up, it is not needed either."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._asking: dict[tuple[str, Transition], tuple[_Asking, ...]] = {}
        self._needed: dict[tuple[Any, ...], list[tuple[Transition, str]]] = {}

    def missing(self, company: str, transition: Transition, facts: Facts, tried: Collection[str]) -> frozenset[str]:
        """What is to be looked up next, with these *facts*; empty once every rule can be decided and told.

        Args:
            tried: The look-ups that were made, be they answered or not.
        """
        missing: set[str] = set()
        for asking in self._of(company, transition):
            if asking.is_silent(facts):
                continue
            truth = asking.truth(facts, tried)
            if truth is False:
                continue
            wanted = asking.conditions if truth is None else asking.messages
            missing |= wanted.difference(tried)
            if asking.rule.stop:
                break  # what comes after it may not be asked at all
        return frozenset(missing)

    def any(self, company: str, transition: Transition) -> bool:
        """Whether a rule may need a look-up."""
        return bool(self._of(company, transition))

    def of_messages(self, rule: Rule, company: str, transition: Transition) -> frozenset[str]:
        """The look-ups that the messages of *rule* show."""
        return self._possible(self._rules.shown.by(rule, self._rules.sends_of(rule, company), transition), transition)

    def _possible(self, names: frozenset[str], transition: Transition) -> frozenset[str]:
        answers = self._rules.answers
        return frozenset(name for name in names if name in answers and answers[name].is_possible_at(transition))

    def _of_conditions(self, rule: Rule, transition: Transition) -> frozenset[str]:
        asked = (name for test in (*rule.conditions, *rule.exceptions) for name in test.fields)
        return self._possible(lookups_in(asked), transition)

    def may_be_of(self, rule: Rule) -> bool:
        """Whether *rule* may need a look-up in any company at all; most need none, and that is soon told."""
        shown = self._rules.shown
        templates = [*(to.template for to in rule.send), *map(template_name, rule.when)]
        return bool(
            rule.lookups
            or any(shown.by_sink.values())
            or any(shown.by_template.get(name) for name in templates if name is not None)
            or any(self._of_conditions(rule, transition) for transition in rule.when)
        )

    def all_of(self, rule: Rule, company: str) -> Sequence[tuple[Transition, str]]:
        """Every look-up that *rule* may need in *company*, and where."""
        sends = self._rules.sends_of(rule, company)
        key = (rule.id, *((send.sink, send.template) for send in sends))  # the same for most companies
        found = self._needed.get(key)
        if found is None:
            found = self._needed[key] = [
                (transition, name)
                for transition in sorted(rule.when)
                for name in sorted(self._of_conditions(rule, transition) | self.of_messages(rule, company, transition))
            ]
        return found

    def _of(self, company: str, transition: Transition) -> tuple[_Asking, ...]:
        """The rules that look at *transition*, up to the last that needs a look-up; empty where none does."""
        known = self._asking.get((company, transition))
        if known is None:
            asking = [
                _Asking(
                    rule,
                    self._of_conditions(rule, transition),
                    frozenset() if rule.mute else self.of_messages(rule, company, transition),
                    transition,
                )
                for rule in self._rules.rules
                if rule.looks_at(company, transition)
            ]
            while asking and not (asking[-1].conditions or asking[-1].messages):
                asking.pop()
            known = self._asking[company, transition] = tuple(asking)
        return known


@dataclass(frozen=True, slots=True)
class _Asking:
    """A rule with the look-ups of its conditions, and those of its messages."""

    rule: Rule
    conditions: frozenset[str]
    messages: frozenset[str]
    transition: Transition

    def is_silent(self, facts: Facts) -> bool:
        """Whether it hears nothing of a text that asks for no more texts."""
        is_opt_out = self.transition is Transition.TEXT_RECEIVED and facts.get("opt_out") is True
        return is_opt_out and not self.rule.asks("opt_out")

    def truth(self, facts: Facts, tried: Collection[str]) -> Truth:
        """Whether it fires; None if that is not known for lack of an answer that may still come."""
        known: Truth = True
        for tests, wanted in ((self.rule.conditions, True), (self.rule.exceptions, False)):
            for test in tests:
                found = _truth(test, facts)
                if found is None and not (lookups_in(test.fields) & self.conditions).issubset(tried):
                    known = None
                elif (found is True) is not wanted:
                    return False
        return known


def _truth(test: Condition, facts: Facts) -> Truth:
    return test.explain(facts).holds if lookups_in(test.fields) else test.holds(facts)
