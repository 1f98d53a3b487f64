"""Conditions that contradict each other, so that their rule never fires.

Found by trying: for each field that a rule asks about by itself, one value of each sort that its conditions tell apart
goes through them. If none passes, none ever will. Where the sorts cannot be told, as with patterns, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, pairwise
from typing import Any

from callrail.fields import FieldType
from receiver.positioned_yaml import Loc
from routers.rules.compiling import Placed
from routers.rules.conditions import Condition, compile_conditions
from routers.rules.fields import fields_at
from routers.rules.values import number_of, span_of

# What they ask depends on more than the value, or on more of it than a few examples show.
_NOT_TRIED = frozenset({"changed", "added", "removed", "within", "matches"})
_PARTS = frozenset({"prefix", "suffix", "contains", "phone_in"})
_RANGES = frozenset({"gt", "gte", "lt", "lte", "between"})
_OTHER = "\x00"  # a text that nobody writes
_SOME_DAY = "2026-01-01"

Warned = tuple[Loc, str, str]  # where in the rule, the problem, the remedy


@dataclass(frozen=True, slots=True)
class _Line:
    """One condition that asks a single field: where it stands, what is written there, and its test."""

    loc: Loc
    field: str
    wanted: object
    condition: Condition

    def holds(self, value: object) -> bool:
        return self.condition.holds({self.field: value})


def contradictions(placed: Placed, known: Mapping[str, Sequence[str]]) -> Iterator[Warned]:
    """A warning for each field of whose values none lets the rule fire.

    Args:
        known: By field, all the values it can have where this rule listens; nothing of fields that are not so bound.
    """
    lines, exceptions = list(_lines(placed, "if")), list(_lines(placed, "unless"))
    for field in dict.fromkeys(line.field for line in lines):
        asked = [line for line in lines if line.field == field]
        excepted = [line for line in exceptions if line.field == field]
        if found := _written_twice(asked, excepted) or _tried(placed, field, asked, excepted, known):
            yield found


def _lines(placed: Placed, under: str) -> Iterator[_Line]:
    """The conditions that ask one field each. Those in an `all` under `if` count as if they stood by themselves."""
    block = placed.written.if_ if under == "if" else placed.written.unless
    for loc, name, wanted in _parted(block, (under,), all_hold=under == "if"):
        for condition in compile_conditions({name: wanted}, placed.rule.when, _silent):
            (field, *others) = sorted(condition.fields)
            if not others and not _has_dots(field, name, wanted):
                yield _Line(loc, field, wanted, condition)


def _silent(*_at: object, **_more: object) -> None:
    """What is wrong with a condition has been told already."""


def _parted(block: Mapping[str, Any], at: Loc, *, all_hold: bool) -> Iterator[tuple[Loc, str, Any]]:
    """The lines of *block*; of a joined line that means the same as its parts, the parts."""
    for name, wanted in block.items():
        parts = wanted if isinstance(wanted, list) and name in ("all", "any") else []
        if len(parts) > 1 and (name == "all") is not all_hold:  # any of them under if, all of them under unless
            parts = []
        for position, part in enumerate(parts):
            if all_hold or len(part) == 1:
                yield from _parted(part, (*at, name, position), all_hold=all_hold)
            else:
                yield (*at, name, position), "all", [part]
        if not parts:
            yield (*at, name), name, wanted


def _has_dots(field: str, name: str, wanted: object) -> bool:
    """Whether a part of *field* is asked, like form_data.zip."""
    return name.startswith(f"{field}.") or any(key.startswith(f"{field}.") for key in _keys(wanted))


def _keys(written: object) -> Iterator[str]:
    """All keys in *written*, however deep: operators, and fields below `any`."""
    if isinstance(written, Mapping):
        for key, value in written.items():
            yield str(key)
            yield from _keys(value)
    elif isinstance(written, list):
        yield from chain.from_iterable(map(_keys, written))


def _scalars(written: object) -> Iterator[Any]:
    """All values in *written*, however deep."""
    if isinstance(written, Mapping):
        yield from chain.from_iterable(map(_scalars, written.values()))
    elif isinstance(written, list):
        yield from chain.from_iterable(map(_scalars, written))
    else:
        yield written


# --- as it is written ------------------------------------------------------------------------------------------------


def _written_twice(asked: Sequence[_Line], excepted: Sequence[_Line]) -> Warned | None:
    """Where an exception takes away all that a condition asks, as far as can be seen without trying."""
    for exception in excepted:
        name = exception.condition.field
        if any(line.condition.field == name and covers(exception.wanted, line.wanted, name) for line in asked):
            return _takes_away(exception)
    return None


def covers(wide: object, narrow: object, name: str) -> bool:
    """Whether what *narrow* asks of the field *name* asks for nothing but values that *wide* asks for too."""
    if repr(wide) == repr(narrow):  # not by ==, for 1 is True then
        return True
    if isinstance(wide, dict) or isinstance(narrow, dict) or name in ("all", "any", "not"):
        return False
    values = {repr(value) for value in (wide if isinstance(wide, list) else [wide])}
    return values.issuperset(map(repr, narrow if isinstance(narrow, list) else [narrow]))


def _takes_away(exception: _Line) -> Warned:
    problem = f"'unless' takes away all that 'if' asks of {exception.field}"
    return exception.loc, problem, "it never fires; take one of them out"


# --- by trying -------------------------------------------------------------------------------------------------------


def _tried(
    placed: Placed,
    field: str,
    asked: Sequence[_Line],
    excepted: Sequence[_Line],
    known: Mapping[str, Sequence[str]],
) -> Warned | None:
    asked = [line for line in asked if _NOT_TRIED.isdisjoint(_keys(line.wanted))]
    excepted = [line for line in excepted if _NOT_TRIED.isdisjoint(_keys(line.wanted))]
    values = known.get(field) or _examples(placed, field, asked, excepted)
    if not asked or not values:
        return None
    passing = [value for value in values if all(line.holds(value) for line in asked)]
    if not passing:
        return _in_words(field, asked, known)
    if all(any(line.holds(value) for line in excepted) for value in passing):
        return _takes_away(next(line for line in excepted if line.holds(passing[0])))
    return None


def _in_words(field: str, asked: Sequence[_Line], known: Mapping[str, Sequence[str]]) -> Warned:
    last = asked[-1]
    if field in known:
        values = " or ".join(dict.fromkeys(known[field]))
        return last.loc, f"{field} is never so here: it is {values}", "this rule never fires; change it or when:"
    if len(asked) > 1:
        return last.loc, f"the conditions on {field} contradict each other", "this rule never fires; change one of them"
    what = "is in this range of" if _RANGES & set(_keys(last.wanted)) else "fits what is asked here of"
    return last.loc, f"nothing {what} {field}", "this rule never fires; change it"


def _examples(placed: Placed, field: str, asked: Sequence[_Line], excepted: Sequence[_Line]) -> Sequence[object] | None:
    """A value of each sort that the conditions tell apart, None (told empty) among them; None if that is not known."""
    known = fields_at(placed.rule.when).get(field)
    written = [line.wanted for line in (*asked, *excepted)]
    scalars = list(_scalars(written))
    match known.type if known is not None else None:
        case FieldType.BOOLEAN:
            return [True, False, None]
        case FieldType.INTEGER:
            bounds = [math.floor(number) for number in map(number_of, scalars) if number is not None]
            return [None, *(bound + step for bound in bounds or [0] for step in (-1, 0, 1))]
        case FieldType.NUMBER:
            return [None, *_around([number for number in map(number_of, scalars) if number is not None])]
        case FieldType.TIME:
            return [None, *_instants(scalars)]
        case FieldType.TEXT | FieldType.PHONE:
            return _texts(asked, written, known.values if known is not None else ())
        case _:
            return None


def _around(bounds: Collection[float]) -> Iterator[float]:
    """Each of *bounds*, a number between two neighbours, one below all and one above."""
    ordered = sorted(set(bounds)) or [0]
    yield from (ordered[0] - 1, *ordered, ordered[-1] + 1)
    yield from ((one + other) / 2 for one, other in pairwise(ordered))


def _instants(scalars: Collection[object]) -> Iterator[str]:
    """The first and last instant of each time written, and those next to them."""
    spans = [span_of(text) for text in (_SOME_DAY, *scalars) if isinstance(text, str)]
    step = datetime.resolution
    for instant in chain.from_iterable(span for span in spans if span is not None):
        for moved in (-step, timedelta(0), step):
            try:
                yield (instant + moved).isoformat()
            except OverflowError:
                continue


def _texts(asked: Sequence[_Line], written: Sequence[object], values: Collection[str]) -> Sequence[object] | None:
    """The values that must be one of some; else, where nothing asks for a part of a text, all that are written."""
    for line in asked:
        if line.condition.field == line.field and not isinstance(line.wanted, Mapping):
            return list(_scalars(line.wanted))
    if not _PARTS.isdisjoint(_keys(written)):
        return None
    return [None, _OTHER, *values, *(text for text in _scalars(written) if isinstance(text, str))]


def lines_of(block: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The lines of *block*; those in an `all` count as if they stood by themselves."""
    for name, wanted in block.items():
        if name == "all" and isinstance(wanted, list):
            for part in wanted:
                yield from lines_of(part)
        else:
            yield name, wanted
