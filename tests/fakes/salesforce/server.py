"""The server in front of the org."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tests.fakes import vendor
from tests.fakes.destination import Request, running_destination
from tests.fakes.salesforce.api import Api, Asked, read
from tests.fakes.salesforce.limits import Limits
from tests.fakes.salesforce.org import Org
from tests.fakes.salesforce.refusals import Answer

Exchange = vendor.Exchange[Asked]


@dataclass
class FakeSalesforce(vendor.FakeVendor[Asked]):
    """The org behind a URL."""

    api: Api = field(default_factory=Api)

    @property
    def org(self) -> Org:
        return self.api.org

    @property
    def operations(self) -> list[str]:
        """What was asked for, in order, without the requests for a session."""
        return [exchange.operation for exchange in self.exchanges if exchange.operation != "token"]

    def read(self, request: Request) -> Asked:
        return read(request.method, request.target, request.headers, request.body)

    def answer(self, asked: Asked) -> Answer:
        return self.api.answer(asked)

    def now(self) -> datetime:
        return self.org.clock()


@asynccontextmanager
async def running_salesforce(org: Org | None = None, limits: Limits | None = None) -> AsyncIterator[FakeSalesforce]:
    """A `FakeSalesforce` with an org without records and own fields, unless one is given."""
    async with running_destination() as destination:
        salesforce = FakeSalesforce(destination, api=Api(org or Org(), limits or Limits()))
        destination.behaves(salesforce.behave)
        yield salesforce
