"""The load generator: a process of its own that posts over keep-alive connections as lean as asyncio allows.

A closed loop keeps each connection busy and so finds the limit; an open loop posts at a fixed rate, whatever the
answers, and so finds the latency. There an answer's time counts from when its request was due.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import quantiles
from typing import NamedTuple, cast

import uvloop

from bench.traffic import Request, requests

_WARM_UP = 0.5
_IDLE_AT_MOST = 4.0  # uvicorn closes a connection after five idle seconds
_ANSWER_WITHIN = 30.0
_NO_BODY = b"204"


class Answered(NamedTuple):
    """One request and what became of it. Times are of `time.monotonic`; status 0 is a connection that broke."""

    call_id: str
    sha256: bytes
    sent: float
    answered: float
    status: int

    @property
    def is_stored(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Load:
    """What a run of the generator saw. *measured* leaves out the warming up; *everything* is what must be stored."""

    everything: list[Answered]
    measured: list[Answered]

    @property
    def rate(self) -> float:
        """Answers of 2xx a second."""
        stored = [item.answered for item in self.measured if item.is_stored]
        return (len(stored) - 1) / (stored[-1] - stored[0])

    def latency(self, percent: int) -> float:
        """Milliseconds within which *percent* of the requests were answered."""
        return percentile([item.answered - item.sent for item in self.measured], percent) * 1000

    @property
    def refused(self) -> int:
        return sum(not item.is_stored for item in self.everything)


def percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def closed_loop(port: int, *, connections: int, seconds: float, expect: int) -> Load:
    """Post for *seconds* on *connections* that each wait for their answer; *expect* requests a second at most."""
    count = round(expect * (seconds + _WARM_UP))
    return _load(_in_own_process(_closed, port, connections, count, seconds + _WARM_UP))


def post_all(port: int, *, connections: int, count: int) -> Load:
    """Post *count* requests as fast as *connections* get their answers."""
    everything = _in_own_process(_closed, port, connections, count, float("inf"))
    return Load(everything, everything)


def open_loop(port: int, *, rate: float, seconds: float) -> Load:
    """Post at *rate* requests a second for *seconds*."""
    return _load(_in_own_process(_open, port, rate, seconds + _WARM_UP))


def _load(everything: list[Answered]) -> Load:
    begun = min(item.sent for item in everything) + _WARM_UP
    return Load(everything, [item for item in everything if item.sent >= begun])


def _in_own_process(run: Callable[..., list[Answered]], *args: object) -> list[Answered]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *args).result()


def _closed(port: int, connections: int, count: int, seconds: float) -> list[Answered]:
    return _run(_keep_busy(port, requests(count, port=port), connections, seconds))


def _open(port: int, rate: float, seconds: float) -> list[Answered]:
    return _run(_post_on_time(port, requests(round(rate * seconds), port=port), rate))


def _run(main: Coroutine[None, None, list[Answered]]) -> list[Answered]:
    gc.freeze()  # the prepared requests need not be looked through again and again
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return sorted(runner.run(main), key=lambda item: item.answered)


async def _keep_busy(port: int, waiting: list[Request], connections: int, seconds: float) -> list[Answered]:
    answered: list[Answered] = []
    open_ones = [await _connect(port, answered) for _ in range(connections)]
    end = time.monotonic() + seconds
    waiting.reverse()  # so that pop() takes the first

    def go_on(connection: _Connection) -> None:
        if waiting and time.monotonic() < end:
            connection.post(waiting.pop(), time.monotonic(), go_on)
        else:
            connection.close()

    for connection in open_ones:
        go_on(connection)
    await asyncio.gather(*(connection.closed for connection in open_ones))
    return answered


async def _post_on_time(port: int, waiting: list[Request], rate: float) -> list[Answered]:
    answered: list[Answered] = []
    idle: list[_Connection] = []
    begun = time.monotonic()
    connections: list[_Connection] = []
    for number, request in enumerate(waiting):
        due = begun + number / rate
        await asyncio.sleep(due - time.monotonic())
        if not idle or idle[-1].may_be_closed():
            connections.append(await _connect(port, answered))
            idle.append(connections[-1])
        idle.pop().post(request, due, idle.append)
    async with asyncio.timeout(_ANSWER_WITHIN):
        await asyncio.gather(*(connection.close_when_answered() for connection in connections))
    return answered


async def _connect(port: int, answered: list[Answered]) -> _Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: _Connection(answered), "127.0.0.1", port)
    return connection


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on the way."""

    def __init__(self, answered: list[Answered]) -> None:
        self._answered = answered
        self._received = b""
        self._request: Request | None = None
        self._sent = 0.0
        self._idle_since = time.monotonic()
        self._done: Callable[[_Connection], None]
        self._transport: asyncio.Transport
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def post(self, request: Request, sent: float, done: Callable[[_Connection], None]) -> None:
        """Post *request*, noting that it was *sent* then; *done* is called with this connection after the answer."""
        self._request, self._sent, self._done = request, sent, done
        self._transport.write(request.wire)

    def close(self) -> None:
        self._transport.close()

    def may_be_closed(self) -> bool:
        """Whether it has been idle for so long that the server may close it while we write."""
        return time.monotonic() - self._idle_since > _IDLE_AT_MOST

    async def close_when_answered(self) -> None:
        self._done = _Connection.close
        if self._request is None:
            self.close()
        await self.closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or (head[9:12] != _NO_BODY and len(body) < _content_length(head)):
            return
        self._received = b""
        self._idle_since = time.monotonic()
        self._note(int(head[9:12]))
        self._done(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._request is not None:
            self._note(0)
        self.closed.set_result(None)

    def _note(self, status: int) -> None:
        assert self._request is not None
        request, self._request = self._request, None
        self._answered.append(Answered(request.call_id, request.sha256, self._sent, time.monotonic(), status))


def _content_length(head: bytes) -> int:
    _, _, length = head.lower().partition(b"content-length:")
    return int(length.split(b"\r\n", 1)[0] or 0)
