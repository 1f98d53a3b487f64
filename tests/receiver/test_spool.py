"""The spool on a real disk: what was acknowledged is read again, whatever became of the file's end."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from receiver.database import open_database
from receiver.events import ReceivedRequest, event_row
from receiver.frames import framed, frames
from receiver.records import event_record, insert_records, quarantine_record, record_id
from receiver.schema import QuarantineReason, events, quarantine
from receiver.spool import BATCH, Backlog, Spool, open_spool, take_over

SMALL = 256 * 1024
# NUL stands in no record, and a torn tail may read as zeros.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
PAYLOADS = st.lists(TEXTS.map(str.encode), max_size=8)


def payloads_of(data: bytes, start: int = 0) -> list[bytes]:
    return [frame.payload for frame in frames(io.BytesIO(data), start)]


# --- frames ----------------------------------------------------------------------------------------------------------


@given(payloads=PAYLOADS, after=st.integers(0, 64))
def test_what_was_written_is_read(payloads: list[bytes], after: int) -> None:
    """Any payloads, in a file that was allocated ahead."""
    assert payloads_of(b"".join(map(framed, payloads)) + bytes(after)) == payloads


@given(payloads=PAYLOADS, data=st.data())
def test_a_file_cut_anywhere_gives_back_what_came_before_the_cut(payloads: list[bytes], data: st.DataObject) -> None:
    """A torn tail: cut off, zeroed, or overwritten by what is no frame."""
    whole = b"".join(map(framed, payloads))
    cut = data.draw(st.integers(0, len(whole)))
    tail = data.draw(st.sampled_from([b"", bytes(100), b"\xff" * 100, b"\xffSPL" * 20, b"{}" * 50]))

    read = payloads_of(whole[:cut] + tail)

    ends = [len(b"".join(map(framed, payloads[:n]))) for n in range(len(payloads) + 1)]
    assert read == payloads[: max(n for n, end in enumerate(ends) if end <= cut)]


@given(payloads=PAYLOADS.filter(any), data=st.data())
def test_a_bit_flipped_costs_one_record(payloads: list[bytes], data: st.DataObject) -> None:
    """Where a disk spoils something, what lies before and behind it is read, and nothing false."""
    whole = bytearray(b"".join(map(framed, payloads)))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8

    read = payloads_of(bytes(whole))

    assert any(read == payloads[:n] + payloads[n + 1 :] for n in range(len(payloads)))


# --- records ---------------------------------------------------------------------------------------------------------


def a_request(body: bytes = b"{}") -> ReceivedRequest:
    now = datetime(2026, 3, 10, 13, 15, 2, 417_000, tzinfo=UTC)
    return ReceivedRequest(
        now, "acme", "post_call", "text/plain; charset=caf\xe9", {"user-agent": "CallRail\xff"}, body
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), signature=st.none() | st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_a_row_is_the_same_after_the_way_through_a_record(sqlite_url: str, body: bytes, signature: str | None) -> None:
    """Body, headers, times and what is null: a column for a column."""
    database, request = open_database(sqlite_url), a_request(body)
    row = event_row(f"ev_{os.urandom(8).hex()}", request, b"\x00hash\xff", None)
    quarantined = (f"ev_{os.urandom(8).hex()}", request, QuarantineReason.SIGNATURE_WRONG, signature)
    records = [event_record(row), quarantine_record(*quarantined)]
    assert [record_id(record) for record in records] == [row[0], quarantined[0]]

    with database.writing.begin() as conn:
        insert_records(conn, records)
        insert_records(conn, records)  # as after a crash
        (event,) = conn.execute(select(events).where(events.c.id == row[0])).all()
        (unproved,) = conn.execute(select(quarantine).where(quarantine.c.id == quarantined[0])).all()
    database.dispose()

    assert tuple(event)[:11] == row
    for name in ReceivedRequest.__slots__:
        assert getattr(unproved, name) == getattr(request, name)
    assert (unproved.reason, unproved.signature) == ("signature_wrong", signature)


# --- a directory -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with opened(tmp_path / "spool") as spool:
        yield spool


@contextmanager
def opened(folder: Path) -> Iterator[Spool]:
    spool = open_spool(folder, segment_size=SMALL)
    try:
        yield spool
    finally:
        spool.close()


def numbered(*numbers: int, size: int = 1000) -> list[bytes]:
    return [f"{number:0{size}}".encode() for number in numbers]


def drained(backlog: Backlog) -> list[int]:
    """The numbers that wait, all of them passed."""
    found: list[int] = []
    while records := (batch := backlog.read()).records:
        found += map(int, records)
        backlog.forward(batch)
    return found


def test_records_come_back_in_their_order_over_many_segments(spool: Spool) -> None:
    """Segments are allocated as they are needed, and deleted when they have been passed."""
    for start in range(0, 1000, 10):
        assert spool.append(numbered(*range(start, start + 10))) is None
    segments = sorted(spool.directory.glob("*.segment"))
    assert {path.stat().st_size for path in segments} == {SMALL}
    assert len(segments) >= 4

    assert spool.count == 1000
    assert drained(spool) == list(range(1000))

    assert spool.count == 0
    assert segments[0] not in set(spool.directory.glob("*.segment"))


def test_what_is_read_and_not_passed_is_read_again(spool: Spool) -> None:
    """Only what is in the database is passed."""
    spool.append(numbered(*range(BATCH + 1)))

    assert spool.read() == spool.read()
    spool.forward(spool.read())

    assert drained(spool) == [BATCH]


def test_a_drained_spool_keeps_nothing_of_what_it_held(spool: Spool) -> None:
    """Bodies are personal data: once they are in the database no file holds them, and there is room for the next."""
    spool.append([b"Kim O'Hara"])
    spool.forward(spool.read())
    spool.renew()

    assert [path.stat().st_size for path in spool.directory.glob("*.segment")] == [SMALL]
    assert not any(b"Hara" in path.read_bytes() for path in spool.directory.iterdir())
    spool.append(numbered(7))
    assert drained(spool) == [7]


def test_nobody_else_can_read_it(spool: Spool) -> None:
    """Whatever the umask: directories 0700, files 0600."""
    spool.append(numbered(1))
    refused = spool.refuse("ev_1", b"{}")

    modes = {path: path.stat().st_mode & 0o777 for path in spool.directory.parent.rglob("*")}
    assert {modes[path] for path in modes if path.is_dir()} == {0o700}
    assert {modes[path] for path in modes if not path.is_dir()} == {0o600}
    assert spool.directory.parent.stat().st_mode & 0o777 == 0o700
    assert refused.read_bytes() == b"{}"


def test_a_living_process_keeps_its_directory_and_a_dead_ones_is_taken_over_once(tmp_path: Path) -> None:
    """Two processes never share one."""
    with opened(tmp_path) as one, opened(tmp_path) as other:
        assert one.directory != other.directory
        assert take_over(tmp_path) == []
        one.append(numbered(1, 2, 3))
        one.forward(one.read())
        one.append(numbered(4, 5))
        os.close(os.dup(one._lock))  # only the last of its descriptors lets go
        assert take_over(tmp_path) == []

    (first, second) = take_over(tmp_path)
    assert take_over(tmp_path) == []
    assert (first.count, drained(first), drained(second)) == (2, [4, 5], [])
    first.remove()
    second.remove()
    assert not list(tmp_path.glob("in_*"))


def test_what_was_torn_is_left_out_and_what_was_spoiled_is_told(tmp_path: Path, logged: list[Any]) -> None:
    """The end of a killed process is no news; a spoiled record amid whole ones is."""
    with opened(tmp_path) as spool:
        spool.append(numbered(1, 2, 3))
        (segment,) = spool.directory.glob("*.segment")
    data = bytearray(segment.read_bytes())
    length = len(framed(numbered(1)[0]))
    data[3 * length : 3 * length + 500] = framed(numbered(4)[0])[:500]
    segment.write_bytes(data)

    (backlog,) = take_over(tmp_path)
    assert (backlog.count, logged) == (3, [])
    backlog.close()

    data[length + 50] ^= 1
    segment.write_bytes(data)
    (backlog,) = take_over(tmp_path)
    assert [(line["event"], line["offset"]) for line in logged] == [("spool.damaged", length)]
    assert drained(backlog) == [1, 3]
    backlog.close()


def test_a_spoiled_position_repeats_and_loses_nothing(tmp_path: Path) -> None:
    """To repeat is harmless."""
    with opened(tmp_path) as spool:
        spool.append(numbered(1))
        spool.forward(spool.read())
        spool.append(numbered(2))
    position = spool.directory / "position"
    position.write_bytes(b"\x01" * 7 + position.read_bytes()[7:])

    (backlog,) = take_over(tmp_path)
    assert drained(backlog) == [1, 2]
    backlog.close()


# --- a disk that does not take it ------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_an_error() -> None:
    """Also for who may do everything."""
    with pytest.raises(OSError, match="Not a directory"):
        open_spool(Path("/dev/null/spool"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"a file system of its own cannot be mounted: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> Path:
    """A file that leaves no room."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


