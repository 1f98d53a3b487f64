"""What Salesforce answers when it does not do what it was asked: a list of errors, each with a code and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fakes.hubspot.refusals import Answer

__all__ = ["Answer", "Refused", "Told"]

Told = dict[str, Any]


class Refused(Exception):
    """The request, or one part of a composite one, is refused. *more* stands in the error beside its usual keys."""

    def __init__(
        self, status: int, code: str, message: str, fields: Sequence[str] | None = None, more: Told | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.fields, self.more = fields, more or {}

    def as_answer(self) -> Answer:
        told: Told = {**self.more, "message": self.message, "errorCode": self.code}
        if self.fields is not None:
            told["fields"] = list(self.fields)
        return Answer(self.status, [told])


class RefusedToken(Exception):
    """No session is given: an object with a word and a sentence, another shape than all other errors (documented)."""

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.answer = Answer(400, {"error": word, "error_description": sentence})


def no_such_column(name: str, kind: str) -> Refused:
    return Refused(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {kind}")


def no_such_resource() -> Refused:
    return Refused(404, "NOT_FOUND", "The requested resource does not exist")


def expired_session() -> Refused:
    return Refused(401, "INVALID_SESSION_ID", "Session expired or invalid")


def over_the_limit(which: str = "TotalRequests") -> Refused:
    """403, and not 429. *which*: `TotalRequests` of a day, `ConcurrentRequests` of those that take long (observed)."""
    return Refused(403, "REQUEST_LIMIT_EXCEEDED", f"{which} Limit exceeded.")


def locked() -> Refused:
    return Refused(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record", [])
