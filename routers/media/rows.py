"""The named questions about files of CallRail's: what is to be fetched, who is at it, what became of it.

A pending row has a time at which it is tried. Whoever takes it moves that time into the future; if it is never heard of
again, the next one tries anew. `fence` rises with each claim and shuts out whoever comes back later than that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Update, bindparam, delete, func, or_, select, update

from receiver.bulk import BulkInsert
from receiver.columns import fixed
from receiver.ids import Prefix, first_id, new_id
from routers.media.wanted import ASKED_FOR, Wanted
from routers.schema import MediaState, media

_is_pending = media.c.state == fixed(MediaState.PENDING)
_failed_states = (fixed(MediaState.REFUSED), fixed(MediaState.GONE))


@dataclass(frozen=True, slots=True)
class Lease:
    """A file that this process is at. *attempts* are those before this one."""

    id: str
    fence: int
    object_id: str
    source: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is kept."""

    path: str
    size: int
    content_type: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What a file does next: it is *kept*, for good or *keep_until*, tried again *due_at*, or neither."""

    state: MediaState
    attempts: int
    reason: str | None = None
    due_at: datetime | None = None
    kept: Kept | None = None
    keep_until: datetime | None = None


# --- what is wanted --------------------------------------------------------------------------------------------------

_insert = BulkInsert(
    media,
    media.c.id,
    media.c.object_id,
    media.c.company,
    media.c.kind,
    media.c.source,
    media.c.state,
    media.c.reason,
    media.c.next_attempt_at,
    media.c.created_at,
    media.c.finished_at,
)


@dataclass(frozen=True, slots=True)
class NewMedia:
    """A file that an event told of, of the object *object_id* of ours."""

    object_id: str
    company: str
    wanted: Wanted


def insert_media(conn: Connection, new: Iterable[NewMedia], *, now: datetime) -> None:
    """Write down what is to be fetched; what is written down already stays as it is."""
    rows = []
    for item in new:
        wanted, is_refused = item.wanted, item.wanted.problem is not None
        state = MediaState.REFUSED if is_refused else MediaState.PENDING
        times = (None, now, now) if is_refused else (now, now, None)
        about = (new_id(Prefix.MEDIA), item.object_id, item.company)
        rows.append((*about, wanted.kind, wanted.source, state, wanted.problem, *times))
    _insert(conn, rows)


BEING_FETCHED = "it is being fetched"

# --- fetching it -----------------------------------------------------------------------------------------------------

_due = (
    select(media.c.id)
    .where(
        _is_pending,
        media.c.next_attempt_at <= bindparam("now"),
        media.c.company.in_(bindparam("companies", expanding=True)),
    )
    .order_by(media.c.next_attempt_at, media.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)


def claim_due(
    conn: Connection, *, companies: Collection[str], now: datetime, lease_for: timedelta, limit: int
) -> list[Lease]:
    """Take up to *limit* files of *companies* that are due, the longest due first."""
    ids = conn.execute(_due, {"now": now, "companies": sorted(companies), "limit": limit}).scalars().all()
    if not ids:
        return []
    taken = (
        update(media)
        .where(media.c.id.in_(ids), _is_pending)
        .values(next_attempt_at=now + lease_for, fence=media.c.fence + 1, reason=BEING_FETCHED)
        .returning(*(media.c[name] for name in Lease.__slots__))
    )
    return sorted((Lease(*row) for row in conn.execute(taken)), key=lambda lease: lease.id)


def record_step(conn: Connection, lease: Lease, step: Step, *, now: datetime) -> bool:
    """Write down what came of a try. Whether it was ours to say: not if it was taken by another since, or erased."""
    kept = step.kept
    values: dict[str, Any] = {
        "state": step.state,
        "attempts": step.attempts,
        "reason": step.reason,
        "next_attempt_at": step.due_at,
        "finished_at": None if step.state is MediaState.PENDING else now,
    }
    if kept is not None:
        values |= {name: getattr(kept, name) for name in Kept.__slots__} | {"keep_until": step.keep_until}
    return conn.execute(_held_by(lease).values(values)).rowcount == 1


def is_there(conn: Connection, lease: Lease) -> bool:
    """Whether the file of *lease* has its row still, whoever is at it."""
    return conn.execute(select(media.c.id).where(media.c.id == lease.id)).first() is not None


def give_back(conn: Connection, lease: Lease, *, now: datetime) -> None:
    """We are not at it any more, and nothing came of it."""
    conn.execute(_held_by(lease).values(next_attempt_at=now, reason=None))


def take_back_all(conn: Connection, *, now: datetime) -> None:
    """Nobody is at anything any more: whoever was has ended. What waits for its next try goes on waiting."""
    held = _is_pending, media.c.reason == BEING_FETCHED
    conn.execute(update(media).where(*held).values(next_attempt_at=now, reason=None))


def _held_by(lease: Lease) -> Update:
    return update(media).where(media.c.id == lease.id, media.c.fence == lease.fence, _is_pending)


def shift_due(conn: Connection, by: timedelta) -> None:
    """The clock was set back by *by*: so are the times of what is pending."""
    for id_, due_at in conn.execute(select(media.c.id, media.c.next_attempt_at).where(_is_pending)).all():
        conn.execute(update(media).where(media.c.id == id_).values(next_attempt_at=due_at - by))


# --- looking ---------------------------------------------------------------------------------------------------------


def media_of(conn: Connection, object_id: str) -> Sequence[Row[Any]]:
    """All files of an object, in the order in which they were told."""
    return conn.execute(select(media).where(media.c.object_id == object_id).order_by(media.c.id)).all()


def paths_of(conn: Connection, object_ids: Collection[str]) -> set[str]:
    """Where the files of objects are."""
    found = select(media.c.path).where(media.c.object_id.in_(object_ids), media.c.path.is_not(None))
    return set(conn.execute(found).scalars())


def newest(conn: Connection, *, states: Collection[str], company: str | None, limit: int) -> Sequence[Row[Any]]:
    """The newest files in *states*, of all companies where *company* is None."""
    query = select(media).where(media.c.state.in_(states))
    if company is not None:
        query = query.where(media.c.company == company)
    return conn.execute(query.order_by(media.c.id.desc()).limit(limit)).all()


def find(conn: Connection, first: str, last: str) -> Sequence[Row[Any]]:
    """The files with ids between two, two of them at most."""
    return conn.execute(select(media).where(media.c.id.between(first, last)).order_by(media.c.id).limit(2)).all()


@dataclass(frozen=True, slots=True)
class MediaOverview:
    """How fetching does.

    Attributes:
        refused, gone: Of those told of late.
        oldest: When the oldest pending row was written; *reason* is why it still waits.
    """

    pending: int = 0
    refused: int = 0
    gone: int = 0
    oldest: datetime | None = None
    reason: str | None = None


def media_overview(conn: Connection, since: datetime) -> MediaOverview:
    """What waits, and what failed of those told *since*: from the indexes that hold nothing else."""
    failed = (
        select(media.c.state, func.count().label("files"))
        .where(media.c.state.in_(_failed_states), media.c.id >= first_id(Prefix.MEDIA, since))
        .group_by(media.c.state)
    )
    counts = {row.state: row.files for row in conn.execute(failed)}
    pending, first = conn.execute(select(func.count(), func.min(media.c.id)).where(_is_pending)).one()
    oldest = conn.execute(select(media.c.created_at, media.c.reason).where(media.c.id == first)).first()
    return MediaOverview(
        pending,
        counts.get(MediaState.REFUSED, 0),
        counts.get(MediaState.GONE, 0),
        oldest.created_at if oldest is not None else None,
        oldest.reason if oldest is not None else None,
    )


# --- changing by hand, and removing ----------------------------------------------------------------------------------


def try_again(conn: Connection, ids: Collection[str], *, now: datetime) -> int:
    """Files that were refused, given up or lost, or wait, are due at once with all tries before them. How many."""
    anew: dict[str, Any] = {"state": MediaState.PENDING, "reason": None, "attempts": 0, "finished_at": None}
    anew |= dict.fromkeys((*Kept.__slots__, "keep_until"))
    # What was refused for its link has no path at the API that could be asked.
    is_asked = or_(*(media.c.source.startswith(begin) for begin in ASKED_FOR))
    again = update(media).where(media.c.id.in_(ids), is_asked)
    values = {**anew, "next_attempt_at": now, "fence": media.c.fence + 1}
    return conn.execute(again.values(values)).rowcount


def delete_media(conn: Connection, ids: Collection[str]) -> None:
    """Remove rows, whose files are gone already: a file without a row would be nobody's."""
    conn.execute(delete(media).where(media.c.id.in_(ids)))
