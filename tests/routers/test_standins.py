"""The stand-ins of the demo, told by our real sinks; and how the terminal shows what they were told."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from routers.cli.showing import Screen
from routers.messages import Amend, First, Message, Text
from routers.outcomes import AuthFailed, Delivered
from routers.sinks.email import EmailConfig
from routers.sinks.slack import SlackBot, SlackConfig
from routers.standins.hubspot import Card, Entry, HubSpotStandIn
from routers.standins.mailbox import Mail, running_mailbox
from routers.standins.mrkdwn import Run, read_mrkdwn
from routers.standins.serving import running_app
from routers.standins.slack import Line, Post, SlackStandIn
from routers.transitions import Transition
from tests.client import post
from tests.routers.crm_office import CALL, CrmOffice, a_crm_office
from tests.routers.stories import CALL_URL, message_of, story

pytestmark = pytest.mark.anyio

MISSED = story(Transition.CALL_MISSED)
RECORDED = story(Transition.CALL_MISSED, Transition.CALL_RECORDING_READY)
VOICEMAIL = story(Transition.CALL_MISSED, Transition.CALL_VOICEMAIL)


# --- Slack -----------------------------------------------------------------------------------------------------------


@dataclass
class Slack:
    """The stand-in, a bot of ours, and what was seen."""

    url: str
    bot: SlackBot
    posts: list[Post] = field(default_factory=list)


@pytest.fixture
async def slack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Slack]:
    monkeypatch.setenv("SLACK_TOKEN", "xoxb-right")
    posts: list[Post] = []
    async with running_app(SlackStandIn("xoxb-right", posts.append).app) as url:
        bot = bot_of(url)
        yield Slack(url, bot, posts)
        await bot.aclose()


def bot_of(url: str) -> SlackBot:
    block = {"type": "slack", "token": "env:SLACK_TOKEN", "channel": "C0123ABCD", "base_url": f"{url}/calls"}
    bot = SlackConfig.model_validate(block | {"allow_hosts": ["127.0.0.1"]}).build()
    assert isinstance(bot, SlackBot)
    return bot


async def first_of(slack: Slack) -> First:
    told = await slack.bot.deliver(message_of(*MISSED))
    assert isinstance(told, Delivered)
    return First("dl_1", told.remote_id)


async def test_an_edit_is_seen_with_what_the_message_was(slack: Slack) -> None:
    """By its id the stand-in knows which message is meant."""
    first = await first_of(slack)

    assert (await slack.bot.deliver(message_of(*VOICEMAIL, first=first, amend=Amend.EDIT))).reason == "edited"

    new, edited = slack.posts
    assert (new.channel, new.was) == ("calls", None)
    assert edited.was == new.lines
    assert edited.lines[0].text == "*New voicemail · Acme Plumbing*"
    assert edited.lines[-1] == Line(edited.lines[-1].text, is_quiet=True)


async def test_an_answer_is_seen_in_the_thread_of_its_message(slack: Slack) -> None:
    first = await first_of(slack)

    await slack.bot.deliver(message_of(*RECORDED, first=first, amend=Amend.THREAD))

    assert slack.posts[1].answers == slack.posts[0].lines[0].text


async def test_what_an_earlier_run_posted_is_posted_anew(slack: Slack) -> None:
    """The stand-in forgets; the sink does then what it does where a message was deleted."""
    first = First("dl_1", "C0123ABCD:1503435956.000247")

    told = await slack.bot.deliver(message_of(*VOICEMAIL, first=first, amend=Amend.EDIT))

    assert told.reason == "posted anew, for the first message cannot be amended: message_not_found"
    assert [one.was for one in slack.posts] == [None]


async def test_only_the_right_token_opens_it(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_TOKEN", "xoxb-wrong")
    stranger = bot_of(slack.url)
    try:
        assert isinstance(await stranger.deliver(message_of(*MISSED)), AuthFailed)
    finally:
        await stranger.aclose()
    assert slack.posts == []


async def test_the_token_can_be_checked(slack: Slack) -> None:
    """`auth.test` names a user, a team, and the scope that is needed."""
    known, scope, *_ = await slack.bot.check()

    assert known.what == "Slack knows the token: callrail-router of Demo"
    assert scope.ok


@pytest.mark.parametrize(
    ("method", "body", "word"),
    [
        ("chat.delete", b"{}", "unknown_method"),
        ("chat.postMessage", b"no JSON", "invalid_json"),
        ("chat.postMessage", b"[]", "invalid_json"),
        ("chat.postMessage", b"{}", "no_text"),
        ("chat.postMessage", b'{"text": "a", "blocks": [{"type": "image"}]}', "invalid_blocks"),
        ("chat.postMessage", b'{"text": "a", "thread_ts": "1.1"}', "thread_not_found"),
        ("chat.update", b'{"text": "a", "ts": "1.1"}', "message_not_found"),
    ],
)
async def test_what_slack_would_refuse_is_refused_in_its_words(
    slack: Slack, method: str, body: bytes, word: str
) -> None:
    port = int(slack.url.rpartition(":")[2])
    answer = await post(port, f"/calls/{method}", body, [("authorization", "Bearer xoxb-right")])

    assert answer.body.decode() == f'{{"ok":false,"error":"{word}"}}'
    assert slack.posts == []


# --- HubSpot ---------------------------------------------------------------------------------------------------------

AVERY = ("Avery Quill", "+14045550123")
FORM = {"resource_id": "FRM1", "form_data": {"name": "Bea Low", "email": "bea@example.com"}}


@asynccontextmanager
async def logging(database_url: str, folder: Path, cards: list[Card]) -> AsyncIterator[CrmOffice]:
    """An office whose CRM is a stand-in that nobody has told anything yet; *cards* are what is seen."""
    async with running_app(HubSpotStandIn("pat-right", cards.append).app) as url:
        settings = f"type: hubspot, token: env:HUBSPOT_TOKEN, base_url: '{url}'"
        async with a_crm_office(database_url, folder, settings) as office:
            yield office


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "0f1e2d3c")
    monkeypatch.setenv("HUBSPOT_TOKEN", "pat-right")


@pytest.mark.usefixtures("_keys")
async def test_a_contact_is_seen_with_all_its_calls(sqlite_url: str, tmp_path: Path) -> None:
    cards: list[Card] = []
    async with logging(sqlite_url, tmp_path, cards) as office:
        office.calls()
        office.calls("CAL2", answered=True, call_type="answered")
        await office.sends()
        office.hears("call_modified", {**CALL, "note": "Wants a boiler", "changes": ["note"]})
        await office.sends_until_done()

    assert {(card.name, card.phone) for card in cards} == {AVERY}
    titles = [[entry.title for entry in card.entries] for card in cards]
    assert titles == [["Call: missed"], *[["Call: missed", "Call: answered"]] * 2]
    assert [card.what for card in cards] == ["logged", "logged", "brought up to date"]


@pytest.mark.usefixtures("_keys")
async def test_whom_another_company_or_a_form_has_told_is_the_same_contact(sqlite_url: str, tmp_path: Path) -> None:
    cards: list[Card] = []
    async with logging(sqlite_url, tmp_path, cards) as office:
        for company in ("acme", "globex"):
            office.hears("post_call", {**CALL, "resource_id": f"CAL_{company}"}, company=company)
            office.hears("form_submission", {**FORM, "resource_id": f"FRM_{company}"}, company=company)
        await office.sends()

    seen = {card.name: len(card.entries) for card in cards}
    assert seen == {"Avery Quill": 2, "Bea Low": 2}


@pytest.mark.usefixtures("_keys")
async def test_a_contact_of_an_earlier_run_is_made_anew(sqlite_url: str, tmp_path: Path) -> None:
    """The stand-in forgets; the sink does then what it does where somebody deleted the contact."""
    cards: list[Card] = []
    async with logging(sqlite_url, tmp_path, []) as office:
        office.calls()
        await office.sends()
    async with logging(sqlite_url, tmp_path, cards) as office:
        office.calls("CAL2")
        await office.sends()

    (card,) = cards
    assert (card.name, card.phone, len(card.entries)) == (*AVERY, 1)


@pytest.mark.usefixtures("_keys")
async def test_who_has_two_numbers_is_one_contact(sqlite_url: str, tmp_path: Path) -> None:
    """Also where the stand-in has forgotten who it was, and there are two to be looked for by."""
    cards: list[Card] = []
    for run, shown in enumerate(([], cards)):
        async with logging(sqlite_url, tmp_path, shown) as office:
            for number in ("+14045550123", "+14045550124"):
                office.calls(f"CAL{run}-{number[-1]}", customer_phone_number=number, person_resource_id="PER1")
            assert isinstance(await office.sends(), Delivered)

    assert [len(card.entries) for card in cards] == [1, 2]


@pytest.mark.usefixtures("_keys")
async def test_a_record_that_is_there_is_found_by_its_key(sqlite_url: str, postgresql_url: str, tmp_path: Path) -> None:
    """Two routers log the same call at one account, and neither knows of the other."""
    cards: list[Card] = []
    async with running_app(HubSpotStandIn("pat-right", cards.append).app) as url:
        settings = f"type: hubspot, token: env:HUBSPOT_TOKEN, base_url: '{url}'"
        for database_url in (sqlite_url, postgresql_url):
            async with a_crm_office(database_url, tmp_path, settings) as office:
                office.calls()
                assert isinstance(await office.sends(), Delivered)

    assert {len(card.entries) for card in cards} == {1}


@pytest.mark.usefixtures("_keys")
async def test_only_the_right_token_opens_hubspot(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBSPOT_TOKEN", "pat-wrong")
    cards: list[Card] = []
    async with logging(sqlite_url, tmp_path, cards) as office:
        office.calls()
        assert isinstance(await office.sends(), AuthFailed)
    assert cards == []


# --- mail ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def mailing(*messages: Message, **settings: Any) -> AsyncIterator[list[Mail]]:
    """Send *messages* by our sink, over one connection; what was seen."""
    mails: list[Mail] = []
    block = {"type": "email", "host": "127.0.0.1", "tls": "none", "from": "calls@example.com", "to": "a@example.com"}
    async with running_mailbox(mails.append) as port:
        sink = EmailConfig.model_validate(block | {"port": port, "allow_hosts": ["127.0.0.1"]} | settings).build()
        try:
            for message in messages:
                assert isinstance(await sink.deliver(message), Delivered)
        finally:
            await sink.aclose()
        yield mails


async def test_a_mail_is_seen_with_its_head_and_text() -> None:
    async with mailing(message_of(*MISSED), to=["a@example.com", "b@example.com"]) as mails:
        (mail,) = mails

    assert (mail.sender, mail.recipients) == ("calls@example.com", "a@example.com, b@example.com")
    assert (mail.subject, mail.thread) == ("Missed call · Acme Plumbing", None)
    assert mail.lines[0] == "Missed call · Acme Plumbing"
    assert f"Open in CallRail: {CALL_URL}" in mail.lines


async def test_a_follow_up_names_the_mail_that_it_follows() -> None:
    """By References, as mail readers do; of a mail of an earlier run the subject is not known."""
    follow_up = message_of(*RECORDED, first=First("dl_1", None), amend=Amend.THREAD)
    async with mailing(message_of(*MISSED), follow_up) as mails:
        assert [mail.thread for mail in mails] == [None, "Missed call · Acme Plumbing"]
    async with mailing(follow_up) as mails:
        assert [mail.thread for mail in mails] == ["an earlier mail"]


async def test_a_line_that_begins_with_a_dot_arrives_as_it_was() -> None:
    """A dot alone would end the mail, so the sender doubles it."""
    dotted = replace(message_of(*MISSED), write=lambda _: Text("title", ("..", ".", "last")))
    async with mailing(dotted) as (mail,):
        assert list(mail.lines[1:4]) == ["..", ".", "last"]


@pytest.mark.parametrize(
    ("said", "replies"),
    [
        (["RCPT TO:<a@example.com>"], ["503"]),
        (["MAIL FROM:<a@example.com>", "DATA"], ["250", "503"]),
        (["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "RSET", "DATA"], ["250", "250", "250", "503"]),
        (["noop", "VRFY a", "QUIT"], ["250", "500", "221"]),
        (["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA", "\r\nx\r\n."], ["250", "250", "354", "250"]),
    ],
    ids=["rcpt-before-mail", "data-before-rcpt", "reset", "others", "whole"],
)
async def test_commands_are_answered_in_their_order(said: list[str], replies: list[str]) -> None:
    mails: list[Mail] = []
    async with running_mailbox(mails.append) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220")
        for line, expected in zip(said, replies, strict=True):
            writer.write(f"{line}\r\n".encode())
            assert (await reader.readline()).decode()[:3] == expected
        writer.transport.abort()
    assert len(mails) == ("354" in replies)


async def test_a_mail_that_breaks_off_is_none() -> None:
    """Nobody is shown half a mail, and the next one is taken."""
    mails: list[Mail] = []
    async with running_mailbox(mails.append) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: half\r\n")
        writer.write_eof()
        assert (await reader.read()).endswith(b"of its own\r\n")
        writer.close()
        assert mails == []


# --- mrkdwn ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("*Missed call · Acme*", [Run("Missed call · Acme", is_bold=True)]),
        ("~*Missed*~ *· spam*", [Run("Missed", is_bold=True, is_struck=True), Run(" "), Run("· spam", is_bold=True)]),
        ("2*3*4 and 5 * 6 * 7", [Run("2*3*4 and 5 * 6 * 7")]),
        ("<https://a.example/?a=1&amp;b=2|Open>", [Run("Open", link="https://a.example/?a=1&b=2")]),
        ("<https://a.example/>", [Run("https://a.example/", link="https://a.example/")]),
        ("&lt;!channel&gt; &amp;lt;", [Run("<!channel> &lt;")]),
        ("<!date^1^{date_long}|in 1970>", [Run("in 1970")]),
        ("a\x1b[2Jb", [Run("a [2Jb")]),
        ("", []),
    ],
    ids=["bold", "struck", "signs", "link", "bare-link", "entities", "date", "control", "empty"],
)
def test_mrkdwn_is_read_as_slack_shows_it(line: str, runs: list[Run]) -> None:
    assert list(read_mrkdwn(line)) == runs


def test_a_time_is_shown_in_the_readers_own_zone() -> None:
    at = datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC)

    (run,) = read_mrkdwn(f"<!date^{int(at.timestamp())}^{{time}}|13:15 UTC>")

    assert run == Run(f"{at.astimezone():%H:%M}")


# --- the screen ------------------------------------------------------------------------------------------------------

WAS = (Line("*Missed call · Acme*"), Line("AVERY QUILL"))
NOW = (Line("*New voicemail · Acme*"), Line("AVERY QUILL"), Line(f"<{CALL_URL}|Open in CallRail>"))
THREAD = Mail(
    "calls@example.com", "a@example.com", "Re: Missed call", ("Recording ready", "", "x" * 200), "Missed call"
)


def shown(*told: Post | Mail | Card) -> str:
    out = io.StringIO()
    screen = Screen(out)
    for one in told:
        match one:
            case Post():
                screen.posted(one)
            case Mail():
                screen.mailed(one)
            case Card():
                screen.logged(one)
    return out.getvalue()


def test_an_edit_shows_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe: the old title between tildes, a plus before what is new."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    assert shown(Post("calls", NOW, was=WAS)).splitlines() == [
        "● Slack #calls  (edited)",
        "- ~Missed call · Acme~",
        "+ New voicemail · Acme",
        "  AVERY QUILL",
        "+ Open in CallRail",
        "",
    ]


def test_a_new_message_and_an_answer_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    answer = Post("calls", (Line("*Recording ready*"),), answers=WAS[0].text)

    assert shown(Post("calls", WAS), answer).splitlines() == [
        "● Slack #calls",
        "  Missed call · Acme",
        "  AVERY QUILL",
        "",
        "● Slack #calls  (in a thread)",
        "↳ Missed call · Acme",
        "  Recording ready",
        "",
    ]


def test_a_mail_shows_its_head_its_thread_and_its_first_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    long = replace(THREAD, lines=(*THREAD.lines, *map(str, range(20))))

    lines = shown(long).splitlines()

    assert lines[:4] == [
        "● Mail from calls@example.com to a@example.com",
        "↳ in the thread of: Missed call",
        "  Subject: Re: Missed call",
        "  Recording ready",
    ]
    assert lines[4] == "  " + "x" * 119 + "…"
    assert lines[-2:] == ["  …", ""]


def test_a_terminal_gets_print_and_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bold, struck out, and what can be clicked, instead of marks."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    out = shown(Post("calls", NOW, was=WAS))

    assert "~" not in out
    assert re.search(r"\x1b\[9;31mMissed call · Acme", out)
    assert re.search(r"\x1b\[1mNew voicemail · Acme", out)
    assert CALL_URL in out


HOSTILE = "\x1b[2J\x9b\r\nboo \u202e[red]:smile:[/red]"


@pytest.mark.parametrize(
    "told",
    [
        Post(HOSTILE, (Line(HOSTILE), Line(f"<https://a.example/{HOSTILE}|{HOSTILE}>")), answers=HOSTILE),
        Post("calls", (Line("now"),), was=(Line(HOSTILE),)),
        Mail(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE),
        Card(HOSTILE, HOSTILE, (Entry(datetime(2026, 3, 10, tzinfo=UTC), HOSTILE),), "logged"),
    ],
    ids=["new", "edited", "mail", "contact"],
)
@pytest.mark.parametrize("color", [None, "1"], ids=["pipe", "terminal"])
def test_nothing_that_is_told_steers_the_terminal(
    told: Post | Mail | Card, color: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of escapes there are only our own: print and links. What looks like markup of the library is text."""
    monkeypatch.setenv("TERM", "xterm-256color")
    if color is None:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    else:
        monkeypatch.setenv("FORCE_COLOR", color)

    out = shown(told)

    ours = re.compile(r"\x1b\[[\d;]*m|\x1b\]8;[^\x1b\x07]*\x1b\\")
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", ours.sub("", out)) is None
    assert "[red]:smile:[/red]" in out
