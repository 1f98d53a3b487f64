"""What a sink wants done with a send that may have arrived."""

from __future__ import annotations

from enum import StrEnum


class OnUncertain(StrEnum):
    """What follows a send of which it is not known whether it arrived."""

    RETRY = "retry"
    REPEAT = "repeat"
    HOLD = "hold"
