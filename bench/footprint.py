"""What `serve` costs to have: the time until it answers the first webhook, and its memory after many."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from statistics import median

from bench.checks import check_delivered, check_stored
from bench.load import Answered, post_all
from bench.report import Figure, Target
from bench.servers import Kind, ServerFailed, Workspace
from bench.sink import Sink
from bench.traffic import Request, requests

_EVENTS_AT_ONCE = 10_000
_CONNECTIONS = 8


def measure_start(workspace: Workspace, kind: Kind, *, rounds: int) -> Iterator[Figure]:
    with workspace.database(kind) as url:
        took = [_time_to_first_answer(workspace, url) for _ in range(rounds)]
    yield Figure("start", kind, "exec to first answered webhook", median(took), "s", Target("<", 1.5))
    yield Figure("start", kind, "slowest of them", max(took), "s")


def _time_to_first_answer(workspace: Workspace, url: str) -> float:
    (request,) = requests(1, port=0)
    begun = time.monotonic()
    server = workspace.start(url)
    try:
        server.wait_until_it_answers()
        status = _status_of(server.port, request)
        took = time.monotonic() - begun
    finally:
        server.stop()
    if status != "204":
        raise ServerFailed(f"the first webhook was answered with {status}")
    return took


def _status_of(port: int, request: Request) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request.wire)
        return client.recv(4096).decode("ascii")[9:12]


def measure_memory(workspace: Workspace, sink: Sink, kind: Kind, *, events: int) -> Iterator[Figure]:
    sink.forget()
    answered: list[Answered] = []
    with workspace.database(kind) as url:
        with workspace.server(url) as server:
            at_start = server.memory()
            while len(answered) < events:
                count = min(_EVENTS_AT_ONCE, events - len(answered))
                answered += post_all(server.port, connections=_CONNECTIONS, count=count).everything
                sink.wait_for(len(answered))
            afterwards, at_most = server.memory(), server.memory("VmHWM")
        check_stored(url, answered)
        check_delivered(url, answered, sink.arrivals())
    yield Figure("memory", kind, "at start", at_start, "MB")
    yield Figure("memory", kind, f"after {events:,} events", afterwards, "MB", Target("<", 120))
    yield Figure("memory", kind, "at most", at_most, "MB")
