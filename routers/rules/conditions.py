"""The conditions of a rule: what stands under `if:` and `unless:`, compiled once to closures `facts -> bool`.

A field may be told with a value, told *empty*, or *not told yet*. Empty satisfies `not`; a field not told yet
satisfies nothing, so that no rule speaks of what nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from callrail.fields import FIELDS, FieldType
from routers.rules.fields import did_you_mean
from routers.rules.operators import BadCondition, compile_operators
from routers.transitions import Transition

Facts = Mapping[str, Any]
Test = Callable[[Facts], bool]

UNTOLD: Any = object()

# What a rule can ask beside CallRail's own fields.
OWN_FIELDS = {
    "company": FieldType.TEXT,
    "outcome": FieldType.TEXT,
    "stage": FieldType.TEXT,
    "hours": FieldType.TEXT,
}

_TYPES: dict[str, FieldType] = {name: field.type for name, field in FIELDS.items()} | OWN_FIELDS


Complain = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition found, in words. *holds* is None for what is not told yet."""

    holds: bool | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a rule: the field it asks about, the test, and the test's twin that explains itself."""

    field: str
    fields: frozenset[str]
    holds: Test
    explain: Callable[[Facts], Finding]
    reading: str


def compile_condition(field: str, wanted: object) -> Condition:
    """The condition that *field* is as *wanted*: a value, a list of values, or operators and their values.

    Raises:
        BadCondition: The field or operator is unknown, or the value is of a type the field never has.
    """
    type_ = _type_of(field)
    test = compile_operators(type_, wanted, ())
    holds = _holds_below(field, test) if "." in field else _holds(field, test)
    get, asked = _getter(field), _in_words(wanted)

    def explain(facts: Facts) -> Finding:
        found = get(facts)
        if found is UNTOLD:
            return Finding(None, f"{field}: not told yet")
        return Finding(holds(facts), f"{field}: is {_in_words(found)}, wanted {asked}")

    return Condition(field, frozenset({field.partition(".")[0]}), holds, explain, f"{field} is {asked}")


def compile_conditions(
    block: Mapping[str, object], transitions: Collection[Transition], complain: Complain
) -> tuple[Condition, ...]:
    """The conditions of an `if:` or `unless:`. What is wrong goes to *complain*, and its condition is left out."""
    compiled = []
    for field, wanted in block.items():
        try:
            compiled.append(compile_condition(field, wanted))
        except BadCondition as bad:
            complain((field, *bad.at), bad.problem, bad.hint, key=bad.key)
    return tuple(compiled)


def _in_words(wanted: object) -> str:
    if isinstance(wanted, Mapping):
        return " and ".join(f"{name} {_in_words(value)}" for name, value in wanted.items())
    if isinstance(wanted, list):
        return " or ".join(map(_in_words, wanted)) or "empty"
    if wanted is None:
        return "empty"
    return str(wanted).lower() if isinstance(wanted, bool) else str(wanted)


def _holds(field: str, test: Callable[[Any], bool]) -> Test:
    def holds(facts: Facts) -> bool:
        found = facts.get(field, UNTOLD)
        return found is not UNTOLD and test(found)

    return holds


def _holds_below(field: str, test: Callable[[Any], bool]) -> Test:
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
