"""`python -m bench`: what is run, in order."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from bench import (
    api,
    delivery,
    e2e,
    footprint,
    hanging,
    held,
    history,
    intake,
    lookups,
    million,
    order,
    outage,
    replay,
    routing,
    rules,
)
from bench.checks import CheckFailed
from bench.report import Figure, conditions, print_table, write_json
from bench.servers import Kind, ServerFailed, Workspace, workspace
from bench.sink import NotAllArrived, Sink, running_sink

# Measured once, whatever databases are asked for.
_WITHOUT_DATABASE = frozenset({"rules", "api"})


@dataclass(frozen=True)
class _Extent:
    """How much is done for each figure."""

    rounds: int
    seconds: float
    stored: int
    events: int
    away: float


@dataclass(frozen=True)
class _Bench:
    """What a part measures with."""

    space: Workspace
    sink: Sink
    extent: _Extent


_Part = Callable[[_Bench, Kind], Iterator[Figure]]
_PARTS: dict[str, _Part] = {
    "intake": lambda b, kind: intake.measure(b.space, kind, rounds=b.extent.rounds, seconds=b.extent.seconds),
    "routing": lambda b, kind: routing.measure(b.space, kind, rounds=b.extent.rounds),
    "lookups": lambda b, kind: lookups.measure(b.space, kind, rounds=b.extent.rounds),
    "e2e": lambda b, kind: e2e.measure(b.space, b.sink, kind, rounds=b.extent.rounds, seconds=b.extent.seconds),
    "delivery": lambda b, kind: delivery.measure(b.space, b.sink, kind, rounds=b.extent.rounds),
    "order": lambda b, kind: order.measure(b.space, b.sink, kind, rounds=b.extent.rounds),
    "hanging": lambda b, kind: hanging.measure(b.space, b.sink, kind, rounds=b.extent.rounds, seconds=b.extent.seconds),
    "held": lambda b, kind: held.measure(b.space, kind, rounds=b.extent.rounds),
    "history": lambda b, kind: history.measure(b.space, kind, rounds=b.extent.rounds, stored=b.extent.stored),
    "start": lambda b, kind: footprint.measure_start(b.space, kind, rounds=b.extent.rounds),
    "memory": lambda b, kind: footprint.measure_memory(b.space, b.sink, kind, events=b.extent.events),
    "million": lambda b, kind: million.measure(b.space, kind, rounds=b.extent.rounds, stored=b.extent.stored),
    "replay": lambda b, kind: replay.measure(b.space, kind, rounds=b.extent.rounds),
    "outage": lambda b, kind: outage.measure(b.space, kind, away=b.extent.away),
    "rules": lambda b, _kind: rules.measure(b.space, rounds=b.extent.rounds),
    "api": lambda b, _kind: api.measure(rounds=b.extent.rounds),
}


def _several(*allowed: str) -> click.ParamType[tuple[str, ...]]:
    class Several(click.ParamType[tuple[str, ...]]):
        name = ",".join(allowed)

        def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
            given = tuple(str(value).split(","))
            if unknown := set(given) - set(allowed):
                self.fail(f"{', '.join(unknown)}: there are {', '.join(allowed)}", param, ctx)
            return given

    return Several()


@click.command()
@click.option("--only", type=_several(*_PARTS), default=",".join(_PARTS), show_default=True, help="Which parts.")
@click.option("--database", type=_several(*Kind), default=",".join(Kind), show_default=True, help="Which databases.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Interleaved rounds a figure.")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Length of a round.")
@click.option("--stored", type=int, default=1_000_000, show_default=True, help="Events stored before.")
@click.option("--events", type=int, default=100_000, show_default=True, help="Events taken in, in memory.")
@click.option("--away", type=float, default=30.0, show_default=True, help="Seconds without a database, in outage.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the figures here.")
def main(
    only: tuple[str, ...],
    database: tuple[str, ...],
    rounds: int,
    seconds: float,
    stored: int,
    events: int,
    away: float,
    file: Path | None,
) -> None:
    """Measure the installed router and print one table.

    Exit code 1 if anything was lost or came twice, or a server failed. A missed target is only shown: machines differ.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers, databases and folders go too
    extent = _Extent(rounds, seconds, stored, events, away)
    kinds = [Kind(name) for name in database]
    with running_sink() as sink, workspace(sink.url) as space:
        bench = _Bench(space, sink, extent)
        figures = [
            _announced(figure)
            for part in only
            for kind in (kinds[:1] if part in _WITHOUT_DATABASE else kinds)
            for figure in _or_exit(_PARTS[part](bench, kind), f"{part} on {kind}")
        ]
        postgresql_url = space.postgresql_url() if Kind.POSTGRESQL in kinds else None
        circumstances = conditions(rounds, seconds, postgresql_url)
    print_table(figures, circumstances)
    if file is not None:
        write_json(file, figures, circumstances)


def _announced(figure: Figure) -> Figure:
    click.echo(f"{figure.part}, {figure.database}: {figure.what}: {figure.shown()} {figure.verdict}", err=True)
    return figure


def _or_exit(figures: Iterator[Figure], what: str) -> Iterator[Figure]:
    try:
        yield from figures
    except (CheckFailed, NotAllArrived, ServerFailed) as error:
        click.echo(f"\nFAILED: {what}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
