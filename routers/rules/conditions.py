"""The conditions of a rule: what stands under `if:` and `unless:`, compiled once from one declaration to two twins.

The fast one answers `facts -> bool` for every event. The explaining one says of the same facts what was found and what
was wanted, when somebody asks why. A field may be told with a value, told *empty*, or *not told yet*; empty satisfies
`not`, a field not told yet satisfies nothing, so that no rule speaks of what nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from callrail.fields import PLACEHOLDERS, FieldType
from routers.rules.fields import RuleField, did_you_mean, fields_at, told_at
from routers.rules.operators import OPERATORS, read_question
from routers.rules.questions import (
    UNTOLD,
    Ask,
    Asked,
    At,
    Complain,
    Facts,
    Question,
    Test,
    Truth,
    all_true,
    any_true,
    deny,
    getter,
)
from routers.rules.values import alternatives, shown
from routers.transitions import Transition

__all__ = ["Complain", "Condition", "Facts", "Finding", "compile_conditions"]

_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition makes of some facts: True, False or None for unknown, and why in one sentence."""

    holds: Truth
    sentence: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a rule. *field* is the field asked about, or `all`, `any`, `not`; *fields* are all it asks about."""

    field: str
    fields: frozenset[str]
    holds: Callable[[Facts], bool]
    explain: Callable[[Facts], Finding]
    reading: str


def compile_conditions(
    block: Mapping[str, object], transitions: Collection[Transition], complain: Complain
) -> tuple[Condition, ...]:
    """The conditions of *block* for a rule that listens to *transitions*.

    Nothing a user wrote is raised: every mistake goes to *complain*, with its place in the block, and the condition
    is left out.
    """
    reader = _Reader(transitions, complain)
    return tuple(_compiled(node) for node in reader.block(block, ()))


# --- the declaration -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FieldNode:
    name: str
    question: Question


@dataclass(frozen=True, slots=True)
class _JoinedNode:
    word: Literal["all", "any", "not"]
    nodes: tuple[_Node, ...]


_Node = _FieldNode | _JoinedNode


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads blocks of conditions to nodes; what is wrong is told and left out."""

    transitions: Collection[Transition]
    complain: Complain

    def block(self, block: Mapping[str, object], at: At) -> list[_Node]:
        nodes = [self._line(key, wanted, (*at, key)) for key, wanted in block.items()]
        return [node for node in nodes if node is not None]

    def _line(self, key: object, wanted: object, at: At) -> _Node | None:
        if not isinstance(key, str):
            self.complain(at, f"{key!r} is no name of a field", "write a name, like duration", key=True)
        elif len(at) > _MAX_DEPTH:
            self.complain(at, "these conditions are nested too deeply", "write two rules", key=True)
        elif key == "not":
            return self._not(wanted, at)
        elif key in ("all", "any"):
            return self._list("all" if key == "all" else "any", wanted, at)
        else:
            return self._field(key, wanted, at)
        return None

    def _not(self, wanted: object, at: At) -> _Node | None:
        if not isinstance(wanted, Mapping) or not wanted:
            self.complain(at, "'not' takes a block of conditions", "write not: {source: Test}")
            return None
        nodes = self.block(wanted, at)
        return _JoinedNode("not", tuple(nodes)) if nodes else None

    def _list(self, word: Literal["all", "any"], wanted: object, at: At) -> _Node | None:
        """Each item of `all` and `any` is a block, of which all lines must hold."""
        if not isinstance(wanted, list) or not wanted:
            example = f"write {word}: [{{source: Yelp}}, {{duration: {{gt: 60}}}}]"
            self.complain(at, f"'{word}' takes a list of blocks of conditions", example)
            return None
        nodes = [self._item(item, (*at, position)) for position, item in enumerate(wanted)]
        good = [node for node in nodes if node is not None]
        return _JoinedNode(word, tuple(good)) if good else None

    def _item(self, item: object, at: At) -> _Node | None:
        if not isinstance(item, Mapping) or not item:
            self.complain(at, "a block of conditions is expected here", "write {source: Yelp}")
            return None
        nodes = self.block(item, at)
        if len(nodes) == 1:
            return nodes[0]
        return _JoinedNode("all", tuple(nodes)) if nodes else None

    def _field(self, name: str, wanted: object, at: At) -> _Node | None:
        field = self._known(name, at)
        if field is None:
            return None
        question = read_question(Asked(name, field, self.transitions, self.complain), wanted, at)
        if question is None or not self._is_told(field.name, at):
            return None
        return _FieldNode(name, question)

    def _known(self, name: str, at: At) -> RuleField | None:
        """The field *name*, wherever it is told."""
        head, dot, below = name.partition(".")
        field = fields_at(self.transitions).get(head) or fields_at(()).get(head)
        if field is None:
            self._unknown(name, head, at)
        elif dot and field.type is not FieldType.OBJECT:
            self.complain(at, f"'{head}' has no fields of its own", f"write {head}", key=True)
        elif dot and not all(below.split(".")):
            self.complain(at, f"'{name}' has nothing behind a dot", f"name one, like {head}.name", key=True)
        else:
            return field
        return None

    def _unknown(self, name: str, head: str, at: At) -> None:
        if head in OPERATORS:
            problem = f"'{head}' is an operator, and a field is expected here"
            self.complain(at, problem, f"write it below a field, like source: {{{head}: ...}}", key=True)
            return
        hint = did_you_mean(head, [*fields_at(self.transitions), "all", "any"])
        self.complain(at, f"unknown field '{name}'", hint or did_you_mean(head, fields_at(())), key=True)

    def _is_told(self, head: str, at: At) -> bool:
        """Whether *head* can be told at one of the transitions; a complaint if not, a warning if not at all."""
        told = told_at(head)
        deaf = sorted(transition.value for transition in self.transitions if transition not in told)
        if not deaf:
            return True
        never = len(deaf) == len(frozenset(self.transitions))
        if head in PLACEHOLDERS and self._while_going_on(deaf):
            problem = (
                f"'{head}' says nothing yet at {' and '.join(deaf)}: CallRail posts every ringing call as unanswered, "
                "missed and of no duration"
            )
            hint = "ask it once the call has ended, at call.ended or call.missed"
        else:
            problem = f"'{head}' is never told at {' and '.join(deaf)}"
            hint = f"it is told at {alternatives([transition.value for transition in told])}"
            if never and (near := did_you_mean(head, fields_at(self.transitions))):
                hint = f"{hint}; {near}"
        self.complain(at, problem, hint, key=True, warning=not never)
        return not never

    def _while_going_on(self, deaf: list[str]) -> bool:
        return any(name in (Transition.CALL_RINGING, Transition.CALL_ROUTED) for name in deaf)


