"""The API: what a request asks of the org, and the answer. It knows no socket."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.fakes.salesforce.limits import Limits
from tests.fakes.salesforce.org import CLIENT_ID, CLIENT_SECRET, USERNAME, Org, Record
from tests.fakes.salesforce.refusals import (
    Answer,
    Refused,
    RefusedToken,
    Told,
    expired_session,
    no_such_column,
    no_such_resource,
    over_the_limit,
)
from tests.fakes.salesforce.soql import read_query, read_search

NEWEST = 68
TOKEN_PATH = "/services/oauth2/token"  # a path, not a secret
MOST_PARTS, MOST_QUERIES = 25, 5  # documented, for a composite request; 25 for a batch too
MOST_BYTES = 16_384  # of an address (documented; of a part's assumed)
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")


@dataclass(frozen=True)
class Asked:
    """One request, read.

    Attributes:
        operation: A name for what it asks, such as `composite`, `query` or `upsert`; `unknown` if nothing.
        path: Below the version; the whole one where there is none.
        parts: What stands at the places of its path that vary.
        body: What its JSON holds; of a form its fields; None without a body or if it is none.
    """

    method: str
    path: str
    operation: str
    version: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    @property
    def subrequests(self) -> list[Told]:
        """Those of a composite request or of a batch."""
        found = (self.body or {}).get("compositeRequest" if self.operation == "composite" else "batchRequests")
        if not isinstance(found, list) or not 0 < len(found) <= MOST_PARTS:
            raise Refused(400, "INVALID_REQUEST", f"There have to be from 1 to {MOST_PARTS} subrequests")
        return found


_ROUTES = [
    (method, re.compile(pattern), operation)
    for method, pattern, operation in (
        ("POST", "composite", "composite"),
        ("POST", "composite/batch", "batch"),
        ("GET", "query/?", "query"),
        ("GET", "queryAll/?", "queryAll"),
        ("GET", "search/?", "search"),
        ("GET", r"sobjects/(?P<kind>\w+)/describe/?", "describe"),
        ("POST", r"sobjects/(?P<kind>\w+)/?", "create"),
        ("GET", r"sobjects/(?P<kind>\w+)/(?P<id>\w+)", "get"),
        ("PATCH", r"sobjects/(?P<kind>\w+)/(?P<id>\w+)", "update"),
        ("PATCH", r"sobjects/(?P<kind>\w+)/(?P<field>\w+)/(?P<value>[^/]+)", "upsert"),
    )
]
_IN_COMPOSITE = {"query", "queryAll", "create", "get", "update", "upsert", "describe"}  # documented: no search
_IN_BATCH = _IN_COMPOSITE | {"search"}


def read(method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Asked:
    """What a request asks for."""
    parts = urlsplit(target)
    if parts.path == TOKEN_PATH:
        return Asked(method, parts.path, "token", headers=headers, body=dict(parse_qsl(raw.decode())))
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    return read_part(method, target, headers, body)


def read_part(method: str, target: str, headers: Mapping[str, str], body: Any) -> Asked:
    """A request, or one part of a composite one or of a batch, whose URL may lack what stands before the version."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query))
    found = re.fullmatch(r"(?:/services/data/)?/?v(?P<version>\d+\.0)/(?P<path>.*)", parts.path)
    if found is None:
        return Asked(method, parts.path, "unknown", query=query, headers=headers, body=body)
    for wanted, pattern, operation in _ROUTES:
        fits = pattern.fullmatch(found["path"])
        if wanted == method and fits is not None:
            named = {name: unquote(value) for name, value in fits.groupdict().items()}
            return Asked(method, found["path"], operation, found["version"], named, query, headers, body)
    return Asked(method, found["path"], "unknown", found["version"], query=query, headers=headers, body=body)


