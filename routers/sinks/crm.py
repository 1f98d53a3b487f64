"""What CRM sinks share: the port to what is remembered of leads and of the records a CRM holds of them.

A CRM's search lags behind its writes, so nobody may rely on it to find what was just created. Every id that a CRM
returns is kept before the next request, and before each creation it is kept that there will be one.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal, Protocol

from routers.durations import Duration
from routers.messages import Amend, Message
from routers.rules.ruleset import Amending
from routers.sinks.config import FieldNames, HttpSinkConfig
from routers.sinks.sink import Sink

# What happened, and of whom, in the words of the settings.
Event = Literal["answered", "missed", "abandoned", "voicemail", "outbound", "text", "form"]
Who = Literal["new", "known", "anybody"]
EDITS_APART = timedelta(seconds=30)


class CrmSinkConfig(HttpSinkConfig):
    """What every CRM sink may be told."""

    holds_back: Duration = timedelta(days=60)
    """For how long a delivery that is tried again holds back later ones about the same person: until it is done."""
    fields: FieldNames | None = None
    """The only fields of which texts and names are made, instead of the whole story; of all where not written."""

    @property
    def amending(self) -> Amending:
        """How later news amends a record: nobody watches it, so news that come together are one edit."""
        return Amending(self.amend, tells_all=self.amend is Amend.EDIT, apart=EDITS_APART)

    def build(self, memory: CrmMemory | None = None) -> Sink:
        """The sink; without *memory* it can be tested and set up, and delivers nothing.

        Raises:
            SecretMissing: A secret is missing.
            ValueError: A setting cannot be used.
        """
        raise NotImplementedError


class Of(StrEnum):
    """Whose a record is: the lead's, like a contact, or the one thing's that happened, like a logged call."""

    LEAD = "lead"
    THING = "thing"


@dataclass(frozen=True, slots=True)
class Lead:
    """One person, as far as we know, within a company.

    Attributes:
        id: Our own id of it.
        phone: The number that this message came by, one of *phones*; None where another key identified the person.
        phones: All numbers that identify it, E.164, the message's first.
        emails: All of its e-mail addresses, the message's first.
        is_new: Whether nothing of this person was known to us before the thing that the message tells of.
    """

    id: str
    phone: str | None
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    is_new: bool = False


def is_of(who: Who, lead: Lead | None) -> bool:
    """Whether *lead* is one of those whom *who* names."""
    return lead is not None and who in ("anybody", "new" if lead.is_new else "known")


@dataclass(frozen=True, slots=True)
class Known:
    """A record of ours at the CRM. *written*: what the sink noted of what it wrote last, such as a digest."""

    remote_id: str
    written: str | None = None


class TurnTaken(Exception):
    """Another delivery about the same lead has its turn at this CRM. *after* is how long it may last at most."""

    def __init__(self, after: timedelta) -> None:
        super().__init__("another delivery about the same person is at work")
        self.after = after


class TurnLost(Exception):
    """The turn has run out, and another delivery may have it: nothing more may be sent."""


class Turn(Protocol):
    """One CRM's hold on one lead. What it is told is committed when the call returns.

    Each method raises `TurnLost`, and `DatabaseUnavailable` when nothing could be kept.
    """

    @property
    def lead(self) -> Lead | None:
        """The person; None where nobody can be identified. Then there are records of the thing alone."""
        ...

    async def known(self, kind: str, of: Of) -> Known | None:
        """The record of *kind*, a word of the vendor's like `contact`, that is kept."""
        ...

    async def intended_for(self, kind: str, of: Of) -> timedelta | None:
        """For how long there is a creation of which nobody knows the end; None without one."""
        ...

    async def intend(self, kind: str, of: Of, written: str | None = None) -> None:
        """A record is about to be created. Until `keep` or `forget`, whoever comes next has to search first.

        Args:
            written: What is noted of what is about to be written, beside what was noted before.
        """
        ...

    async def noted(self, kind: str, of: Of) -> str | None:
        """What was noted of what was written last, or was about to be."""
        ...

    async def keep(self, kind: str, of: Of, remote_id: str, written: str | None = None) -> None:
        """The CRM has the record under *remote_id*; ends the intent."""
        ...

    async def forget(self, kind: str, of: Of) -> None:
        """The record is gone there, or for certain was not created; ends the intent."""
        ...

    def may_still_act(self) -> None:
        """An answer was lost, and the request may act later: the turn is not given back but runs out."""
        ...


class CrmMemory(Protocol):
    """What one CRM sink remembers."""

    def turn(self, message: Message) -> AbstractAsyncContextManager[Turn]:
        """The sink's turn at the lead of *message*; given back at the end of the block.

        Not so after `may_still_act`, and where the block ends by an exception or is cancelled: then it runs out.

        Raises:
            TurnTaken: Another delivery has it.
            DatabaseUnavailable: Nothing may be sent then.
        """
        ...
