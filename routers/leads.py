"""Leads: which calls, texts and forms of a company are of one person.

A person is known by keys, the strongest first: CallRail's id of them, their number in E.164, their e-mail address in
forms, the thread of their texts. What tells keys of two leads shows that both are one, and the younger is merged into
the older: by a pointer, so that keys stay where they were first told and a merge can be taken back.

A withheld number, a filler code and a number that the file lists as shared identify nobody; nor does CallRail's id of
a person there, for CallRail goes by the number (assumed).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import permutations
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from callrail.phones import e164
from receiver.ids import Prefix, new_id
from routers.facts import contact_of, number_of
from routers.schema import lead_keys, lead_merges, leads, remote_ids, turns


class KeyKind(StrEnum):
    """By what a person is known, the strongest first."""

    PERSON = "person"
    PHONE = "phone"
    EMAIL = "email"
    THREAD = "thread"


_STRENGTH = {kind: place for place, kind in enumerate(KeyKind)}


class Key(NamedTuple):
    """One thing by which a person is known within a company."""

    kind: KeyKind
    value: str


def keys_of(type_: str, fields: Mapping[str, Any], *, is_sent: bool, shared: Collection[str] = ()) -> tuple[Key, ...]:
    """By what the person is known whom *fields* tell of, the strongest first; none if nobody can be.

    Args:
        type_: What the object is: call, text, form, ...
        is_sent: It is a text that was sent to the person.
        shared: Numbers, in E.164, that are of several persons.
    """
    told = number_of(type_, fields, is_sent=is_sent)
    number = e164(told) if told is not None else None
    if told and (number is None or number in shared):
        return ()
    email = contact_of(fields.get("form_data"))["contact_email"] if type_ == "form" else None
    found = (
        (KeyKind.PERSON, fields.get("person_resource_id")),
        (KeyKind.PHONE, number),
        (KeyKind.EMAIL, email.lower() if email else None),
        (KeyKind.THREAD, fields.get("thread_resource_id") if type_ == "text" else None),
    )
    return tuple(Key(kind, value) for kind, value in found if isinstance(value, str) and value.strip())


@dataclass(frozen=True, slots=True)
class Found:
    """A lead, with all that was merged into it.

    Attributes:
        id: Of the lead itself, which is merged into none.
        family: Its id and those of what was merged into it, the oldest first.
        keys: All by which it is known, the strongest first.
        first_object: Our id of the first thing that told of the person.
    """

    id: str
    family: tuple[str, ...]
    keys: tuple[Key, ...]
    first_object: str


# --- finding and merging ---------------------------------------------------------------------------------------------


def lead_of(conn: Connection, company: str, keys: Sequence[Key], *, object_id: str, now: datetime) -> Found:
    """The lead that *keys* are of; a new one if none is. Leads of which they show that they are one are merged.

    The keys' rows are locked in one order until the transaction ends, then the leads', so that nobody else finds
    another answer and nobody waits crosswise.

    Args:
        keys: At least one.
        object_id: Our id of what told them.
    """
    fresh = new_id(Prefix.LEAD)
    told = _owners(conn, company, keys, fresh)
    if fresh in told.values():
        about = {"company": company, "first_object": object_id, "created_at": now, "used_at": now}
        conn.execute(insert(leads).values(id=fresh, **about))
    roots = _roots(conn, set(told.values()))
    strongest = roots[told[min(keys, key=lambda key: _STRENGTH[key.kind])]]
    others = sorted({root for root in roots.values() if root != strongest})
    for other in others:
        strongest = _merged(conn, strongest, other, object_id, now)
    conn.execute(update(leads).where(leads.c.id == strongest).values(used_at=now))
    return read_lead(conn, strongest)


def _owners(conn: Connection, company: str, keys: Sequence[Key], fresh: str) -> dict[Key, str]:
    """By key, whose it is: the lead *fresh* where it was nobody's. Their rows are locked."""
    rows = [
        {"company": company, "kind": key.kind.value, "value": key.value, "lead_id": fresh} for key in sorted(set(keys))
    ]
    insert_ = (postgresql if conn.dialect.name == "postgresql" else sqlite).insert(lead_keys).values(rows)
    found = insert_.on_conflict_do_update(
        index_elements=[lead_keys.c.company, lead_keys.c.kind, lead_keys.c.value],
        set_={"company": insert_.excluded.company},  # changes nothing, but locks the row and tells whose it is
    ).returning(lead_keys.c.kind, lead_keys.c.value, lead_keys.c.lead_id)
    return {Key(KeyKind(row.kind), row.value): row.lead_id for row in conn.execute(found)}


def _roots(conn: Connection, ids: Collection[str]) -> dict[str, str]:
    """By lead, into which it was merged in the end; those are locked."""
    while True:
        roots = {id_: _root(conn, id_) for id_ in ids}
        locking = select(leads.c.merged_into).where(leads.c.id.in_(roots.values())).order_by(leads.c.id)
        if not any(conn.execute(locking.with_for_update()).scalars()):  # else one was merged before it was locked
            return roots


def _root(conn: Connection, id_: str) -> str:
    while into := conn.execute(select(leads.c.merged_into).where(leads.c.id == id_)).scalar():
        id_ = into
    return id_


def _merged(conn: Connection, one: str, other: str, object_id: str, now: datetime) -> str:
    """The one lead that two proved to be, the older; *one* alone if an operator has said that they are not one."""
    families = family_of(conn, one), family_of(conn, other)
    apart = select(lead_merges.c.id).where(
        lead_merges.c.undone_at.is_not(None),
        or_(*(and_(lead_merges.c.lead_id.in_(a), lead_merges.c.into_id.in_(b)) for a, b in permutations(families))),
    )
    if conn.execute(apart.limit(1)).first() is not None:
        return one
    into, younger = sorted((one, other))
    conn.execute(update(leads).where(leads.c.id == younger).values(merged_into=into))
    conn.execute(
        insert(lead_merges).values(
            id=new_id(Prefix.MERGE), lead_id=younger, into_id=into, object_id=object_id, merged_at=now
        )
    )
    return into


