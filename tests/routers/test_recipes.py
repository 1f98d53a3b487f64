"""The recipes of docs/api.md, as they stand there, and those in Python, against a whole CallRail."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.responses import Response

from routers.fake_callrail import FakeCallRail, World, faults, small_world
from routers.fake_callrail.serving import serve_in_background

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "api"
SHELL = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "api.md").read_text().partition("### Recipes")[2], re.DOTALL)
PIPELINE, MONTH, MISSED = SHELL[:3]
LONGEST = 60
Right = Callable[[], Awaitable[Response]]


@dataclass(frozen=True)
class Office:
    world: World
    url: str
    folder: Path

    def run(self, *command: str, account: str | None = None) -> str:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CALLRAIL_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CALLRAIL_API_KEY": self.world.key,
            "CALLRAIL_BASE_URL": self.url,
            **({"CALLRAIL_ACCOUNT_ID": account} if account else {}),
        }
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environ, cwd=self.folder, timeout=LONGEST
        )
        return done.stdout

    def shell(self, script: str, account: str | None = None) -> str:
        return self.run("bash", "-euo", "pipefail", "-c", script, account=account)

    @property
    def account(self) -> str:
        return self.world.accounts[0].id


@pytest.fixture
def fake() -> FakeCallRail:
    # Noon in the owner's zone, so that today and yesterday have calls whenever the test is run.
    today = datetime.now(UTC).replace(hour=17, minute=0, second=0, microsecond=0)
    return FakeCallRail(small_world(calls=300, seed=3, now=today))


@pytest.fixture
def office(tmp_path: Path, fake: FakeCallRail) -> Iterator[Office]:
    with serve_in_background(fake) as url:
        yield Office(fake.world, url, tmp_path)


def days_ago(office: Office, days: int) -> list[str]:
    from routers.fake_callrail.world import OWNER_ZONE

    day = (office.world.now() - timedelta(days=days)).astimezone(OWNER_ZONE).date()
    return [call.id for call in office.world.accounts[0].calls if call.start.astimezone(OWNER_ZONE).date() == day]


def test_all_accounts_each_accounts_calls_each_calls_details(office: Office) -> None:
    told = [json.loads(line) for line in office.shell(PIPELINE).splitlines()]
    assert {each["id"] for each in told} >= set(days_ago(office, 0))
    assert all({"source", "tags", "note"} <= each.keys() for each in told)
    printed = office.run(sys.executable, str(RECIPES / "calls_of_all_accounts.py"))
    assert len(printed.splitlines()) == len(told)


def test_a_month_of_calls_to_csv(office: Office) -> None:
    first = (office.world.now() - timedelta(days=31)).date()
    script = MONTH.replace("2026-10-01", str(first)).replace("2026-10-31", str(office.world.now().date()))
    office.shell(script, office.account)
    rows = list(csv.DictReader(io.StringIO((office.folder / "october.csv").read_text())))
    assert [row["id"] for row in rows] == [call.id for call in office.world.accounts[0].calls]
    assert {row["source"] for row in rows} == {call.source for call in office.world.accounts[0].calls}


@pytest.mark.parametrize("how", ["shell", "tag_missed_calls.py", "tag_missed_calls_sync.py"])
def test_all_missed_calls_of_yesterday_get_a_tag(office: Office, how: str) -> None:
    office.world.accounts[1:] = []  # the programs leave the account to a key that sees one only
    if how == "shell":
        office.shell(MISSED)
    else:
        office.run(sys.executable, str(RECIPES / how))
    missed = {call.id for call in office.world.accounts[0].calls if call.is_missed}
    tagged = {call.id for call in office.world.accounts[0].calls if "Call back" in call.tags}
    assert tagged == missed & set(days_ago(office, 1))
    assert tagged


def test_several_lines_are_worked_on_at_once_and_printed_in_their_order(office: Office, fake: FakeCallRail) -> None:
    first, second, third = days_ago(office, 1)[:3]
    is_asked = asyncio.Event()

    async def waits_for_the_second(right: Right) -> Response:
        await is_asked.wait()
        return await right()

    async def is_the_second(right: Right) -> Response:
        is_asked.set()
        return await right()

    fake.faults.add("GET", f"*/calls/{first}.json", waits_for_the_second)
    fake.faults.add("GET", f"*/calls/{second}.json", is_the_second)
    fake.faults.add("GET", f"*/calls/{third}.json", faults.status(404), times=2)  # by both ids of the account
    lines = "".join(f"{each}\n" for each in (first, third, second))
    told = office.shell(
        f"printf '{lines}' | callrail-router api calls get --each --columns id || echo failed", office.account
    )
    assert told.split("\n") == [f'{{"id": "{first}"}}', f'{{"id": "{second}"}}', "failed", ""]
