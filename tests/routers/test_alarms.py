"""Alarms on both databases: what raises one, that it is raised once, how it ends, and whom it is told."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, update

from callrail.budgets import Told
from callrail.request import Budget
from receiver.database import Database
from receiver.events import ReceivedRequest, event_row, insert_events, insert_quarantined
from receiver.ids import Prefix, first_id
from receiver.instances import ALIVE_FOR, Instance, beat
from receiver.schema import EventState, Origin, QuarantineReason, events
from routers.alarm_events import KIND
from routers.alarms import AT_MOST_EVERY, CALM, watch
from routers.budgets import InThreads, Priority, SqlBudgets
from routers.cli import main
from routers.config import read_config
from routers.lanes import hold, lock_lane, open_lane, release, save_lane
from routers.leases import claim_due, record
from routers.messages import Amend
from routers.objects import record_failure
from routers.routing import route
from routers.rules.reasons import Reason
from routers.rules.ruleset import Amending, RuleSet, To
from routers.schema import DeliveryState, alarms, deliveries, objects, transitions
from routers.transitions import INSTALLATION, Transition
from tests.client import post_signed
from tests.fakes.destination import answer, running_destination
from tests.routers.running import KEY, SECRETS, serving_here
from tests.routers.store import (
    NOW,
    FixedClock,
    a_rule,
    opened,
    put_deliveries,
    receive,
    rows_of,
    rule_set,
    statements_of,
    tried,
)

T = Transition
MISSED = {"resource_id": "CAL1", "answered": False, "call_type": "missed", "duration": 30, "voicemail": False}
WRONG = QuarantineReason.SIGNATURE_WRONG
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
DOWN_AND_UP = a_rule("r", T.ROUTER_SINK_DOWN, T.ROUTER_RECOVERED, send=("crm", "terminal"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened(database_url) as opened_database:
        yield opened_database


def look(database: Database, now: datetime = NOW) -> int:
    with database.writing.begin() as conn:
        return watch(conn, now)


def raised(database: Database) -> list[dict[str, Any]]:
    """What the alarms tell, in the order in which they were raised."""
    return [json.loads(row.body) for row in rows_of(database, events) if row.origin == Origin.ROUTER]


def names(database: Database) -> list[str]:
    return [alarm["name"] for alarm in raised(database)]


def fail(database: Database, sink: str = "crm", *, reason: str | None = None, failures: int = 5) -> None:
    """The lane of *sink* has failed so many times in a row; none for one that works."""
    with database.writing.begin() as conn:
        open_lane(conn, sink)
        lane = lock_lane(conn, sink)
        save_lane(conn, type(lane)(sink, lane.is_held, failures=failures, reason=reason))


def give_up(conn: Connection, *, at: datetime, many: int = 1, cause: str = "rejected: HTTP 422") -> None:
    """*many* messages to crm are dead letters since *at*."""
    ids = put_deliveries(conn, count=many, now=at)
    dead = {"state": DeliveryState.DEAD, "finished_at": at, "cause": cause}
    conn.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(dead))


def quarantine(
    conn: Connection,
    *,
    at: datetime,
    company: str = "acme",
    reason: QuarantineReason = QuarantineReason.SIGNATURE_WRONG,
) -> None:
    request = ReceivedRequest(at, company, "post_call", "application/json", {}, b"{}")
    insert_quarantined(conn, _id_at(at), request, reason, "x")


def prove(conn: Connection, *, at: datetime, company: str = "acme") -> None:
    request = ReceivedRequest(at, company, "post_call", "application/json", {}, b'{"resource_id": "CAL1"}')
    insert_events(conn, [event_row(_id_at(at), request, b"", "01234567")])


_made = count(1)


def _id_at(moment: datetime) -> str:
    """An id that the intake would have made then."""
    return first_id(Prefix.EVENT, moment)[:-4] + f"{next(_made):04d}"


def route_all(database: Database, rules: RuleSet, now: datetime = NOW) -> None:
    with database.writing.begin() as conn:
        route(conn, FixedClock(now), rules, limit=100)


def outage(database: Database, at: datetime, rules: RuleSet) -> None:
    """The crm is down for a minute, and that is routed."""
    fail(database)
    look(database, at)
    fail(database, failures=0)
    look(database, at + MINUTE)
    look(database, at + MINUTE + CALM)
    route_all(database, rules, at + MINUTE + CALM)


# --- a sink that is down ---------------------------------------------------------------------------------------------


def test_a_sink_that_is_down_is_told_once_with_what_is_known(database: Database) -> None:
    """How it failed and how many wait, and not what the destination wrote."""
    with database.writing.begin() as conn:
        put_deliveries(conn, count=3, now=NOW)
    fail(database, reason="not authorised: HTTP 401: no such user +14045550101")

    assert [look(database, NOW + n * SECOND) for n in range(3)] == [1, 0, 0]
    (alarm,) = raised(database)
    assert (alarm["name"], alarm["subject"], alarm["n"]) == ("router.sink_down", "crm", 1)
    assert alarm["facts"] == {
        "subject": "crm",
        "sink": "crm",
        "reason": "not authorised: HTTP 401",
        "count": 3,
        "since": NOW.isoformat(),
    }


@pytest.mark.parametrize("failures", [0, 4])
def test_a_few_failures_are_no_alarm(database: Database, failures: int) -> None:
    """The lane goes on by itself."""
    fail(database, failures=failures)

    assert look(database) == 0


def test_what_an_operator_holds_is_no_alarm(database: Database) -> None:
    """Who paused it knows, also that it failed before."""
    fail(database)
    with database.writing.begin() as conn:
        hold(conn, "crm", "until the CRM is repaired")

    assert look(database) == 0


def test_a_sink_that_works_for_a_minute_has_recovered(database: Database) -> None:
    """Not one that opens and shuts in turn: that is down all the time."""
    fail(database)
    look(database, NOW)
    fail(database, failures=0)
    look(database, NOW + 10 * SECOND)
    fail(database)
    look(database, NOW + 50 * SECOND)
    fail(database, failures=0)
    look(database, NOW + 100 * SECOND)
    assert names(database) == ["router.sink_down"]

    look(database, NOW + 100 * SECOND + CALM)

    assert names(database) == ["router.sink_down", "router.recovered"]
    over = raised(database)[1]["facts"]
    assert (over["trouble"], over["sink"], over["minutes"]) == ("router.sink_down", "crm", 2)


@pytest.mark.parametrize("trouble", [T.ROUTER_SINK_DOWN, T.ROUTER_BACKLOG])
def test_a_pause_is_no_recovery(database: Database, trouble: Transition) -> None:
    """Who pauses a sink that is in trouble has not mended it."""
    with database.writing.begin() as conn:
        put_deliveries(conn, now=NOW if trouble is T.ROUTER_SINK_DOWN else NOW - timedelta(hours=1))
    if trouble is T.ROUTER_SINK_DOWN:
        fail(database)
    look(database, NOW)
    look(database, NOW + MINUTE)
    assert names(database) == [trouble]
    with database.writing.begin() as conn:
        hold(conn, "crm", "we look at it")

    look(database, NOW + 2 * MINUTE)
    look(database, NOW + 2 * MINUTE + CALM)

    assert names(database) == [trouble]


def test_a_second_outage_is_a_second_alarm(database: Database) -> None:
    """It is an occurrence of its own, counted."""
    for hours in (0, 1):
        outage(database, NOW + timedelta(hours=hours), rule_set())

    told = [(row.name, row.n) for row in rows_of(database, transitions)]
    assert told == [
        ("router.sink_down", 1),
        ("router.recovered", 1),
        ("router.sink_down", 2),
        ("router.recovered", 2),
    ]
    assert [row.object_id for row in rows_of(database, objects)] == ["crm:sink_down:1", "crm:sink_down:2"]


# --- two watchers, crashes -------------------------------------------------------------------------------------------


def test_a_crash_before_the_commit_raises_it_later_and_once(database: Database) -> None:
    """The alarm and the note that it was raised are one transaction."""
    fail(database)
    with database.writing.connect() as conn:
        conn.begin()
        assert watch(conn, NOW) == 1  # and the connection ends without a COMMIT
    assert (raised(database), rows_of(database, alarms)) == ([], [])

    assert [look(database), look(database)] == [1, 0]


def test_many_watchers_at_once_raise_it_once(postgresql_url: str) -> None:
    """Also the first time, when there is no row yet that could be locked."""
    with opened(postgresql_url) as database:
        fail(database)
        together = threading.Barrier(4)

        def one(_: int) -> int:
            together.wait()
            return look(database)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(one, range(4))) == 1
        assert names(database) == ["router.sink_down"]


def test_a_look_costs_the_same_however_long_the_history_is(sqlite_url: str) -> None:
    """Of the large tables it reads what waits, fails or is new, by an index."""
    with opened(sqlite_url) as database, database.writing.begin() as conn:
        open_lane(conn, "crm")
        with statements_of(database.writing) as asked:
            watch(conn, NOW)
        read = [(statement, bound) for statement, bound in asked if statement.startswith("SELECT")]
        plans = []
        for statement, bound in read:
            plans += [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", bound)]

    assert len(read) > 5
    large = ("events", "quarantine", "deliveries", "transitions")
    assert [plan for plan in plans if plan.startswith("SCAN") and plan.split()[-1] in large] == []


# --- dead letters, failed events -------------------------------------------------------------------------------------


def test_new_dead_letters_are_told_once_an_hour_with_their_causes(database: Database) -> None:
    """None is told twice and none forgotten."""
    with database.writing.begin() as conn:
        give_up(conn, at=NOW - 2 * AT_MOST_EVERY)  # long ago, before anybody looked
        give_up(conn, at=NOW - 10 * SECOND, many=2)
        give_up(conn, at=NOW - 10 * SECOND, cause="gave up: HTTP 500")
    assert [look(database, NOW), look(database, NOW + SECOND)] == [1, 0]
    with database.writing.begin() as conn:
        give_up(conn, at=NOW + MINUTE)
    assert look(database, NOW + 2 * MINUTE) == 0
    look(database, NOW + AT_MOST_EVERY)
    look(database, NOW + 2 * AT_MOST_EVERY)

    dead = [alarm for alarm in raised(database) if alarm["name"] == T.ROUTER_DEAD_LETTERS]
    told = [(alarm["n"], alarm["facts"]["count"]) for alarm in dead]
    assert told == [(1, 3), (2, 1)]
    assert raised(database)[0]["facts"]["causes"] == ["rejected: HTTP 422", "gave up: HTTP 500"]


def test_the_dispatcher_s_own_record_of_a_dead_letter_is_seen(database: Database) -> None:
    """As it is written when a send is refused, not as this test would write it."""
    with database.writing.begin() as conn:
        put_deliveries(conn, now=NOW)
        (delivery,) = claim_due(conn, sink="crm", now=NOW, limit=1, lease_until=NOW + MINUTE, instance="in_1")
        record(conn, [tried(delivery, DeliveryState.DEAD)], now=NOW)

    look(database, NOW + 10 * SECOND)

    assert names(database) == ["router.dead_letters"]


def test_a_dead_letter_about_an_alarm_raises_none(database: Database) -> None:
    """Else a sink that refuses alarms would be told of in alarms for ever."""
    fail(database, "terminal")
    look(database)
    route_all(database, rule_set(a_rule("r", T.ROUTER_SINK_DOWN)))
    assert len(rows_of(database, deliveries)) == 1
    with database.writing.begin() as conn:
        open_lane(conn, "crm")
        conn.execute(update(deliveries).values(state=DeliveryState.DEAD, finished_at=NOW, cause="rejected"))

    look(database, NOW + MINUTE)

    assert names(database) == ["router.sink_down"]


def test_events_that_cannot_be_routed_are_told(database: Database) -> None:
    """Those that failed before anybody looked are old news."""

    def fail_event() -> None:
        with database.writing.begin() as conn:
            event_id = receive(conn, "post_call", {})
            record_failure(conn, event_id, attempts=5, reason="KeyError while routing", final=True)

    fail_event()
    assert look(database, NOW) == 0
    fail_event()
    assert [look(database, NOW + SECOND), look(database, NOW + 2 * SECOND)] == [1, 0]
    fail_event()
    assert look(database, NOW + MINUTE) == 0
    assert look(database, NOW + SECOND + AT_MOST_EVERY) == 1

    first, second = (alarm["facts"] for alarm in raised(database))
    assert first == {"subject": "routing", "count": 1, "causes": ["KeyError while routing"]}
    assert second["count"] == 1


# --- backlog ---------------------------------------------------------------------------------------------------------


def test_a_lane_that_is_behind_is_told_after_it_has_been_for_a_while(database: Database) -> None:
    """Right after a start or a resume old messages wait, and are gone at once."""
    with database.writing.begin() as conn:
        put_deliveries(conn, count=2, now=NOW - 6 * MINUTE)
    assert look(database, NOW) == 0

    assert look(database, NOW + MINUTE) == 1

    (alarm,) = raised(database)
    facts = alarm["facts"]
    assert (alarm["name"], facts["sink"], facts["count"], facts["minutes"]) == ("router.backlog", "crm", 2, 7)


@pytest.mark.parametrize("why", ["held", "shut", "paused", "not due"])
def test_what_may_not_be_sent_is_no_backlog(database: Database, why: str) -> None:
    """An operator's pause is known, a sink that is down is told as that, and a pause or a retry is no delay of ours."""
    with database.writing.begin() as conn:
        due = NOW if why == "not due" else NOW - timedelta(hours=1)
        put_deliveries(conn, now=due)
        lane = lock_lane(conn, "crm")
        if why == "held":
            hold(conn, "crm", "lunch")
        elif why in ("shut", "paused"):
            changed = {"failures": 5} if why == "shut" else {"paused_until": NOW + 2 * MINUTE}
            save_lane(conn, type(lane)("crm", **changed))

    look(database, NOW)
    look(database, NOW + 2 * MINUTE)

    assert "router.backlog" not in names(database)


