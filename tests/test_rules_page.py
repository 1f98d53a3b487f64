"""docs/rules.md teaches what the program does: each example is checked, each line of its tables is decided."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from routers.blocks import RuleConfig, SendConfig
from routers.cli import main
from routers.config import Configuration, check_config
from routers.facts import facts_in_time
from routers.rules.fields import fields_of
from routers.rules.operators import OPERATORS
from routers.rules.reasons import Reason, reason_of
from routers.rules.ruleset import Decision
from routers.transitions import Transition
from tests.rules_page import PAGE, Example, Row, Said, examples

EXAMPLES = examples()
RIGHT = [example for example in EXAMPLES if not example.is_wrong]
_IDS = [f"{number}-{example.heading}" for number, example in enumerate(RIGHT)]
ROWS = [(example, row) for example in RIGHT for row in example.rows]
CONSOLES = [(example, *console) for example in EXAMPLES for console in example.consoles]


def test_the_page_is_read_whole() -> None:
    """A block or a line in a form that the reader does not know would go untested."""
    text = PAGE.read_text(encoding="utf-8")

    assert sum(len(example.files) for example in EXAMPLES) == text.count("```yaml\n") > 10
    assert len(CONSOLES) == text.count("```console\n")
    assert len(ROWS) == text.count("\n| `") > 20


@pytest.mark.parametrize("example", RIGHT, ids=_IDS)
def test_an_example_is_right_and_warns_of_nothing(example: Example, tmp_path: Path) -> None:
    """Whoever copies an example starts with a file that `rules check` has nothing to say to."""
    checked = check_config(example.write(tmp_path))

    assert [str(problem) for problem in (*checked.problems, *checked.warnings)] == []


@pytest.mark.parametrize(("example", "row"), ROWS, ids=[f"{one.heading}-{row.when}-{row.told}" for one, row in ROWS])
def test_a_line_of_a_table_is_what_the_rules_decide(example: Example, row: Row, tmp_path: Path) -> None:
    """What the page says of each rule, its reason and its sinks, is what the rule set answers to these facts."""
    configuration = check_config(example.write(tmp_path)).configuration
    assert configuration is not None
    transition, company = Transition(row.when), row.told.get("company", next(iter(configuration.company_configs)))
    facts = facts_told(configuration, company, row.told)
    assert {name for name in facts if "$" not in name} <= fields_of(transition).keys()

    decision = configuration.rules.decide(company, transition, facts)

    rules = [said for said in row.said if said.rule != "unmatched"]
    assert [answer(decision, said) for said in rules] == list(rules)
    assert len(decision.reasons) == len(rules)
    everyone_else = configuration.rules.unmatched(company, transition)
    told = () if decision.is_matched or everyone_else is None else (everyone_else.sink,)
    assert told == tuple(sink for said in row.said if said.rule == "unmatched" for sink in said.sinks)


def facts_told(configuration: Configuration, company: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that *told* means: `at` is the time by the company's clock, `before` what was before a change."""
    facts = {"company": company, **told}
    wall = facts.pop("at", None)
    if "before" in facts:
        facts["$before"] = facts.pop("before")
    zone = ZoneInfo(configuration.rules.zones.get(company) or "UTC")
    moment = datetime.fromisoformat(wall).replace(tzinfo=zone) if wall else datetime(2026, 11, 24, tzinfo=UTC)
    return facts_in_time(configuration.rules, company, facts, occurred_at=moment, received_at=moment, told_zones={})


def answer(decision: Decision, said: Said) -> Said:
    """What *decision* says of the rule that *said* is about, in the detail in which the page says it."""
    rule = said.rule or next(iter(decision.reasons))
    stored = decision.reasons[rule]
    sinks = tuple(send.sink for fired in decision.fired if fired.rule.id == rule for send in fired.send)
    is_silent = reason_of(stored) is not Reason.FIRED
    return Said(said.rule, stored if is_silent else None, sinks if said.sinks else ())


@pytest.mark.parametrize(
    ("example", "command", "printed"), CONSOLES, ids=[f"{one.heading}-{command}" for one, command, _ in CONSOLES]
)
def test_a_command_prints_what_the_page_shows(
    example: Example,
    command: str,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The page shows what the command says of the example above it, word for word."""
    example.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_KEY", "a key")

    with pytest.raises(SystemExit):
        main(command.split())

    out, err = capsys.readouterr()
    assert (out + err).strip() == printed.strip()


@pytest.mark.parametrize("name", sorted({*RuleConfig.model_fields, *SendConfig.model_fields}))
def test_every_key_of_a_rule_is_taught(name: str) -> None:
    """The page is the whole language: each key of a rule and of a destination stands in an example."""
    key = "if" if name == "if_" else name
    texts = [text for example in EXAMPLES for text in example.files.values()]

    assert any(f"{key}:" in text for text in texts)


def test_the_operators_are_taught_or_named() -> None:
    """Most operators stand in an example; the page of the reference has an example of each."""
    texts = "".join(text for example in EXAMPLES for text in example.files.values())

    assert len([name for name in OPERATORS if f"{name}:" in texts]) >= 8
