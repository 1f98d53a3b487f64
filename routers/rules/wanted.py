"""The values a rule writes, read by the type of the field they are held against; what cannot be meant is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from callrail.fields import FieldType
from routers.rules.fields import did_you_mean
from routers.rules.questions import Asked, At
from routers.rules.values import phone_key, span_of

CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
_MAX_ITEMS = 1_000
_SHOWN_LENGTH = 80

_WRITTEN = {
    FieldType.TEXT: "text",
    FieldType.PHONE: "a phone number in quotes",
    FieldType.TIME: "a time in quotes",
    FieldType.BOOLEAN: "true or false",
    FieldType.INTEGER: "a number",
    FieldType.NUMBER: "a number",
    FieldType.LIST: "text",
}


def each_value(asked: Asked, wanted: object, at: At, read: Callable[[Asked, Any, At], Any]) -> list[Any] | None:
    """Every value of *wanted*, read: itself, or the items of a list. None once something was wrong."""
    if not isinstance(wanted, list):
        value = read(asked, wanted, at)
        return None if value is None else [value]
    if not wanted:
        asked.complain(at, "an empty list matches nothing", "name at least one value")
        return None
    if len(wanted) > _MAX_ITEMS:
        asked.complain(at, f"a list of {len(wanted)} values, at most {_MAX_ITEMS:,} are allowed", "split the rule")
        return None
    values = [read(asked, item, (*at, position)) for position, item in enumerate(wanted)]
    return None if None in values else values


def is_number(wanted: object) -> bool:
    """Whether *wanted* is a number; true and false are none."""
    return isinstance(wanted, int | float) and not isinstance(wanted, bool)


def is_scalar(asked: Asked, wanted: object, at: At) -> bool:
    """Whether *wanted* is one value, whatever its type."""
    if wanted is None:
        asked.complain(at, "no value", "to ask whether a field is empty, write {exists: false}")
    elif isinstance(wanted, Mapping | list):
        asked.complain(at, "a value is expected here", f"write {_WRITTEN.get(asked.field.type, 'text')}")
    else:
        return True
    return False


def read_value(asked: Asked, wanted: object, at: At) -> Any:
    """*wanted* as a value that the field can have; None once something was wrong."""
    if not is_scalar(asked, wanted, at):
        return None
    match asked.type:
        case None:
            return wanted
        case FieldType.BOOLEAN:
            return wanted if isinstance(wanted, bool) else misfit(asked, wanted, at)
        case FieldType.INTEGER | FieldType.NUMBER:
            return wanted if is_number(wanted) else misfit(asked, wanted, at)
        case FieldType.PHONE:
            return read_phone(asked, wanted, at)
        case FieldType.TIME:
            return read_span(asked, wanted, at) and wanted
        case _:
            return read_text(asked, wanted, at)


def misfit(asked: Asked, wanted: object, at: At) -> None:
    """Tell that *wanted* is of a type the field never has."""
    if asked.type is FieldType.INTEGER and isinstance(wanted, str) and CLOCK.fullmatch(wanted.strip()):
        minutes, _, seconds = wanted.strip().partition(":")
        hint = f"write a number of seconds: {int(minutes) * 60 + int(seconds[:2])}"
    else:
        hint = f"write {_WRITTEN[asked.field.type]}" if asked.type else "write text in quotes"
    asked.complain(at, f"{as_written(wanted)} does not fit this field", hint)


def as_written(wanted: object) -> str:
    """*wanted* as it stands in the file, a text cut to 80 characters."""
    match wanted:
        case None:
            return "nothing"
        case bool():
            return str(wanted).lower()
        case str():
            return f"'{wanted[:_SHOWN_LENGTH]}'"
        case list():
            return "a list"
        case Mapping():
            return "a block"
        case _:
            return str(wanted)


def read_quoted(asked: Asked, wanted: object, at: At) -> str | None:
    """*wanted* if it is text. A number is told to be put in quotes."""
    if isinstance(wanted, str):
        return wanted
    if is_scalar(asked, wanted, at):
        if is_number(wanted):
            is_international = asked.field.type is FieldType.PHONE and len(str(wanted)) > 10
            asked.complain(at, "this is read as a number", f"quote it: '{'+' * is_international}{wanted}'")
        else:
            misfit(asked, wanted, at)
    return None


def read_text(asked: Asked, wanted: object, at: At) -> str | None:
    """*wanted* if it is text; a warning if the field never has it as far as is known."""
    text = read_quoted(asked, wanted, at)
    if text is not None and not text.strip():
        asked.complain(at, "an empty text", "to ask whether a field is empty, write {exists: false}")
        return None
    values = asked.field.values if asked.type is not None else ()
    if text is not None and values and text not in values:
        hint = did_you_mean(text, values) or f"there are: {', '.join(values)}"
        asked.complain(at, f"{asked.name} is never {as_written(text)} as far as is known", hint, warning=True)
    return text


def read_phone(asked: Asked, wanted: object, at: At) -> str | None:
    """What all writings of the phone number *wanted* have in common."""
    text = read_quoted(asked, wanted, at)
    key = phone_key(text) if text is not None else None
    if text is not None and key is None:
        asked.complain(at, f"{as_written(text)} is no phone number", "write it like '+17705550123' or '(770) 555-0123'")
    return key


def read_span(asked: Asked, wanted: object, at: At) -> tuple[datetime, datetime] | None:
    """The first and last instant of the day or time *wanted*."""
    text = read_quoted(asked, wanted, at)
    if text is None:
        return None
    try:
        span = span_of(text)
    except ValueError as error:
        asked.complain(at, str(error), f"write '{text}Z' for UTC, or '{text}-05:00'")
        return None
    if span is None and CLOCK.fullmatch(text.strip()):
        asked.complain(at, f"'{text}' is a time of day, and {asked.name} has a date", "write hours: open, or a date")
    elif span is None:
        asked.complain(at, f"{as_written(text)} is no time", "write '2026-01-31' or '2026-01-31T08:00:00Z'")
    return span
