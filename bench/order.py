"""All that happens is about one person: each delivery waits for the one before, and many more wait behind it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.backlog import fill_held, let_go, pile_up
from bench.checks import check_in_order
from bench.config import router_yaml, webhook_sink
from bench.report import Figure, Target
from bench.servers import Kind, Workspace
from bench.sink import Sink

_SINK = "crm"
_ORDER_KEY = "client-00:+14045550123"
_DELIVERIES = 1_000
_WAITING = (1_000, 50_000)


def measure(workspace: Workspace, sink: Sink, kind: Kind, *, rounds: int) -> Iterator[Figure]:
    workspace = workspace.with_config(router_yaml({_SINK: webhook_sink(sink.url)}))
    rates: dict[int, list[float]] = {waiting: [] for waiting in _WAITING}
    few, many = _WAITING
    with workspace.database(kind) as beside_few, workspace.database(kind) as beside_many:
        _pile_up(beside_many, many - few)
        for _ in range(rounds):
            for waiting, url in ((few, beside_few), (many, beside_many)):
                _pile_up(url, _DELIVERIES)
                rates[waiting].append(_rate(workspace, sink, url))
    for waiting in _WAITING:
        what = f"of one person, {waiting:,} waiting"
        yield Figure("order", kind, what, median(rates[waiting]), "/s", Target(">=", 150))
    ratio = median(a / b for a, b in zip(rates[many], rates[few], strict=True))
    yield Figure("order", kind, f"of one person, {many:,} against {few:,}", ratio, "x", Target(">=", 0.9))


def _pile_up(url: str, count: int) -> None:
    fill_held(url, [_SINK], partial(pile_up, count=count, sink=_SINK, order_key=_ORDER_KEY))


def _rate(workspace: Workspace, sink: Sink, url: str) -> float:
    """Deliveries a second of the first thousand that are sent; all that were must have come in order."""
    sink.forget()
    with workspace.server(url, role="dispatch"):
        let_go(url, [_SINK])
        sink.wait_for(_DELIVERIES)
    arrivals = sink.arrivals()
    check_in_order(arrivals)
    return (_DELIVERIES - 1) / (arrivals[_DELIVERIES - 1].at - arrivals[0].at)
