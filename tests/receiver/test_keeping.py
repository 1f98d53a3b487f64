"""Which way a webhook takes: into the database, or into the spool and back, without a 2xx that is a lie."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, create_engine, event, func, select, text

from receiver.clock import WallClock
from receiver.database import Database, open_database
from receiver.heartbeat import Heartbeat
from receiver.ids import Prefix, new_id
from receiver.instances import Instance
from receiver.keeping import LOOK_EVERY
from receiver.records import event_record
from receiver.schema import events, instances, quarantine
from receiver.spool import open_spool
from routers import migrate
from tests.client import get, post, post_signed
from tests.receiver.test_intake import refuse_bodies_with
from tests.receiver.test_spool import SMALL
from tests.receiver.test_writer import a_row
from tests.routers.waiting import LONGEST, until
from tests.serving import ACME_KEY, NO_SPOOL, Receiver, companies_of, running_receiver

pytestmark = pytest.mark.anyio

PATH = "/callrail/acme/post_call"


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def body(number: int) -> bytes:
    return json.dumps({"resource_id": f"CAL{number}"}).encode()


async def take(receiver: Receiver, number: int) -> int:
    return (await post_signed(receiver.port, PATH, body(number), key=ACME_KEY)).status


def stored(database: Database) -> list[bytes]:
    """The bodies of all events, in the order of their ids."""
    with database.reading.connect() as conn:
        return list(conn.execute(select(events.c.body).order_by(events.c.id)).scalars())


def lines(logged: list[Any], name: str) -> list[Any]:
    return [line for line in logged if line["event"] == name]


def hide_table(conn: Connection) -> None:
    conn.exec_driver_sql("ALTER TABLE events RENAME TO hidden")


def show_table(conn: Connection) -> None:
    conn.exec_driver_sql("ALTER TABLE hidden RENAME TO events")


@asynccontextmanager
async def away(receiver: Receiver) -> AsyncIterator[None]:
    """A database that refuses for the length of the block."""
    with receiver.database.writing.begin() as conn:
        hide_table(conn)
    try:
        yield
    finally:
        with receiver.database.writing.begin() as conn:
            show_table(conn)


async def is_direct(receiver: Receiver) -> None:
    await until(lambda: receiver.keeper.since is None)


# --- there and back --------------------------------------------------------------------------------------------------


async def test_while_the_database_refuses_all_are_taken_and_all_come_back_in_order(
    database_url: str, tmp_path: Path, logged: list[Any]
) -> None:
    """204 throughout; afterwards each once, in the order they came, and new ones are stored directly."""
    async with running_receiver(companies_of(tmp_path), database_url) as receiver:
        assert await take(receiver, 0) == 204
        async with away(receiver):
            assert [await take(receiver, number) for number in range(1, 100)] == [204] * 99
            ready = await get(receiver.port, "/readyz")
            told = json.loads(ready.body)
            assert (ready.status, told["status"], told["spooled"]) == (200, "spooling", 99)
        await is_direct(receiver)
        assert await take(receiver, 100) == 204

        assert stored(receiver.database) == [body(number) for number in range(101)]
        assert json.loads((await get(receiver.port, "/readyz")).body) == {"status": "ready"}
    assert len(lines(logged, "spool.began")) == 1
    assert [line["webhooks"] for line in lines(logged, "spool.ended")] == [99]


async def test_many_at_once_come_back_while_more_come_in(database_url: str, tmp_path: Path) -> None:
    """Under load the spool would never be empty by itself: at its end the next requests wait a moment."""
    count = 0
    async with running_receiver(companies_of(tmp_path), database_url) as receiver:

        async def post_on(stop: asyncio.Event) -> None:
            nonlocal count
            while not stop.is_set():
                count += 1
                assert await take(receiver, count) == 204

        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            async with away(receiver):
                for _ in range(8):
                    group.create_task(post_on(stop))
                await until(lambda: receiver.keeper.spooled > 200)
            await is_direct(receiver)
            stop.set()

        assert sorted(stored(receiver.database)) == sorted(body(number) for number in range(1, count + 1))


async def test_bytes_and_columns_are_the_same_on_both_ways(database_url: str, tmp_path: Path) -> None:
    """A row that went through the spool cannot be told from one that did not."""
    raw = bytes(range(256)) + b"\xff\xfeSPL"
    async with running_receiver(companies_of(tmp_path), database_url) as receiver:
        await post_signed(receiver.port, PATH, raw, key=ACME_KEY, headers=[("User-Agent", "caf\xe9")])
        async with away(receiver):
            await post_signed(receiver.port, PATH, raw, key=ACME_KEY, headers=[("User-Agent", "caf\xe9")])
        await is_direct(receiver)

        with receiver.database.reading.connect() as conn:
            direct, spooled = conn.execute(select(events).order_by(events.c.id)).all()
    assert direct[2:] == spooled[2:]
    assert direct.received_at < spooled.received_at
    assert direct.body == raw


async def test_a_stall_sends_all_who_wait_to_the_spool(database_url: str, tmp_path: Path, logged: list[Any]) -> None:
    """No commit comes: those in the transaction and those behind it are answered 204 at the bound, and stored once.

    The function that held the writer is no dead database: it goes on, and its caller is told what it returns.
    """
    soon = timedelta(milliseconds=100)
    async with running_receiver(companies_of(tmp_path), database_url, stalled_after=soon) as receiver:
        may_end = threading.Event()
        holding = asyncio.create_task(receiver.writer.run(lambda _conn: may_end.wait()))

        answers = await asyncio.gather(*(take(receiver, number) for number in range(10)))
        may_end.set()

        assert answers == [204] * 10
        assert await holding is True
        await is_direct(receiver)
        assert sorted(stored(receiver.database)) == sorted(map(body, range(10)))
    assert [line["cause"] for line in lines(logged, "spool.began")] == ["no commit within 0.1 s"]


async def test_a_lock_held_for_seconds_refuses_nobody(sqlite_url: str, tmp_path: Path) -> None:
    """Another connection writes to the SQLite file for longer than CallRail should wait."""
    async with running_receiver(companies_of(tmp_path), sqlite_url) as receiver:
        other = create_engine(sqlite_url, isolation_level="AUTOCOMMIT")
        with other.connect() as holder:
            holder.exec_driver_sql("BEGIN IMMEDIATE")
            async with asyncio.timeout(3):
                assert await take(receiver, 1) == 204
            assert await take(receiver, 2) == 204
            holder.exec_driver_sql("ROLLBACK")
        other.dispose()
        await is_direct(receiver)

        assert stored(receiver.database) == [body(1), body(2)]


async def test_a_volume_that_is_gone_refuses_nobody(sqlite_url: str, tmp_path: Path) -> None:
    """The directory of the SQLite file is not there, and then it is."""
    volume = tmp_path / "volume"
    async with running_receiver(companies_of(tmp_path), f"sqlite:///{volume / 'test.db'}") as receiver:
        assert await take(receiver, 1) == 204

        volume.mkdir()
        (tmp_path / "test.db").rename(volume / "test.db")
        await is_direct(receiver)

        assert stored(receiver.database) == [body(1)]


async def test_before_migrate_webhooks_wait_in_the_spool(unmigrated_url: str, tmp_path: Path) -> None:
    """Any schema will do to begin with; proved and unproved ones are in the tables once there are tables."""
    async with running_receiver(companies_of(tmp_path), unmigrated_url) as receiver:
        assert await take(receiver, 1) == 204
        assert (await post(receiver.port, PATH, b"unproved")).status == 401
        assert (await post(receiver.port, "/callrail/nobody/post_call", b"unclaimed")).status == 202

        await asyncio.to_thread(migrate.upgrade, unmigrated_url)
        await is_direct(receiver)

        assert stored(receiver.database) == [body(1)]
        with receiver.database.reading.connect() as conn:
            kept = conn.execute(select(quarantine.c.body).order_by(quarantine.c.id)).scalars().all()
        assert kept == [b"unproved", b"unclaimed"]


def backend_of(conn: Connection) -> int:
    """The process of PostgreSQL that serves the writer of this database."""
    query = text(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid() "
        "AND application_name = 'callrail-router'"
    )
    return int(conn.execute(query).scalar_one())


async def test_a_backend_that_hangs_refuses_nobody(postgresql_url: str, tmp_path: Path) -> None:
    """A stopped process answers nothing and closes nothing; when it goes on, all is stored once."""
    async with running_receiver(companies_of(tmp_path), postgresql_url) as receiver:
        assert await take(receiver, 0) == 204
        with receiver.database.reading.connect() as conn:
            backend = backend_of(conn)
        os.kill(backend, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(take(receiver, number) for number in range(1, 20)))
        finally:
            os.kill(backend, signal.SIGCONT)
        await is_direct(receiver)

        assert answers == [204] * 19
        assert sorted(stored(receiver.database)) == sorted(map(body, range(20)))


# --- what cannot be kept, or not brought back ------------------------------------------------------------------------


async def test_with_neither_database_nor_spool_it_says_so_once_and_answers_503(
    sqlite_url: str, tmp_path: Path, logged: list[Any]
) -> None:
    """Without a spool it serves as long as the database does."""
    async with running_receiver(companies_of(tmp_path), sqlite_url, spool=NO_SPOOL) as receiver:
        assert await take(receiver, 1) == 204
        async with away(receiver):
            assert await take(receiver, 2) == 503
            assert (await get(receiver.port, "/readyz")).status == 503
        assert await take(receiver, 3) == 204

        assert stored(receiver.database) == [body(1), body(3)]
    (line,) = lines(logged, "spool.unusable")
    assert (line["folder"], line["reason"]) == (str(NO_SPOOL), "Not a directory")


async def test_a_spool_that_can_be_made_later_is_used_then(sqlite_url: str, tmp_path: Path) -> None:
    """Somebody has mended the folder; no restart is needed."""
    folder = tmp_path / "file"
    folder.touch()
    async with running_receiver(companies_of(tmp_path), sqlite_url, spool=folder) as receiver:
        folder.unlink()
        await until(lambda: list(folder.glob("in_*/*.segment")))
        async with away(receiver):
            assert await take(receiver, 1) == 204


async def test_room_that_is_made_again_is_found_within_ten_seconds(sqlite_url: str, tmp_path: Path) -> None:
    """No further segment can be had, then it can; operations.md names the ten seconds."""
    folder = tmp_path / "spool"
    async with (
        running_receiver(companies_of(tmp_path), sqlite_url, spool=folder, segment_size=SMALL) as receiver,
        away(receiver),
    ):
        (first,) = folder.glob("in_*/*.segment")
        in_the_way = first.with_name(f"{int(first.stem) + 1:0{len(first.stem)}}{first.suffix}")
        in_the_way.mkdir()
        numbers = iter(range(10_000))
        while await take(receiver, next(numbers)) == 204:  # what was allocated ahead
            pass
        assert not (await receiver.keeper.condition()).can_keep
        in_the_way.rmdir()
        await until(lambda: in_the_way.is_file())
        assert await take(receiver, next(numbers)) == 204
    assert timedelta(seconds=10) >= LOOK_EVERY


async def test_what_finds_no_room_costs_no_other(sqlite_url: str, tmp_path: Path) -> None:
    """A body larger than what is left is refused alone."""
    async with running_receiver(companies_of(tmp_path), sqlite_url, segment_size=SMALL) as receiver:
        async with away(receiver):
            large = b"x" * SMALL
            refused = asyncio.create_task(post_signed(receiver.port, PATH, large, key=ACME_KEY))
            assert await asyncio.gather(*(take(receiver, number) for number in range(20))) == [204] * 20
            assert (await refused).status == 503
        await is_direct(receiver)
        # It may be stored all the same, when the database is back; nobody was told that it is.
        assert len([body for body in stored(receiver.database) if body != large]) == 20


async def test_what_is_not_proved_fills_a_tenth_of_the_spool(sqlite_url: str, tmp_path: Path) -> None:
    """Beyond it is 401 and not kept, also where a kept one is answered 202; proved ones have the rest."""
    part = b"x" * (SMALL // 40)
    async with running_receiver(companies_of(tmp_path), sqlite_url, segment_size=SMALL) as receiver:
        async with away(receiver):
            assert await take(receiver, 1) == 204
            answers = [(await post(receiver.port, "/callrail/nobody/post_call", part)).status for _ in range(8)]
            assert await take(receiver, 2) == 204
        await is_direct(receiver)
        with receiver.database.reading.connect() as conn:
            kept = conn.execute(select(func.count()).select_from(quarantine)).scalar_one()
    assert (answers, kept) == ([202] * 2 + [401] * 6, 2)


async def test_a_record_that_the_database_refuses_is_set_aside(
    database_url: str, tmp_path: Path, logged: list[Any]
) -> None:
    """It holds up none of the others, and is there to be looked at."""
    folder = tmp_path / "spool"
    async with running_receiver(companies_of(tmp_path), database_url, spool=folder) as receiver:
        with receiver.database.writing.begin() as conn:
            refuse_bodies_with(conn, "CAL3")
        async with away(receiver):
            assert [await take(receiver, number) for number in range(6)] == [204] * 6
        await is_direct(receiver)

        assert stored(receiver.database) == [body(number) for number in (0, 1, 2, 4, 5)]
    (line,) = lines(logged, "spool.refused")
    (kept,) = (folder / "refused").iterdir()
    assert (kept.name, str(kept)) == (f"{line['id']}.json", line["file"])
    assert "CAL3" not in str(logged)


async def test_records_of_another_version_hold_up_no_other(database_url: str, tmp_path: Path) -> None:
    """What this version cannot read is set aside, whole, whatever it is; what comes after it is brought back."""
    folder = tmp_path / "spool"
    unreadable = [b"no JSON", b"[]", b'{"table": "faxes", "row": {"id": "fx_1"}}']
    spool = open_spool(folder, segment_size=SMALL)
    spool.append([*unreadable, event_record(a_row())])
    spool.close()
    async with running_receiver(companies_of(tmp_path), database_url, spool=folder) as receiver:
        await is_direct(receiver)
        assert stored(receiver.database) == [b"{}"]
    assert sorted(path.read_bytes() for path in (folder / "refused").iterdir()) == sorted(unreadable)


async def test_a_directory_that_cannot_be_removed_holds_up_no_other(sqlite_url: str, tmp_path: Path) -> None:
    """Somebody has put a folder into those of dead processes: what waits in them and behind them comes back."""
    folder = tmp_path / "spool"
    for rows in ([], [a_row()], [a_row()]):
        spool = open_spool(folder, segment_size=SMALL)
        spool.append([event_record(row) for row in rows])
        (spool.directory / "strange").mkdir()
        spool.close()
    async with running_receiver(companies_of(tmp_path), sqlite_url, spool=folder) as receiver:
        assert await take(receiver, 1) == 204
        await is_direct(receiver)

        assert stored(receiver.database) == [b"{}", b"{}", body(1)]


async def test_a_slow_database_gets_back_what_waits(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose COMMIT takes longer than requests may wait for the last of the spool."""
    monkeypatch.setattr("receiver.keeping._LAST_WITHIN", 0.05)
    async with running_receiver(companies_of(tmp_path), database_url) as receiver:
        async with away(receiver):
            assert await take(receiver, 1) == 204
        slowed = threading.Event()
        event.listen(receiver.stored_through.writing, "commit", lambda _conn: slowed.wait(0.2))
        await is_direct(receiver)

        assert stored(receiver.database) == [body(1)]


