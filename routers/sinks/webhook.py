"""`type: webhook`: a signed POST to any URL, as Standard Webhooks specifies it (standardwebhooks.com, read 2026-11).

Receivers verify it with the published libraries and drop repeats by `webhook-id`, which is the delivery's id and the
same in every try.
"""

from __future__ import annotations

import hmac
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import orjson
from pydantic import Field, field_validator

from callrail.exceptions import HttpError
from callrail.http import HttpClient
from receiver.secrets import SecretRef
from routers.messages import Message
from routers.outcomes import Outcome, outcome_of, outcome_of_error
from routers.sinks.config import Audience, HttpSinkConfig, OnUncertain
from routers.sinks.sink import Check

_SECRET_BYTES = range(24, 65)


class WebhookConfig(HttpSinkConfig):
    """Posts each message as signed JSON, by the rules of Standard Webhooks."""

    type: Literal["webhook"]
    """What sort of sink it is."""
    url: str | SecretRef
    """Where to post; a reference where the URL itself is a secret."""
    signing_secrets: Annotated[tuple[SecretRef, ...], Field(min_length=1)]
    """References to whsec_ secrets. All of them sign, newest first, so that a receiver may hold either of two."""
    audience: Audience = Audience.SYSTEMS
    """Who is at the other end: systems, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.RETRY
    """What follows a send whose answer was lost: the receiver drops repeats by their webhook-id, so it is retried."""

    @field_validator("url", mode="before")
    @classmethod
    def _url(cls, written: object) -> object:
        if isinstance(written, str) and written.startswith(("env:", "file:")):
            return SecretRef.parse(written)
        if not isinstance(written, str) or not written.startswith(("https://", "http://")):
            raise ValueError("a URL begins with https:// (or is a reference to one: env:NAME or file:/path)")
        return written

    def build(self) -> WebhookSink:
        url = self.url if isinstance(self.url, str) else self.url.resolve(os.environ)
        secrets = [signing_secret(ref.resolve(os.environ)) for ref in self.signing_secrets]
        client = HttpClient(timeout=self.timeout, allow_hosts=self.allow_hosts, connections=self.concurrency)
        return WebhookSink(client, url, secrets)


class WebhookSink:
    """Posts each message to one URL."""

    def __init__(self, client: HttpClient, url: str, secrets: Sequence[bytes]) -> None:
        self._client = client
        self._url = url
        self._secrets = secrets

    async def deliver(self, message: Message) -> Outcome:
        """Post *message* once. A lost answer is `Uncertain`: the receiver may have acted, and can tell by the id."""
        content = orjson.dumps(
            {"type": message.transition.value, "timestamp": _iso(message.occurred_at), "data": message.data}
        )
        sent_at = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message.key,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": sign(self._secrets, message.key, sent_at, content),
        }
        try:
            answer = await self._client.post(self._url, content=content, headers=headers)
        except HttpError as error:
            return outcome_of_error(error)
        return outcome_of(answer, now=datetime.now(UTC))

    async def check(self) -> Sequence[Check]:
        return []

    async def aclose(self) -> None:
        await self._client.aclose()


def sign(secrets: Sequence[bytes], webhook_id: str, sent_at: int, content: bytes) -> str:
    """The value of `webhook-signature`: one `v1,` HMAC-SHA256 a secret, divided by blanks."""
    signed = f"{webhook_id}.{sent_at}.".encode() + content
    return " ".join("v1," + b64encode(hmac.digest(secret, signed, "sha256")).decode("ascii") for secret in secrets)


def signing_secret(written: str) -> bytes:
    """The key bytes of a secret written as `whsec_` and base64 (the prefix may be absent).

    Raises:
        ValueError: It is not base64 of 24 to 64 bytes; the text does not hold it.
    """
    try:
        key = b64decode(written.strip().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if len(key) not in _SECRET_BYTES:
        raise ValueError("a webhook signing secret is whsec_ followed by the base64 of 24 to 64 random bytes")
    return key


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
