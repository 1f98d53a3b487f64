"""Several processes on one PostgreSQL: started anew one after another, or frozen past their lease, under load."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from receiver.database import Database
from receiver.schema import EventState, events
from routers.schema import DeliveryState, attempts, deliveries, objects
from tests.crash.load import Load, a_free_port, more_than
from tests.crash.starting import starting
from tests.fakes.destination import Behaviour, Conversation, answer
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread, slowly, times_arrived
from tests.routers.running import Process, a_missed_call, config_text
from tests.routers.store import opened, rows_of
from tests.routers.waiting import wait_until

INTAKES, DISPATCHERS = 2, 3


def is_done(database: Database) -> bool:
    waiting = any(row.state != EventState.ROUTED for row in rows_of(database, events))
    return not waiting and all(row.state == DeliveryState.DELIVERED for row in rows_of(database, deliveries))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "router.yaml"


class Fleet:
    """The processes of one installation, each by its arguments."""

    def __init__(self, url: str, config: Path) -> None:
        self._common = ["--config", str(config), "--database-url", url]
        self._stacks: list[tuple[list[str], ExitStack, Process]] = []

    def start(self, *arguments: str) -> None:
        """One more, ready."""
        stack = ExitStack()
        process = stack.enter_context(starting("serve", *arguments, *self._common))
        self._stacks.append(([*arguments], stack, process))
        process.wait_until_it_says("serve.ready")

    def start_anew(self, position: int) -> None:
        """End one in order, then start it again as a new version would be."""
        arguments, stack, process = self._stacks.pop(position)
        assert process.end() == 0
        stack.close()
        self.start(*arguments)

    def end(self) -> None:
        while self._stacks:
            _, stack, process = self._stacks.pop()
            assert process.end() == 0
            stack.close()


@pytest.mark.long
def test_a_rolling_restart_refuses_nothing_and_tells_nothing_twice(postgresql_url: str, config: Path) -> None:
    """Two intakes and three dispatchers, each started anew in turn while webhooks come."""
    ports = [a_free_port() for _ in range(INTAKES)]
    with receiver_in_a_thread() as destination, opened(postgresql_url) as database:
        destination.behaves(slowly(answer(200), seconds=0.005))
        config.write_text(config_text(destination.url))
        fleet = Fleet(postgresql_url, config)
        for port in ports:
            fleet.start("--role", "intake", "--port", str(port))
        for _ in range(DISPATCHERS):
            fleet.start("--role", "dispatch")
        load = Load(ports, pause=0.01)
        with load.running():
            for _ in range(INTAKES + DISPATCHERS):
                wait_until(more_than(load, len(load.answered) + 20))
                fleet.start_anew(0)
        wait_until(lambda: is_done(database))
        fleet.end()

        kinds = Counter(row.kind for row in rows_of(database, events))
        calls = {row.id: row.object_id for row in rows_of(database, objects)}
        told = Counter(calls[row.object_id] for row in rows_of(database, deliveries))
    assert (load.refused, load.unanswered) == (set(), 0)
    assert kinds["post_call"] >= len({call for call, kind in load.answered if kind == "post_call"})
    assert set(told) == {call for call, kind in load.answered if kind == "post_call"}
    assert set(told.values()) == {1}
    assert set(times_arrived(destination.requests).values()) == {1}


def test_a_dispatcher_that_was_frozen_past_its_lease_is_not_heard(postgresql_url: str, config: Path) -> None:
    """Another has taken its delivery over meanwhile; when it wakes it says what it knows, and it changes nothing."""
    released = threading.Event()
    with receiver_in_a_thread() as destination, opened(postgresql_url) as database:
        destination.behaves(answer_after(released), answer(200))
        config.write_text(config_text(destination.url, sink="concurrency: 1, timeout: 60s, retry: [0s]"))
        arguments = ["--config", str(config), "--database-url", postgresql_url]
        with starting("serve", "--port", "0", *arguments) as sleeper:
            assert sleeper.post("post-call", a_missed_call()) == 204
            wait_until(lambda: len(destination.requests) == 1)
            sleeper.popen.send_signal(signal.SIGSTOP)
            with database.writing.begin() as conn:
                over = datetime.now(UTC) - timedelta(days=1)
                conn.execute(update(deliveries).values(lease_until=over))
            with starting("serve", "--role", "dispatch", *arguments) as other:
                wait_until(lambda: [row.state for row in rows_of(database, deliveries)] == [DeliveryState.DELIVERED])
                (taken_over,) = rows_of(database, deliveries)
                released.set()
                sleeper.popen.send_signal(signal.SIGCONT)
                sleeper.wait_until_it_says("outbox.lease_lost")
                assert (sleeper.end(), other.end()) == (0, 0)

        assert rows_of(database, deliveries) == [taken_over]
        assert (taken_over.fence, taken_over.attempts) == (2, 1)
        assert [row.outcome for row in rows_of(database, attempts)] == ["uncertain", "delivered", "delivered"]
    assert list(times_arrived(destination.requests).values()) == [2]


def answer_after(released: threading.Event) -> Behaviour:
    """Answer 200 once another thread has set *released*."""

    async def behave(conversation: Conversation) -> None:
        await asyncio.to_thread(released.wait)
        await answer(200)(conversation)

    return behave


def test_who_is_frozen_amid_a_transaction_holds_up_the_others_for_seconds_only(postgresql_url: str) -> None:
    """It may hold a lane's row; PostgreSQL ends its session, as it would not do by itself."""
    with opened(postgresql_url) as database, database.writing.connect() as conn:
        told = conn.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()

    assert told == "20s"
