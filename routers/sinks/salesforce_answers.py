"""What Salesforce's answers mean. An error is a code and a sentence; the code is read, and only the code is repeated.

Source: developer.salesforce.com, REST API, "Status Codes and Error Responses", "Composite", "Composite Batch"
(documented; read 2026-11). What is said of single codes beyond that is observed in public code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from callrail.answer import Answer
from routers.outcomes import AuthFailed, Gone, Outcome, Rejected, Retry, Uncertain, outcome_of, retry_after

# The day's allowance comes back little by little, for it is counted over the last 24 hours.
DAY_IS_USED_UP = timedelta(hours=1)
_TOO_MANY_AT_ONCE = timedelta(seconds=30)
_LOCKED = timedelta(seconds=5)

_ACCESS = "give the user of the app the right to it"
_AUTH_FAILED = {
    "INVALID_SESSION_ID": "Salesforce takes no session of this app; look at the app and its user",
    "INVALID_AUTH_HEADER": "Salesforce takes no session of this app; look at the app and its user",
    "API_DISABLED_FOR_ORG": "the edition or the user has no access by API",
    "API_CURRENTLY_DISABLED": "an administrator has disabled the API",
    "INSUFFICIENT_ACCESS": _ACCESS,
    "INSUFFICIENT_ACCESS_OR_READONLY": _ACCESS,
    "INVALID_TYPE": _ACCESS,
    "INVALID_FIELD_FOR_INSERT_UPDATE": "let the user of the app edit the field; `sinks test` says more",
    "INVALID_FIELD": "make the field, or let the user of the app see it; `sinks test` says which",
    "STORAGE_LIMIT_EXCEEDED": "the org's data storage is full",
    "INACTIVE_OWNER_OR_USER": "the owner is active no longer; name another",
    "NOT_FOUND": "look at api_version, and at the rights of the user of the app; `sinks test` says more",
}
_RETRIED = frozenset({"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG"})
# Whose record it names is gone or converted since it was read: what to do with that, the next look tells.
MOVED_ON = frozenset({"ENTITY_IS_DELETED", "CANNOT_UPDATE_CONVERTED_LEAD", "INVALID_CROSS_REFERENCE_KEY"})
DUPLICATES = "DUPLICATES_DETECTED"
# Another record has a value that no two may have: of two upserts by one key at once, one is told so (observed).
TAKEN = "DUPLICATE_VALUE"
HALTED = "PROCESSING_HALTED"  # a part that names one which failed
# A value that a field does not take. The first of them names no field.
UNREADABLE = "JSON_PARSER_ERROR"
WRONG_VALUE = frozenset(
    {
        *("STRING_TOO_LONG", "INVALID_TYPE_ON_FIELD_IN_RECORD", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        *("NUMBER_OUTSIDE_VALID_RANGE", "INVALID_EMAIL_ADDRESS", "FIELD_INTEGRITY_EXCEPTION", "MALFORMED_ID"),
        *("INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_CROSS_REFERENCE_KEY", UNREADABLE),
    }
)
# The sentences that name a field and not its value (observed).
_NAMED = re.compile(r"No such column '(\w+)'|field does not exist or is not accessible: (\w+)")
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,79}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done.

    Attributes:
        code: Salesforce's word; empty if it told none.
        fields: The fields that it names.
        matches: Ids of the records that a duplicate rule has found.
        is_of_the_day: Of too many requests, whether the allowance of the day is meant.
    """

    status: int
    code: str = ""
    fields: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    is_of_the_day: bool = True

    @property
    def said(self) -> str:
        """For a reason: the code and the names of fields, never a value."""
        return f"{self.code or f'HTTP {self.status}'}" + (f" ({', '.join(self.fields)})" if self.fields else "")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the answer to many questions."""

    status: int
    body: Any = field(default=None)

    @property
    def is_done(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refusal(self) -> Refusal:
        return _refusal(self.status, self.body)

    @property
    def record_id(self) -> str | None:
        """Of the record that was written."""
        return id_of(self.body.get("id")) if isinstance(self.body, dict) else None

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """What a query or a search found."""
        told = self.body if isinstance(self.body, dict) else {}
        found = told.get("records", told.get("searchRecords"))
        found = found if isinstance(found, list) else []
        return [row for row in found if isinstance(row, dict) and id_of(row.get("Id"))]


def parts_of(answer: Answer, count: int) -> Sequence[Part] | None:
    """The *count* parts of a composite answer, or of a batch's; None if it is none of the kind."""
    told = json_of(answer.body)
    if answer.status != 200 or not isinstance(told, dict):
        return None
    found = told.get("compositeResponse", told.get("results"))
    if not isinstance(found, list) or len(found) != count:
        return None
    parts = [_part(row) for row in found]
    return [part for part in parts if part is not None] if all(parts) else None


