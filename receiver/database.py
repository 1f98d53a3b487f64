"""Opening the event store: SQLite or PostgreSQL, set up so that a COMMIT means durable.

Two engines a database: one connection for the single writer, on PostgreSQL two for two of them, a few for readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.engine import URL, make_url

from receiver.exceptions import ReceiverError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

# A page cache of 8 MB instead of 64 halves the resident memory at the same rate; larger WALs trade the commit's p99 for
# rare stalls (both measured).
_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA cache_size = -8000",
    "PRAGMA wal_autocheckpoint = 1000",
    # What is removed is overwritten, always: routing writes a long body anew, and a delivery that is sent leaves the
    # indexes of those that wait, so what nobody erased yet would stand in unused room and no erasure would find it
    # there. FAST leaves whole pages as they were. Routing gets hardly slower by it, and writes 2 % more (measured).
    "PRAGMA secure_delete = ON",
)
_SYNCHRONOUS_FULL = 2
# Every COMMIT must be durable, whatever the role's or the server's default. A dead peer is noticed in seconds, where
# nothing is asked within a minute.
_POSTGRESQL_OPTIONS = "-c synchronous_commit=on -c timezone=UTC -c application_name=callrail-router"
_POSTGRESQL_CONNECT = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
}
# Bitmaps are left out since only a plain scan notes in the index which rows are gone: a table that serves as a queue
# has many of those. Without the JIT compiler, for to it what is off here looks worth compiling. And one plan for all
# values, of which there is only one to choose: planned anew each time, a claim took 1.8 ms instead of 1.2 (measured).
_FIND_BY_INDEX = "; ".join(
    f"SET {setting}"
    for setting in (
        "enable_seqscan = off",
        "enable_bitmapscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
        "jit = off",
        "plan_cache_mode = force_generic_plan",
    )
)


PostgresqlConnection: TypeAlias = "AsyncConnection[Any]"


class UnusableDatabase(ReceiverError):
    """A database URL we cannot work with, or a database that does not keep what it commits."""


@dataclass(frozen=True)
class Database:
    """An open database. *writing* has a connection for each writer and belongs to them; *reading* is for everybody."""

    url: URL
    writing: Engine
    reading: Engine

    @property
    def is_sqlite(self) -> bool:
        return self.writing.dialect.name == "sqlite"

    @property
    def is_missing(self) -> bool:
        """Whether it is a SQLite file that does not exist; opening it would make an empty one."""
        return self.is_sqlite and not Path(str(self.url.database)).exists()

    def dispose(self) -> None:
        self.writing.dispose()
        self.reading.dispose()


def open_database(url: str) -> Database:
    """Open the database at *url* (`sqlite:///file.db` or `postgresql://...`). Connects at first use, not now.

    Raises:
        UnusableDatabase: The URL names no file, another database, or cannot be read.
    """
    parsed = _checked(url)
    if parsed.get_backend_name() == "sqlite":
        return Database(parsed, _sqlite_engine(parsed, "BEGIN IMMEDIATE", 1), _sqlite_engine(parsed, "BEGIN", 4))
    return Database(parsed, _postgresql_engine(parsed, 2, writes=True), _postgresql_engine(parsed, 4))


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        raise UnusableDatabase(
            "the database URL cannot be read; write sqlite:///callrail-router.db or postgresql://user@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise UnusableDatabase("a SQLite database must be a file: write sqlite:///callrail-router.db")
        return parsed.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise UnusableDatabase(f"{backend} is not supported; use sqlite or postgresql")


def _sqlite_engine(url: URL, begin: str, connections: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # errors are logged, and parameters hold personal data
        connect_args={"check_same_thread": False, "timeout": 5.0},
    )

    @event.listens_for(engine, "connect")
    def _set_up(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver begins nothing by itself; we say BEGIN, and which
        for pragma in _SQLITE_PRAGMAS:
            dbapi_connection.execute(pragma)
        (level,) = dbapi_connection.execute("PRAGMA synchronous").fetchone()
        if level != _SYNCHRONOUS_FULL:
            raise UnusableDatabase("SQLite did not accept synchronous=FULL, so a commit would not be durable")

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


def _postgresql_engine(url: URL, connections: int, *, writes: bool = False) -> Engine:
    options = _POSTGRESQL_OPTIONS
    if writes:  # frozen amid a transaction, it would hold what others wait for
        options += " -c idle_in_transaction_session_timeout=20s"
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        pool_pre_ping=not writes,
        connect_args={**_POSTGRESQL_CONNECT, "options": options},
    )


async def connect_postgresql(database: Database) -> PostgresqlConnection:
    """A connection of its own to PostgreSQL, on the event loop, for what SQLAlchemy does not offer. Each statement is a
    transaction.

    Raises:
        psycopg.OperationalError: The server cannot be reached.
    """
    from psycopg import AsyncConnection  # not above: SQLite starts without it

    _, told = database.writing.dialect.create_connect_args(database.url)
    arguments: dict[str, Any] = {**told, **_POSTGRESQL_CONNECT, "options": _POSTGRESQL_OPTIONS}
    return await AsyncConnection.connect(**arguments, autocommit=True)


def find_by_index(conn: Connection) -> None:
    """Let PostgreSQL find rows by their keys alone on *conn*, for short statements that are repeated all day.

    The plan of a prepared statement stays until the next ANALYZE. Made while a table was small it reads all rows, also
    when there are thousands: recording a batch of sixteen cost 0.3 ms by index and 4.7 ms so, beside 12,000 (measured).
    """
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(_FIND_BY_INDEX)
        conn.commit()


def is_data_error(error: BaseException) -> bool:
    """Whether *error* lies in the rows themselves, so that other rows of the same batch may still be stored."""
    if isinstance(error, exc.DBAPIError):
        return not error.connection_invalidated and isinstance(error, exc.DataError | exc.IntegrityError)
    return isinstance(error, exc.StatementError | UnicodeError | TypeError | ValueError)


def is_database_error(error: BaseException) -> bool:
    """Whether the database itself refused, broke off or is not what we expect."""
    return isinstance(error, exc.DBAPIError | UnusableDatabase) and not is_data_error(error)


def driver_text(error: Exception) -> str:
    """The driver's sentence alone: the statement, its parameters and PostgreSQL's DETAIL hold personal data."""
    return str(error.orig).partition("\n")[0] if isinstance(error, exc.DBAPIError) else type(error).__name__


def answers(conn: Connection) -> None:
    """Do nothing but ask the database whether it is there and holds our tables."""
    conn.execute(text("SELECT 1 FROM events WHERE 1 = 0"))
