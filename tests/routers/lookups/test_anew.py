"""`--lookups fresh`: what the rules would say with what CallRail says today, and replays that are told with it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest

from routers.fake_callrail import faults
from routers.rules.answers import LOOKED_UP, LOOKUP
from tests.routers.lookups.office import Office, body_of
from tests.routers.running import Ran, run

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
    office.forget_answers()
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
    assert "Looked up anew for 1 transitions" in fresh.err
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
    office.forget_answers()
    office.fake.faults.add("GET", "*/trackers/*", faults.status(403), times=9)

    await command(office, "replay", "plan", "--transition", "call.missed", "--again", "--lookups", "fresh")
    (kept,) = office.transitions("call.missed")
    assert (kept.details[LOOKUP], kept.details[LOOKED_UP]) == (row.details[LOOKUP], row.details[LOOKED_UP])
    assert len(office.asked("trackers")) == 2
