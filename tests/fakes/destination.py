"""A destination of HTTP requests on a real loopback socket: any answer, and each way to fail to give one.

It speaks HTTP by hand, because most of what it must do no HTTP library would let it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from routers.listening import close_in_order

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Conversation:
    """One connection, as a behaviour sees it. *request* is None for a behaviour that acts before one is read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Request | None = None

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.writer.transport.abort()


Behaviour = Callable[[Conversation], Awaitable[None]]


def answer(status: int, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Behaviour:
    """A whole answer; the connection stays open for the next request."""

    async def behave(conversation: Conversation) -> None:
        await conversation.send(_head(status, {"content-length": str(len(body)), **(headers or {})}) + body)

    return behave


def redirect(location: str, status: int = 307) -> Behaviour:
    """Sends the client elsewhere."""
    return answer(status, headers={"location": location})


async def hang(conversation: Conversation) -> None:
    """Read the request, say nothing, and wait until the client gives up."""
    await conversation.reader.read()


async def hang_after_the_headers(conversation: Conversation) -> None:
    """Promise a hundred bytes, send none, and wait until the client gives up."""
    await conversation.send(_head(200, {"content-length": "100"}))
    await conversation.reader.read()


async def reset(conversation: Conversation) -> None:
    """Close with RST."""
    conversation.reset()


async def close(conversation: Conversation) -> None:
    """Close without a word."""
    conversation.writer.close()


async def talk_nonsense(conversation: Conversation) -> None:
    """Answer in another protocol."""
    await conversation.send(b"220 mail.example.com ESMTP\r\n")
    conversation.writer.close()


async def break_off_in_the_body(conversation: Conversation) -> None:
    """Promise a hundred bytes, send three, reset."""
    await conversation.send(_head(200, {"content-length": "100"}) + b"abc")
    conversation.reset()


def drip(*, pause: float, pieces: int) -> Behaviour:
    """A whole answer, in *pieces* of one byte with *pause* seconds before each: never silent for long."""

    async def behave(conversation: Conversation) -> None:
        await conversation.send(_head(200, {"content-length": str(pieces)}))
        for _ in range(pieces):
            await asyncio.sleep(pause)
            await conversation.send(b".")

    return behave


async def endless_body(conversation: Conversation) -> None:
    """An answer whose body does not end before the client closes."""
    await conversation.send(_head(200, {"content-type": "text/plain"}))
    while True:
        await conversation.send(b"x" * 65_536)


@dataclass
class Destination:
    """The server. Each request takes the next of the behaviours it was given; the last one stays.

    Attributes:
        requests: All that were read whole, in order of arrival.
        connections: How many were accepted.
    """

    port: int = 0
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _script: deque[Behaviour] = field(default_factory=lambda: deque([answer(200)]))
    _on_accept: Behaviour | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def behaves(self, *behaviours: Behaviour) -> None:
        """From now on, request for request, as told; as the last one for all that follow."""
        self._script = deque(behaviours)

    def on_accept(self, behaviour: Behaviour | None) -> None:
        """Do this with each new connection instead of reading a request; None ends it."""
        self._on_accept = behaviour

    async def received(self, count: int) -> list[Request]:
        """Wait until at least *count* requests have come."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        conversation = Conversation(reader, writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                if self._on_accept is not None:
                    await self._on_accept(conversation)
                    return
                while not writer.is_closing():
                    conversation.request = await _read_request(reader)
                    behaviour = self._script.popleft() if len(self._script) > 1 else self._script[0]
                    async with self._news:
                        self.requests.append(conversation.request)
                        self._news.notify_all()
                    await behaviour(conversation)
            finally:
                writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except asyncio.CancelledError:  # the test is over; asyncio would log it
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def running_destination(tls: ssl.SSLContext | None = None) -> AsyncIterator[Destination]:
    """A `Destination` on a free port of 127.0.0.1, answering 200; under *tls* if given."""
    destination = Destination(scheme="http" if tls is None else "https")
    server = await asyncio.start_server(destination._accept, "127.0.0.1", 0, ssl=tls)
    destination.port = server.sockets[0].getsockname()[1]
    try:
        yield destination
    finally:
        await close_in_order(server)
        await destination._end()
        await server.wait_closed()


@contextmanager
def port_nobody_listens_on() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def port_that_accepts_nobody() -> Iterator[int]:
    """A port of 127.0.0.1 whose queue of new connections is full: connecting neither succeeds nor fails."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):  # one is taken into the queue, Linux lets a second in; the others wait like our client
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _version = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)
