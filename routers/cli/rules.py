"""`rules`: is router.yaml right, and what do its rules do?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from routers.cli.groups import Commands
from routers.cli.options import config_option, output_option
from routers.cli.output import print_rows
from routers.transitions import INSTALLATION, Transition

if TYPE_CHECKING:
    from receiver.exceptions import ConfigProblem
    from routers.config import Configuration
    from routers.rules.ruleset import Rule, Send, To


@click.group(cls=Commands)
def rules() -> None:
    """The rules of router.yaml."""


@rules.command()
@config_option
@output_option
def check(config: Path, output: str) -> int:
    """Check the whole file and name every mistake with its place. Exit code 0: right, 2: not.

    What is legal but surely not meant is a warning, and so is a secret that is missing here: it may be set where the
    router runs.
    """
    from routers.config import check_config

    checked = check_config(config)
    configuration = checked.configuration
    missing = configuration.missing_secrets(os.environ) if configuration is not None else []
    problems, warnings = checked.problems, [*checked.warnings, *missing]
    if output == "table":
        _tell("Error", "red", problems)
        _tell("Warning", "yellow", warnings)
    else:
        print_rows([*_rows("error", problems), *_rows("warning", warnings)], output=output, empty="")
    if configuration is None:
        return 2
    if output == "table":
        if not configuration.rules.is_asked(INSTALLATION, Transition.ROUTER_SINK_DOWN):
            hint = "No rule looks at router.sink_down: nobody is told when a sink fails (docs/rules.md, Alarms)."
            click.echo(hint, err=True)
        click.echo(f"{config} is right: {_counts(configuration)}.")
    return 0


def _tell(sort: str, colour: str, problems: Sequence[ConfigProblem]) -> None:
    for problem in problems:
        click.echo(f"{click.style(f'{sort}:', fg=colour)} {problem}", err=True)


def _rows(sort: str, problems: Sequence[ConfigProblem]) -> Iterator[dict[str, Any]]:
    for problem in problems:
        where = problem.where
        yield {
            "sort": sort,
            "file": where.file,
            "line": where.line,
            "column": where.column,
            "path": where.path,
            "problem": problem.problem,
            "hint": problem.hint,
        }


def _counts(configuration: Configuration) -> str:
    counts = (
        (len(configuration.company_configs), "company", "companies"),
        (len(configuration.sink_configs), "sink", "sinks"),
        (len(configuration.rules.rules), "rule", "rules"),
    )
    return ", ".join(f"{count:,} {one if count == 1 else several}" for count, one, several in counts)


@rules.command()
@config_option
@click.option("--flat", is_flag=True, help="Company by company, with the sinks that its roles name.")
@click.option("--company", help="The rules of this company only; implies --flat.")
@output_option
def show(config: Path, flat: bool, company: str | None, output: str) -> None:
    """Say in plain English what each rule does."""
    from routers.config import read_config

    configuration = read_config(config)
    if company is not None and company not in configuration.company_configs:
        raise click.BadParameter(f"{config} has no company '{company}'", param_hint="--company")
    if not flat and company is None:
        shown = [_shown(rule, rule.send) for rule in configuration.rules.rules]
    else:
        companies = [company] if company is not None else list(configuration.company_configs)
        shown = [row for name in companies for row in _flat(configuration, name)]
    if output == "table":
        _print_readings(shown)
    else:
        print_rows(shown, output=output, empty="")


def _flat(configuration: Configuration, company: str) -> Iterator[dict[str, Any]]:
    """The rules that look at anything of *company*, and what its `unmatched` does."""
    rules = configuration.rules
    for rule in rules.rules:
        if rule.companies is None or company in rule.companies:
            yield {"company": company, **_shown(rule, rules.sends_of(rule, company))}
    for what, to in rules.everyone_else.items():
        send = to.resolve(rules.roles.get(company, {}))
        if send is not None:
            role = f" (role {send.role})" if send.role else ""
            reading = f"When no rule has spoken of one of the {what}: tell {send.sink}{role}."
            yield {"company": company, "rule": "unmatched", "name": None, "sends": [_send(send)], "reading": reading}


def _shown(rule: Rule, sends: Sequence[Send | To]) -> dict[str, Any]:
    from routers.rules.reading import reading_of

    return {
        "rule": rule.id,
        "name": rule.name,
        "sends": [_send(send) for send in sends],
        "reading": reading_of(rule, sends),
    }


def _send(send: Send | To) -> dict[str, Any]:
    from routers.rules.ruleset import Send

    sink, role = (send.sink, send.role) if isinstance(send, Send) else (None, None)
    return {"id": send.id, "sink": sink, "role": role, "template": send.template} if sink else {"to": send.id}


def _print_readings(shown: Sequence[dict[str, Any]]) -> None:
    company = None
    for row in shown:
        if row.get("company") != company:
            company = row.get("company")
            click.secho(f"{company}\n", bold=True)
        name = f"  {row['name']}" if row["name"] else ""
        click.echo(f"{click.style(row['rule'], fg='cyan')}{click.style(name, dim=True)}")
        click.echo(click.wrap_text(row["reading"], width=100, initial_indent="  ", subsequent_indent="  ") + "\n")


@rules.command()
def schema() -> None:
    """Print the JSON Schema of router.yaml, for completion and checks in editors."""
    from routers.rule_schema import router_schema

    click.echo(orjson.dumps(router_schema(), option=orjson.OPT_INDENT_2).decode())
