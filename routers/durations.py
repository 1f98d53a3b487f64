"""How durations are written in `router.yaml`: a number and its unit, like 500ms, 30s, 5m, 2h or 7d."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_WRITTEN = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS = ("h", "m", "s", "ms")  # nobody writes 1d for the 24h of a default


def parse_duration(written: object) -> timedelta:
    """The duration *written* as text.

    Raises:
        ValueError: It is no number with a unit behind it; the text says how one looks.
    """
    if isinstance(written, timedelta):
        return written
    found = _WRITTEN.fullmatch(written.strip()) if isinstance(written, str) else None
    if found is None:
        raise ValueError(f"{written!r} is no duration; write a number and a unit, like 500ms, 30s, 5m or 2h")
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


def written_duration(duration: timedelta) -> str:
    """*duration* as the file would write it, in the largest unit that divides it: 90m, 24h."""
    seconds = duration.total_seconds()
    unit = next((unit for unit in _UNITS if seconds % _SECONDS[unit] == 0), "ms")
    return f"{seconds / _SECONDS[unit]:g}{unit}"


def age_of(age: timedelta) -> str:
    """*age* as people say it, in the largest unit of which there are two."""
    seconds = max(int(age.total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


def at_least_a_day(age: timedelta) -> timedelta:
    """*age*, at which something is removed.

    Raises:
        ValueError: It is so low that what is still needed would be removed.
    """
    if age < timedelta(days=1):
        raise ValueError("this must be 1d or longer: what is younger is still needed")
    return age
