"""A real `callrail-router serve`, killed at random under load and started again: what is lost, and what repeats."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from receiver.database import Database
from receiver.schema import EventState, events
from routers.schema import DeliveryState, deliveries, objects
from tests.crash.load import Load, a_free_port, more_than
from tests.crash.starting import starting
from tests.fakes.destination import answer, port_nobody_listens_on
from tests.fakes.receiver_of_webhooks import receiver_in_a_thread, slowly, times_arrived
from tests.fakes.slack import TOKEN, FakeSlack
from tests.routers.running import config_text
from tests.routers.store import opened, rows_of
from tests.routers.waiting import LONGEST, wait_until

KILLS = int(os.environ.get("CALLRAIL_ROUTER_TEST_KILLS", "10"))
KILLS_AMONG_FOUR = 2 * KILLS
SEED = int(os.environ.get("CALLRAIL_ROUTER_TEST_SEED", "20261125"))
CONCURRENCY = 4
CLAIMED = 2 * CONCURRENCY  # a webhook's receiver drops repeats, so as much may be claimed ahead as is on the way


def sent_at_the_kill(database: Database) -> set[str]:
    """What the dead process was sending. Its leases are over at once: time passes."""
    is_sending = deliveries.c.state == DeliveryState.SENDING.value
    found = {row.id for row in rows_of(database, deliveries) if row.state == DeliveryState.SENDING}
    with database.writing.begin() as conn:
        over = datetime.now(UTC) - timedelta(days=1)
        conn.execute(update(deliveries).where(is_sending).values(lease_until=over))
    return found


def is_done(database: Database) -> bool:
    waiting = any(row.state != EventState.ROUTED for row in rows_of(database, events))
    return not waiting and all(row.state == DeliveryState.DELIVERED for row in rows_of(database, deliveries))


@pytest.mark.long
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
    with receiver_in_a_thread() as destination, opened(database_url) as database:
        destination.behaves(slowly(answer(200), seconds=0.005))
        config.write_text(
            config_text(destination.url, sink=f"concurrency: {CONCURRENCY}, timeout: 5s, retry: [0s, 1s]")
        )
        load = Load([port])
        with load.running():
            for _ in range(kills):
                with starting(*arguments) as process:
                    process.wait_until_it_says("serve.ready")
                    wait_until(more_than(load, len(load.answered) + rng.randint(1, 120)))
                    process.kill()
                sending = sent_at_the_kill(database)
                assert len(sending) <= CLAIMED
                was_sending |= sending
        with starting(*arguments) as process:
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
    assert sum(arrived.values()) - len(arrived) <= kills * CLAIMED
    assert {sent[webhook_id].fence >= 2 for webhook_id in was_sending} == {True}


# --- four sinks ------------------------------------------------------------------------------------------------------

FOUR_SINKS = """\
companies:
  acme: {{signing_keys: [env:ACME_KEY]}}
sinks:
  crm: {{type: webhook, url: '{crm}', signing_secrets: [env:CRM_SECRET], allow_hosts: [127.0.0.1],
        concurrency: {concurrency}, retry: [0s, 1s]}}
  slow: {{type: webhook, url: '{slow}', signing_secrets: [env:CRM_SECRET], allow_hosts: [127.0.0.1],
         concurrency: {concurrency}, retry: [0s, 1s]}}
  dead: {{type: webhook, url: 'http://127.0.0.1:{dead}', signing_secrets: [env:CRM_SECRET], allow_hosts: [127.0.0.1],
         retry: [1h]}}
  chat: {{type: slack, token: env:SLACK_TOKEN, channel: C0123ABCD, base_url: '{chat}', allow_hosts: [127.0.0.1],
         rate: 20/s}}
rules:
  - {{id: missed, when: [call.missed], send: [{{to: crm}}, {{to: slow}}, {{to: dead}}, {{to: chat}}]}}
