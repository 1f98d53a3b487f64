"""How a rate is written in `router.yaml`: so many in a time, like 1/s, 30/m or 100/10s."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from routers.durations import parse_duration, written_duration

_WRITTEN = re.compile(r"([1-9]\d{0,5})\s*/\s*(\d{1,4})?(ms|s|m|h)")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most *count* in *per*."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        per = written_duration(self.per)
        return f"{self.count}/{per[1:] if per[:1] == '1' and per[1:].isalpha() else per}"


def parse_rate(written: object) -> Rate:
    """The rate *written* as text.

    Raises:
        ValueError: It is none; the text says how one looks.
    """
    if isinstance(written, Rate):
        return written
    found = _WRITTEN.fullmatch(written.strip()) if isinstance(written, str) else None
    per = parse_duration(f"{found[2] or 1}{found[3]}") if found else timedelta(0)
    if found is None or not per:
        raise ValueError(f"{written!r} is no rate; write so many in a time, like 1/s, 30/m or 100/10s")
    return Rate(int(found[1]), per)


WrittenRate = Annotated[
    Rate, BeforeValidator(parse_rate), WithJsonSchema({"type": "string", "pattern": rf"^\s*{_WRITTEN.pattern}\s*$"})
]
