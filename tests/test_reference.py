"""docs/reference/ is what the program says of itself, and says it of everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from routers.cli import cli
from routers.cli.api import ApiCommands
from routers.reference import pages
from routers.reference.__main__ import FOLDER as WRITTEN_TO
from routers.reference.__main__ import SYNC_TYPES, main
from routers.reference.fields import where_told
from routers.reference.markdown import COMMAND
from routers.reference.operators import EXAMPLES
from routers.reference.sync_types import sync_types
from routers.reference.transitions import HAPPENS
from routers.rule_schema import router_schema
from routers.rules.conditions import compile_conditions
from routers.rules.fields import fields_at, told_at
from routers.rules.operators import OPERATORS
from routers.rules.reasons import Reason, reason_of
from routers.transitions import ALARMS, Transition

FOLDER = Path(__file__).parent.parent / WRITTEN_TO
PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_program_says(name: str) -> None:
    """A change of the program that the page does not show fails here."""
    path = FOLDER / name
    kept = path.read_text(encoding="utf-8") if path.exists() else ""

    assert kept == PAGES[name], f"docs/reference/{name} is stale; run: {COMMAND}"


def test_the_types_of_the_synchronous_client_are_those_of_the_operations() -> None:
    """A new operation, or a new parameter, is one of the synchronous client too."""
    assert (FOLDER.parent.parent / SYNC_TYPES).read_text(encoding="utf-8") == sync_types(), f"run: {COMMAND}"


def test_there_is_no_page_that_nothing_writes() -> None:
    """A page that was renamed leaves no old copy behind."""
    assert {path.name for path in FOLDER.iterdir()} == PAGES.keys(), f"run: {COMMAND}"


def test_the_command_writes_all_pages_and_takes_away_those_it_wrote_before(tmp_path: Path) -> None:
    """`make reference` needs no clean-up by hand, and in a wrong folder deletes nobody's page."""
    (tmp_path / "old.md").write_text(PAGES["cli.md"])
    (tmp_path / "mine.md").write_text("# Mine")

    main(tmp_path)

    kept = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert kept == {**PAGES, "mine.md": "# Mine"}


@pytest.mark.parametrize("transition", Transition)
def test_every_transition_is_described(transition: Transition) -> None:
    """A new transition needs a sentence, and stands in the page with the webhooks that feed it."""
    assert transition in HAPPENS
    assert f"| `{transition}` | {HAPPENS[transition]} |" in PAGES["transitions.md"]


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_an_example_that_is_right(name: str) -> None:
    """The example of the page compiles without a complaint, and uses the operator."""
    block = yaml.safe_load(f"{{{EXAMPLES[name]}}}")
    complaints: list[str] = []

    def complain(_at: object, problem: str, _hint: str = "", **_more: object) -> None:
        complaints.append(problem)

    compile_conditions(block, [Transition.CALL_CHANGED], complain)

    assert complaints == []
    assert all(name in asked for asked in block.values())


@pytest.mark.parametrize("name", sorted(fields_at(())))
def test_where_a_field_is_told_says_neither_more_nor_less(name: str) -> None:
    """Read back by the page's own table, the words name just the transitions that can tell the field."""
    page = PAGES["fields.md"]
    words = dict(re.findall(r"^\| ([a-z ]+) \| (`.*`) \|$", page, re.MULTILINE))
    words["everywhere"] = ", ".join(f"`{transition}`" for transition in Transition if transition not in ALARMS)
    said = ", ".join(words.get(word, word) for word in where_told(name).split(", "))

    assert {f"`{told}`" for told in told_at(name)} | {"`unknown.received`"} == {*said.split(", "), "`unknown.received`"}
    assert f"| `{name}` | " in page


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_listed(reason: Reason) -> None:
    """The page shows a stored text of each reason, as the store would read it."""
    shown = re.findall(r"^\| `([^`]+)` \|", PAGES["reasons.md"], re.MULTILINE)

    assert reason in [reason_of(text) for text in shown]


def settings() -> Iterator[tuple[str, dict[str, Any]]]:
    schema = router_schema()
    blocks = {"router.yaml": schema, **schema["$defs"]}
    for block, described in blocks.items():
        if block not in ("Conditions", "Operators", "Hours"):
            yield from ((f"{block}.{key}", item) for key, item in described.get("properties", {}).items())


@pytest.mark.parametrize(("key", "schema"), [pytest.param(*one, id=one[0]) for one in settings()])
def test_every_setting_has_a_meaning_and_stands_in_the_page(key: str, schema: dict[str, Any]) -> None:
    """A key without a docstring would be a row without a meaning, there and in editors."""
    assert schema.get("description")
    name = key.rpartition(".")[2]
    assert f"| `{name}` | " in PAGES["settings.md"] or f"`{{{name}: " in PAGES["settings.md"]


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, ApiCommands):
            continue  # its operations stand in api.md
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*one, id=one[0]) for one in commands(cli)])
def test_every_command_and_option_has_a_help_and_stands_in_the_page(name: str, command: click.Command) -> None:
    """Whoever reads the page or asks `--help` is told what each does."""
    section = PAGES["cli.md"].partition(f"## {name}\n")[2].partition("\n## ")[0]
    options = [param for param in command.params if isinstance(param, click.Option)]

    assert command.help
    assert [option.name for option in options if not option.help] == []
    assert [option.opts for option in options if option.opts[-1] not in section] == []
    assert [option.envvar for option in options if option.envvar and f"`{option.envvar}`" not in section] == []


@pytest.mark.parametrize(
    ("told", "outcome"),
    [("voicemail: true, answered: true", "voicemail"), ("answered: false, duration: 14", "abandoned")],
)
def test_the_outcomes_of_the_page_are_those_of_the_program(told: str, outcome: str) -> None:
    """Voicemail goes before answered, and who hung up within seconds gave up: the table says so."""
    assert f"| `{told}` | `{outcome}` |" in PAGES["transitions.md"]
