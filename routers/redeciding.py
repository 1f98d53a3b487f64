"""What today's rules would have told of what is stored: each object's life is decided anew from its beginning, with the
facts of each version, at the thing's own time, and as if nothing had ever been too late."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, exists, select

from callrail.kinds import FROM_API
from receiver.columns import fixed
from receiver.schema import events
from routers.deciding import UNMATCHED, Decided, Decider, Looking, Occasion
from routers.explaining import without_answers
from routers.history import before_of, happened_of
from routers.lifecycle import Object, Outcome, Stage
from routers.outbox import NewDelivery
from routers.rules.ruleset import RuleSet
from routers.schema import DeliveryState, TransitionState, deliveries, objects, transitions, versions

# What waits for look-ups is told when it is decided, and was not left out.
_is_decided = transitions.c.state != fixed(TransitionState.WAITING)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_BATCH = 200  # objects at once: all their versions are in memory


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that today's rules tell: the transition it is of, the delivery as it was decided, and the one that was
    made of it then.

    Attributes:
        key: The idempotency key: the one of *delivery* is of a transition decided anew.
        made: The newest generation of it; None if nothing was told then.
    """

    transition: Row[Any]
    key: str
    delivery: NewDelivery
    made: Row[Any] | None


@dataclass(slots=True)
class Redecided:
    """One object: what is *said* of it today, and of the deliveries made then which are *unsaid* today, and which are
    *news* that amended something said. Only of transitions that were asked for.
    """

    said: list[Said] = field(default_factory=list)
    unsaid: list[Row[Any]] = field(default_factory=list)
    news: list[Row[Any]] = field(default_factory=list)


def redecide(
    conn: Connection,
    rules: RuleSet,
    asked: Collection[ColumnElement[bool]],
    *,
    told_zones: Mapping[str, str],
    looking: Looking | None = None,
) -> Iterator[Redecided]:
    """Each object with a transition that fulfils all of *asked*.

    Args:
        looking: How what the rules need of those is looked up, in place of what is stored of it; None if that counts.
    """
    ids = sorted(conn.execute(select(transitions.c.object_id).where(*asked).distinct()).scalars())
    names = {rule.id: (rule.id, *rule.previous) for rule in rules.rules}
    lives = LIVES.add_columns(and_(_is_decided, *asked).label("is_asked"))
    for first in range(0, len(ids), _BATCH):
        some = {"ids": ids[first : first + _BATCH]}
        made = {key: list(rows) for key, rows in groupby(conn.execute(_made, some), lambda row: row.object_id)}
        for object_id, rows in groupby(conn.execute(lives, some), lambda row: row.object_id):
            yield _Life(rules, told_zones, names, list(rows), made.get(object_id, []), looking).redecided()


# All transitions of some objects, each with what was known of its object then.
LIVES: Select[Any] = (
    select(
        transitions.c.id,
        transitions.c.object_id,
        transitions.c.company,
        transitions.c.name,
        transitions.c.n,
        transitions.c.event_id,
        transitions.c.occurred_at,
        transitions.c.created_at,
        transitions.c.state,
        transitions.c.version,
        transitions.c.details,
        objects.c.type,
        objects.c.outcome.label("present_outcome"),
        objects.c.erased_at,
        versions.c.stage,
        versions.c.outcome,
        versions.c.fields,
        events.c.kind,
        events.c.received_at,
    )
    .join(objects, objects.c.id == transitions.c.object_id)
    .join(versions, and_(versions.c.object_id == objects.c.id, versions.c.version == transitions.c.version))
    .outerjoin(events, events.c.id == transitions.c.event_id)
    .where(transitions.c.object_id.in_(bindparam("ids", expanding=True)))
    .order_by(transitions.c.object_id, transitions.c.id)
)
_earlier = deliveries.alias("earlier")
_was_delivered = and_(
    deliveries.c.generation > 0,
    exists().where(
        _earlier.c.transition_id == deliveries.c.transition_id,
        _earlier.c.rule == deliveries.c.rule,
        _earlier.c.send == deliveries.c.send,
        _earlier.c.generation < deliveries.c.generation,
        _earlier.c.state == fixed(DeliveryState.DELIVERED),
    ),
)
# Deliveries as a replay looks at them, with what they tell of, and whether an earlier generation was delivered.
MADE: Select[Any] = (
    select(
        deliveries.c.id,
        deliveries.c.key,
        deliveries.c.transition_id,
        deliveries.c.rule,
        deliveries.c.send,
        deliveries.c.sink,
        deliveries.c.generation,
        deliveries.c.template,
        deliveries.c.amend,
        deliveries.c.amends,
        deliveries.c.state,
        deliveries.c.expires_at,
        _was_delivered.label("was_delivered"),
        transitions.c.object_id,
        transitions.c.name,
        versions.c.outcome,
        objects.c.outcome.label("present_outcome"),
        objects.c.erased_at,
    )
    .join(transitions, transitions.c.id == deliveries.c.transition_id)
    .join(objects, objects.c.id == transitions.c.object_id)
    .join(versions, and_(versions.c.object_id == objects.c.id, versions.c.version == transitions.c.version))
)
_made = MADE.where(transitions.c.object_id.in_(bindparam("ids", expanding=True))).order_by(
    transitions.c.object_id, deliveries.c.generation, deliveries.c.id
)


