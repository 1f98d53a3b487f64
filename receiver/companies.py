"""Companies and the keys that prove their webhooks: `companies:` and `bad_signature:` of router.yaml."""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from receiver import positioned_yaml
from receiver.exceptions import ConfigError, ConfigProblem, SecretMissing
from receiver.includes import read_with_includes
from receiver.secrets import SecretRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from receiver.exceptions import Place
    from receiver.positioned_yaml import Document

DEFAULTS = "defaults"
_MISSPELT = 0.8  # how like a setting a further key must be to be that setting misspelt, and no role
_NO_SETTING = "no setting has this name, so it is read as a role: the name of a sink is to follow"

Unsigned: TypeAlias = Literal["quarantine", "accept_form"]


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError(
            "a company's name is part of its URL: 1 to 64 small letters, digits, '-' and '_', no '-' or '_' first"
        )
    return text


def _callrail_id(text: str) -> str:
    if not re.fullmatch(r"COM[A-Za-z0-9]{5,64}", text):
        raise ValueError("a company's id in CallRail begins with COM, such as COM8154748ae6bd4e278a7cddd38a662f4f")
    return text


def _role(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError("a role is followed by the name of a sink, like alerts: sales-slack")
    return text


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # OSError: 'America' is a folder
        meant = difflib.get_close_matches(text.replace(" ", "_"), available_timezones(), n=1)
        hint = f"did you mean '{meant[0]}'?" if meant else "write one like America/New_York"
        raise ValueError(f"there is no time zone '{text}'; {hint}") from None
    return text


def _day(text: object) -> date:
    try:
        if isinstance(text, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("'until' must be a day of the calendar, written like 2026-12-31")


class SigningKeyConfig(BaseModel):
    """One key that proves webhooks. Written short as the reference alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    secret: SecretRef
    """Where the key is kept."""
    until: Annotated[date, BeforeValidator(_day)] | None = None
    """The last day, in UTC, on which it is accepted, like 2026-12-31."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        # `env: NAME`, with a space, is a mapping too: SecretRef has the better words for it.
        is_long_form = isinstance(value, dict) and not value.keys() & {"env", "file"}
        return value if is_long_form else {"secret": value}


class DefaultsConfig(BaseModel):
    """What holds for each company that does not say otherwise. Any other key is a role."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    account: str | None = None
    """Its account at CallRail: a name under accounts."""
    hours: str | None = None
    """Its opening hours: the name of a schedule under hours."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] | None = None
    """Where its clocks are, like America/New_York. Not written: what its calls tell."""


class CompanyConfig(DefaultsConfig):
    """One company. Its name is part of the URL that CallRail posts to. Any other key is a role."""

    callrail_id: Annotated[str, AfterValidator(_callrail_id)] | None = None
    """Its id at CallRail, COM...; a webhook that names another company is kept in quarantine."""
    signing_keys: tuple[SigningKeyConfig, ...] = Field(min_length=1)
    """The keys that prove its webhooks. Several while a key is changed: each of them is accepted."""
    unsigned: Unsigned = "quarantine"
    """What becomes of a webhook without signature; accept_form believes those that are posted as forms."""


class RoleConfig(BaseModel):
    """One further key of a company: a role, and the sink that plays it there. Nothing behind it takes it away."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Annotated[str, AfterValidator(_role)] | None] = Field(init=False)


class CompaniesConfig(BaseModel):
    """The part of router.yaml that this module owns; the whole-file model extends it. Companies are read one by one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    companies: dict[Annotated[str, AfterValidator(_slug)], Any] = Field(min_length=1)
    """The companies by name, and under defaults what holds for all."""
    bad_signature: Literal["reject", "accept"] = "reject"
    """The answer to a request that no key proves: reject is 401, accept is 202. It is kept in quarantine either way."""


@dataclass(frozen=True)
class SigningKey:
    """A key as it is used; *until* is the last day, in UTC, on which it is accepted, None for no end."""

    secret: bytes = field(repr=False)
    until: date | None = None

    @cached_property
    def fingerprint(self) -> str:
        """See `fingerprint_of`."""
        return fingerprint_of(self.secret)


def fingerprint_of(secret: bytes) -> str:
    """Eight hex digits of the secret's SHA-256: enough to tell keys apart, safe to show."""
    return hashlib.sha256(secret).hexdigest()[:8]


@dataclass(frozen=True)
class Company:
    """A company with its secrets looked up. *callrail_id* is None when the file does not tell it."""

    slug: str
    callrail_id: str | None
    unsigned: Unsigned
    keys: tuple[SigningKey, ...]

    def live_keys(self, today: date) -> tuple[SigningKey, ...]:
        """The keys accepted on *today*, a day in UTC; empty when all have ended."""
        return tuple(key for key in self.keys if key.until is None or today <= key.until)


@dataclass(frozen=True)
class Companies:
    """Every configured company. *accept_bad_signature*: answer 2xx to a request that no key proves."""

    accept_bad_signature: bool
    _by_slug: Mapping[str, Company]

    def get(self, slug: str) -> Company | None:
        return self._by_slug.get(slug)

    def __iter__(self) -> Iterator[Company]:
        return iter(self._by_slug.values())


@dataclass(frozen=True)
class Written:
    """What the file says of its companies: settings and roles by company, defaults worked in, and what is wrong.

    *own_roles* are the roles written in each company, and under the defaults, be what follows them right or not;
    *shared_roles* and *shared_time_zone* are those of the defaults.
    """

    configs: Mapping[str, CompanyConfig]
    roles: Mapping[str, Mapping[str, str]]
    own_roles: Mapping[str, Mapping[str, object]]
    problems: Sequence[ConfigProblem]
    shared_roles: Mapping[str, str] = field(default_factory=dict)
    shared_time_zone: str | None = None


def read_companies(path: Path, environ: Mapping[str, str]) -> Companies:
    """The companies of the file *path*; raises as `read_with_includes` and `load_companies` do."""
    return load_companies(read_with_includes(path), environ=environ)


def load_companies(document: Document, *, environ: Mapping[str, str]) -> Companies:
    """The companies of *document*, whatever its other blocks say.

    Raises:
        ConfigError: With every mistake in the two blocks; if there is none, with every secret that is missing.
    """
    own = {key: document.value[key] for key in CompaniesConfig.model_fields if key in document.value}
    config, problems = positioned_yaml.validated(CompaniesConfig, document, own)
    written = written_companies(document)
    if config is None or written.problems:
        raise ConfigError([*problems, *written.problems])
    companies: dict[str, Company] = {}
    for slug, company in written.configs.items():
        found = [
            _signing_key(key, document.place(("companies", slug, "signing_keys", index, "secret")), environ)
            for index, key in enumerate(company.signing_keys)
        ]
        problems += [key for key in found if isinstance(key, ConfigProblem)]
        keys = tuple(key for key in found if isinstance(key, SigningKey))
        companies[slug] = Company(slug, company.callrail_id, company.unsigned, keys)
    if problems:
        raise ConfigError(problems)
    return Companies(config.bad_signature == "accept", companies)


def written_companies(document: Document) -> Written:
    """The companies of *document*, each by itself, so that one with a mistake does not hide the others."""
    block = document.value.get("companies")
    if not isinstance(block, dict):
        return Written({}, {}, {}, ())
    problems: list[ConfigProblem] = []
    written = {slug: _divide(item) for slug, item in block.items()}
    own_roles = {slug: own for slug, (_settings, own) in written.items()}
    defaults, default_roles = written.pop(DEFAULTS, ({}, {}))
    valid, found = positioned_yaml.validated(DefaultsConfig, document, defaults, ("companies", DEFAULTS))
    problems += found
    shared = valid.model_dump(exclude_unset=True) if valid is not None else {}
    shared_roles = _roles(default_roles, document, DEFAULTS, problems)
    configs: dict[str, CompanyConfig] = {}
    roles: dict[str, dict[str, str]] = {}
    for slug, (settings, _own) in written.items():
        whole = {**shared, **settings} if isinstance(settings, dict) else settings
        config, found = positioned_yaml.validated(CompanyConfig, document, whole, ("companies", slug))
        problems += found
        if config is not None:
            configs[slug] = config
        whole_roles = {**shared_roles, **_roles(own_roles[slug], document, slug, problems)}
        roles[slug] = _there(whole_roles)
    if not written and DEFAULTS in block:
        where = document.place(("companies",))
        problems.append(ConfigProblem("there are defaults, but no company", where, "write at least one company"))
    return Written(configs, roles, own_roles, problems, _there(shared_roles), shared.get("time_zone"))


def _divide(item: object) -> tuple[Any, dict[str, Any]]:
    """The settings of a company, among them what is a setting misspelt, and its roles."""
    if not isinstance(item, dict):
        return item, {}
    known = CompanyConfig.model_fields
    settings = {
        key: value for key, value in item.items() if difflib.get_close_matches(key, known, n=1, cutoff=_MISSPELT)
    }
    return settings, {key: value for key, value in item.items() if key not in settings}


def _there(roles: Mapping[str, str | None]) -> dict[str, str]:
    """*roles* without those that were taken away."""
    return {role: sink for role, sink in roles.items() if sink is not None}


def _roles(
    written: Mapping[str, Any], document: Document, slug: str, problems: list[ConfigProblem]
) -> dict[str, str | None]:
    roles: dict[str, str | None] = {}
    for role, sink in written.items():
        valid, found = positioned_yaml.validated(RoleConfig, document, {role: sink}, ("companies", slug))
        roles |= (valid.model_extra or {}) if valid is not None else {}
        problems += [ConfigProblem(problem.problem, problem.where, problem.hint or _NO_SETTING) for problem in found]
    return roles


def _signing_key(config: SigningKeyConfig, where: Place, environ: Mapping[str, str]) -> SigningKey | ConfigProblem:
    try:
        text = config.secret.resolve(environ)
    except SecretMissing as missing:
        return ConfigProblem(missing.problem, where, missing.hint)
    if not text.isascii():
        return ConfigProblem(f"the key in {config.secret} is not plain ASCII", where, "copy it from CallRail once more")
    return SigningKey(text.encode(), config.until)
