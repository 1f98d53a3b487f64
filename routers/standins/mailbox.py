"""A mailbox of our own: a server that takes every mail, as far as SMTP is needed for that, and tells who looks on.

These are the commands that each server has to know (RFC 5321, 4.5.1), without VRFY. A library for them would be
installed with every router, for a demo only.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from routers.listening import close_in_order

_ADDRESS = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True, slots=True)
class Mail:
    """What somebody who opens a mail sees. *thread* is the subject of the mail that it follows up; None if none."""

    sender: str
    recipients: str
    subject: str
    lines: tuple[str, ...]
    thread: str | None = None


@dataclass
class _Envelope:
    """Who a mail is from and for, as the commands have told so far."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)

    def reply(self, verb: str, argument: str) -> str:
        """The reply to any command but DATA and QUIT, after which the envelope is as that command leaves it."""
        match verb:
            case "EHLO" | "HELO" | "RSET":
                self.sender, self.recipients = None, []
            case "MAIL" if found := _ADDRESS.search(argument):
                self.sender, self.recipients = found[1], []
            case "RCPT" if self.sender is not None and (found := _ADDRESS.search(argument)):
                self.recipients.append(found[1])
            case "RCPT":
                return "503 MAIL first, and an address in <>"
            case "NOOP":
                pass
            case _:
                return "500 no such command here"
        return "250 ok"


class _Mailbox:
    """Holds each conversation, and knows the subjects of what has come."""

    def __init__(self, on_mail: Callable[[Mail], None]) -> None:
        self._on_mail = on_mail
        self._subjects: dict[str, str] = {}
        self._conversations: set[asyncio.StreamWriter] = set()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._conversations.add(writer)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, ValueError):  # of a line that does not end, too
            pass
        finally:
            self._conversations.discard(writer)
            writer.close()

    def close(self) -> None:
        for writer in self._conversations:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(reply: str) -> None:
            writer.write(f"{reply}\r\n".encode())
            await writer.drain()

        envelope = _Envelope()
        await say("220 mailbox")
        while line := await reader.readline():
            verb, _, argument = line.decode("ascii", "replace").strip().partition(" ")
            match verb.upper():
                case "QUIT":
                    await say("221 bye")
                    return
                case "DATA" if envelope.recipients:
                    await say("354 end with a dot on a line of its own")
                    self._take(await _text(reader))
                    envelope = _Envelope()
                    await say("250 taken")
                case "DATA":
                    await say("503 RCPT first")
                case _:
                    await say(envelope.reply(verb.upper(), argument))

    def _take(self, content: bytes) -> None:
        mail = message_from_bytes(content, policy=default)
        subject = str(mail["Subject"] or "")
        self._subjects[str(mail["Message-ID"])] = subject
        first = mail["References"]
        thread = self._subjects.get(str(first), "an earlier mail") if first else None
        self._on_mail(Mail(str(mail["From"]), str(mail["To"]), subject, _lines(mail), thread))


def _lines(mail: EmailMessage) -> tuple[str, ...]:
    body = mail.get_body(("plain",))
    return tuple(str(body.get_content()).splitlines()) if body is not None else ()


async def _text(reader: asyncio.StreamReader) -> bytes:
    """The lines up to a single dot, without the dot that the sender puts before each that begins with one."""
    lines = []
    while (line := await reader.readline()) != b".\r\n":
        if not line:
            raise ConnectionResetError("the connection was lost in the middle of a mail")
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)


@contextlib.asynccontextmanager
async def running_mailbox(on_mail: Callable[[Mail], None]) -> AsyncIterator[int]:
    """Take mails on a free port of 127.0.0.1 while the block runs; the port. *on_mail* is told of each."""
    mailbox = _Mailbox(on_mail)
    server = await asyncio.start_server(mailbox.converse, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await close_in_order(server)
        mailbox.close()
        await server.wait_closed()
