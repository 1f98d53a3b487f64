"""What follows from an outcome: done, again and when, never, or nothing to that place for a while. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Postponed, Rejected, Retry, Uncertain
from routers.schema import NO_ACCESS, DeliveryState
from routers.uncertain import OnUncertain

# Jitter only lengthens a wait: nobody is asked sooner than the schedule or the destination says.
_JITTER = 0.1
# How long a lane rests whose destination does not know us or is gone. Then one look whether somebody acted.
PAUSE = timedelta(minutes=5)
# How long at most after an answer that asks for a rest and not for how long: the waits of one delivery grow to a day.
LONGEST_UNASKED_PAUSE = timedelta(minutes=5)
# Our own network is at fault: nobody is to blame, and it may be back in a moment.
OWN_TROUBLE = timedelta(seconds=10)
REPEAT_AFTER = timedelta(seconds=60)

# The causes of what is kept until somebody acts.
NOT_AUTHORISED, GONE = "not authorised", "gone"


@dataclass(frozen=True, slots=True)
class Step:
    """What a delivery does next.

    Attributes:
        attempts: Real tries.
        pause_lane: For how long nothing else is sent; None if that goes on.
        shuts_lane: Whether nothing at all will arrive there for long, or before somebody acts: then one probe is sent.
        blames_sink: Whether the sink is what failed: after several of those in a row it is left alone, too.
        is_silent: Whether it says nothing of how the sink is doing.
        may_repeat: Whether this try may have arrived.
        done: What was achieved so far.
        cause: The sort of the reason, where it is the end or waits for somebody to act.
    """

    state: DeliveryState
    reason: str
    attempts: int
    due_at: datetime
    remote_id: str | None = None
    pause_lane: timedelta | None = None
    shuts_lane: bool = False
    blames_sink: bool = False
    is_silent: bool = False
    may_repeat: bool = False
    done: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How a sink is tried again."""

    schedule: Sequence[timedelta]
    on_uncertain: OnUncertain = OnUncertain.RETRY


def next_step(
    outcome: Outcome,
    *,
    attempts: int,
    now: datetime,
    policy: Policy,
    rng: random.Random,
    may_repeat: bool = False,
    is_alone: bool = False,
) -> Step:
    """The step after *outcome* of a delivery that was tried *attempts* times before.

    Args:
        may_repeat: Whether one of those tries may have arrived.
        is_alone: Whether it waited for somebody to act already, and others get through meanwhile.
    """
    tried = attempts + 1
    match outcome:
        case Delivered(reason, remote_id):
            return Step(DeliveryState.DELIVERED, reason, tried, now, remote_id, may_repeat=may_repeat)
        case Rejected(reason):
            return Step(DeliveryState.DEAD, f"rejected: {reason}", tried, now, cause=_cause("rejected", reason))
        case AuthFailed(reason) | Gone(reason):
            cause = NOT_AUTHORISED if isinstance(outcome, AuthFailed) else GONE
            reason = f"{cause}: {reason}"
            if is_alone:  # it is what they refuse, as a filter before a server does: it must not stop the others
                step = _again(Retry(reason), tried, now, policy, rng)
                step = replace(step, cause=step.cause or cause)
            else:
                step = _until_somebody_acts(reason, cause, attempts, now)
        case Postponed(reason, after, needs_somebody):
            step = Step(DeliveryState.PENDING, reason, attempts, now + after, is_silent=True)
            step = replace(step, cause=NO_ACCESS if needs_somebody else None)
        case Uncertain(reason):
            return _after_uncertain(reason, tried, now, policy, rng, may_repeat=may_repeat)
        case Retry(reason, is_ours=True):
            reason = f"our own network: {reason}"
            step = Step(DeliveryState.PENDING, reason, attempts, now + OWN_TROUBLE, pause_lane=OWN_TROUBLE)
        case Retry():
            step = _again(outcome, tried, now, policy, rng)
    return replace(step, may_repeat=may_repeat, done=outcome.done if isinstance(outcome, Retry) else None)


def _until_somebody_acts(reason: str, cause: str, attempts: int, now: datetime) -> Step:
    return Step(DeliveryState.PENDING, reason, attempts, now + PAUSE, pause_lane=PAUSE, shuts_lane=True, cause=cause)


def _after_uncertain(
    reason: str, tried: int, now: datetime, policy: Policy, rng: random.Random, *, may_repeat: bool
) -> Step:
    """A lost answer. A receiver that knows a repeat by its id is asked again; where people read, once and marked."""
    reason = f"uncertain: {reason}"
    match policy.on_uncertain:
        case OnUncertain.RETRY:
            step = _again(Retry(reason), tried, now, policy, rng)
        case OnUncertain.REPEAT if not may_repeat:
            step = Step(DeliveryState.PENDING, reason, tried, now + REPEAT_AFTER, blames_sink=True)
        case _:
            step = Step(DeliveryState.UNCERTAIN, reason, tried, now, blames_sink=True, cause="uncertain")
    return replace(step, may_repeat=True)


def _again(outcome: Retry, tried: int, now: datetime, policy: Policy, rng: random.Random) -> Step:
    schedule, reason, after = policy.schedule, outcome.reason, outcome.after
    scheduled = schedule[min(tried, len(schedule)) - 1]
    pause = (min(scheduled, LONGEST_UNASKED_PAUSE) if after is None else after) if outcome.whole_lane else None
    if tried > len(schedule):
        given_up = f"gave up after {tried} tries: {reason}"
        cause = _cause("gave up", reason)
        return Step(DeliveryState.DEAD, given_up, tried, now, pause_lane=pause, blames_sink=True, cause=cause)
    wait = max(scheduled, after or timedelta(0))
    due_at = now + wait * (1 + _JITTER * rng.random())
    # Nothing arrives for long, as where a day's requests are used up: that is told at once, not after five such rests.
    shuts = pause is not None and pause > LONGEST_UNASKED_PAUSE
    return Step(DeliveryState.PENDING, reason, tried, due_at, pause_lane=pause, shuts_lane=shuts, blames_sink=True)


def _cause(how: str, reason: str) -> str:
    """The sort of *reason*: what stands before its particulars, like `rejected: HTTP 422`."""
    return f"{how}: {reason.partition(':')[0]}"[:80]
