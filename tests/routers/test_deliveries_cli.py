"""`deliveries`: narrowed, grouped by cause, shown whole, taken up again and cancelled, on both databases."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, update

from receiver.database import Database
from receiver.ids import Prefix, first_id
from routers.lanes import hold
from routers.schema import DeliveryState, deliveries
from tests.fakes.destination import answer
from tests.fakes.receiver_of_webhooks import ids_of, receiver_in_a_thread
from tests.routers.running import Ran, config_text, run_here, running
from tests.routers.store import opened, put_deliveries, rows_of
from tests.routers.waiting import LONGEST, wait_until

HTTP_500 = "gave up: HTTP 500"
PERSON = "acme:+14045550123"


@dataclass
class Store:
    """A database in which deliveries stand as a test has put them, and the commands run on it."""

    url: str
    config: Path
    database: Database
    ids: dict[str, str] = field(default_factory=dict)

    def put(
        self, name: str, state: DeliveryState, *, sink: str = "crm", ago: timedelta | None = None, **values: Any
    ) -> str:
        """One delivery, made *ago*; `name` finds its id."""
        with self.database.writing.begin() as conn:
            self.ids[name] = put(conn, state, sink, datetime.now(UTC) - (ago or timedelta(minutes=1)), values)
        return self.ids[name]

    def run(self, *words: str, **options: Any) -> Ran:
        environ = {"CALLRAIL_ROUTER_DATABASE_URL": self.url, "CALLRAIL_ROUTER_CONFIG": str(self.config)}
        return run_here("deliveries", *words, environ=environ, **options)

    def json(self, *words: str) -> Any:
        ran = self.run(*words, "-o", "json")
        assert ran.code == 0, ran.err
        return orjson.loads(ran.out)

    def listed(self, *words: str) -> set[str]:
        """The names of those that `list` finds."""
        names = {made: name for name, made in self.ids.items()}
        return {names[row["id"]] for row in self.json("list", *words)}

    def states(self) -> dict[str, str]:
        by_id = {row.id: row.state for row in rows_of(self.database, deliveries)}
        return {name: by_id[made] for name, made in self.ids.items()}


def put(conn: Connection, state: DeliveryState, sink: str, made_at: datetime, values: dict[str, Any]) -> str:
    (made,) = put_deliveries(conn, sink=sink, now=made_at)
    made_then = first_id(Prefix.DELIVERY, made_at)[:_ITS_TIME] + made[_ITS_TIME:]
    conn.execute(update(deliveries).where(deliveries.c.id == made).values(id=made_then, state=state.value, **values))
    return made_then


_ITS_TIME = len("dl_") + 10  # characters of an id in which its time is


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Any:
    """No deliveries yet. router.yaml has the sink crm, and the terminal, which people read."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9").replace("rules:", "  terminal: {type: stdout}\nrules:"))
    with opened(database_url) as database:
        yield Store(database_url, config, database)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_list_is_narrowed_by_every_option(store: Store) -> None:
    """State (several), sink, company, rule, cause, age and the call itself; together they all have to hold."""
    store.put("dead", DeliveryState.DEAD, cause=HTTP_500)
    store.put("old", DeliveryState.DEAD, cause="rejected: HTTP 400", ago=timedelta(days=3))
    store.put("other", DeliveryState.UNCERTAIN, sink="terminal", cause="uncertain", company="globex", rule="other")
    store.put("open", DeliveryState.PENDING)
    call = next(row.object_id for row in rows_of(store.database, deliveries) if row.id == store.ids["open"])

    assert store.listed("--state", "dead", "--state", "uncertain") == {"dead", "old", "other"}
    assert store.listed("--sink", "terminal") == {"other"}
    assert store.listed("--company", "globex") == store.listed("--rule", "other") == {"other"}
    assert store.listed("--cause", HTTP_500) == {"dead"}
    assert store.listed("--cause", "") == {"open"}
    assert store.listed("--since", "2d") == {"dead", "other", "open"}
    assert store.listed("--until", "2d") == {"old"}
    assert store.listed("--since", "2001-05-04T09:30", "--until", "2001-05-05T09:30:00-04:00") == set()
    assert store.listed("--object", f"CAL{call}") == {"open"}
    assert store.listed("--sink", "crm", "--state", "dead", "--since", "2d") == {"dead"}


