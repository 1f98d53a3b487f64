"""The e-mail sink against a real mail server: real TLS, real logins, and each reply at each step."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from routers import escapes
from routers.config import check_config
from routers.messages import Amend, Chapter, First, Message, Text
from routers.outcomes import AuthFailed, Delivered, Outcome, Rejected, Retry, Uncertain
from routers.sinks.config import HttpSinkConfig
from routers.sinks.email import EmailConfig, EmailSink
from routers.sinks.mail import Letterhead, compose
from routers.transitions import Transition
from tests.fakes.destination import port_nobody_listens_on, port_that_accepts_nobody
from tests.fakes.mailbox import Mail, Mailbox, Trouble, running_mailbox

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC)
ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.net"
A_MINUTE = timedelta(minutes=1)
LOGIN = ("router", "correct horse")


def told(title: str, *lines: str) -> Any:
    """What writes a text, as templates do: what a caller told is escaped."""
    return lambda escape: Text(escape(title), tuple(map(escape, lines)))


def a_message(key: str = "dl_06bqexample", **more: Any) -> Message:
    return Message(
        **{
            "key": key,
            "transition": Transition.CALL_MISSED,
            "company": "acme",
            "occurred_at": NOW,
            "data": dict,
            "write": told("Missed call · Acme", "Zoë Quill · (404) 555-0101"),
            **more,
        }
    )


def a_chapter(title: str) -> Chapter:
    return Chapter(Transition.CALL_RINGING, NOW - timedelta(seconds=20), told(title))


def settings(**more: Any) -> dict[str, Any]:
    block = {"type": "email", "host": "127.0.0.1", "from": "calls@example.com", "to": [ANN, BOB]}
    return block | {"tls": "none", "allow_hosts": ["127.0.0.1"]} | more


def a_sink(mailbox: Mailbox, **more: Any) -> EmailSink:
    """A sink as `router.yaml` makes it, allowed to reach loopback."""
    return EmailConfig.model_validate(settings(port=mailbox.port, **more)).build()


async def deliver(mailbox: Mailbox, *messages: Message, **more: Any) -> Outcome:
    """Deliver one after the other; the last outcome."""
    sink = a_sink(mailbox, **more)
    try:
        for message in messages or (a_message(),):
            outcome = await sink.deliver(message)
    finally:
        await sink.aclose()
    return outcome


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with running_mailbox() as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", LOGIN[1])


def certified(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    """What a server with a certificate for *names* shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


WITH_LOGIN = {"user": LOGIN[0], "password": "env:MAIL_PASSWORD"}


# --- the way there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", [(), ("PLAIN",)], ids=["by PLAIN", "by LOGIN"])
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_mail_and_login_go_through_tls(
    authority: trustme.CA, ca_file: str, tls: str, without: tuple[str, ...]
) -> None:
    """With either sort of TLS the server sees who we are and takes the mail, and all of it is encrypted."""
    modes: dict[str, Any] = {tls: certified(authority, "127.0.0.1")}
    async with running_mailbox(login=LOGIN, without=without, **modes) as mailbox:
        outcome = await deliver(mailbox, tls=tls, ca_file=ca_file, **WITH_LOGIN)

    assert isinstance(outcome, Delivered)
    (mail,) = mailbox.mails
    assert (mail.is_secret, mail.user, mail.sender, mail.recipients) == (
        True,
        "router",
        "calls@example.com",
        (ANN, BOB),
    )


async def test_without_tls_the_mail_arrives_in_the_clear(mailbox: Mailbox) -> None:
    """`tls: none` is for a server beside us."""
    assert await deliver(mailbox) == Delivered("accepted", remote_id="<dl_06bqexample@example.com>")
    assert [mail.is_secret for mail in mailbox.mails] == [False]


async def test_a_login_in_the_clear_has_to_be_allowed() -> None:
    """A password that anybody on the way can read is a mistake of the file, until it says that it is meant."""
    with pytest.raises(ValidationError, match="allow_plain_login: true"):
        EmailConfig.model_validate(settings(**WITH_LOGIN))

    async with running_mailbox(login=LOGIN) as mailbox:
        await deliver(mailbox, allow_plain_login=True, **WITH_LOGIN)

    assert [mail.user for mail in mailbox.mails] == ["router"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        pytest.param(["mail.example.com"], {}, "certificate is not valid for '127.0.0.1'", id="other name"),
        pytest.param(["127.0.0.1"], {"not_after": NOW - timedelta(days=1)}, "certificate has expired", id="expired"),
    ],
)
async def test_a_wrong_certificate_stops_the_mail(
    authority: trustme.CA, ca_file: str, tls: str, names: list[str], options: dict[str, Any], said: str
) -> None:
    """A certificate for another name or time: neither login nor mail leaves, until it is mended."""
    modes: dict[str, Any] = {tls: certified(authority, *names, **options)}
    async with running_mailbox(login=LOGIN, **modes) as mailbox:
        outcome = await deliver(mailbox, tls=tls, ca_file=ca_file, **WITH_LOGIN)

    assert isinstance(outcome, Retry)
    assert said in outcome.reason
    assert not {"AUTH", "MAIL"} & {*mailbox.commands}


