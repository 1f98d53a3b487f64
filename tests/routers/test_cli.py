"""The installed command: what it prints, where, in which form, and with which exit code."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from callrail.payload import read_payload
from receiver.database import open_database
from receiver.schema import events
from routers import leases
from routers.cli import cli, output
from routers.cli.output import print_rows
from routers.lanes import open_lane
from routers.routing import route
from routers.schema import SCHEMA_VERSION, DeliveryState, deliveries
from routers.simulator import Story, life_cycle
from routers.transitions import Transition
from tests.fakes.destination import Destination, answer, hang, port_nobody_listens_on
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread, times_arrived, webhook_of
from tests.routers.running import Process, Ran, config_text, run, run_here, running
from tests.routers.store import NOW, FixedClock, a_rule, opened, receive, rows_of, rule_set, tried
from tests.routers.waiting import wait_until


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, as it is written on the command line."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


@pytest.mark.parametrize("path", [*commands(cli)], ids=lambda path: "-".join(path) or "callrail-router")
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    """What it does and its options, on stdout, and nothing else."""
    help_ = run_here(*path, "--help")

    assert (help_.code, help_.err) == (0, "")
    assert help_.out.startswith(f"Usage: {' '.join(('callrail-router', *path))}")
    sentence = help_.out.split("\n\n")[1].strip()
    assert len(sentence) > 15
    assert sentence[0].isupper()


def test_the_version_is_that_of_the_package() -> None:
    """What an operator is asked for first."""
    assert run("--version").out == "callrail-router, version 0.1.0\n"


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good file whose sink nobody listens at."""
    path = tmp_path / "router.yaml"
    path.write_text(config_text("http://127.0.0.1:9"))
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        pytest.param(["fly"], 2, "No such command 'fly'", id="unknown-command"),
        pytest.param(["events", "list", "--colour"], 2, "No such option", id="unknown-option"),
        pytest.param(["events", "list", "--limit", "0"], 2, "0 is not in the range", id="out-of-range"),
        pytest.param(["events", "list", "-o", "xml"], 2, "'xml' is not one of", id="unknown-output"),
        pytest.param(["events", "list"], 1, "there is no file callrail-router.db; run: callrail-router", id="no-file"),
        pytest.param(
            ["events", "list", "--database-url", "sqlite:///{empty}"],
            1,
            "its tables are missing or those of another version; run: callrail-router migrate",
            id="no-tables",
        ),
        pytest.param(
            ["deliveries", "list", "--database-url", "postgresql://nobody@127.0.0.1:1/none"],
            1,
            "check --database-url",
            id="no-postgresql",
        ),
        pytest.param(
            ["migrate", "--database-url", "postgresql://nobody@127.0.0.1:1/none"],
            1,
            "check --database-url",
            id="migrate-no-postgresql",
        ),
        pytest.param(
            ["migrate", "--database-url", "sqlite:////no/such/folder/x.db"],
            1,
            "unable to open database file; check --database-url",
            id="migrate-no-folder",
        ),
        pytest.param(["migrate", "--database-url", "sqlite://"], 2, "must be a file", id="no-file-named"),
        pytest.param(["migrate", "--database-url", "mysql://x/y"], 2, "mysql is not supported", id="another-database"),
        pytest.param(["serve", "--port", "0"], 2, "router.yaml:1:1: the file cannot be read", id="serve-no-config"),
        pytest.param(["rules", "check"], 2, "router.yaml:1:1: the file cannot be read", id="rules-no-config"),
        pytest.param(
            ["serve", "--host", "203.0.113.1", "--port", "80", "--config", "{config}"],
            2,
            "choose another with --host or --port",
            id="an-address-not-ours",
        ),
        pytest.param(
            ["simulate", "missed", "--config", "{config}", "--company", "globex"], 2, "has no company", id="no-company"
        ),
        pytest.param(["simulate", "happy", "--config", "{config}"], 2, "'happy' is not one of", id="no-story"),
        pytest.param(["simulate", "--speed", "nan", "--config", "{config}"], 2, "nan is no number", id="speed-nan"),
        pytest.param(["simulate", "--gap", "inf", "--config", "{config}"], 2, "inf is not in the range", id="gap-inf"),
        pytest.param(["simulate", "--gap", "nan", "--config", "{config}"], 2, "nan is no number", id="gap-nan"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_exit_code(
    tmp_path: Path, config: Path, arguments: list[str], code: int, sentence: str
) -> None:
    """1: something failed, 2: wrong use. Never a traceback, and stdout stays empty."""
    elsewhere, empty = tmp_path / "elsewhere", tmp_path / "empty.db"
    elsewhere.mkdir()
    empty.touch()

    ran = run(*(part.format(config=config, empty=empty) for part in arguments), cwd=elsewhere)

    assert (ran.code, ran.out) == (code, ""), ran.err
    told = ran.err.splitlines()[-1]
    assert told.startswith("Error: ")
    assert sentence in told
    assert "Traceback" not in ran.err
    assert code == 2 or len(ran.err.splitlines()) == 1
    assert list(elsewhere.iterdir()) == []  # looking makes no file


def test_serving_a_database_that_is_not_migrated_is_refused(tmp_path: Path, config: Path) -> None:
    """Exit code 3, the remedy, and no file is made."""
    path = tmp_path / "new.db"

    ran = run("serve", "--port", "0", "--config", config, "--database-url", f"sqlite:///{path}")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.endswith("does not have the schema of this version; run: callrail-router migrate\n")
    assert not path.exists()


def test_serving_a_database_of_a_newer_version_is_refused(sqlite_url: str, config: Path) -> None:
    """Exit code 3, and no advice to migrate, which could not help."""
    database = open_database(sqlite_url)
    with database.writing.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.dispose()

    ran = run("serve", "--port", "0", "--config", config, "--database-url", sqlite_url)

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.endswith("install the newer version\n")


def test_a_second_dispatcher_of_a_sqlite_file_is_refused(sqlite_url: str, config: Path) -> None:
    """Exit code 3; the first goes on."""
    arguments = ["serve", "--port", "0", "--config", str(config), "--database-url", sqlite_url]
    with running(*arguments) as first:
        assert first.post("post_call", b'{"resource_id":"CAL1"}') == 204

        ran = run(*arguments)

        assert (ran.code, ran.out) == (3, "")
        assert ran.err.startswith("Error: another process dispatches from ")
        assert "Traceback" not in ran.err
        assert first.post("post_call", b'{"resource_id":"CAL2"}') == 204


# --- migrate and rules -----------------------------------------------------------------------------------------------


def test_migrating_says_from_where_to_where(unmigrated_url: str) -> None:
    """And the second time that there is nothing to do."""
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": unmigrated_url}

    assert run("migrate", environ=environ) == Ran(0, f"Migrated from empty to {SCHEMA_VERSION}.\n", "")
    assert run("migrate", environ=environ) == Ran(0, f"Schema {SCHEMA_VERSION}: nothing to do.\n", "")


def test_an_option_beats_the_environment(tmp_path: Path) -> None:
    """And the environment the default."""
    option, variable = tmp_path / "option.db", tmp_path / "variable.db"

    run(
        "migrate",
        "--database-url",
        f"sqlite:///{option}",
        environ={"CALLRAIL_ROUTER_DATABASE_URL": f"sqlite:///{variable}"},
    )

    assert option.exists()
    assert not variable.exists()


def test_right_rules_are_counted(config: Path) -> None:
    """Exit code 0, one line, and one beside it if nobody hears of a sink that fails."""
    hint = "No rule looks at router.sink_down: nobody is told when a sink fails (docs/rules.md, Alarms).\n"

    ran = run_here("rules", "check", "--config", config)

    assert ran == Ran(0, f"{config} is right: 1 company, 1 sink, 1 rule.\n", hint)


def test_a_secret_missing_while_rules_are_checked_is_a_warning(config: Path) -> None:
    """It may be set where the router runs."""
    ran = run_here("rules", "check", "--config", config, environ={"CRM_SECRET": ""})

    assert ran.code == 0
    assert ran.err.startswith(f"Warning: {config}:4:8 (sinks.crm): the environment variable CRM_SECRET is empty")


def test_every_mistake_of_the_rules_is_a_line() -> None:
    """With file, line and column, and exit code 2."""
    path = Path(__file__).parent / "bad_config" / "several_mistakes.yaml"

    ran = run_here("rules", "check", "--config", path)

    assert (ran.code, ran.out) == (2, "")
    assert [line.partition(" (")[0] for line in ran.err.splitlines()] == [
        f"Error: {path}:8:20",
        f"Error: {path}:8:38",
        f"Error: {path}:8:61",
        f"Error: {path}:9:10",
        f"Error: {path}:9:25",
    ]


# --- looking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Looked:
    """A store in which a little has happened, and the ids of what did."""

    url: str
    by_kind: dict[str, str]
    bodies: dict[str, bytes]
    delivered: str
    dead: str

    def show(self, *arguments: str) -> Ran:
        ran = run_here(*arguments, environ={"CALLRAIL_ROUTER_DATABASE_URL": self.url})
        assert ran.code == 0, ran.err
        return ran

    def json(self, *arguments: str) -> Any:
        return orjson.loads(self.show(*arguments, "-o", "json").out)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Looked:
    """A voicemail, a form, a text and a repeat; one delivery that arrived and one that is a dead letter."""
    url = f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path_factory.mktemp('looked') / 'looked.db')}"
    rng = random.Random(5)
    by_kind: dict[str, str] = {}
    bodies: dict[str, bytes] = {}
    with opened(url) as database, database.writing.begin() as conn:
        for story in (Story.VOICEMAIL, Story.FORM, Story.TEXT):
            for posting in life_cycle(story, rng=rng, started_at=NOW, callrail_id=None, company_name="Acme Plumbing"):
                by_kind[posting.kind] = receive(conn, posting.kind, posting.body)
                bodies[posting.kind] = posting.body
        by_kind["repeat"] = receive(conn, "form_submission", bodies["form_submission"])
        rules = rule_set(
            a_rule("voicemails", Transition.CALL_VOICEMAIL),
            a_rule("forms", Transition.FORM_SUBMITTED, send=("terminal",)),
        )
        route(conn, FixedClock(), rules, limit=100)
        open_lane(conn, "crm")
        (held,) = leases.claim_due(conn, sink="crm", now=NOW, lease_until=NOW, instance="in_1", limit=9)
        leases.record(conn, [tried(held, DeliveryState.PENDING, reason="HTTP 500: oops")], now=NOW)
        leases.record(conn, [tried(held, DeliveryState.DELIVERED, reason="HTTP 200")], now=NOW)
        (form,) = leases.claim_due(conn, sink="terminal", now=NOW, lease_until=NOW, instance="in_1", limit=9)
        leases.record(conn, [tried(form, DeliveryState.DEAD, reason="rejected: HTTP 400")], now=NOW)
    return Looked(url, by_kind, bodies, held.id, form.id)


