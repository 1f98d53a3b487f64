"""`type: email`: a mail to one or several people, over any server that speaks SMTP.

What the server says of each recipient decides: who has the mail does not get it again, who was refused for good is
left out, and only the others are tried again.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from callrail.addresses import AllowList
from callrail.exceptions import AnswerLost, HttpError, NotSent
from receiver.secrets import SecretRef
from routers.audience import Audience
from routers.escapes import plain
from routers.messages import Amend, Message
from routers.outcomes import AuthFailed, Delivered, Outcome, Rejected, Retry, outcome_of_error
from routers.sinks.config import RemoteSinkConfig
from routers.sinks.mail import Letterhead, compose, message_id
from routers.sinks.sink import Check
from routers.sinks.smtp import CLOSING, Post, Probe, Refused, Reply, Server, Stage, Tls
from routers.uncertain import OnUncertain

PORTS = {Tls.STARTTLS: 587, Tls.IMPLICIT: 465, Tls.NONE: 25}

# A server that greylists lets nobody in sooner (RFC 6647, 5).
_NOT_BEFORE = timedelta(minutes=1)
# Login required, mechanism too weak, login wrong, TLS required first (RFC 4954, 6).
_ASKS_FOR_LOGIN = {530, 534, 535, 538}
_BEFORE_THE_MAIL = {Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH}
_EXCERPT = 200
_MAX_RECIPIENTS = 50
_SMALL = 1_000_000  # bytes; a mail of ours has seldom more than 50,000

_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I)
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ADDRESS_IN_TEXT = re.compile(r"<[^>]*>|\S*@\S*")
_MANY_DIGITS = re.compile(r"(?:\d[ ().-]*){7,}")


# --- settings --------------------------------------------------------------------------------------------------------


def _domain(written: str) -> str:
    if not _DOMAIN.fullmatch(written):
        raise ValueError("a domain is written like example.com, in ASCII (one with other letters begins with xn--)")
    return written


def _address(written: object) -> str:
    """*written* if it is a bare address; the errors do not repeat it, it belongs to a person."""
    if not isinstance(written, str) or written.count("@") != 1:
        raise ValueError("an address is written like name@example.com: one, without a name or < > around it")
    local, _, domain = written.partition("@")
    if not _LOCAL.fullmatch(local) or len(local) > 64:
        raise ValueError("what stands before the @ of an address is 1 to 64 ASCII letters, digits and signs, no blanks")
    return f"{local}@{_domain(domain)}"


def _addresses(written: object) -> tuple[str, ...]:
    several = (written,) if isinstance(written, str) else written
    if not isinstance(several, list | tuple) or not 1 <= len(several) <= _MAX_RECIPIENTS:
        raise ValueError(f"`to` is an address, or a list of 1 to {_MAX_RECIPIENTS} of them")
    addresses = tuple(map(_address, several))
    if len({address.lower() for address in addresses}) < len(addresses):
        raise ValueError("an address stands twice; each gets one mail, so name it once")
    return addresses


def _prefix(written: str) -> str:
    if not written.isprintable() or len(written) > 50:
        raise ValueError("a prefix of subjects is at most 50 characters on one line")
    return written


_ADDRESS_SCHEMA = {"type": "string", "pattern": "^[^@<>]+@[^@<>]+$"}
_Address = Annotated[str, BeforeValidator(_address), WithJsonSchema(_ADDRESS_SCHEMA)]
_Addresses = Annotated[
    tuple[str, ...],
    BeforeValidator(_addresses),
    WithJsonSchema({"anyOf": [_ADDRESS_SCHEMA, {"type": "array", "items": _ADDRESS_SCHEMA, "minItems": 1}]}),
]


class EmailConfig(RemoteSinkConfig):
    """Sends each message as a mail, by SMTP."""

    type: Literal["email"]
    """What sort of sink it is."""
    host: str
    """The mail server, like smtp.example.com. Its certificate has to be valid for this name."""
    from_: Annotated[_Address, Field(alias="from")]
    """The address that mails come from, which the mail server has to allow."""
    to: _Addresses
    """Who gets them: an address, or a list of at most 50. Each sees the others."""
    tls: Tls = Tls.STARTTLS
    """How the connection is secured: starttls, implicit (TLS from the first byte), or none."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """The server's port. Not written: 587 for starttls, 465 for implicit, 25 for none."""
    user: Annotated[str, Field(min_length=1)] | None = None
    """Who to log in as. Not written: no login."""
    password: SecretRef | None = None
    """The reference to the password, or to the key that the provider calls one."""
    allow_plain_login: bool = False
    """With tls none, log in all the same, so that anybody on the way can read the password."""
    domain: Annotated[str, AfterValidator(_domain)] | None = None
    """What stands behind the @ of each Message-ID, and in EHLO. Not written: the domain of from."""
    subject_prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    """What every subject begins with, such as "[Calls] "."""
    audience: Audience = Audience.PEOPLE
    """Who is at the other end: people, unless told otherwise."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    """How many connections there are at most. Providers limit them."""
    on_uncertain: OnUncertain = OnUncertain.REPEAT
    """What follows a mail whose answer was lost: it is sent once more, and says that it may be a repeat."""
    amend: Amend = Amend.THREAD
    """What later news of a thing does: thread answers the mail that told it, new is a mail of its own, silent none."""

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, written: str) -> str:
        if not _HOST.fullmatch(written) or "://" in written or (written.count(":") == 1):
            raise ValueError("a host is a name like smtp.example.com or an address; the port goes under `port`")
        return written

    @model_validator(mode="after")
    def _login_is_whole_and_secret(self) -> EmailConfig:
        if (self.user is None) != (self.password is None):
            raise ValueError(
                "`user` and `password` go together; write both, or none where the server asks for no login"
            )
        if self.user is not None and self.tls is Tls.NONE and not self.allow_plain_login:
            raise ValueError(
                "with `tls: none` the password would go in the clear; use starttls or implicit, "
                "or write `allow_plain_login: true` if the way to the server is safe"
            )
        return self

    @property
    def ways_to_amend(self) -> frozenset[Amend]:
        return frozenset(Amend) - {Amend.EDIT}

    def build(self) -> EmailSink:
        login = None
        if self.user is not None and self.password is not None:
            login = (self.user, self.password.resolve(os.environ))
        domain = self.domain or self.from_.rpartition("@")[2]
        server = Server(
            host=self.host,
            port=self.port or PORTS[self.tls],
            tls=self.tls,
            domain=domain,
            context=_context(self.ca_file),
            allowed=AllowList(self.allow_hosts),
            login=login,
            timeout=self.timeout,
        )
        letterhead = Letterhead(self.from_, self.to, domain, self.subject_prefix or "")
        return EmailSink(Post(server, connections=self.concurrency), server, letterhead)


@cache
def _context(ca_file: Path | None) -> ssl.SSLContext:
    """What verifies certificates: one for all sinks with the same *ca_file*, because reading the system's takes long.

    Raises:
        ValueError: *ca_file* is none.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError:  # an SSLError is one
            raise ValueError(f"ca_file: {ca_file} holds no certificates in PEM that can be read") from None
    return context


