"""Routing on both databases: from stored events to objects, transitions and the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from receiver.database import Database
from receiver.events import insert_events
from receiver.schema import EventState, events
from receiver.writer import Writer
from routers.objects import ObjectKey, ObjectTaken, lock_objects
from routers.outbox import NewDelivery, insert_deliveries
from routers.routing import ALREADY_TOLD, MAX_TRIES, Report, Router, route
from routers.rules.ruleset import FIRED, RuleSet
from routers.schema import DeliveryState, deliveries, objects, transitions, versions
from routers.simulator import Story, life_cycle
from routers.transitions import Transition
from tests.routers.store import NOW, FixedClock, a_rule, opened, put_deliveries, real_clock, receive, rows_of, rule_set
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

        assert reports == [Report(events=1), Report(events=1), Report(events=1, deliveries=1)]
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
            ("call.missed", {"once": ALREADY_TOLD}),
            ("call.answered", {"once": ALREADY_TOLD}),
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
            {"once": ALREADY_TOLD},
            {"once": ALREADY_TOLD},
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
        pytest.param("outbound_post_call", b'{"resource_id":"CAL1","call_type":"outbound"}', None, id="outbound"),
        pytest.param(
            "post_call",
            b'{"resource_id":"CAL1","call_type":"outbound","direction":"outbound"}',
            "posted as post_call, but the body looks like outbound_post_call",
            id="outbound-posted-as-inbound",
        ),
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


def somebody_waits_for_a_lock(database: Database) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.reading.connect() as conn:
        return bool(conn.exec_driver_sql(asked).scalar_one())
