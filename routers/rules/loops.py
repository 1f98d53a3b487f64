"""Rules whose doing in CallRail brings about what they listen to: they could go on for ever."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.positioned_yaml import Loc
from routers.complaints import Complaints
from routers.echo import FOLLOWS
from routers.transitions import Transition

_CHANGED = frozenset({Transition.CALL_CHANGED, Transition.OUTBOUND_CHANGED, Transition.CALL_SPAM})
_CHANGES_A_CALL = "calls.update"
# By operation of CallRail's API, what its webhooks then tell (that API and webhooks go together so is assumed).
_BRINGS_ABOUT: Mapping[str, frozenset[Transition]] = {
    _CHANGES_A_CALL: _CHANGED,
    "calls.create": frozenset(
        {Transition.OUTBOUND_ANSWERED, Transition.OUTBOUND_UNANSWERED, Transition.OUTBOUND_CHANGED}
    ),
    "form_submissions.create": frozenset({Transition.FORM_SUBMITTED}),
    "text_messages.send": frozenset({Transition.TEXT_SENT}),
}


@dataclass(frozen=True, slots=True)
class Does:
    """What a sink does in CallRail: an operation, and the parameters that it is called with."""

    operation: str
    parameters: frozenset[str]


@dataclass(frozen=True, slots=True)
class Listener:
    """A rule, or a line of `unmatched:`: where it stands, what it *hears* of a company, and the sinks it *tells* then.

    *asks* are the conditions that must all hold.
    """

    name: str
    loc: Loc
    hears: Callable[[str, Transition], bool]
    tells: Callable[[str], Iterable[str]]
    asks: Sequence[tuple[str, Any]] = ()


def check_loops(
    listeners: Sequence[Listener], does: Mapping[str, Does], companies: Collection[str], complaints: Complaints
) -> None:
    """Complain of each listener that leads back to itself.

    What makes something new each time is a mistake. What changes a call is a warning: its echo is recognised, and what
    is so already is not written again.

    Args:
        does: By sink, what it does in CallRail.
    """
    edges = {one.name: list(_following(one, listeners, does, companies)) for one in listeners} if does else {}
    making = {name: [step for step in steps if step.operation != _CHANGES_A_CALL] for name, steps in edges.items()}
    told: set[str] = set()
    for one in listeners:
        if one.name in told:
            continue
        endless = _way_back(one.name, making)
        way = endless or _way_back(one.name, edges)
        if way is None:
            continue
        told |= {step.to for step in way}
        steps = ", ".join(f"{step.operation} brings about {step.transition}" for step in way)
        problem = f"this could go on for ever: {steps}"
        others = [step.to for step in way[:-1]]
        if others:
            problem += f", which {' and then '.join(others)} listens to"
        hint = "listen to something else, or send elsewhere"
        if endless is None:
            hint = "ask what was changed, like if: {note: {changed: true}}, of a field that is not written here"
        complaints.complain(one.loc, problem, hint, warning=endless is None)


@dataclass(frozen=True, slots=True)
class _Step:
    """That an *operation* brings a *transition* about, which the listener *to* hears."""

    operation: str
    transition: Transition
    to: str


def _following(
    one: Listener, listeners: Sequence[Listener], does: Mapping[str, Does], companies: Collection[str]
) -> Iterator[_Step]:
    for company in sorted(companies):
        for sink in one.tells(company):
            done = does.get(sink)
            if done is None:
                continue
            for transition in sorted(_BRINGS_ABOUT.get(done.operation, ())):
                for other in listeners:
                    if other.hears(company, transition) and not _asks_for_others(other, transition, done):
                        yield _Step(done.operation, transition, other.name)


def _asks_for_others(listener: Listener, transition: Transition, done: Does) -> bool:
    """Whether it acts only if something else was changed than what is *done*, or follows from it."""
    if transition not in _CHANGED:
        return False
    return any(
        _is_of_change(wanted) and done.parameters.isdisjoint((name, FOLLOWS.get(name, name)))
        for name, wanted in listener.asks
    )


def _is_of_change(wanted: Any) -> bool:
    return isinstance(wanted, Mapping) and ("added" in wanted or "removed" in wanted or wanted.get("changed") is True)


def _way_back(start: str, edges: Mapping[str, Sequence[_Step]]) -> list[_Step] | None:
    """The shortest way from *start* to itself; None if there is none."""
    ways = deque([[step] for step in edges.get(start, ())])
    seen = {start}
    while ways:
        way = ways.popleft()
        last = way[-1].to
        if last == start:
            return way
        if last not in seen:
            seen.add(last)
            ways.extend([*way, step] for step in edges.get(last, ()))
    return None
