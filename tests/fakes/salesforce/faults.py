"""What a request meets instead of an answer, or of any effect. Give them to `FakeSalesforce.meets` and its like.

What can happen to any request over HTTP is that of the fake HubSpot.
"""

from __future__ import annotations

from tests.fakes.destination import Conversation
from tests.fakes.hubspot.faults import (
    Act,
    Fault,
    closed_before,
    cut_short,
    html,
    lost,
    lost_by_reset,
    lost_by_silence,
    nothing_wrong,
    reset_before,
    says,
    send,
    slow,
    too_late,
)
from tests.fakes.salesforce import refusals
from tests.fakes.salesforce.refusals import Answer, Refused

__all__ = [
    "Act",
    "Fault",
    "closed_before",
    "concurrent_limit",
    "cut_short",
    "expired",
    "failing",
    "failing_after",
    "html",
    "locked",
    "lost",
    "lost_by_reset",
    "lost_by_silence",
    "nothing_wrong",
    "over_the_day",
    "reset_before",
    "says",
    "send",
    "slow",
    "too_late",
    "wrong_types",
]


def failing(status: int = 503) -> Fault:
    """5xx, in Salesforce's shape."""
    return says(Refused(status, "SERVER_UNAVAILABLE", "The server is too busy to respond right now.").as_answer())


def failing_after(status: int = 503) -> Fault:
    """5xx by what stands before the org, though the org did it."""

    async def fault(conversation: Conversation, act: Act) -> None:
        act()
        await failing(status)(conversation, act)

    return fault


def expired() -> Fault:
    """401, though the token was good a moment ago."""
    return says(refusals.expired_session().as_answer())


def locked() -> Fault:
    """The whole request met a locked row."""
    return says(refusals.locked().as_answer())


def over_the_day() -> Fault:
    """The allowance of the day is used up, whatever the fake's own limits are."""
    return says(refusals.over_the_limit().as_answer())


def concurrent_limit() -> Fault:
    """Too many requests that take long are at work."""
    return says(refusals.over_the_limit("ConcurrentRequests").as_answer())


def wrong_types() -> Fault:
    """JSON of another shape than any that is documented, in every place."""
    odd = {"compositeResponse": [{"body": 1, "httpStatusCode": "200"}, None], "results": {"a": 1}, "hasErrors": "no"}
    return says(Answer(200, odd))