@dataclass
class Api:
    """The org as its API shows it."""

    org: Org = field(default_factory=Org)
    limits: Limits = field(default_factory=Limits)
    _sessions: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    def answer(self, asked: Asked) -> Answer:
        """Do what is asked, and tell; what cannot be done changes nothing."""
        if asked.operation == "token":
            try:
                return self._session(asked)
            except RefusedToken as refused:
                return refused.answer
        try:
            self._check_session(asked)
            if not self.limits.takes(self.org.clock(), self._cost(asked)):
                raise over_the_limit()
            told = self._one(asked)
        except Refused as refused:
            told = refused.as_answer()
        body = b"" if told.body is None else told.body
        return Answer(told.status, body, {**told.headers, **self.limits.headers()})

    def _cost(self, asked: Asked) -> int:
        """A composite request counts as one, a batch as each of its parts (documented)."""
        return len(asked.subrequests) if asked.operation == "batch" else 1

    def _one(self, asked: Asked) -> Answer:
        if asked.operation == "unknown" or not 20 <= float(asked.version) <= NEWEST:
            raise no_such_resource()
        return self._operations[asked.operation](asked)

    @property
    def _operations(self) -> Mapping[str, Callable[[Asked], Answer]]:
        return {
            "composite": self._composite,
            "batch": self._batch,
            "query": self._query,
            "queryAll": self._query,
            "search": self._search,
            "describe": self._describe,
            "create": self._create,
            "get": self._get,
            "update": self._update,
            "upsert": self._upsert,
        }

    # --- sessions ----------------------------------------------------------------------------------------------------

    def _session(self, asked: Asked) -> Answer:
        form = asked.body
        if not self.org.has_app:
            raise RefusedToken("invalid_client_id", "client identifier invalid")
        match form.get("grant_type"):
            case "client_credentials":
                if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
                    raise RefusedToken("invalid_client", "invalid client credentials")
            case "urn:ietf:params:oauth:grant-type:jwt-bearer":
                self._check_assertion(form.get("assertion", ""))
            case _:
                raise RefusedToken("unsupported_grant_type", "grant type not supported")
        token = f"00D000000000001!session-{self._sessions()}"
        self.org.sessions.add(token)
        told = {"access_token": token, "instance_url": "https://acme.my.salesforce.com", "token_type": "Bearer"}
        told |= {"id": "https://login.salesforce.com/id/00D000000000001AAA/005000000000001AAA"}
        return Answer(200, {**told, "issued_at": "1795521600000", "signature": "c2lnbmF0dXJl"})

    def _check_assertion(self, assertion: str) -> None:
        """By the certificate of the app; it may run for five minutes (documented)."""
        signed, _, signature = assertion.rpartition(".")
        try:
            head, claims = (json.loads(_decoded(part)) for part in signed.split("."))
            self.org.public_key.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, AttributeError, InvalidSignature):
            raise RefusedToken("invalid_grant", "invalid assertion") from None
        now = datetime.now(UTC)
        ends = datetime.fromtimestamp(claims["exp"], UTC)
        if head != {"alg": "RS256"} or claims["iss"] != CLIENT_ID or claims["aud"] not in AUDIENCES:
            raise RefusedToken("invalid_grant", "audience is invalid")
        if not now < ends <= now + timedelta(minutes=5):
            raise RefusedToken("invalid_grant", "assertion has expired")
        if claims["sub"] != USERNAME:
            raise RefusedToken("invalid_grant", "user hasn't approved this consumer")

    def _check_session(self, asked: Asked) -> None:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.org.sessions:
            raise expired_session()

    # --- many in one -------------------------------------------------------------------------------------------------

    def _composite(self, asked: Asked) -> Answer:
        """In order; a part may name what an earlier one told. *allOrNone* undoes all when one fails."""
        parts = asked.subrequests
        queries = sum("/query" in str(part.get("url")) for part in parts)
        if queries > MOST_QUERIES:
            raise Refused(400, "INVALID_REQUEST", f"No more than {MOST_QUERIES} queries in one composite request")
        before, told = self.org.copy(), list[Told]()
        bodies: dict[str, Any] = {}
        for part in parts:
            answer = self._part(part, bodies, asked, _IN_COMPOSITE)
            if answer.status < 300:
                bodies[part["referenceId"]] = answer.body
            row: Told = {"body": answer.body, "httpHeaders": {}, "httpStatusCode": answer.status}
            told.append(row | {"referenceId": part["referenceId"]})
        if asked.body.get("allOrNone") is True and any(row["httpStatusCode"] >= 400 for row in told):
            self.org.records = before
            for row in told:
                if row["httpStatusCode"] < 400:
                    row["httpStatusCode"], row["body"] = (
                        400,
                        _halted("The transaction was rolled back").as_answer().body,
                    )
        return Answer(200, {"compositeResponse": told})

    def _batch(self, asked: Asked) -> Answer:
        """Each for itself (documented)."""
        answers = [self._part(part, {}, asked, _IN_BATCH) for part in asked.subrequests]
        results = [{"statusCode": answer.status, "result": answer.body} for answer in answers]
        return Answer(200, {"hasErrors": any(answer.status >= 400 for answer in answers), "results": results})

    def _part(self, part: Told, bodies: Mapping[str, Any], whole: Asked, able: set[str]) -> Answer:
        try:
            if len(part["url"]) > MOST_BYTES:
                return Answer(414)
            url, body = _filled(part["url"], bodies), _filled(part.get("body", part.get("richInput")), bodies)
            asked = read_part(part["method"], url, part.get("httpHeaders") or {}, body)
            if asked.operation in able:
                own = {header.lower(): value for header, value in asked.headers.items()}
                return self._one(replace(asked, headers=own))
        except Refused as refused:
            return refused.as_answer()
        return Refused(400, "INVALID_REQUEST", f"The url {asked.path} is not supported here").as_answer()

    # --- one ---------------------------------------------------------------------------------------------------------

    def _query(self, asked: Asked) -> Answer:
        query = read_query(asked.query.get("q", ""))
        found = self.org.query(query, with_deleted=asked.operation == "queryAll")
        rows = [_row(query.kind, told, query.fields, asked.version) for told in found]
        return Answer(200, {"totalSize": len(rows), "done": True, "records": rows})

    def _search(self, asked: Asked) -> Answer:
        words, queries = read_search(asked.query.get("q", ""))
        rows = [
            _row(query.kind, told, query.fields, asked.version)
            for query in queries
            for told in self.org.search(words, query)
        ]
        return Answer(200, {"searchRecords": rows})

    def _describe(self, asked: Asked) -> Answer:
        kind = asked.parts["kind"]
        shown: Told = {"name": kind, "createable": kind not in self.org.read_only, "updateable": True}
        return Answer(200, {**shown, "queryable": True, "fields": [one.told() for one in self.org.seen(kind).values()]})

    def _create(self, asked: Asked) -> Answer:
        record = self.org.create(asked.parts["kind"], _object(asked.body), allow_save=_allows_save(asked))
        return Answer(201, {"id": record.id, "success": True, "errors": []})

    def _get(self, asked: Asked) -> Answer:
        record, kind = self.org.find(asked.parts["id"]), asked.parts["kind"]
        seen = self.org.seen(kind)
        names = asked.query["fields"].split(",") if "fields" in asked.query else list(seen)
        for name in names:
            if name not in seen:
                raise no_such_column(name, kind)
        return Answer(200, _row(kind, record.told(), names, asked.version))

    def _update(self, asked: Asked) -> Answer:
        self.org.seen(asked.parts["kind"])
        self.org.update(self.org.find(asked.parts["id"]), _object(asked.body))
        return Answer(204)

    def _upsert(self, asked: Asked) -> Answer:
        kind, name, value = asked.parts["kind"], asked.parts["field"], asked.parts["value"]
        values = _object(asked.body)
        found = self.org.by_key(kind, name, value)
        if name in values or "Id" in values:
            raise Refused(400, "INVALID_FIELD", f"The {name} field should not be specified in the sobject data.")
        if len(found) > 1:
            prefix = f"/services/data/v{asked.version}/sobjects/{kind}"
            return Answer(300, [f"{prefix}/{record.id}" for record in found])
        if found:
            self.org.update(found[0], values)
            return Answer(204) if self.org.answers_empty else Answer(200, _upserted(found[0], is_new=False))
        record = self.org.create(kind, {**values, name: value}, allow_save=_allows_save(asked))
        return Answer(201, _upserted(record, is_new=True))


