"""The receiver as it is served: a real uvicorn on a real loopback socket, in the event loop of the test."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from receiver.app import receiver_app
from receiver.buckets import LIMITS, BucketLimits
from receiver.companies import Companies, read_companies
from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.keeping import Keeper
from receiver.spool import SEGMENT_SIZE
from receiver.writer import STALLED_AFTER, Writer
from routers.listening import PromptServer

ACME_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
ACME_OLD_KEY = "00112233445566778899aabbccddeeff"
GLOBEX_KEY = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
ACME_ID = "COM0191f00a1b2c7d3e8f405162738495a6"
GLOBEX_ID = "COM8154748ae6bd4e278a7cddd38a662f4f"
ENVIRON = {"ACME_KEY": ACME_KEY, "ACME_OLD_KEY": ACME_OLD_KEY, "GLOBEX_KEY": GLOBEX_KEY}

TWO_COMPANIES = f"""\
companies:
  acme: {{callrail_id: {ACME_ID}, signing_keys: [env:ACME_KEY]}}
  globex: {{callrail_id: {GLOBEX_ID}, signing_keys: [env:GLOBEX_KEY]}}
"""


@dataclass(frozen=True)
class Receiver:
    """A running receiver. *database* has connections of its own, as another process would."""

    port: int
    writer: Writer
    keeper: Keeper
    stored_through: Database
    database: Database


def companies_of(tmp_path: Path, text: str = TWO_COMPANIES) -> Companies:
    """The companies that the file *text* describes, with the keys above."""
    path = tmp_path / "companies.yaml"
    path.write_text(text)
    return read_companies(path, ENVIRON)


# A folder that nobody can make, also who may do everything: below what is no folder.
NO_SPOOL = Path("/dev/null/spool")
SOON = timedelta(milliseconds=20)


@asynccontextmanager
async def running_receiver(
    companies: Companies,
    database_url: str,
    *,
    spool: Path | None = None,
    stalled_after: timedelta = STALLED_AFTER,
    segment_size: int = SEGMENT_SIZE,
    limits: BucketLimits = LIMITS,
) -> AsyncIterator[Receiver]:
    """`receiver_app` over a keeper and a writer of its own, served as `routers.serve` does; all stopped at the end.

    *spool*: its folder; None for one of its own that is gone at the end.
    """
    written, looked_at = open_database(database_url), open_database(database_url)
    writer = Writer(written, insert_events, stalled_after=stalled_after)
    with tempfile.TemporaryDirectory() as own:
        keeper = Keeper(writer, spool or Path(own), segment_size=segment_size, probe_every=SOON, look_every=SOON)
        writer.start()
        await keeper.start()
        try:
            async with serving(receiver_app(companies, keeper, limits)) as port:
                yield Receiver(port, writer, keeper, written, looked_at)
        finally:
            await keeper.stop()
            await writer.stop()
            written.dispose()
            looked_at.dispose()


@asynccontextmanager
async def serving(app: Starlette, *, lifespan: bool = False) -> AsyncIterator[int]:
    """The port on which *app* is served until the block ends."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on" if lifespan else "off",
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await server.begun.wait()
        try:
            yield listener.getsockname()[1]
        finally:
            server.end()
            await task


class _Server(PromptServer):
    """Tells when it has begun."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()