def test_events_are_listed_newest_first(looked: Looked) -> None:
    """With what CallRail calls the thing, and the note of what was odd."""
    rows = looked.json("events", "list")

    assert [row["id"] for row in rows] == sorted(looked.by_kind.values(), reverse=True)
    assert list(rows[0]) == ["id", "received_at", "company", "kind", "state", "object", "note"]
    assert rows[0]["note"] == f"repeats {looked.by_kind['form_submission']}"
    assert {row["state"] for row in rows} == {"routed"}
    ended = next(row for row in rows if row["kind"] == "post_call")
    assert ended["object"] == read_payload(looked.bodies["post_call"]).fields["resource_id"]


def test_a_list_has_the_same_rows_in_every_form(looked: Looked) -> None:
    """ndjson has one line a row; the table has them all, with whole ids: those of one event have one beginning."""
    rows = looked.json("events", "list", "--limit", "3")
    lines = looked.show("events", "list", "--limit", "3", "-o", "ndjson").out.splitlines()
    table = looked.show("events", "list", "--limit", "3").out

    assert [orjson.loads(line) for line in lines] == rows
    assert len(rows) == 3
    for row in rows:
        assert row["id"] in table
        assert row["kind"] in table
    assert "received at" in table


def test_lists_are_narrowed(looked: Looked) -> None:
    """By company, by state, by sink."""
    assert looked.json("events", "list", "--company", "globex") == []
    assert looked.json("events", "list", "--state", "failed") == []
    assert [row["id"] for row in looked.json("deliveries", "list", "--sink", "terminal")] == [looked.dead]
    assert [row["id"] for row in looked.json("deliveries", "list", "--state", "delivered")] == [looked.delivered]
    assert len(looked.json("deliveries", "list")) == 2


