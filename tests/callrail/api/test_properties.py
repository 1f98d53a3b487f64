"""What holds of the client whatever is told, asked, or happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callrail.budgets import DAY, HOUR, Allowance, InMemoryBudgets
from callrail.client import CallRail, resources
from callrail.dates import earliest_kept, require_dates
from callrail.exceptions import AnswerLost, BudgetSpent, InvalidRequest, PagingError, UnexpectedAnswer
from callrail.model import Model
from callrail.request import Budget
from tests.callrail.api.conftest import ACCOUNT, KEY, NOW, Api, page, telling
from tests.fakes.destination import running_destination

pytestmark = pytest.mark.anyio

# --- models -----------------------------------------------------------------------------------------------------------

for _name in resources():
    importlib.import_module(f"callrail.resources.{_name}")


def every_model(of: type[Model] = Model) -> Iterator[type[Model]]:
    for each in of.__subclasses__():
        yield each
        yield from every_model(each)


MODELS = sorted(every_model(), key=lambda each: each.__name__)
ODD_TEXTS = st.sampled_from(
    ["", "27", "--", "$1,000.50", "true", "2026-03-10T09:15:02.417-04:00", "2016-10-10T00:00:00-0000"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_model_reads_any_object_and_keeps_it_word_for_word(model: type[Model], data: st.DataObject) -> None:
    names = st.sampled_from(sorted(model.model_fields) or ["id"]) | st.text(max_size=6)
    told = data.draw(st.dictionaries(names, json_values, max_size=8))

    read = model.model_validate(told)

    assert read.told == told
    for name in model.model_fields:
        getattr(read, name)
    for name in ("milestones", "conversational_transcript"):  # read when asked for
        getattr(read, name, None)


# --- allowances -------------------------------------------------------------------------------------------------------


async def taken(budgets: InMemoryBudgets) -> datetime | None:
    """None if one was left, else when there is one again."""
    try:
        await budgets.take(ACCOUNT, Budget.GENERAL)
    except BudgetSpent as spent:
        return spent.free_at
    return None


steps = st.lists(st.integers(min_value=-600, max_value=30_000), max_size=60)


@settings(max_examples=60, deadline=None)
@given(steps=steps, hourly=st.integers(1, 6), daily=st.integers(1, 12))
def test_no_hour_and_no_day_holds_more_than_is_allowed(steps: list[int], hourly: int, daily: int) -> None:
    now = NOW
    budgets = InMemoryBudgets({Budget.GENERAL: Allowance(hourly, daily)}, now=lambda: now)
    sent: list[datetime] = []

    async def run() -> None:
        nonlocal now
        for step in steps:
            now += timedelta(seconds=max(step, 0))
            with contextlib.suppress(BudgetSpent):
                await budgets.take(ACCOUNT, Budget.GENERAL)
                sent.append(now)

    asyncio.run(run())
    for end in sent:
        assert sum(end - HOUR < each <= end for each in sent) <= hourly
        assert sum(end - DAY < each <= end for each in sent) <= daily


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_what_is_spent_is_free_again_when_it_says_so(steps: list[int]) -> None:
    """Also where the clock is set back: nobody waits for years."""
    now = NOW
    budgets = InMemoryBudgets({Budget.GENERAL: Allowance(2, 5)}, now=lambda: now)

    async def run() -> None:
        nonlocal now
        for step in steps:
            now += timedelta(seconds=step)
            free_at = await taken(budgets)
            if free_at is not None:
                assert now < free_at <= now + DAY
                now = free_at
                await budgets.take(ACCOUNT, Budget.GENERAL)

    asyncio.run(run())


async def test_many_at_once_and_two_clients_share_one_allowance(api: Api) -> None:
    api.answers({"id": "CAL1"})
    budgets = InMemoryBudgets({Budget.GENERAL: Allowance(20, 100)}, now=lambda: NOW)
    two = [CallRail(KEY, ACCOUNT, base_url=api.server.url, budgets=budgets, pace=api.time.pace()) for _ in range(2)]
    async with two[0], two[1]:
        asked = [client.calls.get("CAL1", deadline=timedelta(seconds=5)) for client in two for _ in range(25)]
        told = await asyncio.gather(*asked, return_exceptions=True)

    assert sum(isinstance(each, BudgetSpent) for each in told) == 30
    assert len(api.server.requests) == 20


async def test_a_cancelled_request_leaves_the_client_usable() -> None:
    """It was counted, for it may have arrived; its connection is given back or closed."""
    async with running_destination() as server, CallRail(KEY, ACCOUNT, base_url=server.url) as client:
        is_here = asyncio.Event()

        async def hangs(*_: Any) -> None:
            is_here.set()
            await asyncio.Event().wait()

        server.behaves(hangs)
        for _ in range(20):  # more than there are connections
            is_here.clear()
            task = asyncio.create_task(client.tags.get("1"))
            await is_here.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        server.behaves(telling({"id": 1, "name": "still here"}))
        assert (await client.tags.get("1")).name == "still here"


# --- dates ------------------------------------------------------------------------------------------------------------


@given(today=st.dates(date(2024, 1, 1), date(2032, 12, 31)))
def test_what_is_asked_for_is_never_older_than_what_is_kept(today: date) -> None:
    """25 months, whatever the months are long: the same day of that month, or a later one."""
    kept = earliest_kept(today)
    months = (today.year - kept.year) * 12 + today.month - kept.month
    assert months == 25 or (months == 24 and kept.day == 1)
    require_dates("calls.list", {"start_date": kept}, today)
    with pytest.raises(InvalidRequest, match="25 months"):
        require_dates("calls.list", {"start_date": kept - timedelta(days=1)}, today)


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-08T02:30",
        "2026-03-08T02:30:00-05:00",
        "2025-11-02T01:30",
        "2024-02-29",
        datetime(2024, 2, 29, tzinfo=UTC),
    ],
)
def test_hours_that_are_not_or_are_twice_and_leap_days_are_dates(written: Any) -> None:
    """CallRail reads them in the zone asked for; we pass them on as they are written."""
    require_dates("calls.list", {"start_date": written}, date(2026, 3, 20))


@pytest.mark.parametrize("written", ["2026-02-29", "2026-13-01", "yesterday", "10/03/2026"])
def test_what_is_no_date_is_refused(written: str) -> None:
    with pytest.raises(InvalidRequest, match="takes a date such as"):
        require_dates("calls.list", {"start_date": written}, date(2026, 3, 20))


# --- hosts ------------------------------------------------------------------------------------------------------------

ODD_HOSTS = [
    "https://api.callrail.com.evil.example/v3/a/1/calls",
    "https://evil.example/v3/a/1/calls#api.callrail.com",
    "https://api.callrail.com@evil.example/v3/a/1/calls",
    "https://user@api.callrail.com/v3/a/1/calls",
    "https://api.callrail.com:8443/v3/a/1/calls",
    "https://api.callrail.com./v3/a/1/calls",
    "https://ap\u0456.callrail.com/v3/a/1/calls",  # with a Cyrillic letter
    "http://api.callrail.com/v3/a/1/calls",
    "//evil.example/v3/a/1/calls",
    "/v3/a/1/calls",
    "https:\\\\evil.example/v3",
    "file:///etc/passwd",
    "",
    "https://",
]


@pytest.mark.parametrize("url", ODD_HOSTS)
async def test_no_other_host_is_taken_for_the_apis(url: str) -> None:
    async with CallRail(KEY, ACCOUNT) as client:
        assert not client.is_api(url)
        assert client.is_api("https://api.callrail.com/v3/a/1/calls?offset=1")


@pytest.mark.parametrize("url", ODD_HOSTS)
async def test_a_next_page_on_an_odd_host_never_gets_the_key(api: Api, url: str) -> None:
    api.answers({**page("calls", {"id": "CAL1"}), "has_next_page": True, "next_page": url})
    with pytest.raises(PagingError, match="the key stays here"):
        [call async for call in api.client.calls.list(date_range="today")]
    assert len(api.server.requests) == 1


# --- files ------------------------------------------------------------------------------------------------------------

FULL_SIZE = 2 * 1024**3
SIZE = FULL_SIZE if os.environ.get("CALLRAIL_ROUTER_TEST_FULL_DOWNLOAD") else 256 * 1024**2
SAVE = """
import asyncio, re, sys
from pathlib import Path
from callrail import CallRail

