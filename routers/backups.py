"""Backup and restore of a SQLite file. A backup is taken while a server writes; a restore is not.

The copy is SQLite's own online backup within one read transaction: the state of one moment, and whoever writes
meanwhile is not held up, nor does what they write begin the copy anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, exc, inspect, select

from receiver.bulk import BulkInsert
from receiver.database import Database, open_database
from receiver.exceptions import ReceiverError
from receiver.instances import alive
from receiver.schema import instances
from routers.audit import note
from routers.forgetting import read_erased
from routers.migrate import NewerSchema, is_newer, schema_version
from routers.operating import clock_of
from routers.schema import SCHEMA_VERSION, audit, erased
from routers.starting import Refused, dispatching_alone

_PAGES = 500  # a step; 2 MB
Tell = Callable[[int, int], None]


def _quietly(_done: int, _all: int) -> None:
    pass


class NotABackup(ReceiverError):
    """The file cannot be used as a database."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. *aside* is where the database before it lies, None if there was none.

    *schema* is the version of what was restored, *erased* how many erasures of the database before were carried over,
    None if those could not be read.
    """

    aside: Path | None
    schema: str
    erased: int | None


def path_of(database: Database, command: str, instead: str) -> Path:
    """The SQLite file.

    Raises:
        Refused: It is PostgreSQL, which has tools of its own.
    """
    if not database.is_sqlite:
        url = database.url.set(drivername="postgresql", password=None).render_as_string()
        raise Refused(f"{command} is for SQLite; for PostgreSQL use: {instead.format(url=url)}")
    return Path(str(database.url.database)).resolve()


def back_up(source: Path, target: Path, *, force: bool = False, tell: Tell = _quietly) -> None:
    """Copy the database *source*, as it is at this moment, to *target*, for its owner alone.

    Args:
        tell: Told after each step how many pages are copied, of how many.
    Raises:
        Refused: *target* is there already, or is *source* itself.
        NotABackup: The copy is damaged, and so is the database, or *target* cannot be written.
    """
    if target.exists() and target.samefile(source):  # a server would go on with the file that has lost its name
        raise Refused(f"{target} is the database itself; name another file")
    if target.exists() and not force:
        raise Refused(f"{target} is there already; name a new file, or write --force to replace it")
    with _partial(target) as partial:
        _copy(source, partial, tell)
        _require_sound(partial)
        for file in _beside(target):  # of the file before: SQLite would take its log for one of the new file
            file.unlink(missing_ok=True)
        _put(partial, target)


def restore(
    source: Path, database: Database, *, force: bool = False, tell: Tell = lambda _done, _all: None
) -> Restored:
    """Put the backup *source* in place of the SQLite file of *database*, and that aside.

    Who was erased stays so, and the audit goes on: both are carried over.

    Raises:
        Refused: A server runs, the schema is newer than ours, or older than who was erased can be written into, or a
            database is there and *force* is not said.
        NotABackup: *source* is damaged, or no database of ours, or the disk is full.
    """
    target = path_of(database, "restore", "pg_restore --clean --dbname '{url}' FILE")
    if target.exists() and not force:
        raise Refused(f"{target} is there already; write --force to put it aside and restore")
    with dispatching_alone(database), _partial(target) as partial:
        is_there = target.exists()
        if is_there:
            _require_idle(database, target)
        _copy(source, partial, tell)
        _require_sound(partial)
        with _opened(partial) as copy:
            schema = _require_known(copy)
            carried = _carry_over(database, copy, schema, source) if is_there else 0
            if schema == SCHEMA_VERSION:
                _note(copy, source)
        _give(partial, like=target if is_there else target.parent)
        database.dispose()  # or it would hold the log of what is put aside
        aside = _put_aside(target)
        _put(partial, target)
    return Restored(aside, schema, carried)


# --- the copy --------------------------------------------------------------------------------------------------------


def _give(file: Path, *, like: Path) -> None:
    """Whoever restores as root does it for the server, which runs as somebody else."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A file beside *target* to write to, gone at the end unless it was put in its place.

    Raises:
        NotABackup: The disk or its rights do not let us.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        _remove(partial)
        partial.touch(mode=0o600)
        try:
            yield partial
        finally:
            _remove(partial)
    except OSError as error:
        raise NotABackup(f"{target} cannot be written: {os.strerror(error.errno or 0).lower()}") from None


