"""Routing on both databases: from stored events to objects, transitions and the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from receiver.database import Database
from receiver.events import insert_events
from receiver.schema import EventState, events
from receiver.writer import Writer
from routers.config import read_config
from routers.lanes import lock_lane, open_lane
from routers.leases import claim_due, record, return_leases
from routers.objects import ObjectKey, ObjectTaken, lock_objects
from routers.outbox import NewDelivery, expire, insert_deliveries
from routers.routing import MAX_BATCH, MAX_TRIES, Report, Router, route
from routers.rules.reasons import Reason
from routers.rules.ruleset import FIRED, RuleSet
from routers.schema import DeliveryState, deliveries, objects, transitions, versions
from routers.simulator import Story, life_cycle
from routers.transitions import Transition
from tests.routers.store import (
    NOW,
    FixedClock,
    a_rule,
    opened,
    put_deliveries,
    real_clock,
    receive,
    rows_of,
    rule_set,
    statements_of,
    tried,
)
from tests.routers.waiting import until, wait_until

RINGING = {"resource_id": "CAL1", "answered": False, "call_type": "missed", "duration": 0, "voicemail": False}
MISSED = {**RINGING, "duration": 30, "start_time": "2026-03-10T09:15:00-04:00"}
RULES = rule_set(a_rule())


def store(database: Database, *posted: tuple[str, dict[str, Any]]) -> list[str]:
    """Store events in the order given; their ids."""
    with database.writing.begin() as conn:
        return [receive(conn, kind, body) for kind, body in posted]


def route_once(database: Database, rules: RuleSet = RULES, *, limit: int = 24) -> Report:
    """Route one batch; once more, as the router does, if another worker was quicker to make one of its objects."""
    while True:
        with contextlib.suppress(ObjectTaken), database.writing.begin() as conn:
            return route(conn, FixedClock(), rules, limit=limit)


def test_a_call_goes_from_events_to_one_delivery_in_one_transaction(database_url: str) -> None:
    """Each event is routed, the object holds what all of them said, and one due delivery waits for the sink."""
    with opened(database_url) as database:
        ids = store(database, ("pre_call", RINGING), ("call_routing_complete", RINGING), ("post_call", MISSED))
        reports = [route_once(database, limit=1) for _ in ids]

        last = Report(events=1, deliveries=1, told=frozenset({"crm"}))
        assert [replace(report, signed={}) for report in reports] == [Report(events=1), Report(events=1), last]
        assert [[*report.signed] for report in reports] == [[("acme", "01234567")]] * 3
        stored = rows_of(database, events)
        (obj,) = rows_of(database, objects)
        known = rows_of(database, versions)
        happened = rows_of(database, transitions)
        (delivery,) = rows_of(database, deliveries)
    assert [(row.id, row.state, row.object_id, row.repeat_of) for row in stored] == [
        (event_id, "routed", obj.id, None) for event_id in ids
    ]
    assert (obj.company, obj.type, obj.object_id) == ("acme", "call", "CAL1")
    assert (obj.stage, obj.outcome, obj.outcome_event, obj.version) == ("ended", "missed", ids[2], 3)
    assert [(row.name, row.state, row.event_id) for row in happened] == [
        ("call.ringing", "routed", ids[0]),
        ("call.routed", "routed", ids[1]),
        ("call.ended", "routed", ids[2]),
        ("call.missed", "routed", ids[2]),
    ]
    missed = happened[-1]
    assert missed.verdicts == {"r": FIRED}
    assert (missed.version, missed.details) == (3, None)
    assert [(row.version, row.event_id, row.stage, row.outcome) for row in known] == [
        (1, ids[0], "ringing", None),
        (2, ids[1], "routed", None),
        (3, ids[2], "ended", "missed"),
    ]
    assert known[-1].fields == MISSED
    assert missed.occurred_at == datetime(2026, 3, 10, 13, 15, tzinfo=UTC)
    assert (delivery.transition_id, delivery.sink, delivery.state, delivery.due_at) == (
        missed.id,
        "crm",
        DeliveryState.PENDING,
        NOW,
    )


def test_nothing_waiting_is_no_work(database_url: str) -> None:
    """An empty queue costs one statement and reports nothing."""
    with opened(database_url) as database:
        assert route_once(database) == Report()


def test_an_equal_event_is_counted_and_not_applied(database_url: str) -> None:
    """It names the event it repeats; the object's version does not rise and nobody is told twice."""
    with opened(database_url) as database:
        first, again = store(database, ("post_call", MISSED), ("post_call", MISSED))
        route_once(database)
        (later,) = store(database, ("post_call", MISSED))
        route_once(database)

        repeats = {row.id: row.repeat_of for row in rows_of(database, events)}
        assert repeats == {first: None, again: first, later: again}
        assert [row.version for row in rows_of(database, objects)] == [1]
        assert len(rows_of(database, deliveries)) == 1


def test_an_older_equal_body_is_news(database_url: str) -> None:
    """A tag put on, taken off and put on again: three events, all applied."""
    on, off = {**MISSED, "tags": ["vip"]}, {**MISSED, "tags": []}
    with opened(database_url) as database:
        store(database, ("call_modified", on), ("call_modified", off), ("call_modified", on))
        route_once(database)

        assert [row.repeat_of for row in rows_of(database, events)] == [None, None, None]
        (obj,) = rows_of(database, objects)
        assert (obj.version, rows_of(database, versions)[-1].fields["tags"]) == (3, ["vip"])


