"""Sending one request to the API: the key, the account's allowance, repetitions, redirects, and what an answer means.

A 429 is repeated for every method, for nothing was done. What may have been done is repeated for what only reads or
sets (GET, and PUT without danger), never for a POST or for what rings, texts, costs or deletes.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from pydantic_core import PydanticSerializationError, from_json, to_jsonable_python

from callrail.answer import Answer
from callrail.budgets import DAY, LONGEST_REST, PAUSE, Budgets, Told
from callrail.exceptions import (
    AddressRefused,
    AnswerError,
    AnswerLost,
    BudgetSpent,
    Forbidden,
    HttpError,
    InvalidRequest,
    NotFound,
    NotSent,
    RateLimited,
    Rejected,
    ServerFault,
    Unauthorized,
    UnexpectedAnswer,
)
from callrail.request import Budget, Request

if TYPE_CHECKING:
    from callrail.http import HttpClient

MAX_TRIES = 4  # of what failed; a 429 is repeated until the deadline
MAX_SAID = 500
MAX_WAIT = 60.0
_REFUSED_OFTEN = 3  # in a row; then the account rests, so that not everybody who shares it asks again and again
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Pace:
    """Time, as sending sees it; another one in tests."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Sender:
    """Sends the requests of one API key, to one host."""

    def __init__(self, http: HttpClient, *, base_url: str, api_key: str, budgets: Budgets, pace: Pace) -> None:
        self.base_url = base_url
        self.http = http
        self.pace = pace
        self._budgets = budgets
        self._headers = {"authorization": f'Token token="{api_key}"', "request-from": "callrail_router"}

    async def send(self, request: Request, *, account: str, ends: float) -> Answer:
        """The answer to *request*, a success.

        Args:
            ends: Until when, on the clock of `pace.monotonic`.

        Raises:
            BudgetSpent: The allowance does not come free before the deadline.
            NotSent, AnswerLost: The network's fault, after all repetitions that are allowed.
            AnswerError: What CallRail answered is no success; the subclass says what.
        """
        failure: Answer | CallRailFailure | None = None
        for attempt in count(1):
            try:
                await self.take(request, account, ends)
            except BudgetSpent:
                if isinstance(failure, Exception):  # which says why there is none left
                    raise failure from None
                raise
            failure, wait = await self._try(request, account, attempt, ends)
            if not isinstance(failure, Exception):
                return failure
            if wait is None or self.pace.monotonic() + wait >= ends:
                raise failure
            await self.pace.sleep(wait)
        raise AssertionError("counting never ends")

    async def take(self, request: Request, account: str, ends: float) -> None:
        """Count one request, when the allowance has room for it.

        Raises:
            BudgetSpent: It has none until *ends*.
        """
        while True:
            try:
                await self._budgets.take(account, request.budget)
            except BudgetSpent as spent:
                wait = (spent.free_at - self.pace.now()).total_seconds()
                if self.pace.monotonic() + wait >= ends:
                    raise
                await self.pace.sleep(max(wait, 0.01))
            else:
                return

    async def _try(
        self, request: Request, account: str, attempt: int, ends: float
    ) -> tuple[Answer | CallRailFailure, float | None]:
        """The answer; or what went wrong, and after how many seconds to try again (None: not at all)."""
        may_try = attempt < MAX_TRIES
        try:
            answer = await self._exchange(request, account, ends)
        except AddressRefused as error:
            return error, None
        except NotSent as error:
            return error, backoff(attempt) if may_try else None
        except AnswerLost as error:
            return error, backoff(attempt) if may_try and request.is_repeatable else None
        if told := Told.of(answer.headers):
            await self._budgets.learn(account, request.budget, told)
        if 200 <= answer.status < 300:
            return answer, None
        wait = None
        if answer.status == 429:
            wait = await self.wait_of(answer, account, request.budget, attempt, ends)
        elif answer.status >= 500 and request.is_repeatable and may_try:
            wait = retry_after(answer, now=self.pace.now()) or backoff(attempt)
        return answer_error(request, answer), wait

    async def wait_of(self, answer: Answer, account: str, budget: Budget, attempt: int, ends: float) -> float:
        """After how many seconds a 429 is tried again.

        If it cannot be waited for, or comes again and again, whoever shares the allowance rests.
        """
        asked = retry_after(answer, now=self.pace.now())
        wait = asked or backoff(attempt)
        gives_up = self.pace.monotonic() + wait >= ends
        if gives_up or (asked is None and attempt >= _REFUSED_OFTEN):
            rests = min(timedelta(seconds=min(asked, DAY.total_seconds())), LONGEST_REST) if asked else PAUSE
            await self._budgets.refused(account, budget, rests)
        return wait

    async def _exchange(self, request: Request, account: str, ends: float) -> Answer:
        within = max(ends - self.pace.monotonic(), 0.001)
        content, content_type = encoded(request)
        headers = self._headers | ({"content-type": content_type} if content_type else {})
        url = self.base_url + request.target
        answer = await self.http.request(request.method, url, content=content, headers=headers, within=within)
        if answer.status in REDIRECTS and request.method == "GET":
            # Observed: the numeric against the masked account id. Once, and to nobody else, for the key goes along.
            moved = joined(url, answer.headers.get("location", ""))
            if self.is_ours(moved):
                await self.take(request, account, ends)
                within = max(ends - self.pace.monotonic(), 0.001)
                return await self.http.request("GET", moved, headers=headers, within=within)
        return answer

    def is_ours(self, url: str) -> bool:
        """Whether *url* is of the API's own host, which alone is told the key."""
        try:
            return urlsplit(url)[:2] == urlsplit(self.base_url)[:2]
        except ValueError:  # brackets that hold no address
            return False

    def headers_for(self, url: str) -> Mapping[str, str]:
        """With the key to the API's host, without to any other."""
        return self._headers if self.is_ours(url) else {}


