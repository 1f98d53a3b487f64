"""A HubSpot of our own: it keeps contacts and their records for as long as it runs, and tells who looks on.

Of the dated API it has what a sink needs to log: searching contacts, and creating, reading and changing records, of
which our own properties have unique values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_Told = dict[str, Any]

CONTACTS = "contacts"
_UNIQUE = ("callrail_phone", "callrail_id", "email")
_TITLES = ("hs_call_title", "hs_task_subject", "dealname", "hs_lead_name")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a contact, in a line."""

    at: datetime
    title: str


@dataclass(frozen=True, slots=True)
class Card:
    """What somebody who looks at a contact sees: who it is, its records, oldest first, and *what* has just happened."""

    name: str
    phone: str
    entries: tuple[Entry, ...]
    what: str


@dataclass
class _Record:
    id: str
    kind: str
    properties: dict[str, str]
    contacts: set[str] = field(default_factory=set)

    @property
    def told(self) -> _Told:
        return {"id": self.id, "properties": self.properties, "updatedAt": datetime.now(UTC).isoformat()}

    @property
    def entry(self) -> Entry:
        at = datetime.fromtimestamp(int(self.properties.get("hs_timestamp", "0")) / 1000, UTC)
        title = next((self.properties[name] for name in _TITLES if name in self.properties), "Text")
        return Entry(at, title)


class HubSpotStandIn:
    """The account and its API."""

    def __init__(self, token: str, on_card: Callable[[Card], None]) -> None:
        record = "/crm/objects/{version}/{kind}/{id}"
        self.app = Starlette(
            routes=[
                Route("/crm/objects/{version}/contacts/search", self._search, methods=["POST"]),
                Route("/crm/objects/{version}/{kind}/batch/read", self._find, methods=["POST"]),
                Route("/crm/objects/{version}/{kind}", self._create, methods=["POST"]),
                Route(record, self._read, methods=["GET"]),
                Route(record, self._change, methods=["PATCH"]),
                Route(f"{record}/associations/default/contacts/{{contact}}", self._associate, methods=["PUT"]),
            ]
        )
        self._authorization = f"Bearer {token}"
        self._on_card = on_card
        self._records: dict[str, _Record] = {}
        self._numbers = count(int(datetime.now(UTC).timestamp()))  # none of an earlier run's

    async def _search(self, request: Request) -> JSONResponse:
        """By our own number and the e-mail address alone: whoever is here, we have made."""
        asked = await request.json()
        filters = [each for group in asked["filterGroups"] for each in group["filters"]]
        values = {value for each in filters for value in each.get("values", [each.get("value")])}
        found = [
            one
            for one in self._of(CONTACTS)
            if values & {one.properties.get("callrail_phone", "").lstrip("+"), one.properties.get("email")}
        ]
        return self._answer(request, {"total": len(found), "results": [one.told for one in found]})

    async def _create(self, request: Request) -> JSONResponse:
        asked, kind = await request.json(), request.path_params["kind"]
        properties = asked["properties"]
        for name in _UNIQUE:
            if name in properties and (holder := self._by(kind, name, properties[name])) is not None:
                told = {"category": "CONFLICT", "message": f"Existing ID: {holder.id}"}
                return self._answer(request, told, status=409)
        made = _Record(str(next(self._numbers)), kind, properties)
        made.contacts = {each["to"]["id"] for each in asked["associations"]}
        if not made.contacts <= self._records.keys():  # of an earlier run
            return self._missing(request)
        if self._is_known(request):
            self._records[made.id] = made
            self._show(made, "new" if kind == CONTACTS else "logged")
        return self._answer(request, made.told, status=201)

    async def _find(self, request: Request) -> JSONResponse:
        asked, kind = await request.json(), request.path_params["kind"]
        holders = [self._by(kind, asked.get("idProperty"), each["id"]) for each in asked["inputs"]]
        return self._answer(request, {"results": [one.told for one in holders if one is not None]})

    async def _read(self, request: Request) -> JSONResponse:
        found = self._records.get(request.path_params["id"])
        return self._answer(request, found.told) if found is not None else self._missing(request)

    async def _change(self, request: Request) -> JSONResponse:
        asked, found = await request.json(), self._records.get(request.path_params["id"])
        if found is None:
            return self._missing(request)
        if self._is_known(request):
            found.properties |= asked["properties"]
            self._show(found, "brought up to date")
        return self._answer(request, found.told)

    async def _associate(self, request: Request) -> JSONResponse:
        found = self._records.get(request.path_params["id"])
        if found is None:
            return self._missing(request)
        found.contacts.add(request.path_params["contact"])
        return self._answer(request, {"results": []})

    def _show(self, changed: _Record, what: str) -> None:
        for contact_id in {changed.id} if changed.kind == CONTACTS else changed.contacts:
            contact = self._records.get(contact_id)
            if contact is not None and changed.kind != CONTACTS:
                held = contact.properties
                name = " ".join(filter(None, (held.get("firstname"), held.get("lastname")))) or "Somebody"
                theirs = (one.entry for one in self._records.values() if contact_id in one.contacts)
                card = Card(name, held.get("phone", ""), tuple(sorted(theirs, key=lambda entry: entry.at)), what)
                self._on_card(card)

    def _of(self, kind: str) -> list[_Record]:
        return [one for one in self._records.values() if one.kind == kind]

    def _by(self, kind: str, name: str | None, value: str) -> _Record | None:
        """By a property, or by its id."""
        found = (one for one in self._of(kind) if (one.properties.get(name) if name is not None else one.id) == value)
        return next(found, None)

    def _is_known(self, request: Request) -> bool:
        return request.headers.get("authorization") == self._authorization

    def _missing(self, request: Request) -> JSONResponse:
        return self._answer(request, {"category": "OBJECT_NOT_FOUND"}, status=404)

    def _answer(self, request: Request, told: _Told, *, status: int = 200) -> JSONResponse:
        if not self._is_known(request):
            return JSONResponse({"category": "INVALID_AUTHENTICATION"}, status_code=401)
        return JSONResponse(told, status_code=status)
