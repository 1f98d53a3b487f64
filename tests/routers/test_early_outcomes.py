"""A missed call is known within a minute of its hang-up, though its post-call comes nineteen minutes later."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from callrail.client import CallRail
from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.schema import events
from receiver.writer import Writer
from routers.accounts import UnheardCalls
from routers.early_outcomes import EarlyOutcomes, Unheard, is_over
from routers.fake_callrail import FakeCallRail, faults, small_world
from routers.fake_callrail.serving import serving
from routers.fake_callrail.world import Call
from routers.forgetting import Forgotten, remember
from routers.routing import route
from routers.rules.ruleset import RuleSet
from routers.schema import deliveries, objects, transitions, versions
from routers.transitions import Transition
from tests.routers.lookups.office import Office, an_office
from tests.routers.running import SECRETS
from tests.routers.store import NOW, FixedClock, a_rule, opened, receive, rows_of

pytestmark = pytest.mark.anyio

ERASING_KEY = b"by which erased numbers are hashed"
LOOK = timedelta(seconds=20)
HELD_BACK = timedelta(minutes=19)
RULES = RuleSet(
    (
        a_rule("missed", Transition.CALL_MISSED, Transition.CALL_ABANDONED),
        a_rule("corrected", Transition.CALL_CORRECTED),
    ),
    "hash",
)


@dataclass
class Scene:
    """An account with its calls, our database, and a clock that both go by."""

    fake: FakeCallRail
    database: Database
    clock: FixedClock
    early: EarlyOutcomes
    unheard: Unheard
    clients: dict[str, CallRail]
    hints: list[None] = field(default_factory=list)

    @property
    def account(self) -> Any:
        return self.fake.world.accounts[0]

    def a_call(self, number: int, start: datetime, duration: int, *, is_answered: bool = False) -> Call:
        """One that CallRail knows."""
        call = self.a_call_to_come(number, start, duration, is_answered=is_answered)
        self.account.calls.add(call)
        return call

    def a_call_to_come(self, number: int, start: datetime, duration: int, *, is_answered: bool = False) -> Call:
        return Call(
            id=f"CAL{number:05}",
            start=start,
            tracker=next(iter(self.account.trackers.values())),
            person=next(iter(self.account.people.values())),
            duration=duration,
            answered=is_answered,
        )

    def post(self, kind: str, call: Call, company: str = "acme", **told: Any) -> None:
        """CallRail posts; what it tells of a call that rings are placeholders."""
        body = {
            "resource_id": call.id,
            "call_type": "missed" if kind == "pre_call" or not call.answered else "answered",
            "answered": bool(kind != "pre_call" and call.answered),
            "duration": 0 if kind == "pre_call" else call.duration,
            "start_time": call.start.isoformat(),
            "customer_phone_number": call.person["phone"],
        }
        with self.database.writing.begin() as conn:
            receive(conn, kind, body | told, company=company)

    def route(self) -> None:
        with self.database.writing.begin() as conn:
            while route(conn, self.clock, RULES, limit=100, told_zones={}).events:
                pass

    async def look(self) -> None:
        """Everybody does what is due now."""
        self.route()
        await self.early.look()
        self.route()

    def happened(self, name: str) -> list[Any]:
        return [row for row in rows_of(self.database, transitions) if row.name == name]

    def api_events(self) -> list[Any]:
        return [row for row in rows_of(self.database, events) if row.origin == "api"]


@asynccontextmanager
async def a_scene(database: Database) -> AsyncIterator[Scene]:
    clock = FixedClock()
    world = replace(small_world(calls=1, seed=3, now=NOW - timedelta(days=2)), now=lambda: clock.moment)
    fake = FakeCallRail(world)
    own = open_database(database.writing.url.render_as_string(hide_password=False))  # a writer keeps its connection
    writer = Writer(own, insert_events)
    async with serving(fake) as url, CallRail(world.key, world.accounts[0].id, base_url=url) as client:
        client._sender.pace = replace(client._sender.pace, now=lambda: clock.moment)
        hints: list[None] = []
        company = next(iter(world.accounts[0].trackers.values()))["company"]["id"]
        hinted = partial(hints.append, None)
        unheard = Unheard({company: "acme"}, {"acme": UnheardCalls.MISSED}, Forgotten(ERASING_KEY))
        early = EarlyOutcomes(writer, clock, lambda _: "main", {"main": client}, hinted, unheard)
        writer.start()
        try:
            yield Scene(fake, database, clock, early, unheard, {"main": client}, hints)
        finally:
            await writer.stop()
            own.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened(database_url) as database:
        yield database


# --- an hour of an agency --------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_every_missed_call_is_told_once_and_within_a_minute(database: Database) -> None:
    """Forty companies, four hundred calls an hour; every post-call is held back for nineteen minutes."""
    dice = random.Random(5)
    async with a_scene(database) as scene:
        begin = scene.clock.moment
        calls = [
            scene.a_call_to_come(
                number,
                begin + timedelta(seconds=dice.uniform(0, 3_600)),
                dice.randrange(15, 240),
                is_answered=dice.random() < 0.6,
            )
            for number in range(400)
        ]
        company = {call.id: f"company-{number % 40}" for number, call in enumerate(calls)}
        hung_up = {call.id: call.start + timedelta(seconds=call.duration or 0) for call in calls}
        posts = sorted(
            [(call.start, "pre_call", call.id) for call in calls]
            + [(hung_up[call.id] + HELD_BACK, "post_call", call.id) for call in calls]
        )
        by_id = {call.id: call for call in calls}
        while posts:
            scene.clock.moment += LOOK
            while posts and posts[0][0] <= scene.clock.moment:
                _, kind, call_id = posts.pop(0)
                if kind == "pre_call":
                    scene.account.calls.add(by_id[call_id])
                scene.post(kind, by_id[call_id], company[call_id])
            await scene.look()

        missed = {call.id for call in calls if not call.answered}
        ids = {row.id: row.object_id for row in rows_of(database, objects)}
        told = {
            ids[row.object_id]: row.created_at - hung_up[ids[row.object_id]]
            for row in (*scene.happened("call.missed"), *scene.happened("call.abandoned"))
        }
        assert told.keys() == missed
        assert max(told.values()) < timedelta(seconds=60)
        assert min(told.values()) > timedelta(0)
        assert len(rows_of(database, deliveries)) == len(missed)  # one alert for each, and none besides
        assert scene.happened("call.corrected") == []
        asked = [request for request in scene.fake.requests if request.path.endswith(("calls.json", "calls"))]
        hours = (scene.clock.moment - begin) / timedelta(hours=1)
        assert len(scene.fake.requests) == len(asked) <= 200 * hours


# --- single calls ----------------------------------------------------------------------------------------------------


async def test_a_call_that_goes_on_is_left_alone(database: Database) -> None:
    async with a_scene(database) as scene:
        call = scene.a_call(1, scene.clock.moment, 300)
        scene.post("pre_call", call)
        for _ in range(14):
            await scene.look()
            scene.clock.moment += LOOK

    assert scene.api_events() == []
    assert scene.happened("call.missed") == []


async def test_where_no_call_is_open_nothing_is_asked(database: Database) -> None:
    async with a_scene(database) as scene:
        scene.post("post_call", scene.a_call(1, scene.clock.moment - timedelta(minutes=5), 30))
        await scene.look()

    assert scene.fake.requests == []


async def test_a_post_call_that_knows_better_corrects_what_was_told_early(database: Database) -> None:
    async with a_scene(database) as scene:
        call = scene.a_call(1, scene.clock.moment, 30)
        scene.post("pre_call", call)
        scene.clock.moment += timedelta(minutes=2)
        await scene.look()
        assert len(scene.happened("call.missed")) == 1

        scene.clock.moment += HELD_BACK
        scene.post("post_call", call, voicemail=True, answered=True, call_type="voicemail")
        await scene.look()

    (corrected,) = scene.happened("call.corrected")
    assert corrected.details["was_outcome"] == "missed"
    assert len(scene.happened("call.voicemail")) == 1


async def test_an_api_that_fails_harms_nobody_and_is_asked_again(database: Database) -> None:
    async with a_scene(database) as scene:
        call = scene.a_call(1, scene.clock.moment, 30)
        scene.post("pre_call", call)
        scene.clock.moment += timedelta(minutes=2)
        scene.fake.faults.add("GET", "*/calls.json", faults.status(403), times=1)
        await scene.look()
        assert scene.happened("call.missed") == []
        await scene.look()
        assert len(scene.happened("call.missed")) == 1
        await scene.look()

    assert len(scene.api_events()) == 1
    assert len(scene.hints) == 1


async def test_a_call_that_left_the_newest_page_is_asked_for_alone_now_and_then(database: Database) -> None:
    async with a_scene(database) as scene:
        call = scene.a_call(1, scene.clock.moment, 600)
        scene.post("pre_call", call)
        for number in range(300):
            scene.a_call(number + 10, scene.clock.moment + timedelta(milliseconds=number + 1), 5, is_answered=True)
        for _ in range(40):
            await scene.look()
            scene.clock.moment += LOOK
        alone = [request for request in scene.fake.requests if call.id in request.path]

    assert len(scene.happened("call.missed")) == 1
    assert 6 <= len(alone) <= 7


async def test_a_call_that_is_gone_is_given_up_in_the_end(database: Database) -> None:
    async with a_scene(database) as scene:
        call = scene.a_call(1, scene.clock.moment, 30)
        scene.post("pre_call", call)
        scene.account.calls.remove(call)  # marked as spam
        await scene.look()
        scene.clock.moment += timedelta(hours=5)
        asked = len(scene.fake.requests)
        await scene.look()

    assert (asked, len(scene.fake.requests)) == (1, 1)
    assert scene.api_events() == []


# --- webhooks that were lost -----------------------------------------------------------------------------------------

LOST = timedelta(minutes=25)


async def test_a_call_of_which_no_webhook_came_is_told_once(database: Database) -> None:
    """CallRail posts once: what was lost is found in the list that is looked at for others."""
    async with a_scene(database) as scene:
        scene.post("post_call", scene.a_call(1, scene.clock.moment, 10, is_answered=True))
        scene.route()
        scene.clock.moment += timedelta(minutes=1)
        lost = scene.a_call(2, scene.clock.moment, 30)
        scene.clock.moment += timedelta(seconds=30) + LOST
        scene.post("pre_call", scene.a_call(3, scene.clock.moment, 600))
        await scene.look()
        assert scene.api_events() == []  # it may be on its way still
        scene.clock.moment += LOOK
        await scene.look()
        (event,) = scene.api_events()
        (missed,) = scene.happened("call.missed")
        assert (event.company, missed.event_id) == ("acme", event.id)
        assert json.loads(event.body)["resource_id"] == lost.id
        assert {"tags", "note"} <= json.loads(event.body).keys()

        scene.clock.moment += LOOK
        await scene.look()
        scene.post("post_call", lost)  # late, against all that CallRail says
        await scene.look()
    assert len(scene.api_events()) == 1
    assert len(rows_of(database, deliveries)) == 1


async def test_what_was_before_us_is_no_news(database: Database) -> None:
    """Who connects a company today is not told of all the calls of yesterday."""
    async with a_scene(database) as scene:
        scene.a_call(1, scene.clock.moment - timedelta(hours=1), 30)
        scene.post("pre_call", scene.a_call(2, scene.clock.moment, 600))
        await scene.look()
        await scene.look()

    assert scene.api_events() == []


async def test_a_call_of_a_company_without_its_id_is_left_alone(database: Database) -> None:
    async with a_scene(database) as scene:
        scene.unheard.companies = {"COMother": "acme"}
        scene.post("post_call", scene.a_call(1, scene.clock.moment, 10, is_answered=True))
        scene.route()
        scene.clock.moment += timedelta(minutes=1)
        scene.a_call(2, scene.clock.moment, 30)
        scene.clock.moment += timedelta(hours=1)
        scene.post("pre_call", scene.a_call(3, scene.clock.moment, 600))
        await scene.look()

    assert scene.api_events() == []


@pytest.mark.parametrize(
    ("takes", "is_answered", "direction", "is_stored"),
    [
        (UnheardCalls.MISSED, True, "inbound", False),  # it may be one that CallRail was told not to post
        (UnheardCalls.MISSED, False, "outbound", False),
        (UnheardCalls.ALL, True, "inbound", True),
        (UnheardCalls.NONE, False, "inbound", False),
    ],
)
async def test_which_calls_without_a_webhook_are_told_is_a_setting(
    database: Database, takes: UnheardCalls, is_answered: bool, direction: str, is_stored: bool
) -> None:
    async with a_scene(database) as scene:
        scene.unheard.takes = {"acme": takes}
        call = await a_lost_call(scene, is_answered=is_answered)
        call.direction = direction
        await scene.look()

    assert bool(scene.api_events()) is is_stored


async def a_lost_call(scene: Scene, *, is_answered: bool = False) -> Call:
    """One of which no webhook came, of a company that we know, while another one is open."""
    scene.post("post_call", scene.a_call(1, scene.clock.moment, 10, is_answered=True))
    scene.route()
    scene.clock.moment += timedelta(minutes=1)
    lost = scene.a_call(2, scene.clock.moment, 30, is_answered=is_answered)
    scene.clock.moment += timedelta(hours=1)
    scene.post("pre_call", scene.a_call(3, scene.clock.moment, 3_600))
    return lost


async def test_of_somebody_who_was_erased_nothing_is_stored_again(database: Database) -> None:
    async with a_scene(database) as scene:
        lost = await a_lost_call(scene)
        with database.writing.begin() as conn:
            remember(conn, ERASING_KEY, [lost.person["phone"]], now=scene.clock.moment)
        for _ in range(3):
            await scene.look()
            scene.clock.moment += LOOK

    assert scene.api_events() == []


async def test_a_call_that_cannot_be_routed_is_stored_once_also_after_a_restart(database: Database) -> None:
    """Its event failed and makes no object: by that it is not known."""
    async with a_scene(database) as scene:
        await a_lost_call(scene)
        await scene.look()
        with database.writing.begin() as conn:
            (event,) = scene.api_events()
            for table in (deliveries, transitions, versions):
                conn.execute(delete(table))
            conn.execute(delete(objects).where(objects.c.id == event.object_id))
            conn.execute(update(events).where(events.c.id == event.id).values(state="failed"))
        for _ in range(2):
            await scene.early.look()
            scene.unheard.stored = None
            scene.clock.moment += LOOK

    assert len(scene.api_events()) == 1


async def test_while_an_event_of_the_company_waits_nothing_is_called_lost(database: Database) -> None:
    """It may be that call's: it came back out of a spool just now."""
    async with a_scene(database) as scene:
        scene.post("post_call", scene.a_call(1, scene.clock.moment, 10, is_answered=True))
        scene.route()
        scene.clock.moment += timedelta(minutes=1)
        spooled = scene.a_call(2, scene.clock.moment, 30)
        scene.clock.moment += timedelta(hours=1)
        scene.post("pre_call", scene.a_call(3, scene.clock.moment, 600))
        scene.route()
        scene.post("post_call", spooled)
        await scene.early.look()
        assert scene.api_events() == []
        await scene.look()

    assert scene.api_events() == []
    assert len(scene.happened("call.missed")) == 1


