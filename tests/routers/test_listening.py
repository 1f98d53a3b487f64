"""A server that ends: who connects at that moment leaves nothing open behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from starlette.applications import Starlette

from routers.listening import bind, http_server
from tests.client import get
from tests.fakes.destination import running_destination

pytestmark = pytest.mark.anyio

Serving = Callable[[], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def of_the_product() -> AsyncIterator[int]:
    listener = bind("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    async with http_server(Starlette(), listener, asyncio.Event()):
        await get(port, "/")
        yield port


@asynccontextmanager
async def of_the_tests() -> AsyncIterator[int]:
    async with running_destination() as destination:
        yield destination.port


async def connect(port: int, after: int) -> None:
    """Connect once the loop has turned so often, as another process does, and leave."""
    for _ in range(after):
        await asyncio.sleep(0)
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(-4, 9))  # of the loop, from the beginning of the end to the connection
@pytest.mark.parametrize("server", [of_the_product, of_the_tests])
async def test_a_connection_at_the_very_end_is_closed(server: Serving, turns: int) -> None:
    """`sinks test` connects and is content. In one run of ten the receiver ended while it let it in, and Python found
    the open socket some tests later, of which the next one failed."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        async with server() as port:
            connecting = asyncio.create_task(connect(port, max(turns, 0)))
            for _ in range(-turns):
                await asyncio.sleep(0)
        await connecting
        gc.collect()

    assert [str(warning.message) for warning in seen] == []
