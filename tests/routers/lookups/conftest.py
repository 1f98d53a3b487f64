"""The office of the tests of look-ups, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.routers.lookups.office import Office, an_office
from tests.routers.running import SECRETS


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALLRAIL_API_KEY", "CALLRAIL_ACCOUNT_ID", "CALLRAIL_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


@pytest.fixture
async def office(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, _secrets: None
) -> AsyncIterator[Office]:
    async with an_office(tmp_path, database_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        yield office


@pytest.fixture
async def office_on_postgresql(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, _secrets: None
) -> AsyncIterator[Office]:
    async with an_office(tmp_path, postgresql_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        yield office
