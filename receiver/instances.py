"""The processes that serve, by their heartbeats: who is alive, who spools, and who must be taken for dead."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from receiver.ids import Prefix, new_id
from receiver.schema import instances

BEAT_EVERY = timedelta(seconds=10)
# Three missed ones: whoever is silent for longer is taken for dead.
ALIVE_FOR = timedelta(seconds=35)
_KEPT_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Instance:
    """This process, as others see it. *id* also names it on the leases it holds."""

    id: str
    role: str

    @classmethod
    def of(cls, role: str) -> Instance:
        """A new one."""
        return cls(new_id(Prefix.INSTANCE), role)


def beat(
    conn: Connection,
    instance: Instance,
    *,
    now: datetime,
    spooled: int = 0,
    spooling_since: datetime | None = None,
) -> None:
    """Say that *instance* is alive, and how many webhooks wait in its spool."""
    told: dict[str, Any] = {"seen_at": now, "spooled": spooled, "spooling_since": spooling_since}
    if conn.execute(update(instances).where(instances.c.id == instance.id).values(told)).rowcount:
        return
    conn.execute(delete(instances).where(instances.c.seen_at < now - _KEPT_FOR))
    told |= {"id": instance.id, "role": instance.role, "host": socket.gethostname(), "pid": os.getpid()}
    told |= {"version": version("callrail-router"), "started_at": now}
    conn.execute(insert(instances).values(told))


def leave(conn: Connection, instance: Instance) -> None:
    """Take *instance* out: it ends in order, and nobody need wonder where it is."""
    conn.execute(delete(instances).where(instances.c.id == instance.id))


def seen_since(conn: Connection, moment: datetime) -> Sequence[Row[Any]]:
    """The instances with a heartbeat after *moment*, those that started first in front."""
    query = select(instances).where(instances.c.seen_at > moment)
    return conn.execute(query.order_by(instances.c.started_at, instances.c.id)).all()


def alive(conn: Connection, now: datetime) -> Sequence[Row[Any]]:
    """The instances that are taken to be alive at *now*."""
    return seen_since(conn, now - ALIVE_FOR)
