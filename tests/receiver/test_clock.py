"""The clock: one source of time a transaction, and a wall clock that is watched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import structlog
from sqlalchemy import Connection, text

from receiver.clock import JUMP, DatabaseClock, WallClock
from receiver.database import open_database

START = 1_773_148_502.0


@pytest.fixture
def conn(sqlite_url: str) -> Iterator[Connection]:
    database = open_database(sqlite_url)
    with database.writing.begin() as connection:
        yield connection
    database.dispose()


class TwoClocks:
    """The machine's two clocks, moved by hand."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic = 100.0

    def pass_by(self, seconds: float) -> None:
        """Time goes on."""
        self.wall += seconds
        self.monotonic += seconds

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock by so much."""
        self.wall += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> TwoClocks:
    clocks = TwoClocks()
    simulated = SimpleNamespace(time=lambda: clocks.wall, monotonic=lambda: clocks.monotonic)
    monkeypatch.setattr("receiver.clock.time", simulated)
    return clocks


@pytest.fixture
def jumps() -> list[timedelta]:
    return []


@pytest.fixture
def clock(jumps: list[timedelta]) -> WallClock:
    return WallClock(lambda _conn, back: jumps.append(back))


def test_the_wall_clock_is_told_in_utc(conn: Connection, clock: WallClock) -> None:
    """What is read lies between two readings of the machine's clock, and knows its zone."""
    before = datetime.now(UTC)
    moment = clock.now(conn)

    assert before <= moment <= datetime.now(UTC)
    assert moment.tzinfo is UTC


def test_time_that_only_passes_is_no_jump(
    conn: Connection, clocks: TwoClocks, clock: WallClock, jumps: list[timedelta]
) -> None:
    """However long nobody asked, the clock is believed."""
    first = clock.now(conn)
    clocks.pass_by(1_000_000)

    assert clock.now(conn) - first == timedelta(seconds=1_000_000)
    assert jumps == []


def test_a_clock_set_back_is_told_with_how_far(
    conn: Connection, clocks: TwoClocks, clock: WallClock, jumps: list[timedelta]
) -> None:
    """Leases and due times of the old time are shifted once, in this transaction, and the log says so."""
    clock.now(conn)
    clocks.pass_by(10)
    clocks.set_wall(-3600)

    with structlog.testing.capture_logs() as logged:
        moment = clock.now(conn)
        clocks.pass_by(1)
        clock.now(conn)

    assert moment == datetime.fromtimestamp(START + 10 - 3600, UTC)
    assert jumps == [timedelta(hours=1)]
    assert logged == [{"event": "clock.jumped_back", "seconds": 3600.0, "log_level": "warning"}]


def test_the_shift_sees_the_transaction_it_is_made_in(conn: Connection, clocks: TwoClocks) -> None:
    """What is to be shifted is reached through the same connection that will use the new time."""
    seen: list[object] = []
    clock = WallClock(lambda connection, _back: seen.append(connection.execute(text("SELECT 17")).scalar_one()))
    clock.now(conn)
    clocks.set_wall(-60)
    clock.now(conn)

    assert seen == [17]


@pytest.mark.parametrize(
    ("by", "is_jump"),
    [
        pytest.param(-JUMP.total_seconds() - 0.01, True, id="back, more than allowed"),
        pytest.param(-JUMP.total_seconds(), False, id="back, just allowed"),
        pytest.param(-0.1, False, id="back a little, as NTP does"),
        pytest.param(3600.0, False, id="forward"),
    ],
)
def test_only_a_jump_back_matters(
    conn: Connection, clocks: TwoClocks, clock: WallClock, jumps: list[timedelta], by: float, is_jump: bool
) -> None:
    """Small corrections are none of our business, and forward everything merely becomes due."""
    clock.now(conn)
    clocks.set_wall(by)
    clock.now(conn)

    assert bool(jumps) is is_jump


def test_each_jump_is_told_once(conn: Connection, clocks: TwoClocks, clock: WallClock, jumps: list[timedelta]) -> None:
    """After a jump the new time is the truth, and a second jump is measured from it."""
    for seconds in (-10, -20, +30, -40):
        clock.now(conn)
        clocks.set_wall(seconds)
    clock.now(conn)

    assert [round(back.total_seconds()) for back in jumps] == [10, 20, 40]


def test_postgresql_tells_the_servers_time(postgresql_url: str) -> None:
    """Machines that share a database share its clock: the time is the server's, in UTC, and moves in a transaction."""
    database = open_database(postgresql_url)
    with database.writing.begin() as connection:
        begun = connection.execute(text("SELECT now()")).scalar_one()
        first, second = DatabaseClock().now(connection), DatabaseClock().now(connection)
        ended = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    database.dispose()

    assert begun <= first < second <= ended
    assert first.tzinfo is UTC


def test_between_two_questions_the_servers_clock_runs_on(postgresql_url: str) -> None:
    """It is asked once a second; what is told in between lies between two answers of the server's."""
    database, clock = open_database(postgresql_url), DatabaseClock()
    with database.writing.begin() as connection:
        told = [clock.now(connection) for _ in range(50)]
        ended = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    database.dispose()

    assert told == sorted(told)
    assert told[0] < told[-1] <= ended


def test_who_is_interrupted_by_another_thread_that_asks_is_not_told_of_the_future(clocks: TwoClocks) -> None:
    """It added what had passed since the earlier answer to the newer one: as much as a second ahead of the server."""
    clock, conn = DatabaseClock(), Mock()
    conn.execute = lambda _: Mock(scalar_one=lambda: datetime.fromtimestamp(clocks.wall, UTC))
    clock.now(conn)

    class Interrupted(float):
        """A moment; as soon as another is subtracted from it, the other thread has its turn."""

        def __sub__(self, other: float) -> float:
            clocks.pass_by(0.2)
            assert clock.now(conn) == datetime.fromtimestamp(clocks.wall, UTC)
            return float(self) - other

    clocks.pass_by(0.9)
    clocks.monotonic = Interrupted(clocks.monotonic)

    assert clock.now(conn) <= datetime.fromtimestamp(clocks.wall, UTC)
