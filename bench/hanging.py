"""A hundred sinks, one of which leaves everything without an answer: what the others notice of it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.checks import check_delivered, check_stored
from bench.config import router_yaml, webhook_sink
from bench.load import Answered, open_loop, percentile
from bench.report import Figure, Target
from bench.servers import Kind, Server, Workspace
from bench.sink import Sink
from bench.traffic import CLIENTS

_SINKS = 100
_HANGING = "sink-00"
# Webhooks a second; each is told to five sinks.
_RATE = 20
# More seconds than this in a round would end the hanging requests by their own timeout of 20 s.
_AT_MOST = 15.0


def measure(workspace: Workspace, sink: Sink, kind: Kind, *, rounds: int, seconds: float) -> Iterator[Figure]:
    names = [f"sink-{n:02}" for n in range(_SINKS)]
    workspace = workspace.with_config(router_yaml({name: webhook_sink(f"{sink.url}{name}") for name in names}))
    seconds = min(seconds, _AT_MOST)
    sink.forget()
    answered: list[Answered] = []
    without: list[float] = []
    beside: list[float] = []
    with workspace.database(kind) as url:
        with workspace.server(url) as server:
            _p95(server, sink, answered, seconds)  # the warming up
            for _ in range(rounds):
                without.append(_p95(server, sink, answered, seconds))
                sink.hang(f"/{_HANGING}")
                beside.append(_p95(server, sink, answered, seconds))
        check_stored(url, answered)
        check_delivered(url, answered, sink.arrivals(), each=_SINKS // len(CLIENTS))
    what = f"{_SINKS} sinks, {_RATE}/s in, five sinks each: p95"
    cost = median(a / b for a, b in zip(beside, without, strict=True))
    yield Figure("hanging", kind, what, median(without) * 1000, "ms")
    yield Figure("hanging", kind, f"{what} of the others beside a hanging one", median(beside) * 1000, "ms")
    yield Figure("hanging", kind, "the one against the other", cost, "x", Target("<=", 1.3))


def _p95(server: Server, sink: Sink, answered: list[Answered], seconds: float) -> float:
    """Seconds from posting to arrival within which 95 of 100 deliveries come to the sinks that do not hang."""
    load = open_loop(server.port, rate=_RATE, seconds=seconds)
    answered += load.everything
    sink.answer()
    sink.wait_for(len(answered) * _SINKS // len(CLIENTS))
    sent = {item.call_id: item.sent for item in load.measured}
    took = [
        item.at - sent[item.call_id] for item in sink.arrivals() if item.call_id in sent and _HANGING not in item.path
    ]
    return percentile(took, 95)
