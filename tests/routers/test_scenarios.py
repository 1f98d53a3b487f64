"""Every scenario is what CallRail would send, or the trouble that its name promises."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from callrail.kinds import Kind, kind_of
from callrail.payload import Fields, object_id, read_payload
from callrail.signature import matching_key, sign
from receiver.schema import events, quarantine
from routers.scenarios import SCENARIOS, Posting, Signer
from routers.simulator import SimulatedCompany, Story, headers_of, life_cycle, play
from routers.urls import CALLRAIL_FIELD
from tests.callrail.samples import ABSENT, SAMPLES, sample
from tests.routers.running import run, running
from tests.routers.store import opened, rows_of

ROOT = Path(__file__).parents[2]
STARTED_AT = datetime(2026, 5, 4, 13, 30, 15, 250_000, tzinfo=UTC)
COMPANY = SimulatedCompany(slug="acme", name="Acme Pipes & Sons", callrail_id=None, key=b"an invented signing key")
SEEDS = range(12)
REFUSED = {"wrong_key", "unsigned"}

every_scenario = pytest.mark.parametrize("name", SCENARIOS)
every_seed = pytest.mark.parametrize("seed", SEEDS)


def postings_of(name: str, seed: int = 1) -> list[Posting]:
    return life_cycle(name, rng=random.Random(seed), started_at=STARTED_AT, callrail_id=None, company_name=COMPANY.name)


def fields_of(posting: Posting) -> Fields:
    """A webhook as our receiver reads it."""
    payload = read_payload(posting.body, posting.content_type)
    assert payload.problem is None
    return payload.fields


def told_by(name: str, seed: int = 1) -> list[tuple[str, Fields]]:
    """Kind and fields of each webhook, in the order they are posted."""
    return [(posting.kind, fields_of(posting)) for posting in postings_of(name, seed)]


def played(names: Sequence[str], seed: int) -> list[tuple[str, bytes, Mapping[str, str]]]:
    """Everything that is posted when *names* are played."""
    posted: list[tuple[str, bytes, Mapping[str, str]]] = []

    async def post(kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        posted.append((kind, body, headers))
        return 204

    playing = play(
        names,
        post=post,
        rng=random.Random(seed),
        company=COMPANY,
        speed=math.inf,
        gap=timedelta(seconds=20),
        now=STARTED_AT,
        on_sent=lambda _: None,
    )
    asyncio.run(playing)
    return posted


# --- all of them -----------------------------------------------------------------------------------------------------


@every_scenario
def test_two_plays_of_one_seed_are_the_same_bytes(name: str) -> None:
    """Bodies, order and headers, the signature among them; another seed tells of somebody else."""
    once, again, another = played([name], 7), played([name], 7), played([name], 8)

    assert once == again
    assert not {body for _, body, _ in once} & {body for _, body, _ in another}


def test_all_scenarios_played_together_are_the_same_bytes() -> None:
    """Also when they overlap."""
    assert played(list(SCENARIOS), 3) == played(list(SCENARIOS), 3)


@every_scenario
def test_every_webhook_is_proved_read_and_of_the_kind_it_is_posted_as(name: str) -> None:
    """The company's key proves it where it should, the reader has no problem, and path and shape agree."""
    for posting in (posting for seed in SEEDS for posting in postings_of(name, seed)):
        headers = headers_of(posting, COMPANY.key)
        proved = matching_key([COMPANY.key], posting.body, headers.get("signature", "")) is not None

        assert proved is (name not in REFUSED)
        assert ("signature" in headers) is (name != "unsigned")
        assert kind_of(Kind(posting.kind), fields_of(posting)) == posting.kind


@every_scenario
def test_webhooks_leave_in_the_order_they_are_due(name: str) -> None:
    """A scenario has at least one webhook, none leaves before the story begins, and they are sorted."""
    for seed in SEEDS:
        after = [posting.after for posting in postings_of(name, seed)]

        assert after == sorted(after)
        assert after[0] > timedelta(0)


@every_scenario
def test_no_number_is_anybodys(name: str) -> None:
    """Whoever acts on a simulated number reaches nobody: all are of 555-0100 to 555-0199."""
    for posting in (posting for seed in SEEDS for posting in postings_of(name, seed)):
        told = json.dumps(fields_of(posting))
        numbers = re.findall(r"\+1\d{10}|\b\d{3}-\d{3}-\d{4}\b", told)
        assert [number for number in numbers if not re.fullmatch(r"\+1\d{3}55501\d\d|\d{3}-555-01\d\d", number)] == []


