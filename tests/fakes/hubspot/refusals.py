"""What HubSpot answers when it does not do what it was asked, in its own shapes and words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

Told = dict[str, Any]
Context = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Answer:
    """One whole answer. A body of bytes is sent as it is, anything else as JSON."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


class Refused(Exception):
    """The request, or one input of a batch, is refused."""

    def __init__(
        self,
        status: int,
        category: str,
        message: str,
        *,
        context: Context | None = None,
        errors: Sequence[Told] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.category, self.message = status, category, message
        self.context: Told = {name: list(values) for name, values in (context or {}).items()}
        self.errors = list(errors)

    def as_answer(self) -> Answer:
        told: Told = {"status": "error", "message": self.message, "correlationId": str(uuid4())}
        told |= {"category": self.category}
        if self.context:
            told |= {"context": self.context}
        if self.errors:
            told |= {"errors": self.errors}
        return Answer(self.status, told)

    def as_row(self, trace_id: str | None) -> Told:
        """One of the `errors` of a batch; *trace_id* is what the request called the input (shape documented)."""
        context = self.context | ({"objectWriteTraceId": [trace_id]} if trace_id is not None else {})
        told = {"status": "error", "category": self.category, "message": self.message, "context": context}
        return told | {"errors": self.errors, "links": {}}


def invalid(message: str, *, context: Context | None = None) -> Refused:
    return Refused(400, "VALIDATION_ERROR", message, context=context)


def invalid_value(name: str, value: str, code: str) -> Refused:
    """A property has no such name, or its value is none (message and codes observed)."""
    problem: Told = {"isValid": False, "message": f"{value!r} is not valid for {name}", "error": code, "name": name}
    refused = invalid(f"Property values were not valid: {json.dumps([problem])}", context={"propertyName": [name]})
    refused.errors = [{"message": problem["message"], "code": code, "context": {"propertyName": [name]}}]
    return refused


def not_found(object_id: str) -> Refused:
    return Refused(
        404, "OBJECT_NOT_FOUND", "Object not found.  objectId are usually numeric.", context={"id": [object_id]}
    )


def unauthenticated() -> Refused:
    return Refused(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")


def missing_scopes(*scopes: str) -> Refused:
    detail: Told = {
        "message": "One or more of the following scopes are required.",
        "context": {"requiredScopes": [*scopes]},
    }
    message = "This app hasn't been granted all required scopes to make this call."
    return Refused(403, "MISSING_SCOPES", message, errors=[detail])


def too_many(policy: str) -> Answer:
    """A 429, another shape than all other errors (documented), without Retry-After.

    Args:
        policy: `DAILY` or `TEN_SECONDLY_ROLLING` (documented), `SECONDLY` for search (observed).
    """
    word = {"DAILY": "daily", "TEN_SECONDLY_ROLLING": "ten_secondly_rolling", "SECONDLY": "secondly"}[policy]
    told = {"status": "error", "message": f"You have reached your {word} limit.", "errorType": "RATE_LIMIT"}
    return Answer(429, {**told, "policyName": policy, "correlationId": str(uuid4()), "requestId": uuid4().hex})
