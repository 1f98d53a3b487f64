"""`lead show` tells one person's whole story, and `lead undo` takes a merge back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from receiver.database import Database
from routers.leads import Key, KeyKind, lead_of
from routers.objects import claim_received
from routers.routing import route_claimed
from routers.schema import audit, leads, objects, remote_ids
from tests.routers.running import Ran, run_here
from tests.routers.store import NOW, FixedClock, a_rule, opened, receive, rows_of, rule_set

PHONE = "+14045550123"
Shell = Callable[..., Ran]


@pytest.fixture
def shell(database_url: str, tmp_path: Path) -> Shell:
    def run(*arguments: str) -> Ran:
        return run_here(*arguments, environ={"CALLRAIL_ROUTER_DATABASE_URL": database_url})

    return run


@pytest.fixture
def database(database_url: str) -> Any:
    with opened(database_url) as database:
        yield database


def told(database: Database, kind: str, **body: Any) -> None:
    """CallRail tells of something, and it is routed."""
    with database.writing.begin() as conn:
        receive(conn, kind, body)
        route_claimed(conn, claim_received(conn, limit=10), FixedClock(), rule_set(a_rule()), {})


def put_story(database: Database) -> str:
    """Two calls and a text of one person; a CRM has the person and the first call. The lead's id."""
    who = {"customer_phone_number": PHONE, "customer_name": "Ann Lee", "person_resource_id": "PER1"}
    times = ("2026-03-09T10:00:00.000-05:00", "2026-03-10T10:00:00.000-05:00")
    told(database, "post_call", resource_id="CAL1", answered=True, first_call=False, start_time=times[0], **who)
    missed = {"answered": False, "duration": 30, "first_call": True}
    told(database, "post_call", resource_id="CAL2", start_time=times[1], **missed, **who)
    told(database, "text_received", resource_id="MSG1", source_number=PHONE, content="Hi", timestamp=times[1])
    with database.writing.begin() as conn:
        calls = {row.object_id: row.id for row in conn.execute(select(objects))}
        by_phone = lead_of(conn, "acme", [Key(KeyKind.PHONE, PHONE)], object_id=calls["CAL1"], now=NOW)
        lead_of(conn, "acme", [Key(KeyKind.PERSON, "PER1")], object_id=calls["CAL2"], now=NOW)
        both = [Key(KeyKind.PERSON, "PER1"), Key(KeyKind.PHONE, PHONE)]
        lead_of(conn, "acme", both, object_id=calls["CAL2"], now=NOW)
        for subject, kind, remote_id in ((by_phone.id, "contact", "501"), (calls["CAL1"], "call", None)):
            conn.execute(remote_ids.insert().values(sink="crm", subject=subject, kind=kind, remote_id=remote_id))
    return by_phone.id


def test_one_screen_tells_the_whole_story(database: Database, shell: Shell) -> None:
    lead = put_story(database)
    (story,) = json.loads(shell("lead", "show", "(404) 555-0123", "--show-personal", "-o", "json").out)

    assert (story["company"], story["customer_name"], story["lead"]) == ("acme", "Ann Lee", lead)
    assert story["known_by"] == [
        {"key": "person", "person_resource_id": "PER1"},
        {"key": "phone", "customer_phone_number": PHONE},
    ]
    assert [(thing["what"], thing["id"], thing["note"]) for thing in story["happened"]] == [
        ("call answered", "CAL1", "CallRail knows earlier ones; none is stored here"),
        ("call missed", "CAL2", "CallRail calls it the first; an earlier one is stored here"),
        ("text received", "MSG1", None),
    ]
    assert story["called"] == [
        {"sink": "crm", "kind": "call", "id": "nobody knows whether it was created", "of": "CAL1"},
        {"sink": "crm", "kind": "contact", "id": "501", "of": "the person"},
    ]
    assert [(row["sink"], row["state"]) for row in story["waiting"]] == [("crm", "pending")]
    assert [(merge["into"], merge["because_of"]) for merge in story["merges"]] == [(lead, "CAL2")]
    assert json.loads(shell("lead", "show", lead[:20], "--show-personal", "-o", "json").out) == [story]


def test_who_they_are_is_masked_unless_asked_for(database: Database, shell: Shell) -> None:
    put_story(database)
    shown = shell("lead", "show", PHONE).out
    assert "call missed; CallRail calls it the first; an earlier one is stored here" in shown
    assert not [word for word in (PHONE, "4045550123", "Ann", "PER1") if word in shown]


def test_a_merge_is_taken_back_once(database: Database, shell: Shell) -> None:
    put_story(database)
    ((merge,),) = [story["merges"] for story in json.loads(shell("lead", "show", PHONE, "-o", "json").out)]
    undone = shell("lead", "undo", merge["id"])
    assert (undone.code, "are two again" in undone.err) == (0, True)
    again = shell("lead", "undo", merge["id"])
    assert (again.code, "taken back already" in again.err) == (1, True)
    assert [row.merged_into for row in rows_of(database, leads)] == [None, None]
    assert [row.action for row in rows_of(database, audit)] == ["lead undo"]
    (story,) = json.loads(shell("lead", "show", PHONE, "-o", "json").out)
    assert story["merges"][0]["undone_at"]


@pytest.mark.parametrize(
    ("written", "code", "said"),
    [
        ("+14045550177", 1, "nobody with this number is stored"),
        ("ld_0", 1, "there is no lead ld_0"),
        ("Ann Lee", 2, "'Ann Lee' is not an id"),
    ],
)
@pytest.mark.usefixtures("database")
def test_who_is_not_there_is_said(shell: Shell, written: str, code: int, said: str) -> None:
    ran = shell("lead", "show", written)
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_a_merge_that_is_not_there_is_said(database: Database, shell: Shell) -> None:
    ran = shell("lead", "undo", "mg_0")
    assert (ran.code, "there is no merge mg_0" in ran.err) == (1, True)
