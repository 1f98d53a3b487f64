"""The filters of templates, and how a value becomes text there. Each takes anything, and gives nothing for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, pass_context
from jinja2.runtime import Context

MAX_TEXT = 10_000
KEY_MARK = "access_key="  # a link that holds it lets whoever holds the link listen (observed)
ZONE = "$zone"  # where a template's values hold the company's time zone; no template can name it
_REGION = "US"
_MAX_INTEGER = 10**18


class Nothing(ChainableUndefined):
    """What is not told, or told empty: no text, false, without parts, and neither more nor less than anything."""

    __slots__ = ()

    def _is_not(self, *_other: Any) -> bool:
        return False

    __lt__ = __le__ = __gt__ = __ge__ = _is_not  # type: ignore[assignment]  # in Jinja's class they raise


NOTHING = Nothing()


def as_text(value: object) -> str:
    """*value* as people read it: yes and no, lists with commas, times in the zone they carry, blocks as nothing."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if abs(value) < _MAX_INTEGER else ""
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, datetime):
        return f"{value:{_DAY_AND_TIME}}"
    if isinstance(value, list | tuple):
        return join(value)
    return ""


def is_nothing(value: object) -> bool:
    """Whether *value* is not told or empty. False and 0 are told."""
    return value is None or isinstance(value, Nothing) or (isinstance(value, str | list | dict) and not value)


# --- who, how long, when ---------------------------------------------------------------------------------------------

# North American numbers, the bulk of CallRail's, as the library would write them at a hundred times the cost.
_NORTH_AMERICAN = re.compile(r"(?:\+?1[ .-]?)?\(?([2-9]\d\d)\)?[ .-]?([2-9]\d\d)[ .-]?(\d{4})", re.ASCII)
_LIKE_A_NUMBER = re.compile(r"[\d +()./-]{5,40}", re.ASCII)


def phone(value: object) -> str:
    """A phone number as people write it: national for the USA and Canada, international elsewhere; else as told."""
    text = as_text(value)
    match = _NORTH_AMERICAN.fullmatch(text)
    return f"({match[1]}) {match[2]}-{match[3]}" if match else _foreign_phone(text)


@lru_cache(maxsize=1024)
def _foreign_phone(text: str) -> str:
    if not _LIKE_A_NUMBER.fullmatch(text):
        return text
    import phonenumbers  # costs start time, and most installations never need it

    try:
        number = phonenumbers.parse(text, _REGION)
    except phonenumbers.NumberParseException:
        return text
    if not phonenumbers.is_possible_number(number):
        return text
    is_home = number.country_code == phonenumbers.country_code_for_region(_REGION)
    form = phonenumbers.PhoneNumberFormat.NATIONAL if is_home else phonenumbers.PhoneNumberFormat.INTERNATIONAL
    return phonenumbers.format_number(number, form)


def duration(value: object) -> str:
    """Seconds as `27 s`, `3 min 12 s` or `1 h 5 min`; nothing for what is no number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_INTEGER:
        return ""
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


_DAY_AND_TIME = "%d %b %H:%M"
# No widths and flags: `%999999999d` would be a text of a gigabyte.
_FORMAT = re.compile(r"(?:[^%]|%-?[aAbBdejHIlmMpSuwyYzZ%]){0,60}")


@pass_context
def localtime(context: Context, value: object, form: str = _DAY_AND_TIME) -> str:
    """A time in the company's zone, by default as `10 Mar 14:15`; where no zone is known, in UTC and saying so.

    Raises:
        ValueError: *form* has a letter that a date does not know.
    """
    if not _FORMAT.fullmatch(form):
        raise ValueError("localtime cannot write times like that; write letters like %d %b %Y %H:%M")
    if isinstance(value, datetime):
        moment = value
    else:
        text = as_text(value)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text
    if moment.tzinfo is None:  # whose clock it is, nobody told
        return moment.strftime(form)
    zone: tzinfo | None = context.get(ZONE)
    try:
        if zone is not None:
            return moment.astimezone(zone).strftime(form)
        moment = moment.astimezone(UTC)
    except OverflowError:  # the first and the last day of the calendar
        zone = None
    return moment.strftime(form) + (" UTC" if "%H" in form or "%I" in form else "")


# --- text ------------------------------------------------------------------------------------------------------------


def truncate(value: object, length: int = 300) -> str:
    """On one line and at most *length* characters; what is cut ends in an ellipsis."""
    text = " ".join(as_text(value).split())
    return text if len(text) <= length else text[: max(length - 1, 0)].rstrip() + "…"


def quote(value: object) -> str:
    """In quotation marks."""
    text = as_text(value)
    return f"“{text}”" if text else ""


def prefix(value: object, before: str) -> str:
    """With *before* in front of it."""
    text = as_text(value)
    return as_text(before) + text if text else ""


def label(value: object) -> str:
    """A field's name as words: `lead status` for `lead_status`."""
    return as_text(value).replace("_", " ").strip()


