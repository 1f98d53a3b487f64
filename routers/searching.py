"""All that is stored of a person, found by their number: their calls, texts and forms, and where else they are named.

It reads the whole store, a page at a time, and changes nothing. A person's own objects are those that are about their
number, or about what CallRail calls the same person where no number is told. Anywhere else the number counts in
whatever spelling, and so do the person's id and e-mail addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import orjson
from sqlalchemy import Column, Connection, Row, Select, Table, Text, select, tuple_, type_coerce

from callrail.kinds import Kind, kind_of
from callrail.payload import Fields, read_payload
from callrail.phones import spellings
from receiver.columns import Json
from receiver.database import Database
from receiver.records import body_of
from receiver.schema import EventState, events, metadata, quarantine
from receiver.spool import refused_in, waiting_in
from routers.facts import contact_of, number_of
from routers.forgetting import happened_at, keyed_hash, read_erased
from routers.leads import Key as LeadKey
from routers.leads import KeyKind, find_leads
from routers.objects import identity_of
from routers.schema import attempts, deliveries, media, objects, transitions, versions
from routers.transitions import Transition

_PAGE = 500

Key = tuple[Any, ...]


@dataclass(slots=True)
class Person:
    """Whom it is about: their *number* in E.164, and CallRail's *ids* and the *emails* that their things tell."""

    number: str
    ids: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)

    def mentions(self) -> re.Pattern[str]:
        """Finds the person in a text, also in one of JSON. What is so short that it stands anywhere does not count."""
        words = "|".join(re.escape(word) for word in sorted(self.ids | self.emails) if len(word) >= _SHORTEST)
        number = spellings(self.number).pattern
        return re.compile(f"{number}|{_BEGINS}(?:{words}){_ENDS}" if words else number, re.IGNORECASE)


# Whole words only: what somebody typed into a form as their address must not be found within those of others. In JSON
# a word may come after an escape, whose last character is a letter or a digit.
_BEGINS = r"(?:(?<![\w.+-])|(?<=\\[nrt])|(?<=\\u[0-9a-f]{4}))"
_ENDS = r"(?![\w-])"
_SHORTEST = 6


@dataclass(slots=True)
class Found:
    """What there is of a *person*.

    Attributes:
        objects: Our ids of their calls, texts and forms.
        events: Ids of the events of these, and of others that are not routed and tell of the person.
        mentioning: Ids of the events of others that mention the person.
        waiting: Ids of events of others that mention the person and are still to be routed.
        quarantined: Ids of unproved requests that mention the person.
        own: By table, the keys of the rows that belong to their objects.
        rows: By table, the keys of rows that mention the person, others' among them.
    """

    person: Person
    objects: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    mentioning: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    own: dict[str, list[Key]] = field(default_factory=dict)
    rows: dict[str, list[Key]] = field(default_factory=dict)

    def counts(self) -> Counter[str]:
        """How many rows of each table there are to change."""
        listed = {"objects": self.objects, "events": self.events + self.mentioning, "quarantine": self.quarantined}
        by_table = {name: {(one,) for one in ids} for name, ids in listed.items()}
        for keys in (self.own, self.rows):
            for name, more in keys.items():
                by_table.setdefault(name, set()).update(more)
        return Counter({name: len(keys) for name, keys in by_table.items()})


Tell = Callable[[str], None]


def search(database: Database, number: str, *, tell: Tell = lambda _: None) -> Found:
    """All there is of the person with *number*, in E.164.

    Args:
        tell: Told which table is read.
    """
    person = Person(number)
    found = Found(person)
    with database.reading.connect() as conn:
        tell("versions")
        found.objects = objects_about(conn, person)
        own, mentions = set(found.objects), person.mentions()
        found.own = _rows_of(conn, found.objects)
        found.own["leads"] = [(id_,) for lead in find_leads(conn, _lead_keys(person)) for id_ in lead.family]
        tell("events")
        for row in _pages(conn, _bodies(events)):
            _sort_event(found, row, own, mentions)
        tell("quarantine")
        unproved = _pages(conn, _bodies(quarantine))
        found.quarantined = [row.id for row in unproved if mentions.search(_text_of(row.body))]
        for table in metadata.sorted_tables:
            if columns := swept(table):
                tell(table.name)
                found.rows[str(table.name)] = list(_mentioning(conn, table, columns, mentions))
    return found


@dataclass(frozen=True, slots=True)
class Spooled:
    """What of a spool mentions a person: the bodies of webhooks that wait, and files that were set aside."""

    waiting: list[bytes]
    set_aside: list[Path]


def spooled(folder: Path, person: Person) -> Spooled:
    """What in the spool in *folder* mentions *person*. A server may be at work there; nothing is changed."""
    mentions = person.mentions()
    waiting = [body for record in waiting_in(folder) if mentions.search(_text_of(body := body_of(record)))]
    return Spooled(waiting, [path for path, record in refused_in(folder) if mentions.search(_text_of(body_of(record)))])


def swept(table: Table) -> list[Column[Any]]:
    """The columns of *table* in which anything may be written: JSON, and texts that may be missing."""
    texts = [column for column in table.c if type(column.type) is Text and column.nullable]
    jsons = [column for column in table.c if isinstance(column.type, Json)]
    return [*texts, *jsons, *(column for column in table.c if column.name == "order_key")]


# --- a person's own ---------------------------------------------------------------------------------------------------


