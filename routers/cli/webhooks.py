"""`api webhooks`: our addresses in CallRail's Webhooks integration, looked at and put there."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from callrail.client import CallRail
from receiver.companies import CompanyConfig, fingerprint_of
from receiver.exceptions import SecretMissing
from routers.accounts import ACCOUNT
from routers.cli.clients import Where, open_client
from routers.cli.groups import Commands
from routers.cli.options import output_option
from routers.cli.output import print_rows
from routers.config import Configuration, read_config
from routers.urls import HookUrl, checked_base_url, urls_of, wanted_transitions
from routers.webhooks import Installed, Plan, Step, carry_out, in_words, look, lost, plan, shown

_MISSING = "missing"
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def _base_url(_ctx: click.Context, _param: click.Parameter, written: str | None) -> str | None:
    try:
        return None if written is None else checked_base_url(written)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


_base_url_option = click.option(
    "--base-url",
    envvar="CALLRAIL_ROUTER_BASE_URL",
    required=True,
    show_envvar=True,
    callback=_base_url,
    help="Where CallRail reaches your server, like https://hooks.example.com.",
)


def _config(ctx: click.Context, _param: click.Parameter, written: Path | None) -> Path:
    return written or Where.of(ctx).config


_config_option = click.option(
    "--config",
    callback=_config,
    type=click.Path(path_type=Path),
    help="The configuration file.  [default: as of `api`, router.yaml]",
)
_account_option = click.option("--account", help="Instead of the company's account in the configuration.")


@click.group(cls=Commands)
def webhooks() -> None:
    """The addresses that CallRail posts a company's webhooks to."""


@dataclass(frozen=True)
class _Target:
    """A company here, its id at CallRail, and the addresses its rules want."""

    slug: str
    config: CompanyConfig
    callrail_id: str
    wanted: Sequence[HookUrl]


@webhooks.command()
@click.argument("company", required=False)
@_base_url_option
@_account_option
@_config_option
@output_option
def status(company: str | None, base_url: str, account: str | None, config: Path, output: str) -> int:
    """Compare what CallRail has for COMPANY with what its rules need; for all companies without COMPANY.

    Changes nothing. Exit code 1: something is missing.
    """
    configuration = read_config(config)
    slugs = [company] if company is not None else list(configuration.company_configs)
    targets = [_target(configuration, config, slug, base_url) for slug in slugs]
    where = replace(Where.of(click.get_current_context()), config=config)

    async def look_at_all() -> list[Installed]:
        return [await _look(target, account, where) for target in targets]

    found = list(zip(targets, asyncio.run(look_at_all()), strict=True))
    if output == "table":
        for target, installed in found:
            _print_status(target, installed)
    else:
        print_rows([_row(target, installed) for target, installed in found], output=output, empty="")
    return 0 if all(_is_complete(target, installed) for target, installed in found) else 1