def test_superseded_news_is_recorded_and_tells_nobody(database_url: str) -> None:
    """A ringing that arrives after the end has a row, no verdicts and no delivery."""
    rules = rule_set(a_rule("ringing", Transition.CALL_RINGING))
    with opened(database_url) as database:
        store(database, ("post_call", MISSED), ("pre_call", RINGING))
        route_once(database, rules)

        happened = {row.name: row for row in rows_of(database, transitions)}
        assert rows_of(database, deliveries) == []
    ringing = happened["call.ringing"]
    assert (ringing.state, ringing.verdicts, ringing.rules_hash) == ("superseded", None, None)
    assert (happened["call.ended"].state, happened["call.ended"].rules_hash) == ("routed", rules.hash)


def test_what_waited_until_it_was_over_is_recorded_and_not_told(database_url: str) -> None:
    """After an hour down nobody is told that a call rings which has ended long ago."""
    rules = rule_set(a_rule("ringing", Transition.CALL_RINGING), a_rule("missed"))
    with opened(database_url) as database:
        store(database, ("pre_call", RINGING), ("call_routing_complete", RINGING), ("post_call", MISSED))
        route_once(database, rules)

        states = {row.name: row.state for row in rows_of(database, transitions)}
        assert [row.rule for row in rows_of(database, deliveries)] == ["missed"]
    assert states == {
        "call.ringing": "superseded",
        "call.routed": "superseded",
        "call.ended": "routed",
        "call.missed": "routed",
    }


def test_every_rule_that_looks_leaves_its_verdict(database_url: str) -> None:
    """Fired or the condition that kept it silent, stored with the transition."""
    rules = rule_set(
        a_rule("fires", send=("crm", "slack")),
        a_rule("not-long-enough", if_={"duration": {"gt": 60}}),
        a_rule("excepted", unless={"call_type": "missed"}),
        a_rule("elsewhere", companies=frozenset({"globex"})),
    )
    with opened(database_url) as database:
        store(database, ("post_call", MISSED))
        report = route_once(database, rules)

        verdicts = {row.name: row.verdicts for row in rows_of(database, transitions)}
        told = sorted((row.rule, row.send, row.sink) for row in rows_of(database, deliveries))
    assert report.deliveries == 2
    assert verdicts == {
        "call.ended": {},
        "call.missed": {"fires": FIRED, "not-long-enough": "if duration", "excepted": "unless call_type"},
    }
    assert told == [("fires", "crm", "crm"), ("fires", "slack", "slack")]


ONCE = a_rule("once", Transition.CALL_RINGING, Transition.CALL_ENDED, Transition.CALL_MISSED)


def test_a_rule_with_several_transitions_speaks_once_in_one_transaction(database_url: str) -> None:
    """Whichever comes first, be it of one event or of several; the others say why they are silent."""
    modified = {**MISSED, "call_type": "answered", "answered": True}
    answered_too = rule_set(a_rule("once", Transition.CALL_ENDED, Transition.CALL_MISSED, Transition.CALL_ANSWERED))
    with opened(database_url) as database:
        store(database, ("post_call", MISSED), ("call_modified", modified))
        route_once(database, answered_too)

        assert [(row.name, row.verdicts) for row in rows_of(database, transitions)] == [
            ("call.ended", {"once": FIRED}),
            ("call.missed", {"once": Reason.ALREADY_TOLD}),
            ("call.corrected", {}),
            ("call.answered", {"once": Reason.ALREADY_TOLD}),
            ("call.changed", {}),
        ]
        assert len(rows_of(database, deliveries)) == 1


def test_a_rule_with_several_transitions_speaks_once_over_several_transactions(database_url: str) -> None:
    """What it said yesterday counts."""
    with opened(database_url) as database:
        for posted in (("pre_call", RINGING), ("post_call", MISSED)):
            store(database, posted)
            route_once(database, rule_set(ONCE))

        assert [row.verdicts for row in rows_of(database, transitions)] == [
            {"once": FIRED},
            {"once": Reason.ALREADY_TOLD},
            {"once": Reason.ALREADY_TOLD},
        ]
        assert len(rows_of(database, deliveries)) == 1


def test_a_rule_speaks_once_for_each_object(database_url: str) -> None:
    """Another call is another matter."""
    with opened(database_url) as database:
        store(database, ("post_call", MISSED), ("post_call", {**MISSED, "resource_id": "CAL2"}))
        route_once(database, rule_set(ONCE))

        assert len({row.object_id for row in rows_of(database, deliveries)}) == 2