# --- processes that die ----------------------------------------------------------------------------------------------


async def test_what_a_dead_process_left_is_brought_back_first(sqlite_url: str, tmp_path: Path) -> None:
    """At the start: what comes in meanwhile waits behind it."""
    folder = tmp_path / "spool"
    left = [a_row() for _ in range(3)]
    spool = open_spool(folder, segment_size=SMALL)
    spool.append([event_record(row) for row in left])
    spool.close()
    async with running_receiver(companies_of(tmp_path), sqlite_url, spool=folder) as receiver:
        assert await take(receiver, 1) == 204
        await is_direct(receiver)

        assert stored(receiver.database) == [b"{}"] * 3 + [body(1)]
    assert not list(folder.glob("in_*"))


async def test_what_a_process_leaves_while_others_run_is_taken_over(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever lives looks for it now and then."""
    folder = tmp_path / "spool"
    async with running_receiver(companies_of(tmp_path), sqlite_url, spool=folder) as receiver:
        spool = open_spool(folder, segment_size=SMALL)
        spool.append([event_record(a_row())])
        assert stored(receiver.database) == []
        spool.close()

        await until(lambda: stored(receiver.database) == [b"{}"])


_DRAINS = """
import asyncio, sys
from pathlib import Path
from receiver.database import open_database
from receiver.events import insert_events
from receiver.keeping import Keeper
from receiver.writer import Writer

async def main():
    writer = Writer(open_database(sys.argv[1]), insert_events)
    writer.start()
    await Keeper(writer, Path(sys.argv[2])).start()
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_killed_again_and_again_while_draining_nothing_is_lost_or_doubled(
    database_url: str, tmp_path: Path
) -> None:
    """Each process takes over what the one before had not passed."""
    folder, count = tmp_path / "spool", 3000
    rows = [a_row(new_id(Prefix.EVENT)) for _ in range(count)]
    spool = open_spool(folder)
    spool.append([event_record(row) for row in rows])
    spool.close()
    database = open_database(database_url)

    def number() -> int:
        with database.reading.connect() as conn:
            return int(conn.execute(select(func.count()).select_from(events)).scalar_one())

    kills, last = 0, 0
    while (before := number()) < count:
        process = subprocess.Popen([sys.executable, "-c", _DRAINS, database_url, str(folder)])  # noqa: ASYNC220
        enough = min(before + 500, count)
        await until(lambda enough=enough: number() >= enough)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=LONGEST)
        kills, last = kills + 1, number()

    with database.reading.connect() as conn:
        ids = list(conn.execute(select(events.c.id).order_by(events.c.id)).scalars())
    database.dispose()
    assert ids == sorted(row[0] for row in rows)
    assert (kills > 2, last) == (True, count)


