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
    extra = given.get("extra_params") or {}
    if not any(each in given or each in extra for each in DATES):
        raise InvalidRequest(
            f"{name} needs a date: without one CallRail answers for the last seven days only; "
            "give start_date, or date_range='recent' where seven days are meant"
        )
    earliest = earliest_kept(today)
    start, end = _day(name, "start_date", given), _day(name, "end_date", given)
    if given.get("date_range") == "all_time" or (start and start < earliest):
        raise InvalidRequest(
            f"{name}: CallRail keeps {RETENTION_MONTHS} months and refuses what reaches back further; "
            f"give start_date={earliest.isoformat()!r} or later"
        )
    if start and end and end < start:
        raise InvalidRequest(f"{name}: end_date {end} is before start_date {start}")


def earliest_kept(today: date) -> date:
    """The first day of which CallRail still answers, and a day to spare for zones."""
    months = today.year * 12 + today.month - 1 - RETENTION_MONTHS
    first = date(months // 12, months % 12 + 1, 1)
    return first + timedelta(days=min(today.day, 28))


def _day(name: str, parameter: str, given: Mapping[str, Any]) -> date | None:
    told = given.get(parameter)
    if told is None:
        return None
    try:
        moment = told if isinstance(told, date) else datetime.fromisoformat(told)
    except ValueError:
        raise InvalidRequest(
            f"{name}: {parameter} is no date; it takes a date such as 2026-03-09 or 2026-03-09T10:00"
        ) from None
    return moment.date() if isinstance(moment, datetime) else moment
