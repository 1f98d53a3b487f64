"""What a request meets instead of an answer, or of any effect. Give them to `FakeHubSpot.meets` and its like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.fakes import destination
from tests.fakes.destination import Conversation
from tests.fakes.hubspot.refusals import Answer, Refused, too_many

# Calling it lets the account do what was asked, and returns the answer.
Act = Callable[[], Answer]
Fault = Callable[[Conversation, Act], Awaitable[None]]


async def send(conversation: Conversation, answer: Answer) -> None:
    kind = "text/html; charset=utf-8" if isinstance(answer.body, bytes) else "application/json;charset=utf-8"
    headers = {"content-type": kind, **answer.headers}
    await destination.answer(answer.status, headers=headers, body=answer.content)(conversation)


async def nothing_wrong(conversation: Conversation, act: Act) -> None:
    await send(conversation, act())


async def lost(conversation: Conversation, act: Act) -> None:
    """Done, and the connection closed without an answer."""
    act()
    conversation.writer.close()


async def lost_by_reset(conversation: Conversation, act: Act) -> None:
    """Done, and the connection reset."""
    act()
    conversation.reset()


async def lost_by_silence(conversation: Conversation, act: Act) -> None:
    """Done, and nothing said until the client gives up."""
    act()
    await destination.hang(conversation)


def too_late(gate: asyncio.Event) -> Fault:
    """The connection closed at once, and done when *gate* opens, when the client may have tried again."""

    async def fault(conversation: Conversation, act: Act) -> None:
        conversation.writer.close()
        await gate.wait()
        act()

    return fault


def slow(gate: asyncio.Event) -> Fault:
    """Nothing wrong, but it is done when *gate* opens."""

    async def fault(conversation: Conversation, act: Act) -> None:
        await gate.wait()
        await send(conversation, act())

    return fault


async def cut_short(conversation: Conversation, act: Act) -> None:
    """Done, and the answer breaks off in its middle."""
    content = act().content
    head = f"HTTP/1.1 200 Answer\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    await conversation.send(head.encode() + content[: len(content) // 2])
    conversation.reset()


async def reset_before(conversation: Conversation, act: Act) -> None:
    """Read, reset, and nothing done."""
    conversation.reset()


async def closed_before(conversation: Conversation, act: Act) -> None:
    """Read, closed, and nothing done: from outside the same as `lost`."""
    conversation.writer.close()


def says(answer: Answer) -> Fault:
    """Nothing done, and *answer* given."""

    async def fault(conversation: Conversation, act: Act) -> None:
        await send(conversation, answer)

    fault.__qualname__ = f"says {answer.status}"
    return fault


def locked() -> Fault:
    """423: someone else writes the record; locks last two seconds (documented)."""
    return says(Refused(423, "LOCKED", "The resource is locked. Wait at least two seconds.").as_answer())


def migrating(seconds: int) -> Fault:
    """477: the account is being moved to another data centre (documented)."""
    told = Refused(477, "MIGRATION_IN_PROGRESS", "This account is being migrated.").as_answer()
    return says(Answer(477, told.body, {"Retry-After": str(seconds)}))


def failing(status: int = 502) -> Fault:
    """5xx, with JSON in HubSpot's shape."""
    return says(Refused(status, "INTERNAL_ERROR", "internal error").as_answer())


def failing_after(status: int = 502) -> Fault:
    """5xx by a gateway, though the account did it."""

    async def fault(conversation: Conversation, act: Act) -> None:
        act()
        await failing(status)(conversation, act)

    return fault


def html(status: int = 200) -> Fault:
    """A page where JSON was due, as a proxy or a login wall answers."""
    return says(Answer(status, b"<!doctype html><html><body><h1>Sign in</h1></body></html>"))


def limited(policy: str = "TEN_SECONDLY_ROLLING") -> Fault:
    """429 under *policy*, whatever the fake's own limits are."""
    return says(too_many(policy))


def limited_in_the_old_shape() -> Fault:
    """429 as search has been seen to say it: a category, neither `errorType` nor `policyName`."""
    return says(Refused(429, "RATE_LIMITS", "You have reached your secondly limit.").as_answer())
