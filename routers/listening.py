"""Listening on a port, and the HTTP server there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from receiver.exceptions import ReceiverError
from receiver.protocol import BoundedHeadProtocol

_MAX_CONNECTIONS = 2_000


class CannotListen(ReceiverError):
    """The address is taken, or not ours."""


def bind(host: str, port: int, options: str = "--host or --port") -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Args:
        options: Those that chose the address, in words.
    Raises:
        CannotListen: With the remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "unknown reason"  # strerror repeats the address
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}; choose another with {options}") from error


class PromptServer(uvicorn.Server):
    """A server that ends when it is told to, and leaves the signals alone.

    uvicorn's looks ten times a second whether it should end, and then waits for another tenth also for nobody.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told_to_end = asyncio.Event()

    def end(self) -> None:
        """Take in nothing more; `serve` returns when what came in is answered."""
        self.should_exit = True
        self._told_to_end.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # which also writes the date of the answers anew
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_end.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            await close_in_order(server)
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await _let_others_run()  # who is idle is gone then
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()


async def close_in_order(server: asyncio.Server) -> None:
    """Let nobody in any more, and close *server* when those it has let in are served.

    Of a connection that asyncio accepts in the moment in which its server is closed it forgets the socket, which then
    stays open until Python collects it (seen with 3.11).
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener)
    await _let_others_run()
    server.close()


async def _let_others_run() -> None:
    for _ in range(5):  # more than from the acceptance of a connection to the first step of who serves it
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def http_server(app: ASGIApp, listener: socket.socket, stop: asyncio.Event) -> AsyncIterator[None]:
    """An HTTP server, until the end of the block."""
    server = PromptServer(
        uvicorn.Config(
            app,
            http=BoundedHeadProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=3,
            limit_concurrency=_MAX_CONNECTIONS,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    task.add_done_callback(lambda _: stop.set())  # a server that ends by itself ends the process
    try:
        yield
    finally:
        server.end()
        await task
