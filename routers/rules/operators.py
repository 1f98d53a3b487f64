"""The operators of a condition: each a closure `what is found -> bool`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callrail.fields import FieldType
from routers.rules.fields import did_you_mean

_WRITTEN = {
    FieldType.TEXT: "text",
    FieldType.PHONE: "a phone number in quotes",
    FieldType.TIME: "a time in quotes",
    FieldType.BOOLEAN: "true or false",
    FieldType.INTEGER: "a number",
    FieldType.LIST: "text",
}


class BadCondition(Exception):
    """A condition that cannot be meant as written. *at* is where in its value, below the field's name."""

    def __init__(self, problem: str, *, hint: str = "", at: tuple[str | int, ...] = (), key: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.at = at
        self.key = key


Found = Callable[[Any], bool]


def compile_operators(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Found:
    """The test that what is found is as *wanted*: a value, a list of values, or operators and their values."""
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
        raise BadCondition("a condition without an operator", hint=f"use one of {', '.join(OPERATORS)}", at=at)
    if len(tests) == 1:
        return tests[0]
    return lambda found: all(test(found) for test in tests)


def _operator(type_: FieldType | None, name: str, wanted: object, at: tuple[str | int, ...]) -> Found:
    build = OPERATORS.get(name)
    if build is None:
        hint = did_you_mean(name, OPERATORS) or f"there are: {', '.join(OPERATORS)}"
        raise BadCondition(f"unknown operator '{name}'", hint=hint, at=at, key=True)
    return build(type_, wanted, at)


def _not(type_: FieldType | None, wanted: object, at: tuple[str | int, ...]) -> Found:
    test = compile_operators(type_, wanted, at)
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


OPERATORS: dict[str, Callable[[FieldType | None, object, tuple[str | int, ...]], Found]] = {
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
