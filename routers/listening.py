"""Listening on a port, and the HTTP server there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

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


@contextlib.asynccontextmanager
async def http_server(app: ASGIApp, listener: socket.socket, stop: asyncio.Event) -> AsyncIterator[None]:
    """An HTTP server. It is told to end by us and handles no signals of its own."""
    server = uvicorn.Server(
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
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    task.add_done_callback(lambda _: stop.set())  # a server that ends by itself ends the process
    try:
        yield
    finally:
        server.should_exit = True
        await task
