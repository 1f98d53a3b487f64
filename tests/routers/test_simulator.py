"""The simulator sends what CallRail would send."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callrail.kinds import Kind, kind_of
from callrail.payload import read_payload
from callrail.signature import matching_key
from routers.scenarios import Posting
from routers.simulated_wire import to_wire
from routers.simulator import Expected, Sent, SimulatedCompany, Story, Tally, life_cycle, play

STARTED_AT = datetime(2026, 5, 4, 13, 30, 15, 250_000, tzinfo=UTC)
COMPANY = SimulatedCompany(slug="acme", name="Acme Pipes & Sons", callrail_id=None, key=b"an invented signing key")

RECORDED = {Story.ANSWERED, Story.VOICEMAIL}
CALLS = {Story.MISSED, Story.ANSWERED, Story.VOICEMAIL, Story.ABANDONED}

any_seed = given(seed=st.integers(0, 2**32))
any_life_cycle = given(seed=st.integers(0, 2**32), story=st.sampled_from(Story))
few = settings(max_examples=40, deadline=None)  # a busy machine is no failure


# CallRail's article on webhooks lists these for the pre-call; `timestamp` is inferred.
RINGING = {
    *("answered", "call_type", "formatted_call_type", "voicemail", "direction", "duration", "formatted_duration"),
    *("customer_name", "customer_phone_number", "customer_city", "customer_state", "customer_country"),
    *("company_id", "company_name", "company_time_zone", "created_at", "start_time", "timestamp"),
    *("first_call", "prior_calls", "total_calls", "source_name"),
    *("tracking_phone_number", "formatted_tracking_phone_number"),
    *("resource_id", "company_resource_id", "person_resource_id", "tracker_resource_id"),
}


class Ended(NamedTuple):
    """What the post-call of a story promises; *shortest* and *longest* in seconds."""

    call_type: str
    answered: bool
    voicemail: bool
    shortest: int
    longest: int


ENDED = {
    Story.ANSWERED: Ended("answered", answered=True, voicemail=False, shortest=45, longest=420),
    Story.MISSED: Ended("missed", answered=False, voicemail=False, shortest=20, longest=45),
    Story.VOICEMAIL: Ended("voicemail", answered=False, voicemail=True, shortest=35, longest=90),
    Story.ABANDONED: Ended("abandoned", answered=False, voicemail=False, shortest=4, longest=14),
}


def postings_of(story: Story, seed: int = 1, *, started_at: datetime = STARTED_AT) -> list[Posting]:
    return life_cycle(
        story,
        rng=random.Random(seed),
        started_at=started_at,
        callrail_id=COMPANY.callrail_id,
        company_name=COMPANY.name,
    )


def bodies_of(story: Story, seed: int = 1, *, started_at: datetime = STARTED_AT) -> dict[str, dict[str, Any]]:
    """The parsed bodies of a story by kind."""
    return {posting.kind: json.loads(posting.body) for posting in postings_of(story, seed, started_at=started_at)}


def a_seed_with(story: Story, kind: Kind) -> int:
    """The first seed whose *story* has a webhook of *kind*."""
    return next(seed for seed in range(100) if kind in bodies_of(story, seed))


# --- bytes -----------------------------------------------------------------------------------------------------------


@any_life_cycle
@few
def test_the_same_seed_gives_the_same_bytes(seed: int, story: Story) -> None:
    """A failure seen once can be played again."""
    assert postings_of(story, seed) == postings_of(story, seed)


@pytest.mark.parametrize("story", Story)
def test_different_seeds_tell_of_different_things(story: Story) -> None:
    """Two stories are never taken for one, and no person or text is shared either."""
    ids = [re.findall(rb'"((?:CAL|PER|TRK|SCI|SMT|FRM)\w+)"', postings_of(story, seed)[0].body) for seed in range(50)]

    assert all(ids)
    assert len({one for found in ids for one in found}) == sum(len(set(found)) for found in ids)


def test_bodies_are_written_as_rails_writes_them() -> None:
    """Compact, UTF-8 unescaped, and the three characters of HTML escaped: a receiver must verify these very bytes."""
    body = {"url": "https://example.com/?a=1&b=2", "text": "café <3 > \u2028😬", "none": None, "parts": [1.5, True]}

    assert to_wire(body) == (
        rb'{"url":"https://example.com/?a=1\u0026b=2","text":"caf' + "é".encode() + rb" \u003c3 \u003e \u2028"
        b"\xf0\x9f\x98\xac" + rb'","none":null,"parts":[1.5,true]}'
    )


@any_life_cycle
@few
def test_every_body_survives_the_receivers_reading(seed: int, story: Story) -> None:
    """Each body is in CallRail's bytes, read without a problem, and of the kind its path says."""
    for posting in postings_of(story, seed):
        payload = read_payload(posting.body, "application/json")

        assert to_wire(json.loads(posting.body)) == posting.body
        assert payload.problem is None
        assert kind_of(Kind(posting.kind), payload.fields) == posting.kind


