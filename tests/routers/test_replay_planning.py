"""A replay's plan, on both databases: what is meant, what is left out and why, and what today's rules would say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from receiver.ids import Prefix, first_id, new_id
from routers.alarm_events import Alarm, insert_alarm
from routers.audience import Audience
from routers.replays import LeftOut, Routing, Scope, call_off
from routers.routing import route
from routers.rules.ruleset import OnLate, RuleSet, To
from routers.schema import OPEN, DeliveryState, deliveries, objects, transitions
from routers.transitions import Transition
from tests.routers.replaying import World, a_world
from tests.routers.store import a_rule, rows_of, rule_set

TODAY: dict[str, Any] = {"routing": Routing.TODAY}
PEOPLE = {"crm": Audience.PEOPLE}
TAKEN_UP = (DeliveryState.DEAD, DeliveryState.CANCELLED, DeliveryState.EXPIRED, DeliveryState.UNCERTAIN)


@pytest.mark.parametrize("state", DeliveryState)
def test_what_becomes_of_a_delivery_depends_on_its_state(database_url: str, state: DeliveryState) -> None:
    """What did not arrive is taken up under its own id; the others have a reason."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(state)

        (item,) = world.plan().items

        reasons = dict.fromkeys(TAKEN_UP) | dict.fromkeys(OPEN, LeftOut.OPEN)
        reasons |= {DeliveryState.DELIVERED: LeftOut.DELIVERED, DeliveryState.SUPERSEDED: LeftOut.SUPERSEDED}
        assert (item.delivery_id, item.new, item.reason) == (world.deliveries()[0].id, None, reasons[state])


def test_a_plan_sends_nothing_and_stays_as_it_is(database_url: str) -> None:
    """What dies after the plan is not in it, and no delivery is touched."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DEAD)
        before = world.deliveries()
        replay_id = world.planned()
        planned = world.items(replay_id)

        world.call("CAL2")
        world.become(DeliveryState.DEAD)

        assert (world.items(replay_id), world.deliveries()[0].key) == (planned, before[0].key)
        assert [item.delivery_id for item in planned] == [before[0].id]
        assert (world.replay(replay_id).state, world.replay(replay_id).summary["messages"]) == ("planned", 1)


def test_what_people_read_needs_a_word_of_its_own(database_url: str) -> None:
    """Without it nothing goes to them; and the summary says for whom it is."""
    with a_world(database_url, audiences=PEOPLE) as world:
        world.call("CAL1")
        world.become(DeliveryState.DEAD)

        assert world.left_out() == {LeftOut.PEOPLE: 1}
        assert world.left_out(to_people=True) == {None: 1}
        (sink,) = world.plan(to_people=True).summary["sinks"]
        assert sink == {"sink": "crm", "audience": "people", "taken_up": 1, "again": 0, "new": 0, "left_out": 0}


def test_what_is_late_needs_a_word_of_its_own(database_url: str) -> None:
    """Also where people are to be told: yesterday's call does not ring today because somebody named them."""
    with a_world(database_url, audiences=PEOPLE) as world:
        world.call("CAL1")
        world.become(DeliveryState.EXPIRED, expires_at=world.clock.moment)

        assert world.left_out(to_people=True) == {LeftOut.LATE: 1}
        assert world.left_out(late=True) == {LeftOut.PEOPLE: 1}
        assert world.left_out(to_people=True, late=True) == {None: 1}
        assert [world.plan(late=late).summary["late"] for late in (False, True)] == [1, 1]


def test_a_sink_that_is_gone_is_left_out(database_url: str) -> None:
    """Nothing would ever send it."""
    with a_world(database_url, audiences={}) as world:
        world.call("CAL1")
        world.become(DeliveryState.DEAD)

        assert world.left_out() == {LeftOut.NO_SINK: 1}


