"""What came of sending once. A sink answers one of these; the dispatcher decides what follows.

A failure that can be expected is a value and not an exception, because what to do about it is part of the answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from callrail.answer import Answer
from callrail.exceptions import HttpError, NoNetwork, NotSent

# A destination may ask us to wait, but not for ever.
LONGEST_RETRY_AFTER = timedelta(hours=24)
_EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Delivered:
    """Accepted over there. *remote_id* is what the destination calls it, *url* where a person finds it."""

    reason: str = "accepted"
    remote_id: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Not accepted now. *after* is what the destination asked for; *whole_lane* when it asked that of all we send.

    *is_ours*: our own network is at fault, so the try counts for nothing. *done* is what has been achieved already (the
    recipients who have it), and comes back with the next try.
    """

    reason: str
    after: timedelta | None = None
    whole_lane: bool = False
    is_ours: bool = False
    done: str | None = None


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It may have arrived: the answer was lost."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good: sending the same again cannot help."""

    reason: str


@dataclass(frozen=True, slots=True)
class AuthFailed:
    """The destination does not know us any more. Nothing will arrive there until somebody acts."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The destination is no more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """Not now, for what holds of a part only of those the sink serves, like one account: it says nothing of the others.

    It counts as no try. *needs_somebody*: it will be so until somebody acts.
    """

    reason: str
    after: timedelta
    needs_somebody: bool = False


Outcome = Delivered | Retry | Uncertain | Rejected | AuthFailed | Gone | Postponed


def outcome_of_error(error: HttpError) -> Retry | Uncertain:
    """What a request without a usable answer means for every sink that is reached by HTTP."""
    if isinstance(error, NotSent):
        return Retry(str(error), is_ours=isinstance(error, NoNetwork))
    return Uncertain(str(error))


def outcome_of(answer: Answer, *, now: datetime, told: object = None) -> Outcome:
    """What an HTTP status means for the signed webhook and for plain HTTP: one table, shared by all such sinks.

    Redirects are rejected, because following one may carry personal data to a host nobody configured. 404, 409 and 422
    are retried here: receivers answer them while they are deployed or misrouted (Standard Webhooks, 2026-11).

    Args:
        told: What was sent. Its texts are struck from the reason, should the answer repeat them.
    """
    reason = reason_of(answer, told=told)
    match answer.status:
        case status if 200 <= status < 300:
            return Delivered(reason)
        case status if 300 <= status < 400:
            return Rejected(f"{reason}: redirects are not followed")
        case 401 | 403:
            return AuthFailed(reason)
        case 410:
            return Gone(reason)
        case 400 | 405 | 413:
            return Rejected(reason)
        case status:
            after = asked_wait(answer, now=now)
            return Retry(reason, after, whole_lane=status == 429 or (status in (502, 503, 504) and after is not None))


# --- how long to wait ------------------------------------------------------------------------------------------------


def asked_wait(answer: Answer, *, now: datetime) -> timedelta | None:
    """For how long *answer* asks us to wait, wherever it says so; None if it does not. Capped at a day.

    Beside `Retry-After` Discord tells seconds with a fraction in `X-RateLimit-Reset-After` and in `retry_after` of its
    body (discord.com/developers, "Rate Limits"; documented). The longest is obeyed.
    """
    told = [retry_after(answer.headers, now=now)]
    if answer.status == 429:
        told += [_seconds(answer.headers.get("x-ratelimit-reset-after")), _seconds(_retry_after_in(answer.body))]
    return max((wait for wait in told if wait is not None), default=None)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """What `Retry-After` asks for, as seconds or as an HTTP date; None without a readable one. Capped at a day."""
    told = headers.get("retry-after", "").strip()
    wait = _seconds(told)
    if wait is not None:
        return wait
    try:
        moment = parsedate_to_datetime(told)
    except (ValueError, OverflowError):  # a year or an offset that no date can have
        return None
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)


def _seconds(told: object) -> timedelta | None:
    if isinstance(told, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", told):
        told = float(told)  # of any length: a number too large becomes infinite
    if isinstance(told, bool) or not isinstance(told, int | float) or math.isnan(told) or told < 0:
        return None
    return timedelta(seconds=min(told, LONGEST_RETRY_AFTER.total_seconds()))


def _retry_after_in(body: bytes) -> object:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found.get("retry_after") if isinstance(found, dict) else None


# --- what they said --------------------------------------------------------------------------------------------------

_STRUCK = "…"
_SHORTEST = 4  # what is shorter says nothing of anybody, and would be found in every word
_PRIVATE = re.compile(
    r"(?P<scheme>https?://)(?:[^\s/@\"'<>]*@)?(?P<host>[^\s/?#\"'<>]+)[^\s\"'<>]*"  # the rest may be the secret
    r"|(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]+"
    r"|\+?\(?\d(?:[\s().-]{0,2}\d){6,}"  # seven digits and more: phone numbers, and ids as well
    r"|(?<![\w+/=-])(?=[\w+/=-]*\d)[\w+/=-]{16,}"  # tokens and keys
)


def reason_of(answer: Answer, *, told: object = None) -> str:
    """The status and, unless it was accepted, what they said: short, printable, without secrets and personal data.

    Args:
        told: What was sent. Each text in it is struck where the answer repeats it.
    """
    said = excerpt_of(answer, told=told) if answer.status >= 300 else ""
    return f"HTTP {answer.status}" + (f": {said}" if said else "")


def excerpt_of(answer: Answer, *, told: object = None) -> str:
    """What they said, as `reason_of` has it."""
    # Cut first roughly and then to length, so that no half of a number or a key is left unknown at the end.
    said = " ".join(answer.body[: 20 * _EXCERPT].decode("utf-8", "replace").split())
    for text in sorted(set(_texts(told)), key=len, reverse=True):
        said = re.sub(re.escape(text), _STRUCK, said, flags=re.IGNORECASE)
    said = _PRIVATE.sub(lambda found: f"{found['scheme'] or ''}{found['host'] or ''}{_STRUCK}", said)
    return "".join(char for char in said if char.isprintable())[:_EXCERPT]


def _texts(told: Any) -> Iterator[str]:
    if isinstance(told, str):
        text = " ".join(told.split())
        if len(text) >= _SHORTEST:
            yield text
    elif isinstance(told, Mapping):
        for part in told.values():
            yield from _texts(part)
    elif isinstance(told, list | tuple):
        for part in told:
            yield from _texts(part)
