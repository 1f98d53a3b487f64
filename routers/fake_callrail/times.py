"""Times as CallRail reads and tells them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from routers.fake_callrail.asking import Ask, Refused
from routers.fake_callrail.world import OWNER_ZONE

_KEPT_MONTHS = 25


@dataclass(frozen=True)
class Window:
    """From *start* to *end*, both inclusive, in the zone asked for."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    def holds(self, moment: datetime) -> bool:
        """Whether *moment* lies in it."""
        return self.start <= moment <= self.end


def zone_of(ask: Ask) -> ZoneInfo:
    """The zone that `time_zone` names; that of the key's owner by default."""
    name = ask.text("time_zone")
    if not name or name == "user":
        return OWNER_ZONE
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Refused(400, "time_zone is invalid") from None


def window_of(ask: Ask) -> Window:
    """The time that a list or a summary is asked for; the last seven days and today where no date says otherwise.

    Raises:
        Refused: No date at all is written so, or it reaches back further than records are kept.
    """
    zone = zone_of(ask)
    now = ask.world.now().astimezone(zone)
    start, end = ask.text("start_date"), ask.text("end_date")
    if start or end:
        window = Window(
            _read(start, zone, time.min) if start else _oldest(now),
            _read(end, zone, time.max) if end else _end_of(now.date(), zone),
            zone,
        )
    else:
        first, last = _named(ask.text("date_range") or "recent", now.date())
        window = Window(datetime.combine(first, time.min, zone), _end_of(last, zone), zone)
    if window.start < _oldest(now):
        raise Refused(400, f"Please revise your date range; records are kept for {_KEPT_MONTHS} months.")
    return window


def _named(name: str, today: date) -> tuple[date, date]:
    """First and last day of a range by name; of `recent` for names that do not exist."""
    yesterday = today - timedelta(days=1)
    month, year = today.replace(day=1), today.replace(month=1, day=1)
    ranges = {
        "recent": (today - timedelta(days=7), today),
        "today": (today, today),
        "yesterday": (yesterday, yesterday),
        "last_7_days": (today - timedelta(days=7), yesterday),
        "last_30_days": (today - timedelta(days=30), yesterday),
        "this_month": (month, today),
        "last_month": ((month - timedelta(days=1)).replace(day=1), month - timedelta(days=1)),
        "this_year": (year, today),
        "last_year": (year.replace(year=year.year - 1), year - timedelta(days=1)),
        "all_time": (date(2011, 1, 1), today),
    }
    return ranges.get(name, ranges["recent"])


def _read(text: str, zone: ZoneInfo, at: time) -> datetime:
    try:
        if len(text) == len("2026-03-10"):
            return datetime.combine(date.fromisoformat(text), at, zone)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"invalid date '{text}'") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _end_of(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.max, zone)


def _oldest(now: datetime) -> datetime:
    """The first moment of the day 25 months ago."""
    months = now.year * 12 + now.month - 1 - _KEPT_MONTHS
    first = now.replace(year=months // 12, month=months % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0)
    return min(first + timedelta(days=now.day - 1), first + timedelta(days=27))


def local(moment: datetime, zone: ZoneInfo = OWNER_ZONE) -> str:
    """`2026-03-10T09:15:02.417-04:00`."""
    return moment.astimezone(zone).isoformat(timespec="milliseconds")


def utc(moment: datetime) -> str:
    """`2026-03-10T13:15:02.417Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_colon(moment: datetime) -> str:
    """`2026-03-10T00:00:00-0400`, as summaries tell theirs."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S%z")
