"""A client of the API, a server that answers what the test says, and a time that passes when it is slept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callrail.client import CallRail
from callrail.sending import Pace
from tests.fakes.destination import Behaviour, Destination, answer, running_destination

NOW = datetime(2026, 3, 20, 15, 0, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"
ACCOUNT = "ACC0191f00a1b2c7d3e8f405162738495a6"


@dataclass
class Time:
    """A clock that stands still but for sleeping, which takes no time."""

    slept: list[float] = field(default_factory=list)

    def pace(self) -> Pace:
        return Pace(monotonic=lambda: sum(self.slept), now=self.now, sleep=self.sleep)

    def now(self) -> datetime:
        return NOW + timedelta(seconds=sum(self.slept))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass(frozen=True)
class Api:
    """A client of *server*, in *time*."""

    server: Destination
    client: CallRail
    time: Time

    def answers(self, *told: Any) -> None:
        """Answer these, in JSON or as behaviours, request for request; the last for all that follow."""
        self.server.behaves(*(each if callable(each) else telling(each) for each in told))

    def another(self, account_id: str | None = ACCOUNT, **settings: Any) -> CallRail:
        """Another client of the server, in the same time; whoever asks for it closes it."""
        return CallRail(KEY, account_id, base_url=self.server.url, pace=self.time.pace(), **settings)

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Method and target of all requests."""
        return [(request.method, request.target) for request in self.server.requests]

    @property
    def body(self) -> Any:
        """The JSON of the last request."""
        return json.loads(self.server.requests[-1].body)


def telling(told: Any, status: int = 200, **headers: str) -> Behaviour:
    """An answer in JSON; a header's name is written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(status, headers={"content-type": "application/json", **named}, body=json.dumps(told).encode())


def page(rows: str, *told: Any, of: int = 1, number: int = 1) -> dict[str, Any]:
    """One page of a list."""
    return {"page": number, "per_page": 250, "total_pages": of, "total_records": len(told) * of, rows: list(told)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    time = Time()
    async with running_destination() as server, CallRail(KEY, ACCOUNT, base_url=server.url, pace=time.pace()) as client:
        yield Api(server, client, time)
