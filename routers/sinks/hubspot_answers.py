"""What HubSpot's answers mean. Of an error its category, codes, the names of properties and the id of who has a value
already are read; nothing else of it is repeated, for its sentences hold values.

Source: developers.hubspot.com, "Error handling", "Usage guidelines" (documented; read 2026-11). What is said of single
codes beyond that is observed in public code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from callrail.answer import Answer
from routers.outcomes import AuthFailed, Gone, Outcome, Rejected, Retry, Uncertain, outcome_of, retry_after

# The day's allowance comes back at midnight in the account's zone, which nobody tells us.
DAY_IS_USED_UP = timedelta(hours=1)
_WINDOWS = {"TEN_SECONDLY_ROLLING": timedelta(seconds=10), "SECONDLY": timedelta(seconds=2)}
_LOCKED = timedelta(seconds=5)  # documented: locks last two seconds
_MOVING = timedelta(minutes=15)

_WORD = re.compile(r"[A-Z][A-Z0-9_]{1,79}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_HOLDER = re.compile(r"\bExisting ID: ([0-9]{1,20})\b")
_SCOPE = re.compile(r"[a-z][a-z0-9._-]{0,99}")
# Values that somebody has to put right in the settings, or in the account, and then all goes on.
_SETTINGS = {
    "hubspot_owner_id": "there is no such owner; look at owner",
    "pipeline": "there is no such pipeline",
    "dealstage": "there is no such stage",
    "hs_pipeline": "there is no such pipeline",
    "hs_pipeline_stage": "there is no such stage",
}
_UNKNOWN = "PROPERTY_DOESNT_EXIST"
_TAKEN = "CONFLICTING_UNIQUE_VALUE"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done.

    Attributes:
        category: HubSpot's word; empty if it told none.
        codes: By property that it names, what is wrong with it; empty where it does not say.
        policy: Of too many requests, which limit is meant.
        scopes: Of a right that is lacking, the scopes of which any would do.
        holder: Of a value that another record has already, the id of that, if it is told (observed).
        is_gone: Whether something is said to be not there, in HubSpot's way; not always what.
    """

    status: int
    category: str = ""
    codes: Mapping[str, str] | None = None
    policy: str = ""
    scopes: tuple[str, ...] = ()
    holder: str | None = None
    is_gone: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The properties that it names."""
        return frozenset(self.codes or {})

    @property
    def is_conflict(self) -> bool:
        """Whether another record has a unique value already."""
        return self.status == 409 or _TAKEN in (self.codes or {}).values()

    @property
    def said(self) -> str:
        """For a reason: words and names, never a value."""
        named = ", ".join(f"{name} {code}".strip() for name, code in sorted((self.codes or {}).items()))
        return f"HTTP {self.status}{f' {self.category}' if self.category else ''}{f' ({named})' if named else ''}"


def refusal_of(answer: Answer) -> Refusal:
    """What *answer*, which is none of success, says."""
    found = json_of(answer.body)
    told = found if isinstance(found, dict) else {}
    holder = _HOLDER.search(str(told.get("message"))) if answer.status == 409 else None
    return Refusal(
        answer.status,
        _word(told.get("category")) or _word(told.get("errorType")),
        dict(_codes(told)),
        _word(told.get("policyName")),
        tuple(_scopes(told)),
        holder=holder[1] if holder is not None else None,
        is_gone=answer.status == 404 and isinstance(found, dict),
    )


def _scopes(told: Mapping[str, Any]) -> Iterator[str]:
    """Scopes that it asks for (observed)."""
    for error in _rows(told.get("errors")):
        yield from _listed(error.get("context"), "requiredScopes", _SCOPE)


def _codes(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """By property, what is wrong with it: in the context, in a list of errors, or in JSON within the message."""
    for name in _names(told.get("context")):
        yield name, ""
    for error in _rows(told.get("errors")):
        for name in _names(error.get("context")):
            yield name, _word(error.get("code"))
    _, begins, listed = str(told.get("message")).partition("[{")
    for error in _rows(json_of(f"{begins}{listed}".encode())):
        named = error.get("name")
        if isinstance(named, str) and _NAME.fullmatch(named):
            yield named, _word(error.get("error"))


def _names(context: object) -> Iterator[str]:
    for key in ("propertyName", "properties"):
        yield from _listed(context, key, _NAME)


def _listed(context: object, key: str, fits: re.Pattern[str]) -> Iterator[str]:
    listed = context.get(key) if isinstance(context, dict) else None
    for name in listed if isinstance(listed, list) else ():
        if isinstance(name, str) and fits.fullmatch(name):
            yield name


def _rows(told: object) -> list[Mapping[str, Any]]:
    return [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []


def _word(told: object) -> str:
    return told if isinstance(told, str) and _WORD.fullmatch(told) else ""


def json_of(body: bytes) -> Any:
    """What *body* holds as JSON; None if it is none, or was cut."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


# --- what follows ----------------------------------------------------------------------------------------------------


def outcome_of_refusal(answer: Answer, refusal: Refusal, *, now: datetime) -> Outcome:
    """What follows from an answer that is none of success."""
    asked, said = retry_after(answer.headers, now=now), refusal.said
    match answer.status:
        case status if 300 <= status < 400:
            return Gone(f"HTTP {status}: redirects are not followed; look at base_url")
        case 401:
            return AuthFailed(f"{said}: HubSpot takes the token no longer; make another")
        case 403:
            lacking = f"the scope {' or '.join(refusal.scopes)}" if refusal.scopes else "a right"
            return AuthFailed(f"{said}: the token lacks {lacking}; `sinks test` looks at all")
        case 404 if not refusal.category:
            return no_such_path(refusal)
        case 429 if refusal.policy == "DAILY":
            return Retry(f"{said}: the account's requests of the day are used up", asked or DAY_IS_USED_UP, True)
        case 429:
            return Retry(said, asked or _WINDOWS.get(refusal.policy, _WINDOWS["TEN_SECONDLY_ROLLING"]), True)
        case 423:
            return Retry(said, max(asked or _LOCKED, _LOCKED))
        case 477:
            return Retry(f"{said}: the account is being moved by HubSpot", asked or _MOVING, True)
        case 400 | 404 | 409 | 413 | 415 | 422:
            return _of_values(refusal)
        case status:
            return outcome_of(Answer(status, answer.headers, b""), now=now)


def no_such_path(refusal: Refusal) -> Outcome:
    """What follows where what is not found is no record."""
    return Gone(f"{refusal.said}: nothing of HubSpot's is at base_url; look at api_version too")


def _of_values(refusal: Refusal) -> Outcome:
    codes = refusal.codes or {}
    if unknown := sorted(name for name, code in codes.items() if code == _UNKNOWN):
        return AuthFailed(f"{refusal.said}: make the property {', '.join(unknown)}; `sinks setup` makes those of ours")
    if unset := [remedy for name, remedy in _SETTINGS.items() if name in codes]:
        return AuthFailed(f"{refusal.said}: {unset[0]}")
    return Rejected(refusal.said)


def unreadable(answer: Answer) -> Outcome:
    """What follows from an answer of success that is none of HubSpot's."""
    return Uncertain(f"HTTP {answer.status} without an answer of HubSpot's")