async def test_a_certificate_of_an_authority_that_nobody_named_stops_the_mail(authority: trustme.CA) -> None:
    """Without `ca_file` only the system's authorities count."""
    async with running_mailbox(starttls=certified(authority, "127.0.0.1")) as mailbox:
        outcome = await deliver(mailbox, tls="starttls")

    assert isinstance(outcome, Retry)
    assert "certificate is not valid" in outcome.reason
    assert mailbox.commands == ["EHLO", "STARTTLS"]


async def test_where_starttls_was_stripped_nothing_leaves(mailbox: Mailbox) -> None:
    """Who takes STARTTLS out of the server's offer gets neither password nor mail."""
    outcome = await deliver(mailbox, tls="starttls", **WITH_LOGIN)

    assert outcome == Retry("the mail server does not offer STARTTLS, so nothing was sent to it")
    assert [command for command in mailbox.commands if command != "QUIT"] == ["EHLO"]


async def test_tls_from_the_first_byte_on_a_port_without_it_says_so(mailbox: Mailbox) -> None:
    """The usual mix-up of 465 and 587 names itself."""
    outcome = await deliver(mailbox, tls="implicit")

    assert outcome == Retry("no TLS with the mail server; does its port begin with TLS, or with STARTTLS?")


async def test_each_address_of_the_name_is_tried(mailbox: Mailbox) -> None:
    """`localhost` may be ::1, where nobody listens, and 127.0.0.1."""
    assert isinstance(await deliver(mailbox, host="localhost", allow_hosts=["localhost"]), Delivered)


async def test_a_private_address_is_reached_only_where_that_is_allowed(mailbox: Mailbox) -> None:
    """A host name in the file does not open the private network."""
    outcome = await deliver(mailbox, allow_hosts=[])

    assert isinstance(outcome, Retry)
    assert "allow_hosts" in outcome.reason
    assert mailbox.connections == 0


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    """Refused, silent or without a name: nobody has the mail."""
    with port_nobody_listens_on() as port:
        assert await deliver(Mailbox(port)) == Retry("the mail server refused the connection")
    with port_that_accepts_nobody() as port:
        late = await deliver(Mailbox(port), timeout="300ms")
    nameless = await deliver(Mailbox(25), host="a..b")

    assert late == Retry("the mail server did not accept the connection in time")
    assert nameless == Retry("the name a..b cannot be resolved")


# --- replies ---------------------------------------------------------------------------------------------------------

MAIL_STEPS = ["MAIL", "RCPT", "DATA", "text"]
FIRST_STEPS = ["greeting", "EHLO", "STARTTLS", "AUTH"]


@pytest.fixture
async def secret_mailbox(authority: trustme.CA) -> AsyncIterator[Mailbox]:
    async with running_mailbox(starttls=certified(authority, "127.0.0.1"), login=LOGIN) as running:
        yield running


@pytest.mark.parametrize("code", [420, 450, 451, 452, 454, 471, 499])
@pytest.mark.parametrize("step", MAIL_STEPS)
async def test_not_now_is_tried_again_after_a_minute(mailbox: Mailbox, step: str, code: int) -> None:
    """4xx is greylisting, a full disk or too many mails at once: nobody has it, and the lane goes on."""
    mailbox.answers(step, f"{code} 4.0.0 later")

    outcome = await deliver(mailbox, to=ANN)

    assert outcome == Retry(f"{code} to {step}: 4.0.0 later", after=A_MINUTE)
    assert mailbox.mails == []


@pytest.mark.parametrize("code", [500, 501, 503, 521, 550, 551, 552, 553, 554, 556, 571])
@pytest.mark.parametrize("step", MAIL_STEPS)
async def test_no_is_for_good(mailbox: Mailbox, step: str, code: int) -> None:
    """5xx to sender, recipient or text: the same mail again would be refused again."""
    mailbox.answers(step, f"{code} 5.0.0 no")

    assert await deliver(mailbox, to=ANN) == Rejected(f"{code} to {step}: 5.0.0 no")
    assert mailbox.mails == []


@pytest.mark.parametrize("code", [530, 534, 535, 538])
@pytest.mark.parametrize("step", MAIL_STEPS)
async def test_a_server_that_wants_a_login_pauses_the_lane(mailbox: Mailbox, step: str, code: int) -> None:
    """Nothing will arrive before somebody acts, so no message is burnt."""
    mailbox.answers(step, f"{code} 5.7.0 who are you")

    assert await deliver(mailbox, to=ANN) == AuthFailed(f"{code} to {step}: 5.7.0 who are you")


