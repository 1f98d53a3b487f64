"""The whole story of one person: what they did, who was told of it, what CRMs call them, and as whom we know them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from receiver.columns import fixed
from receiver.ids import Prefix, id_range
from routers.facts import contact_of, own_time
from routers.leads import Found, Key, KeyKind, find_leads, merges_of, read_lead
from routers.schema import OPEN, deliveries, leads, objects, remote_ids, versions
from routers.searching import Person, objects_about
from routers.transitions import Transition


@dataclass(frozen=True, slots=True)
class Thing:
    """One call, text or form. *says_first* is what CallRail says of whether it was the person's first of its sort; None
    if it says nothing."""

    row: Row[Any]
    at: datetime
    says_first: bool | None
    is_first: bool

    @property
    def what(self) -> str:
        """What it was, like `call missed` or `text sent`."""
        if self.row.type == "text":
            return "text sent" if Transition.TEXT_SENT in self.row.told else "text received"
        return f"{self.row.type} {self.row.outcome or self.row.stage}"

    @property
    def note(self) -> str | None:
        """Where CallRail and our store disagree."""
        if self.says_first is None or self.says_first is self.is_first:
            return None
        if self.says_first:
            return "CallRail calls it the first; an earlier one is stored here"
        return "CallRail knows earlier ones; none is stored here"


@dataclass(frozen=True, slots=True)
class Story:
    """A person within one company. *lead* is None where no CRM was told of them."""

    company: str
    things: Sequence[Thing]
    lead: Found | None
    merges: Sequence[Row[Any]]
    called: Sequence[Row[Any]]
    waiting: Sequence[Row[Any]]

    @property
    def name(self) -> str | None:
        """What CallRail, or a form, called them last."""
        told = (
            thing.row.fields.get("customer_name") or contact_of(thing.row.fields.get("form_data"))["contact_name"]
            for thing in reversed(self.things)
        )
        return next((name for name in told if isinstance(name, str)), None)


def stories_of_number(conn: Connection, number: str) -> list[Story]:
    """By company, the story of the person with *number*, in E.164."""
    things = objects_about(conn, Person(number))
    found = find_leads(conn, [Key(KeyKind.PHONE, number)])
    return _by_company(conn, things, found)


def stories_of_lead(conn: Connection, written: str) -> list[Story]:
    """The story of each lead whose id begins as *written*; two at most.

    Raises:
        BadId: *written* is no id of a lead.
    """
    first, last = id_range(Prefix.LEAD, written)
    ids = conn.execute(select(leads.c.id).where(leads.c.id.between(first, last)).order_by(leads.c.id).limit(2))
    found = [read_lead(conn, id_) for id_ in ids.scalars().all()]
    things: set[str] = set()
    for lead in found:
        things |= {lead.first_object, *(merge.object_id for merge in merges_of(conn, lead.family))}
        for key in lead.keys:
            if key.kind is KeyKind.PHONE:
                things.update(objects_about(conn, Person(key.value)))
    return _by_company(conn, things, found, only_of_leads=True)


def _by_company(
    conn: Connection, things: Iterable[str], found: Sequence[Found], *, only_of_leads: bool = False
) -> list[Story]:
    rows: Sequence[Any] = conn.execute(_present.where(objects.c.id.in_(sorted(set(things))))).all()
    of_company = {
        company: lead
        for lead in found
        for company in conn.execute(select(leads.c.company).where(leads.c.id == lead.id)).scalars()
    }
    companies = of_company.keys() if only_of_leads else of_company.keys() | {row.company for row in rows}
    return [
        _story(conn, company, [row for row in rows if row.company == company], of_company.get(company))
        for company in sorted(companies)
    ]


_present = select(
    objects.c.id,
    objects.c.company,
    objects.c.type,
    objects.c.object_id,
    objects.c.stage,
    objects.c.outcome,
    objects.c.told,
    objects.c.created_at,
    versions.c.fields,
).join(versions, and_(versions.c.object_id == objects.c.id, versions.c.version == objects.c.version))


def _story(conn: Connection, company: str, rows: Sequence[Row[Any]], lead: Found | None) -> Story:
    family = lead.family if lead is not None else ()
    ids = [row.id for row in rows]
    called = select(remote_ids).where(remote_ids.c.subject.in_([*family, *ids]))
    waiting = select(deliveries).where(
        deliveries.c.object_id.in_(ids), deliveries.c.state.in_([fixed(state) for state in OPEN])
    )
    return Story(
        company,
        _things(rows),
        lead,
        merges_of(conn, family),
        conn.execute(called.order_by(remote_ids.c.sink, remote_ids.c.kind, remote_ids.c.subject)).all(),
        conn.execute(waiting.order_by(deliveries.c.id)).all() if ids else (),
    )


_SAYS_FIRST = {"call": "first_call", "form": "first_form"}


def _things(rows: Sequence[Row[Any]]) -> list[Thing]:
    """What happened, oldest first."""
    at = {row.id: own_time(row.fields) or row.created_at for row in rows}
    things: list[Thing] = []
    for row in sorted(rows, key=lambda row: (at[row.id], row.id)):
        says = row.fields.get(_SAYS_FIRST.get(row.type, ""))
        is_first = not any(thing.row.type == row.type for thing in things)
        things.append(Thing(row, at[row.id], says if isinstance(says, bool) else None, is_first))
    return things
