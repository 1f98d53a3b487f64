"""Serving a stand-in's app on a loopback socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette

from routers.listening import PromptServer


@contextlib.asynccontextmanager
async def running_app(app: Starlette) -> AsyncIterator[str]:
    """Serve *app* on a free port of 127.0.0.1 while the block runs; the URL, without a slash at its end."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = PromptServer(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.end()
        await task