@any_life_cycle
@few
def test_no_number_is_anybodys(seed: int, story: Story) -> None:
    """Whoever acts on a simulated number reaches nobody: all are of 555-0100 to 555-0199."""
    for posting in postings_of(story, seed):
        numbers = re.findall(r"\+1\d{10}|\b\d{3}-\d{3}-\d{4}\b", posting.body.decode())

        assert numbers
        assert [number for number in numbers if not re.fullmatch(r"\+1\d{3}55501\d\d|\d{3}-555-01\d\d", number)] == []


@any_life_cycle
@few
def test_ids_look_like_callrails(seed: int, story: Story) -> None:
    """Three letters and 32 hex digits, and the webhooks of one story agree on person, company and tracker."""
    bodies = bodies_of(story, seed).values()

    for name in ("resource_id", "person_resource_id", "company_resource_id", "tracker_resource_id"):
        found = {body[name] for body in bodies if name in body}
        assert all(re.fullmatch(r"[A-Z]{3}[0-9a-f]{32}", one) for one in found)
        assert len(found) <= 1 or (story is Story.TEXT and name == "resource_id")


@pytest.mark.parametrize("story", Story)
def test_the_companys_own_id_is_sent_when_it_is_known(story: Story) -> None:
    """A configured company is found by its id; without one an invented id stands in."""
    known = life_cycle(
        story, rng=random.Random(1), started_at=STARTED_AT, callrail_id="COM0123", company_name=COMPANY.name
    )

    assert {json.loads(posting.body)["company_resource_id"] for posting in known} == {"COM0123"}
    assert all(body["company_resource_id"].startswith("COM") for body in bodies_of(story).values())


# --- calls -----------------------------------------------------------------------------------------------------------


def test_a_ringing_call_looks_exactly_like_callrails() -> None:
    """A call that only rings is told as missed, with the keys of CallRail's article and no others."""
    ringing = bodies_of(Story.MISSED)[Kind.PRE_CALL]

    assert set(ringing) == RINGING
    assert ringing["answered"] is False
    assert ringing["call_type"] == "missed"
    assert ringing["duration"] == "0"
    assert ringing["voicemail"] is False
    assert ringing["direction"] == "inbound"


@pytest.mark.parametrize("story", sorted(CALLS))
def test_every_call_rings_before_anything_is_decided(story: Story) -> None:
    """Pre-calls of answered, missed and abandoned calls differ in nothing but who calls whom."""
    ringing = bodies_of(story)[Kind.PRE_CALL]

    assert [ringing[name] for name in ("answered", "call_type", "duration")] == [False, "missed", "0"]


@pytest.mark.parametrize(
    ("story", "kinds"),
    [
        (Story.ANSWERED, ["pre_call", "call_routing_complete", "post_call"]),
        (Story.MISSED, ["pre_call", "call_routing_complete", "post_call"]),
        (Story.VOICEMAIL, ["pre_call", "call_routing_complete", "post_call"]),
        (Story.ABANDONED, ["pre_call", "post_call"]),
        (Story.FORM, ["form_submission"]),
        (Story.TEXT, ["text_received"]),
    ],
)
def test_a_story_has_its_webhooks_in_order(story: Story, kinds: list[str]) -> None:
    """Only routed calls tell of routing; an answered call may be changed later, and a text answered."""
    for seed in range(30):
        told = [posting.kind for posting in postings_of(story, seed)]

        assert told[: len(kinds)] == kinds
        assert told[len(kinds) :] in ([], ["call_modified"] if story is Story.ANSWERED else ["text_sent"])
        assert len(told) == len(kinds) or story in {Story.ANSWERED, Story.TEXT}