def test_a_key_exists_once(database_url: str) -> None:
    """A second delivery with the same idempotency key is not made, in one statement or a later one."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            put_deliveries(conn)
        (old,) = rows_of(database, deliveries)
        new = NewDelivery(old.key, old.transition_id, old.object_id, "acme", "r", "0", "crm")
        other = NewDelivery("another key", old.transition_id, old.object_id, "acme", "r", "0", "crm")
        with database.writing.begin() as conn:
            insert_deliveries(conn, [new, other, other], now=NOW)

        assert sorted(row.key for row in rows_of(database, deliveries)) == sorted([old.key, "another key"])


def test_equal_ids_of_two_companies_are_two_objects(database_url: str) -> None:
    """Two companies never share an object."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for company in ("acme", "globex"):
                receive(conn, "post_call", MISSED, company=company)
        route_once(database)

        assert [(row.company, row.version) for row in rows_of(database, objects)] == [("acme", 1), ("globex", 1)]
        assert len(rows_of(database, deliveries)) == 2


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        pytest.param("unknown", b'{"foo":"bar"}', None, id="test-ping"),
        pytest.param("post_call", b"", "the body is empty", id="empty"),
        pytest.param("post_call", b"{", "the body is not valid JSON", id="broken"),
        pytest.param("post_call", b"[1]", "the body is not an object", id="list"),
        pytest.param("post_call", b"{}", "posted as post_call, but the body looks like unknown", id="no-fields"),
    ],
)
def test_what_is_not_understood_is_kept_and_told_as_unknown(
    database_url: str, kind: str, body: bytes, reason: str | None
) -> None:
    """One object an event, so that nothing of it overwrites anything else, and the reason where there is one."""
    rules = rule_set(a_rule("unknown", Transition.UNKNOWN_RECEIVED), a_rule("calls", Transition.CALL_ENDED))
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            event_id = receive(conn, kind, body)
        route_once(database, rules)

        (event,) = rows_of(database, events)
        (obj,) = rows_of(database, objects)
        (happened,) = rows_of(database, transitions)
    assert event.reason == reason
    assert (obj.type, obj.object_id, obj.stage) == ("unknown", event_id, "complete")
    assert (happened.name, happened.verdicts) == ("unknown.received", {"unknown": FIRED})


def test_a_body_that_contradicts_its_url_says_so(database_url: str) -> None:
    """A form posted to the post-call URL is a form, and the event notes what was odd."""
    with opened(database_url) as database:
        store(database, ("post_call", {"resource_id": "FRM1", "form_data": {"name": "A"}}))
        route_once(database)

        assert [row.reason for row in rows_of(database, events)] == [
            "posted as post_call, but the body looks like form_submission"
        ]
        assert [row.name for row in rows_of(database, transitions)] == ["form.submitted"]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param("0001-01-01T00:00:00+14:00", id="before-the-calendar"),
        pytest.param("9999-12-31T23:59:59-14:00", id="after-the-calendar"),
        pytest.param("0900-01-01T00:00:00Z", id="three-digit-year"),
        pytest.param("2026-03-10T09:15:00", id="without-a-zone"),
        pytest.param("yesterday", id="no-time"),
        pytest.param(17, id="number"),
    ],
)
def test_a_time_that_cannot_be_meant_is_replaced_by_that_of_receipt(database_url: str, told: object) -> None:
    """A time at the end of the calendar used to be refused by one database and unreadable in the other, for ever."""
    with opened(database_url) as database:
        store(database, ("post_call", {**MISSED, "start_time": told}))
        route_once(database)

        (event,) = rows_of(database, events)
        happened = rows_of(database, transitions)
    assert event.state == EventState.ROUTED
    assert {row.occurred_at for row in happened} == {event.received_at}


# --- events that break -----------------------------------------------------------------------------------------------


def test_an_event_that_raises_is_given_up_after_five_tries_and_holds_up_nobody(database_url: str) -> None:
    """A kind no version of ours ever wrote: the others of its batch are routed at once, it is failed with a reason."""
    with opened(database_url) as database:
        (poison, good) = store(database, ("no such kind", MISSED), ("post_call", MISSED))
        seen = []
        for _ in range(MAX_TRIES):
            route_once(database)
            by_id = {row.id: row for row in rows_of(database, events)}
            assert by_id[good].state == EventState.ROUTED
            seen.append((by_id[poison].attempts, by_id[poison].state))

        assert seen == [(1, "received"), (2, "received"), (3, "received"), (4, "received"), (5, "failed")]
        assert by_id[poison].reason == "ValueError while routing"
        assert route_once(database) == Report()


def run_router(database: Database, done: Callable[[], bool], rules: RuleSet = RULES) -> None:
    """A real router over a real writer, until the store says that it is done."""

    async def run() -> None:
        writer = Writer(database, insert_events)
        writer.start()
        router = Router(writer, real_clock(database), rules)
        task = asyncio.create_task(router.run())
        try:
            await until(done)
        finally:
            router.stop()
            await task
            await writer.stop()

    asyncio.run(run())


def test_an_event_whose_object_cannot_be_read_is_found_among_the_others(database_url: str) -> None:
    """It breaks the statement of its whole batch: each event is then taken alone, and only the guilty one fails."""
    with opened(database_url) as database:
        store(database, ("pre_call", RINGING))
        route_once(database)
        with database.writing.begin() as conn:
            conn.execute(update(objects).values(stage="from a later version"))
        ids = store(
            database,
            ("post_call", {**MISSED, "resource_id": "CAL2"}),
            ("post_call", MISSED),
            ("post_call", {**MISSED, "resource_id": "CAL3"}),
        )

        def waiting() -> set[str]:
            return {row.id for row in rows_of(database, events) if row.state == EventState.RECEIVED}

        run_router(database, lambda: not waiting())

        by_id = {row.id: row for row in rows_of(database, events)}
        assert [by_id[event_id].state for event_id in ids] == ["routed", "failed", "routed"]
        assert (by_id[ids[1]].attempts, by_id[ids[1]].reason) == (MAX_TRIES, "cannot be stored: KeyError")
        assert len(rows_of(database, deliveries)) == 2


