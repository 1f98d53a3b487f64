"""`status` as an operator sees it, and as a program reads it."""

from __future__ import annotations

import signal
from datetime import timedelta

import orjson
import pytest
from sqlalchemy import insert

from receiver.ids import Prefix, first_id, new_id
from receiver.instances import Instance, beat
from routers.schema import DeliveryState, attempts
from tests.routers.running import run_here, running
from tests.routers.store import opened, put_deliveries, real_clock, receive


def fill(url: str) -> None:
    """Two events that wait; three deliveries that wait for the CRM, and one that arrived an hour and more ago."""
    with opened(url) as database, database.writing.begin() as conn:
        now = real_clock(database).now(conn)
        for name in ("CAL1", "CAL2"):
            receive(conn, "post_call", {"resource_id": name})
        waiting = put_deliveries(conn, count=4, now=now - timedelta(minutes=10))
        long_ago = first_id(Prefix.ATTEMPT, now - timedelta(minutes=61))
        for attempt_id, delivery_id in ((long_ago, waiting[0]), (new_id(Prefix.ATTEMPT), waiting[1])):
            tried = {"id": attempt_id, "delivery_id": delivery_id, "started_at": now, "milliseconds": 1}
            conn.execute(insert(attempts).values(tried | {"outcome": "delivered"}))
        beat(conn, Instance.of("all"), now=now)


def test_one_screen_says_what_came_in_waits_and_left(database_url: str) -> None:
    """Each number where the words say what it is."""
    fill(database_url)

    ran = run_here("status", "--database-url", database_url)

    lines = [line.split(maxsplit=1) for line in ran.out.splitlines() if line.strip()]
    said = dict(line for line in lines if len(line) == 2)
    assert ran.code == 0
    assert said["Came"].strip() == "in       2 in the last hour (post_call 2), 2 in a day"
    assert said["To"].startswith("be routed  2, the oldest for ")
    assert said["Failed"].strip() == "0"
    assert said["Processes"].startswith("all on ")
    assert said["crm"].split() == ["4", "10m", "1", "0", "0", "open"]


def test_programs_get_plain_numbers(database_url: str) -> None:
    """The same as JSON."""
    fill(database_url)

    told = orjson.loads(run_here("status", "--database-url", database_url, "-o", "json").out)

    assert told["came_in"] == {"last_hour": 2, "last_day": 2, "by_kind": {"post_call": 2}}
    assert told["to_be_routed"]["events"] == 2
    (sink,) = told["sinks"]
    assert 600 <= sink.pop("oldest_seconds") < 700
    assert sink == {
        "sink": "crm",
        "waiting": 4,
        "sent_last_hour": 1,
        "states": {DeliveryState.PENDING.value: 4},
        "state": "open",
    }


def test_an_empty_database_has_little_to_say(sqlite_url: str) -> None:
    """No sink, no table."""
    ran = run_here("status", "--database-url", sqlite_url)

    assert (ran.code, "sink" in ran.out) == (0, False)
    assert "none has a heartbeat" in ran.out


def test_without_a_database_it_says_what_to_do(tmp_path: object) -> None:
    """And makes none."""
    ran = run_here("status", "--database-url", f"sqlite:///{tmp_path}/none.db")

    assert (ran.code, ran.out) == (1, "")
    assert "run: callrail-router migrate" in ran.err


@pytest.mark.parametrize("output", ["table", "json"])
def test_watching_ends_with_ctrl_c_and_without_a_traceback(sqlite_url: str, output: str) -> None:
    """As the shell expects of what is interrupted."""
    with running("status", "--watch", "-o", output, "--database-url", sqlite_url, stdout_too=True) as process:
        process.wait_until_it_says("heartbeat" if output == "table" else "came_in")
        code = process.end(signal.SIGINT)

    assert code == 130
    assert "Traceback" not in "".join(process.lines)
