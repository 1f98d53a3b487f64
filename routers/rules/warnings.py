"""What is legal in router.yaml but surely not meant: a rule that never fires, a company that nobody hears of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from receiver.companies import DEFAULTS
from receiver.positioned_yaml import Loc
from routers.blocks import ExceptCompanies
from routers.complaints import Complaints
from routers.lifecycle import INBOUND_OUTCOMES
from routers.rules.compiling import Placed, some
from routers.rules.contradictions import Warned, contradictions, covers, lines_of
from routers.rules.ruleset import OnLate, Rule, RuleSet
from routers.transitions import INSTALLATION, OF_THE_INSTALLATION, Transition

# What the outcome is when one of these happens.
_OUTCOMES = {transition: outcome.value for outcome, transition in INBOUND_OUTCOMES.items()}


def warn(placed: Collection[Placed], rules: RuleSet, companies: Collection[str], complaints: Complaints) -> None:
    """Complain about *placed*, and about what goes with them, in warnings only."""
    stops = _Stops(companies)
    for rule in placed:
        for loc, problem, hint in chain(
            _said_twice(rule),
            _never_holds(rule, companies),
            stops.before(rule),
            _without_role(rule, rules, companies),
            _without_effect(rule),
            _unheard_alarms(rule, rules),
        ):
            complaints.complain((*rule.loc, *loc), problem, hint, warning=True)
        stops.add(rule)
    for loc, problem, hint in _telling_of_itself(placed, rules):
        complaints.complain(loc, problem, hint, warning=True)
    for loc, problem, hint in _unmatched_without_role(rules, companies):
        complaints.complain(loc, problem, hint, warning=True)
    for loc, problem, hint in _unused_hours(complaints.document.value):
        complaints.complain(loc, problem, hint, key=True, warning=True)


def _companies_of(rule: Rule, companies: Collection[str]) -> set[str]:
    return set(companies) if rule.companies is None else set(rule.companies)


# --- one rule by itself ----------------------------------------------------------------------------------------------


def _said_twice(placed: Placed) -> Iterator[Warned]:
    """What stands a second time in a list of names."""
    when, companies = placed.written.when, placed.written.companies
    lists: dict[Loc, Sequence[str]] = {("when",): when}
    if isinstance(companies, ExceptCompanies):
        lists["companies", "except"] = companies.except_
    elif companies != "all":
        lists["companies",] = companies
    for loc, names in lists.items():
        for position, name in enumerate(names):
            if name in names[:position]:
                yield (*loc, position), f"'{name}' stands here twice", "take one of them out"


def _never_holds(placed: Placed, companies: Collection[str]) -> Iterator[Warned]:
    rule = placed.rule
    concerned = sorted(_companies_of(rule, companies))
    if not concerned:
        yield ("companies",), "no company is left for this rule", "it never fires; name fewer under except"
    outcomes = [_OUTCOMES[transition] for transition in rule.when if transition in _OUTCOMES]
    known = {"company": concerned} | ({"outcome": sorted(outcomes)} if len(outcomes) == len(rule.when) else {})
    yield from contradictions(placed, known)


def _without_effect(placed: Placed) -> Iterator[Warned]:
    if placed.written.on_late is OnLate.DELIVER and "max_age" in placed.written.model_fields_set:
        hint = "take it out, or write on_late: records_only or ignore"
        yield ("max_age",), "'max_age' has no effect beside on_late: deliver", hint


# --- rules behind a stop ---------------------------------------------------------------------------------------------


class _Stops:
    """Remembers the rules with `stop: true`, to tell which later ones they leave nothing to."""

    def __init__(self, companies: Collection[str]) -> None:
        self._companies = companies
        self._stopping: list[Placed] = []

    def add(self, placed: Placed) -> None:
        if placed.rule.stop:
            self._stopping.append(placed)

    def before(self, placed: Placed) -> Iterator[Warned]:
        """A warning if, whatever happens, one of the rules so far fires and stops where *placed* would fire."""
        left = set(self._pairs(placed.rule))
        behind = []
        for stopping in self._stopping if left else ():
            taken = left & self._taken(stopping, placed)
            if taken:
                behind.append(stopping)
                left -= taken
        if behind and not left:
            yield _behind(behind, placed)

    def _taken(self, stopping: Placed, placed: Placed) -> set[tuple[str, Transition]]:
        """Where, of what and for whom, *stopping* leaves nothing to *placed*."""
        if placed.rule.when.isdisjoint(stopping.rule.when) or not _fires_with(stopping, placed):
            return set()
        taken = set(self._pairs(stopping.rule))
        if placed.rule.asks("opt_out") and not stopping.rule.asks("opt_out"):
            # A text that says STOP is shown to rules that ask for it only.
            taken = {pair for pair in taken if pair[1] is not Transition.TEXT_RECEIVED}
        return taken

    def _pairs(self, rule: Rule) -> Iterable[tuple[str, Transition]]:
        return [(company, name) for company in _companies_of(rule, self._companies) for name in rule.when]


def _fires_with(stopping: Placed, placed: Placed) -> bool:
    """Whether *stopping* fires wherever *placed* would: it asks no more, and excepts no more."""
    asked, excepted = list(lines_of(placed.written.if_)), placed.written.unless
    return all(
        any(name == other and covers(wanted, narrow, name) for other, narrow in asked)
        for name, wanted in lines_of(stopping.written.if_)
    ) and all(
        name in excepted and covers(excepted[name], wanted, name) for name, wanted in stopping.written.unless.items()
    )


def _behind(behind: Collection[Placed], placed: Placed) -> Warned:
    ids = " and ".join(f"'{stopping.rule.id}'" for stopping in behind)
    if not any(stopping.written.if_ or stopping.written.unless for stopping in behind):
        hint = "put it above, or give the stopping rule conditions"
        return ("id",), f"this rule stands behind {ids}, which always stops: it never fires", hint
    if any(_fires_with(placed, stopping) for stopping in behind):
        hint = "take one of them out, or take stop: out of the first"
        return ("id",), f"this rule asks the same as {ids} above, which stops: it never fires", hint
    hint = "put it above, or take stop: out of the earlier one"
    return ("id",), f"this rule stands behind {ids}, which stops wherever this one would fire: it never fires", hint


# --- roles -----------------------------------------------------------------------------------------------------------


def _without_role(placed: Placed, rules: RuleSet, companies: Collection[str]) -> Iterator[Warned]:
    """A company that the rule is for, and that has no sink for a role the rule sends to."""
    concerned = _companies_of(placed.rule, companies) if placed.rule.when - OF_THE_INSTALLATION else set()
    for position, to in enumerate(placed.rule.send):
        without = [company for company in concerned if to.is_role and to.name not in rules.roles.get(company, {})]
        if without:
            verb = "has" if len(without) == 1 else "have"
            hint = f"nobody is told there; write {to.name}: SINK in the company or under companies.defaults"
            yield ("send", position, "to"), f"{some(without)} {verb} no role '{to.name}'", hint


def _unmatched_without_role(rules: RuleSet, companies: Collection[str]) -> Iterator[Warned]:
    """A company that has no sink for the role `unmatched:` sends to."""
    for sort, to in rules.everyone_else.items():
        without = [company for company in companies if to.is_role and to.name not in rules.roles.get(company, {})]
        if without:
            verb = "has" if len(without) == 1 else "have"
            hint = f"nobody is told there; write {to.name}: SINK in the company or under companies.defaults"
            yield ("unmatched", sort), f"{some(without)} {verb} no role '{to.name}'", hint


# --- alarms ----------------------------------------------------------------------------------------------------------


def _unheard_alarms(placed: Placed, rules: RuleSet) -> Iterator[Warned]:
    """Alarms of the installation that the rule names and cannot hear, or cannot tell: they belong to no company."""
    rule = placed.rule
    named = [position for position, name in enumerate(placed.written.when) if name in OF_THE_INSTALLATION]
    if named and rule.companies is not None:
        problem = f"'{placed.written.when[named[0]]}' belongs to no company, and this rule is for some: it never fires"
        yield ("when", named[0]), problem, "write companies: all, in a rule of its own"
    elif named:
        roles = rules.roles.get(INSTALLATION, {})
        for position, to in enumerate(rule.send):
            if to.is_role and to.name not in roles:
                hint = f"alarms belong to no company; write {to.name}: SINK under companies.defaults, or send to a sink"
                yield ("send", position, "to"), f"companies.defaults has no role '{to.name}'", hint


def _telling_of_itself(placed: Collection[Placed], rules: RuleSet) -> Iterator[Warned]:
    """The one sink by which anybody hears that a sink is down: that it is down itself nobody would hear."""
    listening = [one for one in placed if one.rule.looks_at(INSTALLATION, Transition.ROUTER_SINK_DOWN)]
    told = {send.sink for one in listening for send in rules.sends_of(one.rule, INSTALLATION)}
    if len(told) == 1:
        (sink,) = told
        hint = "nothing is sent through the sink it is about; send to a second one too"
        yield (*listening[0].loc, "send"), f"that '{sink}' is down itself is told nobody", hint


# --- hours -----------------------------------------------------------------------------------------------------------


def _unused_hours(value: Mapping[str, Any]) -> Iterator[Warned]:
    """A schedule that no company keeps; *value* is the whole file."""
    companies = {name: block for name, block in (value.get("companies") or {}).items() if isinstance(block, dict)}
    shared = companies.pop(DEFAULTS, {}).get("hours")
    kept = {block.get("hours", shared) for block in companies.values()}
    for name in value.get("hours") or {}:
        if name not in kept:
            hint = f"write hours: {name} in a company or under companies.defaults, or take it out"
            yield ("hours", name), f"no company keeps the hours '{name}'", hint
