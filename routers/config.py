"""`router.yaml`: the whole file, checked. Every mistake is told at once, each with its place.

`receiver.companies` owns the companies and `routers.blocks` the shape of the other blocks; here they are held against
each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from callrail.fields import FIELDS
from receiver.companies import DEFAULTS, Companies, CompanyConfig, Written, load_companies, written_companies
from receiver.exceptions import ConfigError, ConfigProblem, Place, SecretMissing
from receiver.includes import read_with_includes, text_hash
from receiver.positioned_yaml import Document, Loc, validated
from receiver.secrets import SecretRef
from routers.accounts import AccountConfig
from routers.acting import check_acting
from routers.audience import Audience
from routers.blocks import PrivacyConfig, RetentionConfig, RouterConfig, UnmatchedConfig
from routers.complaints import Complaints
from routers.hours import Schedule, parse_schedule
from routers.lookups.checking import LookupChecker, account_of
from routers.lookups.definitions import Lookup
from routers.media.settings import MediaConfig
from routers.rules.compiling import Names, Placed, RuleCompiler
from routers.rules.fields import did_you_mean, fields_of
from routers.rules.needs import Needs
from routers.rules.ruleset import RuleSet, Shown, To
from routers.rules.warnings import warn
from routers.sinks import SINK_TYPES, AnySinkConfig
from routers.sinks.callrail import CallRailConfig
from routers.templates import BUILT_IN_NAMES, check_templates
from routers.transitions import INSTALLATION

_TEMPLATE_SUFFIX = ".jinja"
_MAX_TEMPLATE = 100_000  # bytes


@dataclass(frozen=True)
class Configuration:
    """A checked file. Secrets are still references: `companies` and `sinks` look them up.

    *lookups* is what can be looked up, *looks_up* whether the rules need any of it.
    *shared_numbers* are those, in E.164, that identify nobody.
    *templates* are the texts by name, those of the folder among them, and *template_places* where each begins.
    *warnings* are what is legal but surely not meant.
    """

    document: Document
    company_configs: Mapping[str, CompanyConfig]
    sink_configs: Mapping[str, AnySinkConfig]
    rules: RuleSet
    accounts: Mapping[str, AccountConfig] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    template_places: Mapping[str, Place] = field(default_factory=dict)
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    looks_up: bool = False
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    shared_numbers: Collection[str] = frozenset()
    privacy: PrivacyConfig | None = None
    warnings: Sequence[ConfigProblem] = ()

    @property
    def media_folders(self) -> set[Path]:
        """Where files of CallRail's are kept."""
        return {config.path for _, config in self._media_configs()}

    def fetched_of(self, account: str) -> list[str]:
        """The companies of which files are fetched with the key of *account*; none unless it says so."""
        if self.accounts[account].fetch_media is None:
            return []
        return [company for company in self.company_configs if self.account_of(company) == account]

    @property
    def media_ages(self) -> dict[str, timedelta | None]:
        """By company of which files are fetched, the age at which they are removed; None if they are kept for good."""
        return {
            company: config.keep_for or self.retention.of_both
            for name, config in self._media_configs()
            for company in self.fetched_of(name)
        }

    def _media_configs(self) -> Iterator[tuple[str, MediaConfig]]:
        for name, account in self.accounts.items():
            if account.fetch_media is not None:
                yield name, account.fetch_media

    @property
    def acts(self) -> bool:
        """Whether a sink acts in CallRail."""
        return any(isinstance(sink, CallRailConfig) for sink in self.sink_configs.values())

    def account_of(self, company: str) -> str | None:
        """The name of the account at CallRail that *company* belongs to; the only one there is unless it says so."""
        return account_of(self.company_configs.get(company), self.accounts)

    def privacy_key(self, environ: Mapping[str, str]) -> bytes | None:
        """The key by which erased numbers are hashed; None if the file names none.

        Raises:
            ConfigError: It is missing.
        """
        if self.privacy is None:
            return None
        try:
            return self.privacy.key.resolve(environ).encode()
        except SecretMissing as error:
            raise ConfigError([ConfigProblem(str(error), self.document.place(("privacy", "key")))]) from None

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
        for name, account in self.accounts.items():
            try:
                account.api_key.resolve(environ)
            except SecretMissing as error:
                problems.append(ConfigProblem(str(error), self.document.place(("accounts", name, "api_key"))))
        for name, config in self.sink_configs.items():
            try:
                config.build()
            except (SecretMissing, ValueError) as error:
                problems.append(ConfigProblem(str(error), self.document.place(("sinks", name))))
        try:
            self.privacy_key(environ)
        except ConfigError as error:
            problems += error.problems
        return problems