def test_a_backlog_must_last_once_the_lane_goes_on(database: Database) -> None:
    """However long ago it was seen for a moment before an operator paused the sink."""
    with database.writing.begin() as conn:
        put_deliveries(conn, now=NOW - timedelta(hours=1))
    look(database, NOW)
    with database.writing.begin() as conn:
        hold(conn, "crm", "lunch")
    look(database, NOW + SECOND)
    with database.writing.begin() as conn:
        release(conn, "crm")

    assert look(database, NOW + 60 * MINUTE) == 0
    assert look(database, NOW + 61 * MINUTE) == 1


def test_events_that_wait_for_long_are_a_backlog_of_routing(database: Database) -> None:
    """And that is over once they are routed."""
    with database.writing.begin() as conn:
        prove(conn, at=NOW - 6 * MINUTE)
    look(database, NOW)
    assert look(database, NOW + MINUTE) == 1
    route_all(database, rule_set(), NOW + MINUTE)
    look(database, NOW + 2 * MINUTE)
    look(database, NOW + 3 * MINUTE)

    assert [(alarm["name"], alarm["subject"]) for alarm in raised(database)] == [
        ("router.backlog", "routing"),
        ("router.recovered", "routing"),
    ]


# --- allowances ------------------------------------------------------------------------------------------------------