@pytest.mark.parametrize("step", [*FIRST_STEPS, *MAIL_STEPS])
async def test_421_holds_the_whole_lane(secret_mailbox: Mailbox, ca_file: str, step: str) -> None:
    """The server closes at whatever step it is: it has too much of us, or goes down."""
    secret_mailbox.answers(step, "421 4.7.0 too much")

    outcome = await deliver(secret_mailbox, tls="starttls", ca_file=ca_file, to=[ANN, BOB], **WITH_LOGIN)

    assert outcome == Retry(f"421 to {step}: 4.7.0 too much", after=A_MINUTE, whole_lane=True)
    assert secret_mailbox.mails == []


@pytest.mark.parametrize("code", [450, 454, 500, 502, 554])
@pytest.mark.parametrize("step", ["greeting", "EHLO", "STARTTLS"])
async def test_a_no_before_the_mail_is_none_to_the_mail(
    secret_mailbox: Mailbox, ca_file: str, step: str, code: int
) -> None:
    """A server that lets nobody in for a while refuses no message for good."""
    secret_mailbox.answers(step, f"{code} no service")

    outcome = await deliver(secret_mailbox, tls="starttls", ca_file=ca_file)

    assert outcome == Retry(f"{code} to {step}: no service", after=A_MINUTE, whole_lane=True)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(454, Retry), (432, Retry), (500, AuthFailed), (504, AuthFailed), (534, AuthFailed), (535, AuthFailed)],
)
async def test_what_a_refused_login_means(
    secret_mailbox: Mailbox, ca_file: str, code: int, expected: type[Outcome]
) -> None:
    """Refused for now it is tried again; refused, the lane waits for who can mend it. Either way it was tried once."""
    secret_mailbox.answers("AUTH", f"{code} 5.7.8 no", f"{code} 5.7.8 no")

    outcome = await deliver(secret_mailbox, tls="starttls", ca_file=ca_file, **WITH_LOGIN)

    assert type(outcome) is expected
    assert secret_mailbox.commands.count("AUTH") == 1