def test_every_kind_of_webhook_is_played() -> None:
    """Nothing CallRail can post has to be tried on real customers first."""
    kinds = {posting.kind for name in SCENARIOS for posting in postings_of(name, 2)}

    assert kinds == set(CALLRAIL_FIELD)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT)
@pytest.mark.parametrize(
    ("name", "kind", "file"),
    [
        ("answered", "post_call", "post_call.json"),
        ("missing_recording", "post_call", "post_call.recording_not_ready.json"),
        ("score_later", "call_modified", "call_modified.json"),
        ("outbound", "outbound_post_call", "outbound_post_call.json"),
        ("outbound", "outbound_call_modified", "outbound_call_modified.json"),
        ("mms", "text_received", "text_message_received.mms.json"),
        ("text_thread", "text_sent", "text_message_sent.json"),
        ("form", "form_submission", "form_submission.json"),
        ("convert_assist", "convert_assist", "convert_assist_complete.json"),
        ("voice_assist", "voice_assist", "voice_assist_call_answered.observed.json"),
    ],
)
def test_a_body_has_the_fields_of_callrails(name: str, kind: str, file: str) -> None:
    """No key is missing that live and documented bodies have, and none is invented."""
    bodies = [json.loads(posting.body) for posting in postings_of(name) if posting.kind == kind]

    assert bodies[0].keys() - {"form_data"} == sample(file).keys() - {"form_data"}


def test_every_story_is_a_scenario() -> None:
    """The names of every day are among those that can be played."""
    assert list(SCENARIOS)[: len(Story)] == list(Story)


