"""A request to the API before it is sent: what is asked, out of which allowance, and whether it may be repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from callrail.exceptions import InvalidRequest


class Danger(StrEnum):
    """What cannot be taken back. Such a request is never repeated by itself; the shell asks first."""

    RINGS = "rings a phone"
    TEXTS = "sends a text to a person"
    MAILS = "sends an e-mail to a person"
    COSTS = "costs money"
    DELETES = "deletes or switches off"


class Budget(StrEnum):
    """The allowances of an account, each by hour and by day (documented)."""

    GENERAL = "requests"
    TEXTS = "texts"
    CALLS = "outbound calls"


@dataclass(frozen=True, slots=True)
class Request:
    """A request before it is sent. Holds no key.

    *path* begins at the host. *files* go beside *body* in a form. *remedies* says what to do about an answer's status,
    where more is known than the status says.
    """

    operation: str
    method: str
    # What may tell of a person stays out of the repr.
    path: str = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    files: Mapping[str, Path] = field(default_factory=dict, repr=False)
    budget: Budget = Budget.GENERAL
    is_repeatable: bool = True
    remedies: Mapping[int, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Path and query as they are sent."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def with_query(self, **changed: str) -> Request:
        """The same request with some of its query another."""
        kept = tuple(pair for pair in self.query if pair[0] not in changed)
        return replace(self, query=kept + tuple(changed.items()))

    def at(self, target: str) -> Request:
        """The same request to another path, which brings its own query."""
        return replace(self, path=target, query=())


_API_PATH = re.compile(r"/v3/[!-~]+")
_UPWARDS = re.compile(r"(?i)(^|/)(\.|%2e){1,2}(/|$)")


def raw_request(method: str, path: str, *, params: Mapping[str, Any] | None, json: Any) -> Request:
    """A request of which nothing is declared. What writes is not repeated: nobody says that it may be.

    Raises:
        InvalidRequest: *path* is none of the API's, or *method* none of HTTP's that CallRail takes.
    """
    method = method.upper()
    if method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        raise InvalidRequest(f"the method is {method!r}, but CallRail takes GET, POST, PUT and DELETE")
    if not _API_PATH.fullmatch(path):
        raise InvalidRequest("the path must begin with /v3/ and hold no blanks, such as /v3/a/{account_id}/tags.json")
    told, _, query = path.partition("?")
    if _UPWARDS.search(told):
        raise InvalidRequest("the path holds . or .. as a part; write where it leads")
    return Request(
        operation=told,
        method=method,
        path=told,
        query=(
            *parse_qsl(query, keep_blank_values=True),
            *(p for n, v in (params or {}).items() for p in pairs(n, v)),
        ),
        body=json,
        is_repeatable=method == "GET",
    )


def pairs(name: str, value: Any) -> list[tuple[str, str]]:
    """`tags[]=A&tags[]=B` for several values, as CallRail reads them."""
    if value is None:
        raise InvalidRequest(f"{name} has no value: leave it out")
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str):
        array = name if name.endswith("[]") else f"{name}[]"
        return [(array, _text(each)) for each in value]
    return [(name, _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)
