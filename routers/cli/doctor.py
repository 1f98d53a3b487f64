"""`doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from routers.cli.options import Lasting, config_option, database_option
from routers.cli.output import plain

if TYPE_CHECKING:
    from routers.checkup import Finding
    from routers.config import Configuration

_MOST_OF_A_KIND = 5
_NARROWEST = 40  # columns; below that lines are as they come
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


@click.command()
@config_option
@database_option
@click.option(
    "--spool",
    envvar="CALLRAIL_ROUTER_SPOOL",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="The folder of the server's spool, to look at its disk.",
)
@click.option("--sinks", is_flag=True, help="Try each sink too, as `sinks test` does.")
@click.option(
    "--observe",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instead, look at open calls by CallRail's API until --for is over, and add to FILE what it shows of each.",
)
@click.option(
    "--for",
    "lasting",
    type=Lasting(),
    default="1h",
    show_default=True,
    help="How long to observe; Ctrl-C ends it earlier.",
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
def doctor(
    config: Path,
    database_url: str,
    spool: Path | None,
    sinks: bool,
    observe: Path | None,
    lasting: timedelta,
    output: str,
) -> int:
    """Look at everything and say what is wrong and what to do. Changes nothing.

    It reads the secrets of the shell it runs in, so give it those of the server. Exit code 0: no problem, though
    perhaps warnings; 1: a problem.
    """
    if observe is not None:
        from routers.cli.observing import observe_calls

        return observe_calls(config, database_url, observe, lasting, output=output)
    findings = list(_findings(config, database_url, spool, with_sinks=sinks))
    if output == "json":
        rows = [
            {"subject": one.subject, "verdict": one.verdict, "found": one.found, "remedy": one.remedy or None}
            for one in findings
        ]
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(findings)
    return 1 if any(one.verdict == "problem" for one in findings) else 0


def _findings(config: Path, database_url: str, spool: Path | None, *, with_sinks: bool) -> Iterator[Finding]:
    from routers import checkup
    from routers.config import Checked, check_config

    checked: list[Checked] = []

    def look_at_config() -> Iterator[Finding]:
        checked.append(check_config(config))
        yield from checkup.look_at_config(checked[0], config)

    yield from checkup.look_at("router.yaml", look_at_config)
    configuration = checked[0].configuration if checked else None
    if configuration is not None:
        secrets = partial(checkup.look_at_secrets, configuration, os.environ)
        yield from checkup.look_at("secrets", secrets)
        yield from checkup.look_at("media", partial(checkup.look_at_media, configuration))
        keys = partial(checkup.look_at_keys, configuration, datetime.now(UTC).date())
        yield from checkup.look_at("keys", keys)
    of_database = checkup.look_at("database", partial(checkup.look_at_database, database_url))
    yield from of_database
    if spool is not None:
        yield from checkup.look_at("spool", partial(checkup.look_at_spool, spool, database_url))
    if all(one.verdict != "problem" for one in of_database):
        yield from checkup.look_at("traffic", partial(checkup.look_at_traffic, database_url, configuration))
    if configuration is not None and with_sinks:
        yield from _tried(configuration)


def _tried(configuration: Configuration) -> Iterator[Finding]:
    """What `sinks test` finds; each sink has its own longest time."""
    from routers import checkup
    from routers.cli.serving import run_on_fast_loop
    from routers.cli.sinks import try_sink

    findings: list[Finding] = []

    async def try_all() -> None:
        configs = configuration.sink_configs
        tried = await asyncio.gather(*(try_sink(config, configuration) for config in configs.values()))
        for name, checks in zip(configs, tried, strict=True):
            for check in checks:
                found = f"{name}: {check.what}"
                is_right = checkup.ok("sinks", found)
                findings.append(is_right if check.ok else checkup.problem("sinks", found, check.remedy))

    run_on_fast_loop(try_all())
    yield from findings


def _show(findings: Sequence[Finding]) -> None:
    """The worst at the end, where eyes are; of many of a kind the first few."""
    for verdict, (mark, colour) in _MARKS.items():
        shown: dict[str, int] = {}
        for one in findings:
            if one.verdict != verdict:
                continue
            shown[one.subject] = shown.get(one.subject, 0) + 1
            if shown[one.subject] <= _MOST_OF_A_KIND:
                styled = f"{click.style(mark, fg=colour)} {click.style(one.subject, bold=True)}: "
                click.echo(styled + _fitted(plain(one.found), len(f"{mark} {one.subject}: ")))
                if one.remedy:
                    click.echo("    " + _fitted(plain(one.remedy), 4))
        for subject, count in shown.items():
            if count > _MOST_OF_A_KIND:
                click.echo(f"{click.style(mark, fg=colour)} {subject}: {count - _MOST_OF_A_KIND} more; -o json has all")
    counts = [sum(one.verdict == verdict for one in findings) for verdict in ("problem", "warning")]
    click.echo(f"{_count(counts[0], 'problem')}, {_count(counts[1], 'warning')}.")


def _fitted(text: str, begun: int) -> str:
    """*text* in lines of the terminal, after *begun* characters of the first; as it is where no terminal reads it."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    filled = textwrap.fill(
        " " * begun + text,
        max(width, _NARROWEST),
        subsequent_indent="    ",
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled[begun:]


def _count(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