TOLD: dict[str, Any] = {"answered": False, "duration": 30, "start_time": (NOW - timedelta(minutes=2)).isoformat()}


@pytest.mark.parametrize(
    ("told", "over"),
    [
        ({}, True),
        ({"answered": True}, True),
        ({"call_type": "in_progress"}, False),
        ({"answered": None}, False),
        ({"duration": None}, False),
        # A ringing call may be told as webhooks tell it: not answered, of no length.
        ({"duration": 0}, False),
        ({"duration": "30"}, False),
        # While it goes on, its beginning and its length so far add up to now.
        ({"duration": 120}, False),
        ({"duration": 101}, False),
        ({"duration": 100}, True),
        ({"start_time": None}, False),
        ({"start_time": "yesterday"}, False),
        ({"start_time": "2026-03-10T13:00:00"}, False),
    ],
)
def test_over_is_what_tells_an_end_that_lies_back(told: dict[str, Any], over: bool) -> None:
    assert is_over(TOLD | told, NOW) is over


# --- the whole server ------------------------------------------------------------------------------------------------


async def test_a_server_with_the_setting_tells_before_the_post_call(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setattr("routers.serve.LOOK_EVERY", timedelta(milliseconds=200))
    async with an_office(tmp_path, database_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        office.write("rules:\n  - {id: missed, when: [call.missed, call.abandoned], send: [{to: crm}]}")
        office.config.write_text(office.config.read_text().replace("base_url:", "early_outcomes: true, base_url:"))
        call = _missed_just_now(office)
        async with office.open():
            await office.post_call_begun(call)
            (told,) = await office.until_told(1)

    assert told["object"] == {"type": "call", "id": call.id}
    assert told["fields"]["duration"] == 25


def _missed_just_now(office: Office) -> Call:
    start = datetime.now(UTC) - timedelta(seconds=60)
    known: Call = office.a_call()
    call = replace(known, id="CALNEW", start=start, duration=25, answered=False, voicemail=False)
    office.account.calls.add(call)
    return call