async def main():
    async with CallRail("key", "ACC1", base_url=sys.argv[1]) as client:
        saved = await client.download(sys.argv[1] + "/calls/1/recording", Path(sys.argv[2]))
    # Not ru_maxrss, which a process inherits from the one that started it.
    most = re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
    print(saved.size, int(most[1]) // 1024)

asyncio.run(main())
"""


@dataclass
class Zeros:
    """A server of one file; *breaks_at* is where it breaks off."""

    size: int
    breaks_at: int | None = None

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {self.size}\r\n\r\n".encode())
                piece = bytes(1024 * 1024)
                for _ in range((self.breaks_at or self.size) // len(piece)):
                    writer.write(piece)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux tells it")
async def test_a_large_file_is_saved_piece_by_piece(tmp_path: Path) -> None:
    async with Zeros(SIZE).served() as url:
        to = tmp_path / "call.mp3"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SAVE, url, str(to), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    size, megabytes = map(int, out.split())
    assert (size, to.stat().st_size) == (SIZE, SIZE)
    assert megabytes < 80  # Python with the client and its reading buffers, whatever the size
    to.unlink()


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_file_that_breaks_off_or_is_too_long_leaves_nothing(tmp_path: Path) -> None:
    to = tmp_path / "call.mp3"
    async with (
        Zeros(8 * 1024**2, breaks_at=4 * 1024**2).served() as url,
        CallRail(KEY, ACCOUNT, base_url=url) as client,
    ):
        with pytest.raises(AnswerLost):
            await client.download(f"{url}/calls/1/recording", to)
        with pytest.raises(UnexpectedAnswer, match="more than the 1000 allowed"):
            await client.download(f"{url}/calls/1/recording", to, max_bytes=1_000)
    assert files_in(tmp_path) == []
