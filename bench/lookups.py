"""What a look-up costs whose answer still holds: the same calls, routed by rules that ask for it and that do not."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

import orjson
from sqlalchemy import Connection

from bench.report import Figure, Target
from bench.servers import Kind, Workspace
from callrail.client import CallRail
from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.database import Database, open_database
from receiver.events import ReceivedRequest, event_row, insert_events
from receiver.ids import Prefix, new_id
from receiver.writer import Writer
from routers.config import Configuration, read_config
from routers.fake_callrail import FakeCallRail, small_world
from routers.fake_callrail.serving import serving
from routers.lookups.asking import Lookups
from routers.lookups.definitions import About
from routers.lookups.waiting import looking_in
from routers.objects import claim_received
from routers.outbox import shift_open_times
from routers.routing import MAX_BATCH, route_claimed
from routers.rules.needs import Needs

_EVENTS = 2_000
_WORLD = small_world(calls=5)
_TRACKER = next(iter(_WORLD.accounts[0].trackers))


def _config(lookups: str) -> str:
    return (
        "accounts: {main: {account_id: ACC1, api_key: env:BENCH_KEY}}\n"
        "companies: {acme: {signing_keys: [env:BENCH_KEY]}}\n"
        "sinks: {out: {type: stdout}}\n"
        f"rules: [{{id: missed, when: [call.missed], {lookups} send: [{{to: out}}]}}]\n"
    )


def measure(workspace: Workspace, kind: Kind, *, rounds: int) -> Iterator[Figure]:
    with_it, without = workspace.with_config(_config("lookups: [tracker],")), workspace.with_config(_config(""))
    pairs = [(_microseconds(with_it, kind), _microseconds(without, kind)) for _ in range(rounds)]
    yield Figure("lookups", kind, "a call routed, nothing looked up", median(b for _, b in pairs), "us")
    extra = median(a - b for a, b in pairs)
    yield Figure("lookups", kind, "with a cached look-up, beyond that", extra, "us", Target("<", 1_000))


def _microseconds(workspace: Workspace, kind: Kind) -> float:
    configuration = read_config(workspace.config)
    with workspace.database(kind) as url:
        database = open_database(url)
        clock: Clock = WallClock(shift_open_times) if database.is_sqlite else DatabaseClock()
        with database.writing.begin() as conn:
            _receive(conn)
        lookups = asyncio.run(_asked(database, clock, configuration))
        took = _route_all(database, clock, configuration, lookups)
        database.dispose()
    return took / _EVENTS * 1_000_000


def _receive(conn: Connection) -> None:
    for number in range(_EVENTS):
        told = {"resource_id": f"CAL{number}", "call_type": "missed", "answered": False, "duration": 30}
        raw = orjson.dumps(told | {"tracker_resource_id": _TRACKER})
        request = ReceivedRequest(datetime.now(UTC), "acme", "post_call", "application/json", {}, raw)
        insert_events(conn, [event_row(new_id(Prefix.EVENT), request, hashlib.sha256(raw).digest(), "01234567")])


async def _asked(database: Database, clock: Clock, configuration: Configuration) -> Lookups:
    """The look-ups, one of which has been answered by a server just now."""
    writer = Writer(database, insert_events)
    writer.start()
    async with serving(FakeCallRail(_WORLD)) as url:
        client = CallRail(_WORLD.key, _WORLD.accounts[0].id, base_url=url)
        lookups = Lookups(configuration.lookups, configuration.account_of, {"main": client}, writer, clock)
        now = datetime.now(UTC)
        answer = await lookups.ask("tracker", About("acme", {"tracker_resource_id": _TRACKER}, now), now)
        assert answer.fields is not None, answer.problem
        await lookups.aclose()
        await client.aclose()
    await writer.stop()
    return lookups


def _route_all(database: Database, clock: Clock, configuration: Configuration, lookups: Lookups) -> float:
    needs, begun = Needs(configuration.rules), time.monotonic()
    with database.writing.connect() as conn:
        while True:
            with conn.begin():
                claimed = claim_received(conn, limit=MAX_BATCH)
                looking = looking_in(conn, lookups, needs, clock) if configuration.looks_up else None
                report = route_claimed(conn, claimed, clock, configuration.rules, {}, looking=looking)
                assert not report.waits
            if not report.events:
                return time.monotonic() - begun
