"""A server that is killed amid look-ups, again and again: in the end everything is decided, once and in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from routers.fake_callrail import faults
from tests.routers.lookups.office import Office, an_office, body_of
from tests.routers.running import SECRETS, running
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

CALLS = 60
KILLS = 5
RULES = """
rules:
  - id: once
    when: [call.ringing, call.missed]
    if: {lookup.tracker.name: {exists: true}}
    lookups: [lead_timeline, previous_calls]
    send: [{to: crm}]
"""


@pytest.fixture
async def office(tmp_path: Path, database_url: str) -> AsyncIterator[Office]:
    async with an_office(tmp_path, database_url) as office:
        office.write(RULES, "lookups:\n  tracker: {ttl: 1s}\n  lead_timeline: {ttl: 1s}")
        yield office


@pytest.mark.long
async def test_all_is_decided_once_however_often_it_is_killed(office: Office) -> None:
    dice = random.Random(11)
    environ = {**SECRETS, "OFFICE_KEY": office.fake.world.key}
    arguments = ("serve", "--config", office.config, *office.stored, "--port", "0")
    left = list(range(CALLS))
    for number in range(KILLS + 1):
        path = dice.choice(("trackers", "timeline", "calls"))
        before = len(office.asked(path))
        if number < KILLS:  # amid this one
            office.fake.faults.add("GET", f"*{path}*", faults.hang())
        with running(*arguments, environ=environ) as server:
            for call_number in [left.pop() for _ in range(CALLS // (KILLS + 1))]:
                await asyncio.to_thread(_post, server.port, office, call_number)
            if number < KILLS:
                await until(partial(_is_asked_again, office, path, before))
                server.kill()
                office.make_due()  # time passes: what the dead one had taken is nobody's any more
                office.database.dispose()  # whoever starts is alone with the file
                continue
            office.make_due()
            await until(lambda: len(office.transitions("call.missed")) == CALLS and _is_all_decided(office))

    told = office.deliveries()
    assert len(told) == CALLS
    assert {row.rule for row in told} == {"once"}
    # The first of both, unless the call was over before its ringing was looked at.
    first = {row.object_id: row.id for row in reversed(office.transitions()) if _is_told(row)}
    assert {row.transition_id for row in told} == set(first.values())


def _is_asked_again(office: Office, path: str, before: int) -> bool:
    return len(office.asked(path)) > before


def _is_told(row: Row[Any]) -> bool:
    return row.name in ("call.ringing", "call.missed") and row.state == "routed"


def _is_all_decided(office: Office) -> bool:
    return all(row.state in ("routed", "superseded") for row in office.transitions())


def _post(port: int, office: Office, number: int) -> None:
    call = office.a_call()
    body = body_of(call) | {"resource_id": f"CAL{number:03}"}

    async def both() -> None:
        office.port = port
        await office.post("pre_call", body | {"duration": 0})
        await office.post("post_call", body)

    asyncio.run(both())
