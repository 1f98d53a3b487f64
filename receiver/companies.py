"""Companies and the keys that prove their webhooks: `companies:` and `bad_signature:` of router.yaml."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from receiver import positioned_yaml
from receiver.exceptions import ConfigError, ConfigProblem, SecretMissing
from receiver.secrets import SecretRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from receiver.exceptions import Place
    from receiver.positioned_yaml import Document

Unsigned: TypeAlias = Literal["quarantine", "accept_form"]


def _slug(text: str) -> str:
    if text == "defaults":
        raise ValueError("'defaults' is reserved")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError(
            "a company's name is part of its URL: 1 to 64 small letters, digits, '-' and '_', no '-' or '_' first"
        )
    return text


def _callrail_id(text: str) -> str:
    if not re.fullmatch(r"COM[A-Za-z0-9]{5,64}", text):
        raise ValueError("a company's id in CallRail begins with COM, such as COM8154748ae6bd4e278a7cddd38a662f4f")
    return text


def _day(text: object) -> date:
    try:
        if isinstance(text, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("'until' must be a day of the calendar, written like 2026-12-31")


class SigningKeyConfig(BaseModel):
    """One key; *until* is the last day, in UTC, on which it is accepted. Written short as the reference alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: SecretRef
    until: Annotated[date, BeforeValidator(_day)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        # `env: NAME`, with a space, is a mapping too: SecretRef has the better words for it.
        is_long_form = isinstance(value, dict) and not value.keys() & {"env", "file"}
        return value if is_long_form else {"secret": value}


class CompanyConfig(BaseModel):
    """One company as it is written, its secrets not looked up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    callrail_id: Annotated[str, AfterValidator(_callrail_id)] | None = None
    signing_keys: tuple[SigningKeyConfig, ...] = Field(min_length=1)
    unsigned: Unsigned = "quarantine"


class CompaniesConfig(BaseModel):
    """The part of router.yaml that this module owns; the whole-file model extends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    companies: dict[Annotated[str, AfterValidator(_slug)], CompanyConfig] = Field(min_length=1)
    bad_signature: Literal["reject", "accept"] = "reject"


@dataclass(frozen=True)
class SigningKey:
    """A key as it is used; *until* is the last day, in UTC, on which it is accepted, None for no end."""

    secret: bytes = field(repr=False)
    until: date | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Eight hex digits of the secret's SHA-256: enough to tell keys apart, safe to show."""
        return hashlib.sha256(self.secret).hexdigest()[:8]


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


def read_companies(path: Path, environ: Mapping[str, str]) -> Companies:
    """The companies of the file *path*; raises as `positioned_yaml.read` and `load_companies` do."""
    return load_companies(positioned_yaml.read(path), environ=environ)


def load_companies(document: Document, *, environ: Mapping[str, str]) -> Companies:
    """The companies of *document*, whatever its other blocks say.

    Raises:
        ConfigError: With every mistake in the two blocks; if there is none, with every secret that is missing.
    """
    own = {key: document.value[key] for key in CompaniesConfig.model_fields if key in document.value}
    config = positioned_yaml.validate(CompaniesConfig, document, own)
    companies: dict[str, Company] = {}
    problems: list[ConfigProblem] = []
    for slug, written in config.companies.items():
        found = [
            _signing_key(key, document.place(("companies", slug, "signing_keys", index, "secret")), environ)
            for index, key in enumerate(written.signing_keys)
        ]
        problems += [key for key in found if isinstance(key, ConfigProblem)]
        keys = tuple(key for key in found if isinstance(key, SigningKey))
        companies[slug] = Company(slug, written.callrail_id, written.unsigned, keys)
    if problems:
        raise ConfigError(problems)
    return Companies(config.bad_signature == "accept", companies)


def _signing_key(config: SigningKeyConfig, where: Place, environ: Mapping[str, str]) -> SigningKey | ConfigProblem:
    try:
        text = config.secret.resolve(environ)
    except SecretMissing as missing:
        return ConfigProblem(missing.problem, where, missing.hint)
    if not text.isascii():
        return ConfigProblem(f"the key in {config.secret} is not plain ASCII", where, "copy it from CallRail once more")
    return SigningKey(text.encode(), config.until)
