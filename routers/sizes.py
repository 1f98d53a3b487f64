"""How sizes are written in `router.yaml`: a number and its unit, like 500KB, 25MB or 1.5GB."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_WRITTEN = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(KB|MB|GB)")
_BYTES = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_MOST = 2_000_000_000


def parse_size(written: object) -> int:
    """How many bytes *written* means.

    Raises:
        ValueError: It is no number with a unit behind it, nothing, or too much.
    """
    found = _WRITTEN.fullmatch(written.strip()) if isinstance(written, str) else None
    size = int(float(found[1]) * _BYTES[found[2]]) if found is not None else 0
    if not 0 < size <= _MOST:
        raise ValueError(f"{written!r} is no size; write a number and a unit, like 500KB or 25MB, up to 2GB")
    return size


def written_size(size: float) -> str:
    """*size*, in bytes, as people say it."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


_SCHEMA = {"type": "string", "pattern": r"^\s*[0-9]{1,6}(\.[0-9]{1,3})? ?(KB|MB|GB)\s*$"}
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SCHEMA)]
