"""Serving the fake on a socket of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import uvicorn

from routers.fake_callrail.app import FakeCallRail
from routers.listening import PromptServer


@contextlib.asynccontextmanager
async def serving(fake: FakeCallRail, listener: socket.socket | None = None) -> AsyncIterator[str]:
    """Serve *fake* while the block runs, on *listener* or a free port of 127.0.0.1; the base URL."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(fake, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = PromptServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.end()
        await task


@contextlib.contextmanager
def serve_in_background(fake: FakeCallRail) -> Iterator[str]:
    """As `serving`, in a thread of its own, for who has no event loop."""
    begun: list[str] = []
    is_begun, is_over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(fake) as url:
            begun.append(url)
            is_begun.set()
            await asyncio.to_thread(is_over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="fake-callrail")
    thread.start()
    try:
        is_begun.wait()
        yield begun[0]
    finally:
        is_over.set()
        thread.join()
