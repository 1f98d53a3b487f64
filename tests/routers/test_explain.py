"""`explain`: why each rule fired or did not, for events, transitions, deliveries and the webhook in a file."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, update

from receiver.database import Database
from receiver.schema import events
from routers import explaining, ledger
from routers.config import read_config
from routers.deciding import Occasion
from routers.explaining import Kept, Occurrence, Past, Stored, Telling, Told, Why
from routers.history import occurrence_of, zones_then
from routers.lifecycle import Happened, Object
from routers.routing import route
from routers.rules.ruleset import FIRED, Rule, RuleSet, To
from routers.schema import DeliveryState, deliveries, transitions, versions
from routers.transitions import Transition
from routers.zones import remember_zone, told_zones
from tests.routers.running import Ran, run, run_here
from tests.routers.store import FixedClock, a_rule, opened, receive, rows_of, rule_set

MISSED, VOICEMAIL = Transition.CALL_MISSED, Transition.CALL_VOICEMAIL
DOCS = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()

CONFIG = """\
companies:
  acme: {signing_keys: [env:ACME_KEY], hours: office, time_zone: America/New_York, alerts: phones}
  globex: {signing_keys: [env:ACME_KEY], hours: office}
hours:
  office: {mon-fri: "08:00-18:00"}
sinks:
  phones: {type: stdout}
  book: {type: stdout}
rules:
  - id: missed-open
    name: Missed call while we are open
    when: [call.missed, call.voicemail]
    if: {hours: open, first_call: true}
    send: [{to: alerts}]
  - id: by-area
    when: [call.missed]
    if: {duration: {gt: 60}, customer_phone_number: {prefix: "+1770"}}
    send: [{to: book}]
  - id: heard
    companies: [acme]
    when: [call.voicemail]
    send: [{to: book}]
"""
SATURDAY = {
    "resource_id": "CAL1",
    "answered": False,
    "call_type": "missed",
    "duration": 30,
    "first_call": True,
    "start_time": "2026-03-14T10:00:00-04:00",
    "customer_phone_number": "+14045550101",
}
VOICE = {**SATURDAY, "resource_id": "CAL2", "call_type": "voicemail", "voicemail": True, "duration": 90}
OPENS = "if hours: is closed, wanted open; opens Mon 08:00"


@dataclass(frozen=True)
class Asked:
    """A configuration and a database to ask about."""

    config: Path
    url: str

    def explain(self, *arguments: str | Path) -> Ran:
        ran = run_here("explain", "--config", self.config, "--database-url", self.url, *arguments)
        assert "Traceback" not in ran.err
        return ran

    def text(self, *arguments: str | Path) -> str:
        ran = self.explain(*arguments)
        assert (ran.code, ran.err) == (0, "")
        return ran.out

    def data(self, *arguments: str | Path) -> Any:
        return orjson.loads(self.text(*arguments, "-o", "json"))

    def route(self, database: Database, kind: str, body: dict[str, Any], *, company: str = "acme") -> str:
        """Store and route one event as the server does; its id."""
        with database.writing.begin() as conn:
            event_id = receive(conn, kind, body, company=company)
            route(conn, FixedClock(), read_config(self.config).rules, limit=9)
        return event_id


def asked_in(folder: Path, url: str, config: str = CONFIG) -> Asked:
    path = folder / "router.yaml"
    path.write_text(config)
    return Asked(path, url)


@pytest.fixture
def asked(database_url: str, tmp_path: Path) -> Asked:
    """On each database."""
    return asked_in(tmp_path, database_url)


@pytest.fixture
def on_sqlite(sqlite_url: str, tmp_path: Path) -> Asked:
    return asked_in(tmp_path, sqlite_url)


def transition(data: Any, name: str) -> Any:
    (found,) = (item for item in data["transitions"] if item["transition"] == name)
    return found


def rules_in(found: Any) -> dict[str, Any]:
    return {rule["rule"]: rule for rule in found["rules"]}


# --- what is stored --------------------------------------------------------------------------------------------------


def test_an_event_is_explained_rule_by_rule(asked: Asked) -> None:
    """What happened, when on the company's clock, which condition failed on which value, and what was nearest."""
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", SATURDAY)

    found = asked.data(event_id)

    assert (found["object"]["type"], found["object"]["id"]) == ("call", "CAL1")
    assert [item["transition"] for item in found["transitions"]] == ["call.ended", "call.missed"]
    missed = transition(found, "call.missed")
    assert missed["local_time"] == "2026-03-14T10:00:00-04:00"
    rules = rules_in(missed)
    assert [(rule["fired"], rule["misses"]) for rule in rules.values()] == [
        (False, [OPENS]),
        (
            False,
            [
                "if duration: is 30, wanted more than 60",
                "if customer_phone_number: is …01, wanted one that starts with '+1770'",
            ],
        ),
    ]
    assert rules["missed-open"]["then"] == "if hours"
    assert rules["missed-open"]["then_sentence"] == "The condition on hours did not hold."
    assert missed["nearest"] == f"missed-open would have fired, but: {OPENS}"
    assert missed["rules_changed"] is False
    assert missed["nobody_told"]


