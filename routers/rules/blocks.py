"""A block of conditions as it is written, read to what it asks: fields, and lines joined by `all`, `any` and `not`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

from callrail.fields import PLACEHOLDERS, FieldType
from routers.rules.answers import Answers, answer_field, is_answer
from routers.rules.fields import GOING_ON, RuleField, did_you_mean, fields_at, told_at
from routers.rules.operators import OPERATORS, read_question
from routers.rules.questions import Asked, At, Complain, Question
from routers.rules.values import alternatives
from routers.transitions import Transition

_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class FieldNode:
    """A line that asks one field."""

    name: str
    question: Question


@dataclass(frozen=True, slots=True)
class JoinedNode:
    """A line that joins others; `not` denies that all of them hold."""

    word: Literal["all", "any", "not"]
    nodes: tuple[Node, ...]


Node = FieldNode | JoinedNode


def read_block(
    block: Mapping[str, object],
    transitions: Collection[Transition],
    complain: Complain,
    answers: Answers = MappingProxyType({}),
) -> list[Node]:
    """A node for each line of *block*; what is wrong is told to *complain* and left out.

    Args:
        answers: What can be looked up, by name.
    """
    return _Reader(transitions, complain, answers).block(block, ())


@dataclass(frozen=True, slots=True)
class _Reader:
    transitions: Collection[Transition]
    complain: Complain
    answers: Answers

    def block(self, block: Mapping[str, object], at: At) -> list[Node]:
        nodes = [self._line(key, wanted, (*at, key)) for key, wanted in block.items()]
        return [node for node in nodes if node is not None]

    def _line(self, key: object, wanted: object, at: At) -> Node | None:
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

    def _not(self, wanted: object, at: At) -> Node | None:
        if not isinstance(wanted, Mapping) or not wanted:
            self.complain(at, "'not' takes a block of conditions", "write not: {source: Test}")
            return None
        nodes = self.block(wanted, at)
        return JoinedNode("not", tuple(nodes)) if nodes else None

    def _list(self, word: Literal["all", "any"], wanted: object, at: At) -> Node | None:
        """Each item of `all` and `any` is a block, of which all lines must hold."""
        if not isinstance(wanted, list) or not wanted:
            example = f"write {word}: [{{source: Yelp}}, {{duration: {{gt: 60}}}}]"
            self.complain(at, f"'{word}' takes a list of blocks of conditions", example)
            return None
        nodes = [self._item(item, (*at, position)) for position, item in enumerate(wanted)]
        good = [node for node in nodes if node is not None]
        return JoinedNode(word, tuple(good)) if good else None

    def _item(self, item: object, at: At) -> Node | None:
        if not isinstance(item, Mapping) or not item:
            self.complain(at, "a block of conditions is expected here", "write {source: Yelp}")
            return None
        nodes = self.block(item, at)
        if len(nodes) == 1:
            return nodes[0]
        return JoinedNode("all", tuple(nodes)) if nodes else None

    def _field(self, name: str, wanted: object, at: At) -> Node | None:
        if is_answer(name):
            answered = answer_field(name, self.answers, self.transitions, partial(self.complain, at, key=True))
            asked = Asked(name, answered, self.transitions, self.complain) if answered is not None else None
            question = read_question(asked, wanted, at) if asked is not None else None
            return FieldNode(name, question) if question is not None else None
        field = self._known(name, at)
        if field is None:
            return None
        question = read_question(Asked(name, field, self.transitions, self.complain), wanted, at)
        if question is None or not self._is_told(field.name, at):
            return None
        return FieldNode(name, question)

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
        """Whether *head* can be told at one of the transitions: a complaint if at none, a warning if not at all."""
        told = told_at(head)
        deaf = sorted(transition.value for transition in self.transitions if transition not in told)
        if not deaf:
            return True
        never = len(deaf) == len(frozenset(self.transitions))
        if head in PLACEHOLDERS and GOING_ON.issuperset(deaf):
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
