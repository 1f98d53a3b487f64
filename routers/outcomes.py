"""What came of sending once. A sink answers one of these; the dispatcher decides what follows.

A failure that can be expected is a value and not an exception, because what to do about it is part of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from callrail.exceptions import HttpError, NoNetwork, NotSent
from callrail.http import Answer

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


Outcome = Delivered | Retry | Uncertain | Rejected | AuthFailed | Gone


def outcome_of_error(error: HttpError) -> Retry | Uncertain:
    """What a request without a usable answer means for every sink that is reached by HTTP."""
    if isinstance(error, NotSent):
        return Retry(str(error), is_ours=isinstance(error, NoNetwork))
    return Uncertain(str(error))


def outcome_of(answer: Answer, *, now: datetime) -> Outcome:
    """What an HTTP status means for the signed webhook and for plain HTTP: one table, shared by all such sinks.

    Redirects are rejected, because following one may carry personal data to a host nobody configured. 404, 409 and 422
    are retried here: receivers answer them while they are deployed or misrouted (Standard Webhooks, 2026-11).
    """
    reason = _reason(answer)
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
            after = retry_after(answer.headers, now=now)
            return Retry(reason, after, whole_lane=status == 429 or (status in (502, 503, 504) and after is not None))


def retry_after(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """What `Retry-After` asks for, as seconds or as an HTTP date; None without a readable one. Capped at a day."""
    told = headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        digits = told.lstrip("0")
        wait = timedelta(seconds=int(digits or "0")) if len(digits) < 10 else LONGEST_RETRY_AFTER
    else:
        try:
            moment = parsedate_to_datetime(told)
        except ValueError:
            return None
        wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)


def _reason(answer: Answer) -> str:
    excerpt = " ".join(answer.body[: 4 * _EXCERPT].decode("utf-8", "replace").split())
    printable = "".join(char for char in excerpt if char.isprintable())[:_EXCERPT]
    return f"HTTP {answer.status}" + (f": {printable}" if printable and answer.status >= 300 else "")
