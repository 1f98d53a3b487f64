"""A replay of ten thousand events: how long its plan takes, and what webhooks that come meanwhile feel of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from statistics import median

from sqlalchemy import func, select, update

from bench.checks import CheckFailed
from bench.load import open_loop
from bench.preload import preload
from bench.report import Figure, Target
from bench.servers import ROUTER, Kind, Workspace
from receiver.database import open_database
from routers.schema import DeliveryState, deliveries

_EVENTS = 10_000
_LIVE = 50  # webhooks a second
_SECONDS = 15.0


def measure(workspace: Workspace, kind: Kind, *, rounds: int) -> Iterator[Figure]:
    with workspace.database(kind) as url:
        preload(url, _EVENTS)
        _give_up_all(url)
        for routing in ("original", "today"):
            took = median(_planned(workspace, url, routing)[0] for _ in range(rounds))
            what = f"plan of {_EVENTS:,} events, --routing {routing}"
            yield Figure("replay", kind, what, took, "s", Target("<", 5))
        _, replay_id = _planned(workspace, url, "original")
        with workspace.server(url) as server:
            quiet = open_loop(server.port, rate=_LIVE, seconds=_SECONDS)
            _command(workspace, url, "replay", "run", replay_id, "--yes", config=False)
            before = _delivered(url)
            busy = open_loop(server.port, rate=_LIVE, seconds=_SECONDS)
            replayed = _delivered(url) - before - len(busy.everything)
    if replayed <= 0:
        raise CheckFailed("nothing was replayed while it was measured")
    what = f"{_LIVE} a second are taken in"
    yield Figure("replay", kind, f"{what}: p99", quiet.latency(99), "ms")
    yield Figure("replay", kind, f"{what} under a replay: p99", busy.latency(99), "ms", Target("<", 100))
    yield Figure("replay", kind, "replayed meanwhile", replayed / _SECONDS, "/s")


def _give_up_all(url: str) -> None:
    database = open_database(url)
    with database.writing.begin() as conn:
        conn.execute(update(deliveries).values(state=DeliveryState.DEAD.value, cause="gave up: HTTP 503"))
    database.dispose()


def _planned(workspace: Workspace, url: str, routing: str) -> tuple[float, str]:
    """Seconds of the whole command, and the plan's id."""
    begun = time.perf_counter()
    told = _command(
        workspace, url, "replay", "plan", "--since", "400d", "--late", "--routing", routing, "--rate", "200/s"
    )
    took = time.perf_counter() - begun
    plan = json.loads(told)
    if plan["messages"] < _EVENTS:
        raise CheckFailed(f"the plan holds {plan['messages']} messages")
    return took, plan["id"]


def _command(workspace: Workspace, url: str, *words: str, config: bool = True) -> str:
    options = ["--config", str(workspace.config), "-o", "json"] if config else []
    ran = subprocess.run(
        [*ROUTER, *words, "--database-url", url, *options], check=False, capture_output=True, text=True
    )
    if ran.returncode:
        raise CheckFailed(f"{' '.join(words)}: {ran.stderr}")
    return ran.stdout


def _delivered(url: str) -> int:
    database = open_database(url)
    with database.reading.connect() as conn:
        is_delivered = deliveries.c.state == DeliveryState.DELIVERED.value
        found: int = conn.execute(select(func.count()).where(is_delivered)).scalar_one()
    database.dispose()
    return found
