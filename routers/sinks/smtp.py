"""Handing mails to one mail server (RFC 5321), and the only module that knows by which library.

Nothing is repeated here but the opening of a connection: one that was kept may end at any time, and until the text of a
mail has left, a second opening cannot make a second mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPResponseException

from callrail.addresses import AllowList
from callrail.exceptions import AddressRefused, AnswerLost, CallRailError, NoNetwork, NotSent
from callrail.resolving import Found, Resolver

CLOSING = 421  # with it the server ends the connection, at any step (RFC 5321, 3.8)
_SEND_THE_TEXT = 354
_OUR_NETWORK = {errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_KEPT_FOR = 60.0  # seconds; servers wait longer, but routers on the way forget quiet connections without a word
_ALIVE_WITHIN = 5.0
_FAREWELL_WITHIN = 2.0
# This much of the time may pass before the text leaves; the rest is for the answer that says whether it arrived.
_BEFORE_THE_TEXT = 0.8
_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)


class Tls(StrEnum):
    """How the connection becomes a secret one."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


class Stage(StrEnum):
    """The steps of handing over a mail, as they are named in a reason."""

    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said to a step: 2xx yes, 4xx not now, 5xx no; 0 where it offers nothing that we could ask for.

    *text* may hold addresses, so it has to be masked before it is told.
    """

    stage: Stage
    code: int
    text: str

    @property
    def is_yes(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_not_now(self) -> bool:
        return 400 <= self.code < 500


class Refused(CallRailError):
    """The server said no, or not now, to all that was asked of it."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(f"{reply.code} to {reply.stage}")


@dataclass(frozen=True, slots=True)
class Probe:
    """What the server says without being given a mail. *largest* is the bytes it takes in one; None if untold."""

    sender: Reply
    recipients: Sequence[Reply]
    largest: int | None


@dataclass(frozen=True, slots=True)
class Server:
    """Where the mail server is, and how to speak to it.

    Attributes:
        domain: Our name for ourselves, in EHLO.
        context: Verifies the server's certificate; for the name *host*, whatever address that has.
        login: User and password; None to go without.
        timeout: Bounds one `send`, from connecting to the answer.
    """

    host: str
    port: int
    tls: Tls
    domain: str
    context: ssl.SSLContext
    allowed: AllowList
    login: tuple[str, str] | None
    timeout: timedelta
    resolver: Resolver = field(default_factory=Resolver)


