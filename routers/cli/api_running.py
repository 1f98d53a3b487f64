"""Running an operation of the API in the shell: once, or once for each line of standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import click

from callrail.client import CallRail
from callrail.exceptions import CallRailError
from callrail.operation import Operation
from callrail.paging import Listing
from callrail.parameter import Place
from routers.cli.api_output import Printer
from routers.cli.clients import Where, open_client

_HELD_BACK = 500  # rows of a task whose turn to be printed has not come


@dataclass(frozen=True)
class _Task:
    """One call of the operation: its arguments, and the account if a line of standard input named one."""

    arguments: Mapping[str, Any]
    account: str | None = None
    line: str = ""


def run(operation: Operation, given: dict[str, Any]) -> int:
    """Run *operation* with the options *given*; the exit code."""
    shared = {name: given.pop(name, None) for name in _SHARED}
    arguments = _arguments(operation, given)
    if shared["extra_param"]:
        arguments["extra_params"] = names_and_values(shared["extra_param"])
    if shared["dry_run"]:
        arguments["dry_run"] = True
    tasks = list(_each_line(operation, arguments)) if shared["each"] else [_Task(arguments)]
    if (dangers := operation.dangers_of(arguments)) and not (shared["dry_run"] or shared["yes"]):
        ask(
            f"{operation.name} {' and '.join(dangers)}",
            len(tasks),
            is_each=shared["each"],
            remedy=_LOOK,
        )
    output = shared["output"] or ("ndjson" if operation.rows or shared["each"] else "json")
    printer = Printer(output, columns=_names(shared["columns"]))
    return asyncio.run(_run_tasks(operation, tasks, shared, printer))


_SHARED = ("all", "limit", "dry_run", "yes", "each", "at_once", "account", "extra_param", "columns", "output")


def _arguments(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """The operation's arguments from the options that were given."""
    found: dict[str, Any] = dict.fromkeys(given.get("clear") or ())
    for name, parameter in operation.parameters.items():
        value = given.get(name)
        if value is None or value == ():
            continue
        if name == "fields":
            value = _names(value)
        elif parameter.is_object and value[:1] in ("{", "["):
            value = read_json(f"--{hyphened(name)}", value)
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def read_json(flag: str, text: str) -> Any:
    """*text* as JSON; *flag* names where it was written."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{flag} is no JSON: {error}") from None


_LOOK = ", or look first with --dry-run"


def names_and_values(texts: Iterable[str]) -> dict[str, Any]:
    """Of texts NAME=VALUE the values by name; those of a name that stands several times are a list."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError("a parameter is not of the form NAME=VALUE")
        if name in found:
            known = found[name]
            found[name] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            found[name] = value
    return found


def _each_line(operation: Operation, arguments: Mapping[str, Any]) -> Iterator[_Task]:
    free = [name for name, each in operation.parameters.items() if each.place is Place.PATH and name not in arguments]
    for text in filter(None, map(str.strip, sys.stdin)):
        told = read_json("a line of standard input", text) if text.startswith("{") else {"id": text}
        if told.get("id") is None:
            raise click.UsageError("a line of standard input has no id")
        if free:
            yield _Task({**arguments, free[0]: told["id"]}, told.get("account_id"), str(told["id"]))
        else:
            yield _Task(arguments, str(told["id"]), str(told["id"]))


def ask(danger: str, count: int = 1, *, is_each: bool = False, remedy: str = "") -> None:
    """Let a person say that it is meant; who cannot be asked says so by --yes."""
    what = f"{danger}{f', {count} times' if count != 1 else ''}."
    if is_each or not sys.stdin.isatty():
        raise click.UsageError(f"{what} Say so with --yes{remedy}.")
    click.confirm(f"{what} Go on?", abort=True, err=True)


async def _run_tasks(operation: Operation, tasks: list[_Task], shared: Mapping[str, Any], printer: Printer) -> int:
    """Several at once, printed in the order of the lines; one after another what cannot be taken back."""
    failed = 0
    at_once = 1 if any(operation.dangers_of(task.arguments) for task in tasks) else shared["at_once"]
    under_way: deque[_Running] = deque()
    waiting = iter(tasks)
    async with open_client(shared["account"], Where.of(click.get_current_context())) as client:
        try:
            with printer:
                for number in range(len(tasks)):
                    while len(under_way) < at_once and (task := next(waiting, None)) is not None:
                        under_way.append(_Running(task, operation, client, shared))
                    running = under_way[0]
                    async for row in running.rows():
                        printer.print(row)
                    under_way.popleft()
                    if (error := running.error) is not None:
                        if not (shared["each"] and isinstance(error, CallRailError)):
                            raise error
                        failed += 1
                        click.echo(f"Error: {running.task.line}: {error}", err=True)
                    if shared["each"] and sys.stderr.isatty():
                        click.echo(f"\r{number + 1} of {len(tasks)}", nl=number + 1 == len(tasks), err=True)
        finally:
            for running in under_way:
                await running.end()
    return 1 if failed else 0


class _Running:
    """One task under way, and what it has told that is not printed yet."""

    def __init__(self, task: _Task, operation: Operation, client: CallRail, shared: Mapping[str, Any]) -> None:
        self.task = task
        self.error: Exception | None = None
        self._told: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue(_HELD_BACK)
        of = client.for_account(task.account) if task.account else client
        self._work = asyncio.create_task(self._do(_answers(operation, of, task, shared)))

    async def _do(self, answers: AsyncGenerator[Mapping[str, Any], None]) -> None:
        try:
            async with aclosing(answers) as rows:
                async for row in rows:
                    await self._told.put(row)
        except Exception as error:  # told in its turn
            self.error = error
        await self._told.put(None)

    async def rows(self) -> AsyncIterator[Mapping[str, Any]]:
        """All that it tells."""
        while (row := await self._told.get()) is not None:
            yield row

    async def end(self) -> None:
        """Give up on it."""
        self._work.cancel()
        await asyncio.wait([self._work])


async def _answers(
    operation: Operation, client: CallRail, task: _Task, shared: Mapping[str, Any]
) -> AsyncGenerator[Mapping[str, Any], None]:
    """What is to be printed for *task*: rows of a list, the answer, or the request of a dry run."""
    called = getattr(getattr(client, operation.resource), operation.verb)(**task.arguments)
    if isinstance(called, Listing):
        async with aclosing(_rows(called, shared)) as rows:
            async for row in rows:
                yield {**row, "account_id": task.account} if task.account else row
        return
    model = await called
    if model.planned is not None:
        yield {"method": model.planned.method, "path": model.planned.target, "body": model.planned.body}
    elif operation.method == "DELETE":
        click.echo(f"Done: {operation.name}", err=True)
    else:
        yield model.told


async def _rows(listing: Listing[Any], shared: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
    """The rows asked for, and on stderr how many are left."""
    count = 0
    is_watched = sys.stderr.isatty() and not shared["each"]
    async with aclosing(listing.pages()) as pages:
        async for page in pages:
            for row in page.rows:
                yield row.told
                count += 1
                if count == shared["limit"]:
                    return
            if page.is_last:
                break
            of = "" if page.total is None else f" of {page.total}"
            if not shared["all"] and shared["limit"] is None:
                click.echo(f"{count} rows{of}; --all prints all.", err=True)
                return
            if is_watched:
                click.echo(f"\r{count} rows{of}", nl=False, err=True)
    if shared["all"] and is_watched:
        click.echo(f"\r{count} rows in all", err=True)


def hyphened(name: str) -> str:
    """As the shell writes names."""
    return name.replace("_", "-")