@pytest.mark.parametrize("state", [DeliveryState.DEAD, DeliveryState.DELIVERED])
@pytest.mark.parametrize("routing", Routing)
def test_an_outcome_that_proved_wrong_is_not_told(database_url: str, state: DeliveryState, routing: Routing) -> None:
    """Neither taken up, nor sent again, nor made new."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(state)
        world.call("CAL1", answered=True, call_type="answered", duration=90)

        plan = world.plan(Scope(transition="call.missed"), again=True, routing=routing)

        assert [item.reason for item in plan.items] == [LeftOut.SUPERSEDED]


def test_each_part_of_a_scope_narrows(database_url: str) -> None:
    """All that are given have to hold."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DEAD)
        moment = world.clock.moment
        yes: dict[str, Any] = {
            "since": moment - timedelta(hours=1),
            "until": moment + timedelta(hours=1),
            "company": "acme",
            "kind": "post_call",
            "transition": "call.missed",
            "rule": "r",
            "sink": "crm",
            "states": (DeliveryState.DEAD,),
        }
        no: dict[str, Any] = {
            "since": moment + timedelta(hours=1),
            "until": moment - timedelta(hours=1),
            "company": "bolt",
            "kind": "text_received",
            "transition": "call.voicemail",
            "rule": "s",
            "sink": "sales",
            "states": (DeliveryState.DELIVERED,),
        }

        for options in ({}, TODAY):
            assert len(world.plan(Scope(**yes), **options).items) == 1
            for name in no:
                assert world.plan(Scope(**{**yes, name: no[name]}), **options).items == [], name


def test_ids_of_a_moment_divide_what_was_made_before_from_what_was_made_after() -> None:
    """By the time that ids hold, to the millisecond."""
    before = datetime.now(UTC)
    made = new_id(Prefix.TRANSITION)
    after = datetime.now(UTC) + timedelta(milliseconds=2)

    assert first_id(Prefix.TRANSITION, before) <= made < first_id(Prefix.TRANSITION, after)


# --- again -----------------------------------------------------------------------------------------------------------


def test_again_is_a_new_generation_each_time(database_url: str) -> None:
    """The key is that of the first, with another number at its end; what it was is still there."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED)

        for generation in (1, 2):
            assert world.carry_out(world.started(again=True)) == "done"
            newest = world.deliveries()[-1]
            made = (len(world.deliveries()), newest.generation, newest.state)
            assert made == (1 + generation, generation, "delivered")

        first, *others = world.deliveries()
        assert [row.key for row in others] == [f"{first.key[:-1]}{generation}" for generation in (1, 2)]
        assert {(row.transition_id, row.rule, row.send, row.sink, row.order_key) for row in others} == {
            (first.transition_id, first.rule, first.send, first.sink, first.order_key)
        }


def test_two_plans_of_the_same_thing_send_it_once(database_url: str) -> None:
    """The second finds its key taken, says so and goes on."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED)
        one, other = world.started(again=True), world.started(again=True)

        assert (world.carry_out(one), world.carry_out(other)) == ("done", "done")

        assert len(world.deliveries()) == 2
        assert [(item.state, item.reason) for item in world.items(other)] == [("skipped", "made since the plan")]


def test_later_news_is_not_sent_again_by_itself(database_url: str) -> None:
    """It belonged to the message that is sent again."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED, amends="dl_first", amend="edit")

        assert world.left_out(again=True) == {LeftOut.NEWS: 1}


def test_news_that_systems_get_by_themselves_is_sent_again(database_url: str) -> None:
    """A CRM has no message that it belongs to."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED, amends="dl_first", amend="new")

        assert world.left_out(again=True) == {None: 1}


