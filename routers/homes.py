"""Homes: of several dispatchers that are alive, each lane has one that comes first.

All of them may serve every lane. But whoever records what came back claims anew in the same transaction: in a lane in
which much waits nobody else would ever find a free slot, and a second dispatcher would bring nothing. So whoever is not
at home leaves a gap there from time to time. It is a preference and no lock: a gap that nobody uses costs a second.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection

from receiver import instances

_INTAKE = "intake"  # the one role that sends nothing


def homes(lanes: Collection[str], dispatchers: Collection[str]) -> dict[str, str]:
    """By lane, the dispatcher that comes first. They are dealt out evenly, by every process in the same way."""
    order = sorted(dispatchers)
    return {lane: order[n % len(order)] for n, lane in enumerate(sorted(lanes)) if order}


def dispatchers_alive(conn: Connection, now: datetime) -> set[str]:
    """The instances that send, as their heartbeats tell."""
    return {row.id for row in instances.alive(conn, now) if row.role != _INTAKE}