class _Life:
    """One object: its transitions, oldest first, and all deliveries made of them. *names* are the ids of each rule."""

    def __init__(
        self,
        rules: RuleSet,
        told_zones: Mapping[str, str],
        names: Mapping[str, tuple[str, ...]],
        rows: Sequence[Row[Any]],
        made: Sequence[Row[Any]],
        looking: Looking | None,
    ) -> None:
        self._names = names
        self._decider = Decider(rules, told_zones, self._spoken)
        self._looking_up = None if looking is None else Decider(rules, told_zones, self._spoken, looking)
        self._rows = rows
        # Of each message its newest generation.
        self._made = {(row.transition_id, row.rule, row.send): row for row in made}
        self._told: list[NewDelivery] = []

    def redecided(self) -> Redecided:
        found, past, is_matched = Redecided(), list[Row[Any]](), False
        by_id = {row.id: row for row in self._rows}
        made_of: set[str] = set()
        for _, grouped in groupby(self._rows, lambda row: (row.version, row.event_id)):
            rows = list(grouped)
            decided = self._decide(rows, past, is_matched=is_matched)
            is_matched = decided.is_matched
            stored = {new.id: row for new, row in zip(decided.transitions, rows, strict=True)}
            for delivery in decided.deliveries.values():
                row = stored[delivery.transition_id]
                key = delivery.key.replace(delivery.transition_id, row.id)
                said = Said(row, key, delivery, self._made_of(delivery, row))
                self._told.append(delivery)
                made_of |= {said.made.id} if said.made is not None else set()
                if row.is_asked:
                    found.said.append(said)
            past += rows
        told = {(rule, item.send) for item in self._told for rule in self._names.get(item.rule, (item.rule,))}
        for made in self._made.values():
            if not by_id[made.transition_id].is_asked or made.id in made_of:
                continue
            is_news = made.amends is not None and (made.rule, made.send) in told
            (found.news if is_news else found.unsaid).append(made)
        return found

    def _decide(self, rows: Sequence[Row[Any]], past: Sequence[Row[Any]], *, is_matched: bool) -> Decided:
        decider, happened = self._decider, map(happened_of, rows)
        if self._looking_up is not None and any(row.is_asked for row in rows) and rows[0].erased_at is None:
            decider, happened = self._looking_up, map(without_answers, happened)
        return decider.decide(occasion_of(rows, past, is_matched=is_matched, now=_LONG_AGO), happened)

    def _spoken(self, _object_id: str, rules: Collection[str], send: str) -> bool:
        return any(item.rule in rules and item.send == send for item in self._told)

    def _made_of(self, delivery: NewDelivery, transition: Row[Any]) -> Row[Any] | None:
        """What was made of it then, by whatever id the rule had, and by whatever key: those change with its `when`."""
        is_of_object = delivery.key.startswith(f"{delivery.object_id}:")
        ids = self._names.get(delivery.rule, (UNMATCHED,))
        of_it = [
            row
            for row in self._made.values()
            if row.rule in ids
            and row.send == delivery.send
            and row.amends is None
            and (is_of_object or row.transition_id == transition.id)
        ]
        return of_it[-1] if of_it else None


def occasion_of(rows: Sequence[Row[Any]], past: Sequence[Row[Any]], *, is_matched: bool, now: datetime) -> Occasion:
    """The occasion on which the transitions *rows* came about, after those of the *past*; all of them of `LIVES`."""
    first = rows[0]
    return Occasion(
        company=first.company,
        type=first.type,
        object_id=first.object_id,
        before=before_of(first, rows, past),
        after=Object(
            stage=Stage[first.stage.upper()],
            outcome=Outcome(first.outcome) if first.outcome else None,
            version=first.version,
            fields=first.fields,
            told=frozenset(row.name for row in (*past, *rows)),
        ),
        event_id=first.event_id,
        received_at=first.received_at or first.created_at,
        now=now,
        is_matched=is_matched,
        is_live=first.kind not in FROM_API,
    )
