"""Everything wired together in one process: roles, refusals, and an end in order."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, text

from receiver.database import Database
from receiver.exceptions import ConfigError
from receiver.schema import EventState, events
from routers import migrate
from routers.config import read_config
from routers.listening import CannotListen, bind
from routers.schema import DeliveryState, deliveries, objects
from routers.serve import Role, build_sinks
from routers.starting import Refused
from tests.client import get, post_signed
from tests.fakes.destination import Destination, running_destination
from tests.fakes.receiver_of_webhooks import answer_when, times_arrived
from tests.routers.running import KEY, SECRETS, a_missed_call, config_text, serving_here
from tests.routers.store import opened, put_deliveries, rows_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


@pytest.fixture
def config(tmp_path: Path, destination: Destination) -> Path:
    """One company, one sink, one rule for missed calls."""
    path = tmp_path / "router.yaml"
    path.write_text(config_text(destination.url))
    return path


async def post(port: int, number: int = 1) -> int:
    reply = await post_signed(port, "/callrail/acme/post_call", a_missed_call(number), key=KEY)
    return reply.status


def states(url: str) -> tuple[list[str], list[str]]:
    """The states of all events, and of all deliveries."""
    with opened(url) as database:
        return [row.state for row in rows_of(database, events)], [row.state for row in rows_of(database, deliveries)]


def are_delivered(url: str, count: int) -> bool:
    return states(url)[1] == ["delivered"] * count


async def test_a_webhook_is_answered_routed_and_delivered(
    database_url: str, config: Path, destination: Destination
) -> None:
    """From the signed request to the signed request, in one process."""
    async with serving_here(config, database_url) as port:
        assert await post(port) == 204
        await until(lambda: states(database_url) == (["routed"], ["delivered"]))

    assert len(destination.requests) == 1


async def test_health_says_that_it_lives_and_whether_it_can_store(database_url: str, config: Path) -> None:
    """The two endpoints that need no signature."""
    async with serving_here(config, database_url) as port:
        assert (await get(port, "/healthz")).status == 200
        assert (await get(port, "/readyz")).status == 200


async def test_an_intake_stores_and_never_routes_and_a_dispatcher_routes_then(
    database_url: str, config: Path, destination: Destination
) -> None:
    """The two halves, one after the other, on one database."""
    async with serving_here(config, database_url, role=Role.INTAKE) as port:
        assert [await post(port, number) for number in range(3)] == [204] * 3
        assert (await get(port, "/readyz")).status == 200
    assert states(database_url) == ([EventState.RECEIVED] * 3, [])

    async with serving_here(config, database_url, role=Role.DISPATCH) as port:
        assert port == 0
        await until(lambda: states(database_url) == (["routed"] * 3, ["delivered"] * 3))
    assert set(times_arrived(destination.requests).values()) == {1}


async def test_an_intake_beside_a_dispatcher_hands_over_through_the_database(
    database_url: str, config: Path, destination: Destination
) -> None:
    """Both running, on SQLite too: the file lock keeps out a second dispatcher only."""
    async with (
        serving_here(config, database_url, role=Role.DISPATCH),
        serving_here(config, database_url, role=Role.INTAKE) as port,
    ):
        assert await post(port) == 204
        await until(lambda: states(database_url)[1] == ["delivered"])

    assert len(destination.requests) == 1


async def test_a_dispatcher_on_postgresql_is_told_and_need_not_look(
    postgresql_url: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks once at its start; whatever comes later it can only have been told of."""
    monkeypatch.setattr("routers.routing.POLL", timedelta(hours=1))
    async with (
        serving_here(config, postgresql_url, role=Role.DISPATCH),
        serving_here(config, postgresql_url, role=Role.INTAKE) as port,
    ):
        for number in range(1, 4):
            assert await post(port, number) == 204
            await until(partial(are_delivered, postgresql_url, number))


async def test_a_second_dispatcher_of_a_sqlite_file_is_refused(sqlite_url: str, config: Path) -> None:
    """Two would return each other's leases. The lock ends with its process, not with its file."""
    async with serving_here(config, sqlite_url, role=Role.DISPATCH):
        with pytest.raises(Refused, match=r"another process dispatches from .* already; stop it first"):
            async with serving_here(config, sqlite_url):
                pass

    async with serving_here(config, sqlite_url) as port:
        assert await post(port) == 204


