"""Files of CallRail's are fetched once, kept whole, and nothing of a link to them is written anywhere."""

from __future__ import annotations

import hashlib
import stat

import pytest

from tests.routers.media.gallery import SECRET, Gallery

pytestmark = pytest.mark.anyio


async def test_a_recording_is_kept_for_its_owner_alone(gallery: Gallery) -> None:
    gallery.post_call()
    await gallery.fetch()

    row, (file,) = gallery.row, gallery.files()
    assert (row.state, row.kind, row.content_type, row.attempts) == ("stored", "recording", "audio/mpeg", 1)
    assert (row.path, row.size) == (str(file), file.stat().st_size)
    assert row.sha256 == hashlib.sha256(file.read_bytes()).digest()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(gallery.folder.stat().st_mode) == 0o700
    assert SECRET not in str(row._mapping)


async def test_each_media_of_a_text_is_kept(gallery: Gallery) -> None:
    gallery.post_text(media=3)
    await gallery.fetch()

    assert [(row.state, row.content_type) for row in gallery.rows()] == [("stored", "image/png")] * 3
    assert len(gallery.files()) == 3


async def test_what_is_told_again_is_fetched_once(gallery: Gallery) -> None:
    gallery.post_call()
    await gallery.fetch()
    asked = len(gallery.asked())
    gallery.post_call(note="changed")
    await gallery.fetch()

    assert gallery.row.state == "stored"
    assert len(gallery.asked()) == asked