@pytest.mark.parametrize("story", sorted(CALLS))
@any_seed
@few
def test_a_call_ends_as_its_story_says(story: Story, seed: int) -> None:
    """Type, answered, voicemail and duration agree with each other and with the story."""
    body = bodies_of(story, seed)[Kind.POST_CALL]
    promised = ENDED[story]

    assert (body["call_type"], body["answered"], body["voicemail"]) == promised[:3]
    assert isinstance(body["duration"], str)
    assert promised.shortest <= int(body["duration"]) <= promised.longest
    assert (body["business_phone_number"] == "") is (story is Story.ABANDONED)


@pytest.mark.parametrize("story", sorted(CALLS))
@any_seed
@few
def test_only_a_recorded_call_has_a_recording(story: Story, seed: int) -> None:
    """Links and transcript are there together or not at all; missing is an empty text."""
    body = bodies_of(story, seed)[Kind.POST_CALL]
    recorded = ("recording", "recording_player", "recording_redirect", "transcription", "conversational_transcript")

    assert [bool(body[name]) for name in recorded] == [story in RECORDED] * len(recorded)
    if story in RECORDED:
        assert body["resource_id"] in body["recording"]
        assert 0 < body["recording_duration"] < int(body["duration"])
        assert body["conversational_transcript"][-1]["start"] < body["recording_duration"]
    else:
        assert {body[name] for name in (*recorded, "recording_duration", "waveforms")} == {""}


def test_a_post_call_has_the_full_shape() -> None:
    """More than ninety keys with the legacy names, in about five kilobytes."""
    post_call = next(posting for posting in postings_of(Story.ANSWERED) if posting.kind == Kind.POST_CALL)
    body = json.loads(post_call.body)

    assert len(body) > 90
    assert 4_000 < len(post_call.body) < 6_500
    assert body["callernum"] == body["customer_phone_number"]
    assert body["trackingnum"] == body["tracking_phone_number"]
    assert body["destinationnum"] == body["business_phone_number"]
    assert set(body["milestones"]) == {"first_touch", "lead_created"}


@pytest.mark.parametrize(
    ("started_at", "local"),
    [
        pytest.param(STARTED_AT, "2026-05-04T09:30:15.250-04:00", id="summer"),
        pytest.param(STARTED_AT.replace(month=1), "2026-01-04T08:30:15.250-05:00", id="winter"),
    ],
)
def test_times_are_local_and_datetime_is_utc(started_at: datetime, local: str) -> None:
    """`timestamp` is the start of the call in every body; `datetime` alone is UTC and does not say so."""
    bodies = bodies_of(Story.ANSWERED, a_seed_with(Story.ANSWERED, Kind.CALL_MODIFIED), started_at=started_at)

    assert {(body["start_time"], body["timestamp"]) for body in bodies.values()} == {(local, local)}
    assert bodies["post_call"]["datetime"] == started_at.strftime("%Y-%m-%d %H:%M:%S")


def test_a_changed_call_is_told_in_full_with_its_new_values() -> None:
    """Call-modified names the changed fields and differs from the post-call in these only."""
    bodies = bodies_of(Story.ANSWERED, a_seed_with(Story.ANSWERED, Kind.CALL_MODIFIED))
    before, after = bodies[Kind.POST_CALL], bodies[Kind.CALL_MODIFIED]

    assert after.pop("changes") == ["tags", "note"]
    assert {name for name in after if after[name] != before[name]} == {"tags", "note"}
    assert after.keys() == before.keys()


def test_an_answered_call_is_changed_only_sometimes() -> None:
    """Both ways are met within a few stories."""
    changed = [Kind.CALL_MODIFIED in bodies_of(Story.ANSWERED, seed) for seed in range(200)]

    assert 60 < sum(changed) < 140


