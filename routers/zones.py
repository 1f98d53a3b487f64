"""The time zones of companies, as their calls told them: texts and forms tell none."""

from __future__ import annotations

from sqlalchemy import Connection, select

from receiver.bulk import BulkInsert, BulkUpdate
from routers.schema import time_zones

_insert = BulkInsert(time_zones, *time_zones.c)
_update = BulkUpdate(time_zones, time_zones.c.time_zone, key=[time_zones.c.company])


def told_zones(conn: Connection) -> dict[str, str]:
    """By company, the newest zone that a call of it told."""
    return {row.company: row.time_zone for row in conn.execute(select(time_zones))}


def remember_zone(conn: Connection, company: str, zone: str) -> None:
    """A call told that *company* is in *zone*."""
    if not _insert(conn, [(company, zone)]):
        _update(conn, [(zone, company)])
