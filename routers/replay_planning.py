"""Planning a replay: which messages, what is done with each, and why the others are left out. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, select

from receiver.columns import instant_text
from routers.lifecycle import OUTCOME_TRANSITIONS
from routers.messages import Amend
from routers.redeciding import Said, redecide
from routers.replays import Item, LeftOut, Options, Plan, Routing, Scope
from routers.rules.ruleset import RuleSet
from routers.schema import OPEN, DeliveryState, deliveries, objects, transitions, versions
from routers.sinks.config import Audience
from routers.zones import told_zones


def plan_replay(
    conn: Connection,
    scope: Scope,
    options: Options,
    *,
    rules: RuleSet,
    audiences: Mapping[str, Audience],
    now: datetime,
) -> Plan:
    """What a replay of *scope* would do.

    Args:
        audiences: Who is at each sink of router.yaml.
    """
    judge = _Judge(options, audiences, now)
    difference: dict[str, Counter[tuple[str, str]]] = {"says_now": Counter(), "silent_now": Counter()}
    if options.routing is Routing.TODAY:
        items = list(_today(conn, scope, judge, rules, difference))
    else:
        items = [judge.made(row) for row in _originals(conn, scope)]
    items.sort(key=lambda item: item.transition_id)
    return Plan(items, _summary(items, options, audiences, difference))


# --- which ------------------------------------------------------------------------------------------------------------

_later = deliveries.alias("later")
_made = (
    select(deliveries, transitions.c.name, versions.c.outcome, objects.c.outcome.label("present_outcome"))
    .join(transitions, transitions.c.id == deliveries.c.transition_id)
    .join(objects, objects.c.id == transitions.c.object_id)
    .join(versions, and_(versions.c.object_id == objects.c.id, versions.c.version == transitions.c.version))
    .where(
        ~exists().where(  # of each message its newest generation
            _later.c.transition_id == deliveries.c.transition_id,
            _later.c.rule == deliveries.c.rule,
            _later.c.send == deliveries.c.send,
            _later.c.generation > deliveries.c.generation,
        )
    )
    .order_by(transitions.c.id, deliveries.c.id)
)


def _originals(conn: Connection, scope: Scope) -> Iterable[Row[Any]]:
    return conn.execute(_made.where(*scope.of_transitions(), *scope.of_deliveries()))


def _today(
    conn: Connection, scope: Scope, judge: _Judge, rules: RuleSet, difference: Mapping[str, Counter[tuple[str, str]]]
) -> Iterator[Item]:
    """What today's rules say of it, then what was made of it and they say no more."""
    asked = list(scope.of_transitions())
    for one in redecide(conn, rules, asked, told_zones=told_zones(conn)):
        for said in one.said:
            made = said.made
            if made is None and scope.takes(said.delivery.rule, said.delivery.sink, None):
                difference["says_now"][said.delivery.rule, said.delivery.sink] += 1
                yield judge.unmade(said)
            elif made is not None and scope.takes(made.rule, made.sink, made.state):
                yield judge.made(made)
        for row in one.news:
            if scope.takes(row.rule, row.sink, row.state):
                yield judge.made(row)
        for row in one.unsaid:
            if scope.takes(row.rule, row.sink, row.state):
                if row.amends is None:
                    difference["silent_now"][row.rule, row.sink] += 1
                yield Item(row.transition_id, row.sink, row.id, reason=LeftOut.NOT_TODAY)


# --- what becomes of each ---------------------------------------------------------------------------------------------


