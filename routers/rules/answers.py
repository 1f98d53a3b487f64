"""Answers of look-ups as a rule asks them: `lookup.NAME.FIELD`, typed, and told once the look-up was answered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from routers.rules.fields import RuleField, did_you_mean
from routers.rules.values import UNTOLD, alternatives
from routers.transitions import Transition

LOOKUP = "lookup"  # the fact under which answers stand: lookup.NAME.FIELD
LOOKED_UP = "$lookups"  # the fact that says of each look-up where its answer comes from, or what was wrong


@dataclass(frozen=True, slots=True)
class Answering:
    """A look-up, as rules see it: its *fields* by name, and where it can be made."""

    fields: Mapping[str, RuleField]
    is_possible_at: Callable[[Transition], bool]


Answers = Mapping[str, Answering]


def is_answer(name: str) -> bool:
    """Whether the field *name* is one of a look-up."""
    return name == LOOKUP or name.startswith(f"{LOOKUP}.")


def lookups_in(fields: Iterable[str]) -> frozenset[str]:
    """The look-ups that *fields* are of."""
    return frozenset(name.split(".")[1] for name in fields if is_answer(name))


def answer_in(path: Sequence[str], facts: Mapping[str, Any]) -> Any:
    """What *facts* hold of a look-up's field, *path* being both names: UNTOLD unless the look-up was answered."""
    name, field = path
    answer = (facts.get(LOOKUP) or {}).get(name)
    if answer is None:
        return UNTOLD
    found = answer.get(field, UNTOLD)
    return None if found in ("", [], {}) else found


def answer_field(
    name: str, answers: Answers, transitions: Collection[Transition], complain: Callable[[str, str], None]
) -> RuleField | None:
    """The field *name* under its whole name; None, and a complaint, if a rule at *transitions* cannot ask it."""
    _, *path = name.split(".")
    if len(path) != 2:
        complain(f"'{name}' names no field of a look-up", "write lookup.NAME.FIELD, like lookup.tracker.campaign_name")
        return None
    lookup, field = path
    if lookup not in answers:
        complain(f"there is no look-up '{lookup}'", did_you_mean(lookup, answers) or f"there are: {', '.join(answers)}")
        return None
    known = answers[lookup].fields
    if field not in known:
        complain(f"the look-up {lookup} has no '{field}'", did_you_mean(field, known) or f"it has {', '.join(known)}")
        return None
    if problem := impossible(lookup, answers[lookup], transitions):
        complain(*problem)
        return None
    return replace(known[field], name=name)


def impossible(name: str, answering: Answering, transitions: Collection[Transition]) -> tuple[str, str] | None:
    """Why the look-up *name* cannot be made at any of *transitions*, and where it can; None if it can."""
    if any(map(answering.is_possible_at, transitions)):
        return None
    able = [transition.value for transition in Transition if answering.is_possible_at(transition)]
    at = " and ".join(sorted(transition.value for transition in transitions))
    return f"{name} cannot be looked up at {at}", f"it can at {alternatives(able)}" if able else "it can nowhere"
