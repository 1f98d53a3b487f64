"""A company whose rules look things up: the server runs, CallRail's API is the fake, a receiver takes the messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Update, update

from receiver.database import Database
from routers.fake_callrail import FakeCallRail, faults, small_world
from routers.fake_callrail.serving import serving
from routers.lookups.waiting import LEASE
from routers.schema import DeliveryState, deliveries, lookups, transitions
from routers.serve import Role
from tests.client import post_signed
from tests.fakes.destination import Destination, running_destination
from tests.fakes.receiver_of_webhooks import webhook_of
from tests.routers.running import KEY, serving_here
from tests.routers.store import opened, rows_of
from tests.routers.waiting import until

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Office:
    """The parts of it. *config* is its file; *database* has connections of its own, as another process would."""

    fake: FakeCallRail
    destination: Destination
    config: Path
    database_url: str
    database: Database
    port: int = 0

    @property
    def account(self) -> Any:
        return self.fake.world.accounts[0]

    def a_call(self, position: int = 0) -> Any:
        """A call of the fake's world, inbound and over."""
        return [call for call in self.account.calls if call.direction == "inbound"][-1 - position]

    def asked(self, path: str) -> list[str]:
        """The requests to the API whose path holds *path*."""
        return [each.path for each in self.fake.requests if path in each.path]

    def spoil(self, path: str) -> None:
        """From now on what CallRail answers at *path* breaks off. Unlike a 503 that says nothing of other requests, so
        that no later one is spared for some seconds: who is made due asks again at once."""
        self.fake.faults.add("GET", path, faults.truncated(), times=1_000)

    def write(self, rules: str, more: str = "", *, key: str = "env:OFFICE_KEY") -> None:
        self.config.write_text(
            f"accounts:\n  main: {{account_id: {self.account.id}, api_key: '{key}', base_url: '{self.url}'}}\n"
            "companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n"
            "sinks:\n"
            f"  crm: {{type: webhook, url: '{self.destination.url}', signing_secrets: [env:CRM_SECRET],\n"
            f"        allow_hosts: [127.0.0.1], timeout: 5s}}\n{rules}\n{more}\n"
        )

    url: str = ""

    @asynccontextmanager
    async def open(self, role: Role = Role.ALL) -> AsyncIterator[Office]:
        async with serving_here(self.config, self.database_url, role=role) as self.port:
            yield self

    async def post(self, kind: str, told: Mapping[str, Any]) -> None:
        reply = await post_signed(self.port, f"/callrail/acme/{kind}", json.dumps(told).encode(), key=KEY)
        assert reply.status == 204

    async def post_call(self, call: Any, **told: Any) -> None:
        """The call as CallRail tells it when it is over."""
        await self.post("post_call", body_of(call) | told)

    async def post_call_begun(self, call: Any) -> None:
        """The call as CallRail tells it when it begins to ring."""
        await self.post("pre_call", body_of(call) | {"duration": 0})

    def told(self) -> list[dict[str, Any]]:
        """The data of all messages that arrived."""
        return [webhook_of(request).data for request in self.destination.requests]

    async def until_told(self, count: int) -> list[dict[str, Any]]:
        await until(lambda: len(self.destination.requests) >= count)
        assert len(self.destination.requests) == count
        return self.told()

    def transitions(self, name: str = "") -> Sequence[Row[Any]]:
        return [row for row in rows_of(self.database, transitions) if name in ("", row.name)]

    def deliveries(self) -> Sequence[Row[Any]]:
        return rows_of(self.database, deliveries)

    async def until_decided(self, name: str) -> Row[Any]:
        """The transition *name*, once it waits no longer."""
        await until(lambda: [row for row in self.transitions(name) if row.state != "waiting"])
        (row,) = self.transitions(name)
        return row

    async def until_recorded(self, name: str) -> None:
        await until(lambda: self.transitions(name))

    async def until_asked(self, path: str) -> None:
        await until(lambda: self.asked(path))

    async def until_tried(self, name: str) -> None:
        """Once a look-up for *name* has failed and is put off, by less than whoever tries it takes it for."""
        await until(lambda: [row for row in self.transitions(name) if row.due_at and _is_put_off(row)])

    @property
    def stored(self) -> tuple[str, str]:
        """The option of commands that look at the database."""
        return "--database-url", self.database_url

    def make_due(self) -> None:
        """As if the time to try again had come, and what was found out held no longer."""
        self._change(update(transitions).where(transitions.c.state == "waiting"), due_at=LONG_AGO)
        self.forget_answers()

    def send_again(self) -> None:
        """As if the time had come to repeat what failed to be sent."""
        self._change(update(deliveries).where(deliveries.c.state == DeliveryState.PENDING), due_at=LONG_AGO)

    def forget_answers(self) -> None:
        self._change(update(lookups), expires_at=LONG_AGO)

    def _change(self, change: Update, **values: Any) -> None:
        with self.database.writing.begin() as conn:
            conn.execute(change.values(**values))


def _is_put_off(row: Row[Any]) -> bool:
    return bool(timedelta(seconds=9) < row.due_at - row.created_at < LEASE - timedelta(seconds=2))


def body_of(call: Any) -> dict[str, Any]:
    """The post-call webhook of a call of the fake's, in part."""
    return {
        "resource_id": call.id,
        "call_type": "missed",
        "answered": False,
        "voicemail": False,
        "duration": 30,
        "start_time": datetime.now(UTC).isoformat(),
        "customer_phone_number": call.person["phone"],
        "person_resource_id": call.person["id"],
        "tracker_resource_id": call.tracker["id"],
        "company_resource_id": call.tracker["company"]["id"],
    }


@asynccontextmanager
async def an_office(folder: Path, database_url: str, *, calls: int = 30) -> AsyncIterator[Office]:
    """The office, its API and its receiver; `Office.open` runs the server."""
    fake = FakeCallRail(small_world(calls=calls, seed=7))
    with opened(database_url) as database:
        async with running_destination() as destination, serving(fake) as url:
            yield Office(fake, destination, folder / "router.yaml", database_url, database, url=url)
