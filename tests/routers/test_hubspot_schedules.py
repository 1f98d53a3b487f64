"""One caller is one contact, and one call one record, whatever is lost, comes too late, is stopped or merged meanwhile.

Four dispatchers of four processes share a PostgreSQL. Search sees nothing for five minutes, a fifth of all requests
meets a fault, and any delivery may be stopped at any await. The calls of one person come under two order keys, from two
numbers or from two companies, so that it is not the order alone that keeps them apart. People rename the contact.
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
from tests.fakes.hubspot import TOKEN, Account, FakeHubSpot, faults, running_hubspot
from tests.fakes.hubspot.faults import Act
from tests.routers.crm_office import CALL, CrmOffice, a_crm_office
from tests.routers.store import FixedClock

SCHEDULES = int(os.environ.get("CALLRAIL_ROUTER_TEST_SCHEDULES", "200"))
PARTS = 4
DISPATCHERS = 4
HOW_MANY = (*[2] * 24, *[5] * 24, 50)  # calls of one person, the last once in a while: it is as much as all the others
_MOST_STEPS = 300  # of the event loop, in which a delivery is stopped
_LATER = timedelta(seconds=40)  # longer than a turn lasts
NAME, TYPED = "Avery", "Dr. Avery"
_numbers = count(2_000_000)


@dataclass
class World:
    """The account, and four processes that send to it."""

    hubspot: FakeHubSpot
    offices: Sequence[CrmOffice]
    rng: random.Random = field(default_factory=random.Random)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    is_renamed: bool = False

    @property
    def office(self) -> CrmOffice:
        return self.offices[0]

    async def too_late(self, conversation: Conversation, act: Act) -> None:
        """The connection closed at once, and done at the end of the round."""
        conversation.writer.close()
        await self.gate.wait()
        act()

    def begin(self, seed: int) -> None:
        """Another account, with nobody in it."""
        self.rng, self.is_renamed = random.Random(seed), False
        account = Account(index_lag=timedelta(minutes=5), unique_conflict=self.rng.choice((400, 409)))
        account.define("contacts", "callrail_phone")
        for kind in ("calls", "communications", "tasks"):
            account.define(kind, "callrail_id")
        self.hubspot.api.account = account
        self.hubspot.exchanges.clear()
        self.hubspot.calms()
        self.hubspot.sometimes_meets(
            *(faults.lost, faults.lost_by_reset, faults.closed_before, faults.reset_before, faults.cut_short),
            *(faults.failing_after(502), faults.failing(503), faults.locked(), self.too_late),
            share=0.2,
            rng=self.rng,
        )

    def somebody_renames(self) -> None:
        """Perhaps, and once there is a contact."""
        for contact in self.hubspot.account.all("contacts"):
            if self.rng.random() < 0.5:
                self.is_renamed = True
                self.hubspot.account.human_edits("contacts", contact.id, firstname=TYPED)

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
        self.gate.set()
        await self.hubspot.settled()
        self.office.clock.moment += _LATER
        return self.office.is_anything_open()


@asynccontextmanager
async def a_world(url: str, folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        hubspot = await stack.enter_async_context(running_hubspot())
        settings_ = f"type: hubspot, token: env:HUBSPOT_TOKEN, base_url: '{hubspot.base_url}'"
        clock = FixedClock()
        offices = [
            await stack.enter_async_context(a_crm_office(url, folder, settings_, clock=clock))
            for _ in range(DISPATCHERS)
        ]
        yield World(hubspot, offices)


async def happens(world: World, seed: int) -> None:
    world.begin(seed)
    number, rng, office = next(_numbers), world.rng, world.office
    phone = f"+1404{number}"
    # Of two numbers each company knows for itself that they are of one person.
    phones, companies = rng.choice((((phone,), ("acme", "globex")), ((phone, f"+1312{number}"), ("acme",))))
    calls = {f"CAL{number}-{n}": rng.choice((True, True, False)) for n in range(rng.choice(HOW_MANY))}
    for call, tells_number in calls.items():
        told_number = rng.choice(phones) if tells_number else None
        who = {"customer_phone_number": told_number, "person_resource_id": f"PER{number}"}
        told = {**CALL, **who, "resource_id": call}
        office.hears("post_call", told, company=rng.choice(companies))
        if rng.random() < 0.3:
            await world.round()
            world.somebody_renames()
    changed = [call for call in calls if rng.random() < 0.3]
    while await world.round():
        world.somebody_renames()
        if changed and rng.random() < 0.5:
            office.hears("call_modified", late_truth(office, changed.pop(), number, phone))
    account = world.hubspot.account
    assert len(account.all("contacts")) <= 1  # none, where only CallRail's id of the person was told
    assert {each.properties["firstname"] for each in account.all("contacts")} <= {TYPED if world.is_renamed else NAME}
    assert sorted(each.properties["callrail_id"] for each in account.all("calls")) == sorted(calls)
    for record in account.all("calls"):
        if calls[record.properties["callrail_id"]]:
            assert account.linked("calls", record.id, "contacts") == [each.id for each in account.all("contacts")] != []


def late_truth(office: CrmOffice, call: str, number: int, phone: str) -> dict[str, object]:
    """What may come later of a call, whatever company it is of: a note."""
    who = {"customer_phone_number": phone, "person_resource_id": f"PER{number}"}
    return {**CALL, **who, "resource_id": call, "note": "late", "changes": ["note"]}


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_one_caller_is_one_contact_and_one_call_one_record(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """In parts, which several may work on at once."""
    monkeypatch.setenv("ACME_KEY", "0f1e2d3c")
    monkeypatch.setenv("HUBSPOT_TOKEN", TOKEN)

    @settings(max_examples=SCHEDULES // PARTS, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(min_value=0, max_value=2**32))
    def each(seed: int) -> None:
        runner.run(happens(world, PARTS * seed + part))

    with asyncio.Runner() as runner:
        context = a_world(postgresql_url, tmp_path)
        world = runner.run(context.__aenter__())
        try:
            each()
        finally:
            runner.run(context.__aexit__(None, None, None))
