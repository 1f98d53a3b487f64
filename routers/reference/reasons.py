"""Why somebody was told, or was not."""

from __future__ import annotations

from routers.reference.markdown import code, page, table
from routers.rules.reasons import Reason, sentence_of

_ABOUT = {
    Reason.STOPPED: "swallow-spam",
    Reason.IF: "duration",
    Reason.UNLESS: "spam",
    Reason.NO_ROLE: "alerts",
    Reason.WAITS: "lead_timeline",
    Reason.NO_ANSWER: "lead_timeline",
}


def reasons_page() -> str:
    """Each stored reason and its sentence."""
    stored = [reason.about(_ABOUT[reason]) if reason in _ABOUT else reason.value for reason in Reason]
    return page(
        "Reasons",
        "With each thing that happened the router keeps why somebody was told of it or was not: a reason for each rule "
        "that looked at it, and one for the whole if nobody was told. `events show` prints them. There are no others; "
        "behind `stopped by`, `if`, `unless`, `no role`, `waits for` and `no answer` stands what it is about.",
        table(("Stored, for example", "What it says"), [(code(text), sentence_of(text)) for text in stored]),
        "A condition that joins others (`all`, `any`, `not`) is named by that word.",
    )
