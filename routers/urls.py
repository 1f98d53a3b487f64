"""Which of CallRail's webhooks the rules of a company need, and the URL of ours to paste for each.

CallRail posts each kind to a URL of its own, set per company on its page Integrations > Webhooks (documented).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from callrail.kinds import Kind
from routers.transitions import ALARMS, Transition

if TYPE_CHECKING:
    from routers.config import Configuration

# CallRail's own name of the field on that page, in the order of a call (documented).
CALLRAIL_FIELD = {
    Kind.PRE_CALL: "Pre-Call",
    Kind.CALL_ROUTING_COMPLETE: "Call Routing Complete",
    Kind.POST_CALL: "Post-Call",
    Kind.CALL_MODIFIED: "Call Modified",
    Kind.OUTBOUND_POST_CALL: "Outbound Post-Call",
    Kind.OUTBOUND_CALL_MODIFIED: "Outbound Call Modified",
    Kind.TEXT_RECEIVED: "Text Message Received",
    Kind.TEXT_SENT: "Text Message Sent",
    Kind.FORM_SUBMISSION: "Form Submission",
    Kind.CONVERT_ASSIST: "Convert Assist Complete",
    Kind.VOICE_ASSIST: "Voice Assist Call Answered",
}


@dataclass(frozen=True)
class Feed:
    """The kinds without which a transition never happens, and those with which it is told sooner or more fully."""

    needs: tuple[Kind, ...]
    better_with: tuple[Kind, ...] = ()


_ENDING = Feed((Kind.POST_CALL,), better_with=(Kind.PRE_CALL,))
_CHANGE = Feed((Kind.CALL_MODIFIED,), better_with=(Kind.POST_CALL,))  # what was before stands in the post-call
_READY = Feed((Kind.POST_CALL, Kind.CALL_MODIFIED))  # with the call's end if CallRail has it by then, else later
_OUTBOUND_ENDING = Feed((Kind.OUTBOUND_POST_CALL,), better_with=(Kind.OUTBOUND_CALL_MODIFIED,))

FEEDS = {
    Transition.CALL_RINGING: Feed((Kind.PRE_CALL,)),
    Transition.CALL_ROUTED: Feed((Kind.CALL_ROUTING_COMPLETE,)),
    Transition.CALL_ENDED: _ENDING,
    Transition.CALL_ANSWERED: _ENDING,
    Transition.CALL_MISSED: _ENDING,
    Transition.CALL_ABANDONED: _ENDING,
    Transition.CALL_VOICEMAIL: _ENDING,
    Transition.CALL_RECORDING_READY: _READY,
    Transition.CALL_TRANSCRIPT_READY: _READY,
    Transition.CALL_CHANGED: _CHANGE,
    Transition.CALL_SPAM: _READY,
    Transition.CALL_CORRECTED: _CHANGE,
    Transition.OUTBOUND_ANSWERED: _OUTBOUND_ENDING,
    Transition.OUTBOUND_UNANSWERED: _OUTBOUND_ENDING,
    Transition.OUTBOUND_CHANGED: Feed((Kind.OUTBOUND_CALL_MODIFIED,), better_with=(Kind.OUTBOUND_POST_CALL,)),
    Transition.TEXT_RECEIVED: Feed((Kind.TEXT_RECEIVED,)),
    Transition.TEXT_SENT: Feed((Kind.TEXT_SENT,)),
    Transition.FORM_SUBMITTED: Feed((Kind.FORM_SUBMISSION,)),
    Transition.ASSIST_COMPLETED: Feed((Kind.CONVERT_ASSIST,)),
    Transition.ASSIST_ANSWERED: Feed((Kind.VOICE_ASSIST,)),
    Transition.UNKNOWN_RECEIVED: Feed(()),  # any URL feeds it, and none in particular
    **dict.fromkeys(ALARMS, Feed(())),  # we tell them ourselves
}
# How a call ended and what changed of it afterwards is worth knowing, whatever the rules say today.
ALWAYS_RECOMMENDED = (Kind.POST_CALL, Kind.CALL_MODIFIED)


class Need(StrEnum):
    """How much the rules of a company want a kind, most first."""

    NEEDED = "needed"
    BETTER_WITH = "better with it"
    RECOMMENDED = "recommended"


@dataclass(frozen=True)
class HookUrl:
    """One field of CallRail's page and what to paste there; *because* of these transitions, none if recommended."""

    kind: Kind
    url: str
    need: Need
    because: tuple[Transition, ...]

    @property
    def field(self) -> str:
        return CALLRAIL_FIELD[self.kind]


def wanted_transitions(configuration: Configuration, company: str) -> frozenset[Transition]:
    """What the rules that look at *company* listen to, `unmatched` among them."""
    rules = configuration.rules
    looking = (rule for rule in rules.rules if rule.companies is None or company in rule.companies)
    unmatched = (transition for transition in Transition if rules.unmatched(company, transition) is not None)
    return frozenset([*(transition for rule in looking for transition in rule.when), *unmatched])


def urls_of(company: str, wanted: Collection[Transition], *, base_url: str) -> list[HookUrl]:
    """What to paste for *company* so that everything *wanted* can happen, in the order of CallRail's page."""
    urls = []
    for kind in CALLRAIL_FIELD:
        needed = tuple(name for name in FEEDS if name in wanted and kind in FEEDS[name].needs)
        better = tuple(name for name in FEEDS if name in wanted and kind in FEEDS[name].better_with)
        if not (needed or better or kind in ALWAYS_RECOMMENDED):
            continue
        need = Need.NEEDED if needed else Need.BETTER_WITH if better else Need.RECOMMENDED
        urls.append(HookUrl(kind, f"{base_url}/callrail/{company}/{kind}", need, needed or better))
    return urls


_MAX_HOST = 253  # RFC 1035
_LIKE = "write it like https://hooks.example.com"
_LABEL = r"\w(?:[\w-]{0,61}\w)?"  # of any script, for names like that are registered too
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_PATH = re.compile(r"(?:/[\w.~%!$&'()*+,;=:-]+)*/*")


def checked_base_url(written: str) -> str:
    """*written* without a slash at its end.

    Raises:
        ValueError: It is no address that others could post to; the text says how one looks.
    """
    if "@" in written:  # what stands before it may be a password, and is not repeated
        raise ValueError(f"the address where your server is reached has no name or password in it; {_LIKE}")
    try:
        parts = urlsplit(written)
    except ValueError:  # a broken IPv6 address
        raise ValueError(f"'{written}' is not where your server is reached; {_LIKE}") from None
    if not _has_port(parts):
        raise ValueError(f"the port in '{written}' is none from 1 to 65535; {_LIKE}")
    is_plain = _PATH.fullmatch(parts.path) and not re.search(r"[?#\s\x00-\x1f]", written)
    if parts.scheme not in ("http", "https") or not _is_host(parts.netloc, parts.hostname or "") or not is_plain:
        raise ValueError(f"'{written}' is not where your server is reached; {_LIKE}")
    return written.rstrip("/")


def _has_port(parts: SplitResult) -> bool:
    """Whether the port is one, or is left out."""
    try:
        return parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        return False


def _is_host(netloc: str, host: str) -> bool:
    """Whether *host*, as it stands in *netloc*, is a name or an address of a machine."""
    if netloc.startswith("["):
        return re.fullmatch(r"\[[^]]+\](?::\d+)?", netloc) is not None
    if re.fullmatch(r"[\d.]+", host):
        return _is_ipv4(host)
    return len(host) <= _MAX_HOST and _HOST.fullmatch(host) is not None


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
