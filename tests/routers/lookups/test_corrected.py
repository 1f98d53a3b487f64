"""Look-ups where the outcome of a call is corrected: whoever waits, or asks in a condition, hears of it once."""

from __future__ import annotations

from typing import Any

import pytest

from routers.rules.answers import LOOKED_UP
from tests.fakes.destination import answer
from tests.routers.lookups.office import Office, body_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

WAITS = "lookups:\n  tracker: {deadline: 500ms, on_failure: wait}"
BOTH_OUTCOMES = "rules:\n  - {id: once, when: [call.missed, call.answered], MORE send: [{to: crm}]}\n"


async def corrected(office: Office, call: Any) -> None:
    """CallRail says that the call was answered after all."""
    await office.post("call_modified", body_of(call) | {"call_type": "answered", "answered": True})
    await office.until_recorded("call.corrected")


async def all_decided(office: Office) -> None:
    await until(lambda: all(row.state != "waiting" for row in office.transitions()))


def is_over(office: Office) -> bool:
    office.send_again()
    return all(row.state in ("delivered", "superseded") for row in office.deliveries())


async def test_an_outcome_corrected_while_its_rule_waits_is_told_once(office: Office) -> None:
    office.write(BOTH_OUTCOMES.replace("MORE", "lookups: [tracker],"), WAITS)
    office.spoil("*/trackers/*")
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_tried("call.missed")
        await corrected(office, call)
        assert {row.state for row in office.transitions()} == {"waiting"}
        office.fake.faults.clear()
        office.make_due()
        await all_decided(office)
        await until(lambda: is_over(office))

    (told,) = office.told()
    assert told["fields"]["call_type"] == "answered"
    assert told["lookup"]["tracker"]["name"]


async def test_a_missed_call_that_was_answered_while_its_rule_waited_is_not_told(office: Office) -> None:
    office.write("rules:\n  - {id: m, when: [call.missed], lookups: [tracker], send: [{to: crm}]}", WAITS)
    office.spoil("*/trackers/*")
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_tried("call.missed")
        await corrected(office, call)
        office.fake.faults.clear()
        office.make_due()
        await all_decided(office)
        await until(lambda: is_over(office))

    # Told in the moment before the correction was decided, or not at all; but never twice.
    assert len(office.deliveries()) == 1
    assert len(office.told()) == (office.deliveries()[0].state == "delivered")


@pytest.mark.parametrize("asks", ["", "if: {lookup.tracker.name: {exists: true}},"])
async def test_what_is_not_sent_yet_turns_to_the_right_outcome(office: Office, asks: str) -> None:
    """With a look-up in the condition as without."""
    office.write(BOTH_OUTCOMES.replace("MORE", asks))
    office.destination.behaves(answer(503))
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await until(lambda: office.destination.requests)
        await corrected(office, call)
        await all_decided(office)
        office.destination.behaves(answer(200))
        await until(lambda: is_over(office))

    (delivery,) = office.deliveries()
    assert delivery.state == "delivered"
    assert office.told()[-1]["fields"]["call_type"] == "answered"


async def test_unmatched_does_not_tell_what_a_rule_tells(office: Office) -> None:
    office.write(
        """rules:
  - {id: m, when: [call.answered], if: {lookup.lead_timeline.total_interactions: {gte: 1}}, send: [{to: crm}]}
  - {id: never, when: [call.missed], if: {lookup.lead_timeline.total_interactions: {gte: 100000}}, send: [{to: crm}]}
unmatched: {calls: crm}
""",
        "lookups:\n  lead_timeline: {ttl: 1s}",
    )
    office.destination.behaves(answer(503))
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await until(lambda: office.destination.requests)
        office.forget_answers()
        await corrected(office, call)
        await all_decided(office)
        office.destination.behaves(answer(200))
        await until(lambda: is_over(office))

    assert [(row.rule, row.state) for row in office.deliveries()] == [("unmatched", "superseded"), ("m", "delivered")]


@pytest.mark.parametrize("looks_up", ["", "lookups: [lead_timeline],"])
async def test_news_of_a_correction_comes_once(office: Office, looks_up: str) -> None:
    office.write(BOTH_OUTCOMES.replace("MORE", looks_up).replace("{to: crm}", "{to: crm, amend: new}"))
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_told(1)
        office.forget_answers()
        await corrected(office, call)
        await all_decided(office)
        await until(lambda: is_over(office))

    assert [row.amends is not None for row in office.deliveries()] == [False, True]


async def test_a_correction_back_to_an_outcome_that_was_told_asks_anew(office: Office) -> None:
    """`call.missed` happens once, so it is the correction that the look-up of its rule is made for."""
    office.write(
        """rules:
  - {id: m, when: [call.missed], if: {lookup.tracker.name: {exists: true}}, send: [{to: crm}]}
unmatched: {calls: crm}
""",
        "lookups:\n  tracker: {ttl: 1s}",
    )
    call = office.a_call()
    async with office.open():
        await office.post_call(call)
        await office.until_told(1)
        await corrected(office, call)
        await all_decided(office)
        office.forget_answers()
        await office.post("call_modified", body_of(call))
        await until(lambda: len(office.transitions("call.corrected")) == 2)
        await all_decided(office)
        await until(lambda: is_over(office))

    assert "unmatched" not in [row.rule for row in office.deliveries()]
    assert office.transitions("call.corrected")[-1].details[LOOKED_UP]["tracker"]["from"] == "api"


@pytest.mark.parametrize("looks_up", ["", "lookups: [tracker],"])
async def test_a_rule_that_speaks_once_speaks_of_the_first_of_two(office: Office, looks_up: str) -> None:
    """Of what one webhook brought about, decided at once or after waiting."""
    office.write(
        f"""rules:
  - {{id: a, when: [call.ended, call.missed], send: [{{to: crm, amend: new}}]}}
  - {{id: b, when: [call.missed], {looks_up} send: [{{to: crm}}]}}
"""
    )
    async with office.open():
        await office.post_call(office.a_call())
        await until(lambda: office.transitions("call.missed"))
        await all_decided(office)
        await until(lambda: is_over(office))

    (ended,), (missed,) = office.transitions("call.ended"), office.transitions("call.missed")
    assert ended.verdicts == {"a": "fired"}
    assert missed.verdicts == {"a": "amends", "b": "fired"}
    made = sorted((row.rule, row.amends is not None) for row in office.deliveries())
    assert made == [("a", False), ("a", True), ("b", False)]
