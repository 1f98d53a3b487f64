"""A parameter of an operation: read from the signature that declares it, and checked before anything is sent.

What a refusal says never repeats a value that was given, which may be a person's number or hold a key; the name of
one of a few choices is the exception.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from callrail.request import Danger, pairs


class Place(StrEnum):
    """Where a parameter stands in the request."""

    PATH = "path"
    QUERY = "query"
    BODY = "body"


class Risk(NamedTuple):
    """That some values of a parameter are dangerous: `Annotated[State, Risk(Danger.DELETES, ("disabled",))]`.

    A `Danger` by itself means any value but an empty one.
    """

    danger: Danger
    values: tuple[Any, ...] = ()


class Remedy(NamedTuple):
    """What to do about an answer's status where this parameter was given."""

    status: int
    text: str


class Named(NamedTuple):
    """CallRail's name of a parameter, where it is not one of Python's: `Annotated[str, Named("form_URL")]`."""

    name: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    *name* is Python's, *official* CallRail's. *choices* are the values allowed, empty where any is. *is_object*: it is
    written in JSON; *keys* are those it has, empty where any is. *risks* and *remedies* are of a call that gives it.
    """

    name: str
    official: str
    place: Place
    kind: Any
    is_required: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    is_many: bool
    is_object: bool
    keys: tuple[str, ...]
    risks: tuple[Risk, ...]
    remedies: tuple[Remedy, ...]
    check: TypeAdapter[Any] = field(repr=False, compare=False)

    def dangers_of(self, value: Any) -> list[Danger]:
        """What is dangerous about giving *value*."""
        return [risk.danger for risk in self.risks if (value in risk.values if risk.values else bool(value))]

    def in_query(self, value: Any) -> list[tuple[str, str]]:
        """*value* as it stands in a query."""
        if self.official == "fields":
            return [(self.official, ",".join(map(str, value)))] if value else []
        return pairs(self.official, value)


def wrong(parameter: Parameter, value: Any, error: ValidationError) -> str:
    """What *error* says of *value*, as the end of a sentence that begins with the parameter's name."""
    if parameter.is_many and isinstance(value, str):
        return "takes a list, and is one text"
    if parameter.choices:
        return _no_choice(value, parameter.choices)
    first = error.errors(include_url=False)[0]
    types = {kind.__name__ for kind in kinds_in(parameter.kind) if is_typeddict(kind)}
    place = ".".join(_in_place(part) for part in first["loc"] if part not in types)
    if first["type"] == "extra_forbidden":
        return f"has no key {place}{_meant(first['loc'][-1], _keys_within(parameter.kind))}{WAY_OUT}"
    meant = _meant(first["input"], _QUOTED.findall(first["msg"])) if first["type"] == "literal_error" else ""
    return f"{f'at {place}' if place else f'({type(value).__name__})'}: {first['msg']}{meant}"


WAY_OUT = " (extra_params sends others)"
_QUOTED = re.compile("'([^']*)'")
# A key in an object may be anything; what looks like a name is one.
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]{0,39}")


def _in_place(part: str | int) -> str:
    is_name = isinstance(part, int) or (_NAME.fullmatch(part) and sum(map(str.isdigit, part)) < 7)
    return str(part) if is_name else "(a key)"


def _no_choice(value: Any, choices: Sequence[str]) -> str:
    others = [each for each in (value if isinstance(value, list | tuple) else [value]) if each not in choices]
    meant = [_meant(each, choices) for each in others]
    # Whatever is like a choice is a misspelt one, and may be repeated.
    told = ", ".join(repr(each) if near else "none of them" for each, near in zip(others, meant, strict=True))
    return f"is {told}, but CallRail knows {', '.join(choices)}{meant[0] if meant else ''}{WAY_OUT}"


def _meant(value: Any, known: Sequence[str]) -> str:
    near = get_close_matches(str(value), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def kinds_in(kind: Any) -> set[Any]:
    """All plain types that *kind* is made of, those of an object's keys too."""
    if is_typeddict(kind):
        return {kind}.union(*map(kinds_in, get_type_hints(kind).values()))
    if get_origin(kind) is Annotated:
        return kinds_in(get_args(kind)[0])
    parts = get_args(kind)
    return {get_origin(kind)}.union(*map(kinds_in, parts)) if parts else {kind}


def _keys_within(kind: Any) -> list[str]:
    return [key for each in kinds_in(kind) if is_typeddict(each) for key in each.__annotations__]


_IN_PATH = re.compile(r"{(\w+)}")


def parameters_of(function: Callable[..., Any], path: str, *, writes: bool) -> list[Parameter]:
    """The parameters that *function* declares, but for its options. *path* holds those in the path in braces."""
    hints = get_type_hints(function, include_extras=True)
    helps = argument_helps(function.__doc__ or "")
    in_path = _IN_PATH.findall(path)
    found = []
    for name, told in inspect.signature(function).parameters.items():
        if name == "self" or told.kind is told.VAR_KEYWORD:
            continue
        kind = hints[name]
        marks = getattr(kind, "__metadata__", ())
        found.append(
            Parameter(
                name=name,
                official=next((mark.name for mark in marks if isinstance(mark, Named)), name),
                place=Place.PATH if name in in_path else Place.BODY if writes else Place.QUERY,
                kind=kind,
                is_required=told.default is told.empty,
                default=told.default,
                help=helps.get(name, ""),
                choices=_choices(kind),
                is_many=_is_many(kind),
                is_object=_is_object(kind),
                keys=_keys(kind),
                risks=tuple(
                    mark if isinstance(mark, Risk) else Risk(mark) for mark in marks if isinstance(mark, Risk | Danger)
                ),
                remedies=tuple(mark for mark in marks if isinstance(mark, Remedy)),
                check=TypeAdapter(kind, config=None if _has_config(kind) else _CHECKS),
            )
        )
    return found


# An id may be given as a number: CallRail's are of both sorts.
_CHECKS = ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)


def _has_config(kind: Any) -> bool:
    return hasattr(get_args(kind)[0] if get_origin(kind) is Annotated else kind, "__pydantic_config__")


def _is_object(kind: Any) -> bool:
    return is_typeddict(kind) or get_origin(kind) is Mapping or any(map(_is_object, get_args(kind)))


def _keys(kind: Any) -> tuple[str, ...]:
    if is_typeddict(kind):
        return tuple(kind.__annotations__)
    return () if get_origin(kind) is Mapping else tuple(key for part in get_args(kind) for key in _keys(part))


def _choices(kind: Any) -> tuple[str, ...]:
    if _is_object(kind):
        return ()
    if get_origin(kind) is Literal:
        return tuple(str(value) for value in get_args(kind))
    return tuple(choice for part in get_args(kind) for choice in _choices(part) if not isinstance(part, str))


def _is_many(kind: Any) -> bool:
    if _is_object(kind):
        return False
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return True
    return origin is not Literal and any(_is_many(part) for part in get_args(kind))


_ARGUMENT = re.compile(r"    (\w+): ?(.*)")


def argument_helps(docstring: str) -> dict[str, str]:
    """What the `Args:` section of *docstring* says of each argument."""
    helps: dict[str, str] = {}
    name = None
    section = inspect.cleandoc(docstring).partition("\nArgs:\n")[2]
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break
        if begins := _ARGUMENT.fullmatch(line):
            name, helps[begins[1]] = begins[1], begins[2]
        elif name and line.strip():
            helps[name] += " " + line.strip()
    return helps