def objects_about(conn: Connection, person: Person) -> list[str]:
    """The objects about *person*, of whom more is known afterwards. Twice, for the ids are known only after once."""
    own: set[str] = set()
    for mentions in (spellings(person.number), None):
        for row in _pages(conn, _versions):
            if (mentions or person.mentions()).search(row.text):
                fields = orjson.loads(row.text)
                if _is_about(person, row.type, fields, is_sent=Transition.TEXT_SENT in row.told):
                    own.add(row.object_id)
                    _learn(person, fields)
    return sorted(own)


def returned(database: Database, key: bytes) -> dict[str, datetime]:
    """The numbers of erased persons of whom something is stored from before, with when they were erased."""
    found: dict[str, datetime] = {}
    with database.reading.connect() as conn:
        known = read_erased(conn)
        for row in _pages(conn, _versions.where(objects.c.erased_at.is_(None))):
            fields = orjson.loads(row.text)
            number = number_of(row.type, fields, is_sent=Transition.TEXT_SENT in row.told)
            erased_at = known.get(keyed_hash(key, number)) if number is not None else None
            if number is not None and erased_at is not None and happened_at(fields, row.created_at) <= erased_at:
                found[number] = erased_at
    return found


_versions = (
    select(versions.c.object_id, versions.c.version, objects.c.type, objects.c.told, objects.c.created_at)
    .add_columns(type_coerce(versions.c.fields, Text).label("text"))
    .join(objects, objects.c.id == versions.c.object_id)
)


def _is_about(person: Person, type_: str, fields: Fields, *, is_sent: bool) -> bool:
    number = number_of(type_, fields, is_sent=is_sent)
    return number == person.number or (number is None and fields.get("person_resource_id") in person.ids)


def _learn(person: Person, fields: Fields) -> None:
    if isinstance(told := fields.get("person_resource_id"), str) and told.strip():
        person.ids.add(told)
    if email := contact_of(fields.get("form_data"))["contact_email"]:
        person.emails.add(email)


def _lead_keys(person: Person) -> Iterator[LeadKey]:
    yield LeadKey(KeyKind.PHONE, person.number)
    yield from (LeadKey(KeyKind.PERSON, id_) for id_ in sorted(person.ids))
    yield from (LeadKey(KeyKind.EMAIL, email.lower()) for email in sorted(person.emails))


def _rows_of(conn: Connection, object_ids: Sequence[str]) -> dict[str, list[Key]]:
    """By table, the keys of what belongs to objects."""
    own: dict[str, list[Key]] = {"versions": [], "transitions": [], "deliveries": [], "attempts": [], "media": []}
    for object_id in object_ids:
        happened = select(transitions.c.id).where(transitions.c.object_id == object_id)
        told = select(deliveries.c.id).where(deliveries.c.transition_id.in_(happened))
        known = select(versions.c.object_id, versions.c.version).where(versions.c.object_id == object_id)
        tries = select(attempts.c.id).where(attempts.c.delivery_id.in_(told))
        files = select(media.c.id).where(media.c.object_id == object_id)
        for keys, query in zip(own.values(), (known, happened, told, tries, files), strict=True):
            keys += [tuple(row) for row in conn.execute(query)]
    return own


def _sort_event(found: Found, row: Row[Any], own: set[str], mentions: re.Pattern[str]) -> None:
    if row.object_id in own:
        found.events.append(row.id)
    elif not mentions.search(_text_of(row.body)):
        return
    elif row.state == EventState.ROUTED:
        found.mentioning.append(row.id)
    elif row.state == EventState.FAILED or is_event_about(found.person, row):
        found.events.append(row.id)
    else:
        found.waiting.append(row.id)


def is_event_about(person: Person, row: Row[Any]) -> bool:
    """Whether an event that is not routed tells of *person*."""
    fields = read_payload(row.body, row.content_type).fields
    kind = kind_of(Kind(row.kind), fields)
    type_, _ = identity_of(kind, fields, row.id)
    is_sent = kind is Kind.TEXT_SENT or fields.get("direction") in ("outgoing", "outbound")
    return _is_about(person, type_, fields, is_sent=is_sent)


# --- pages -----------------------------------------------------------------------------------------------------------


def _bodies(table: Table) -> Select[Any]:
    names = ("id", "object_id", "state", "kind", "content_type", "body")
    return select(*(table.c[name] for name in names if name in table.c)).where(table.c.body != b"")


def _pages(conn: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows of *query* by the key of its first table, in pages, so that no snapshot is held for long."""
    table = next(iter(query.selected_columns)).table
    assert isinstance(table, Table)  # noqa: S101
    key = list(table.primary_key.columns)
    ordered = query.order_by(*key).limit(_PAGE)
    page = conn.execute(ordered).all()
    while page:
        yield from page
        conn.rollback()  # ends the snapshot
        last = tuple(page[-1]._mapping[column.name] for column in key)
        page = conn.execute(ordered.where(tuple_(*key) > last)).all() if len(page) == _PAGE else []


def _mentioning(
    conn: Connection, table: Table, columns: Sequence[Column[Any]], mentions: re.Pattern[str]
) -> Iterator[Key]:
    """The keys of the rows of *table* that mention someone in *columns*."""
    key = list(table.primary_key.columns)
    texts = [type_coerce(column, Text).label(f"text_{n}") for n, column in enumerate(columns)]
    for row in _pages(conn, select(*key, *texts)):
        if any(text and mentions.search(text) for text in row[len(key) :]):
            yield tuple(row[: len(key)])


def _text_of(body: bytes) -> str:
    """*body* as it reads, and as it would if it were a form's, in which digits stand around what is escaped."""
    text = body.decode("utf-8", "replace")
    return f"{text}\n{unquote_plus(text)}" if "%" in text or "+" in text else text
