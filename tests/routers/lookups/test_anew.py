"""`--lookups fresh`: what the rules would say with what CallRail says today, and replays that are told with it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from routers.fake_callrail import faults
from routers.rules.answers import LOOKED_UP, LOOKUP
from routers.schema import deliveries, lookups, transitions
from tests.routers.lookups.office import Office, body_of
from tests.routers.lookups.test_looking_up import erase_person
from tests.routers.running import Ran, run
from tests.routers.store import rows_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

WITH_CAMPAIGN = """
rules:
  - id: missed
    when: [call.missed]
    lookups: [tracker]
    send: [{to: crm}]
"""
BY_CAMPAIGN = WITH_CAMPAIGN.replace("lookups: [tracker]", "if: {lookup.tracker.campaign_name: Spring}")
WITHOUT = "rules:\n  - {id: texts, when: [text.received], send: [{to: crm}]}\n"


async def command(office: Office, *arguments: Any) -> Ran:
    environ = {"OFFICE_KEY": office.fake.world.key}
    where = ("--config", office.config, *office.stored)
    return await asyncio.to_thread(partial(run, environ=environ), *arguments, *where)


async def a_missed_call(office: Office, rules: str, campaign: str) -> Any:
    """Its transition, as *rules* decided it; the campaign of its number is *campaign* then."""
    call = office.a_call()
    call.tracker["campaign_name"] = campaign
    office.write(rules)
    async with office.open():
        await office.post_call(call)
        return await office.until_decided("call.missed")


async def test_explain_asks_anew_and_keeps_nothing(office: Office) -> None:
    row = await a_missed_call(office, WITH_CAMPAIGN, "Autumn")
    office.a_call().tracker["campaign_name"] = "Spring"
    office.write(BY_CAMPAIGN)

    then = await command(office, "explain", row.id)
    today = await command(office, "explain", row.id, "--lookups", "fresh")
    assert "campaign_name Autumn" in then.out
    assert "campaign_name Spring" in today.out
    assert "just asked" in today.out
    assert "missed fires" in today.out
    assert "missed fires" not in then.out
    assert office.transitions("call.missed") == [row]


async def test_a_webhook_in_a_file_is_explained_with_what_is_looked_up(office: Office) -> None:
    await a_missed_call(office, WITH_CAMPAIGN, "Spring")
    office.write(BY_CAMPAIGN)
    file = office.config.parent / "webhook.json"
    file.write_text(json.dumps(body_of(office.a_call())))
    asked = ("explain", "--file", file, "--kind", "post_call", "--company", "acme")

    assert "missed fires" not in (await command(office, *asked)).out
    assert "missed fires" in (await command(office, *asked, "--lookups", "fresh")).out


async def test_a_replay_by_todays_rules_is_told_with_what_they_need(office: Office) -> None:
    """Nothing was looked up then, for no rule needed it."""
    row = await a_missed_call(office, WITHOUT, "Spring")
    office.write(BY_CAMPAIGN)
    plan = ("replay", "plan", "--routing", "today", "--transition", "call.missed", "--output", "json")

    stored = await command(office, *plan)
    assert "Nothing of that was told" in stored.err
    fresh = await command(office, *plan, "--lookups", "fresh")
    assert "Asking CallRail 1 question ..." in fresh.err
    assert "What CallRail says now is kept with 1 of what is to be sent." in fresh.err
    planned = json.loads(fresh.out)
    assert planned["messages"] == 1
    (kept,) = office.transitions("call.missed")
    assert kept.details[LOOKUP]["tracker"]["campaign_name"] == "Spring"
    assert kept.id == row.id

    async with office.open():
        ran = await asyncio.to_thread(run, "replay", "run", planned["id"], "--yes", *office.stored)
        assert ran.code == 0
        (told,) = await office.until_told(1)
    assert told["lookup"]["tracker"]["campaign_name"] == "Spring"


async def test_what_was_told_then_stays_where_callrail_tells_nothing_now(office: Office) -> None:
    row = await a_missed_call(office, WITH_CAMPAIGN, "Spring")
    office.fake.faults.add("GET", "*/trackers/*", faults.status(403), times=9)

    await command(office, "replay", "plan", "--transition", "call.missed", "--again", "--lookups", "fresh")
    (kept,) = office.transitions("call.missed")
    assert (kept.details[LOOKUP], kept.details[LOOKED_UP]) == (row.details[LOOKUP], row.details[LOOKED_UP])
    assert len(office.asked("trackers")) == 2


async def test_only_what_is_to_be_sent_is_asked_about_and_changed(office: Office) -> None:
    """One message is dead, the others arrived: they are as they were told."""
    office.write(WITH_CAMPAIGN)
    async with office.open():
        for position in range(3):
            await office.post_call(office.a_call(position))
        await office.until_told(3)
        await until(lambda: {row.state for row in office.deliveries()} == {"delivered"})
    before = office.transitions("call.missed")
    dead = office.deliveries()[1]
    with office.database.writing.begin() as conn:
        conn.execute(update(deliveries).where(deliveries.c.id == dead.id).values(state="dead"))
    asked = len(office.fake.requests)
    for call in map(office.a_call, range(3)):
        call.tracker["campaign_name"] = "Spring"

    await command(office, "replay", "plan", "--state", "dead", "--lookups", "fresh")
    assert len(office.fake.requests) == asked + 1
    changed = [new.id for old, new in zip(before, office.transitions("call.missed"), strict=True) if old != new]
    assert changed == [dead.transition_id]


async def test_of_somebody_who_was_erased_nothing_is_asked(office: Office) -> None:
    row = await a_missed_call(office, WITH_CAMPAIGN.replace("tracker", "call"), "Spring")
    await asyncio.to_thread(erase_person, office.database, office.a_call())
    asked = len(office.fake.requests)

    await command(office, "explain", row.id, "--lookups", "fresh")
    await command(office, "replay", "plan", "--transition", "call.missed", "--again", "--lookups", "fresh")
    assert len(office.fake.requests) == asked
    assert rows_of(office.database, lookups) == []


async def test_what_is_so_old_that_it_is_removed_is_not_brought_back(office: Office) -> None:
    row = await a_missed_call(office, WITH_CAMPAIGN, "Spring")
    long_ago = datetime.now(UTC) - timedelta(days=10)
    with office.database.writing.begin() as conn:
        conn.execute(update(transitions).where(transitions.c.id == row.id).values(created_at=long_ago, details={}))
    office.config.write_text(office.config.read_text() + "retention: {transcripts: 7d}\n")

    await command(office, "replay", "plan", "--transition", "call.missed", "--again", "--lookups", "fresh")
    assert office.transitions("call.missed")[0].details == {}
