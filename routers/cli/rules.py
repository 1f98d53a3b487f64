"""`rules`: is router.yaml right?"""

from __future__ import annotations

import os
from pathlib import Path

import click

from routers.cli.options import config_option


@click.group()
def rules() -> None:
    """The rules of router.yaml."""


@rules.command()
@config_option
def check(config: Path) -> int:
    """Check the whole file and name every mistake with its place. Exit code 0: right, 2: not.

    A secret that is missing here is a warning only: it may be set where the router runs.
    """
    from routers.config import read_config

    configuration = read_config(config)
    for problem in configuration.missing_secrets(os.environ):
        click.echo(f"Warning: {problem}", err=True)
    companies, sinks, count = configuration.company_configs, configuration.sink_configs, len(configuration.rules.rules)
    click.echo(f"{config} is right: {len(companies)} companies, {len(sinks)} sinks, {count} rules.")
    return 0
