"""Options that several commands share, each also an environment variable: option beats environment beats default."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from routers.durations import parse_duration

F = TypeVar("F", bound=Callable[..., Any])


class Lasting(click.ParamType[timedelta]):
    """How long something lasts, like 30s or 10m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return value if isinstance(value, timedelta) else parse_duration(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def config_option(command: F) -> F:
    return click.option(
        "--config",
        envvar="CALLRAIL_ROUTER_CONFIG",
        default="router.yaml",
        show_default=True,
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="The configuration file.",
    )(command)


def database_option(command: F) -> F:
    return click.option(
        "--database-url",
        envvar="CALLRAIL_ROUTER_DATABASE_URL",
        default="sqlite:///callrail-router.db",
        show_default=True,
        show_envvar=True,
        help="sqlite:///FILE or postgresql://USER@HOST/NAME.",
    )(command)


def spool_option(command: F) -> F:
    return click.option(
        "--spool",
        envvar="CALLRAIL_ROUTER_SPOOL",
        default="callrail-router-spool",
        show_default=True,
        show_envvar=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="The folder where webhooks wait while the database is away.",
    )(command)


def output_option(command: F) -> F:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "ndjson"]),
        default="table",
        show_default=True,
        help="How to print.",
    )(command)


def limit_option(command: F) -> F:
    return click.option(
        "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many rows at most."
    )(command)


def log_options(command: F) -> F:
    """`--log-level` and `--log-format`."""
    for option in (
        click.option(
            "--log-format",
            envvar="CALLRAIL_ROUTER_LOG_FORMAT",
            default="auto",
            show_default=True,
            show_envvar=True,
            type=click.Choice(["auto", "console", "json"]),
            help="console is for people, json for machines; auto is console in a terminal and json elsewhere.",
        ),
        click.option(
            "--log-level",
            envvar="CALLRAIL_ROUTER_LOG_LEVEL",
            default="info",
            show_default=True,
            show_envvar=True,
            type=click.Choice(["debug", "info", "warning", "error"]),
            help="What is worth a line. No level shows secrets or personal data.",
        ),
    ):
        command = option(command)
    return command
