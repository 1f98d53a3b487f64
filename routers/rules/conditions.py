"""The conditions of a rule: what stands under `if:` and `unless:`, compiled once to closures `facts -> bool`.

A field may be told with a value, told *empty*, or *not told yet*. Empty satisfies `not`; a field not told yet
satisfies nothing, so that no rule speaks of what nobody knows.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from callrail.fields import FIELDS, FieldType

Facts = Mapping[str, Any]
Test = Callable[[Facts], bool]

UNTOLD: Any = object()

# What a rule can ask beside CallRail's own fields.
OWN_FIELDS = {"company": FieldType.TEXT, "outcome": FieldType.TEXT, "stage": FieldType.TEXT}

_TYPES: dict[str, FieldType] = {name: field.type for name, field in FIELDS.items()} | OWN_FIELDS
_WRITTEN = {
    FieldType.TEXT: "text",
    FieldType.PHONE: "a phone number in quotes",
    FieldType.TIME: "a time in quotes",
    FieldType.BOOLEAN: "true or false",
    FieldType.INTEGER: "a number",
    FieldType.LIST: "text",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a rule: the field it asks about, and the test."""

    field: str
    holds: Test


class BadCondition(Exception):
    """A condition that cannot be meant as written. *at* is where in its value, below the field's name."""

    def __init__(self, problem: str, *, hint: str = "", at: tuple[str | int, ...] = (), key: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.at = at
        self.key = key


def compile_condition(field: str, wanted: object) -> Condition:
    """The condition that *field* is as *wanted*: a value, a list of values, or operators and their values.

    Raises:
        BadCondition: The field or operator is unknown, or the value is of a type the field never has.
    """
    type_ = _type_of(field)
    test = _compile(type_, wanted, ())
    return Condition(field, _holds_below(field, test) if "." in field else _holds(field, test))


def _holds(field: str, test: Found) -> Test:
    def holds(facts: Facts) -> bool:
        found = facts.get(field, UNTOLD)
        return found is not UNTOLD and test(found)

    return holds


def _holds_below(field: str, test: Found) -> Test:
    """As `_holds`, for a field of an object."""
    get = _getter(field)

    def holds(facts: Facts) -> bool:
        found = get(facts)
        return found is not UNTOLD and test(found)

    return holds


def _type_of(field: str) -> FieldType | None:
    """The type of *field*; None below an object whose keys the website or the account chose."""
    head, dot, _rest = field.partition(".")
    type_ = _TYPES.get(head)
    if type_ is None:
        raise BadCondition(f"unknown field '{field}'", hint=did_you_mean(head, _TYPES), key=True)
    if dot and type_ is not FieldType.OBJECT:
        raise BadCondition(f"'{head}' has no fields of its own", hint=f"write {head}", key=True)
    if not dot and type_ is FieldType.OBJECT:
        raise BadCondition(f"'{field}' holds several fields", hint=f"name one, like {field}.name", key=True)
    return None if dot else type_


def did_you_mean(written: str, known: Mapping[str, object]) -> str:
    """A hint with the nearest of *known*, empty if none is near."""
    near = difflib.get_close_matches(written, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def _getter(field: str) -> Callable[[Facts], Any]:
    head, *path = field.split(".")

    def get(facts: Facts) -> Any:
        found = facts.get(head, UNTOLD)
        for name in path:
            if not isinstance(found, Mapping):
                return UNTOLD if found is UNTOLD else None
            found = found.get(name)
        return found

    return get


# --- operators: what is found -> bool --------------------------------------------------------------------------------

Found = Callable[[Any], bool]


def _compile(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Found:
    if isinstance(wanted, dict):
        return _operators(type_, wanted, at)
    if isinstance(wanted, list):
        if not wanted:
            raise BadCondition("an empty list matches nothing", hint="name at least one value", at=at)
        values = [_value(type_, item, (*at, position)) for position, item in enumerate(wanted)]
        return _any_of(type_, values)
    return _any_of(type_, [_value(type_, wanted, at)])


def _any_of(type_: FieldType | None, values: list[Any]) -> Found:
    if type_ is FieldType.LIST:
        return lambda found: found is not None and any(value in found for value in values)
    if len(values) == 1:
        value = values[0]
        return lambda found: found == value
    return lambda found: found in values


def _operators(type_: FieldType | None, wanted: dict[str, object], at: tuple[str | int, ...]) -> Found:
    tests = [_operator(type_, name, value, (*at, name)) for name, value in wanted.items()]
    if not tests:
        raise BadCondition("a condition without an operator", hint=f"use one of {', '.join(_OPERATORS)}", at=at)
    if len(tests) == 1:
        return tests[0]
    return lambda found: all(test(found) for test in tests)


def _operator(type_: FieldType | None, name: str, wanted: object, at: tuple[str | int, ...]) -> Found:
    build = _OPERATORS.get(name)
    if build is None:
        hint = did_you_mean(name, _OPERATORS) or f"there are: {', '.join(_OPERATORS)}"
        raise BadCondition(f"unknown operator '{name}'", hint=hint, at=at, key=True)
    return build(type_, wanted, at)


def _not(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Found:
    test = _compile(type_, wanted, at)
    return lambda found: not test(found)


def _exists(_type: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Found:
    if not isinstance(wanted, bool):
        raise BadCondition(f"exists is true or false, not {wanted!r}", at=at)
    return lambda found: (found is not None) is wanted


def _gt(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Found:
    bound = _number(type_, wanted, at)
    return lambda found: isinstance(found, int | float) and found > bound


def _lt(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Found:
    bound = _number(type_, wanted, at)
    return lambda found: isinstance(found, int | float) and found < bound


_OPERATORS: dict[str, Callable[[FieldType | None, object, tuple[str | int, ...]], Found]] = {
    "not": _not,
    "exists": _exists,
    "gt": _gt,
    "lt": _lt,
}


def _number(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> float:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise BadCondition(f"{wanted!r} is no number", hint="gt and lt compare numbers, like gt: 60", at=at)
    if type_ not in (FieldType.INTEGER, None):
        raise BadCondition("this field is never a number", hint="gt and lt compare numbers, like duration", at=at)
    return wanted


def _value(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Any:
    if wanted is None:
        raise BadCondition("no value", hint="to ask whether a field is empty, write {exists: false}", at=at)
    if isinstance(wanted, dict | list):
        raise BadCondition("a value is expected here", at=at)
    is_number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    fits = {
        FieldType.BOOLEAN: isinstance(wanted, bool),
        FieldType.INTEGER: is_number,
        None: True,
    }.get(type_, isinstance(wanted, str))
    if fits:
        return wanted
    if is_number and type_ is not FieldType.BOOLEAN:
        written = f"+{wanted}" if type_ is FieldType.PHONE else f"{wanted}"
        raise BadCondition("this is read as a number", hint=f"quote it: '{written}'", at=at)
    expected = _WRITTEN.get(type_, "text") if type_ else "text"
    raise BadCondition(f"{wanted!r} does not fit this field", hint=f"write {expected}", at=at)
