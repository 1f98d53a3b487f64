"""The blocks of `router.yaml` as they are written: their keys and types, not yet what they mean."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from receiver.companies import CompaniesConfig
from receiver.secrets import SecretRef
from routers.durations import Duration
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
_SomeTime = Annotated[Duration, AfterValidator(_some_time)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AccountConfig(_Block):
    """An account at CallRail, for what is asked of its API."""

    account_id: Annotated[str, Field(min_length=1)]
    api_key: SecretRef


class SendConfig(_Block):
    """One destination: a sink or a role. *id* is needed only where a rule sends to one twice."""

    to: str
    id: Name | None = None
    template: str | None = None
    expires: _SomeTime | None = None


class ExceptCompanies(_Block):
    """All companies but these."""

    except_: Annotated[tuple[str, ...], Field(alias="except", min_length=1)]


class RuleConfig(_Block):
    """One rule as it is written. Its *id* is its identity in the store; the *name* is for people."""

    id: Name
    was: tuple[Name, ...] = ()
    name: str | None = None
    companies: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] | ExceptCompanies = "all"
    when: Annotated[tuple[str, ...], Field(min_length=1)]
    if_: Annotated[dict[str, Any], Field(alias="if", default_factory=dict)]
    unless: Annotated[dict[str, Any], Field(default_factory=dict)]
    send: Annotated[tuple[SendConfig, ...], Field(min_length=1)] = ()
    stop: StrictBool = False
    repeat: StrictBool = False
    mute: StrictBool = False
    on_late: OnLate = OnLate.RECORDS_ONLY
    max_age: _SomeTime = DEFAULT_MAX_AGE


class UnmatchedConfig(_Block):
    """Whom to tell of what no rule spoke of: a sink or a role for each sort of object."""

    calls: str | None = None
    texts: str | None = None
    forms: str | None = None


class RouterConfig(CompaniesConfig):
    """The whole file. What stands in its blocks is read piece by piece, so that one mistake does not hide others."""

    include: tuple[str, ...] = ()
    accounts: Annotated[dict[Name, Any], Field(default_factory=dict)]
    hours: Annotated[dict[Name, Any], Field(default_factory=dict)]
    sinks: Annotated[dict[Name, dict[str, Any]], Field(default_factory=dict)]
    templates: Annotated[dict[Name, str], Field(default_factory=dict)]
    templates_folder: str | None = None
    rules: Annotated[list[Any], Field(default_factory=list)]
    unmatched: Annotated[UnmatchedConfig, Field(default_factory=UnmatchedConfig)]
