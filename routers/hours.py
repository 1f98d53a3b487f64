"""Opening hours: `hours:` of router.yaml, asked on the clock of the company.

All of it is about the clock on the wall. On the night the clocks go forward, what opens in the hour that is skipped
opens right after it; on the night they go back, what is open in the hour that comes twice is open both times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from routers.rules.fields import did_you_mean

OPEN, CLOSED = "open", "closed"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# complain(at, problem, hint, key=...): *at* is the path below the schedule, key=True points at the key there.
Complain = Callable[..., None]

_MINUTES_OF_DAY = 24 * 60
_SEARCHED = 400  # days: longer than any holidays
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From *start* to just before *end*, in minutes of the day it starts on; over midnight *end* is more than 1440."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The week, Monday first, and the days that are *closed* all the same."""

    week: tuple[tuple[Span, ...], ...]
    closed: frozenset[date] = frozenset()

    def is_open(self, local: datetime) -> bool:
        """Whether the place is open at *local*, read as the clock on the wall shows it."""
        today, minute = local.date(), local.hour * 60 + local.minute
        if today in self.closed:
            return False
        yesterday = today - timedelta(days=1)
        return any(span.start <= minute < span.end for span in self._spans(today)) or any(
            minute < span.end - _MINUTES_OF_DAY for span in self._spans(yesterday)
        )

    def opens_next(self, local: datetime) -> datetime | None:
        """The first moment after *local*, which has its zone, at which the place opens; None if it never does.

        Asked while the place is open, the opening after the present one.
        """
        for number in range(_SEARCHED):
            for moment in self._openings(local.date() + timedelta(days=number), local):
                if moment.astimezone(UTC) > local.astimezone(UTC):
                    return moment
        return None

    def _spans(self, day: date) -> tuple[Span, ...]:
        return () if day in self.closed else self.week[day.weekday()]

    def _openings(self, day: date, local: datetime) -> Iterator[datetime]:
        """The moments of *day* at which a closed door opens, earliest first."""
        midnight = datetime.combine(day, time(), local.tzinfo)
        moments = [midnight]  # a closed day ends; nothing else opens at midnight that does not start there
        for span in self._spans(day):
            wall = midnight + timedelta(minutes=span.start)
            moments += [wall, wall.replace(fold=1)]
        if jump := _jump(midnight):
            moments.append(jump)
        for moment in sorted(map(_real, moments), key=lambda moment: moment.astimezone(UTC)):
            before = (moment.astimezone(UTC) - timedelta(seconds=1)).astimezone(local.tzinfo)
            if self.is_open(moment) and not self.is_open(before):
                yield moment


def _real(wall: datetime) -> datetime:
    """*wall* as a moment that exists: what stands in a skipped hour is moved behind it, and found again as the jump."""
    return wall.astimezone(UTC).astimezone(wall.tzinfo)


def _jump(midnight: datetime) -> datetime | None:
    """The first moment after the clocks were changed on that day; None on all other days."""
    low, high = midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)
    zone = midnight.tzinfo
    offset = high.astimezone(zone).utcoffset()
    if low.astimezone(zone).utcoffset() == offset:
        return None
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high.astimezone(zone)


def open_or_closed(schedule: Schedule | None, moment: datetime, zone: str | None) -> str | None:
    """What the field `hours` is at *moment*: None, not told, where there is no schedule or no zone we know."""
    local = in_zone(moment, zone)
    if schedule is None or local is None:
        return None
    return OPEN if schedule.is_open(local) else CLOSED


def in_zone(moment: datetime, zone: str | None) -> datetime | None:
    """*moment* on the clock of *zone*; None if it is no zone we know."""
    tz = time_zone(zone) if zone else None
    return moment.astimezone(tz) if tz is not None else None


@lru_cache(1000)  # CallRail names the zone, so there is no end to them
def time_zone(name: str) -> ZoneInfo | None:
    """The time zone of that IANA name; None where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: 'America' is a folder
        return None


# --- as they are written ---------------------------------------------------------------------------------------------


def parse_schedule(written: object, is_quoted: Callable[[tuple[str | int, ...]], bool], complain: Complain) -> Schedule:
    """The schedule *written*. What is wrong with it goes to *complain*, and is left out of what is returned."""
    week: list[tuple[Span, ...]] = [()] * 7
    if not isinstance(written, Mapping):
        complain((), 'expected a block of days, like {mon-fri: "08:00-18:00"}', "")
        return Schedule(tuple(week))
    named: dict[int, str] = {}
    for key, value in written.items():
        if key == CLOSED:
            continue
        spans = tuple(sorted(_spans(value, (key,), is_quoted, complain)))
        for day in _days(key, complain):
            if day in named:
                complain((key,), f"{DAYS[day]} is named twice: by '{named[day]}' too", "name each day once", key=True)
            named[day] = key
            week[day] = spans
    return Schedule(tuple(week), frozenset(_closed(written.get(CLOSED, []), complain)))


def _days(key: str, complain: Complain) -> list[int]:
    first, dash, last = (part.strip() for part in key.lower().partition("-"))
    if first in DAYS and (last in DAYS or not dash):
        begin, end = DAYS.index(first), DAYS.index(last or first)
        return [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    hint = did_you_mean(key.lower(), [*DAYS, "mon-fri", CLOSED]) or f"write {', '.join(DAYS)}, like mon-fri, or closed"
    complain((key,), f"'{key}' is no day of the week", hint, key=True)
    return []


def _spans(
    written: object, at: tuple[str | int, ...], is_quoted: Callable[[tuple[str | int, ...]], bool], complain: Complain
) -> Iterator[Span]:
    items = enumerate(written) if isinstance(written, list) else [(None, written)]
    for position, item in items:
        where = at if position is None else (*at, position)
        example = 'write opening hours in quotes, like "08:00-18:00"'
        found = _SPAN.fullmatch(item.strip()) if isinstance(item, str) else None
        if isinstance(item, int | float | None) or (found is not None and not is_quoted(where)):
            complain(where, "opening hours without quotes", f"quote it: {_quoted(item)}")
        elif found is None:
            complain(where, "these are no opening hours", example)
        elif span := _span(*map(int, found.groups())):
            yield span
        else:
            complain(where, f"'{item}' is no span of a day", 'from 00:00 to 24:00, like "22:00-06:00" over midnight')
    if isinstance(written, list) and not written:
        complain(at, "an empty list", "leave the day out; a day that is not named is closed")


def _quoted(item: object) -> str:
    return f'"{item}"' if isinstance(item, str) else '"08:00-18:00"'


def _span(hour: int, minute: int, end_hour: int, end_minute: int) -> Span | None:
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or start >= _MINUTES_OF_DAY or end > _MINUTES_OF_DAY or start == end:
        return None
    return Span(start, end if end > start else end + _MINUTES_OF_DAY)


def _closed(written: object, complain: Complain) -> Iterator[date]:
    if not isinstance(written, list):
        complain((CLOSED,), "expected a list of days", "write it like closed: [2026-12-25, 2027-01-01]")
        return
    for position, item in enumerate(written):
        try:
            yield _day(item)
        except ValueError:
            complain((CLOSED, position), "this is no day of the calendar", "write it like 2026-12-25")


def _day(written: object) -> date:
    if not isinstance(written, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", written):
        raise ValueError(written)
    return date.fromisoformat(written)
