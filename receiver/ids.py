"""Ids: a UUIDv7 in the database, in logs, on the command line and in links, always in one written form.

`ev_06bq...`: two letters for the table, then 26 characters of base32hex, which sorts as the time it holds. Keys in
time order keep the database's indexes small and hot (random keys halve the insert rate).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import uuid_utils

from receiver.exceptions import ReceiverError

_LENGTH = 26
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
# Two digits at a time, because every event needs half a dozen ids and the standard library's encoder is slow.
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_LOW = (1 << 68) - 1


class Prefix(StrEnum):
    """Which table an id belongs to."""

    EVENT = "ev"
    OBJECT = "ob"
    TRANSITION = "tr"
    DELIVERY = "dl"
    ATTEMPT = "at"
    INSTANCE = "in"
    REPLAY = "rp"
    AUDIT = "au"
    WRITE = "wr"
    MEDIA = "md"
    LEAD = "ld"
    MERGE = "mg"
    TURN = "tn"


class BadId(ReceiverError):
    """Something given as an id that cannot be one."""


def new_id(prefix: Prefix) -> str:
    """A new id, later in order than all made before in this process."""
    return _written(prefix, uuid_utils.uuid7().int)


def first_id(prefix: Prefix, moment: datetime) -> str:
    """The lowest id that can have been made at *moment*, to the millisecond: older rows have lower ones."""
    return _written(prefix, max(int(moment.timestamp() * 1000), 0) << 80)  # it begins with 48 bits of milliseconds


def _written(prefix: Prefix, uuid: int) -> str:
    high, low = uuid >> 68, (uuid & _LOW) << 2  # 128 bits fill 26 digits of five but for the last two
    # Written out, and in halves because small numbers are quick to shift: 0.7 us instead of 1.8 as a loop.
    return (
        f"{prefix}_"
        f"{_PAIRS[high >> 50]}{_PAIRS[high >> 40 & 1023]}{_PAIRS[high >> 30 & 1023]}"
        f"{_PAIRS[high >> 20 & 1023]}{_PAIRS[high >> 10 & 1023]}{_PAIRS[high & 1023]}"
        f"{_PAIRS[low >> 60]}{_PAIRS[low >> 50 & 1023]}{_PAIRS[low >> 40 & 1023]}{_PAIRS[low >> 30 & 1023]}"
        f"{_PAIRS[low >> 20 & 1023]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"
    )


def id_range(prefix: Prefix, written: str) -> tuple[str, str]:
    """The first and the last id that begin as *written*, with or without the two letters in front.

    Raises:
        BadId: *written* holds a character no id has, or names another table.
    """
    text = written.strip().lower()
    letters, _, rest = text.rpartition("_")
    if letters not in ("", prefix):
        raise BadId(f"'{written}' is not the id of such a row; one begins with {prefix}_")
    if len(rest) > _LENGTH or not all(c in _DIGITS for c in rest):
        raise BadId(f"'{written}' is not an id; one looks like {prefix}_ and up to {_LENGTH} of 0-9 and a-v")
    return f"{prefix}_{rest.ljust(_LENGTH, '0')}", f"{prefix}_{rest.ljust(_LENGTH, 'v')}"