def test_where_no_rule_looks_those_that_look_near_are_named(asked: Asked) -> None:
    """The person sees at once that the rule asks for another transition."""
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", SATURDAY)

    ended = transition(asked.data(event_id), "call.ended")

    assert (ended["rules"], ended["nearest"]) == ([], None)
    assert ended["nobody_told"] == "No rule of the company looks at this."
    assert [(one["rule"], one["when"]) for one in ended["looking_at_others"]] == [
        ("missed-open", ["call.missed", "call.voicemail"]),
        ("by-area", ["call.missed"]),
        ("heard", ["call.voicemail"]),
    ]
    assert "No rule looks at call.ended of acme. These rules look at other transitions:" in asked.text(event_id)


def test_what_was_stored_stands_beside_what_the_rules_say_now(asked: Asked) -> None:
    """A delivery is shown with its state, and a changed file is told as such."""
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", VOICE)
        (delivery,) = rows_of(database, deliveries)
    asked.config.write_text(CONFIG.replace("id: heard", "id: listened"))

    voicemail = transition(asked.data(event_id), "call.voicemail")

    rules = rules_in(voicemail)
    assert voicemail["rules_changed"] is True
    assert voicemail["nobody_told"] is None
    assert (rules["listened"]["fired"], rules["listened"]["then"]) == (True, None)
    assert rules["listened"]["then_sentence"] == "It did not look at this then."
    assert (rules["heard"]["fired"], rules["heard"]["sentence"]) == (None, "There is no such rule any more.")
    assert rules["heard"]["then"] == FIRED
    assert [(told["id"], told["state"]) for told in rules["heard"]["deliveries"]] == [(delivery.id, "pending")]
    text = asked.text(event_id)
    assert "The rules have changed since" in text
    assert f"then: The rule fired. book: pending ({delivery.id})" in text


def test_an_id_that_a_rule_had_before_is_still_the_rule(asked: Asked) -> None:
    """`was` keeps what is stored with the rule that got a new id."""
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", VOICE)
    asked.config.write_text(CONFIG.replace("id: heard", "id: listened\n    was: [heard]"))

    rules = rules_in(transition(asked.data(event_id), "call.voicemail"))

    assert list(rules) == ["missed-open", "listened"]
    assert (rules["listened"]["then"], len(rules["listened"]["deliveries"])) == (FIRED, 1)


def test_a_transition_alone_is_explained_by_its_id(asked: Asked) -> None:
    """Any unique part of it, and only that transition."""
    with opened(asked.url) as database:
        asked.route(database, "post_call", SATURDAY)
        ended, missed = rows_of(database, transitions)

    found = asked.data(missed.id[:-1] if missed.id[:-1] != ended.id[:-1] else missed.id)

    assert [(item["id"], item["transition"]) for item in found["transitions"]] == [(missed.id, "call.missed")]
    assert found["event"]["kind"] == "post_call"


def test_a_delivery_is_explained_with_its_rule_first(asked: Asked) -> None:
    """Its state, reason and tries, then the rule that made it, then the others."""
    with opened(asked.url) as database:
        asked.route(database, "post_call", VOICE)
        (delivery,) = rows_of(database, deliveries)

    found = asked.data(delivery.id)

    assert (found["delivery"]["rule"], found["delivery"]["state"], found["delivery"]["attempts"]) == (
        "heard",
        "pending",
        [],
    )
    (voicemail,) = found["transitions"]
    assert [(rule["rule"], rule["fired"]) for rule in voicemail["rules"]] == [("heard", True), ("missed-open", False)]
    assert asked.text(delivery.id).startswith(f"{delivery.id}: the rule heard tells book\n  pending, next try due ")


def test_a_rule_that_has_spoken_of_the_call_is_told_as_such(asked: Asked) -> None:
    """It speaks once: its conditions hold at the voicemail too, and the earlier telling is named."""
    config = CONFIG.replace("if: {hours: open, first_call: true}", "if: {first_call: true}")
    asked.config.write_text(config)
    with opened(asked.url) as database:
        asked.route(database, "post_call", SATURDAY)
        with database.writing.begin() as conn:
            conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED.value))
        event_id = asked.route(database, "call_modified", {**VOICE, "resource_id": "CAL1"})

    rule = rules_in(transition(asked.data(event_id), "call.voicemail"))["missed-open"]

    assert (rule["fired"], rule["reason"], rule["then"]) == (False, "already told", "already told")
    assert rule["sentence"] == "It has spoken of this call at call.missed, and it speaks once."


CORRECTED = """
  - {id: any-end, when: [call.missed, call.voicemail, call.corrected], send: [{to: book}]}
"""


