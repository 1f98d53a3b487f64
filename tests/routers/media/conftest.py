"""A gallery over a real database, on both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from receiver.database import Database
from tests.routers.media.gallery import Gallery, a_gallery
from tests.routers.store import opened


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened(database_url) as database:
        yield database


@pytest.fixture
async def gallery(database: Database, tmp_path: Path) -> AsyncIterator[Gallery]:
    async with a_gallery(database, tmp_path) as gallery:
        yield gallery
