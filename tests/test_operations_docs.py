"""docs/operations.md says what the program does: what becomes of a delivery after each answer, and every state."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.buckets import LIMITS
from receiver.instances import ALIVE_FOR
from receiver.intake import MAX_QUARANTINING
from receiver.quarantine import KEPT_FOR, UNKNOWN_KEPT_FOR
from receiver.schema import QuarantineReason
from routers.audience import Audience
from routers.checkup import LITTLE_SPACE, LONGEST_LOOK, NO_SPACE
from routers.cli.keys import verdict_on
from routers.durations import written_duration
from routers.outcomes import Outcome, Retry
from routers.retries import OWN_TROUBLE, PAUSE, REPEAT_AFTER, Policy, next_step
from routers.routing import MAX_TRIES
from routers.schema import DeliveryState
from routers.sinks.config import SCHEDULES
from routers.uncertain import OnUncertain
from tests.contract.test_contract import ROWS, Row
from tests.routers.running import run_here
from tests.routers.store import NOW

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RNG = random.Random(1)
# What the table of answers has in tests of its own, because nothing answers there.
NO_ANSWER = {
    "connection refused": Row(Retry),
    "no such name": Row(Retry),
    "no TLS": Row(Retry),
}
OUR_NETWORK = "our own network is down"
PEOPLE = Policy(SCHEDULES[Audience.PEOPLE], OnUncertain.REPEAT)
SYSTEMS = Policy(SCHEDULES[Audience.SYSTEMS], OnUncertain.RETRY)


def outcomes() -> dict[str, Outcome]:
    """By the name of an answer, what a sink makes of it."""
    rows = {**ROWS, **NO_ANSWER}
    made: dict[str, Outcome] = {name: _outcome(row) for name, row in rows.items()}
    return made | {OUR_NETWORK: Retry("no route", is_ours=True)}


def _outcome(row: Row) -> Outcome:
    if row.outcome is Retry:
        return Retry("said", row.after, whole_lane=row.whole_lane)
    return row.outcome("said")  # type: ignore[call-arg]  # no row is `Postponed`: only accounts are


def what_follows(outcome: Outcome, policy: Policy) -> str:
    """In the words of the page, what becomes of a delivery whose every try ends in *outcome*."""
    step = next_step(outcome, attempts=0, now=NOW, policy=policy, rng=RNG)
    if step.state is not DeliveryState.PENDING:
        return f"`{step.state}`"
    if step.shuts_lane:
        return f"stays `pending`; the lane rests {_rest(step.pause_lane)}, then one probe"
    if step.attempts == 0:
        return f"stays `pending`, no try is counted; the lane rests {_rest(step.pause_lane)}"
    tries, may_repeat = 1, step.may_repeat
    last = step
    while last.state is DeliveryState.PENDING:
        last = next_step(outcome, attempts=tries, now=NOW, policy=policy, rng=RNG, may_repeat=may_repeat)
        tries, may_repeat = tries + 1, last.may_repeat
    told = f"{tries} tries, then `{last.state}`"
    return told + ("; the lane rests between them" if step.pause_lane is not None else "")


def _rest(pause: timedelta | None) -> str:
    assert pause in (PAUSE, OWN_TROUBLE)
    return written_duration(pause) if pause else ""


def table_below(heading: str) -> list[list[str]]:
    """The rows of the first table below *heading*, without its head."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1]
    lines = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ANSWERS = {
    name.strip(): (people, systems)
    for names, people, systems in table_below("What an answer leads to")
    for name in names.split(",")
}


def test_the_page_has_every_answer_once() -> None:
    """Those of the table that all sinks are held against, and what happens where nothing answers."""
    named = [name for names, *_ in table_below("What an answer leads to") for name in names.split(",")]

    assert sorted(name.strip() for name in named) == sorted(outcomes())


@pytest.mark.parametrize("name", outcomes())
def test_an_answer_leads_to_what_the_page_says(name: str) -> None:
    """Where people read and where systems do, with the schedules and defaults of the program."""
    outcome = outcomes()[name]

    assert ANSWERS[name] == (what_follows(outcome, PEOPLE), what_follows(outcome, SYSTEMS))


