"""What follows from a try, decided without a database."""

from __future__ import annotations

import errno
import random
from datetime import timedelta

import pytest

from callrail.exceptions import (
    AddressRefused,
    BudgetSpent,
    CallRailError,
    Forbidden,
    ForeignHost,
    NoFile,
    NoNetwork,
    NotFound,
    RateLimited,
    ServerFault,
    TooLong,
    Unauthorized,
)
from routers.media.fetching import FAILING, PREPARING, REST, Failure, Fault, failure_of, next_step
from routers.media.folder import NotAllowed
from routers.schema import MediaState
from tests.routers.store import NOW

DICE = random.Random(3)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (NotFound("download", 404), Fault.NOT_YET),
        (NoFile("download", 200), Fault.NOT_YET),
        (TooLong("download", 200, "9 bytes"), Fault.FILE),
        (NotAllowed("a page"), Fault.FILE),
        (ForeignHost("elsewhere"), Fault.FILE),
        (AddressRefused("our name server says 10.0.0.1"), Fault.FAILED),
        (Forbidden("download", 403), Fault.FAILED),
        (ServerFault("download", 502), Fault.FAILED),
        (TimeoutError(), Fault.FAILED),
        (CallRailError("anything"), Fault.FAILED),
        (Unauthorized("download", 401), Fault.OTHERS),
        (RateLimited("download", 429), Fault.OTHERS),
        (BudgetSpent("requests", NOW), Fault.OTHERS),
        (NoNetwork("no name server answers"), Fault.OTHERS),
        (OSError(errno.ENOSPC, "No space left on device"), Fault.OTHERS),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else "",
)
def test_an_error_is_somebody_s_fault(error: Exception, fault: Fault) -> None:
    assert failure_of(error).fault is fault


@pytest.mark.parametrize(("fault", "schedule"), [(Fault.NOT_YET, PREPARING), (Fault.FAILED, FAILING)])
def test_jitter_only_lengthens_and_tries_end(fault: Fault, schedule: tuple[timedelta, ...]) -> None:
    for attempts, wait in enumerate(schedule):
        step = next_step(Failure(fault, "why"), attempts=attempts, now=NOW, rng=DICE)
        assert (step.state, step.attempts) == (MediaState.PENDING, attempts + 1)
        assert step.due_at is not None
        assert NOW + wait <= step.due_at <= NOW + wait * 1.1

    last = next_step(Failure(fault, "why"), attempts=len(schedule), now=NOW, rng=DICE)
    assert (last.state, last.due_at) == (MediaState.GONE, None)


def test_what_is_the_account_s_fault_counts_as_no_try_and_waits_until_it_is_free() -> None:
    free_at = NOW + timedelta(hours=1)
    soon = next_step(Failure(Fault.OTHERS, "why"), attempts=3, now=NOW, rng=DICE)
    later = next_step(Failure(Fault.OTHERS, "why", free_at), attempts=3, now=NOW, rng=DICE)

    assert (soon.attempts, soon.due_at) == (3, NOW + REST)
    assert later.due_at == free_at
