"""The yardstick of the intake: the very same server, except that it answers 204 without storing anything.

Takes the arguments of `callrail-router`. Route, companies and HTTP server are the product's own; the handler reads
the body and proves it with the product's functions, parses it with the standard library, and is done.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from starlette.types import Receive, Scope, Send

import receiver.app
from callrail.signature import matching_key
from receiver.buckets import BucketLimits
from receiver.companies import Companies
from receiver.intake import STORED, UNPROVED, _headers, _read_body
from receiver.keeping import Keeper


class VerifyOnly:
    """In the place of `receiver.intake.Intake`."""

    def __init__(self, companies: Companies, _keeper: Keeper, _limits: BucketLimits) -> None:
        self._companies = companies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        body = await _read_body(headers, receive)
        company = self._companies.get(scope["path_params"]["company"])
        keys = company.live_keys(datetime.now(UTC).date()) if company else ()
        if matching_key([key.secret for key in keys], body, headers.get("signature", "")) is None:
            await UNPROVED(scope, receive, send)
            return
        json.loads(body)
        await STORED(scope, receive, send)


if __name__ == "__main__":
    receiver.app.Intake = VerifyOnly  # type: ignore[assignment,attr-defined]
    from routers.cli import main

    main(sys.argv[1:])
