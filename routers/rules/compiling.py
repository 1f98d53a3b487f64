"""From the rules as they are written to a rule set's rules. What is wrong goes to the complaints, all of it at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from receiver.positioned_yaml import Loc, validated
from routers.blocks import ExceptCompanies, RuleConfig, SendConfig
from routers.complaints import Complaints
from routers.rules.answers import Answers, impossible
from routers.rules.conditions import Condition, compile_conditions
from routers.rules.fields import did_you_mean
from routers.rules.ruleset import Rule, To
from routers.transitions import Transition

_TRANSITIONS = {name.value: name for name in Transition}


@dataclass(frozen=True)
class Names:
    """What a rule may name. *sinks* and *templates* are None where they cannot be read, so that none is called missing.

    *roles* are all there are in any company; *with_hours* are the companies that have opening hours; *answers* what can
    be looked up.
    """

    companies: Collection[str]
    sinks: Collection[str] | None
    roles: Collection[str]
    templates: Collection[str] | None
    with_hours: Collection[str]
    answers: Answers = field(default_factory=dict)


@dataclass(frozen=True)
class Placed:
    """A rule, where it stands, and how it is written."""

    rule: Rule
    loc: Loc
    written: RuleConfig


@dataclass
class RuleCompiler:
    """Compiles rules one after another. *used* collects the names of sinks and roles they send to."""

    complaints: Complaints
    names: Names
    used: set[str] = field(default_factory=set)
    _ids: dict[str, Loc] = field(default_factory=dict)
    _compiled: dict[tuple[str, frozenset[Transition]], tuple[Condition, ...]] = field(default_factory=dict)

    def compile(self, written: Iterable[object]) -> list[Placed]:
        """The rules of `rules:`, without those that are too broken to be one."""
        rules = (self._rule(block, ("rules", position)) for position, block in enumerate(written))
        return [rule for rule in rules if rule is not None]

    def to(self, written: SendConfig, loc: Loc) -> To:
        """The destination written at *loc*, whose name stands there under `to`."""
        self.named(written.to, (*loc, "to"))
        templates = self.names.templates
        if written.template is not None and templates is not None and written.template not in templates:
            hint = did_you_mean(written.template, templates) or "name it under templates:"
            self.complaints.complain((*loc, "template"), f"there is no template '{written.template}'", hint)
        is_role = written.to in self.names.roles
        return To(written.id or written.to, written.to, is_role, written.template, written.expires, written.amend)

    def named(self, name: str, loc: Loc) -> None:
        """Note that the sink or role *name* is used at *loc*."""
        self.used.add(name)
        sinks = self.names.sinks
        if sinks is not None and name not in sinks and name not in self.names.roles:
            hint = did_you_mean(name, [*sinks, *self.names.roles]) or "name it under sinks:"
            self.complaints.complain(loc, f"there is no sink or role '{name}'", hint)

    def _rule(self, block: object, loc: Loc) -> Placed | None:
        written = self._read(block, loc)
        if written is None:
            return None
        if self.complaints.document.has((*loc, "id")):
            self._identify(written, loc)
        if not written.send and not written.mute and self._says(block, "send") is None:
            hint = "write send: [{to: SINK}]; a rule that only silences others has mute: true"
            self.complaints.complain(loc, "'send' is missing", hint)
        companies = self._companies(written, loc)
        when = frozenset(self._transitions(written, loc))
        rule = Rule(
            id=written.id,
            companies=companies,
            when=when,
            conditions=self._conditions(written.if_, when, (*loc, "if")),
            exceptions=self._conditions(written.unless, when, (*loc, "unless")),
            send=tuple(self._sends(written, loc)),
            name=written.name,
            previous=written.was,
            lookups=tuple(self._lookups(written, when, loc)),
            stop=written.stop,
            repeat=written.repeat,
            mute=written.mute,
            on_late=written.on_late,
            max_age=written.max_age,
        )
        self._check_hours(rule, loc)
        return Placed(rule, loc, written)

    def _read(self, block: object, loc: Loc) -> RuleConfig | None:
        """*block* as a rule. If some keys of it are wrong the rest is read, for it may have mistakes of its own."""
        document = self.complaints.document
        written, problems = validated(RuleConfig, document, block, loc)
        self.complaints.add(problems)
        if written is not None or not isinstance(block, dict):
            return written
        paths = [problem.where.path.removeprefix(document.place(loc).path) for problem in problems]
        wrong = {found[1] for path in paths if (found := re.match(r"\.(\w+)", path))}
        rest = {key: value for key, value in block.items() if key not in wrong and key in _KEYS}
        return validated(RuleConfig, document, _STANDING_IN | rest, loc)[0]

    def _says(self, block: object, key: str) -> object:
        return block.get(key) if isinstance(block, dict) else None

    def _identify(self, written: RuleConfig, loc: Loc) -> None:
        ids = [(written.id, (*loc, "id")), *((old, (*loc, "was", n)) for n, old in enumerate(written.was))]
        for rule_id, where in ids:
            first = self._ids.setdefault(rule_id, where)
            if first is not where:
                there = self.complaints.document.place(first)
                hint = f"an id names one rule for good; the first is {there.file}:{there.line}"
                self.complaints.complain(where, f"the id '{rule_id}' stands twice", hint)

    def _companies(self, written: RuleConfig, loc: Loc) -> frozenset[str] | None:
        if written.companies == "all":
            return None
        known = frozenset(self.names.companies)
        if isinstance(written.companies, ExceptCompanies):
            named, where = written.companies.except_, (*loc, "companies", "except")
        else:
            named, where = tuple(written.companies), (*loc, "companies")
        for position, name in enumerate(named):
            if known and name not in known:
                hint = did_you_mean(name, known) or f"there are: {some(known)}"
                self.complaints.complain((*where, position), f"there is no company '{name}'", hint)
        return known - set(named) if isinstance(written.companies, ExceptCompanies) else frozenset(named)

    def _transitions(self, written: RuleConfig, loc: Loc) -> Iterator[Transition]:
        for position, name in enumerate(written.when if self.complaints.document.has((*loc, "when")) else ()):
            if name in _TRANSITIONS:
                yield _TRANSITIONS[name]
                continue
            self.complaints.complain((*loc, "when", position), f"nothing is called '{name}'", _name_one(name))
            # Conditions are checked against what was meant, so that no mistake in them stays hidden.
            for meant in difflib.get_close_matches(name, _TRANSITIONS, n=1):
                yield _TRANSITIONS[meant]

    def _conditions(self, block: Mapping[str, Any], when: frozenset[Transition], loc: Loc) -> tuple[Condition, ...]:
        conditions = (self._condition({name: wanted}, when, loc) for name, wanted in block.items() if when)
        return tuple(chain.from_iterable(conditions))

    def _condition(self, block: Mapping[str, Any], when: frozenset[Transition], loc: Loc) -> tuple[Condition, ...]:
        """The condition of a block with one line. Rules that ask the same share it, and it is compiled once."""
        asked = repr(block), when
        found = self._compiled.get(asked)
        if found is not None:
            return found
        silent = True

        def complain(at: Loc, problem: str, hint: str = "", *, key: bool = False, warning: bool = False) -> None:
            nonlocal silent
            silent = False
            self.complaints.complain((*loc, *at), problem, hint, key=key, warning=warning)

        compiled = compile_conditions(block, when, complain, self.names.answers)
        if silent:
            self._compiled[asked] = compiled
        return compiled

    def _lookups(self, written: RuleConfig, when: frozenset[Transition], loc: Loc) -> Iterator[str]:
        answers = self.names.answers
        for position, name in enumerate(written.lookups):
            where: Loc = (*loc, "lookups", position)
            if name not in answers:
                hint = did_you_mean(name, answers) or f"there are: {', '.join(answers)}"
                self.complaints.complain(where, f"there is no look-up '{name}'", hint)
            elif when and (problem := impossible(name, answers[name], when)):
                self.complaints.complain(where, *problem)
            else:
                yield name

    def _sends(self, written: RuleConfig, loc: Loc) -> Iterator[To]:
        seen: set[str] = set()
        for position, send in enumerate(written.send):
            where: Loc = (*loc, "send", position)
            to = self.to(send, where)
            if to.id in seen:
                self.complaints.complain(where, f"this rule sends to '{to.id}' twice", "give each of them an id")
            seen.add(to.id)
            yield to

    def _check_hours(self, rule: Rule, loc: Loc) -> None:
        """A rule that asks for opening hours says nothing in a company that has none."""
        at = next((at for at in ("if", "unless") if _asks_hours(rule, at)), None)
        companies = self.names.companies if rule.companies is None else rule.companies & set(self.names.companies)
        without = [company for company in companies if company not in self.names.with_hours]
        if at is None or not without:
            return
        is_all = len(without) == len(companies)
        who = (
            "no company of this rule has" if is_all else f"{some(without)} {'has' if len(without) == 1 else 'have'} no"
        )
        hint = "write hours: NAME in the company or under companies.defaults, and the schedule under hours:"
        where: Loc = (*loc, at, "hours")
        self.complaints.complain(where, f"{who} opening hours", hint, key=True, warning=not is_all)


def _asks_hours(rule: Rule, at: str) -> bool:
    asked = rule.conditions if at == "if" else rule.exceptions
    return any("hours" in condition.fields for condition in asked)


def _name_one(written: str) -> str:
    """The hint for what names no transition; there are no wildcards, so that nobody subscribes to what comes later."""
    if "*" in written:
        named = [name for name in _TRANSITIONS if name.startswith(written.partition("*")[0])]
        return f"name each of them: {', '.join(named or _TRANSITIONS)}"
    return did_you_mean(written, _TRANSITIONS) or f"there are: {', '.join(_TRANSITIONS)}"


def some(names: Iterable[str]) -> str:
    """*names* for a sentence, a few and how many more."""
    first, rest = sorted(names)[:5], len(set(names)) - 5
    return ", ".join(first) + (f" and {rest} more" if rest > 0 else "")


_KEYS = {info.alias or name for name, info in RuleConfig.model_fields.items()}
# What stands in for a wrong key while the rest of its rule is read.
_STANDING_IN: dict[str, Any] = {"id": "unnamed", "when": [name.value for name in Transition]}
