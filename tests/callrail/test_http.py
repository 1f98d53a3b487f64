"""The HTTP client against every way a destination can behave, and what it says may have happened over there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from callrail.exceptions import AddressRefused, AnswerLost, NoNetwork, NotSent
from callrail.http import MAX_ANSWER_BYTES, Answer, HttpClient
from tests.fakes import destination as fake
from tests.fakes.destination import (
    Behaviour,
    Destination,
    answer,
    port_nobody_listens_on,
    port_that_accepts_nobody,
    running_destination,
)

pytestmark = pytest.mark.anyio

LONG = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)
SECRET_PATH = "/services/T0/B0/very-secret-token?key=also-secret"


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


async def post(url: str, *, within: timedelta = LONG, headers: dict[str, str] | None = None, **options: Any) -> Answer:
    """Post once with a client of its own that may reach this machine."""
    client = HttpClient(timeout=within, **{"allow_hosts": ["127.0.0.1"], **options})
    try:
        return await client.post(url, content=b'{"text":"hello"}', headers=headers or {})
    finally:
        await client.aclose()


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204, 301, 400, 401, 404, 410, 429, 500, 503])
async def test_every_status_is_an_answer(destination: Destination, status: int) -> None:
    """A refusal is told as a value with status, headers and body, and the request went out once and whole."""
    body = b"" if status == 204 else b"because"
    destination.behaves(answer(status, headers={"Retry-After": "30"}, body=body))

    found = await post(destination.url + "/hook?a=b", headers={"content-type": "application/json", "x-id": "dl_1"})

    assert (found.status, found.headers["retry-after"], found.body) == (status, "30", body)
    (request,) = destination.requests
    assert (request.method, request.target, request.body) == ("POST", "/hook?a=b", b'{"text":"hello"}')
    assert (request.headers["content-type"], request.headers["x-id"]) == ("application/json", "dl_1")


async def test_a_failure_is_not_repeated_by_itself(destination: Destination) -> None:
    """A destination that answers 500 and then 200 gets one request a call: repeating is the dispatcher's to decide."""
    destination.behaves(answer(500), answer(200))

    assert (await post(destination.url)).status == 500
    assert (await post(destination.url)).status == 200
    assert len(destination.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(destination: Destination, status: int) -> None:
    """Nobody can send our messages, or our client, somewhere else."""
    async with running_destination() as elsewhere:
        destination.behaves(fake.redirect(elsewhere.url, status))

        found = await post(destination.url)

        assert (found.status, found.headers["location"]) == (status, elsewhere.url)
        assert elsewhere.connections == 0


async def test_a_huge_body_is_cut(destination: Destination) -> None:
    """An answer that does not end costs us 64 kB and no more, and is still an answer."""
    destination.behaves(fake.endless_body)

    found = await post(destination.url)

    assert found.status == 200
    assert len(found.body) == MAX_ANSWER_BYTES


async def test_a_body_at_the_bound_is_whole(destination: Destination) -> None:
    """What is as long as is allowed comes through to the last byte."""
    body = b"x" * (MAX_ANSWER_BYTES - 1) + b"y"
    destination.behaves(answer(200, body=body))

    assert (await post(destination.url)).body == body


async def test_a_connection_is_used_again(destination: Destination) -> None:
    """A lane of many messages pays for one connection, also after an answer that was a failure."""
    destination.behaves(answer(500, body=b"later"), answer(200, body=b"ok"))
    client = HttpClient(timeout=LONG, allow_hosts=["127.0.0.1"])

    statuses = [(await client.post(destination.url, content=b"{}", headers={})).status for _ in range(3)]
    await client.aclose()

    assert statuses == [500, 200, 200]
    assert destination.connections == 1


async def test_no_more_connections_than_asked_for(destination: Destination) -> None:
    """A slow destination is not flooded: what is too much waits here."""
    client = HttpClient(timeout=LONG, allow_hosts=["127.0.0.1"], connections=2)

    answers = await asyncio.gather(*(client.post(destination.url, content=b"{}", headers={}) for _ in range(10)))
    await client.aclose()

    assert [found.status for found in answers] == [200] * 10
    assert destination.connections <= 2


async def test_no_cookie_is_kept(destination: Destination) -> None:
    """One message says nothing about the one before it."""
    destination.behaves(answer(200, headers={"set-cookie": "id=1; Path=/"}))
    client = HttpClient(timeout=LONG, allow_hosts=["127.0.0.1"])

    for _ in range(2):
        await client.post(destination.url, content=b"{}", headers={})
    await client.aclose()

    assert [request.headers.get("cookie") for request in destination.requests] == [None, None]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_a_proxy_of_the_environment_is_ignored(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Messages go where the configuration says, not where a variable of the shell does."""
    async with running_destination() as proxy:
        monkeypatch.setenv(name, proxy.url)

        assert (await post(destination.url)).status == 200
        assert proxy.connections == 0


# --- lost answers ----------------------------------------------------------------------------------------------------

LOST: dict[str, tuple[Behaviour, timedelta]] = {
    "hangs after reading": (fake.hang, SHORT),
    "resets after reading": (fake.reset, LONG),
    "closes after reading": (fake.close, LONG),
    "speaks another protocol": (fake.talk_nonsense, LONG),
    "breaks off in the body": (fake.break_off_in_the_body, LONG),
    "drips, never silent": (fake.drip(pause=0.02, pieces=250), SHORT),
}


@pytest.mark.parametrize(("behaviour", "within"), LOST.values(), ids=LOST)
async def test_an_answer_lost_after_sending_is_told_as_such(
    destination: Destination, behaviour: Behaviour, within: timedelta
) -> None:
    """The request arrived once, nobody knows what came of it, and that is exactly what is said."""
    destination.behaves(behaviour)

    with pytest.raises(AnswerLost) as caught:
        await post(destination.url + SECRET_PATH, within=within)

    assert "secret" not in str(caught.value)
    assert len(destination.requests) == 1


@pytest.mark.parametrize("behaviour", [fake.hang, fake.reset, fake.close], ids=["hangs", "resets", "closes"])
async def test_a_connection_that_breaks_once_accepted_may_have_carried_the_request(
    destination: Destination, behaviour: Behaviour
) -> None:
    """Whether the bytes were read cannot be known from here, so the careful answer is given."""
    destination.on_accept(behaviour)

    with pytest.raises(AnswerLost):
        await post(destination.url + SECRET_PATH, within=LONG if behaviour is not fake.hang else SHORT)


async def test_after_a_lost_answer_the_client_goes_on(destination: Destination) -> None:
    """A broken connection costs its own request and no later one."""
    destination.behaves(fake.reset, answer(200))
    client = HttpClient(timeout=LONG, allow_hosts=["127.0.0.1"], connections=1)

    with pytest.raises(AnswerLost):
        await client.post(destination.url, content=b"{}", headers={})
    found = await client.post(destination.url, content=b"{}", headers={})
    await client.aclose()

    assert found.status == 200


# --- not sent --------------------------------------------------------------------------------------------------------


async def test_a_refused_connection_is_not_sent() -> None:
    """Where nobody listens nothing can have happened."""
    with port_nobody_listens_on() as port, pytest.raises(NotSent) as caught:
        await post(f"http://127.0.0.1:{port}{SECRET_PATH}")

    assert "secret" not in str(caught.value)


async def test_a_connection_that_is_never_accepted_is_not_sent() -> None:
    """A host that drops what it is sent has not seen the request, however long we waited."""
    with port_that_accepts_nobody() as port, pytest.raises(NotSent) as caught:
        await post(f"http://127.0.0.1:{port}{SECRET_PATH}", within=SHORT)

    assert "secret" not in str(caught.value)


async def test_a_handshake_cut_short_leaves_no_connection(destination: Destination) -> None:
    """A server silent during the TLS handshake sees the connection closed at the deadline.

    The HTTP library left the socket open when the handshake was cancelled; it stayed until Python collected it.
    """
    closed = asyncio.Event()

    async def be_silent(conversation: fake.Conversation) -> None:
        while await conversation.reader.read(65_536):
            pass
        closed.set()

    destination.on_accept(be_silent)

    with pytest.raises(NotSent) as caught:  # a leaked connection would live as long as the error's traceback
        await post(destination.url.replace("http:", "https:"), within=SHORT)
    async with asyncio.timeout(10):
        await closed.wait()
    del caught


@pytest.mark.parametrize("behaviour", [fake.talk_nonsense, fake.hang], ids=["another protocol", "silence"])
async def test_without_tls_nothing_is_sent(destination: Destination, behaviour: Behaviour) -> None:
    """A server that does not complete the handshake has not seen the request."""
    destination.on_accept(behaviour)
    url = destination.url.replace("http:", "https:")

    with pytest.raises(NotSent) as caught:
        await post(url + SECRET_PATH, within=LONG if behaviour is not fake.hang else SHORT)

    assert "secret" not in str(caught.value)
    assert destination.connections == 1


NO_ADDRESS = {
    "no scheme": "127.0.0.1/very-secret-token",
    "another scheme": "ftp://127.0.0.1/very-secret-token",
    "no host": "http:///very-secret-token",
    "port out of range": "http://127.0.0.1:99999/very-secret-token",
    "port in words": "http://127.0.0.1:secret/",
    "open bracket": "http://[::1/very-secret-token",
    "control character": "http://127.0.0.1/very-secret-token\x00",
    "label too long": f"http://{'a' * 64}.example.com/very-secret-token",
    "empty label": "http://a..example.com/very-secret-token",
    "name that does not exist": "http://nowhere.invalid/very-secret-token",
    "name outside IDNA": "http://\u2603\ufe0f\u200d.example/very-secret-token",
    "empty": "",
}


@pytest.mark.parametrize("url", NO_ADDRESS.values(), ids=NO_ADDRESS)
async def test_an_url_that_leads_nowhere_is_not_sent(url: str) -> None:
    """Each mistake in an URL is told in words that do not repeat it, for it may be a secret."""
    with pytest.raises(NotSent) as caught:
        await post(url)

    assert str(caught.value)
    assert "secret" not in str(caught.value)


BAD_HEADERS = {
    "newline": {"authorization": "Bearer very-secret\n"},
    "header within": {"authorization": "Bearer very-secret\r\nx-other: 1"},
    "NUL": {"authorization": "Bearer very-secret\x00"},
    "outside ASCII": {"authorization": "Bearer very-secret-é"},
    "name with a space": {"very secret": "1"},
}


@pytest.mark.parametrize("headers", BAD_HEADERS.values(), ids=BAD_HEADERS)
async def test_a_header_that_cannot_be_sent_is_not_sent(destination: Destination, headers: dict[str, str]) -> None:
    """A token with a stray newline sends nothing at all, and the error does not show the token."""
    with pytest.raises(NotSent) as caught:
        await post(destination.url, headers=headers)

    assert "secret" not in str(caught.value)
    assert destination.requests == []


# --- where we do not connect -----------------------------------------------------------------------------------------


async def test_this_machine_is_refused_unless_allowed(destination: Destination) -> None:
    """Without a word of the operator no connection is even opened."""
    with pytest.raises(AddressRefused) as caught:
        await post(destination.url + SECRET_PATH, allow_hosts=[])

    assert destination.connections == 0
    assert "allow_hosts" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (await post(destination.url, allow_hosts=["127.0.0.0/8"])).status == 200


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0", "0", "[::1]"])
async def test_no_spelling_of_this_machine_gets_through(destination: Destination, host: str) -> None:
    """What counts is the address a name leads to, however it is written."""
    with pytest.raises(NotSent):
        await post(f"http://{host}:{destination.port}/", allow_hosts=[])

    assert destination.connections == 0


async def test_a_redirect_to_a_forbidden_address_is_not_followed(destination: Destination) -> None:
    """An allowed host is no door to the others."""
    destination.behaves(fake.redirect("http://169.254.169.254/latest/meta-data/"))

    assert (await post(destination.url)).status == 307


# --- one deadline ----------------------------------------------------------------------------------------------------


async def test_the_deadline_bounds_an_answer_that_never_pauses(destination: Destination) -> None:
    """The whole exchange has one deadline: a body that trickles for ever is given up, its connection closed."""
    closed = asyncio.Event()

    async def trickle(conversation: fake.Conversation) -> None:
        try:
            await fake.drip(pause=0.01, pieces=1_000)(conversation)
        except ConnectionError:
            closed.set()
            raise

    destination.behaves(trickle)

    with pytest.raises(AnswerLost):
        await post(destination.url, within=SHORT)
    async with asyncio.timeout(10):
        await closed.wait()


async def test_a_cancelled_request_leaves_the_client_usable(destination: Destination) -> None:
    """Stopping a sending closes its connection and frees its place."""
    destination.behaves(fake.hang, answer(200, body=json.dumps({"ok": True}).encode()))
    client = HttpClient(timeout=LONG, allow_hosts=["127.0.0.1"], connections=1)
    hanging = asyncio.create_task(client.post(destination.url, content=b"{}", headers={}))
    await destination.received(1)

    hanging.cancel()
    await asyncio.wait([hanging])
    found = await client.post(destination.url, content=b"{}", headers={})
    await client.aclose()

    assert hanging.cancelled()
    assert found.body == b'{"ok": true}'


# --- any method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "POST"])
async def test_any_method_can_be_sent(destination: Destination, method: str) -> None:
    """Without a body there is none, not an empty text."""
    client = HttpClient(timeout=LONG, allow_hosts=["127.0.0.1"])

    found = await client.request(method, destination.url + "/a")
    await client.aclose()

    assert found.status == 200
    assert [(request.method, request.target, request.body) for request in destination.requests] == [(method, "/a", b"")]


# --- names and addresses ---------------------------------------------------------------------------------------------


def resolve(monkeypatch: pytest.MonkeyPatch, *answers: list[str] | OSError) -> list[str]:
    """Let names resolve to *answers*, one after the other; the names that were asked for are noted in the list."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_more: object) -> list[tuple[object, ...]]:
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        if isinstance(found, OSError):
            raise found
        return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 0, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


async def test_a_name_is_resolved_once_and_the_checked_address_connected_to(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere a moment later (DNS rebinding) leads nowhere: nobody asks a second time."""
    asked = resolve(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])

    found = await post(f"http://crm.example.com:{destination.port}/")

    assert found.status == 200
    assert asked == ["crm.example.com"]
    assert [request.headers["host"] for request in destination.requests] == [f"crm.example.com:{destination.port}"]


async def test_a_name_with_one_forbidden_address_is_not_connected_to_at_all(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is the permitted one used: who mixes them is not trusted."""
    resolve(monkeypatch, ["127.0.0.1", "127.0.0.2"])

    with pytest.raises(AddressRefused):
        await post(f"http://crm.example.com:{destination.port}/", allow_hosts=["127.0.0.1"])

    assert destination.connections == 0


async def test_the_next_address_is_tried(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address of a host that refuses does not hide another that works."""
    resolve(monkeypatch, ["127.0.0.2", "127.0.0.1"])

    found = await post(f"http://crm.example.com:{destination.port}/", allow_hosts=["127.0.0.0/8"])

    assert found.status == 200


async def test_name_servers_that_are_silent_keep_no_other_destination_from_being_reached(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-ups once shared the loop's few threads: one dead domain with eight sends held all, and every sink waited.

    Those eight are one look-up now, and it holds neither another destination nor the end of the process.
    """
    look_up, may_answer = socket.getaddrinfo, threading.Event()
    loop, is_held = asyncio.get_running_loop(), asyncio.Event()
    held: list[str] = []

    def getaddrinfo(host: str, *args: Any, **more: Any) -> Any:
        if host == "silent.example.com":
            held.append(threading.current_thread().name)
            loop.call_soon_threadsafe(is_held.set)
            may_answer.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "")
        return look_up(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    sick = HttpClient(timeout=LONG)
    sends = [asyncio.create_task(sick.post("http://silent.example.com/", content=b"", headers={})) for _ in range(8)]
    await is_held.wait()

    found = await post(f"http://localhost:{destination.port}/", allow_hosts=["localhost"])

    assert found.status == 200
    may_answer.set()
    assert [type(error) for error in await asyncio.gather(*sends, return_exceptions=True)] == [NoNetwork] * 8
    assert held == ["resolver"]
    await sick.aclose()


SPELLINGS = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "localhost."),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]"),
    *(
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "127.0.0.1.",
        "127\u30020\u30020\u30021",
        "\uff11\uff12\uff17.0.0.1",
    ),
    *("169.254.169.254", "[fd00:ec2::254]", "0xa9fea9fe", "user:password@127.0.0.1"),
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_forbidden_address_is_connected_to(destination: Destination, host: str) -> None:
    """Octal, hexadecimal, one number, mapped, tunnelled, scoped, full-width: what counts is where it leads."""
    with pytest.raises(NotSent):
        await post(f"http://{host}:{destination.port}/", allow_hosts=[])

    assert destination.connections == 0


# --- whose fault it is -----------------------------------------------------------------------------------------------


async def test_a_silent_name_server_is_our_own_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of the destination, so it is not blamed."""
    resolve(monkeypatch, socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))

    with pytest.raises(NoNetwork, match="no name server answers"):
        await post("http://crm.example.com/")


async def test_a_name_that_does_not_exist_is_the_configuration_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name server has answered: there is no such host."""
    resolve(monkeypatch, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))

    with pytest.raises(NotSent, match=r"crm\.example\.com cannot be resolved") as caught:
        await post("http://crm.example.com/")

    assert not isinstance(caught.value, NoNetwork)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the errors are those of Linux")


@on_linux
async def test_no_way_into_the_network_is_our_own_trouble() -> None:
    """The broadcast address has no route on any machine, as nothing has on one without a network."""
    with pytest.raises(NoNetwork, match="no way into the network"):
        await post("http://255.255.255.255/", allow_hosts=["255.255.255.255"])


@on_linux
async def test_an_address_that_refuses_weighs_more_than_one_we_cannot_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without IPv6 still blames the host whose IPv4 address refuses."""
    resolve(monkeypatch, ["127.0.0.1", "255.255.255.255"])

    with port_nobody_listens_on() as port, pytest.raises(NotSent) as caught:
        await post(f"http://crm.example.com:{port}/", allow_hosts=["127.0.0.1", "255.255.255.255"])

    assert not isinstance(caught.value, NoNetwork)


@on_linux
async def test_too_many_open_files_are_our_own_trouble(destination: Destination) -> None:
    """The process cannot open a socket; whoever it would talk to has nothing to do with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = HttpClient(timeout=LONG, allow_hosts=["127.0.0.1"])
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        free = os.open(os.devnull, os.O_RDONLY)
        held.callback(os.close, free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))

        with pytest.raises(NoNetwork, match="too many files"):
            await client.post(destination.url, content=b"{}", headers={})
    await client.aclose()

    assert destination.connections == 0


