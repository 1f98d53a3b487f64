"""Alembic's entry: connects as the program does, and migrates in one transaction under a lock."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from receiver.columns import Id, Instant
from receiver.database import open_database
from receiver.schema import metadata
from routers import schema as _schema  # noqa: F401  (its tables join the metadata)

# A key of our own for PostgreSQL's advisory lock: two machines started together migrate one after the other.
_LOCK = 0x63616C6C


def _url() -> str:
    url = context.config.get_main_option("sqlalchemy.url") or os.environ.get("CALLRAIL_ROUTER_DATABASE_URL")
    return url or "sqlite:///callrail-router.db"


def _types_differ(_context: object, _column: object, _ours: object, _type: object, our_type: object) -> bool | None:
    """Alembic cannot see through our own column types to the database's; None leaves all others to it."""
    return False if isinstance(our_type, Id | Instant) else None


def _migrate(conn: Connection) -> None:
    context.configure(connection=conn, target_metadata=metadata, render_as_batch=True, compare_type=_types_differ)
    with context.begin_transaction():
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        context.run_migrations()


def run() -> None:
    """Bring the database of the configuration to the wanted revision."""
    database = open_database(_url())
    try:
        with database.writing.connect() as conn:
            _migrate(conn)
            conn.commit()
    finally:
        database.dispose()


run()
