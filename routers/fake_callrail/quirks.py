"""What the real API does to some and not to others; each can be switched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quirks:
    """How it behaves where accounts were seen to differ.

    Args:
        value_of_a_call_fails: A call's `value` is answered with 500 (observed, although documented).
        tags_are_objects: A call's tags are told as objects and not as names (observed).
        texts_redirect: One conversation is found at the account's number only, by a redirect (observed).
        limits_on_all_answers: Headers about the limits stand on every answer, not on text sends alone.
        unauthorized_is_plain: A wrong key is told in plain text (assumed: as Rails does).
        recording_asks_before_ready: How often a recording is not there yet when it is asked for.
    """

    value_of_a_call_fails: bool = True
    tags_are_objects: bool = False
    texts_redirect: bool = False
    limits_on_all_answers: bool = False
    unauthorized_is_plain: bool = True
    recording_asks_before_ready: int = 0
