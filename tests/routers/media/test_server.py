"""The whole server: what a webhook tells is fetched and told by the commands, and a kill amid a file costs nothing."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, update

from routers.fake_callrail import faults
from routers.fake_callrail.storage import File
from routers.schema import audit, media
from routers.serve import Role
from tests.routers.lookups.office import LONG_AGO, Office, an_office, body_of
from tests.routers.running import SECRETS, Ran, run, running, serving_here
from tests.routers.store import opened, rows_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

ACCESS_KEY = "0123456789abcdef0123"


@pytest.fixture
async def office(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """One whose account says `fetch_media`."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setattr("routers.serve.FETCH_EVERY", timedelta(milliseconds=50))
    async with an_office(tmp_path, database_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        office.write("rules:\n  - {id: missed, when: [call.missed], send: [{to: crm}]}")
        settings = f"fetch_media: {{folder: '{tmp_path}/media'}}, base_url:"
        office.config.write_text(office.config.read_text().replace("base_url:", settings))
        yield office


def recorded(office: Office) -> Any:
    return next(call for call in office.account.calls if call.is_recorded)


def told_of(call: Any) -> dict[str, Any]:
    link = f"https://app.callrail.com/calls/{call.id}/recording/redirect?access_key={ACCESS_KEY}"
    return body_of(call) | {"recording": link}


def rows(office: Office) -> Sequence[Row[Any]]:
    with opened(office.database_url) as database:
        return rows_of(database, media)


def _stat(file: Path) -> tuple[int, int]:
    """Its rights and its size."""
    found = file.stat()
    return stat.S_IMODE(found.st_mode), found.st_size


def states(office: Office) -> list[str]:
    return [row.state for row in rows(office)]


async def command(office: Office, *words: str) -> Ran:
    environ = {"OFFICE_KEY": office.fake.world.key, "CALLRAIL_ROUTER_CONFIG": str(office.config)}
    return await asyncio.to_thread(run, *words, *office.stored, environ=environ)


async def test_a_recording_that_a_webhook_tells_of_is_fetched_and_told(office: Office) -> None:
    call = recorded(office)
    async with office.open():
        await office.post("post_call", told_of(call))
        await until(lambda: states(office) == ["stored"])

    (row,) = rows(office)
    kept = Path(row.path)
    assert kept.parent == office.config.parent / "media"
    assert _stat(kept) == (0o600, row.size)
    assert ACCESS_KEY not in str(row._mapping)

    (transition,) = office.transitions("call.missed")
    explained = await command(office, "explain", transition.event_id)
    assert f"recording stored: {kept} (427 bytes, audio/mpeg)" in explained.out.splitlines()
    shown = json.loads((await command(office, "events", "show", transition.event_id, "-o", "json")).out)
    assert [file["path"] for file in shown["media"]] == [str(kept)]
    listed = json.loads((await command(office, "media", "list", "-o", "json")).out)
    assert [(file["id"], file["state"], file["size"]) for file in listed] == [(row.id, "stored", 427)]
    of_one = json.loads((await command(office, "media", "show", row.id[:12], "-o", "json")).out)
    assert of_one["object"]["id"] == call.id
    assert ACCESS_KEY not in f"{explained.out}{shown}{listed}{of_one}"


async def test_what_failed_is_said_and_fetched_after_all(office: Office) -> None:
    call = recorded(office)
    office.fake.files[call.id] = File(b"<html>", "audio/mpeg")
    async with office.open():
        await office.post("post_call", told_of(call))
        await until(lambda: states(office) == ["refused"])
        assert "0 to be fetched; 1 refused, 0 given up in 7d" in (await command(office, "status")).out
        told = json.loads((await command(office, "status", "-o", "json")).out)
        assert told["media"] == {"pending": 0, "oldest_seconds": 0.0, "refused": 1, "gone": 0}
        doctor = (await command(office, "doctor")).out
        assert "of those of seven days, 1 recordings and media were refused, 0 given up" in doctor
        assert f"free at {office.config.parent / 'media'}" in doctor

        del office.fake.files[call.id]
        assert (await command(office, "media", "retry", "--state", "refused", "--plan")).out.startswith("1 would be")
        assert states(office) == ["refused"]
        assert (await command(office, "media", "retry", "--state", "refused")).code == 0
        await until(lambda: states(office) == ["stored"])

    (row,) = rows(office)
    again = await command(office, "media", "retry", row.id)
    assert again.code == 1
    assert "is stored at" in again.err
    assert (await command(office, "media", "retry")).code == 2

    await asyncio.to_thread(Path(row.path).unlink)
    assert (await command(office, "media", "retry", row.id)).code == 0
    assert states(office) == ["pending"]
    async with office.open():
        await until(lambda: states(office) == ["stored"])
    assert await asyncio.to_thread(Path(row.path).exists)
    with opened(office.database_url) as database:
        assert [row.action for row in rows_of(database, audit)] == ["media retry"] * 2


async def test_killed_amid_a_file_it_is_fetched_by_the_next(office: Office) -> None:
    call = recorded(office)
    office.fake.faults.add("GET", "/storage/*", faults.hang())
    environ = {**SECRETS, "OFFICE_KEY": office.fake.world.key}
    arguments = ("serve", "--config", office.config, *office.stored, "--port", "0")
    with running(*arguments, environ=environ) as server:
        await asyncio.to_thread(server.post, "post_call", json.dumps(told_of(call)).encode())
        await office.until_asked("/storage/")
        server.kill()
    assert states(office) == ["pending"]

    if office.database_url.startswith("postgresql"):  # where another may live, whoever was at it is waited for
        with opened(office.database_url) as database, database.writing.begin() as conn:
            conn.execute(update(media).values(next_attempt_at=LONG_AGO))
    with running(*arguments, environ=environ):
        await until(lambda: states(office) == ["stored"])

    (row,) = rows(office)
    assert _stat(Path(row.path)) == (0o600, row.size)


async def test_an_account_without_its_key_lets_files_wait(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFICE_KEY")
    async with office.open():
        await office.post("post_call", told_of(recorded(office)))
        await until(lambda: states(office) == ["pending"])

    monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
    async with serving_here(office.config, office.database_url, role=Role.DISPATCH):
        await until(lambda: states(office) == ["stored"])