def test_what_was_to_be_sent_again_and_was_not_arrived_all_the_same(database_url: str) -> None:
    """A replay of it that was called off leaves a cancelled generation, which is nothing that did not arrive."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED)
        replay_id = world.started(again=True)
        world.step(replay_id)
        call_off(world.database, world.clock, replay_id)
        assert [row.state for row in world.deliveries()] == ["delivered", "cancelled"]

        for options in ({}, TODAY):
            assert world.left_out(**options) == {LeftOut.DELIVERED: 1}
            assert world.left_out(again=True, **options) == {None: 1}


@pytest.mark.parametrize("routing", Routing)
def test_an_erased_person_is_told_of_no_more(database_url: str, routing: Routing) -> None:
    """Neither what was made, nor what would be, nor what was planned before."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.call("CAL2")
        world.become(DeliveryState.DELIVERED)
        changed(world, a_rule(), a_rule("new"))
        replay_id = world.started(routing=routing, again=True)
        with world.database.writing.begin() as conn:
            conn.execute(update(objects).values(erased_at=world.clock.moment))

        assert set(world.left_out(routing=routing, again=True)) == {LeftOut.ERASED}
        assert world.carry_out(replay_id) == "done"
        assert {item.reason for item in world.items(replay_id)} == {LeftOut.ERASED}
        assert len(world.deliveries()) == 2


def test_alarms_are_told_again_only_where_they_are_asked_for(database_url: str) -> None:
    """A bad hour's alarms are old news, and nothing that today's rules would add."""
    down = Transition.ROUTER_SINK_DOWN
    with a_world(database_url, rules=rule_set(a_rule("r", down))) as world:
        facts = {"sink": "sales", "subject": "sales"}
        with world.database.writing.begin() as conn:
            insert_alarm(conn, Alarm(down, down, "sink", "sales", 1, facts), now=world.clock.moment)
            route(conn, world.clock, world.rules, limit=10)
        world.become(DeliveryState.DEAD)
        changed(world, a_rule("r", down), a_rule("new", down))

        assert world.left_out() == {LeftOut.ALARM: 1}
        plan = world.plan(**TODAY)
        assert [item.reason for item in plan.items] == [LeftOut.ALARM] * 2
        assert plan.summary["difference"] == {"says_now": [], "silent_now": []}
        asked = Scope(transition=down)
        assert (world.left_out(asked), world.left_out(asked, **TODAY)) == ({None: 1}, {None: 2})


# --- today's rules ---------------------------------------------------------------------------------------------------


def changed(world: World, *rules: Any, **about: Any) -> None:
    world.rules = replace(rule_set(*rules), **about)


def test_a_rule_added_since_speaks_today_and_not_originally(database_url: str) -> None:
    """With the facts of then, about the very transition."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED)
        changed(world, a_rule(), a_rule("late-addition", if_={"duration": {"gte": 10}}))

        assert world.left_out() == {LeftOut.DELIVERED: 1}
        plan = world.plan(**TODAY)
        assert plan.summary["difference"] == {
            "says_now": [{"rule": "late-addition", "sink": "crm", "messages": 1}],
            "silent_now": [],
        }
        assert world.carry_out(world.started(**TODAY)) == "done"
        first, made = world.deliveries()
        assert (made.rule, made.transition_id, made.order_key) == (
            "late-addition",
            first.transition_id,
            first.order_key,
        )
        assert made.key == f"{first.transition_id}:late-addition:crm:0"
        assert world.left_out(**TODAY) == {LeftOut.DELIVERED: 2}


def test_a_rule_removed_since_is_silent_today_and_not_originally(database_url: str) -> None:
    """What it had to tell stays where it is."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DEAD)
        changed(world)

        assert world.left_out() == {None: 1}
        assert world.left_out(**TODAY) == {LeftOut.NOT_TODAY: 1}
        difference = world.plan(**TODAY).summary["difference"]
        assert difference == {"says_now": [], "silent_now": [{"rule": "r", "sink": "crm", "messages": 1}]}


