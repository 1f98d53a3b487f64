"""The API: what a request asks of the location, and the answer. It knows no socket."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.gohighlevel.location import LOCATION, Contact, Location, Note, Refused, Told, is_email, new_id
from tests.fakes.hubspot.refusals import Answer

VERSION = "2021-07-28"
_TOO_MANY = Answer(429, {"statusCode": 429, "message": "Too Many Requests"})
_CONTACT = r"/contacts/(?P<id>[^/]+)"
_ROUTES = [
    (method, re.compile(pattern), operation)
    for method, pattern, operation in (
        ("GET", "/contacts/search/duplicate", "contacts.find"),
        ("POST", "/contacts/upsert", "contacts.upsert"),
        ("GET", _CONTACT, "contacts.get"),
        ("PUT", _CONTACT, "contacts.update"),
        ("POST", rf"{_CONTACT}/tags", "tags.add"),
        ("GET", rf"{_CONTACT}/notes", "notes.list"),
        ("POST", rf"{_CONTACT}/notes", "notes.create"),
        ("GET", rf"{_CONTACT}/notes/(?P<note>[^/]+)", "notes.get"),
        ("PUT", rf"{_CONTACT}/notes/(?P<note>[^/]+)", "notes.update"),
        ("POST", rf"{_CONTACT}/workflow/(?P<workflow>[^/]+)", "workflows.start"),
        ("GET", "/workflows/", "workflows.list"),
    )
]


@dataclass(frozen=True)
class Asked:
    """One request, read. *operation* is `unknown` where it asks for nothing that there is."""

    method: str
    path: str
    operation: str
    parts: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    raw: bytes = b""


def read(method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Asked:
    """What a request asks for."""
    path, query = unquote(urlsplit(target).path), dict(parse_qsl(urlsplit(target).query))
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    for wanted, pattern, operation in _ROUTES:
        found = pattern.fullmatch(path)
        if wanted == method and found is not None:
            return Asked(method, path, operation, found.groupdict(), query, headers, body, raw)
    return Asked(method, path, "unknown", query=query, headers=headers, body=body, raw=raw)


@dataclass
class Limits:
    """How many requests are let through; None for as many as one likes."""

    per_ten_seconds: int | None = None
    per_day: int | None = None
    _recent: deque[datetime] = field(default_factory=deque)
    _today: int = 0

    def let_through(self, now: datetime) -> bool:
        while self._recent and self._recent[0] <= now - timedelta(seconds=10):
            self._recent.popleft()
        if self.per_day is not None and self._today >= self.per_day:
            return False
        if self.per_ten_seconds is not None and len(self._recent) >= self.per_ten_seconds:
            return False
        self._recent.append(now)
        self._today += 1
        return True

    def headers(self) -> Mapping[str, str]:
        """What every answer tells (documented)."""
        told = {"X-RateLimit-Interval-Milliseconds": "10000"}
        if self.per_ten_seconds is not None:
            told |= {"X-RateLimit-Max": str(self.per_ten_seconds)}
            told |= {"X-RateLimit-Remaining": str(self.per_ten_seconds - len(self._recent))}
        if self.per_day is not None:
            told |= {"X-RateLimit-Limit-Daily": str(self.per_day)}
            told |= {"X-RateLimit-Daily-Remaining": str(self.per_day - self._today)}
        return told


@dataclass
class Api:
    """The location as its API shows it."""

    location: Location = field(default_factory=Location)
    limits: Limits = field(default_factory=Limits)

    def answer(self, asked: Asked) -> Answer:
        """Do what is asked, and tell; what cannot be done changes nothing."""
        try:
            told = self._answer(asked) if self.limits.let_through(self.location.clock()) else _TOO_MANY
        except Refused as refused:
            told = Answer(refused.status, refused.told)
        return Answer(told.status, told.body, {**told.headers, **self.limits.headers()})

    def _answer(self, asked: Asked) -> Answer:
        if self.location.token is None or asked.headers.get("authorization") != f"Bearer {self.location.token}":
            raise Refused(401, "Invalid Private Integration token")
        if asked.headers.get("version") != VERSION:
            raise Refused(401, "version header was not found.")
        if asked.operation == "unknown":
            raise Refused(404, "Cannot find it")
        kind = "workflows" if asked.operation == "workflows.list" else "contacts"
        scope = f"{kind}.{'readonly' if asked.method == 'GET' else 'write'}"
        if scope not in self.location.scopes:
            raise Refused(401, "The token is not authorized for this scope.")
        told = asked.query.get("locationId") or (asked.body or {}).get("locationId") or LOCATION
        if told != LOCATION:
            raise Refused(403, "The token does not have access to this location.")
        return self._operations[asked.operation](asked)

    @property
    def _operations(self) -> Mapping[str, Callable[[Asked], Answer]]:
        return {
            "contacts.find": self._find,
            "contacts.upsert": self._upsert,
            "contacts.get": self._get,
            "contacts.update": self._update,
            "tags.add": self._add_tags,
            "notes.list": self._list_notes,
            "notes.create": self._create_note,
            "notes.get": self._get_note,
            "notes.update": self._update_note,
            "workflows.start": self._start,
            "workflows.list": self._list_workflows,
        }

    def _find(self, asked: Asked) -> Answer:
        if "email" in asked.query and not is_email(asked.query["email"]):
            raise Refused(400, "email must be an email")
        found = self.location.find(number=asked.query.get("number"), email=asked.query.get("email"))
        if found is not None and found.shown is not None:
            found = replace(found, fields=found.shown)
        return Answer(200, {"contact": _told(found) if found is not None else None, "traceId": "t"})

    def _upsert(self, asked: Asked) -> Answer:
        is_new, contact = self.location.upsert(asked.body)
        return Answer(200, {"new": is_new, "contact": _told(contact), "traceId": "t"})

    def _get(self, asked: Asked) -> Answer:
        return Answer(200, {"contact": _told(self.location.the(asked.parts["id"]))})

    def _update(self, asked: Asked) -> Answer:
        contact = self.location.the(asked.parts["id"])
        self.location.change(contact, asked.body)
        return Answer(200, {"succeded": True, "contact": _told(contact)})

    def _add_tags(self, asked: Asked) -> Answer:
        contact = self.location.the(asked.parts["id"])
        contact.tags += [tag.lower() for tag in asked.body["tags"] if tag.lower() not in contact.tags]
        return Answer(201, {"tags": contact.tags})

    def _list_notes(self, asked: Asked) -> Answer:
        contact = self.location.the(asked.parts["id"])
        seen = [note for note in contact.notes.values() if note.added_at <= self.location.clock()]
        return Answer(200, {"notes": [_told_note(contact, note) for note in seen]})

    def _create_note(self, asked: Asked) -> Answer:
        contact = self.location.the(asked.parts["id"])
        seen_from = self.location.clock() + self.location.index_lag
        note = Note(new_id("nt"), asked.body["body"], asked.body.get("title", ""), seen_from)
        contact.notes[note.id] = note
        return Answer(201, {"note": _told_note(contact, note)})

    def _get_note(self, asked: Asked) -> Answer:
        contact, note = self._note(asked)
        return Answer(200, {"note": _told_note(contact, note)})

    def _update_note(self, asked: Asked) -> Answer:
        contact, note = self._note(asked)
        note.body, note.title = asked.body.get("body", note.body), asked.body.get("title", note.title)
        return Answer(200, {"note": _told_note(contact, note)})

    def _note(self, asked: Asked) -> tuple[Contact, Note]:
        contact = self.location.the(asked.parts["id"])
        note = contact.notes.get(asked.parts["note"])
        if note is None:
            raise Refused(400, "Note not found")
        return contact, note

    def _start(self, asked: Asked) -> Answer:
        contact = self.location.the(asked.parts["id"])
        if asked.parts["workflow"] not in self.location.workflows:
            raise Refused(400, "Workflow not found")
        contact.entered.append(asked.parts["workflow"])
        return Answer(200, {"succeded": True})

    def _list_workflows(self, asked: Asked) -> Answer:
        rows = [{"id": each, "name": each, "status": state} for each, state in self.location.workflows.items()]
        return Answer(200, {"workflows": rows})


def _told(contact: Contact) -> Told:
    fields = {name: value for name, value in contact.fields.items() if name != "customFields"}
    custom = [{"id": each["id"], "value": each["field_value"]} for each in contact.fields.get("customFields") or ()]
    told = {"id": contact.id, "locationId": LOCATION, **fields, "tags": contact.tags}
    return {**told, "customFields": custom} if custom else told


def _told_note(contact: Contact, note: Note) -> Told:
    return {"id": note.id, "body": note.body, "title": note.title, "contactId": contact.id}
