"""One thing, one message: from webhooks over routing and a dispatcher to what a Slack or a mailbox of our own shows."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, text

from receiver.database import Database
from routers import leases, outbox
from routers.amending import TOLD_WITH_LATER
from routers.config import Configuration, read_config
from routers.dispatcher import Dispatcher
from routers.messages import Amend
from routers.routing import route
from routers.rules.ruleset import Amending
from routers.schema import OPEN, DeliveryState, deliveries
from routers.serve import build_sinks
from tests.fakes.destination import Behaviour, answer
from tests.fakes.mailbox import Mailbox, running_mailbox
from tests.fakes.receiver_of_webhooks import answer_when
from tests.fakes.slack import TOKEN, FakeSlack, running_slack, told_as_json
from tests.routers.dispatching import World
from tests.routers.store import NOW, FixedClock, opened, receive, rows_of
from tests.routers.waiting import until, wait_until

pytestmark = pytest.mark.anyio
EDITS_APART = Amending(Amend.EDIT).apart

RINGING = {
    "resource_id": "CAL1",
    "customer_name": "AVERY QUILL",
    "customer_phone_number": "+14045550101",
    "start_time": "2026-03-10T09:15:00-04:00",
    "answered": False,
    "duration": 0,
}
MISSED = {**RINGING, "call_type": "missed", "duration": 30}
VOICEMAIL = {**MISSED, "call_type": "voicemail", "voicemail": True, "duration": 45}
TRANSCRIBED = {**VOICEMAIL, "transcription": "A pipe burst, please call me back.", "changes": ["transcription_text"]}
SPAM = {**TRANSCRIBED, "spam": True, "changes": ["spam"]}
ANSWERED = {**MISSED, "call_type": "answered", "answered": True, "duration": 62}

ALL = "[call.ringing, call.missed, call.voicemail, call.answered, call.transcript_ready, call.spam]"
LIFE = [
    ("pre_call", RINGING),
    ("post_call", MISSED),
    ("call_modified", VOICEMAIL),
    ("call_modified", TRANSCRIBED),
    ("call_modified", SPAM),
]


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with running_slack() as running:
        yield running


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACME_KEY": "0f1e2d3c", "SLACK_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    for often in ("RETURN_EVERY", "POLL"):  # the clock is moved by hand, and nobody is told of it
        monkeypatch.setattr(f"routers.dispatcher.{often}", timedelta(milliseconds=20))


@dataclass
class Office:
    """A router whose clock only the test moves, and which may be stopped and started between any two steps."""

    database: Database
    configuration: Configuration
    clock: FixedClock = field(default_factory=FixedClock)

    def hears(self, kind: str, body: Mapping[str, Any]) -> None:
        """A webhook comes and is routed; nothing is sent."""
        with self.database.reading.begin() as conn:  # beside the dispatcher's connection, as another process would
            receive(conn, kind, dict(body))
            route(conn, self.clock, self.configuration.rules, limit=24)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Dispatcher]:
        sinks = build_sinks(self.configuration)
        async with World(self.database).dispatching(sinks, clock=self.clock) as dispatcher:
            yield dispatcher

    @property
    def rows(self) -> list[Row[Any]]:
        return list(rows_of(self.database, deliveries))

    def is_settled(self) -> bool:
        """Whether all that is due has come to its end."""
        return all(row.state not in OPEN or row.due_at > self.clock.moment for row in self.rows)

    async def settles(self, dispatcher: Dispatcher | None = None) -> None:
        """All that is due is sent: by *dispatcher*, or by one of its own that ends again."""
        if dispatcher is None:
            async with self.sending() as own:
                await self.settles(own)
            return
        dispatcher.hint()
        await until(self.is_settled)

    async def ends(self) -> None:
        """All that is to be sent is sent, whenever it is due."""
        while any(row.state in OPEN for row in self.rows):
            await self.settles()
            self.clock.moment += EDITS_APART


@contextlib.contextmanager
def office(url: str, path: Path, sink: str, *, when: str = ALL, send: str = "{to: sales}") -> Any:
    """An office with one sink and one rule that looks at the transitions *when*."""
    config = path / "router.yaml"
    config.write_text(
        f"companies:\n  acme: {{signing_keys: [env:ACME_KEY]}}\nsinks:\n  sales: {{{sink}, allow_hosts: [127.0.0.1]}}\n"
        f"rules:\n  - {{id: calls, when: {when}, on_late: deliver, send: [{send}]}}\n"
    )
    with opened(url) as database:
        yield Office(database, read_config(config))


def bot(slack: FakeSlack, more: str = "rate: 1000/ms") -> str:
    return f"type: slack, token: env:SLACK_TOKEN, channel: C0123ABCD, base_url: '{slack.base_url}', {more}"


def edits_of(slack: FakeSlack) -> list[str]:
    return [method for method, _ in slack.asked if method == "chat.update"]


# --- one message that grows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [True, False], ids=["restarted-at-each-step", "running"])
async def test_a_call_is_one_message_that_shows_how_it_is_now(
    database_url: str, tmp_path: Path, slack: FakeSlack, restarts: bool
) -> None:
    """Ringing, missed, in truth a voicemail, transcribed, spam: the last state stands, and what it was is struck."""
    with office(database_url, tmp_path, bot(slack)) as calls:
        async with contextlib.AsyncExitStack() as stack:
            dispatcher = None if restarts else await stack.enter_async_context(calls.sending())
            for kind, body in LIFE:
                await asyncio.to_thread(calls.hears, kind, body)
                await calls.settles(dispatcher)
                calls.clock.moment += EDITS_APART
                await calls.settles(dispatcher)

        (posted,) = slack.workspace.messages
        head, *others = posted.shown.splitlines()
        assert head.startswith("~*New voicemail · Acme*~ *· spam*")
        assert "Before: ~Missed call · Acme~" in others
        assert "A pipe burst, please call me back." in posted.shown
        way = others[-1]
        steps = ["ringing", "missed", "corrected", "voicemail", "transcript ready", "spam"]
        assert [way.index(step) for step in steps] == sorted(way.index(step) for step in steps)
        assert len(edits_of(slack)) == len(posted.versions) == len(LIFE) - 1
        assert {row.state for row in calls.rows} == {"delivered", "superseded"}


@pytest.mark.parametrize("seed", range(4))
async def test_it_is_edited_at_most_once_in_five_seconds_and_the_last_news_is_told(
    database_url: str, tmp_path: Path, slack: FakeSlack, seed: int
) -> None:
    """News at any times, the dispatcher stopped and started in between; what came too soon is told with the next."""
    rng = random.Random(seed)
    news = [
        *LIFE,
        ("call_modified", {**SPAM, "spam": False}),
        ("call_modified", {**TRANSCRIBED, "note": "no spam at all"}),
    ]
    with office(database_url, tmp_path, bot(slack), when=ALL.replace("]", ", call.changed]")) as calls:
        for kind, body in news:
            await asyncio.to_thread(calls.hears, kind, body)
            if rng.random() < 0.8:
                await calls.settles()
            calls.clock.moment += timedelta(seconds=rng.choice([0, 0, 1, 2, 4, 7]))
        await calls.ends()

        sent = sorted(row.finished_at for row in calls.rows if row.state == DeliveryState.DELIVERED)
        assert all(later - earlier >= EDITS_APART for earlier, later in pairwise(sent))
        (posted,) = slack.workspace.messages
        assert posted.shown.startswith("*New voicemail · Acme*")  # no spam in the end
        assert [method for method, _ in slack.asked].count("chat.postMessage") == 1
        assert not [row for row in calls.rows if row.state not in ("delivered", "superseded")]


async def test_what_is_not_sent_yet_is_sent_once_as_it_is_now(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """The dispatcher was down: one message without an edit, and each piece of news has a row that says why."""
    with office(database_url, tmp_path, bot(slack)) as calls:
        for kind, body in LIFE:
            await asyncio.to_thread(calls.hears, kind, body)
        await calls.ends()

        (posted,) = slack.workspace.messages
        assert posted.shown.startswith("~*New voicemail · Acme*~ *· spam*")
        assert [method for method, _ in slack.asked] == ["chat.postMessage"]
        first, *later = calls.rows
        assert first.state == DeliveryState.DELIVERED
        assert {(row.state, row.reason) for row in later} == {("superseded", outbox.TOLD_WITH_FIRST)}


async def test_news_that_come_before_an_edit_is_sent_are_told_with_it(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """Three within five seconds of the message are one edit."""
    with office(database_url, tmp_path, bot(slack)) as calls:
        calls.hears(*LIFE[0])
        await calls.settles()
        for kind, body in LIFE[1:4]:
            await asyncio.to_thread(calls.hears, kind, body)
            await calls.settles()
        await calls.ends()

        (posted,) = slack.workspace.messages
        assert len(posted.versions) == len(edits_of(slack)) == 1
        assert posted.shown.startswith("*New voicemail · Acme*")
        reasons = {row.reason for row in calls.rows[1:-1]}
        assert reasons == {outbox.SUPERSEDED, TOLD_WITH_LATER}  # that it was missed was never told, nor is it corrected


async def test_after_a_first_message_that_never_came_later_news_is_one_message_too(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """The first was refused for good. The next is posted new, and those after it used to be new each time as well."""
    slack.answers(told_as_json({"ok": False, "error": "invalid_blocks"}))
    with office(database_url, tmp_path, bot(slack)) as calls:
        for kind, body in LIFE:
            await asyncio.to_thread(calls.hears, kind, body)
            await calls.settles()
            calls.clock.moment += EDITS_APART
            await calls.settles()

        (posted,) = slack.workspace.messages
        assert posted.shown.startswith("~*New voicemail · Acme*~ *· spam*")
        assert calls.rows[0].state == DeliveryState.DEAD


async def test_in_a_thread_later_news_answers_the_first_message(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """Each piece of news is an answer, and all are below the first."""
    with office(database_url, tmp_path, bot(slack, "rate: 1000/ms, amend: thread")) as calls:
        for kind, body in LIFE:
            await asyncio.to_thread(calls.hears, kind, body)
            await calls.ends()

        first, *answers = slack.workspace.messages
        assert first.shown.startswith("*Call ringing · Acme*")
        assert {posted.thread_ts for posted in answers} == {first.ts}
        titles = [posted.shown.splitlines()[0] for posted in answers]
        assert [title.strip("*").partition(" · ")[0] for title in titles] == [
            "Missed call",
            "New voicemail",
            "Transcript ready",
            "Call marked as spam",
        ]
        assert not edits_of(slack)


async def test_by_a_hook_one_message_follows_at_most(
    database_url: str, tmp_path: Path, slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook tells no id to edit, and a channel full of news about one call helps nobody."""
    monkeypatch.setenv("SLACK_HOOK", slack.hook_url)
    with office(database_url, tmp_path, "type: slack, webhook_url: env:SLACK_HOOK, rate: 1000/ms") as calls:
        for kind, body in LIFE:
            await asyncio.to_thread(calls.hears, kind, body)
            await calls.ends()

    assert len(slack.workspace.messages) == 2