@any_life_cycle
@few
def test_webhooks_come_when_callrail_would_send_them(seed: int, story: Story) -> None:
    """Earliest first; routing while it rings, the post-call after hang-up and within CallRail's 20 minutes."""
    postings = postings_of(story, seed)
    after = {posting.kind: posting.after for posting in postings}

    assert [posting.after for posting in postings] == sorted(after.values())
    assert postings[0].after > timedelta(0)
    if story in CALLS:
        duration = timedelta(seconds=int(bodies_of(story, seed)[Kind.POST_CALL]["duration"]))
        assert after.get(Kind.CALL_ROUTING_COMPLETE, timedelta(0)) < duration
        assert duration < after[Kind.POST_CALL] < duration + timedelta(minutes=20)


# --- texts and forms -------------------------------------------------------------------------------------------------


def test_a_reply_belongs_to_the_thread_of_its_text() -> None:
    """Numbers change places, the message has an id of its own, and only the reply names an agent."""
    bodies = bodies_of(Story.TEXT, a_seed_with(Story.TEXT, Kind.TEXT_SENT))
    received, sent = bodies[Kind.TEXT_RECEIVED], bodies[Kind.TEXT_SENT]

    same = ("thread_resource_id", "conversation_id", "person_id", "person_resource_id", "company_resource_id")
    assert [sent[name] for name in same] == [received[name] for name in same]
    assert sent["source_number"] == received["destination_number"]
    assert sent["destination_number"] == received["source_number"]
    assert sent["resource_id"] != received["resource_id"]
    assert datetime.fromisoformat(sent["timestamp"]) > datetime.fromisoformat(received["timestamp"])
    assert ("agent" in sent, "agent" in received) == (True, False)


def test_half_of_the_texts_are_answered() -> None:
    """Both ways are met within a few stories."""
    answered = [Kind.TEXT_SENT in bodies_of(Story.TEXT, seed) for seed in range(200)]

    assert 60 < sum(answered) < 140


@any_seed
@few
def test_texts_have_dashed_numbers(seed: int) -> None:
    """Unlike calls, texts do not write numbers as E.164."""
    for body in bodies_of(Story.TEXT, seed).values():
        assert re.fullmatch(r"\d{3}-555-01\d\d", body["source_number"])
        assert re.fullmatch(r"\d{3}-555-01\d\d", body["destination_number"])


@any_seed
@few
def test_a_form_says_who_sent_it_in_the_sites_own_fields(seed: int) -> None:
    """There is no contact field outside `form_data`, and unknown is null."""
    body = bodies_of(Story.FORM, seed)[Kind.FORM_SUBMISSION]

    assert body["resource_id"].startswith("FRM")
    assert body["form_data"]["email"].endswith("@example.com")
    assert datetime.fromisoformat(body["submitted_at"]) == STARTED_AT
    assert "" not in body.values()
    assert body["lead_status"] is None


# --- playing ---------------------------------------------------------------------------------------------------------


class Received(NamedTuple):
    """One webhook as it arrived. *at* is the monotonic clock in seconds."""

    kind: str
    body: bytes
    headers: Mapping[str, str]
    at: float


