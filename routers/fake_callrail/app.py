"""The server: a request's key, limits and faults, and then the resource's own answer."""

from __future__ import annotations

import email.parser
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from routers.fake_callrail import accounts, bodies, storage
from routers.fake_callrail.asking import Ask, Handler, Refused, Told, not_found
from routers.fake_callrail.faults import Faults
from routers.fake_callrail.limits import Limits, Meter
from routers.fake_callrail.quirks import Quirks
from routers.fake_callrail.routing import Match, match
from routers.fake_callrail.world import Account, Json, Key, World

# Each of these declares its operations when it is loaded; they are asked by method and path alone.
for _name in (
    *("caller_ids", "calls", "companies", "forms", "integrations", "leads", "message_flows", "notifications"),
    *("tags", "texts", "trackers", "users"),
):
    import_module(f"routers.fake_callrail.{_name}")


@dataclass(frozen=True)
class Request:
    """A request that came. *headers* without the key; *body* is its JSON, *files* what a form held beside."""

    method: str
    path: str
    query: list[tuple[str, str]]
    body: Json | None
    headers: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)


class FakeCallRail:
    """The API over *world*, an ASGI application.

    Args:
        limits: How many requests an account has; None for as many as one likes.

    *requests* are all that came, in order, those with a fault too. *faults* takes orders for trouble. *files* are, by
    the id of a call or a text, what is stored for it instead of a short sound or a picture of one pixel.
    """

    def __init__(self, world: World, *, limits: Limits | None = None, quirks: Quirks | None = None) -> None:
        self.world = world
        self.quirks = quirks or Quirks()
        self.requests: list[Request] = []
        self.faults = Faults()
        self.files: dict[str, storage.File] = {}
        self._meter = Meter(limits, world.now) if limits else None
        self._answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # a lifespan, which there is nothing to say about
            return
        http = HttpRequest(scope, receive)
        request = await _read(http)
        self.requests.append(request)

        async def right() -> Response:
            return self._answer(http, request)

        fault = self.faults.take(request.method, request.path)
        response = await (fault(right) if fault else right())
        self._answered += 1
        response.headers["x-request-id"] = f"fake-{self._answered:08}"
        await response(scope, receive, send)

    def _answer(self, http: HttpRequest, request: Request) -> Response:
        try:
            stored = storage.stored(http, self.files)
            return _response(stored or self._told(http, request))
        except Refused as refused:
            if isinstance(refused.body, str):
                return Response(refused.body, refused.status, refused.headers, "text/plain")
            return Response(json.dumps(refused.body), refused.status, refused.headers, "application/json")

    def _told(self, http: HttpRequest, request: Request) -> Told:
        key = self._key(http.headers.get("authorization", ""))
        if request.path == "/v3/a.json":
            if request.method != "GET":
                raise Refused(405, "Method not allowed")
            anywhere = self.world.accounts[0]
            return _as_told(accounts.list_accounts, self._ask(http, request, key, anywhere, "", ()))
        account_id, _, rest = request.path.removeprefix("/v3/a/").partition("/")
        if not request.path.startswith("/v3/a/"):
            raise not_found()
        if not rest:  # the account itself, whose id has the `.json`
            account_id, rest = account_id.removesuffix(".json"), ".json"
        found = match(request.method, rest, is_json=("format", "json") in request.query)
        if found == 405:
            raise Refused(405, "Method not allowed")
        account = next((each for each in self.world.accounts if each.answers_to(unquote(account_id))), None)
        if account is None or not isinstance(found, Match):
            raise not_found()
        if request.method == "GET" and request.body is not None:
            raise Refused(406, "parameters of a GET belong in the URL")
        headers = self._count(account, found)
        if request.method != "GET" and not key.may_write:
            raise Refused(403, "You do not have permission to perform the requested action")
        bodies.check(request.body or {})
        ids = tuple(unquote(each) for each in found.ids)
        told = _as_told(found.route.handler, self._ask(http, request, key, account, account_id, ids))
        return Told(told.status, told.body, told.content, told.media_type, {**headers, **(told.headers or {})})

    def _key(self, header: str) -> Key:
        """The key of `Token token="KEY"`, with or without the quotes."""
        scheme, _, token = header.partition(" token=")
        key = self.world.key_of(token.strip('"')) if scheme == "Token" else None
        if key is None:
            if self.quirks.unauthorized_is_plain:
                raise Refused(401, "HTTP Token: Access denied.\n", as_text=True)
            raise Refused(401, "Unauthorized")
        return key

    def _count(self, account: Account, found: Match) -> dict[str, str]:
        """Count the request; the headers that tell of it, where CallRail tells."""
        if self._meter is None:
            return {}
        general = self._meter.count(account.id, "general")
        if found.route.budget is None:
            return general if self.quirks.limits_on_all_answers else {}
        own = self._meter.count(account.id, found.route.budget)
        return own if found.route.budget == "texts" or self.quirks.limits_on_all_answers else {}

    def _ask(
        self, http: HttpRequest, request: Request, key: Key, account: Account, as_asked: str, ids: tuple[str, ...]
    ) -> Ask:
        return Ask(
            world=self.world,
            quirks=self.quirks,
            account=account,
            account_as_asked=as_asked,
            key=key,
            ids=ids,
            query=request.query,
            body=request.body or {},
            files=request.files,
            origin=f"{http.url.scheme}://{http.url.netloc}",
        )


def _as_told(handler: Handler, ask: Ask) -> Told:
    answer = handler(ask)
    return answer if isinstance(answer, Told) else Told(200, answer)


def _response(told: Told) -> Response:
    headers = dict(told.headers or {})
    if told.body is not None:
        content = json.dumps(told.body, ensure_ascii=False).encode()
        return Response(content, told.status, headers, "application/json; charset=utf-8")
    return Response(told.content, told.status, headers, told.media_type)


async def _read(http: HttpRequest) -> Request:
    content = await http.body()
    headers = {name: value for name, value in http.headers.items() if name != "authorization"}
    path = urlsplit(http.scope["raw_path"].decode("ascii")).path
    body, files = _body(headers.get("content-type", ""), content)
    return Request(http.method, path, list(http.query_params.multi_items()), body, headers, files)


def _body(content_type: str, content: bytes) -> tuple[Json | None, Mapping[str, bytes]]:
    """JSON, or the fields and files of a form. What is no JSON object is read as an empty one."""
    if not content:
        return None, {}
    if content_type.startswith("multipart/form-data"):
        return _form(content_type, content)
    try:
        told: Any = json.loads(content)
    except ValueError:
        told = None
    return (told if isinstance(told, dict) else {}), {}


def _form(content_type: str, content: bytes) -> tuple[Json, Mapping[str, bytes]]:
    message = email.parser.BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + content)
    fields: Json = {}
    files: dict[str, bytes] = {}
    for part in message.walk():
        if part.is_multipart():
            continue
        name = str(part.get_param("name", header="content-disposition"))
        value = cast(bytes, part.get_payload(decode=True))
        if part.get_filename() is None:
            fields[name] = value.decode()
        else:
            files[name] = value
    return fields, files
