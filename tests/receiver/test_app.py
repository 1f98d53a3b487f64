"""The receiver as an application: its health, and how it starts by itself from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, create_engine, select

from callrail.signature import sign
from receiver.app import create_app
from receiver.database import open_database
from receiver.exceptions import ConfigError
from receiver.schema import events
from tests.client import get, post, post_signed, read_reply, request
from tests.serving import ACME_KEY, NO_SPOOL, TWO_COMPANIES, companies_of, running_receiver, serving

pytestmark = pytest.mark.anyio

PATH = "/callrail/acme/post_call"


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


# --- health ----------------------------------------------------------------------------------------------------------


async def test_a_receiver_with_its_database_is_healthy_and_ready(database_url: str, tmp_path: Path) -> None:
    """Both answers are 200 and JSON, and neither leaves a trace in the store."""
    async with running_receiver(companies_of(tmp_path), database_url) as receiver:
        health, ready = await get(receiver.port, "/healthz"), await get(receiver.port, "/readyz")

        assert (health.status, json.loads(health.body)) == (200, {"status": "ok"})
        assert (ready.status, json.loads(ready.body)) == (200, {"status": "ready"})
        with receiver.database.reading.connect() as conn:
            assert conn.execute(select(events)).all() == []


async def test_with_neither_tables_nor_spool_a_receiver_is_healthy_but_not_ready(
    unmigrated_url: str, tmp_path: Path
) -> None:
    """A restart would not help, so `healthz` stays 200; no traffic should come yet, so `readyz` is 503."""
    async with running_receiver(companies_of(tmp_path), unmigrated_url, spool=NO_SPOOL) as receiver:
        health, ready = await get(receiver.port, "/healthz"), await get(receiver.port, "/readyz")

        assert health.status == 200
        reason = "the database does not answer and the spool cannot be written"
        assert (ready.status, json.loads(ready.body)["reason"]) == (503, reason)


async def test_without_tables_a_receiver_is_ready_and_spools(unmigrated_url: str, tmp_path: Path) -> None:
    """What it would answer to CallRail is 204, so a load balancer must go on sending."""
    async with running_receiver(companies_of(tmp_path), unmigrated_url) as receiver:
        for posted in range(3):
            ready = await get(receiver.port, "/readyz")

            told = json.loads(ready.body)
            assert (ready.status, told["status"], told["spooled"]) == (200, "spooling", posted)
            assert datetime.fromisoformat(told["since"]) <= datetime.now(UTC)
            assert (await post_signed(receiver.port, PATH, b"{}", key=ACME_KEY)).status == 204


async def test_a_database_that_hangs_is_not_ready_and_then_ready_again(sqlite_url: str, tmp_path: Path) -> None:
    """While another process holds the file `healthz` answers at once and `readyz` says no; then it says yes again."""
    async with running_receiver(
        companies_of(tmp_path), sqlite_url, spool=NO_SPOOL, stalled_after=timedelta(milliseconds=100)
    ) as receiver:
        other = create_engine(sqlite_url, isolation_level="AUTOCOMMIT")
        with other.connect() as holder:
            holder.exec_driver_sql("BEGIN EXCLUSIVE")

            assert (await get(receiver.port, "/healthz")).status == 200
            assert (await get(receiver.port, "/readyz")).status == 503

            holder.exec_driver_sql("ROLLBACK")
        other.dispose()
        while (await get(receiver.port, "/readyz")).status != 200:
            pass


async def test_readiness_that_nobody_waits_for_any_more_costs_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """A question given up in the queue is dropped: the writer goes on with what counts."""
    async with running_receiver(companies_of(tmp_path), sqlite_url, spool=NO_SPOOL) as receiver:
        may_end = threading.Event()
        begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def hold(_conn: Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            may_end.wait()

        holding = asyncio.create_task(receiver.writer.run(hold))
        await begun.wait()
        questions = [asyncio.create_task(get(receiver.port, "/readyz")) for _ in range(5)]
        answers = await asyncio.gather(*questions)
        may_end.set()
        await holding

        assert [answer.status for answer in answers] == [503] * 5
        assert (await get(receiver.port, "/readyz")).status == 200
        assert (await post_signed(receiver.port, PATH, b"{}", key=ACME_KEY)).status == 204


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_asked_for_by_get(sqlite_url: str, tmp_path: Path, path: str) -> None:
    """HEAD, as load balancers ask, is a GET without a body; nothing else is allowed."""
    async with running_receiver(companies_of(tmp_path), sqlite_url) as receiver:
        head = (await exchange_head(receiver.port, path)).split()[1]
        assert head == b"200"
        assert (await post(receiver.port, path, b"")).status == 405


async def exchange_head(port: int, path: str) -> bytes:
    """The first line answered to HEAD, whose length is that of a body that does not come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("HEAD", path))
    line = await reader.readline()
    writer.transport.abort()
    return line