async def test_mails_about_a_call_are_one_thread(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each later one names the first mail, by the id that the first had."""
    async with running_mailbox() as mailbox:
        with office(database_url, tmp_path, _mail(mailbox)) as calls:
            for kind, body in LIFE[:3]:
                await asyncio.to_thread(calls.hears, kind, body)
                await calls.ends()
            first_key = calls.rows[0].id

    first, *answers = [mail.parsed for mail in mailbox.mails]
    assert first_key in first["Message-ID"]
    assert first["References"] is None
    assert len(answers) == 2  # missed, and the voicemail that it proved to be
    assert {mail[name] for mail in answers for name in ("References", "In-Reply-To")} == {first["Message-ID"]}


def _mail(mailbox: Mailbox) -> str:
    return f"type: email, host: 127.0.0.1, port: {mailbox.port}, tls: none, from: a@example.com, to: b@example.com"


# --- corrections -----------------------------------------------------------------------------------------------------

ONLY_MISSED = "[call.missed]"


async def test_a_correction_before_sending_tells_nobody_what_was_wrong(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """Nothing is posted, and there is nothing to put right."""
    with office(database_url, tmp_path, bot(slack), when=ONLY_MISSED) as calls:
        calls.hears("post_call", MISSED)
        calls.hears("call_modified", ANSWERED)
        await calls.ends()

        assert [(row.state, row.reason) for row in calls.rows] == [("superseded", outbox.SUPERSEDED)]
    assert not slack.asked


async def test_a_correction_while_it_is_being_sent_edits_it_afterwards(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """It is on the wire and cannot be taken back."""
    released = asyncio.Event()
    posts = slack.destination
    posts.behaves(answer_when(released, slack.behave), slack.behave)
    with office(database_url, tmp_path, bot(slack), when=ONLY_MISSED) as calls:
        calls.hears("post_call", MISSED)
        async with calls.sending() as dispatcher:
            dispatcher.hint()
            await posts.received(1)
            await asyncio.to_thread(calls.hears, "call_modified", ANSWERED)
            released.set()
            await calls.settles(dispatcher)
        await calls.ends()

    (posted,) = slack.workspace.messages
    assert posted.shown.startswith("*Call corrected · Acme*")
    assert "Before: ~Missed call · Acme~" in posted.shown


# The bot is not known any more. That counts as no try.
REFUSED = answer(200, body=b'{"ok": false, "error": "invalid_auth"}')


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("rules:\n  - {id: calls, when: [call.missed, call.answered], SEND}\n", id="of-both"),
        pytest.param("rules:\n  - {id: o, when: [form.submitted], SEND}\nunmatched: {calls: sales}\n", id="unmatched"),
    ],
)
@pytest.mark.parametrize("amend", ["silent", "new", "edit"])
@pytest.mark.parametrize("fault", [answer(503), REFUSED], ids=["503", "auth"])
@pytest.mark.parametrize(
    ("steps", "title"),
    [
        pytest.param([ANSWERED], "Call answered", id="once"),
        pytest.param([ANSWERED, {**MISSED, "note": "b"}], "Missed call", id="there-and-back"),
        pytest.param([ANSWERED, {**MISSED, "note": "b"}, {**ANSWERED, "note": "c"}], "Call answered", id="thrice"),
    ],
)
async def test_a_correction_while_a_try_fails_is_told_by_the_next_try(
    database_url: str,
    tmp_path: Path,
    slack: FakeSlack,
    more: str,
    amend: str,
    fault: Behaviour,
    steps: list[dict[str, object]],
    title: str,
) -> None:
    """Nobody read the wrong outcome; the right one is told once, and to no one less."""
    released = asyncio.Event()
    posts = slack.destination
    posts.behaves(answer_when(released, fault), slack.behave)
    with office(database_url, tmp_path, bot(slack, f"amend: {amend}, rate: 1000/ms")) as calls:
        file = tmp_path / "router.yaml"
        head = file.read_text().split("rules:")[0]
        file.write_text(head + more.replace("SEND", "on_late: deliver, send: [{to: sales}]"))
        calls.configuration = read_config(file)
        calls.hears("post_call", MISSED)
        async with calls.sending() as dispatcher:
            dispatcher.hint()
            await posts.received(1)
            for told in steps:
                await asyncio.to_thread(calls.hears, "call_modified", told)
            released.set()
            await until(lambda: calls.rows[0].state == DeliveryState.PENDING)
        calls.clock.moment += timedelta(minutes=10)
        await calls.ends()

    (posted,) = slack.workspace.messages
    assert posted.shown.startswith(f"*{title} · Acme*")


@pytest.mark.parametrize("amend", ["silent", "new", "edit"])
@pytest.mark.parametrize("fault", [answer(503), REFUSED], ids=["503", "auth"])
async def test_that_something_was_wrong_is_told_to_nobody_who_was_not_told_it(
    database_url: str, tmp_path: Path, slack: FakeSlack, amend: str, fault: Behaviour
) -> None:
    """The try failed, the call was answered after all, and the rule is about missed calls alone."""
    released = asyncio.Event()
    slack.destination.behaves(answer_when(released, fault), slack.behave)
    options = bot(slack, f"amend: {amend}, rate: 1000/ms")
    with office(database_url, tmp_path, options, when=ONLY_MISSED) as calls:
        calls.hears("post_call", MISSED)
        async with calls.sending() as dispatcher:
            dispatcher.hint()
            await slack.destination.received(1)
            await asyncio.to_thread(calls.hears, "call_modified", ANSWERED)
            released.set()
            await until(lambda: calls.rows[0].state == DeliveryState.PENDING)
        calls.clock.moment += timedelta(minutes=10)
        await calls.ends()

    assert slack.workspace.messages == []


async def test_a_correction_after_it_was_sent_edits_it_and_one_back_again_too(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """What stands there is true in the end, however often it changes."""
    with office(database_url, tmp_path, bot(slack), when=ONLY_MISSED) as calls:
        for body in (MISSED, ANSWERED, {**MISSED, "note": "missed after all"}):
            kind = "post_call" if body is MISSED else "call_modified"
            await asyncio.to_thread(calls.hears, kind, body)
            await calls.ends()
            calls.clock.moment += EDITS_APART

    (posted,) = slack.workspace.messages
    assert posted.shown.startswith("*Call corrected · Acme*")
    assert "answered → missed" in posted.shown
    assert len(posted.versions) == 2


async def test_a_correction_is_told_once_where_the_rule_looks_at_it_too(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """The two pieces of news that it then is used to end each other, and nobody was told."""
    with office(database_url, tmp_path, bot(slack), when="[call.missed, call.corrected]") as calls:
        for kind, body in (("post_call", MISSED), ("call_modified", ANSWERED)):
            await asyncio.to_thread(calls.hears, kind, body)
            await calls.ends()

        assert [row.state for row in calls.rows] == ["delivered", "delivered"]
    (posted,) = slack.workspace.messages
    assert posted.shown.startswith("*Call corrected · Acme*")


async def test_a_correction_that_was_not_told_yet_is_not_told_when_it_proves_wrong_itself(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """Missed, answered, missed again before the message could be edited: it ends with what is true."""
    with office(database_url, tmp_path, bot(slack), when=ONLY_MISSED) as calls:
        calls.hears("post_call", MISSED)
        await calls.settles()
        calls.hears("call_modified", ANSWERED)
        calls.hears("call_modified", {**MISSED, "note": "missed after all"})
        await calls.ends()

    (posted,) = slack.workspace.messages
    assert "missed → answered" not in posted.shown
    assert "answered → missed" in posted.shown
    assert len(posted.versions) == 1


async def test_a_correction_waits_for_who_is_about_to_send_what_is_wrong(
    postgresql_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """It used to end the row while the message went out, and nobody put that right."""
    with office(postgresql_url, tmp_path, bot(slack), when=ONLY_MISSED) as calls:
        calls.hears("post_call", MISSED)
        with opened(postgresql_url) as other, ThreadPoolExecutor(1) as pool:
            with other.writing.begin() as conn:
                over = NOW + timedelta(minutes=1)
                held = leases.claim_due(conn, sink="sales", now=NOW, lease_until=over, instance="in_2", limit=9)
                assert len(held) == 1
                routing = pool.submit(calls.hears, "call_modified", ANSWERED)
                wait_until(lambda: _somebody_waits_for_a_lock(calls.database))
            routing.result()

        first, correction = calls.rows
        assert first.state == DeliveryState.SENDING
        assert (correction.state, correction.amends) == (DeliveryState.BLOCKED, first.id)


def _somebody_waits_for_a_lock(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.reading.connect() as conn:
        return bool(conn.execute(text(waiting)).scalar_one())


# --- what a dead process was sending ---------------------------------------------------------------------------------


def dies_sending(calls: Office) -> None:
    """A process claims what is due and marks it, its request arrives or does not, and nobody hears of it again."""
    with calls.database.writing.begin() as conn:
        over = calls.clock.moment - timedelta(seconds=1)
        held = leases.claim_due(
            conn, sink="sales", now=calls.clock.moment, lease_until=over, instance="in_dead", limit=9
        )
        assert len(held) == 1


async def test_where_people_read_it_is_repeated_once_after_a_minute_and_says_so(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """A second death in the middle of it is one too many: it is kept for a person to decide."""
    with office(database_url, tmp_path, bot(slack), when=ONLY_MISSED) as calls:
        calls.hears("post_call", MISSED)
        dies_sending(calls)
        async with calls.sending() as dispatcher:
            await calls.settles(dispatcher)
            assert not slack.asked
            assert calls.rows[0].due_at == calls.clock.moment + timedelta(seconds=60)
            calls.clock.moment += timedelta(seconds=60)
            await calls.settles(dispatcher)
        (posted,) = slack.workspace.messages
        assert "May repeat" in posted.shown

        calls.hears("post_call", {**MISSED, "resource_id": "CAL2"})
        for _ in range(2):
            dies_sending(calls)
            async with calls.sending() as dispatcher:
                await calls.settles(dispatcher)
            calls.clock.moment += timedelta(seconds=60)
        assert [row.state for row in calls.rows] == [DeliveryState.DELIVERED, DeliveryState.UNCERTAIN]
    assert len(slack.workspace.messages) == 1


@pytest.mark.parametrize(
    ("on_uncertain", "state", "posted"), [("hold", DeliveryState.UNCERTAIN, 0), ("retry", DeliveryState.DELIVERED, 1)]
)
async def test_a_sink_may_say_what_follows_a_send_of_which_nobody_knows(
    database_url: str, tmp_path: Path, slack: FakeSlack, on_uncertain: str, state: DeliveryState, posted: int
) -> None:
    """Held for a person to decide, or sent again at once; the next of the same person goes on in either case."""
    more = f"rate: 1000/ms, on_uncertain: {on_uncertain}"
    with office(database_url, tmp_path, bot(slack, more), when=ONLY_MISSED) as calls:
        calls.hears("post_call", MISSED)
        calls.hears("post_call", {**MISSED, "resource_id": "CAL2"})
        dies_sending(calls)
        await calls.settles()

        assert [row.state for row in calls.rows] == [state, DeliveryState.DELIVERED]
    assert len(slack.workspace.messages) == posted + 1


async def test_an_edit_that_may_have_been_made_is_made_again_without_a_word(
    database_url: str, tmp_path: Path, slack: FakeSlack
) -> None:
    """Editing twice is editing once."""
    with office(database_url, tmp_path, bot(slack)) as calls:
        calls.hears(*LIFE[0])
        await calls.settles()
        calls.hears(*LIFE[1])
        calls.clock.moment += EDITS_APART
        dies_sending(calls)
        await calls.settles()
        calls.clock.moment += timedelta(seconds=60)
        await calls.settles()

    (posted,) = slack.workspace.messages
    assert posted.shown.startswith("*Missed call · Acme*")
    assert "May repeat" not in posted.shown
