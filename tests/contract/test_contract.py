"""Every sink that is reached by HTTP against one table of answers. A case is a file `NAME_case.py` beside this one."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from routers.messages import Message, Text
from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Rejected, Retry, Uncertain
from routers.transitions import Transition
from tests.contract.case import SinkCase
from tests.fakes.destination import (
    Behaviour,
    Destination,
    answer,
    break_off_in_the_body,
    close,
    endless_body,
    hang,
    hang_after_the_headers,
    port_nobody_listens_on,
    redirect,
    reset,
    running_destination,
    talk_nonsense,
)

pytestmark = pytest.mark.anyio

CASES: list[SinkCase] = [
    importlib.import_module(f"tests.contract.{path.stem}").CASE
    for path in sorted(Path(__file__).parent.glob("*_case.py"))
]
LONG, SHORT = 30.0, 0.3

FIELDS = {
    "customer_name": "Avery Quill",
    "customer_phone_number": "+14045550123",
    "contact_email": "avery@example.com",
    "callrail_id": "CAL0191f00a1b2c7d3e8f405162738495a6",
}
MESSAGE = Message(
    key="dl_06bqexample",
    transition=Transition.CALL_MISSED,
    company="acme",
    occurred_at=datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC),
    data=lambda: {"company": "acme", "fields": FIELDS},
    write=lambda escape: Text("Missed call", (escape("Avery Quill"), escape("(404) 555-0123"))),
    object_type="call",
    callrail_id="CAL0191f00a1b2c7d3e8f405162738495a6",
    values=lambda: dict(FIELDS),
)
# What an answer may repeat, and a reason may not.
ECHO = (
    b'{"ok": false, "error": "invalid_arguments: no customer avery quill, (404) 555-0123, +14045550123 or '
    b'avery@example.com, token xoxb-1234567890-abcdefghij at https://api.example.com/hook/very-secret?sig=secret"}'
)
PRIVATE = ("avery", "quill", "555", "0123", "xoxb", "secret", "abcdefghij")


@dataclass(frozen=True)
class Row:
    """One thing that a destination can do, and what it means by the table that all sinks share.

    Attributes:
        behaviour: What it does with a request; *on_accept*: with a connection, before it reads.
        after: How long it asks to wait; None if it does not.
        timeout: How long the sink waits, in seconds.
    """

    outcome: type[Outcome]
    behaviour: Behaviour = hang
    on_accept: Behaviour | None = None
    after: timedelta | None = None
    whole_lane: bool = False
    timeout: float = LONG


def told(status: int, outcome: type[Outcome], *, whole_lane: bool = False) -> Row:
    return Row(outcome, answer(status, body=ECHO), whole_lane=whole_lane)


def in_two_minutes(conversation_status: int) -> Behaviour:
    """An answer with a date two minutes from when it is given."""

    async def behave(conversation: object) -> None:
        when = format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)
        await answer(conversation_status, headers={"Retry-After": when})(conversation)  # type: ignore[arg-type]

    return behave


HTML = b"<!doctype html><html><body><h1>Sign in</h1></body></html>"
ROWS: dict[str, Row] = {
    "200": Row(Delivered, answer(200)),
    "200 with an error body": Row(Delivered, answer(200, body=ECHO)),
    "200 with HTML": Row(Delivered, answer(200, headers={"content-type": "text/html"}, body=HTML)),
    "200 without end": Row(Delivered, endless_body),
    "204": Row(Delivered, answer(204)),
    "301": Row(Rejected, redirect("/elsewhere", 301)),
    "302": Row(Rejected, redirect("/elsewhere", 302)),
    "307": Row(Rejected, redirect("/elsewhere", 307)),
    "308": Row(Rejected, redirect("/elsewhere", 308)),
    "400": told(400, Rejected),
    "401": told(401, AuthFailed),
    "403": told(403, AuthFailed),
    "404": told(404, Retry),
    "408": told(408, Retry),
    "409": told(409, Retry),
    "410": told(410, Gone),
    "413": told(413, Rejected),
    "422": told(422, Retry),
    "425": told(425, Retry),
    "429": told(429, Retry, whole_lane=True),
    "429 with seconds": Row(
        Retry, answer(429, headers={"Retry-After": "30"}), after=timedelta(seconds=30), whole_lane=True
    ),
    "429 with a date": Row(Retry, in_two_minutes(429), after=timedelta(minutes=2), whole_lane=True),
    "500": told(500, Retry),
    "502": told(502, Retry),
    "503": told(503, Retry),
    "503 with seconds": Row(
        Retry, answer(503, headers={"Retry-After": "30"}), after=timedelta(seconds=30), whole_lane=True
    ),
    "504": told(504, Retry),
    "hangs before the headers": Row(Uncertain, hang, timeout=SHORT),
    "hangs after the headers": Row(Uncertain, hang_after_the_headers, timeout=SHORT),
    "breaks off in the body": Row(Uncertain, break_off_in_the_body),
    "resets before the request": Row(Uncertain, on_accept=reset),
    "resets after the request": Row(Uncertain, reset),
    "closes": Row(Uncertain, close),
    "speaks another protocol": Row(Uncertain, talk_nonsense),
}


@pytest.fixture(params=CASES, ids=[case.name for case in CASES])
def case(request: pytest.FixtureRequest) -> SinkCase:
    found: SinkCase = request.param
    return found


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


async def deliver(case: SinkCase, url: str, timeout: float = LONG) -> Outcome:  # noqa: ASYNC109  (the sink's own)
    sink = case.build(url, timeout)
    try:
        return await sink.deliver(MESSAGE)
    finally:
        await sink.aclose()


async def test_what_is_accepted_is_delivered_by_one_request(case: SinkCase, destination: Destination) -> None:
    """One message is one request."""
    destination.behaves(case.accepts)

    assert isinstance(await deliver(case, destination.url), Delivered)
    assert len(destination.requests) == 1


@pytest.mark.parametrize("name", ROWS)
async def test_an_answer_means_what_the_table_says(case: SinkCase, destination: Destination, name: str) -> None:
    """The outcome is the table's, or the one in which the sink's own API differs; nothing is sent twice.

    Its reason is kept and shown: one line, short, without what the answer repeats of persons, tokens and addresses.
    """
    row = ROWS[name]
    destination.behaves(row.behaviour)
    destination.on_accept(row.on_accept)

    outcome = await deliver(case, destination.url, row.timeout)

    assert type(outcome) is case.expected.get(name, row.outcome), outcome
    assert destination.connections == 1
    assert len(destination.requests) == (row.on_accept is None)
    assert outcome.reason.isprintable()
    assert 0 < len(outcome.reason) < 400
    assert [part for part in PRIVATE if part in outcome.reason.lower()] == []
    if isinstance(outcome, Retry):
        assert not outcome.is_ours
        assert outcome.whole_lane or not row.whole_lane
        assert is_as_asked(outcome.after, row.after)


def is_as_asked(after: timedelta | None, asked: timedelta | None) -> bool:
    """Whether *after* is what was asked; a date has whole seconds, and some time has passed since it was written."""
    if after is None or asked is None:
        return after is asked
    return asked - timedelta(seconds=LONG) <= after <= asked


@contextmanager
def nobody_listens() -> Iterator[str]:
    with port_nobody_listens_on() as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def no_such_name() -> Iterator[str]:
    yield "http://name.invalid"


@pytest.mark.parametrize("nowhere", [nobody_listens, no_such_name])
async def test_what_never_left_is_tried_again(case: SinkCase, nowhere: Callable[[], Iterator[str]]) -> None:
    """Without a connection nothing can have happened over there."""
    with nowhere() as url:  # type: ignore[attr-defined]
        outcome = await deliver(case, url)

    assert isinstance(outcome, Retry)
    assert not outcome.whole_lane


async def test_without_tls_nothing_leaves(case: SinkCase, destination: Destination) -> None:
    """A server that does not complete the handshake has seen no message."""
    destination.on_accept(talk_nonsense)

    outcome = await deliver(case, destination.url.replace("http:", "https:"))

    assert isinstance(outcome, Retry)
    assert destination.requests == []


async def test_a_sink_is_closed_twice_without_harm(case: SinkCase) -> None:
    """Who stops a process need not know what is closed already."""
    sink = case.build("http://127.0.0.1:9", LONG)

    await sink.aclose()
    await sink.aclose()


def test_a_case_differs_only_where_the_table_has_a_row() -> None:
    """A row that is renamed is renamed in the cases."""
    assert CASES
    assert {name for case in CASES for name in case.expected} <= ROWS.keys()
