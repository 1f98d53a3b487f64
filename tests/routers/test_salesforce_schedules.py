"""One caller is one lead, and one call one task, whatever is lost, comes too late, is stopped or converted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from callrail.http import HttpClient
from routers.outcomes import Delivered
from routers.sinks.crm import Lead
from routers.sinks.salesforce_log import Log
from routers.sinks.salesforce_people import KEY, Told
from routers.sinks.salesforce_plan import Wanted
from routers.sinks.salesforce_session import BySecret, Session
from routers.sinks.salesforce_tasks import Activity
from routers.transitions import Transition
from tests.fakes.salesforce import CLIENT_ID, CLIENT_SECRET, FakeSalesforce, Org, faults, running_salesforce
from tests.routers.remembering import Memory
from tests.routers.stories import message_of, story

PHONE = "+14045550123"
FAULTS = (
    *(faults.lost, faults.lost_by_reset, faults.closed_before, faults.reset_before, faults.cut_short),
    *(faults.failing_after(502), faults.failing(503), faults.locked(), faults.expired()),
)
AT_ONCE = 4  # deliveries, each by a dispatcher of its own
NEWS = ("Missed", "Voicemail", "Answered")
_MOST_STEPS = 400  # of the event loop, in which a delivery is stopped


@dataclass
class World:
    """The org, what is remembered, and what is still to be told of each call, oldest first."""

    salesforce: FakeSalesforce
    rng: random.Random
    pending: dict[str, list[Wanted]]
    memory: Memory = field(default_factory=lambda: Memory(Lead("ld_avery", PHONE, (PHONE,))))
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, key: str) -> bool:
        """Try the next news of one call, as a process that has just started; whether it was delivered."""
        client = HttpClient(timeout=timedelta(seconds=2), allow_hosts=["127.0.0.1"])
        session = Session(client, self.salesforce.base_url, "66.0", BySecret(CLIENT_ID, CLIENT_SECRET))
        log = Log(session, self.memory, self.salesforce.base_url)
        message = message_of(*story(Transition.CALL_MISSED), callrail_id=key)
        sending = asyncio.create_task(log.log(message, self.pending[key][0]))
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
        for key, is_delivered in zip(keys, await asyncio.gather(*map(self.send, keys)), strict=True):
            if is_delivered:
                self.pending[key].pop(0)
        self.pending = {key: news for key, news in self.pending.items() if news}
        self.gate.set()
        await self.salesforce.settled()
        self.gate.clear()
        self.memory.run_out()


def news_of(key: str, results: Sequence[str]) -> list[Wanted]:
    call = Activity(key, "Call", "", date(2026, 3, 10), "Inbound", 75)
    told = Told("Avery Quill")
    return [Wanted(replace(call, title=f"Call: {each}", text=each, result=each), told) for each in results]


async def happens(seed: int) -> None:
    rng = random.Random(seed)
    org = Org(index_lag=timedelta(minutes=5))
    org.define_keys(task_is_external=rng.random() < 0.7)
    keys = [f"CAL{number}" for number in range(rng.choice((2, 5, 10)))]
    async with running_salesforce(org) as salesforce:
        world = World(salesforce, rng, {key: news_of(key, NEWS[: rng.randint(1, 3)]) for key in keys})
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


@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_one_caller_is_one_lead_and_one_call_one_task(seed: int) -> None:
    """Two, five and ten calls of a new caller, four dispatchers, search five minutes late, a fifth of answers lost."""
    asyncio.run(happens(seed))
