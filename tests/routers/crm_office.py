"""A company with a CRM: webhooks come and are routed, and what is to be sent goes to the CRM in the test's own time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.writer import Writer
from routers.config import Configuration, read_config
from routers.lanes import open_lane
from routers.leases import Delivery, claim_due
from routers.ordering import Pair, promote
from routers.outcomes import Delivered, Outcome
from routers.routing import route
from routers.schema import OPEN, DeliveryState, deliveries
from routers.serve import build_sinks, memories_of
from routers.sinks.sink import Sink
from routers.templates import built_in_templates, render
from tests.routers.store import FixedClock, opened, receive

PHONE = "+14045550123"
CALL = {
    "resource_id": "CAL1",
    "customer_name": "Avery Quill",
    "customer_phone_number": PHONE,
    "tracking_phone_number": "+14045550100",
    "start_time": "2026-03-10T09:15:00-04:00",
    "direction": "inbound",
    "answered": False,
    "call_type": "missed",
    "duration": 30,
    "source": "Google Ads",
}
WHEN = (
    "call.ringing, call.answered, call.missed, call.abandoned, call.voicemail, call.changed, call.corrected, "
    "call.recording_ready, call.transcript_ready, call.spam, outbound.answered, outbound.unanswered, "
    "outbound.changed, text.received, text.sent, form.submitted"
)


@dataclass
class CrmOffice:
    """The parts of it. *sink* is built with the memory that `serve` gives it."""

    database: Database
    configuration: Configuration
    writer: Writer
    clock: FixedClock
    sink: Sink
    reasons: list[str] = field(default_factory=list)

    def hears(self, kind: str, body: Mapping[str, Any], *, company: str = "acme") -> None:
        """A webhook comes and is routed; nothing is sent."""
        with self.database.writing.begin() as conn:
            receive(conn, kind, dict(body), company=company)
            route(conn, self.clock, self.configuration.rules, limit=24)

    def calls(self, number: str = "CAL1", **told: Any) -> None:
        """A call is over, as CallRail tells it."""
        self.hears("post_call", {**CALL, "resource_id": number, **told})

    def claims(self) -> list[Delivery]:
        """What is due and may be sent, taken as by a dispatcher."""
        now = self.clock.moment
        with self.database.writing.begin() as conn:
            until = now + timedelta(minutes=1)
            return claim_due(conn, sink="crm", now=now, lease_until=until, instance="in_test", limit=100)

    async def tries(self, delivery: Delivery, sink: Sink | None = None) -> Outcome:
        """Send once, and put it back if it is not delivered."""
        message = render(delivery, built_in_templates(), present=delivery.present)
        try:
            outcome = await (sink or self.sink).deliver(message)
        except BaseException:
            self.put_back(delivery)
            raise
        self.reasons.append(outcome.reason)
        if isinstance(outcome, Delivered):
            self._end(delivery, state=DeliveryState.DELIVERED.value, finished_at=self.clock.moment)
        else:
            self.put_back(delivery)
        return outcome

    def put_back(self, delivery: Delivery) -> None:
        self._end(delivery, state=DeliveryState.PENDING.value)

    def holds(self, delivery: Delivery) -> None:
        """Keep it as uncertain, as a lane does by `on_uncertain: hold`."""
        self._end(delivery, state=DeliveryState.UNCERTAIN.value, finished_at=self.clock.moment)

    def dies(self, delivery: Delivery) -> None:
        """Keep it as a dead letter."""
        self._end(delivery, state=DeliveryState.DEAD.value, finished_at=self.clock.moment)

    def _end(self, delivery: Delivery, **values: Any) -> None:
        with self.database.writing.begin() as conn:
            of_it = deliveries.c.id == delivery.id
            key = conn.execute(select(deliveries.c.order_key).where(of_it)).scalar_one()  # which a merge changes
            conn.execute(update(deliveries).where(of_it).values(values))
            promote(conn, [Pair("crm", key)])

    async def sends(self) -> Outcome:
        """Send what is due, each once and in order; the last outcome."""
        outcome: Outcome | None = None
        while claimed := self.claims():
            for delivery in claimed:
                outcome = await self.tries(delivery)
            if not isinstance(outcome, Delivered):
                break
        assert outcome is not None
        return outcome

    async def sends_until_done(self, *, most: int = 30) -> None:
        """Send, again and again as time passes, until everything is delivered."""
        for _ in range(most):
            for delivery in self.claims():
                await self.tries(delivery)
            if not self.is_anything_open():
                return
            self.clock.moment += timedelta(minutes=1)
        raise AssertionError(f"still open after {most} rounds")

    def is_anything_open(self) -> bool:
        states = [state.value for state in OPEN]
        with self.database.reading.connect() as conn:
            return conn.execute(select(deliveries.c.id).where(deliveries.c.state.in_(states))).first() is not None

    def repeats(self) -> None:
        """An operator has everything sent once more."""
        with self.database.writing.begin() as conn:
            conn.execute(update(deliveries).values(state=DeliveryState.PENDING.value, due_at=self.clock.moment))


@asynccontextmanager
async def a_crm_office(
    database_url: str,
    folder: Path,
    sink: str,
    *,
    more: str = "",
    patience: str = "10s",
    clock: FixedClock | None = None,
) -> AsyncIterator[CrmOffice]:
    """The office. Its sink `crm` has the settings *sink* and waits for *patience*; *more* are blocks of its file."""
    config = folder / "router.yaml"
    config.write_text(
        "companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n  globex: {signing_keys: [env:ACME_KEY]}\n"
        f"sinks:\n  crm: {{{sink}, allow_hosts: [127.0.0.1], timeout: {patience}}}\n"
        f"rules:\n  - {{id: all, when: [{WHEN}], on_late: deliver, send: [{{to: crm}}]}}\n{more}\n"
    )
    configuration, clock = read_config(config), clock or FixedClock()
    own = open_database(database_url)  # a writer keeps its connection
    writer = Writer(own, insert_events)
    writer.start()
    try:
        sinks = build_sinks(configuration, memories=memories_of(configuration, writer, clock))
        await writer.run(lambda conn: open_lane(conn, "crm"))
        with opened(database_url) as database:
            yield CrmOffice(database, configuration, writer, clock, sinks["crm"][0])
        await sinks["crm"][0].aclose()
    finally:
        await writer.stop()
        own.dispose()
