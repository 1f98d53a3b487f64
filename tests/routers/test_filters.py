"""The filters of templates: each takes anything, and gives nothing for nothing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.filters import FILTERS, as_text, phone
from routers.hours import time_zone
from routers.templates import Templates

NEW_YORK = ZoneInfo("America/New_York")


def filtered(expression: str, value: Any, zone: ZoneInfo | None = NEW_YORK) -> str:
    """What `value | ...` writes, between bars."""
    return Templates.of({"t": "|{{ note | " + expression + " }}|"}).render("t", {"note": value}, zone=zone).title[1:-1]


@pytest.mark.parametrize(
    ("expression", "value", "expected"),
    [
        ("phone", "+14045550101", "(404) 555-0101"),
        ("phone", "404-555-0101", "(404) 555-0101"),
        ("phone", "(404) 555-0101", "(404) 555-0101"),
        ("phone", "14045550101", "(404) 555-0101"),
        ("phone", "+442079460000", "+44 20 7946 0000"),
        ("phone", "+4930901820", "+49 30 901820"),
        ("phone", "+1404555010x", "+1404555010x"),
        ("phone", "anonymous", "anonymous"),
        ("phone", "12345", "12345"),
        ("phone", "Room 2079460000", "Room 2079460000"),
        ("phone", "1" * 5_000, "1" * 198),
        ("duration", 0, "0 s"),
        ("duration", 59, "59 s"),
        ("duration", 192, "3 min 12 s"),
        ("duration", 3_900, "1 h 5 min"),
        ("duration", 12.7, "12 s"),
        ("duration", -1, ""),
        ("duration", "long", ""),
        ("duration", True, ""),
        ("localtime", "2026-03-10T18:15:00Z", "10 Mar 14:15"),
        ("localtime", "2026-01-10T18:15:00.250-05:00", "10 Jan 18:15"),
        ("localtime", "2026-03-10T18:15:00", "10 Mar 18:15"),
        ("localtime", "yesterday", "yesterday"),
        ("localtime('%A, %-d %B %Y, %I:%M %p')", "2026-03-10T18:15:00Z", "Tuesday, 10 March 2026, 02:15 PM"),
        ("localtime", datetime(2026, 3, 10, 18, 15, tzinfo=UTC), "10 Mar 14:15"),
        ("localtime", datetime.min.replace(tzinfo=UTC), "01 Jan 00:00 UTC"),
        ("truncate(8)", "a pipe\n burst today", "a pipe…"),
        ("truncate(8)", "a pipe", "a pipe"),
        ("truncate(0)", "a pipe", "…"),
        ("truncate", "x" * 400, "x" * 198),
        ("quote", "a pipe", "“a pipe”"),
        ("prefix('via ')", "Yelp", "via Yelp"),
        ("label", "lead_status", "lead status"),
        ("words", "acme-plumbing_2 west", "acme plumbing 2 west"),
        ("words", "-", ""),
        ("link", "https://example.com/a?b=c", "https://example.com/a?b=c"),
        ("link", "https://example.com/a?access_key=c", ""),
        ("link", "javascript:alert(1)", ""),
        ("link", "https://example.com/ and more", ""),
        ("ordinal", 1, "1st"),
        ("ordinal", 2, "2nd"),
        ("ordinal('call')", 3, "3rd call"),
        ("ordinal", 11, "11th"),
        ("ordinal", 112, "112th"),
        ("ordinal", 123, "123rd"),
        ("ordinal", 0, ""),
        ("ordinal", "x", ""),
        ("upper", "Avery", "AVERY"),
        ("lower", "Avery", "avery"),
        ("title", "AVERY QUILL", "Avery Quill"),
        ("default('nobody')", "", "nobody"),
        ("default('nobody')", 0, "0"),
        ("default('nobody')", False, "no"),
        ("join(' + ')", ["a", "", "b"], "a + b"),
        ("join", "a", "a"),
        ("first", ["a", "b"], "a"),
        ("first(2)", ["a", "b", "c"], "a, b"),
        ("first", "text", ""),
        ("items | length", {"a": 1, "b": 2}, "2"),
        ("items", ["a"], ""),
        ("length", ["a", "b"], "2"),
        ("length", 7, "0"),
        ("round", 2.6, "3"),
        ("round(1)", 2.66, "2.7"),
        ("round", "x", ""),
    ],
)
def test_a_filter_writes(expression: str, value: Any, expected: str) -> None:
    """As docs/templates.md says; where it cannot, what was told or nothing."""
    assert filtered(expression, value) == expected


def test_without_a_zone_a_time_is_utc_and_says_so() -> None:
    """Nobody is told a wrong time of day; a day alone needs no zone."""
    assert filtered("localtime", "2026-03-10T18:15:00-04:00", zone=None) == "10 Mar 22:15 UTC"
    assert filtered("localtime('%d %b')", "2026-03-10T18:15:00-04:00", zone=None) == "10 Mar"


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("value", [None, "", [], {}])
def test_nothing_stays_nothing(name: str, value: Any) -> None:
    """A part that is not told leaves no trace."""
    arguments = "('via ')" if name == "prefix" else ""

    assert filtered(name + arguments, value) == ("0" if name == "length" else "")


def test_no_width_in_a_format_makes_a_huge_text() -> None:
    """`%999999999d` asks the C library for a gigabyte."""
    with pytest.raises(Exception, match="localtime cannot write times like that"):
        filtered("localtime('%999999999d')", "2026-03-10T18:15:00Z")


@given(st.from_regex(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}", fullmatch=True))
def test_north_american_numbers_are_written_as_the_library_would(number: str) -> None:
    """The short way around the library gives what the library gives."""
    parsed = phonenumbers.parse(number, "US")

    assert phone(number) == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)


def test_the_phone_library_is_loaded_only_for_a_foreign_number() -> None:
    """It costs start time that most installations need not pay."""
    code = "import sys; from routers.filters import phone; phone('+14045550101'); print('phonenumbers' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (7, "7"),
        (2.50, "2.5"),
        pytest.param(10**5_000, "", id="too-large-a-number"),
        ({"a": 1}, ""),
        (["a", ["b", None], {"c": 1}], "a, b"),
        (datetime(2026, 3, 10, 18, 15, tzinfo=UTC), "10 Mar 18:15"),
        (None, ""),
        (object(), ""),
    ],
)
def test_a_value_becomes_text_for_people(value: object, text: str) -> None:
    """Never a Python notation."""
    assert as_text(value) == text


def test_a_zone_is_found_by_its_name() -> None:
    """And a name without a zone has none."""
    assert time_zone("America/New_York") == NEW_YORK
    assert time_zone("America/Nowhere") is None