def test_what_waits_for_one_that_is_just_being_ended_goes_as_soon_as_that_has_ended(postgresql_url: str) -> None:
    """The turn that ended it had not seen it, and the router looked before its COMMIT: it waited up to a minute."""
    missed = {**MISSED, "customer_phone_number": "+14045550101", "direction": "inbound"}
    with opened(postgresql_url) as database, opened(postgresql_url) as dispatcher:
        store(database, ("post_call", missed))
        route_once(database)
        with dispatcher.writing.begin() as conn:
            later = datetime.now(UTC) + timedelta(minutes=1)
            (sent,) = claim_due(conn, sink="crm", now=later, lease_until=later, instance="in_1", limit=1)
        store(database, ("post_call", {**missed, "resource_id": "CAL2"}))
        with statements_of(database.writing) as asked, ThreadPoolExecutor() as pool:
            with dispatcher.writing.begin() as turn:
                record(turn, [tried(sent, DeliveryState.DELIVERED)], now=NOW)
                going = pool.submit(
                    run_router, database, lambda: [row[2] for row in told(database)] == ["delivered", "pending"]
                )
                wait_until(lambda: any("UPDATE deliveries SET state = 'pending'" in sql for sql, _ in asked), longest=9)
                assert [row[2] for row in told(dispatcher)] == ["sending", "blocked"]
            going.result(timeout=30)


