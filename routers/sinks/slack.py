"""`type: slack`: messages in a channel, by a bot's token or by an incoming webhook.

With a token one message grows over the life of a call: later news edits it, or answers in its thread. An incoming
webhook tells no id of what it has posted, so later news there is another message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlsplit

import orjson
from pydantic import field_validator, model_validator

from callrail.exceptions import HttpError
from receiver.secrets import SecretRef
from routers.audience import Audience
from routers.messages import Amend, First, Message
from routers.outcomes import Delivered, Outcome, Retry, Uncertain, outcome_of_error
from routers.rates import Rate, WrittenRate
from routers.rules.ruleset import Amending
from routers.sinks.config import BaseUrl, HttpSinkConfig
from routers.sinks.sink import Check
from routers.sinks.slack_answers import FIRST_IS_LOST, Reply, read_hook, read_reply
from routers.sinks.slack_blocks import Composed, compose
from routers.uncertain import OnUncertain

if TYPE_CHECKING:
    from callrail.http import HttpClient

_CHANNEL = re.compile(r"[CGD][A-Z0-9]{2,}")
_NEEDS_AN_ID = frozenset({Amend.EDIT, Amend.THREAD})
_HOOK_HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})


class SlackConfig(HttpSinkConfig):
    """Posts to a channel of Slack: as a bot with `token` and `channel`, or through the one URL in `webhook_url`."""

    type: Literal["slack"]
    """What sort of sink it is."""
    token: SecretRef | None = None
    """The reference to the token of a bot, which begins with xoxb- and has the scope chat:write."""
    channel: str | None = None
    """The channel's id, like C0123ABCD; Slack shows it at the bottom of the channel's details. Goes with token."""
    webhook_url: SecretRef | None = None
    """The reference to the URL of an incoming webhook, instead of token and channel. Whoever has the URL can post."""
    base_url: BaseUrl = "https://slack.com/api"
    """Where the Web API is, for a token."""
    audience: Audience = Audience.PEOPLE
    """Who is at the other end: people, unless told otherwise."""
    rate: WrittenRate | None = Rate(1, timedelta(seconds=1))
    """How much it takes at most. Slack takes about one message a second in a channel."""
    on_uncertain: OnUncertain = OnUncertain.REPEAT
    """What follows a message of which it is not known whether it was posted: it is posted once more, and says so."""
    amend: Amend = Amend.EDIT
    """What later news of a thing does to the message that told it. With webhook_url it is new, or silent."""

    @field_validator("channel")
    @classmethod
    def _channel_id(cls, written: str | None) -> str | None:
        if written is not None and not _CHANNEL.fullmatch(written):
            raise ValueError(
                "a channel is told by its id, like C0123ABCD, because names change; "
                "click the channel's name in Slack, the id stands at the bottom of its details"
            )
        return written

    @model_validator(mode="before")
    @classmethod
    def _news_of_a_hook_is_new(cls, written: Any) -> Any:
        if isinstance(written, dict) and written.get("webhook_url") is not None and "amend" not in written:
            return {**written, "amend": Amend.NEW}
        return written

    @model_validator(mode="after")
    def _one_way(self) -> SlackConfig:
        if self.webhook_url is not None:
            if self.token is not None or self.channel is not None:
                raise ValueError("either webhook_url, or token and channel; a webhook has its channel already")
        elif self.token is None or self.channel is None:
            raise ValueError("a slack sink needs token and channel, or webhook_url")
        return self

    @property
    def ways_to_amend(self) -> frozenset[Amend]:
        return frozenset(Amend) if self.webhook_url is None else super().ways_to_amend

    @property
    def amending(self) -> Amending:
        """How later news amends the first message. What a webhook has posted is followed by one message at most."""
        if self.webhook_url is not None and self.amend is Amend.NEW:
            return Amending(Amend.NEW, tells_all=True, most=1)
        return super().amending

    def build(self) -> SlackBot | SlackHook:
        """The sink.

        Raises:
            SecretMissing: The token or the URL is not where it should be.
            ValueError: The URL is none; the text does not hold it.
        """
        client = self.client()
        if self.webhook_url is not None:
            return SlackHook(client, _hook_url(self.webhook_url.resolve(os.environ)))
        if self.token is None or self.channel is None:
            raise ValueError("a slack sink needs token and channel, or webhook_url")
        return SlackBot(client, self.base_url, self.token.resolve(os.environ).strip(), self.channel)


def _hook_url(written: str) -> str:
    url = written.strip()
    if not url.startswith(("https://", "http://")):
        raise ValueError("the URL of an incoming webhook begins with https://hooks.slack.com/")
    return url


# --- by an incoming webhook ------------------------------------------------------------------------------------------


class SlackHook:
    """Posts through the one URL of an incoming webhook."""

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self._url = url

    async def deliver(self, message: Message) -> Outcome:
        """Post *message* once. No id comes back, and a lost answer is `Uncertain`."""
        content = orjson.dumps(_body(compose(message, whole=message.first is None)))
        try:
            answer = await self._client.post(self._url, content=content, headers=_JSON)
        except HttpError as error:
            return outcome_of_error(error)
        return read_hook(answer, now=datetime.now(UTC))

    async def check(self) -> Sequence[Check]:
        """Only the URL is looked at: whatever is posted to it, people see."""
        return [
            Check(
                "webhook_url is a URL of Slack's (whether it still works shows only when something is posted)",
                ok=self._url.startswith("https://") and urlsplit(self._url).hostname in _HOOK_HOSTS,
                remedy="copy the URL from the app's page Incoming Webhooks; it begins with https://hooks.slack.com/",
            )
        ]

    async def aclose(self) -> None:
        await self._client.aclose()


# --- by the Web API --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands. A `remote_id` is its channel and `ts` with a colon between: `C0123:1503435956.000247`."""

    channel: str
    ts: str

    @classmethod
    def of(cls, first: First | None) -> Place | None:
        """The place of *first*; None if it was never posted, or nobody knows where."""
        channel, _, ts = (first.remote_id or "").partition(":") if first is not None else ("", "", "")
        return cls(channel, ts) if channel and ts else None


