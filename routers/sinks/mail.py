"""A message as a mail: its headers, a text for every mail reader, and the same as HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.headerregistry import Address, HeaderRegistry, MessageIDHeader, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy, Policy
from email.utils import format_datetime

from routers.escapes import Escape, html, plain
from routers.messages import LINK_LABELS, Amend, Message, Text

# Mail readers show less; a line of a header may hold 998 characters (RFC 5322, 2.1.1).
_MAX_SUBJECT = 150
_MAX_EARLIER = 20
_WEB = ("https://", "http://")
_SPAM = "CallRail marks this as spam."
_REPEATED = "This may be a repeat: it is not known whether an earlier mail of the same news arrived."
# All others may stand in a Message-ID without quotes (RFC 5322, 3.2.3).
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


class _Subject(UnstructuredHeader):
    """A subject whose parts, encoded each for itself, are read as one again; the library's own way loses blanks."""

    max_count = 1

    def fold(self, *, policy: Policy) -> str:
        text = str(self)
        encoded = Header(text, "us-ascii" if text.isascii() else "utf-8", header_name="Subject")
        return f"Subject: {encoded.encode(linesep=policy.linesep)}{policy.linesep}"


def _policy() -> EmailPolicy[EmailMessage]:
    """How a mail is written, where the library's way is not right: it encodes a long id as if it were text, too."""
    headers = HeaderRegistry()
    own = {"subject": _Subject, "in-reply-to": MessageIDHeader, "references": MessageIDHeader}
    for name, header in own.items():
        headers.map_to_type(name, header)  # type: ignore[arg-type]  # the registry itself mixes the base class in
    return SMTP.clone(header_factory=headers)


_POLICY = _policy()


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What all mails of a sink have in common. *domain* is the right side of each Message-ID."""

    sender: str
    recipients: Sequence[str]
    domain: str
    subject_prefix: str = ""


def compose(message: Message, letterhead: Letterhead, *, now: datetime) -> bytes:
    """*message* as the bytes of a mail, in ASCII, with CRLF at the end of each line of at most 78 characters or so.

    Its Message-ID comes from the message's key, so it is the same in every try. A mail that amends one names that one's
    in `References`, which is what mail readers sort into a thread by (RFC 5322, 3.6.4).
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = _address(letterhead.sender)
    mail["To"] = [_address(recipient) for recipient in letterhead.recipients]
    mail["Subject"] = _subject(message, letterhead.subject_prefix)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = message_id(message.key, letterhead.domain)
    root = _root(message)
    if root != message.key:
        mail["In-Reply-To"] = mail["References"] = message_id(root, letterhead.domain)
    mail["X-Entity-Ref-ID"] = _NOT_IN_AN_ID.sub("_", root)
    mail["Auto-Submitted"] = "auto-generated"  # so that no out-of-office mail answers it (RFC 3834)
    # Quoted-printable needs no 8BITMIME of any server on the way, and keeps each line short.
    mail.set_content(_text(message), charset="utf-8", cte="quoted-printable")
    mail.add_alternative(_html(message), subtype="html", charset="utf-8", cte="quoted-printable")
    return mail.as_bytes()


def _address(address: str) -> Address:
    return Address(addr_spec=address)


def _root(message: Message) -> str:
    """The key of the mail that began the thread in which *message* stands: its own unless it amends one."""
    is_follow_up = message.first is not None and message.amend in (Amend.THREAD, Amend.EDIT)
    return message.first.key if message.first is not None and is_follow_up else message.key


def message_id(key: str, domain: str) -> str:
    """What a mail is called everywhere: the same for each mail of one delivery."""
    return f"<{_NOT_IN_AN_ID.sub('_', key)}@{domain}>"


def _subject(message: Message, prefix: str) -> str:
    """One line. A follow-up has that of its thread, because some readers look at nothing else."""
    if _root(message) != message.key:
        written = f"Re: {prefix}{_read(message.chapters[0].write, plain).title}"
    else:
        written = f"{prefix}{'[spam] ' if message.is_spam else ''}{_read(message.text, plain).title}"
    # What looks like an encoded word (RFC 2047) would be decoded, and could hold line breaks then.
    line = " ".join(written.replace("=?", "= ?").split())
    return line if len(line) <= _MAX_SUBJECT else line[: _MAX_SUBJECT - 1].rstrip() + "…"


# --- the body --------------------------------------------------------------------------------------------------------


def _text(message: Message) -> str:
    text = _read(message.text, plain)
    links = _links(message)
    parts = [
        [text.title, *_without(links, text.lines, plain)],
        _notes(message),
        [f"{label}: {url}" for label, url in links],
        _earlier(message, plain),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _html(message: Message) -> str:
    """The same in HTML. What CallRail told is escaped by `Message.text`; what the template's author wrote is markup."""
    text = _read(message.text, html)
    links = _links(message)
    paragraphs = [
        [f"<strong>{text.title}</strong>", *_without(links, text.lines, html)],
        [f"<em>{html(note)}</em>" for note in _notes(message)],
        [f'<a href="{html(url)}">{html(label)}</a>' for label, url in links],
        _earlier(message, html),
    ]
    body = "\n".join("<p>" + "<br>\n".join(lines) + "</p>" for lines in paragraphs if lines)
    return f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head><body>\n{body}\n</body></html>\n'


def _read(write: Callable[[Escape], Text], escape: Escape) -> Text:
    """The text, each part of it on one line and in characters that a mail can hold, whatever a template wrote."""
    text = write(escape)
    return Text(plain(text.title), tuple(map(plain, text.lines)))


def _links(message: Message) -> list[tuple[str, str]]:
    """What to call each link, and where it leads."""
    usable = {name: plain(url) for name, url in message.links.items() if url.startswith(_WEB)}
    return [(LINK_LABELS.get(name, plain(name)), url) for name, url in usable.items()]


def _without(links: Sequence[tuple[str, str]], lines: Sequence[str], escape: Escape) -> list[str]:
    """*lines* without those that are nothing but a link which stands below."""
    below = {escape(url) for _, url in links}
    return [line for line in lines if line not in below]


def _notes(message: Message) -> list[str]:
    replayed = f"Replayed · happened {message.local(message.occurred_at, '%a %d %b %H:%M')}"
    return [_SPAM] * message.is_spam + [_REPEATED] * message.may_repeat + [replayed] * message.is_replayed


def _earlier(message: Message, escape: Escape) -> list[str]:
    """What was told before, newest last, a line each."""
    told = [
        f"{message.local(chapter.occurred_at, '%d %b %H:%M')}: {_read(chapter.write, escape).title}"
        for chapter in message.story[-_MAX_EARLIER:]
    ]
    return ["Earlier:", *told] if told else []
