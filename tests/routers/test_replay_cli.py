"""`replay` as a command, on both databases: planned, carried out by a running server, watched, stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from receiver.database import Database
from receiver.instances import Instance, beat
from routers.schema import DeliveryState, deliveries, replays
from tests.fakes.destination import answer
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread, webhook_of
from tests.routers.running import Ran, config_text, run_here, running
from tests.routers.store import opened, put_deliveries, rows_of
from tests.routers.waiting import wait_until

CALL = {
    "resource_id": "CAL1",
    "answered": False,
    "call_type": "missed",
    "duration": 30,
    "voicemail": False,
    "start_time": datetime.now(UTC).isoformat(),
}


@dataclass
class Store:
    """A database and the commands run on it."""

    url: str
    config: Path
    database: Database

    def run(self, *words: str) -> Ran:
        environ = {"CALLRAIL_ROUTER_DATABASE_URL": self.url, "CALLRAIL_ROUTER_CONFIG": str(self.config)}
        return run_here("replay", *words, environ=environ)

    def json(self, *words: str) -> Any:
        ran = self.run(*words, "-o", "json")
        assert ran.code == 0, ran.err
        return orjson.loads(ran.out)

    def put(self, state: DeliveryState, *, sink: str = "crm") -> str:
        """A delivery of a minute ago that stands in *state*."""
        with self.database.writing.begin() as conn:
            (made,) = put_deliveries(conn, sink=sink, now=datetime.now(UTC) - timedelta(minutes=1))
            conn.execute(update(deliveries).where(deliveries.c.id == made).values(state=state.value))
        return made


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """No deliveries yet. router.yaml has the sink crm, and the terminal, which people read."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9").replace("rules:", "  terminal: {type: stdout}\nrules:"))
    with opened(database_url) as database:
        yield Store(database_url, config, database)


def test_what_a_receiver_refused_arrives_by_a_replay(database_url: str, tmp_path: Path) -> None:
    """From the command line through a running server to the receiver: the same id, marked, and again as another."""
    config = tmp_path / "router.yaml"
    with receiver_in_a_thread() as destination, opened(database_url) as database:
        destination.behaves(answer(400))
        config.write_text(config_text(destination.url))
        store = Store(database_url, config, database)
        with running("serve", "--port", "0", "--config", config, "--database-url", database_url) as process:
            assert process.post("post_call", orjson.dumps(CALL)) == 204
            wait_until(lambda: [row.state for row in rows_of(database, deliveries)] == ["dead"])
            destination.behaves(answer(200))

            taken_up = store.json("plan", "--since", "1h", "--state", "dead")
            ran = store.run("run", taken_up["id"], "--yes", "--wait")
            again = store.json("plan", "--since", "1h", "--again", "--rate", "50/s")
            ran_again = store.run("run", again["id"], "--yes", "--wait")

        assert (ran.code, ran_again.code) == (0, 0), (ran.err, ran_again.err)
        assert "It is running; the server sends it." in ran.err
        assert "Done: 1 delivered" in ran.err
        assert (taken_up["messages"], again["sinks"][0]["again"]) == (1, 1)
        refused, replayed, told_again = map(webhook_of, destination.requests)
        assert refused.id == replayed.id != told_again.id
        assert ["replayed" in told.data for told in (refused, replayed, told_again)] == [False, True, True]
        assert refused.timestamp == replayed.timestamp == told_again.timestamp
        status = store.json("status", taken_up["id"])
        assert (status["state"], status["delivered"], status["waiting"], status["failed"]) == ("done", 1, 0, 0)


def test_a_plan_says_what_it_would_do_and_that_nothing_is_sent(store: Store) -> None:
    """Where people read it is left out, and that is said."""
    store.put(DeliveryState.DEAD)
    store.put(DeliveryState.DELIVERED)
    store.put(DeliveryState.DEAD, sink="terminal")

    ran = store.run("plan", "--since", "1h", "--rate", "1/m")

    assert ran.code == 0
    for words in (
        "1 of 3 to send, in 1m at 1/m.",
        "1 to crm: delivered already",
        "1 to terminal: people read it, and the plan is without --to-people",
        "1 were delivered already: not sent again (--again would).",
        "Nothing is sent yet. To send it: callrail-router replay run rp_",
    ):
        assert words in ran.out
    assert {row.state for row in rows_of(store.database, deliveries)} == {"dead", "delivered"}
    assert [row["state"] for row in store.json("list")] == ["planned"]


def test_it_says_when_nobody_is_there_to_do_it(store: Store) -> None:
    """A process that only takes in does not send."""
    store.put(DeliveryState.DEAD)
    planned = store.json("plan", "--since", "1h")["id"]
    with store.database.writing.begin() as conn:
        beat(conn, Instance.of("intake"), now=datetime.now(UTC))

    assert "No server that sends is alive" in store.run("run", planned, "--yes").err

    store.run("pause", planned)
    with store.database.writing.begin() as conn:
        beat(conn, Instance.of("dispatch"), now=datetime.now(UTC))
    assert "the server sends it" in store.run("resume", planned).err


def test_the_words_follow_one_another(store: Store) -> None:
    """Run, pause, resume, cancel; what does not fit is refused in a sentence, with exit code 2."""
    store.put(DeliveryState.DEAD)
    planned = store.json("plan", "--since", "1h")["id"]

    early = store.run("pause", planned)
    assert (early.code, early.err) == (2, f"Error: {planned} is planned and cannot be paused\n")
    assert store.run("run", planned).code == 2  # nobody to ask, and no --yes
    for words in (["run", planned, "--yes"], ["pause", planned], ["resume", planned], ["cancel", planned[:20]]):
        assert store.run(*words).code == 0
    assert store.run("resume", planned).code == 2
    assert store.json("show", planned)["state"] == "cancelled"
    (item,) = store.json("show", planned, "--items")
    assert (item["sink"], item["state"]) == ("crm", "waiting")
    assert store.run("status", planned, "--watch").code == 0


def test_a_plan_that_was_broken_off_cannot_be_run(store: Store) -> None:
    """It may be half of one."""
    store.put(DeliveryState.DEAD)
    planned = store.json("plan", "--since", "1h")["id"]
    with store.database.writing.begin() as conn:
        conn.execute(update(replays).values(state="planning"))

    ran = store.run("run", planned, "--yes")

    assert (ran.code, "its plan was broken off, make another" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["plan"], 2, "say what to replay"),
        (["plan", "--since", "1h"], 0, "Nothing of that was told"),
        (["plan", "--since", "1h", "--rate", "fast"], 2, "write so many in a time"),
        (["status", "rp_0"], 1, "there is no replay rp_0"),
        (["list"], 0, "No replays yet."),
    ],
)
def test_what_is_said_where_there_is_nothing_or_a_mistake(store: Store, words: list[str], code: int, said: str) -> None:
    """One sentence."""
    ran = store.run(*words)

    assert (ran.code, said in ran.err) == (code, True), ran
