"""What rules cost for each thing that happened: verdicts of many rules, and the time to read them.

In this process alone, without database or HTTP. Facts are those of answered calls as the simulator tells them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.report import Figure, Target
from bench.servers import Workspace
from bench.traffic import requests
from callrail.payload import read_payload
from routers.config import read_config
from routers.rules.ruleset import RuleSet
from routers.transitions import Transition

_PART, _NO_DATABASE = "rules", "-"
_CALLS = 100
_COMPANIES = 40
_CONDITIONS = 6

# Lines as people write them. Of answered calls about half of them hold.
_LINES = (
    "company_time_zone: [America/New_York, America/Chicago]",
    "customer_city: {prefix: San}",
    "customer_phone_number: {not: {phone_in: ['(770) 555-0123', '404-555-0188']}}",
    "customer_state: [GA, FL, TX]",
    "direction: inbound",
    "duration: {gt: 120}",
    "first_call: true",
    "hours: open",
    "medium: cpc",
    "note: {contains: [urgent, asap]}",
    "outcome: answered",
    "recording: {exists: true}",
    "source: [Google Ads, Google Organic]",
    "source: {not: Test}",
    "tags: [emergency, new customer]",
    "tags: {not: [vendor, wrong number]}",
    "total_calls: {lt: 3}",
    "value: {gte: 500}",
)
_ALWAYS_TRUE = (
    "outcome: answered",
    "direction: inbound",
    "hours: open",
    "duration: {gte: 0}",
    "source: {not: Test}",
    "customer_phone_number: {exists: true}",
)


def measure(workspace: Workspace, *, rounds: int) -> Iterator[Figure]:
    """Figures of verdicts, each the median of *rounds* rounds of the median event."""
    rng = random.Random(4)
    path = workspace.folder / "rules.yaml"
    hundred = _read(path, _yaml(100, companies=1, lines=lambda: _six_of(rng)))
    firing = _read(path, _yaml(100, companies=1, lines=lambda: _ALWAYS_TRUE))
    thousand_rules = _yaml(1_000, companies=_COMPANIES, lines=lambda: _six_of(rng))
    thousand = _read(path, thousand_rules)
    facts = _facts()
    what = f"100 rules, {_CONDITIONS} conditions each"
    alone = [median(_conditions_alone(hundred, told) for told in facts) for _ in range(rounds)]
    yield Figure(_PART, _NO_DATABASE, f"{what}: conditions alone, p50", median(alone), "us", Target("<", 60))
    yield from _verdicts(what, hundred, facts, companies=1, rounds=rounds, target=Target("<", 60))
    yield from _verdicts(f"{what}, all fire", firing, facts, companies=1, rounds=rounds)
    what = f"1,000 rules, {_COMPANIES} companies"
    yield from _verdicts(what, thousand, facts, companies=_COMPANIES, rounds=rounds, target=Target("<", 100))
    took = [_seconds(lambda: _read(path, thousand_rules)) for _ in range(min(rounds, 3))]
    yield Figure(_PART, _NO_DATABASE, "reading 1,000 rules", median(took), "s", Target("<", 1.5))


def _verdicts(
    what: str,
    rules: RuleSet,
    facts: list[dict[str, Any]],
    *,
    companies: int,
    rounds: int,
    target: Target | None = None,
) -> Iterator[Figure]:
    medians, slow = [], []
    for _ in range(rounds):
        took = [_microseconds(rules, _company(n % companies), told) for n, told in enumerate(facts * 20)]
        medians.append(median(took))
        slow.append(quantiles(took, n=100)[-1])
    yield Figure(_PART, _NO_DATABASE, f"{what}: p50", median(medians), "us", target)
    yield Figure(_PART, _NO_DATABASE, f"{what}: p99", median(slow), "us")


def _conditions_alone(rules: RuleSet, facts: Mapping[str, Any]) -> float:
    """Microseconds of asking every rule's conditions until one does not hold, without verdicts."""
    chains = [[condition.holds for condition in rule.conditions] for rule in rules.rules]
    begun = time.perf_counter_ns()
    for chain in chains:
        for holds in chain:
            if not holds(facts):
                break
    return (time.perf_counter_ns() - begun) / 1_000


def _microseconds(rules: RuleSet, company: str, facts: Mapping[str, Any]) -> float:
    begun = time.perf_counter_ns()
    rules.decide(company, Transition.CALL_ANSWERED, facts)
    return (time.perf_counter_ns() - begun) / 1_000


def _seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _facts() -> list[dict[str, Any]]:
    bodies = [request.wire.partition(b"\r\n\r\n")[2] for request in requests(_CALLS, port=0)]
    own = {"company": _company(0), "outcome": "answered", "stage": "ended", "$received": datetime.now(UTC)}
    hours = ("open", "closed")
    return [
        {**read_payload(body, "application/json").fields, **own, "hours": hours[n % 2]} for n, body in enumerate(bodies)
    ]


def _company(number: int) -> str:
    return f"company-{number:02}"


def _six_of(rng: random.Random) -> tuple[str, ...]:
    """Six lines of different fields, in any order."""
    by_field = {line.partition(":")[0]: line for line in rng.sample(_LINES, len(_LINES))}
    return tuple(by_field.values())[:_CONDITIONS]


def _yaml(rules: int, *, companies: int, lines: Callable[[], tuple[str, ...]]) -> str:
    """A router.yaml of *rules* rules, each of one of *companies* companies, or of all if there is only one."""
    written = ["hours:", "  days: {mon-fri: '08:00-18:00'}", "companies:"]
    written += [f"  {_company(n)}: {{signing_keys: [env:A_KEY], hours: days}}" for n in range(companies)]
    written += ["sinks:", "  out: {type: stdout}", "rules:"]
    for n in range(rules):
        scope = "all" if companies == 1 else f"[{_company(n % companies)}]"
        written += [
            f"  - id: rule-{n}",
            f"    companies: {scope}",
            "    when: [call.answered]",
            f"    if: {{{', '.join(lines())}}}",
            "    send: [{to: out}]",
        ]
    return "\n".join([*written, ""])


def _read(path: Path, text: str) -> RuleSet:
    path.write_text(text)
    return read_config(path).rules
