"""What came in since a moment, proved or not: for whoever waits for the first webhook of a kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from receiver.schema import Origin, QuarantineReason, events, quarantine

# Anybody can send what is quarantined, and under any name.
_MOST_REFUSED = 50


@dataclass(frozen=True)
class Arrival:
    """The first event of a *kind* since then; *refused* says why it is in quarantine, None for a proved one."""

    company: str
    kind: str
    received_at: datetime
    refused: QuarantineReason | None = None


def newest_id(conn: Connection) -> str:
    """The highest id of all that has come in, empty if nothing has. Whatever comes later has a higher one."""
    newest = [conn.execute(select(func.max(table.c.id))).scalar() or "" for table in (events, quarantine)]
    return max(newest)


def arrivals_since(conn: Connection, marker: str, *, company: str) -> list[Arrival]:
    """The first of each kind with an id above *marker*, oldest first: proved ones of *company*, and refused ones.

    Refused ones are those of *company*, and those of companies that the server does not know: a name may be mistyped.
    """
    first = func.min(events.c.received_at)
    is_webhook = events.c.origin == Origin.WEBHOOK.value
    proved = select(events.c.kind, first).where(events.c.id > marker, events.c.company == company, is_webhook)
    found = [Arrival(company, kind, at) for kind, at in conn.execute(proved.group_by(events.c.kind))]
    columns = (quarantine.c.company, quarantine.c.kind, quarantine.c.reason)
    is_ours = (quarantine.c.company == company) | (quarantine.c.reason == QuarantineReason.COMPANY_UNKNOWN.value)
    refused = select(*columns, func.min(quarantine.c.received_at)).where(quarantine.c.id > marker, is_ours)
    found += [
        Arrival(of, kind, at, QuarantineReason(reason))
        for of, kind, reason, at in conn.execute(refused.group_by(*columns).limit(_MOST_REFUSED))
    ]
    return sorted(found, key=lambda arrival: arrival.received_at)
