"""A client, and the fake CallRail it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from callrail.client import CallRail
from callrail.sending import Pace
from routers.fake_callrail import FakeCallRail, small_world
from routers.fake_callrail.serving import serve_in_background

NOW = datetime(2026, 3, 20, 15, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Api:
    """A running fake and a client of its first account, with the key that may do everything."""

    fake: FakeCallRail
    url: str
    client: CallRail


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    fake = FakeCallRail(small_world(seed=1, now=NOW))
    with serve_in_background(fake) as url:
        account = fake.world.accounts[0]
        async with CallRail(fake.world.key, account.id, base_url=url, pace=Pace(now=lambda: NOW)) as client:
            yield Api(fake, url, client)
