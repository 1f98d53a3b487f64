"""`quarantine`: listed, shown, verified again and dropped, on both databases, and by the server itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from callrail.signature import sign
from receiver.database import Database
from receiver.events import ReceivedRequest, insert_quarantined
from receiver.ids import Prefix, first_id, new_id
from receiver.instances import Instance, beat
from receiver.key_uses import last_uses
from receiver.schema import Origin, QuarantineReason, events, key_uses, quarantine
from routers.serve import Role
from tests.routers.running import KEY, SECRETS, Ran, config_text, run_here, serving_here
from tests.routers.store import opened, rows_of
from tests.routers.waiting import until

Reason = QuarantineReason
CALLER = "+14045550123"
BODY = orjson.dumps({"resource_id": "CAL1", "call_type": "missed", "answered": False, "customer_phone_number": CALLER})


@dataclass
class Store:
    """A database with what a test has put into quarantine, and the commands run on it."""

    url: str
    config: Path
    database: Database

    def keep(
        self,
        reason: QuarantineReason = Reason.SIGNATURE_WRONG,
        *,
        company: str = "acme",
        key: str | None = KEY,
        ago: timedelta = timedelta(minutes=1),
        body: bytes = BODY,
    ) -> str:
        """One webhook, received *ago* and signed with *key*; its id."""
        at = datetime.now(UTC) - ago
        made = first_id(Prefix.EVENT, at)[:14] + new_id(Prefix.EVENT)[14:]
        request = ReceivedRequest(at, company, "post_call", "application/json", {"user-agent": "CallRail"}, body)
        signature = sign(key.encode(), body) if key is not None else None
        with self.database.writing.begin() as conn:
            insert_quarantined(conn, made, request, reason, signature)
        return made

    def run(self, *words: str, **options: Any) -> Ran:
        environ = {"CALLRAIL_ROUTER_DATABASE_URL": self.url, "CALLRAIL_ROUTER_CONFIG": str(self.config)}
        return run_here("quarantine", *words, environ=environ, **options)

    def json(self, *words: str) -> Any:
        ran = self.run(*words, "-o", "json")
        assert ran.code == 0, ran.err
        return orjson.loads(ran.out)

    def listed(self, *words: str) -> list[str]:
        return [row["id"] for row in self.json("list", *words)]

    def left(self) -> set[str]:
        return {row.id for row in rows_of(self.database, quarantine)}

    def proved(self) -> set[str]:
        return {row.id for row in rows_of(self.database, events) if row.origin == Origin.WEBHOOK}


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Any:
    """Nothing in quarantine yet. router.yaml knows acme, with the key above."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9"))
    with opened(database_url) as database:
        yield Store(database_url, config, database)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_list_is_narrowed_by_every_option(store: Store) -> None:
    """Company, reason and age; newest first, and together they all have to hold."""
    old = store.keep(ago=timedelta(days=3))
    missing = store.keep(Reason.SIGNATURE_MISSING, key=None)
    other = store.keep(Reason.COMPANY_UNKNOWN, company="globex", ago=timedelta(seconds=1))

    assert store.listed() == [other, missing, old]
    assert store.listed("--limit", "1") == [other]
    assert store.listed("--company", "acme") == [missing, old]
    assert store.listed("--reason", "signature_wrong") == [old]
    assert store.listed("--since", "2d") == [other, missing]
    assert store.listed("--since", "2d", "--company", "acme", "--reason", "signature_wrong") == []
    told = store.run("list", "--company", "initech")
    assert told.err.splitlines()[0] == "Nothing of that is in quarantine."


def test_it_is_told_how_full_each_bucket_is(store: Store) -> None:
    """One of each company, and one of all unknown ones together; below the table the same in words."""
    big = b"x" * 2_000_000
    for company in ("globex", "initech"):
        store.keep(Reason.COMPANY_UNKNOWN, company=company, body=big)
    store.keep()

    acme, unknown = store.json("buckets")

    assert (acme["bucket"], acme["webhooks"], acme["of"], acme["full"]) == ("acme", 1, 100_000_000, "0%")
    assert (unknown["bucket"], unknown["webhooks"], unknown["of"]) == ("(unknown companies)", 2, 10_000_000)
    assert (unknown["bytes"] > 4_000_000, unknown["full"]) == (True, "40%")
    assert store.run("list").err == "acme: 1, 0% full\n(unknown companies): 2, 40% full\n"


def test_one_is_shown_with_what_is_probably_wrong(store: Store) -> None:
    """Numbers are masked unless they are asked for, and the signature is not shown at all."""
    made = store.keep()

    shown = store.json("show", made[:20])

    assert (shown["id"], shown["reason"], shown["has_signature"]) == (made, "signature_wrong", True)
    assert shown["what_to_check"].startswith("its signature fits no key of acme. Compare the signing key")
    assert shown["headers"] == {"user-agent": "CallRail"}
    assert shown["body"]["customer_phone_number"] == "…23"
    kept_for = datetime.fromisoformat(shown["kept_until"]) - datetime.fromisoformat(shown["received_at"])
    assert kept_for == timedelta(days=90)
    for output in ("table", "json"):
        told = store.run("show", made, "-o", output).out
        assert CALLER not in told
        assert sign(KEY.encode(), BODY) not in told
    assert store.json("show", made, "--body")["body"] == BODY.decode()
    assert store.json("show", made, "--show-personal")["body"]["customer_phone_number"] == CALLER
    assert store.run("show", "ev_vvv").err == "Error: there is no webhook in quarantine ev_vvv\n"