async def test_a_wrong_password_is_told_without_it(
    secret_mailbox: Mailbox, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself refuses it, after one try: three would lock some accounts."""
    monkeypatch.setenv("MAIL_PASSWORD", "wrong horse")

    outcome = await deliver(secret_mailbox, tls="starttls", ca_file=ca_file, **WITH_LOGIN)

    assert outcome == AuthFailed("535 to AUTH: 5.7.8 Authentication credentials invalid")
    assert secret_mailbox.commands.count("AUTH") == 1


async def test_a_server_without_logins_says_so(authority: trustme.CA, ca_file: str) -> None:
    """Microsoft 365 offers none where the mailbox has SMTP AUTH switched off."""
    async with running_mailbox(starttls=certified(authority, "127.0.0.1"), without=("PLAIN", "LOGIN")) as mailbox:
        outcome = await deliver(mailbox, tls="starttls", ca_file=ca_file, **WITH_LOGIN)

    assert outcome == AuthFailed("AUTH: the mail server offers none of the logins PLAIN, LOGIN and CRAM-MD5")


@pytest.mark.parametrize("step", [*FIRST_STEPS, "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("trouble", [Trouble.DROP, "999 what", "no number at all"], ids=["drop", "999", "nonsense"])
async def test_lost_before_the_text_is_tried_again(
    secret_mailbox: Mailbox, ca_file: str, step: str, trouble: Trouble | str
) -> None:
    """Closed, or answered in no way that SMTP knows: without the text nobody can have the mail."""
    secret_mailbox.answers(step, trouble)

    outcome = await deliver(secret_mailbox, tls="starttls", ca_file=ca_file, **WITH_LOGIN)

    assert isinstance(outcome, Retry)
    assert not outcome.whole_lane
    assert secret_mailbox.mails == []


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_silence_before_the_text_is_tried_again(mailbox: Mailbox, step: str) -> None:
    """The time runs out while nothing has left."""
    mailbox.answers(step, Trouble.HANG)

    assert await deliver(mailbox, timeout="250ms") == Retry("the mail server did not answer in time")


@pytest.mark.parametrize("trouble", [Trouble.DROP, Trouble.HANG, "999 what", "nonsense"], ids=str)
async def test_lost_after_the_text_is_uncertain(mailbox: Mailbox, trouble: Trouble | str) -> None:
    """The server has the whole mail and may have taken it; only the answer is missing, or cannot be read."""
    mailbox.answers("text", trouble)

    outcome = await deliver(mailbox, timeout="2s" if trouble is Trouble.HANG else "20s")

    assert isinstance(outcome, Uncertain)


# --- several recipients ----------------------------------------------------------------------------------------------


async def test_only_who_does_not_have_it_is_tried_again(mailbox: Mailbox) -> None:
    """One has it, one is greylisted, one is unknown: the next try is for the second alone, with the same mail."""
    mailbox.answers("RCPT", "450 4.2.0 greylisted", to=BOB)
    mailbox.answers("RCPT", "550 5.1.1 unknown", to=EVE)

    first = await deliver(mailbox, to=[ANN, BOB, EVE])

    assert isinstance(first, Retry)
    assert (first.reason, first.after, first.whole_lane) == ("450 to RCPT: 4.2.0 greylisted", A_MINUTE, False)
    assert json.loads(first.done or "") == {"have_it": [ANN], "refused": [EVE]}

    second = await deliver(mailbox, a_message(done=first.done), to=[ANN, BOB, EVE])

    assert isinstance(second, Delivered)
    assert second.reason.startswith("accepted for 2 of 3 recipients")
    assert [mail.recipients for mail in mailbox.mails] == [(ANN,), (BOB,)]
    assert len({mail.parsed["Message-ID"] for mail in mailbox.mails}) == 1


async def test_what_is_done_outlives_a_try_that_reaches_nobody(mailbox: Mailbox) -> None:
    """A second try that finds the server gone still knows who has it."""
    mailbox.answers("RCPT", "450 later", to=BOB)
    first = await deliver(mailbox)
    assert isinstance(first, Retry)

    mailbox.answers("MAIL", Trouble.DROP)
    second = await deliver(mailbox, a_message(done=first.done))

    assert isinstance(second, Retry)
    assert second.done == first.done is not None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param({ANN: "550 no", BOB: "551 no"}, Rejected("550 to RCPT: no"), id="all refused"),
        pytest.param(
            {BOB: "550 no"},
            Delivered("accepted for 1 of 2 recipients; 550 to RCPT: no", remote_id="<dl_06bqexample@example.com>"),
            id="one refused",
        ),
        pytest.param({ANN: "550 no", BOB: "530 login"}, Retry("530 to RCPT: login", after=A_MINUTE), id="no and login"),
        pytest.param({ANN: "530 who", BOB: "530 who"}, AuthFailed("530 to RCPT: who"), id="no login"),
    ],
)
async def test_what_mixed_answers_come_to(mailbox: Mailbox, answers: dict[str, str], expected: Outcome) -> None:
    """Whoever has it counts; who may get it later keeps the delivery open."""
    for recipient, answer in answers.items():
        mailbox.answers("RCPT", answer, to=recipient)

    outcome = await deliver(mailbox)

    assert (type(outcome), outcome.reason) == (type(expected), expected.reason)
    assert not isinstance(expected, Delivered) or outcome == expected


async def test_a_text_that_is_refused_reaches_nobody(mailbox: Mailbox) -> None:
    """Accepted as recipients, refused with the text: too large, or taken for spam."""
    mailbox.answers("RCPT", "450 later", to=BOB)
    mailbox.answers("text", "552 5.3.4 too large")

    outcome = await deliver(mailbox)

    assert isinstance(outcome, Retry)
    assert json.loads(outcome.done or "") == {"have_it": [], "refused": [ANN]}
    assert await deliver(mailbox, a_message(done=outcome.done)) == Delivered(
        "accepted for 1 of 2 recipients; refused for good at an earlier try", remote_id="<dl_06bqexample@example.com>"
    )


async def test_a_delivery_with_nobody_left_is_not_sent(mailbox: Mailbox) -> None:
    """After `to` was changed between two tries there may be nobody who still waits."""
    outcome = await deliver(mailbox, a_message(done=json.dumps({"have_it": [ANN]})), to=ANN)

    assert isinstance(outcome, Delivered)
    assert mailbox.connections == 0


@pytest.mark.parametrize("done", ["", "C012345:1700000000.1", "[]", "7", '{"have_it": 7}'])
async def test_what_another_sink_left_is_not_ours(mailbox: Mailbox, done: str) -> None:
    """A sink whose type was changed meets what the former type kept; the mail goes to all."""
    assert isinstance(await deliver(mailbox, a_message(done=done)), Delivered)
    assert [mail.recipients for mail in mailbox.mails] == [(ANN, BOB)]


async def test_a_reason_names_nobody(mailbox: Mailbox) -> None:
    """Servers like to repeat addresses, whole or in part, and what they took for spam."""
    said = "550 5.7.139 <ann@example.org>: no ANN here, nor mailto:bob@example.org; call (404) 555-0101"
    mailbox.answers("RCPT", said)

    outcome = await deliver(mailbox, to=ANN)

    assert outcome == Rejected("550 to RCPT: 5.7.139 …: no … here, nor … call (…")


async def test_a_reason_quotes_no_message(mailbox: Mailbox) -> None:
    """Some servers say what they took for spam."""
    mailbox.answers("text", "554 5.7.1 spam: Missed call from Avery Quill")

    outcome = await deliver(mailbox, a_message(write=told("Missed call from Avery Quill")), to=ANN)

    assert outcome == Rejected("554 to text: 5.7.1 spam: …")


# --- one connection after the other ----------------------------------------------------------------------------------


async def test_mails_follow_each_other_over_one_connection(mailbox: Mailbox) -> None:
    """Also after a refusal, of which nothing is left for the mail behind it."""
    mailbox.answers("RCPT", "550 no", "550 no")

    outcome = await deliver(mailbox, a_message("dl_1"), a_message("dl_2"), a_message("dl_3"))

    assert isinstance(outcome, Delivered)
    assert (len(mailbox.mails), mailbox.connections) == (2, 1)
    assert mailbox.commands[-1] == "QUIT"


async def test_a_connection_closed_meanwhile_is_opened_anew(mailbox: Mailbox) -> None:
    """Servers close what is idle. Nobody notices: each mail arrives, and once."""
    sink = a_sink(mailbox)
    for number in range(3):
        assert isinstance(await sink.deliver(a_message(f"dl_{number}")), Delivered)
        await mailbox.close_connections()
    await sink.aclose()

    assert [mail.parsed["X-Entity-Ref-ID"] for mail in mailbox.mails] == ["dl_0", "dl_1", "dl_2"]
    assert mailbox.connections == 3


@pytest.mark.parametrize("step", ["RSET", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("ending", [Trouble.DROP, "421 4.7.0 enough over this connection"], ids=["drop", "421"])
async def test_a_kept_connection_that_ends_before_the_text_is_opened_anew(
    mailbox: Mailbox, step: str, ending: Trouble | str
) -> None:
    """Some servers take so many mails over one connection and end it amid the next; that costs no try."""
    sink = a_sink(mailbox, to=ANN)
    await sink.deliver(a_message("dl_1"))
    mailbox.answers(step, ending)

    assert isinstance(await sink.deliver(a_message("dl_2")), Delivered)
    await sink.aclose()
    assert (len(mailbox.mails), mailbox.connections) == (2, 2)


async def test_a_kept_connection_that_ends_after_the_text_repeats_nothing(mailbox: Mailbox) -> None:
    """There the server may have the mail, so opening anew would be a second mail."""
    sink = a_sink(mailbox)
    await sink.deliver(a_message("dl_1"))
    mailbox.answers("text", Trouble.DROP)

    assert isinstance(await sink.deliver(a_message("dl_2")), Uncertain)
    await sink.aclose()
    assert len(mailbox.mails) == 2


async def test_there_are_never_more_connections_than_allowed(mailbox: Mailbox) -> None:
    """Providers count them."""
    sink = a_sink(mailbox, concurrency=2)

    outcomes = await asyncio.gather(*(sink.deliver(a_message(f"dl_{number}")) for number in range(12)))
    await sink.aclose()

    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert len({mail.parsed["Message-ID"] for mail in mailbox.mails}) == 12
    assert mailbox.connections == 2


async def test_a_cancelled_delivery_leaves_no_connection_that_is_out_of_step(mailbox: Mailbox) -> None:
    """The next mail does not take the late answer to the one before for its own."""
    sink = a_sink(mailbox)
    await sink.deliver(a_message("dl_1"))
    mailbox.answers("text", Trouble.HANG)
    on_the_way = asyncio.create_task(sink.deliver(a_message("dl_2")))
    await mailbox.has_hung.wait()
    on_the_way.cancel()
    await asyncio.gather(on_the_way, return_exceptions=True)

    assert isinstance(await sink.deliver(a_message("dl_3")), Delivered)
    await sink.aclose()
    assert mailbox.connections == 2


# --- what is in a mail -----------------------------------------------------------------------------------------------


async def only_mail(mailbox: Mailbox, message: Message, **more: Any) -> Mail:
    await deliver(mailbox, message, **more)
    (mail,) = mailbox.mails
    return mail


async def test_a_mail_says_what_it_is(mailbox: Mailbox) -> None:
    """The headers that readers, filters and answering machines look at."""
    mail = await only_mail(mailbox, a_message(), subject_prefix="[Calls] ")

    parsed = mail.parsed
    assert parsed["From"] == "calls@example.com"
    assert parsed["To"] == f"{ANN}, {BOB}"
    assert parsed["Subject"] == "[Calls] Missed call · Acme"
    assert parsed["Message-ID"] == "<dl_06bqexample@example.com>"
    assert parsed["Date"].datetime.tzinfo is not None
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["X-Entity-Ref-ID"] == "dl_06bqexample"
    assert parsed["In-Reply-To"] is None
    assert parsed.get_content_type() == "multipart/alternative"
    assert mail.body("plain") == "Missed call · Acme\nZoë Quill · (404) 555-0101\n"
    assert mail.content.isascii()


async def test_a_replayed_mail_says_so_and_when_it_happened(mailbox: Mailbox) -> None:
    """Whoever reads it today must not take it for today's."""
    message = a_message(is_replayed=True)
    await deliver(mailbox, message)

    said = f"Replayed · happened {message.occurred_at:%a %d %b %H:%M} UTC"
    assert [said in mailbox.mails[0].body(part) for part in ("plain", "html")] == [True, True]


async def test_the_message_id_is_that_of_the_delivery(mailbox: Mailbox) -> None:
    """The same in every try, so that a receiver can drop a repeat; under a domain of your own where one is named."""
    await deliver(mailbox, a_message(), domain="mail.acme.example")
    await deliver(mailbox, a_message(may_repeat=True), domain="mail.acme.example")

    assert [mail.parsed["Message-ID"] for mail in mailbox.mails] == ["<dl_06bqexample@mail.acme.example>"] * 2
    assert ["may be a repeat" in mail.body("plain") for mail in mailbox.mails] == [False, True]
    assert ["may be a repeat" in mail.body("html") for mail in mailbox.mails] == [False, True]


async def test_later_news_answers_the_first_mail(mailbox: Mailbox) -> None:
    """Readers put it under the mail that began it, which they find by its id and by the subject."""
    story = (a_chapter("Missed call · Acme"), a_chapter("Voicemail · Acme"))
    news = a_message("dl_2", write=told("Recording ready · Acme"), first=First("dl_1", None), amend=Amend.THREAD)
    await deliver(mailbox, a_message("dl_1"), Message(**{**_fields(news), "story": story}))

    first, answer = (mail.parsed for mail in mailbox.mails)
    assert answer["In-Reply-To"] == answer["References"] == first["Message-ID"] == "<dl_1@example.com>"
    assert answer["Subject"] == f"Re: {first['Subject']}"
    assert answer["X-Entity-Ref-ID"] == first["X-Entity-Ref-ID"] == "dl_1"
    assert mailbox.mails[1].body("plain") == (
        "Recording ready · Acme\n\nEarlier:\n10 Mar 13:14 UTC: Missed call · Acme\n10 Mar 13:14 UTC: Voicemail · Acme\n"
    )


async def test_times_of_the_company_are_in_its_zone(mailbox: Mailbox) -> None:
    """13:14 in UTC is a quarter past nine in New York, where the people are who read it."""
    about = {"story": (a_chapter("Missed call · Acme"),), "zone": ZoneInfo("America/New_York"), "is_replayed": True}
    await deliver(mailbox, a_message("dl_2", first=First("dl_1", None), amend=Amend.THREAD, **about))

    body = mailbox.mails[0].body("plain")
    assert "\n10 Mar 09:14: Missed call · Acme\n" in body
    assert "Replayed · happened Tue 10 Mar 09:15\n" in body


def _fields(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__slots__}


@pytest.mark.parametrize("word", ["名🙂é", "Söhne &", "plumbing, heating;"])
async def test_a_long_subject_keeps_its_blanks(mailbox: Mailbox, word: str) -> None:
    """The standard library lost a blank here and there, where a long subject was divided into encoded words."""
    subject = " ".join([word] * 7)

    mail = await only_mail(mailbox, a_message(write=told(subject)))

    assert mail.parsed["Subject"] == subject
    assert max(map(len, mail.content.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78


async def test_a_subject_is_cut(mailbox: Mailbox) -> None:
    """Nobody reads ten thousand letters; the body has more of them."""
    mail = await only_mail(mailbox, a_message(write=told("Missed call " + "Q" * 10_000)))

    assert mail.parsed["Subject"] == "Missed call " + "Q" * 137 + "…"
    assert "Q" * 10_000 in mail.body("plain")


async def test_a_long_id_stays_an_id(mailbox: Mailbox) -> None:
    """The standard library encoded an id longer than a line as if it were text, and no reader found the thread."""
    domain = f"{'callrail' * 7}.{'agency' * 10}.example.com"
    news = a_message("dl_2", first=First("dl_06bqexample", None), amend=Amend.THREAD)

    mail = await only_mail(mailbox, news, domain=domain)

    for line in ("Message-ID: <dl_2", "In-Reply-To: <dl_06bqexample", "References: <dl_06bqexample"):
        assert f"\r\n{line}@{domain}>\r\n".encode() in mail.content


async def test_news_that_is_to_come_new_begins_a_thread(mailbox: Mailbox) -> None:
    """`amend: new` is a mail of its own."""
    mail = await only_mail(mailbox, a_message("dl_2", first=First("dl_1", None), amend=Amend.NEW))

    assert mail.parsed["References"] is None
    assert mail.parsed["Subject"] == "Missed call · Acme"


async def test_links_and_spam_are_shown(mailbox: Mailbox) -> None:
    """A link stands once, under a name; a scheme that is no web address does not become one."""
    url = "https://app.callrail.com/calls/CAL1?a=1&b=2"
    links = {"call": url, "recording": "https://app.callrail.com/r/1", "other": "javascript:alert(1)"}
    mail = await only_mail(mailbox, a_message(write=told("Missed call", url), links=links, is_spam=True))

    assert mail.parsed["Subject"] == "[spam] Missed call"
    assert mail.body("plain") == (
        "Missed call\n\nCallRail marks this as spam.\n\n"
        f"Open in CallRail: {url}\nListen to the recording: https://app.callrail.com/r/1\n"
    )
    assert '<a href="https://app.callrail.com/calls/CAL1?a=1&amp;b=2">Open in CallRail</a>' in mail.body("html")
    assert "javascript" not in mail.content.decode()


async def test_a_caller_is_text_in_html(mailbox: Mailbox) -> None:
    """A name that is markup is shown as it was told, also where it was told earlier."""
    name = '<img src=x onerror="alert(1)"> & Söhne'
    mail = await only_mail(mailbox, a_message(write=told(name, name), story=(a_chapter(name),)))

    html = mail.body("html")
    assert html.count("&lt;img src=x onerror=&quot;alert(1)&quot;&gt; &amp; Söhne") == 3
    assert "<img" not in html
    assert mail.body("plain").count(name) == 3


HOSTILE = st.one_of(
    st.text(st.characters(codec=None), max_size=300),
    st.sampled_from(
        [
            "Eve\r\nBcc: all@example.com",
            "Eve\r\n\r\n.\r\nMAIL FROM:<x@example.com>",
            ".\r\n",
            "..",
            "From here",
            "=?utf-8?q?Eve=0D=0ABcc:_all=40example.com?=",
            "=?utf-8?b?DQpCY2M6IHhAZXhhbXBsZS5jb20=?=",
            "\u202egnp.exe",
            "\ud800",
            "\x00",
            "Q" * 10_000,
            "é" * 10_000,
            "--===============",
            "Eve\u2028Bcc: x",
            "名" * 80 + " " + "🙂" * 80,
        ]
    ),
)
HEADERS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "X-Entity-Ref-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
]


@hypothesis.settings(max_examples=80, deadline=None)  # a busy machine is no failure
@given(HOSTILE, st.lists(HOSTILE, max_size=3), st.text(min_size=1, max_size=40), HOSTILE)
def test_whatever_a_caller_is_called_a_mail_stays_one_mail(title: str, lines: list[str], key: str, begun: str) -> None:
    """Read back, it has each header once and no other, the subject on one line, and the text whole."""
    write = lambda _: Text(title, tuple(lines))  # noqa: E731  (a template that escapes nothing)
    message = a_message(key, write=write, story=(a_chapter(begun),), first=First(f"{key}1", None), amend=Amend.THREAD)

    content = compose(message, Letterhead("calls@example.com", [ANN, BOB], "example.com"), now=NOW)

    mail = Mail("", (), content, is_secret=False, user=None)
    assert mail.parsed.keys() == HEADERS
    assert mail.parsed.defects == []
    assert content.isascii()
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert [part.get_content_type() for part in mail.parsed.iter_parts()] == ["text/plain", "text/html"]
    shown = [escapes.plain(line) for line in (title, *lines)]
    assert mail.body("plain").startswith("\n".join(shown) + "\n\n")
    subject = " ".join(f"Re: {escapes.plain(begun)}".replace("=?", "= ?").split())
    found = mail.parsed["Subject"]
    assert found == subject or (len(found) <= 150 and found[-1] == "…" and subject.startswith(found[:-1]))


# --- looking whether it works ----------------------------------------------------------------------------------------


async def check(mailbox: Mailbox, **more: Any) -> list[tuple[str, bool]]:
    sink = a_sink(mailbox, **more)
    try:
        return [(found.what.replace(str(mailbox.port), "N"), found.ok) for found in await sink.check()]
    finally:
        await sink.aclose()


async def test_a_check_goes_up_to_the_mail_and_no_further(secret_mailbox: Mailbox, ca_file: str) -> None:
    """Connection, login, sender, each recipient and the largest mail are told; nobody gets one."""
    secret_mailbox.answers("RCPT", "550 5.1.1 bob@example.org is unknown", to=BOB)

    found = await check(secret_mailbox, tls="starttls", ca_file=ca_file, **WITH_LOGIN)

    assert found == [
        ("127.0.0.1, port N, tls starttls: connected and logged in", True),
        ("sender c…@example.com: accepted", True),
        ("recipient 1, a…@example.org: accepted", True),
        ("recipient 2, b…@example.org: 550 to RCPT: 5.1.1 … is unknown", False),
        ("a mail may have 33,554,432 bytes", True),
    ]
    assert secret_mailbox.mails == []
    assert secret_mailbox.commands[-2:] == ["RSET", "QUIT"]


@pytest.mark.parametrize(
    ("step", "answer", "said"),
    [
        ("greeting", "554 go away", "554 to greeting: go away"),
        ("STARTTLS", Trouble.DROP, "the connection to the mail server was lost"),
        ("AUTH", "535 5.7.8 wrong", "535 to AUTH: 5.7.8 wrong"),
        ("RCPT", "421 too many", "421 to RCPT: too many"),
        ("RSET", Trouble.DROP, "the connection to the mail server was lost"),
    ],
)
async def test_a_check_that_fails_says_where(
    secret_mailbox: Mailbox, ca_file: str, step: str, answer: str | Trouble, said: str
) -> None:
    """Whatever is wrong is one check with a remedy, and no exception."""
    secret_mailbox.answers(step, answer)
    sink = a_sink(secret_mailbox, tls="starttls", ca_file=ca_file, **WITH_LOGIN)

    (found,) = await sink.check()

    assert not found.ok
    assert found.what.endswith(said)
    assert found.remedy


async def test_a_sender_that_is_refused_is_told(mailbox: Mailbox) -> None:
    """The recipients are not asked for then."""
    mailbox.answers("MAIL", "550 5.7.60 not yours")

    found = await check(mailbox)

    assert found[1] == ("sender c…@example.com: 550 to MAIL: 5.7.60 not yours", False)
    assert "RCPT" not in mailbox.commands


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"to": []}, "list of 1 to 50"),
        ({"to": "Ann <ann@example.org>"}, "before the @"),
        ({"to": "<ann@example.org>"}, "before the @"),
        ({"to": "ann@example.org, bob@example.org"}, "like name@example.com: one"),
        ({"to": "ann@example.org\r\nRCPT TO:<eve>"}, "a domain is written like"),
        ({"to": "ann@example.org\n"}, "a domain is written like"),
        ({"to": '"a b"@example.org'}, "before the @"),
        ({"to": "ann"}, "like name@example.com: one"),
        ({"to": "änn@example.org"}, "before the @"),
        ({"to": "ann@exämple.org"}, "xn--"),
        ({"to": 7}, "list of 1 to 50"),
        ({"to": [7]}, "like name@example.com"),
        ({"to": [ANN, ANN.upper()]}, "stands twice"),
        ({"from": "Calls <calls@example.com>"}, "before the @"),
        ({"domain": "example.com>"}, "a domain is written like"),
        ({"host": "smtp://smtp.example.com"}, "the port goes under `port`"),
        ({"host": "smtp.example.com:587"}, "the port goes under `port`"),
        ({"host": "a b"}, "the port goes under `port`"),
        ({"user": "router"}, "`user` and `password` go together"),
        ({"password": "env:MAIL_PASSWORD"}, "`user` and `password` go together"),
        ({"password": "hunter2", "user": "router"}, "a secret must be a reference"),
        ({"subject_prefix": "a\nb"}, "on one line"),
        ({"amend": "edit"}, "amend is one of: new, silent, thread"),
        ({"tls": "ssl"}, "starttls"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"allow_hosts": ["a b"]}, "no host name"),
    ],
    ids=str,
)
def test_a_mistake_in_the_settings_is_told(mistake: dict[str, Any], said: str) -> None:
    """In one sentence with a remedy."""
    with pytest.raises(ValidationError) as raised:
        EmailConfig.model_validate(settings(**mistake))

    (error,) = raised.value.errors()
    assert said in error["msg"]
    assert ANN not in error["msg"]


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("none", 25)])
def test_the_port_follows_the_sort_of_tls(tls: str, port: int) -> None:
    """As RFC 8314 and the providers have it, where no port is written."""
    assert EmailConfig.model_validate(settings(tls=tls)).build()._server.port == port


