"""Values found and values wanted: as numbers, instants, phone numbers and texts, and how they read in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

from callrail.phones import e164

UNTOLD: Any = object()  # stands for a field that is not told, where None is one told empty

_SHOWN_LENGTH = 80
_READ_LENGTH = 200  # as much of a long text is looked at to show its start
_NUMBER = re.compile(r"(-?)[$€£]?((?:[0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,5})(?:\.[0-9]{1,15})?|\.[0-9]{1,15})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHORT_CODE = re.compile(r"[0-9]{3,6}")
_TO_END_OF_DAY = timedelta(days=1) - timedelta.resolution


def number_of(found: object) -> float | None:
    """*found* as a number; text may carry a currency sign and commas for thousands: `$1,250.00`. Else None."""
    if isinstance(found, bool):
        return None
    if isinstance(found, int | float):
        return found
    if not isinstance(found, str):
        return None
    written = _NUMBER.fullmatch(found.strip())
    return float(written[1] + written[2].replace(",", "")) if written else None


def instant_of(found: object) -> datetime | None:
    """*found* as an aware instant; a time that names no zone is taken as UTC. None if it is no time."""
    if isinstance(found, str) and len(found) <= 40:
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            return None
    if not isinstance(found, datetime):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def span_of(written: str) -> tuple[datetime, datetime] | None:
    """The first and last instant that *written* means: a day like 2026-01-31, in UTC, or one instant with its zone.

    Raises:
        ValueError: It is a time without a zone.
    """
    text = written.strip()
    try:
        if _DATE.fullmatch(text):
            begin = datetime.combine(date.fromisoformat(text), time(), UTC)
            return begin, begin + _TO_END_OF_DAY
        instant = datetime.fromisoformat(text) if "-" in text[:8] else None
    except (ValueError, OverflowError):
        return None
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise ValueError(f"'{written}' names no time zone")
    return instant, instant


@lru_cache(maxsize=8192)
def _phone_key(text: str) -> str | None:
    return e164(text) or (text if _SHORT_CODE.fullmatch(text) else None)


def phone_key(text: str) -> str | None:
    """What two writings of one number have in common: E.164, or the digits of a short code like 72345."""
    return _phone_key(text) if len(text) <= 40 else None


def texts_of(found: object) -> Iterator[str]:
    """The texts in *found*: itself, the items of a list, the values of an object."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, bool):
        yield "true" if found else "false"
    elif isinstance(found, int | float):
        yield str(found)
    elif isinstance(found, Mapping):
        for value in found.values():
            yield from texts_of(value)
    elif isinstance(found, list | tuple):
        for item in found:
            yield from texts_of(item)


def shown(found: Any) -> str:
    """*found* as it reads in a sentence: one line of at most 80 characters, without what a terminal would obey."""
    if found is None or found in ("", [], {}):
        return "empty"
    if isinstance(found, datetime):
        found = found.isoformat()
    start = ", ".join(text[:_READ_LENGTH] for text in islice(texts_of(found), _READ_LENGTH))[:_READ_LENGTH]
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in start).split())
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"


def alternatives(words: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`; of many the first ones."""
    if len(words) > 6:
        words = [*words[:5], f"{len(words) - 5} more"]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