# --- the two twins ---------------------------------------------------------------------------------------------------


def _compiled(node: _Node) -> Condition:
    return Condition(
        field=node.name if isinstance(node, _FieldNode) else node.word,
        fields=frozenset(_fields(node)),
        holds=_fast(node),
        explain=lambda facts: _explain(node, facts),
        reading=_reading(node),
    )


def _fields(node: _Node) -> set[str]:
    if isinstance(node, _FieldNode):
        return {node.name.partition(".")[0]}
    return {name for inner in node.nodes for name in _fields(inner)}


def _fast(node: _Node) -> Callable[[Facts], bool]:
    """Whether *node* is true of some facts, with as little work as its question allows."""
    if isinstance(node, _FieldNode) and isinstance(node.question, Test):
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


def _truth(node: _Node) -> Callable[[Facts], Truth]:
    """True, False or unknown, as `not`, `all` and `any` need it of what they join."""
    if isinstance(node, _FieldNode):
        return _truth_of_field(node)
    truths = [_truth(inner) for inner in node.nodes]
    match node.word:
        case "any":
            return lambda facts: any_true([truth(facts) for truth in truths])
        case "all":
            return lambda facts: all_true([truth(facts) for truth in truths])
        case "not":
            return lambda facts: deny(all_true([truth(facts) for truth in truths]))


def _truth_of_field(node: _FieldNode) -> Callable[[Facts], Truth]:
    if isinstance(node.question, Ask):
        return node.question.of
    get, of = getter(node.name), node.question.of
    return lambda facts: None if (found := get(facts)) is UNTOLD else of(found)


def _explain(node: _Node, facts: Facts) -> Finding:
    if isinstance(node, _FieldNode):
        return _explain_field(node, facts)
    findings = [_explain(inner, facts) for inner in node.nodes]
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


def _explain_field(node: _FieldNode, facts: Facts) -> Finding:
    wanted, value = _wanted(node.question.reads), getter(node.name)(facts)
    if isinstance(node.question, Ask):
        found = node.question.found(facts)
        return Finding(node.question.of(facts), f"{node.name}: {found}, wanted {wanted}")
    if value is UNTOLD:
        return Finding(None, f"{node.name}: not told yet")
    return Finding(node.question.of(value), f"{node.name}: is {shown(value)}, wanted {wanted}")


def _wanted(reads: str) -> str:
    """`is more than 60` -> `more than 60`; `contains 'x'` -> `one that contains 'x'`."""
    return reads.removeprefix("is ") if reads.startswith("is ") else f"one that {reads}"


def _reading(node: _Node) -> str:
    if isinstance(node, _FieldNode):
        return f"{node.name} {node.question.reads}"
    readings = [_reading(inner) for inner in node.nodes]
    match node.word:
        case "any":
            return f"one of these: {'; '.join(readings)}" if len(readings) > 1 else readings[0]
        case "all":
            return " and ".join(readings)
        case "not":
            return f"not ({' and '.join(readings)})"
