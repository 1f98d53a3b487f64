"""PostgreSQL goes away under requests and comes back: nobody is refused, and everything is routed in its order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import defaultdict
from pathlib import Path

import pytest
from sqlalchemy import func, literal_column, select

from receiver.schema import EventState, Origin, events, instances
from receiver.spool import waiting_in
from routers.schema import DeliveryState, deliveries
from routers.serve import Role
from tests.client import get, post_signed
from tests.fakes.destination import running_destination
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread, times_arrived
from tests.postgresql import RunServer
from tests.proxies import free_port
from tests.routers.running import KEY, SECRETS, config_text, running, serving_here
from tests.routers.store import opened, rows_of
from tests.routers.waiting import LONGEST, until, wait_until

pytestmark = pytest.mark.anyio

A_SECOND = 100
SECONDS_AWAY = int(os.environ.get("CALLRAIL_ROUTER_TEST_OUTAGE", "30"))


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


KINDS = ("pre_call", "call_routing_complete", "post_call")


def body_of(call: str) -> bytes:
    return json.dumps({"resource_id": call, "call_type": "missed", "answered": False, "duration": 30}).encode()


async def a_call(port: int, number: int) -> list[int]:
    """What is answered to its three webhooks, each posted when the one before was answered."""
    body = body_of(f"CAL{number:06}")
    return [(await post_signed(port, f"/callrail/acme/{kind}", body, key=KEY)).status for kind in KINDS]


@pytest.mark.long
async def test_postgresql_stops_and_starts_under_requests(own_server: RunServer, own_url: str, tmp_path: Path) -> None:
    """A hundred requests a second all the while: each is answered 204 and stored in the order of its call, and told."""
    config = tmp_path / "router.yaml"
    a_second = A_SECOND // len(KINDS)
    count = a_second * (SECONDS_AWAY + 2)
    async with running_destination() as destination:
        config.write_text(config_text(destination.url))
        async with serving_here(config, own_url, role=Role.INTAKE) as port, asyncio.TaskGroup() as group:
            calling = []
            for number in range(count):
                calling.append(group.create_task(a_call(port, number)))
                if number == a_second:
                    group.create_task(asyncio.to_thread(own_server.halt))
                if number == a_second * (SECONDS_AWAY + 1):
                    assert json.loads((await get(port, "/readyz")).body)["status"] == "spooling"
                    group.create_task(asyncio.to_thread(own_server.resume))
                await asyncio.sleep(1 / a_second)
            assert {status for answers in await asyncio.gather(*calling) for status in answers} == {204}
            await until(lambda: count_of_stored(own_url) == count * len(KINDS))
            with opened(own_url) as database:
                assert [row.spooling_since is not None for row in rows_of(database, instances)] == [True]

        by_call = defaultdict(list)
        for call, kind in kinds_in_order_of_storing(own_url):
            by_call[call].append(kind)
        assert list(by_call.values()) == [[*KINDS]] * count

        async with serving_here(config, own_url, role=Role.DISPATCH):
            # What is to be told grows with the time it was away.
            await until(lambda: is_all_told(own_url, count), longest=LONGEST * max(1, SECONDS_AWAY / 30))
    assert sorted(times_arrived(destination.requests).values()) == [1] * count


def kinds_in_order_of_storing(url: str) -> list[tuple[str, str]]:
    """Call and kind of each event, as they lie in the table: nothing has changed or deleted a row yet."""
    with opened(url) as database, database.reading.connect() as conn:
        rows = conn.execute(select(events.c.body, events.c.kind).order_by(literal_column("ctid"))).all()
    return [(json.loads(row.body)["resource_id"], row.kind) for row in rows]


def count_of_stored(url: str) -> int:
    with opened(url) as database, database.reading.connect() as conn:
        return conn.execute(select(func.count()).select_from(events)).scalar_one()


def is_all_told(url: str, calls: int) -> bool:
    with opened(url) as database, database.reading.connect() as conn:
        told = (events.c.state == EventState.ROUTED) & (events.c.origin == Origin.WEBHOOK)  # there are alarms, too
        routed = conn.execute(select(func.count()).where(told)).scalar_one()
        sent = conn.execute(select(func.count()).where(deliveries.c.state == DeliveryState.DELIVERED)).scalar_one()
    return bool(routed == calls * len(KINDS) and sent == calls)


async def test_without_a_database_it_serves_and_dispatches_when_there_is_one(
    own_server: RunServer, own_url: str, tmp_path: Path
) -> None:
    """Both roles begin, say once what they wait for, and go on by themselves."""
    config = tmp_path / "router.yaml"
    await asyncio.to_thread(own_server.halt)
    async with running_destination() as destination:
        config.write_text(config_text(destination.url))
        async with (
            serving_here(config, own_url, role=Role.DISPATCH, spool=tmp_path / "none"),
            serving_here(config, own_url) as port,
        ):
            assert await a_call(port, 1) == [204] * 3
            await asyncio.to_thread(own_server.resume)

            await until(lambda: is_all_told(own_url, 1))
    assert not (tmp_path / "none").exists()


def test_a_database_that_nobody_answers_for_is_waited_for(tmp_path: Path) -> None:
    """A wrong password or port is an outage like another: the command takes in, and says why it does not dispatch."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9"))
    url = "postgresql://nobody@127.0.0.1:1/none"
    with running("serve", "--port", "0", "--config", config, "--database-url", url) as process:
        process.wait_until_it_says("serve.waiting_for_database")
        assert process.post("post_call", body_of("CAL1")) == 204
        assert process.end() == 0
    assert "Traceback" not in "".join(process.lines)
    assert sum("serve.waiting_for_database" in line for line in process.lines) == 1


def test_a_frozen_database_keeps_no_process_from_ending(own_server: RunServer, own_url: str, tmp_path: Path) -> None:
    """It answers nothing and closes nothing, and the metrics were asked: SIGTERM ends in order, what came is kept."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9"))
    metrics = free_port()
    options = ["--config", str(config), "--database-url", own_url, "--metrics-port", str(metrics)]
    with running("serve", "--port", "0", *options) as process:
        process.wait_until_it_says("serve.ready")
        assert process.post("post_call", body_of("CAL1")) == 204
        with own_server.frozen():
            assert process.post("post_call", body_of("CAL2")) == 204
            asyncio.run(get(metrics, "/metrics"))
            assert process.end(signal.SIGTERM) == 0
    assert len(list(waiting_in(tmp_path / "spool"))) == 1


def test_a_spool_outlives_its_process(database_url: str, tmp_path: Path) -> None:
    """Killed while it spooled, started again with the database: the webhook is routed and told."""
    config = tmp_path / "router.yaml"
    with receiver_in_a_thread() as destination:
        config.write_text(config_text(destination.url))
        options = ["serve", "--port", "0", "--config", str(config), "--database-url"]
        with running(*options, "postgresql://nobody@127.0.0.1:1/none") as process:
            assert process.post("post_call", body_of("CAL1")) == 204
            process.kill()
        with running(*options, database_url) as process:
            with opened(database_url) as database:
                wait_until(lambda: [row.state for row in rows_of(database, deliveries)] == ["delivered"])
            assert process.end(signal.SIGTERM) == 0
    assert not list((tmp_path / "spool").glob("in_*"))