# --- by itself -------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> None:
    """What `uvicorn receiver.app:create_app --factory` finds."""
    config = tmp_path / "router.yaml"
    config.write_text(TWO_COMPANIES.replace("env:GLOBEX_KEY", "env:ACME_KEY"))
    monkeypatch.setenv("CALLRAIL_ROUTER_CONFIG", str(config))
    monkeypatch.setenv("CALLRAIL_ROUTER_DATABASE_URL", database_url)
    monkeypatch.setenv("CALLRAIL_ROUTER_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("ACME_KEY", ACME_KEY)


@pytest.mark.usefixtures("environment")
async def test_the_receiver_alone_is_a_complete_intake(database_url: str) -> None:
    """On any ASGI server, from the environment alone: it proves, stores and answers, and is ready."""
    body = b'{"resource_id":"CAL1"}'
    async with serving(create_app(), lifespan=True) as port:
        assert (await get(port, "/readyz")).status == 200
        assert (await post_signed(port, PATH, body, key=ACME_KEY)).status == 204
        assert (await post(port, PATH, body)).status == 401

    database = open_database(database_url)
    with database.reading.connect() as conn:
        row = conn.execute(select(events)).one()
    database.dispose()
    assert (row.body, row.sha256) == (body, hashlib.sha256(body).digest())


@pytest.mark.usefixtures("environment")
async def test_what_was_taken_in_is_answered_before_the_end(database_url: str) -> None:
    """Stopping the server while requests are on their way: each 204 has its row, and nobody is left without answer."""
    bodies = [b'{"n":%d}' % n for n in range(20)]
    async with serving(create_app(), lifespan=True) as port:
        posting = [asyncio.create_task(post_signed(port, PATH, body, key=ACME_KEY)) for body in bodies]
        await asyncio.wait(posting, return_when=asyncio.FIRST_COMPLETED)

    await asyncio.wait(posting)
    acknowledged = set()
    for task, body in zip(posting, bodies, strict=True):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # it came after the end
            if task.result().status == 204:
                acknowledged.add(body)
    database = open_database(database_url)
    with database.reading.connect() as conn:
        stored = set(conn.execute(select(events.c.body)).scalars())
    database.dispose()
    assert acknowledged
    assert acknowledged <= stored


@pytest.mark.usefixtures("environment")
def test_without_its_keys_the_receiver_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing secret ends the start with a sentence, instead of answering 401 to everything."""
    monkeypatch.delenv("ACME_KEY")

    with pytest.raises(ConfigError) as caught:
        create_app()

    assert "ACME_KEY is not set" in str(caught.value)


@pytest.mark.usefixtures("environment")
def test_making_the_application_touches_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is down at the start is no reason not to listen."""
    monkeypatch.setenv("CALLRAIL_ROUTER_DATABASE_URL", "postgresql://nobody@nowhere.invalid/none")

    assert create_app().routes


async def test_many_connections_are_served_at_once(sqlite_url: str, tmp_path: Path) -> None:
    """A client that has begun and not ended its request keeps nobody else waiting."""
    async with running_receiver(companies_of(tmp_path), sqlite_url) as receiver:
        idle = [await asyncio.open_connection("127.0.0.1", receiver.port) for _ in range(20)]
        for _, writer in idle:
            writer.write(request("POST", PATH, [("content-length", "100")]) + b"half")

        assert (await post_signed(receiver.port, PATH, b"{}", key=ACME_KEY)).status == 204

        for _, writer in idle:
            writer.transport.abort()


async def test_a_connection_kept_open_serves_the_next_request(sqlite_url: str, tmp_path: Path) -> None:
    """Each request of a connection gets its own answer in turn, also after one that was refused."""
    body = b'{"resource_id":"CAL1"}'
    length = ("content-length", str(len(body)))
    signed = request("POST", PATH, [length, ("signature", sign(ACME_KEY.encode(), body))]) + body
    unsigned = request("POST", PATH, [length]) + body
    async with running_receiver(companies_of(tmp_path), sqlite_url) as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(signed + unsigned + request("GET", "/healthz") + signed)
        statuses = [(await read_reply(reader)).status for _ in range(4)]
        writer.transport.abort()

        assert statuses == [204, 401, 200, 204]
