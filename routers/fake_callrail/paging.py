"""Pages of rows: by number with totals, or for calls one after the other without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from routers.fake_callrail.asking import Ask
from routers.fake_callrail.world import Json

Row = TypeVar("Row")

MOST_ROWS = 250
_USUAL_ROWS = 100


def page(ask: Ask, key: str, rows: Sequence[Row], tell: Callable[[Row], Json], *, most: int = MOST_ROWS) -> Json:
    """One page with its totals, as all lists have it. An empty list has zero pages (assumed)."""
    number, size = max(1, (ask.number("page") or 1)), _size(ask, most)
    return {
        "page": number,
        "per_page": size,
        "total_pages": -(-len(rows) // size),
        "total_records": len(rows),
        key: [tell(row) for row in rows[(number - 1) * size : number * size]],
    }


def relative_page(ask: Ask, key: str, rows: Sequence[Row], tell: Callable[[Row], Json]) -> Json:
    """One page that names the address of the next, which holds parameters of CallRail's own (documented so)."""
    size, offset = _size(ask, MOST_ROWS), max(0, (ask.number("offset") or 0))
    start = offset * size
    has_next = start + size < len(rows)
    return {
        "next_page": _address(ask, key, offset + 1, size) if has_next else None,
        "has_next_page": has_next,
        key: [tell(row) for row in rows[start : start + size]],
    }


def _address(ask: Ask, key: str, offset: int, size: int) -> str:
    """With the account's number, without `.json`, and sorted by name as the real ones are."""
    given = [(name, value) for name, value in ask.query if name not in _OWN and not name.startswith("api_sort")]
    order = ask.text("order") or "desc"
    sort = ask.text("sort") or "start_time"
    number = str(ask.account.numeric_id)
    own = [
        ("action", "index"),
        ("agency_id", number),
        (f"api_sort[][{sort}]", order),
        ("controller", f"api/v3/{key}"),
        ("format", "json"),
        ("offset", str(offset)),
        ("per_page", str(size)),
        ("relative_pagination", "true"),
    ]
    return f"{ask.origin}/v3/a/{number}/{key}?{urlencode(sorted([*given, *own]))}"


_OWN = {"action", "agency_id", "controller", "format", "offset", "per_page", "relative_pagination"}


def _size(ask: Ask, most: int) -> int:
    return min(max(1, (ask.number("per_page") or _USUAL_ROWS)), most)