@dataclass(frozen=True)
class Checked:
    """What came of reading a file: a *configuration*, or None and the *problems*."""

    configuration: Configuration | None
    problems: Sequence[ConfigProblem]
    warnings: Sequence[ConfigProblem]


class CheckTemplates(Protocol):
    """Complains of what is wrong with *texts*: the template's name, the line in it (from 1), the problem, a hint.

    *fields* are, by template, the fields that can be told where a rule uses it.
    """

    def __call__(
        self,
        texts: Mapping[str, str],
        complain: Callable[[str, int, str, str], None],
        *,
        fields: Mapping[str, Collection[str]] | None = None,
    ) -> None: ...


def read_config(path: Path) -> Configuration:
    """The configuration in *path* and the files it includes.

    Raises:
        ConfigError: With every mistake found.
    """
    checked = check_config(path)
    if checked.configuration is None:
        raise ConfigError(list(checked.problems))
    return checked.configuration


def check_config(
    path: Path,
    *,
    builtin_templates: Collection[str] = BUILT_IN_NAMES,
    check_templates: CheckTemplates | None = check_templates,
) -> Checked:
    """As `read_config`, but nothing is raised.

    Args:
        builtin_templates: Names that a send may give as its template beside those of the file.
        check_templates: Looks at the templates of the file.
    """
    try:
        document = read_with_includes(path)
    except ConfigError as error:
        return Checked(None, error.problems, ())
    checker = _Checker(document)
    configuration = checker.check(builtin_templates, check_templates)
    complaints = checker.complaints
    return Checked(None if complaints.problems else configuration, complaints.problems, complaints.warnings)


