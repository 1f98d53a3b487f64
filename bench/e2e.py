"""From webhook to sink in one process with twenty rules: how many a second, how soon, and what overload does."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.checks import check_delivered, check_stored
from bench.client import client_alone
from bench.config import SINK_SECRET
from bench.load import Answered, Load, open_loop, percentile, post_all
from bench.report import Figure, Target
from bench.servers import Kind, Workspace
from bench.sink import Arrival, Sink, running_sink

_EVENTS = 2_000
_CONNECTIONS = 32
_RATES = {20: Target("<", 60), 40: None}
# A rate that lasts this many times the seconds of a round: enough webhooks for a p99.
_STEADY_ROUNDS = 5
_OVERLOAD = 1_000
_OVERLOAD_SECONDS = 10


def measure(workspace: Workspace, sink: Sink, kind: Kind, *, rounds: int, seconds: float) -> Iterator[Figure]:
    yield from _throughput(workspace, sink, kind, rounds)
    for rate, target in _RATES.items():
        yield from _latency(workspace, sink, kind, rate, seconds * _STEADY_ROUNDS, target)
    yield from _overload(workspace, sink, kind)


def _throughput(workspace: Workspace, sink: Sink, kind: Kind, rounds: int) -> Iterator[Figure]:
    sink.forget()
    answered: list[Answered] = []
    rates: list[float] = []
    draining: list[float] = []
    alone: list[float] = []
    with workspace.database(kind) as url, running_sink() as other_sink:
        with workspace.server(url) as server:
            post_and_deliver(server.port, sink, answered, count=_EVENTS)  # the warming up
            for _ in range(rounds):
                rate, drain_rate = post_and_deliver(server.port, sink, answered, count=_EVENTS)
                rates.append(rate)
                draining.append(drain_rate)
                alone.append(client_alone(other_sink.url, sink.bodies(), secret=SINK_SECRET, count=_EVENTS))
        _check(url, answered, sink.arrivals())
    ratio = median(a / b for a, b in zip(rates, alone, strict=True))
    yield Figure("e2e", kind, "webhook to sink", median(rates), "/s")
    yield Figure("e2e", kind, "of it, once all is taken in", median(draining), "/s")
    yield Figure("e2e", kind, "HTTP client alone", median(alone), "/s")
    yield Figure("e2e", kind, "webhook to sink: ratio", ratio, target=Target(">=", 0.28))


def post_and_deliver(port: int, sink: Sink, answered: list[Answered], *, count: int) -> tuple[float, float]:
    """Post *count* events at once, and add to *answered* what came of them.

    Returns deliveries a second, from the first request to the last arrival and from the last answer.
    """
    load = post_all(port, connections=_CONNECTIONS, count=count)
    answered += load.everything
    sink.wait_for(len(answered))
    arrivals = sink.arrivals()[-count:]
    begun, taken_in, ended = min(item.sent for item in load.everything), load.everything[-1].answered, arrivals[-1].at
    backlog = sum(arrival.at > taken_in for arrival in arrivals)
    return count / (ended - begun), backlog / (ended - taken_in)


def _latency(
    workspace: Workspace, sink: Sink, kind: Kind, rate: int, seconds: float, target: Target | None
) -> Iterator[Figure]:
    with workspace.database(kind) as url:
        load, _ = _post_and_wait(workspace, sink, url, rate, seconds)
    yield from latencies("e2e", kind, f"sent to sink's first byte at {rate}/s", load, sink.arrivals(), target)


def latencies(
    part: str, kind: Kind, what: str, load: Load, arrivals: list[Arrival], target: Target | None
) -> Iterator[Figure]:
    """From the sending of each measured webhook to the first byte at the sink. *target* is of the p95."""
    arrived = {arrival.call_id: arrival.at for arrival in arrivals}
    took = [arrived[item.call_id] - item.sent for item in load.measured]
    for percent in (50, 95, 99):
        milliseconds = percentile(took, percent) * 1000
        yield Figure(part, kind, f"{what}: p{percent}", milliseconds, "ms", target if percent == 95 else None)


def _overload(workspace: Workspace, sink: Sink, kind: Kind) -> Iterator[Figure]:
    with workspace.database(kind) as url:
        load, drained = _post_and_wait(workspace, sink, url, _OVERLOAD, _OVERLOAD_SECONDS)
    last_posted = load.everything[-1].answered
    backlog = sum(arrival.at > last_posted for arrival in sink.arrivals())
    what = f"overload, {_OVERLOAD}/s in"
    yield Figure("e2e", kind, f"{what}: refused", load.refused, target=Target("<", 1))
    yield Figure("e2e", kind, f"{what}: intake's p50", load.latency(50), "ms")
    yield Figure("e2e", kind, f"{what}: intake's p99", load.latency(99), "ms", Target("<", 100))
    yield Figure("e2e", kind, f"{what}: backlog after {_OVERLOAD_SECONDS} s", backlog)
    yield Figure("e2e", kind, f"{what}: drained after", drained - last_posted, "s")


def _post_and_wait(workspace: Workspace, sink: Sink, url: str, rate: int, seconds: float) -> tuple[Load, float]:
    """Post at *rate*, wait until all has arrived, check by id; the load, and when the last delivery came."""
    sink.forget()
    with workspace.server(url) as server:
        load = open_loop(server.port, rate=rate, seconds=seconds)
        sink.wait_for(len(load.everything) - load.refused)
    _check(url, load.everything, sink.arrivals())
    return load, sink.arrivals()[-1].at


def _check(url: str, answered: list[Answered], arrivals: list[Arrival]) -> None:
    check_stored(url, answered)
    check_delivered(url, answered, arrivals)
