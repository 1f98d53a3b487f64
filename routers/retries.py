"""What follows from an outcome: done, again and when, never, or nothing to that place for a while. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Rejected, Retry, Uncertain
from routers.schema import DeliveryState

# Jitter only lengthens a wait: nobody is asked sooner than the schedule or the destination says.
_JITTER = 0.1
# How long a lane rests whose destination does not know us or is gone. Then one look whether somebody acted.
PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Step:
    """What a delivery does next. *attempts* counts real tries; *pause_lane* is for how long nothing else is sent."""

    state: DeliveryState
    reason: str
    attempts: int
    due_at: datetime
    remote_id: str | None = None
    pause_lane: timedelta | None = None


def next_step(
    outcome: Outcome, *, attempts: int, now: datetime, schedule: Sequence[timedelta], rng: random.Random
) -> Step:
    """The step after *outcome* of a delivery that was tried *attempts* times before.

    A lost answer is tried again like a refused one: the receiver knows a repeat by its id.
    """
    tried = attempts + 1
    match outcome:
        case Delivered(reason, remote_id):
            return Step(DeliveryState.DELIVERED, reason, tried, now, remote_id)
        case Rejected(reason):
            return Step(DeliveryState.DEAD, f"rejected: {reason}", tried, now)
        case AuthFailed(reason):
            return Step(DeliveryState.PENDING, f"not authorised: {reason}", attempts, now + PAUSE, pause_lane=PAUSE)
        case Gone(reason):
            return Step(DeliveryState.PENDING, f"gone: {reason}", attempts, now + PAUSE, pause_lane=PAUSE)
        case Uncertain(reason):
            return _again(f"uncertain: {reason}", None, tried, now, schedule, rng)
        case Retry(reason, after, whole_lane):
            return _again(reason, after, tried, now, schedule, rng, whole_lane=whole_lane)


def _again(
    reason: str,
    after: timedelta | None,
    tried: int,
    now: datetime,
    schedule: Sequence[timedelta],
    rng: random.Random,
    *,
    whole_lane: bool = False,
) -> Step:
    scheduled = schedule[min(tried, len(schedule)) - 1]
    pause = (scheduled if after is None else after) if whole_lane else None
    if tried > len(schedule):
        return Step(DeliveryState.DEAD, f"gave up after {tried} tries: {reason}", tried, now, pause_lane=pause)
    wait = max(scheduled, after or timedelta(0))
    return Step(DeliveryState.PENDING, reason, tried, now + wait * (1 + _JITTER * rng.random()), pause_lane=pause)
