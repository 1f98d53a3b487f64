"""What operators read: first answers that do not grow with history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Select, select, text, update

from receiver.database import Database
from receiver.events import newest_events, reach_of_events
from routers import ledger
from routers.ledger import Selection
from routers.schema import OPEN, RETRYABLE, DeliveryState, deliveries
from tests.routers.store import opened, put_deliveries, receive


def plan_of(database: Database, query: Select[tuple[str]]) -> str:
    """How SQLite would find the rows."""
    sql = query.compile(database.reading, compile_kwargs={"literal_binds": True})
    with database.reading.connect() as conn:
        return "\n".join(row.detail for row in conn.execute(text(f"EXPLAIN QUERY PLAN {sql}")))


@pytest.mark.parametrize("state", [*OPEN, *RETRYABLE])
def test_what_waits_or_failed_is_found_by_its_own_index(sqlite_url: str, state: DeliveryState) -> None:
    """And not by going through all that was ever delivered."""
    selection = Selection(states=(state,), sink="crm")
    query = select(deliveries.c.id).where(*selection.conditions()).order_by(deliveries.c.id.desc()).limit(20)

    with opened(sqlite_url) as database:
        plan = plan_of(database, query)

    assert selection.is_indexed
    assert "ix_deliveries_" in plan
    assert "SCAN deliveries USING INDEX sqlite_autoindex" not in plan


def test_what_no_index_finds_is_looked_for_among_the_newest(database_url: str) -> None:
    """The end is told, so that whoever asks can go on from there."""
    now = datetime.now(UTC)
    with opened(database_url) as database, database.writing.begin() as conn:
        (old,) = put_deliveries(conn, sink="old", now=now - timedelta(hours=3))
        ids = put_deliveries(conn, count=4, now=now - timedelta(hours=2))
        conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED.value))
        selection = Selection(sink="old")

        end = ledger.reach(conn, selection, most=3)
        assert end is not None
        assert end[0] == ids[1]
        assert not ledger.newest_deliveries(conn, selection, limit=5, down_to=end[0])
        assert [row.id for row in ledger.newest_deliveries(conn, selection, limit=5)] == [old]
        assert ledger.reach(conn, selection, most=6) is None
        assert ledger.reach(conn, Selection(states=(DeliveryState.DEAD,)), most=3) is None


def test_events_are_looked_for_among_the_newest_too(database_url: str) -> None:
    """By company; before a moment none newer is looked at."""
    with opened(database_url) as database, database.writing.begin() as conn:
        rare = receive(conn, "post_call", {}, company="rare")
        ids = [receive(conn, "post_call", {"n": n}) for n in range(3)]
        later = datetime.now(UTC) + timedelta(hours=1)

        end = reach_of_events(conn, most=3, until=later)
        assert end is not None
        assert end[0] == ids[0]
        assert not newest_events(conn, limit=5, company="rare", down_to=end[0])
        assert [row.id for row in newest_events(conn, limit=5, company="rare", until=later)] == [rare]
        assert not newest_events(conn, limit=5, until=later - timedelta(hours=2))
        assert reach_of_events(conn, most=5) is None
