"""What a condition asks of one field: a test of the value found, or a question to all facts.

Both come with their words, so that a rule can be read aloud and its verdict explained.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from callrail.fields import FieldType
from routers.rules.answers import answer_in, is_answer
from routers.rules.fields import RuleField
from routers.rules.values import UNTOLD, shown
from routers.transitions import Transition

Facts = Mapping[str, Any]
At = tuple[str | int, ...]
Truth = bool | None  # None: nobody knows
Complain = Callable[..., None]
Fast = Callable[[str], Callable[[Facts], bool]]
Show = Callable[[str, Any], str]  # the name of a field, with its dots, and what was found: how that reads


def as_found(_name: str, found: Any) -> str:
    """What was found as it reads, masked nowhere."""
    return shown(found)


@dataclass(frozen=True, slots=True)
class Test:
    """A test of a told value, which is None where told empty.

    *reads* stands behind the field's name: `is more than 60`; *denied* is its opposite. *fast* and *fast_denied* make
    closures for a field's name that say the same and the opposite in one call; None where nobody needs the speed.
    """

    reads: str
    denied: str
    of: Callable[[Any], bool]
    fast: Fast | None = None
    fast_denied: Fast | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the facts of a thing that happened. *found* says in words what there is."""

    reads: str
    denied: str
    of: Callable[[Facts], Truth]
    found: Callable[[Facts, Show], str]


Question = Test | Ask


@dataclass(frozen=True, slots=True)
class Asked:
    """The field a condition is about, where the rule listens, and whom to tell of mistakes.

    *field* is the one before the dot; what is below it, chosen by a website or an account, has no type.
    """

    name: str
    field: RuleField
    transitions: Collection[Transition]
    complain: Complain

    @property
    def head(self) -> str:
        return self.field.name

    @property
    def type(self) -> FieldType | None:
        return None if "." in self.name and self.name != self.field.name else self.field.type


def getter(name: str) -> Callable[[Facts], Any]:
    """What is told of the field *name*, with dots below objects; UNTOLD if nothing, None if it is empty."""
    head, *path = name.split(".")
    if is_answer(name):
        return partial(answer_in, path)

    def get(facts: Facts) -> Any:
        found = facts.get(head, UNTOLD)
        for key in path:
            if not isinstance(found, Mapping):
                return UNTOLD if found is UNTOLD else None
            found = found.get(key)
        return None if found in ("", [], {}) else found

    def get_whole(facts: Facts) -> Any:
        return facts.get(head, UNTOLD)

    return get if path else get_whole


# --- three-valued logic ----------------------------------------------------------------------------------------------


def deny(truth: Truth) -> Truth:
    return None if truth is None else not truth


def negation(question: Question) -> Question:
    """The opposite of *question*. What nobody knows stays unknown."""
    if isinstance(question, Test):
        test = question.of
        return Test(question.denied, question.reads, lambda found: not test(found), question.fast_denied, question.fast)
    ask = question.of
    return Ask(question.denied, question.reads, lambda facts: deny(ask(facts)), question.found)


def conjunction(name: str, questions: list[Question]) -> Question:
    """All of *questions* to the field *name* in one."""
    if len(questions) == 1:
        return questions[0]
    reads = _and([question.reads for question in questions])
    denied = " or ".join(question.denied for question in questions)
    tests = [question.of for question in questions if isinstance(question, Test)]
    asks = [question for question in questions if isinstance(question, Ask)]
    if not asks:
        return Test(reads, denied, _all(tests))
    return Ask(reads, denied, _all_of(getter(name), tests, [ask.of for ask in asks]), asks[0].found)


def _and(parts: list[str]) -> str:
    first, *others = parts
    if first.startswith("is "):
        others = [part.removeprefix("is ") for part in others]
    return " and ".join([first, *others])


def _all(tests: list[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    if len(tests) == 2:
        one, other = tests
        return lambda found: one(found) and other(found)
    return lambda found: all(test(found) for test in tests)


def _all_of(
    get: Callable[[Facts], Any], tests: list[Callable[[Any], bool]], asks: list[Callable[[Facts], Truth]]
) -> Callable[[Facts], Truth]:
    def of(facts: Facts) -> Truth:
        found = get(facts)
        truths: list[Truth] = [None if found is UNTOLD else test(found) for test in tests]
        return all_true([*truths, *(ask(facts) for ask in asks)])

    return of


def all_true(truths: Collection[Truth]) -> Truth:
    """False if one is false; else unknown if one is unknown; else true."""
    if False in truths:
        return False
    return None if None in truths else True


def any_true(truths: Collection[Truth]) -> Truth:
    """True if one is true; else unknown if one is unknown; else false."""
    if True in truths:
        return True
    return None if None in truths else False
