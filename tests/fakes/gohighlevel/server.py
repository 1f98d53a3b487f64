"""The server in front of the location."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tests.fakes import vendor
from tests.fakes.destination import Request, running_destination
from tests.fakes.gohighlevel.api import Api, Asked, read
from tests.fakes.gohighlevel.location import Location
from tests.fakes.hubspot.refusals import Answer

Exchange = vendor.Exchange[Asked]


@dataclass
class FakeGoHighLevel(vendor.FakeVendor[Asked]):
    """The location behind a URL."""

    api: Api = field(default_factory=Api)

    @property
    def location(self) -> Location:
        return self.api.location

    def read(self, request: Request) -> Asked:
        return read(request.method, request.target, request.headers, request.body)

    def answer(self, asked: Asked) -> Answer:
        return self.api.answer(asked)

    def now(self) -> datetime:
        return self.location.clock()


@asynccontextmanager
async def running_gohighlevel(location: Location | None = None) -> AsyncIterator[FakeGoHighLevel]:
    """A `FakeGoHighLevel` with a location without contacts, unless one is given."""
    async with running_destination() as destination:
        gohighlevel = FakeGoHighLevel(destination, api=Api(location or Location()))
        destination.behaves(gohighlevel.behave)
        yield gohighlevel