def play_to(
    answers: dict[str, int | OSError],
    *stories: str,
    speed: float = math.inf,
    gap: timedelta = timedelta(seconds=5),
) -> tuple[list[Received], list[Sent], Tally]:
    """Play *stories* against a receiver with *answers* by kind, 204 for all others."""
    received: list[Received] = []
    sent: list[Sent] = []

    async def post(kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        received.append(Received(kind, body, headers, time.monotonic()))
        answer = answers.get(kind, 204)
        if isinstance(answer, OSError):
            raise answer
        return answer

    tally = asyncio.run(
        play(
            stories,
            post=post,
            rng=random.Random(7),
            company=COMPANY,
            speed=speed,
            gap=gap,
            now=STARTED_AT,
            on_sent=sent.append,
        )
    )
    return received, sent, tally


def test_every_webhook_is_rightly_signed() -> None:
    """The receiver's own check accepts each body under the company's key, and under no other."""
    received, _, _ = play_to({}, *Story)

    assert {matching_key([b"another key", COMPANY.key], one.body, one.headers["signature"]) for one in received} == {1}


def test_stories_overlap_and_webhooks_go_out_as_they_fall_due() -> None:
    """The second call rings before the first has ended, as on a busy day."""
    received, sent, _ = play_to({}, Story.MISSED, Story.ABANDONED)

    assert [(one.story, one.kind) for one in sent] == [
        (Story.MISSED, "pre_call"),
        (Story.MISSED, "call_routing_complete"),
        (Story.ABANDONED, "pre_call"),
        (Story.ABANDONED, "post_call"),
        (Story.MISSED, "post_call"),
    ]
    assert [one.kind for one in received] == [one.kind for one in sent]


def test_each_story_starts_one_gap_after_the_one_before() -> None:
    """Start times in the bodies follow the schedule, whatever the speed."""
    received, _, _ = play_to({}, Story.MISSED, Story.VOICEMAIL, gap=timedelta(hours=1))

    started = [datetime.fromisoformat(json.loads(one.body)["start_time"]) for one in received if one.kind == "pre_call"]
    assert started == [STARTED_AT, STARTED_AT + timedelta(hours=1)]


def test_no_webhook_leaves_before_its_time() -> None:
    """At a finite speed the pace is life's divided by it."""
    speed = 2_000
    began = time.monotonic()
    received, _, _ = play_to({}, Story.ABANDONED, Story.ABANDONED, speed=speed, gap=timedelta(seconds=60))

    assert [one.kind for one in received] == ["pre_call", "post_call"] * 2
    assert received[2].at - began > 60 / speed  # the second call rings a little after its start
    assert received[3].at - began > 64 / speed  # and nobody gives up in less than 4 s


def test_refusals_are_told_and_counted() -> None:
    """Neither a bad status nor a lost connection ends the play."""
    answers: dict[str, int | OSError] = {
        "pre_call": 401,
        "post_call": ConnectionRefusedError("nobody listens"),
        "form_submission": OSError(),
    }

    _, sent, tally = play_to(answers, Story.MISSED, Story.FORM, gap=timedelta(minutes=5))

    assert [(one.kind, one.answer, one.is_accepted) for one in sent] == [
        ("pre_call", 401, False),
        ("call_routing_complete", 204, True),
        ("post_call", "nobody listens", False),
        ("form_submission", "OSError", False),
    ]
    assert (tally.sent, tally.accepted, tally.refused) == (4, 1, 3)


@pytest.mark.parametrize(
    ("expected", "answer", "tally"),
    [
        pytest.param(Expected.STORED, 204, Tally(1, accepted=1), id="stored"),
        pytest.param(Expected.STORED, 401, Tally(1, accepted=0), id="refused-wrongly"),
        pytest.param(Expected.STORED, 202, Tally(1, accepted=0), id="quarantined-wrongly"),
        pytest.param(Expected.STORED, "nobody listens", Tally(1, accepted=0), id="no-answer"),
        pytest.param(Expected.REFUSED, 401, Tally(1, accepted=0, rightly_refused=1), id="refused-rightly"),
        pytest.param(Expected.REFUSED, 202, Tally(1, accepted=0, rightly_refused=1), id="quarantined-rightly"),
        pytest.param(Expected.REFUSED, 204, Tally(1, accepted=0, wrongly_accepted=1), id="accepted-wrongly"),
        pytest.param(Expected.REFUSED, 500, Tally(1, accepted=0), id="refused-for-another-reason"),
    ],
)
def test_an_answer_is_held_against_what_was_expected(expected: Expected, answer: int | str, tally: Tally) -> None:
    """What must be refused is counted apart, and taking it is as wrong as refusing a genuine webhook."""
    counted = Tally.of([Sent("a story", "post_call", answer, expected)])

    assert counted == tally
    assert counted.is_as_expected is (tally.accepted + tally.rightly_refused == 1)
    assert counted.refused == (0 if tally.wrongly_accepted else 1 - tally.accepted - tally.rightly_refused)


def test_tallies_of_several_companies_are_added() -> None:
    """Each number is the sum of its kind."""
    assert Tally(10, 4, 3, 2) + Tally(5, 1, 2, 1) == Tally(15, 5, 5, 3)


def test_nothing_to_play_is_no_mistake() -> None:
    """No stories, no webhooks."""
    assert play_to({}) == ([], [], Tally(sent=0, accepted=0))


def test_a_companys_key_is_not_printed() -> None:
    """The key is a secret, also in a traceback."""
    assert "invented signing key" not in repr(COMPANY)
