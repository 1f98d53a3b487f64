"""The server in front of the account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tests.fakes import vendor
from tests.fakes.destination import Request, running_destination
from tests.fakes.hubspot.account import Account
from tests.fakes.hubspot.api import Api, Asked, read
from tests.fakes.hubspot.limits import Limits
from tests.fakes.hubspot.refusals import Answer

Exchange = vendor.Exchange[Asked]


@dataclass
class FakeHubSpot(vendor.FakeVendor[Asked]):
    """The account behind a URL."""

    api: Api = field(default_factory=Api)

    @property
    def account(self) -> Account:
        return self.api.account

    def read(self, request: Request) -> Asked:
        return read(request.method, request.target, request.headers, request.body)

    def answer(self, asked: Asked) -> Answer:
        return self.api.answer(asked)

    def now(self) -> datetime:
        return self.account.clock()


@asynccontextmanager
async def running_hubspot(account: Account | None = None, limits: Limits | None = None) -> AsyncIterator[FakeHubSpot]:
    """A `FakeHubSpot` with an account without records, limits and own properties, unless one is given."""
    async with running_destination() as destination:
        hubspot = FakeHubSpot(destination, api=Api(account or Account(), limits or Limits()))
        destination.behaves(hubspot.behave)
        yield hubspot
