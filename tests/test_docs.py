"""The docs say what the program does: each setting, option, transition and dependency is named, each example loads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from receiver.companies import CompanyConfig
from receiver.schema import metadata
from routers.blocks import RouterConfig, RuleConfig
from routers.cli.serving import serve
from routers.config import read_config
from routers.rules.fields import own_fields
from routers.rules.operators import OPERATORS
from routers.schema import objects
from routers.sinks import SINK_TYPES
from routers.transitions import Transition

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def settings() -> list[str]:
    models = [CompanyConfig, RouterConfig, RuleConfig, *SINK_TYPES.values()]
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


@pytest.mark.parametrize("setting", settings())
def test_every_setting_of_the_file_is_documented(setting: str) -> None:
    """docs/configuration.md names each key that router.yaml may have."""
    assert f"`{setting}`" in CONFIGURATION or f"{setting}:" in CONFIGURATION


@pytest.mark.parametrize("name", sorted([*OPERATORS, *own_fields(), *SINK_TYPES]))
def test_every_operator_own_field_and_sink_type_is_documented(name: str) -> None:
    """docs/configuration.md names what a rule may use."""
    assert re.search(rf"`(type: )?{name}`|{name}:", CONFIGURATION)


@pytest.mark.parametrize("option", [option for option in serve.params if isinstance(option, click.Option)])
def test_every_option_of_serve_is_documented(option: click.Option) -> None:
    """docs/configuration.md names each option with its environment variable."""
    assert f"`{option.opts[0]}` | `{option.envvar}`" in CONFIGURATION


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


def test_the_example_is_right() -> None:
    """`make run` starts with a file that has no mistake."""
    assert len(read_config(ROOT / "examples" / "router.yaml").rules.rules) == 3


def test_every_dependency_is_justified() -> None:
    """docs/dependencies.md has a line for each dependency, and for no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    named = {re.split(r"[<>=]", requirement)[0] for requirement in wanted}
    lines = (ROOT / "docs" / "dependencies.md").read_text().splitlines()
    justified = {line.split("|")[1].strip() for line in lines if line.startswith("| ")} - {"Package"}

    assert justified == named
