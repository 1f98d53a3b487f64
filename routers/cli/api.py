"""`callrail-router api`: every operation of CallRail's API, made from the operations' own declarations."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import click

from callrail.client import CallRail, resources
from callrail.exceptions import CallRailError
from callrail.operation import Operation, Parameter, Place, Resource
from callrail.paging import Listing
from routers.accounts import ACCOUNT, client_of, open_account
from routers.cli.api_output import FORMATS, Printer
from routers.cli.options import config_option


class ApiCommands(click.Group):
    """A group for each resource, `webhooks` for setting ours up, and `request` for anything else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All resources, as the shell writes them."""
        return [*map(_hyphened, resources()), "webhooks", "request"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The group of one resource, with underscores or hyphens."""
        if cmd_name == "webhooks":
            from routers.cli.webhooks import webhooks  # reads the whole configuration

            return webhooks
        resource = resources().get(cmd_name.replace("-", "_"))
        return _resource_group(cmd_name, resource) if resource else {"request": request}.get(cmd_name)


@click.group(cls=ApiCommands)
@config_option
@click.pass_context
def api(ctx: click.Context, config: Path) -> None:
    """Ask and change CallRail by its API.

    Every operation is a command, `api calls list` for example; `api calls --help` lists those of calls.

    --account names an account that `accounts list` knows, or is an id; then the key is read from CALLRAIL_API_KEY.
    CALLRAIL_BASE_URL names a stand-in.
    """
    ctx.obj = config


def _hyphened(name: str) -> str:
    return name.replace("_", "-")


def _resource_group(name: str, resource: type[Resource]) -> click.Group:
    group = click.Group(name, help=resource.__doc__)
    for operation in resource.operations.values():
        group.add_command(_command(operation))
    return group


# --- a command from an operation -------------------------------------------------------------------------------------


def _command(operation: Operation) -> click.Command:
    parameters = list(operation.parameters.values())
    in_path = [each for each in parameters if each.place is Place.PATH]
    others = [each for each in parameters if each.place is not Place.PATH]
    arguments = [click.Argument([each.name], required=False) for each in in_path]
    options = [_option(each) for each in others]
    if clearable := [each.name for each in others if operation.writes and type(None) in _kinds(each.kind)]:
        options.append(_option_of("--clear", clearable, "Clear this value; may be repeated."))
    if operation.rows:
        options += _LIST_OPTIONS
    if operation.writes:
        options += _WRITE_OPTIONS
    return click.Command(
        _hyphened(operation.verb),
        params=[*arguments, *options, *_shared_options()],
        callback=lambda **given: _run(operation, given),
        help=_help(operation),
        short_help=operation.purpose,
    )


def _help(operation: Operation) -> str:
    text = inspect.cleandoc(operation.function.__doc__ or "").partition("\nArgs:\n")[0].replace("``", "")
    notes = [f"{operation.method} {operation.full_path}"]
    notes += [f"This {danger}: it asks first, or needs --yes." for danger in operation.dangers]
    if operation.undocumented:
        notes.append(f"Not documented by CallRail; seen in {operation.undocumented}.")
    return "\n\n".join([text, *notes])


def _option(parameter: Parameter) -> click.Option:
    flag, text = f"--{_hyphened(parameter.name)}", parameter.help.replace("``", "")
    kinds = _kinds(parameter.kind)
    if bool in kinds:
        return click.Option([f"{flag}/--no-{_hyphened(parameter.name)}"], default=None, help=text)
    if parameter.name == "fields":
        return click.Option([flag], help=f"{text} Separated by commas.", metavar="NAME,...")
    if Mapping in kinds:
        text += " In JSON."
    return click.Option(
        [flag],
        required=parameter.is_required,
        multiple=parameter.is_many,
        type=click.Choice(parameter.choices) if parameter.choices else str,
        help=f"{text} May be repeated." if parameter.is_many else text,
    )


def _option_of(flag: str, names: list[str], text: str) -> click.Option:
    return click.Option([flag], multiple=True, type=click.Choice(names), help=text)


_LIST_OPTIONS = [
    click.Option(["--all"], is_flag=True, help="All rows, and not only those of the first page."),
    click.Option(["--limit"], type=click.IntRange(min=1), help="So many rows at most."),
]
_WRITE_OPTIONS = [
    click.Option(["--dry-run"], is_flag=True, help="Show the request and send nothing."),
    click.Option(["--yes"], is_flag=True, help="Do not ask."),
]


def _shared_options() -> list[click.Option]:
    return [
        click.Option(
            ["--each"],
            is_flag=True,
            help="Once for each line of standard input: an id, or an object in JSON with its id. It fills in the id "
            "that is left out; where there is none to fill in, it is the account.",
        ),
        _account_option(),
        click.Option(["--extra-param"], multiple=True, metavar="NAME=VALUE", help="A parameter not known here."),
        click.Option(["--columns"], metavar="NAME,...", help="Print these of what CallRail tells."),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(FORMATS),
            help="How to print; json for one answer and ndjson for lists by default.",
        ),
    ]


