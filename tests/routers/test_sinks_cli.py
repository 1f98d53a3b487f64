"""`sinks`: how each is doing, whether it would work, and how it is paused, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, update

from receiver.ids import Prefix, new_id
from routers.cli.sinks import state_of
from routers.durations import age_of
from routers.lanes import Condition, open_lane, save_lane
from routers.schema import DeliveryState, attempts, deliveries, lanes
from tests.fakes.destination import answer, port_nobody_listens_on, port_that_accepts_nobody
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread
from tests.routers.running import Ran, config_text, run_here, running
from tests.routers.store import NOW, opened, put_deliveries, rows_of
from tests.routers.waiting import wait_until

SOON = NOW + timedelta(minutes=5)


def sinks(url: str, config: Path, *words: str, **environ: str) -> Ran:
    named = {"CALLRAIL_ROUTER_DATABASE_URL": url, "CALLRAIL_ROUTER_CONFIG": str(config)}
    return run_here("sinks", *words, environ={**named, **environ})


def listed(url: str, config: Path) -> dict[str, dict[str, Any]]:
    ran = sinks(url, config, "list", "-o", "json")
    assert ran.code == 0, ran.err
    return {row["sink"]: row for row in orjson.loads(ran.out)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The sink crm, and the terminal."""
    path = tmp_path / "router.yaml"
    path.write_text(config_text("http://127.0.0.1:9").replace("rules:", "  terminal: {type: stdout}\nrules:"))
    return path


# --- list ------------------------------------------------------------------------------------------------------------


def test_each_sink_says_how_it_is_doing(database_url: str, config: Path) -> None:
    """What waits, what failed, since when and what last arrived; also of a sink that the file names no longer."""
    made_at = datetime.now(UTC) - timedelta(hours=3)
    with opened(database_url) as database, database.writing.begin() as conn:
        for state in DeliveryState:
            (made,) = put_deliveries(conn, now=made_at)
            values = {"state": state.value, "finished_at": NOW if state is DeliveryState.DELIVERED else None}
            conn.execute(update(deliveries).where(deliveries.c.id == made).values(values))
            tried = {"id": new_id(Prefix.ATTEMPT), "delivery_id": made, "started_at": NOW, "milliseconds": 1}
            conn.execute(insert(attempts).values(tried | {"outcome": state.value}))
        put_deliveries(conn, sink="old", now=made_at + timedelta(hours=1))
        save_lane(conn, Condition("old", failures=6, reason="6 failures in a row: HTTP 500"))

    found = listed(database_url, config)

    assert list(found) == ["crm", "terminal", "old"]
    crm, old = found["crm"], found["old"]
    assert (crm["type"], crm["audience"], crm["state"]) == ("webhook", "systems", "open")
    assert [crm[name] for name in ("pending", "blocked", "sending", "dead", "uncertain")] == [2, 1, 1, 1, 1]
    assert crm["oldest_undelivered"] is not None
    assert crm["oldest_undelivered"] < old["oldest_undelivered"]
    assert datetime.fromisoformat(crm["last_delivered"]) == NOW
    assert (found["terminal"]["audience"], found["terminal"]["last_delivered"]) == ("people", None)
    assert found["terminal"]["state"] == "new: no server has started with it yet"
    assert old["type"] is None
    assert old["state"] == ("probing because 6 failures in a row: HTTP 500; router.yaml names it no longer")
    table = sinks(database_url, config, "list").out
    assert " 3h " in table
    assert f" {age_of(datetime.now(UTC) - NOW)} ago " in table


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        pytest.param(None, "new: no server has started with it yet", id="new"),
        pytest.param(Condition("crm"), "open", id="open"),
        pytest.param(Condition("crm", failures=4, reason=None), "open", id="not-yet-shut"),
        pytest.param(
            Condition("crm", paused_until=SOON, reason="HTTP 429"),
            "paused until 2026-03-10 13:20:00 because HTTP 429",
            id="paused",
        ),
        pytest.param(Condition("crm", paused_until=NOW, reason="HTTP 429"), "open", id="pause-is-over"),
        pytest.param(
            Condition("crm", is_held=True, paused_until=SOON, reason="they move\x1b[2J"),
            "held by an operator because they move�[2J",
            id="held",
        ),
        pytest.param(Condition("crm", failures=5, paused_until=NOW), "probing after 5 failures", id="probing"),
    ],
)
def test_the_condition_of_a_sink_in_words(condition: Condition | None, words: str) -> None:
    """The strongest of what holds; a reason cannot steer the terminal."""
    assert state_of(condition, NOW) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d")],
)
def test_an_age_as_people_say_it(seconds: int, words: str) -> None:
    """Two of a unit at least, so that it is off by half at most; a clock set back shows nothing negative."""
    assert age_of(timedelta(seconds=seconds)) == words


# --- test ------------------------------------------------------------------------------------------------------------


@contextmanager
def file_with(tmp_path: Path, **blocks: str) -> Iterator[Path]:
    path = tmp_path / "router.yaml"
    lines = ["companies: {acme: {signing_keys: [env:ACME_KEY]}}", "sinks:"]
    path.write_text("\n".join([*lines, *(f"  {name}: {block}" for name, block in blocks.items()), ""]))
    yield path


def webhook(port: int, more: str = "") -> str:
    url = f"http://127.0.0.1:{port}/hook"
    return f"{{type: webhook, url: '{url}', signing_secrets: [env:CRM_SECRET], allow_hosts: [127.0.0.1]{more}}}"


