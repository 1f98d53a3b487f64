"""A message: what one sink is to be told of one transition, and how that belongs to what it was told before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Any

from routers.escapes import Escape, plain
from routers.transitions import Transition

# A call, a text or a form: all of them are behind `call`.
LINK_LABELS = {"call": "Open in CallRail", "recording": "Listen to the recording"}


class Amend(StrEnum):
    """What later news of a thing does where a rule that speaks once of it has spoken."""

    EDIT = "edit"
    THREAD = "thread"
    NEW = "new"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Text:
    """What people read: a title, and lines that may be none. Neither holds a line break."""

    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chapter:
    """One thing that the same message tells or told, and its text."""

    transition: Transition
    occurred_at: datetime
    write: Callable[[Escape], Text]


@dataclass(frozen=True, slots=True)
class First:
    """The message that this one amends: its key, and what the destination calls it if it said so."""

    key: str
    remote_id: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """For systems in *data*, for people in `text`: either is made only for a sink that asks.

    Attributes:
        key: The delivery's id: the same in every try, so that a receiver can tell a repeat.
        links: What a person may open, by what it is: `call`, `recording`. None of them holds an access key.
        is_spam: Whether the thing is marked as spam now.
        story: What was told or is told with it of the same thing by the same rule, oldest first; without itself.
        first: The message it amends; None if it is the first of its thing.
        amend: How it amends that one.
        may_repeat: Whether an earlier try may have arrived, unknown to us.
        was_without_access: Whether its last try was put off because an account took nothing, and nobody acted since.
        is_replayed: Whether an operator's replay sends it, perhaps long after it happened.
        done: What an earlier try of this delivery left in `Retry.done`.
        values: What a template may name, for a sink whose settings are templates.
        zone: Where the company's clocks are; None if that is not known.
    """

    key: str
    transition: Transition
    company: str
    occurred_at: datetime
    data: Callable[[], Mapping[str, Any]]
    write: Callable[[Escape], Text]
    object_type: str = "unknown"
    callrail_id: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    is_spam: bool = False
    story: tuple[Chapter, ...] = ()
    first: First | None = None
    amend: Amend = Amend.NEW
    may_repeat: bool = False
    was_without_access: bool = False
    is_replayed: bool = False
    done: str | None = None
    values: Callable[[], Mapping[str, Any]] = dict
    zone: tzinfo | None = None

    def text(self, escape: Escape = plain) -> Text:
        """The text, with what CallRail told escaped for the sink that asks. Never raises."""
        return self.write(escape)

    def local(self, moment: datetime, form: str) -> str:
        """*moment* as the company's people read it; in UTC, and saying so, where their zone is not known."""
        if self.zone is None:
            return f"{moment.astimezone(UTC).strftime(form)} UTC"
        return moment.astimezone(self.zone).strftime(form)

    @property
    def timestamp(self) -> str:
        """When it happened, for systems: like 2026-03-10T13:15:02.417Z."""
        return self.occurred_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        """The story and this message's own chapter, which comes last."""
        return (*self.story, Chapter(self.transition, self.occurred_at, self.write))
