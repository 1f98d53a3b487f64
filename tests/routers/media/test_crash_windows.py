"""Killed at any moment, erased meanwhile, or fetched by two at once: one whole file, or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.writer import Writer
from routers.fake_callrail.storage import File
from routers.media.aging import remove_media_of, sweep
from routers.media.fetching import LEASE, Fetching
from routers.media.folder import SURELY_OVER, part_of
from routers.media.rows import Lease, claim_due
from tests.routers.media.gallery import COMPANY, Gallery
from tests.routers.media.test_failures import held_until

pytestmark = pytest.mark.anyio


def claimed(gallery: Gallery) -> Lease:
    """The file that is due, taken as by a process that is about to die."""
    with gallery.database.writing.begin() as conn:
        now = gallery.clock.now(conn)
        (lease,) = claim_due(conn, companies=[COMPANY], now=now, lease_for=LEASE, limit=1)
    return lease


async def test_killed_between_rename_and_commit_it_is_fetched_again_into_the_same_file(gallery: Gallery) -> None:
    gallery.post_call()
    kept = await gallery.fetching()._kept(claimed(gallery))  # and there it dies
    assert [str(file) for file in gallery.files()] == [kept.path]
    assert (gallery.row.state, gallery.row.path) == ("pending", None)

    await gallery.fetch()
    assert gallery.row.state == "pending"  # for all that is known somebody is at it
    gallery.clock.moment += LEASE
    await gallery.fetch()

    assert (gallery.row.state, gallery.row.path) == ("stored", kept.path)
    assert [str(file) for file in gallery.files()] == [kept.path]


async def test_killed_before_the_rename_nothing_says_that_it_is_stored(gallery: Gallery) -> None:
    gallery.post_call()
    lease = claimed(gallery)
    gallery.folder.mkdir()
    part = part_of(gallery.folder, lease)
    part.write_bytes(b"ID3 half")  # and there it dies
    assert gallery.row.state == "pending"

    gallery.clock.moment += LEASE
    await gallery.fetch()
    assert gallery.row.state == "stored"
    grown_old(part)
    await sweep(gallery.writer, [gallery.folder])
    assert [str(file) for file in gallery.files()] == [gallery.row.path]


async def test_a_file_whose_row_was_never_written_is_swept(gallery: Gallery) -> None:
    """Killed after the rename, and the person erased before anybody fetched it again."""
    gallery.post_call()
    kept = await gallery.fetching()._kept(claimed(gallery))
    with gallery.database.writing.begin() as conn:
        remove_media_of(conn, gallery.row.object_id)
    await sweep(gallery.writer, [gallery.folder])
    assert len(gallery.files()) == 1  # its row might be about to be written

    grown_old(Path(kept.path))
    await sweep(gallery.writer, [gallery.folder])
    assert gallery.files() == []


def grown_old(path: Path) -> None:
    moment = path.stat().st_mtime - SURELY_OVER.total_seconds() - 1
    os.utime(path, (moment, moment))


async def test_what_is_not_ours_or_of_an_older_database_is_not_swept(gallery: Gallery) -> None:
    gallery.post_call()
    await gallery.fetch()
    others = gallery.folder / "accounts.xlsx"
    older = gallery.folder / f"ob_{'0' * 26}-{'0' * 24}.mp3"
    for file in (others, older):
        file.write_bytes(b"theirs")
    for file in gallery.files():
        grown_old(file)
    await sweep(gallery.writer, [gallery.folder])

    assert sorted(map(str, (others, older, gallery.row.path))) == [str(file) for file in gallery.files()]


async def test_a_folder_that_moved_keeps_its_files(gallery: Gallery) -> None:
    gallery.post_call()
    await gallery.fetch()
    moved = gallery.folder.rename(gallery.folder.with_name("moved"))
    (file,) = moved.iterdir()
    grown_old(file)
    await sweep(gallery.writer, [moved])

    assert list(moved.iterdir()) == [file]


async def frozen_amid_a_file(gallery: Gallery, gate: asyncio.Event) -> asyncio.Task[None]:
    """A process that is at the file that is due, at that alone, and stands still within its bytes until *gate* opens.

    Not `fetch`, which goes on to look for more, and might find the same one once its lease is over.
    """
    begun = asyncio.Event()
    gallery.fake.faults.add("GET", "/storage/*", held_until(gate, begun))
    fetched = asyncio.create_task(gallery.fetching()._fetch_one(claimed(gallery)))
    await begun.wait()
    return fetched


async def test_erased_while_it_is_fetched_nothing_stays(gallery: Gallery) -> None:
    gate = asyncio.Event()
    gallery.post_call()
    fetched = await frozen_amid_a_file(gallery, gate)
    with gallery.database.writing.begin() as conn:
        remove_media_of(conn, gallery.row.object_id)
    gate.set()
    await fetched

    assert gallery.rows() == []
    assert gallery.files() == []


@contextlib.asynccontextmanager
async def another_writer(database: Database) -> AsyncIterator[Writer]:
    """That of another process."""
    own = open_database(database.writing.url.render_as_string(hide_password=False))
    writer = Writer(own, insert_events)
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop()
        own.dispose()


def beside(fetching: Fetching, writer: Writer) -> Fetching:
    """The same work, by another process."""
    other = Fetching.__new__(Fetching)
    other.__dict__.update(fetching.__dict__)
    other._writer = writer
    return other


async def test_two_dispatchers_fetch_each_file_once(gallery: Gallery) -> None:
    gallery.post_text(media=12)
    async with another_writer(gallery.database) as writer:
        fetching = gallery.fetching()
        await asyncio.gather(fetching.fetch(), beside(fetching, writer).fetch())

    assert [row.state for row in gallery.rows()] == ["stored"] * 12
    assert len(gallery.asked("/media/")) == len(gallery.asked("/storage/")) == 12
    assert len(gallery.files()) == 12


async def test_who_comes_back_after_its_lease_changes_nothing(gallery: Gallery) -> None:
    """The first was frozen amid the file, the second fetched it meanwhile; the file of the second stays."""
    gate = asyncio.Event()
    gallery.post_call()
    frozen = await frozen_amid_a_file(gallery, gate)
    gallery.clock.moment += LEASE
    await gallery.fetch()
    stored = gallery.row
    gate.set()
    await frozen

    assert gallery.row == stored
    assert [str(file) for file in gallery.files()] == [stored.path]


async def test_who_comes_back_with_another_file_has_it_swept(gallery: Gallery) -> None:
    gate = asyncio.Event()
    gallery.post_call()
    frozen = await frozen_amid_a_file(gallery, gate)
    gallery.clock.moment += LEASE
    await gallery.fetch()
    gallery.fake.files[gallery.recorded.id] = File(b"ID3 another", "audio/mpeg")
    gate.set()
    await frozen
    assert gallery.row.size != len(b"ID3 another")
    for file in gallery.files():
        grown_old(file)
    await sweep(gallery.writer, [gallery.folder])

    assert [str(file) for file in gallery.files()] == [gallery.row.path]


async def test_a_clock_set_back_makes_nothing_wait_longer(gallery: Gallery) -> None:
    from routers.outbox import shift_open_times

    gallery.post_call(next(call for call in gallery.account.calls if not call.is_recorded))
    await gallery.fetch()
    due = gallery.row.next_attempt_at
    with gallery.database.writing.begin() as conn:
        shift_open_times(conn, timedelta(hours=1))

    assert gallery.row.next_attempt_at == due - timedelta(hours=1)
