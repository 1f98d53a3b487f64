"""Verifying again what lies in quarantine: a key was added, a company is known now, unsigned forms are accepted.

What is proved moves into `events` under its id and with the time at which it was received, in one transaction: whatever
dies in between, it is in one of the two tables and in one only. The router finds it there like anything that came in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, select

from receiver.bulk import BulkUpdate
from receiver.companies import Companies, Company, SigningKey
from receiver.events import ReceivedRequest, event_row, insert_events, size_of
from receiver.loggers import get_logger
from receiver.proof import mark_of, prove
from receiver.quarantine import drop, untried
from receiver.schema import QuarantineReason, quarantine
from receiver.writer import Writer

_log = get_logger(__name__)

_update = BulkUpdate(
    quarantine, quarantine.c.reason, quarantine.c.tried_with, quarantine.c.bytes, key=[quarantine.c.id]
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one row: *refused* says why it is still not believed, None that it is proved."""

    company: str
    refused: QuarantineReason | None


def verdicts_on(conn: Connection, companies: Companies, ids: Sequence[str]) -> list[Verdict]:
    """What `verify_again` would make of these rows; nothing is changed."""
    rows = conn.execute(select(quarantine).where(quarantine.c.id.in_(ids)))
    return [_verdict(row, _proof_of(row, companies)) for row in rows]


def verify_again(conn: Connection, companies: Companies, ids: Sequence[str]) -> list[Verdict]:
    """Verify these rows with the settings of *companies*, and store what is proved as events.

    A row that another process has in hand is left to it, and has no verdict.
    """
    meant = select(quarantine).where(quarantine.c.id.in_(ids)).order_by(quarantine.c.id)
    proved: list[tuple[Row[Any], SigningKey | None]] = []
    refused: list[tuple[Row[Any], QuarantineReason]] = []
    verdicts: list[Verdict] = []
    for row in conn.execute(meant.with_for_update(skip_locked=True)).all():
        proof = _proof_of(row, companies)
        verdicts.append(_verdict(row, proof))
        if isinstance(proof, QuarantineReason):
            refused.append((row, proof))
        else:
            proved.append((row, proof))
    if proved:
        insert_events(conn, [_event_of(row, key) for row, key in proved])
        drop(conn, [row.id for row, _key in proved])
    _note_tried(conn, companies, refused)
    return verdicts


def _note_tried(conn: Connection, companies: Companies, refused: Sequence[tuple[Row[Any], QuarantineReason]]) -> None:
    """Keep why they are not believed, and with which settings. A company that left the file leaves them as they are."""
    known = [(row, reason, company) for row, reason in refused if (company := companies.get(row.company)) is not None]
    _update(conn, [(reason, mark_of(company), size_of(_request_of(row)), row.id) for row, reason, company in known])


async def verify_untried(writer: Writer, companies: Companies) -> None:
    """Verify once whatever was not tried yet with the present settings of its company."""
    for company in companies:
        found: Counter[QuarantineReason | None] = Counter()
        while verdicts := await writer.run(partial(_next_piece, companies=companies, company=company)):
            found.update(verdict.refused for verdict in verdicts)
        if found:
            proved = found.pop(None, 0)
            _log.info("quarantine.verified_again", company=company.slug, proved=proved, refused=found.total())


def _next_piece(conn: Connection, *, companies: Companies, company: Company) -> list[Verdict]:
    ids = untried(conn, company.slug, mark_of(company))
    return verify_again(conn, companies, ids) if ids else []


def _proof_of(row: Row[Any], companies: Companies) -> SigningKey | QuarantineReason | None:
    company = companies.get(row.company)
    if company is None:
        return QuarantineReason.COMPANY_UNKNOWN
    return prove(company, _request_of(row), row.signature)


def _request_of(row: Row[Any]) -> ReceivedRequest:
    return ReceivedRequest(row.received_at, row.company, row.kind, row.content_type, row.headers, row.body)


def _event_of(row: Row[Any], key: SigningKey | None) -> tuple[Any, ...]:
    fingerprint = key.fingerprint if key is not None else None
    return event_row(row.id, _request_of(row), hashlib.sha256(row.body).digest(), fingerprint)


def _verdict(row: Row[Any], proof: SigningKey | QuarantineReason | None) -> Verdict:
    return Verdict(row.company, proof if isinstance(proof, QuarantineReason) else None)
