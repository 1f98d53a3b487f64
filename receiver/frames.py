"""Frames: how records lie in a file so that what was torn, zeroed or spoiled is told from what is whole.

A frame is a mark, the payload's length, the CRC-32 of length and payload, and the payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from zlib import crc32

_HEAD = struct.Struct(">4sII")
# Its first byte stands in no UTF-8 text, so no payload can hold a frame of its own.
_MARK = b"\xffSPL"
_NOTHING = bytes(_HEAD.size)
_STEP = 1 << 16


class Frame(NamedTuple):
    """A payload, and where in the file its frame starts and ends."""

    payload: bytes
    start: int
    end: int


def framed(payload: bytes) -> bytes:
    """*payload*, UTF-8 text, as it is written."""
    return _HEAD.pack(_MARK, len(payload), _checksum(payload)) + payload


def frames(file: BinaryIO, start: int = 0) -> Iterator[Frame]:
    """The whole frames of *file* from *start* on.

    Zeros are the end: the file was allocated ahead. Anything else that is no frame is passed over, because whole ones
    may follow it.
    """
    at: int | None = start
    while at is not None:
        file.seek(at)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head == _NOTHING:
            return
        mark, length, checksum = _HEAD.unpack(head)
        payload = file.read(length) if mark == _MARK else b""
        if mark == _MARK and len(payload) == length and _checksum(payload) == checksum:
            end = at + _HEAD.size + length
            yield Frame(payload, at, end)
            at = end
        else:
            at = _next_mark(file, at + 1)


def _checksum(payload: bytes) -> int:
    # With the length in it, for zeros after a mark would be a frame of nothing.
    return crc32(payload, crc32(len(payload).to_bytes(4, "big")))


def _next_mark(file: BinaryIO, at: int) -> int | None:
    while True:
        file.seek(at)
        part = file.read(_STEP)
        if (found := part.find(_MARK)) >= 0:
            return at + found
        if len(part) < _STEP:
            return None
        at += _STEP - len(_MARK) + 1
