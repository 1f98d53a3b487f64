"""The commonest questions as one closure `facts -> bool` each: what a rule set asks for every event.

A question's test of a value, called by a closure that looks the field up, costs twice as much. So each of these says
again what a test in `operators.py` says, and a property test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from routers.rules.questions import Fast
from routers.rules.values import UNTOLD


def equal(value: Any) -> tuple[Fast, Fast]:
    """The field is *value*; and it is not."""
    return (
        lambda name: lambda facts: facts.get(name) == value,
        lambda name: lambda facts: (found := facts.get(name, UNTOLD)) is not UNTOLD and found != value,
    )


def same_text(folded: frozenset[str], others: Callable[[Any], bool]) -> tuple[Fast, Fast]:
    """The field is one of the texts *folded*; and it is none. What is told and no text is left to *others*."""
    if len(folded) == 1:
        (only,) = folded
        return (
            lambda name: (
                lambda facts: found.casefold() == only if (found := facts.get(name)).__class__ is str else others(found)
            ),
            lambda name: (
                lambda facts: (
                    found.casefold() != only
                    if (found := facts.get(name, UNTOLD)).__class__ is str
                    else found is not UNTOLD and not others(found)
                )
            ),
        )
    return (
        lambda name: (
            lambda facts: found.casefold() in folded if (found := facts.get(name)).__class__ is str else others(found)
        ),
        lambda name: (
            lambda facts: (
                found.casefold() not in folded
                if (found := facts.get(name, UNTOLD)).__class__ is str
                else found is not UNTOLD and not others(found)
            )
        ),
    )


def more(bound: float) -> Fast:
    """The field is a whole number above *bound*."""
    return lambda name: lambda facts: (found := facts.get(name)).__class__ is int and found > bound


def less(bound: float) -> Fast:
    """The field is a whole number below *bound*."""
    return lambda name: lambda facts: (found := facts.get(name)).__class__ is int and found < bound