def test_a_rule_with_another_id_and_another_when_is_the_same_rule(database_url: str) -> None:
    """`was` and the object keep it from telling one thing twice, though its keys are others."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DELIVERED)
        both = a_rule("renamed", Transition.CALL_MISSED, Transition.CALL_ENDED)
        changed(world, replace(both, previous=("r",)))

        assert world.left_out(**TODAY) == {LeftOut.DELIVERED: 1}


def test_a_rule_that_speaks_once_speaks_at_its_first_occasion(database_url: str) -> None:
    """Deciding anew goes through the life of the object, whatever part of it was asked for."""
    with a_world(database_url, rules=rule_set()) as world:
        world.call("CAL1")
        changed(world, a_rule("once", Transition.CALL_ENDED, Transition.CALL_MISSED))

        (item,) = world.plan(**TODAY).items
        assert item.new is not None
        assert item.new["key"].endswith(":once:crm:0")
        assert item.new["key"].startswith("ob_")
        other = {"call.missed", "call.ended"} - {name_of(world, item.transition_id)}
        assert world.plan(Scope(transition=other.pop()), **TODAY).items == []


def name_of(world: World, transition_id: str) -> str:
    return str(next(row.name for row in rows_of(world.database, transitions) if row.id == transition_id))


def test_what_today_makes_is_late_by_todays_rules(database_url: str) -> None:
    """From the thing's own time to now."""
    ignoring = replace(a_rule("strict"), on_late=OnLate.IGNORE, max_age=timedelta(hours=1))
    with a_world(database_url, rules=rule_set()) as world:
        world.call("CAL1", ago=timedelta(hours=2))
        changed(world, ignoring)

        assert world.left_out(**TODAY) == {LeftOut.LATE: 1}
        replay_id = world.started(**TODAY, late=True)
        assert world.carry_out(replay_id) == "done"
        assert [(row.state, row.expires_at) for row in world.deliveries()] == [("delivered", None)]


def test_unmatched_speaks_today_where_nobody_did(database_url: str) -> None:
    """Once an object, by the key that it has in routing."""
    with a_world(database_url, rules=rule_set()) as world:
        world.call("CAL1")
        world.rules = RuleSet((), "0123456789abcdef", everyone_else={"calls": To("crm", "crm")})

        (item,) = world.plan(**TODAY).items
        assert item.new is not None
        assert (item.new["rule"], item.reason) == ("unmatched", None)
        assert world.carry_out(world.started(**TODAY)) == "done"
        (made,) = rows_of(world.database, deliveries)
        assert made.key == f"{made.object_id}:unmatched:crm:0"


def test_a_state_asks_for_what_was_made(database_url: str) -> None:
    """What nobody was told has none."""
    with a_world(database_url, rules=rule_set()) as world:
        world.call("CAL1")
        changed(world, a_rule())

        assert world.plan(Scope(states=(DeliveryState.DEAD,)), **TODAY).items == []


def test_a_role_that_points_elsewhere_today_is_told_there(database_url: str) -> None:
    """What did not arrive goes where the rules say now, under the next generation; what arrived stays told."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.call("CAL2")
        world.become(DeliveryState.DEAD)
        arrived = world.deliveries()[1].id
        with world.database.writing.begin() as conn:
            conn.execute(update(deliveries).where(deliveries.c.id == arrived).values(state="delivered"))
        changed(world, replace(a_rule(), send=(To("crm", "sales"),)))

        plan = world.plan(**TODAY)
        assert [(item.sink, item.reason) for item in plan.items] == [("sales", None), ("sales", LeftOut.DELIVERED)]
        assert (plan.summary["delivered_already"], plan.summary["sinks"][0]["new"]) == (1, 1)
        assert world.carry_out(world.started(**TODAY)) == "done"
        made = world.deliveries()[-1]
        assert (made.sink, made.generation, made.state) == ("sales", 1, "delivered")
        assert made.key == f"{made.transition_id}:r:crm:1"
        assert world.left_out(**TODAY) == world.left_out() == {LeftOut.DELIVERED: 2}


@pytest.mark.parametrize("name", ["r", "renamed"])
def test_a_renamed_rule_is_found_by_either_id(database_url: str, name: str) -> None:
    """By the one it has and by the one it had."""
    with a_world(database_url) as world:
        world.call("CAL1")
        world.become(DeliveryState.DEAD)
        changed(world, replace(a_rule("renamed"), previous=("r",)))

        assert world.left_out(Scope(rule=name), **TODAY) == {None: 1}
