"""One location of GoHighLevel: its contacts, their notes and tags, and who entered which workflow."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

TOKEN = "pit-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
LOCATION = "ve9EPM428h8vShlRW1KT"
USER = "y0BeYjuRIlDwsDcOHOJo"
SCOPES = frozenset({"contacts.readonly", "contacts.write", "workflows.readonly"})

Told = dict[str, Any]
_numbers = count(1)


def new_id(kind: str) -> str:
    """Like those of GoHighLevel: twenty letters and digits."""
    return f"{kind}{next(_numbers):0{20 - len(kind)}}"


class Refused(Exception):
    """Not done. *message* is one sentence, or a list of them with 422 (documented)."""

    def __init__(self, status: int, message: str | list[str], **more: Any) -> None:
        super().__init__(str(message))
        words = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 422: "Unprocessable Entity"}
        self.status = status
        self.told: Told = {"statusCode": status, "message": message, **more}
        if status != 400:  # whose contract has no such word
            self.told["error"] = words.get(status, "Error")


@dataclass
class Note:
    id: str
    body: str
    title: str
    added_at: datetime


@dataclass
class Contact:
    """*seen_from*: since when a search shows it. *shown*: what it shows, where that is not what stands there now."""

    id: str
    fields: Told
    seen_from: datetime
    tags: list[str] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)
    entered: list[str] = field(default_factory=list)
    is_deleted: bool = False
    shown: Told | None = None


@dataclass
class Location:
    """What is kept, and how it is told.

    Attributes:
        clock: The present moment over there.
        index_lag: How long a search, and with it a list of notes, does not see what was made.
        upserts_lag: Whether an upsert sees no more than a search; the vendor does not say.
        allows_duplicates: The setting of that name; then only an upsert keeps a contact one.
        workflows: Their states, by id.
        custom_fields: Ids of them, with the values that each takes; empty for any.
        keeps_what_it_refuses: Whether a contact that is refused with 422 is made all the same (observed).
    """

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    token: str | None = TOKEN
    scopes: frozenset[str] = SCOPES
    index_lag: timedelta = timedelta(0)
    upserts_lag: bool = False
    allows_duplicates: bool = False
    workflows: dict[str, str] = field(default_factory=dict)
    custom_fields: dict[str, frozenset[str]] = field(default_factory=dict)
    users: frozenset[str] = frozenset({USER})
    required: frozenset[str] = frozenset()
    keeps_what_it_refuses: bool = False
    contacts: dict[str, Contact] = field(default_factory=dict)

    # --- what people do ----------------------------------------------------------------------------------------------

    def types_in(self, **fields: Any) -> Contact:
        """Somebody makes a contact by hand."""
        tags = fields.pop("tags", [])
        made = self._new(fields)
        made.tags += tags
        return made

    def deletes(self, contact: Contact) -> None:
        """Somebody deletes a contact, and with it its notes."""
        contact.is_deleted = True

    def merges(self, loser: Contact, winner: Contact) -> None:
        """Somebody merges two: one is gone, its notes are the other's."""
        winner.notes |= loser.notes
        winner.tags += [tag for tag in loser.tags if tag not in winner.tags]
        loser.notes = {}
        loser.is_deleted = True

    @property
    def all(self) -> list[Contact]:
        """The contacts that there are."""
        return [contact for contact in self.contacts.values() if not contact.is_deleted]

    @property
    def notes(self) -> list[Note]:
        """Everybody's notes."""
        return [note for contact in self.all for note in contact.notes.values()]

    # --- what the API does -------------------------------------------------------------------------------------------

    def find(self, *, number: str | None, email: str | None, lags: bool = True) -> Contact | None:
        """By address first, then by number (documented); if it *lags*, what was made a moment ago is not seen yet."""
        seen = [contact for contact in self.all if not lags or contact.seen_from <= self.clock()]
        for name, wanted in (("email", email), ("phone", number)):
            for contact in seen:
                if wanted and str(contact.fields.get(name) or "").lower() == wanted.lower():
                    return contact
        return None

    def upsert(self, body: Told) -> tuple[bool, Contact]:
        """Whether it was made, and the contact."""
        body = {name: value for name, value in body.items() if name != "locationId"}
        if not body.get("phone") and not body.get("email"):
            raise Refused(422, ["email must be an email", "phone must be a string"])
        found = self.find(number=body.get("phone"), email=body.get("email"), lags=self.upserts_lag)
        try:
            self._check(body, is_new=found is None)
        except Refused:
            if self.keeps_what_it_refuses and found is None:
                self._new({name: body[name] for name in ("phone", "email") if name in body})
            raise
        if found is None:
            tags = body.pop("tags", [])
            made = self._new(body)
            made.tags += tags
            return True, made
        self.write(found, body)
        return False, found

    def change(self, contact: Contact, body: Told) -> None:
        """By `PUT`: a number or address that another contact has is refused where duplicates are not allowed."""
        self._check(body, is_new=False)
        others = [self.find(number=body.get("phone"), email=None), self.find(number=None, email=body.get("email"))]
        if not self.allows_duplicates and any(other not in (None, contact) for other in others):
            raise Refused(400, "This location does not allow duplicated contacts.")
        self.write(contact, body)

    def write(self, contact: Contact, body: Told) -> None:
        """What is written replaces what stands there, also the tags (documented)."""
        body = dict(body)
        if "tags" in body:
            contact.tags = list(body.pop("tags"))
        contact.fields |= body

    def the(self, contact_id: str) -> Contact:
        found = self.contacts.get(contact_id)
        if found is None or found.is_deleted:
            raise Refused(400, "Contact not found")
        return found

    def _new(self, fields: Told) -> Contact:
        made = Contact(new_id("ct"), dict(fields), self.clock() + self.index_lag)
        self.contacts[made.id] = made
        return made

    def _check(self, body: Told, *, is_new: bool) -> None:
        problems = [f"{name} must be a string" for name, value in body.items() if _is_odd(name, value)]
        problems += ["email must be an email"] if body.get("email") and not is_email(body["email"]) else []
        for each in body.get("customFields") or ():
            takes = self.custom_fields.get(each.get("id"))
            if takes is None:
                raise Refused(400, "Custom field was not found")
            if takes and each.get("field_value") not in takes:
                problems.append("customFields has a value that is no option")
        if body.get("assignedTo") and body["assignedTo"] not in self.users:
            problems.append("assignedTo must be the id of a user of the location")
        problems += [f"{name} should not be empty" for name in self.required if is_new and not body.get(name)]
        if problems:
            raise Refused(422, problems)


def is_email(value: object) -> bool:
    """As strict as validators are: no part of its domain is longer than a name may be."""
    return isinstance(value, str) and re.fullmatch(r"[\w.+-]{1,64}@([a-z0-9-]{1,63}\.)+[a-z]{2,24}", value) is not None


def _is_odd(name: str, value: object) -> bool:
    return name not in ("customFields", "tags", "dnd") and not isinstance(value, str)