def _account_option() -> click.Option:
    return click.Option(
        ["--account"],
        envvar=ACCOUNT,
        show_envvar=True,
        help="A name that `accounts list` knows, or an id, ACC... or number.",
    )


def _kinds(kind: Any) -> set[Any]:
    """All plain types that *kind* is made of."""
    parts = get_args(kind)
    return {get_origin(kind)}.union(*map(_kinds, parts)) if parts else {kind}


# --- running it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """One call of the operation: its arguments, and the account if a line of standard input named one."""

    arguments: Mapping[str, Any]
    account: str | None = None
    line: str = ""


def _run(operation: Operation, given: dict[str, Any]) -> int:
    shared = {name: given.pop(name, None) for name in _SHARED}
    arguments = _arguments(operation, given)
    if shared["extra_param"]:
        arguments["extra_params"] = dict(_pair(text) for text in shared["extra_param"])
    if shared["dry_run"]:
        arguments["dry_run"] = True
    tasks = list(_each_line(operation, arguments)) if shared["each"] else [_Task(arguments)]
    if operation.dangers and not (shared["dry_run"] or shared["yes"]):
        _ask(operation, len(tasks), is_each=shared["each"])
    output = shared["output"] or ("ndjson" if operation.rows or shared["each"] else "json")
    printer = Printer(output, columns=_names(shared["columns"]))
    return asyncio.run(_run_tasks(operation, tasks, shared, printer))


_SHARED = ("all", "limit", "dry_run", "yes", "each", "account", "extra_param", "columns", "output")


def _arguments(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """The operation's arguments from the options that were given."""
    found: dict[str, Any] = dict.fromkeys(given.get("clear") or ())
    for name, parameter in operation.parameters.items():
        value = given.get(name)
        if value is None or value == ():
            continue
        if name == "fields":
            value = _names(value)
        elif Mapping in _kinds(parameter.kind) and value[:1] in ("{", "["):
            value = _json(f"--{_hyphened(name)}", value)
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _json(flag: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{flag} is no JSON: {error}") from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _each_line(operation: Operation, arguments: Mapping[str, Any]) -> Iterator[_Task]:
    free = [name for name, each in operation.parameters.items() if each.place is Place.PATH and name not in arguments]
    for text in filter(None, map(str.strip, sys.stdin)):
        told = _json("a line of standard input", text) if text.startswith("{") else {"id": text}
        if told.get("id") is None:
            raise click.UsageError("a line of standard input has no id")
        if free:
            yield _Task({**arguments, free[0]: told["id"]}, told.get("account_id"), str(told["id"]))
        else:
            yield _Task(arguments, str(told["id"]), str(told["id"]))


def _ask(operation: Operation, count: int, *, is_each: bool) -> None:
    what = f"{operation.name} {' and '.join(operation.dangers)}{f', {count} times' if count != 1 else ''}."
    if is_each or not sys.stdin.isatty():
        raise click.UsageError(f"{what} Say so with --yes, or look first with --dry-run.")
    click.confirm(f"{what} Go on?", abort=True, err=True)


async def _run_tasks(operation: Operation, tasks: list[_Task], shared: Mapping[str, Any], printer: Printer) -> int:
    failed = 0
    async with _client(shared["account"]) as client:
        with printer:
            for task in tasks:
                of = client.for_account(task.account) if task.account else client
                try:
                    async with aclosing(_answers(operation, of, task, shared)) as rows:
                        async for row in rows:
                            printer.print(row)
                except CallRailError as error:
                    if not shared["each"]:
                        raise
                    failed += 1
                    click.echo(f"Error: {task.line}: {error}", err=True)
    return 1 if failed else 0


def _client(account: str | None) -> CallRail:
    config = click.get_current_context().find_object(Path) or Path("router.yaml")
    return client_of(open_account(account, config, os.environ))


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
            if sys.stderr.isatty():
                click.echo(f"\r{count} rows{of}", nl=False, err=True)
    if shared["all"] and sys.stderr.isatty():
        click.echo(f"\r{count} rows in all", err=True)


# --- anything else ---------------------------------------------------------------------------------------------------


@click.command(params=[_account_option()])
@click.argument("method")
@click.argument("path")
@click.option("--param", multiple=True, metavar="NAME=VALUE", help="A parameter of the query; may be repeated.")
@click.option("--json", "body", metavar="JSON", help="The body.")
def request(method: str, path: str, param: Iterable[str], body: str | None, account: str | None) -> None:
    """Send any request to the API, and print what it answers.

    PATH begins with /v3/; {account_id} in it is replaced:

        callrail-router api request GET /v3/a/{account_id}/tags.json
    """
    params = dict(_pair(text) for text in param)

    async def send() -> Any:
        async with _client(account) as client:
            return await client.request(
                method, path, params=params, json=None if body is None else _json("--json", body)
            )

    told = asyncio.run(send())
    if told is not None:
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
