"""What can happen, which webhooks tell it, and how an outcome is decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from callrail.kinds import Kind
from routers.lifecycle import ABANDONED_BELOW, EACH_VERSION, outcome_of
from routers.reference.markdown import code, flow, page, table
from routers.transitions import ALARMS, Transition
from routers.urls import CALLRAIL_FIELD, FEEDS

_T = Transition

HAPPENS: Mapping[Transition, str] = {
    _T.CALL_RINGING: "A call comes in and begins to ring.",
    _T.CALL_ROUTED: "CallRail has decided where to put the call through.",
    _T.CALL_ENDED: "A call has ended, whatever came of it.",
    _T.CALL_ANSWERED: "A call has ended, and somebody had taken it.",
    _T.CALL_MISSED: "A call has ended, and nobody took it.",
    _T.CALL_ABANDONED: "A caller hung up before anybody could take the call.",
    _T.CALL_VOICEMAIL: "A call has ended, and the caller left a message.",
    _T.CALL_RECORDING_READY: "The recording of a call is known for the first time.",
    _T.CALL_TRANSCRIPT_READY: "What was said in a call is known as text for the first time.",
    _T.CALL_CHANGED: "Somebody or something changed a call that had ended: tags, note, value, ...",
    _T.CALL_SPAM: "A call is marked as spam.",
    _T.CALL_CORRECTED: "The outcome told of a call proves wrong. The new outcome's own transition happens too.",
    _T.OUTBOUND_ANSWERED: "A call that the company made was answered.",
    _T.OUTBOUND_UNANSWERED: "A call that the company made was not answered.",
    _T.OUTBOUND_CHANGED: "Something about a call that the company made was changed.",
    _T.TEXT_RECEIVED: "A text message comes in.",
    _T.TEXT_SENT: "The company sent a text message.",
    _T.FORM_SUBMITTED: "Somebody sent a form of the website.",
    _T.ASSIST_COMPLETED: "Convert Assist has finished its advice on a call or text.",
    _T.ASSIST_ANSWERED: "Voice Assist has taken a call.",
    _T.UNKNOWN_RECEIVED: "A webhook comes in that is not understood. It is kept, and its fields can be asked.",
    _T.SOURCE_BAD_SIGNATURE: "Webhooks come for a company that none of its keys proves. At most once an hour.",
    _T.SOURCE_RECOVERED: "After that, proved webhooks come, and no others for five minutes.",
    _T.ROUTER_SINK_DOWN: "A sink has failed several times in a row, does not know us, or is gone.",
    _T.ROUTER_DEAD_LETTERS: "Messages of a sink, or events, are given up. At most once an hour for each.",
    _T.ROUTER_BACKLOG: "What a sink could be sent, or an event, has waited for more than five minutes.",
    _T.ROUTER_SPOOLING: "The database was away, and webhooks went to the spool. It is told once it is back.",
    _T.ROUTER_BUDGET_LOW: "80 % of what CallRail allows an account by the hour or day is used. At most once an hour.",
    _T.ROUTER_RECOVERED: "A sink that was down, a backlog, spooling or a low allowance is over, for a minute at least.",
}
_OBJECTS = {"call": "call", "outbound": "call", "text": "text", "form": "form"}

# Ended calls as they are told; the outcome beside them is computed.
_ENDED_CALLS = (
    "voicemail: true, answered: true",
    "call_type: voicemail",
    "answered: true",
    "call_type: abandoned, answered: false",
    "call_type: missed, answered: false",
    f"answered: false, duration: {ABANDONED_BELOW - 1}",
    f"answered: false, duration: {ABANDONED_BELOW}",
    "answered: false",
    "tags: [Quote]",
)


def transitions_page() -> str:
    """The closed list, and the table of outcomes."""
    rows = [
        (
            code(name),
            HAPPENS[name],
            _kinds(FEEDS[name].needs) or ("none" if name in ALARMS else "any"),
            _kinds(FEEDS[name].better_with),
            _often(name),
        )
        for name in Transition
    ]
    return page(
        "Transitions",
        "What can happen to a call, a text or a form and, as alarms, to the router itself: `source.*` and `router.*`. "
        "This is what a rule names under `when`; there are no others.",
        table(("Transition", "It happens when", "Needs the webhook", "Better with", "How often"), rows),
        "*Needs* and *better with* are the names of CallRail's page Integrations > Webhooks; `callrail-router urls "
        "COMPANY` prints what to paste there for your rules. A webhook that comes late brings no news of what is over: "
        "when a call is known to have ended, `call.ringing` and `call.routed` are recorded as superseded, and nobody "
        "is told.",
        "## How an outcome is decided",
        "CallRail posts every ringing call as unanswered and missed, so nothing that is said of the outcome before the "
        "call has ended counts. Once it has ended, the first line that fits decides:",
        table(("Is told", "Outcome"), [(code(told), code(outcome_of(flow(told)))) for told in _ENDED_CALLS]),
        f"An unanswered call of which CallRail does not say more is abandoned if it lasted less than {ABANDONED_BELOW} "
        "seconds, because nobody could have come to the phone by then, and missed otherwise. A call that the company "
        "made is `answered` or `unanswered`.",
        "A later webhook may tell it otherwise: then `call.corrected` happens, with the outcome before in "
        "`was_outcome`, and together with it the transition of the new outcome.",
    )


def _kinds(kinds: Iterable[Kind]) -> str:
    return ", ".join(CALLRAIL_FIELD[kind] for kind in kinds)


def _often(name: Transition) -> str:
    if name in EACH_VERSION:
        return "each time"
    if name in ALARMS:
        return "once a trouble"
    sort = "call" if name is _T.ASSIST_ANSWERED else name.partition(".")[0]
    return f"once a {_OBJECTS.get(sort, 'webhook')}"
