"""The receiver as an ASGI application: intake and health.

`uvicorn receiver.app:create_app --factory` is a complete intake by itself; `callrail-router serve` wires the same
application to the rest.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.buckets import LIMITS, BucketLimits
from receiver.clock import DatabaseClock, WallClock
from receiver.companies import Companies, read_companies
from receiver.database import open_database
from receiver.events import insert_events
from receiver.heartbeat import Heartbeat
from receiver.instances import Instance
from receiver.intake import Intake
from receiver.keeping import Condition, Keeper
from receiver.settings import Settings
from receiver.writer import Writer


def create_app() -> Starlette:
    """The intake alone, set up from the environment (`receiver.settings.Settings`)."""
    logging.getLogger("uvicorn.access").disabled = True  # it writes query strings, and CallRail's hold who called
    settings = Settings()
    companies = read_companies(settings.config, os.environ)
    database = open_database(settings.database_url)
    clock = WallClock(lambda _conn, _back: None) if database.is_sqlite else DatabaseClock()
    writer = Writer(database, insert_events)
    keeper = Keeper(writer, settings.spool)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        heartbeat = Heartbeat(writer, clock, Instance.of("intake"), keeper)
        writer.start()
        await keeper.start()
        heartbeat.start()
        try:
            yield
        finally:
            await keeper.stop()
            await heartbeat.stop()
            await writer.stop()
            database.dispose()

    app = receiver_app(companies, keeper)
    app.router.lifespan_context = lifespan
    return app


def receiver_app(companies: Companies, keeper: Keeper, limits: BucketLimits = LIMITS) -> Starlette:
    """The routes over a keeper that somebody else starts and stops."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        return _readiness(await keeper.condition())

    intake = Intake(companies, keeper, limits)
    app = Starlette(
        routes=[
            # Whatever stands behind the company is a kind, known or not: a mistyped URL must not lose an event.
            Route("/callrail/{company}", intake, methods=["POST"]),
            Route("/callrail/{company}/{kind:path}", intake, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
        ],
    )
    app.router.redirect_slashes = False  # CallRail posts once, and follows no redirect
    return app


def _readiness(condition: Condition) -> Response:
    """503 only where the intake itself would answer it: a load balancer must not take away the one door."""
    if not condition.can_keep:
        reason = "the database does not answer and the spool cannot be written"
        return JSONResponse({"status": "unavailable", "reason": reason}, status_code=503)
    if condition.since is None:
        return JSONResponse({"status": "ready"})
    since = condition.since.isoformat(timespec="seconds")
    return JSONResponse({"status": "spooling", "spooled": condition.spooled, "since": since})
