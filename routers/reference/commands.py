"""Every command with its options, from click's own objects."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from routers.cli import cli
from routers.cli.api import ApiCommands
from routers.reference.markdown import code, page, table

_EXIT_CODES = (
    ("0", "done"),
    ("1", "something failed"),
    ("2", "wrong use: a mistake in the command line or in `router.yaml`"),
    ("3", "refused, to protect data"),
    ("130", "ended by Ctrl-C"),
)


def commands_page() -> str:
    """Each command, its usage, help and options."""
    sections = [section for path, command in _commands(cli, (), None) for section in _command(path, command)]
    return page(
        "Commands",
        "An option on the command line goes before the environment variable, and that before the default. "
        "`-h` or `--help` explains each command.",
        *sections,
        "## Exit codes",
        table(("Code", "Meaning"), _EXIT_CODES),
    )


def _commands(
    group: click.Group, path: tuple[str, ...], parent: click.Context | None
) -> Iterator[tuple[click.Context, click.Command]]:
    """Every command that does something, below *group*, with the context its usage is told in."""
    context = click.Context(group, info_name="callrail-router" if parent is None else path[-1], parent=parent)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group) and not isinstance(command, ApiCommands):
            yield from _commands(command, (*path, name), context)
        elif command is not None:
            yield click.Context(command, info_name=name, parent=context), command


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    yield f"## {context.command_path.partition(' ')[2]}"
    yield f"```\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield inspect.cleandoc(command.help or "")
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        rows = [_option(option, context) for option in options]
        yield table(("Option", "Environment", "Default", "Meaning"), rows)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str, str]:
    written, _help = option.get_help_record(context) or (", ".join(option.opts), "")
    default = code(str(option.get_default(context))) if option.show_default else ""
    environment = code(option.envvar) if isinstance(option.envvar, str) else ""
    return code(written.replace(" RANGE", "")), environment, default, f"{option.help or ''}{_bounds(option)}"


def _bounds(option: click.Option) -> str:
    type_ = option.type
    if isinstance(type_, click.IntRange) and type_.min is not None and type_.max is not None:
        return f" From {type_.min:,} to {type_.max:,}."
    return ""
