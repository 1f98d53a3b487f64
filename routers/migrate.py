"""Bringing a database to the schema this program knows, and telling whether it is there."""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

from sqlalchemy import Connection, inspect, text

from receiver.database import open_database
from receiver.exceptions import ReceiverError
from routers.schema import SCHEMA_VERSION


class NewerSchema(ReceiverError):
    """The database was migrated by a newer version of this program."""

    def __init__(self, version: str) -> None:
        super().__init__(
            f"the database has schema {version}, which a newer callrail-router made, and this one knows up to "
            f"{SCHEMA_VERSION}; install the newer version"
        )


def upgrade(url: str) -> None:
    """Bring the database at *url* to the newest schema; does nothing where it is there already.

    Raises:
        NewerSchema: It is beyond what this program knows.
    """
    # Alembic is loaded here and not with the module: serving must start fast, and never migrates.
    from alembic import command
    from alembic.config import Config

    import migrations

    _require_known(url)  # also because a bad URL gets our sentence then, not Alembic's
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")


def _require_known(url: str) -> None:
    database = open_database(url)
    try:
        with database.reading.connect() as conn:
            version = schema_version(conn)
    finally:
        database.dispose()
    if is_newer(version):
        raise NewerSchema(version)


def schema_version(conn: Connection) -> str | None:
    """The revision the database is at, None for one that was never migrated."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    version: str | None = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return version


def is_current(conn: Connection) -> bool:
    """Whether the database has exactly the schema this program knows."""
    return schema_version(conn) == SCHEMA_VERSION


def is_newer(version: str | None) -> TypeGuard[str]:
    """Whether the revision *version* is beyond this program; revisions are numbers of four digits."""
    return version is not None and version > SCHEMA_VERSION