def test_a_full_disk_takes_what_was_allocated_ahead_and_then_no_more(tiny_disk: Path) -> None:
    """To the end of the present segment; what was taken is read, and once there is room it goes on."""
    with opened(tiny_disk) as spool:
        filler = fill(tiny_disk)
        taken = 0
        while spool.append(numbered(taken)) is None:
            taken += 1
        with pytest.raises(OSError, match="No space"):
            spool.make_room()
        assert taken == SMALL // len(framed(numbered(1)[0]))

        filler.unlink()
        spool.make_room()
        assert spool.append(numbered(taken)) is None
        assert drained(spool) == list(range(taken + 1))


def test_what_waits_is_not_deleted_for_a_fresh_segment(spool: Spool) -> None:
    """Whoever takes the spool for empty may be wrong: it was answered 204."""
    spool.append(numbered(1))

    spool.renew()

    assert drained(spool) == [1]


def test_a_full_disk_lets_a_drained_spool_begin_anew_in_its_own_room(tiny_disk: Path) -> None:
    """The old segment goes first if there is no room for both."""
    with opened(tiny_disk) as spool:
        spool.append(numbered(1))
        fill(tiny_disk)
        drained(spool)

        spool.renew()

        assert spool.append(numbered(2)) is None
        assert drained(spool) == [2]


