"""How a rule can ask, and what comes of what nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from callrail.fields import FieldType
from routers.reference.fields import TYPES
from routers.reference.markdown import code, flow, page, table
from routers.rules.conditions import compile_conditions
from routers.rules.operators import OPERATORS
from routers.transitions import Transition

EXAMPLES: Mapping[str, str] = {
    "not": "source: {not: [Yelp, Test]}",
    "prefix": "utm_campaign: {prefix: emergency}",
    "suffix": "agent_email: {suffix: '@acme.example'}",
    "contains": "note: {contains: [urgent, leak]}",
    "matches": "landing_page_url: {matches: '/(repair|emergency)/'}",
    "gt": "duration: {gt: 60}",
    "gte": "value: {gte: 500}",
    "lt": "duration: {lt: 20}",
    "lte": "prior_calls: {lte: 2}",
    "between": "duration: {between: [10, 60]}",
    "exists": "note: {exists: true}",
    "changed": "lead_status: {changed: true}",
    "added": "tags: {added: Emergency}",
    "removed": "tags: {removed: [Quote, Emergency]}",
    "phone_in": "customer_phone_number: {phone_in: ['(770) 555-0123', '+442079460000']}",
    "within": "start_time: {within: 15m}",
}
_BELOW = "what stands below a block"
_NOTES = ("urgent", "thank you", None)  # what a note may be told as; None is told empty
_NOTE_CONDITIONS = (
    "note: urgent",
    "note: {not: urgent}",
    "not: {note: urgent}",
    "note: {exists: true}",
    "note: {exists: false}",
)
_BOTH = ("all: [{spam: true}, {first_call: true}]", "any: [{spam: true}, {first_call: true}]", "not: {spam: true}")
_TRUTHS: tuple[dict[str, bool], ...] = ({"": True}, {"": False}, {})


def operators_page() -> str:
    """The operators, how conditions are joined, and the three values."""
    rows = [
        (code(name), operator.meaning, _types(operator.types), code(EXAMPLES[name]))
        for name, operator in OPERATORS.items()
    ]
    return page(
        "Operators",
        "A condition is `field: value`, `field: [one, of, these]`, or `field: {operator: ...}`. Several operators of "
        "one field must all hold. Where an operator takes a value, a list of values means one of them.",
        table(("Operator", "It asks for", "Asked of", "Example"), rows),
        "Text compares without regard to capitals; a field with a closed set of values compares exactly; a question to "
        "a list is one to its items, and one that passes is enough. Phone numbers are equal however they are written. "
        "Patterns are [RE2](https://github.com/google/re2/wiki/Syntax).",
        "## Joining conditions",
        table(
            ("Written", "It holds if"),
            [
                (code("all: [{...}, {...}]"), "each block holds"),
                (code("any: [{...}, {...}]"), "one block holds"),
                (code("not: {...}"), "the block does not hold"),
            ],
        ),
        "All lines of a block must hold. They stand one in another as needed.",
        "## Three values",
        "A field is told with a value, told *empty*, or *not told yet*. What is asked of a field not told yet is "
        "neither true nor false but unknown, and that stays so under `not`. A rule fires only if its `if` is true; it "
        "is silenced only if its `unless` is true.",
        table(
            ("Condition", "`urgent`", "`thank you`", "empty", "not told yet"),
            [(code(written), *map(_truth, _of_a_note(written))) for written in _NOTE_CONDITIONS],
        ),
        "Joined, with `spam` and `first_call` each true, false or not told:",
        table(("`spam: true`", "`first_call: true`", "`all`", "`any`", "`not` the first"), list(_of_both())),
    )


def _types(types: Iterable[FieldType | None]) -> str:
    named = {_BELOW if type_ is None else TYPES[type_] for type_ in types}
    if named >= set(TYPES.values()):
        return "any"
    return ", ".join(word for word in (*dict.fromkeys(TYPES.values()), _BELOW) if word in named)


def _of_a_note(written: str) -> list[bool | None]:
    told: list[dict[str, Any]] = [{"note": note} for note in _NOTES]
    return [_answer(written, facts) for facts in [*told, {}]]


def _of_both() -> Iterator[tuple[str, ...]]:
    for spam in _TRUTHS:
        for first in _TRUTHS:
            facts = {"spam": spam[""]} if spam else {}
            facts |= {"first_call": first[""]} if first else {}
            answers = [_answer(written, facts) for written in _BOTH]
            yield tuple(_truth(answer) for answer in (spam.get(""), first.get(""), *answers))


def _answer(written: str, facts: Mapping[str, Any]) -> bool | None:
    """What the condition *written* says to *facts*: None if that is not known."""
    (condition,) = compile_conditions(flow(written), [Transition.CALL_ANSWERED], _never)
    return condition.explain(facts).holds


def _never(at: object, problem: str, hint: str, **_more: object) -> None:
    raise ValueError(f"{at}: {problem}; {hint}")


def _truth(answer: bool | None) -> str:
    return "unknown" if answer is None else "true" if answer else "false"