def test_causes_count_what_failed_and_say_how_to_retry_it(store: Store) -> None:
    """The printed command, typed as it stands, means exactly those of its line."""
    for number in range(3):
        store.put(f"dead-{number}", DeliveryState.DEAD, cause=HTTP_500, ago=timedelta(hours=number + 1))
    store.put("uncertain", DeliveryState.UNCERTAIN, sink="terminal", cause="uncertain")
    store.put("nameless", DeliveryState.DEAD)
    store.put("delivered", DeliveryState.DELIVERED)

    found = store.json("causes")

    counted = {(row["sink"], row["cause"], row["state"]): row["deliveries"] for row in found}
    assert counted == {
        ("crm", HTTP_500, "dead"): 3,
        ("crm", None, "dead"): 1,
        ("terminal", "uncertain", "uncertain"): 1,
    }
    for row in found:
        program, group, *words = shlex.split(row["retry"])
        assert (program, group) == ("callrail-router", "deliveries")
        (planned,) = store.json(*words, "--plan")
        assert (planned["sink"], planned["cause"], planned["deliveries"]) == (
            row["sink"],
            row["cause"],
            row["deliveries"],
        )
    told = store.run("causes").out
    assert f"  {found[-1]['retry']} --plan\n" in told
    assert store.run("causes", "--sink", "none") == Ran(0, "", "Nothing is dead or uncertain.\n")


def test_a_delivery_shows_what_it_waits_for(store: Store) -> None:
    """The one before it, its lane, what it amends and what amends it; its person is masked unless asked for."""
    first = store.put("first", DeliveryState.PENDING, order_key=PERSON, may_repeat=True, attempts=2)
    second = store.put("second", DeliveryState.BLOCKED, order_key=PERSON, amends=first)
    store.put("third", DeliveryState.BLOCKED, order_key=PERSON)
    dead = store.put("dead", DeliveryState.DEAD, cause=HTTP_500)
    with store.database.writing.begin() as conn:
        hold(conn, "crm", "they move house")

    shown = {name: store.json("show", made) for name, made in store.ids.items()}

    assert (shown["first"]["behind"], shown["second"]["behind"], shown["third"]["behind"]) == (None, first, first)
    assert shown["first"]["lane"] == "held by an operator because they move house"
    assert (shown["first"]["may_repeat"], shown["first"]["real_tries"]) == (True, 2)
    assert (shown["first"]["amended_by"], shown["second"]["amends"]) == ([second], first)
    assert (shown["dead"]["cause"], shown["dead"]["lane"], shown["dead"]["behind"]) == (HTTP_500, None, None)
    assert shown["first"]["order_key"] == "acme:…23"
    assert "5550123" not in store.run("show", first).out
    assert store.json("show", first, "--show-personal")["order_key"] == PERSON
    assert store.json("show", dead)["order_key"] is None


# --- retry and cancel ------------------------------------------------------------------------------------------------


def test_a_plan_counts_and_warns_and_changes_nothing(store: Store) -> None:
    """How many are old, who would read them, what may have arrived, and what nobody would send."""
    store.put("dead", DeliveryState.DEAD, cause=HTTP_500)
    store.put("old", DeliveryState.DEAD, cause=HTTP_500, ago=timedelta(hours=25))
    store.put("uncertain", DeliveryState.UNCERTAIN, sink="terminal", cause="uncertain")
    store.put("unnamed", DeliveryState.DEAD, sink="gone", cause=HTTP_500)
    before = rows_of(store.database, deliveries)
    with store.database.writing.begin() as conn:
        hold(conn, "crm", "they move house")

    crm, gone, terminal = store.json("retry", "--state", "dead", "--state", "uncertain", "--plan")

    assert (crm["sink"], crm["cause"], crm["state"]) == ("crm", HTTP_500, "dead")
    assert (crm["deliveries"], crm["older_than_24h"], crm["note"]) == (2, 1, "the sink is paused")
    assert crm["oldest"] < terminal["oldest"]
    assert gone["note"] == "router.yaml names no such sink, so they will wait"
    assert terminal["note"] == "people read it; each may have arrived already"
    assert rows_of(store.database, deliveries) == before


