"""What the client of CallRail's API costs: listing, one request, reading a call, importing it.

Against `routers.fake_callrail` in a process of its own, so pages a second are those of the two together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import httpx2
from pydantic import TypeAdapter

from bench.report import Figure, Target
from callrail.client import CallRail
from callrail.resources.calls import Call, Calls

_PART, _NO_DATABASE = "api", "-"
_CALLS = 100_000
_REQUESTS = 400
_STARTS = 9

_SERVE = f"""
import asyncio
from routers.fake_callrail import FakeCallRail, small_world
from routers.fake_callrail.serving import serving

async def main():
    world = small_world(calls={_CALLS})
    async with serving(FakeCallRail(world)) as url:
        print(url, world.key, world.accounts[0].id, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
_LIST = """
import asyncio, datetime, pathlib, re, sys, time
from callrail import CallRail

# Not ru_maxrss, which a process inherits from the one that started it.
def memory():
    return int(re.search("VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

async def main():
    url, key, account = sys.argv[1:]
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=32)
    count = pages = 0
    begun = time.perf_counter()
    async with CallRail(key, account, base_url=url) as client:
        async for page in client.calls.list(start_date=start).pages():
            count, pages = count + len(page.rows), pages + 1
            if count == 25_000:
                print(memory())
    print(memory(), count, pages, pages / (time.perf_counter() - begun))

asyncio.run(main())
"""
_IMPORT = "import time; t = time.perf_counter(); {}; print((time.perf_counter() - t) * 1000)"


def measure(*, rounds: int) -> Iterator[Figure]:
    """Figures of the client; those in processor time are of this process alone."""
    with _served() as (url, key, account):
        yield from _listing(url, key, account)
        yield from asyncio.run(_one_request(url, key, account, rounds))
        yield from _reading(asyncio.run(_calls(url, key, account)), rounds)
    for what, statement in (("import callrail", "import callrail"), ("CallRail", "from callrail import CallRail")):
        took = [float(_said(_IMPORT.format(statement))[0]) for _ in range(_STARTS)]
        yield Figure(_PART, _NO_DATABASE, f"import: {what}", median(took), "ms", Target("<", 150))


@contextlib.contextmanager
def _served() -> Iterator[list[str]]:
    with subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()
        finally:
            process.terminate()


def _said(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    return done.stdout.split()


def _listing(url: str, key: str, account: str) -> Iterator[Figure]:
    early, late, count, pages, pace = map(float, _said(_LIST, url, key, account))
    assert (count, pages) == (_CALLS, _CALLS / 250), "a page was asked for twice, or a call is missing"
    what = f"listing {_CALLS:,} calls"
    yield Figure(_PART, _NO_DATABASE, f"{what}: memory after 25,000", early, "MB")
    yield Figure(_PART, _NO_DATABASE, f"{what}: memory in all", late, "MB", Target("<", 80))
    yield Figure(_PART, _NO_DATABASE, f"{what}: pages of 250", pace, "/s", Target(">=", 15))


async def _one_request(url: str, key: str, account: str, rounds: int) -> list[Figure]:
    target = f"{url}/v3/a/{account}/companies.json?per_page=1"
    headers = {"Authorization": f'Token token="{key}"'}
    bare, ours = [], []
    async with httpx2.AsyncClient(headers=headers) as http, CallRail(key, account, base_url=url) as client:

        async def raw() -> None:
            (await http.get(target)).json()

        async def request() -> None:
            await client.request("GET", "/v3/a/{account_id}/companies.json", params={"per_page": "1"})

        for _ in range(min(rounds, 2)):  # a thousand requests are an hour's allowance
            bare.append(await _processor_time(raw))
            ours.append(await _processor_time(request))
    return [
        Figure(_PART, _NO_DATABASE, "one request, bare httpx2, processor", median(bare), "ms"),
        Figure(_PART, _NO_DATABASE, "one request, beyond that", median(ours) - median(bare), "ms", Target("<", 0.3)),
    ]


async def _processor_time(request: Callable[[], Awaitable[None]]) -> float:
    """Milliseconds of this process for one request."""
    await request()
    begun = time.process_time()
    for _ in range(_REQUESTS):
        await request()
    return (time.process_time() - begun) / _REQUESTS * 1000


async def _calls(url: str, key: str, account: str) -> list[list[dict[str, Any]]]:
    """Fifty calls as they are told by themselves, and with all fields."""
    fields = Calls.operations["list"].parameters["fields"].choices
    told = []
    async with CallRail(key, account, base_url=url) as client:
        for wanted in ((), fields):
            params = {"date_range": "last_30_days", "per_page": "50", "fields": ",".join(wanted)}
            told.append((await client.request("GET", "/v3/a/{account_id}/calls.json", params=params))["calls"])
    return told


def _reading(told: list[list[dict[str, Any]]], rounds: int) -> Iterator[Figure]:
    adapter = TypeAdapter(list[Call])
    for rows in told:
        what = f"one call of {len(rows[0])} fields"
        text = json.dumps(rows)
        raw = _microseconds(partial(json.loads, text), rounds) / len(rows)
        model = _microseconds(partial(adapter.validate_python, rows), rounds) / len(rows)
        yield Figure(_PART, _NO_DATABASE, f"{what}: json.loads", raw, "us")
        yield Figure(_PART, _NO_DATABASE, f"{what}: the model beyond that", model, "us", Target("<", 20))


def _microseconds(work: Callable[[], Any], rounds: int) -> float:
    def once() -> float:
        begun = time.perf_counter()
        for _ in range(40):
            work()
        return (time.perf_counter() - begun) / 40 * 1e6

    once()
    return median(once() for _ in range(rounds))
