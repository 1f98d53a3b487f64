"""Planning a replay: which messages, what is done with each, and why the others are left out. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists

from receiver.columns import instant_text
from routers.audience import Audience
from routers.deciding import Looking
from routers.lifecycle import OUTCOME_TRANSITIONS
from routers.messages import Amend
from routers.outbox import NewDelivery
from routers.redeciding import MADE, Said, redecide
from routers.replays import Item, LeftOut, Options, Plan, Routing, Scope
from routers.rules.ruleset import RuleSet
from routers.schema import OPEN, DeliveryState, deliveries, transitions
from routers.transitions import ALARMS
from routers.zones import told_zones


def plan_replay(
    conn: Connection,
    scope: Scope,
    options: Options,
    *,
    rules: RuleSet,
    audiences: Mapping[str, Audience],
    now: datetime,
    looking: Looking | None = None,
) -> Plan:
    """What a replay of *scope* would do.

    Args:
        audiences: Who is at each sink of router.yaml.
        looking: How what today's rules need is looked up; None where what is stored of it counts.
    """
    judge = _Judge(options, audiences, now, tells_alarms=scope.transition in ALARMS)
    difference: dict[str, Counter[tuple[str, str]]] = {"says_now": Counter(), "silent_now": Counter()}
    if options.routing is Routing.TODAY:
        items = list(_today(conn, scope, judge, rules, difference, looking))
    else:
        items = [judge.made(row) for row in _originals(conn, scope)]
    items.sort(key=lambda item: item.transition_id)
    return Plan(items, _summary(items, options, audiences, difference))


# --- which ------------------------------------------------------------------------------------------------------------

_later = deliveries.alias("later")
_newest = MADE.where(
    ~exists().where(  # of each message its newest generation
        _later.c.transition_id == deliveries.c.transition_id,
        _later.c.rule == deliveries.c.rule,
        _later.c.send == deliveries.c.send,
        _later.c.generation > deliveries.c.generation,
    )
).order_by(transitions.c.id, deliveries.c.id)


def _originals(conn: Connection, scope: Scope) -> Iterable[Row[Any]]:
    return conn.execute(_newest.where(*scope.of_transitions(), *scope.of_deliveries()))


def _today(
    conn: Connection,
    scope: Scope,
    judge: _Judge,
    rules: RuleSet,
    difference: Mapping[str, Counter[tuple[str, str]]],
    looking: Looking | None,
) -> Iterator[Item]:
    """What today's rules say of it, then what was made of it and they say no more."""
    asked = list(scope.of_transitions())
    for one in redecide(conn, rules, asked, told_zones=told_zones(conn), looking=looking):
        for said in one.said:
            item = judge.said(said)
            if not _is_meant(scope, said, item.sink):
                continue
            if said.made is None and item.reason is not LeftOut.ALARM:
                difference["says_now"][said.delivery.rule, item.sink] += 1
            yield item
        for row in one.news:
            if scope.takes(row.rule, row.sink, row.state):
                yield judge.made(row)
        for row in one.unsaid:
            if scope.takes(row.rule, row.sink, row.state):
                if row.amends is None:
                    difference["silent_now"][row.rule, row.sink] += 1
                yield Item(row.transition_id, row.sink, row.id, reason=LeftOut.NOT_TODAY)


def _is_meant(scope: Scope, said: Said, sink: str) -> bool:
    """Whether *scope* means what would go to *sink*; a rule that was renamed goes by both ids."""
    made = said.made
    if made is None:
        return scope.takes(said.delivery.rule, sink, None)
    return any(scope.takes(rule, sink, made.state) for rule in (said.delivery.rule, made.rule))


# --- what becomes of each ---------------------------------------------------------------------------------------------


