"""What every sink can be told in `router.yaml`, whatever its type."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from callrail.addresses import AllowList
from routers.durations import Duration
from routers.messages import Amend
from routers.rates import WrittenRate
from routers.rules.ruleset import Amending


class Audience(StrEnum):
    """Who is at the other end. People are told soon or not at all; systems are told in the end."""

    PEOPLE = "people"
    SYSTEMS = "systems"


class OnUncertain(StrEnum):
    """What follows a send of which it is not known whether it arrived."""

    RETRY = "retry"
    REPEAT = "repeat"
    HOLD = "hold"


def _schedule(text: str) -> tuple[timedelta, ...]:
    units = {"s": 1, "m": 60, "h": 3600}
    return tuple(timedelta(seconds=int(part[:-1]) * units[part[-1]]) for part in text.split())


# Waits after try 1, 2, ...; after the last the delivery is a dead letter. For systems as Standard Webhooks suggests.
SCHEDULES = {
    Audience.PEOPLE: _schedule("2s 10s 30s 2m 10m 1h"),
    Audience.SYSTEMS: _schedule("5s 5m 30m 2h 5h 10h 14h 20h 24h"),
}


_LONGEST_TIMEOUT = timedelta(minutes=2)


def _timeout(written: timedelta) -> timedelta:
    if not timedelta(0) < written <= _LONGEST_TIMEOUT:
        raise ValueError("a timeout is longer than 0s and at most 2m")
    return written


class SinkConfig(BaseModel):
    """What every sink may be told. *audience* has a default in each type."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    audience: Audience
    """Who is at the other end. It decides how long a failed delivery is tried again, and what becomes of late news."""
    timeout: Annotated[Duration, AfterValidator(_timeout)] = timedelta(seconds=20)
    """Bounds one try; at most 2m."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    """How many deliveries are on the way at once."""
    retry: Annotated[tuple[Duration, ...], Field(min_length=1, max_length=20)] | None = None
    """The waits between tries, like [2s, 10s, 1m]; after the last the delivery is a dead letter."""

    rate: WrittenRate | None = None
    """How much it takes at most, like 1/s or 100/10s, over all processes."""
    on_uncertain: OnUncertain
    """What follows a send whose answer was lost: retry (for who drops repeats by id), repeat (once, marked), hold."""
    holds_back: Duration = timedelta(minutes=2)
    """For how long a delivery that is tried again holds back later ones about the same person."""
    amend: Amend = Amend.SILENT
    """What later news of a thing does to the message that told it: edit it, answer it in its thread, come new, none."""

    @property
    def can_edit(self) -> bool:
        """Whether a message there can be changed after it was sent."""
        return False

    @property
    def amending(self) -> Amending:
        """How later news amends the first message of a thing."""
        return Amending(self.amend, tells_all=self.amend is Amend.EDIT)

    @property
    def schedule(self) -> tuple[timedelta, ...]:
        """The waits between tries."""
        return self.retry if self.retry is not None else SCHEDULES[self.audience]


class HttpSinkConfig(SinkConfig):
    """What every sink that is reached by HTTP may be told."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts, addresses or networks that may be reached although they are loopback, private or reserved."""

    @field_validator("allow_hosts")
    @classmethod
    def _hosts(cls, written: tuple[str, ...]) -> tuple[str, ...]:
        AllowList(written)
        return written
