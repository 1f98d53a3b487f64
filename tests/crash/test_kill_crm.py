"""Killed amid logging at a CRM, again and again: in the end one contact, and one record of each call."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
import pytest
from sqlalchemy import delete, select, update

from receiver.database import Database
from routers.schema import OPEN, deliveries, turns
from tests.client import post_signed
from tests.crash.starting import starting
from tests.fakes.hubspot import TOKEN, FakeHubSpot, running_hubspot
from tests.routers.crm_office import CALL, WHEN
from tests.routers.lookups.office import LONG_AGO
from tests.routers.running import KEY
from tests.routers.store import opened
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

KILLS = 10
CALLS_BETWEEN = 3


@pytest.fixture
async def hubspot() -> AsyncIterator[FakeHubSpot]:
    async with running_hubspot() as running_:
        running_.account.define("contacts", "callrail_phone")
        running_.account.define("calls", "callrail_id")
        yield running_


@pytest.mark.long
async def test_killed_amid_a_crm_there_is_one_contact_and_one_record_of_each_call(
    hubspot: FakeHubSpot, database_url: str, tmp_path: Path
) -> None:
    dice = random.Random(9)
    config = tmp_path / "router.yaml"
    config.write_text(
        "companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n"
        f"sinks:\n  crm: {{type: hubspot, token: env:HUBSPOT_TOKEN, base_url: '{hubspot.base_url}', rate: 1000/s,\n"
        "        allow_hosts: [127.0.0.1], timeout: 5s}\n"
        f"rules:\n  - {{id: all, when: [{WHEN}], on_late: deliver, send: [{{to: crm}}]}}\n"
    )
    arguments = ("serve", "--config", config, "--database-url", database_url, "--port", "0")
    called: list[str] = []
    with opened(database_url) as database:
        for kill in range(KILLS + 1):
            with starting(*arguments, environ={"HUBSPOT_TOKEN": TOKEN}) as server:
                port = await asyncio.to_thread(lambda: server.port)
                for _ in range(CALLS_BETWEEN):
                    called.append(f"CAL{len(called)}")
                    await post_call(port, called[-1])
                if kill < KILLS:
                    await until(partial(is_amid_the_work, hubspot, hubspot.count() + dice.randrange(1, 4), database))
                    server.kill()
                else:
                    await until(lambda: not is_anything_open(database))
            let_time_pass(database)
            database.dispose()  # whoever starts is alone with the file

    (contact,) = hubspot.account.all("contacts")
    calls = hubspot.account.all("calls")
    assert sorted(each.properties["callrail_id"] for each in calls) == sorted(called)
    assert {*hubspot.account.linked("contacts", contact.id, "calls")} == {each.id for each in calls}


def is_amid_the_work(hubspot: FakeHubSpot, requests: int, database: Database) -> bool:
    """So many requests have come, or no more will."""
    return hubspot.count() >= requests or not is_anything_open(database)


async def post_call(port: int, call: str) -> None:
    told = {**CALL, "resource_id": call, "start_time": datetime.now(UTC).isoformat()}
    reply = await post_signed(port, "/callrail/acme/post_call", orjson.dumps(told), key=KEY)
    assert reply.status == 204


def is_anything_open(database: Database) -> bool:
    with database.reading.connect() as conn:
        states = [state.value for state in OPEN]
        return conn.execute(select(deliveries.c.id).where(deliveries.c.state.in_(states))).first() is not None


def let_time_pass(database: Database) -> None:
    """The leases of the dead process are over, and what it put off is due. Nothing it asked for acts any more."""
    with database.writing.begin() as conn:
        conn.execute(delete(turns))
        waits = deliveries.c.state.in_([state.value for state in OPEN])
        conn.execute(update(deliveries).where(waits).values(due_at=LONG_AGO, lease_until=LONG_AGO))