def test_a_delivery_that_turned_says_what_it_was_made_for(asked: Asked) -> None:
    """Made for a missed call, it tells the voicemail that the call proved to be; each side and the delivery say so."""
    asked.config.write_text(CONFIG.partition("rules:")[0] + "rules:" + CORRECTED)
    with opened(asked.url) as database:
        first = asked.route(database, "post_call", SATURDAY)
        second = asked.route(database, "call_modified", {**VOICE, "resource_id": "CAL1"})
        (delivery,) = rows_of(database, deliveries)
    made = "made for this, tells call.voicemail since the outcome was corrected"
    tells = "made for call.missed, tells this since the outcome was corrected"

    missed, voicemail = transition(asked.data(first), "call.missed"), transition(asked.data(second), "call.voicemail")
    of_delivery = asked.data(delivery.id)

    assert missed["nobody_told"] == (
        "The outcome was corrected before this was sent; what was made for it tells call.voicemail."
    )
    assert (voicemail["nobody_told"], rules_in(voicemail)["any-end"]["reason"]) == (None, "already told")
    (turned,), (now,) = rules_in(missed)["any-end"]["deliveries"], rules_in(voicemail)["any-end"]["deliveries"]
    assert (turned["id"], turned["tells"], turned["made_for"]) == (delivery.id, "call.voicemail", None)
    assert (now["id"], now["tells"], now["made_for"]) == (delivery.id, None, "call.missed")
    assert f"book: pending ({delivery.id}), {made}" in asked.text(first)
    assert f"book: pending ({delivery.id}), {tells}" in asked.text(second)
    assert of_delivery["delivery"]["note"] == tells
    assert [item["transition"] for item in of_delivery["transitions"]] == ["call.voicemail"]
    notes: dict[str, list[str]] = {}
    for event_id in (first, second):
        shown = orjson.loads(run_here("events", "show", event_id, "-o", "json", "--database-url", asked.url).out)
        notes |= {item["transition"]: [one["note"] for one in item["deliveries"]] for item in shown["happened"]}
    assert (notes["call.missed"], notes["call.voicemail"], notes["call.corrected"]) == ([made], [tells], [])
    of_one = orjson.loads(run_here("deliveries", "show", delivery.id, "-o", "json", "--database-url", asked.url).out)
    assert (of_one["note"], of_one["verdict"]) == (tells, "The rule fired.")


def test_what_is_known_too_late_is_told_as_such(asked: Asked) -> None:
    """A pre-call behind its post-call is recorded and no rule is asked."""
    with opened(asked.url) as database:
        asked.route(database, "post_call", SATURDAY)
        event_id = asked.route(database, "pre_call", SATURDAY)

    (ringing,) = asked.data(event_id)["transitions"]

    assert (ringing["transition"], ringing["rules"], ringing["unmatched"]) == ("call.ringing", [], None)
    assert ringing["nobody_told"] == "The object was already further when this became known."


def test_events_that_brought_nothing_about_say_why(asked: Asked) -> None:
    """One that repeats another, one that waits, one that could not be routed."""
    with opened(asked.url) as database:
        first = asked.route(database, "post_call", SATURDAY)
        repeat = asked.route(database, "post_call", SATURDAY)
        with database.writing.begin() as conn:
            waiting, failed = (receive(conn, "post_call", {"resource_id": id_}) for id_ in ("CAL8", "CAL9"))
            conn.execute(update(events).where(events.c.id == failed).values(state="failed", reason="KeyError"))

    notes = [asked.data(event_id)["notes"] for event_id in (repeat, waiting, failed)]

    assert notes == [
        [f"Nothing new happened: it repeats {first}. Explain that one."],
        ["Nothing happened yet: it waits to be routed. If it goes on waiting, no dispatcher is running."],
        ["Nothing happened: it could not be routed (KeyError)."],
    ]


def test_a_zone_that_was_told_later_changes_no_verdict(asked: Asked) -> None:
    """The rules that were asked say what they said, and the remedy is told; others know the zone."""
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", SATURDAY, company="globex")
        with database.writing.begin() as conn:
            remember_zone(conn, "globex", "America/Chicago")
    then = asked.data(event_id)
    asked.config.write_text(CONFIG + "# changed\n")
    now = asked.data(event_id)

    assert then["notes"] == [
        f"No time zone of globex was known, so hours was not told; write time_zone: under globex in {asked.config}."
    ]
    assert rules_in(transition(then, "call.missed"))["missed-open"]["misses"] == ["if hours: not told yet"]
    assert now["notes"] == []
    assert transition(now, "call.missed")["local_time"] == "2026-03-14T09:00:00-05:00"
    assert rules_in(transition(now, "call.missed"))["missed-open"]["misses"] == [OPENS]


def test_what_was_changed_is_told_from_the_stored_details(asked: Asked) -> None:
    """A change with what stood there before, as routing keeps it with the transition."""
    asked.config.write_text(
        CONFIG + "  - {id: tagged, when: [call.changed], if: {tags: {added: vip}}, send: [{to: book}]}\n"
    )
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", {**SATURDAY, "tags": ["new"]})
        with database.writing.begin() as conn:
            details = {"changes": ["tags"], "$before": {"tags": []}}
            changed = transitions.c.name == MISSED.value
            conn.execute(update(transitions).where(changed).values(name="call.changed", details=details))

    rule = rules_in(transition(asked.data(event_id), "call.changed"))["tagged"]

    assert rule["misses"] == ["if tags: was empty, is new, wanted one that gained vip"]


def test_what_another_version_stored_is_shown_as_it_is(asked: Asked) -> None:
    """Reasons this version does not know, a transition without its version, a transition with a new name."""
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", SATURDAY)
        ended, missed = rows_of(database, transitions)
        strange = {"verdicts": {"missed-open": "held back until noon"}, "reason": "moon phase", "version": 99}
        with database.writing.begin() as conn:
            conn.execute(update(transitions).where(transitions.c.id == missed.id).values(**strange))
            conn.execute(update(transitions).where(transitions.c.id == ended.id).values(name="call.teleported"))

    (found,) = asked.data(event_id)["transitions"]

    assert found["nobody_told"] == "moon phase"
    assert (found["rules"][0]["fired"], found["rules"][0]["then_sentence"]) == (None, "held back until noon")
    assert "What was known then is not stored, so no rule can be asked again." in asked.text(event_id)
    assert asked.explain(ended.id).err == (
        "Error: call.teleported is known to another version of callrail-router only; use that one\n"
    )
    shown = run_here("events", "show", event_id, "-o", "json", "--database-url", asked.url)
    assert [item["nobody_told"] for item in orjson.loads(shown.out)["happened"]] == [
        "No rule of the company looks at this.",
        "moon phase",
    ]


