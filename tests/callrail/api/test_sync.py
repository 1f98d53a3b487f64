"""The synchronous client, against the fake in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callrail.client import CallRail as AsyncCallRail
from callrail.client import resources
from callrail.exceptions import Forbidden, InvalidRequest, NotFound
from callrail.sync import CallRail
from routers.fake_callrail import FakeCallRail, faults, small_world
from routers.fake_callrail.serving import serve_in_background

LONGEST = 30


@dataclass(frozen=True)
class Served:
    fake: FakeCallRail
    url: str

    @property
    def account(self) -> str:
        return self.fake.world.accounts[0].id

    def client(self, key: str | None = None) -> CallRail:
        return CallRail(key or self.fake.world.key, self.account, base_url=self.url)


@pytest.fixture
def served() -> Iterator[Served]:
    fake = FakeCallRail(small_world(calls=30, seed=7))
    with serve_in_background(fake) as url:
        yield Served(fake, url)


MONTH = datetime.now(UTC) - timedelta(days=31)


def test_reading_writing_listing_and_saving(served: Served, tmp_path: Path) -> None:
    with served.client() as client:
        calls = list(client.calls.list(start_date=MONTH, per_page=7))
        assert len(calls) == 30
        assert [len(page.rows) for page in client.calls.list(start_date=MONTH, per_page=12).pages()] == [12, 12, 6]

        client.calls.update(calls[0].id, tags=["Call back"], append_tags=True)
        assert "Call back" in (client.calls.get(calls[0].id, fields=["tags"]).tags or [])

        recorded = next(call for call in calls if call.recording)
        saved = client.download(str(client.calls.recording(recorded.id).url), tmp_path / "call.mp3")
        assert saved.content_type == "audio/mpeg"
        assert client.request("GET", "/v3/a/{account_id}/tags.json")["total_records"] == 5
        other = client.for_account(served.fake.world.accounts[1].id)
        assert [each.name for each in other.companies.list()] == ["Example Roofing"]


def test_errors_are_those_of_the_other_client(served: Served) -> None:
    with served.client(served.fake.world.read_only_key) as client:
        with pytest.raises(NotFound):
            client.calls.get("CAL0")
        with pytest.raises(Forbidden):
            client.tags.delete("1")
        with pytest.raises(InvalidRequest, match="date"):
            client.calls.list()
        with pytest.raises(AttributeError, match="no operation lst"):
            client.calls.lst()  # type: ignore[attr-defined]  # that is what is tried


def test_a_list_that_is_left_early_asks_for_no_more(served: Served) -> None:
    with served.client() as client:
        for _call in client.calls.list(start_date=MONTH, per_page=5):
            break
        assert len([each for each in served.fake.requests if "calls" in each.path]) == 1


def test_several_threads_share_one_client(served: Served) -> None:
    with served.client() as client, ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(lambda _: len(list(client.calls.list(start_date=MONTH, per_page=10))), range(16)))
    assert counts == [30] * 16


async def test_it_may_be_used_where_a_loop_runs(served: Served) -> None:
    def ask() -> str | None:
        with served.client() as client:
            return client.accounts.get(served.account).name

    assert asyncio.get_running_loop().is_running()
    assert ask() == "Example Agency"


test_it_may_be_used_where_a_loop_runs = pytest.mark.anyio(test_it_may_be_used_where_a_loop_runs)


def test_what_is_closed_says_so(served: Served) -> None:
    threads = set(threading.enumerate())
    client = served.client()
    assert set(threading.enumerate()) > threads
    client.close()
    client.close()
    with pytest.raises(InvalidRequest, match="closed"):
        client.tags.get("1")
    assert set(threading.enumerate()) == threads


def test_one_that_was_never_closed_is_told_of(served: Served) -> None:
    client = served.client()
    with pytest.warns(ResourceWarning, match="never closed"):
        del client


def test_all_resources_and_operations_are_there(served: Served) -> None:
    with served.client() as client:
        for name, resource in resources().items():
            assert set(dir(getattr(client, name))) == set(resource.operations)


PROGRAM = """
import sys
from callrail.sync import CallRail
client = CallRail(sys.argv[2], sys.argv[3], base_url=sys.argv[1])
print(client.accounts.get(sys.argv[3]).name, flush=True)
if len(sys.argv) > 4:
    client.tags.get("1")
"""


def test_a_program_that_forgets_to_close_ends(served: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, served.url, served.fake.world.key, served.account],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert (done.returncode, done.stdout) == (0, "Example Agency\n")


def test_ctrl_c_ends_a_request_that_hangs(served: Served) -> None:
    served.fake.faults.add("GET", "*/tags/1.json", faults.hang())
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, served.url, served.fake.world.key, served.account, "hang"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not any(each.path.endswith("/tags/1.json") for each in served.fake.requests):
            assert process.poll() is None
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err


def test_a_program_that_leaves_a_list_half_read_ends(served: Served) -> None:
    program = PROGRAM + (
        "import datetime\n"
        "start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=31)\n"
        "rows = iter(client.calls.list(start_date=start, per_page=5))\n"
        "print(next(rows).id, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, served.url, served.fake.world.key, served.account],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_client_of_ones_own_kind_has_the_same_resources(served: Served) -> None:
    class Own(AsyncCallRail):
        """Whatever somebody adds."""

    assert Own("key", "ACC1").calls is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_after_a_fork_it_says_what_to_do(served: Served) -> None:
    program = PROGRAM + (
        "import os\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        client.tags.get('1')\n"
        "    except Exception as error:\n"
        "        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, served.url, served.fake.world.key, served.account],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert "make a new one after a fork" in done.stdout