class Post:
    """Sends mails over at most *connections* to one server, and keeps them for the next mail."""

    def __init__(self, server: Server, *, connections: int) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(connections)
        self._kept: list[tuple[SMTP, float]] = []

    async def send(self, sender: str, recipients: Sequence[str], content: bytes) -> dict[str, Reply]:
        """Hand over *content*, lines of which end in CRLF, once. What was said of each recipient: 2xx has the mail.

        Raises:
            NotSent: The text did not leave, so that nobody has it.
            AnswerLost: The text has left, and no answer came: some may have it.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._server.timeout.total_seconds()
        has_left = False
        try:
            async with asyncio.timeout(self._server.timeout.total_seconds() * _BEFORE_THE_TEXT) as bound, self._slots:
                client, replies = await self._announce(sender, recipients)
                if any(reply.is_yes for reply in replies.values()):
                    bound.reschedule(ends)
                    has_left = True
                    replies = _settled(replies, await _hand_over(client, content))
                self._keep(client, replies)
        except Refused as refused:
            return dict.fromkeys(recipients, refused.reply)
        except TimeoutError:
            if has_left:
                raise AnswerLost("the mail server did not say in time whether it took the mail") from None
            raise NotSent("the mail server did not answer in time") from None
        return replies

    async def probe(self, sender: str, recipients: Sequence[str]) -> Probe:
        """Do all that `send` does before the text, and take it back.

        Raises:
            NotSent: There is no connection.
            Refused: The server does not let us begin.
        """
        try:
            async with asyncio.timeout(self._server.timeout.total_seconds()):
                client = await _open(self._server)
                try:
                    return await _probe(client, sender, recipients)
                finally:
                    await _part(client)
        except TimeoutError:
            raise NotSent("the mail server did not answer in time") from None

    async def aclose(self) -> None:
        """Part with the server."""
        kept, self._kept = self._kept, []
        await asyncio.gather(*(_part(client) for client, _ in kept))

    async def _announce(self, sender: str, recipients: Sequence[str]) -> tuple[SMTP, dict[str, Reply]]:
        """A connection on which the text may follow where any of the replies is a yes."""
        kept = await self._kept_one()
        if kept is not None:
            # A kept connection may be over: closed by now, or at the number of mails the server takes over one.
            with contextlib.suppress(NotSent, Refused):
                return kept, await _announce(kept, sender, recipients)
        client = await _open(self._server)
        return client, await _announce(client, sender, recipients)

    async def _kept_one(self) -> SMTP | None:
        """A kept connection that answers, with nothing left of the mail before; None if there is none."""
        while self._kept:
            client, since = self._kept.pop()
            if asyncio.get_running_loop().time() - since > _KEPT_FOR:
                await _part(client)
                continue
            try:
                async with asyncio.timeout(_ALIVE_WITHIN):
                    await client.rset()
            except (SMTPException, OSError):  # a TimeoutError is an OSError
                client.close()
            except BaseException:
                client.close()
                raise
            else:
                return client
        return None

    def _keep(self, client: SMTP, replies: dict[str, Reply]) -> None:
        if any(reply.code == CLOSING for reply in replies.values()):
            client.close()
        else:
            self._kept.append((client, asyncio.get_running_loop().time()))


# --- the steps, each on an open connection ---------------------------------------------------------------------------


async def _announce(client: SMTP, sender: str, recipients: Sequence[str]) -> dict[str, Reply]:
    """All steps up to the text. A connection that is over is closed.

    Raises:
        NotSent: The connection is lost.
        Refused: The server ended it.
    """
    try:
        replies = await _ask(client, sender, recipients)
        if any(reply.is_yes for reply in replies.values()):
            response = await client.execute_command(b"DATA")
            answer = Reply(Stage.DATA, response.code, response.message)
            if answer.code != _SEND_THE_TEXT:
                _raise_if_over(answer)
                return _settled(replies, answer)
    except BaseException as error:
        client.close()
        if isinstance(error, SMTPException | OSError):
            raise _lost(error) from None
        raise
    return replies


async def _ask(client: SMTP, sender: str, recipients: Sequence[str]) -> dict[str, Reply]:
    """What the server says to the sender, where that is no yes, else to each recipient."""
    answer = await _answer_to_sender(client, sender)
    if not answer.is_yes:
        return dict.fromkeys(recipients, answer)
    return {recipient: await _answer_to_recipient(client, recipient) for recipient in recipients}


async def _answer_to_sender(client: SMTP, sender: str) -> Reply:
    try:
        with _step(Stage.MAIL):
            response = await client.mail(sender)
    except Refused as refused:
        _raise_if_over(refused.reply)
        return refused.reply
    return Reply(Stage.MAIL, response.code, response.message)


async def _answer_to_recipient(client: SMTP, recipient: str) -> Reply:
    try:
        with _step(Stage.RCPT):
            response = await client.rcpt(recipient)
    except Refused as refused:
        _raise_if_over(refused.reply)
        return refused.reply
    return Reply(Stage.RCPT, response.code, response.message)


async def _hand_over(client: SMTP, content: bytes) -> Reply:
    """Send the text and its final dot in one piece, after which only the answer tells what became of it."""
    protocol = client.protocol
    if protocol is None:
        raise NotSent("the connection to the mail server was lost")
    try:
        with _step(Stage.TEXT):
            protocol.write(_LEADING_DOT.sub(b"..", content) + b".\r\n")
        response = await protocol.read_response()
    except BaseException as error:
        client.close()
        if isinstance(error, SMTPException | OSError):
            raise AnswerLost("the connection was lost before the mail server said whether it took the mail") from None
        raise
    answer = Reply(Stage.TEXT, response.code, response.message)
    if not (answer.is_yes or answer.is_not_now or 500 <= answer.code < 600):
        client.close()
        raise AnswerLost("the mail server's answer to the mail cannot be understood")
    return answer


async def _probe(client: SMTP, sender: str, recipients: Sequence[str]) -> Probe:
    try:
        answer = await _answer_to_sender(client, sender)
        answers = [await _answer_to_recipient(client, recipient) for recipient in recipients] if answer.is_yes else []
        size = client.esmtp_extensions.get("size", "")
        await client.rset()
    except (SMTPException, OSError) as error:
        raise _lost(error) from None
    return Probe(answer, answers, int(size) if size.isascii() and size.isdigit() and len(size) < 20 else None)


def _settled(replies: dict[str, Reply], answer: Reply) -> dict[str, Reply]:
    """*answer* for all who had been accepted; a recipient who had not keeps the own refusal."""
    return {recipient: answer if reply.is_yes else reply for recipient, reply in replies.items()}


def _raise_if_over(reply: Reply) -> None:
    """Raise for a reply that ends the connection, and for one that is neither yes nor no and leaves us out of step."""
    if reply.code == CLOSING:
        raise Refused(reply)
    if not 400 <= reply.code < 600:
        raise NotSent(f"the mail server's answer to {reply.stage} cannot be understood")


@contextlib.contextmanager
def _step(stage: Stage) -> Iterator[None]:
    """The library's errors in our words.

    Raises:
        Refused: The server said no.
        NotSent: It said nothing, or nothing that can be understood.
    """
    try:
        yield
    except SMTPResponseException as error:
        reply = Reply(stage, error.code, error.message)
        if not 400 <= reply.code < 600:
            raise NotSent(f"the mail server's answer to {stage} cannot be understood") from None
        raise Refused(reply) from None
    except (SMTPException, OSError) as error:
        raise _lost(error) from None


def _lost(error: Exception) -> NotSent:
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NotSent(f"the mail server's certificate is not valid: {cause.verify_message.rstrip('.')}")
    if isinstance(cause, ssl.SSLError):
        return NotSent("no TLS with the mail server; does its port begin with TLS, or with STARTTLS?")
    return NotSent("the connection to the mail server was lost")


# --- opening a connection --------------------------------------------------------------------------------------------


async def _open(server: Server) -> SMTP:
    """A connection that is as secret as it has to be, and logged in.

    Raises:
        NotSent: There is no such connection.
        Refused: The server does not let us in.
    """
    client = SMTP(
        hostname=server.host,
        sock=await _connected(server),
        use_tls=server.tls is Tls.IMPLICIT,
        start_tls=False,
        tls_context=server.context,
        local_hostname=server.domain,
        timeout=None,  # `Post` bounds the whole
    )
    try:
        with _step(Stage.GREETING):
            await client.connect()
        if server.tls is Tls.STARTTLS:
            await _start_tls(client)
        with _step(Stage.EHLO):
            await client.ehlo()
        if server.login is not None:
            await _log_in(client, *server.login)
    except BaseException:
        client.close()
        raise
    return client


async def _start_tls(client: SMTP) -> None:
    with _step(Stage.EHLO):
        await client.ehlo()
    if not client.supports_extension("starttls"):
        raise NotSent("the mail server does not offer STARTTLS, so nothing was sent to it")
    with _step(Stage.STARTTLS):
        await client.starttls()


async def _log_in(client: SMTP, user: str, password: str) -> None:
    """Log in once. Trying every way, as the library does, would soon lock the account where the password is wrong."""
    ways = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    for name, log_in in ways.items():
        if name in client.server_auth_methods:
            try:
                with _step(Stage.AUTH):
                    await log_in(user.encode(), password.encode())
            except ValueError:
                raise NotSent("the mail server's answer to AUTH cannot be understood") from None
            return
    raise Refused(Reply(Stage.AUTH, 0, "the mail server offers none of the logins PLAIN, LOGIN and CRAM-MD5"))


async def _connected(server: Server) -> socket.socket:
    """A socket connected to the first address of the server that takes it."""
    loop = asyncio.get_running_loop()
    found = await _resolve(server)
    share = server.timeout.total_seconds() * _BEFORE_THE_TEXT / (len(found) + 1)  # one address must not eat up all
    failure = OSError()
    for family, address in found:
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            async with asyncio.timeout(share):
                await loop.sock_connect(connecting, address)
        except OSError as error:
            connecting.close()
            failure = error
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting
    raise _unreachable(failure)


async def _resolve(server: Server) -> Found:
    """The family and address of each way to the server, all of them such as we connect to."""
    try:
        found = await server.resolver.look_up(server.host, server.port)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_AGAIN, socket.EAI_SYSTEM):
            raise NoNetwork(f"our name server does not answer for {server.host}") from None
        raise NotSent(f"the name {server.host} cannot be resolved") from None
    except (OSError, UnicodeError):  # UnicodeError: a label too long or empty
        raise NotSent(f"the name {server.host} cannot be resolved") from None
    if not server.allowed.permits_all(server.host, [str(address[0]) for _, address in found]):
        raise AddressRefused(
            f"{server.host} is a loopback, private or reserved address; list it under allow_hosts if that is meant"
        )
    return found


def _unreachable(error: OSError) -> NotSent:
    if error.errno in _OUR_NETWORK:
        return NoNetwork("there is no route to the mail server")
    if isinstance(error, TimeoutError):
        return NotSent("the mail server did not accept the connection in time")
    return NotSent("the mail server refused the connection")


async def _part(client: SMTP) -> None:
    """Say good-bye and close; one that is gone already is closed all the same."""
    try:
        with contextlib.suppress(SMTPException, OSError):
            async with asyncio.timeout(_FAREWELL_WITHIN):
                await client.quit()
    finally:
        client.close()
