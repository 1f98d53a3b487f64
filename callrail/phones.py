"""Phone numbers in any usual writing, as E.164; and the callers who have none."""

from __future__ import annotations

import re
from functools import lru_cache

_AMERICAN = re.compile(r"\+1[2-9][0-9]{9}")
_MAX_LENGTH = 40  # no number is written longer; what is longer is not read

# What stands in place of a withheld number, as words and as those words typed on a keypad (observed in public code
# that receives calls; Twilio documents them). With and without the country code 1.
_WITHHELD_WORDS = frozenset(
    {
        *("anonymous", "blocked", "private", "restricted", "unavailable", "unknown", "withheld", "none", "null"),
        *("nocallerid", "privatenumber", "unknownnumber"),
    }
)
_WITHHELD_DIGITS = frozenset(
    {
        "266696687",  # ANONYMOUS
        "2562533",  # BLOCKED
        "7748283",  # PRIVATE
        "7378742833",  # RESTRICTED
        "86282452253",  # UNAVAILABLE
        "8656696",  # UNKNOWN
    }
)


def e164(text: str, region: str = "US") -> str | None:
    """The number written in *text*, like `+17705550123`; None for withheld numbers, filler codes and what is no number.

    A number without a country code is one of *region*, a country of two capital letters. Extensions are dropped. The
    number has to be possible, not assigned: area codes are opened faster than tables are.
    """
    return _read(text, region) if len(text) <= _MAX_LENGTH else None


@lru_cache(maxsize=8192)
def _read(text: str, region: str) -> str | None:
    if is_withheld(text):
        return None
    if _AMERICAN.fullmatch(text):  # as calls tell theirs; spares the parser
        return text
    import phonenumbers  # on first use: its tables cost start time

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != phonenumbers.ValidationResult.IS_POSSIBLE:  # a number without its area code is possible, but locally
        return None
    found = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # Of +49 00 821 77592 one zero is left; read again it is none, and one number has to have one writing.
    return found if found == text else _read(found, region) or found


def is_withheld(text: str) -> bool:
    """Whether *text* stands for a caller without a number: nothing, a word like `anonymous`, or a filler code."""
    digits = re.sub(r"[^0-9]", "", text)
    if not digits:
        return text.strip().lower().replace(" ", "") in _WITHHELD_WORDS or not text.strip("+- .()")
    national = digits[1:] if digits[0] == "1" else digits
    return digits in _WITHHELD_DIGITS or national in _WITHHELD_DIGITS or set(national) == {"0"}


def spellings(number: str) -> re.Pattern[str]:
    """Finds *number*, in E.164, in a text: with its country code or without, whatever stands between its digits.

    Raises:
        ValueError: *number* is not in E.164.
    """
    import phonenumbers

    if e164(number) != number:
        raise ValueError("no number in E.164")
    parsed = phonenumbers.parse(number)
    country, national = str(parsed.country_code), phonenumbers.national_significant_number(parsed)
    between = r"[^0-9A-Za-z]{0,3}"
    in_front = rf"(?:(?:00|011)?{between}{between.join(country)}{between}|0{between})?"
    return re.compile(rf"(?<![0-9]){in_front}{between.join(national)}(?![0-9])")
