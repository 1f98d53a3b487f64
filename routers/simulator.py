"""Plays what CallRail would post about calls, texts and forms, in real life's order and pace, rightly signed.

For newcomers without an account and for tests: keys, types, encoding and signature are CallRail's, the values invented.
What can be played, trouble included, stands in `routers.scenarios`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol, assert_never

from callrail.signature import sign
from routers import simulated_facts as facts
from routers.scenarios import SCENARIOS, Posting, Scene, Signer, postings

if TYPE_CHECKING:
    import random

_INVENTED_COMPANY_ID = "COM01980000000000000000000000000000"
_ANOTHER_KEY = b"an invented key that no company has"


class Story(StrEnum):
    """The scenarios of every day: what happens to one customer, from the first webhook to the last."""

    MISSED = "missed"
    ANSWERED = "answered"
    VOICEMAIL = "voicemail"
    ABANDONED = "abandoned"
    FORM = "form"
    TEXT = "text"


class Expected(StrEnum):
    """What the server should do with a webhook: keep it as an event, or refuse it because nobody proved it."""

    STORED = "stored"
    REFUSED = "refused"


@dataclass(frozen=True)
class SimulatedCompany:
    """The company CallRail posts for. *key* signs its webhooks; without *callrail_id* an invented one is sent."""

    slug: str
    name: str
    callrail_id: str | None
    key: bytes = field(repr=False)


class PostWebhook(Protocol):
    """Posts one webhook and returns the HTTP status of the answer."""

    async def __call__(self, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        """*headers* are content type and signature. Raises OSError if there is no connection."""
        ...


Announce = Callable[[Posting, float], None]


@dataclass(frozen=True)
class Sent:
    """One webhook posted. *answer* is the HTTP status, or a text that says why no answer came."""

    story: str
    kind: str
    answer: int | str
    expected: Expected = Expected.STORED

    @property
    def is_accepted(self) -> bool:
        """Any 2xx is success (documented), but for 202: so our intake says that it keeps what nobody proved."""
        return isinstance(self.answer, int) and 200 <= self.answer < 300 and self.answer != 202

    @property
    def is_as_expected(self) -> bool:
        if self.expected is Expected.STORED:
            return self.is_accepted
        return self.answer in (401, 202)  # 202 where router.yaml says `bad_signature: accept`


@dataclass(frozen=True)
class Tally:
    """How many webhooks were sent, and how many accepted that should be; *rightly_refused* those that should not."""

    sent: int
    accepted: int
    rightly_refused: int = 0
    wrongly_accepted: int = 0

    @classmethod
    def of(cls, sent: Sequence[Sent]) -> Tally:
        """The answers counted."""
        return cls(
            sent=len(sent),
            accepted=sum(one.is_accepted and one.is_as_expected for one in sent),
            rightly_refused=sum(one.expected is Expected.REFUSED and one.is_as_expected for one in sent),
            wrongly_accepted=sum(one.is_accepted and not one.is_as_expected for one in sent),
        )

    @property
    def refused(self) -> int:
        """How many were refused or not answered, and should have been accepted."""
        return self.sent - self.accepted - self.rightly_refused - self.wrongly_accepted

    @property
    def is_as_expected(self) -> bool:
        return self.refused == self.wrongly_accepted == 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.sent + other.sent,
            self.accepted + other.accepted,
            self.rightly_refused + other.rightly_refused,
            self.wrongly_accepted + other.wrongly_accepted,
        )


async def play(
    stories: Sequence[str],
    *,
    post: PostWebhook,
    rng: random.Random,
    company: SimulatedCompany,
    speed: float,
    gap: timedelta,
    now: datetime,
    on_sent: Callable[[Sent], None],
    announce: Announce = lambda _posting, _at: None,
) -> Tally:
    """Post all webhooks of the scenarios *stories* one by one, in the order they fall due, and count the answers.

    A slow answer delays what is due meanwhile, but is caught up with. CallRail never repeats a webhook (documented),
    so neither does this, unless the scenario is about that.

    Args:
        stories: Names of `routers.scenarios.SCENARIOS`.
        speed: How many times faster than life, above 0; `math.inf` does not wait at all.
        gap: From the start of one story to that of the next, at life's pace.
        now: When the first story happens, as its webhooks tell it; must be aware.
        on_sent: Told of each answer as it comes.
        announce: Told of each webhook before the first is posted, and when it will be, on the clock of the event loop.
    """
    began = asyncio.get_running_loop().time()
    all_sent = []
    in_due_order = _in_due_order(stories, rng=rng, company=company, gap=gap, now=now)
    for due, _, posting in in_due_order:
        announce(posting, began + due.total_seconds() / speed)
    for due, story, posting in in_due_order:
        await _sleep_until(began + due.total_seconds() / speed)
        expected = Expected.STORED if posting.signer is Signer.COMPANY else Expected.REFUSED
        sent = Sent(story, posting.kind, await _answer(post, posting, company.key), expected)
        all_sent.append(sent)
        on_sent(sent)
    return Tally.of(all_sent)


def life_cycle(
    story: str, *, rng: random.Random, started_at: datetime, callrail_id: str | None, company_name: str
) -> list[Posting]:
    """The webhooks CallRail would send about one scenario, earliest first; the same seed gives the same bytes.

    Args:
        story: A name of `routers.scenarios.SCENARIOS`; every `Story` is one.
        started_at: When it began to ring, or the text or form was sent; must be aware.
        callrail_id: The `COM...` id to send, None for an invented one.
    """
    company = facts.Company(callrail_id or _INVENTED_COMPANY_ID, company_name)
    return postings(SCENARIOS[story], Scene(rng, company, started_at))


def headers_of(posting: Posting, key: bytes) -> dict[str, str]:
    """The headers *posting* goes out with: its content type and, unless nobody signs it, the signature."""
    headers = {"content-type": posting.content_type}
    match posting.signer:
        case Signer.COMPANY:
            return {**headers, "signature": sign(key, posting.body)}
        case Signer.SOMEBODY_ELSE:
            return {**headers, "signature": sign(_ANOTHER_KEY, posting.body)}
        case Signer.NOBODY:
            return headers
        case _:
            assert_never(posting.signer)


def _in_due_order(
    stories: Iterable[str], *, rng: random.Random, company: SimulatedCompany, gap: timedelta, now: datetime
) -> list[tuple[timedelta, str, Posting]]:
    starts = [(number * gap, story) for number, story in enumerate(stories)]
    due = [
        (start + posting.after, story, posting)
        for start, story in starts
        for posting in life_cycle(
            story, rng=rng, started_at=now + start, callrail_id=company.callrail_id, company_name=company.name
        )
    ]
    return sorted(due, key=itemgetter(0))


async def _sleep_until(instant: float) -> None:
    await asyncio.sleep(instant - asyncio.get_running_loop().time())


async def _answer(post: PostWebhook, posting: Posting, key: bytes) -> int | str:
    try:
        return await post(posting.kind, posting.body, headers_of(posting, key))
    except OSError as error:
        return str(error) or type(error).__name__
