"""Which deliveries a command is about: the options that narrow them, and how a moment is written."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar, cast

import click

from routers.durations import parse_duration
from routers.ledger import MOST_LOOKED_AT, Selection
from routers.schema import DeliveryState

F = TypeVar("F", bound=Callable[..., Any])


class Moment(click.ParamType[datetime]):
    """A duration before now, or a time; in UTC where it names no offset, as all tables are."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) - parse_duration(value)
        except (ValueError, OverflowError):
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"'{value}' is no time; write one like 2h (ago) or 2026-05-04T09:30.", param, ctx)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def say_how_far(moment: datetime) -> None:
    """Rows older than *moment* were not looked at; on stderr."""
    written = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    click.echo(f"Looked among the newest {MOST_LOOKED_AT:,}; for older ones add --until {written}", err=True)


_OPTIONS = (
    click.option("--sink", help="To this sink only."),
    click.option("--company", help="Of this company only."),
    click.option("--rule", help="Of the rule with this id only."),
    click.option("--cause", help="With this cause only, as `deliveries causes` has it; '' for those without one."),
    click.option("--since", type=Moment(), help="Made in the last 2h, 3d, ..., or since a time (UTC)."),
    click.option("--until", type=Moment(), help="Made more than 2h, 3d, ... ago, or before a time (UTC)."),
    click.option("--object", "callrail_id", metavar="ID", help="Of the call, text or form that CallRail calls so."),
)


def selection_options(command: F) -> F:
    """Gives *command* the options that narrow deliveries, as one `selection`."""

    @wraps(command)
    def selected(
        *,
        sink: str | None,
        company: str | None,
        rule: str | None,
        cause: str | None,
        since: datetime | None,
        until: datetime | None,
        callrail_id: str | None,
        **rest: Any,
    ) -> Any:
        selection = Selection(
            sink=sink, company=company, rule=rule, cause=cause, since=since, until=until, callrail_id=callrail_id
        )
        return command(selection=selection, **rest)

    narrowed: Callable[..., Any] = selected
    for option in reversed(_OPTIONS):
        narrowed = option(narrowed)
    return cast("F", narrowed)


def states_option(states: Collection[DeliveryState], *, default: str) -> Callable[[F], F]:
    """The option that names some of *states*; *default* says in words which are meant without it."""

    def as_states(_ctx: click.Context, _param: click.Parameter, written: tuple[str, ...]) -> tuple[DeliveryState, ...]:
        return tuple(map(DeliveryState, written))

    return click.option(
        "--state",
        "states",
        multiple=True,
        callback=as_states,
        type=click.Choice([state.value for state in states]),
        help=f"In this state only; may be repeated.  [default: {default}]",
    )
