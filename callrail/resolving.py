"""Looking up names without one look-up hurting another.

The event loop looks up all names of a process in a few threads that they share, and the system's resolver may hold one
for half a minute. A destination whose name servers are silent would then keep every other from being reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

# The family and the socket address of each way to a host.
Found = list[tuple[socket.AddressFamily, tuple[Any, ...]]]


class Resolver:
    """Looks up the names of one destination: each once at a time, in a thread of its own that no exit waits for."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Future[Found]] = {}

    async def look_up(self, host: str, port: int) -> Found:
        """The ways to *host*, by the system's resolver. A caller that gives up leaves the look-up to the others.

        Raises:
            OSError: There are none; `socket.gaierror` says why.
            UnicodeError: A label of the name is empty or too long.
        """
        name = (host, port)
        under_way = self._under_way.get(name)
        if under_way is None:
            under_way = self._under_way[name] = _begin(host, port)
            under_way.add_done_callback(lambda done: self._end(name, done))
        return await asyncio.shield(under_way)

    def _end(self, name: tuple[str, int], done: asyncio.Future[Found]) -> None:
        del self._under_way[name]
        if not done.cancelled():
            done.exception()  # looked at, should nobody wait any more


def _begin(host: str, port: int) -> asyncio.Future[Found]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def tell(found: Found | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(found or [])

    def look() -> None:
        found: Found | None = None
        failed: Exception | None = None
        try:
            found = [(entry[0], entry[4]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except Exception as error:  # whatever it is, who waits is told
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, found, failed)

    threading.Thread(target=look, name="resolver", daemon=True).start()
    return future
