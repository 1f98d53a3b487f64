"""One caller is one contact, and one call one note, though GoHighLevel knows no key of ours.

As for HubSpot: four dispatchers of four processes share a PostgreSQL, search sees nothing for five minutes, a fifth of
all requests meets a fault, and any delivery may be stopped at any await. Where an upsert sees no more than a search
does, the calls come from one company: of two, nobody but GoHighLevel could know that they are of one person.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routers.leases import Delivery
from routers.sinks.sink import Sink
from tests.fakes.destination import Conversation
from tests.fakes.gohighlevel import LOCATION, TOKEN, FakeGoHighLevel, Location, running_gohighlevel
from tests.fakes.hubspot import faults
from tests.fakes.hubspot.faults import Act
from tests.routers.crm_office import CALL, CrmOffice, a_crm_office
from tests.routers.store import FixedClock

SCHEDULES = int(os.environ.get("CALLRAIL_ROUTER_TEST_SCHEDULES", "200")) // 5
DISPATCHERS = 4
HOW_MANY = (2, 2, 5, 5, 12)
_MOST_STEPS = 300  # of the event loop, in which a delivery is stopped
_LATE = timedelta(seconds=30)  # not so long as a turn lasts
_LATER = timedelta(seconds=10)  # both together: longer
_numbers = count(3_000_000)


@dataclass
class World:
    """The location, and four processes that send to it."""

    gohighlevel: FakeGoHighLevel
    offices: Sequence[CrmOffice]
    rng: random.Random = field(default_factory=random.Random)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def office(self) -> CrmOffice:
        return self.offices[0]

    async def too_late(self, conversation: Conversation, act: Act) -> None:
        """The connection closed at once, and done when the turn is nearly over."""
        conversation.writer.close()
        await self.gate.wait()
        act()

    def begin(self, seed: int) -> Location:
        """Another location, with nobody in it."""
        self.rng = random.Random(seed)
        location = Location(clock=lambda: self.office.clock.moment, index_lag=timedelta(minutes=5))
        location.upserts_lag = self.rng.choice((True, False))
        self.gohighlevel.api.location = location
        self.gohighlevel.exchanges.clear()
        self.gohighlevel.calms()
        self.gohighlevel.sometimes_meets(
            *(faults.lost, faults.lost_by_reset, faults.closed_before, faults.reset_before, faults.cut_short),
            *(faults.failing_after(502), faults.failing_after(408), faults.failing(503), self.too_late),
            share=0.2,
            rng=self.rng,
        )
        return location

    async def send(self, delivery: Delivery, sink: Sink) -> None:
        """Try once; perhaps it is stopped amid the work."""
        sending = asyncio.create_task(self.office.tries(delivery, sink))
        if self.rng.random() < 0.2:
            for _ in range(self.rng.randrange(_MOST_STEPS)):
                await asyncio.sleep(0)
            sending.cancel()
        await asyncio.wait([sending])
        if sending.cancelled():  # perhaps before its first step
            self.office.put_back(delivery)
        else:
            sending.result()

    async def round(self) -> bool:
        """Several at once, each by a process of its own; whether anything is left to be sent."""
        self.gate = asyncio.Event()
        claimed = self.office.claims()
        self.rng.shuffle(claimed)
        for delivery in claimed[DISPATCHERS:]:
            self.office.put_back(delivery)
        sinks = (office.sink for office in self.offices)
        await asyncio.gather(*(self.send(*pair) for pair in zip(claimed[:DISPATCHERS], sinks, strict=False)))
        self.office.clock.moment += _LATE
        self.gate.set()
        await self.gohighlevel.settled()
        self.office.clock.moment += _LATER
        return self.office.is_anything_open()


@asynccontextmanager
async def a_world(url: str, folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        gohighlevel = await stack.enter_async_context(running_gohighlevel())
        where = f"location: '{LOCATION}', base_url: '{gohighlevel.base_url}'"
        clock = FixedClock()
        offices = [
            await stack.enter_async_context(
                a_crm_office(url, folder, f"type: gohighlevel, token: env:GHL_TOKEN, {where}", clock=clock)
            )
            for _ in range(DISPATCHERS)
        ]
        yield World(gohighlevel, offices)


async def happens(world: World, seed: int) -> None:
    location = world.begin(seed)
    number, rng, office = next(_numbers), world.rng, world.office
    companies = ("acme",) if location.upserts_lag else ("acme", "globex")
    who = {"customer_phone_number": f"+1404{number}", "person_resource_id": f"PER{number}"}
    calls = {f"CAL{number}-{n}": rng.choice(companies) for n in range(rng.choice(HOW_MANY))}
    for call, company in calls.items():
        office.hears("post_call", {**CALL, **who, "resource_id": call}, company=company)
        if rng.random() < 0.3:
            await world.round()
    changed = [call for call in calls if rng.random() < 0.3]
    name = "Avery"
    while await world.round():
        if rng.random() < 0.1 and (named := [each for each in location.all if "firstName" in each.fields]):
            name = named[0].fields["firstName"] = "Dr. Avery"  # as somebody types it
        if changed and rng.random() < 0.5:
            late = {**CALL, **who, "resource_id": (call := changed.pop()), "note": "late", "changes": ["note"]}
            office.hears("call_modified", late, company=calls[call])
    (contact,) = location.all
    assert (contact.fields["firstName"], contact.fields["source"]) == (name, "Google Ads")
    marks = sorted(note.body.rpartition("CallRail id: ")[2] for note in location.notes)
    assert marks == sorted(calls)


@pytest.mark.long
def test_one_caller_is_one_contact_and_one_call_one_note(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_KEY", "0f1e2d3c")
    monkeypatch.setenv("GHL_TOKEN", TOKEN)

    @settings(max_examples=SCHEDULES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(min_value=0, max_value=2**32))
    def each(seed: int) -> None:
        runner.run(happens(world, seed))

    with asyncio.Runner() as runner:
        context = a_world(postgresql_url, tmp_path)
        world = runner.run(context.__aenter__())
        try:
            each()
        finally:
            runner.run(context.__aexit__(None, None, None))
