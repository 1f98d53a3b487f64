"""The conditions of a rule: what stands under `if:` and `unless:`, compiled once from one declaration to two twins.

The fast one answers `facts -> bool` for every event. The explaining one says of the same facts what was found and what
was wanted, when somebody asks why. A field may be told with a value, told *empty*, or *not told yet*; empty satisfies
`not`, a field not told yet satisfies nothing, so that no rule speaks of what nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from routers.rules.answers import Answers, is_answer
from routers.rules.blocks import FieldNode, Node, read_block
from routers.rules.questions import (
    Ask,
    Complain,
    Facts,
    Show,
    Test,
    Truth,
    all_true,
    any_true,
    as_found,
    deny,
    getter,
)
from routers.rules.values import UNTOLD
from routers.transitions import Transition

__all__ = ["Complain", "Condition", "Facts", "Finding", "Show", "as_found", "compile_conditions"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition makes of some facts: True, False or None for unknown, and why in one sentence."""

    holds: Truth
    sentence: str


class Explain(Protocol):
    """Says what is found in some facts; *show* says how a value reads, so that what is personal can be masked."""

    def __call__(self, facts: Facts, show: Show = as_found) -> Finding: ...


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a rule. *field* is the field asked about, or `all`, `any`, `not`; *fields* are all it asks about."""

    field: str
    fields: frozenset[str]
    holds: Callable[[Facts], bool]
    explain: Explain
    reading: str


def compile_conditions(
    block: Mapping[str, object],
    transitions: Collection[Transition],
    complain: Complain,
    answers: Answers = MappingProxyType({}),
) -> tuple[Condition, ...]:
    """The conditions of *block* for a rule that listens to *transitions* and may look up *answers*.

    Nothing a user wrote is raised: every mistake goes to *complain*, with its place in the block, and the condition
    is left out.
    """
    return tuple(_compiled(node) for node in read_block(block, transitions, complain, answers))


# --- the two twins ---------------------------------------------------------------------------------------------------


def _compiled(node: Node) -> Condition:
    return Condition(
        field=node.name if isinstance(node, FieldNode) else node.word,
        fields=frozenset(_fields(node)),
        holds=_fast(node),
        explain=lambda facts, show=as_found: _explain(node, facts, show),
        reading=_reading(node),
    )


def _fields(node: Node) -> set[str]:
    if isinstance(node, FieldNode):
        return {node.name if is_answer(node.name) else node.name.partition(".")[0]}
    return {name for inner in node.nodes for name in _fields(inner)}


def _fast(node: Node) -> Callable[[Facts], bool]:
    """Whether *node* is true of some facts, with as little work as its question allows."""
    if isinstance(node, FieldNode) and isinstance(node.question, Test):
        if "." not in node.name:
            return _fast_test(node.name, node.question)
        get, of = getter(node.name), node.question.of
        return lambda facts: (found := get(facts)) is not UNTOLD and of(found)
    truth = _truth(node)
    return lambda facts: truth(facts) is True


def _fast_test(name: str, test: Test) -> Callable[[Facts], bool]:
    if test.fast is not None:
        return test.fast(name)
    of = test.of
    if not of(None):  # then a field not told yet may pass for an empty one: both fail
        return lambda facts: of(facts.get(name))
    return lambda facts: (found := facts.get(name, UNTOLD)) is not UNTOLD and of(found)


def _truth(node: Node) -> Callable[[Facts], Truth]:
    """True, False or unknown, as `not`, `all` and `any` need it of what they join."""
    if isinstance(node, FieldNode):
        return _truth_of_field(node)
    truths = [_truth(inner) for inner in node.nodes]
    match node.word:
        case "any":
            return lambda facts: any_true([truth(facts) for truth in truths])
        case "all":
            return lambda facts: all_true([truth(facts) for truth in truths])
        case "not":
            return lambda facts: deny(all_true([truth(facts) for truth in truths]))


def _truth_of_field(node: FieldNode) -> Callable[[Facts], Truth]:
    if isinstance(node.question, Ask):
        return node.question.of
    get, of = getter(node.name), node.question.of
    return lambda facts: None if (found := get(facts)) is UNTOLD else of(found)


def _explain(node: Node, facts: Facts, show: Show) -> Finding:
    if isinstance(node, FieldNode):
        return _explain_field(node, facts, show)
    findings = [_explain(inner, facts, show) for inner in node.nodes]
    truths = [finding.holds for finding in findings]
    match node.word:
        case "any":
            together = any_true(truths)
            start = "" if together else "none of these: "
        case "all":
            together = all_true(truths)
            start = ""
        case "not":
            together = all_true(truths)
            start = "not wanted: "
    told = [finding.sentence for finding in findings if finding.holds is together]
    return Finding(deny(together) if node.word == "not" else together, start + "; ".join(told))


def _explain_field(node: FieldNode, facts: Facts, show: Show) -> Finding:
    wanted, value = _wanted(node.question.reads), getter(node.name)(facts)
    if isinstance(node.question, Ask):
        found = node.question.found(facts, show)
        return Finding(node.question.of(facts), f"{node.name}: {found}, wanted {wanted}")
    if value is UNTOLD:
        return Finding(None, f"{node.name}: not told yet")
    return Finding(node.question.of(value), f"{node.name}: is {show(node.name, value)}, wanted {wanted}")


def _wanted(reads: str) -> str:
    """`is more than 60` -> `more than 60`; `contains 'x'` -> `one that contains 'x'`."""
    return reads.removeprefix("is ") if reads.startswith("is ") else f"one that {reads}"


def _reading(node: Node) -> str:
    if isinstance(node, FieldNode):
        return f"{node.name} {node.question.reads}"
    readings = [_reading(inner) for inner in node.nodes]
    match node.word:
        case "any":
            return f"one of these: {'; '.join(readings)}" if len(readings) > 1 else readings[0]
        case "all":
            return " and ".join(readings)
        case "not":
            return f"not ({' and '.join(readings)})"