def test_a_narrow_terminal_shows_every_column_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cells take more lines; nothing is cut off, and ids stay in one piece."""
    monkeypatch.setattr(output, "_PIPE_WIDTH", 100)
    made, reason = f"ev_{'0123456789' * 2}012345", "paused because the destination asked for it"
    row = {"id": made, "company": "example-plumbing", "kind": "call_routing_complete", "object": "CAL" + "0193d57" * 5}

    print_rows([row | {"at": NOW, "state": "routed", "reason": reason}], output="table", empty="")

    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 100
    assert made in told
    assert "routed" in told
    assert "…" not in told
    assert "".join(column_of(told, "reason").split()) == reason.replace(" ", "")


def column_of(table: str, name: str) -> str:
    """All that stands below the heading of the last column."""
    lines = table.splitlines()
    head = next(index for index, line in enumerate(lines) if name in line)
    return "".join(line[lines[head].index(name) :] for line in lines[head + 1 :] if "─" not in line)


def test_an_empty_list_says_so_beside_the_data(looked: Looked) -> None:
    """On stderr for people; JSON is an empty list and ndjson nothing."""
    narrowed = ("events", "list", "--company", "globex")

    assert looked.show(*narrowed) == Ran(0, "", "No such events.\n")
    assert looked.show(*narrowed, "-o", "ndjson") == Ran(0, "", "")
    assert looked.show("deliveries", "list", "--sink", "none") == Ran(0, "", "No such deliveries.\n")


def test_an_event_shows_what_it_brought_about(looked: Looked) -> None:
    """Object, transitions, verdicts with their reason, and who was told."""
    shown = looked.json("events", "show", looked.by_kind["post_call"])

    assert (shown["object"]["stage"], shown["object"]["outcome"]) == ("ended", "voicemail")
    assert shown["signed_with"] == "01234567"
    ended, voicemail, *_ready = shown["happened"]
    assert (ended["transition"], ended["verdicts"], ended["deliveries"]) == ("call.ended", [], [])
    assert ended["nobody_told"] == "No rule of the company looks at this."
    assert (voicemail["transition"], voicemail["nobody_told"]) == ("call.voicemail", None)
    assert voicemail["verdicts"] == [{"rule": "voicemails", "verdict": "fired", "meaning": "The rule fired."}]
    (told,) = voicemail["deliveries"]
    assert (told["delivery"], told["sink"], told["state"]) == (looked.delivered, "crm", "delivered")


def test_what_nobody_was_told_of_has_a_sentence(sqlite_url: str) -> None:
    """Each verdict too: a condition that did not hold, and what was known too late."""
    body = {"resource_id": "CAL1", "call_type": "missed", "answered": False, "duration": 30, "spam": True}
    with opened(sqlite_url) as database, database.writing.begin() as conn:
        event_id = receive(conn, "post_call", body)
        route(conn, FixedClock(), rule_set(a_rule(unless={"spam": True})), limit=1)
        late = receive(conn, "pre_call", body)
        route(conn, FixedClock(), rule_set(), limit=1)
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}

    ended, missed, _spam = orjson.loads(run_here("events", "show", event_id, "-o", "json", environ=environ).out)[
        "happened"
    ]
    (ringing,) = orjson.loads(run_here("events", "show", late, "-o", "json", environ=environ).out)["happened"]

    assert ended["nobody_told"] == "No rule of the company looks at this."
    assert missed["verdicts"] == [{"rule": "r", "verdict": "unless spam", "meaning": "The exception on spam held."}]
    assert missed["nobody_told"]
    assert ringing["nobody_told"] == "The object was already further when this became known."
    assert "The exception on spam held." in run_here("events", "show", event_id, environ=environ).out


def test_a_repeat_shows_what_it_repeats(looked: Looked) -> None:
    """And that nothing came of it."""
    shown = looked.json("events", "show", looked.by_kind["repeat"])

    assert (shown["repeat_of"], shown["happened"]) == (looked.by_kind["form_submission"], [])


def test_a_delivery_shows_every_try(looked: Looked) -> None:
    """In order, with outcome and reason, and where it stands."""
    shown = looked.json("deliveries", "show", looked.delivered)

    assert [item["reason"] for item in shown["attempts"]] == ["HTTP 500: oops", "HTTP 200"]
    assert (shown["state"], shown["event"], shown["due_at"]) == ("delivered", looked.by_kind["post_call"], None)
    assert shown["verdict"] == "The rule fired."
    dead = looked.show("deliveries", "show", looked.dead).out
    assert "rejected: HTTP 400" in dead
    assert looked.dead in dead


def test_any_unique_beginning_of_an_id_is_taken(looked: Looked) -> None:
    """With its letters or without, in capitals too; what is not unique or not there is said."""
    event_id = looked.by_kind["form_submission"]
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": looked.url}

    for written in (event_id[:-1], event_id[3:], event_id.upper()):
        assert looked.json("events", "show", written)["id"] == event_id
    several = run_here("events", "show", event_id[:6], environ=environ)
    assert (several.code, several.err) == (
        2,
        f"Error: several events begin with {event_id[:6]}; write more of the id\n",
    )
    absent = run_here("events", "show", "ev_vvvv", environ=environ)
    assert (absent.code, absent.err) == (1, "Error: there is no event ev_vvvv\n")
    other = run_here("events", "show", looked.delivered, environ=environ)
    assert (other.code, other.out) == (2, "")
    assert "is not the id of such a row; one begins with ev_" in other.err


def personal(body: bytes) -> set[str]:
    """What of *body* says something of a person, each as it is written there."""
    fields = read_payload(body).fields
    names = ("customer_name", "customer_phone_number", "source_number", "content", "transcription", "recording")
    found = {str(fields[name]) for name in names if fields.get(name)}
    found |= {str(value) for value in (fields.get("form_data") or {}).values()}
    found |= {str(part["phrase"]) for part in fields.get("conversational_transcript") or []}
    return found


@pytest.mark.parametrize("kind", ["pre_call", "post_call", "form_submission", "text_received"])
@pytest.mark.parametrize("output", ["table", "json"])
def test_personal_data_is_masked_unless_asked_for(looked: Looked, kind: str, output: str) -> None:
    """No number, name, text or link with a key is on the screen by mistake; with the option all of it is."""
    secrets = personal(looked.bodies[kind])
    assert secrets

    shown = looked.show("events", "show", looked.by_kind[kind], "-o", output).out
    assert [secret for secret in secrets if secret in shown] == []
    assert "access_key" not in shown

    asked = looked.json("events", "show", looked.by_kind[kind], "--show-personal")["body"]
    assert asked == read_payload(looked.bodies[kind]).fields


def test_a_number_that_a_form_holds_as_a_number_is_masked_too(sqlite_url: str) -> None:
    """A website may send a telephone number without quotes; it used to be shown."""
    with opened(sqlite_url) as database, database.writing.begin() as conn:
        event_id = receive(
            conn, "form_submission", {"resource_id": "FRM1", "form_data": {"phone": 4045550101, "call me": True}}
        )

    ran = run_here("events", "show", event_id, "-o", "json", environ={"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url})

    assert orjson.loads(ran.out)["body"]["form_data"] == {"phone": "…01", "call me": True}


def test_what_a_body_says_cannot_steer_the_terminal(sqlite_url: str) -> None:
    """Escape sequences in a field, also in one that is not personal, are shown as unreadable."""
    body = {
        "resource_id": "CAL\x1b[2J",
        "source": "\x1b]0;owned\x07\nid  ev_forged",
        "new\x07\nid  ev_forged": "\u202e",
    }
    with opened(sqlite_url) as database:
        with database.writing.begin() as conn:
            event_id = receive(conn, "post_call", {**body, "call_type": "missed"})
            route(conn, FixedClock(), rule_set(), limit=1)
        assert len(rows_of(database, events)) == 1
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url}

    for arguments in (["events", "show", event_id], ["events", "list"]):
        ran = run_here(*arguments, environ=environ)
        assert ran.code == 0, ran.err
        assert ran.out.replace("\n", "").isprintable()
        assert "\nid  ev_forged" not in ran.out


# --- running ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def destination() -> Iterator[Destination]:
    with receiver_in_a_thread() as started:
        yield started


@pytest.fixture
def served(database_url: str, destination: Destination, tmp_path: Path) -> Iterator[Process]:
    """`serve` on each database, with one rule for missed calls that tells the destination."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text(destination.url))
    with running("serve", "--port", "0", "--config", config, "--database-url", database_url) as process:
        yield process


