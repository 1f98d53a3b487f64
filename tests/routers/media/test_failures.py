"""What keeps a file from being kept: each failure by a real fake, what is stored of it, and what follows."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.responses import Response

from receiver.database import Database
from routers.fake_callrail import Quirks, faults
from routers.fake_callrail.faults import Fault
from routers.fake_callrail.storage import File
from routers.media.fetching import FAILING, LEASE, PREPARING, REST
from tests.routers.media.gallery import SECRET, Gallery, a_gallery

pytestmark = pytest.mark.anyio

MP3 = b"ID3\x04\x00" + bytes(400)
RECORDING = "*/recording.json"


# --- CallRail has none, or not yet -----------------------------------------------------------------------------------


async def test_a_recording_that_is_being_prepared_is_asked_for_again(database: Database, tmp_path: Path) -> None:
    """As long as CallRail answers 404 it is waited for, at growing intervals."""
    async with a_gallery(database, tmp_path, quirks=Quirks(recording_asks_before_ready=6)) as gallery:
        gallery.post_call()
        begun = gallery.clock.moment
        await gallery.fetch_until_over()

        assert gallery.row.state == "stored"
        assert len(gallery.files()) == 1
        assert gallery.clock.moment - begun > sum(PREPARING[:3], timedelta(0))


async def test_an_answer_without_an_address_is_not_there_yet(gallery: Gallery) -> None:
    gallery.fake.faults.add("GET", RECORDING, faults.status(200, {"url": None}))
    gallery.post_call()
    await gallery.fetch()
    assert (gallery.row.state, gallery.row.attempts) == ("pending", 1)

    await gallery.fetch_until_over()
    assert gallery.row.state == "stored"


async def test_an_empty_file_is_not_there_yet(gallery: Gallery) -> None:
    gallery.fake.files[gallery.recorded.id] = File(b"", "audio/mpeg")
    gallery.post_call()
    await gallery.fetch()

    assert (gallery.row.state, gallery.row.reason) == ("pending", "tried again: CallRail has no such file, or not yet")
    assert gallery.files() == []


async def test_what_is_never_there_is_given_up(gallery: Gallery) -> None:
    call = next(call for call in gallery.account.calls if not call.is_recorded)
    gallery.post_call(call)
    await gallery.fetch_until_over()

    row = gallery.row
    assert (row.state, row.attempts) == ("gone", len(PREPARING) + 1)
    assert row.reason == "gave up after 9 tries: CallRail has no such file, or not yet"
    assert row.finished_at == gallery.clock.moment


# --- the account's fault ---------------------------------------------------------------------------------------------


async def test_a_wrong_key_costs_no_try_and_is_not_shown_again_at_once(gallery: Gallery) -> None:
    gallery.fake.faults.add("GET", RECORDING, faults.status(401))
    gallery.post_call()
    fetching = gallery.fetching()
    await fetching.fetch()
    assert (gallery.row.state, gallery.row.attempts) == ("pending", 0)
    assert gallery.row.reason == "waits: the key is wrong (401)"

    asked = len(gallery.asked())
    gallery.post_text()
    await fetching.fetch()
    assert len(gallery.asked()) == asked

    gallery.clock.moment += REST
    await fetching.fetch()
    assert {row.state for row in gallery.rows()} == {"stored"}


async def test_after_429_the_account_rests(gallery: Gallery) -> None:
    gallery.fake.faults.add("GET", RECORDING, faults.too_many(3600))
    gallery.post_call()
    await gallery.fetch()
    assert gallery.row.reason == "waits: the account's allowance is used up (429)"
    assert gallery.row.next_attempt_at >= gallery.clock.moment + REST

    await gallery.fetch_until_over()
    assert (gallery.row.state, gallery.row.attempts) == ("stored", 1)


# --- the file's fault ------------------------------------------------------------------------------------------------


async def test_what_is_too_large_is_refused(gallery: Gallery) -> None:
    gallery.fake.files[gallery.recorded.id] = File(b"ID3" + bytes(5_000), "audio/mpeg")
    gallery.post_call()
    await gallery.fetch(max_size="5KB")

    assert gallery.row.state == "refused"
    assert gallery.row.reason == "refused: too large: 5003 bytes are more than the 5000 allowed"
    assert gallery.files() == []


@pytest.mark.parametrize(
    ("file", "types", "reason"),
    [
        pytest.param(
            File(b"<html>moved</html>", "audio/mpeg"),
            ["audio/*"],
            "refused: it holds nothing that we know, though it is told to be audio/mpeg",
            id="a-page",
        ),
        pytest.param(
            File(MP3, "text/html; charset=utf-8"),
            ["audio/*"],
            "refused: it is told to be text/html, which is not among the types to be kept",
            id="told-as-a-page",
        ),
        pytest.param(
            File(b"%PDF-1.7 " + bytes(100), "audio/mpeg"),
            ["audio/*"],
            "refused: it holds application/pdf, which is not among the types to be kept",
            id="a-document",
        ),
        pytest.param(
            File(MP3, "audio/mpeg"),
            ["image/*", "audio/wav"],
            "refused: it is told to be audio/mpeg, which is not among the types to be kept",
            id="not-wanted",
        ),
    ],
)
async def test_what_is_of_another_type_is_refused(gallery: Gallery, file: File, types: list[str], reason: str) -> None:
    gallery.fake.files[gallery.recorded.id] = file
    gallery.post_call()
    await gallery.fetch(types=types)

    assert (gallery.row.state, gallery.row.reason) == ("refused", reason)
    assert gallery.files() == []


async def test_what_is_told_to_be_anything_is_what_it_holds(gallery: Gallery) -> None:
    gallery.fake.files[gallery.recorded.id] = File(MP3, "binary/octet-stream")
    gallery.post_call()
    await gallery.fetch()

    assert (gallery.row.state, gallery.row.content_type) == ("stored", "audio/mpeg")


async def test_a_redirect_to_a_foreign_host_is_not_followed(
    gallery: Gallery, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    gallery.fake.faults.add("GET", "*/media/0", faults.redirect(f"https://files.example.com/a.png?Signature={SECRET}"))
    gallery.post_text()
    await gallery.fetch()

    row = gallery.row
    assert row.state == "refused"
    assert row.reason.endswith("said to lie at files.example.com, and this is not where CallRail keeps files")
    told = capsys.readouterr()
    assert SECRET not in f"{row._mapping}{caplog.text}{told.out}{told.err}"


async def test_a_link_of_another_form_is_refused_without_a_request(gallery: Gallery) -> None:
    gallery.post_text(media_urls=[f"https://example.com/a.png?access_key={SECRET}"])
    await gallery.fetch()

    assert gallery.row.state == "refused"
    assert SECRET not in str(gallery.row._mapping)
    assert gallery.asked() == []


# --- this try's fault ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        pytest.param("/storage/*", faults.broken_off(), id="broken-off-amid-the-file"),
        pytest.param("/storage/*", faults.status(403), id="link-expired"),
        pytest.param(RECORDING, faults.html(502), id="bad-gateway"),
        pytest.param(RECORDING, faults.status(403), id="forbidden"),
        pytest.param(RECORDING, faults.truncated(), id="json-cut-off"),
    ],
)
async def test_a_try_that_fails_leaves_nothing_and_is_made_again(gallery: Gallery, path: str, fault: Fault) -> None:
    gallery.fake.faults.add("GET", path, fault)
    gallery.post_call()
    await gallery.fetch()
    assert (gallery.row.state, gallery.row.attempts) == ("pending", 1)
    assert gallery.files() == []

    await gallery.fetch_until_over()
    assert gallery.row.state == "stored"


async def test_what_always_fails_is_given_up(gallery: Gallery) -> None:
    gallery.fake.faults.add("GET", RECORDING, faults.html(502), times=1_000)
    gallery.post_call()
    await gallery.fetch_until_over()

    assert (gallery.row.state, gallery.row.attempts) == ("gone", len(FAILING) + 1)
    assert gallery.row.reason.startswith(f"gave up after {len(FAILING) + 1} tries: answered 502")


# --- our own fault ---------------------------------------------------------------------------------------------------


async def test_a_folder_that_cannot_be_made_costs_no_try(gallery: Gallery) -> None:
    right = gallery.folder
    gallery.folder = Path("/dev/null/media")  # also for who may do everything
    gallery.post_call()
    await gallery.fetch()
    assert (gallery.row.state, gallery.row.attempts) == ("pending", 0)
    assert gallery.row.reason == "waits: it cannot be written: not a directory"
    assert gallery.asked() == []

    gallery.folder = right
    await gallery.fetch_until_over()
    assert gallery.row.state == "stored"


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process can grow beyond *size*, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_is_full_leaves_nothing_and_costs_no_try(gallery: Gallery) -> None:
    gallery.fake.files[gallery.recorded.id] = File(b"ID3" + bytes(8_000_000), "audio/mpeg")
    gallery.post_call()
    with room_for(4_000_000):
        await gallery.fetch()
    assert (gallery.row.state, gallery.row.attempts) == ("pending", 0)
    assert gallery.row.reason == "waits: it cannot be written: file too large"
    assert gallery.files() == []

    await gallery.fetch_until_over()
    assert gallery.row.state == "stored"


async def test_who_is_stopped_amid_a_file_gives_it_back(gallery: Gallery) -> None:
    """The next process need not wait until the lease is over."""
    begun = asyncio.Event()
    gallery.fake.faults.add("GET", "/storage/*", held_until(asyncio.Event(), begun))
    gallery.post_call()
    stopped = asyncio.create_task(gallery.fetch())
    await begun.wait()
    assert gallery.row.next_attempt_at == gallery.clock.moment + LEASE
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)

    assert (gallery.row.state, gallery.row.attempts) == ("pending", 0)
    assert gallery.files() == []
    await gallery.fetch()
    assert gallery.row.state == "stored"


def held_until(gate: asyncio.Event, begun: asyncio.Event) -> Fault:
    """The right answer, once *gate* is open."""

    async def answer(right: Callable[[], Awaitable[Response]]) -> Response:
        begun.set()
        await gate.wait()
        return await right()

    return answer