# --- heartbeats ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def beating(receiver: Receiver) -> AsyncIterator[Instance]:
    instance = Instance.of("intake")
    heartbeat = Heartbeat(receiver.writer, WallClock(lambda _conn, _back: None), instance, receiver.keeper)
    heartbeat.start()
    try:
        yield instance
    finally:
        await heartbeat.stop()


def beats(database: Database) -> list[Any]:
    with database.reading.connect() as conn:
        return list(conn.execute(select(instances.c.id, instances.c.spooled, instances.c.spooling_since)))


async def test_a_process_is_seen_while_it_lives_and_gone_when_it_ends(database_url: str, tmp_path: Path) -> None:
    """One row a process."""
    async with running_receiver(companies_of(tmp_path), database_url) as receiver:
        async with beating(receiver) as instance:
            await until(lambda: beats(receiver.database) == [(instance.id, 0, None)])
        assert beats(receiver.database) == []


async def test_that_it_spooled_is_told_with_the_first_transaction_after_it(database_url: str, tmp_path: Path) -> None:
    """It stands there until the next beat, long after the spool is empty, so that an alarm finds it."""
    async with running_receiver(companies_of(tmp_path), database_url) as receiver, beating(receiver) as instance:
        await until(lambda: beats(receiver.database))
        async with away(receiver):
            assert await take(receiver, 1) == 204
            since = receiver.keeper.since
        await is_direct(receiver)

        assert [(row.id, row.spooling_since) for row in beats(receiver.database)] == [(instance.id, since)]


async def test_on_a_schema_without_the_table_nobody_beats(
    unmigrated_url: str, tmp_path: Path, logged: list[Any]
) -> None:
    """An intake runs on any schema. Once it is migrated it is seen, and the log says nothing of it."""
    async with running_receiver(companies_of(tmp_path), unmigrated_url) as receiver:
        async with beating(receiver):
            await receiver.writer.run(lambda _conn: None)
        assert logged == []
        await asyncio.to_thread(migrate.upgrade, unmigrated_url)
        async with beating(receiver):
            await until(lambda: beats(receiver.database))
