"""`urls`: what to paste in CallRail, and whether it works."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import click

from receiver.arrivals import Arrival, arrivals_since, newest_id
from receiver.database import Database, open_database
from receiver.exceptions import DatabaseUnavailable
from receiver.schema import QuarantineReason
from routers.cli.database_errors import told_plainly
from routers.cli.options import Lasting, config_option, database_option, output_option
from routers.cli.output import local, print_rows
from routers.refusals import what_to_check
from routers.urls import CALLRAIL_FIELD, HookUrl, checked_base_url, urls_of, wanted_transitions

_PAUSE = 0.5  # seconds between two looks into the store
_PIPE_WIDTH = 160
_WHY_WIDTH = 30
_FIELD_OF: Mapping[str, str] = {kind.value: field for kind, field in CALLRAIL_FIELD.items()}
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def _base_url(_ctx: click.Context, _param: click.Parameter, written: str) -> str:
    try:
        return checked_base_url(written)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


@click.command()
@click.argument("company")
@config_option
@click.option(
    "--base-url",
    envvar="CALLRAIL_ROUTER_BASE_URL",
    default="https://hooks.example.com",
    show_default=True,
    show_envvar=True,
    callback=_base_url,
    help="Where CallRail reaches your server.",
)
@output_option
@click.option("--wait", "is_waiting", is_flag=True, help="Wait for the first webhook of each kind, ticking them off.")
@click.option("--timeout", type=Lasting(), metavar="DURATION", help="Wait no longer than this, like 30s or 10m.")
@database_option
def urls(
    company: str,
    config: Path,
    base_url: str,
    output: str,
    is_waiting: bool,
    timeout: timedelta | None,
    database_url: str,
) -> int:
    """Print the URL to paste in CallRail for each kind of webhook that the rules of COMPANY need.

    With --wait, exit code 0 says that one of each kind has come, 1 that the time was over before.
    """
    from routers.config import read_config

    if timeout is not None and not is_waiting:
        raise click.UsageError("--timeout says how long to wait; write --wait too.")
    configuration = read_config(config)
    if company not in configuration.company_configs:
        raise click.UsageError(f"{config} has no company '{company}'; {_hint(company, configuration.company_configs)}")
    wanted = urls_of(company, wanted_transitions(configuration, company), base_url=base_url)
    _warn(base_url)
    if not is_waiting:
        _print(company, wanted, output)
        return 0
    with _opened(database_url) as database, told_plainly():
        with database.reading.connect() as conn:
            marker = newest_id(conn)

        def look() -> list[Arrival]:
            with database.reading.connect() as conn:
                return arrivals_since(conn, marker, company=company)

        _print(company, wanted, output)
        return _wait(company, wanted, look, timeout)


def _hint(written: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(written, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names[:20])}"


def _warn(base_url: str) -> None:
    parts = urlsplit(base_url)
    if parts.hostname == "hooks.example.com":
        click.echo("Write where CallRail reaches your server with --base-url; this is an example.", err=True)
    elif parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        click.echo("Warning: webhooks hold names and numbers, and http shows them on the way; use https.", err=True)


@contextmanager
def _opened(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    try:
        if database.is_missing:
            raise DatabaseUnavailable(f"there is no file {database.url.database}; run: callrail-router migrate")
        yield database
    finally:
        database.dispose()


# --- printing --------------------------------------------------------------------------------------------------------


def _print(company: str, wanted: Sequence[HookUrl], output: str) -> None:
    if output == "table":
        _print_table(company, wanted)
        return
    rows = [
        {"kind": one.kind, "field": one.field, "url": one.url, "need": one.need, "because": list(one.because)}
        for one in wanted
    ]
    print_rows(rows, output=output, empty="")


def _print_table(company: str, wanted: Sequence[HookUrl]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("field in CallRail", no_wrap=True)
    table.add_column("URL", no_wrap=True)
    table.add_column("why")
    for one in wanted:
        table.add_row(one.field, one.url, f"{one.need}: {', '.join(one.because)}" if one.because else one.need)
    click.echo(f"In CallRail, for the company that is {company} here: Integrations > Webhooks. Paste and activate:")
    console = Console(highlight=False, markup=False)
    # A URL that the table breaks or cuts cannot be copied; one that the terminal breaks can.
    needed = max(len(one.field) + len(one.url) for one in wanted) + _WHY_WIDTH
    console.width = max(console.width if console.is_terminal else _PIPE_WIDTH, needed)
    console.print(table)


# --- waiting ---------------------------------------------------------------------------------------------------------


def _wait(company: str, wanted: Sequence[HookUrl], look: Callable[[], list[Arrival]], timeout: timedelta | None) -> int:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
    watch = Watch(company, wanted)
    console.print(f"Waiting for {watch.missing_text}. Ctrl-C ends.", soft_wrap=True)
    try:
        with console.status("") as status:
            while True:
                for line in watch.see(look()):
                    console.print(line, soft_wrap=True)
                if not watch.missing:
                    console.print("All there.")
                    return 0
                if deadline is not None and time.monotonic() >= deadline:
                    console.print(f"The time is over. Still missing: {watch.missing_text}.", soft_wrap=True)
                    return 1
                status.update(f"{len(wanted) - len(watch.missing)} of {len(wanted)} there")
                time.sleep(_PAUSE)
    except KeyboardInterrupt:
        console.print(f"Ended. Still missing: {watch.missing_text}.", soft_wrap=True)
        return 130


class Watch:
    """Which of the *wanted* kinds have come, and what is worth telling of all that came; each is told once."""

    def __init__(self, company: str, wanted: Sequence[HookUrl]) -> None:
        self._company = company
        self._told: set[tuple[str, str, QuarantineReason | None]] = set()
        self.missing = [one.kind for one in wanted]

    @property
    def missing_text(self) -> str:
        return ", ".join(CALLRAIL_FIELD[kind] for kind in self.missing)

    def see(self, arrivals: Sequence[Arrival]) -> Iterator[str]:
        """A line for each of *arrivals* that was not told of before."""
        for arrival in arrivals:
            key = (arrival.company, arrival.kind, arrival.refused)
            if key in self._told:
                continue
            self._told.add(key)
            if arrival.refused is None:
                yield self._tick_off(arrival)
            else:
                yield f"✗ {local(arrival.received_at)}  {self._refusal(arrival, arrival.refused)}"

    def _tick_off(self, arrival: Arrival) -> str:
        at = local(arrival.received_at)
        if arrival.kind not in _FIELD_OF:
            return f"? {at}  A webhook came to a URL whose last part is no kind we know; paste the URL once more."
        if arrival.kind not in self.missing:
            return f"✓ {at}  {_FIELD_OF[arrival.kind]}, which no rule needs"
        self.missing = [kind for kind in self.missing if kind != arrival.kind]
        return f"✓ {at}  {_FIELD_OF[arrival.kind]}"

    def _refusal(self, arrival: Arrival, reason: QuarantineReason) -> str:
        field = _FIELD_OF.get(arrival.kind, "A webhook")
        return f"{field} came, but is in quarantine: {what_to_check(reason, _plain(arrival.company))}"


def _plain(text: str) -> str:
    """*text*, which anybody may have sent, without what could steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
