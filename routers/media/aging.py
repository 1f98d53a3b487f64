"""Removing files: at their age, with the person they are about, and those that no row knows.

A file goes before its row. Ended between the two, the row is found again and removed then; a file that had lost its row
would be nobody's. Such there are all the same, after a crash between a file and its COMMIT, or where a row was removed
on a machine that has not the folder: they are swept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from callrail.downloading import in_thread
from receiver.exceptions import ReceiverError
from receiver.ids import Prefix, first_id
from receiver.loggers import get_logger
from receiver.writer import Writer
from routers.media.folder import is_old, left_over, remove
from routers.media.rows import delete_media, paths_of
from routers.schema import media, objects

_log = get_logger(__name__)

SWEEP_EVERY = timedelta(hours=1)
_PIECE = 20
_PIECES_OF_STUCK = 50


class NotRemoved(ReceiverError):
    """A file is there still, and so is its row; the text says why."""


def remove_media_of(conn: Connection, object_id: str) -> None:
    """Remove the files of an object, and their rows. What is fetched at this moment is removed by whoever does.

    Raises:
        NotRemoved: A file cannot be removed.
    """
    of_it = select(media.c.id, media.c.path).where(media.c.object_id == object_id)
    found = conn.execute(of_it.with_for_update()).all()  # or one that is stored meanwhile would lose its row
    for row in found:
        if row.path is not None:
            try:
                remove(row.path)
            except OSError as error:
                raise NotRemoved(f"{row.path} cannot be removed: {(error.strerror or '').lower()}") from None
    delete_media(conn, [row.id for row in found])


# --- by age ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Age:
    """The files of *companies* are removed at *age*; those of all but these where *is_of_others*."""

    companies: Collection[str]
    age: timedelta
    is_of_others: bool = False

    @property
    def _is_meant(self) -> ColumnElement[bool]:
        named = media.c.company.in_(sorted(self.companies))
        return ~named if self.is_of_others else named

    def remove_old(self, conn: Connection, *, now: datetime, limit: int = _PIECE) -> bool:
        """Remove the oldest that are old enough. Whether there may be more of them."""
        is_old = media.c.id < first_id(Prefix.MEDIA, now - self.age)
        return _remove_some(conn, and_(self._is_meant, is_old), limit)


def remove_kept(conn: Connection, *, now: datetime, limit: int = _PIECE) -> bool:
    """Remove what was kept as long as was said when it was stored. Whether there may be more of it."""
    return _remove_some(conn, media.c.keep_until <= now, limit)


def _remove_some(conn: Connection, are_meant: ColumnElement[bool], limit: int) -> bool:
    after = ""
    for _ in range(_PIECES_OF_STUCK):
        query = select(media.c.id, media.c.path).where(are_meant, media.c.id > after).order_by(media.c.id)
        found = conn.execute(query.limit(limit).with_for_update()).all()
        gone = [row.id for row in found if _is_gone(row)]
        delete_media(conn, gone)
        if gone or len(found) < limit:
            return len(found) == limit
        after = found[-1].id  # none of them can be removed, and others need not wait for that
    return False


def ages(of_companies: Mapping[str, timedelta | None], of_others: timedelta | None) -> list[Age]:
    """When files are removed; *of_others* are those of which none are fetched any more."""
    told: dict[timedelta, list[str]] = {}
    for company, age in of_companies.items():
        if age is not None:
            told.setdefault(age, []).append(company)
    found = [Age(companies, age) for age, companies in told.items()]
    return [*found, Age(list(of_companies), of_others, is_of_others=True)] if of_others is not None else found


def _is_gone(row: Any) -> bool:
    """Whether the file is removed; the next round tries it again if not."""
    try:
        if row.path is not None:
            remove(row.path)
    except OSError as error:
        _log.error("media.not_removed", media_id=row.id, reason=error.strerror)
        return False
    return True


# --- what no row knows -----------------------------------------------------------------------------------------------


async def sweep(writer: Writer, folders: Iterable[Path]) -> None:
    """Remove from *folders* the files of ours that no row knows.

    A database that is new, or another one, must not cost the files of the one before: what is older than all it knows
    is left alone.
    """
    for folder in folders:
        found = await in_thread(left_over, folder)
        for begin in range(0, len(found), _PIECE):
            nobodys = await writer.run(partial(_nobodys, found=found[begin : begin + _PIECE]))
            swept = [path for path in nobodys if await in_thread(_is_removed, path)]
            if swept:
                _log.info("media.swept", files=len(swept))


def _is_removed(path: Path) -> bool:
    """Remove it, unless whoever fetched it before has come back and written it anew."""
    if not is_old(path):
        return False
    try:
        remove(str(path))
    except OSError as error:  # the others need not wait for it
        _log.error("media.not_swept", reason=error.strerror)
        return False
    return True


def _nobodys(conn: Connection, *, found: Sequence[tuple[Path, str | None]]) -> list[Path]:
    """Those of *found*, files with the objects they are of, that no row knows; by name, for the folder may move."""
    oldest = conn.execute(select(func.min(objects.c.id))).scalar()
    about = {object_id for _, object_id in found if object_id is not None}
    known = {Path(path).name for path in paths_of(conn, about)}
    return [
        path
        for path, object_id in found
        if object_id is None or (oldest is not None and object_id >= oldest and path.name not in known)
    ]
