"""What is written at GoHighLevel: the contact, and a note of it for each call, text or form. Decided without a request.

What people have typed is theirs: of a contact only gaps are filled, and a note that somebody has changed stays so. Tags
are added and never written as a field, for that would replace all that are there (documented).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from routers.messages import Message
from routers.sinks.crm import Lead, Who
from routers.sinks.crm_reading import digest, lines_of, present_of, title_of

# How long a search may lag behind what was written (assumed; nothing is documented).
LAG = timedelta(minutes=5)
_MOST_TEXT = 20_000  # no limit is documented
_MOST_LINE = 1_000
_MOST_NAME = 100
_MOST_NUMBERS = 3
# A note may be shown as HTML or as it is: in either way nothing of it is HTML.
_HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a"})
_MARK = "CallRail id"

STANDARD = frozenset(
    {"address1", "city", "state", "postalCode", "country", "website", "timezone", "companyName", "source"}
)
NAMES = ("firstName", "lastName")


@dataclass(frozen=True, slots=True)
class Workflow:
    """One that the contact enters when a thing is logged, once. *who* are those of whom it is started."""

    id: str
    who: Who = "anybody"


@dataclass(frozen=True, slots=True)
class Note:
    """The record of one thing. *mark* is a line of it by which it is found again."""

    title: str
    body: str
    mark: str

    @property
    def written(self) -> dict[str, str]:
        """As it is sent."""
        return {"title": self.title, "body": self.body}

    @property
    def digest(self) -> str:
        """Of its words."""
        return digest((self.title, self.body))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be there.

    Attributes:
        delivery: Our id of the delivery.
        name: What the person is called.
        source: Where CallRail says that the person came from.
        of_contact: Further fields of a contact that is made, which may be left out; by the names of the standard ones,
            or the ids of custom fields.
        owner: Id of the user who gets a contact that is made.
        creates_contacts: Whether somebody who is not found becomes a contact.
        only_changes: Whether nothing is logged that is not yet, as of spam.
        tags: What the contact is tagged with when the thing is logged.
        workflows: What is started then.
    """

    delivery: str
    note: Note
    name: str | None = None
    source: str | None = None
    of_contact: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    creates_contacts: bool = True
    only_changes: bool = False
    tags: tuple[str, ...] = ()
    workflows: tuple[Workflow, ...] = ()


def note_of(message: Message, fields: tuple[str, ...] | None) -> Note:
    """The note of what *message* tells; only *fields* are told, or all where None."""
    present = present_of(message, fields)
    mark = _harmless(f"{_MARK}: {message.callrail_id}")
    lines = _cut(_harmless(line) for line in lines_of(message, present, fields))
    return Note(_harmless(title_of(message, present)), "\n".join((*lines, mark)), mark)


def _harmless(line: str) -> str:
    return line.translate(_HARMLESS)


def _cut(lines: Iterable[str]) -> list[str]:
    """The lines that there is room for; what is longest comes last, and is what is cut."""
    kept: list[str] = []
    room = _MOST_TEXT
    for line in lines:
        for begin in range(0, max(len(line), 1), _MOST_LINE):
            part = line[begin : begin + _MOST_LINE]
            if len(part) + 1 > room:
                return kept
            kept.append(part)
            room -= len(part) + 1
    return kept


def digest_of(held: Mapping[str, Any]) -> str:
    """Of the words that a note has now."""
    return digest((held.get("title"), held.get("body")))


def marked(notes: Iterable[Any], mark: str, written: Collection[str]) -> Mapping[str, Any] | None:
    """The note that has the words of a digest that is among *written*, or *mark* as the last of its lines that are one.

    People may quote a mark, and what is told of one call may quote another's.
    """
    ours = [note for note in notes if isinstance(note, dict) and isinstance(note.get("id"), str)]
    same = (note for note in ours if digest_of(note) in written)
    return next(same, None) or next((note for note in ours if _is_marked(str(note.get("body")), mark)), None)


def _is_marked(body: str, mark: str) -> bool:
    """Whether its mark is *mark*, and no longer id that begins so; an editor may have made HTML of the lines."""
    marks = [line for part in re.split(r"[\n<>]", body) if (line := part.strip()).startswith(f"{_MARK}: ")]
    return bool(marks) and re.match(rf"{re.escape(mark)}(?![\w-])", marks[-1]) is not None


# --- a contact -------------------------------------------------------------------------------------------------------


def numbers_of(lead: Lead) -> list[str]:
    """The numbers by which the contact is found, the message's first, each at a request."""
    return list(dict.fromkeys(filter(None, (lead.phone, *lead.phones))))[:_MOST_NUMBERS]


def new_contact(lead: Lead, wanted: Wanted) -> dict[str, Any]:
    """What a contact is made with. An upsert may find one by number or address that no search shows yet, and writes
    over what stands there: so the name is none of it, and is of `gaps`.
    """
    more = wanted.of_contact
    told = {
        **_keys(lead),
        "source": wanted.source,
        "assignedTo": wanted.owner,
        **{name: value for name, value in more.items() if name in STANDARD},
    }
    custom = [{"id": name, "field_value": value} for name, value in more.items() if name not in STANDARD]
    return {name: value for name, value in told.items() if value} | ({"customFields": custom} if custom else {})


def without(
    refused: Collection[str], body: Mapping[str, Any], lead: Lead, wanted: Wanted
) -> tuple[dict[str, Any], frozenset[str]]:
    """*body* of a new contact after a refusal that names the fields *refused*, and what is left out; the same body if
    nothing helps. Left out is what is named, or else all that the settings add; a name that is required is added.
    """
    if required := {name: value for name, value in _names(wanted.name).items() if name in refused and name not in body}:
        return {**body, **required}, frozenset()
    more = {*wanted.of_contact} & STANDARD | {"customFields"}
    named = {*refused} & (more | {"source"} | ({"email"} if "phone" in body else set())) & body.keys()
    leaves = named or more & body.keys()
    custom = {each["id"] for each in body["customFields"]} if "customFields" in leaves else set()
    kept = {name: value for name, value in body.items() if name not in leaves}
    return kept, frozenset(leaves - {"customFields"} | custom)


def gaps(held: Mapping[str, Any], lead: Lead, name: str | None) -> dict[str, str]:
    """What is filled in where nothing stands. What a person has typed is never overwritten."""
    wanted = _keys(lead)
    if not any(held.get(each) for each in (*NAMES, "name", "contactName")):
        wanted |= _names(name)
    return {name: value for name, value in wanted.items() if value and not held.get(name)}


def _keys(lead: Lead) -> dict[str, str | None]:
    return {"phone": next(iter(numbers_of(lead)), None), "email": next(iter(lead.emails), None)}


def _names(name: str | None) -> dict[str, str]:
    """A name as first and last; of one word it is the first."""
    first, _, last = (name or "").partition(" ")
    told = {"firstName": first[:_MOST_NAME], "lastName": last.strip()[:_MOST_NAME]}
    return {name: _harmless(value) for name, value in told.items() if value}