class SlackBot:
    """Posts to one channel with a bot's token, and edits or answers what it has posted."""

    def __init__(self, client: HttpClient, base_url: str, token: str, channel: str) -> None:
        self._client = client
        self._base_url = base_url
        self._token = token
        self._channel = channel

    async def deliver(self, message: Message) -> Outcome:
        """Post *message*, or edit or answer the one that it amends.

        Where Slack says for certain that the first message cannot be amended, it is posted anew in the same try: a
        second message is better than news that nobody gets.
        """
        if message.first is not None and message.amend not in _NEEDS_AN_ID:
            return (await self._post(message, compose(message, whole=False))).outcome
        first = Place.of(message.first)
        if first is None:
            return (await self._post(message, compose(message))).outcome
        amend = self._edit if message.amend is Amend.EDIT else self._answer
        reply = await amend(message, first)
        if reply.word not in FIRST_IS_LOST:
            return reply.outcome
        posted = (await self._post(message, compose(message))).outcome
        if isinstance(posted, Delivered):
            return replace(posted, reason=f"posted anew, for the first message cannot be amended: {reply.word}")
        return posted

    async def _post(self, message: Message, composed: Composed, **where: str) -> Reply:
        body = {"channel": self._channel, **_body(composed), "metadata": _metadata(message, message.key), **where}
        return await self._call("chat.postMessage", body)

    async def _answer(self, message: Message, first: Place) -> Reply:
        composed = compose(message, whole=False)
        return await self._post(message, composed, channel=first.channel, thread_ts=first.ts)

    async def _edit(self, message: Message, first: Place) -> Reply:
        """Editing twice is editing once, so a lost answer is no reason to wonder: it is tried again."""
        composed = compose(replace(message, may_repeat=False))
        body = {
            "channel": first.channel,
            "ts": first.ts,
            "text": composed.text,
            "blocks": composed.blocks,
            "parse": "none",  # here, unlike when posting, it is not the default (documented)
            "metadata": _metadata(message, message.first.key if message.first else message.key),
        }
        reply = await self._call("chat.update", body)
        match reply.outcome:
            case Uncertain(reason):
                return replace(reply, outcome=Retry(reason))
            case Delivered() as delivered:
                return replace(reply, outcome=replace(delivered, reason="edited"))
        return reply

    async def _call(self, method: str, body: Mapping[str, Any]) -> Reply:
        return await self._send(method, orjson.dumps(body), _JSON)

    async def _send(self, method: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        authorized = {**headers, "authorization": f"Bearer {self._token}"}
        try:
            answer = await self._client.post(f"{self._base_url}/{method}", content=content, headers=authorized)
        except HttpError as error:
            return Reply(outcome_of_error(error))
        return read_reply(answer, now=datetime.now(UTC))

    async def check(self) -> Sequence[Check]:
        """Whether Slack knows the token, what it may do, and whether it sees the channel. Nothing is posted."""
        known = await self._call("auth.test", {})
        if not isinstance(known.outcome, Delivered):
            return [Check("Slack knows the token", ok=False, remedy=known.outcome.reason)]
        scopes = known.scopes
        checks = [Check(f"Slack knows the token: {_name(known, 'user')} of {_name(known, 'team')}", ok=True)]
        if scopes is None:
            checks.append(Check("Slack did not say which scopes the token has", ok=True))
        else:
            remedy = "add the scope chat:write to the app (OAuth & Permissions) and install it again"
            checks.append(Check("the token has the scope chat:write", ok="chat:write" in scopes, remedy=remedy))
        form = urlencode({"channel": self._channel}).encode()
        seen = await self._send("conversations.info", form, _FORM)  # it takes no JSON (documented)
        return [*checks, _channel_check(seen, scopes or frozenset())]

    async def aclose(self) -> None:
        await self._client.aclose()


def _channel_check(seen: Reply, scopes: frozenset[str]) -> Check:
    """Whether a message would arrive in the channel that Slack tells of."""
    if seen.word == "missing_scope":
        what = (
            "whether the bot is in the channel was not looked up: that needs channels:read or, if private, groups:read"
        )
        return Check(what, ok=True)
    if seen.word == "channel_not_found":
        remedy = "look at the id again; if the channel is private, invite the bot and give the app groups:read"
        return Check("the bot sees the channel", ok=False, remedy=remedy)
    if not isinstance(seen.outcome, Delivered):
        return Check("the bot sees the channel", ok=False, remedy=seen.outcome.reason)
    channel = seen.told.get("channel")
    told = channel if isinstance(channel, dict) else {}
    if told.get("is_archived") is True:
        return Check("the channel is open", ok=False, remedy="take it out of the archive, or choose another")
    if told.get("is_member") is True or told.get("is_im") is True:
        return Check("the bot is in the channel", ok=True)
    if "chat:write.public" in scopes and told.get("is_private") is not True:
        return Check("the bot may post to the channel without being in it", ok=True)
    remedy = "invite it by /invite and its name in the channel, or add the scope chat:write.public for public channels"
    return Check("the bot is in the channel", ok=False, remedy=remedy)


# --- what is sent ----------------------------------------------------------------------------------------------------

_JSON = {"content-type": "application/json; charset=utf-8"}
_FORM = {"content-type": "application/x-www-form-urlencoded"}


def _body(composed: Composed) -> dict[str, Any]:
    return {"text": composed.text, "blocks": composed.blocks, "unfurl_links": False, "unfurl_media": False}


def _metadata(message: Message, key: str) -> dict[str, Any]:
    """By what somebody with the right to read it finds the delivery that a message came of."""
    return {"event_type": f"callrail_{message.object_type}", "event_payload": {"delivery": key}}


def _name(reply: Reply, field: str) -> str:
    told = reply.told.get(field)
    return " ".join(told.split())[:80] if isinstance(told, str) else "unknown"
