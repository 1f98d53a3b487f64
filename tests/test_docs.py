"""The docs say what the program does: what they introduce is all there is, examples load, links lead somewhere.

Fields, operators, settings and options stand in docs/reference/; tests/test_reference.py holds it against the program.
"""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml

from receiver.schema import metadata
from routers.blocks import RouterConfig
from routers.cli import cli
from routers.config import check_config, read_config
from routers.scenarios import SCENARIOS
from routers.schema import objects
from routers.sinks import SINK_TYPES
from routers.transitions import Transition

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("sink_type", SINK_TYPES)
def test_every_type_of_sink_is_introduced(sink_type: str) -> None:
    """docs/configuration.md says what each type is for, and the README that it can be used."""
    assert f"`type: {sink_type}`" in CONFIGURATION
    assert f"type: {sink_type}" in README


@pytest.mark.parametrize("block", RouterConfig.model_fields)
def test_every_block_of_the_file_is_introduced(block: str) -> None:
    """docs/configuration.md says where each block belongs; the reference lists the keys in it."""
    assert f"`{block}`" in CONFIGURATION or f"{block}:" in CONFIGURATION


def configuration_examples() -> list[str]:
    blocks: list[str] = re.findall(r"```yaml\n(.*?)```", CONFIGURATION, re.DOTALL)
    assert len(blocks) == 4
    return blocks


@pytest.mark.parametrize("block", configuration_examples())
def test_an_example_of_the_configuration_is_right(block: str, tmp_path: Path) -> None:
    """Each YAML block of docs/configuration.md is a file, or the part of one that the heading names."""
    written = yaml.safe_load(block)
    company = "" if "companies" in written else "companies: {acme-plumbing: {signing_keys: [env:ACME_KEY]}}\n"
    path = tmp_path / "router.yaml"
    path.write_text(block + company)

    checked = check_config(path)

    assert [str(problem) for problem in checked.problems] == []
    unused = [warning for warning in checked.warnings if "nothing is sent to the sink" not in str(warning)]
    assert [str(warning) for warning in (checked.warnings if "rules" in written else unused)] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the repository names one that exists, and a heading that it has."""
    links = re.findall(r"\]\((?!https?:)([^)\s]*)\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name) if name else page
    if not target.exists() or not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def written_commands() -> list[str]:
    """What the pages tell readers to type: in blocks at the start of a line, in text between backticks."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    found = re.findall(r"^(?:\$ |\.venv/bin/)?callrail-router ([^#\n]+)|`callrail-router ([^`]+)`", text, re.MULTILINE)
    return sorted({(block or inline).strip() for block, inline in found})


@pytest.mark.parametrize("written", written_commands())
def test_a_command_that_a_page_tells_to_type_is_one(written: str) -> None:
    """Each command, its options and the names of scenarios exist."""
    command: click.Command | None = cli
    words = written.split()
    while isinstance(command, click.Group) and words and words[0].isalpha():
        command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None
    assert command is not None
    options = {name for param in command.params for name in param.opts} | {"--help", "-h"}

    assert [word for word in words if word.startswith("-") and word not in options | {"-"}] == []
    scenarios = [after for word, after in pairwise(words) if word == "--scenario"]
    assert [name for name in scenarios if name not in {*SCENARIOS, "all"}] == []


@pytest.mark.parametrize("transition", list(Transition))
def test_every_transition_is_in_the_readme(transition: Transition) -> None:
    """Who writes a rule finds all that can happen."""
    assert f"`{transition}`" in README


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_every_table_is_in_the_architecture(table: str) -> None:
    """docs/architecture.md names each table."""
    assert objects.metadata is metadata
    assert f"`{table}`" in ARCHITECTURE


def test_the_way_of_an_event_names_files_that_exist() -> None:
    """A file that is renamed is renamed in the docs."""
    named = set(re.findall(r"`((?:callrail|receiver|routers|tests)/[\w/.]+)`", ARCHITECTURE))

    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def readme_examples() -> list[str]:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    return blocks


def test_the_readme_s_examples_are_one_valid_file(tmp_path: Path) -> None:
    """The three YAML blocks of the README, put together as a reader would, pass `rules check`."""
    whole: dict[str, object] = {}
    for block in readme_examples():
        for key, value in yaml.safe_load(block).items():
            known = whole.setdefault(key, type(value)())
            if isinstance(known, list):
                known.extend(value)
            elif isinstance(known, dict):
                known.update(value)
    path = tmp_path / "router.yaml"
    other = {"signing_keys": ["env:OTHER_KEY"]}
    whole["companies"]["other"] = other  # type: ignore[index]
    path.write_text(yaml.safe_dump(whole, sort_keys=False))

    assert [rule.id for rule in read_config(path).rules.rules] == ["missed", "big-caller"]


@pytest.mark.parametrize("name", ["router.yaml", "agency.yaml"])
def test_an_example_file_is_right_and_warns_of_nothing(name: str) -> None:
    """`make run` starts with one of them, and people copy them."""
    checked = check_config(ROOT / "examples" / name)

    assert [str(problem) for problem in (*checked.problems, *checked.warnings)] == []


def test_no_example_file_is_forgotten() -> None:
    """Each file in examples/ is read by the test above, because another includes it, or by test_deploy_docs.py."""
    files = {path.relative_to(ROOT / "examples").as_posix() for path in (ROOT / "examples").rglob("*.yaml")}
    read_elsewhere = ("clients/", "deploy/")

    assert {name for name in files if not name.startswith(read_elsewhere)} == {"router.yaml", "agency.yaml"}


@pytest.mark.parametrize(
    ("company", "transition", "told", "sinks"),
    [
        ("acme-plumbing", Transition.CALL_MISSED, {"hours": "open", "first_call": True}, ["acme-phone", "agency-crm"]),
        ("globex-dental", Transition.CALL_MISSED, {"hours": "open", "first_call": True}, ["agency-desk", "agency-crm"]),
        ("globex-dental", Transition.CALL_MISSED, {"hours": "closed", "first_call": True}, ["agency-crm"]),
        ("globex-dental", Transition.CALL_MISSED, {"hours": "open", "first_call": True, "source": "Test"}, []),
        ("globex-dental", Transition.CALL_VOICEMAIL, {"transcription": "A pipe burst", "first_call": False}, []),
        (
            "acme-plumbing",
            Transition.CALL_VOICEMAIL,
            {"transcription": "A pipe burst", "first_call": False},
            ["acme-phone"],
        ),
        ("globex-dental", Transition.TEXT_RECEIVED, {"opt_out": True}, ["agency-crm"]),
        ("globex-dental", Transition.TEXT_RECEIVED, {"opt_out": False}, ["agency-desk", "agency-crm"]),
    ],
)
def test_the_agency_s_rules_tell_whom_their_names_say(
    company: str, transition: Transition, told: dict[str, object], sinks: list[str]
) -> None:
    """examples/agency.yaml does what its comments promise: each client's own people, nobody for a test call."""
    decision = read_config(ROOT / "examples" / "agency.yaml").rules.decide(company, transition, told)

    assert [send.sink for fired in decision.fired for send in fired.send] == sinks


def test_every_dependency_is_justified() -> None:
    """docs/dependencies.md has a line for each dependency, and for no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["salesforce"], *extras["dev"]]
    named = {re.split(r"[<>=]", requirement)[0] for requirement in wanted}
    lines = (ROOT / "docs" / "dependencies.md").read_text().splitlines()
    justified = {line.split("|")[1].strip() for line in lines if line.startswith("| ")} - {"Package"}

    assert justified == named
