"""The dates of a list: CallRail answers for seven days when told none, and with an error beyond its retention."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Literal

from callrail.exceptions import InvalidRequest

DateRange = Literal[
    "recent",
    "today",
    "yesterday",
    "last_7_days",
    "last_30_days",
    "this_month",
    "last_month",
    "this_year",
    "last_year",
    "all_time",
]
DATES = ("date_range", "start_date", "end_date")
RETENTION_MONTHS = 25  # documented; older calls, texts and forms are deleted


def require_dates(name: str, given: Mapping[str, Any], today: date) -> None:
    """Refuse a list or a summary that would not answer what it seems to ask.

    Raises:
        InvalidRequest: No date is given, or one outside of what CallRail keeps.
    """
    known = {**(given.get("extra_params") or {}), **given}
    if not any(each in known for each in DATES):
        raise InvalidRequest(
            f"{name} needs a date: without one CallRail answers for the last seven days only; "
            "give start_date, or date_range='recent' where seven days are meant"
        )
    if "date_range" not in known and "start_date" not in known:
        raise InvalidRequest(
            f"{name} needs start_date beside end_date: without one CallRail may answer for the last seven days only"
        )
    earliest = earliest_kept(today)
    begins, ends = _moment(name, "start_date", given), _moment(name, "end_date", given)
    start, end = _day(begins), _day(ends)
    if given.get("date_range") == "all_time" or (start and start < earliest):
        raise InvalidRequest(
            f"{name}: CallRail keeps {RETENTION_MONTHS} months and refuses what reaches back further; "
            f"give start_date={earliest.isoformat()!r} or later"
        )
    if start and end and (ends < begins if _are_aware(begins, ends) else end < start):
        raise InvalidRequest(f"{name}: end_date {end} is before start_date {start}")


def earliest_kept(today: date) -> date:
    """The first day of which CallRail still answers, and a day to spare for zones."""
    months = today.year * 12 + today.month - 1 - RETENTION_MONTHS
    first = date(months // 12, months % 12 + 1, 1)
    return first + timedelta(days=min(today.day, 28))


def _moment(name: str, parameter: str, given: Mapping[str, Any]) -> Any:
    """The date or the moment that is given; None if none is."""
    told = given.get(parameter)
    if told is None or isinstance(told, date):
        return told
    try:
        return datetime.fromisoformat(told)
    except (TypeError, ValueError):
        raise InvalidRequest(
            f"{name}: {parameter} is no date; it takes a date such as 2026-03-09 or 2026-03-09T10:00"
        ) from None


def _day(told: Any) -> date | None:
    return told.date() if isinstance(told, datetime) else told


def _are_aware(*told: Any) -> bool:
    return all(isinstance(each, datetime) and each.tzinfo is not None for each in told)
