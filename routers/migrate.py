"""Bringing a database to the schema this program knows, and telling whether it is there."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from receiver.database import open_database
from routers.schema import SCHEMA_VERSION


def upgrade(url: str) -> None:
    """Bring the database at *url* to the newest schema; does nothing where it is there already."""
    # Alembic is loaded here and not with the module: serving must start fast, and never migrates.
    from alembic import command
    from alembic.config import Config

    import migrations

    open_database(url).dispose()  # a bad URL gets our sentence, not Alembic's
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")


def schema_version(conn: Connection) -> str | None:
    """The revision the database is at, None for one that was never migrated."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    version: str | None = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return version


def is_current(conn: Connection) -> bool:
    """Whether the database has exactly the schema this program knows."""
    return schema_version(conn) == SCHEMA_VERSION
