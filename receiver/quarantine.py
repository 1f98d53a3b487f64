"""The named questions of the quarantine: what lies there, how full it is, and what becomes of it.

No question reads a body unless it is about that one row. What changes many rows does it in pieces that are small in
rows and in bytes, because a server writes beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, delete, func, select

from receiver.clock import Clock
from receiver.columns import fixed
from receiver.ids import Prefix, first_id, id_range
from receiver.loggers import get_logger
from receiver.schema import QuarantineReason, quarantine
from receiver.writer import Writer

_log = get_logger(__name__)

KEPT_FOR = timedelta(days=90)
UNKNOWN_KEPT_FOR = timedelta(days=7)

_PIECE_ROWS = 100
_PIECE_BYTES = 2_000_000

_is_unknown = quarantine.c.reason == fixed(QuarantineReason.COMPANY_UNKNOWN)
_is_of_a_company = quarantine.c.reason != fixed(QuarantineReason.COMPANY_UNKNOWN)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are meant: all conditions have to hold, those that are None always do."""

    ids: tuple[str, ...] | None = None
    company: str | None = None
    reason: QuarantineReason | None = None
    since: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """As SQL."""
        if self.ids is not None:
            yield quarantine.c.id.in_(self.ids)
        if self.company is not None:
            yield quarantine.c.company == self.company
        if self.reason is not None:
            yield quarantine.c.reason == self.reason.value
        if self.since is not None:
            yield quarantine.c.id >= first_id(Prefix.EVENT, self.since)


# --- looking ---------------------------------------------------------------------------------------------------------


def newest_quarantined(conn: Connection, selection: Selection, *, limit: int) -> Sequence[Row[Any]]:
    """The newest first, without their bodies."""
    columns = [column for column in quarantine.c if column.name not in ("body", "headers")]
    newest = quarantine.c.id.desc()
    # Their ids first, which are in an index whatever is selected: the rows hold bodies, and would be sorted with them.
    ids = select(quarantine.c.id).where(*selection.conditions()).order_by(newest).limit(limit)
    return conn.execute(select(*columns).where(quarantine.c.id.in_(ids)).order_by(newest)).all()


def find_quarantined(conn: Connection, written: str) -> Sequence[Row[Any]]:
    """The rows whose id begins as *written*; at most two, which is enough to know that it is not unique."""
    first, last = id_range(Prefix.EVENT, written)
    return conn.execute(select(quarantine).where(quarantine.c.id.between(first, last)).limit(2)).all()


def counts(conn: Connection, selection: Selection) -> Sequence[Row[Any]]:
    """By company and reason: how many, their bytes, and when the oldest and the newest was received."""
    columns = (quarantine.c.company, quarantine.c.reason)
    # Through their ids, which are in the index: the rows themselves are not looked at.
    grouped = select(
        *columns,
        func.count().label("webhooks"),
        func.coalesce(func.sum(quarantine.c.bytes), 0).label("bytes"),
        func.min(quarantine.c.id).label("oldest"),
        func.max(quarantine.c.id).label("newest"),
    ).where(*selection.conditions())
    return conn.execute(grouped.group_by(*columns).order_by(*columns)).all()


def bytes_in(conn: Connection, company: str | None) -> int:
    """How much is in the bucket of *company*, or in that of all unknown ones, which None stands for.

    A row of a program too old to write its size counts once it was tried again.
    """
    # An id is above nothing: said so that SQLite sees the use of the small index of the unknown ones.
    unknown = and_(_is_unknown, quarantine.c.id > "")
    which = unknown if company is None else and_(quarantine.c.company == company, _is_of_a_company)
    return int(conn.execute(select(func.coalesce(func.sum(quarantine.c.bytes), 0)).where(which)).scalar_one())


def newest_refused(conn: Connection, company: str) -> Row[Any] | None:
    """The newest webhook of *company* with a missing or wrong signature, without its body; None if there is none."""
    newest = [_newest(conn, company, reason) for reason in _BAD_SIGNATURE]
    last = max((found for found in newest if found), default=None)
    columns: tuple[Any, ...] = (quarantine.c.id, quarantine.c.received_at, quarantine.c.reason)
    return conn.execute(select(*columns).where(quarantine.c.id == last)).one_or_none()


