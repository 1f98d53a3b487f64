"""The audit: what operators do by hand is noted, with who did it and to what."""

from __future__ import annotations

import getpass
from pathlib import Path

import orjson

from tests.routers.running import config_text, run_here
from tests.routers.store import opened, put_deliveries


def test_what_is_done_by_hand_is_listed_newest_first(database_url: str, tmp_path: Path) -> None:
    """Pausing, resuming, cancelling and retrying; what only looked, or changed nothing, is not."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9"))
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": database_url, "CALLRAIL_ROUTER_CONFIG": str(config)}
    with opened(database_url) as database, database.writing.begin() as conn:
        (made,) = put_deliveries(conn)

    run_here("sinks", "pause", "crm", "--reason", "it moves", environ=environ)
    run_here("sinks", "pause", "nowhere", environ=environ)
    run_here("deliveries", "cancel", made, "--plan", environ=environ)
    run_here("deliveries", "cancel", made, "--yes", environ=environ)
    run_here("deliveries", "retry", "--sink", "crm", "--state", "cancelled", "--yes", environ=environ)
    run_here("sinks", "resume", "crm", environ=environ)

    listed = orjson.loads(run_here("audit", "-o", "json", environ=environ).out)
    assert [(row["action"], row["subject"]) for row in listed] == [
        ("sinks resume", "crm"),
        ("deliveries retry", "states: cancelled; sink: crm"),
        ("deliveries cancel", f"ids: {made}"),
        ("sinks pause", "crm"),
    ]
    assert {row["actor"] for row in listed} == {getpass.getuser()}
    assert [row["details"] for row in listed] == [None, {"changed": 1}, {"changed": 1}, "it moves"]
