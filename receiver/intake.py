"""The intake: `POST /callrail/{company}/{kind}`.

Read the raw bytes, prove them with the company's live keys, make them durable, answer. Nothing is parsed for meaning
here: CallRail posts once and an answer must not wait for our understanding.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from callrail.kinds import kind_of_segment
from receiver.buckets import LIMITS, BucketLimits, Buckets
from receiver.companies import Companies, Company
from receiver.events import MAX_BODY_BYTES, ReceivedRequest, event_row, insert_quarantined, size_of
from receiver.exceptions import DatabaseUnavailable
from receiver.ids import Prefix, new_id
from receiver.keeping import Keeper, UnprovedNotKept
from receiver.loggers import get_logger
from receiver.proof import mark_of, prove
from receiver.records import quarantine_record
from receiver.schema import QuarantineReason

_log = get_logger(__name__)

MAX_QUARANTINING = 8
_MAX_SLUG = 64
_KEPT_HEADERS = ("content-type", "content-length", "user-agent", "traceparent", "tracestate", "x-request-id")
_MAX_HEADER = 512

STORED = Response(status_code=204)
QUARANTINED_ACCEPTED = Response(status_code=202)
UNPROVED = Response("The signature is missing or does not match a key of this company.\n", status_code=401)
TOO_LARGE = Response(f"The body is larger than {MAX_BODY_BYTES} bytes.\n", status_code=413)
UNAVAILABLE = Response("Not stored: neither the database nor the spool takes it.\n", status_code=503)
BROKEN_OFF = Response(status_code=400)


class BodyTooLarge(Exception):
    """The request's body is larger than we take."""


class NotKept(Exception):
    """An unproved request is not kept: too many come in, or its bucket is full."""


class Intake:
    """The ASGI application behind the intake's path."""

    def __init__(self, companies: Companies, keeper: Keeper, limits: BucketLimits = LIMITS) -> None:
        self._companies = companies
        self._keeper = keeper
        self._buckets = Buckets(keeper.writer, limits)
        self._quarantining = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._take(scope, receive)
        await answer(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive) -> Response:
        headers = _headers(scope)
        try:
            body = await _read_body(headers, receive)
        except BodyTooLarge:
            _log.warning("intake.too_large")
            return TOO_LARGE
        except ClientDisconnect:
            return BROKEN_OFF
        path = scope["path_params"]
        request = ReceivedRequest(
            received_at=datetime.now(UTC),
            company=path["company"][:_MAX_SLUG].replace("\x00", ""),
            kind=kind_of_segment(path.get("kind", "").strip("/")).value,
            content_type=headers.get("content-type", "")[:_MAX_HEADER],
            headers={name: headers[name][:_MAX_HEADER] for name in _KEPT_HEADERS if name in headers},
            body=body,
        )
        try:
            return await self._keep(request, headers.get("signature"))
        except (NotKept, UnprovedNotKept):
            return UNPROVED  # never a 2xx for what is not kept
        except DatabaseUnavailable as error:
            _log.error("intake.not_stored", company=request.company, kind=request.kind, reason=str(error))
            return UNAVAILABLE
        except Exception as error:
            # Where it was raised, but not its text: that is the driver's, and may show the row and so who called.
            where = traceback.format_tb(error.__traceback__)
            _log.error(
                "intake.not_stored",
                company=request.company,
                kind=request.kind,
                reason=type(error).__name__,
                traceback=where,
            )
            return UNAVAILABLE

    async def _keep(self, request: ReceivedRequest, signature: str | None) -> Response:
        company = self._companies.get(request.company)
        if company is None:
            await self._quarantine(request, QuarantineReason.COMPANY_UNKNOWN, signature, None)
            return QUARANTINED_ACCEPTED
        proof = prove(company, request, signature)
        if isinstance(proof, QuarantineReason):
            await self._quarantine(request, proof, signature, company)
            return QUARANTINED_ACCEPTED if self._companies.accept_bad_signature else UNPROVED
        fingerprint = proof.fingerprint if proof is not None else None
        event_id = new_id(Prefix.EVENT)
        await self._keeper.keep(event_row(event_id, request, hashlib.sha256(request.body).digest(), fingerprint))
        return STORED

    async def _quarantine(
        self, request: ReceivedRequest, reason: QuarantineReason, signature: str | None, company: Company | None
    ) -> None:
        """Keep an unproved request, a few at a time: anybody can send those, and proved ones must not wait for them.

        Raises:
            NotKept: Too many come in, or there is no room for it.
        """
        if self._quarantining >= MAX_QUARANTINING:
            raise NotKept
        self._quarantining += 1
        try:
            bucket, tried_with = (None, None) if company is None else (company.slug, mark_of(company))
            if not await self._buckets.admit(bucket, size_of(request)):
                raise NotKept
            await self._insert_quarantined(request, reason, signature, tried_with)
        finally:
            self._quarantining -= 1

    async def _insert_quarantined(
        self, request: ReceivedRequest, reason: QuarantineReason, signature: str | None, tried_with: str | None
    ) -> None:
        quarantine_id = new_id(Prefix.EVENT)  # it keeps this id when it is proved later
        given = None if signature is None else signature[:_MAX_HEADER].replace("\x00", "")
        record = quarantine_record(quarantine_id, request, reason, given)
        await self._keeper.keep_unproved(
            lambda conn: insert_quarantined(conn, quarantine_id, request, reason, given, tried_with), record
        )
        _log.warning("intake.quarantined", id=quarantine_id, company=request.company, reason=reason.value)


def _headers(scope: Scope) -> Mapping[str, str]:
    """The request's headers. Values of a repeated name are joined as HTTP does, so two signatures match nothing."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge
        more = message.get("more_body", False)
    return b"".join(parts)