async def test_two_dispatchers_of_postgresql_share_the_work(
    postgresql_url: str, config: Path, destination: Destination
) -> None:
    """As many as wanted, and each thing is told once."""
    async with serving_here(config, postgresql_url) as one, serving_here(config, postgresql_url) as other:
        answers = await asyncio.gather(*[post((one, other)[number % 2], number) for number in range(40)])
        await until(lambda: states(postgresql_url) == (["routed"] * 40, ["delivered"] * 40))

    assert set(answers) == {204}
    assert sorted(times_arrived(destination.requests).values()) == [1] * 40


async def test_a_dispatcher_on_postgresql_delivers_while_its_routing_waits(
    postgresql_url: str, config: Path, destination: Destination
) -> None:
    """Turns stood behind the batch that was being routed, and that behind whoever held one of its calls."""
    async with (
        serving_here(config, postgresql_url, role=Role.DISPATCH),
        serving_here(config, postgresql_url, role=Role.INTAKE) as port,
    ):
        assert await post(port) == 204
        await until(lambda: states(postgresql_url) == (["routed"], ["delivered"]))
        with opened(postgresql_url) as database:
            with database.writing.begin() as held:
                held.execute(select(objects).with_for_update())
                assert await post(port) == 204
                await until(lambda: others_wait_for_a_lock(database))
                with database.writing.begin() as conn:
                    put_deliveries(conn)
                await until(lambda: states(postgresql_url) == (["routed", "received"], ["delivered"] * 2))
            await until(lambda: states(postgresql_url)[0] == ["routed"] * 2)


def others_wait_for_a_lock(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.reading.connect() as conn:
        return bool(conn.execute(text(waiting)).scalar())


@pytest.mark.parametrize("role", [Role.ALL, Role.DISPATCH])
async def test_a_database_that_is_not_migrated_is_refused(unmigrated_url: str, config: Path, role: Role) -> None:
    """Before anything is touched; the remedy is in the sentence."""
    with pytest.raises(Refused, match="run: callrail-router migrate"):
        async with serving_here(config, unmigrated_url, role=role):
            pass


async def test_an_intake_starts_before_the_database_is_migrated(unmigrated_url: str, config: Path) -> None:
    """It spools until the tables are there, then stores, without a restart."""
    async with serving_here(config, unmigrated_url, role=Role.INTAKE) as port:
        assert await post(port) == 204
        assert json.loads((await get(port, "/readyz")).body)["status"] == "spooling"
        await asyncio.to_thread(migrate.upgrade, unmigrated_url)

        await until(lambda: states(unmigrated_url) == ([EventState.RECEIVED], []))


async def test_stopping_delivers_what_was_on_the_way_and_keeps_the_rest(
    database_url: str, config: Path, destination: Destination
) -> None:
    """Everything answered with 2xx is in the store, and the next start goes on."""
    released = asyncio.Event()
    destination.behaves(answer_when(released))
    async with serving_here(config, database_url) as port:
        assert set(await asyncio.gather(*[post(port, number) for number in range(20)])) == {204}
        await destination.received(4)
        asyncio.get_running_loop().call_soon(released.set)
    stored, sent = states(database_url)
    assert len(stored) == 20
    assert DeliveryState.SENDING not in sent

    async with serving_here(config, database_url):
        await until(lambda: states(database_url) == (["routed"] * 20, ["delivered"] * 20))
    assert sorted(times_arrived(destination.requests).values()) == [1] * 20


async def test_a_missing_secret_keeps_it_from_starting(
    sqlite_url: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intake's keys as well as the sinks' secrets, with the place in the file."""
    monkeypatch.delenv("CRM_SECRET")
    with pytest.raises(ConfigError, match=r"\(sinks\.crm\): the environment variable CRM_SECRET is not set"):
        async with serving_here(config, sqlite_url):
            pass
    with pytest.raises(ConfigError, match="CRM_SECRET"):
        build_sinks(read_config(config))

    monkeypatch.setenv("CRM_SECRET", SECRETS["CRM_SECRET"])
    monkeypatch.delenv("ACME_KEY")
    with pytest.raises(ConfigError, match=r"\(companies\.acme\.signing_keys\[0\]\)"):
        async with serving_here(config, sqlite_url):
            pass


def test_an_address_that_is_taken_is_said_with_the_remedy() -> None:
    """Host, port, reason, and the options that change it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--host or --port"):
            bind("127.0.0.1", port)
