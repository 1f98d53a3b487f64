"""A Slack of our own: it keeps what a bot posts and edits, for as long as it runs, and tells who looks on.

Of the Web API it has the three methods that are needed to post: `auth.test`, `chat.postMessage` and `chat.update`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from json import JSONDecodeError
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a message, in mrkdwn. A *quiet* one is small and grey: the context below."""

    text: str
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """What somebody who looks at a channel sees happen: a message is new, or it is another now.

    Attributes:
        channel: The name under which the sink posts.
        was: The lines that it had before this edit; None for a new message.
        answers: The first line of the message in whose thread it stands; None outside of threads.
    """

    channel: str
    lines: tuple[Line, ...]
    was: tuple[Line, ...] | None = None
    answers: str | None = None


class _Refused(Exception):
    """What Slack answers instead, in one of its words."""


class SlackStandIn:
    """The workspace and its Web API. A sink's base URL ends in the name that its channel shall have."""

    def __init__(self, token: str, on_post: Callable[[Post], None]) -> None:
        self.app = Starlette(routes=[Route("/{channel}/{method}", self._answer, methods=["POST"])])
        self._authorization = f"Bearer {token}"
        self._on_post = on_post
        self._messages: dict[tuple[str, str], tuple[Line, ...]] = {}
        # A `ts` names a message for good, so one of an earlier run must not name a message of this one.
        self._began = int(time.time())
        self._numbers = count(1)

    async def _answer(self, request: Request) -> JSONResponse:
        try:
            told = await self._call(request)
        except _Refused as refused:
            return JSONResponse({"ok": False, "error": str(refused)})
        return JSONResponse({"ok": True, **told}, headers={"x-oauth-scopes": "chat:write"})

    async def _call(self, request: Request) -> _Told:
        methods = {"auth.test": self._test, "chat.postMessage": self._post, "chat.update": self._update}
        if request.headers.get("authorization") != self._authorization:
            raise _Refused("invalid_auth")
        method = methods.get(request.path_params["method"])
        if method is None:
            raise _Refused("unknown_method")
        return method(request.path_params["channel"], await _asked(request))

    def _test(self, _channel: str, _asked: _Told) -> _Told:
        return {"team": "Demo", "user": "callrail-router"}

    def _post(self, channel: str, asked: _Told) -> _Told:
        lines, ts = _lines(asked), f"{self._began}.{next(self._numbers):06d}"
        thread = asked.get("thread_ts")
        first = self._messages.get((channel, thread)) if isinstance(thread, str) else None
        if thread is not None and first is None:
            raise _Refused("thread_not_found")
        self._messages[channel, ts] = lines
        self._on_post(Post(channel, lines, answers=first[0].text if first else None))
        return {"channel": asked.get("channel"), "ts": ts}

    def _update(self, channel: str, asked: _Told) -> _Told:
        place = channel, str(asked.get("ts"))
        was = self._messages.get(place)
        if was is None:
            raise _Refused("message_not_found")
        self._messages[place] = _lines(asked)
        self._on_post(Post(channel, self._messages[place], was=was))
        return {"channel": asked.get("channel"), "ts": place[1]}


async def _asked(request: Request) -> _Told:
    try:
        asked = await request.json()
    except (JSONDecodeError, UnicodeDecodeError):
        asked = None
    if not isinstance(asked, dict):
        raise _Refused("invalid_json")
    return asked


def _lines(asked: _Told) -> tuple[Line, ...]:
    """What a message looks like: its blocks, or its text where it has none."""
    try:
        lines = tuple(line for block in asked.get("blocks") or () for line in _lines_of(block))
    except (KeyError, TypeError, AttributeError):
        raise _Refused("invalid_blocks") from None
    lines = lines or tuple(map(Line, str(asked.get("text") or "").splitlines()))
    if not lines:
        raise _Refused("no_text")
    return lines


def _lines_of(block: Mapping[str, Any]) -> list[Line]:
    if block["type"] == "section":
        return [Line(text) for text in block["text"]["text"].splitlines()]
    return [Line(text, is_quiet=True) for element in block["elements"] for text in element["text"].splitlines()]
