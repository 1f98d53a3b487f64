"""The folder in which files are kept: whole or not at all, for its owner alone, under names of our own.

A name is made of our id of the thing and a hash of where the file came from and what it holds. So no two files share
one, and whoever fetches the same again, after a crash, writes the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from datetime import timedelta
from pathlib import Path

from routers.media.content import HEAD, TELLS_NOTHING, Sort, sort_of, told_type
from routers.media.rows import Kept, Lease
from routers.media.settings import MediaConfig

# Whoever writes a file commits its row within minutes, or never.
SURELY_OVER = timedelta(hours=1)
_HASH = 24  # hexadecimal digits
_OURS = re.compile(rf"(ob_[0-9a-v]{{26}})-[0-9a-f]{{{_HASH}}}\.\w{{3,4}}")
_PART = ".part"
_OUR_PART = re.compile(rf"\.\.?md_[0-9a-v]{{26}}-\d+{re.escape(_PART)}(\..*)?")


class NotAllowed(Exception):
    """What was fetched is not to be kept; the text says why."""


def make(folder: Path) -> None:
    """The folder, durably and for its owner alone; one that is there stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in missing:
        _sync(each.parent)


def part_of(folder: Path, lease: Lease) -> Path:
    """Where *lease* writes until it has all. Another try of the same file writes elsewhere."""
    return folder / f".{lease.id}-{lease.fence}{_PART}"


def keep(part: Path, lease: Lease, told: str, config: MediaConfig) -> Kept:
    """Give what was written to *part* its name, durably, if it may be kept; *part* is gone in any case.

    Args:
        told: The Content-Type with which it came.

    Raises:
        NotAllowed: It is of another type than may be kept, or of none that we know.
        OSError: It cannot be written.
    """
    try:
        with part.open("rb") as file:
            sort = _allowed(file.read(HEAD), told, config)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
            size = file.tell()
        path = part.with_name(_name(lease, digest, sort))
        part.rename(path)
        _sync(path.parent)
        return Kept(str(path), size, sort.type, digest)
    finally:
        part.unlink(missing_ok=True)


def _allowed(head: bytes, told: str, config: MediaConfig) -> Sort:
    type_, sort = told_type(told), sort_of(head)
    if type_ not in TELLS_NOTHING and not config.allows(type_):
        raise NotAllowed(f"it is told to be {type_[:100]}, which is not among the types to be kept")
    if sort is None:
        raise NotAllowed(f"it holds nothing that we know, though it is told to be {type_[:100] or 'something'}")
    if not config.allows(sort.type):
        raise NotAllowed(f"it holds {sort.type}, which is not among the types to be kept")
    return sort


def _name(lease: Lease, digest: bytes, sort: Sort) -> str:
    hashed = hashlib.sha256(lease.source.encode() + b"\0" + digest).hexdigest()[:_HASH]
    return f"{lease.object_id}-{hashed}{sort.suffix}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Remove a file. One that is not there is as good as removed; on another machine it is swept there.

    Raises:
        OSError: It is there and cannot be removed.
    """
    Path(path).unlink(missing_ok=True)


def left_over(folder: Path) -> list[tuple[Path, str | None]]:
    """Files of ours that nobody writes any more: each with the object it is of, None for one that was never whole."""
    found: list[tuple[Path, str | None]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            ours = _OURS.fullmatch(entry.name)
            if (ours or _OUR_PART.fullmatch(entry.name)) and is_old(entry):
                found.append((Path(entry.path), ours[1] if ours else None))
    return found


def is_old(entry: os.DirEntry[str] | Path) -> bool:
    """Whether nobody writes a file any more; False if it is gone."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime < time.time() - SURELY_OVER.total_seconds()
    except FileNotFoundError:  # removed by another meanwhile
        return False
