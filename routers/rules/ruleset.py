"""A rule set: for one thing that happened, a verdict per rule and whom to tell. Every matching rule fires."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from routers.rules.conditions import Condition, Facts
from routers.transitions import Transition

FIRED = "fired"


@dataclass(frozen=True, slots=True)
class Send:
    """One destination of a rule. *id* tells two sends of a rule apart."""

    id: str
    sink: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. *companies* is None for all.

    Of *conditions* all must hold; one of *exceptions* that holds is enough to keep the rule silent.
    """

    id: str
    companies: frozenset[str] | None
    when: frozenset[Transition]
    conditions: tuple[Condition, ...]
    exceptions: tuple[Condition, ...]
    send: tuple[Send, ...]

    @property
    def speaks_once(self) -> bool:
        """A rule that looks at several transitions speaks once an object, and not of each of them anew."""
        return len(self.when) > 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule said. *why* is `fired`, or the condition that kept it silent."""

    rule: Rule
    why: str

    @property
    def fired(self) -> bool:
        return self.why == FIRED


@dataclass(frozen=True)
class RuleSet:
    """All rules of an installation. *hash* names exactly these rules in stored rows."""

    rules: Sequence[Rule]
    hash: str
    _index: dict[tuple[str, Transition], list[Rule]] = field(default_factory=dict, compare=False)

    def decide(self, company: str, transition: Transition, facts: Facts) -> list[Verdict]:
        """A verdict of each rule that looks at *transition* of *company*, in the order they are written."""
        key = (company, transition)
        rules = self._index.get(key)
        if rules is None:
            rules = self._index[key] = [rule for rule in self.rules if _looks_at(rule, company, transition)]
        return [Verdict(rule, _why(rule, facts)) for rule in rules]


def rules_hash(text: str) -> str:
    """A short name for a configuration's exact text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _looks_at(rule: Rule, company: str, transition: Transition) -> bool:
    return transition in rule.when and (rule.companies is None or company in rule.companies)


def _why(rule: Rule, facts: Facts) -> str:
    for condition in rule.conditions:
        if not condition.holds(facts):
            return f"if {condition.field}"
    for exception in rule.exceptions:
        if exception.holds(facts):
            return f"unless {exception.field}"
    return FIRED