def test_where_much_is_to_be_routed_batches_share_a_look_at_what_waits(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of them it cost as much as to route ten events; the last is followed by one at once."""
    monkeypatch.setattr("routers.routing._LOOK_AMID_LOAD", timedelta(hours=1))
    missed = {**MISSED, "customer_phone_number": "+14045550101", "direction": "inbound"}
    count = 3 * MAX_BATCH + 2
    with opened(postgresql_url) as database:
        store(database, *(("post_call", {**missed, "resource_id": f"CAL{number}"}) for number in range(count)))
        with statements_of(database.writing) as asked:
            run_router(database, lambda: len(told(database)) == count)
        assert sum("LATERAL" in sql and "SKIP LOCKED" in sql for sql, _ in asked) == 2


def test_a_router_that_amends_what_is_being_sent_and_the_turn_that_records_it_never_deadlock(
    postgresql_url: str, tmp_path: Path
) -> None:
    """Each had one message's row and wanted the other's: a second later one was broken off, and lanes stood still."""
    rules = configured(
        tmp_path, "rules:\n  - {id: ends, when: [call.missed, call.answered], send: [{to: crm, amend: new}]}"
    )
    calls = [{"resource_id": "CAL1"}, {"resource_id": "CAL2"}]
    later = datetime.now(UTC) + timedelta(minutes=1)
    waits = text("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    with opened(postgresql_url) as database, opened(postgresql_url) as dispatcher:
        store(database, *(("post_call", {**MISSED, **call}) for call in calls))
        route_once(database, rules)
        with dispatcher.writing.begin() as conn:
            open_lane(conn, "crm")
            first, second = claim_due(conn, sink="crm", now=later, lease_until=later, instance="in_1", limit=2)
        store(database, *(("call_modified", {**ANSWERED, **call}) for call in calls))
        with ThreadPoolExecutor() as pool:
            with dispatcher.writing.begin() as turn:
                lock_lane(turn, "crm")
                record(turn, [tried(second, DeliveryState.DELIVERED)], now=NOW)
                going = pool.submit(route_once, database, rules)
                wait_until(lambda: turn.execute(waits).first(), longest=9)
                record(turn, [tried(first, DeliveryState.DELIVERED)], now=NOW)
            going.result(timeout=30)

        assert [row[2] for row in told(database)] == ["delivered", "delivered", "pending", "pending"]


def test_a_router_routes_what_waited_before_it_started_and_more_than_a_batch(database_url: str) -> None:
    """What was stored by a process that died is routed by the next."""
    with opened(database_url) as database:
        store(database, *[("post_call", {**MISSED, "resource_id": f"CAL{number}"}) for number in range(60)])

        run_router(database, lambda: len(rows_of(database, deliveries)) == 60)

        assert {row.state for row in rows_of(database, events)} == {EventState.ROUTED}


# --- concurrency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_on_one_call_neither_lose_nor_double(database_url: str, seed: int) -> None:
    """Four workers with connections of their own route the events of the same calls, every body twice."""
    rng = random.Random(seed)
    calls = {f"CAL{number}": rng.choice([Story.MISSED, Story.ANSWERED, Story.VOICEMAIL]) for number in range(12)}
    posted = [
        (posting.kind, posting.body.replace(posting_id(posting.body), call.encode()))
        for call, story in calls.items()
        for posting in life_cycle(story, rng=rng, started_at=NOW, callrail_id=None, company_name="Acme")
        if posting.kind != "call_modified"
    ]
    # Fewer transactions than events, more than workers: each worker meets the calls of all others.
    rules = rule_set(
        a_rule("missed"),
        a_rule("once", Transition.CALL_RINGING, Transition.CALL_ENDED, Transition.CALL_VOICEMAIL),
        a_rule("ended", Transition.CALL_ENDED),
    )
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for kind, body in rng.sample(posted * 2, len(posted) * 2):
                receive(conn, kind, body)
        begin = threading.Barrier(4)

        def work(number: int) -> int:
            done = 0
            with opened(database_url) as own:
                begin.wait(timeout=30)
                while report := route_once(own, rules, limit=1 + number % 3).events:
                    done += report
            return done

        with ThreadPoolExecutor(4) as pool:
            shares = list(pool.map(work, range(4)))
        # A worker ends when all that waits is in other hands; whatever a rolled back one left is taken up here.
        shares.append(route_once(database, rules, limit=1000).events)

        stored = rows_of(database, events)
        ended = rows_of(database, objects)
        names = Counter(row.name for row in rows_of(database, transitions))
        told = Counter((row.rule, row.object_id) for row in rows_of(database, deliveries))
    stories = Counter(calls.values())
    assert sum(shares) == len(stored) == 2 * len(posted)
    assert {row.state for row in stored} == {EventState.ROUTED}
    assert {row.object_id: (row.stage, row.outcome) for row in ended} == {
        call: ("ended", story.value) for call, story in calls.items()
    }
    assert sum(row.version for row in ended) == sum(row.repeat_of is None for row in stored) == len(posted)
    assert names["call.ended"] == names["call.ringing"] == names["call.routed"] == 12
    assert {name: count for name, count in names.items() if name[5:] in set(Story)} == {
        f"call.{story}": count for story, count in stories.items()
    }
    assert set(told.values()) == {1}
    assert Counter(rule for rule, _ in told) == {"missed": stories[Story.MISSED], "once": 12, "ended": 12}


def posting_id(body: bytes) -> bytes:
    """The call's id in a simulated body."""
    return body.partition(b'"resource_id":"')[2].partition(b'"')[0]


def test_an_object_is_locked_until_its_transaction_ends(postgresql_url: str) -> None:
    """A second worker does not read the call while the first is about to change it."""
    key = ObjectKey("acme", "call", "CAL1")
    with opened(postgresql_url) as one, opened(postgresql_url) as other, ThreadPoolExecutor(1) as pool:
        with one.writing.begin() as conn:
            receive(conn, "post_call", MISSED)
            route(conn, FixedClock(), rule_set(), limit=1)
        with one.writing.begin() as conn:
            lock_objects(conn, [key])

            def lock_and_read() -> str:
                with other.writing.begin() as second:
                    lock_objects(second, [key])
                    stage: str = second.execute(select(objects.c.stage)).scalar_one()
                    return stage

            waiting = pool.submit(lock_and_read)
            wait_until(lambda: somebody_waits_for_a_lock(one))
            assert not waiting.done()
            conn.execute(update(objects).values(stage="ringing"))
        assert waiting.result(timeout=30) == "ringing"


def test_on_sqlite_each_object_is_found_by_one_search(sqlite_url: str) -> None:
    """Asked for lists of companies and ids, it searched for each company with each id; asked for both, it read all."""
    with opened(sqlite_url) as database, database.writing.begin() as conn:
        with statements_of(database.writing) as asked:
            lock_objects(conn, [ObjectKey("acme", "call", "CAL1"), ObjectKey("globex", "call", "CAL2")])
        [(statement, bound)] = asked
        plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", bound)]

    [search] = [step for step in plan if step.split()[1] == "o"]
    assert search.startswith("SEARCH")
    assert search.endswith("(company=? AND type=? AND object_id=?)")


def somebody_waits_for_a_lock(database: Database) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.reading.connect() as conn:
        return bool(conn.exec_driver_sql(asked).scalar_one())


# --- what rules are asked, and what becomes of their answers ----------------------------------------------------------

ANSWERED = {**MISSED, "call_type": "answered", "answered": True}
TEXT = {"resource_id": "SCI1", "message_type": "sms", "source_number": "770-555-0123", "content": "Can you come?"}


def configured(tmp_path: Path, rules: str, *, companies: str = "  acme: {signing_keys: [env:ACME]}") -> RuleSet:
    """The rules of a file with a sink for systems, `crm`, and one for people, `desk`."""
    path = tmp_path / "router.yaml"
    path.write_text(
        f"hours:\n  days: {{mon-fri: '08:00-18:00'}}\ncompanies:\n{companies}\nsinks:\n"
        "  crm: {type: webhook, url: 'https://crm.example', signing_secrets: [env:CRM]}\n  desk: {type: stdout}\n"
        f"{rules}\n"
    )
    return read_config(path).rules


def told(database: Database) -> list[tuple[str, str, str]]:
    """Each delivery's rule, sink and state."""
    return [(row.rule, row.sink, row.state) for row in rows_of(database, deliveries)]


def reasons(database: Database) -> dict[str, str | None]:
    """Why nobody is told, by transition."""
    return {row.name: row.reason for row in rows_of(database, transitions)}


def test_what_no_rule_matches_is_still_seen(database_url: str, tmp_path: Path) -> None:
    """`unmatched` is told once an object, and only of what a person would want to see."""
    rules = configured(tmp_path, "unmatched: {calls: desk, texts: crm}")
    fresh = {**MISSED, "start_time": NOW.isoformat()}
    with opened(database_url) as database:
        store(database, ("pre_call", RINGING), ("post_call", fresh), ("call_modified", {**fresh, **ANSWERED}))
        store(database, ("text_received", TEXT), ("form_submission", {"resource_id": "FRM1", "form_data": {"a": "b"}}))
        for _ in range(5):
            route_once(database, rules, limit=1)

        assert told(database) == [("unmatched", "desk", "pending"), ("unmatched", "crm", "pending")]
        happened = {row.name: row for row in rows_of(database, transitions)}
    assert happened["call.missed"].verdicts == {"unmatched": "unmatched"}
    assert [happened[name].reason for name in ("call.missed", "call.answered", "form.submitted")] == [
        None,
        "no rule looks at this",
        "no rule looks at this",
    ]


def test_an_object_of_which_a_rule_has_spoken_is_not_unmatched(database_url: str, tmp_path: Path) -> None:
    """It rang, and somebody heard of it; a muted rule counts too."""
    rules = configured(
        tmp_path,
        "unmatched: {calls: desk, texts: desk}\nrules:\n  - {id: rings, when: [call.ringing], send: [{to: crm}]}\n"
        "  - {id: quiet, when: [text.received], mute: true, send: [{to: crm}]}",
    )
    with opened(database_url) as database:
        store(database, ("pre_call", RINGING))
        route_once(database, rules)
        store(database, ("post_call", MISSED), ("text_received", TEXT))
        route_once(database, rules)

        assert told(database) == [("rings", "crm", "pending")]
        assert reasons(database)["text.received"] == "muted"


def test_a_correction_ends_what_is_not_sent_of_the_wrong_outcome(database_url: str, tmp_path: Path) -> None:
    """Nobody hears of a missed call that was answered; who is told of corrections hears of that."""
    rules = configured(
        tmp_path,
        "rules:\n  - {id: missed, when: [call.missed], send: [{to: crm}]}\n"
        "  - {id: fixed, when: [call.corrected], if: {was_outcome: missed}, send: [{to: crm}]}\n"
        "  - {id: answered, when: [call.answered], send: [{to: crm}]}",
    )
    with opened(database_url) as database:
        store(database, ("post_call", MISSED))
        route_once(database, rules)
        store(database, ("call_modified", ANSWERED))
        route_once(database, rules)

        assert told(database) == [
            ("missed", "crm", "superseded"),
            ("fixed", "crm", "pending"),
            ("answered", "crm", "blocked"),  # one after another
        ]


def test_a_rule_that_looks_at_both_outcomes_tells_the_right_one_if_it_is_not_too_late(
    database_url: str, tmp_path: Path
) -> None:
    """It speaks once: of the new outcome while it has not sent the old one."""
    rules = configured(tmp_path, "rules:\n  - {id: any-end, when: [call.missed, call.answered], send: [{to: crm}]}")
    with opened(database_url) as database:
        store(database, ("post_call", MISSED))
        route_once(database, rules)
        (made,) = (row.id for row in rows_of(database, deliveries))
        store(database, ("call_modified", ANSWERED))
        route_once(database, rules)
        with database.writing.begin() as conn:
            open_lane(conn, "crm")
            (claimed,) = claim_due(conn, sink="crm", now=NOW, lease_until=NOW, instance="in_1", limit=9)

    assert (claimed.id, claimed.transition, claimed.facts["outcome"]) == (made, Transition.CALL_ANSWERED, "answered")


FLIPS = [("post_call", MISSED), ("call_modified", ANSWERED), ("call_modified", {**MISSED, "note": "back"})]
VOICEMAIL = {**MISSED, "voicemail": True, "call_type": "voicemail"}


@pytest.mark.parametrize("limit", [1, 9])
def test_an_outcome_that_comes_back_is_told_after_all(database_url: str, tmp_path: Path, limit: int) -> None:
    """Missed, answered, missed, none of it sent: people hear of a missed call, in one batch or over several."""
    rules = configured(
        tmp_path,
        "rules:\n  - {id: missed, when: [call.missed], send: [{to: crm}]}\n"
        "  - {id: answered, when: [call.answered], send: [{to: crm}]}\n"
        "  - {id: both, when: [call.missed, call.answered], send: [{to: crm}]}",
    )
    with opened(database_url) as database:
        store(database, *FLIPS)
        for _ in FLIPS:
            route_once(database, rules, limit=limit)

        states = {rule: state for rule, _, state in told(database)}
        with database.writing.begin() as conn:
            open_lane(conn, "crm")
            claimed = []
            while now := claim_due(conn, sink="crm", now=NOW, lease_until=NOW, instance="in_1", limit=9):
                record(conn, [tried(item, DeliveryState.DELIVERED) for item in now], now=NOW)
                claimed += now
    assert states == {"missed": "blocked", "answered": "superseded", "both": "pending"}  # one after another
    assert {(item.rule, item.transition, item.outcome) for item in claimed} == {
        ("missed", Transition.CALL_MISSED, "missed"),
        ("both", Transition.CALL_MISSED, "missed"),
    }


@pytest.mark.parametrize("limit", [1, 9])
def test_a_correction_to_what_no_rule_matches_is_still_seen(database_url: str, tmp_path: Path, limit: int) -> None:
    """What the rule had not sent is ended, nothing was told of the call, and so `unmatched` has it."""
    rules = configured(
        tmp_path, "unmatched: {calls: crm}\nrules:\n  - {id: missed, when: [call.missed], send: [{to: crm}]}"
    )
    with opened(database_url) as database:
        store(database, *FLIPS[:2], ("call_modified", VOICEMAIL))
        for _ in range(3):
            route_once(database, rules, limit=limit)

        rows = {row.rule: row for row in rows_of(database, deliveries)}
        names = {row.id: row.name for row in rows_of(database, transitions)}
    assert {rule: row.state for rule, row in rows.items()} == {"missed": "superseded", "unmatched": "pending"}
    assert names[rows["unmatched"].transition_id] == "call.voicemail"


def test_what_was_being_sent_when_it_was_corrected_is_not_sent_again(database_url: str, tmp_path: Path) -> None:
    """It comes back to be retried, and is not true any more."""
    rules = configured(tmp_path, "rules:\n  - {id: missed, when: [call.missed], send: [{to: crm}]}")
    with opened(database_url) as database:
        store(database, FLIPS[0])
        route_once(database, rules)
        with database.writing.begin() as conn:
            open_lane(conn, "crm")
            claim_due(conn, sink="crm", now=NOW, lease_until=NOW, instance="in_1", limit=9)
        store(database, FLIPS[1])
        route_once(database, rules)
        with database.writing.begin() as conn:
            return_leases(conn, now=NOW, everything=True)
            assert claim_due(conn, sink="crm", now=NOW, lease_until=NOW, instance="in_1", limit=9) == []

        assert told(database) == [("missed", "crm", "superseded")]


def test_what_is_unmatched_and_old_rings_nobodys_phone(database_url: str, tmp_path: Path) -> None:
    """Two months in a spool are no news to people."""
    rules = configured(tmp_path, "unmatched: {calls: desk}")
    with opened(database_url) as database:
        store(database, ("post_call", {**MISSED, "start_time": (NOW - timedelta(days=60)).isoformat()}))
        route_once(database, rules)

        assert told(database) == []
        assert reasons(database)["call.missed"] == "late"


def test_a_change_of_a_call_never_heard_of_is_new_all_the_same(database_url: str, tmp_path: Path) -> None:
    """It changed now, however old the call is; what it had before nobody knows."""
    rules = configured(
        tmp_path,
        "rules:\n  - {id: any, when: [call.changed], if: {tags: {changed: true}}, send: [{to: desk}]}\n"
        "  - {id: hot, when: [call.changed], if: {tags: {added: Hot}}, send: [{to: desk}]}",
    )
    body = {**MISSED, "start_time": (NOW - timedelta(days=9)).isoformat(), "tags": ["Hot"], "changes": ["tags"]}
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            receive(conn, "call_modified", body)
            conn.execute(update(events).values(received_at=NOW))
        route_once(database, rules)

        assert [rule for rule, _, _ in told(database)] == ["any"]


def test_what_happened_too_long_ago_is_told_to_systems_only(database_url: str, tmp_path: Path) -> None:
    """Nobody's phone rings for yesterday; the age counts from the thing's own time."""
    rules = configured(
        tmp_path,
        "rules:\n  - {id: both, when: [call.missed], send: [{to: crm}, {to: desk}]}\n"
        "  - {id: never, when: [call.missed], on_late: ignore, max_age: 1h, send: [{to: crm}]}\n"
        "  - {id: always, when: [call.missed], on_late: deliver, send: [{to: desk}]}\n"
        "  - {id: worth-2h, when: [call.missed], on_late: deliver, send: [{to: crm, expires: 2h}]}",
    )
    yesterday = (NOW - timedelta(hours=25)).isoformat()
    with opened(database_url) as database:
        store(database, ("post_call", {**MISSED, "start_time": yesterday}))
        route_once(database, rules)

        assert told(database) == [("both", "crm", "pending"), ("always", "desk", "pending")]
        verdicts = {row.name: row.verdicts for row in rows_of(database, transitions)}["call.missed"]
    assert verdicts == {"both": "fired", "never": "late", "always": "fired", "worth-2h": "late"}


def test_what_expires_before_it_is_sent_is_ended(database_url: str, tmp_path: Path) -> None:
    """It is not claimed any more, and its row says why."""
    rules = configured(tmp_path, "rules:\n  - {id: soon, when: [call.missed], send: [{to: crm, expires: 2h}]}")
    with opened(database_url) as database:
        store(database, ("post_call", {**MISSED, "start_time": NOW.isoformat()}))
        route_once(database, rules)
        later = NOW + timedelta(hours=2)
        with database.writing.begin() as conn:
            open_lane(conn, "crm")
            assert claim_due(conn, sink="crm", now=later, lease_until=later, instance="in_1", limit=9) == []
            assert expire(conn, now=NOW) == 0
            assert expire(conn, now=later) == 1

        (row,) = rows_of(database, deliveries)
    assert (row.state, row.finished_at) == ("expired", later)
    assert row.reason.startswith("late:")


def test_a_renamed_rule_does_not_speak_again(database_url: str, tmp_path: Path) -> None:
    """`was` keeps its identity."""
    first = configured(tmp_path, "rules:\n  - {id: old, when: [call.ringing, call.missed], send: [{to: crm}]}")
    renamed = configured(
        tmp_path, "rules:\n  - {id: new, was: [old], when: [call.ringing, call.missed], send: [{to: crm}]}"
    )
    with opened(database_url) as database:
        store(database, ("pre_call", RINGING))
        route_once(database, first)
        store(database, ("post_call", MISSED))
        route_once(database, renamed)

        assert told(database) == [("old", "crm", "pending")]
        assert reasons(database)["call.missed"] == "already told"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param("[call.ringing]", "[call.ringing, call.missed]", id="one-becomes-several"),
        pytest.param("[call.ringing, call.routed]", "[call.missed, call.voicemail]", id="others"),
    ],
)
def test_a_rule_that_looks_elsewhere_now_does_not_speak_again(
    database_url: str, tmp_path: Path, first: str, then: str
) -> None:
    """It is the same rule by its id; it used to speak twice, or to be silent and to call that fired."""
    with opened(database_url) as database:
        store(database, ("pre_call", RINGING))
        route_once(database, configured(tmp_path, f"rules:\n  - {{id: r, when: {first}, send: [{{to: crm}}]}}"))
        store(database, ("post_call", MISSED))
        route_once(database, configured(tmp_path, f"rules:\n  - {{id: r, when: {then}, send: [{{to: crm}}]}}"))

        assert told(database) == [("r", "crm", "pending")]
        missed = {row.name: row for row in rows_of(database, transitions)}["call.missed"]
    assert (missed.verdicts, missed.reason) == ({"r": "already told"}, "already told")