"""


def of_sink(database: Database, sink: str) -> dict[str, str]:
    """The state of each delivery to *sink*, by its id."""
    return {row.id: row.state for row in rows_of(database, deliveries) if row.sink == sink}


def a_minute_passes(database: Database) -> None:
    """For what is repeated only then, because it may have arrived."""
    with database.writing.begin() as conn:
        now = datetime.now(UTC) - timedelta(days=1)
        waiting = deliveries.c.may_repeat & (deliveries.c.state == DeliveryState.PENDING)
        conn.execute(update(deliveries).where(waiting).values(due_at=now))


def all_but_the_dead_are_done(database: Database) -> bool:
    if any(row.state != EventState.ROUTED for row in rows_of(database, events)):
        return False
    a_minute_passes(database)
    ended = {DeliveryState.DELIVERED, DeliveryState.UNCERTAIN}
    return all(row.state in ended for row in rows_of(database, deliveries) if row.sink != "dead")


def posts_by_delivery(slack: FakeSlack) -> dict[str, list[str]]:
    """What the channel shows of each delivery, oldest first."""
    found: dict[str, list[str]] = {}
    for posted in slack.workspace.messages:
        assert posted.metadata is not None
        found.setdefault(posted.metadata["event_payload"]["delivery"], []).append(posted.shown)
    return found


@pytest.mark.long
def test_killed_among_four_sinks_it_loses_nothing_and_says_what_may_repeat(database_url: str, tmp_path: Path) -> None:
    """One is dead, one slow, one limited: the others get all, twice only what was on the way, and people see it."""
    rng = random.Random(SEED)
    config = tmp_path / "router.yaml"
    port = a_free_port()
    arguments = ["serve", "--port", str(port), "--config", str(config), "--database-url", database_url]
    environ = {"SLACK_TOKEN": TOKEN}
    was_sending: set[str] = set()
    with (
        receiver_in_a_thread() as crm,
        receiver_in_a_thread() as slow,
        receiver_in_a_thread() as chat,
        port_nobody_listens_on() as dead,
        opened(database_url) as database,
    ):
        slack = FakeSlack(chat)
        chat.behaves(slowly(slack.behave, seconds=0.02))
        slow.behaves(slowly(answer(200), seconds=0.2))
        written = FOUR_SINKS.format(crm=crm.url, slow=slow.url, dead=dead, chat=slack.base_url, concurrency=CONCURRENCY)
        config.write_text(written)
        load = Load([port], pause=0.02)
        with load.running():
            for _ in range(KILLS_AMONG_FOUR):
                with starting(*arguments, environ=environ) as process:
                    process.wait_until_it_says("serve.ready")
                    wait_until(more_than(load, len(load.answered) + rng.randint(1, 30)))
                    process.kill()
                was_sending |= sent_at_the_kill(database)
        with starting(*arguments, environ=environ) as process:
            process.wait_until_it_says("serve.ready")
            # What a slow sink has waiting grows with the time it was killed.
            wait_until(lambda: all_but_the_dead_are_done(database), longest=LONGEST * max(1, KILLS / 10))
            assert process.end() == 0

        rows = Counter((row.company, row.kind) for row in rows_of(database, events))
        stored = {(row.object_id, row.type) for row in rows_of(database, objects)}
        to = {sink: of_sink(database, sink) for sink in ("crm", "slow", "dead", "chat")}

    # Nothing acknowledged is lost, and each missed call is told to each of the four.
    assert {(call, "call") for call, _ in load.answered} <= stored
    assert {status for status in load.refused if status != 503} == set()
    assert {len(states) for states in to.values()} == {rows["acme", "post_call"]}
    # The receivers of webhooks have each once, or a repeat under the same id of what was on the way.
    for destination, states in ((crm, to["crm"]), (slow, to["slow"])):
        arrived = times_arrived(destination.requests)
        assert set(arrived) == set(states)
        assert {webhook_id for webhook_id, times in arrived.items() if times > 1} <= was_sending
    # Nobody listens there, and no row of it is gone.
    assert DeliveryState.DELIVERED not in to["dead"].values()
    # People read twice only what was on the way, and the second says so; what is uncertain was on the way, too.
    shown = posts_by_delivery(slack)
    uncertain = {key for key, state in to["chat"].items() if state == DeliveryState.UNCERTAIN}
    assert uncertain <= was_sending
    assert to["chat"].keys() - uncertain <= shown.keys() <= to["chat"].keys()
    repeated = {key: texts for key, texts in shown.items() if len(texts) > 1}
    assert repeated.keys() <= was_sending
    assert all("May repeat" in text for texts in repeated.values() for text in texts[1:])
    assert not any("May repeat" in text for key, texts in shown.items() if key not in was_sending for text in texts)
    assert was_sending & to["chat"].keys()  # else nothing was tried here
