"""What rules say that is legal but surely not meant: a rule that never fires, and a company that nobody hears of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from receiver.positioned_yaml import Loc
from routers.complaints import Complaints
from routers.lifecycle import INBOUND_OUTCOMES
from routers.rules.compiling import Placed, some
from routers.rules.ruleset import Rule, RuleSet
from routers.transitions import Transition

# What the outcome is when one of these happens.
_OUTCOMES = {transition: outcome.value for outcome, transition in INBOUND_OUTCOMES.items()}


def warn(placed: Sequence[Placed], rules: RuleSet, companies: Collection[str], complaints: Complaints) -> None:
    """Complain about *placed*, in warnings only."""
    stops = _Stops(companies)
    for rule in placed:
        for loc, problem, hint in chain(
            _never_holds(rule, companies), stops.before(rule), _without_role(rule, rules, companies)
        ):
            complaints.complain((*rule.loc, *loc), problem, hint, warning=True)
        stops.add(rule)


_Warning = tuple[Loc, str, str]


def _companies_of(rule: Rule, companies: Collection[str]) -> set[str]:
    return set(companies) if rule.companies is None else set(rule.companies)


# --- conditions that contradict each other ---------------------------------------------------------------------------


def _never_holds(placed: Placed, companies: Collection[str]) -> Iterator[_Warning]:
    rule, written = placed.rule, placed.written
    if not _companies_of(rule, companies):
        yield ("companies",), "no company is left for this rule", "it never fires; name fewer under except"
    for name, wanted in written.if_.items():
        if name in written.unless and _covers(written.unless[name], wanted):
            hint = "it never fires; take one of them out"
            yield ("unless", name), f"'unless' takes away all that 'if' asks of {name}", hint
        if isinstance(wanted, dict) and _is_empty_range(wanted):
            yield ("if", name), f"no number is in this range of {name}", "this rule never fires; change a bound"
    yield from _impossible(rule, "outcome", [_OUTCOMES.get(transition) for transition in rule.when])
    yield from _impossible(rule, "company", sorted(_companies_of(rule, companies)))


def _covers(excepted: object, wanted: object) -> bool:
    """Whether each value of *wanted* is among *excepted*, or both are written alike."""
    if excepted == wanted:
        return True
    if isinstance(excepted, dict) or isinstance(wanted, dict):
        return False
    values = excepted if isinstance(excepted, list) else [excepted]
    return all(value in values for value in (wanted if isinstance(wanted, list) else [wanted]))


def _is_empty_range(wanted: Mapping[str, Any]) -> bool:
    bounds = {name: value for name, value in wanted.items() if isinstance(value, int | float)}
    floor = max((bounds[name] for name in ("gt", "gte") if name in bounds), default=None)
    ceiling = min((bounds[name] for name in ("lt", "lte") if name in bounds), default=None)
    if floor is None or ceiling is None:
        return False
    is_strict = bounds.get("gt") == floor or bounds.get("lt") == ceiling
    return bool(floor >= ceiling if is_strict else floor > ceiling)


def _impossible(rule: Rule, field: str, values: Sequence[str | None]) -> Iterator[_Warning]:
    """A condition on *field* alone that holds for none of the *values* it can have here; None: that is not known."""
    if None in values or not values:
        return
    for condition in rule.conditions:
        if condition.fields == {field} and not any(condition.holds({field: value}) for value in values):
            problem = f"{field} is never so here: it is {' or '.join(dict.fromkeys(map(str, values)))}"
            loc = ("if", field) if condition.field == field else ("if",)
            yield loc, problem, "this rule never fires; change the condition or when:"


# --- rules behind a stop ---------------------------------------------------------------------------------------------


class _Stops:
    """Remembers the rules with `stop: true`, to tell which later ones they leave nothing to."""

    def __init__(self, companies: Collection[str]) -> None:
        self._companies = companies
        self._always: dict[tuple[str, Transition], Rule] = {}
        self._same: dict[tuple[object, ...], Rule] = {}

    def add(self, placed: Placed) -> None:
        rule = placed.rule
        if not rule.stop:
            return
        self._same.setdefault(_conditions(placed), rule)
        if not rule.conditions and not rule.exceptions:
            for pair in self._pairs(rule):
                self._always.setdefault(pair, rule)

    def before(self, placed: Placed) -> Iterator[_Warning]:
        rule = placed.rule
        if same := self._same.get(_conditions(placed)):
            hint = "take one of them out, or take stop: out of the first"
            yield ("id",), f"this rule asks the same as '{same.id}' above, which stops: it never fires", hint
        elif self._always:
            stopping = [self._always.get(pair) for pair in self._pairs(rule)]
            if stopping and None not in stopping:
                ids = " and ".join(dict.fromkeys(f"'{stop.id}'" for stop in stopping if stop is not None))
                hint = "put it above, or give the stopping rule conditions"
                yield ("id",), f"this rule stands behind {ids}, which always stops: it never fires", hint

    def _pairs(self, rule: Rule) -> Iterable[tuple[str, Transition]]:
        return [(company, name) for company in _companies_of(rule, self._companies) for name in rule.when]


def _conditions(placed: Placed) -> tuple[object, ...]:
    rule, written = placed.rule, placed.written
    return rule.companies, rule.when, repr(written.if_), repr(written.unless)


# --- roles -----------------------------------------------------------------------------------------------------------


def _without_role(placed: Placed, rules: RuleSet, companies: Collection[str]) -> Iterator[_Warning]:
    """A company that the rule is for, and that has no sink for a role the rule sends to."""
    concerned = _companies_of(placed.rule, companies)
    for position, to in enumerate(placed.rule.send):
        without = [company for company in concerned if to.is_role and to.name not in rules.roles.get(company, {})]
        if without:
            verb = "has" if len(without) == 1 else "have"
            hint = f"nobody is told there; write {to.name}: SINK in the company or under companies.defaults"
            yield ("send", position, "to"), f"{some(without)} {verb} no role '{to.name}'", hint
