"""One caller is one lead, and one call one task, whatever is lost, comes too late, is stopped or converted.

On PostgreSQL the dispatchers are processes of their own, as far as their memory can tell; SQLite has one process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import count, cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callrail.http import HttpClient
from routers.messages import Message
from routers.outcomes import Delivered
from routers.sinks.salesforce_log import Log
from routers.sinks.salesforce_people import KEY, Told
from routers.sinks.salesforce_plan import Wanted
from routers.sinks.salesforce_session import BySecret, Session
from routers.sinks.salesforce_tasks import Activity
from tests.fakes.salesforce import CLIENT_ID, CLIENT_SECRET, FakeSalesforce, Org, faults, running_salesforce
from tests.routers.crm_store import LEASE, CrmStore, a_crm_store
from tests.routers.store import FixedClock

FAULTS = (
    *(faults.lost, faults.lost_by_reset, faults.closed_before, faults.reset_before, faults.cut_short),
    *(faults.failing_after(502), faults.failing(503), faults.locked(), faults.expired()),
)
AT_ONCE = 4  # deliveries, each by a dispatcher of its own
NEWS = ("Missed", "Voicemail", "Answered")
_MOST_STEPS = 400  # of the event loop, in which a delivery is stopped
_numbers = count(2_000_000)


@dataclass
class World:
    """The org, what processes remember of it, and what is still to be told of each call, oldest first."""

    salesforce: FakeSalesforce
    stores: Sequence[CrmStore]
    rng: random.Random
    pending: dict[str, list[Wanted]]
    messages: Mapping[str, Message]
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, key: str, store: CrmStore) -> bool:
        """Try the next news of one call, as a process that has just started; whether it was delivered."""
        client = HttpClient(timeout=timedelta(seconds=2), allow_hosts=["127.0.0.1"])
        session = Session(client, self.salesforce.base_url, "66.0", BySecret(CLIENT_ID, CLIENT_SECRET))
        log = Log(session, store.memory, self.salesforce.base_url)
        sending = asyncio.create_task(log.log(self.messages[key], self.pending[key][0]))
        if self.rng.random() < 0.2:
            for _ in range(self.rng.randrange(_MOST_STEPS)):
                await asyncio.sleep(0)
            sending.cancel()
        await asyncio.wait([sending])
        await client.aclose()
        return not sending.cancelled() and isinstance(sending.result(), Delivered)

    async def round(self) -> None:
        """Several at once. When all is over that may still act, turns that were not given back have run out."""
        keys = self.rng.sample(sorted(self.pending), min(AT_ONCE, len(self.pending)))
        for key, is_delivered in zip(
            keys, await asyncio.gather(*map(self.send, keys, cycle(self.stores))), strict=True
        ):
            if is_delivered:
                self.pending[key].pop(0)
        self.pending = {key: news for key, news in self.pending.items() if news}
        self.gate.set()
        await self.salesforce.settled()
        self.gate.clear()
        self.stores[0].clock.moment += LEASE


def news_of(key: str, results: Sequence[str]) -> list[Wanted]:
    call = Activity(key, "Call", "", date(2026, 3, 10), "Inbound", 75)
    told = Told("Avery Quill")
    return [Wanted(replace(call, title=f"Call: {each}", text=each, result=each), told) for each in results]


async def happens(stores: Sequence[CrmStore], seed: int) -> None:
    rng = random.Random(seed)
    org = Org(index_lag=timedelta(minutes=5))
    org.define_keys(task_is_external=rng.random() < 0.7)
    keys = [f"CAL{number}" for number in range(rng.choice((2, 5, 10)))]
    phone = f"+1404{next(_numbers)}"
    messages = {key: stores[0].message(customer_phone_number=phone) for key in keys}
    async with running_salesforce(org) as salesforce:
        pending = {key: news_of(key, NEWS[: rng.randint(1, 3)]) for key in keys}
        world = World(salesforce, stores, rng, pending, messages)
        salesforce.sometimes_meets(*FAULTS, faults.too_late(world.gate), share=0.2, rng=rng)
        last = {key: news[-1].activity for key, news in world.pending.items()}
        is_converted = rng.random() < 0.3
        while world.pending:
            await world.round()
            if is_converted and org.all("Lead"):
                org.human_converts(org.all("Lead")[0].id)
    (person,) = org.all("Contact" if is_converted else "Lead")
    tasks = {task.values[KEY]: task.values for task in org.all("Task")}
    assert len(org.records["Lead"]) == 1
    assert len(org.all("Task")) == len(keys)
    for key in keys:
        assert tasks[key]["WhoId"] == person.id
        assert (tasks[key]["Subject"], tasks[key]["CallDisposition"]) == (last[key].title, last[key].result)


@asynccontextmanager
async def processes(url: str, count: int) -> AsyncIterator[Sequence[CrmStore]]:
    """So many, each with a connection of its own that writes; they have one clock."""
    async with AsyncExitStack() as stack:
        clock = FixedClock()
        yield [await stack.enter_async_context(a_crm_store(url, clock)) for _ in range(count)]


@pytest.mark.long
def test_one_caller_is_one_lead_and_one_call_one_task(database_url: str) -> None:
    """Two, five and ten calls of a new caller, four at once, search five minutes late, a fifth of answers lost."""

    @settings(max_examples=30, deadline=None)
    @given(st.integers(min_value=0, max_value=2**32))
    def each(seed: int) -> None:
        runner.run(happens(stores, seed))

    with asyncio.Runner() as runner:
        context = processes(database_url, 1 if database_url.startswith("sqlite") else AT_ONCE)
        stores = runner.run(context.__aenter__())
        try:
            each()
        finally:
            runner.run(context.__aexit__(None, None, None))