def use(database: Database, budget: Budget, count: int, *, at: datetime, hourly: int = 100) -> None:
    """Requests of an account that may send *hourly* an hour."""
    shared = SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=lambda: at)
    asyncio.run(shared.learn("ACC1", budget, Told(hourly, count, None, None)))


def test_an_allowance_that_is_nearly_spent_is_told_once_and_its_end(database: Database) -> None:
    """Of several allowances the one that is spent most; the hour slides, so the end comes by itself."""
    use(database, Budget.GENERAL, 79, at=NOW)
    assert look(database, NOW) == 0
    use(database, Budget.GENERAL, 80, at=NOW)
    use(database, Budget.TEXTS, 90, at=NOW)
    assert [look(database, NOW), look(database, NOW + SECOND)] == [1, 0]
    look(database, NOW + 61 * MINUTE)
    look(database, NOW + 61 * MINUTE + CALM)

    low, over = (each["facts"] for each in raised(database) if each["subject"] == "ACC1")
    assert (low["account"], low["allowance"], low["percent"]) == ("ACC1", "texts", 90)
    assert (over["account"], over["trouble"]) == ("ACC1", "router.budget_low")


def test_an_allowance_that_comes_and_goes_is_told_once_an_hour(database: Database) -> None:
    use(database, Budget.GENERAL, 85, at=NOW - 50 * MINUTE)
    moments = [NOW, NOW + 15 * MINUTE, NOW + 15 * MINUTE + CALM]  # by then it is over
    for moment in moments:
        look(database, moment)
    use(database, Budget.GENERAL, 85, at=NOW + 20 * MINUTE)
    look(database, NOW + 20 * MINUTE)
    of_account = [each["name"] for each in raised(database) if each["subject"] == "ACC1"]
    assert of_account == ["router.budget_low", "router.recovered"]

    look(database, NOW + 61 * MINUTE)
    assert len([each for each in raised(database) if each["subject"] == "ACC1"]) == 3


