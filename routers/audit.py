"""The audit: who changed by hand what is stored, and what. It holds ids and names of ours, never personal data."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from receiver.ids import Prefix, new_id
from routers.schema import audit


def note(conn: Connection, *, now: datetime, action: str, subject: str, details: Any = None) -> None:
    """Write down that the user of this process did *action*, like `sinks pause`, to *subject*."""
    row = {"id": new_id(Prefix.AUDIT), "at": now, "actor": _actor(), "action": action, "subject": subject}
    conn.execute(insert(audit).values(**row, details=details))


def newest(conn: Connection, *, limit: int) -> Sequence[Row[Any]]:
    """What was done, the newest first."""
    return conn.execute(select(audit).order_by(audit.c.id.desc()).limit(limit)).all()


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        return f"uid {os.getuid()}"
