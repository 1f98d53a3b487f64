"""Whether a process may dispatch from a database: it has our schema, and on SQLite nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import exc

from receiver.asking import ask
from receiver.database import Database, driver_text
from receiver.exceptions import ReceiverError
from routers.migrate import NewerSchema, is_newer, schema_version
from routers.schema import SCHEMA_VERSION

_ANSWER_WITHIN = 2.0  # seconds


class Refused(ReceiverError):
    """Starting would endanger what is stored."""


class _NotAnswering(ReceiverError):
    """The database cannot be asked now."""


async def require_schema(database: Database) -> None:
    """Refuse a database that is not ours to use. One that does not answer is no reason not to start."""
    with contextlib.suppress(_NotAnswering):
        if (trouble := await _schema_trouble(database)) is not None:
            raise Refused(trouble)


async def trouble_of(database: Database) -> str | None:
    """What keeps us from dispatching from *database*."""
    try:
        return await _schema_trouble(database)
    except _NotAnswering as error:
        return str(error)


async def _schema_trouble(database: Database) -> str | None:
    """What is wrong with the schema.

    Raises:
        _NotAnswering: It cannot be asked.
    """
    try:
        version = await asyncio.wait_for(ask(partial(_version, database)), _ANSWER_WITHIN)
    except TimeoutError:
        raise _NotAnswering("no answer in time") from None
    except exc.DBAPIError as error:
        raise _NotAnswering(driver_text(error)) from None
    except OSError as error:  # the directory of the SQLite file cannot be read
        raise _NotAnswering(str(error.strerror)) from None
    if is_newer(version):
        return str(NewerSchema(version))
    if version != SCHEMA_VERSION:
        return "the database does not have the schema of this version; run: callrail-router migrate"
    return None


def _version(database: Database) -> str | None:
    if database.is_missing:
        return None
    with database.reading.connect() as conn:
        return schema_version(conn)


@contextlib.contextmanager
def dispatching_alone(database: Database) -> Iterator[None]:
    """On SQLite one dispatcher a file, by a lock that the system drops with the process. PostgreSQL needs none."""
    if not database.is_sqlite:
        yield
        return
    path = Path(f"{Path(str(database.url.database)).resolve()}.dispatcher.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(f"another process dispatches from {database.url.database} already; stop it first") from None
        yield