# --- spooling --------------------------------------------------------------------------------------------------------


def test_spooling_is_told_once_the_database_is_back_and_when_it_is_over(database: Database) -> None:
    """As the heartbeat tells it."""
    instance = Instance.of("intake")
    with database.writing.begin() as conn:
        beat(conn, instance, now=NOW, spooled=12, spooling_since=NOW - 10 * MINUTE)
    assert [look(database, NOW), look(database, NOW + SECOND)] == [1, 0]
    with database.writing.begin() as conn:
        beat(conn, instance, now=NOW + 10 * SECOND)
    look(database, NOW + 10 * SECOND)
    look(database, NOW + 10 * SECOND + CALM)

    assert names(database) == ["router.spooling", "router.recovered"]
    facts = raised(database)[0]["facts"]
    assert (facts["count"], facts["since"]) == (12, (NOW - 10 * MINUTE).isoformat())


def test_a_spool_whose_process_died_is_in_trouble_until_another_has_begun(database: Database) -> None:
    """What waits in it is routed only then."""
    with database.writing.begin() as conn:
        beat(conn, Instance.of("intake"), now=NOW, spooled=12, spooling_since=NOW)
    look(database, NOW)
    later = NOW + ALIVE_FOR + MINUTE
    look(database, later)
    look(database, later + CALM)
    assert names(database) == ["router.spooling"]

    with database.writing.begin() as conn:
        successor = Instance.of("intake")
        beat(conn, successor, now=later + CALM)
    look(database, later + CALM)
    with database.writing.begin() as conn:
        beat(conn, successor, now=later + CALM + CALM)
    look(database, later + CALM + CALM)

    assert names(database) == ["router.spooling", "router.recovered"]


