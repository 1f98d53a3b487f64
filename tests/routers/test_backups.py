"""Backup and restore: taken while a server writes, refused while one runs, and who was erased stays so."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from receiver.instances import Instance, beat
from receiver.schema import events, instances
from routers.audit import note
from routers.backups import NotABackup, back_up, restore
from routers.forgetting import read_erased, remember
from routers.schema import SCHEMA_VERSION, audit
from routers.starting import Refused
from tests.routers.running import Ran, config_text, run_here, running
from tests.routers.store import NOW, opened, receive, rows_of

KEY = b"key"


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def put(url: str, *names: str) -> None:
    with opened(url) as database, database.writing.begin() as conn:
        for name in names:
            receive(conn, "post_call", {"resource_id": name})


def events_in(path: Path) -> int:
    with opened(f"sqlite:///{path}") as database:
        return len(rows_of(database, events))


# --- backup ----------------------------------------------------------------------------------------------------------


def test_a_backup_taken_while_others_write_is_whole(sqlite_url: str, tmp_path: Path) -> None:
    """It holds all that was committed before it began, and of what came after a beginning without a gap."""
    target = tmp_path / "copy.db"
    put(sqlite_url, *(f"CAL{n}" for n in range(500)))
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        n = 500
        while not stop.is_set():
            put(sqlite_url, f"CAL{n}")
            begun.set()
            n += 1

    writing = threading.Thread(target=write)
    writing.start()
    begun.wait()
    try:
        back_up(path_of(sqlite_url), target)
    finally:
        stop.set()
        writing.join()

    with opened(f"sqlite:///{target}") as copy, opened(sqlite_url) as database:
        ids = [row.id for row in rows_of(copy, events)]
        assert len(ids) > 500
        assert ids == [row.id for row in rows_of(database, events)][: len(ids)]
        with copy.reading.connect() as conn:
            assert conn.execute(text("PRAGMA quick_check")).scalar() == "ok"


def test_a_backup_is_for_its_owner_and_replaces_nothing_unless_told(sqlite_url: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}
    put(sqlite_url, "CAL1")

    first = run_here("backup", target, environ=environ)
    assert (first.code, stat.S_IMODE(target.stat().st_mode)) == (0, 0o600), first.err
    put(sqlite_url, "CAL2")
    refused = run_here("backup", target, environ=environ)
    assert (refused.code, "write --force" in refused.err, events_in(target)) == (3, True, 1)
    assert run_here("backup", target, "--force", environ=environ).code == 0
    assert events_in(target) == 2
    assert list(tmp_path.glob("*.partial*")) == []


def test_a_damaged_database_makes_no_backup(sqlite_url: str, tmp_path: Path) -> None:
    """What cannot be read whole gets no name of a backup."""
    source, target = path_of(sqlite_url), tmp_path / "copy.db"
    put(sqlite_url, *(f"CAL{n}" for n in range(50)))
    data = bytearray(source.read_bytes())
    data[-4096:] = b"\xff" * 4096
    source.write_bytes(data)

    with pytest.raises(NotABackup, match="damaged"):
        back_up(source, target)

    assert list(tmp_path.glob("copy.db*")) == []


def test_a_backup_never_replaces_the_database_itself(sqlite_url: str, tmp_path: Path) -> None:
    """A server would go on writing into the file that has lost its name."""
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}
    target, link = path_of(sqlite_url), tmp_path / "link.db"
    link.symlink_to(target)
    before = target.stat().st_ino

    ran = [run_here("backup", path, "--force", environ=environ) for path in (target, link)]

    assert [(one.code, "is the database itself" in one.err) for one in ran] == [(3, True), (3, True)]
    assert target.stat().st_ino == before


def test_where_nothing_can_be_written_is_told_plainly(sqlite_url: str, tmp_path: Path) -> None:
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}

    done = run_here("backup", tmp_path / "nowhere" / "copy.db", environ=environ)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "copy.db cannot be written: no such file or directory" in done.err


def leave_a_log(url: str) -> None:
    """What is beside a SQLite file whose server was killed, and then the file is gone."""
    target = path_of(url)
    with closing(sqlite3.connect(target)) as reading:
        reading.execute("SELECT count(*) FROM events").fetchone()
        put(url, *(f"CALlog{n}" for n in range(20)))
        kept = {file: file.read_bytes() for file in (Path(f"{target}-wal"), Path(f"{target}-shm"))}
    assert len(kept[Path(f"{target}-wal")]) > 0
    target.unlink()
    for file, data in kept.items():
        file.write_bytes(data)


def test_a_log_left_beside_a_backup_is_not_taken_for_that_of_the_next(sqlite_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    put(sqlite_url, "CAL1")
    back_up(path_of(sqlite_url), copy)
    leave_a_log(f"sqlite:///{copy}")
    copy.touch()

    back_up(path_of(sqlite_url), copy, force=True)

    assert events_in(copy) == 1


# --- restore ---------------------------------------------------------------------------------------------------------


def test_a_restore_brings_back_what_was_and_puts_the_rest_aside(sqlite_url: str, tmp_path: Path) -> None:
    target, copy = path_of(sqlite_url), tmp_path / "copy.db"
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}
    put(sqlite_url, "CAL1")
    back_up(target, copy)
    put(sqlite_url, "CAL2")

    refused = run_here("restore", copy, environ=environ)
    assert (refused.code, "write --force" in refused.err, events_in(target)) == (3, True, 2)
    done = run_here("restore", copy, "--force", environ=environ)

    assert done.code == 0, done.err
    (aside,) = tmp_path.glob("test.db.before-restore-*Z")
    assert str(aside) in done.err
    assert (events_in(target), events_in(aside)) == (1, 2)
    with opened(sqlite_url) as database:
        assert [row.action for row in rows_of(database, audit)] == ["restore"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_restores_belongs_to_whom_the_old_file_did(sqlite_url: str, tmp_path: Path) -> None:
    """The server runs as another user, and could not open it otherwise."""
    put(sqlite_url, "CAL1")
    copy = tmp_path / "copy.db"
    back_up(path_of(sqlite_url), copy)
    os.chown(path_of(sqlite_url), 12_345, 54_321)

    assert run_here("restore", copy, "--force", environ={"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}).code == 0

    restored = path_of(sqlite_url).stat()
    assert (restored.st_uid, restored.st_gid, restored.st_mode & 0o777) == (12_345, 54_321, 0o600)


def test_a_restore_to_where_nothing_is_needs_no_force(sqlite_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    put(sqlite_url, "CAL1")
    back_up(path_of(sqlite_url), copy)

    done = run_here("restore", copy, environ={"CALLRAIL_ROUTER_DATABASE_URL": f"sqlite:///{tmp_path}/new.db"})

    assert (done.code, events_in(tmp_path / "new.db")) == (0, 1), done.err


def test_a_log_without_its_database_is_not_taken_for_that_of_the_restored(sqlite_url: str, tmp_path: Path) -> None:
    target, copy = path_of(sqlite_url), tmp_path / "copy.db"
    put(sqlite_url, "CAL1")
    back_up(target, copy)
    leave_a_log(sqlite_url)

    with opened(sqlite_url) as database:
        assert restore(copy, database).aside is None

    assert events_in(target) == 1
    assert len(list(tmp_path.glob("test.db.before-restore-*-wal"))) == 1


def test_who_was_erased_since_the_backup_stays_so_and_the_audit_goes_on(sqlite_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    back_up(path_of(sqlite_url), copy)
    with opened(sqlite_url) as database, database.writing.begin() as conn:
        remember(conn, KEY, ["+14045550123"], now=NOW)
        note(conn, now=NOW, action="privacy erase", subject="number")

    with opened(sqlite_url) as database:
        restored = restore(copy, database, force=True)

    assert restored.erased == 1
    with opened(sqlite_url) as database:
        with database.reading.connect() as conn:
            assert list(read_erased(conn).values()) == [NOW]
        assert [row.action for row in rows_of(database, audit)] == ["privacy erase", "restore"]


def test_a_restore_is_refused_while_a_server_runs(sqlite_url: str, tmp_path: Path) -> None:
    """One that dispatches, one that only takes in and holds the file open, one whose heartbeat is fresh."""
    copy, config = tmp_path / "copy.db", tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9"))
    back_up(path_of(sqlite_url), copy)
    serve = ("serve", "--config", config, "--database-url", sqlite_url, "--port", "0")

    with running(*serve) as process:
        assert process.port
        assert is_refused(sqlite_url, copy)
    with running(*serve, "--role", "intake") as process:
        assert process.post("post_call", b"{}") == 204
        assert is_refused(sqlite_url, copy)
    with opened(sqlite_url) as database:
        with database.writing.begin() as conn:
            beat(conn, Instance.of("intake"), now=datetime.now(UTC))
        assert is_refused(sqlite_url, copy)
        with database.writing.begin() as conn:
            conn.execute(instances.delete())
    assert not is_refused(sqlite_url, copy)


def is_refused(url: str, copy: Path) -> bool:
    with opened(url) as database:
        try:
            restore(copy, database, force=True)
        except Refused:
            return True
    return False


def test_a_backup_to_where_nothing_can_be_is_one_sentence(sqlite_url: str, tmp_path: Path) -> None:
    """The folder is not there."""
    target = tmp_path / "none" / "today.db"
    ran = run_here("backup", target, environ={"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url})

    assert ran == Ran(2, "", f"Error: {target} cannot be written: no such file or directory\n")


def test_what_is_no_backup_of_ours_is_refused_and_changes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """A text, an empty database, and one that a newer version made."""
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}
    put(sqlite_url, "CAL1")
    words, empty, newer = (tmp_path / name for name in ("words.db", "empty.db", "newer.db"))
    words.write_text("these are words, and no pages of a database" * 100)
    with closing(sqlite3.connect(empty)) as conn:
        conn.execute("CREATE TABLE a (b)")
    back_up(path_of(sqlite_url), newer)
    with closing(sqlite3.connect(newer)) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")

    ran = [
        run_here("restore", file, "--force", environ=environ) for file in (words, empty, newer, tmp_path / "none.db")
    ]

    assert [one.code for one in ran] == [2, 2, 3, 2], [one.err for one in ran]
    assert "Traceback" not in "".join(one.err for one in ran)
    assert events_in(path_of(sqlite_url)) == 1
    assert list(tmp_path.glob("*before-restore*")) == []


def test_an_older_backup_is_restored_and_says_what_to_run(sqlite_url: str, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    back_up(path_of(sqlite_url), older)
    with closing(sqlite3.connect(older)) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = '0003'")

    with opened(sqlite_url) as database:
        assert restore(older, database, force=True).schema == "0003" != SCHEMA_VERSION


def test_an_older_backup_must_not_lose_who_was_erased(sqlite_url: str, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    back_up(path_of(sqlite_url), older)
    with closing(sqlite3.connect(older)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '0003'")

    with opened(sqlite_url) as database:
        with database.writing.begin() as conn:
            remember(conn, KEY, ["+14045550123"], now=NOW)
        with pytest.raises(Refused, match="callrail-router migrate --database-url"):
            restore(older, database, force=True)
        with database.reading.connect() as conn:
            assert list(read_erased(conn).values()) == [NOW]


def test_that_a_damaged_database_does_not_tell_who_was_erased_is_said(sqlite_url: str, tmp_path: Path) -> None:
    target, copy = path_of(sqlite_url), tmp_path / "copy.db"
    back_up(target, copy)
    for file in (target, Path(f"{target}-wal")):
        file.write_bytes(b"no database" * 500)

    done = run_here("restore", copy, "--force", environ={"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url})

    assert done.code == 0, done.err
    assert "could not be read" in done.err
    assert events_in(target) == 0


def test_postgresql_has_tools_of_its_own(postgresql_url: str, tmp_path: Path) -> None:
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": postgresql_url}

    ran = [run_here(command, tmp_path / "copy", environ=environ) for command in ("backup", "restore")]

    assert [one.code for one in ran] == [3, 3]
    assert "pg_dump --format=custom" in ran[0].err
    assert "pg_restore --clean" in ran[1].err