async def test_a_deadline_that_passes_while_connecting_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two silent addresses take longer than the whole deadline, and still nothing has left.

    It was told as a lost answer, which for some sinks means that a person must look.
    """
    resolve(monkeypatch, ["127.0.0.1", "::ffff:127.0.0.1"])

    with port_that_accepts_nobody() as port, pytest.raises(NotSent):
        await post(f"http://crm.example.com:{port}/", within=SHORT, allow_hosts=["127.0.0.1", "::ffff:127.0.0.1"])


# --- TLS -------------------------------------------------------------------------------------------------------------

AUTHORITY = trustme.CA()


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return path


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def test_an_authority_of_one_s_own_is_trusted_where_it_is_named(ca_file: Path) -> None:
    """A server inside the house is reached without switching any check off."""
    async with running_destination(context_of(AUTHORITY.issue_cert("127.0.0.1"))) as destination:
        assert (await post(destination.url, ca_file=ca_file)).status == 200
        assert len(destination.requests) == 1


WRONG = {
    "unknown authority": (trustme.CA().issue_cert("127.0.0.1"), "an authority that is not known here"),
    "another address": (AUTHORITY.issue_cert("127.0.0.9"), "is for another address"),
    "expired": (AUTHORITY.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)), "has expired"),
    "not valid yet": (AUTHORITY.issue_cert("127.0.0.1", not_before=datetime(2100, 1, 1, tzinfo=UTC)), "is not valid"),
}


@pytest.mark.parametrize(("certificate", "sentence"), WRONG.values(), ids=WRONG)
async def test_a_certificate_that_is_wrong_is_told_in_words(
    certificate: trustme.LeafCert, sentence: str, ca_file: Path
) -> None:
    """Nothing is sent to whoever cannot prove who he is, and the reason says what is wrong."""
    async with running_destination(context_of(certificate)) as destination:
        with pytest.raises(NotSent, match=f"the server's certificate .*{sentence}") as caught:
            await post(destination.url + SECRET_PATH, ca_file=ca_file)

        assert destination.requests == []
    assert "secret" not in str(caught.value)


async def test_a_certificate_for_another_name_is_told(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name in the URL counts, not the address that it leads to."""
    resolve(monkeypatch, ["127.0.0.1"])
    async with running_destination(context_of(AUTHORITY.issue_cert("other.example.com"))) as destination:
        with pytest.raises(NotSent, match="is for another name"):
            await post(f"https://crm.example.com:{destination.port}/", ca_file=ca_file)