def joined(url: str, location: str) -> str:
    """Where a redirect at *url* leads; nowhere if *location* is no address."""
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


CallRailFailure = HttpError | AnswerError


def encoded(request: Request) -> tuple[bytes | None, str | None]:
    """The body of *request*, with its content type: JSON, or a form where it holds files."""
    if request.body is None:
        return None, None
    if request.files:
        from callrail.http import multipart  # slow to load, and loaded when a client is made

        fields = {name: str(value) for name, value in request.body.items()}
        try:
            return multipart(fields, request.files)
        except OSError as error:
            raise InvalidRequest(f"{request.operation}: the file cannot be read: {error.strerror}") from None
    try:
        text = json.dumps(request.body, ensure_ascii=False, allow_nan=False, default=to_jsonable_python)
        return text.encode(), "application/json"
    except (TypeError, ValueError, PydanticSerializationError):  # of which UnicodeEncodeError is one
        raise InvalidRequest(f"{request.operation}: the body holds what JSON cannot") from None


def backoff(attempt: int) -> float:
    """Seconds to wait after failed try number *attempt*, the first being 1; jitter only lengthens."""
    return float(min(2 ** (attempt - 1), MAX_WAIT)) * (1 + random.random() / 2)  # noqa: S311  (no secret)


def retry_after(answer: Answer, *, now: datetime) -> float | None:
    """Seconds that *answer* asks to wait, in either form of the header (undocumented); None if it asks nothing."""
    asked = answer.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    try:
        return max((parsedate_to_datetime(asked) - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


_ERRORS: Mapping[int, type[AnswerError]] = {
    400: Rejected,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    406: Rejected,
    422: Rejected,
    429: RateLimited,
}


def answer_error(request: Request, answer: Answer) -> AnswerError:
    """What an answer that is no success means."""
    kind = _ERRORS.get(answer.status) or (ServerFault if answer.status >= 500 else UnexpectedAnswer)
    said = said_by(answer.body) if answer.status not in REDIRECTS else "a redirect that is not followed"
    remedy = request.remedies.get(answer.status)
    if remedy:
        said = f"{said}; {remedy}" if said else remedy
    return kind(f"{request.method} {request.operation}", answer.status, said, answer.headers.get("x-request-id"))


def said_by(body: bytes) -> str | None:
    """CallRail's own words in an error's body, whose form is not documented; None for a web page or nothing."""
    try:
        told: Any = from_json(body)
    except ValueError:
        text = body.decode(errors="replace").strip()
        return None if not text or text.startswith("<") else _plain(text)
    if isinstance(told, dict):
        # What else there is may repeat the request, and with it somebody's number.
        told = next((told[key] for key in ("error", "errors", "message") if told.get(key)), None)
    if isinstance(told, list):
        told = "; ".join(map(str, told))
    return _plain(str(told)) if told else None


def _plain(text: str) -> str:
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return text if len(text) <= MAX_SAID else text[:MAX_SAID] + "..."


def parsed(request: Request, answer: Answer) -> Any:
    """The JSON of a success; None where there is no body.

    Raises:
        UnexpectedAnswer: It is none, or cut off.
    """
    if not answer.body.strip():
        return None
    try:
        return from_json(answer.body)
    except ValueError:
        said = "its body is not JSON, or was cut off"
        if answer.headers.get("content-type", "").startswith("audio/"):
            said = "it is the recording itself: save it with CallRail.download"
        request_id = answer.headers.get("x-request-id")
        raise UnexpectedAnswer(f"{request.method} {request.operation}", answer.status, said, request_id) from None


def is_under(request: Request, account_id: str) -> bool:
    """Whether the path of *request* is one of this account's."""
    begin = f"/v3/a/{account_id}"
    return request.path.startswith((f"{begin}/", f"{begin}.json"))


def elsewhere(request: Request, *, old: str, new: str) -> Request:
    """*request*, which is under the account *old*, with the account's other id in its path."""
    return replace(request, path=f"/v3/a/{new}{request.path.removeprefix(f'/v3/a/{old}')}")
