"""Phone numbers: one number however it is written, and no number where the caller has none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callrail.phones import e164, is_withheld, spellings


@pytest.mark.parametrize(
    "written",
    [
        "+17705550123",
        "17705550123",
        "7705550123",
        "770-555-0123",
        "(770) 555-0123",
        "770.555.0123",
        "+1 770 555 0123",
        "1-770-555-0123",
        " 770 555 0123 ",
        "tel:+1-770-555-0123",
        "770-555-0123 x12",
        "(770)\u00a0555\u20110123",
    ],
)
def test_a_number_is_the_same_in_every_usual_writing(written: str) -> None:
    """Calls tell E.164, texts dashes, people whatever they like."""
    assert e164(written) == "+17705550123"


@pytest.mark.parametrize(
    ("written", "region", "number"),
    [
        pytest.param("+44 20 7946 0958", "US", "+442079460958", id="country-code-beats-region"),
        pytest.param("020 7946 0958", "GB", "+442079460958", id="region"),
        pytest.param("020 7946 0958", "US", None, id="other-region"),
        pytest.param("1-800-FLOWERS", "US", "+18003569377", id="letters-of-the-keypad"),
    ],
)
def test_a_number_without_a_country_code_is_of_the_region(written: str, region: str, number: str | None) -> None:
    """The United States unless said otherwise."""
    assert e164(written, region) == number


@pytest.mark.parametrize(
    "told",
    [
        "",
        " ",
        "+",
        "Anonymous",
        "unknown",
        "Restricted",
        "UNAVAILABLE",
        "private",
        "Private Number",
        "blocked",
        "No Caller ID",
        "266696687",
        "+266696687",
        "+1266696687",
        "7378742833",
        "+17378742833",
        "8656696",
        "+2562533",
        "86282452253",
        "+10000000000",
        "0000000000",
        "000-000-0000",
    ],
)
def test_a_withheld_number_is_no_number(told: str) -> None:
    """Words and filler codes in place of a number would make one lead of all callers without one."""
    assert is_withheld(told)
    assert e164(told) is None


@pytest.mark.parametrize(
    "told", ["555-0123", "72345", "12", "call me", "+1", "1" * 41, "7705550123" * 500, "+999123456"]
)
def test_what_is_no_number_is_none(told: str) -> None:
    """Short codes, numbers without area code, words and endless digits."""
    assert e164(told) is None
    assert not is_withheld(told)


@example("+49 00 821 77592")
@given(st.text(max_size=50) | st.text("+-() .0123456789x", max_size=25))
def test_any_text_is_a_number_or_none(text: str) -> None:
    """Reading never raises, and what is a number stays the same when it is read again."""
    number = e164(text)

    assert number is None or e164(number) == number


@pytest.mark.parametrize(
    "written",
    [
        "+14045550123",
        "4045550123",
        "(404) 555-0123",
        "1-404-555-0123",
        "404.555.0123",
        "x4045550123",
    ],
)
def test_a_number_is_found_in_any_usual_spelling(written: str) -> None:
    assert spellings("+14045550123").search(f'{{"note": "call {written}, please"}}')


@pytest.mark.parametrize("written", ["94045550123", "40455501234", "404555 and 0123", "4045550124"])
def test_another_number_is_not_taken_for_it(written: str) -> None:
    """Digits before or behind it make another number."""
    assert not spellings("+14045550123").search(written)


def test_a_number_of_another_country_is_found_as_it_is_written_there() -> None:
    found = spellings("+442079460123")

    assert all(found.search(written) for written in ("+44 20 7946 0123", "020 7946 0123", "00442079460123"))


def test_only_a_number_has_spellings() -> None:
    with pytest.raises(ValueError, match=r"E\.164"):
        spellings("404-555-0123")