def _remove(path: Path) -> None:
    for file in (path, *_beside(path)):
        file.unlink(missing_ok=True)


def _beside(path: Path) -> list[Path]:
    """The files that SQLite keeps beside *path*."""
    return [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm")]


def _copy(source: Path, target: Path, tell: Tell) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the moment
            reading.backup(writing, pages=_PAGES, progress=lambda _, left, every: tell(every - left, every))
    except sqlite3.Error as error:
        raise NotABackup(f"{source} cannot be copied: {error}") from None


def _require_sound(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as conn:
            (found,) = conn.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise NotABackup(f"the copy is damaged and was not kept: {found}")


def _put(partial: Path, target: Path) -> None:
    """Give *partial* the name *target*, durably."""
    _fsync(partial)
    partial.rename(target)
    _fsync(target.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- what a restore looks after --------------------------------------------------------------------------------------


def _require_idle(database: Database, target: Path) -> None:
    """Nobody has the database open, and no server says that it lives.

    Raises:
        Refused: Somebody does.
    """
    try:
        with database.reading.connect() as conn:
            lives = bool(alive(conn, clock_of(database).now(conn))) if inspect(conn).has_table("instances") else False
    except exc.DatabaseError:  # damaged; whether somebody has it open is found out all the same
        lives = False
    database.dispose()
    try:
        with closing(sqlite3.connect(target, timeout=0)) as conn:
            conn.execute("PRAGMA journal_mode = DELETE")  # SQLite does this only where it is alone
    except sqlite3.OperationalError:
        lives = True
    except sqlite3.DatabaseError:
        return  # so damaged that nobody can work with it: what a restore is for
    if lives:
        raise Refused(f"a server has {target} open; stop it first, or wait half a minute if it was killed")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{path}")
    try:
        yield database
    finally:
        database.dispose()


def _require_known(copy: Database) -> str:
    """The schema of *copy*.

    Raises:
        Refused: A newer version made it.
        NotABackup: It has none.
    """
    with copy.reading.connect() as conn:
        version = schema_version(conn)
    if version is None:
        raise NotABackup("the file is no database of callrail-router: it has no schema")
    if is_newer(version):
        raise Refused(str(NewerSchema(version)))
    return version


def _carry_over(database: Database, copy: Database, schema: str, source: Path) -> int | None:
    """Put into *copy* who was erased since, and the audit. How many erasures those were, None if they cannot be read.

    Raises:
        Refused: Somebody was erased, and *copy*, of an older *schema*, may have no room to say so.
    """
    try:
        with database.reading.connect() as conn:
            if not inspect(conn).has_table(erased.name):  # of a version that erased nobody
                return 0
            erasures, noted = conn.execute(select(erased)).all(), conn.execute(select(audit)).all()
    except exc.DatabaseError:  # damaged
        return None
    if schema != SCHEMA_VERSION:
        if erasures:
            raise Refused(
                f"{source} has the older schema {schema}, so that persons who were erased would come back and stay; "
                f"bring it up to date first, on a copy if you like: "
                f"callrail-router migrate --database-url sqlite:///{source.resolve()}"
            )
        return 0
    with copy.writing.begin() as conn:
        known = read_erased(conn)
        news = [row for row in erasures if row.hash not in known or known[row.hash] < row.erased_at]
        conn.execute(delete(erased).where(erased.c.hash.in_([row.hash for row in news])))
        _insert_erased(conn, news)
        _insert_audit(conn, noted)
    return len(news)


_insert_erased = BulkInsert(erased, *erased.c)
_insert_audit = BulkInsert(audit, *audit.c)


def _note(copy: Database, source: Path) -> None:
    with copy.writing.begin() as conn:
        conn.execute(delete(instances))  # they served another file
        note(conn, now=clock_of(copy).now(conn), action="restore", subject=source.name)


def _put_aside(target: Path) -> Path | None:
    """Give the database another name, of which the answer is the path; None if there is none.

    So do its log and its index, also such as are left over alone: SQLite would take them for those of the new file.
    """
    aside = target.with_name(f"{target.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    is_there = target.exists()
    for was, becomes in zip((target, *_beside(target)), (aside, *_beside(aside)), strict=True):
        if was.exists():
            was.rename(becomes)
    return aside if is_there else None