@pytest.mark.parametrize("content", [None, "", "no certificate"], ids=["missing", "empty", "text"])
def test_a_ca_file_that_is_none_is_told(tmp_path: Path, content: str | None) -> None:
    """Before the first mail, and by name."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ValueError, match=r"ca\.pem holds no certificates"):
        EmailConfig.model_validate(settings(ca_file=str(path))).build()


PAGE = (Path(__file__).parents[2] / "docs" / "sinks" / "email.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL), ids=["whole", "own server"])
def test_an_example_of_the_page_is_right(block: str, tmp_path: Path) -> None:
    """Each YAML block of docs/sinks/email.md is a file, or the sinks of one."""
    path = tmp_path / "router.yaml"
    path.write_text(block if "companies:" in block else f"companies: {{acme: {{signing_keys: [env:KEY]}}}}\n{block}")

    assert [str(problem) for problem in check_config(path).problems] == []


@pytest.mark.parametrize(
    "setting", [name for name in EmailConfig.model_fields if name not in HttpSinkConfig.model_fields]
)
def test_the_page_names_every_setting_of_its_own(setting: str) -> None:
    """What can be set for mails alone is told in the page."""
    assert f"{setting.strip('_')}:" in PAGE or f"`{setting.strip('_')}`" in PAGE
