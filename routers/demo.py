"""What `make run` shows: everything in one process, and simulated CallRail calls posted to its own URL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from callrail.exceptions import HttpError
from callrail.http import HttpClient
from receiver.companies import Companies, Company
from receiver.secrets import SecretRef
from routers.serve import Plan, serve
from routers.simulator import Sent, SimulatedCompany, Tally, play

_LAST_MESSAGES = 1.0  # seconds after the last webhook by which what it brought about has been printed
# Whoever simulates names the URL, so every address is allowed.
_ANYWHERE = ("0.0.0.0/0", "::/0")


def example_config() -> Path:
    """The example configuration: beside this module in an installed wheel, in `examples/` in a checkout."""
    here = Path(__file__).parent
    packaged = here / "examples" / "router.yaml"
    return packaged if packaged.exists() else here.parent / "examples" / "router.yaml"


def invent_missing_keys(references: Sequence[SecretRef], environ: MutableMapping[str, str]) -> None:
    """Give every environment variable a configuration refers to, and that is not set, a random key: for the demo."""
    for reference in references:
        if reference.source == "env":
            environ.setdefault(reference.name, secrets.token_hex(16))


@dataclass(frozen=True)
class Show:
    """What to play, and how fast; *begins* is when the first story happens as it is told, None for now."""

    stories: Sequence[str]
    speed: float
    gap: timedelta
    seed: int
    begins: datetime | None = None


async def demo(
    plan: Plan,
    url: str,
    show: Show,
    *,
    stop: asyncio.Event,
    on_sent: Callable[[Sent], None],
    on_played: Callable[[], None],
    once: bool,
) -> None:
    """Serve *plan*, play *show* to *url*, and serve on until *stop* is set; with *once* end after the play."""
    ready = asyncio.Event()
    server = asyncio.create_task(serve(plan, stop=stop, on_ready=ready.set))
    await asyncio.wait([server, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    if not server.done():
        companies = list(plan.configuration.companies(os.environ))
        playing = asyncio.create_task(play_to(url, companies, show, on_sent=on_sent))
        await asyncio.wait([playing, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            playing.cancel()
        else:
            await asyncio.sleep(_LAST_MESSAGES)
            on_played()
            if once:
                stop.set()
    await server


async def play_to(url: str, companies: Sequence[Company], show: Show, *, on_sent: Callable[[Sent], None]) -> Tally:
    """Play *show* to the intake at *url*, its stories dealt out to *companies* in turn."""
    rng = random.Random(show.seed)  # noqa: S311  (invented people, not secrets)
    tally = Tally(0, 0)
    async with _client() as client:
        plays = [
            play(
                show.stories[position :: len(companies)],
                post=_poster(client, url, company),
                rng=random.Random(rng.random()),  # noqa: S311
                company=simulated(company),
                speed=show.speed,
                gap=show.gap * len(companies),
                now=show.begins or datetime.now(UTC),
                on_sent=on_sent,
            )
            for position, company in enumerate(companies)
        ]
        for part in await asyncio.gather(*plays):
            tally += part
    return tally


def simulated(company: Company) -> SimulatedCompany:
    """*company* as the simulator knows it, signing with its first key."""
    name = company.slug.replace("-", " ").replace("_", " ").title()
    return SimulatedCompany(company.slug, name, company.callrail_id, company.keys[0].secret)


@contextlib.asynccontextmanager
async def _client() -> AsyncIterator[HttpClient]:
    client = HttpClient(timeout=timedelta(seconds=30), allow_hosts=_ANYWHERE)
    try:
        yield client
    finally:
        await client.aclose()


class _Poster:
    def __init__(self, client: HttpClient, base: str) -> None:
        self._client = client
        self._base = base

    async def __call__(self, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        try:
            answer = await self._client.post(f"{self._base}/{kind}", content=body, headers=headers)
        except HttpError as error:
            raise ConnectionError(str(error)) from None
        return answer.status


def _poster(client: HttpClient, url: str, company: Company) -> _Poster:
    return _Poster(client, f"{url.rstrip('/')}/callrail/{company.slug}")


def companies_named(companies: Companies, names: Sequence[str]) -> list[Company]:
    """The companies called *names*, all where none is named.

    Raises:
        KeyError: There is none of that name.
    """
    if not names:
        return list(companies)
    found = [companies.get(name) for name in names]
    missing = [name for name, company in zip(names, found, strict=True) if company is None]
    if missing:
        raise KeyError(missing[0])
    return [company for company in found if company is not None]