_BAD_SIGNATURE = (QuarantineReason.SIGNATURE_WRONG, QuarantineReason.SIGNATURE_MISSING)


def _newest(conn: Connection, company: str, reason: QuarantineReason) -> str | None:
    which = (quarantine.c.company == company, quarantine.c.reason == fixed(reason))
    newest: str | None = conn.execute(select(func.max(quarantine.c.id)).where(*which)).scalar()
    return newest


# --- pieces ----------------------------------------------------------------------------------------------------------


def untried(conn: Connection, company: str, mark: str) -> list[str]:
    """A piece of what was not tried yet with those settings of *company* that *mark* stands for; empty if nothing."""
    tried_with = quarantine.c.tried_with
    # Three ranges of an index, where "is not" would be a walk over all that lies there.
    for is_other in (tried_with.is_(None), tried_with < mark, tried_with > mark):
        if ids := _piece(conn, _rows().where(quarantine.c.company == company, is_other)):
            return ids
    return []


def last_of(conn: Connection, selection: Selection) -> str | None:
    """The highest id of *selection*."""
    last: str | None = conn.execute(select(func.max(quarantine.c.id)).where(*selection.conditions())).scalar()
    return last


def piece_of(conn: Connection, selection: Selection, *, after: str, last: str) -> list[str]:
    """The next piece of *selection*, by id, behind *after* and up to *last*."""
    behind = and_(quarantine.c.id > after, quarantine.c.id <= last)
    return _piece(conn, _rows().where(*selection.conditions(), behind).order_by(quarantine.c.id))


def in_pieces(
    engine: Engine,
    selection: Selection,
    work: Callable[[Connection, list[str]], None],
    *,
    on_piece: Callable[[], None] = lambda: None,
) -> None:
    """Do *work* on all of *selection*, a transaction a piece. What arrives after the beginning is not meant.

    Args:
        on_piece: Told after each transaction.
    """
    with engine.begin() as conn:
        last = last_of(conn, selection)
    after = ""
    while last is not None and after < last:
        with engine.begin() as conn:
            ids = piece_of(conn, selection, after=after, last=last)
            if ids:
                work(conn, ids)
        after = ids[-1] if ids else last
        on_piece()


def drop(conn: Connection, ids: Sequence[str]) -> int:
    """Remove for good; how many those were."""
    return conn.execute(delete(quarantine).where(quarantine.c.id.in_(ids))).rowcount


async def drop_old_quarantined(writer: Writer, clock: Clock) -> None:
    """Remove all that is older than its bucket keeps it."""
    dropped = 0
    while piece := await writer.run(lambda conn: drop_old(conn, now=clock.now(conn))):
        dropped += piece
    if dropped:
        _log.info("quarantine.aged", dropped=dropped)


def drop_old(conn: Connection, *, now: datetime) -> int:
    """Remove a piece of what is older than its bucket keeps it; how many those were."""
    unknown = _rows().where(_is_unknown, quarantine.c.id < first_id(Prefix.EVENT, now - UNKNOWN_KEPT_FOR))
    known = _rows().where(_is_of_a_company, quarantine.c.id < first_id(Prefix.EVENT, now - KEPT_FOR))
    ids = _piece(conn, unknown.order_by(quarantine.c.id)) or _piece(conn, known.order_by(quarantine.c.id))
    return drop(conn, ids) if ids else 0


def _rows() -> Select[Any]:
    return select(quarantine.c.id, quarantine.c.bytes)


def _piece(conn: Connection, rows: Select[Any]) -> list[str]:
    """The first of *rows*, as many as are worked on at once; at least one if there is one."""
    ids: list[str] = []
    size = 0
    for row in conn.execute(rows.limit(_PIECE_ROWS)):
        size += _PIECE_BYTES if row.bytes is None else row.bytes
        if ids and size > _PIECE_BYTES:
            break
        ids.append(row.id)
    return ids
