"""Files leave at their age and with their person, before their rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from receiver.database import Database
from routers.blocks import RetentionConfig
from routers.media.aging import Age, NotRemoved, ages
from routers.privacy import erase, export
from routers.retention import Retention
from routers.schema import objects
from routers.searching import search
from tests.routers.media.gallery import COMPANY, Gallery
from tests.routers.store import FixedClock

pytestmark = pytest.mark.anyio

NUMBER = "+14045550123"
DAY = timedelta(days=1)


async def two_calls(gallery: Gallery) -> None:
    """Stored, one of them with a number."""
    first, second = [call for call in gallery.account.calls if call.is_recorded][:2]
    gallery.post_call(first, customer_phone_number=NUMBER)
    gallery.post_call(second)
    await gallery.fetch()
    assert len(gallery.files()) == 2


# --- by age ----------------------------------------------------------------------------------------------------------


def test_ages_are_those_of_accounts_and_for_all_else_that_of_retention() -> None:
    found = ages({"a": DAY, "b": 2 * DAY, "c": DAY, "d": None}, 3 * DAY)

    assert found == [
        Age(["a", "c"], DAY),
        Age(["b"], 2 * DAY),
        Age(["a", "b", "c", "d"], 3 * DAY, is_of_others=True),
    ]


@pytest.mark.parametrize(
    ("transcripts", "numbers", "age"), [(90, 30, 30), (30, None, 30), (None, 60, 60), (None, None, None)]
)
def test_by_default_a_file_goes_with_what_was_said_or_who_said_it(
    transcripts: int | None, numbers: int | None, age: int | None
) -> None:
    days = {"transcripts": transcripts, "numbers": numbers}
    config = RetentionConfig.model_validate({name: f"{n}d" for name, n in days.items() if n is not None})

    assert config.of_both == (timedelta(days=age) if age is not None else None)


async def test_retention_removes_old_files_with_their_rows(gallery: Gallery) -> None:
    await two_calls(gallery)
    young, old = FixedClock(datetime.now(UTC) + 29 * DAY), FixedClock(datetime.now(UTC) + 31 * DAY)
    of_media = ages({COMPANY: 30 * DAY}, None)

    await Retention(gallery.writer, young, RetentionConfig(), of_media).run()
    assert len(gallery.files()) == len(gallery.rows()) == 2
    await Retention(gallery.writer, old, RetentionConfig(), of_media).run()
    assert gallery.files() == []
    assert gallery.rows() == []


async def test_files_of_companies_that_are_fetched_no_more_go_too(gallery: Gallery) -> None:
    await two_calls(gallery)
    old = FixedClock(datetime.now(UTC) + 31 * DAY)
    await Retention(gallery.writer, old, RetentionConfig(), ages({"globex": 90 * DAY}, 30 * DAY)).run()

    assert gallery.files() == []


async def test_a_file_that_is_gone_already_keeps_no_row(gallery: Gallery) -> None:
    """Killed between the file and the COMMIT of its row's removal: the row is found again."""
    await two_calls(gallery)
    gallery.files()[0].unlink()
    old = FixedClock(datetime.now(UTC) + 31 * DAY)
    await Retention(gallery.writer, old, RetentionConfig(), ages({COMPANY: 30 * DAY}, None)).run()

    assert gallery.rows() == []


@contextlib.contextmanager
def not_removable(path: Path) -> Iterator[None]:
    """There is a folder where the file was."""
    path.unlink()
    path.mkdir()
    yield
    path.rmdir()


async def test_a_file_that_cannot_be_removed_keeps_its_row(gallery: Gallery) -> None:
    await two_calls(gallery)
    stuck = gallery.files()[0]
    stuck.unlink()
    (stuck / "full").mkdir(parents=True)  # what is a folder is removed by nobody, who may do everything included
    old = FixedClock(datetime.now(UTC) + 31 * DAY)
    await Retention(gallery.writer, old, RetentionConfig(), ages({COMPANY: 30 * DAY}, None)).run()

    assert gallery.row.path == str(stuck)


async def test_news_of_an_old_call_does_not_bring_its_recording_back(gallery: Gallery) -> None:
    gallery.fetched = {COMPANY: 30 * DAY}
    gallery.post_call(start_time=(gallery.clock.moment - 31 * DAY).isoformat())
    assert gallery.rows() == []

    gallery.post_text(timestamp=(gallery.clock.moment - 29 * DAY).isoformat())
    assert len(gallery.rows()) == 1


async def test_a_company_that_does_not_say_so_has_nothing_fetched(gallery: Gallery) -> None:
    gallery.fetched = {"globex": None}
    gallery.post_call()
    gallery.post_text()

    assert gallery.rows() == []


async def test_a_call_without_an_id_has_nothing_to_ask_for(gallery: Gallery) -> None:
    gallery.post_call(resource_id=None)

    assert gallery.rows() == []


# --- with the person -------------------------------------------------------------------------------------------------


def erased(database: Database, clock: FixedClock) -> Any:
    return erase(database, search(database, NUMBER), b"key", clock=clock)


async def test_erasing_a_person_removes_their_files(gallery: Gallery) -> None:
    await two_calls(gallery)
    found = search(gallery.database, NUMBER)
    assert found.counts()["media"] == 1
    erased(gallery.database, gallery.clock)

    assert [str(file) for file in gallery.files()] == [gallery.row.path]
    with gallery.database.reading.connect() as conn:
        is_erased = conn.execute(select(objects.c.erased_at).where(objects.c.id == found.objects[0])).scalar()
    assert is_erased


async def test_who_asks_what_is_stored_of_them_is_told_of_their_files(gallery: Gallery) -> None:
    await two_calls(gallery)
    sections = export(gallery.database, search(gallery.database, NUMBER))
    (theirs,) = next(list(rows) for section, rows in sections if section == "objects")

    assert [Path(file["path"]) for file in theirs["media"]] == [
        file for file in gallery.files() if file.name.startswith(theirs["id"])
    ]


async def test_a_file_that_cannot_be_removed_is_told_and_its_row_stays(gallery: Gallery) -> None:
    await two_calls(gallery)
    theirs = search(gallery.database, NUMBER).objects
    with not_removable(Path(next(row.path for row in gallery.rows() if row.object_id in theirs))):
        with pytest.raises(NotRemoved, match=r"mp3 cannot be removed: is a directory"):
            erased(gallery.database, gallery.clock)
        assert len(gallery.rows()) == 2

    erased(gallery.database, gallery.clock)
    assert len(gallery.rows()) == 1


async def test_what_was_erased_is_not_fetched_again(gallery: Gallery) -> None:
    await two_calls(gallery)
    erased(gallery.database, gallery.clock)
    first = next(call for call in gallery.account.calls if call.is_recorded)
    gallery.post_call(first, customer_phone_number=NUMBER, note="late")

    assert len(gallery.rows()) == 1
    assert gallery.files() == [Path(gallery.row.path)]
