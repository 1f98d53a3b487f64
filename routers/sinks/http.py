"""`type: http`: any request to any API, written in `router.yaml`.

Body, path and headers are templates of the message. A JSON body is laid out first, and only its texts are templates,
so no value can be anything there but a text; in the URL values are percent-encoded.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, urlencode

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from callrail.answer import Answer
from callrail.exceptions import HttpError
from receiver.positioned_yaml import Loc
from receiver.secrets import SecretRef
from routers.audience import Audience
from routers.escapes import Escape, html, markdown, plain
from routers.messages import Message
from routers.outcomes import Delivered, Outcome, Rejected, Uncertain, excerpt_of, outcome_of, outcome_of_error
from routers.sandbox import TemplateFailed
from routers.sinks.config import (
    HeaderName,
    HttpSinkConfig,
    WrittenHeaders,
    WrittenUrl,
    checked_headers,
    resolved,
    resolved_url,
    written_or_reference,
)
from routers.sinks.filling import OWN_NAMES, Values, compiled, filled, is_template, texts_in
from routers.sinks.reaching import check_reached
from routers.sinks.sink import Check, Prepared, refused
from routers.uncertain import OnUncertain

if TYPE_CHECKING:
    from callrail.http import HttpClient

# --- settings --------------------------------------------------------------------------------------------------------


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class BasicConfig(_Block):
    """A user name and a password."""

    user: Annotated[str | SecretRef, BeforeValidator(written_or_reference)]
    """The user name, or a reference where it is an API key."""
    password: SecretRef | None = None
    """Where the password is kept; empty if not written."""


class AuthConfig(_Block):
    """How the program proves who it is: one of the two."""

    basic: BasicConfig | None = None
    """A user name and a password, as `Authorization: Basic`."""
    bearer: SecretRef | None = None
    """Where a token is kept that is sent as `Authorization: Bearer`."""

    @model_validator(mode="after")
    def _one(self) -> AuthConfig:
        if (self.basic is None) == (self.bearer is None):
            raise ValueError("auth is either 'basic' or 'bearer'")
        return self

    def header(self) -> str:
        """The value of `Authorization`.

        Raises:
            SecretMissing: A reference leads to nothing.
        """
        if self.bearer is not None:
            return f"Bearer {resolved(self.bearer).strip()}"
        assert self.basic is not None  # noqa: S101  (the validator says so)
        password = "" if self.basic.password is None else resolved(self.basic.password)
        return "Basic " + b64encode(f"{resolved(self.basic.user)}:{password}".encode()).decode("ascii")


JsonScalar = str | bool | int | float | None
Status = Annotated[int, Field(ge=200, le=599)]


class SuccessConfig(_Block):
    """Which answers mean that it was accepted. Written short as the status alone: `2xx`, or a list."""

    status: Literal["2xx"] | tuple[Status, ...] = "2xx"
    """The statuses: `2xx`, or a list."""
    json_: dict[str, JsonScalar] = Field(default={}, alias="json")
    """For an API that answers 200 with an error in it: paths in its JSON answer, like `data.ok`, and their values."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, written: object) -> object:
        return written if isinstance(written, dict) else {"status": written}


def _path_of(written: str) -> str:
    if not all(part for part in written.split(".")):
        raise ValueError("a path in a JSON answer is names and places with full stops between, like data.0.id")
    return written


JsonPath = Annotated[str, AfterValidator(_path_of)]


def _templates_below_the_host(url: str | SecretRef) -> str | SecretRef:
    if isinstance(url, str) and is_template("/".join(url.split("/", 3)[:3])):
        raise ValueError("a template in a URL stands behind the host, in the path or the query")
    return url


def _references_are_right(written: Any) -> Any:
    for part in _leaves(written):
        written_or_reference(part)
    return written


def _leaves(written: Any) -> Iterator[object]:
    if isinstance(written, Mapping | list):
        for part in written.values() if isinstance(written, Mapping) else written:
            yield from _leaves(part)
    else:
        yield written