class _Checker:
    """Reads a document block by block and holds the blocks against each other."""

    def __init__(self, document: Document) -> None:
        self.complaints = Complaints(document)
        self._document = document

    def check(self, builtin_templates: Collection[str], check_templates: CheckTemplates | None) -> Configuration:
        """The configuration, as far as the complaints are none."""
        document = self._document
        whole, problems = validated(RouterConfig, document, document.value)
        self.complaints.add(problems)
        written = written_companies(document)
        self.complaints.add(written.problems)
        accounts, schedules = dict(self._accounts()), dict(self._schedules())
        sinks = dict(self._sinks())
        templates, template_places = self._templates()
        self._check_companies(written)
        lookups = LookupChecker(self._block("lookups"), self.complaints)
        names = Names(
            companies=self._block("companies").keys() - {DEFAULTS},
            sinks=self._block("sinks") if self._is_block("sinks") else None,
            roles={role for roles in written.own_roles.values() for role in roles},
            templates={*templates, *builtin_templates} if self._are_templates_known(templates) else None,
            with_hours=self._with_hours(),
            answers=lookups.answers,
        )
        compiler = RuleCompiler(self.complaints, names)
        rules = document.value.get("rules")
        placed = compiler.compile(rules if isinstance(rules, list) else ())
        if check_templates is not None:
            complain = partial(self._complain_of_template, template_places)
            check_templates(templates, complain, fields=_fields_by_template(placed))
            for name, sink in sinks.items():
                self._check_sink_templates(name, sink, check_templates)
        everyone_else = dict(self._unmatched(compiler))
        self._check_roles(written, compiler)
        self._check_amends(placed, written, sinks)
        hours = {slug: schedules[config.hours] for slug, config in written.configs.items() if config.hours in schedules}
        rule_set = RuleSet(
            tuple(rule.rule for rule in placed),
            text_hash(document, *templates.values()),
            roles={**written.roles, INSTALLATION: written.shared_roles},
            everyone_else=everyone_else,
            hours=hours,
            for_people=frozenset(name for name, sink in sinks.items() if sink.audience is Audience.PEOPLE),
            amends={name: sink.amending for name, sink in sinks.items()},
            shown=self._shown(lookups, templates, template_places, sinks),
            answers=lookups.answers,
            zones={slug: config.time_zone for slug, config in written.configs.items() if config.time_zone}
            | ({INSTALLATION: written.shared_time_zone} if written.shared_time_zone else {}),
        )
        check_acting(placed, rule_set, sinks, written.configs, accounts, self.complaints)
        needs = Needs(rule_set)
        looks_up = lookups.check_accounts(placed, needs, written.configs, accounts)
        if not self.complaints.problems:
            lookups.warn_of_waits(placed, rule_set, needs, written.configs)
            self._warn_of_unused_sinks(written, compiler)
            self._warn_of_idle_accounts(written, accounts)
            warn(placed, rule_set, list(names.companies), self.complaints)
        return Configuration(
            document=document,
            company_configs=written.configs,
            sink_configs=sinks,
            rules=rule_set,
            accounts=accounts,
            schedules=schedules,
            templates=templates,
            template_places=template_places,
            lookups=lookups.lookups,
            looks_up=looks_up,
            retention=whole.retention if whole is not None else RetentionConfig(),
            shared_numbers=whole.leads.shared_numbers if whole is not None else frozenset(),
            privacy=whole.privacy if whole is not None else None,
            warnings=self.complaints.warnings,
        )

    # --- blocks -------------------------------------------------------------------------------------------------------

    def _block(self, name: str) -> dict[str, Any]:
        found = self._document.value.get(name)
        return found if isinstance(found, dict) else {}

    def _is_block(self, name: str) -> bool:
        return isinstance(self._document.value.get(name, {}), dict)

    def _accounts(self) -> Iterator[tuple[str, AccountConfig]]:
        for name, block in self._block("accounts").items():
            config, problems = validated(AccountConfig, self._document, block, ("accounts", name))
            self.complaints.add(problems)
            if config is not None:
                yield name, config

    def _schedules(self) -> Iterator[tuple[str, Schedule]]:
        for name, block in self._block("hours").items():
            loc: Loc = ("hours", name)
            yield name, parse_schedule(block, partial(self._is_quoted, loc), partial(self._complain_below, loc))

    def _is_quoted(self, loc: Loc, at: Loc) -> bool:
        return not self._document.character((*loc, *at)).isdigit()

    def _complain_below(self, loc: Loc, at: Loc, problem: str, hint: str = "", *, key: bool = False) -> None:
        self.complaints.complain((*loc, *at), problem, hint, key=key)

    def _shown(
        self,
        lookups: LookupChecker,
        templates: Mapping[str, str],
        places: Mapping[str, Place],
        sinks: Mapping[str, AnySinkConfig],
    ) -> Shown:
        """The look-ups that the file's own templates show, and those among the settings of sinks."""
        return Shown(
            {name: lookups.shown_in([(text, self._place_in(name, places))]) for name, text in templates.items()},
            {
                name: lookups.shown_in(
                    (text, partial(self._line_in, ("sinks", name, *at))) for at, text in sink.written_templates()
                )
                for name, sink in sinks.items()
            },
        )

    def _place_in(self, template: str, places: Mapping[str, Place]) -> Callable[[int], Place]:
        """The place of a line of *template*; a text after `|` begins one line below it."""
        begins = places[template]
        if begins.path:
            return partial(self._line_in, ("templates", template))
        return lambda line: Place(begins.file, line, 1)

    def _sinks(self) -> Iterator[tuple[str, AnySinkConfig]]:
        for name, block in self._block("sinks").items():
            loc: Loc = ("sinks", name)
            if not isinstance(block, dict):
                continue  # the model of the whole file has said so
            model = SINK_TYPES.get(str(block.get("type")))
            if model is None:
                hint = did_you_mean(str(block.get("type")), SINK_TYPES) or f"there are: {', '.join(SINK_TYPES)}"
                problem = "'type' is missing" if "type" not in block else f"unknown sink type '{block['type']}'"
                self.complaints.complain((*loc, "type"), problem, hint)
                continue
            config, problems = validated(model, self._document, block, loc)
            self.complaints.add(problems)
            if config is not None:
                yield name, config

    def _templates(self) -> tuple[dict[str, str], dict[str, Place]]:
        """The texts by name, and where each begins."""
        own = {name: text for name, text in self._block("templates").items() if isinstance(text, str)}
        places = {name: self._document.place(("templates", name)) for name in own}
        folder = self._document.value.get("templates_folder")
        if not isinstance(folder, str):
            return own, places
        where: Loc = ("templates_folder",)
        path = Path(self._document.file).parent / folder
        if not path.is_dir():
            self.complaints.complain(where, f"there is no folder '{folder}'", "it is relative to this file")
            return own, places
        for file in sorted(path.iterdir()):
            if file.suffix != _TEMPLATE_SUFFIX:
                continue
            if file.stem in own:
                self.complaints.complain(where, f"a second template '{file.stem}': {file}", "a name stands once")
                continue
            text = self._template_text(file, where)
            if text is None:
                continue
            own[file.stem] = text
            places[file.stem] = Place(str(file), 1, 1)
        return own, places

    def _are_templates_known(self, found: Mapping[str, str]) -> bool:
        """Whether *found* are all that were meant: there is no text of another type, and the folder is there."""
        folder = self._document.value.get("templates_folder")
        is_there = folder is None or (isinstance(folder, str) and (Path(self._document.file).parent / folder).is_dir())
        return is_there and self._is_block("templates") and self._block("templates").keys() <= found.keys()

    def _template_text(self, file: Path, where: Loc) -> str | None:
        """The text of *file*; None, and a complaint, if it has none that can be used."""
        try:
            with file.open("rb") as opened:
                data = opened.read(_MAX_TEMPLATE + 1)
            if len(data) > _MAX_TEMPLATE:
                self.complaints.complain(where, f"{file} is longer than {_MAX_TEMPLATE:,} bytes", "shorten it")
                return None
            return data.decode()
        except (OSError, UnicodeDecodeError):
            self.complaints.complain(where, f"{file} cannot be read as text", "save it as UTF-8")
            return None

    def _complain_of_template(self, places: Mapping[str, Place], name: str, line: int, problem: str, hint: str) -> None:
        """Note *problem* in line number *line* of the template *name*."""
        self.complaints.add([ConfigProblem(problem, self._place_in(name, places)(line), hint)])

    def _line_in(self, loc: Loc, line: int) -> Place:
        begins = self._document.place(loc)
        is_block = self._document.character(loc) in ("|", ">")
        return Place(begins.file, begins.line + line, 1, begins.path) if is_block else begins

    def _check_sink_templates(self, name: str, sink: AnySinkConfig, check_templates: CheckTemplates) -> None:
        """Complain of what is wrong with the templates among the settings of the sink *name*."""
        known = {*FIELDS, *sink.names_in_templates()}
        for below, text in sink.written_templates():
            where: Loc = ("sinks", name, *below)

            def complain(_name: str, line: int, problem: str, hint: str, where: Loc = where) -> None:
                self.complaints.add([ConfigProblem(problem, self._line_in(where, line), hint)])

            check_templates({name: text}, complain, fields={name: known})

    def _unmatched(self, compiler: RuleCompiler) -> Iterator[tuple[str, To]]:
        block = self._block("unmatched")
        config, _told_already = validated(UnmatchedConfig, self._document, block, ("unmatched",))
        for name in UnmatchedConfig.model_fields:
            to = getattr(config, name, None)
            if to is not None:
                compiler.named(to, ("unmatched", name))
                yield name, To("unmatched", to, to in compiler.names.roles)

    # --- blocks against each other ------------------------------------------------------------------------------------

    def _with_hours(self) -> set[str]:
        """The companies that name a schedule, be the rest of them right or not."""
        blocks = {slug: block for slug, block in self._block("companies").items() if isinstance(block, dict)}
        shared = blocks.get(DEFAULTS, {}).get("hours")
        return {slug for slug, block in blocks.items() if block.get("hours", shared) is not None}

    def _check_companies(self, written: Written) -> None:
        """That the account and the schedule a company names are there."""
        for slug, config in written.configs.items():
            for key, named in (("account", config.account), ("hours", config.hours)):
                block = "accounts" if key == "account" else key
                if named is not None and self._is_block(block) and named not in self._block(block):
                    hint = did_you_mean(named, self._block(block)) or f"name it under {block}:"
                    what = "schedule" if key == "hours" else key
                    self.complaints.complain(self._loc_of(slug, key), f"there is no {what} '{named}'", hint)

    def _loc_of(self, slug: str, key: str) -> Loc:
        """Where a company's *key* is written: in the company or under the defaults."""
        own: Loc = ("companies", slug, key)
        return own if self._document.has(own) else ("companies", DEFAULTS, key)

    def _check_roles(self, written: Written, compiler: RuleCompiler) -> None:
        """That each role leads to a sink and is sent to; one that is not and looks like a setting is a mistake."""
        sinks = self._block("sinks")
        placed = [(slug, role, sink) for slug, roles in written.own_roles.items() for role, sink in roles.items()]
        for slug, role, sink in placed:
            loc: Loc = ("companies", slug, role)
            if isinstance(sink, str) and sink not in sinks and compiler.names.sinks is not None:
                # Repeated only where it is like a sink's name: it may be a secret in the wrong place.
                near = did_you_mean(sink, sinks)
                problem = f"there is no sink '{sink}'" if near else "this is the name of no sink"
                hint = near or f"'{role}' is no setting of a company, so it is read as a role"
                self.complaints.complain(loc, problem, hint)
            if role in sinks:
                self.complaints.complain(loc, f"the role '{role}' has the name of a sink", "rename one", key=True)
            elif role not in compiler.used:
                setting = did_you_mean(role, CompanyConfig.model_fields)
                problem, hint = f"no rule sends to the role '{role}'", setting or "send to it, or take it out"
                self.complaints.complain(loc, problem, hint, key=True, warning=not setting)

    def _check_amends(self, placed: Sequence[Placed], written: Written, sinks: Mapping[str, AnySinkConfig]) -> None:
        """That each sink can do with its messages what a rule asks of it."""
        for rule in placed:
            for position, to in enumerate(rule.rule.send):
                named = {roles.get(to.name, "") for roles in written.roles.values()} if to.is_role else {to.name}
                for name in sorted(named & sinks.keys()):
                    if to.amend is not None and to.amend not in sinks[name].ways_to_amend:
                        able = ", ".join(sorted(sinks[name].ways_to_amend))
                        problem = f"the sink '{name}' cannot {to.amend} a message that was sent"
                        self.complaints.complain(
                            (*rule.loc, "send", position, "amend"), problem, f"write one of: {able}"
                        )

    def _warn_of_unused_sinks(self, written: Written, compiler: RuleCompiler) -> None:
        used = compiler.used | {sink for roles in written.roles.values() for sink in roles.values()}
        for name in self._block("sinks"):
            if name not in used:
                problem, hint = f"nothing is sent to the sink '{name}'", "send to it, or take it out"
                self.complaints.complain(("sinks", name), problem, hint, key=True, warning=True)

    def _warn_of_idle_accounts(self, written: Written, accounts: Mapping[str, AccountConfig]) -> None:
        """Of an account that is to do something for companies and has none."""
        with_companies = {account_of(company, accounts) for company in written.configs.values()}
        for name, account in accounts.items():
            for setting in ("early_outcomes", "fetch_media"):
                if name not in with_companies and getattr(account, setting):
                    problem = f"no company belongs to the account '{name}', so this does nothing"
                    hint = f"write account: {name} in its companies, or under their defaults"
                    self.complaints.complain(("accounts", name, setting), problem, hint, key=True, warning=True)


def _fields_by_template(placed: Sequence[Placed]) -> dict[str, set[str]]:
    """By template that a rule sends with, the fields that can be told at one of that rule's transitions."""
    fields: dict[str, set[str]] = {}
    for rule in placed:
        told = [fields_of(transition) for transition in rule.rule.when]
        for template in {to.template for to in rule.rule.send if to.template is not None}:
            fields.setdefault(template, set()).update(*told)
    return fields
