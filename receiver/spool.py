"""The spool: where webhooks wait on disk while the database is away.

Each process writes into a directory of its own, held by a file lock that the system drops with the process; what a dead
one left is taken over by whoever lives. A directory holds segments, files that are allocated ahead so that a disk that
fills up leaves room for the present ones, and the position up to which all is in the database.

Everything here blocks, and one directory is used by one thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from receiver.frames import framed, frames
from receiver.ids import Prefix, new_id
from receiver.loggers import get_logger

_log = get_logger(__name__)

SEGMENT_SIZE = 64 * 1024 * 1024
# How much is read at once: as many rows as the writer commits at once, and not much memory.
BATCH = 64
_BATCH_BYTES = 4 * 1024 * 1024
# Less room than this, and the next webhook may not fit.
_ROOM = 64 * 1024
_RETRY_AFTER = 1.0  # seconds until a full disk is asked again for the next segment
_POSITION = struct.Struct(">QQI")

# The cheaper call is not everywhere.
_sync = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a spool: the segment's number, and the offset in it."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """The next records, and where they end."""

    records: Sequence[bytes]
    end: Position


class Backlog:
    """A directory of the spool that this process holds, and what is still to be read of it.

    Attributes:
        count: How many records wait.
    """

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self._lock = lock
        self._position_file = os.open(directory / "position", os.O_RDWR | os.O_CREAT, 0o600)
        self._position = Position()
        try:
            self._position = _position_in(os.pread(self._position_file, _POSITION.size, 0))
            self._write_position()  # its room on the disk is taken now
            self.count = self._count()
        except OSError:
            os.close(self._position_file)
            raise

    def read(self) -> Batch:
        """The oldest records that `forward` has not passed; none if nothing waits."""
        records: list[bytes] = []
        size, end = 0, self._position
        for record, _, position in self._waiting():
            if records and size + len(record) > _BATCH_BYTES:
                break
            records.append(record)
            size, end = size + len(record), position
            if len(records) == BATCH:
                break
        return Batch(records, end)

    def forward(self, batch: Batch) -> None:
        """*batch* is in the database. A crash before this is durable only repeats what is harmless to repeat."""
        self._position = batch.end
        self._write_position()
        self.count = max(0, self.count - len(batch.records))
        for number in self._segments():
            if number < batch.end.segment:
                self._path(number).unlink()

    def refuse(self, name: str, record: bytes) -> Path:
        """Set *record* aside, durable, as a file *name* beside the directories: the database does not take it."""
        folder = self.directory.parent / "refused"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{name}.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(record)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(folder)
        return path

    def remove(self) -> None:
        """Delete the directory: all of it is in the database."""
        with _alone(self.directory.parent):
            for path in self.directory.iterdir():
                path.unlink()
            self.directory.rmdir()
            self.close()

    def close(self) -> None:
        """Let go of the directory; somebody else may take it over."""
        os.close(self._position_file)
        os.close(self._lock)

    def _count(self) -> int:
        count = 0
        after = self._position
        for _, start, end in self._waiting():
            if start > (after.offset if after.segment == end.segment else 0):
                _log.error("spool.damaged", file=str(self._path(end.segment)), offset=after.offset)
            count, after = count + 1, end
        return count

    def _waiting(self) -> Iterator[tuple[bytes, int, Position]]:
        """Each waiting record, where it starts in its segment, and its end."""
        return _waiting_in(self.directory, self._position)

    def _write_position(self) -> None:
        position = struct.pack(">QQ", self._position.segment, self._position.offset)
        with contextlib.suppress(OSError):  # without it the next process repeats some, which is harmless
            os.pwrite(self._position_file, position + struct.pack(">I", crc32(position)), 0)
            _sync(self._position_file)

    def _segments(self) -> list[int]:
        return _segments_of(self.directory)

    def _path(self, number: int) -> Path:
        return _segment_path(self.directory, number)


class Spool(Backlog):
    """The directory that this process writes.

    Raises:
        OSError: There is no room for a segment.
    """

    def __init__(self, directory: Path, lock: int, *, segment_size: int = SEGMENT_SIZE) -> None:
        super().__init__(directory, lock)
        self._size = segment_size
        self._number = 0
        self._file: int | None = None
        self._end = 0
        self._next: int | None = None
        self._ask_again_at = 0.0
        try:
            self._go_on()
        except OSError:
            os.close(self._position_file)
            raise

    @property
    def allocated(self) -> int:
        """Bytes on disk."""
        return len(self._segments()) * self._size

    def append(self, records: Sequence[bytes]) -> OSError | None:
        """Make *records* durable, all of them or none for certain; what stands against it, None if they are.

        One `fdatasync` for all of them, or one a segment.
        """
        try:
            for record in records:
                self._write(framed(record))
            if self._file is not None:
                _sync(self._file)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG):
                self._leave()  # nobody knows any more what of this segment is on the disk
            return error
        self.count += len(records)
        return None

    def make_room(self) -> None:
        """Return if there is room for a webhook.

        Raises:
            OSError: There is none.
        """
        if self._file is None or self._end + _ROOM > self._size:
            self._go_on()

    def renew(self) -> None:
        """Everything is in the database: begin a fresh segment and delete the old ones, for they hold personal data.

        Raises:
            OSError: There is no room for a fresh one.
        """
        if not self._end or self.read().records:  # none is ever deleted that waits
            return
        old = [number for number in self._segments() if number <= self._number]
        try:
            self._go_on()
        except OSError:  # then in the room of the old ones
            self._leave()
            self._delete(old)
            self._go_on()
        self._delete(old)

    def close(self) -> None:
        for file in (self._file, self._next):
            if file is not None:
                os.close(file)
        super().close()

    def _write(self, data: bytes) -> None:
        if len(data) > self._size:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if self._file is None or self._end + len(data) > self._size:
            self._go_on()
        assert self._file is not None  # noqa: S101  (what _go_on is for)
        if os.pwrite(self._file, data, self._end) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += len(data)
        if self._next is None and self._end > self._size / 2 and time.monotonic() > self._ask_again_at:
            try:
                self._next = self._allocate(self._number + 1)
            except OSError:  # the rest of this one is still ours
                self._ask_again_at = time.monotonic() + _RETRY_AFTER

    def _go_on(self) -> None:
        """Go on in the next segment."""
        following = self._next if self._next is not None else self._allocate(self._number + 1)
        if self._file is not None:
            _sync(self._file)
        self._leave()
        self._file, self._next, self._number = following, None, self._number + 1

    def _leave(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._end = None, 0

    def _allocate(self, number: int) -> int:
        path = self._path(number)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _fill(file, self._size)
            os.fsync(file)
            _sync_directory(self.directory)
        except OSError:
            os.close(file)
            path.unlink()
            raise
        return file

    def _delete(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._path(number).unlink(missing_ok=True)


def open_spool(parent: Path, *, segment_size: int = SEGMENT_SIZE) -> Spool:
    """A new directory below *parent*, which is made if it is missing.

    Raises:
        OSError: It cannot be written, or the disk is full.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(parent):
        directory = parent / new_id(Prefix.INSTANCE)
        directory.mkdir(mode=0o700)
        lock = _lock(directory)
        try:
            spool = Spool(directory, lock, segment_size=segment_size)
        except OSError:
            os.close(lock)
            for path in directory.iterdir():
                path.unlink()
            directory.rmdir()
            raise
        _sync_directory(parent)
        return spool


