"""The audit: who did what, when, and to which thing. A row is written with the deed and never changed."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from receiver.ids import Prefix, new_id
from routers.schema import audit


def note(conn: Connection, *, now: datetime, action: str, subject: str, details: Any = None) -> None:
    """Note that whoever runs this process did *action* to *subject*. Personal data has no place in *details*."""
    row = {"id": new_id(Prefix.AUDIT), "at": now, "actor": getpass.getuser(), "action": action}
    conn.execute(insert(audit).values(**row, subject=subject, details=details))
