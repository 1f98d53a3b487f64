"""Plays what CallRail would post about calls, texts and forms, in real life's order and pace, rightly signed.

For newcomers without an account and for tests: keys, types, encoding and signature are CallRail's, the values invented.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol, assert_never

from callrail.kinds import Kind
from callrail.signature import sign
from routers import simulated_facts as facts
from routers import simulated_payloads as payloads

if TYPE_CHECKING:
    import random

_INVENTED_COMPANY_ID = "COM01980000000000000000000000000000"


class Story(StrEnum):
    """What happens to one customer, from the first webhook to the last."""

    MISSED = "missed"
    ANSWERED = "answered"
    VOICEMAIL = "voicemail"
    ABANDONED = "abandoned"
    FORM = "form"
    TEXT = "text"


@dataclass(frozen=True)
class Posting:
    """One webhook of a story. *kind* is the last segment of its path, *after* counts from the story's start."""

    kind: str
    after: timedelta
    body: bytes


@dataclass(frozen=True)
class SimulatedCompany:
    """The company CallRail posts for. *key* signs its webhooks; without *callrail_id* an invented one is sent."""

    slug: str
    name: str
    callrail_id: str | None
    key: bytes = field(repr=False)


class PostWebhook(Protocol):
    """Posts one webhook and returns the HTTP status of the answer."""

    async def __call__(self, kind: str, body: bytes, signature: str) -> int:
        """Raises OSError if there is no connection."""
        ...


@dataclass(frozen=True)
class Sent:
    """One webhook posted. *answer* is the HTTP status, or a text that says why no answer came."""

    story: Story
    kind: str
    answer: int | str

    @property
    def is_accepted(self) -> bool:
        return isinstance(self.answer, int) and 200 <= self.answer < 300  # any 2xx is success (documented)


@dataclass(frozen=True)
class Tally:
    """How many webhooks were sent, how many of them accepted, and how many refused or not answered."""

    sent: int
    accepted: int

    @property
    def refused(self) -> int:
        return self.sent - self.accepted


async def play(
    stories: Sequence[Story],
    *,
    post: PostWebhook,
    rng: random.Random,
    company: SimulatedCompany,
    speed: float,
    gap: timedelta,
    now: datetime,
    on_sent: Callable[[Sent], None],
) -> Tally:
    """Post all webhooks of *stories* one by one, in the order they fall due, and count the answers.

    A slow answer delays what is due meanwhile, but is caught up with. CallRail never repeats a webhook (documented),
    so neither does this.

    Args:
        speed: How many times faster than life, above 0; `math.inf` does not wait at all.
        gap: From the start of one story to that of the next, at life's pace.
        now: When the first story happens, as its webhooks tell it; must be aware.
        on_sent: Told of each answer as it comes.
    """
    began = asyncio.get_running_loop().time()
    all_sent = []
    for due, story, posting in _in_due_order(stories, rng=rng, company=company, gap=gap, now=now):
        await _sleep_until(began + due.total_seconds() / speed)
        sent = Sent(story, posting.kind, await _answer(post, posting, company.key))
        all_sent.append(sent)
        on_sent(sent)
    return Tally(sent=len(all_sent), accepted=sum(sent.is_accepted for sent in all_sent))


def life_cycle(
    story: Story, *, rng: random.Random, started_at: datetime, callrail_id: str | None, company_name: str
) -> list[Posting]:
    """The webhooks CallRail would send about one *story*, earliest first; the same seed gives the same bytes.

    Args:
        started_at: When it began to ring, or the text or form was sent; must be aware.
        callrail_id: The `COM...` id to send, None for an invented one.
    """
    company = facts.Company(callrail_id or _INVENTED_COMPANY_ID, company_name)
    match story:
        case Story.MISSED:
            return _call(rng, company, started_at, facts.invent_missed(rng))
        case Story.ANSWERED:
            return _call(rng, company, started_at, facts.invent_answered(rng))
        case Story.VOICEMAIL:
            return _call(rng, company, started_at, facts.invent_voicemail(rng))
        case Story.ABANDONED:
            return _call(rng, company, started_at, facts.invent_abandoned(rng))
        case Story.FORM:
            return [_form(rng, company, started_at)]
        case Story.TEXT:
            return _texts(rng, company, started_at)
        case _:
            assert_never(story)


def _call(rng: random.Random, company: facts.Company, started_at: datetime, ending: facts.Ending) -> list[Posting]:
    call = facts.invent_call(rng, company=company, started_at=started_at)
    # CallRail waits for recording and transcript before it posts an ended call (documented).
    ended = ending.duration + (facts.invent_span(rng, 60, 180) if ending.talk else facts.invent_span(rng, 3, 20))
    postings = [_posting(Kind.PRE_CALL, facts.invent_span(rng, 0.2, 0.9), payloads.ringing_call(call))]
    if ending.is_routed:
        routed = facts.invent_span(rng, 2, 4)
        postings.append(_posting(Kind.CALL_ROUTING_COMPLETE, routed, payloads.routed_call(call)))
    postings.append(_posting(Kind.POST_CALL, ended, payloads.ended_call(call, ending)))
    if ending.call_type == "answered" and ending.talk and rng.random() < 0.5:
        changed = payloads.changed_call(call, ending, tag=ending.talk.tag, note=ending.talk.note)
        postings.append(_posting(Kind.CALL_MODIFIED, ended + facts.invent_span(rng, 60, 600), changed))
    return postings


def _texts(rng: random.Random, company: facts.Company, started_at: datetime) -> list[Posting]:
    thread = facts.invent_thread(rng, company=company)
    received = payloads.received_text(
        thread, resource_id=facts.invent_id(rng, "SCI"), content=facts.invent_question(rng), at=started_at
    )
    postings = [_posting(Kind.TEXT_RECEIVED, _delay(rng), received)]
    if rng.random() < 0.5:
        replied = facts.invent_span(rng, 60, 600)
        agent, content = facts.invent_reply(rng)
        sent = payloads.sent_text(
            thread, resource_id=facts.invent_id(rng, "SCI"), agent=agent, content=content, at=started_at + replied
        )
        postings.append(_posting(Kind.TEXT_SENT, replied + _delay(rng), sent))
    return postings


def _form(rng: random.Random, company: facts.Company, started_at: datetime) -> Posting:
    form = payloads.submitted_form(
        company,
        facts.invent_person(rng),
        facts.invent_source(rng, online=True),
        resource_id=facts.invent_id(rng, "FRM"),
        message=facts.invent_question(rng),
        at=started_at,
    )
    return _posting(Kind.FORM_SUBMISSION, _delay(rng), form)


def _delay(rng: random.Random) -> timedelta:
    return facts.invent_span(rng, 0.5, 3)


def _posting(kind: Kind, after: timedelta, body: payloads.Body) -> Posting:
    return Posting(kind.value, after, payloads.to_wire(body))


def _in_due_order(
    stories: Sequence[Story], *, rng: random.Random, company: SimulatedCompany, gap: timedelta, now: datetime
) -> list[tuple[timedelta, Story, Posting]]:
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
        return await post(posting.kind, posting.body, sign(key, posting.body))
    except OSError as error:
        return str(error) or type(error).__name__