# --- signatures ------------------------------------------------------------------------------------------------------


def test_bad_signatures_are_told_at_most_once_an_hour_and_company(database: Database) -> None:
    """With their count; one that comes again within the hour, though proved ones came between, waits for it."""
    with database.writing.begin() as conn:
        for _ in range(3):
            quarantine(conn, at=NOW - SECOND)
        quarantine(conn, at=NOW - SECOND, reason=QuarantineReason.SIGNATURE_MISSING)
        quarantine(conn, at=NOW - SECOND, company="globex", reason=QuarantineReason.COMPANY_MISMATCH)
    look(database, NOW)
    look(database, NOW + MINUTE)
    with database.writing.begin() as conn:
        quarantine(conn, at=NOW + AT_MOST_EVERY)
    look(database, NOW + AT_MOST_EVERY)

    told = sorted((alarm["subject"], alarm["n"], alarm["facts"]["count"]) for alarm in raised(database))
    assert told == [("acme", 1, 4), ("acme", 2, 1), ("globex", 1, 1)]
    assert raised(database)[0]["facts"]["causes"] in (["signature wrong", "signature missing"], ["company mismatch"])


def test_bad_signatures_that_came_out_of_a_spool_are_told(database: Database) -> None:
    """They were received long ago, but nobody could see them."""
    instance = Instance.of("intake")
    with database.writing.begin() as conn:
        beat(conn, instance, now=NOW, spooled=3, spooling_since=NOW - 90 * MINUTE)
        quarantine(conn, at=NOW - 100 * MINUTE)
    look(database, NOW)
    with database.writing.begin() as conn:
        for ago in (20, 80):
            quarantine(conn, at=NOW - ago * MINUTE)
        beat(conn, instance, now=NOW + SECOND)
    look(database, NOW + 5 * SECOND)

    (alarm,) = [alarm for alarm in raised(database) if alarm["name"] == "source.bad_signature"]
    assert alarm["facts"]["count"] == 2