# --- the sink --------------------------------------------------------------------------------------------------------


class EmailSink:
    """Sends each message as one mail to all recipients who do not have it yet."""

    def __init__(self, post: Post, server: Server, letterhead: Letterhead) -> None:
        self._post = post
        self._server = server
        self._letterhead = letterhead
        user = (server.login[0],) if server.login else ()
        self._mask = _Mask((letterhead.sender, *letterhead.recipients, *user))

    async def deliver(self, message: Message) -> Outcome:
        """Send *message* once. What went wrong before the text left is `Retry`, after that `Uncertain`."""
        done = Done.read(message.done)
        open_to = [recipient for recipient in self._letterhead.recipients if recipient not in done.settled]
        if not open_to:
            return self._settled(done, message)
        content = compose(message, self._letterhead, now=datetime.now(UTC))
        try:
            replies = await self._post.send(self._letterhead.sender, open_to, content)
        except (NotSent, AnswerLost) as error:
            return _keeping(done, outcome_of_error(error))
        return self._outcome(done.after(replies), replies, message)

    def _outcome(self, done: Done, replies: Mapping[str, Reply], message: Message) -> Outcome:
        verdicts = {recipient: verdict_of(reply) for recipient, reply in replies.items()}
        waiting = [replies[recipient] for recipient, verdict in verdicts.items() if verdict.is_open]
        if not waiting:
            return self._settled(done, message, replies.values())
        reason = self._reason(waiting[0], message)
        if all(verdict is Verdict.NO_LOGIN for verdict in verdicts.values()):
            return AuthFailed(reason)
        whole_lane = any(reply.code == CLOSING or reply.stage in _BEFORE_THE_MAIL for reply in waiting)
        return _keeping(done, Retry(reason, after=_NOT_BEFORE, whole_lane=whole_lane))

    def _settled(self, done: Done, message: Message, replies: Iterable[Reply] = ()) -> Outcome:
        """The end, where nobody is left to be tried again."""
        refusals = [self._reason(reply, message) for reply in replies if verdict_of(reply) is Verdict.REFUSED]
        refusal = refusals[0] if refusals else "refused for good at an earlier try"
        if not done.have_it:
            return Rejected(refusal)
        told = f"accepted for {len(done.have_it)} of {len(done.settled)} recipients; {refusal}" if done.refused else ""
        return Delivered(told or "accepted", remote_id=message_id(message.key, self._letterhead.domain))

    def _reason(self, reply: Reply, message: Message | None = None) -> str:
        """What the server said; without the text of *message*, which some quote where they take it for spam."""
        quoted = (message.text().title, *message.text().lines) if message is not None else ()
        text = self._mask(reply.text, quoted)
        return (f"{reply.code} to {reply.stage}" if reply.code else str(reply.stage)) + (f": {text}" if text else "")

    async def check(self) -> Sequence[Check]:
        """Connect, log in, and ask for sender and recipients, but give no mail."""
        where = f"{self._server.host}, port {self._server.port}, tls {self._server.tls}"
        try:
            probe = await self._post.probe(self._letterhead.sender, self._letterhead.recipients)
        except HttpError as error:
            return [Check(f"{where}: {error}", ok=False, remedy="look at host, port, tls, ca_file and allow_hosts")]
        except Refused as refused:
            remedy = "look at user and password" if refused.reply.stage is Stage.AUTH else "ask who runs the server"
            return [Check(f"{where}: {self._reason(refused.reply)}", ok=False, remedy=remedy)]
        checks = [Check(f"{where}: connected" + (" and logged in" if self._server.login else ""), ok=True)]
        checks += self._checks_of(probe)
        return checks

    def _checks_of(self, probe: Probe) -> list[Check]:
        sender = f"sender {_hinted(self._letterhead.sender)}"
        checks = [self._check_of(sender, probe.sender, "let the mail server allow this address, or change `from`")]
        for number, (address, reply) in enumerate(zip(self._letterhead.recipients, probe.recipients, strict=False), 1):
            remedy = "look at the address" if verdict_of(reply) is Verdict.REFUSED else "try again in some minutes"
            checks.append(self._check_of(f"recipient {number}, {_hinted(address)}", reply, remedy))
        if probe.largest:
            remedy = "" if probe.largest >= _SMALL else "let the mail server take more"
            checks.append(Check(f"a mail may have {probe.largest:,} bytes", ok=not remedy, remedy=remedy))
        return checks

    def _check_of(self, what: str, reply: Reply, remedy: str) -> Check:
        if reply.is_yes:
            return Check(f"{what}: accepted", ok=True)
        return Check(f"{what}: {self._reason(reply)}", ok=False, remedy=remedy)

    async def aclose(self) -> None:
        await self._post.aclose()


