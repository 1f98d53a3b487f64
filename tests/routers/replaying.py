"""Replays in a test: calls that were routed, whatever became of what was told of them, planned and carried out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update

from receiver.database import Database
from routers.audience import Audience
from routers.lanes import open_lane
from routers.replay_planning import plan_replay
from routers.replaying import Step, step
from routers.replays import Options, Plan, Scope, start, store_plan
from routers.routing import route
from routers.rules.ruleset import RuleSet
from routers.schema import OPEN, DeliveryState, deliveries, replay_items, replays
from tests.routers.store import FixedClock, a_rule, opened, receive, rows_of, rule_set

SYSTEM: Mapping[str, Audience] = {"crm": Audience.SYSTEMS, "sales": Audience.SYSTEMS}
SECOND = timedelta(seconds=1)


@dataclass
class World:
    """A database, a clock that stands until it is moved, the rules, and who is at each sink."""

    database: Database
    clock: FixedClock = field(default_factory=lambda: FixedClock(datetime.now(UTC)))
    rules: RuleSet = field(default_factory=lambda: rule_set(a_rule()))
    audiences: Mapping[str, Audience] = field(default_factory=lambda: SYSTEM)

    def call(self, name: str, *, ago: timedelta = timedelta(0), **more: Any) -> None:
        """A missed call is received and routed."""
        body = {
            "resource_id": name,
            "answered": False,
            "call_type": "missed",
            "duration": 30,
            "voicemail": False,
            "customer_phone_number": f"+1404555{sum(name.encode()):04d}",
            "start_time": (self.clock.moment - ago).isoformat(),
        }
        with self.database.writing.begin() as conn:
            receive(conn, "post_call", {**body, **more})
            route(conn, self.clock, self.rules, limit=10)

    def become(self, state: DeliveryState, **values: Any) -> None:
        """Everything told so far is in *state*."""
        finished = {"finished_at": None if state in OPEN else self.clock.moment}
        with self.database.writing.begin() as conn:
            conn.execute(update(deliveries).values(state=state.value, **finished, **values))

    def plan(self, scope: Scope | None = None, **options: Any) -> Plan:
        with self.database.reading.connect() as conn:
            return plan_replay(
                conn,
                scope or Scope(),
                Options(**options),
                rules=self.rules,
                audiences=self.audiences,
                now=self.clock.moment,
            )

    def planned(self, scope: Scope | None = None, **options: Any) -> str:
        """A plan that is written down; the id of the replay."""
        plan = self.plan(scope, **options)
        return store_plan(self.database, self.clock, scope or Scope(), Options(**options), plan)

    def started(self, scope: Scope | None = None, **options: Any) -> str:
        """A replay that is running."""
        replay_id = self.planned(scope, **options)
        with self.database.writing.begin() as conn:
            start(conn, replay_id, now=self.clock.moment)
        return replay_id

    def step(self, replay_id: str) -> Step:
        with self.database.writing.begin() as conn:
            return step(conn, replay_id=replay_id, clock=self.clock, audiences=self.audiences)

    def carry_out(self, replay_id: str) -> str:
        """Step and send until it stands still; the state it is in."""
        for _ in range(200):
            self.step(replay_id)
            self.send()
            self.clock.moment += SECOND
            if self.replay(replay_id).state != "running":
                break
        state: str = self.replay(replay_id).state
        return state

    def send(self, state: DeliveryState = DeliveryState.DELIVERED) -> None:
        """All that is open ends in *state*."""
        with self.database.writing.begin() as conn:
            is_open = deliveries.c.state.in_([one.value for one in OPEN])
            ended = {"state": state.value, "finished_at": self.clock.moment}
            conn.execute(update(deliveries).where(is_open).values(**ended))

    def deliveries(self) -> Sequence[Row[Any]]:
        return rows_of(self.database, deliveries)

    def replay(self, replay_id: str) -> Row[Any]:
        with self.database.reading.connect() as conn:
            return conn.execute(select(replays).where(replays.c.id == replay_id)).one()

    def items(self, replay_id: str) -> Sequence[Row[Any]]:
        return [row for row in rows_of(self.database, replay_items) if row.replay_id == replay_id]

    def left_out(self, scope: Scope | None = None, **options: Any) -> Counter[str | None]:
        """The reasons of a plan's items; None for those that are sent."""
        return Counter(item.reason for item in self.plan(scope, **options).items)


@contextmanager
def a_world(url: str, **about: Any) -> Iterator[World]:
    """One on the database at *url*, with the lanes of crm and sales."""
    with opened(url) as database:
        with database.writing.begin() as conn:
            for sink in ("crm", "sales"):
                open_lane(conn, sink)
        yield World(database, **about)
