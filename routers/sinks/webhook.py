"""`type: webhook`: a signed POST to any URL, as Standard Webhooks specifies it (standardwebhooks.com, read 2026-11).

Receivers verify it with the published libraries and drop repeats by `webhook-id`, which is the delivery's id and the
same in every try.
"""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, field_validator, model_validator

from callrail.exceptions import HttpError
from receiver.companies import SigningKey, SigningKeyConfig
from routers.audience import Audience
from routers.messages import Message
from routers.outcomes import Outcome, outcome_of, outcome_of_error
from routers.sinks.config import (
    FieldNames,
    HttpSinkConfig,
    WrittenHeaders,
    WrittenUrl,
    checked_headers,
    resolved,
    resolved_url,
)
from routers.sinks.reaching import check_reached
from routers.sinks.sink import Check, Prepared
from routers.uncertain import OnUncertain

if TYPE_CHECKING:
    from callrail.http import HttpClient

_SECRET_BYTES = range(24, 65)


class Format(StrEnum):
    """How the body is laid out."""

    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"


class SigningSecretConfig(SigningKeyConfig):
    """A secret that signs. Written short as the reference alone; after the day `until` it signs no more."""


class WebhookConfig(HttpSinkConfig):
    """Posts each message as signed JSON, by the rules of Standard Webhooks."""

    type: Literal["webhook"]
    """What sort of sink it is."""
    url: WrittenUrl
    """Where to post; a reference where the URL itself is a secret."""
    signing_secrets: Annotated[tuple[SigningSecretConfig, ...], Field(min_length=1)]
    """References to whsec_ secrets, newest first. All sign, each to its last day, so that one can be changed."""
    format: Format = Format.STANDARD
    """How the body is laid out: by Standard Webhooks, or as a CloudEvent 1.0. It is signed either way."""
    body: Literal["full", "thin"] = "full"
    """Whether the fields leave, or only what happened to which thing, for a receiver that asks CallRail itself."""
    fields: FieldNames | None = None
    """The only fields that leave; all of them where not written."""
    headers: Annotated[WrittenHeaders, AfterValidator(checked_headers)] = Field(default={})
    """Further headers, the same with each message: texts, or references where they are secret."""
    audience: Audience = Audience.SYSTEMS
    """Who is at the other end: systems, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.RETRY
    """What follows a send whose answer was lost: the receiver drops repeats by their webhook-id, so it is retried."""

    @field_validator("signing_secrets")
    @classmethod
    def _one_stays(cls, written: tuple[SigningSecretConfig, ...]) -> tuple[SigningSecretConfig, ...]:
        if all(secret.until is not None for secret in written):
            raise ValueError("each secret has a last day, so that one day nothing signs; let one be without 'until'")
        return written

    @field_validator("headers")
    @classmethod
    def _none_of_ours(cls, written: WrittenHeaders) -> WrittenHeaders:
        for name in written:
            if name.lower() == "content-type" or name.lower().startswith("webhook-"):
                raise ValueError(f"the header {name} is set by the program")
        return written

    @model_validator(mode="after")
    def _thin_has_none(self) -> WebhookConfig:
        if self.body == "thin" and self.fields is not None:
            raise ValueError("a thin body has no fields: leave out 'fields' or 'body: thin'")
        return self

    def build(self) -> WebhookSink:
        url = resolved_url(self.url)
        secrets = [SigningKey(signing_secret(resolved(secret.secret)), secret.until) for secret in self.signing_secrets]
        headers = {name: resolved(value) for name, value in self.headers.items()}
        return WebhookSink(self.client(), url, secrets, Body.of(self), headers=headers)


@dataclass(frozen=True, slots=True)
class Body:
    """What leaves of a message, and how it is laid out.

    Attributes:
        fields: The only ones that leave; None for all.
    """

    format: Format = Format.STANDARD
    is_thin: bool = False
    fields: frozenset[str] | None = None

    @classmethod
    def of(cls, config: WebhookConfig) -> Body:
        fields = None if config.fields is None else frozenset(config.fields)
        return cls(config.format, config.body == "thin", fields)

    @property
    def content_type(self) -> str:
        return "application/cloudevents+json" if self.format is Format.CLOUDEVENTS else "application/json"

    def write(self, message: Message) -> bytes:
        """The bytes that are sent and signed."""
        data = self._data(message.data())
        if self.format is Format.CLOUDEVENTS:
            return orjson.dumps(cloud_event(message, data))
        return orjson.dumps({"type": message.transition.value, "timestamp": message.timestamp, "data": data})

    def _data(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.is_thin:
            return {name: value for name, value in data.items() if name not in _FIELDS}
        allowed = self.fields
        if allowed is None:
            return data
        return {
            name: {field: told for field, told in value.items() if field in allowed} if name in _FIELDS else value
            for name, value in data.items()
        }


_FIELDS = ("fields", "before")  # the parts of a message's data that hold what CallRail told


def cloud_event(message: Message, data: Mapping[str, Any]) -> dict[str, Any]:
    """*message* as a CloudEvent in structured mode (cloudevents.io, 1.0.2). Its id is the delivery's, too."""
    event = {
        "specversion": "1.0",
        "id": message.key,
        "source": f"/callrail/{message.company}",
        "type": f"com.callrail.{message.transition.value}",
        "time": message.timestamp,
        "datacontenttype": "application/json",
        "data": data,
    }
    return {**event, "subject": message.callrail_id} if message.callrail_id else event


class WebhookSink:
    """Posts each message to one URL."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        secrets: Sequence[SigningKey],
        body: Body,
        *,
        headers: Mapping[str, str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._url = url
        self._secrets = secrets
        self._body = body
        self._headers = {**headers, "content-type": body.content_type}
        self._now = now

    def prepare(self, message: Message) -> Prepared:
        return partial(self._post, self._body.write(message), message)

    async def deliver(self, message: Message) -> Outcome:
        """Post *message* once. A lost answer is `Uncertain`: the receiver may have acted, and can tell by the id."""
        return await self.prepare(message)()

    async def _post(self, content: bytes, message: Message) -> Outcome:
        sent_at = int(self._now())
        headers = {
            **self._headers,
            "webhook-id": message.key,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": sign(self._live_secrets(sent_at), message.key, sent_at, content),
        }
        try:
            answer = await self._client.post(self._url, content=content, headers=headers)
        except HttpError as error:
            return outcome_of_error(error)
        return outcome_of(answer, now=datetime.now(UTC), told=message.data())

    def _live_secrets(self, sent_at: int) -> list[bytes]:
        today = datetime.fromtimestamp(sent_at, UTC).date()
        return [secret.secret for secret in self._secrets if secret.until is None or today <= secret.until]

    async def check(self) -> Sequence[Check]:
        return await check_reached(self._client, self._url, "the path and the signing secret")

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
