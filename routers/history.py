"""What was stored of one object, read for whoever asks why: its transitions and whom they were told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from callrail.kinds import FROM_API
from routers import ledger
from routers.deciding import Occasion
from routers.explaining import Kept, Occurrence, Past, Stored, Telling, Told
from routers.lifecycle import EACH_VERSION, Happened, Object, Outcome, Stage
from routers.rules.reasons import Reason, has_matched
from routers.rules.ruleset import RuleSet
from routers.schema import TransitionState
from routers.transitions import Transition


@dataclass(frozen=True, slots=True)
class Made:
    """A delivery, the transition it was made for and the one it tells now.

    The two differ where an outcome proved wrong before the delivery was sent: it turned to the right one then.
    """

    row: Row[Any]
    made_for: Row[Any]
    tells: Row[Any]

    @property
    def note(self) -> str | None:
        """In words, that the two differ; None if they do not."""
        return None if self.made_for.id == self.tells.id else _told(self, self.tells.id).note


@dataclass(frozen=True, slots=True)
class History:
    """The *transitions* of an object, oldest first, and the deliveries *made* of them."""

    transitions: Sequence[Row[Any]]
    made: Sequence[Made]

    def before(self, transition_id: str) -> History:
        """What there was before the transition *transition_id*."""
        return History(
            [row for row in self.transitions if row.id < transition_id],
            [one for one in self.made if one.made_for.id < transition_id],
        )

    def stored(self, transition: Row[Any]) -> Stored:
        """What was kept of *transition*, with the deliveries that were made for it or tell it now."""
        told = [one for one in self.made if transition.id in (one.made_for.id, one.tells.id)]
        return Stored(
            transition.verdicts or {},
            transition.reason,
            transition.rules_hash,
            [_told(one, transition.id) for one in told],
        )

    def past(self) -> Past:
        """All of it, as it counts for what comes next."""
        matched = (row.name for row in self.transitions if any(map(has_matched, (row.verdicts or {}).values())))
        told = [Telling(one.row.rule, one.row.send, one.made_for.name) for one in self.made]
        return Past(told, next(matched, None))


def _told(made: Made, transition_id: str) -> Told:
    row = made.row
    return Told(
        row.id,
        row.rule,
        row.sink,
        row.state,
        row.reason,
        made_for=None if made.made_for.id == transition_id else made.made_for.name,
        tells=None if made.tells.id == transition_id else made.tells.name,
    )


def history_of(conn: Connection, object_id: str) -> History:
    """All that is stored of the object (our id)."""
    transitions = ledger.transitions_of_object(conn, object_id)
    by_id = {row.id: row for row in transitions}
    rows = ledger.deliveries_of_object(conn, object_id)
    return History(
        transitions,
        [Made(row, _made_for(row, by_id[row.transition_id], transitions), by_id[row.transition_id]) for row in rows],
    )


def made_with(conn: Connection, delivery: Row[Any]) -> Made:
    """One delivery among all of its object."""
    about = ledger.transition_with(conn, delivery.transition_id)
    return next(one for one in history_of(conn, about.object_id).made if one.row.id == delivery.id)


def _made_for(delivery: Row[Any], tells: Row[Any], transitions: Sequence[Row[Any]]) -> Row[Any]:
    """The transition at which the delivery's rule fired: the one it tells, or the first before it."""
    if delivery.amends is not None:  # later news has a delivery of its own and is never turned
        return tells
    earlier = (row for row in transitions if row.id < tells.id)
    return next((row for row in (tells, *earlier) if _has_told(row, delivery.rule)), tells)


def _has_told(transition: Row[Any], rule: str) -> bool:
    verdict = str((transition.verdicts or {}).get(rule, ""))
    return verdict == Reason.UNMATCHED or verdict.startswith(Reason.FIRED)  # `fired (no role ...)` is told too


# --- one event -------------------------------------------------------------------------------------------------------


def occurrence_of(
    conn: Connection, rows: Sequence[Row[Any]], *, type_: str, received_at: datetime, kind: str | None
) -> Occurrence:
    """What an event brought about, as the rules were asked about it.

    Args:
        rows: Its transitions, at least one.
        type_: What the object is: call, text, form, ...
        kind: The event's; None if the event is not stored any more.
    """
    first = rows[0]
    history = history_of(conn, first.object_id)
    past = history.before(first.id)
    kept = [
        Kept(
            row.id, Transition(row.name), row.occurred_at, history.stored(row), row.state == TransitionState.SUPERSEDED
        )
        for row in rows
    ]
    version = ledger.version_of(conn, first.object_id, first.version)
    if version is None:
        return Occurrence(first.company, None, kept=kept)
    occasion = Occasion(
        company=first.company,
        type=type_,
        object_id=first.object_id,
        before=before_of(first, rows, past.transitions),
        after=Object(
            stage=Stage[version.stage.upper()],
            outcome=Outcome(version.outcome) if version.outcome else None,
            version=first.version,
            fields=version.fields,
        ),
        event_id=first.event_id,
        received_at=received_at,
        now=first.created_at,
        is_matched=past.past().matched_at is not None,
        is_live=kind not in FROM_API,
        is_echo=any(row.reason == Reason.OWN_ECHO for row in rows),
    )
    return Occurrence(first.company, occasion, [happened_of(row) for row in rows], kept, past.past())


def before_of(first: Row[Any], rows: Collection[Row[Any]], earlier: Sequence[Row[Any]]) -> Object:
    """As much of the object before the event as the rules are asked with.

    Args:
        rows: The event's transitions, *first* among them.
        earlier: Those of the object before them.
    """
    was = next((row.details["was_outcome"] for row in rows if "was_outcome" in (row.details or {})), None)
    told = frozenset(name for row in earlier if (name := row.name) not in EACH_VERSION)
    return Object(version=first.version - 1, outcome=Outcome(was) if was else None, told=told)


def happened_of(row: Row[Any]) -> Happened:
    """What happened, without what routing added to it: the hours."""
    details = {name: value for name, value in (row.details or {}).items() if name != "hours"}
    return Happened(Transition(row.name), row.state == TransitionState.SUPERSEDED, details)


def zones_then(rules: RuleSet, rows: Sequence[Row[Any]], zones: Mapping[str, str]) -> Mapping[str, str]:
    """*zones* without what calls told only after these very rules were asked, and found that hours is not told."""
    company = rows[0].company
    asked = [row for row in rows if row.verdicts and row.rules_hash == rules.hash]
    if company in rules.hours and any("hours" not in (row.details or {}) for row in asked):
        return {name: zone for name, zone in zones.items() if name != company}
    return zones