def test_without_router_yaml_a_plan_says_what_it_cannot_know(store: Store) -> None:
    """A broken file does not keep anybody from repairing."""
    store.put("dead", DeliveryState.DEAD)
    store.config.write_text("nonsense")

    ran = store.run("retry", "--state", "dead", "--plan", "-o", "json")

    assert ran.code == 0
    assert "it is not known which sinks people read" in ran.err
    assert store.run("retry", "--state", "dead", "--yes").code == 0
    assert store.states() == {"dead": "pending"}


def test_retry_takes_up_what_failed_and_nothing_else(store: Store) -> None:
    """By default dead and uncertain; expired and cancelled only where they are named."""
    for state in DeliveryState:
        store.put(state.value, state)

    ran = store.run("retry", "--company", "acme", "--yes")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == "2 taken up again; a running server picks this up within a second."
    changed = {"dead": "pending", "uncertain": "pending"}
    assert store.states() == {state.value: changed.get(state.value, state.value) for state in DeliveryState}
    assert store.run("retry", "--state", "expired", "--yes").code == 0
    assert store.states()["expired"] == "pending"
    assert store.states()["cancelled"] == "cancelled"


def test_cancel_ends_what_waits_and_says_what_it_leaves(store: Store) -> None:
    """Pending and blocked; what is on the wire is counted."""
    for state in DeliveryState:
        store.put(state.value, state)

    ran = store.run("cancel", "--rule", "r", "--yes")

    assert ran.code == 0
    assert "1 being sent at this moment, which cannot be called back." in ran.err
    assert "3 cancelled; a running server picks this up" in ran.err
    changed = dict.fromkeys(("pending", "blocked", "leased"), "cancelled")
    assert store.states() == {state.value: changed.get(state.value, state.value) for state in DeliveryState}


def test_ids_are_taken_all_or_none(store: Store) -> None:
    """Several, by any unique beginning. One that cannot be changed keeps the others from being."""
    dead, expired = store.put("dead", DeliveryState.DEAD), store.put("expired", DeliveryState.EXPIRED)
    sending, told = store.put("sending", DeliveryState.SENDING), store.put("delivered", DeliveryState.DELIVERED)
    waits = store.put("pending", DeliveryState.PENDING)

    for words, sentence in [
        (
            ("retry", dead, told),
            f"{told} is delivered; only what is dead, uncertain, expired or cancelled can be taken",
        ),
        (("retry", dead, waits), f"{waits} is pending: it will be sent, and need not be taken up again"),
        (("cancel", waits, sending), f"{sending} is being sent at this moment and cannot be called back; nothing was"),
        (
            ("cancel", waits, dead),
            f"{dead} is dead; only what is pending, blocked or leased can be cancelled; nothing",
        ),
        (("retry", "dl_vvvv"), "there is no delivery dl_vvvv"),
    ]:
        ran = store.run(*words, "--yes")
        assert (ran.code, ran.out) == (1, "")
        assert sentence in ran.err
    assert store.states()["dead"] == "dead"

    assert store.run("retry", dead[:-1], expired, "--yes").code == 0
    assert store.run("cancel", waits, "--yes").code == 0
    assert store.states() == {
        "dead": "pending",
        "expired": "pending",
        "sending": "sending",
        "delivered": "delivered",
        "pending": "cancelled",
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["retry"], "say which to retry: ids, or an option such as --sink", id="nothing-named"),
        pytest.param(["cancel", "--yes"], "say which to cancel: ids, or an option", id="yes-is-no-choice"),
        pytest.param(["retry", "dl_0", "--sink", "crm"], "give ids or options that select, not both", id="both"),
        pytest.param(["retry", "--state", "delivered"], "'delivered' is not one of", id="never-again"),
        pytest.param(["cancel", "--state", "sending"], "'sending' is not one of", id="on-the-wire"),
        pytest.param(["retry", "--since", "noon"], "'noon' is no time; write one like 2h (ago)", id="no-time"),
        pytest.param(["retry", "--sink", "crm"], "there is no terminal to ask at", id="nobody-to-ask"),
    ],
)
def test_a_mistake_changes_nothing(sqlite_url: str, tmp_path: Path, words: list[str], sentence: str) -> None:
    """Exit code 2 and one sentence."""
    with opened(sqlite_url) as database:
        store = Store(sqlite_url, tmp_path / "router.yaml", database)
        store.put("dead", DeliveryState.DEAD)

        ran = store.run(*words, stdin="y\n")

        assert (ran.code, ran.out) == (2, "")
        assert sentence in ran.err.splitlines()[-1]
        assert store.states() == {"dead": "dead"}