# --- a trial ---------------------------------------------------------------------------------------------------------


def test_a_trial_asks_other_rules_and_says_that_nothing_is_sent(asked: Asked, tmp_path: Path) -> None:
    """What they would say stands beside what was stored; the store is as it was."""
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.replace("hours: open, ", ""))
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", SATURDAY)
        text = asked.text(event_id, "--rules", other)
        found = asked.data(event_id, "--rules", other)
        assert rows_of(database, deliveries) == []

    assert text.startswith(f"A trial: these are the rules of {other}. Nothing is sent.\n")
    assert "✓ missed-open (Missed call while we are open) fires, to phones (role alerts)" in text
    assert "The rules have changed since" not in text
    assert found["is_trial"] is True
    assert rules_in(transition(found, "call.missed"))["missed-open"]["then"] == "if hours"


def test_a_trial_knows_what_its_own_rules_said_before(on_sqlite: Asked, tmp_path: Path) -> None:
    """Of two transitions of one event a rule that speaks once tells the first."""
    body = tmp_path / "call.json"
    body.write_bytes(orjson.dumps(SATURDAY))
    on_sqlite.config.write_text(
        CONFIG + "  - {id: over, when: [call.ended, call.missed], send: [{to: book}]}\n",
    )

    found = on_sqlite.data("--file", body, "--kind", "post_call", "--company", "acme")

    said = [rules_in(transition(found, name))["over"] for name in ("call.ended", "call.missed")]
    assert [(rule["fired"], rule["reason"]) for rule in said] == [(True, "fired"), (False, "already told")]
    assert said[1]["sentence"] == "It has spoken of this call at call.ended, and it speaks once."


# --- a file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "form"])
def test_a_webhook_in_a_file_is_explained_without_a_database(tmp_path: Path, form: str) -> None:
    """JSON or form, as CallRail posts it; no database is made."""
    asked = asked_in(tmp_path, f"sqlite:///{tmp_path / 'none.db'}")
    body = tmp_path / "body"
    told = {name: str(value).lower() if value is False or value is True else value for name, value in SATURDAY.items()}
    body.write_bytes(orjson.dumps(SATURDAY) if form == "json" else urlencode(told).encode())

    found = asked.data("--file", body, "--kind", "post-call", "--company", "acme")

    missed = transition(found, "call.missed")
    assert [rule["misses"][0] for rule in missed["rules"]] == [OPENS, "if duration: is 30, wanted more than 60"]
    assert (missed["nobody_told"], missed["rules"][0]["then"]) == (None, None)
    (note,) = found["notes"]
    assert note == (
        "It is taken as the first that is told of its object, and as received when that happened. "
        "Nothing is stored and nothing sent."
    )
    assert not (tmp_path / "none.db").exists()


def test_a_webhook_in_a_file_that_is_old_says_whom_it_would_not_reach_now(on_sqlite: Asked, tmp_path: Path) -> None:
    """The rules are asked as on the day it happened; what would be late today is named."""
    body = tmp_path / "call.json"
    body.write_bytes(orjson.dumps(VOICE))

    found = on_sqlite.data("--file", body, "--kind", "post_call", "--company", "acme")

    assert rules_in(transition(found, "call.voicemail"))["heard"]["fired"] is True
    assert found["notes"][1:] == ["Received now it would be late (max_age or expires), and tell less: heard."]


def test_a_webhook_is_read_from_stdin_and_told_in_one_line(on_sqlite: Asked) -> None:
    """`--file -`, and ndjson for a pipe."""
    arguments = ["explain", "--config", str(on_sqlite.config), "--database-url", on_sqlite.url, "-o", "ndjson"]
    arguments += ["--file", "-", "--kind", "post_call", "--company", "acme"]

    ran = run(*arguments, stdin=orjson.dumps(SATURDAY).decode())

    assert (ran.code, ran.err) == (0, "")
    (line,) = ran.out.splitlines()
    assert [item["transition"] for item in orjson.loads(line)["transitions"]] == ["call.ended", "call.missed"]


def test_a_zone_that_calls_told_is_used_for_a_file(on_sqlite: Asked, tmp_path: Path) -> None:
    """If there is a database, it says where the company is."""
    body = tmp_path / "call.json"
    body.write_bytes(orjson.dumps(SATURDAY))
    with opened(on_sqlite.url) as database, database.writing.begin() as conn:
        remember_zone(conn, "globex", "America/Chicago")

    found = on_sqlite.data("--file", body, "--kind", "post_call", "--company", "globex")

    assert transition(found, "call.missed")["local_time"] == "2026-03-14T09:00:00-05:00"