def test_a_rule_speaks_once_also_of_what_happens_again(database_url: str, tmp_path: Path) -> None:
    """With several `when` once an object, though call.changed happens each version; with repeat each time."""
    rules = configured(
        tmp_path,
        "rules:\n  - {id: once, when: [call.changed, call.spam], send: [{to: crm}]}\n"
        "  - {id: each, when: [call.changed, call.spam], repeat: true, send: [{to: crm}]}",
    )
    with opened(database_url) as database:
        for kind, tags in (("post_call", None), ("call_modified", ["a"]), ("call_modified", ["b"])):
            store(database, (kind, {**MISSED, "tags": tags}))
            route_once(database, rules)

        assert [rule for rule, _, _ in told(database)] == ["once", "each", "each"]


@pytest.mark.parametrize("content", ["STOP", " stop. ", "Unsubscribe"])
def test_a_text_that_opts_out_is_no_news_of_a_lead(database_url: str, tmp_path: Path, content: str) -> None:
    """Only a rule that asks about it hears of it."""
    rules = configured(
        tmp_path,
        "unmatched: {texts: desk}\nrules:\n  - {id: texts, when: [text.received], send: [{to: crm}]}\n"
        "  - {id: opt-outs, when: [text.received], if: {opt_out: true}, send: [{to: crm}]}",
    )
    with opened(database_url) as database:
        store(database, ("text_received", {**TEXT, "content": content}))
        route_once(database, rules)

        assert [rule for rule, _, _ in told(database)] == ["opt-outs"]
        (row,) = rows_of(database, transitions)
    assert row.verdicts == {"texts": "opt-out", "opt-outs": "fired"}


