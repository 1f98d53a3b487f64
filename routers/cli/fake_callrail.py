"""`fake-callrail`: the API of CallRail on this machine, over an invented world."""

from __future__ import annotations

import asyncio

import click

from routers.cli.serving import run_on_fast_loop


@click.command("fake-callrail")
@click.option(
    "--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 takes any free one."
)
@click.option(
    "--calls", default=200, show_default=True, type=click.IntRange(0, 200_000), help="Calls of the last thirty days."
)
@click.option("--seed", default=1, show_default=True, help="The same seed invents the same world.")
@click.option("--no-limits", is_flag=True, help="Answer any number of requests; else 1,000 an hour, as CallRail.")
def fake_callrail(port: int, calls: int, seed: int, no_limits: bool) -> None:
    """Serve a stand-in for CallRail's API, for trying `api` commands, look-ups and code of your own.

    Nobody is called, texted or charged. What is written is kept while it runs, and gone afterwards.
    """
    from routers.fake_callrail import FakeCallRail, Limits, small_world
    from routers.fake_callrail.serving import serving
    from routers.listening import bind
    from routers.serve import stop_on_signals

    listener = bind("127.0.0.1", port, "--port")
    world = small_world(calls=calls, seed=seed)
    fake = FakeCallRail(world, limits=None if no_limits else Limits())

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        async with serving(fake, listener) as url:
            _introduce(url, world.key, world.read_only_key, [account.id for account in world.accounts])
            await stop.wait()

    run_on_fast_loop(run())
    click.echo("Stopped.", err=True)


def _introduce(url: str, key: str, read_only_key: str, accounts: list[str]) -> None:
    click.secho("callrail-router fake-callrail", bold=True, err=True)
    click.echo(f"  API            {url}", err=True)
    click.echo(f"  key            {key}", err=True)
    click.echo(f"  read-only key  {read_only_key}", err=True)
    for account in accounts:
        click.echo(f"  account        {account}", err=True)
    click.echo("\nIn another terminal:", err=True)
    click.echo(f"  export CALLRAIL_BASE_URL={url} CALLRAIL_API_KEY={key}", err=True)
    click.echo("  callrail-router api accounts list", err=True)
    click.echo(f"  callrail-router api calls list --account {accounts[0]} --date-range recent", err=True)
    click.echo(f"  curl -H 'Authorization: Token token=\"{key}\"' {url}/v3/a.json", err=True)
    click.echo("\nCtrl-C ends.", err=True)
