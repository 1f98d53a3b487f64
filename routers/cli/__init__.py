"""The command `callrail-router`. Only the server routes and sends; everything else here looks, checks or plays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from callrail.exceptions import CallRailError, InvalidRequest
from receiver.exceptions import ConfigError, DatabaseUnavailable, ReceiverError
from routers.cli.groups import Commands

# Where each command lives. Loaded when called: serving must not wait for what only other commands need.
_COMMANDS = {
    "serve": "routers.cli.serving",
    "migrate": "routers.cli.serving",
    "demo": "routers.cli.playing",
    "simulate": "routers.cli.playing",
    "status": "routers.cli.status",
    "doctor": "routers.cli.doctor",
    "events": "routers.cli.looking",
    "deliveries": "routers.cli.deliveries",
    "media": "routers.cli.media",
    "quarantine": "routers.cli.quarantine",
    "keys": "routers.cli.keys",
    "replay": "routers.cli.replay",
    "sinks": "routers.cli.sinks",
    "explain": "routers.cli.explain",
    "rules": "routers.cli.rules",
    "urls": "routers.cli.urls",
    "api": "routers.cli.api",
    "accounts": "routers.cli.accounts",
    "budget": "routers.cli.budget",
    "fake-callrail": "routers.cli.fake_callrail",
    "lead": "routers.cli.lead",
    "privacy": "routers.cli.privacy",
    "audit": "routers.cli.audit",
    "backup": "routers.cli.backups",
    "restore": "routers.cli.backups",
}


class _Commands(Commands):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="callrail-router")
def cli() -> None:
    """Receive CallRail webhooks, keep every one, and tell the people and systems that must act.

    New here? Run `callrail-router demo`.
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line; never shows a traceback for a mistake of the user's.

    Exit codes: 0 done, 1 something failed, 2 wrong use, 3 refused to protect data.
    """
    sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    return exit_code_of(lambda: cli.main(args=args, standalone_mode=False))


def exit_code_of(work: Callable[[], Any]) -> int:
    """Do *work*; the exit code of the process that did it, after saying plainly what was wrong."""
    try:
        result = work()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"Error: {problem}", err=True)
        return 2
    except (ReceiverError, CallRailError) as error:
        click.echo(f"Error: {error}", err=True)
        return _exit_code(error)
    return result if isinstance(result, int) else 0


def _exit_code(error: Exception) -> int:
    if type(error).__name__ == "Refused":
        return 3
    if isinstance(error, InvalidRequest):
        return 2
    return 1 if isinstance(error, DatabaseUnavailable | CallRailError) else 2