def test_simulated_calls_are_taken_and_told(served: Process, destination: Destination, tmp_path: Path) -> None:
    """Signed with the configured key, accepted, routed, delivered; the total says it."""
    url = f"http://127.0.0.1:{served.port}"
    config = tmp_path / "router.yaml"

    ran = run(
        "simulate", "missed", "--count", "2", "--speed", "inf", "--seed", "7", "--config", config, "--url", url, "-q"
    )

    assert ran == Ran(0, "6 webhooks sent, 6 accepted, 0 refused (seed 7).\n", "")
    wait_until(lambda: len(destination.requests) == 2)
    assert {webhook_of(request).type for request in destination.requests} == {"call.missed"}


def test_simulated_calls_that_are_refused_are_a_failure(served: Process, tmp_path: Path) -> None:
    """With another key every answer is 401, and the exit code says that something failed."""
    config = tmp_path / "router.yaml"
    url = f"http://127.0.0.1:{served.port}"

    ran = run(
        "simulate", "form", "--speed", "inf", "--config", config, "--url", url, environ={"ACME_KEY": "another key"}
    )

    assert ran.code == 1
    assert ran.out.startswith("1 webhooks sent, 0 accepted, 1 refused")
    assert "→ 401 form_submission (form)" in ran.err


def test_simulating_to_nobody_is_a_failure_and_no_traceback(tmp_path: Path, config: Path) -> None:
    """Each webhook says why it was not taken."""
    with port_nobody_listens_on() as port:
        ran = run("simulate", "form", "--speed", "inf", "--config", config, "--url", f"http://127.0.0.1:{port}")

    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert ran.err.endswith("start `callrail-router serve`, or name another with --url.\n")
    assert ran.out.startswith("1 webhooks sent, 0 accepted, 1 refused")


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_serve_ends_in_order_with_code_0(served: Process, database_url: str, by: signal.Signals) -> None:
    """What was answered is stored, what was being sent is recorded, nothing is left in anybody's hands."""
    for number in range(5):
        body = {"resource_id": f"CAL{number}", "call_type": "missed", "answered": False, "duration": 30}
        assert served.post("post_call", json.dumps(body).encode()) == 204

    assert served.end(by) == 0

    assert "Traceback" not in "".join(served.lines)
    with opened(database_url) as database:
        assert len(rows_of(database, events)) == 5
        assert not {"leased", "sending"} & {row.state for row in rows_of(database, deliveries)}


