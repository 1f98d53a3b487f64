"""The receiver as an ASGI application: intake and health.

`uvicorn receiver.app:create_app --factory` is a complete intake by itself; `callrail-router serve` wires the same
application to the rest.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.buckets import LIMITS, BucketLimits
from receiver.companies import Companies, read_companies
from receiver.database import answers, open_database
from receiver.events import insert_events
from receiver.exceptions import DatabaseUnavailable
from receiver.intake import Intake
from receiver.settings import Settings
from receiver.writer import Writer

_READY_WITHIN = 2.0


def create_app() -> Starlette:
    """The intake alone, set up from the environment (`receiver.settings.Settings`)."""
    logging.getLogger("uvicorn.access").disabled = True  # it writes query strings, and CallRail's hold who called
    settings = Settings()
    companies = read_companies(settings.config, os.environ)
    database = open_database(settings.database_url)
    writer = Writer(database, insert_events)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        writer.start()
        try:
            yield
        finally:
            await writer.stop()
            database.dispose()

    app = receiver_app(companies, writer)
    app.router.lifespan_context = lifespan
    return app


def receiver_app(companies: Companies, writer: Writer, limits: BucketLimits = LIMITS) -> Starlette:
    """The routes over a writer that somebody else starts and stops."""

    asking = asyncio.Lock()

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        try:
            async with asyncio.timeout(_READY_WITHIN), asking:  # one question at a time waits behind the events
                await writer.run(answers)
        except (DatabaseUnavailable, TimeoutError):
            return JSONResponse({"status": "unavailable", "reason": "the database does not answer"}, status_code=503)
        return JSONResponse({"status": "ready"})

    intake = Intake(companies, writer, limits)
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