class HttpConfig(HttpSinkConfig):
    """Sends each message as the request that its settings lay out."""

    type: Literal["http"]
    """What sort of sink it is."""
    url: Annotated[WrittenUrl, AfterValidator(_templates_below_the_host)]
    """Where to send; its path and query may hold templates. A reference where the URL itself is a secret."""
    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET"] = "POST"
    """The method of the request."""
    headers: WrittenHeaders = Field(default={})
    """Further headers: texts, templates, or references where they are secret."""
    json_: Annotated[Any, AfterValidator(_references_are_right)] = Field(default=None, alias="json")
    """The body as JSON, laid out as it is to be sent; each text in it is a template, or a reference to a secret."""
    text: str | None = None
    """The body as plain text: a template."""
    form: dict[str, Annotated[str | SecretRef, BeforeValidator(written_or_reference)]] | None = None
    """The body as a form, by field: templates, or references to secrets."""
    escape: Literal["none", "html", "markdown"] = "none"
    """What the destination would read in a text of the body: HTML or Markdown that a caller's name must not be."""
    auth: AuthConfig | None = None
    """How the program proves who it is."""
    success: SuccessConfig = Field(default=SuccessConfig(), json_schema_extra={"default": "2xx"})
    """Which answers mean that it was accepted: `2xx`, a list of statuses, or a block."""
    remote_id: JsonPath | None = None
    """Where in its JSON answer the destination tells its own id of what was made, like `data.id`; it is kept."""
    idempotency_header: HeaderName | None = None
    """A header by which the destination drops repeats: it holds the delivery's id, the same in every try."""
    audience: Audience = Audience.SYSTEMS
    """Who is at the other end: systems, unless told otherwise."""
    on_uncertain: OnUncertain = OnUncertain.REPEAT
    """What follows a send whose answer was lost: with `idempotency_header` it is retried, else repeated once."""

    @model_validator(mode="before")
    @classmethod
    def _retry_what_is_dropped(cls, written: object) -> object:
        if isinstance(written, dict) and written.get("idempotency_header") and "on_uncertain" not in written:
            return {**written, "on_uncertain": OnUncertain.RETRY}
        return written

    @model_validator(mode="after")
    def _fits(self) -> HttpConfig:
        bodies = [name for name, body in self._bodies().items() if body is not None]
        if len(bodies) > 1:
            raise ValueError(f"a request has one body: {' or '.join(bodies)}")
        if bodies and self.method == "GET":
            raise ValueError(f"a GET has no body: leave out '{bodies[0]}', or choose another method")
        checked_headers({name: value for name, value in self.headers.items() if not is_template(value)})
        names = [name.lower() for name in self.headers] + ["authorization"] * (self.auth is not None)
        names += [self.idempotency_header.lower()] if self.idempotency_header else []
        if len(names) != len(set(names)):
            raise ValueError("a header stands twice; auth and idempotency_header are headers too")
        return self

    def _bodies(self) -> dict[str, object]:
        return {"json": self.json_, "text": self.text, "form": self.form}

    def written_templates(self) -> Iterator[tuple[Loc, str]]:
        yield from texts_in(("url",), self.url)
        yield from texts_in(("headers",), self.headers)
        for name, body in self._bodies().items():
            yield from texts_in((name,), body)

    def names_in_templates(self) -> frozenset[str]:
        return frozenset(OWN_NAMES)

    def build(self) -> HttpSink:
        """The sink.

        Raises:
            SecretMissing: A reference leads to nothing.
            ValueError: The URL or a template in it is none; `rules check` says more of templates.
        """
        return HttpSink(self.client(), resolved_url(self.url), self.layout(), self.success, self.remote_id)

    def layout(self) -> Layout:
        """The request, its templates compiled and its references resolved; raises as `build`."""
        headers = {name: compiled(value, _in_header) for name, value in self.headers.items()}
        if self.auth is not None:
            headers["authorization"] = self.auth.header()
        if self.idempotency_header is not None:
            headers[self.idempotency_header] = compiled("{{ key }}", _in_header)
        return Layout(
            self.method,
            # What a reference leads to is sent as it is: a secret is no template.
            url=compiled(self.url, _in_url) if isinstance(self.url, str) else resolved_url(self.url),
            headers=headers,
            body=self._body(),
        )

    def _body(self) -> Body:
        escape = _ESCAPES[self.escape]
        if self.json_ is not None:
            return Body("application/json", partial(filled, compiled(self.json_, escape)), orjson.dumps)
        if self.form is not None:
            return Body(
                "application/x-www-form-urlencoded",
                partial(filled, compiled(self.form, escape)),
                lambda form: urlencode(form).encode(),
            )
        if self.text is not None:
            return Body("text/plain; charset=utf-8", partial(filled, compiled(self.text, escape)), str.encode)
        return Body(None, lambda _values: None, lambda _body: None)


# --- templates -------------------------------------------------------------------------------------------------------

