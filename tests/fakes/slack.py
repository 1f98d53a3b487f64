"""A Slack of our own: a workspace that keeps messages as Slack does, and a server in front of it on a loopback socket.

The workspace is plain state and knows no HTTP. The server reads requests, asks the workspace, and can be told to answer
otherwise for once.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from tests.fakes.destination import Behaviour, Conversation, Destination, Request, answer, running_destination

TOKEN = "xoxb-of-the-fake"
CHANNEL = "C0123ABCD"
HOOK_PATH = "/services/T0123ABCD/B0123ABCD/of-the-fake"

Told = dict[str, Any]


class Refused(Exception):
    """What Slack answers instead, in one of its words."""

    def __init__(self, word: str, **more: str) -> None:
        super().__init__(word)
        self.told: Told = {"ok": False, "error": word, **more}


# --- the workspace ---------------------------------------------------------------------------------------------------


@dataclass
class Posted:
    """One message as the channel shows it now. *versions* are what it was, oldest first."""

    ts: str
    text: str
    blocks: list[Told]
    metadata: Told | None = None
    thread_ts: str | None = None
    versions: list[list[Told]] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """All text of its blocks, a line each."""
        return "\n".join(text for block in self.blocks for text in texts_of(block))


@dataclass
class Channel:
    """A conversation, and what the bot may do in it."""

    is_private: bool = False
    is_member: bool = True
    is_archived: bool = False
    is_editable: bool = True
    messages: dict[str, Posted] = field(default_factory=dict)


@dataclass
class Workspace:
    """Channels by id, and the one token that opens them."""

    token: str = TOKEN
    scopes: set[str] = field(default_factory=lambda: {"chat:write", "channels:read"})
    channels: dict[str, Channel] = field(default_factory=lambda: {CHANNEL: Channel()})
    _numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    @property
    def messages(self) -> list[Posted]:
        """All messages of all channels, oldest first."""
        found = [posted for channel in self.channels.values() for posted in channel.messages.values()]
        return sorted(found, key=lambda posted: posted.ts)

    def call(self, method: str, token: str, asked: Mapping[str, Any]) -> Told:
        """The answer of one method of the Web API."""
        try:
            return self._method(method, token)(asked)
        except Refused as refused:
            return refused.told

    def _method(self, method: str, token: str) -> Callable[[Mapping[str, Any]], Told]:
        methods: dict[str, Callable[[Mapping[str, Any]], Told]] = {
            "auth.test": self._test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.info": self._info,
        }
        if not token:
            raise Refused("not_authed")
        if token != self.token:
            raise Refused("invalid_auth")
        if method not in methods:
            raise Refused("unknown_method")
        return methods[method]

    def post_by_hook(self, asked: Mapping[str, Any], channel_id: str = CHANNEL) -> str:
        """The word that an incoming webhook answers: `ok`, or what is wrong."""
        channel = self.channels[channel_id]
        if channel.is_archived:
            return "channel_is_archived"
        try:
            self._keep(channel, asked)
        except Refused as refused:
            word: str = refused.told["error"]
            return "invalid_payload" if word == "invalid_blocks" else word
        return "ok"

    def _test(self, _asked: Mapping[str, Any]) -> Told:
        who = {"user": "callrail", "user_id": "U0123ABCD", "bot_id": "B0123ABCD"}
        return {"ok": True, "url": "https://acme.slack.com/", "team": "Acme", "team_id": "T0123ABCD", **who}

    def _post(self, asked: Mapping[str, Any]) -> Told:
        channel = self._channel_to_write_to(asked)
        if not channel.is_member and not ("chat:write.public" in self.scopes and not channel.is_private):
            raise Refused("not_in_channel")
        posted = self._keep(channel, asked)
        shown = {"type": "message", "subtype": "bot_message", "ts": posted.ts, "text": posted.text}
        return {"ok": True, "channel": asked["channel"], "ts": posted.ts, "message": {**shown, "blocks": posted.blocks}}

    def _update(self, asked: Mapping[str, Any]) -> Told:
        channel = self._channel_to_write_to(asked)
        posted = channel.messages.get(asked.get("ts", ""))
        if posted is None:
            raise Refused("message_not_found")
        if not channel.is_editable:
            raise Refused("edit_window_closed")
        check_blocks(asked.get("blocks"))
        posted.versions.append(posted.blocks)
        posted.text, posted.blocks = asked["text"], asked["blocks"]
        posted.metadata = asked.get("metadata", posted.metadata)
        told = {"ts": posted.ts, "text": posted.text}
        return {"ok": True, "channel": asked["channel"], **told, "message": {"text": posted.text}}

    def _info(self, asked: Mapping[str, Any]) -> Told:
        if "channels:read" not in self.scopes:
            raise Refused("missing_scope", needed="channels:read", provided=",".join(sorted(self.scopes)))
        channel_id, channel = asked.get("channel", ""), self.channels.get(asked.get("channel", ""))
        if channel is None or (channel.is_private and not channel.is_member):
            raise Refused("channel_not_found")
        flags = {name: getattr(channel, name) for name in ("is_private", "is_member", "is_archived")}
        return {"ok": True, "channel": {"id": channel_id, **flags}}

    def _channel_to_write_to(self, asked: Mapping[str, Any]) -> Channel:
        if "chat:write" not in self.scopes:
            raise Refused("missing_scope", needed="chat:write", provided=",".join(sorted(self.scopes)))
        channel = self.channels.get(asked.get("channel", ""))
        if channel is None or (channel.is_private and not channel.is_member):
            raise Refused("channel_not_found")
        if channel.is_archived:
            raise Refused("is_archived")
        return channel

    def _keep(self, channel: Channel, asked: Mapping[str, Any]) -> Posted:
        if not asked.get("text"):
            raise Refused("no_text")
        check_blocks(asked.get("blocks"))
        thread_ts = asked.get("thread_ts")
        if thread_ts is not None and thread_ts not in channel.messages:
            raise Refused("thread_not_found")
        posted = Posted(f"1773148502.{self._numbers():06d}", asked["text"], asked["blocks"])
        posted.metadata, posted.thread_ts = asked.get("metadata"), thread_ts
        channel.messages[posted.ts] = posted
        return posted


def texts_of(block: Told) -> list[str]:
    """The texts of a section or of a context."""
    elements = [block["text"]] if block["type"] == "section" else block["elements"]
    return [element["text"] for element in elements]


def check_blocks(blocks: Any) -> None:
    """Refuse what Slack would refuse of sections and contexts, the blocks that we use."""
    if not isinstance(blocks, list) or not 0 < len(blocks) <= 50:
        raise Refused("invalid_blocks")
    for block in blocks:
        if block.get("type") not in ("section", "context") or len(block.get("elements", ())) > 10:
            raise Refused("invalid_blocks")
        if not all(0 < len(text) <= 3_000 for text in texts_of(block)):
            raise Refused("invalid_blocks")
    if sum(len(text) for block in blocks for text in texts_of(block)) > 13_200:
        raise Refused("msg_blocks_too_long")


# --- the server ------------------------------------------------------------------------------------------------------

# Published where Slack has published it; 200 is that of `ok` alone.
_HOOK_STATUS = {"ok": 200, "invalid_payload": 400, "no_text": 400, "channel_is_archived": 410}


@dataclass
class FakeSlack:
    """The workspace behind a URL. *answered* is what the Web API said, call by call."""

    destination: Destination
    workspace: Workspace = field(default_factory=Workspace)
    answered: list[tuple[str, Told]] = field(default_factory=list)
    _instead: deque[Behaviour] = field(default_factory=deque)

    @property
    def base_url(self) -> str:
        return f"{self.destination.url}/api"

    @property
    def hook_url(self) -> str:
        return f"{self.destination.url}{HOOK_PATH}"

    @property
    def asked(self) -> list[tuple[str, Told]]:
        """What came in, in order: the method (or the hook's path) and the body."""
        return [(_method(request), _asked(request)) for request in self.destination.requests]

    def answers(self, *behaviours: Behaviour) -> None:
        """The next requests are answered like this, and change nothing in the workspace."""
        self._instead.extend(behaviours)

    async def behave(self, conversation: Conversation) -> None:
        request = conversation.request
        assert request is not None
        if self._instead:
            await self._instead.popleft()(conversation)
        elif request.target == HOOK_PATH:
            word = self.workspace.post_by_hook(_asked(request))
            await answer(_HOOK_STATUS[word], body=word.encode())(conversation)
        else:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            told = self.workspace.call(_method(request), token, _asked(request))
            self.answered.append((_method(request), told))
            await told_as_json(told, scopes=self.workspace.scopes)(conversation)


def told_as_json(told: Told, *, status: int = 200, scopes: set[str] | None = None, **headers: str) -> Behaviour:
    """An answer of the Web API; *headers* with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if scopes is not None:
        named["x-oauth-scopes"] = ",".join(sorted(scopes))
    return answer(status, headers={"content-type": "application/json", **named}, body=json.dumps(told).encode())


def _method(request: Request) -> str:
    return request.target.removeprefix("/api/")


def _asked(request: Request) -> Told:
    if request.headers.get("content-type") == "application/x-www-form-urlencoded":
        return dict(parse_qsl(request.body.decode()))
    told: Told = json.loads(request.body)
    return told


@asynccontextmanager
async def running_slack() -> AsyncIterator[FakeSlack]:
    """A `FakeSlack` with one channel, of which the bot is a member."""
    async with running_destination() as destination:
        slack = FakeSlack(destination)
        destination.behaves(slack.behave)
        yield slack