def test_a_disk_too_full_to_begin_leaves_nothing_behind(tiny_disk: Path) -> None:
    """No directory that somebody would have to take over."""
    with pytest.raises(OSError, match="No space"):
        open_spool(tiny_disk, segment_size=4 * 1024 * 1024)

    assert not list(tiny_disk.glob("in_*"))


def test_a_disk_gone_read_only_takes_nothing_and_gives_back_what_it_has(tiny_disk: Path) -> None:
    """As a kernel does after errors of a disk: what was acknowledged still gets into the database."""
    with opened(tiny_disk) as spool:
        spool.append(numbered(*range(BATCH + 1)))
    remount(tiny_disk, "ro")
    with pytest.raises(OSError, match="Read-only"):
        open_spool(tiny_disk, segment_size=SMALL)
    remount(tiny_disk, "rw")
    (backlog,) = take_over(tiny_disk)
    os.close(backlog._position_file)
    remount(tiny_disk, "ro")
    backlog._position_file = os.open(spool.directory / "position", os.O_RDONLY)

    assert drained(backlog) == list(range(BATCH + 1))
    backlog.close()


_WRITES_BEYOND_ITS_LIMIT = """
import resource, signal, sys
from pathlib import Path
from receiver.spool import open_spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = open_spool(Path(sys.argv[1]), segment_size=65536)
resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))
taken = 0
while spool.append([b"%01000d" % taken]) is None:
    taken += 1
print(taken, flush=True)
"""


def test_a_process_that_may_write_no_more_says_so_and_what_it_took_is_there(tmp_path: Path) -> None:
    """A write that the system refuses in the middle of a segment; then the process is gone."""
    done = subprocess.run(
        [sys.executable, "-c", _WRITES_BEYOND_ITS_LIMIT, tmp_path], check=True, capture_output=True, text=True
    )

    taken = int(done.stdout)
    (backlog,) = take_over(tmp_path)
    assert 30 < taken < 40
    assert drained(backlog) == list(range(taken))
    backlog.close()