def test_serve_says_nothing_of_people_in_its_log(served: Process, destination: Destination) -> None:
    """Ids, kinds and outcomes; no number, no name, no query string and no secret path."""
    destination.behaves(answer(500), answer(200))
    body = {
        "resource_id": "CAL1",
        "call_type": "missed",
        "answered": False,
        "duration": 30,
        "customer_name": "Avery Quill",
        "customer_phone_number": "+14045550101",
    }

    assert served.post("post_call?callernum=+14045550199", json.dumps(body).encode()) == 204
    wait_until(lambda: len(destination.requests) == 2)
    assert served.end() == 0

    log = "".join(served.lines)
    assert "delivery.attempted" in log
    assert [
        word for word in ("Avery", "Quill", "5550101", "5550199", destination.url, "callernum") if word in log
    ] == []


def test_an_intake_stores_and_a_dispatcher_then_routes(
    sqlite_url: str, destination: Destination, tmp_path: Path
) -> None:
    """`--role intake` never routes; `--role dispatch` listens nowhere and does the rest."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text(destination.url))
    options = ["--config", str(config), "--database-url", sqlite_url]
    with running("serve", "--role", "intake", "--port", "0", *options) as intake:
        assert intake.post("post_call", b'{"resource_id":"CAL1","call_type":"missed","answered":false}') == 204
        assert intake.end() == 0
    with opened(sqlite_url) as database:
        assert [row.state for row in rows_of(database, events)] == ["received"]

    with running("serve", "--role", "dispatch", *options) as dispatch:
        dispatch.wait_until_it_says("serve.ready")
        wait_until(lambda: len(destination.requests) == 1)
        assert "Listening" not in "".join(dispatch.lines)
        assert dispatch.end() == 0
    with opened(sqlite_url) as database:
        assert [row.state for row in rows_of(database, deliveries)] == ["delivered"]


def test_what_is_being_sent_when_serve_is_killed_is_sent_once_more_under_its_id(
    sqlite_url: str, destination: Destination, tmp_path: Path
) -> None:
    """Killed while the sink holds the request: the next start sends it again, marked, and the receiver can tell."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text(destination.url))
    options = ["serve", "--port", "0", "--config", str(config), "--database-url", sqlite_url]
    destination.behaves(hang, answer(200))
    with running(*options) as process:
        assert process.post("post_call", b'{"resource_id":"CAL1","call_type":"missed","answered":false}') == 204
        wait_until(lambda: len(destination.requests) == 1)
        process.kill()
    with running(*options) as process:
        wait_until(lambda: len(destination.requests) == 2)
        assert process.end() == 0

    assert list(times_arrived(destination.requests).values()) == [2]


