"""What GoHighLevel's answers mean. An error is a status and one sentence or several; of those only the names of fields
are read, and nothing else of them is repeated, for they hold values.

Source: the vendor's published contract of contacts (GoHighLevel/highlevel-api-docs; read 2026-11) and its page on rate
limits (documented). What is said of single sentences is observed in reports there.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from callrail.answer import Answer
from routers.outcomes import AuthFailed, Gone, Outcome, Rejected, Retry, Uncertain, outcome_of, retry_after

# The day's allowance comes back at an hour that nobody tells us.
DAY_IS_USED_UP = timedelta(hours=1)
_WINDOW = timedelta(seconds=10)
_GONE = re.compile(r"\b(not found|does ?n[o']t exist|no such|invalid contact|has been deleted)\b", re.IGNORECASE)
_NAME = re.compile(r"^(?:property )?([A-Za-z][A-Za-z0-9]{0,39})\b")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done.

    Attributes:
        names: What its sentences begin with: the names of fields, among other words.
        is_gone: Whether what the path names is said to be not there.
        is_of_workflow: Whether a workflow is spoken of.
    """

    status: int
    names: frozenset[str] = frozenset()
    is_gone: bool = False
    is_of_workflow: bool = False

    def said(self, known: Collection[str] = ()) -> str:
        """For a reason: the status, and those names that are of *known* fields."""
        named = sorted(self.names & {*known})
        return f"HTTP {self.status}" + (f" ({', '.join(named)})" if named else "")


def refusal_of(answer: Answer) -> Refusal:
    """What *answer*, which is none of success, says."""
    told = json_of(answer.body)
    said = told.get("message") if isinstance(told, dict) else None
    sentences = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)]
    names = frozenset(found[1] for each in sentences if (found := _NAME.match(each)))
    is_gone = answer.status in (400, 404, 422) and any(_GONE.search(each) for each in sentences)
    is_gone = is_gone or (answer.status == 404 and isinstance(told, dict))
    return Refusal(answer.status, names, is_gone, any("workflow" in each.lower() for each in sentences))


def json_of(body: bytes) -> Any:
    """What *body* holds as JSON; None if it is none, or was cut."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def outcome_of_refusal(answer: Answer, refusal: Refusal, *, now: datetime) -> Outcome:
    """What follows from an answer that is none of success."""
    asked, said = retry_after(answer.headers, now=now), refusal.said(FIELDS)
    match answer.status:
        case status if 300 <= status < 400:
            return Gone(f"HTTP {status}: redirects are not followed; look at base_url")
        case 401 | 403:  # of a scope that is lacking too
            return AuthFailed(f"{said}: the token is not taken for that, or not for this location; see `sinks test`")
        case 404 if not refusal.is_gone:
            return Gone(f"{said}: nothing of GoHighLevel's is at base_url")
        case 429 if _day_is_used_up(answer):
            return Retry(f"{said}: the location's requests of the day are used up", asked or DAY_IS_USED_UP, True)
        case 429:
            return Retry(said, asked or _WINDOW, True)
        case 400 | 404 | 409 | 413 | 415 | 422:
            return Rejected(said)
        case status:
            return outcome_of(Answer(status, answer.headers, b""), now=now)


def unreadable(answer: Answer) -> Outcome:
    """What follows from an answer of success that is none of GoHighLevel's."""
    return Uncertain(f"HTTP {answer.status} without an answer of GoHighLevel's")


def _day_is_used_up(answer: Answer) -> bool:
    return answer.headers.get("x-ratelimit-daily-remaining", "").strip() == "0"


# The fields of a contact that are written (documented).
FIELDS = frozenset(
    {
        *("firstName", "lastName", "name", "email", "phone", "source", "assignedTo", "address1", "city", "state"),
        *("postalCode", "country", "website", "timezone", "companyName", "customFields", "locationId"),
        *("body", "title", "tags"),
    }
)
