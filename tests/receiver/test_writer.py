"""The single writer: shared commits, and exactly the guilty ones told that they failed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from receiver.database import Database, open_database
from receiver.events import ReceivedRequest, event_row, insert_events
from receiver.exceptions import DatabaseUnavailable
from receiver.ids import Prefix, new_id
from receiver.schema import EventState, QuarantineReason, events, quarantine
from receiver.writer import FUNCTIONS_STALLED_AFTER, MAX_BATCH, STALLED_AFTER, Row, Writer

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC)


def a_row(event_id: str | None = None) -> Row:
    request = ReceivedRequest(NOW, "acme", "post_call", "application/json", {}, b"{}")
    return event_row(event_id or new_id(Prefix.EVENT), request, b"hash", "fingerpr")


def a_guilty_row() -> Row:
    """A row that the database refuses for what it holds: a state that is none."""
    row = list(a_row())
    row[5] = "lost"
    return tuple(row)


def a_quarantined(conn: Connection, row_id: str) -> str:
    """Store a row by statements of our own, as a function for `run` does."""
    conn.execute(
        insert(quarantine).values(
            id=row_id,
            received_at=NOW,
            company="acme",
            kind="post_call",
            reason=QuarantineReason.SIGNATURE_WRONG,
            content_type="",
            headers={},
            body=b"",
        )
    )
    return row_id


@dataclass
class Store:
    """A writer and the database as somebody else sees it."""

    writer: Writer
    database: Database
    commits: list[Connection]

    def ids(self, table: Any = events) -> set[str]:
        with self.database.reading.connect() as conn:
            return set(conn.execute(select(table.c.id)).scalars())

    def waiting(self, *coroutines: Any) -> list[asyncio.Task[Any]]:
        """Tasks of *coroutines*; each has reached the writer once the loop has turned once (see `turn`)."""
        return [asyncio.ensure_future(coroutine) for coroutine in coroutines]

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the writer inside a transaction for the length of the block, so that what comes meanwhile waits."""
        begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold(_conn: Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            may_end.wait()

        holding = asyncio.create_task(self.writer.run(hold))
        await begun.wait()
        self.commits.clear()  # of what set up the connection
        try:
            yield
            await turn()
        finally:
            may_end.set()
        await asyncio.wait([holding])


async def turn() -> None:
    """Let every task that is new take its first step: it is in the writer's queue then."""
    await asyncio.sleep(0)


@asynccontextmanager
async def running_store(url: str, stalled_after: timedelta = STALLED_AFTER) -> AsyncIterator[Store]:
    written, looked_at = open_database(url), open_database(url)
    commits: list[Connection] = []
    event.listen(written.writing, "commit", commits.append)
    # Where a test wants a stall to be noticed soon, functions are given up on as soon.
    functions = FUNCTIONS_STALLED_AFTER if stalled_after == STALLED_AFTER else stalled_after
    writer = Writer(written, insert_events, stalled_after=stalled_after, functions_stalled_after=functions)
    writer.start()
    try:
        yield Store(writer, looked_at, commits)
    finally:
        await writer.stop()
        written.dispose()
        looked_at.dispose()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with running_store(database_url) as running:
        yield running


# --- commits ---------------------------------------------------------------------------------------------------------


async def test_a_stored_row_is_seen_by_others_when_the_await_returns(store: Store) -> None:
    """The waiter goes on after the COMMIT and not before it."""
    for _ in range(5):
        row = a_row()
        await store.writer.store(row)

        assert row[0] in store.ids()


async def test_what_a_function_did_is_seen_by_others_when_the_await_returns(store: Store) -> None:
    """The result of a function is handed out after the COMMIT of all it did."""
    result = await store.writer.run(lambda conn: a_quarantined(conn, "ev_1"))

    assert result == "ev_1"
    assert store.ids(quarantine) == {"ev_1"}


@pytest.mark.parametrize(("count", "commits"), [(1, 1), (MAX_BATCH, 1), (MAX_BATCH + 1, 2), (3 * MAX_BATCH, 3)])
async def test_rows_that_wait_together_share_a_commit(store: Store, count: int, commits: int) -> None:
    """A batch is as large as the load makes it, up to its bound: the price of durability is paid once for all."""
    rows = [a_row() for _ in range(count)]
    async with store.held():
        stored = store.waiting(*(store.writer.store(row) for row in rows))

    await asyncio.gather(*stored)

    assert len(store.commits) == commits + 1  # the other one is that of what held the writer
    assert store.ids() == {row[0] for row in rows}


async def test_each_function_has_a_commit_of_its_own(store: Store) -> None:
    """One function a transaction bounds how long a row can wait behind it."""
    async with store.held():
        ran = store.waiting(*(store.writer.run(partial(a_quarantined, row_id=f"ev_{n}")) for n in range(3)))

    assert await asyncio.gather(*ran) == ["ev_0", "ev_1", "ev_2"]
    assert len(store.commits) == 3 + 1


async def test_waiting_rows_go_before_a_waiting_function(store: Store) -> None:
    """A request is not kept waiting by routing: its row is in the same transaction, before the function."""
    row = a_row()
    async with store.held():
        ran, stored = store.waiting(store.writer.run(ids_within), store.writer.store(row))

    assert await ran == [row[0]]
    await stored
    assert len(store.commits) == 1 + 1


def ids_within(conn: Connection) -> list[str]:
    return list(conn.execute(select(events.c.id)).scalars())


async def test_functions_run_in_the_order_of_their_coming(store: Store) -> None:
    """What was asked for first is done first, whatever comes after."""
    order: list[int] = []

    def note(_conn: Connection, *, number: int) -> None:
        order.append(number)

    async with store.held():
        ran = store.waiting(*(store.writer.run(partial(note, number=number)) for number in range(20)))

    await asyncio.gather(*ran)
    assert order == list(range(20))


async def test_a_function_reads_what_it_is_about_to_change(store: Store) -> None:
    """Nobody writes between read and write, so read-merge-write loses nothing."""
    row = a_row()
    await store.writer.store(row)

    def add_one(conn: Connection) -> int:
        attempts: int = conn.execute(select(events.c.attempts).where(events.c.id == row[0])).scalar_one()
        conn.execute(update(events).where(events.c.id == row[0]).values(attempts=attempts + 1))
        return attempts + 1

    results = await asyncio.gather(*(store.writer.run(add_one) for _ in range(20)))

    assert sorted(results) == list(range(1, 21))


async def test_the_same_id_twice_is_one_row_and_no_error(store: Store) -> None:
    """Ids are made at the intake, so storing once more after a doubtful commit is harmless."""
    row = a_row("ev_1")

    await store.writer.store(row)
    await store.writer.store(row)
    await asyncio.gather(*(store.writer.store(row) for _ in range(5)))

    assert store.ids() == {"ev_1"}


async def test_who_routes_is_called_after_each_commit_with_rows(store: Store) -> None:
    """The hint comes when there is something to see, on the event loop, and not for functions or refused rows."""
    seen: list[set[str]] = []
    threads: set[int] = set()

    def hint() -> None:
        threads.add(threading.get_ident())
        seen.append(store.ids())

    store.writer.on_stored = hint
    row = a_row()
    await store.writer.run(lambda _conn: None)
    with pytest.raises(IntegrityError):
        await store.writer.store(a_guilty_row())
    await store.writer.store(row)
    await store.writer.run(lambda _conn: None)

    assert seen == [{row[0]}]
    assert threads == {threading.get_ident()}


# --- data errors -----------------------------------------------------------------------------------------------------


async def test_a_guilty_row_fails_alone(store: Store) -> None:
    """One row that the database refuses costs none of the others in its batch."""
    rows = [a_row() for _ in range(6)]
    async with store.held():
        tasks = store.waiting(*(store.writer.store(row) for row in [*rows[:3], a_guilty_row(), *rows[3:]]))

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [type(None)] * 3 + [IntegrityError] + [type(None)] * 3
    assert store.ids() == {row[0] for row in rows}


async def test_a_guilty_row_costs_no_function(store: Store) -> None:
    """A function beside a guilty row does its work, once."""
    calls: list[str] = []

    def function(conn: Connection) -> str:
        calls.append("called")
        return a_quarantined(conn, "ev_1")

    async with store.held():
        refused, ran = store.waiting(store.writer.store(a_guilty_row()), store.writer.run(function))

    assert await ran == "ev_1"
    with pytest.raises(IntegrityError):
        await refused
    assert (store.ids(quarantine), store.ids(), calls) == ({"ev_1"}, set(), ["called"])


async def test_a_row_that_cannot_be_bound_fails_alone(store: Store) -> None:
    """An error before the database even sees the row is the row's, too."""
    unbindable = list(a_row())
    unbindable[7] = {"header": object()}
    good = a_row()
    async with store.held():
        tasks = store.waiting(store.writer.store(tuple(unbindable)), store.writer.store(good))

    first, second = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(first, TypeError)
    assert (second, store.ids()) == (None, {good[0]})


class OwnFault(Exception):
    """What a function raises by itself."""


def raises(conn: Connection) -> None:
    a_quarantined(conn, "ev_undone")
    raise OwnFault


def violates(conn: Connection) -> None:
    a_quarantined(conn, "ev_undone")
    a_quarantined(conn, "ev_undone")


def misspells(conn: Connection) -> None:
    a_quarantined(conn, "ev_undone")
    conn.execute(text("SELECT no_such_column FROM events"))


FAULTS: dict[str, tuple[Callable[[Connection], None], type[Exception]]] = {
    "exception of its own": (raises, OwnFault),
    "constraint violated": (violates, IntegrityError),
    "statement refused": (misspells, DatabaseUnavailable),
}


@pytest.mark.parametrize(("function", "error"), FAULTS.values(), ids=FAULTS)
async def test_a_functions_fault_costs_no_row_beside_it(
    store: Store, function: Callable[[Connection], None], error: type[Exception]
) -> None:
    """Whatever routing does wrong, the webhooks in the same transaction are stored, and nothing of the function is."""
    rows = [a_row() for _ in range(3)]
    async with store.held():
        failed, *stored = store.waiting(store.writer.run(function), *(store.writer.store(row) for row in rows))

    await asyncio.gather(*stored)
    with pytest.raises(error):
        await failed
    assert store.ids() == {row[0] for row in rows}
    assert store.ids(quarantine) == set()


@pytest.mark.parametrize(("function", "error"), FAULTS.values(), ids=FAULTS)
async def test_a_functions_fault_undoes_what_it_did(
    store: Store, function: Callable[[Connection], None], error: type[Exception]
) -> None:
    """A function is stored whole or not at all, and the next one finds the writer as before."""
    with pytest.raises(error):
        await store.writer.run(function)

    assert store.ids(quarantine) == set()
    assert await store.writer.run(lambda conn: a_quarantined(conn, "ev_1")) == "ev_1"


STEPS = st.lists(st.sampled_from(["row", "guilty row", "function", "raises", "violates"]), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_exactly_the_guilty_fail_whatever_shares_the_batch(store: Store, steps: list[str]) -> None:
    """For any mixture of rows and functions that wait together: who was told "stored" is, who was told not is not."""
    ids = [new_id(Prefix.EVENT) for _ in steps]

    def one(step: str, row_id: str) -> Any:
        match step:
            case "row":
                return store.writer.store(a_row(row_id))
            case "guilty row":
                return store.writer.store(a_guilty_row())
            case "function":
                return store.writer.run(lambda conn: a_quarantined(conn, row_id))
            case "raises":
                return store.writer.run(raises)
            case _:
                return store.writer.run(violates)

    async with store.held():
        tasks = store.waiting(*(one(step, row_id) for step, row_id in zip(steps, ids, strict=True)))
    results = await asyncio.gather(*tasks, return_exceptions=True)

    told_stored = {row_id for row_id, result in zip(ids, results, strict=True) if not isinstance(result, Exception)}
    wanted = {row_id for row_id, step in zip(ids, steps, strict=True) if step in ("row", "function")}
    assert told_stored == wanted
    assert (store.ids() | store.ids(quarantine)) & {*ids, "ev_undone"} == wanted


# --- database errors -------------------------------------------------------------------------------------------------


async def test_a_database_error_fails_everyone_in_the_transaction(unmigrated_url: str) -> None:
    """Without its tables nothing is stored, and everybody who waited is told so."""
    async with running_store(unmigrated_url) as store:
        async with store.held():
            tasks = store.waiting(store.writer.store(a_row()), store.writer.store(a_row()), store.writer.run(raises))

        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(result) for result in results] == [DatabaseUnavailable] * 3


async def test_a_database_error_is_logged_without_the_row(unmigrated_url: str, logged: list[Any]) -> None:
    """One line says what the driver said; the statement and what it held, somebody's call, are not in it."""
    async with running_store(unmigrated_url) as store:
        with pytest.raises(DatabaseUnavailable):
            await store.writer.run(lambda conn: a_quarantined(conn, "ev_private"))

    (line,) = logged
    assert (line["event"], line["waiting"]) == ("writer.database_error", 1)
    assert "quarantine" in line["error"]
    assert "ev_private" not in str(line)
    assert "INSERT" not in str(line)


def end_other_backends(url: str) -> int:
    """End the writer's backend; how many there were."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        ended = conn.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'callrail-router'"
            )
        ).scalar_one()
    engine.dispose()
    return int(ended)


@pytest.mark.parametrize("notices", ["the function", "COMMIT"])
async def test_a_backend_lost_costs_the_function_and_no_row(postgresql_url: str, notices: str) -> None:
    """Rows already sent when PostgreSQL ended the connection are sent again: nobody would post them a second time."""
    rows = [a_row() for _ in range(3)]

    def lose(conn: Connection) -> None:
        assert conn.execute(select(func.count()).select_from(events)).scalar_one() == len(rows)
        a_quarantined(conn, "ev_undone")
        assert end_other_backends(postgresql_url) == 1
        if notices == "the function":
            conn.execute(text("SELECT 1"))

    async with running_store(postgresql_url) as store:
        async with store.held():
            tasks = store.waiting(*(store.writer.store(row) for row in rows), store.writer.run(lose))
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(result) for result in results] == [type(None)] * 3 + [DatabaseUnavailable]
        assert store.ids() == {row[0] for row in rows}
        assert store.ids(quarantine) == set()


@pytest.mark.parametrize("was_lost", [False, True])
async def test_on_postgresql_the_writer_finds_rows_by_index_also_after_its_connection_was_lost(
    postgresql_url: str, *, was_lost: bool
) -> None:
    """A plan made while a table was small would read all that came after, until the next ANALYZE."""
    async with running_store(postgresql_url) as store:
        await store.writer.store(a_row())
        if was_lost:
            end_other_backends(postgresql_url)
            await store.writer.store(a_row())

        assert await store.writer.run(lambda conn: conn.execute(text("SHOW enable_seqscan")).scalar_one()) == "off"


# --- a commit that does not come -------------------------------------------------------------------------------------

SOON = timedelta(milliseconds=50)


async def test_who_waits_for_a_stalled_transaction_is_told(database_url: str) -> None:
    """Those in the transaction and those behind it get an error at the bound instead of waiting for ever."""
    async with running_store(database_url, SOON) as store:
        begun, may_end = threading.Event(), threading.Event()

        def stall(_conn: Connection) -> None:
            begun.set()
            may_end.wait()

        stalled = asyncio.create_task(store.writer.run(stall))
        await asyncio.to_thread(begun.wait)
        behind = store.waiting(store.writer.store(a_row()), store.writer.run(ids_within))

        results = await asyncio.gather(stalled, *behind, return_exceptions=True)
        may_end.set()

        assert [type(result) for result in results] == [DatabaseUnavailable] * 3
        assert "0.05 s" in str(results[0])


async def test_after_a_stall_the_writer_goes_on(database_url: str) -> None:
    """What was given up while it waited is not written later; what comes when the stall is over is."""
    async with running_store(database_url, SOON) as store:
        begun, may_end = threading.Event(), threading.Event()

        def stall(_conn: Connection) -> None:
            begun.set()
            may_end.wait()

        stalled = asyncio.create_task(store.writer.run(stall))
        await asyncio.to_thread(begun.wait)
        await asyncio.gather(stalled, *store.waiting(store.writer.store(a_row())), return_exceptions=True)
        may_end.set()

        later = a_row()
        while not await is_stored(store, later):
            pass
        assert store.ids() == {later[0]}


async def is_stored(store: Store, row: Row) -> bool:
    try:
        await store.writer.store(row)
    except DatabaseUnavailable:
        return False
    return True


# --- cancelling and stopping -----------------------------------------------------------------------------------------


async def test_a_cancelled_waiter_harms_nobody(store: Store) -> None:
    """A client that hangs up while its row waits: the row is dropped, its neighbours are stored."""
    rows = [a_row() for _ in range(5)]
    async with store.held():
        tasks = store.waiting(*(store.writer.store(row) for row in rows))
        await turn()
        tasks[1].cancel()
        tasks[3].cancel()

    await asyncio.wait(tasks)

    assert [task.cancelled() for task in tasks] == [False, True, False, True, False]
    assert store.ids() == {rows[n][0] for n in (0, 2, 4)}


async def test_a_waiter_cancelled_within_the_transaction_harms_nobody(store: Store) -> None:
    """Its row is being written and stays written; nobody else notices, the writer goes on."""
    begun, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slowly(conn: Connection) -> str:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait()
        return a_quarantined(conn, "ev_1")

    running = asyncio.create_task(store.writer.run(slowly))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    may_end.set()
    await store.writer.store(a_row())

    assert running.cancelled()
    assert store.ids(quarantine) == {"ev_1"}


async def test_a_batch_of_cancelled_waiters_is_no_error(store: Store) -> None:
    """If all who waited have left there is nothing to write, and nothing breaks."""
    async with store.held():
        tasks = store.waiting(*(store.writer.store(a_row()) for _ in range(3)))
        await turn()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    kept = a_row()
    await store.writer.store(kept)
    assert store.ids() == {kept[0]}


async def test_stop_writes_what_waits(database_url: str) -> None:
    """Who has been let in is served to the end, rows and functions, also more than one batch of them."""
    rows = [a_row() for _ in range(MAX_BATCH + 5)]
    async with running_store(database_url) as store:
        async with store.held():
            tasks = store.waiting(*(store.writer.store(row) for row in rows), store.writer.run(ids_within))
            await turn()
            stopping = asyncio.create_task(store.writer.stop())
        await stopping

        assert all(task.done() and task.exception() is None for task in tasks)
        assert store.ids() == {row[0] for row in rows}


async def test_a_process_that_ends_waits_for_no_frozen_database(store: Store) -> None:
    """It gives its functions up as soon as its rows, and its end does not wait for the thread that hangs."""
    may_end = threading.Event()
    tasks = store.waiting(store.writer.run(lambda _conn: may_end.wait()), store.writer.run(ids_within))
    await turn()

    store.writer.hurry()
    await asyncio.wait(tasks)
    await store.writer.stop()

    assert [type(task.exception()) for task in tasks] == [DatabaseUnavailable] * 2
    assert store.writer._thread.is_alive()
    may_end.set()


async def test_a_stopped_writer_takes_nothing(sqlite_url: str) -> None:
    """After the end nobody is left waiting for a thread that is gone."""
    async with running_store(sqlite_url) as store:
        await store.writer.stop()

        with pytest.raises(DatabaseUnavailable):
            await store.writer.store(a_row())
        with pytest.raises(DatabaseUnavailable):
            await store.writer.run(ids_within)


async def test_a_writer_not_started_takes_nothing(sqlite_url: str) -> None:
    """Before the start the same holds: an error instead of a wait without end."""
    database = open_database(sqlite_url)
    with pytest.raises(DatabaseUnavailable):
        await Writer(database, insert_events).store(a_row())
    database.dispose()


async def test_the_states_of_stored_rows_are_the_schemas(store: Store) -> None:
    """What the intake writes is what the router claims by: the state `received`."""
    await store.writer.store(a_row())

    with store.database.reading.connect() as conn:
        assert conn.execute(select(events.c.state)).scalars().all() == [EventState.RECEIVED]
