"""The look-ups of `router.yaml` held against what names them: rules, templates, companies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from receiver.companies import CompanyConfig
from receiver.exceptions import ConfigProblem, Place
from receiver.positioned_yaml import Loc, validated
from routers.accounts import AccountConfig
from routers.complaints import Complaints
from routers.durations import written_duration
from routers.lookups.built_in import BUILT_IN
from routers.lookups.config import LookupConfig, compile_lookup
from routers.lookups.definitions import Lookup, OnFailure
from routers.rules.answers import LOOKUP, Answering
from routers.rules.compiling import Placed
from routers.rules.fields import did_you_mean
from routers.rules.needs import Needs
from routers.rules.ruleset import RuleSet
from routers.sandbox import parts_read

PlaceOf = Callable[[int], Place]  # the place of a line of a template


class LookupChecker:
    """All look-ups there are, *lookups*; what is wrong with them or with what names them goes to the complaints.

    Attributes:
        answers: The same, as rules see them.
    """

    def __init__(self, block: Mapping[str, Any], complaints: Complaints) -> None:
        self._complaints = complaints
        self.lookups: dict[str, Lookup] = dict(BUILT_IN)
        for name, written in block.items():
            if (lookup := self._read(name, written)) is not None:
                self.lookups[name] = lookup
        self.answers = {
            name: Answering({known: each.field for known, each in lookup.fields.items()}, lookup.is_possible_at)
            for name, lookup in self.lookups.items()
        }

    def _read(self, name: str, written: object) -> Lookup | None:
        loc: Loc = ("lookups", name)
        config, problems = validated(LookupConfig, self._complaints.document, written, loc)
        self._complaints.add(problems)

        def complain(at: Loc, problem: str, hint: str = "", *, key: bool = False) -> None:
            self._complaints.complain((*loc, *at), problem, hint, key=key)

        return compile_lookup(name, config, complain) if config is not None else None

    def shown_in(self, texts: Iterable[tuple[str, PlaceOf]]) -> frozenset[str]:
        """The look-ups that some templates show."""
        return frozenset(name for text, place in texts for name in self._shown_in(text, place))

    def _shown_in(self, text: str, place: PlaceOf) -> set[str]:
        found = set()
        for line, name, field in parts_read(text, LOOKUP):
            if name is None:
                problem, hint = "'lookup' holds several answers", "write lookup.NAME.FIELD"
            elif name not in self.answers:
                problem = f"there is no look-up '{name}'"
                hint = did_you_mean(name, self.answers) or f"there are: {', '.join(self.answers)}"
            elif field is not None and field not in (known := self.answers[name].fields):
                problem = f"the look-up {name} has no '{field}'"
                hint = did_you_mean(field, known) or f"it has {', '.join(known)}"
            else:
                found.add(name)
                continue
            self._complaints.add([ConfigProblem(problem, place(line), hint)])
        return found

    def check_accounts(
        self,
        placed: Sequence[Placed],
        needs: Needs,
        companies: Mapping[str, CompanyConfig],
        accounts: Mapping[str, AccountConfig],
    ) -> bool:
        """That each company whose rules look something up has an account. Whether anything is looked up at all."""
        looks_up = False
        for rule in placed:
            if not needs.may_be_of(rule.rule):
                continue
            for slug, company in companies.items():
                if rule.rule.companies is not None and slug not in rule.rule.companies:
                    continue
                name = next((name for _, name in needs.all_of(rule.rule, slug)), None)
                looks_up = looks_up or name is not None
                if name is not None and account_of(company, accounts) is None:
                    problem = f"this rule needs the look-up {name}, and {slug} has no account at CallRail"
                    hint = "name one under accounts:, and with several write account: NAME in the company"
                    self._complaints.complain(rule.loc, problem, hint)
        return looks_up

    def warn_of_waits(
        self, placed: Sequence[Placed], rules: RuleSet, needs: Needs, companies: Mapping[str, CompanyConfig]
    ) -> None:
        """Of each rule that may wait for a look-up until its message is too old to be told."""
        for rule in placed:
            if not needs.may_be_of(rule.rule):
                continue
            for slug in companies:
                if rule.rule.companies is not None and slug not in rule.rule.companies:
                    continue
                ages = [age for send in rules.sends_of(rule.rule, slug) if (age := rules.oldest(rule.rule, send))]
                waits = {name: self._wait_for(name) for _, name in needs.all_of(rule.rule, slug)}
                longest = max(waits, key=waits.__getitem__, default=None)
                if ages and longest is not None and waits[longest] >= min(ages):
                    wait, oldest = written_duration(waits[longest]), written_duration(min(ages))
                    problem = f"this rule may wait {wait} for {longest}, and does not tell what is older than {oldest}"
                    hint = f"write a shorter wait: under lookups: {longest}:, or a longer max_age or expires"
                    self._complaints.complain(rule.loc, problem, hint, warning=True)
                    break

    def _wait_for(self, name: str) -> timedelta:
        settings = self.lookups[name].settings
        return settings.wait if settings.on_failure is OnFailure.WAIT else timedelta(0)


def account_of(company: CompanyConfig | None, accounts: Mapping[str, AccountConfig]) -> str | None:
    """The name of the account that *company* belongs to; the only one of *accounts* unless it says so."""
    if company is not None and company.account is not None:
        return company.account
    return next(iter(accounts)) if len(accounts) == 1 else None