@pytest.mark.parametrize(("moment", "hours"), [("2026-03-10T12:00:00Z", "open"), ("2026-03-10T23:30:00Z", "closed")])
def test_hours_are_those_of_the_company_when_it_happened(
    database_url: str, tmp_path: Path, moment: str, hours: str
) -> None:
    """By the zone that a call told; a text tells none, and is of the same company."""
    rules = configured(
        tmp_path,
        "rules:\n  - {id: open, when: [text.received], if: {hours: open}, send: [{to: crm}]}\n"
        "  - {id: closed, when: [text.received], if: {hours: closed}, send: [{to: crm}]}",
        companies="  acme: {signing_keys: [env:ACME], hours: days}",
    )
    with opened(database_url) as database:
        store(database, ("post_call", {**MISSED, "company_time_zone": "America/New_York"}))
        route_once(database, rules)
        store(database, ("text_received", {**TEXT, "timestamp": moment}))
        route_once(database, rules)

        assert [rule for rule, _, _ in told(database)] == [hours]


def test_hours_of_a_company_whose_zone_nobody_told_are_not_told(database_url: str, tmp_path: Path) -> None:
    """Neither open nor closed."""
    rules = configured(
        tmp_path,
        "rules:\n  - {id: open, when: [text.received], if: {hours: open}, send: [{to: crm}]}\n"
        "  - {id: closed, when: [text.received], unless: {hours: open}, if: {hours: {not: open}}, send: [{to: crm}]}",
        companies="  acme: {signing_keys: [env:ACME], hours: days}",
    )
    with opened(database_url) as database:
        store(database, ("text_received", {**TEXT, "timestamp": NOW.isoformat()}))
        route_once(database, rules)

        assert told(database) == []
        assert reasons(database) == {"text.received": "no rule fired"}


