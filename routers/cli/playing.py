"""`simulate` and `demo`: CallRail without CallRail."""

from __future__ import annotations

import asyncio
import math
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click
from sqlalchemy import make_url

from routers.cli.database_errors import told_plainly
from routers.cli.options import config_option, database_option
from routers.cli.output import print_rows
from routers.cli.serving import run_on_fast_loop
from routers.demo import Show, companies_named, example_config, invent_missing_keys, play_to
from routers.demo import demo as run_demo
from routers.scenarios import SCENARIOS
from routers.simulator import Sent, Story, Tally

_HELD_BACK = "… a call is over (held_back): CallRail's API knows it now, its post-call comes later"
_STORIES = [story.value for story in Story]
# The first has news that comes while people look on: they see its message edited.
_DEMO_STORIES = [
    "late_voicemail",
    "held_back",  # the API tells of it before its post-call comes
    *(Story.TEXT, Story.MISSED, Story.ANSWERED, Story.FORM, Story.VOICEMAIL, Story.ABANDONED),
    "repeat_caller",  # one contact at HubSpot, with two calls
]


def _number(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    if math.isnan(value):  # no range refuses it, for it compares with nothing
        raise click.BadParameter("nan is no number.")
    return value


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(f"'{value}' is no time with its offset; write one like 2026-05-04T09:30:00-04:00.")
    return moment


@click.command()
@click.argument("stories", nargs=-1, type=click.Choice([*_STORIES, "all"]))
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="NAME",
    type=click.Choice([*SCENARIOS, "all"]),
    help="Play this scenario, trouble included; may be repeated. --list names them.",
)
@click.option("--list", "is_list", is_flag=True, help="Name every scenario, with one line each, and play nothing.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the intake listens.")
@config_option
@click.option("--company", "names", multiple=True, help="Play to this company only; may be repeated.")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 1_000_000), help="How often to play.")
@click.option(
    "--speed",
    default=10.0,
    show_default=True,
    callback=_number,
    type=click.FloatRange(0, min_open=True),
    help="How many times faster than life; inf does not wait.",
)
@click.option(
    "--gap",
    default=20.0,
    show_default=True,
    callback=_number,
    type=click.FloatRange(0, 86_400),
    help="Seconds of life from one story's start to the next.",
)
@click.option("--seed", type=int, help="The same seed plays the same stories.  [default: another one each time]")
@click.option(
    "--begins",
    callback=_moment,
    metavar="TIME",
    help="When the first story happens, as it is told; with --seed the webhooks are the same bytes.  [default: now]",
)
@click.option("--quiet", "-q", is_flag=True, help="Print the total only.")
def simulate(
    stories: tuple[str, ...],
    scenarios: tuple[str, ...],
    is_list: bool,
    url: str,
    config: Path,
    names: tuple[str, ...],
    count: int,
    speed: float,
    gap: float,
    seed: int | None,
    begins: datetime | None,
    quiet: bool,
) -> int:
    """Post the signed webhooks of whole life cycles, as CallRail would.

    STORIES: missed, answered, voicemail, abandoned, form, text, or all (the default). The keys are those of the
    configuration, so the webhooks are genuine to whoever serves it. Exit code 1: the server answered otherwise than
    the scenario expects.
    """
    from routers.config import read_config

    if is_list:
        print_rows([{"name": one.name, "what": one.sentence} for one in SCENARIOS.values()], output="table", empty="")
        return 0
    companies = read_config(config).companies(os.environ)
    try:
        chosen = companies_named(companies, names)
    except KeyError as error:
        raise click.BadParameter(f"{config} has no company {error}", param_hint="--company") from None
    show = Show(
        _wanted(stories, scenarios) * count,
        speed,
        timedelta(seconds=gap),
        seed if seed is not None else random.getrandbits(32),
        begins,
    )
    sent: list[Sent] = []

    def on_sent(one: Sent) -> None:
        sent.append(one)
        if not quiet:
            _print_sent(one)

    async def run() -> None:
        await play_to(url, chosen, show, on_sent=on_sent)

    run_on_fast_loop(run())
    total = Tally.of(sent)
    click.echo(f"{_counted(total)} (seed {show.seed}).")
    if not quiet:
        print_rows(_answers(sent), output="table", empty="")
    if not any(isinstance(one.answer, int) for one in sent):
        click.echo(f"Nothing answers at {url}: start `callrail-router serve`, or name another with --url.", err=True)
    return 0 if total.is_as_expected else 1


