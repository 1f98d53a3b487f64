"""What comes of a request to a CRM to which there is no answer that could be read."""

from __future__ import annotations

from dataclasses import dataclass

from routers.outcomes import Outcome, Retry, Uncertain


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no answer that could be read; *outcome* is what follows. *may_act*: it may have been done, or may be
    done later."""

    outcome: Outcome
    may_act: bool


def lost(outcome: Outcome, *, writes: bool) -> Lost:
    """What was only asked, and not written, may be asked again."""
    if not isinstance(outcome, Uncertain):
        return Lost(outcome, may_act=False)
    return Lost(outcome if writes else Retry(outcome.reason), may_act=writes)
