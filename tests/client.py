"""The sending side on a raw socket: bytes as a test wrote them, so that also what no library would send can be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from callrail.signature import sign

Headers = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Reply:
    """What a server answered; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def post(port: int, path: str, body: bytes, headers: Headers = ()) -> Reply:
    """Post *body*, with its length and whatever *headers* say."""
    return await exchange(port, request("POST", path, [("content-length", str(len(body))), *headers]) + body)


async def post_signed(port: int, path: str, body: bytes, *, key: str, headers: Headers = ()) -> Reply:
    """Post *body* as CallRail does, signed with *key*."""
    signature = ("Signature", sign(key.encode(), body))
    return await post(port, path, body, [("content-type", "application/json"), signature, *headers])


async def get(port: int, path: str) -> Reply:
    return await exchange(port, request("GET", path))


def request(method: str, target: str, headers: Headers = ()) -> bytes:
    """A request up to its body."""
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"host: localhost"]
    lines += [name.encode() + b": " + (value.encode() if isinstance(value, str) else value) for name, value in headers]
    return b"\r\n".join([*lines, b"", b""])


async def exchange(port: int, raw: bytes) -> Reply:
    """Send *raw* and read the answer, which may come before all is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await read_reply(reader)
    finally:
        writer.transport.abort()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """The next answer of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(first.split()[1]), headers, body)
