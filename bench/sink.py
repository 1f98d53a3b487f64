"""The destination: a process of its own that answers 204 to every POST and notes what arrived when."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, cast

import uvloop

_KEPT_BODIES = 200
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WEBHOOK_ID = re.compile(rb"webhook-id: *(\S+)", re.IGNORECASE)
_CALL_ID = re.compile(rb'"resource_id":"(\w+)"')


class Arrival(NamedTuple):
    """One delivery. *at* is when its first byte came, of `time.monotonic`, which all processes share."""

    at: float
    webhook_id: str
    call_id: str


class NotAllArrived(Exception):
    """What was due did not come in time."""


class Sink:
    """The running sink as seen by the benchmark."""

    def __init__(self, port: int, control: Connection) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self._control = control

    def arrivals(self) -> list[Arrival]:
        """All that arrived since `forget`, in order."""
        return self._ask("arrivals")  # type: ignore[no-any-return]

    def bodies(self) -> list[bytes]:
        """The first bodies that arrived."""
        return self._ask("bodies")  # type: ignore[no-any-return]

    def forget(self) -> None:
        self._ask("forget")

    def wait_for(self, count: int, *, patience: float = 60) -> None:
        """Wait until *count* deliveries arrived.

        Raises:
            NotAllArrived: For *patience* seconds nothing more came.
        """
        seen, since = 0, time.monotonic()
        while (now_seen := self._ask("count")) < count:
            if now_seen > seen:
                seen, since = now_seen, time.monotonic()
            elif time.monotonic() - since > patience:
                raise NotAllArrived(f"{seen} of {count} deliveries arrived, then none for {patience:g} s")
            time.sleep(0.05)

    def _ask(self, question: str) -> Any:
        self._control.send(question)
        return self._control.recv()


@contextmanager
def running_sink() -> Iterator[Sink]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Sink(ours.recv(), ours)
    finally:
        process.terminate()
        process.join()


class _Notes:
    """What arrived."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.bodies: list[bytes] = []

    def answer_questions(self, control: Connection) -> None:
        """Runs in a thread of its own: a pipe takes a long answer only as fast as it is read."""
        while True:
            match control.recv():
                case "count":
                    control.send(len(self.arrivals))
                case "arrivals":
                    control.send(self.arrivals)
                case "bodies":
                    control.send(self.bodies)
                case "forget":
                    self.arrivals.clear()
                    control.send(None)


class _Arriving(asyncio.Protocol):
    def __init__(self, notes: _Notes) -> None:
        self._notes = notes
        self._received = b""
        self._first_byte = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._received:
            self._first_byte = time.monotonic()
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        self._transport.write(_ANSWER)
        self._note(head, body)

    def _note(self, head: bytes, body: bytes) -> None:
        webhook_id, call_id = _WEBHOOK_ID.search(head), _CALL_ID.search(body)
        assert webhook_id
        assert call_id
        self._notes.arrivals.append(Arrival(self._first_byte, webhook_id[1].decode(), call_id[1].decode()))
        if len(self._notes.bodies) < _KEPT_BODIES:
            self._notes.bodies.append(body)


def _serve(control: Connection) -> None:
    notes = _Notes()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Arriving(notes), "127.0.0.1", 0)
        control.send(server.sockets[0].getsockname()[1])
        threading.Thread(target=notes.answer_questions, args=(control,), daemon=True).start()
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
