"""Everything at once: two dispatchers, a spool, a replay, a database that goes away, and processes killed at random."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from receiver.database import Database
from receiver.schema import EventState, events, instances
from routers.schema import DeliveryState, ReplayState, attempts, deliveries, objects, replays
from tests.crash.load import Load, a_free_port, more_than
from tests.crash.starting import starting
from tests.fakes.destination import answer
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread, slowly, times_arrived
from tests.postgresql import RunServer
from tests.routers.running import Process, config_text, run
from tests.routers.store import opened, rows_of
from tests.routers.waiting import wait_until

KILLS = int(os.environ.get("CALLRAIL_ROUTER_TEST_KILLS", "10"))
SEED = int(os.environ.get("CALLRAIL_ROUTER_TEST_SEED", "20261126"))
OPEN = (DeliveryState.PENDING, DeliveryState.BLOCKED, DeliveryState.SENDING)


@dataclass
class Pair:
    """A process that takes in and dispatches, and one that dispatches; each is started again when it is gone."""

    url: str
    common: list[str]
    port: int
    running: dict[str, tuple[ExitStack, Process]] = field(default_factory=dict)

    def start(self) -> None:
        roles = {"all": ["--port", str(self.port)], "dispatch": []}
        for role, options in roles.items():
            if role not in self.running:
                stack = ExitStack()
                process = stack.enter_context(starting("serve", "--role", role, *options, *self.common))
                process.wait_until_it_says("serve.ready")
                self.running[role] = stack, process

    def kill(self, role: str) -> int:
        """Without a warning; which process it was."""
        stack, process = self.running.pop(role)
        process.kill()
        stack.close()
        return process.popen.pid

    def end(self) -> None:
        for _, process in self.running.values():
            assert process.end() == 0

    def close(self) -> None:
        """Whatever happened, none is left: it would hold what others leave in the spool."""
        for stack, _ in self.running.values():
            stack.close()


@contextmanager
def away(server: RunServer) -> Iterator[None]:
    """Without a database. What is answered 204 meanwhile is in the spool."""
    server.halt()
    try:
        yield
    finally:
        server.resume()


def time_passes_for(url: str, pids: set[int]) -> None:
    """The leases of dead processes are over. By a connection of its own, for an older one ended with the database."""
    dead = select(instances.c.id).where(instances.c.pid.in_(pids))
    over = datetime.now(UTC) - timedelta(days=1)
    with opened(url) as database, database.writing.begin() as conn:
        is_theirs = deliveries.c.leased_by.in_(dead) & (deliveries.c.state == DeliveryState.SENDING.value)
        conn.execute(update(deliveries).where(is_theirs).values(lease_until=over))


def begin_to_replay(common: list[str]) -> int:
    """Send again what was delivered so far; how many messages that is."""
    planned = run("replay", "plan", "--since", "1h", "--again", "--rate", "50/s", "-o", "json", *common)
    plan = json.loads(planned.out)
    assert run("replay", "run", plan["id"], "--yes", *common[2:]).code == 0
    messages: int = plan["messages"]
    return messages


def is_done(database: Database) -> bool:
    if any(row.state == EventState.RECEIVED for row in rows_of(database, events)):
        return False
    if any(row.state in OPEN for row in rows_of(database, deliveries)):
        return False
    return [row.state for row in rows_of(database, replays)] == [ReplayState.DONE]


@pytest.mark.long
def test_killed_amid_all_trouble_it_loses_nothing_and_explains_every_delivery(
    own_server: RunServer, own_url: str, tmp_path: Path
) -> None:
    """Each 2xx is stored and told; what arrived twice says that it may have, and the replay sends all it planned."""
    rng = random.Random(SEED)
    config, spool = tmp_path / "router.yaml", tmp_path / "spool"
    common = ["--config", str(config), "--database-url", own_url]
    pair = Pair(own_url, [*common, "--spool", str(spool)], a_free_port())
    dead: set[int] = set()
    with receiver_in_a_thread() as destination, opened(own_url) as database, closing(pair):
        destination.behaves(slowly(answer(200), seconds=0.005))
        config.write_text(config_text(destination.url, sink="concurrency: 4, timeout: 5s, retry: [0s, 1s]"))
        load = Load([pair.port], pause=0.02)
        planned = 0
        with load.running():
            for kill in range(KILLS):
                pair.start()
                wait_until(more_than(load, len(load.answered) + rng.randint(1, 30)))
                if kill == KILLS // 3:
                    planned = begin_to_replay(common)
                with away(own_server) if rng.random() < 0.3 else ExitStack():
                    wait_until(more_than(load, len(load.answered) + rng.randint(1, 30)))
                    dead |= {pair.kill(role) for role in rng.choice([("all",), ("dispatch",), ("all", "dispatch")])}
                time_passes_for(own_url, dead)
        pair.start()
        time_passes_for(own_url, dead)
        wait_until(lambda: is_done(database))
        pair.end()

        stored = rows_of(database, events)
        calls = {row.id: row.object_id for row in rows_of(database, objects)}
        made = rows_of(database, deliveries)
        tries = rows_of(database, attempts)
    posted = {(calls[row.object_id], row.kind) for row in stored}
    missed = {call for call, kind in posted if kind == "post_call"}
    arrived = times_arrived(destination.requests)
    outcomes = {row.id: {one.outcome for one in tries if one.delivery_id == row.id} for row in made}

    # What was acknowledged is stored and routed, from the spool too, and nothing is left there.
    assert set(load.answered) <= posted
    assert load.refused == set()
    assert {row.state for row in stored} == {EventState.ROUTED}
    assert not list(spool.glob("in_*/*.segment"))
    # Each missed call is told once, and once more where the replay says so.
    assert Counter(calls[row.object_id] for row in made if row.generation == 0) == dict.fromkeys(missed, 1)
    assert planned
    assert sum(row.generation == 1 for row in made) == planned
    # Every delivery arrived; one that arrived twice has a try of which nobody knew whether it did.
    assert {row.state for row in made} == {DeliveryState.DELIVERED}
    assert set(arrived) == {row.id for row in made}
    assert {key for key, times in arrived.items() if times > 1} <= {
        key for key, told in outcomes.items() if "uncertain" in told
    }
    assert all("delivered" in told for told in outcomes.values())