def test_the_page_knows_every_way_to_treat_an_uncertain_send() -> None:
    """The setting's words, each with what follows from it."""
    uncertain = outcomes()["closes"]
    said = {name.strip("`"): what for name, what, *_ in table_below("Uncertain sends")}

    assert said == {way.value: what_follows(uncertain, Policy(SYSTEMS.schedule, way)) for way in OnUncertain}
    assert f"{REPEAT_AFTER.total_seconds():g} s" in PAGE


def test_the_page_has_every_state() -> None:
    """Whoever reads one in a list finds it, in the order of the program."""
    assert [name.strip("`") for name, *_ in table_below("States of a delivery")] == [
        state.value for state in DeliveryState
    ]


@pytest.mark.parametrize("audience", list(Audience))
def test_the_page_has_the_schedule_of_each_audience(audience: Audience) -> None:
    """The waits between tries."""
    assert ", ".join(written_duration(wait) for wait in SCHEDULES[audience]) in PAGE


def test_every_section_is_found_from_the_table_at_the_top() -> None:
    """By its symptom, or as a word: who is called reads no more than the table and one section."""
    top, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    linked = set(re.findall(r"\]\(#([a-z0-9-]+)\)", top))
    headings = [section.partition("\n")[0] for section in sections]

    assert {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings} == linked
    assert len(headings) == len(set(headings))


def test_the_page_knows_when_doctor_speaks_up() -> None:
    """How long a look may take, when a process counts as gone, and how much room is little."""
    words = " ".join(PAGE.split())

    assert f"has no answer within {written_duration(LONGEST_LOOK)}, is itself a problem" in words
    assert f"without a heartbeat for {written_duration(ALIVE_FOR)} counts as gone" in words
    assert f"below {LITTLE_SPACE // 1_000_000_000} GB free" in words
    assert f"below {NO_SPACE // 1_000_000} MB" in words


def test_the_page_knows_how_often_an_event_is_tried() -> None:
    """In words."""
    assert MAX_TRIES == 5
    assert "is tried five times" in PAGE


def test_the_screens_of_the_page_are_those_of_the_program(sqlite_url: str) -> None:
    """What `status` has in front of each line; each remedy of `doctor` is one of its own."""
    ran = run_here("status", "--database-url", sqlite_url)
    screen = block_that_begins("callrail-router status")
    fronts = [front for line in ran.out.splitlines() if (front := line.partition("  ")[0].strip())]
    source = (ROOT / "routers" / "checkup.py").read_text(encoding="utf-8")
    remedies = re.findall(r"^    (\S.*)$", block_that_begins("callrail-router doctor"), re.MULTILINE)

    shown = [line.partition("  ")[0] for line in screen.partition("\n\n")[0].splitlines()]

    assert [front for front in shown if front] == fronts
    assert [remedy for remedy in remedies if remedy.removesuffix("crm") not in source.replace("{name}", "")] == []


def block_that_begins(command: str) -> str:
    """The output that the page shows below a command."""
    return PAGE.split(f"```\n$ {command}\n", 1)[1].partition("```")[0]


def test_every_reason_of_the_quarantine_is_explained() -> None:
    """Nothing lies there for a reason that the page does not know."""
    told = [row[0].strip("`") for row in table_below("Webhooks in quarantine")]

    assert sorted(told) == sorted(QuarantineReason)


def test_the_page_knows_how_much_the_quarantine_keeps_and_for_how_long() -> None:
    """As the program does."""
    company, unknown = LIMITS.company_bytes // 1_000_000, LIMITS.unknown_bytes // 1_000_000
    buckets = (
        f"Each company has a bucket of {company} MB, kept for {KEPT_FOR.days} days. "
        f"All unknown companies have one of {unknown} MB together, kept for {UNKNOWN_KEPT_FOR.days} days"
    )
    rate = f"writes {LIMITS.writes_a_second} unproved webhooks a second at most, and {MAX_QUARANTINING} at once"
    words = " ".join(PAGE.split())

    assert buckets in words
    assert rate in words


def test_every_verdict_on_a_key_is_explained() -> None:
    """And none that the command never says."""
    day = timedelta(days=1)
    said = {
        verdict_on(until, last, others, NOW)[0]
        for until in (None, (NOW - day).date())
        for last in (None, NOW, NOW - day, NOW - 30 * day)
        for others in ([], [NOW])
    }

    told = {row[0].strip("`") for row in table_below("Changing a signing key") if row[0].startswith("`")}
    assert told == said | {"not readable"}