def undo_merge(conn: Connection, merge_id: str, *, now: datetime) -> bool:
    """Take a merge back: the two are not merged again as long as both are remembered. Whether it stood.

    Their keys lead each to whom they were told of first, as before.
    """
    row = conn.execute(select(lead_merges).where(lead_merges.c.id == merge_id).with_for_update()).one()
    split = update(leads).where(leads.c.id == row.lead_id, leads.c.merged_into == row.into_id)
    if row.undone_at is not None or not conn.execute(split.values(merged_into=None, used_at=now)).rowcount:
        return False
    conn.execute(update(lead_merges).where(lead_merges.c.id == merge_id).values(undone_at=now))
    return True


def _locked_families(conn: Connection, ids: Collection[str]) -> set[str]:
    """*ids* and all that belongs to their families by now; their keys are locked, then the leads, as in `lead_of`."""
    whole = set(ids)
    while True:
        keys = select(lead_keys.c.value).where(lead_keys.c.lead_id.in_(whole))
        conn.execute(keys.order_by(*lead_keys.primary_key.columns).with_for_update()).all()
        conn.execute(select(leads.c.id).where(leads.c.id.in_(whole)).order_by(leads.c.id).with_for_update()).all()
        grown = {member for id_ in whole for member in family_of(conn, _root(conn, id_))}
        if grown <= whole:
            return whole
        whole |= grown


# --- reading ---------------------------------------------------------------------------------------------------------

_start = select(leads.c.id).where(leads.c.id == bindparam("root")).cte("family", recursive=True)
_family = _start.union(select(leads.c.id).join(_start, leads.c.merged_into == _start.c.id))
_family_ids = select(_family.c.id).order_by(_family.c.id)


def family_of(conn: Connection, root: str) -> tuple[str, ...]:
    """The ids of a lead and of all that was merged into it, the oldest first."""
    return tuple(conn.execute(_family_ids, {"root": root}).scalars())


def read_lead(conn: Connection, id_: str) -> Found:
    """The lead that *id_* is, or was merged into."""
    root = _root(conn, id_)
    family = family_of(conn, root)
    known = select(lead_keys.c.kind, lead_keys.c.value).where(lead_keys.c.lead_id.in_(family))
    keys = sorted((Key(KeyKind(row.kind), row.value) for row in conn.execute(known)), key=_by_strength)
    first = conn.execute(select(leads.c.first_object).where(leads.c.id == root)).scalar_one()
    return Found(root, family, tuple(keys), first)


def find_leads(conn: Connection, keys: Iterable[Key], company: str | None = None) -> list[Found]:
    """The leads that any of *keys* is of; in *company*, or in all."""
    of_any = or_(*(and_(lead_keys.c.kind == key.kind.value, lead_keys.c.value == key.value) for key in keys))
    query = select(lead_keys.c.lead_id).where(of_any)
    if company is not None:
        query = query.where(lead_keys.c.company == company)
    return [read_lead(conn, root) for root in sorted({_root(conn, id_) for id_ in conn.execute(query).scalars()})]


def merges_of(conn: Connection, family: Collection[str]) -> Sequence[Row[Any]]:
    """All merges within a family, and those taken back, oldest first."""
    of_it = or_(lead_merges.c.lead_id.in_(family), lead_merges.c.into_id.in_(family))
    return conn.execute(select(lead_merges).where(of_it).order_by(lead_merges.c.id)).all()


def find_merges(conn: Connection, first: str, last: str) -> Sequence[Row[Any]]:
    """The merges with ids between two, two of them at most."""
    return conn.execute(select(lead_merges).where(lead_merges.c.id.between(first, last)).limit(2)).all()


def _by_strength(key: Key) -> tuple[int, str]:
    return _STRENGTH[key.kind], key.value


# --- forgetting ------------------------------------------------------------------------------------------------------


def forget_leads(conn: Connection, ids: Collection[str], object_ids: Collection[str] = ()) -> None:
    """Remove leads with their families and all that is known of them, and what CRMs call them and *object_ids*."""
    _remove(conn, _locked_families(conn, ids), object_ids)


def _remove(conn: Connection, ids: Collection[str], object_ids: Collection[str] = ()) -> None:
    subjects = [*ids, *object_ids]
    for table in (turns, remote_ids):
        conn.execute(delete(table).where(table.c.subject.in_(subjects)))
    conn.execute(delete(lead_merges).where(or_(lead_merges.c.lead_id.in_(ids), lead_merges.c.into_id.in_(ids))))
    conn.execute(delete(lead_keys).where(lead_keys.c.lead_id.in_(ids)))
    conn.execute(delete(leads).where(leads.c.id.in_(ids)))


def forget_unused(conn: Connection, *, before: datetime, limit: int) -> bool:
    """Remove *limit* leads at most, each with its family, of whom nobody was told since; whether there may be more."""
    old = select(leads.c.id).where(leads.c.merged_into.is_(None), leads.c.used_at < before)
    ids = conn.execute(old.order_by(leads.c.used_at).limit(limit)).scalars().all()
    for root in ids:
        whole = _locked_families(conn, [root])  # and then: somebody may be told of one of them at this moment
        roots = select(leads.c.used_at).where(leads.c.id.in_(whole), leads.c.merged_into.is_(None))
        if all(used_at < before for used_at in conn.execute(roots).scalars()):
            _remove(conn, whole)
    return len(ids) == limit