def test_a_body_that_is_of_another_kind_is_told_as_such(on_sqlite: Asked, tmp_path: Path) -> None:
    """The body's shape decides, as it does for what is received."""
    body = tmp_path / "text.json"
    body.write_bytes(orjson.dumps({"resource_id": "TXT1", "content": "Hello", "source_number": "4045550101"}))

    found = on_sqlite.data("--file", body, "--kind", "post_call", "--company", "acme")

    assert found["notes"][-1] == "You wrote --kind post_call, but the body looks like text_received."
    assert [item["transition"] for item in found["transitions"]] == ["text.received"]


# --- personal data ---------------------------------------------------------------------------------------------------


def test_what_is_personal_is_masked_unless_asked_for(asked: Asked) -> None:
    """Numbers, names and texts in what a rule found and in what was before; values of the file are not."""
    config = CONFIG + (
        "  - id: people\n"
        "    when: [call.missed, call.changed]\n"
        "    if:\n"
        "      customer_phone_number: '+17705550199'\n"
        "      customer_name: {contains: Smith}\n"
        "      any: [{note: {changed: true}}, {source: Yelp}]\n"
        "    send: [{to: book}]\n"
    )
    asked.config.write_text(config)
    body = {**SATURDAY, "customer_name": "Avery Quill", "note": "owes us money", "source": "Google Ads"}
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", body)
        details = {"changes": ["note"], "$before": {"note": "pays well"}}
        with database.writing.begin() as conn:
            conn.execute(update(transitions).where(transitions.c.name == MISSED.value).values(details=details))

    secrets = ["4045550101", "Avery", "Quill", "owes", "pays"]
    for output in ("table", "json"):
        masked = asked.text(event_id, "-o", output)
        assert [secret for secret in secrets if secret in masked] == []
        assert "+17705550199" in masked
    rule = rules_in(transition(asked.data(event_id, "--show-personal"), "call.missed"))["people"]
    assert rule["misses"] == [
        "if customer_phone_number: is +14045550101, wanted +17705550199",
        "if customer_name: is Avery Quill, wanted one that contains 'Smith'",
    ]
    assert "if note: was pays well, is owes us money, wanted one that changed" in rule["findings"]


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        pytest.param(["ev_0000"], 1, "there is no event ev_0000", id="no-event"),
        pytest.param(["tr_0000"], 1, "there is no transition tr_0000", id="no-transition"),
        pytest.param(["0000"], 1, "there is no event, transition or delivery 0000", id="nothing"),
        pytest.param(["{several}"], 2, "several events begin with {several}; write more of the id", id="ambiguous"),
        pytest.param(["7777"], 2, "several events, transitions or deliveries begin with 7777; write", id="of-any"),
        pytest.param(["at_1"], 2, "'at_1' is the id of nothing that can be explained; write one", id="letters"),
        pytest.param(["dl_xyz"], 2, "'dl_xyz' is not an id; one looks like dl_ and up to 26 of 0-9", id="no-id"),
        pytest.param([], 2, "Name one thing to explain: an id like ev_06h10chs, or a webhook", id="neither"),
        pytest.param(["ev_1", "--file", "{call}"], 2, "Name one thing to explain", id="both"),
        pytest.param(["ev_1", "--kind", "post_call"], 2, "say what is in a file; write --file too", id="kind-alone"),
        pytest.param(["--file", "{call}"], 2, "write one, like --kind post_call", id="no-kind"),
        pytest.param(["--file", "{call}", "--kind", "post_cal"], 2, "did you mean 'post_call'?", id="unknown-kind"),
        pytest.param(["--file", "{call}", "--kind", "zzz"], 2, "There is no kind 'zzz'; there are: pre_call", id="zzz"),
        pytest.param(["--file", "{call}", "--kind", "post_call"], 2, "--company; there are: acme, globex", id="whose"),
        pytest.param(
            ["--file", "{call}", "--kind", "post_call", "--company", "acmee"],
            2,
            "has no company 'acmee'; did you mean 'acme'?",
            id="unknown-company",
        ),
        pytest.param(
            ["--file", "{empty}", "--kind", "post_call", "--company", "acme"],
            2,
            "is no webhook: the body is empty; write the raw body CallRail posts, JSON or form",
            id="empty-file",
        ),
        pytest.param(
            ["--file", "{prose}", "--kind", "post_call", "--company", "acme"],
            2,
            "is no webhook: the body is not valid JSON",
            id="prose",
        ),
        pytest.param(
            ["--file", "{empty}.json", "--kind", "post_call", "--company", "acme"],
            2,
            "No such file or directory",
            id="no-file",
        ),
        pytest.param(["ev_1", "--rules", "{prose}"], 2, "{prose}:1:1", id="no-rules"),
        pytest.param(["ev_1", "--database-url", "sqlite:///none.db"], 1, "there is no file none.db; run:", id="no-db"),
    ],
)
def test_a_mistake_is_one_sentence(
    on_sqlite: Asked, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    """1: it is not there, 2: wrong use; stdout stays empty."""
    files = {name: tmp_path / name for name in ("empty", "prose", "call")}
    files["empty"].touch()
    files["prose"].write_text("Dear CallRail, please call.")
    files["call"].write_bytes(orjson.dumps(SATURDAY))
    with opened(on_sqlite.url) as database, database.writing.begin() as conn:
        several = receive(conn, "post_call", SATURDAY, event_id="ev_" + "7" * 26)[:9]
        receive(conn, "post_call", VOICE, event_id="ev_" + "7" * 25 + "8")
    names: Mapping[str, object] = {**files, "several": several}

    ran = on_sqlite.explain(*(part.format(**names) for part in arguments))

    assert (ran.code, ran.out) == (code, ""), ran.err
    assert sentence.format(**names) in ran.err.splitlines()[-1]
    assert ran.err.splitlines()[-1].startswith("Error: ")


# --- the pure part ---------------------------------------------------------------------------------------------------

MONDAY_NOON = datetime(2026, 3, 16, 12, tzinfo=ZoneInfo("America/New_York"))


def why(
    rules: RuleSet,
    facts: dict[str, Any] | None = None,
    *,
    name: Transition = MISSED,
    stored: Stored | None = None,
    past: Past | None = None,
    type_: str = "call",
) -> Why:
    """The transition *name* of an object with *facts*, explained; it happened and was told on Monday at noon."""
    told = {"start_time": MONDAY_NOON.isoformat(), **(facts or {})}
    before, past = Object(version=1 if past else 0), past or Past()
    at = MONDAY_NOON.astimezone(UTC)
    occasion = Occasion(
        "acme", type_, "ob_1", before, Object(fields=told), "ev_1", at, at, is_matched=past.matched_at is not None
    )
    kept = [Kept("tr_1", name, at, stored)] if stored else []
    (found,) = explaining.explain(rules, Occurrence("acme", occasion, [Happened(name)], kept, past), told_zones={})
    return found


_blocks = st.dictionaries(
    st.sampled_from(["first_call", "spam", "duration", "source"]), st.none(), min_size=0, max_size=3
).map(
    lambda names: {
        name: {"first_call": True, "spam": True, "duration": {"gt": 5}, "source": "Yelp"}[name] for name in names
    }
)
_facts = st.fixed_dictionaries(
    {},
    optional={
        "first_call": st.booleans() | st.none(),
        "spam": st.booleans(),
        "duration": st.integers(0, 9) | st.none(),
        "source": st.sampled_from(["Yelp", "yelp", "Google", None]),
    },
)


@st.composite
def _rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    blocks = draw(st.lists(st.tuples(_blocks, _blocks, st.booleans(), st.booleans()), max_size=5))
    made = []
    for number, (if_, unless, stop, mute) in enumerate(blocks):
        rule = a_rule(f"r{number}", if_=if_, unless=unless)
        values = {name: getattr(rule, name) for name in Rule.__slots__}
        made.append(Rule(**{**values, "stop": stop, "mute": mute}))
    return tuple(made)


@settings(deadline=None)
@given(_rules(), _facts)
def test_the_rules_that_fire_are_those_that_decide_says(rules: tuple[Rule, ...], facts: dict[str, Any]) -> None:
    """An explanation never differs from the verdict: the same rules in the same order, with the same reasons."""
    rules_ = rule_set(*rules)
    decision = rules_.decide("acme", MISSED, facts)

    explained = why(rules_, facts)

    assert [rule.rule for rule in explained.rules if rule.fired] == [fired.rule.id for fired in decision.fired]
    assert {rule.rule: rule.reason for rule in explained.rules} == decision.reasons
    assert (explained.nearest is None) or not decision.is_matched
    for rule in explained.rules:
        assert bool(rule.misses) or rule.reason in (FIRED, "muted") or str(rule.reason).startswith("stopped by")


def test_each_reason_is_told_in_words() -> None:
    """A rule that is stopped, muted or has no role has no condition to blame, and says what it was."""
    stopping, muted, plain = a_rule("first"), a_rule("second"), a_rule("third")
    values = {name: getattr(stopping, name) for name in Rule.__slots__}
    rules = rule_set(
        Rule(**{**values, "id": "quiet", "mute": True}),
        Rule(**{**values, "id": "roleless", "send": (To("alerts", "alerts", is_role=True),)}),
        Rule(**{**values, "stop": True}),
        muted,
        plain,
    )

    found = [(rule.rule, rule.fired, rule.sentence) for rule in why(rules).rules]

    assert found == [
        ("quiet", False, "The rule matched, but it is muted (mute: true), so nothing was sent."),
        ("roleless", False, "The rule matched, but the company has no sink for the role alerts."),
        ("first", True, "The rule fired."),
        ("second", False, "An earlier rule fired and ends the list (stop: true): first."),
        ("third", False, "An earlier rule fired and ends the list (stop: true): first."),
    ]


def unmatched_rules(*rules: Rule) -> RuleSet:
    return RuleSet(
        rules, "0123", roles={"acme": {"alerts": "phones"}}, everyone_else={"calls": To("unmatched", "alerts", True)}
    )


def test_unmatched_says_whether_it_is_asked() -> None:
    """It tells what no rule spoke of, once an object, and only of how calls end, texts and forms."""
    silent, speaking = a_rule(if_={"spam": True}), a_rule("r", MISSED, VOICEMAIL)
    told = Told("dl_1", "unmatched", "phones", "delivered", "HTTP 200")
    stored = Stored(verdicts={"r": "if spam"}, deliveries=[told])

    asked = why(unmatched_rules(silent), {"spam": False}, stored=stored)
    assert asked.unmatched == "No rule fires, so it goes to phones (role alerts)."
    assert (asked.unmatched_deliveries, asked.nobody, asked.reason) == ([told], None, None)
    assert [rule.rule for rule in asked.rules] == ["r"]
    assert why(unmatched_rules(speaking)).unmatched == "It is not asked, because a rule has spoken."
    again = why(unmatched_rules(silent), past=Past([Telling("unmatched", "unmatched", "call.missed")], "call.missed"))
    assert again.unmatched == "It has told of this call at call.missed, and it tells once."
    earlier = why(unmatched_rules(silent), past=Past([Telling("s", "crm", "call.ended")], "call.ended"))
    assert earlier.unmatched == "It is not asked, because a rule has spoken of this call at call.ended."
    assert why(unmatched_rules(silent), name=Transition.CALL_ENDED).unmatched is None
    assert why(rule_set(silent)).unmatched is None
    without_role = RuleSet((silent,), "0123", everyone_else={"calls": To("unmatched", "alerts", is_role=True)})
    assert why(without_role).unmatched == "No rule fires, and acme has no sink for the role alerts."


def test_unmatched_tells_people_no_old_news_and_nothing_of_a_text_that_says_stop() -> None:
    """As routing does; each has its words."""
    late = replace(unmatched_rules(a_rule(if_={"spam": True})), for_people=frozenset({"phones"}))
    old = why(late, {"start_time": "2026-03-14T10:00:00-04:00"})
    texts = RuleSet((a_rule("t", Transition.TEXT_RECEIVED),), "0123", everyone_else={"texts": To("unmatched", "crm")})
    stop = why(texts, {"content": "STOP"}, name=Transition.TEXT_RECEIVED, type_="text")

    assert (old.unmatched, old.reason) == (
        "No rule fires, and for phones, which people read, this happened too long ago.",
        "late",
    )
    assert (stop.unmatched, stop.reason) == ("It is not asked, because the text asks for no more texts.", "opt-out")
    assert [(rule.fired, rule.reason) for rule in stop.rules] == [(False, "opt-out")]


def test_a_destination_that_a_rule_leaves_out_has_its_reason() -> None:
    """Of two sends one may be too late, or told before; of which nothing is left the rule does not fire."""
    rule = a_rule("r", MISSED, VOICEMAIL, send=["phones", "crm"])
    rules = replace(rule_set(rule), for_people=frozenset({"phones"}))
    old = {"start_time": "2026-03-14T10:00:00-04:00"}

    (late,) = why(rules, old).rules
    (told,) = why(rules, past=Past([Telling("r", "crm", "call.missed")], "call.missed")).rules
    (nothing,) = why(rules, old, past=Past([Telling("r", "crm", "call.missed")], "call.missed")).rules

    assert (late.fired, [send.sink for send in late.sends]) == (True, ["crm"])
    assert late.note == "not to phones: this happened too long ago for it (max_age or expires)"
    assert (told.fired, [send.sink for send in told.sends]) == (True, ["phones"])
    assert told.note == "not to crm: it was told at call.missed"
    assert (nothing.fired, nothing.reason, nothing.note) == (False, "already told", None)


# --- what explain says is what routing said --------------------------------------------------------------------------

_KINDS = ["pre_call", "post_call", "call_modified", "api_call"]
_WHENS = ["call.ended", "call.answered", "call.missed", "call.voicemail", "call.changed", "call.corrected"]
_calls = st.fixed_dictionaries(
    {"call_type": st.sampled_from(["answered", "missed", "abandoned", "voicemail"])},
    optional={
        "first_call": st.booleans() | st.none(),
        "customer_city": st.sampled_from(["Atlanta", "Savannah", None]),
        "tags": st.lists(st.sampled_from(["A", "B"]), max_size=2, unique=True),
        "recording": st.just("https://app.callrail.com/calls/CAL1/recording"),
        "start_time": st.sampled_from(
            ["2026-03-10T09:00:00-04:00", "2026-03-09T02:00:00-04:00", "2026-03-01T10:00:00Z"]
        ),
        "company_time_zone": st.sampled_from(["America/New_York", "Asia/Tokyo"]),
    },
)
_texts = st.fixed_dictionaries(
    {"content": st.sampled_from(["STOP", "Hello"]), "source_number": st.just("404-555-0101")}
)
_routed = st.one_of(
    st.tuples(st.sampled_from(_KINDS), _calls), st.tuples(st.just("text_received"), _texts)
)  # kind and body
_asking = st.fixed_dictionaries(
    {},
    optional={
        "first_call": st.booleans(),
        "customer_city": st.sampled_from(["Atlanta", "Savannah"]),
        "hours": st.sampled_from(["open", "closed"]),
    },
)
_written = st.fixed_dictionaries(
    {
        "when": st.lists(st.sampled_from(_WHENS), min_size=2, max_size=5, unique=True)
        | st.sampled_from([["call.missed"], ["call.changed"], ["text.received"]]),
        "repeat": st.booleans(),
        "stop": st.booleans(),
        "mute": st.sampled_from([False, False, True]),
        "on_late": st.sampled_from(["deliver", "records_only", "ignore"]),
        "send": st.lists(st.sampled_from(["alerts", "book", "crm"]), min_size=1, max_size=2, unique=True).map(
            lambda names: [{"to": name, **({"expires": "26h"} if name == "book" else {})} for name in names]
        ),
    },
    optional={"if": _asking, "unless": _asking},
)


def _file(rules: list[dict[str, Any]], *, is_unmatched: bool, has_zone: bool) -> dict[str, Any]:
    company = {"signing_keys": ["env:KEY"], "hours": "office", "alerts": "phones"}
    for rule in rules:
        if "text.received" in rule["when"]:
            rule.pop("if", None), rule.pop("unless", None)
    return {
        "companies": {"acme": {**company, **({"time_zone": "America/New_York"} if has_zone else {})}},
        "hours": {"office": {"mon-fri": "08:00-18:00"}},
        "sinks": {
            "phones": {"type": "stdout"},
            "book": {"type": "stdout"},
            "crm": {"type": "webhook", "url": "https://example.com", "signing_secrets": ["env:CRM"]},
        },
        "rules": [{"id": f"r{number}", **rule} for number, rule in enumerate(rules)],
        **({"unmatched": {"calls": "alerts", "texts": "crm"}} if is_unmatched else {}),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=st.lists(_written, min_size=1, max_size=4),
    posted=st.lists(_routed, min_size=2, max_size=5),
    is_unmatched=st.booleans(),
    has_zone=st.booleans(),
    batch=st.integers(1, 3),
    data=st.data(),
)
def test_under_the_same_rules_explain_says_what_routing_said(
    sqlite_template: Path,
    rules: list[dict[str, Any]],
    posted: list[tuple[str, dict[str, Any]]],
    is_unmatched: bool,
    has_zone: bool,
    batch: int,
    data: st.DataObject,
) -> None:
    """Every verdict and the reason of every stored transition, whatever came before or was corrected since."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.yaml"
        path.write_bytes(orjson.dumps(_file(rules, is_unmatched=is_unmatched, has_zone=has_zone)))
        rule_set_ = read_config(path).rules
        url = f"sqlite:///{shutil.copyfile(sqlite_template, Path(folder) / 'test.db')}"
        with opened(url) as database:
            for kind, body in posted:
                with database.writing.begin() as conn:
                    receive(conn, kind, {"resource_id": "TXT1" if "content" in body else "CAL1", **body})
                    if data.draw(st.integers(1, batch)) == 1:
                        route(conn, FixedClock(), rule_set_, limit=9)
                    if data.draw(st.booleans()):
                        conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED.value))
            with database.writing.begin() as conn:
                route(conn, FixedClock(), rule_set_, limit=9)
            found = [why for row in rows_of(database, events) for why in explained(database, rule_set_, row)]
            stored = {row.id: row for row in rows_of(database, transitions)}

    assert {why.happening.id for why in found} == set(stored)
    for why_ in found:
        row = stored[str(why_.happening.id)]
        verdicts = {rule.rule: rule.reason for rule in why_.rules}
        assert verdicts == {rule: reason for rule, reason in (row.verdicts or {}).items() if rule != "unmatched"}
        assert (why_.reason, why_.happening.occurred_at) == (row.reason, row.occurred_at)
        assert bool(why_.unmatched and "goes to" in why_.unmatched) is (
            (row.verdicts or {}).get("unmatched") == "unmatched"
        )


def explained(database: Database, rules: RuleSet, event: Row[Any]) -> list[Why]:
    """What the command says of a stored event, before it is printed."""
    with database.reading.connect() as conn:
        rows = ledger.transitions_of_event(conn, event.id, event.object_id)
        if not rows:
            return []
        type_ = ledger.objects_of(conn, [event.object_id])[event.object_id].type
        occurrence = occurrence_of(conn, rows, type_=type_, received_at=event.received_at, kind=event.kind)
        return explaining.explain(rules, occurrence, told_zones=zones_then(rules, rows, told_zones(conn)))


# --- the page --------------------------------------------------------------------------------------------------------

_ID = re.compile(r"\b(ev|tr|dl)_[0-9a-v]+")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")


def page() -> Iterator[tuple[str, str]]:
    """The page's blocks: the language of each, and what stands in it."""
    yield from re.findall(r"```(\w*)\n(.*?)```", DOCS, re.DOTALL)


def without_chance(text: str) -> str:
    return _MOMENT.sub("TIME", _ID.sub(r"\1_ID", text))


def test_the_page_shows_what_the_command_prints(asked: Asked, tmp_path: Path) -> None:
    """Its configuration and webhook, explained from the file and from the store, give the output that stands there."""
    blocks = list(page())
    (config,) = (text for language, text in blocks if language == "yaml")
    call, text_message = (text for language, text in blocks if language == "json")
    shown = [text for _, text in blocks if text.startswith("$ callrail-router explain")]
    asked.config.write_text(config)
    (tmp_path / "call.json").write_text(call)
    (tmp_path / "text.json").write_text(text_message)
    with opened(asked.url) as database:
        event_id = asked.route(database, "post_call", orjson.loads(call))
        assert len(rows_of(database, versions)) == 1
    printed = []
    for text in shown:
        command = text.partition("\n")[0].removeprefix("$ callrail-router explain ").split()
        arguments = [event_id if part.startswith("ev_") else part for part in command]
        options = ["--config", str(asked.config), "--database-url", asked.url]
        ran = run_here("explain", *options, *arguments, cwd=tmp_path)
        assert (ran.code, ran.err) == (0, "")
        printed.append(f"{text.partition(chr(10))[0]}\n{ran.out}")

    assert len(shown) == 2
    assert [without_chance(text) for text in printed] == [without_chance(text) for text in shown]
