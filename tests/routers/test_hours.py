"""Opening hours: open or closed by the clock on the wall, also in the nights in which the clocks are changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.hours import Schedule, Span, open_or_closed, parse_schedule

NEW_YORK = ZoneInfo("America/New_York")


def refuse(at: tuple[str | int, ...], problem: str, hint: str = "", *, key: bool = False) -> None:
    raise AssertionError(f"{at}: {problem}; {hint}")


def schedule(**days: Any) -> Schedule:
    """A schedule as it is written, `mon_fri` for mon-fri."""
    written = {name.replace("_", "-"): value for name, value in days.items()}
    return parse_schedule(written, lambda _at: True, refuse)


def at(text: str, zone: ZoneInfo = NEW_YORK) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


OFFICE = schedule(mon_fri="08:00-18:00", sat=["9:00-12:00", "13:00-15:00"], closed=["2026-12-25"])


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        pytest.param("2026-03-10T07:59:59", False, id="before"),
        pytest.param("2026-03-10T08:00", True, id="as-it-opens"),
        pytest.param("2026-03-10T17:59:59", True, id="last-second"),
        pytest.param("2026-03-10T18:00", False, id="as-it-closes"),
        pytest.param("2026-03-14T12:30", False, id="between-two-spans"),
        pytest.param("2026-03-14T13:00", True, id="second-span"),
        pytest.param("2026-03-15T12:00", False, id="a-day-not-named"),
        pytest.param("2026-12-25T12:00", False, id="holiday"),
        pytest.param("2026-12-24T12:00", True, id="the-day-before"),
    ],
)
def test_the_office_is_open_in_its_hours(moment: str, is_open: bool) -> None:
    """The first minute of a span belongs to it, the last does not; a holiday beats the week."""
    assert OFFICE.is_open(at(moment)) is is_open


def test_a_span_over_midnight_belongs_to_the_day_it_starts_on() -> None:
    """Friday night is open until Saturday morning; Saturday has no night of its own."""
    nights = schedule(fri="22:00-06:00")

    found = [nights.is_open(at(f"2026-03-{moment}")) for moment in ("13T21:59", "13T22:00", "14T05:59", "14T06:00")]

    assert found == [False, True, True, False]
    assert not nights.is_open(at("2026-03-14T22:00"))


def test_a_holiday_is_closed_as_a_whole() -> None:
    """The night before ends at its midnight, and its own night does not reach into the next day."""
    nights = schedule(mon_sun="22:00-06:00", closed=["2026-12-25"])

    found = [
        nights.is_open(at(f"2026-12-{moment}"))
        for moment in ("24T23:00", "25T01:00", "25T23:00", "26T01:00", "26T22:00")
    ]

    assert found == [True, False, False, False, True]


def test_a_span_of_days_may_go_over_sunday() -> None:
    """fri-mon is four days."""
    assert [bool(spans) for spans in schedule(fri_mon="10:00-24:00").week] == [True, *[False] * 3, True, True, True]


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        pytest.param("2026-03-10T06:00", "2026-03-10T08:00", id="today"),
        pytest.param("2026-03-10T12:00", "2026-03-11T08:00", id="asked-while-open"),
        pytest.param("2026-03-13T18:00", "2026-03-14T09:00", id="tomorrow"),
        pytest.param("2026-03-14T12:10", "2026-03-14T13:00", id="after-lunch"),
        pytest.param("2026-03-14T16:00", "2026-03-16T08:00", id="over-sunday"),
        pytest.param("2026-12-24T19:00", "2026-12-26T09:00", id="over-a-holiday"),
    ],
)
def test_it_is_known_when_a_closed_office_opens(moment: str, opens: str) -> None:
    """The next moment at which a closed door opens."""
    assert OFFICE.opens_next(at(moment)) == at(opens)


@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        pytest.param("America/New_York", "closed", id="seven-in-new-york"),
        pytest.param("Europe/London", "open", id="eleven-in-london"),
        pytest.param(None, None, id="no-zone-known"),
        pytest.param("Mars/Olympus", None, id="no-such-zone"),
        pytest.param("America", None, id="a-folder"),
        pytest.param("../etc/passwd", None, id="no-name-at-all"),
    ],
)
def test_hours_are_those_of_the_company_s_clock(zone: str | None, hours: str | None) -> None:
    """Not told where no zone or no schedule is known: a rule that asks then says nothing."""
    moment = datetime(2026, 3, 10, 11, 0, tzinfo=UTC)

    assert open_or_closed(OFFICE, moment, zone) == hours
    assert open_or_closed(None, moment, zone) is None


def test_what_never_opens_has_no_next_opening() -> None:
    """A schedule without a day, and one that is always open."""
    assert Schedule(((),) * 7).opens_next(at("2026-03-10T12:00")) is None
    assert schedule(mon_sun="00:00-24:00").opens_next(at("2026-03-10T12:00")) is None


# --- the clocks are changed on 8 March (2:00 becomes 3:00) and 1 November 2026 (2:00 becomes 1:00) -------------------


def test_what_opens_in_the_skipped_hour_opens_right_after_it() -> None:
    """02:30 does not exist on that Sunday: open from 03:00 on."""
    early = schedule(sun="02:30-10:00")

    assert early.opens_next(at("2026-03-08T01:00")) == at("2026-03-08T03:00")
    assert early.is_open(at("2026-03-08T03:00"))


def test_a_span_within_the_skipped_hour_is_left_out() -> None:
    """The week after it is there again."""
    assert schedule(sun="02:15-02:45").opens_next(at("2026-03-07T12:00")) == at("2026-03-15T02:15")


def test_what_is_open_in_the_doubled_hour_is_open_both_times() -> None:
    """And opens twice: after the first half past one it is closed until the clock shows one again."""
    bar = schedule(sun="01:00-01:30")
    first, second = at("2026-11-01T01:00"), at("2026-11-01T01:00").replace(fold=1)

    assert bar.is_open(first)
    assert bar.is_open(second)
    opens = bar.opens_next(at("2026-11-01T01:40"))
    assert opens is not None
    assert opens.astimezone(UTC) == second.astimezone(UTC)


spans = st.builds(lambda start, length: Span(start, start + length), st.integers(0, 1439), st.integers(1, 1440)).filter(
    lambda span: span.end <= 2880
)
schedules = st.builds(
    Schedule,
    st.tuples(*[st.lists(spans, max_size=2).map(tuple)] * 7),
    st.frozensets(st.dates(date(2026, 3, 6), date(2026, 3, 12)) | st.dates(date(2026, 10, 30), date(2026, 11, 4))),
)
zones = st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana", "UTC"])
near_changes = st.sampled_from([datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)])
any_day = st.integers(0, 364).map(lambda days: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days))


@settings(max_examples=60, deadline=None)
@given(schedules, zones, near_changes | any_day, st.integers(0, 2880))
def test_the_next_opening_is_the_first_minute_that_is_open_after_one_that_is_not(
    week: Schedule, zone: str, start: datetime, minutes: int
) -> None:
    """Held against looking at every minute of two days, in zones that change their clocks in different ways."""
    now = start.replace(second=0, microsecond=0) + timedelta(minutes=minutes)
    tz = ZoneInfo(zone)

    opens = week.opens_next(now.astimezone(tz))

    was_open = week.is_open(now.astimezone(tz))
    for step in range(1, 2 * 1440):
        moment = now + timedelta(minutes=step)
        is_open = week.is_open(moment.astimezone(tz))
        if is_open and not was_open:
            assert opens is not None
            assert opens.astimezone(UTC) == moment
            return
        was_open = is_open
    assert opens is None or opens.astimezone(UTC) >= now + timedelta(days=2)