_ONLY_AN_URL = re.compile(r"https://[\w.~:/?#@!$&'+,;=%-]+", re.ASCII)


def _by_line(escape: Escape, text: str) -> str:
    """*text*, each line escaped. Only our own texts have several: values are put on one line before.

    A text that is nothing but an URL is no markup, and escaping would break the link.
    """
    return text if _ONLY_AN_URL.fullmatch(text) else "\n".join(map(escape, text.split("\n")))


_ESCAPES: dict[str, Escape] = {
    "none": partial(_by_line, plain),
    "html": partial(_by_line, html),
    "markdown": partial(_by_line, markdown),
}


def _in_url(text: str) -> str:
    """*text* as one part of a path or query: no character in it divides, and it is not the folder above."""
    return quote(plain(text), safe="").replace(".", "%2E")


def _in_header(text: str) -> str:
    return plain(text).encode("ascii", "replace").decode("ascii")


# --- sending ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Body:
    """A body to come: what `fill` makes of the values, written by `write`."""

    content_type: str | None
    fill: Callable[[Mapping[str, Any]], Any]
    write: Callable[[Any], bytes | None]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent. *told* is its body before it was written."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None
    told: Any


@dataclass(frozen=True, slots=True)
class Layout:
    """The request as the settings lay it out; *url*, and the values of *headers*, are texts or compiled templates."""

    method: str
    url: Any
    headers: Mapping[str, Any]
    body: Body

    def request_for(self, message: Message) -> Request:
        """The request that tells *message*.

        Raises:
            TemplateFailed: A template cannot be computed with its values.
        """
        values = Values(message)
        told = self.body.fill(values)
        headers = {name.lower(): value for name, value in filled(dict(self.headers), values).items()}
        if self.body.content_type is not None:
            headers.setdefault("content-type", self.body.content_type)
        return Request(self.method, filled(self.url, values), headers, self.body.write(told), told)


class HttpSink:
    """Sends each message as one request."""

    def __init__(
        self, client: HttpClient, url: str, layout: Layout, success: SuccessConfig, remote_id: str | None
    ) -> None:
        self._client = client
        self._url = url
        self._layout = layout
        self._success = success
        self._remote_id = remote_id

    def prepare(self, message: Message) -> Prepared:
        try:
            request = self._layout.request_for(message)
        except TemplateFailed as error:
            return refused(f"a template of the sink cannot be written: {error}")
        return partial(self._send, request, message)

    async def deliver(self, message: Message) -> Outcome:
        """Send *message* once. A lost answer is `Uncertain`: what the destination does with a repeat is its own."""
        return await self.prepare(message)()

    async def _send(self, request: Request, message: Message) -> Outcome:
        try:
            answer = await self._client.request(
                request.method, request.url, content=request.content, headers=request.headers
            )
        except HttpError as error:
            return outcome_of_error(error)
        return self._outcome(answer, told=lambda: (request.told, message.data()))

    def _outcome(self, answer: Answer, *, told: Callable[[], object]) -> Outcome:
        status = answer.status
        is_2xx = 200 <= status < 300
        if not (is_2xx if self._success.status == "2xx" else status in self._success.status):
            if is_2xx:
                return Rejected(f"HTTP {status}, which is not among those that 'success' lists")
            return outcome_of(answer, now=datetime.now(UTC), told=told())
        if not self._success.json_ and self._remote_id is None:
            return Delivered(f"HTTP {status}")
        try:
            found = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            return Uncertain(f"HTTP {status} without JSON") if self._success.json_ else Delivered(f"HTTP {status}")
        for path, wanted in self._success.json_.items():
            if not _same(_at(found, path), wanted):
                return Rejected(
                    f"HTTP {status}, but '{path}' is not as 'success' wants: {excerpt_of(answer, told=told())}"
                )
        return Delivered(f"HTTP {status}", remote_id=_id_at(found, self._remote_id))

    async def check(self) -> Sequence[Check]:
        return await check_reached(self._client, self._url, "the path and the credentials")

    async def aclose(self) -> None:
        await self._client.aclose()


def _at(found: Any, path: str) -> Any:
    """What stands in *found* at *path*, like `data.0.id`; None if nothing does."""
    for part in path.split("."):
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isascii() and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def _same(found: Any, wanted: JsonScalar) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)  # in Python 1 is True


def _id_at(found: Any, path: str | None) -> str | None:
    told = None if path is None else _at(found, path)
    return str(told) if isinstance(told, str | int) and not isinstance(told, bool) else None