@webhooks.command()
@click.argument("company")
@_base_url_option
@click.option("--replace", "old", callback=_base_url, metavar="URL", help="Where your server was reached before.")
@click.option("--activate", is_flag=True, help="Also switch the integration on, if it is off.")
@click.option("--plan", "is_plan", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--allow-insecure", is_flag=True, help="Take an address without https, or of this machine.")
@click.option(
    "--signing-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Store the key that CallRail signs with in this file; another key that is there stays.",
)
@_account_option
@_config_option
def install(
    company: str,
    base_url: str,
    old: str | None,
    activate: bool,
    is_plan: bool,
    yes: bool,
    allow_insecure: bool,
    signing_key_file: Path | None,
    account: str | None,
    config: Path,
) -> int:
    """Put the addresses that the rules of COMPANY need into CallRail, beside those of other systems.

    Nothing of others is taken away, and a second run changes nothing. What the API cannot set is named, to be pasted by
    hand.
    """
    _refuse_insecure(base_url, allow_insecure=allow_insecure)
    target = _target(read_config(config), config, company, base_url)
    where = replace(Where.of(click.get_current_context()), config=config)

    async def run() -> int:
        async with _client(target, account, where) as client:
            return await _install(
                client, target, old, activate=activate, is_plan=is_plan, yes=yes, key=signing_key_file
            )

    return asyncio.run(run())


async def _install(
    client: CallRail, target: _Target, old: str | None, *, activate: bool, is_plan: bool, yes: bool, key: Path | None
) -> int:
    installed = await look(client, target.callrail_id)
    planned = plan(installed, target.wanted, old_base_url=old, activate=activate)
    _print_plan(target, installed, planned)
    if is_plan:
        return 0
    if not planned.is_empty:
        _confirm(yes=yes)
        # Somebody may have changed it while the plan was read.
        if (
            again := await look(client, target.callrail_id)
        ).config != installed.config or again.state != installed.state:
            click.echo("Error: CallRail's configuration changed meanwhile; look at it again.", err=True)
            return 1
        installed = await carry_out(client, target.callrail_id, installed, planned)
        if missing := lost(planned, installed):
            click.echo(f"Error: CallRail did not keep {', '.join(map(_own_or_shown(target), missing))}.", err=True)
            return 1
        click.echo("Done; CallRail has been asked again and has it all.", err=True)
    if key is not None:
        _store_key(installed, key)
    return 0


# --- what is meant ---------------------------------------------------------------------------------------------------


def _target(configuration: Configuration, config: Path, slug: str, base_url: str) -> _Target:
    companies = configuration.company_configs
    if slug not in companies:
        raise click.UsageError(f"{config} has no company '{slug}'; there are: {', '.join(sorted(companies)[:20])}")
    callrail_id = companies[slug].callrail_id
    if callrail_id is None:
        raise click.UsageError(
            f"which company at CallRail '{slug}' is, {config} does not say; write callrail_id: COM... there "
            "(callrail-router api companies list shows the ids)"
        )
    wanted = urls_of(slug, wanted_transitions(configuration, slug), base_url=base_url)
    return _Target(slug, companies[slug], callrail_id, wanted)


async def _look(target: _Target, account: str | None, where: Where) -> Installed:
    async with _client(target, account, where) as client:
        return await look(client, target.callrail_id)


def _client(target: _Target, account: str | None, where: Where) -> AbstractAsyncContextManager[CallRail]:
    """Of the account that is named, else of the company's, else of the one the shell is set to."""
    return open_client(account or target.config.account or os.environ.get(ACCOUNT), where)


def _refuse_insecure(base_url: str, *, allow_insecure: bool) -> None:
    parts = urlsplit(base_url)
    if allow_insecure:
        return
    if parts.hostname in _THIS_MACHINE:
        raise click.UsageError(f"CallRail cannot reach {base_url}; give your server's public address with --base-url")
    if parts.scheme != "https":
        raise click.UsageError("webhooks hold names and numbers, and http shows them on the way: use https")


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this changes CallRail; say so with --yes, or look first with --plan")
    click.confirm("Go on?", abort=True, err=True)


def _store_key(installed: Installed, path: Path) -> None:
    key = installed.integration.signing_key if installed.integration else None
    if not key:
        raise click.ClickException("CallRail did not tell the signing key; see Integrations > Webhooks in CallRail")
    try:
        if path.exists():
            if path.read_text().strip() != key:
                raise click.ClickException(f"{path} holds another key; it was left as it is")
        else:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{key}\n")
    except OSError as error:
        raise click.ClickException(
            f"{path} cannot be written: {(error.strerror or 'unknown reason').lower()}"
        ) from None
    click.echo(
        f"The key is in {path}. In the configuration, at the company: signing_keys: [file:{path.resolve()}]", err=True
    )


# --- what is said ----------------------------------------------------------------------------------------------------


def _is_complete(target: _Target, installed: Installed) -> bool:
    planned = plan(installed, target.wanted, old_base_url=None, activate=False)
    return not planned.missing and installed.state == "active"


def _is_key_known(target: _Target, installed: Installed) -> bool | None:
    """Whether one of the company's keys is the one CallRail signs with; None if that cannot be told."""
    told = installed.integration.signing_key if installed.integration else None
    if not told:
        return None
    ours = set()
    for key in target.config.signing_keys:
        try:
            ours.add(fingerprint_of(key.secret.resolve(os.environ).encode()))
        except SecretMissing:
            continue  # `doctor` says which; another of the keys may be the one
    return fingerprint_of(told.encode()) in ours


def _print_status(target: _Target, installed: Installed) -> None:
    click.secho(f"{target.slug} ({target.callrail_id}): integration {installed.state}", bold=True)
    for step in plan(installed, target.wanted, old_base_url=None, activate=False).steps:
        _print_step(step, _MISSING)
    _print_rest(target, installed)


def _print_plan(target: _Target, installed: Installed, planned: Plan) -> None:
    click.secho(f"{target.slug} ({target.callrail_id}): integration {installed.state}", bold=True)
    for step in planned.steps:
        _print_step(step, "to be added")
    if planned.creates and planned.missing:
        click.echo("  + the Webhooks integration, which is not there yet")
    if planned.activates:
        click.echo("  + switched on")
    if planned.is_empty:
        click.echo("  Nothing to do.")
    _print_rest(target, installed)


def _print_step(step: Step, absent: str) -> None:
    if step.by_hand:
        click.echo(f"  • {step.hook.field}: the API cannot set it; paste by hand: {step.hook.url}")
        return
    mark, said = ("✓", "there") if step.is_there else ("✗" if absent == _MISSING else "+", absent)
    beside = f", beside {', '.join(map(shown, step.others))}" if step.others else ""
    instead = f", instead of {step.replaced}" if step.replaced else ""
    click.echo(f"  {mark} {step.hook.field}: {said}{instead}: {step.hook.url}{beside}")


def _print_rest(target: _Target, installed: Installed) -> None:
    """What holds webhooks back, or makes them look forged."""
    if installed.state not in ("active", "missing"):
        click.echo(
            f"  ✗ the integration is {installed.state}: CallRail posts nothing; install --activate switches it on"
        )
    for trigger in installed.filters:
        click.echo(f"  ✗ a filter lets through {in_words(trigger)}; of the rest CallRail says nothing")
    known = _is_key_known(target, installed)
    if known is not None:
        key = fingerprint_of(str(installed.integration.signing_key).encode()) if installed.integration else ""
        said = "is among signing_keys" if known else "is NOT among signing_keys: its webhooks will be in quarantine"
        click.echo(f"  {'✓' if known else '✗'} CallRail signs with the key {key} (fingerprint), which {said}")


def _own_or_shown(target: _Target) -> Any:
    own = {hook.url for hook in target.wanted}
    return lambda url: url if url in own else shown(url)


def _row(target: _Target, installed: Installed) -> dict[str, Any]:
    planned = plan(installed, target.wanted, old_base_url=None, activate=False)
    return {
        "company": target.slug,
        "callrail_id": target.callrail_id,
        "state": installed.state,
        "there": [step.hook.url for step in planned.steps if step.is_there],
        "missing": [step.hook.url for step in planned.missing],
        "by_hand": [step.hook.url for step in planned.steps if step.by_hand],
        "others": sum(len(step.others) for step in planned.steps),
        "filters": [in_words(trigger) for trigger in installed.filters],
        "is_key_known": _is_key_known(target, installed),
    }
