"""A real `callrail-router serve`, killed at random under load and started again: what is lost, and what repeats."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from callrail.signature import sign
from receiver.database import Database
from receiver.schema import EventState, events
from routers.schema import DeliveryState, deliveries, objects
from tests.fakes.destination import answer
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread, slowly, times_arrived
from tests.routers.running import KEY, config_text, running
from tests.routers.store import opened, rows_of
from tests.routers.waiting import wait_until

KILLS = int(os.environ.get("CALLRAIL_ROUTER_TEST_KILLS", "10"))
SEED = int(os.environ.get("CALLRAIL_ROUTER_TEST_SEED", "20261125"))
CONCURRENCY = 4
SENDERS = 3
HELD = {DeliveryState.LEASED, DeliveryState.SENDING}

Told = tuple[str, str]
"""Call and kind of one webhook."""


@dataclass
class Load:
    """Webhooks of ever new calls, posted by several senders; CallRail posts each of them once, whatever is answered.

    *answered* are those that got a 2xx; of all others nobody was promised anything.
    """

    port: int
    answered: list[Told] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)

    def send(self, sender: int) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            call = f"CAL{sender:02}x{number:06}"
            for kind, duration in (("pre_call", 0), ("post_call", 30)):
                self._post(call, kind, duration)

    def _post(self, call: str, kind: str, duration: int) -> None:
        told = {"resource_id": call, "call_type": "missed", "answered": False, "duration": duration}
        body = json.dumps(told).encode()
        headers = {"Content-Type": "application/json", "Signature": sign(KEY.encode(), body)}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", f"/callrail/acme/{kind}", body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):  # killed amid it, or not up again yet
            self.stopping.wait(0.02)  # leaves the processor to what starts
        else:
            if 200 <= status < 300:
                self.answered.append((call, kind))
            else:
                self.refused.add(status)
        finally:
            connection.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.send, args=(number,)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join()


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def more_than(load: Load, count: int) -> Callable[[], bool]:
    return lambda: len(load.answered) >= count


def held_at_the_kill(database: Database) -> tuple[set[str], set[str]]:
    """What the dead process was sending, and what it had only claimed. Its leases are over at once: time passes."""
    found = [row for row in rows_of(database, deliveries) if row.state in HELD]
    with database.writing.begin() as conn:
        over = datetime.now(UTC) - timedelta(days=1)
        conn.execute(update(deliveries).where(deliveries.c.state.in_(HELD)).values(lease_until=over))
    return (
        {row.id for row in found if row.state == DeliveryState.SENDING},
        {row.id for row in found if row.state == DeliveryState.LEASED},
    )


def is_done(database: Database) -> bool:
    waiting = any(row.state != EventState.ROUTED for row in rows_of(database, events))
    return not waiting and all(row.state == DeliveryState.DELIVERED for row in rows_of(database, deliveries))


@pytest.mark.parametrize("kills", [KILLS])
def test_killed_under_load_it_loses_nothing_it_answered_for_and_repeats_only_what_it_was_sending(
    database_url: str, tmp_path: Path, kills: int
) -> None:
    """Every 2xx has a row and reaches the sink; twice arrives at most what was being sent when the process died."""
    rng = random.Random(SEED)
    config = tmp_path / "router.yaml"
    port = a_free_port()
    arguments = ["serve", "--port", str(port), "--config", str(config), "--database-url", database_url]
    was_sending: set[str] = set()
    was_claimed: set[str] = set()
    with receiver_in_a_thread() as destination, opened(database_url) as database:
        destination.behaves(slowly(answer(200), seconds=0.005))
        config.write_text(
            config_text(destination.url, sink=f"concurrency: {CONCURRENCY}, timeout: 5s, retry: [0s, 1s]")
        )
        load = Load(port)
        with load.running():
            for _ in range(kills):
                with running(*arguments) as process:
                    process.wait_until_it_says("serve.ready")
                    wait_until(more_than(load, len(load.answered) + rng.randint(1, 120)))
                    process.kill()
                sending, claimed = held_at_the_kill(database)
                assert len(sending) <= CONCURRENCY
                was_sending |= sending
                was_claimed |= claimed
        with running(*arguments) as process:
            process.wait_until_it_says("serve.ready")
            wait_until(lambda: is_done(database))
            assert process.end() == 0

        stored = rows_of(database, events)
        calls = {row.id: row.object_id for row in rows_of(database, objects)}
        sent = {row.id: row for row in rows_of(database, deliveries)}
    arrived = times_arrived(destination.requests)
    repeated = {webhook_id for webhook_id, times in arrived.items() if times > 1}
    rows = Counter((calls[row.object_id], row.kind) for row in stored)

    # No acknowledged event is lost, and none is there twice.
    assert load.answered
    assert {rows[told] for told in load.answered} == {1}
    assert {status for status in load.refused if status != 503} == set()  # while it ends, it may say that it cannot
    # Each missed call in the store is one delivery, and each arrived.
    assert sorted(calls[row.object_id] for row in sent.values()) == sorted(
        call for call, kind in rows if kind == "post_call"
    )
    assert set(arrived) == set(sent)
    # What may repeat is only what was being sent; the rows show that they were taken up again.
    assert was_sending  # else nothing was tried here
    assert repeated <= was_sending
    assert sum(arrived.values()) - len(arrived) <= kills * CONCURRENCY
    assert {sent[webhook_id].fence >= 2 for webhook_id in was_sending | was_claimed} == {True}
