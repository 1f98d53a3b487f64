"""`events retry`: what could not be routed is, after all."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from receiver.schema import EventState, events
from routers.schema import audit
from tests.routers.running import run_here
from tests.routers.store import opened, receive, rows_of


@pytest.fixture
def failed(database_url: str) -> list[str]:
    """Two events that failed, and one that waits to be routed."""
    with opened(database_url) as database, database.writing.begin() as conn:
        for call in ("CAL1", "CAL2", "CAL3"):
            receive(conn, "post_call", {"resource_id": call})
        ids = sorted(row.id for row in conn.execute(events.select()))
        gave_up = {"state": EventState.FAILED.value, "attempts": 5, "reason": "KeyError while routing"}
        conn.execute(update(events).where(events.c.id.in_(ids[:2])).values(gave_up))
    return ids


def states(url: str) -> list[tuple[str, int, str | None]]:
    with opened(url) as database:
        return [(row.state, row.attempts, row.reason) for row in sorted(rows_of(database, events), key=lambda r: r.id)]


def test_all_that_failed_is_tried_as_if_for_the_first_time(database_url: str, failed: list[str]) -> None:
    """Planned first, noted in the audit, and nothing else is touched."""
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": database_url}

    assert run_here("events", "retry", "--all", "--plan", environ=environ).out == "2 would be routed again.\n"
    assert [state for state, _, _ in states(database_url)] == ["failed", "failed", "received"]
    assert run_here("events", "retry", "--all", environ=environ).code == 0

    assert states(database_url) == [("received", 0, None)] * 3
    with opened(database_url) as database:
        assert [(row.action, row.subject) for row in rows_of(database, audit)] == [("events retry", "2 events")]


def test_one_is_named_by_the_beginning_of_its_id_and_must_have_failed(database_url: str, failed: list[str]) -> None:
    """One that has not keeps the others from being changed."""
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": database_url}

    refused = run_here("events", "retry", failed[0], failed[2], environ=environ)
    assert (refused.code, "is received; only what failed" in refused.err) == (1, True)
    assert states(database_url)[0][0] == "failed"

    assert run_here("events", "retry", failed[0], environ=environ).code == 0
    assert [state for state, _, _ in states(database_url)] == ["received", "failed", "received"]


@pytest.mark.parametrize("words", [(), ("--all", "ev_1")])
def test_it_is_said_what_to_retry(sqlite_url: str, words: tuple[str, ...]) -> None:
    ran = run_here("events", "retry", *words, environ={"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url})

    assert (ran.code, "say which events" in ran.err) == (2, True)
