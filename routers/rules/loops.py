"""Rules whose doing in CallRail brings about what they listen to: they could go on for ever."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from routers.complaints import Complaints
from routers.rules.compiling import Placed
from routers.rules.contradictions import lines_of
from routers.rules.ruleset import RuleSet
from routers.transitions import Transition

_CHANGED = frozenset({Transition.CALL_CHANGED, Transition.OUTBOUND_CHANGED, Transition.CALL_SPAM})
# By operation of CallRail's API, what its webhooks then tell (that API and webhooks go together so is assumed).
_BRINGS_ABOUT: Mapping[str, frozenset[Transition]] = {
    "calls.update": _CHANGED,
    "calls.create": frozenset(
        {Transition.OUTBOUND_ANSWERED, Transition.OUTBOUND_UNANSWERED, Transition.OUTBOUND_CHANGED}
    ),
    "form_submissions.create": frozenset({Transition.FORM_SUBMITTED}),
    "text_messages.send": frozenset({Transition.TEXT_SENT}),
}
_OF_CHANGES = frozenset({"changed", "added", "removed"})


@dataclass(frozen=True, slots=True)
class Does:
    """What a sink does in CallRail: an operation, and the parameters that it is called with."""

    operation: str
    parameters: frozenset[str]


def check_loops(
    placed: Sequence[Placed],
    rules: RuleSet,
    does: Mapping[str, Does],
    companies: Collection[str],
    complaints: Complaints,
) -> None:
    """Complain of each rule that leads back to itself.

    What makes something new each time is a mistake. What changes a call is a warning: its echo is recognised, and what
    is so already is not written again.

    Args:
        does: By sink, what it does in CallRail.
    """
    edges = {one.rule.id: list(_following(one, placed, rules, does, companies)) for one in placed} if does else {}
    told: set[str] = set()
    for one in placed:
        way = _way_back(one.rule.id, edges) if one.rule.id not in told else None
        if way is None:
            continue
        told |= {step.rule for step in way}
        steps = ", ".join(f"{step.operation} brings about {step.transition}" for step in way)
        problem = f"this rule could go on for ever: {steps}"
        others = [step.rule for step in way[:-1]]
        if others:
            problem += f", which {' and then '.join(others)} listens to"
        is_new = all(step.operation != "calls.update" for step in way)
        hint = "listen to something else, or send elsewhere"
        if not is_new:
            hint = "ask what was changed, like if: {note: {changed: true}}, of a field that is not written here"
        complaints.complain(one.loc, problem, hint, warning=not is_new)


@dataclass(frozen=True, slots=True)
class _Step:
    """That an *operation* brings a *transition* about, which *rule* listens to."""

    operation: str
    transition: Transition
    rule: str


def _following(
    one: Placed, placed: Sequence[Placed], rules: RuleSet, does: Mapping[str, Does], companies: Collection[str]
) -> Iterator[_Step]:
    for company in sorted(companies):
        if one.rule.companies is not None and company not in one.rule.companies:
            continue
        for send in rules.sends_of(one.rule, company):
            done = does.get(send.sink)
            if done is None:
                continue
            for transition in sorted(_BRINGS_ABOUT.get(done.operation, ())):
                for other in placed:
                    if other.rule.looks_at(company, transition) and not _asks_for_others(other, transition, done):
                        yield _Step(done.operation, transition, other.rule.id)


def _asks_for_others(placed: Placed, transition: Transition, done: Does) -> bool:
    """Whether the rule fires only if something else was changed than what is *done*."""
    if transition not in _CHANGED:
        return False
    return any(
        isinstance(wanted, Mapping) and wanted.keys() & _OF_CHANGES and name not in done.parameters
        for name, wanted in lines_of(placed.written.if_)
    )


def _way_back(rule: str, edges: Mapping[str, Sequence[_Step]]) -> list[_Step] | None:
    """The shortest way from *rule* to itself; None if there is none."""
    ways = deque([[step] for step in edges.get(rule, ())])
    seen = {rule}
    while ways:
        way = ways.popleft()
        last = way[-1].rule
        if last == rule:
            return way
        if last not in seen:
            seen.add(last)
            ways.extend([*way, step] for step in edges.get(last, ()))
    return None