def waiting_in(parent: Path) -> Iterator[bytes]:
    """All that waits below *parent*, whoever holds it, without touching it.

    What is brought back while one reads may be missed.
    """
    for directory in sorted(parent.glob(f"{Prefix.INSTANCE}_*")):
        with contextlib.suppress(FileNotFoundError):  # emptied meanwhile
            position = _position_in((directory / "position").read_bytes())
            for record, _, _ in _waiting_in(directory, position):
                yield record


def refused_in(parent: Path) -> Iterator[tuple[Path, bytes]]:
    """The records below *parent* that were set aside, each in a file of its own."""
    for path in sorted((parent / "refused").glob("*.json")):
        yield path, path.read_bytes()


def take_over(parent: Path) -> list[Backlog]:
    """The directories below *parent* that dead processes left, oldest first. They are ours from now on.

    Raises:
        OSError: *parent* cannot be read.
    """
    locks: dict[Path, int] = {}
    found = []
    with _alone(parent):
        for directory in sorted(parent.glob(f"{Prefix.INSTANCE}_*")):
            try:
                locks[directory] = _lock(directory)
            except BlockingIOError:
                continue  # its process lives
            except OSError as error:
                _complain_of(directory, error)
    for directory, lock in locks.items():  # to count what waits may take seconds: not while others have to wait for us
        try:
            found.append(Backlog(directory, lock))
        except OSError as error:
            os.close(lock)
            _complain_of(directory, error)
    return found


def _complain_of(directory: Path, error: OSError) -> None:
    _log.error("spool.not_taken_over", directory=str(directory), reason=error.strerror)


def _waiting_in(directory: Path, position: Position) -> Iterator[tuple[bytes, int, Position]]:
    """Each record after *position*, where it starts in its segment, and its end."""
    for number in _segments_of(directory):
        if number < position.segment:
            continue
        with _segment_path(directory, number).open("rb") as file:
            for frame in frames(file, position.offset if number == position.segment else 0):
                yield frame.payload, frame.start, Position(number, frame.end)


def _position_in(told: bytes) -> Position:
    """The position that is written so; the beginning where none is, or a spoiled one."""
    if len(told) < _POSITION.size:
        return Position()
    segment, offset, checksum = _POSITION.unpack(told)
    return Position(segment, offset) if crc32(told[:-4]) == checksum else Position()


def _segments_of(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.segment"))


def _segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:06}.segment"


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """While one process makes, takes over or removes a directory no other does."""
    with os.fdopen(os.open(parent / "lock", os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(directory: Path) -> int:
    """A descriptor that holds the lock of *directory*.

    Raises:
        BlockingIOError: Somebody else holds it.
    """
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _fill(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.pwrite(file, bytes(size), 0)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
