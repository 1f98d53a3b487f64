"""A mail server on a real loopback socket, with or without TLS and login, that refuses or breaks off when told to."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from enum import Enum
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from routers.listening import close_in_order


class Trouble(Enum):
    """What may come in place of a reply."""

    DROP = "close the connection without a word"
    HANG = "say nothing, and keep the connection"


@dataclass(frozen=True)
class Mail:
    """One mail as it was accepted."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    is_secret: bool
    user: str | None

    @property
    def parsed(self) -> EmailMessage:
        mail = message_from_bytes(self.content, policy=default)
        assert isinstance(mail, EmailMessage)
        return mail

    def body(self, subtype: str) -> str:
        """The alternative of that type: plain or html."""
        part = self.parsed.get_body((subtype,))
        assert part is not None
        content: str = part.get_content()
        return content.replace("\r\n", "\n")


@dataclass
class Mailbox:
    """The server.

    Attributes:
        mails: All that were accepted, in order of arrival.
        commands: The first word of each command, of all connections.
        connections: How many were accepted.
        has_hung: Set once it says nothing where it was told to.
    """

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    has_hung: asyncio.Event = field(default_factory=asyncio.Event)
    _script: list[tuple[str, str, str | Trouble]] = field(default_factory=list)
    _sessions: list[_Conversation] = field(default_factory=list)

    def answers(self, stage: str, *answers: str | Trouble, to: str = "") -> None:
        """The next times at *stage* (greeting, text or a command), answer so; *to* limits it to one recipient."""
        self._script += [(stage, to, answer) for answer in answers]

    def next_answer(self, stage: str, argument: str) -> str | Trouble | None:
        for step in self._script:
            if step[0] == stage and step[1] in argument:
                self._script.remove(step)
                return step[2]
        return None

    async def close_connections(self) -> None:
        """End all connections, as a server does with idle ones."""
        for session in self._sessions:
            if session.transport is not None:
                session.transport.close()
            await session.is_over.wait()

    # --- hooks of the library ----------------------------------------------------------------------------------------

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(server, _Conversation)
        assert isinstance(envelope.content, bytes)
        assert envelope.mail_from is not None
        answer = self.next_answer("text", "")
        if isinstance(answer, str) and not answer.startswith("2"):
            return answer
        login = session.auth_data
        user = login.login.decode() if isinstance(login, LoginPassword) else None
        recipients = tuple(envelope.rcpt_tos)
        is_secret = server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
        self.mails.append(Mail(envelope.mail_from, recipients, envelope.content, is_secret, user))
        if isinstance(answer, Trouble):
            await server.make(answer)
        return answer if isinstance(answer, str) else "250 2.0.0 taken"


def _scripted(stage: str) -> Callable[[_Conversation, str], Awaitable[None]]:
    async def command(self: _Conversation, argument: str) -> None:
        self.mailbox.commands.append(stage)
        if not await self.acts(stage, argument or ""):
            await getattr(SMTP, f"smtp_{stage}")(self, argument)

    return command


class _Conversation(SMTP):
    """One connection, which asks the mailbox what to answer before it does what the library does."""

    smtp_EHLO = _scripted("EHLO")  # noqa: N815
    smtp_STARTTLS = _scripted("STARTTLS")  # noqa: N815
    smtp_AUTH = _scripted("AUTH")  # noqa: N815
    smtp_MAIL = _scripted("MAIL")  # noqa: N815
    smtp_RCPT = _scripted("RCPT")  # noqa: N815
    smtp_DATA = _scripted("DATA")  # noqa: N815
    smtp_RSET = _scripted("RSET")  # noqa: N815
    smtp_QUIT = _scripted("QUIT")  # noqa: N815

    def __init__(self, mailbox: Mailbox, **options: Any) -> None:
        self.mailbox = mailbox
        self.is_over = asyncio.Event()
        self._has_greeted = False
        mailbox.connections += 1
        mailbox._sessions.append(self)
        super().__init__(mailbox, hostname="mail.example.com", loop=asyncio.get_running_loop(), **options)

    async def push(self, status: Any) -> None:
        if not self._has_greeted:
            self._has_greeted = True
            if await self.acts("greeting", ""):
                return
        await super().push(status)

    async def acts(self, stage: str, argument: str) -> bool:
        """Do what the script says of *stage*; whether it says anything."""
        answer = self.mailbox.next_answer(stage, argument)
        if isinstance(answer, Trouble):
            await self.make(answer)
        elif answer is not None:
            await super().push(answer)
            if answer.startswith("421") and self.transport is not None:
                self.transport.close()
        return answer is not None

    async def make(self, trouble: Trouble) -> None:
        if trouble is Trouble.DROP and isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        self.mailbox.has_hung.set()
        await self.is_over.wait()  # of a client that gives up, or of the drop

    def connection_lost(self, error: Exception | None) -> None:
        self.is_over.set()
        super().connection_lost(error)

    async def end(self) -> None:
        if isinstance(self.transport, asyncio.Transport) and not self.transport.is_closing():
            self.transport.abort()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()  # one that waits for a handshake would wait for ever
            await asyncio.gather(self._handler_coroutine, return_exceptions=True)


@asynccontextmanager
async def running_mailbox(
    *,
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
    without: tuple[str, ...] = (),
) -> AsyncIterator[Mailbox]:
    """A mail server on a free port of 127.0.0.1, which asks for *login*, but not by the ways in *without*."""
    mailbox = Mailbox()

    def is_known(_server: SMTP, _session: Session, _envelope: Envelope, _way: str, told: Any) -> AuthResult:
        return AuthResult(
            success=login is not None and (told.login, told.password) == tuple(part.encode() for part in login),
            handled=False,
            auth_data=told,
        )

    def converse() -> _Conversation:
        with warnings.catch_warnings(action="ignore"):  # of logins without STARTTLS
            return _Conversation(
                mailbox,
                tls_context=starttls,
                auth_required=login is not None,
                auth_require_tls=starttls is not None,
                auth_exclude_mechanism=without,
                authenticator=is_known,
            )

    server = await asyncio.get_running_loop().create_server(converse, "127.0.0.1", 0, ssl=implicit)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        await close_in_order(server)
        for session in mailbox._sessions:
            await session.end()
        await server.wait_closed()
