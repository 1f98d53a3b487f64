"""Many questions, or many writes, in one request. So one call costs two requests: one that looks, one that writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

from callrail.answer import Answer
from routers.outcomes import Outcome, Retry, Uncertain
from routers.sinks.salesforce_answers import Part, outcome_of_answer, outcome_of_refusal, parts_of
from routers.sinks.salesforce_session import Session


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. *how*: `query`, `queryAll` with what was deleted, or `search`, which lags."""

    name: str
    how: Literal["query", "queryAll", "search"]
    text: str


@dataclass(frozen=True, slots=True)
class Write:
    """What is written to one record. Another may name its id as `@{name.id}`."""

    name: str
    method: Literal["PATCH", "POST"]
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


async def look(session: Session, questions: Sequence[Question]) -> dict[str, Part] | Outcome:
    """The answer to each question, by one request; an outcome where one of them is not answered.

    A composite request counts as one of the org's allowance and takes no search; a batch takes one, and counts as each
    of its parts (documented).
    """
    if any(question.how == "search" for question in questions):
        version = session.path.rpartition("/")[2]
        batch = [{"method": "GET", "url": f"{version}{_path(question)}"} for question in questions]
        answer = await session.ask("POST", "/composite/batch", {"batchRequests": batch})
    else:
        asked = [
            {"method": "GET", "url": f"{session.path}{_path(question)}", "referenceId": question.name}
            for question in questions
        ]
        answer = await session.ask("POST", "/composite", {"allOrNone": False, "compositeRequest": asked})
    parts = _parts(answer, len(questions))
    if not isinstance(parts, Sequence):
        return Retry(parts.reason) if isinstance(parts, Uncertain) else parts  # looking changes nothing
    for part in parts:
        if not part.is_done:
            return outcome_of_refusal(part.refusal)
    return {question.name: part for question, part in zip(questions, parts, strict=True)}


async def write(session: Session, writes: Sequence[Write]) -> dict[str, Part] | Outcome:
    """What became of each, by one request; an outcome where that is not known, or none of them was done."""
    asked = [
        {
            "method": each.method,
            "url": f"{session.path}{each.path}",
            "referenceId": each.name,
            "body": each.body,
            **({"httpHeaders": each.headers} if each.headers else {}),
        }
        for each in writes
    ]
    answer = await session.ask("POST", "/composite", {"allOrNone": False, "compositeRequest": asked})
    parts = _parts(answer, len(writes))
    if not isinstance(parts, Sequence):
        return parts
    return {each.name: part for each, part in zip(writes, parts, strict=True)}


def _parts(answer: Answer | Outcome, count: int) -> Sequence[Part] | Outcome:
    if not isinstance(answer, Answer):
        return answer
    parts = parts_of(answer, count)
    return parts if parts is not None else outcome_of_answer(answer, now=datetime.now(UTC))


def _path(question: Question) -> str:
    return f"/{question.how}?q={quote(question.text, safe='')}"
