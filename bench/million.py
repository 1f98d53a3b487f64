"""What an operator asks while much is stored: how long the first answer takes, as the command they type."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

from sqlalchemy import select

from bench.preload import preload
from bench.report import Figure, Target
from bench.servers import ROUTER, Kind, Workspace
from receiver.database import open_database
from receiver.schema import events
from routers.blocks import RetentionConfig
from routers.retention import kinds_of, remove_attempts, remove_piece

_FIRST_ANSWER = Target("<", 1)
_KEPT = timedelta(days=180)


def measure(workspace: Workspace, kind: Kind, *, rounds: int, stored: int) -> Iterator[Figure]:
    with workspace.database(kind) as url:
        preload(url, stored)
        event_id = _one_of(url)
        questions: dict[str, Sequence[str]] = {
            "events list": ("events", "list"),
            "events list, one company": ("events", "list", "--company", "client-00"),
            "events list, a company without any": ("events", "list", "--company", "client-19"),
            "events list, failed": ("events", "list", "--state", "failed"),
            "events show": ("events", "show", event_id),
            "deliveries list, dead": ("deliveries", "list", "--state", "dead"),
            "deliveries causes": ("deliveries", "causes"),
            "status": ("status",),
            "explain": ("explain", event_id, "--config", str(workspace.config)),
        }
        for name, words in questions.items():
            took = median(_seconds(words, url) for _ in range(rounds))
            yield Figure("million", kind, f"{name}, beside {stored:,} events", took, "s", _FIRST_ANSWER)
        yield from _retention(url, kind, stored)


def _one_of(url: str) -> str:
    database = open_database(url)
    with database.reading.connect() as conn:
        found: str = conn.execute(select(events.c.id).order_by(events.c.id.desc()).limit(1)).scalar_one()
    database.dispose()
    return found


def _seconds(words: Sequence[str], url: str) -> float:
    """Of the whole command, its start included."""
    begun = time.perf_counter()
    subprocess.run([*ROUTER, *words, "--database-url", url], check=True, capture_output=True)
    return time.perf_counter() - begun


def _retention(url: str, kind: Kind, stored: int) -> Iterator[Figure]:
    """The first transaction of each kind, and the longest of a hundred: each holds the writer for so long."""
    config = RetentionConfig(raw_bodies=_KEPT, transcripts=_KEPT, numbers=_KEPT, attempts=_KEPT)
    database = open_database(url)
    now = datetime.now(UTC)
    first, longest = 0.0, 0.0
    with database.writing.connect() as conn:
        for retained in kinds_of(config):
            for piece in range(100):
                begun = time.perf_counter()
                with conn.begin():
                    remove_piece(conn, retained, now=now)
                took = time.perf_counter() - begun
                first, longest = max(first, took if piece == 0 else 0), max(longest, took)
        begun = time.perf_counter()
        with conn.begin():
            remove_attempts(conn, _KEPT, now=now)
        first = max(first, time.perf_counter() - begun)
    database.dispose()
    yield Figure("million", kind, f"retention: first piece, beside {stored:,} events", first, "s", _FIRST_ANSWER)
    yield Figure("million", kind, "retention: longest of 100 pieces", longest * 1000, "ms")
