"""`keys`: which signing keys are in use, and which may go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from receiver.companies import CompanyConfig, SigningKeyConfig, fingerprint_of
from receiver.exceptions import SecretMissing
from receiver.key_uses import MOST_COUNTED, counted_since, last_uses
from receiver.quarantine import newest_refused
from receiver.schema import QuarantineReason
from routers.cli.groups import Commands
from routers.cli.looking import opened
from routers.cli.options import config_option, database_option, output_option
from routers.cli.output import local, print_rows
from routers.operating import clock_of
from routers.refusals import what_to_check

# So long must a key not have signed anything before it is called safe to remove: a company may be silent for days.
QUIET = timedelta(days=7)

_IN_A_TABLE = ("company", "key", "fingerprint", "until", "events", "last_used_at", "verdict")


@click.group(cls=Commands)
def keys() -> None:
    """The signing keys of companies."""


@keys.command()
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True, help="Count events of so many days.")
@click.option("--company", help="Of this company only.")
@database_option
@config_option
@output_option
def status(days: int, company: str | None, database_url: str, config: Path, output: str) -> None:
    """When each key was last used, and whether it is safe to remove. Keys are shown by fingerprint, never themselves.

    Reads the keys from the shell it runs in, so give it those of the server.
    """
    from routers.config import read_config

    companies = read_config(config).company_configs
    if company is not None and company not in companies:
        raise click.BadParameter(f"{config} has no company {company}", param_hint="--company")
    meant = {slug: item for slug, item in companies.items() if company in (None, slug)}
    with opened(database_url) as database, database.reading.connect() as conn:
        now = clock_of(database).now(conn)
        usage = _usage(conn, now - timedelta(days=days))
        refused = _refused_since(conn, meant, now - timedelta(days=days))
    rows = [row for slug, item in meant.items() for row in _rows(slug, item, usage, refused.get(slug), now)]
    print_rows(rows, output=output, empty="", columns=_IN_A_TABLE)
    if output == "table":
        _explain(rows, refused, usage.counted_from, days)


@dataclass(frozen=True, slots=True)
class _Usage:
    """By company and fingerprint the last use and the number of events; *counted_from* if not all could be counted."""

    last: Mapping[tuple[str, str], datetime]
    events: Mapping[tuple[str, str], int]
    counted_from: datetime | None


def _usage(conn: Connection, since: datetime) -> _Usage:
    counted = counted_since(conn, since)
    last = last_uses(conn)
    for row in counted:
        key = (row.company, row.key_fingerprint)
        last[key] = max(row.newest, last.get(key, row.newest))
    is_cut = sum(row.events for row in counted) >= MOST_COUNTED
    oldest = min(row.oldest for row in counted) if is_cut else None
    return _Usage(last, {(row.company, row.key_fingerprint): row.events for row in counted}, oldest)


def _refused_since(conn: Connection, companies: Mapping[str, CompanyConfig], since: datetime) -> dict[str, Any]:
    """By company, its newest bad signature, if that came since."""
    newest = {slug: newest_refused(conn, slug) for slug in companies}
    return {slug: row for slug, row in newest.items() if row is not None and row.received_at >= since}


def _rows(slug: str, company: CompanyConfig, usage: _Usage, refused: Any | None, now: datetime) -> list[dict[str, Any]]:
    fingerprints = [_fingerprint(key) for key in company.signing_keys]
    rows = []
    for key, fingerprint in zip(company.signing_keys, fingerprints, strict=True):
        last = usage.last.get((slug, fingerprint)) if fingerprint is not None else None
        others = [usage.last[slug, other] for other in fingerprints if other and (slug, other) in usage.last]
        verdict, meaning = verdict_on(key.until, last, [at for at in others if at != last], now)
        if fingerprint is None:
            verdict, meaning = "not readable", f"{key.secret} leads to no key in this shell"
        rows.append(
            {
                "company": slug,
                "key": str(key.secret),
                "fingerprint": fingerprint,
                "until": key.until,
                "events": usage.events.get((slug, fingerprint), 0) if fingerprint is not None else None,
                "last_used_at": last,
                "verdict": verdict,
                "meaning": meaning,
                "bad_signature_at": refused.received_at if refused is not None else None,
            }
        )
    return rows


def _fingerprint(key: SigningKeyConfig) -> str | None:
    try:
        return fingerprint_of(key.secret.resolve(os.environ).encode())
    except SecretMissing:
        return None


def verdict_on(until: date | None, last: datetime | None, others: Sequence[datetime], now: datetime) -> tuple[str, str]:
    """A verdict on a key, and what it means.

    Args:
        until: Its last day.
        last: When it last signed something.
        others: When each other key of the company did.
    """
    newer = last is not None and any(other > last for other in others)
    if until is not None and now.date() > until:
        return "expired", "it is not accepted any more; take it out of the file"
    if last is None and others:
        return "unused so far", "CallRail signs with another key of the company; keep it if it is the next one"
    if last is None:
        return "never used", "no webhook of this company was proved yet"
    if newer and now - last >= QUIET:
        return "safe to remove", f"another key signs, and this one has signed nothing since {local(last)}"
    if newer:
        return "going out of use", f"another key signs now; safe to remove on {(last + QUIET).date()} if it stays so"
    return "in use", "it signed the newest webhook of this company"


def _explain(
    rows: Sequence[Mapping[str, Any]], refused: Mapping[str, Any], counted_from: datetime | None, days: int
) -> None:
    for row in rows:
        click.echo(
            f"{row['company']} {row['fingerprint'] or row['key']}: {row['verdict']}: {row['meaning']}.", err=True
        )
    for slug, newest in refused.items():
        what = what_to_check(QuarantineReason(newest.reason), slug)
        click.echo(f"{slug}: a webhook of {local(newest.received_at)} is in quarantine: {what}", err=True)
    since = f"the newest {MOST_COUNTED:,}, which reach back to {local(counted_from)}" if counted_from else None
    click.echo(f"Events are those of the last {days} days{f', of them {since}' if since else ''}.", err=True)