async def test_a_server_without_tls_is_told_in_words(destination: Destination) -> None:
    """The sentence is ours and not OpenSSL's."""
    destination.on_accept(fake.talk_nonsense)

    with pytest.raises(NotSent, match="does not speak TLS"):
        await post(destination.url.replace("http:", "https:"))


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["absent", "of-another-kind"])
def test_a_file_that_holds_no_certificates_is_refused_at_once(tmp_path: Path, content: str | None) -> None:
    """Not at the first message: what cannot be read is a mistake of the configuration."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ValueError, match=r"ca\.pem cannot be read as certificates"):
        HttpClient(timeout=LONG, ca_file=path)


# --- reaching without sending ----------------------------------------------------------------------------------------


async def reach(url: str, *, within: timedelta = LONG, **options: Any) -> None:
    client = HttpClient(timeout=within, **{"allow_hosts": ["127.0.0.1"], **options})
    try:
        await client.reach(url)
    finally:
        await client.aclose()


async def test_a_host_is_reached_without_a_request(ca_file: Path) -> None:
    """It proves name, route and certificate, and the destination has been told nothing."""
    async with running_destination(context_of(AUTHORITY.issue_cert("127.0.0.1"))) as destination:
        await reach(destination.url, ca_file=ca_file)
        assert (await post(destination.url + "/told", ca_file=ca_file)).status == 200

        assert destination.connections == 2
        assert [request.target for request in destination.requests] == ["/told"]


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/", "http://name.invalid/", "http://127.0.0.1:99999/", "http://["])
async def test_what_cannot_be_reached_is_not_sent(url: str) -> None:
    """Each in the words that sending would have used."""
    with pytest.raises(NotSent):
        await reach(url)


async def test_a_wrong_certificate_is_told_when_reaching(destination: Destination) -> None:
    """The check finds what the first message would have found."""
    async with running_destination(context_of(AUTHORITY.issue_cert("127.0.0.1"))) as untrusted:
        with pytest.raises(NotSent, match="authority that is not known here"):
            await reach(untrusted.url)


async def test_a_forbidden_address_is_not_reached_either(destination: Destination) -> None:
    """A check is no way around the guard."""
    with pytest.raises(AddressRefused):
        await reach(destination.url, allow_hosts=[])

    assert destination.connections == 0
