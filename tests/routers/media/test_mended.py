"""What a review found in fetching and removing files."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from callrail.exceptions import BudgetSpent
from callrail.request import Budget
from receiver.database import Database
from routers.budgets import InThreads, Priority, SqlBudgets
from routers.fake_callrail import faults
from routers.media.aging import Age, remove_kept, sweep
from routers.media.folder import left_over
from routers.media.rows import claim_due, take_back_all
from routers.media.settings import MediaConfig
from tests.routers.media.gallery import COMPANY, Gallery
from tests.routers.media.test_failures import RECORDING
from tests.routers.store import NOW

pytestmark = pytest.mark.anyio


async def test_a_restart_makes_nothing_due_that_waits_for_its_next_try(gallery: Gallery) -> None:
    """Else a server that ends again and again uses up the tries while CallRail prepares the recording."""
    gallery.fake.faults.add("GET", RECORDING, faults.status(404), times=100)
    gallery.post_call()
    await gallery.fetch()
    waits_until = gallery.row.next_attempt_at
    with gallery.database.writing.begin() as conn:
        take_back_all(conn, now=gallery.clock.moment)
    assert gallery.row.next_attempt_at == waits_until


async def test_a_restart_takes_back_what_somebody_was_at(gallery: Gallery) -> None:
    gallery.post_call()
    with gallery.database.writing.begin() as conn:
        now = gallery.clock.moment
        (lease,) = claim_due(conn, companies=[COMPANY], now=now, lease_for=timedelta(minutes=10), limit=1)
        take_back_all(conn, now=now)
    assert (lease.id, gallery.row.next_attempt_at) == (gallery.row.id, now)


def test_the_sweep_takes_only_names_of_ours(tmp_path: Path) -> None:
    ours = tmp_path / "..md_06h1nl0000000000000000000g-3.part.x1y2"
    for path in (ours, tmp_path / ".taxes.pdf.partial", tmp_path / ".router.db.part-upload"):
        path.write_bytes(b"")
        os.utime(path, (0, 0))
    assert [path for path, _ in left_over(tmp_path)] == [ours]


async def test_what_cannot_be_removed_holds_up_nothing(gallery: Gallery) -> None:
    """Twenty files that are stuck, and one that is not: a folder stands where each of the first was."""
    gallery.post_text(media=20)
    gallery.post_call()
    await gallery.fetch_until_over()
    stuck = [Path(row.path) for row in sorted(gallery.rows(), key=lambda row: row.id)][:20]
    for path in stuck:
        path.unlink()
        path.mkdir()
    with gallery.database.writing.begin() as conn:
        later = datetime.now(UTC) + timedelta(days=31)  # ids hold the time at which they were made
        Age([COMPANY], timedelta(days=30)).remove_old(conn, now=later)
    assert len(gallery.rows()) == 20
    assert gallery.files() == sorted(stuck)


async def test_a_file_goes_at_its_age_also_when_nothing_is_fetched_any_more(gallery: Gallery) -> None:
    """The client has left, and no account says anything of its files."""
    gallery.post_call()
    await gallery.fetch(keep_for="30d")
    (file,) = gallery.files()
    with gallery.database.writing.begin() as conn:
        assert not remove_kept(conn, now=gallery.clock.moment + timedelta(days=29))
        assert file.exists()
        remove_kept(conn, now=gallery.clock.moment + timedelta(days=30))
    assert (gallery.files(), gallery.rows()) == ([], [])


async def test_one_file_that_cannot_be_swept_keeps_no_other(gallery: Gallery) -> None:
    gallery.folder.mkdir()
    stuck = gallery.folder / ".md_06h1nl0000000000000000000g-1.part"
    stuck.mkdir()
    for number in range(3):
        (gallery.folder / f".md_06h1nl0000000000000000000g-1{number}.part").write_bytes(b"")
    for path in gallery.folder.iterdir():
        os.utime(path, (0, 0))
    await sweep(gallery.writer, [gallery.folder])
    assert gallery.files() == [stuck]


@pytest.mark.parametrize(("written", "read"), [("audio/mp3", "audio/mpeg"), ("image/jpg", "image/jpeg")])
def test_a_type_goes_by_any_of_its_names(written: str, read: str) -> None:
    assert MediaConfig(types=(written,)).types == (read,)


def test_a_type_that_no_file_is_known_to_be_of_is_told() -> None:
    with pytest.raises(ValidationError, match="is none that a file is known to be of; there are: application/pdf"):
        MediaConfig(types=("audio/mpga",))


async def test_a_disk_that_is_nearly_full_is_left_to_others(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routers.media.fetching._LEFT_FREE", 2**62)
    gallery.post_call()
    await gallery.fetch()
    assert gallery.row.reason == "waits: it cannot be written: the disk is nearly full"
    assert gallery.asked(RECORDING.strip("*")) == []


async def test_a_clock_set_back_lengthens_no_rest(database: Database) -> None:
    now = [NOW]
    budgets = SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=lambda: now[0], block=1)
    await budgets.take("ACC1", Budget.GENERAL)
    await budgets.refused("ACC1", Budget.GENERAL, timedelta(hours=1))
    with pytest.raises(BudgetSpent):
        await budgets.take("ACC1", Budget.GENERAL)
    now[0] -= timedelta(days=1)
    await budgets.take("ACC1", Budget.GENERAL)