def _upserted(record: Record, *, is_new: bool) -> Told:
    return {"id": record.id, "success": True, "errors": [], "created": is_new}


def _row(kind: str, told: Told, names: list[str], version: str) -> Told:
    url = f"/services/data/v{version}/sobjects/{kind}/{told['Id']}"
    return {"attributes": {"type": kind, "url": url}, **{name: told.get(name) for name in names}}


def _allows_save(asked: Asked) -> bool:
    return asked.headers.get("sforce-duplicate-rule-header", "").replace(" ", "") == "allowSave=true"


def _object(body: Any) -> Told:
    if not isinstance(body, dict):
        raise Refused(
            400, "JSON_PARSER_ERROR", "The HTTP entity body is required, but this request has no entity body."
        )
    return body


def _filled(value: Any, bodies: Mapping[str, Any]) -> Any:
    """*value* with what earlier parts told at `@{reference.path}`."""
    if isinstance(value, dict):
        return {name: _filled(part, bodies) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, bodies) for part in value]
    return re.sub(r"@\{([^}]*)\}", lambda found: _told_at(found[1], bodies), value) if isinstance(value, str) else value


def _told_at(path: str, bodies: Mapping[str, Any]) -> str:
    reference, *steps = re.findall(r"\w+", path)
    found = bodies.get(reference)
    for step in steps:
        try:
            found = found[int(step)] if isinstance(found, list) else (found or {}).get(step)
        except (IndexError, ValueError):
            found = None
    if found is None:
        raise _halted(f"Invalid reference specified. No value for {path} found in {reference}")
    return str(found)


def _halted(message: str) -> Refused:
    return Refused(400, "PROCESSING_HALTED", message)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
