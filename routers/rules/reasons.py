"""Why somebody was told of something, or was not: a closed list, kept with each transition and shown to operators.

A reason is stored as one short text: a word of the list, with what it is about behind it where there is such a thing,
like `if duration`, `stopped by missed-open` or `no role alerts`.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The beginning of a stored reason."""

    FIRED = "fired"
    MUTED = "muted"
    STOPPED = "stopped by"
    IF = "if"
    UNLESS = "unless"
    NO_ROLE = "no role"
    ALREADY_TOLD = "already told"
    AMENDS = "amends"
    LATE = "late"
    ABOUT_ITSELF = "through itself"
    SUPERSEDED = "superseded"
    OWN_ECHO = "own_echo"
    NO_RULE = "no rule looks at this"
    NONE_FIRED = "no rule fired"
    OPT_OUT = "opt-out"
    UNMATCHED = "unmatched"
    WAITS = "waits for"
    NO_ANSWER = "no answer"

    def about(self, what: str) -> str:
        """The stored reason, with *what* it is about."""
        return f"{self.value} {what}"


_MATCHED = frozenset({Reason.FIRED, Reason.MUTED, Reason.ALREADY_TOLD, Reason.LATE, Reason.UNMATCHED, Reason.NO_ANSWER})

_SENTENCES = {
    Reason.FIRED: "The rule fired.",
    Reason.MUTED: "The rule matched, but it is muted (mute: true), so nothing was sent.",
    Reason.STOPPED: "An earlier rule fired and ends the list (stop: true): {what}.",
    Reason.IF: "The condition on {what} did not hold.",
    Reason.UNLESS: "The exception on {what} held.",
    Reason.NO_ROLE: "The rule matched, but the company has no sink for the role {what}.",
    Reason.ALREADY_TOLD: "The rule has already spoken of this object, and it speaks once.",
    Reason.AMENDS: "The rule has already spoken of this object; this amends what it said.",
    Reason.LATE: "It happened longer ago than max_age or expires lets anybody hear of it.",
    Reason.ABOUT_ITSELF: "It is about the one sink that the rule sends to, and is not sent through it.",
    Reason.SUPERSEDED: "The object was already further when this became known.",
    Reason.OWN_ECHO: "We changed it ourselves, by a sink of type callrail; this is CallRail's word of it.",
    Reason.NO_RULE: "No rule of the company looks at this.",
    Reason.NONE_FIRED: "Rules look at this, and the conditions of none were right; each has its own reason.",
    Reason.OPT_OUT: "The text asks for no more texts, and the rule does not ask about opt_out.",
    Reason.WAITS: "It waits for what is looked up at CallRail: {what}.",
    Reason.NO_ANSWER: "The rule matched, but it is told only with the look-up {what}, which failed (on_failure: drop).",
    Reason.UNMATCHED: "No rule fired, so it went where unmatched: sends it.",
}


def reason_of(stored: str) -> Reason:
    """Which reason *stored* is.

    Raises:
        ValueError: It is none of the list.
    """
    for reason in Reason:
        if stored == reason or stored.startswith(f"{reason} "):
            return reason
    raise ValueError(f"{stored!r} is no reason")


def sentence_of(stored: str) -> str:
    """*stored* as a sentence for the person who asks why."""
    reason = reason_of(stored)
    what = stored.removeprefix(reason).strip()
    if reason is Reason.FIRED and what:
        return f"The rule fired {what}."
    return _SENTENCES[reason].format(what=what)


def has_matched(stored: str) -> bool:
    """Whether with this verdict a rule had its say of an object, though it may have told nobody.

    After it `unmatched` has nothing to say. False for what only another version knows.
    """
    try:
        return reason_of(stored) in _MATCHED
    except ValueError:
        return False