def test_all_sinks_are_tested_and_each_fault_has_its_remedy(tmp_path: Path) -> None:
    """One that works, one that is down, one without its secret: exit code 1, one line each, no traceback."""
    with (
        receiver_in_a_thread() as destination,
        port_nobody_listens_on() as nobody,
        file_with(
            tmp_path,
            good=webhook(destination.port),
            down=webhook(nobody),
            secretless="{type: slack, token: env:NO_SUCH_TOKEN, channel: C0123ABCD}",
        ) as config,
    ):
        ran = sinks("sqlite:///none.db", config, "test")
        rows = orjson.loads(sinks("sqlite:///none.db", config, "test", "-o", "json").out)
        assert destination.requests == []  # nobody is told anything

    assert ran.code == 1
    assert "Traceback" not in ran.err
    said = {block.split(" ", 1)[0]: block for block in ran.out.replace("\n  ", "\t").splitlines()}
    assert said["good"].startswith("good (webhook)\t✓ 127.0.0.1 accepts connections")
    assert said["down"].startswith("down (webhook)\t✗ 127.0.0.1 can be reached\t  no connection")
    assert said["secretless"] == (
        "secretless (slack)\t✗ the environment variable NO_SUCH_TOKEN is not set\t  set it where the router is started"
    )
    assert {row["sink"]: row["ok"] for row in rows} == {"good": True, "down": False, "secretless": False}


def test_only_the_named_sinks_are_tested(tmp_path: Path) -> None:
    """Exit code 0 if they work, whatever others do."""
    with (
        receiver_in_a_thread() as destination,
        port_nobody_listens_on() as nobody,
        file_with(tmp_path, good=webhook(destination.port), down=webhook(nobody)) as config,
    ):
        ran = sinks("sqlite:///none.db", config, "test", "good", "good")

    assert ran.code == 0, ran.err
    assert ran.out.count("good (webhook)") == 1
    assert "down" not in ran.out


def test_a_sink_that_does_not_answer_is_not_waited_for_longer_than_its_timeout(tmp_path: Path) -> None:
    """It connects to nobody, and the command ends."""
    with port_that_accepts_nobody() as port, file_with(tmp_path, slow=webhook(port, ", timeout: 200ms")) as config:
        ran = sinks("sqlite:///none.db", config, "test")

    assert ran.code == 1
    assert ran.out.startswith("slow (webhook)\n  ✗ 127.0.0.1 can be reached\n")


def test_an_unknown_sink_to_test_gets_a_hint(config: Path) -> None:
    """Exit code 2."""
    ran = sinks("sqlite:///none.db", config, "test", "cmr")

    assert (ran.code, ran.out) == (2, "")
    assert "has no sink 'cmr'; did you mean 'crm'?" in ran.err.splitlines()[-1]


# --- pause and resume ------------------------------------------------------------------------------------------------


def test_a_sink_is_paused_and_resumed(database_url: str, config: Path) -> None:
    """The reason is shown; resuming ends every pause and forgets what failed."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            open_lane(conn, "crm")
            save_lane(conn, Condition("crm", failures=7, paused_until=SOON, reason="gone"))

        paused = sinks(database_url, config, "pause", "crm", "--reason", "they move house")
        assert paused.code == 0
        assert "callrail-router sinks resume crm" in paused.out
        assert listed(database_url, config)["crm"]["state"] == "held by an operator because they move house"

        assert sinks(database_url, config, "resume", "crm").code == 0
        (lane,) = rows_of(database, lanes)
    assert (lane.held, lane.paused_until, lane.reason, lane.failures) == (False, None, None, 0)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_sink_that_is_not_there_gets_a_hint(database_url: str, config: Path, verb: str) -> None:
    """Exit code 2, and nothing is made."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            open_lane(conn, "crm")

        mistyped, other = (sinks(database_url, config, verb, name) for name in ("cmr", "zzz"))

        assert mistyped == Ran(2, "", "Error: there is no sink 'cmr'; did you mean 'crm'?\n")
        assert other == Ran(2, "", "Error: there is no sink 'zzz'; a sink is known once a server has started with it\n")
        assert [row.sink for row in rows_of(database, lanes)] == ["crm"]


def test_a_running_server_sends_nothing_to_a_paused_sink(database_url: str, config: Path) -> None:
    """What comes meanwhile waits, and goes when the sink is resumed."""
    with receiver_in_a_thread() as destination:
        destination.behaves(answer(200))
        config.write_text(
            config_text(
                destination.url, rules="  - {id: missed, when: [call.missed], send: [{to: crm}, {to: terminal}]}"
            ).replace("rules:", "  terminal: {type: stdout}\nrules:")
        )
        options = ["--port", "0", "--config", str(config), "--database-url", database_url]
        with running("serve", *options) as server, opened(database_url) as database:
            server.wait_until_it_says("serve.ready")
            assert sinks(database_url, config, "pause", "crm").code == 0
            assert server.post("post_call", b'{"resource_id":"CAL1","call_type":"missed","answered":false}') == 204
            wait_until(
                lambda: [row.state for row in rows_of(database, deliveries) if row.sink == "terminal"] == ["delivered"]
            )
            assert [row.state for row in rows_of(database, deliveries) if row.sink == "crm"] == ["pending"]

            assert sinks(database_url, config, "resume", "crm").code == 0
            wait_until(lambda: len(destination.requests) == 1)
            assert server.end() == 0
