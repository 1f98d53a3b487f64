"""A company whose recordings and media are fetched: our database and folder, a fake of CallRail's API, and a clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from callrail.budgets import InMemoryBudgets
from callrail.client import CallRail
from callrail.sending import Pace
from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.writer import Writer
from routers.fake_callrail import FakeCallRail, Quirks, small_world
from routers.fake_callrail.serving import serving
from routers.fake_callrail.texts import new_message
from routers.fake_callrail.world import Call
from routers.media.fetching import Fetching
from routers.media.settings import MediaConfig
from routers.objects import claim_received
from routers.routing import route_claimed
from routers.schema import media
from tests.routers.store import NOW, FixedClock, receive, rows_of, rule_set

COMPANY = "acme"
SECRET = "5ecre7acce55key"


@dataclass
class Gallery:
    """The parts of it. *fetched* are companies of which files are fetched, with the age at which those are removed."""

    fake: FakeCallRail
    database: Database
    writer: Writer
    clock: FixedClock
    client: CallRail
    folder: Path
    fetched: dict[str, timedelta | None] = field(default_factory=lambda: {COMPANY: None})

    @property
    def account(self) -> Any:
        return self.fake.world.accounts[0]

    @property
    def recorded(self) -> Call:
        """A call of which the API has a recording."""
        found: Call = next(call for call in self.account.calls if call.is_recorded)
        return found

    def post_call(self, call: Call | None = None, **told: Any) -> None:
        """CallRail tells of a call that is over, and it is routed."""
        call = call or self.recorded
        link = f"https://app.callrail.com/calls/{call.id}/recording/redirect?access_key={SECRET}"
        body = {"resource_id": call.id, "answered": True, "duration": 60, "recording": link}
        self.receive("post_call", body | told)

    def post_text(self, *, media: int = 1, **told: Any) -> str:
        """CallRail tells of a text with pictures, and it is routed; its id."""
        conversation = next(iter(self.account.conversations.values()))
        new_message(self.fake.world, conversation, self.clock.moment, "incoming", "Here is the leak", media)
        text_id: str = conversation["messages"][-1]["id"]
        links = [f"https://app.callrail.com/msg/a/987/messages/{text_id}/media/{n}" for n in range(media)]
        body = {"resource_id": text_id, "message_type": "mms", "media_urls": links, "content": "Here is the leak"}
        self.receive("text_received", body | told)
        return text_id

    def receive(self, kind: str, body: dict[str, Any]) -> None:
        with self.database.writing.begin() as conn:
            receive(conn, kind, body, company=COMPANY)
        with self.database.writing.begin() as conn:
            route_claimed(conn, claim_received(conn, limit=10), self.clock, rule_set(), {}, fetched=self.fetched)

    def fetching(self, **written: Any) -> Fetching:
        """One that fetches; *written* are settings."""
        config = MediaConfig.model_validate({"folder": str(self.folder), **written})
        rng = random.Random(1)
        return Fetching(self.writer, self.clock, self.client, [COMPANY], config, rng)

    async def fetch(self, **written: Any) -> None:
        """Fetch once what is due."""
        await self.fetching(**written).fetch()

    async def fetch_until_over(self, *, most: int = 60) -> None:
        """Fetch again and again, each time when the next is due, until nothing is pending."""
        fetching = self.fetching()
        for _ in range(most):
            await fetching.fetch()
            due = [row.next_attempt_at for row in self.rows() if row.state == "pending"]
            if not due:
                return
            self.clock.moment = max(self.clock.moment, min(due))
        raise AssertionError(f"still pending after {most} times")

    def rows(self) -> Sequence[Row[Any]]:
        return rows_of(self.database, media)

    @property
    def row(self) -> Row[Any]:
        (row,) = self.rows()
        return row

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.exists() else []

    def asked(self, path: str = "") -> list[str]:
        return [request.path for request in self.fake.requests if path in request.path]


@asynccontextmanager
async def a_gallery(database: Database, tmp_path: Path, *, quirks: Quirks | None = None) -> AsyncIterator[Gallery]:
    """The parts, at work until the block ends."""
    clock = FixedClock()
    world = replace(small_world(calls=20, seed=3, now=NOW - timedelta(days=1)), now=lambda: clock.moment)
    fake = FakeCallRail(world, quirks=quirks)
    own = open_database(database.writing.url.render_as_string(hide_password=False))  # a writer keeps its connection
    writer = Writer(own, insert_events)
    writer.start()
    try:
        budgets = InMemoryBudgets(now=lambda: clock.moment)
        async with (
            serving(fake) as url,
            CallRail(world.key, world.accounts[0].id, base_url=url, budgets=budgets) as client,
        ):
            # Time is the test's, and nobody sleeps.
            client._sender.pace = Pace(now=lambda: clock.moment, sleep=lambda _: asyncio.sleep(0))
            yield Gallery(fake, database, writer, clock, client, tmp_path / "media")
    finally:
        await writer.stop()
        own.dispose()
