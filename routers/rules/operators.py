"""The operators of a condition: what each asks, of which fields, and what it says to a value it cannot use.

Text compares without regard to capitals; a field with a closed set of values compares exactly, phone numbers by E.164,
`value` and `score` as numbers. A question to a list is one to its items: one that passes is enough.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from callrail.fields import FieldType
from routers.durations import parse_duration
from routers.rules import fast
from routers.rules.answers import is_answer
from routers.rules.fields import COMPARING, did_you_mean
from routers.rules.patterns import BadPattern, compile_pattern
from routers.rules.questions import (
    Ask,
    Asked,
    At,
    Facts,
    Fast,
    Question,
    Show,
    Test,
    Truth,
    conjunction,
    getter,
    negation,
)
from routers.rules.values import UNTOLD, alternatives, instant_of, number_of, phone_key, shown, span_of, texts_of
from routers.rules.wanted import (
    CLOCK,
    as_written,
    each_value,
    is_number,
    is_scalar,
    misfit,
    read_phone,
    read_quoted,
    read_span,
    read_value,
)


def read_question(asked: Asked, wanted: object, at: At) -> Question | None:
    """What *wanted* asks: a value, a list of which one is enough, or operators. None once something was wrong."""
    if not isinstance(wanted, Mapping):
        return _equality(asked, wanted, at)
    if not wanted:
        asked.complain(at, "a condition without an operator", f"use one of {', '.join(operators_for(asked.type))}")
        return None
    questions = [_operator(asked, name, value, at) for name, value in wanted.items()]
    good = [question for question in questions if question is not None]
    return conjunction(asked.name, good) if len(good) == len(questions) else None


def _operator(asked: Asked, name: object, wanted: object, at: At) -> Question | None:
    known = OPERATORS.get(name) if isinstance(name, str) else None
    at = (*at, name if isinstance(name, str | int) else str(name))
    if known is None and asked.type is FieldType.OBJECT:
        _object_undotted(asked, at, str(name))
        return None
    if known is None:
        hint = did_you_mean(str(name), OPERATORS) or f"there are: {', '.join(OPERATORS)}"
        asked.complain(at, f"unknown operator '{name}'", hint, key=True)
        return None
    if is_answer(asked.name) and name in _OF_VERSIONS:
        hint = "ask what it is now"
        asked.complain(at, f"'{name}' asks what a version changed, and a look-up knows no before", hint, key=True)
        return None
    if asked.type not in known.types:
        asked.complain(at, *_does_not_go_with(asked, str(name)), key=True)
        return None
    return known.read(asked, wanted, at)


_OF_VERSIONS = frozenset({"changed", "added", "removed"})


def _does_not_go_with(asked: Asked, name: str) -> tuple[str, str]:
    if "." in asked.name:
        what = "a list" if name in ("added", "removed") else "a whole field"
        return f"'{name}' asks {what}, and {asked.name} is part of one", f"ask {asked.head} with changed: true"
    problem = f"'{name}' does not go with {asked.name}, which is {_KIND_OF[asked.field.type]}"
    return problem, f"it goes with: {', '.join(operators_for(asked.type))}"


def operators_for(type_: FieldType | None) -> list[str]:
    """The operators that a field of type *type_* understands; None is what stands below an object."""
    return [name for name, known in OPERATORS.items() if type_ in known.types]


_KIND_OF = {
    FieldType.TEXT: "text",
    FieldType.PHONE: "a phone number",
    FieldType.TIME: "a time",
    FieldType.BOOLEAN: "true or false",
    FieldType.INTEGER: "a number",
    FieldType.NUMBER: "a number",
    FieldType.LIST: "a list",
    FieldType.OBJECT: "an object of several fields",
}


# --- equality --------------------------------------------------------------------------------------------------------


def _object_undotted(asked: Asked, at: At, part: str = "name") -> None:
    hint = f"name one, like {asked.name}.{part}"
    asked.complain(at, f"'{asked.name}' holds several fields", hint, key=True)


def _equality(asked: Asked, wanted: object, at: At) -> Question | None:
    if asked.type is FieldType.OBJECT:
        _object_undotted(asked, at)
        return None
    values = each_value(asked, wanted, at, read_value)
    if values is None:
        return None
    words = alternatives([shown(value) for value in values])
    test = _equality_test(asked, values)
    if asked.type is FieldType.LIST:
        return Test(f"has {words}", f"does not have {words}", test)
    return Test(f"is {words}", f"is not {words}", test, *_fast_equality(asked, values, test))


def _fast_equality(
    asked: Asked, values: list[Any], test: Callable[[Any], bool]
) -> tuple[Fast, Fast] | tuple[None, None]:
    is_text = asked.type is FieldType.TEXT
    if is_text and not _is_closed(asked):
        return fast.same_text(frozenset(value.casefold() for value in values), test)
    if len(values) == 1 and (is_text or asked.type in (FieldType.BOOLEAN, FieldType.INTEGER)):
        return fast.equal(values[0])
    return None, None


def _is_closed(asked: Asked) -> bool:
    return asked.type is not None and bool(asked.field.values)


def _equality_test(asked: Asked, values: list[Any]) -> Callable[[Any], bool]:
    match asked.type:
        case FieldType.BOOLEAN | FieldType.INTEGER:
            return _one_of(values)
        case FieldType.NUMBER:
            return lambda found: number_of(found) in values
        case FieldType.PHONE:
            return _phone_among(values)
        case FieldType.TIME:
            spans = [span for value in values if (span := span_of(value))]
            return lambda found: (at := instant_of(found)) is not None and any(a <= at <= b for a, b in spans)
        case FieldType.TEXT if _is_closed(asked):
            return _one_of(values)
        case FieldType.LIST:
            return _has_item(values)
        case None:
            return _untyped(values)
        case _:
            return _same_text(values)


def _one_of(values: list[Any]) -> Callable[[Any], bool]:
    if len(values) == 1:
        (value,) = values
        return lambda found: bool(found == value)
    return lambda found: found in values


def _same_text(values: list[str]) -> Callable[[Any], bool]:
    folded = frozenset(value.casefold() for value in values)
    return _any_text(lambda text: text.casefold() in folded)


def _has_item(values: list[str]) -> Callable[[Any], bool]:
    folded = frozenset(value.casefold() for value in values)
    others = _same_text(values)

    def has(found: Any) -> bool:
        if found.__class__ is not list:
            return others(found)
        for item in found:  # noqa: SIM110 - a loop costs less than half of a generator
            if item.casefold() in folded if item.__class__ is str else others(item):
                return True
        return False

    return has


def _any_text(check: Callable[[str], bool]) -> Callable[[Any], bool]:
    """A test that passes if one of the texts in what is found passes *check*."""

    def passes(found: Any) -> bool:
        if found.__class__ is str:
            return check(found)
        return found is not None and any(check(text) for text in texts_of(found))

    return passes


def _untyped(values: list[Any]) -> Callable[[Any], bool]:
    """For what stands below an object: forms tell numbers and ticks as text."""
    numbers = [value for value in values if is_number(value)]
    texts = frozenset(shown(value).casefold() for value in values if not is_number(value))
    texts |= frozenset(value.casefold() for value in values if isinstance(value, str))
    return _any_text(lambda text: text.casefold() in texts or (bool(numbers) and number_of(text) in numbers))


def _phone_among(keys: Iterable[str]) -> Callable[[Any], bool]:
    wanted = frozenset(keys)
    return _any_text(lambda text: text in wanted or phone_key(text) in wanted)


# --- not, exists -----------------------------------------------------------------------------------------------------


def _not(asked: Asked, wanted: object, at: At) -> Question | None:
    question = read_question(asked, wanted, at)
    return None if question is None else negation(question)


def _truth(asked: Asked, name: str, wanted: object, at: At) -> bool | None:
    if isinstance(wanted, bool):
        return wanted
    asked.complain(at, f"{name} is true or false, not {as_written(wanted)}", f"write {name}: true")
    return None


def _exists(asked: Asked, wanted: object, at: At) -> Question | None:
    match _truth(asked, "exists", wanted, at):
        case None:
            return None
        case True:
            return Test("is not empty", "is empty", lambda found: found is not None)
        case False:
            return Test("is empty", "is not empty", lambda found: found is None)


# --- texts -----------------------------------------------------------------------------------------------------------


def _prefix(asked: Asked, wanted: object, at: At) -> Question | None:
    return _part_of_text(asked, wanted, at, ("starts with", "does not start with"), str.startswith)


def _suffix(asked: Asked, wanted: object, at: At) -> Question | None:
    return _part_of_text(asked, wanted, at, ("ends with", "does not end with"), str.endswith)


def _contains(asked: Asked, wanted: object, at: At) -> Question | None:
    return _part_of_text(asked, wanted, at, ("contains", "does not contain"), operator.contains)


def _part_of_text(
    asked: Asked, wanted: object, at: At, words: tuple[str, str], has: Callable[[str, str], bool]
) -> Question | None:
    is_phone = asked.type is FieldType.PHONE
    parts = each_value(asked, wanted, at, _part_of_phone if is_phone else _part)
    if parts is None:
        return None
    folded = [part.casefold() for part in parts]
    shown_parts = alternatives([f"'{shown(part)}'" for part in parts])
    alike: Callable[[str], str] = (lambda text: phone_key(text) or text) if is_phone else str.casefold
    return Test(f"{words[0]} {shown_parts}", f"{words[1]} {shown_parts}", _any_text(_has_one(folded, alike, has)))


def _has_one(parts: list[str], alike: Callable[[str], str], has: Callable[[str, str], bool]) -> Callable[[str], bool]:
    if len(parts) == 1:
        (part,) = parts
        return lambda text: has(alike(text), part)

    def has_one(text: str) -> bool:
        folded = alike(text)
        return any(has(folded, part) for part in parts)

    return has_one


def _part(asked: Asked, wanted: object, at: At) -> str | None:
    text = read_quoted(asked, wanted, at)
    if text == "":
        asked.complain(at, "an empty text is in every text", "write what to look for")
        return None
    return text


def _part_of_phone(asked: Asked, wanted: object, at: At) -> str | None:
    """Part of a number, without its punctuation: at the start it needs the country code."""
    text = read_quoted(asked, wanted, at)
    if text is None:
        return None
    digits = re.sub(r"[ ().-]", "", text)
    if not re.fullmatch(r"\+?[0-9]{1,15}", digits):
        asked.complain(at, f"'{text}' is no part of a phone number", "write it like '+1770' or '0123'")
        return None
    if at[-1] == "prefix" and not digits.startswith("+"):
        asked.complain(at, f"'{text}' has no country code", f"write '+1{digits}'")
        return None
    return digits


def _matches(asked: Asked, wanted: object, at: At) -> Question | None:
    patterns = each_value(asked, wanted, at, _pattern)
    if patterns is None:
        return None
    searches = [compile_pattern(pattern) for pattern in patterns]
    words = alternatives([f"/{shown(pattern)}/" for pattern in patterns])
    is_phone = asked.type is FieldType.PHONE
    of = _any_text(lambda text: any(search((is_phone and phone_key(text)) or text) for search in searches))
    return Test(f"matches {words}", f"does not match {words}", of)


def _pattern(asked: Asked, wanted: object, at: At) -> str | None:
    pattern = _part(asked, wanted, at)
    if pattern is None:
        return None
    try:
        compile_pattern(pattern)
    except BadPattern as error:
        asked.complain(at, str(error), "for plain text use contains, or a list of them")
        return None
    return pattern


# --- order -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bound:
    """A number or time that something is compared with; a day has a first and a last instant."""

    first: Any
    last: Any
    shown: str

    @property
    def is_time(self) -> bool:
        return isinstance(self.first, datetime)


def _bound(asked: Asked, wanted: object, at: At) -> _Bound | None:
    if not is_scalar(asked, wanted, at):
        return None
    is_time = asked.type is None and isinstance(wanted, str) and number_of(wanted) is None
    if asked.type is FieldType.TIME or is_time:
        span = read_span(asked, wanted, at)
        return _Bound(*span, str(wanted)) if span else None
    if is_number(wanted):
        return _Bound(wanted, wanted, f"{wanted:,}")
    if isinstance(wanted, str) and CLOCK.fullmatch(wanted.strip()):
        misfit(asked, wanted, at)
    else:
        name = next((str(step) for step in reversed(at) if step in OPERATORS), "gt")
        number = number_of(wanted)
        written = f"{60 if number is None else number:g}"
        example = "between: [10, 60]" if name == "between" else f"{name}: {written}"
        asked.complain(at, f"{as_written(wanted)} is no number", f"{name} compares numbers, like {example}")
    return None


def _order(asked: Asked, low: Any, high: Any, compare: Callable[[Any, Any, Any], bool]) -> Callable[[Any], bool]:
    if asked.type is FieldType.INTEGER:
        return lambda found: found.__class__ is int and compare(found, low, high)
    key: Callable[[object], Any] = instant_of if isinstance(low, datetime) else number_of
    return lambda found: (value := key(found)) is not None and compare(value, low, high)


def _gt(asked: Asked, wanted: object, at: At) -> Question | None:
    words = "more than {}", "after {}"
    return _compared(asked, wanted, at, words, lambda found, _first, last: found > last, fast.more)


def _gte(asked: Asked, wanted: object, at: At) -> Question | None:
    return _compared(asked, wanted, at, ("{} or more", "{} or later"), lambda found, first, _last: found >= first)


def _lt(asked: Asked, wanted: object, at: At) -> Question | None:
    words = "less than {}", "before {}"
    return _compared(asked, wanted, at, words, lambda found, first, _last: found < first, fast.less)


def _lte(asked: Asked, wanted: object, at: At) -> Question | None:
    return _compared(asked, wanted, at, ("{} or less", "{} or earlier"), lambda found, _first, last: found <= last)


def _compared(
    asked: Asked,
    wanted: object,
    at: At,
    words: tuple[str, str],
    compare: Callable[[Any, Any, Any], bool],
    make_fast: Callable[[float], Fast] | None = None,
) -> Question | None:
    """One of the above; *words* are those of numbers and of times."""
    bound = _bound(asked, wanted, at)
    if bound is None:
        return None
    reads, of = words[bound.is_time].format(bound.shown), _order(asked, bound.first, bound.last, compare)
    return Test(
        f"is {reads}",
        f"is not {reads}",
        of,
        make_fast(bound.first) if make_fast and asked.type is FieldType.INTEGER else None,
    )


def _between(asked: Asked, wanted: object, at: At) -> Question | None:
    if not isinstance(wanted, list) or len(wanted) != 2:
        asked.complain(at, "between takes two values, both included", "write between: [10, 60]")
        return None
    low, high = (_bound(asked, item, (*at, position)) for position, item in enumerate(wanted))
    if low is None or high is None:
        return None
    if low.is_time is not high.is_time:
        asked.complain(at, "between takes two numbers or two times", "write between: [10, 60]")
        return None
    if low.first > high.last:
        hint = f"write between: [{high.shown}, {low.shown}]"
        asked.complain(at, f"nothing is between {low.shown} and {high.shown}", hint)
        return None
    of = _order(asked, low.first, high.last, lambda found, first, last: first <= found <= last)
    return Test(f"is between {low.shown} and {high.shown}", f"is not between {low.shown} and {high.shown}", of)


# --- changes ---------------------------------------------------------------------------------------------------------


def _knows_changes(asked: Asked, at: At) -> bool:
    """Whether the rule listens where changes are known; a complaint if not, a warning if only sometimes."""
    deaf = [transition.value for transition in asked.transitions if transition not in COMPARING]
    if not deaf:
        return True
    never = len(deaf) == len(asked.transitions)
    problem = f"what changed is never known at {' and '.join(sorted(deaf))}"
    hint = f"it is at {', '.join(sorted(COMPARING))}"
    asked.complain(at, problem, hint, key=True, warning=not never)
    return not never


def _changed(asked: Asked, wanted: object, at: At) -> Question | None:
    truth = _truth(asked, "changed", wanted, at)
    if not _knows_changes(asked, at) or truth is None:
        return None
    name = asked.head
    ask = Ask("changed", "did not change", lambda facts: _has_changed(facts, name), _history(name))
    return ask if truth else negation(ask)


def _has_changed(facts: Facts, name: str) -> Truth:
    changes = facts.get("changes", UNTOLD)
    return None if changes is UNTOLD else name in (changes or ())


def _before(facts: Facts, name: str) -> Any:
    return (facts.get("$before") or {}).get(name)


def _history(name: str) -> Callable[[Facts, Show], str]:
    def found(facts: Facts, show: Show) -> str:
        match _has_changed(facts, name):
            case None:
                return "what changed is not known"
            case False:
                return "did not change"
            case True:
                return f"was {show(name, _before(facts, name))}, is {show(name, facts.get(name))}"

    return found


def _added(asked: Asked, wanted: object, at: At) -> Question | None:
    return _gained(asked, wanted, at, ("gained", "did not gain"), lambda before, now: now - before)


def _removed(asked: Asked, wanted: object, at: At) -> Question | None:
    return _gained(asked, wanted, at, ("lost", "did not lose"), lambda before, now: before - now)


def _gained(
    asked: Asked, wanted: object, at: At, words: tuple[str, str], difference: Callable[[set[str], set[str]], set[str]]
) -> Question | None:
    values = each_value(asked, wanted, at, read_value)
    if not _knows_changes(asked, at) or values is None:
        return None
    name, folded = asked.head, {value.casefold() for value in values}

    def ask(facts: Facts) -> Truth:
        changed = _has_changed(facts, name)
        if not changed:
            return changed
        if name not in facts:
            return None
        if name not in (facts.get("$before") or {}):
            return None  # nobody knows what it had
        before, now = _folded(_before(facts, name)), _folded(facts[name])
        return not folded.isdisjoint(difference(before, now))

    shown_values = alternatives([shown(value) for value in values])
    return Ask(f"{words[0]} {shown_values}", f"{words[1]} {shown_values}", ask, _history(name))


def _folded(found: Any) -> set[str]:
    return {text.casefold() for text in texts_of(found)}


# --- phone_in, within ------------------------------------------------------------------------------------------------


def _phone_in(asked: Asked, wanted: object, at: At) -> Question | None:
    if not isinstance(wanted, list):
        asked.complain(at, "phone_in takes a list of phone numbers", "write phone_in: ['+17705550123']")
        return None
    keys = each_value(asked, wanted, at, read_phone)
    if keys is None:
        return None
    words = alternatives(list(dict.fromkeys(keys)))
    return Test(f"is {words}", f"is not {words}", _phone_among(keys))


def _within(asked: Asked, wanted: object, at: At) -> Question | None:
    try:
        limit: timedelta = parse_duration(wanted)
    except ValueError:
        problem = f"{as_written(wanted)} is no duration"
        asked.complain(at, problem, "write a number and a unit in one word, like 30s, 15m, 2h or 7d")
        return None
    get = getter(asked.name)

    def ask(facts: Facts) -> Truth:
        found, received = get(facts), facts.get("$received")
        if found is UNTOLD or received is None:
            return None
        instant = instant_of(found)
        return instant is not None and received - instant <= limit

    def found_in_words(facts: Facts, show: Show) -> str:
        found = get(facts)
        return "not told yet" if found is UNTOLD else f"is {show(asked.name, found)}"

    words = f"at most {wanted} before the webhook came"
    return Ask(f"is {words}", f"is not {words}", ask, found_in_words)


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operator:
    """How an operator is read, and the types of fields it goes with; None is what stands below an object."""

    read: Callable[[Asked, object, At], Question | None]
    types: frozenset[FieldType | None]
    meaning: str


_ALL_TYPES: frozenset[FieldType | None] = frozenset({*FieldType, None})
_TEXTUAL: frozenset[FieldType | None] = frozenset({FieldType.TEXT, FieldType.LIST, FieldType.PHONE, None})
_ORDERED: frozenset[FieldType | None] = frozenset({FieldType.INTEGER, FieldType.NUMBER, FieldType.TIME, None})
_LISTS: frozenset[FieldType | None] = frozenset({FieldType.LIST})
_PHONES: frozenset[FieldType | None] = frozenset({FieldType.PHONE, None})
_TIMES: frozenset[FieldType | None] = frozenset({FieldType.TIME, None})

OPERATORS: Mapping[str, Operator] = {
    "not": Operator(_not, _ALL_TYPES, "the opposite of a value, a list or operators"),
    "prefix": Operator(_prefix, _TEXTUAL, "the text starts with this; of phone numbers with the country code"),
    "suffix": Operator(_suffix, _TEXTUAL, "the text ends with this"),
    "contains": Operator(_contains, _TEXTUAL, "the text, or an item of the list, contains this"),
    "matches": Operator(_matches, _TEXTUAL, "the text, or an item of the list, matches this regular expression"),
    "gt": Operator(_gt, _ORDERED, "more than this number, or after this time"),
    "gte": Operator(_gte, _ORDERED, "this number or more, or this time or later"),
    "lt": Operator(_lt, _ORDERED, "less than this number, or before this time"),
    "lte": Operator(_lte, _ORDERED, "this number or less, or this time or earlier"),
    "between": Operator(_between, _ORDERED, "from the first to the second of two numbers or times, both included"),
    "exists": Operator(_exists, _ALL_TYPES, "told with a value (true), or told empty (false)"),
    "changed": Operator(_changed, _ALL_TYPES - {None}, "among what this version changed (true), or not (false)"),
    "added": Operator(_added, _LISTS, "this came to the list with this version"),
    "removed": Operator(_removed, _LISTS, "this went from the list with this version"),
    "phone_in": Operator(_phone_in, _PHONES, "one of these phone numbers, in any usual writing"),
    "within": Operator(_within, _TIMES, "at most this long before the webhook came, or after it"),
}
