"""What every sink can be told in `router.yaml`, whatever its type."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from callrail.addresses import AllowList
from callrail.fields import FIELDS
from receiver.positioned_yaml import Loc
from receiver.secrets import SecretRef
from routers.audience import Audience
from routers.durations import Duration
from routers.messages import Amend
from routers.rates import WrittenRate
from routers.rules.fields import did_you_mean, own_fields
from routers.rules.ruleset import Amending
from routers.uncertain import OnUncertain

if TYPE_CHECKING:
    from callrail.http import HttpClient


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

    @model_validator(mode="after")
    def _amends_as_it_can(self) -> Self:
        if self.amend not in self.ways_to_amend:
            able = ", ".join(sorted(self.ways_to_amend))
            raise ValueError(f"such a sink cannot do that with a message that was sent; amend is one of: {able}")
        return self

    @property
    def ways_to_amend(self) -> frozenset[Amend]:
        """What can be done there about a message that was sent."""
        return frozenset({Amend.NEW, Amend.SILENT})

    @property
    def amending(self) -> Amending:
        """How later news amends the first message of a thing."""
        return Amending(self.amend, tells_all=self.amend is Amend.EDIT)

    @property
    def schedule(self) -> tuple[timedelta, ...]:
        """The waits between tries."""
        return self.retry if self.retry is not None else SCHEDULES[self.audience]

    def written_templates(self) -> Iterable[tuple[Loc, str]]:
        """The templates among the settings: where each stands below the sink, and its text."""
        return ()

    def names_in_templates(self) -> frozenset[str]:
        """What those templates may name beside all that a message's template may."""
        return frozenset()


class RemoteSinkConfig(SinkConfig):
    """What every sink that is reached over the network may be told."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts, addresses or networks that may be reached although they are loopback, private or reserved."""

    @field_validator("allow_hosts")
    @classmethod
    def _hosts(cls, written: tuple[str, ...]) -> tuple[str, ...]:
        AllowList(written)
        return written

    ca_file: Path | None = None
    """A file with certificates (PEM) of an authority of your own, trusted beside those that everybody trusts."""


class HttpSinkConfig(RemoteSinkConfig):
    """What every sink that is reached by HTTP may be told."""

    max_answer: ClassVar[int | None] = None
    """Bytes of an answer that are read; None where the client's own bound is enough."""

    def client(self) -> HttpClient:
        """The client that these settings make.

        Raises:
            ValueError: The `ca_file` cannot be read.
        """
        from callrail.http import MAX_ANSWER_BYTES, HttpClient  # slow to load, and most commands only read the settings

        return HttpClient(
            timeout=self.timeout,
            allow_hosts=self.allow_hosts,
            connections=self.concurrency,
            ca_file=self.ca_file,
            max_answer=self.max_answer or MAX_ANSWER_BYTES,
        )


def _field(written: str) -> str:
    known = {*FIELDS, *own_fields()}
    if written not in known:
        hint = did_you_mean(written, known) or "docs/reference/fields.md lists them"
        raise ValueError(f"unknown field '{written}'; {hint}")
    return written


# An allow-list of what leaves of a message.
FieldNames = Annotated[tuple[Annotated[str, AfterValidator(_field)], ...], Field(min_length=1)]


# --- what is written or referred to ----------------------------------------------------------------------------------


def written_or_reference(written: object) -> object:
    """A text as it is, `env:NAME` and `file:/path` as the reference that it writes."""
    return SecretRef.parse(written) if isinstance(written, str) and written.startswith(("env:", "file:")) else written


def resolved(written: str | SecretRef) -> str:
    """The text, or what the reference leads to.

    Raises:
        SecretMissing: It leads to nothing.
    """
    return written if isinstance(written, str) else written.resolve(os.environ)


def _url(written: object) -> object:
    found = written_or_reference(written)
    if isinstance(found, SecretRef):
        return found
    if not isinstance(found, str) or not found.startswith(("https://", "http://")):
        raise ValueError("a URL begins with https:// (or is a reference to one: env:NAME or file:/path)")
    _refuse_what_leads_nowhere(found)
    return found


WrittenUrl = Annotated[str | SecretRef, BeforeValidator(_url)]


def resolved_url(written: str | SecretRef) -> str:
    """The URL, or what the reference leads to.

    Raises:
        SecretMissing: It leads to nothing.
        ValueError: It leads to a text that is no URL, or to one of a service that is no more.
    """
    url = resolved(written).strip()
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"what {written} holds is no URL: it does not begin with https://")
    _refuse_what_leads_nowhere(url)
    return url


def _refuse_what_leads_nowhere(url: str) -> None:
    try:
        has_host = bool(urlsplit(url).hostname)
    except ValueError:  # its text holds the URL
        has_host = False
    if not has_host:
        raise ValueError("the URL has no host: write it like https://example.com/path")
    if re.match(r"https?://([^/]+\.)?webhook\.office\.com([/:?#]|$)", url, re.IGNORECASE):
        raise ValueError(
            "webhook.office.com is the old connector of Teams, which Microsoft has retired; make a webhook with "
            "Workflows in Teams and use its URL"
        )


def _base_url(written: str) -> str:
    if not written.startswith(("https://", "http://")):
        raise ValueError("a URL begins with https://")
    _refuse_what_leads_nowhere(written)
    return written.rstrip("/")


# Where an API is; its paths follow.
BaseUrl = Annotated[str, AfterValidator(_base_url)]


def host_of(url: str) -> str:
    """The host of *url*, which may be shown; the rest may be a secret."""
    return urlsplit(url).hostname or "the URL"


# What HTTP itself needs, or we set for each request.
_TAKEN = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "trailer", "te"})
_SECRET_HEADER = re.compile(r"authorization|cookie|secret|token|password|api[-_]?key|access[-_]?key", re.IGNORECASE)


def header_name(written: str) -> str:
    """*written*, if it can be the name of a header that a sink sets."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", written):
        raise ValueError("the name of a header is letters, digits and hyphens, like X-Team")
    if written.lower() in _TAKEN:
        raise ValueError(f"the header {written} is set by the program")
    return written


HeaderName = Annotated[str, AfterValidator(header_name)]
WrittenHeaders = dict[HeaderName, Annotated[str | SecretRef, BeforeValidator(written_or_reference)]]


def checked_headers(headers: WrittenHeaders) -> WrittenHeaders:
    """*headers*, none of which holds a secret that is written out."""
    for name, value in headers.items():
        if isinstance(value, str) and _SECRET_HEADER.search(name):
            raise ValueError(f"the header {name} holds a secret: write a reference, env:NAME or file:/path")
    return headers
