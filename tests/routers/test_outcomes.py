"""What an HTTP answer means: one table of statuses, and what Retry-After asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callrail.http import Answer
from routers.outcomes import (
    LONGEST_RETRY_AFTER,
    AuthFailed,
    Delivered,
    Gone,
    Outcome,
    Rejected,
    Retry,
    outcome_of,
    retry_after,
)

NOW = datetime(2026, 3, 10, 13, 15, tzinfo=UTC)


def outcome(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Outcome:
    return outcome_of(Answer(status, headers or {}, body), now=NOW)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((200, 201, 202, 204, 299), Delivered),
        ((300, 301, 302, 303, 304, 307, 308), Rejected),
        ((400, 405, 413), Rejected),
        ((401, 403), AuthFailed),
        ((410,), Gone),
        ((402, 404, 408, 409, 418, 422, 425, 429, 451), Retry),
        ((500, 502, 503, 504, 599), Retry),
    ],
    ids=["accepted", "redirects", "refused", "not-authorised", "gone", "other-4xx", "5xx"],
)
def test_a_status_means_the_same_to_every_sink(statuses: tuple[int, ...], expected: type[Outcome]) -> None:
    """Accepted, refused for good, not authorised, gone, or worth another try."""
    assert {type(outcome(status)) for status in statuses} == {expected}


def test_every_status_is_an_outcome_and_its_reason_names_it() -> None:
    """Whatever a server answers, the stored reason says it."""
    assert [status for status in range(100, 600) if f"HTTP {status}" not in outcome(status).reason] == []


def test_a_redirect_says_that_it_is_not_followed() -> None:
    """Following it could carry a caller's data to a host nobody configured."""
    assert outcome(302).reason == "HTTP 302: redirects are not followed"


@pytest.mark.parametrize(
    ("status", "whole_lane"), [(429, True), (502, True), (503, True), (504, True), (500, False), (409, False)]
)
def test_retry_after_speaks_for_the_whole_lane_where_the_server_is_the_trouble(status: int, whole_lane: bool) -> None:
    """Too many requests and an overloaded server concern all we send there, one failed request only itself."""
    assert outcome(status, {"retry-after": "30"}) == Retry(f"HTTP {status}", timedelta(seconds=30), whole_lane)


@pytest.mark.parametrize(("status", "whole_lane"), [(429, True), (503, False)])
def test_without_retry_after_only_a_429_speaks_for_the_whole_lane(status: int, whole_lane: bool) -> None:
    """Too many requests are all of ours; one 503 may be a single bad request's."""
    assert outcome(status) == Retry(f"HTTP {status}", None, whole_lane)


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        pytest.param("30", timedelta(seconds=30), id="seconds"),
        pytest.param(" 30 ", timedelta(seconds=30), id="seconds-with-blanks"),
        pytest.param("0", timedelta(0), id="zero"),
        pytest.param("86400", timedelta(days=1), id="a-day"),
        pytest.param("86401", timedelta(days=1), id="more-than-a-day"),
        pytest.param("9999999999", timedelta(days=1), id="three-hundred-years"),
        pytest.param("9" * 5000, timedelta(days=1), id="more-digits-than-python-reads"),
        pytest.param("0000000000030", timedelta(seconds=30), id="leading-zeros"),
        pytest.param("Tue, 10 Mar 2026 13:17:00 GMT", timedelta(minutes=2), id="date"),
        pytest.param("Tue, 10 Mar 2026 14:17:00 +0100", timedelta(minutes=2), id="date-in-another-zone"),
        pytest.param("Tue, 10 Mar 2026 13:17:00 -0000", timedelta(minutes=2), id="date-without-a-zone"),
        pytest.param("Tue, 10 Mar 2026 13:10:00 GMT", timedelta(0), id="date-gone-by"),
        pytest.param("Tue, 10 Mar 2099 13:10:00 GMT", timedelta(days=1), id="date-far-away"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("٣", None, id="other-digits"),
        pytest.param("²", None, id="no-digit-at-all"),
        pytest.param("Tue, 99 Mar 2026 13:17:00 GMT", None, id="no-date"),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_capped(told: str, wait: timedelta | None) -> None:
    """At least no wait, at most a day, and None for what cannot be read."""
    assert retry_after({"retry-after": told}, now=NOW) == wait


def test_no_header_asks_for_nothing() -> None:
    """Absent is None and not zero."""
    assert retry_after({}, now=NOW) is None


@given(
    st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d [-+]?\w{0,6}")
)
def test_no_retry_after_can_break_the_reading(told: str) -> None:
    """A header is whatever a server writes."""
    wait = retry_after({"retry-after": told}, now=NOW)

    assert wait is None or timedelta(0) <= wait <= LONGEST_RETRY_AFTER


@given(st.binary(max_size=3_000))
def test_the_excerpt_of_an_answer_is_short_and_printable(body: bytes) -> None:
    """The reason is shown on terminals and kept in the store, whatever a server sends."""
    reason = outcome(500, body=body).reason

    assert reason.isprintable()
    assert len(reason) <= 220


def test_the_excerpt_says_what_the_server_said() -> None:
    """Its own words help most, in one line; an accepted delivery needs none."""
    assert outcome(422, body=b"field\n  `id` missing").reason == "HTTP 422: field `id` missing"
    assert outcome(200, body=b"thanks").reason == "HTTP 200"