def test_the_page_about_the_simulator_names_every_scenario() -> None:
    """docs/simulator.md has one row for each scenario, in the order and the words of `simulate --list`."""
    page = (ROOT / "docs" / "simulator.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE)

    assert rows == [(scenario.name, scenario.sentence) for scenario in SCENARIOS.values()]


# --- calls -----------------------------------------------------------------------------------------------------------


@every_seed
def test_the_last_tag_is_told_in_the_very_bytes_of_the_first(seed: int) -> None:
    """On, off, on again: only what came between shows that the third is news."""
    on, off, again = [posting for posting in postings_of("tag_on_off_on", seed) if posting.kind == "call_modified"]

    assert on.body == again.body != off.body
    assert [fields_of(posting)["tags"] is None for posting in (on, off, again)] == [False, True, False]
    assert fields_of(off)["changes"] == ["tags"]


@every_seed
def test_spam_is_marked_after_the_call(seed: int) -> None:
    """The change says nothing new but that."""
    *_, (_, ended), (kind, changed) = told_by("marked_spam", seed)

    assert kind == "call_modified"
    assert changed == {**ended, "spam": True, "changes": ["spam"]}
    assert ended["spam"] is False


@every_seed
def test_a_lead_is_scored_first_by_callrail_and_then_by_hand(seed: int) -> None:
    """`changes` holds names that are no fields, as CallRail's do."""
    *_, (_, ended), (_, scored), (_, marked) = told_by("score_later", seed)

    assert (ended["lead_score"], ended["lead_status"]) == (None, None)
    assert scored["lead_score"]
    assert scored["changes"] == ["auto_score"]
    assert (marked["lead_status"], marked["changes"]) == ("good_lead", ["manual_score", "value"])
    assert marked["value"]


@every_seed
def test_a_missing_recording_comes_as_a_change(seed: int) -> None:
    """Twenty minutes after hang-up CallRail posts without it; everything else is already right."""
    *_, ended, found = postings_of("missing_recording", seed)
    before, after = fields_of(ended), fields_of(found)

    assert (ended.kind, found.kind) == ("post_call", "call_modified")
    assert ended.after == timedelta(seconds=before["duration"], minutes=20)
    assert (before["recording"], before["recording_duration"], before["transcription"]) == (None, None, None)
    assert all(after[name] for name in ("recording", "recording_duration", "transcription", "call_summary"))
    assert (before["call_type"], before["answered"]) == (after["call_type"], after["answered"]) == ("answered", True)


@every_seed
def test_a_late_voicemail_is_told_as_a_missed_call_first(seed: int) -> None:
    """The change minutes later corrects the outcome and brings what the caller said."""
    *_, missed, found = postings_of("late_voicemail", seed)
    before, after = fields_of(missed), fields_of(found)

    assert (missed.kind, found.kind) == ("post_call", "call_modified")
    assert (before["call_type"], after["call_type"]) == ("missed", "voicemail")
    assert (before["recording"], before["transcription"]) == (None, None)
    assert all(after[name] for name in ("recording", "recording_duration", "transcription"))
    assert timedelta(seconds=30) < found.after - missed.after < timedelta(minutes=3)


@every_seed
def test_a_late_post_call_comes_hours_after_the_call(seed: int) -> None:
    """What it tells of is long over."""
    *_, ended = postings_of("late_post_call", seed)

    assert ended.kind == "post_call"
    assert timedelta(hours=2) < ended.after < timedelta(hours=5)
    assert datetime.fromisoformat(fields_of(ended)["start_time"]) == STARTED_AT


def test_out_of_order_is_a_call_told_backwards() -> None:
    """The end is told first, the ringing last."""
    assert [kind for kind, _ in told_by("out_of_order")] == ["post_call", "call_routing_complete", "pre_call"]


def test_duplicated_is_every_webhook_twice() -> None:
    """Equal bytes, one after the other."""
    bodies = [posting.body for posting in postings_of("duplicated")]

    assert len(bodies) == 6
    assert bodies[::2] == bodies[1::2]
    assert len(set(bodies)) == 3


@every_seed
def test_a_call_as_a_form_is_all_text(seed: int) -> None:
    """No value is nested, booleans and numbers are words, and the receiver reads the same facts as from JSON."""
    forms = postings_of("form_encoded", seed)
    *_, ended = forms
    pairs = dict(parse_qsl(ended.body.decode(), keep_blank_values=True, strict_parsing=True))

    assert {form.content_type for form in forms} == {"application/x-www-form-urlencoded"}
    assert (pairs["answered"], pairs["voicemail"], pairs["note"]) == ("true", "false", "")
    assert not {"tags", "milestones", "integration_data"} & pairs.keys()
    fields = fields_of(ended)
    assert fields["answered"] is True
    assert isinstance(fields["duration"], int)
    assert fields["customer_phone_number"].startswith("+1")


@every_seed
def test_a_legacy_call_has_none_of_todays_names(seed: int) -> None:
    """Numbers for ids and the names of before 2021; both webhooks are of one call, and its caller is found."""
    ringing, ended = postings_of("legacy_names", seed)
    raw: dict[str, Any] = json.loads(ended.body)

    assert [name for name in raw if name.endswith("resource_id") or name.startswith(("customer_", "formatted_"))] == []
    assert object_id(fields_of(ringing)) == object_id(fields_of(ended)) == str(raw["id"])
    assert fields_of(ended)["customer_phone_number"] == raw["callernum"]
    assert fields_of(ended)["answered"] is True
    assert fields_of(ended)["start_time"] == "2026-05-04T13:30:15Z"


@every_seed
def test_a_repeat_caller_is_the_same_person_with_one_call_more(seed: int) -> None:
    """Two calls, one after the other has ended, by one person and number."""
    ended = [fields for kind, fields in told_by("repeat_caller", seed) if kind == "post_call"]
    first, second = ended

    assert first["resource_id"] != second["resource_id"]
    for name in ("person_resource_id", "customer_phone_number", "customer_name", "tracking_phone_number"):
        assert first[name] == second[name]
    assert second["total_calls"] == first["total_calls"] + 1
    assert second["first_call"] is False
    assert second["start_time"] > first["start_time"]


def test_a_withheld_number_is_nobodys() -> None:
    """Nothing, a word, or the filler code that telephone networks send; in every field that could hold it."""
    found: set[str | None] = set()
    for seed in range(40):
        (_, fields) = told_by("withheld_number", seed)[-1]
        assert fields["customer_phone_number"] is None
        found.add(fields.get("raw_numbers", {}).get("customer_phone_number"))
        assert fields.get("callernum") is None  # read as the same field
        assert fields["customer_city"] is None

    assert found == {None, "anonymous", "+266696687"}


@pytest.mark.parametrize(
    ("name", "kinds", "answered"),
    [
        ("outbound", ["outbound_post_call", "outbound_call_modified"], True),
        ("outbound_missed", ["outbound_post_call"], False),
    ],
)
def test_an_outbound_call_says_so(name: str, kinds: list[str], answered: bool) -> None:
    """Its type is `outbound` whether or not somebody picked up."""
    told = told_by(name)

    assert [kind for kind, _ in told] == kinds
    for _, fields in told:
        assert (fields["direction"], fields["call_type"], fields["answered"]) == ("outbound", "outbound", answered)


# --- assistants, texts -----------------------------------------------------------------------------------------------


@every_seed
def test_the_assistant_names_the_call_it_answered(seed: int) -> None:
    """Four fields and no company; the ended call then holds the message it took."""
    told = dict(told_by("voice_assist", seed))

    assert list(told) == ["pre_call", "call_routing_complete", "voice_assist", "post_call"]
    assert told["voice_assist"]["call_id"] == told["post_call"]["resource_id"]
    assert len(told["voice_assist"]) == 4
    assert told["post_call"]["voice_assist_message"]["contents"]["message"]


@every_seed
def test_advice_is_about_the_call_before_it(seed: int) -> None:
    """It has no id of its own and no company."""
    *_, (_, ended), (kind, advice) = told_by("convert_assist", seed)

    assert kind == "convert_assist"
    assert advice["last_interaction_resource_id"] == ended["resource_id"]
    assert [answer["answer_key"] for answer in advice["answers"]] == ["Action plan", "Smart follow-up", "Coaching"]
    assert not {"resource_id", "company_id", "company_resource_id"} & advice.keys()


@every_seed
def test_a_thread_goes_both_ways(seed: int) -> None:
    """One conversation, every message with an id and a time of its own, the customer first."""
    told = told_by("text_thread", seed)

    assert [kind for kind, _ in told] == [("text_received", "text_sent")[n % 2] for n in range(len(told))]
    assert len(told) >= 4
    assert len({fields["conversation_id"] for _, fields in told}) == 1
    assert len({fields["resource_id"] for _, fields in told}) == len(told)
    times = [fields["timestamp"] for _, fields in told]
    assert times == sorted(set(times))


@every_seed
def test_an_mms_has_a_link_for_each_picture(seed: int) -> None:
    """The links are under the id of the message."""
    ((kind, fields),) = told_by("mms", seed)

    assert (kind, fields["message_type"]) == ("text_received", "mms")
    assert fields["media_urls"]
    assert all(fields["resource_id"] in url for url in fields["media_urls"])


@every_seed
def test_an_opt_out_ends_a_conversation(seed: int) -> None:
    """Written in one of the ways in which people do."""
    told = told_by("opt_out", seed)

    assert [kind for kind, _ in told] == ["text_received", "text_sent", "text_received"]
    assert told[-1][1]["content"].upper() in {"STOP", "UNSUBSCRIBE"}


# --- signatures ------------------------------------------------------------------------------------------------------


def test_another_key_signs_rightly_but_not_for_this_company() -> None:
    """The header looks genuine, and no key of the company proves it."""
    for posting in postings_of("wrong_key"):
        assert posting.signer is Signer.SOMEBODY_ELSE
        assert re.fullmatch(r"[A-Za-z0-9+/]{27}=", headers_of(posting, COMPANY.key)["signature"])
        assert headers_of(posting, COMPANY.key)["signature"] != sign(COMPANY.key, posting.body)


# --- the command -----------------------------------------------------------------------------------------------------

BEGINS = "2026-05-04T09:30:00-04:00"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """One company, and nobody to tell."""
    path = tmp_path / "router.yaml"
    path.write_text("companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n")
    return path


@contextmanager
def intake(config: Path, database_url: str) -> Iterator[str]:
    """A real intake in a process of its own; its URL."""
    options = ["--role", "intake", "--port", "0", "--config", str(config), "--database-url", database_url]
    with running("serve", *options) as process:
        yield f"http://127.0.0.1:{process.port}"
        assert process.end() == 0


def stored(database_url: str) -> list[tuple[str, bytes]]:
    """Kind and body of every event, in the order of receipt."""
    with opened(database_url) as database:
        return [(row.kind, row.body) for row in rows_of(database, events)]


def test_a_real_server_answers_every_scenario_as_expected(config: Path, sqlite_url: str) -> None:
    """All are stored but the wrongly signed, which are refused, kept in quarantine and no failure."""
    genuine = [posting for name in SCENARIOS if name not in REFUSED for posting in postings_of(name)]
    with intake(config, sqlite_url) as url:
        ran = run("simulate", "--scenario", "all", "--speed", "inf", "--seed", "1", "--config", config, "--url", url)

    assert ran.code == 0, ran.out + ran.err
    total = re.match(r"(\d+) webhooks sent, (\d+) accepted, 0 refused, 6 refused as they should be", ran.out)
    assert total is not None
    assert int(total[1]) == int(total[2]) + 6
    kinds = {kind for kind, _ in stored(sqlite_url)}
    assert kinds == {posting.kind for posting in genuine}
    with opened(sqlite_url) as database:
        reasons = Counter(row.reason for row in rows_of(database, quarantine))
    assert reasons == {"signature_wrong": 3, "signature_missing": 3}
    assert ["wrong_key", "3", "refused", "yes", "401"] in [line.split() for line in ran.out.splitlines()]


def test_a_server_that_accepts_what_it_quarantines_answers_as_expected(config: Path, sqlite_url: str) -> None:
    """With `bad_signature: accept` the answer is 202, and nothing is stored as an event."""
    config.write_text(config.read_text() + "bad_signature: accept\n")
    with intake(config, sqlite_url) as url:
        arguments = ["simulate", "--scenario", "wrong_key", "--scenario", "unsigned", "--speed", "inf", "-q"]
        ran = run(*arguments, "--seed", "1", "--config", config, "--url", url)

    assert ran.out == "6 webhooks sent, 0 accepted, 0 refused, 6 refused as they should be (seed 1).\n"
    assert (ran.code, stored(sqlite_url)) == (0, [])


def test_an_answer_that_was_not_expected_is_told_in_the_table(config: Path, sqlite_url: str) -> None:
    """The exit code fails, and the row of the scenario says no."""
    with intake(config, sqlite_url) as url:
        arguments = ["simulate", "--scenario", "mms", "--scenario", "wrong_key", "--speed", "inf"]
        ran = run(*arguments, "--config", config, "--url", url, environ={"ACME_KEY": "a key of ours alone"})

    assert ran.code == 1
    assert ran.out.startswith("4 webhooks sent, 0 accepted, 1 refused, 3 refused as they should be")
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["mms", "1", "stored", "NO", "401"] in rows
    assert ["wrong_key", "3", "refused", "yes", "401"] in rows


def test_two_runs_of_one_seed_and_time_post_the_same_bytes(config: Path, sqlite_url: str) -> None:
    """What is stored of the second run is, byte for byte, what is stored of the first."""
    arguments = ["simulate", "--scenario", "text_thread", "--scenario", "form_encoded", "--speed", "inf", "-q"]
    with intake(config, sqlite_url) as url:
        for _ in range(2):
            ran = run(*arguments, "--seed", "9", "--begins", BEGINS, "--config", config, "--url", url)
            assert ran.code == 0, ran.err
    told = stored(sqlite_url)

    assert len(told) >= 14
    assert told[: len(told) // 2] == told[len(told) // 2 :]


def test_scenarios_are_listed_without_a_configuration(tmp_path: Path) -> None:
    """One line each, and nothing is posted."""
    ran = run("simulate", "--list", cwd=tmp_path)

    assert ran.code == 0
    lines = [re.split(r" {2,}", line.strip(), maxsplit=1) for line in ran.out.splitlines()]
    assert [tuple(line) for line in lines if line[0] in SCENARIOS] == [
        (scenario.name, scenario.sentence) for scenario in SCENARIOS.values()
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--scenario", "happy"], "'happy' is not one of", id="no-scenario"),
        pytest.param(["--begins", "yesterday"], "'yesterday' is no time with its offset", id="no-time"),
        pytest.param(["--begins", "2026-05-04T09:30:00"], "write one like 2026-05-04T09:30:00-04:00", id="no-offset"),
    ],
)
def test_a_mistake_is_one_sentence(config: Path, arguments: list[str], sentence: str) -> None:
    """Exit code 2, and what to write instead."""
    ran = run("simulate", *arguments, "--config", config)

    assert ran.code == 2
    assert sentence in " ".join(ran.err.split())
    assert "Traceback" not in ran.err
