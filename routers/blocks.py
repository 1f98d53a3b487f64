"""The blocks of `router.yaml` as they are written: their keys and types, not yet what they mean."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from callrail.phones import e164
from receiver.companies import CompaniesConfig
from receiver.secrets import SecretRef
from routers.durations import Duration, at_least_a_day
from routers.messages import Amend
from routers.rules.ruleset import DEFAULT_MAX_AGE, OnLate


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", text):
        raise ValueError("a name is 1 to 64 small letters, digits, '-' and '_', no '-' or '_' first")
    return text


def _some_time(written: timedelta) -> timedelta:
    if written <= timedelta(0):
        raise ValueError("this must be longer than 0s")
    return written


Name = Annotated[str, AfterValidator(_name)]
SomeTime = Annotated[Duration, AfterValidator(_some_time)]


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)


class SendConfig(Block):
    """One destination."""

    to: str
    """A sink, or a role that each company gives to one of its sinks."""
    id: Name | None = None
    """Needed only where a rule sends to one sink or role twice."""
    template: str | None = None
    """A text of templates: or a built-in one, instead of the transition's own."""
    expires: SomeTime | None = None
    """How long it is still worth sending, like 2h."""
    amend: Amend | None = None
    """What later news of the same thing does to the message, instead of what the sink does by itself."""


class ExceptCompanies(Block):
    """All companies but these."""

    except_: Annotated[tuple[str, ...], Field(alias="except", min_length=1)]
    """The companies that the rule is not for."""


class RuleConfig(Block):
    """One rule: when something happens, if conditions hold, unless one of others does, send it there."""

    id: Name
    """Its identity in the database. Keep it; the name may change."""
    was: tuple[Name, ...] = ()
    """Ids the rule had before, so that a new id tells nobody twice."""
    name: str | None = None
    """For people."""
    companies: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] | ExceptCompanies = "all"
    """all, a list, or {except: [...]}."""
    when: Annotated[tuple[str, ...], Field(min_length=1)]
    """What it looks at. With several it speaks once an object, of whichever comes first."""
    if_: Annotated[dict[str, Any], Field(alias="if", default_factory=dict)]
    """Conditions of which all must hold."""
    unless: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Conditions of which one is enough to keep the rule silent."""
    send: Annotated[tuple[SendConfig, ...], Field(min_length=1)] = ()
    """Whom to tell."""
    lookups: tuple[str, ...] = ()
    """What is looked up for its messages, like lead_timeline, beside what their templates name."""
    stop: StrictBool = False
    """When it fires, no later rule is asked."""
    repeat: StrictBool = False
    """With several when: speak at each, not once."""
    mute: StrictBool = False
    """Record what it decides, and tell nobody."""
    on_late: OnLate = OnLate.RECORDS_ONLY
    """What becomes of a message about something older than max_age; records_only: it goes to systems only."""
    max_age: SomeTime = DEFAULT_MAX_AGE
    """How old that is, from the thing's own time, like 24h."""


class UnmatchedConfig(Block):
    """Whom to tell of what no rule spoke of: a sink or a role for each sort of object."""

    calls: str | None = None
    """Of an inbound call that was answered, missed, abandoned or went to voicemail."""
    texts: str | None = None
    """Of a text that was received."""
    forms: str | None = None
    """Of a form that was submitted."""


_Age = Annotated[Duration, AfterValidator(at_least_a_day)]


class RetentionConfig(Block):
    """How long data is kept. What has no age here is kept for good."""

    raw_bodies: _Age | None = None
    """The age at which the bodies of routed webhooks are emptied. What was read from them stays."""
    transcripts: _Age | None = None
    """The age at which what people said and wrote is removed: transcripts, texts, notes, links to recordings."""
    numbers: _Age | None = None
    """The age at which is removed who people are: numbers, names, addresses, forms, visits to the website."""
    attempts: _Age | None = None
    """The age at which the single tries of deliveries are removed."""

    @property
    def of_both(self) -> timedelta | None:
        """The age of what tells what people said and who they are; None if it is kept for good."""
        return min((age for age in (self.transcripts, self.numbers) if age is not None), default=None)


def _number(written: str) -> str:
    number = e164(written)
    if number is None:
        raise ValueError('a number is written like "+14045550123"')
    return number


class LeadsConfig(Block):
    """Who is one person to CRMs."""

    shared_numbers: Annotated[frozenset[Annotated[str, AfterValidator(_number)]], Field(max_length=1000)] = frozenset()
    """Numbers of several persons, like a hotel's or a call centre's: they identify nobody. Quote them."""


class PrivacyConfig(Block):
    """What is needed to remember who was erased without knowing them."""

    key: SecretRef
    """Where the key is kept by which erased numbers are hashed: env:NAME or file:/path. Keep it; never change it."""


class RouterConfig(CompaniesConfig):
    """The whole file. What stands in its blocks is read piece by piece, so that one mistake does not hide others."""

    include: tuple[str, ...] = ()
    """Files that are read as part of this one, relative to it, like clients/*.yaml."""
    accounts: Annotated[dict[Name, Any], Field(default_factory=dict)]
    """Accounts at CallRail by name."""
    hours: Annotated[dict[Name, Any], Field(default_factory=dict)]
    """Opening hours by name."""
    sinks: Annotated[dict[Name, dict[str, Any]], Field(default_factory=dict)]
    """Where messages go, by name."""
    templates: Annotated[dict[Name, str], Field(default_factory=dict)]
    """Texts of messages by name; one named like call_missed replaces the built-in text of call.missed."""
    templates_folder: str | None = None
    """A folder, relative to this file, whose files NAME.jinja are further templates."""
    lookups: Annotated[dict[str, Any], Field(default_factory=dict)]
    """What is looked up at CallRail: other settings for built-in look-ups, and look-ups of your own."""
    rules: Annotated[list[Any], Field(default_factory=list)]
    """Who is told of what, when. They are asked in this order."""
    unmatched: Annotated[UnmatchedConfig, Field(default_factory=UnmatchedConfig)]
    """Who is told of what no rule spoke of."""
    retention: Annotated[RetentionConfig, Field(default_factory=RetentionConfig)]
    """How long data is kept."""
    leads: Annotated[LeadsConfig, Field(default_factory=LeadsConfig)]
    """What says nothing of who is one person."""
    privacy: PrivacyConfig | None = None
    """What is needed to erase a person."""
