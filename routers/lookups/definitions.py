"""What can be looked up: by name, which operation of the API, with what of the facts, and what its answer tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from callrail.fields import FieldType
from routers.rules.fields import RuleField, fields_of
from routers.transitions import ALARMS, Transition

Facts = Mapping[str, Any]
Told = Mapping[str, Any]  # an answer of the API's, word for word


@dataclass(frozen=True, slots=True)
class About:
    """What something is looked up about: a thing of *company*, by *facts* that an event told at *told_at*."""

    company: str
    facts: Facts = field(repr=False)
    told_at: datetime


class OnFailure(StrEnum):
    """What becomes of a transition whose look-up fails: it is told without, waits, or is not told by who needs it."""

    SEND_WITHOUT = "send_without"
    WAIT = "wait"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a look-up is made.

    *ttl* is how long an answer holds, *negative_ttl* how long it holds that there is none. *deadline* is for one try,
    waiting for the allowance included; *wait* for how long tries go on with `on_failure: wait`.
    """

    ttl: timedelta = timedelta(minutes=5)
    negative_ttl: timedelta = timedelta(minutes=1)
    deadline: timedelta = timedelta(seconds=3)
    on_failure: OnFailure = OnFailure.SEND_WITHOUT
    wait: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class AnswerField:
    """One field of an answer: as rules know it, and how it is read."""

    field: RuleField
    read: Callable[[Told], Any]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A look-up by its *name*.

    Attributes:
        operation: The API's, like `leads.timeline`; of a list its first page is read.
        needs: The facts that *arguments* reads; where one can never be told, it cannot be looked up.
        arguments: What the operation is called with, of facts and of today's date; None where a fact is not told.
        fields: What the answer tells, by name.
        narrow: What of an answer counts for the facts of one thing.
        is_for_one_thing: Whether an answer is of use for the thing alone that it was asked about, and where there was
            none, for one event about it.
        is_prepared: Whether CallRail prepares it first, so that a 404 may pass.
        is_of_itself: Whether it asks for the very thing that an event tells of; what was answered before that event
            then holds no longer.
        plan: What the account's plan must hold, in words; empty if nothing.
    """

    name: str
    operation: str
    meaning: str
    needs: tuple[str, ...]
    arguments: Callable[[Facts, date], Mapping[str, Any] | None]
    fields: Mapping[str, AnswerField]
    settings: Settings = field(default_factory=Settings)
    narrow: Callable[[Told, Facts], Told] | None = None
    is_for_one_thing: bool = False
    is_prepared: bool = False
    is_of_itself: bool = False
    plan: str = ""

    def reads(self, told: Told, facts: Facts) -> dict[str, Any]:
        """The fields of an answer. What it does not hold is None: told empty."""
        told = told if self.narrow is None else self.narrow(told, facts)
        return {name: _readable(each.read, told) for name, each in self.fields.items()}

    def is_possible_at(self, transition: Transition) -> bool:
        """Whether what it needs can be told when *transition* happens."""
        return transition not in ALARMS and all(need in fields_of(transition) for need in self.needs)


def _readable(read: Callable[[Told], Any], told: Told) -> Any:
    """What *read* finds; an answer of another shape than documented tells nothing."""
    try:
        return read(told)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def at(path: str) -> Callable[[Told], Any]:
    """Reads what stands under *path*, like `companies.0.name`."""
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]

    def read(told: Any) -> Any:
        for step in steps:
            if told is None:
                return None
            told = told[step] if isinstance(step, int) else told.get(step)
        return told

    return read


def answer_fields(*written: tuple[str, FieldType, str, Callable[[Told], Any] | str]) -> dict[str, AnswerField]:
    """Fields by name, of (name, type, meaning, how to read it or the path it stands under)."""
    return {
        name: AnswerField(RuleField(name, type_, meaning), read if callable(read) else at(read))
        for name, type_, meaning, read in written
    }
