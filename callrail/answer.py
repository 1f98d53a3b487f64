"""What comes back from a request, apart from the library that fetches it, which is slow to load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. *body* is cut at the client's `max_answer`; header names are read in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is read piece by piece, however long it is."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]