def _part(row: object) -> Part | None:
    if not isinstance(row, dict):
        return None
    status = row.get("httpStatusCode", row.get("statusCode"))
    return Part(status, row.get("body", row.get("result"))) if isinstance(status, int) else None


def json_of(body: bytes) -> Any:
    """What *body* holds as JSON; None if it is none, or was cut."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


# --- what follows ----------------------------------------------------------------------------------------------------


def outcome_of_answer(answer: Answer, *, now: datetime) -> Outcome:
    """What follows from the answer to a whole request that was not done."""
    refusal = _refusal(answer.status, json_of(answer.body))
    if answer.status == 410:
        return Gone(f"{refusal.said}: Salesforce has retired what is asked; look at api_version")
    if refusal.code:
        found = outcome_of_refusal(refusal)
        if answer.status in (401, 403) and isinstance(found, Rejected):  # of all that is asked, and not of this message
            return AuthFailed(f"{found.reason}: Salesforce does not let the app's user in; look at both")
        asked = retry_after(answer.headers, now=now)
        return Retry(found.reason, asked) if isinstance(found, Retry) and asked is not None else found
    match answer.status:
        case status if 200 <= status < 300:
            return Uncertain(f"HTTP {status} without an answer of Salesforce's")
        case status if 300 <= status < 400:
            return Gone(f"HTTP {status}: redirects are not followed; has the My Domain another name?")
        case 404:
            return Gone("HTTP 404: nothing of Salesforce's is at base_url")
        case 409 | 422:
            return Rejected(f"HTTP {answer.status}")
        case status:
            return outcome_of(Answer(status, answer.headers, b""), now=now)


def outcome_of_refusal(refusal: Refusal) -> Outcome:
    """What follows from a refusal with a code, of a whole request or of the part that matters."""
    said = refusal.said
    if refusal.code == "REQUEST_LIMIT_EXCEEDED":
        if refusal.is_of_the_day:
            return Retry(
                f"{said}: the org's requests of the last 24 hours are used up", DAY_IS_USED_UP, whole_lane=True
            )
        return Retry(f"{said}: too many requests at once", _TOO_MANY_AT_ONCE, whole_lane=True)
    if refusal.code in _RETRIED or refusal.status >= 500:
        return Retry(said, _LOCKED if refusal.code == "UNABLE_TO_LOCK_ROW" else None)
    if refusal.code in _AUTH_FAILED:
        return AuthFailed(f"{said}: {_AUTH_FAILED[refusal.code]}")
    if refusal.status == 300:
        return Rejected("HTTP 300: more than one record has this CallRail_Key__c")
    if "OwnerId" in refusal.fields:
        return AuthFailed(f"{said}: there is no such owner; look at the owner that is set")
    return Rejected(said)


def _refusal(status: int, told: object) -> Refusal:
    error = told[0] if isinstance(told, list) and told and isinstance(told[0], dict) else {}
    code, message = error.get("errorCode"), str(error.get("message"))
    named = _NAMED.search(message)
    names = [*_list(error, "fields"), *filter(None, named.groups() if named is not None else ())]
    return Refusal(
        status,
        code if isinstance(code, str) and _CODE.fullmatch(code) else "",
        tuple(name for name in names if isinstance(name, str) and _FIELD.fullmatch(name)),
        tuple(_matches(error)),
        "concurrent" not in message.lower(),
    )


def _matches(error: Mapping[str, Any]) -> Iterator[str]:
    """Ids in the result of a duplicate rule, whose key is misspelt by Salesforce (observed)."""
    result = error.get("duplicateResut", error.get("duplicateResult"))
    for match in _list(result, "matchResults"):
        for row in _list(match, "matchRecords"):
            record = row.get("record") if isinstance(row, dict) else None
            found = id_of(record.get("Id")) if isinstance(record, dict) else None
            if found is not None:
                yield found


def _list(told: object, name: str) -> list[Any]:
    found = told.get(name) if isinstance(told, dict) else None
    return found if isinstance(found, list) else []


def id_of(told: object) -> str | None:
    """*told*, if it is an id of Salesforce's."""
    return told if isinstance(told, str) and _ID.fullmatch(told) else None