def test_requests_for_companies_that_nobody_has_are_no_alarm(database: Database) -> None:
    """Anybody can send those."""
    with database.writing.begin() as conn:
        quarantine(conn, at=NOW, company="nobody", reason=QuarantineReason.COMPANY_UNKNOWN)

    assert look(database) == 0


def test_a_source_has_recovered_when_proved_webhooks_come_and_no_others(database: Database) -> None:
    """Silence is no recovery: nobody knows."""
    with database.writing.begin() as conn:
        quarantine(conn, at=NOW)
    look(database, NOW)
    look(database, NOW + 20 * MINUTE)
    assert names(database) == ["source.bad_signature"]

    with database.writing.begin() as conn:
        prove(conn, at=NOW + 30 * MINUTE)
        prove(conn, at=NOW + 30 * MINUTE, company="globex")
    look(database, NOW + 30 * MINUTE)

    assert names(database) == ["source.bad_signature", "source.recovered"]
    assert {row.company for row in rows_of(database, events) if row.origin == Origin.ROUTER} == {"acme"}


# --- routed ----------------------------------------------------------------------------------------------------------


def verdict(database: Database) -> tuple[dict[str, str], str | None, list[str]]:
    """Of the newest transition: each rule's reason, why nobody was told, and the sinks of all deliveries so far."""
    row = rows_of(database, transitions)[-1]
    return row.verdicts, row.reason, [delivery.sink for delivery in rows_of(database, deliveries)]


def test_an_alarm_is_not_sent_through_the_sink_it_is_about(database: Database) -> None:
    """The other destinations of the rule hear of it; that it has recovered also its own."""
    fail(database)
    look(database)
    route_all(database, rule_set(DOWN_AND_UP))
    assert verdict(database) == ({"r": "fired (not through crm)"}, None, ["terminal"])

    fail(database, failures=0)
    look(database, NOW + MINUTE)
    look(database, NOW + MINUTE + CALM)
    route_all(database, rule_set(DOWN_AND_UP), NOW + MINUTE + CALM)

    assert verdict(database)[2] == ["terminal", "crm"]


def test_a_rule_with_no_other_sink_keeps_the_reason(database: Database) -> None:
    """Nobody is told, and whoever asks why reads it."""
    fail(database)
    look(database)
    route_all(database, rule_set(a_rule("r", T.ROUTER_SINK_DOWN)))

    assert verdict(database) == ({"r": Reason.ABOUT_ITSELF.value}, Reason.ABOUT_ITSELF.value, [])


def test_a_rule_speaks_once_of_each_outage(database: Database) -> None:
    """Not once of the sink for ever."""
    rules = rule_set(a_rule("r", T.ROUTER_SINK_DOWN, T.ROUTER_BACKLOG, send=("terminal",)))
    for hours in (0, 1):
        outage(database, NOW + timedelta(hours=hours), rules)

    assert len(rows_of(database, deliveries)) == 2
    assert {row.order_key for row in rows_of(database, deliveries)} == {f"{INSTALLATION}:crm"}


def test_the_end_of_an_outage_amends_what_was_said_of_it(database: Database) -> None:
    """As later news of a call does: where a sink edits its messages, one message tells the whole outage."""
    editing = {"terminal": Amending(Amend.EDIT, tells_all=True)}
    rules = RuleSet((a_rule("r", T.ROUTER_SINK_DOWN, T.ROUTER_RECOVERED, send=("terminal",)),), "0", amends=editing)
    fail(database)
    look(database)
    route_all(database, rules)
    with database.writing.begin() as conn:
        conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED, remote_id="1.2", finished_at=NOW))
    fail(database, failures=0)
    look(database, NOW + MINUTE)
    look(database, NOW + MINUTE + CALM)
    route_all(database, rules, NOW + MINUTE + CALM)

    first, second = rows_of(database, deliveries)
    assert (second.amends, second.amend) == (first.id, Amend.EDIT)