class _Judge:
    """Says of each message what is done with it."""

    def __init__(self, options: Options, audiences: Mapping[str, Audience], now: datetime) -> None:
        self._options = options
        self._audiences = audiences
        self._now = now

    def made(self, row: Row[Any]) -> Item:
        """Of a delivery that was made: its newest generation."""
        settled = self._why_not(row)
        is_late = settled is None and self._is_late(row.expires_at)
        reason = settled or self._why_not_there(row.sink, is_late=is_late)
        if reason is not None or row.state != DeliveryState.DELIVERED:
            return Item(row.transition_id, row.sink, row.id, reason=reason, is_late=is_late)
        return Item(row.transition_id, row.sink, new=self._next_generation(row), is_late=is_late)

    def unmade(self, said: Said) -> Item:
        """Of what nobody was told then."""
        new = said.delivery
        is_late = self._is_late(new.expires_at)
        reason = LeftOut.SUPERSEDED if _is_untrue(said.transition) else None
        reason = reason or self._why_not_there(new.sink, is_late=is_late)
        written = self._written(said.key, new, amend=new.amend, amends=None, generation=0)
        return Item(said.transition.id, new.sink, new=written, reason=reason, is_late=is_late)

    def _why_not(self, row: Row[Any]) -> LeftOut | None:
        """Why it is left out for what became of it."""
        if row.state in OPEN:
            return LeftOut.OPEN
        if row.state == DeliveryState.DELIVERED:
            if not self._options.again:
                return LeftOut.DELIVERED
            # An edit or an answer belongs to the message that was sent first; systems get each news by itself.
            is_by_itself = row.amend == Amend.NEW and self._audiences.get(row.sink) is Audience.SYSTEMS
            if row.amends is not None and not is_by_itself:
                return LeftOut.NEWS
        return LeftOut.SUPERSEDED if row.state == DeliveryState.SUPERSEDED or _is_untrue(row) else None

    def _is_late(self, expires_at: datetime | None) -> bool:
        return expires_at is not None and expires_at <= self._now

    def _why_not_there(self, sink: str, *, is_late: bool) -> LeftOut | None:
        """Why it is left out for where it would go, or when."""
        if sink not in self._audiences:
            return LeftOut.NO_SINK
        if self._audiences[sink] is Audience.PEOPLE and not self._options.to_people:
            return LeftOut.PEOPLE
        return LeftOut.LATE if is_late and not self._options.late else None

    def _next_generation(self, row: Row[Any]) -> dict[str, Any]:
        generation = row.generation + 1
        key = f"{row.key.rpartition(':')[0]}:{generation}"
        return self._written(key, row, amend=row.amend, amends=row.amends, generation=generation)

    def _written(
        self, key: str, made: Any, *, amend: str | None, amends: str | None, generation: int
    ) -> dict[str, Any]:
        expires_at = made.expires_at if not self._options.late else None
        return {
            "key": key,
            "rule": made.rule,
            "send": made.send,
            "template": made.template,
            "amend": amend,
            "amends": amends,
            "generation": generation,
            "expires_at": None if expires_at is None else instant_text(expires_at),
        }


def _is_untrue(row: Any) -> bool:
    """Whether the row's transition tells an outcome that proved wrong."""
    return row.name in OUTCOME_TRANSITIONS and row.outcome != row.present_outcome


# --- what an operator should know -------------------------------------------------------------------------------------


def _summary(
    items: Collection[Item],
    options: Options,
    audiences: Mapping[str, Audience],
    difference: Mapping[str, Counter[tuple[str, str]]],
) -> dict[str, Any]:
    kinds = Counter((item.sink, _kind(item)) for item in items)
    reasons = Counter((item.sink, item.reason) for item in items if item.reason is not None)
    messages = sum(item.reason is None for item in items)
    summary: dict[str, Any] = {
        "selected": len(items),
        "messages": messages,
        "seconds": round(messages / options.rate.count * options.rate.per.total_seconds()),
        "delivered_already": sum(item.reason is LeftOut.DELIVERED for item in items) + _count(items, "again"),
        "late": sum(item.is_late for item in items),
        "sinks": [
            {
                "sink": sink,
                "audience": audiences[sink].value if sink in audiences else None,
                **{kind: kinds[sink, kind] for kind in ("taken_up", "again", "new", "left_out")},
            }
            for sink in sorted({item.sink for item in items})
        ],
        "left_out": [
            {"sink": sink, "reason": reason, "messages": count}
            for (sink, reason), count in sorted(reasons.items(), key=lambda one: (one[0][0], -one[1]))
        ],
    }
    if options.routing is Routing.TODAY:
        summary["difference"] = {
            name: [{"rule": rule, "sink": sink, "messages": count} for (rule, sink), count in sorted(counts.items())]
            for name, counts in difference.items()
        }
    return summary


def _count(items: Collection[Item], kind: str) -> int:
    return sum(_kind(item) == kind for item in items)


def _kind(item: Item) -> str:
    if item.reason is not None:
        return "left_out"
    if item.new is None:
        return "taken_up"
    return "again" if item.new["generation"] else "new"
