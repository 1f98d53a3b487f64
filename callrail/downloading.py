"""Recordings and media of texts: files of any size, behind redirects that are followed by hand.

The key goes to the API's host alone. Media redirect to signed storage elsewhere, recordings are links with an access
key of their own (both observed). Whoever saves what nobody looks at follows to CallRail's hosts and to signed storage
alone.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic_core import from_json

from callrail.answer import Answer, Stream
from callrail.exceptions import (
    AnswerError,
    AnswerLost,
    ForeignHost,
    InvalidRequest,
    NoFile,
    TooLong,
    UnexpectedAnswer,
)
from callrail.request import Request
from callrail.sending import REDIRECTS, Sender, answer_error, joined

P = ParamSpec("P")
T = TypeVar("T")

MAX_REDIRECTS = 5

# Where the API, and the links that it tells, are (documented).
CALLRAILS = ("callrail.com",)
# Where the files lie: media of texts do (observed), recordings too is assumed.
STORES = ("amazonaws.com",)
_SIGNATURES = frozenset({"x-amz-signature", "signature"})  # of a link of theirs, the newer form and the older
# A stand-in for CallRail keeps its files on the same machine, under another name.
THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Download:
    """A saved file."""

    path: Path
    size: int
    content_type: str


async def download(
    sender: Sender,
    url: str,
    to: Path,
    *,
    account: str,
    max_bytes: int | None = None,
    only_from: Collection[str] | None = None,
) -> Download:
    """Save what *url* leads to; see `CallRail.download`. What the API's own host is asked counts as a request."""
    ends = sender.pace.monotonic() + _MOST_WAITING
    steps = refused = 0
    while steps <= MAX_REDIRECTS:
        url = _address(sender, url)
        is_ours = sender.is_ours(url)
        if only_from is not None and not is_ours:
            require_callrails(url, api=sender.base_url, others=only_from)
        if is_ours:
            await sender.take(_REQUEST, account, ends)
        async with sender.http.stream(url, headers=sender.headers_for(url)) as stream:
            if stream.status == 429 and is_ours:
                refused += 1
                answer = Answer(429, stream.headers, b"")
                wait = await sender.wait_of(answer, account, _REQUEST.budget, refused, ends)
                if sender.pace.monotonic() + wait < ends:
                    await sender.pace.sleep(wait)
                    continue
            steps += 1
            if stream.status in REDIRECTS and "location" in stream.headers:
                url = joined(url, stream.headers["location"])
                continue
            if stream.status != 200:
                raise _failed(stream, is_ours=is_ours)
            if is_ours and stream.headers.get("content-type", "").startswith("application/json"):
                url = await _link_in(stream)  # what a call tells as its `recording`
                continue
            size = await _save(stream, to, max_bytes)
            return Download(to, size, stream.headers.get("content-type", ""))
    raise UnexpectedAnswer("download", 302, f"more than {MAX_REDIRECTS} redirects")


_REQUEST = Request("download", "GET", "")
_MOST_WAITING = 120.0  # seconds, for the allowance and after a 429
_MOST_JSON = 65_536


def _failed(stream: Stream, *, is_ours: bool) -> AnswerError:
    if is_ours:
        return answer_error(_REQUEST, Answer(stream.status, stream.headers, b""))
    said = "from where the file is stored; such links do not last: ask for a new one"
    return UnexpectedAnswer("download", stream.status, said)


async def _link_in(stream: Stream) -> str:
    """The address that an answer of the API's tells instead of the file."""
    body = b""
    async for piece in stream.pieces:
        body += piece
        if len(body) > _MOST_JSON:
            break
    try:
        url = from_json(body)["url"]
    except (ValueError, TypeError, KeyError):
        url = None
    if not isinstance(url, str) or not url.strip():
        raise NoFile("download", 200, "what is there is no file, and tells of none")
    return url


def require_callrails(url: str, *, api: str, others: Collection[str] = ()) -> None:
    """That *url* leads to CallRail, or by a signed link to where it stores files.

    Args:
        api: Where the API is: a stand-in on this machine keeps its files there too.
        others: Domains that are as good as CallRail's.

    Raises:
        ForeignHost: It does not.
    """
    parts = urlsplit(url)
    host, at = parts.hostname or "", urlsplit(api).hostname or ""
    trusted = (*CALLRAILS, *others, at, *(THIS_MACHINE if at in THIS_MACHINE else ()))
    is_signed = any(name.lower() in _SIGNATURES and value for name, value in parse_qsl(parts.query))
    if not (_is_within(host, trusted) or (is_signed and _is_within(host, STORES))):
        said = "no signed link to it" if _is_within(host, STORES) else "not where CallRail keeps files"
        raise ForeignHost(f"the file is said to lie at {host}, and this is {said}")


def _is_within(host: str, domains: Collection[str]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains if domain)


def _address(sender: Sender, url: str) -> str:
    """*url*, by https where the API is: links are also told as http:// (documented example)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InvalidRequest("what is to be downloaded has no web address; give it as the API told it")
    return urlunsplit(parts._replace(scheme="https")) if sender.base_url.startswith("https:") else url


async def _save(stream: Stream, to: Path, max_bytes: int | None) -> int:
    """Written beside *to* first, so that whoever finds *to* finds all of it."""
    file = await in_thread(_begun, to)
    size = 0
    try:
        async for piece in _whole(stream, max_bytes):
            size += await in_thread(file.write, piece)
        await in_thread(_ended, file, to)
    except BaseException:
        with suppress(OSError):
            await in_thread(_undone, file)
        raise
    return size


# Of our own: a disk that hangs must not use up the threads in which names are looked up.
_FILES = ThreadPoolExecutor(8, thread_name_prefix="files")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what may wait for a disk in a thread of its own: the event loop must not stand still for it."""
    return await asyncio.get_running_loop().run_in_executor(_FILES, partial(function, *args, **kwargs))


def _begun(to: Path) -> IO[bytes]:
    return tempfile.NamedTemporaryFile(dir=to.parent, prefix=f".{to.name}.", delete=False)


def _ended(file: IO[bytes], to: Path) -> None:
    file.close()
    Path(file.name).replace(to)


def _undone(file: IO[bytes]) -> None:
    file.close()
    Path(file.name).unlink(missing_ok=True)


async def _whole(stream: Stream, max_bytes: int | None) -> AsyncIterator[bytes]:
    told = stream.headers.get("content-length", "")
    announced = int(told) if told.isdigit() else None
    size = 0
    if max_bytes is not None and announced is not None and announced > max_bytes:
        raise TooLong("download", stream.status, f"{announced} bytes are more than the {max_bytes} allowed")
    async for piece in stream.pieces:
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise TooLong("download", stream.status, f"it is longer than the {max_bytes} bytes allowed")
        yield piece
    if announced is not None and size < announced:
        raise AnswerLost(f"only {size} of {announced} bytes arrived")
