"""What an HTTP answer means: one table of statuses, and what Retry-After asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callrail.exceptions import AddressRefused, AnswerLost, HttpError, NoNetwork, NotSent
from callrail.http import Answer
from routers.outcomes import (
    LONGEST_RETRY_AFTER,
    AuthFailed,
    Delivered,
    Gone,
    Outcome,
    Rejected,
    Retry,
    Uncertain,
    asked_wait,
    outcome_of,
    outcome_of_error,
    reason_of,
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
        pytest.param("1.5", timedelta(seconds=1.5), id="fraction"),
        pytest.param("1.", None, id="fraction-cut-off"),
        pytest.param("1e3", None, id="exponent"),
        pytest.param("٣", None, id="other-digits"),
        pytest.param("²", None, id="no-digit-at-all"),
        pytest.param("Tue, 99 Mar 2026 13:17:00 GMT", None, id="no-date"),
        pytest.param("Wed, 21 Oct 2026 07:287100749999", None, id="more-minutes-than-a-number-holds"),
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


# --- vendors' own ways -----------------------------------------------------------------------------------------------

DISCORD_BODY = b'{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}'


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        pytest.param({}, DISCORD_BODY, 64.57, id="body"),
        pytest.param({"x-ratelimit-reset-after": "1.25"}, b"", 1.25, id="header"),
        pytest.param({"retry-after": "65", "x-ratelimit-reset-after": "64.57"}, DISCORD_BODY, 65, id="longest-wins"),
        pytest.param({"retry-after": "1"}, DISCORD_BODY, 64.57, id="longest-wins-in-the-body"),
        pytest.param({}, b'{"retry_after": 1e300}', 86_400, id="capped"),
        pytest.param({}, b'{"retry_after": -1}', None, id="negative"),
        pytest.param({}, b'{"retry_after": true}', None, id="no-number"),
        pytest.param({}, b'{"retry_after": "2"}', 2, id="number-in-quotes"),
        pytest.param({}, b'["retry_after"]', None, id="list"),
        pytest.param({}, b"<html>", None, id="no-json"),
    ],
)
def test_a_wait_is_obeyed_wherever_it_is_told(headers: dict[str, str], body: bytes, wait: float | None) -> None:
    """Discord tells it thrice, not always alike, and the longest is never undercut."""
    asked = asked_wait(Answer(429, headers, body), now=NOW)

    assert asked == (None if wait is None else timedelta(seconds=wait))


def test_only_a_429_is_read_for_a_vendor_s_wait() -> None:
    """Discord sends its counters with each answer; they ask for nothing while requests are left."""
    assert asked_wait(Answer(500, {"x-ratelimit-reset-after": "9"}, DISCORD_BODY), now=NOW) is None


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotSent("no"), Retry("no")),
        (AddressRefused("no"), Retry("no")),
        (NoNetwork("no"), Retry("no", is_ours=True)),
        (AnswerLost("no"), Uncertain("no")),
    ],
    ids=["not-sent", "refused-by-us", "our-network", "lost"],
)
def test_no_answer_is_a_retry_where_nothing_left(error: HttpError, expected: Outcome) -> None:
    """Our own network's trouble is marked, so that it costs the destination no try."""
    assert outcome_of_error(error) == expected


# --- reasons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no such user avery@example.com here", "no such user … here"),
        ("bad number +1 (404) 555-0123.", "bad number …."),
        ("bad number 4045550123", "bad number …"),
        ("token xoxb-1234567890-abcdefghij is revoked", "token … is revoked"),
        ("key 9f86d081884c7d659a2feaa0c55ad015 unknown", "key … unknown"),
        ("see https://api.example.com/hook/T0/B0?sig=abc for more", "see https://api.example.com… for more"),
        ("at https://me:pass@api.example.com?sig=abc", "at https://api.example.com…"),
        ("invalid_field_customer_phone_number", "invalid_field_customer_phone_number"),
        ("error 1042 at line 12", "error 1042 at line 12"),
    ],
)
def test_a_reason_holds_neither_keys_nor_people(said: str, shown: str) -> None:
    """What is kept and shown helps to mend the trouble, and says nothing that must not be read."""
    assert reason_of(Answer(400, {}, said.encode())) == f"HTTP 400: {shown}"


def test_a_reason_does_not_repeat_what_was_sent() -> None:
    """A name has no form by which it could be known, so what was sent is struck wherever it comes back."""
    told = {"customer_name": "Avery Quill", "tags": ["VIP", "Kitchen fire"], "duration": 12, "note": None}

    reason = reason_of(Answer(422, {}, b"name 'AVERY QUILL' too odd; tag kitchen fire, VIP: unknown"), told=told)

    assert reason == "HTTP 422: name '…' too odd; tag …, VIP: unknown"


def test_a_number_cut_at_the_end_of_the_excerpt_is_not_half_there() -> None:
    """The cut comes after the striking."""
    said = "x" * 190 + " +14045550123"

    assert reason_of(Answer(400, {}, said.encode())) == f"HTTP 400: {'x' * 190} …"
