"""How fast webhooks become durable, beside the same server that verifies and parses but stores nothing."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.checks import check_stored
from bench.load import Answered, Load, closed_loop, open_loop
from bench.report import Figure, Target, both
from bench.servers import VERIFIER, Kind, Workspace

_CONNECTIONS = (1, 32, 128)
# How many connections the targets speak of.
_SATURATED = 32
_OPEN_RATE = 200
# Requests a second to have ready: more than either server answers.
_FASTEST = 25_000


def measure(workspace: Workspace, kind: Kind, *, rounds: int, seconds: float) -> Iterator[Figure]:
    for connections in _CONNECTIONS:
        yield from _closed_loop(workspace, kind, connections, rounds, seconds)
    with workspace.database(kind) as url:
        with workspace.server(url, role="intake") as server:
            loads = [open_loop(server.port, rate=_OPEN_RATE, seconds=seconds) for _ in range(rounds)]
        check_stored(url, _everything(loads))
    yield from _latencies(kind, f"{_OPEN_RATE} a second", loads, Target("<", 15))


def _closed_loop(workspace: Workspace, kind: Kind, connections: int, rounds: int, seconds: float) -> Iterator[Figure]:
    with workspace.database(kind) as url, workspace.database(Kind.SQLITE) as unused:
        with (
            workspace.server(url, role="intake") as durable_server,
            workspace.server(unused, role="intake", command=VERIFIER) as verify_server,
        ):
            durable: list[Load] = []
            verify: list[Load] = []
            for _ in range(rounds):
                for server, loads in ((durable_server, durable), (verify_server, verify)):
                    loads.append(closed_loop(server.port, connections=connections, seconds=seconds, expect=_FASTEST))
        check_stored(url, _everything(durable))
    what = f"{connections} connection{'s' if connections > 1 else ''}"
    ratio = median(a.rate / b.rate for a, b in zip(durable, verify, strict=True))
    is_saturated = connections == _SATURATED
    least = both(kind, sqlite=Target(">=", 0.30), postgresql=Target(">=", 0.25))
    slowest = both(kind, sqlite=Target("<", 30), postgresql=Target("<", 45))
    yield Figure("intake", kind, f"{what}: durable", median(load.rate for load in durable), "/s")
    yield Figure("intake", kind, f"{what}: verify only", median(load.rate for load in verify), "/s")
    yield Figure("intake", kind, f"{what}: ratio", ratio, target=least if is_saturated else None)
    yield from _latencies(kind, what, durable, slowest if is_saturated else None)


def _latencies(kind: Kind, what: str, loads: list[Load], slowest: Target | None) -> Iterator[Figure]:
    yield Figure("intake", kind, f"{what}: p50", median(load.latency(50) for load in loads), "ms")
    yield Figure("intake", kind, f"{what}: p99", median(load.latency(99) for load in loads), "ms", slowest)


def _everything(loads: list[Load]) -> list[Answered]:
    return [item for load in loads for item in load.everything]