@pytest.mark.long
def test_the_demo_shows_messages_and_ends(tmp_path: Path) -> None:
    """No account, key or server: messages on stdout, progress on stderr; a second run goes on with the same file."""
    database = f"sqlite:///{tmp_path / 'demo.db'}"
    arguments = ["demo", "--once", "--port", "0", "--speed", "2000", "--database-url", database]

    once, again = run(*arguments), run(*arguments)

    for ran in (once, again):
        assert ran.code == 0, ran.err
        heads = {line for line in ran.out.splitlines() if line.startswith("●")}
        assert {"● Slack #plumbing-calls", "● Mail from calls@example.com to office@example.com"} <= heads
        for title in ("Missed call", "New voicemail", "Caller hung up", "Text received", "Form submitted"):
            assert f"\n  {title} · " in ran.out
        assert "→ 204 post_call (missed)" in ran.err
        assert "Traceback" not in ran.err
    with opened(database) as stored:
        assert {row.state for row in rows_of(stored, events)} == {"routed"}
        assert {row.state for row in rows_of(stored, deliveries)} <= {"delivered", "superseded"}
        assert len([row for row in rows_of(stored, deliveries) if row.state == "delivered"]) >= 16


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["evnts"], "events"),
        (["events", "lst"], "list"),
        (["api", "cals"], "calls"),
        (["api", "tags", "creat"], "create"),
    ],
)
def test_a_command_that_is_not_known_names_the_nearest(words: list[str], meant: str) -> None:
    ran = run_here(*words)
    assert ran.code == 2
    assert f"Did you mean '{meant}'?" in ran.err
