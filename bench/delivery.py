"""What a delivery costs with everything on: rules, order, lanes, a template and the list of attempts.

Beside it, what the same HTTP client posts of the same bodies when it does nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.backlog import fill_held, let_go, make_due
from bench.checks import check_arrived, check_delivered, check_stored
from bench.client import client_alone
from bench.config import SINK_SECRET, router_yaml, text_sink
from bench.e2e import latencies, post_and_deliver
from bench.load import Answered, open_loop
from bench.report import Figure, Target, both
from bench.servers import Kind, Server, Workspace
from bench.sink import Sink, running_sink

_EVENTS = 2_000
# On PostgreSQL the roles are apart, as an installation has them that needs more than one process.
_ROLES = {Kind.SQLITE: ("all",), Kind.POSTGRESQL: ("intake", "dispatch")}
_LANES = (1, 8)
_IDLE_RATE = 20
_IDLE_SECONDS = 15
# What two dispatchers, the sink and the database need to be measured and not their waiting for each other.
_CORES_FOR_TWO = 4
# Lanes are let go within a second of each other.
_UNTIL_ALL_RUN = 1.0
# Two dispatchers need some seconds until each has the lanes in which it comes first.
_EVENTS_FOR_TWO = 8_000
_UNTIL_SHARED = 3.0


def measure(workspace: Workspace, sink: Sink, kind: Kind, *, rounds: int) -> Iterator[Figure]:
    one_lane = workspace.with_config(router_yaml({"crm": text_sink(sink.url)}))
    yield from _with_intake(one_lane, sink, kind, rounds)
    yield from _drained(one_lane, sink, kind, rounds)
    if kind is Kind.POSTGRESQL:
        yield from _told_apart(one_lane, sink, kind)
        for lanes in _LANES:
            yield from _two_dispatchers(workspace, sink, kind, rounds, lanes)


def _with_intake(workspace: Workspace, sink: Sink, kind: Kind, rounds: int) -> Iterator[Figure]:
    sink.forget()
    answered: list[Answered] = []
    rates: list[float] = []
    alone: list[float] = []
    costs: list[list[float]] = []
    roles = _ROLES[kind]
    with workspace.database(kind) as url, running_sink() as other_sink:
        with _running(workspace, url, roles) as servers:
            post_and_deliver(servers[0].port, sink, answered, count=_EVENTS)  # the warming up
            for _ in range(rounds):
                with _cpu(servers, _EVENTS) as cost:
                    rates.append(post_and_deliver(servers[0].port, sink, answered, count=_EVENTS)[0])
                costs.append(cost)
                alone.append(client_alone(other_sink.url, sink.bodies(), secret=SINK_SECRET, count=_EVENTS))
        check_stored(url, answered)
        check_delivered(url, answered, sink.arrivals())
    what = "webhook to sink" if len(roles) == 1 else f"webhook to sink, {' and '.join(roles)} apart"
    yield Figure("delivery", kind, what, median(rates), "/s")
    yield Figure("delivery", kind, "HTTP client alone", median(alone), "/s")
    target = both(kind, sqlite=Target(">=", 0.22), postgresql=Target(">=", 0.30))
    yield Figure("delivery", kind, f"{what}: ratio", _ratio(rates, alone), target=target)
    for role, of_role in zip(roles, zip(*costs, strict=True), strict=True):
        most = Target("<=", 1.5) if role == "all" else None
        yield Figure("delivery", kind, f"{what}: CPU a delivery, {role}", median(of_role), "ms", most)


def _told_apart(workspace: Workspace, sink: Sink, kind: Kind) -> Iterator[Figure]:
    """How soon the sink hears of what another process took in, where nothing else is to do."""
    sink.forget()
    roles = _ROLES[kind]
    with workspace.database(kind) as url:
        with _running(workspace, url, roles) as servers:
            load = open_loop(servers[0].port, rate=_IDLE_RATE, seconds=_IDLE_SECONDS)
            sink.wait_for(len(load.everything) - load.refused)
        check_stored(url, load.everything)
        check_delivered(url, load.everything, sink.arrivals())
    what = f"sent to sink's first byte at {_IDLE_RATE}/s, {' and '.join(roles)} apart"
    yield from latencies("delivery", kind, what, load, sink.arrivals(), Target("<", 60))


def _drained(workspace: Workspace, sink: Sink, kind: Kind, rounds: int) -> Iterator[Figure]:
    drained: list[_Drained] = []
    alone: list[float] = []
    sink.forget()
    with workspace.database(kind) as url, running_sink() as other_sink:
        with _running(workspace, url, ["dispatch"]) as servers:
            _drain(url, servers, sink, ["crm"])  # the warming up
            for _ in range(rounds):
                drained.append(_drain(url, servers, sink, ["crm"]))
                alone.append(client_alone(other_sink.url, sink.bodies(), secret=SINK_SECRET, count=_EVENTS))
        check_arrived(url, sink.arrivals())
    rates = [each.rate for each in drained]
    target = Target(">=", 0.5) if kind is Kind.SQLITE else None
    yield Figure("delivery", kind, "backlog drained, nothing taken in", median(rates), "/s")
    yield Figure("delivery", kind, "backlog drained: ratio", _ratio(rates, alone), target=target)
    cost = median(each.costs[0] for each in drained)
    yield Figure("delivery", kind, "backlog drained: CPU a delivery", cost, "ms")


def _two_dispatchers(workspace: Workspace, sink: Sink, kind: Kind, rounds: int, lanes: int) -> Iterator[Figure]:
    names = [f"crm-{n}" for n in range(lanes)]
    workspace = workspace.with_config(router_yaml({name: text_sink(sink.url) for name in names}))
    one: list[_Drained] = []
    two: list[_Drained] = []
    sink.forget()
    with workspace.database(kind) as url:
        for _ in range(rounds):
            for dispatchers, drained in ((1, one), (2, two)):
                with _running(workspace, url, ["dispatch"] * dispatchers) as servers:
                    drained.append(_drain(url, servers, sink, names, events=_EVENTS_FOR_TWO, after=_UNTIL_SHARED))
        check_arrived(url, sink.arrivals())
    what = f"backlog of {lanes} lane{'s' if lanes > 1 else ''}"
    is_free = (os.cpu_count() or 1) >= _CORES_FOR_TWO
    target = Target(">=", 1.5) if is_free and lanes > 1 else None
    gain = _ratio([each.rate for each in two], [each.rate for each in one])
    yield Figure("delivery", kind, f"{what}, one dispatcher", median(each.rate for each in one), "/s")
    yield Figure("delivery", kind, f"{what}, two", median(each.rate for each in two), "/s")
    yield Figure("delivery", kind, f"{what}, two against one", gain, "x", target)
    for whose, drained in (("one", one), ("two", two)):
        cost = median(sum(each.costs) for each in drained)
        yield Figure("delivery", kind, f"{what}: CPU a delivery, {whose}", cost, "ms")
        for which, pick in (("the busiest", max), ("the idlest", min)):
            busy = median(pick(each.costs) * each.rate / 10 for each in drained)
            yield Figure("delivery", kind, f"{what}: of a core, {which} of {whose}", busy, "%")


# --- draining --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drained:
    """Deliveries a second, and by process its milliseconds of CPU a delivery."""

    rate: float
    costs: list[float]


def _drain(
    url: str,
    servers: Sequence[Server],
    sink: Sink,
    lanes: list[str],
    *,
    events: int = _EVENTS,
    after: float = _UNTIL_ALL_RUN,
) -> _Drained:
    """Let *servers* send a backlog of *events* in *lanes*. The rate is that from *after* so many seconds on."""
    earlier = len(sink.arrivals())
    fill_held(url, lanes, partial(make_due, count=events, sinks=lanes))
    with _cpu(servers, events) as costs:
        let_go(url, lanes)
        sink.wait_for(earlier + events)
    times = [arrival.at for arrival in sink.arrivals()[earlier:]]
    steady = [at for at in times if at > times[0] + after]
    return _Drained((len(steady) - 1) / (steady[-1] - steady[0]), costs)


@contextmanager
def _running(workspace: Workspace, url: str, roles: Sequence[str]) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(workspace.server(url, role=role)) for role in roles]


@contextmanager
def _cpu(servers: Sequence[Server], deliveries: int) -> Iterator[list[float]]:
    """Is filled at the end: by server its milliseconds of CPU a delivery."""
    costs: list[float] = []
    before = [server.cpu_seconds() for server in servers]
    yield costs
    costs += [(server.cpu_seconds() - used) * 1000 / deliveries for server, used in zip(servers, before, strict=True)]


def _ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    return median(a / b for a, b in zip(rates, others, strict=True))