def test_a_change_and_back_says_that_it_was_seen_before(database_url: str) -> None:
    """The third of three is news all the same."""
    untagged = {**MISSED, "tags": ""}
    bodies = [{**MISSED, "tags": tags} for tags in (["vip"], [], ["vip"])]
    with opened(database_url) as database:
        store(database, ("post_call", untagged), *(("call_modified", body) for body in bodies))
        route_once(database)

        changed = [row for row in rows_of(database, transitions) if row.name == "call.changed"]
    assert [row.n for row in changed] == [2, 3, 4]
    assert [row.details["$before"]["tags"] for row in changed] == [None, ["vip"], None]
    assert [row.details.get("seen_before") for row in changed] == [None, None, True]


def test_a_voice_assistant_and_its_call_are_one_object(database_url: str) -> None:
    """Its webhook tells the call's id under another name, and no company."""
    with opened(database_url) as database:
        store(database, ("pre_call", RINGING), ("voice_assist", {"call_id": "CAL1", "tracking_number": "+17705550123"}))
        route_once(database)

        (obj,) = rows_of(database, objects)
        assert (obj.type, obj.object_id, obj.stage) == ("call", "CAL1", "routed")
        assert {row.name for row in rows_of(database, transitions)} == {"call.ringing", "assist.answered"}


def test_each_look_of_the_assistant_is_an_object(database_url: str) -> None:
    """The same call may be looked at again; the same answers twice are a repeat."""
    looks: list[dict[str, Any]] = [
        {"last_interaction_resource_id": "CAL1", "answers": [], "interaction_count": count} for count in (1, 2)
    ]
    with opened(database_url) as database:
        store(database, *(("convert_assist", look) for look in (*looks, looks[0])))
        route_once(database)

        assert [row.type for row in rows_of(database, objects)] == ["assist", "assist"]
        assert [row.name for row in rows_of(database, transitions)] == ["assist.completed", "assist.completed"]


def test_numbers_are_kept_in_one_writing(database_url: str) -> None:
    """E.164, with what was told beside it; a withheld one is no number."""
    with opened(database_url) as database:
        store(database, ("text_received", {**TEXT, "destination_number": "anonymous"}))
        route_once(database)

        (known,) = rows_of(database, versions)
    assert known.fields["source_number"] == "+17705550123"
    assert known.fields["destination_number"] is None
    assert known.fields["raw_numbers"] == {"source_number": "770-555-0123", "destination_number": "anonymous"}