def test_where_nothing_is_meant_nothing_is_asked(store: Store) -> None:
    """That is no mistake."""
    assert store.run("retry", "--sink", "crm") == Ran(0, "", "Nothing of that can be taken up again.\n")
    assert store.run("cancel", "--sink", "crm", "--plan") == Ran(0, "", "Nothing of that can be cancelled.\n")
    assert store.json("cancel", "--sink", "crm", "--plan") == []


@pytest.mark.parametrize(("typed", "code", "state"), [("y", 0, "pending"), ("n", 130, "uncertain")])
def test_on_a_terminal_one_is_asked_after_the_plan(
    sqlite_url: str, tmp_path: Path, typed: str, code: int, state: str
) -> None:
    """The question stands below what it is about, and only a yes changes anything."""
    with opened(sqlite_url) as database:
        config = tmp_path / "router.yaml"
        config.write_text(config_text("http://127.0.0.1:9"))
        store = Store(sqlite_url, config, database)
        store.put("old", DeliveryState.UNCERTAIN, cause="uncertain", ago=timedelta(days=2))
        ours, theirs = pty.openpty()
        try:
            os.write(ours, f"{typed}\n".encode())
            done = subprocess.run(
                [Path(sys.executable).with_name("callrail-router"), "deliveries", "retry", "--sink", "crm"],
                stdin=theirs,
                capture_output=True,
                text=True,
                check=False,
                timeout=LONGEST,
                env={
                    **os.environ,
                    "CALLRAIL_ROUTER_DATABASE_URL": sqlite_url,
                    "CALLRAIL_ROUTER_CONFIG": str(config),
                },
            )
        finally:
            os.close(ours)
            os.close(theirs)

        assert done.returncode == code, done.stderr
        plan = "1 uncertain to crm; uncertain; 1 older than 24 h; each may have arrived already\nRetry it? [y/N]: "
        assert plan in done.stderr
        assert store.states() == {"old": state}


def test_a_running_server_sends_what_is_taken_up_again(store: Store) -> None:
    """The CRM was down and is back: its dead letters arrive under their old ids, with no restart."""
    with receiver_in_a_thread() as destination:
        destination.behaves(answer(200))
        store.config.write_text(config_text(destination.url))
        dead = store.put("dead", DeliveryState.DEAD, cause=HTTP_500)
        store.put("other", DeliveryState.DEAD, cause="rejected: HTTP 400")
        options = ["--config", str(store.config), "--database-url", store.url]
        with running("serve", "--role", "dispatch", *options) as server:
            server.wait_until_it_says("serve.ready")

            assert store.run("retry", "--sink", "crm", "--cause", HTTP_500, "--yes").code == 0
            wait_until(lambda: store.states()["dead"] == "delivered")

            assert server.end() == 0
        assert ids_of(destination.requests) == [dead]
    assert store.states()["other"] == "dead"
