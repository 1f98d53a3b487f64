"""`doctor --observe`: what the API shows of open calls is held against what early outcomes assume of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from callrail.exceptions import CallRailError
from receiver.database import Database
from routers.fake_callrail import faults
from routers.observing import Observer, summary_of
from tests.routers.lookups.office import an_office
from tests.routers.running import SECRETS, run
from tests.routers.store import opened
from tests.routers.test_early_outcomes import HELD_BACK, LOOK, Scene, a_scene

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened(database_url) as database:
        yield database


def observer_of(scene: Scene) -> Observer:
    return Observer(scene.database, scene.clock, lambda _: "main", scene.clients)


async def until_posted(scene: Scene, observer: Observer, call: Any, **told: Any) -> dict[str, Any]:
    """The record of a call that is looked at until its post-call has come."""
    scene.post("pre_call", call)
    scene.route()
    end = call.start + timedelta(seconds=call.duration) + timedelta(minutes=2)
    while scene.clock.moment < end:
        assert observer.posted() == []
        await observer.look()
        scene.clock.moment += LOOK
    scene.clock.moment += HELD_BACK
    scene.post("post_call", call, **told)
    scene.route()
    (record,) = observer.posted()
    assert observer.open == 0
    return record


async def test_what_is_shown_as_assumed_is_recorded_so(database: Database) -> None:
    async with a_scene(database) as scene:
        call = scene.a_call(1, scene.clock.moment, 65)
        record = await until_posted(scene, observer_of(scene), call)

    assert record["call"] == call.id
    assert 20 <= record["known_after"] <= 60
    assert record["post_call_after"] > HELD_BACK.total_seconds()
    assert all(
        record[name] is True for name in ("not_over_too_early", "stands_still", "agrees", "known_before_post_call")
    )
    written = json.dumps(record)
    assert call.person["phone"] not in written
    assert call.person["name"] not in written


async def test_a_call_that_seems_to_be_over_while_it_goes_on_is_found(database: Database) -> None:
    """As if the API showed the length of a first leg: what is assumed is wrong then, and early outcomes too."""
    async with a_scene(database) as scene:
        call = scene.a_call(1, scene.clock.moment, 30)
        record = await until_posted(scene, observer_of(scene), call, duration=900, answered=True)

    assert record["not_over_too_early"] is False
    assert record["agrees"] is False
    rows = {row["assumed"]: row for row in summary_of([record])}
    assert rows["a call that goes on is not shown as one that is over"]["failed"] == 1
    assert rows["a call is known to be over before its post-call comes"]["held"] == 1


async def test_an_outcome_that_changes_after_the_end_is_found(database: Database) -> None:
    async with a_scene(database) as scene:
        observer = observer_of(scene)
        call = scene.a_call(1, scene.clock.moment, 30)
        scene.post("pre_call", call)
        scene.route()
        scene.clock.moment += timedelta(minutes=1)
        await observer.look()
        call.voicemail = True
        scene.clock.moment += LOOK
        await observer.look()
        scene.post("post_call", call, voicemail=True, answered=True)
        scene.route()
        (record,) = observer.posted()

    assert record["stands_still"] is False
    assert len(record["shown"]) == 2


async def test_an_api_that_fails_loses_nothing_that_was_seen(database: Database) -> None:
    async with a_scene(database) as scene:
        observer = observer_of(scene)
        scene.post("pre_call", scene.a_call(1, scene.clock.moment, 30))
        scene.route()
        await observer.look()
        scene.fake.faults.add("GET", "*/calls.json", faults.status(403), times=1)
        with pytest.raises(CallRailError):
            await observer.look()
        assert observer.open == 1


async def test_a_call_whose_post_call_is_lost_is_looked_at_no_longer(database: Database) -> None:
    async with a_scene(database) as scene:
        observer = observer_of(scene)
        scene.post("pre_call", scene.a_call(1, scene.clock.moment, 30))
        scene.route()
        await observer.look()
        scene.clock.moment += timedelta(hours=5)  # after which no call counts as open
        await observer.look()
        assert (observer.open, len(scene.fake.requests)) == (0, 1)


async def test_where_no_call_is_open_nothing_is_asked(database: Database) -> None:
    async with a_scene(database) as scene:
        await observer_of(scene).look()
        assert scene.fake.requests == []


async def test_the_command_says_that_no_call_was_seen(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    async with an_office(tmp_path, database_url) as office:
        monkeypatch.setenv("OFFICE_KEY", office.fake.world.key)
        office.write("rules: []")
        async with office.open():
            await office.post_call_begun(office.a_call())
            await office.until_recorded("call.ringing")
            observe = ("doctor", "--observe", tmp_path / "calls.jsonl", "--for", "1s", "--config", office.config)
            environ = {"OFFICE_KEY": office.fake.world.key}
            ran = await asyncio.to_thread(partial(run, environ=environ), *observe, *office.stored)

    assert (ran.code, ran.out) == (0, "")
    assert "Observing main" in ran.err
    assert "No call was seen from its pre-call to its post-call" in ran.err
    assert len(office.asked("calls.json")) == 1