def _wanted(stories: tuple[str, ...], scenarios: tuple[str, ...]) -> list[str]:
    """What to play: stories in their own order, then scenarios in the order named; all stories if nothing is named."""
    is_all = "all" in stories or not (stories or scenarios)
    return [
        *(name for name in _STORIES if is_all or name in stories),
        *(SCENARIOS if "all" in scenarios else dict.fromkeys(scenarios)),
    ]


def _counted(total: Tally) -> str:
    parts = [f"{total.sent} webhooks sent", f"{total.accepted} accepted", f"{total.refused} refused"]
    if total.rightly_refused:
        parts.append(f"{total.rightly_refused} refused as they should be")
    if total.wrongly_accepted:
        parts.append(f"{total.wrongly_accepted} accepted though wrongly signed")
    return ", ".join(parts)


def _answers(sent: Sequence[Sent]) -> list[dict[str, object]]:
    """How the webhooks of each scenario were answered, one row for each sort of answer."""
    counts = Counter((one.story, one.expected, one.answer, one.is_as_expected) for one in sent)
    return [
        {
            "scenario": story,
            "webhooks": count,
            "expected": expected,
            "right": "yes" if right else "NO",
            "answer": answer,
        }
        for (story, expected, answer, right), count in counts.items()
    ]


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="The configuration.  [default: the example]")
@database_option
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen at; another one if somebody else is there.",
)
@click.option(
    "--speed",
    default=20.0,
    show_default=True,
    callback=_number,
    type=click.FloatRange(0, min_open=True),
    help="How many times faster than life.",
)
@click.option("--once", is_flag=True, help="End after the play instead of serving on.")
def demo(config: Path | None, database_url: str, port: int, speed: float, once: bool) -> None:
    """Start everything in one process and play calls to it. Needs no account, no key and no other server.

    Nobody is told: what Slack, mail and HubSpot would show is shown here, and what other sinks would send is printed.
    """
    from routers.cli.showing import Screen
    from routers.config import read_config
    from routers.listening import CannotListen, bind
    from routers.logs import set_up_logs
    from routers.migrate import upgrade
    from routers.serve import Plan, Role, stop_on_signals

    set_up_logs("warning")
    path = config or example_config()
    configuration = read_config(path)
    invent_missing_keys(configuration.signing_key_references(), os.environ)
    with told_plainly():
        upgrade(database_url)
    try:
        listener = bind("127.0.0.1", port)
    except CannotListen:
        listener = bind("127.0.0.1", 0)  # somebody else is there; a demo takes any port
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    click.secho("callrail-router demo", bold=True, err=True)
    click.echo(f"  database  {database_url}  (kept: the next run goes on with it)", err=True)
    click.echo(f"  rules     {path}", err=True)
    click.echo("  messages  shown here; nobody else is told", err=True)
    click.echo(f"  intake    {url}/callrail/{{company}}/{{kind}}", err=True)
    click.echo(f"Playing signed CallRail webhooks at {speed:g} times life's pace. Ctrl-C ends.\n", err=True)
    show = Show(_DEMO_STORIES, speed, timedelta(seconds=20), random.getrandbits(32))

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await run_demo(
            Plan(configuration, database_url, Role.ALL, listener, _spool_beside(database_url)),
            url,
            show,
            screen=Screen(sys.stdout),
            stop=stop,
            on_sent=_print_sent,
            on_over=lambda: click.secho(_HELD_BACK, err=True, dim=True),
            on_played=lambda: _explain_next_steps(once),
            once=once,
        )

    run_on_fast_loop(run())
    click.echo("Stopped; everything received is stored.", err=True)


def _spool_beside(database_url: str) -> Path:
    """A folder of the demo's own: what waits in that of `serve` must not get into the demo, nor the other way round."""
    url = make_url(database_url)
    return Path(f"{url.database}-spool" if url.get_backend_name() == "sqlite" else "callrail-router-demo-spool")


def _print_sent(sent: Sent) -> None:
    right = sent.is_as_expected
    mark = click.style(f"→ {sent.answer}", fg="green" if right else "red", dim=right)
    click.echo(f"{mark} {click.style(f'{sent.kind} ({sent.story})', dim=True)}", err=True)


def _explain_next_steps(once: bool) -> None:
    if once:
        return
    click.echo("\nThat was the play; the router serves on. In another terminal, with the same database:", err=True)
    command = "callrail-router" if shutil.which("callrail-router") else sys.argv[0]
    click.echo(f"  {command} events list        what came in", err=True)
    click.echo(f"  {command} deliveries list    what was told to whom", err=True)
    click.echo("Ctrl-C ends.", err=True)
