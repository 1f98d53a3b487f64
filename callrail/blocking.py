"""The client for programs without an event loop: each operation waits for its answer. `callrail.sync` is its face.

No operation is written twice: the asynchronous client runs in a loop of its own, in a thread of its own, and whoever
calls waits for it. So limits, repetitions and errors are the same.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import warnings
from collections.abc import Collection, Coroutine, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from callrail import client as asynchronous
from callrail import paging
from callrail.downloading import Download
from callrail.exceptions import InvalidRequest
from callrail.operation import Resource
from callrail.paging import Page

Row = TypeVar("Row")
Result = TypeVar("Result")


class _Loop:
    """An event loop in a daemon thread: a program that forgets to close the client ends all the same."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._thread = threading.Thread(target=_run_and_close, args=(self._loop,), name="callrail.sync", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing any more."""
        return self._loop.is_closed()

    @property
    def is_usable(self) -> bool:
        """Whether it would do what it is given. At the program's end its thread stands still."""
        return self._process == os.getpid() and not self.is_closed and not sys.is_finalizing()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What *work* comes to. Whoever is interrupted while waiting, by Ctrl-C for example, ends it."""
        if not self.is_usable:
            work.close()
            raise InvalidRequest(
                "this client belongs to the process that made it: make a new one after a fork"
                if self._process != os.getpid()
                else "this client is closed"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Let the thread end by itself."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def close(self) -> None:
        """End the thread."""
        self.stop()
        self._thread.join()


def _run_and_close(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


class Listing(Generic[Row]):
    """The rows of a list, as an iterator; nothing is asked for before it is read."""

    def __init__(self, loop: _Loop, listing: paging.Listing[Row]) -> None:
        self._loop = loop
        self._listing = listing

    def __iter__(self) -> Iterator[Row]:
        for page in self.pages():
            yield from page.rows

    def pages(self) -> Iterator[Page[Row]]:
        """The same, page by page; one request each. Raises as the asynchronous one."""
        pages = self._listing.pages()
        try:
            while page := self._loop.run(_next(pages)):
                yield page
        finally:
            if self._loop.is_usable:  # else nobody is left to wait for
                self._loop.run(pages.aclose())


async def _next(pages: Any) -> Any:
    return await anext(pages, None)


class _Operations:
    """The operations of one resource, each waiting for its answer."""

    def __init__(self, loop: _Loop, resource: Resource) -> None:
        self._loop = loop
        self._resource = resource

    def __dir__(self) -> list[str]:
        return list(self._resource.operations)

    def __getattr__(self, verb: str) -> Any:
        if verb not in self._resource.operations:
            raise AttributeError(f"{type(self._resource).__name__} has no operation {verb}")
        operation = getattr(self._resource, verb)

        @functools.wraps(operation)
        def call(*args: Any, **kwargs: Any) -> Any:
            called = operation(*args, **kwargs)
            if isinstance(called, paging.Listing):
                return Listing(self._loop, called)
            return self._loop.run(called)

        return call


class CallRail:
    """As `callrail.CallRail`, for programs without an event loop; takes the same arguments.

    Usable from several threads at once. Close it, or use it in a `with`: it holds a thread and connections.
    """

    def __init__(self, api_key: str, account_id: str | int | None = None, **settings: Any) -> None:
        self._owns_loop = True
        self._client = asynchronous.CallRail(api_key, account_id, **settings)
        self._loop = _Loop()

    def __getattr__(self, name: str) -> Any:
        """A resource, when it is first used."""
        if name.startswith("_") or not isinstance(resource := getattr(self._client, name), Resource):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        bound = _Operations(self._loop, resource)
        setattr(self, name, bound)
        return bound

    def for_account(self, account_id: str | int) -> Self:
        """The same client for another account of the key; closing this one closes that one too."""
        other = object.__new__(type(self))
        other._owns_loop = False
        other._client = self._client.for_account(account_id)
        other._loop = self._loop
        return other

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        deadline: timedelta | None = None,
    ) -> Any:
        """Any request to the API; see `callrail.CallRail.request`."""
        return self._loop.run(self._client.request(method, path, params=params, json=json, deadline=deadline))

    def download(
        self, url: str, to: Path, *, max_bytes: int | None = None, only_from: Collection[str] | None = None
    ) -> Download:
        """Save a recording or a text's media; see `callrail.CallRail.download`."""
        return self._loop.run(self._client.download(url, to, max_bytes=max_bytes, only_from=only_from))

    def close(self) -> None:
        """Close all connections, and end the thread. May be called twice."""
        if self._owns_loop and not self._loop.is_closed:
            self._loop.run(self._client.aclose())
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_owns_loop", False) and hasattr(self, "_loop") and not self._loop.is_closed:
            warnings.warn("a callrail.sync.CallRail was never closed", ResourceWarning, stacklevel=2, source=self)
            self._loop.stop()