def test_who_hears_of_the_installation_and_of_a_company(database: Database) -> None:
    """A rule for some companies hears nothing of the installation; a role is that of the defaults, or the company's."""
    both = (T.ROUTER_SINK_DOWN, T.SOURCE_BAD_SIGNATURE)
    to_alerts = (To("alerts", "alerts", is_role=True),)
    everybody = a_rule("everybody", *both)
    rules = RuleSet(
        (
            type(everybody)("all", None, everybody.when, (), (), to_alerts),
            a_rule("acme-only", *both, companies=frozenset({"acme"}), send=("acme-desk",)),
        ),
        "0123",
        roles={INSTALLATION: {"alerts": "office"}, "acme": {"alerts": "acme-phone"}},
    )
    fail(database)
    with database.writing.begin() as conn:
        quarantine(conn, at=NOW)
    look(database)
    route_all(database, rules)

    told = {(row.company, row.rule, row.sink) for row in rows_of(database, deliveries)}
    assert told == {
        (INSTALLATION, "all", "office"),
        ("acme", "all", "acme-phone"),
        ("acme", "acme-only", "acme-desk"),
    }


def test_a_webhook_is_never_an_alarm(database: Database) -> None:
    """Whatever its body says and whatever it was posted as: only what we store ourselves has our origin."""
    forged = {
        "name": "router.sink_down",
        "trouble": "router.sink_down",
        "type": "sink",
        "subject": "crm",
        "n": 1,
        "facts": {"sink": "crm"},
    }
    with database.writing.begin() as conn:
        receive(conn, "unknown", forged)
        receive(conn, KIND, forged)
    for _ in range(2):
        route_all(database, rule_set(DOWN_AND_UP))

    assert [row.name for row in rows_of(database, transitions)] == ["unknown.received"]
    assert [row.state for row in rows_of(database, events)] == [EventState.ROUTED, EventState.RECEIVED]
    assert rows_of(database, deliveries) == []


# --- served ----------------------------------------------------------------------------------------------------------


def served(tmp_path: Path, failing: str, working: str) -> Path:
    """Missed calls go to one sink, and of its trouble both are told."""
    path = tmp_path / "router.yaml"
    hook = "type: webhook, signing_secrets: [env:CRM_SECRET], allow_hosts: [127.0.0.1]"
    path.write_text(
        "companies: {acme: {signing_keys: [env:ACME_KEY]}}\n"
        "sinks:\n"
        f"  crm: {{{hook}, url: '{failing}'}}\n"
        f"  desk: {{{hook}, url: '{working}'}}\n"
        "rules:\n"
        "  - {id: missed, when: [call.missed], send: [{to: crm}]}\n"
        "  - {id: trouble, when: [router.sink_down], send: [{to: crm}, {to: desk}]}\n"
    )
    return path


@pytest.mark.anyio
async def test_a_sink_that_does_not_know_us_is_told_through_another(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the missed call to the message about the sink that answers 401; and a forged alarm on the way is none."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("routers.jobs.LOOK_EVERY", timedelta(milliseconds=50))
    async with running_destination() as crm, running_destination() as desk:
        crm.behaves(answer(401))
        config = served(tmp_path, crm.url, desk.url)
        async with serving_here(config, database_url) as port:
            for kind, body in (("alarm", b'{"name": "router.sink_down"}'), ("post_call", orjson.dumps(MISSED))):
                assert (await post_signed(port, f"/callrail/acme/{kind}", body, key=KEY)).status == 204
            (request,) = await desk.received(1)

    message = json.loads(request.body)
    assert (message["type"], message["data"]["fields"]["sink"]) == ("router.sink_down", "crm")
    with opened(database_url) as database:
        about = [row for row in rows_of(database, transitions) if row.name == "router.sink_down"]
        assert [row.verdicts for row in about] == [{"trouble": "fired (not through crm)"}]
        assert [row.kind for row in rows_of(database, events) if row.company == "acme"] == ["unknown", "post_call"]


def test_an_alarm_is_listed_and_explained(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands by which webhooks are."""
    config = served(tmp_path, "https://example.com/1", "https://example.com/2")
    with opened(database_url) as database:
        fail(database, reason="gone: HTTP 410")
        look(database)
        route_all(database, read_config(config).rules)
        (alarm,) = rows_of(database, events)

    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--database-url", database_url])
        assert left.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    assert f"{alarm.id} " in said("events", "list", "--company", INSTALLATION)
    assert "router.sink_down" in said("events", "show", alarm.id)
    explained = said("explain", alarm.id, "--config", str(config))
    assert "router.sink_down" in explained
    assert "not to crm: it is about this sink" in explained
    assert "desk" in explained