# --- what replies mean -----------------------------------------------------------------------------------------------


class Verdict(Enum):
    """What one recipient's reply means."""

    HAS_IT = auto()
    NOT_NOW = auto()
    NO_LOGIN = auto()
    REFUSED = auto()

    @property
    def is_open(self) -> bool:
        """Whether the recipient may still get it."""
        return self in (Verdict.NOT_NOW, Verdict.NO_LOGIN)


def verdict_of(reply: Reply) -> Verdict:
    """What *reply* means: a no to the mail is for good; a no before it says nothing of this mail, so it may change."""
    if reply.is_yes:
        return Verdict.HAS_IT
    if reply.is_not_now:
        return Verdict.NOT_NOW
    if reply.stage is Stage.AUTH or reply.code in _ASKS_FOR_LOGIN:
        return Verdict.NO_LOGIN
    return Verdict.NOT_NOW if reply.stage in _BEFORE_THE_MAIL else Verdict.REFUSED


@dataclass(frozen=True, slots=True)
class Done:
    """What earlier tries of a delivery have settled: kept in `Retry.done`, read from `Message.done`."""

    have_it: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()

    @classmethod
    def read(cls, written: str | None) -> Done:
        """What *written* says; nothing where it is not ours, as after the sink's type was changed."""
        try:
            told: Any = orjson.loads(written or "{}")
            return cls(frozenset(told.get("have_it", ())), frozenset(told.get("refused", ())))
        except (ValueError, AttributeError, TypeError):
            return cls()

    def write(self) -> str | None:
        """As it is kept; None where there is nothing to keep."""
        if not self.settled:
            return None
        return orjson.dumps({"have_it": sorted(self.have_it), "refused": sorted(self.refused)}).decode()

    def after(self, replies: Mapping[str, Reply]) -> Done:
        verdicts = {recipient: verdict_of(reply) for recipient, reply in replies.items()}
        return Done(
            self.have_it | {recipient for recipient, verdict in verdicts.items() if verdict is Verdict.HAS_IT},
            self.refused | {recipient for recipient, verdict in verdicts.items() if verdict is Verdict.REFUSED},
        )

    @property
    def settled(self) -> frozenset[str]:
        return self.have_it | self.refused


class _Mask:
    """What a server said, on one line, without addresses, their parts, long numbers and what it quotes."""

    def __init__(self, addresses: Iterable[str]) -> None:
        known = {part for address in addresses for part in (address, address.partition("@")[0])}
        longest_first = sorted(map(re.escape, known), key=len, reverse=True)
        self._known = re.compile(rf"(?<!\w)({'|'.join(longest_first)})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str, quoted: Iterable[str] = ()) -> str:
        line = " ".join(plain(text[: 4 * _EXCERPT]).split())
        for part in filter(None, quoted):
            line = line.replace(part, "…")
        for personal in (_ADDRESS_IN_TEXT, self._known, _MANY_DIGITS):
            line = personal.sub("…", line)
        return line[:_EXCERPT]


def _hinted(address: str) -> str:
    """*address* so that who wrote it knows which it is: j…@example.com."""
    local, _, domain = address.partition("@")
    return f"{local[0]}…@{domain}"


def _keeping(done: Done, outcome: Outcome) -> Outcome:
    return replace(outcome, done=done.write()) if isinstance(outcome, Retry) else outcome
