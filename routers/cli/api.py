"""`callrail-router api`: every operation of CallRail's API, made from the operations' own declarations."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from callrail.client import declared_as, resources
from callrail.operation import Operation, Resource
from callrail.parameter import Parameter, Place, kinds_in
from callrail.request import Danger, raw_request
from routers.accounts import ACCOUNT
from routers.cli.api_output import FORMATS
from routers.cli.api_running import ask, hyphened, names_and_values, read_json, run
from routers.cli.clients import Where, open_client
from routers.cli.groups import Commands
from routers.cli.options import config_option, database_option


class ApiCommands(Commands):
    """A group for each resource, `webhooks` for setting ours up, and `request` for anything else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All resources, as the shell writes them."""
        return [*map(hyphened, resources()), "webhooks", "request"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The group of one resource, with underscores or hyphens."""
        if cmd_name == "webhooks":
            from routers.cli.webhooks import webhooks  # reads the whole configuration

            return webhooks
        resource = resources().get(cmd_name.replace("-", "_"))
        return _resource_group(cmd_name, resource) if resource else {"request": request}.get(cmd_name)


@click.group(cls=ApiCommands)
@config_option
@database_option
@click.pass_context
def api(ctx: click.Context, config: Path, database_url: str) -> None:
    """Ask and change CallRail by its API.

    Every operation is a command, `api calls list` for example; `api calls --help` lists those of calls.

    --account names an account that `accounts list` knows, or is an id; then the key is read from CALLRAIL_API_KEY.
    CALLRAIL_BASE_URL names a stand-in. Requests are counted in the database, if there is one, so that all commands
    together stay within the account's allowance.
    """
    ctx.obj = Where(config, database_url)


def _resource_group(name: str, resource: type[Resource]) -> click.Group:
    group = Commands(name, help=resource.__doc__)
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
    if clearable := [each.name for each in others if operation.writes and type(None) in kinds_in(each.kind)]:
        options.append(_option_of("--clear", clearable, "Clear this value; may be repeated."))
    if operation.rows:
        options += _LIST_OPTIONS
    if operation.writes:
        options += _WRITE_OPTIONS
    return click.Command(
        hyphened(operation.verb),
        params=[*arguments, *options, *_shared_options()],
        callback=lambda **given: run(operation, given),
        help=_help(operation),
        short_help=operation.purpose,
    )


def _help(operation: Operation) -> str:
    text = inspect.cleandoc(operation.function.__doc__ or "").partition("\nArgs:\n")[0].replace("``", "")
    notes = [f"{operation.method} {operation.full_path}"]
    notes += [f"This {danger}: it asks first, or needs --yes." for danger in operation.dangers]
    notes += [
        f"--{hyphened(parameter.name)} {danger}: it asks first, or needs --yes."
        for parameter in operation.parameters.values()
        for danger in dict.fromkeys(risk.danger for risk in parameter.risks)
    ]
    if operation.undocumented:
        notes.append(f"Not documented by CallRail; seen in {operation.undocumented}.")
    return "\n\n".join([text, *notes])


def _option(parameter: Parameter) -> click.Option:
    flag, text = f"--{hyphened(parameter.name)}", parameter.help.replace("``", "")
    if parameter.is_object:
        keys = f", with {', '.join(parameter.keys)}" if parameter.keys else ""
        return click.Option([flag], required=parameter.is_required, metavar="JSON", help=f"{text} In JSON{keys}.")
    if parameter.choices == ("True",):  # what can be said, and not be taken back
        return click.Option([flag], is_flag=True, flag_value=True, default=None, help=text)
    if bool in kinds_in(parameter.kind):
        return click.Option([f"{flag}/--no-{hyphened(parameter.name)}"], default=None, help=text)
    if parameter.name == "fields":
        return click.Option([flag], help=f"{text} Separated by commas.", metavar="NAME,...")
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
        click.Option(
            ["--at-once"],
            type=click.IntRange(1, 16),
            default=4,
            show_default=True,
            help="How many lines of --each are worked on at once; what cannot be taken back goes one by one.",
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


# --- anything else ---------------------------------------------------------------------------------------------------


@click.command(params=[_account_option()])
@click.argument("method")
@click.argument("path")
@click.option("--param", multiple=True, metavar="NAME=VALUE", help="A parameter of the query; may be repeated.")
@click.option("--json", "body", metavar="JSON", help="The body.")
@click.option("--yes", is_flag=True, help="Do not ask, although it cannot be taken back.")
def request(method: str, path: str, param: Iterable[str], body: str | None, account: str | None, *, yes: bool) -> None:
    """Send any request to the API, and print what it answers.

    PATH begins with /v3/; {account_id} in it is replaced:

        callrail-router api request GET /v3/a/{account_id}/tags.json
    """
    params = names_and_values(param)
    json_body = None if body is None else read_json("--json", body)
    if not yes and (dangers := _dangers_of_raw(method, path, json_body)):
        ask(f"{method.upper()} {' and '.join(dangers)}")
    where = Where.of(click.get_current_context())

    async def send() -> Any:
        async with open_client(account, where) as client:
            return await client.request(method, path, params=params, json=json_body)

    told = asyncio.run(send())
    if told is not None:
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))


def _dangers_of_raw(method: str, path: str, body: Any) -> tuple[Danger, ...]:
    """What cannot be taken back of a raw request, as far as it is one of the operations."""
    raw = raw_request(method, path, params=None, json=None)
    declared = declared_as(raw)
    if declared is None:
        return (Danger.DELETES,) if raw.method == "DELETE" else ()
    return declared.dangers_of({"extra_params": body if isinstance(body, dict) else {}})
