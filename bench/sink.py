"""The destination: a process of its own that answers 204 to every POST and notes what arrived when.

Told to, it leaves a path without an answer.
"""

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
    path: str


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

    def hang(self, path: str) -> None:
        """From now on leave what arrives at *path* without an answer."""
        self._ask(("hang", path))

    def answer(self) -> None:
        """Answer all that has no answer yet, and again everything."""
        self._ask("answer")

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

    def _ask(self, question: str | tuple[str, str]) -> Any:
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
    """What arrived, and what is left without an answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.arrivals: list[Arrival] = []
        self.bodies: list[bytes] = []
        self.hanging: str | None = None
        self.unanswered: list[asyncio.Transport] = []
        self._loop = loop

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
                case "hang", str(path):
                    self.hanging = path
                    control.send(None)
                case "answer":
                    self._loop.call_soon_threadsafe(self._answer)
                    control.send(None)

    def _answer(self) -> None:
        self.hanging = None
        for transport in self.unanswered:
            transport.write(_ANSWER)
        self.unanswered.clear()


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
        path = head.split(b" ", 2)[1].decode()
        if path == self._notes.hanging:
            self._notes.unanswered.append(self._transport)
        else:
            self._transport.write(_ANSWER)
        self._note(path, head, body)

    def _note(self, path: str, head: bytes, body: bytes) -> None:
        webhook_id, call_id = _WEBHOOK_ID.search(head), _CALL_ID.search(body)
        assert webhook_id
        assert call_id
        self._notes.arrivals.append(Arrival(self._first_byte, webhook_id[1].decode(), call_id[1].decode(), path))
        if len(self._notes.bodies) < _KEPT_BODIES:
            self._notes.bodies.append(body)


def _serve(control: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        notes = _Notes(loop)
        server = await loop.create_server(lambda: _Arriving(notes), "127.0.0.1", 0)
        control.send(server.sockets[0].getsockname()[1])
        threading.Thread(target=notes.answer_questions, args=(control,), daemon=True).start()
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
