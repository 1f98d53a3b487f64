"""`router.yaml`: companies, sinks and rules, checked whole. Every mistake is told at once, each with its place.

`receiver.companies` owns the companies; this module reads the rest of the same file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from receiver.companies import Companies, CompaniesConfig, CompanyConfig, load_companies
from receiver.exceptions import ConfigError, ConfigProblem, SecretMissing
from receiver.positioned_yaml import Document, Loc, read, validate
from receiver.secrets import SecretRef
from routers.rules.conditions import Condition, compile_conditions
from routers.rules.fields import did_you_mean
from routers.rules.ruleset import Rule, RuleSet, Send, rules_hash
from routers.sinks import SINK_TYPES, AnySinkConfig
from routers.transitions import Transition


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError("a name is 1 to 64 small letters, digits, '-' and '_', no '-' or '_' first")
    return text


_Name = Annotated[str, AfterValidator(_name)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SendConfig(_Block):
    """One destination. *id* is needed only where a rule sends to one sink twice."""

    to: str
    id: _Name | None = None


class ExceptCompanies(_Block):
    """All companies but these."""

    except_: Annotated[tuple[str, ...], Field(alias="except", min_length=1)]


class RuleConfig(_Block):
    """One rule as it is written. Its *id* is its identity in the store; the *name* is for people."""

    id: _Name
    name: str | None = None
    companies: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] | ExceptCompanies = "all"
    when: Annotated[tuple[str, ...], Field(min_length=1)]
    if_: Annotated[dict[str, Any], Field(alias="if", default_factory=dict)]
    unless: Annotated[dict[str, Any], Field(default_factory=dict)]
    send: Annotated[tuple[SendConfig, ...], Field(min_length=1)]


class RouterConfig(CompaniesConfig):
    """The whole file."""

    sinks: Annotated[dict[_Name, dict[str, Any]], Field(default_factory=dict)]
    rules: tuple[RuleConfig, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """A checked file. Secrets are still references: `companies` and `sinks` look them up."""

    document: Document
    company_configs: Mapping[str, CompanyConfig]
    sink_configs: Mapping[str, AnySinkConfig]
    rules: RuleSet

    def companies(self, environ: Mapping[str, str]) -> Companies:
        """The companies with their keys.

        Raises:
            ConfigError: A secret is missing.
        """
        return load_companies(self.document, environ=environ)

    def signing_key_references(self) -> list[SecretRef]:
        """Where the companies' signing keys are kept."""
        return [key.secret for company in self.company_configs.values() for key in company.signing_keys]

    def missing_secrets(self, environ: Mapping[str, str]) -> list[ConfigProblem]:
        """What the file refers to and is not there, each at its place; nothing is raised."""
        problems: list[ConfigProblem] = []
        try:
            self.companies(environ)
        except ConfigError as error:
            problems += error.problems
        for name, config in self.sink_configs.items():
            try:
                config.build()
            except (SecretMissing, ValueError) as error:
                problems.append(ConfigProblem(str(error), self.document.place(("sinks", name))))
        return problems


def read_config(path: Path) -> Configuration:
    """The configuration in *path*.

    Raises:
        ConfigError: With every mistake found.
    """
    document = read(path)
    config = validate(RouterConfig, document, document.value)
    checker = _Checker(document, config)
    sinks = dict(checker.sinks())
    rules = tuple(checker.rules())
    if checker.problems:
        raise ConfigError(checker.problems)
    return Configuration(document, config.companies, sinks, RuleSet(rules, rules_hash(document.text)))


class _Checker:
    """Holds the parts of a file against each other and collects what does not fit."""

    def __init__(self, document: Document, config: RouterConfig) -> None:
        self._document = document
        self._config = config
        self.problems: list[ConfigProblem] = []

    def sinks(self) -> Iterator[tuple[str, AnySinkConfig]]:
        for name, block in self._config.sinks.items():
            loc: Loc = ("sinks", name)
            model = SINK_TYPES.get(str(block.get("type")))
            if model is None:
                hint = did_you_mean(str(block.get("type")), SINK_TYPES) or f"there are: {', '.join(SINK_TYPES)}"
                problem = "'type' is missing" if "type" not in block else f"unknown sink type '{block['type']}'"
                self._complain((*loc, "type"), problem, hint)
                continue
            try:
                yield name, validate(model, self._document, block, loc)
            except ConfigError as error:
                self.problems += error.problems

    def rules(self) -> Iterator[Rule]:
        seen: set[str] = set()
        for position, rule in enumerate(self._config.rules):
            loc: Loc = ("rules", position)
            if rule.id in seen:
                self._complain((*loc, "id"), f"a second rule with the id '{rule.id}'", "an id names one rule")
            seen.add(rule.id)
            companies, when = self._companies(rule, loc), frozenset(self._transitions(rule, loc))
            yield Rule(
                id=rule.id,
                companies=companies,
                when=when,
                conditions=self._conditions(rule.if_, when, (*loc, "if")),
                exceptions=self._conditions(rule.unless, when, (*loc, "unless")),
                send=tuple(self._sends(rule, loc)),
            )

    def _companies(self, rule: RuleConfig, loc: Loc) -> frozenset[str] | None:
        if rule.companies == "all":
            return None
        known = frozenset(self._config.companies)
        if isinstance(rule.companies, ExceptCompanies):
            named, where = rule.companies.except_, (*loc, "companies", "except")
        else:
            named, where = tuple(rule.companies), (*loc, "companies")
        for position, name in enumerate(named):
            if name not in known:
                hint = did_you_mean(name, self._config.companies)
                self._complain((*where, position), f"there is no company '{name}'", hint)
        return known - set(named) if isinstance(rule.companies, ExceptCompanies) else frozenset(named)

    def _transitions(self, rule: RuleConfig, loc: Loc) -> Iterator[Transition]:
        known = {name.value: name for name in Transition}
        for position, name in enumerate(rule.when):
            if name in known:
                yield known[name]
            else:
                hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
                self._complain((*loc, "when", position), f"nothing is called '{name}'", hint)

    def _conditions(self, block: Mapping[str, Any], when: frozenset[Transition], loc: Loc) -> tuple[Condition, ...]:
        def complain(at: Loc, problem: str, hint: str = "", *, key: bool = False, warning: bool = False) -> None:
            if not warning:
                self._complain((*loc, *at), problem, hint, key=key)

        return compile_conditions(block, when, complain)

    def _sends(self, rule: RuleConfig, loc: Loc) -> Iterator[Send]:
        seen: set[str] = set()
        for position, send in enumerate(rule.send):
            where: Loc = (*loc, "send", position)
            if send.to not in self._config.sinks:
                hint = did_you_mean(send.to, self._config.sinks) or "name it under sinks:"
                self._complain((*where, "to"), f"there is no sink '{send.to}'", hint)
            send_id = send.id or send.to
            if send_id in seen:
                self._complain(where, f"this rule sends to '{send_id}' twice", "give each of them an id")
            seen.add(send_id)
            yield Send(send_id, send.to)

    def _complain(self, loc: Loc, problem: str, hint: str = "", *, key: bool = False) -> None:
        place = self._document.key_place(loc) if key else self._document.place(loc)
        self.problems.append(ConfigProblem(problem, place, hint))