def words(value: object) -> str:
    """A name in `router.yaml` as words: `acme plumbing` for `acme-plumbing`."""
    return " ".join(as_text(value).replace("-", " ").replace("_", " ").split())


def link(value: object) -> str:
    """A web address that may be shown to all; nothing for one with an access key, for whoever holds it may listen."""
    text = as_text(value)
    is_open = text.startswith(("https://", "http://")) and not holds_access_key(text) and len(text) <= 500
    return text if is_open and len(text.split()) == 1 else ""


def holds_access_key(value: Any) -> bool:
    """Whether a link in *value* lets whoever holds it listen. Every field of every message is asked: kept quick."""
    cls = value.__class__
    if cls is str:
        return KEY_MARK in value
    if cls is not dict and cls is not list:
        return False
    for part in value.values() if cls is dict else value:
        if KEY_MARK in part if part.__class__ is str else holds_access_key(part):
            return True
    return False


def ordinal(value: object, noun: str = "") -> str:
    """`3rd`, or with a noun `3rd call`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MAX_INTEGER:
        return ""
    ending = "th" if 10 < value % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{ending} {noun}".rstrip()


def upper(value: object) -> str:
    """In capitals."""
    return as_text(value).upper()


def lower(value: object) -> str:
    """In small letters."""
    return as_text(value).lower()


def title(value: object) -> str:
    """Each word with a capital, as in a name that CallRail tells in capitals."""
    return as_text(value).title()


def default(value: object, other: object = "") -> object:
    """*other* where there is nothing."""
    return other if is_nothing(value) else value


# --- lists and numbers -----------------------------------------------------------------------------------------------


def join(value: object, separator: str = ", ") -> str:
    """The parts of a list that are not nothing, with *separator* between them."""
    if not isinstance(value, list | tuple):
        return as_text(value)
    separator = as_text(separator)
    parts: list[str] = []
    length = 0
    for part in value:
        text = as_text(part)
        if text:
            parts.append(text)
            length += len(text) + len(separator)
        if length > MAX_TEXT:
            break
    return separator.join(parts)[:MAX_TEXT]


def items(value: object) -> list[tuple[object, object]]:
    """The names and values of a block like `form_data`."""
    return list(value.items()) if isinstance(value, Mapping) else []


def first(value: object, count: int = 0) -> object:
    """The first of a list; with a *count* a list of the first so many."""
    if not isinstance(value, list | tuple):
        return NOTHING
    if count:
        return list(value[: max(count, 0)])
    return value[0] if value else NOTHING


def length(value: object) -> int:
    """How many there are; 0 for nothing."""
    return len(value) if isinstance(value, str | list | tuple | dict) else 0


def rounded(value: object, digits: int = 0) -> object:
    """A number rounded to so many digits after the point."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING
    return round(value, min(digits, 12)) if digits > 0 else round(value)


FILTERS: dict[str, Callable[..., Any]] = {
    **{
        each.__name__: each
        for each in (phone, duration, localtime, truncate, quote, prefix, label, words, link, ordinal)
    },
    **{each.__name__: each for each in (upper, lower, title, default, join, items, first, length)},
    "round": rounded,
}