# --- retry -----------------------------------------------------------------------------------------------------------


def test_what_is_proved_becomes_an_event_and_the_rest_says_why_not(store: Store) -> None:
    """--plan says the same before, and changes nothing."""
    good = {store.keep(), store.keep(Reason.COMPANY_UNKNOWN)}
    wrong = store.keep(key="another key")
    unknown = store.keep(Reason.COMPANY_UNKNOWN, company="globex")

    plan = store.json("retry", "--all", "--plan")

    assert (store.left(), store.proved()) == ({*good, wrong, unknown}, set())
    assert [(row["company"], row["result"], row["webhooks"]) for row in plan] == [
        ("acme", "proved", 2),
        ("acme", "signature_wrong", 1),
        ("globex", "company_unknown", 1),
    ]
    assert plan[2]["what_to_check"].startswith("the server knows no company 'globex'.")

    ran = store.run("retry", "--all", "--yes", "-o", "json")

    assert (ran.code, orjson.loads(ran.out)) == (0, plan)
    assert ran.err == (
        "  4 of 4\n2 proved, 2 left in quarantine.\n"
        "No server that routes is running; they are routed once one is started.\n"
    )
    assert (store.left(), store.proved()) == ({wrong, unknown}, good)


def test_only_what_is_selected_is_verified_again(store: Store) -> None:
    """By id, by company, by reason or by age; and it is said who routes it, if somebody does."""
    first, second, third = (store.keep(ago=timedelta(days=days)) for days in (3, 2, 1))
    store.keep(Reason.COMPANY_UNKNOWN, company="globex")
    with store.database.writing.begin() as conn:
        beat(conn, Instance.of("dispatch"), now=datetime.now(UTC))

    ran = store.run("retry", first, "-y")
    assert ran.err.endswith("1 proved, 0 left in quarantine.\nThe server routes them within a second.\n")
    assert store.proved() == {first}
    assert store.run("retry", "--since", "30h", "-y").code == 0
    assert store.proved() == {first, third}
    assert store.run("retry", "--company", "globex", "-y").err.endswith("0 proved, 1 left in quarantine.\n")
    assert store.run("retry", "--reason", "signature_wrong", "-y").code == 0
    assert store.proved() == {first, second, third}
    assert store.run("retry", "--company", "acme", "-y") == Ran(0, "", "Nothing of that is in quarantine.\n")


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_wrong_use_is_told_and_changes_nothing(store: Store, verb: str) -> None:
    """Nothing named, named in two ways, an id that is not there, and nobody to ask."""
    made = store.keep()

    assert "say which to" in store.run(verb).err
    assert "give ids, or options that select, or --all." in store.run(verb, made, "--company", "acme").err
    assert store.run(verb, "ev_vvv", "-y").err == "Error: there is no webhook in quarantine ev_vvv\n"
    unsure = store.run(verb, "--all", stdin="")
    assert (unsure.code, "look with --plan, then write --yes" in unsure.err) == (2, True)
    assert store.left() == {made}


# --- drop ------------------------------------------------------------------------------------------------------------


def test_what_is_dropped_is_gone(store: Store) -> None:
    """Only what is selected; --plan counts it and leaves it."""
    stays, goes = store.keep(), store.keep(Reason.COMPANY_UNKNOWN, company="globex")

    (plan,) = store.json("drop", "--company", "globex", "--plan")

    assert (plan["company"], plan["reason"], plan["webhooks"]) == ("globex", "company_unknown", 1)
    assert store.left() == {stays, goes}
    assert store.run("drop", "--company", "globex", "--yes") == Ran(0, "", "  1 of 1\n1 removed.\n")
    assert store.left() == {stays}
    assert store.run("drop", stays, "-y").code == 0
    assert (store.left(), store.proved()) == (set(), set())


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_server_with_another_key_proves_and_routes_what_lies_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself, at its start; and the key is noted as used."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    made = store.keep()

    async with serving_here(store.config, store.url, role=Role.DISPATCH):
        await until(lambda: store.proved() == {made})
        await until(lambda: {row.state for row in rows_of(store.database, events)} == {"routed"})
        await until(lambda: rows_of(store.database, key_uses))

    assert (store.left(), store.proved()) == (set(), {made})
    (event,) = (row for row in rows_of(store.database, events) if row.id == made)
    with store.database.reading.connect() as conn:
        assert last_uses(conn) == {("acme", event.key_fingerprint): event.received_at}


@pytest.mark.anyio
async def test_a_dispatcher_without_the_keys_leaves_the_quarantine_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs none to dispatch, so it starts all the same."""
    monkeypatch.setenv("CRM_SECRET", SECRETS["CRM_SECRET"])
    monkeypatch.delenv("ACME_KEY", raising=False)
    made = store.keep()

    async with serving_here(store.config, store.url, role=Role.DISPATCH):
        pass

    with store.database.reading.connect() as conn:
        assert conn.execute(select(quarantine.c.id, quarantine.c.tried_with)).all() == [(made, None)]