class _Judge:
    """Says of each message what is done with it."""

    def __init__(
        self, options: Options, audiences: Mapping[str, Audience], now: datetime, *, tells_alarms: bool
    ) -> None:
        self._options = options
        self._audiences = audiences
        self._now = now
        self._tells_alarms = tells_alarms

    def made(self, row: Row[Any]) -> Item:
        """Of a delivery that was made: its newest generation."""
        settled = self._why_not(row)
        is_late = settled is None and self._is_late(row.expires_at)
        reason = settled or self._why_not_there(row.sink, is_late=is_late)
        if reason is not None or row.state != DeliveryState.DELIVERED:
            return Item(row.transition_id, row.sink, row.id, reason=reason, is_late=is_late)
        return Item(row.transition_id, row.sink, new=self._next_generation(row), is_again=True, is_late=is_late)

    def said(self, said: Said) -> Item:
        """Of what today's rules say."""
        made = said.made
        if made is None:
            return self._unmade(said)
        # What may have arrived where its role pointed then is for a person there to decide.
        is_moved = made.sink != said.delivery.sink and made.state != DeliveryState.UNCERTAIN
        return self._moved(made, said.delivery) if is_moved else self.made(made)

    def _moved(self, made: Row[Any], new: NewDelivery) -> Item:
        """Of a delivery whose role points to another sink today: that one is told, as the next generation of it."""
        settled = self._why_not(made)
        is_late = settled is None and self._is_late(new.expires_at)
        reason = settled or self._why_not_there(new.sink, is_late=is_late)
        if reason is not None:
            return Item(made.transition_id, new.sink, made.id, reason=reason, is_late=is_late)
        written = self._next_generation(made, replace(new, rule=made.rule))
        is_again = made.state == DeliveryState.DELIVERED
        return Item(made.transition_id, new.sink, new=written, is_again=is_again, is_late=is_late)

    def _unmade(self, said: Said) -> Item:
        """Of what nobody was told then."""
        new = said.delivery
        is_late = self._is_late(new.expires_at)
        reason = self._why_not_of_that(said.transition)
        reason = reason or (LeftOut.SUPERSEDED if _is_untrue(said.transition) else None)
        reason = reason or self._why_not_there(new.sink, is_late=is_late)
        written = self._written(said.key, new, amend=new.amend, amends=None, generation=0)
        return Item(said.transition.id, new.sink, new=written, reason=reason, is_late=is_late)

    def _why_not(self, row: Row[Any]) -> LeftOut | None:
        """Why it is left out for what became of it."""
        if reason := self._why_not_of_that(row):
            return reason
        if row.state in OPEN:
            return LeftOut.OPEN
        # One that was to be sent again and was not, arrived all the same.
        if not self._options.again and (row.state == DeliveryState.DELIVERED or row.was_delivered):
            return LeftOut.DELIVERED
        if row.state == DeliveryState.DELIVERED:
            # An edit or an answer belongs to the message that was sent first; systems get each news by itself.
            is_by_itself = row.amend == Amend.NEW and self._audiences.get(row.sink) is Audience.SYSTEMS
            if row.amends is not None and not is_by_itself:
                return LeftOut.NEWS
        return LeftOut.SUPERSEDED if row.state == DeliveryState.SUPERSEDED or _is_untrue(row) else None

    def _why_not_of_that(self, row: Row[Any]) -> LeftOut | None:
        """Why it is left out for what it tells of."""
        if row.erased_at is not None:
            return LeftOut.ERASED
        return LeftOut.ALARM if row.name in ALARMS and not self._tells_alarms else None

    def _is_late(self, expires_at: datetime | None) -> bool:
        return expires_at is not None and expires_at <= self._now

    def _why_not_there(self, sink: str, *, is_late: bool) -> LeftOut | None:
        """Why it is left out for where it would go, or when."""
        if sink not in self._audiences:
            return LeftOut.NO_SINK
        if self._audiences[sink] is Audience.PEOPLE and not self._options.to_people:
            return LeftOut.PEOPLE
        return LeftOut.LATE if is_late and not self._options.late else None

    def _next_generation(self, row: Row[Any], new: NewDelivery | None = None) -> dict[str, Any]:
        """As it was made, or *new* in its place."""
        generation, told = row.generation + 1, new or row
        key = f"{row.key.rpartition(':')[0]}:{generation}"
        return self._written(key, told, amend=told.amend, amends=told.amends, generation=generation)

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
    return "again" if item.is_again else "new"
