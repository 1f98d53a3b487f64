"""Trouble to order: the next answers to some path go wrong in a way that is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Fault = Callable[[Callable[[], Awaitable[Response]]], Awaitable[Response]]
"""Takes the function that would answer rightly. One that does not call it: the request has no effect."""


def status(code: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Fault:
    """Refuse with *code*; *body* is told as JSON."""

    async def refuse(_right: Callable[[], Awaitable[Response]]) -> Response:
        return Response(json.dumps(body), code, dict(headers or {}), "application/json")

    return refuse


def too_many(retry_after: int | None = None) -> Fault:
    """429, with or without the seconds to wait; ordered many `times`, a storm of it."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return status(429, {"error": "Rate limit exceeded"}, headers)


def html(code: int = 502) -> Fault:
    """A page of a proxy's where JSON is expected. The request was carried out."""

    async def answer(right: Callable[[], Awaitable[Response]]) -> Response:
        await right()
        return Response(f"<html><body><h1>{code} Bad Gateway</h1></body></html>", code, media_type="text/html")

    return answer


def truncated() -> Fault:
    """JSON that ends in its midst, with a right Content-Length. The request was carried out."""

    async def answer(right: Callable[[], Awaitable[Response]]) -> Response:
        whole = bytes((await right()).body)
        return Response(whole[: len(whole) // 2], 200, media_type="application/json")

    return answer


def broken_off() -> Fault:
    """The right answer, of which the connection lets half through. The request was carried out."""

    async def answer(right: Callable[[], Awaitable[Response]]) -> Response:
        return _BrokenOff(await right())

    return answer


class _BrokenOff(Response):
    def __init__(self, whole: Response) -> None:
        super().__init__(bytes(whole.body), whole.status_code, dict(whole.headers))

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def hang() -> Fault:
    """No answer, for as long as the client waits. The request was carried out."""

    async def wait(right: Callable[[], Awaitable[Response]]) -> Response:
        await right()
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets")

    return wait


def redirect(to: str, code: int = 302) -> Fault:
    """Send the client elsewhere."""

    async def answer(_right: Callable[[], Awaitable[Response]]) -> Response:
        return Response(status_code=code, headers={"location": to})

    return answer


def changed(change: Callable[[Any], Any]) -> Fault:
    """The right answer's JSON, changed: a `next_page` on another host, a page that repeats, other types."""

    async def answer(right: Callable[[], Awaitable[Response]]) -> Response:
        response = await right()
        return Response(json.dumps(change(json.loads(bytes(response.body)))), response.status_code, media_type=_JSON)

    return answer


_JSON = "application/json"


@dataclass
class _Order:
    method: str
    path: str
    fault: Fault
    left: int


@dataclass
class Faults:
    """The orders, in the order given. One that is used up is gone."""

    _orders: list[_Order] = field(default_factory=list)

    def add(self, method: str, path: str, fault: Fault, *, times: int = 1) -> None:
        """Let the next *times* requests go wrong.

        Args:
            method: `GET`, ...; `*` for any.
            path: A pattern of the whole path, like `/v3/a/*/calls.json`.
        """
        self._orders.append(_Order(method, path, fault, times))

    def clear(self) -> None:
        """From now on nothing goes wrong."""
        self._orders.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault of this request, used once by it."""
        for order in self._orders:
            if order.method in ("*", method) and fnmatchcase(path, order.path):
                order.left -= 1
                if order.left == 0:
                    self._orders.remove(order)
                return order.fault
        return None
