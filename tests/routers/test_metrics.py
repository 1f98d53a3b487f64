"""The metrics over HTTP, read by Prometheus's own parser and held against the database."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from receiver.events import ReceivedRequest, insert_quarantined
from receiver.ids import Prefix, new_id
from receiver.instances import Instance, beat
from receiver.schema import EventState, QuarantineReason, events
from routers import lanes
from routers.config import read_config
from routers.latencies import Latencies
from routers.listening import bind
from routers.metrics import FRESH_FOR, UNKNOWN, Metrics, metrics_app
from routers.schema import DeliveryState, deliveries
from routers.serve import Plan, Role, serve
from tests.client import get, post_signed
from tests.fakes.destination import running_destination
from tests.routers.running import KEY, SECRETS, config_text, run
from tests.routers.store import opened, put_deliveries, real_clock, receive, rows_of
from tests.routers.waiting import until
from tests.serving import serving

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).parent.parent.parent / "docs" / "metrics.md"
ALERTS = Path(__file__).parent.parent.parent / "examples" / "prometheus-alerts.yml"
PREFIX = "callrail_router_"


class Scraped(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Samples by name and labels; `s("deliveries", sink="crm")` is the value, None if there is no such sample."""

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.get((PREFIX + name, frozenset(labels.items())))


def parsed(text: bytes) -> Scraped:
    families = text_string_to_metric_families(text.decode())
    return Scraped({(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples})


def a_moment_ago(**ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(**ago)


def test_the_gauges_are_what_the_database_has(database_url: str) -> None:
    """Each number counted by hand; the label of a company is one of ours or `unknown`."""
    long_ago = a_moment_ago(minutes=10)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            first, second, _third = put_deliveries(conn, count=3, now=long_ago)
            put_deliveries(conn, sink="old", count=1, now=a_moment_ago(hours=30))
            conn.execute(update(deliveries).where(deliveries.c.id == second).values(state=DeliveryState.DEAD.value))
            conn.execute(update(deliveries).where(deliveries.c.id == first).values(state=DeliveryState.BLOCKED.value))
            lanes.hold(conn, "old", "they move")
            ids = [receive(conn, "post_call", {"resource_id": f"CAL{n}"}) for n in range(4)]
            conn.execute(update(events).where(events.c.id == ids[0]).values(state=EventState.FAILED.value))
            conn.execute(update(events).where(events.c.id == ids[1]).values(state="routed", repeat_of=ids[0]))
            for company in ("acme", "acme", "+15551234567", "nobody"):
                request = ReceivedRequest(long_ago, company, "post_call", "application/json", {}, b"12345")
                insert_quarantined(conn, new_id(Prefix.EVENT), request, QuarantineReason.SIGNATURE_WRONG, None)
            now = real_clock(database).now(conn)
            beat(conn, Instance.of("intake"), now=now, spooled=7, spooling_since=now - timedelta(seconds=50))
            beat(conn, Instance.of("dispatch"), now=now)
            beat(conn, Instance.of("dispatch"), now=now - timedelta(minutes=1))

        told = parsed(Metrics(database, ["acme"]).text())

    assert told("database_up") == 1
    assert [told("deliveries", sink="crm", state=state) for state in ("pending", "blocked", "dead", "sending")] == [
        1, 1, 1, 0,
    ]  # fmt: skip
    oldest = told("oldest_undelivered_seconds", sink="crm")
    assert oldest is not None
    assert 600 <= oldest < 700
    assert [told("lane_held", sink=sink) for sink in ("crm", "old")] == [0, 1]
    assert [told("lane_paused", sink=sink) for sink in ("crm", "old")] == [0, 1]
    assert [told(name) for name in ("events_waiting", "events_failed", "repeats_last_hour")] == [2, 1, 1]
    assert told("events_last_hour", kind="post_call") == 4
    assert [told("quarantine_requests", company=name) for name in ("acme", UNKNOWN)] == [2, 2]
    assert [told("quarantine_bytes", company=name) for name in ("acme", UNKNOWN)] == [14, 14]
    assert "15551234567" not in str(told)
    assert [told("spooled_webhooks"), told("dispatchers_alive")] == [7, 1]
    assert [told("processes_alive", role=role) for role in ("intake", "dispatch", "all")] == [1, 1, None]
    spooling = told("spooling_seconds")
    assert spooling is not None
    assert 50 <= spooling < 100


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    path = tmp_path / "router.yaml"
    path.write_text(config_text("https://127.0.0.1:1"))
    return path


@asynccontextmanager
async def measured(config: Path, database_url: str, role: Role = Role.ALL) -> AsyncIterator[tuple[int, int]]:
    """`serve` with metrics; the ports of the intake and of the metrics."""
    listener, metrics = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    stop, ready = asyncio.Event(), asyncio.Event()
    plan = Plan(read_config(config), database_url, role, listener, config.parent / "spool", metrics)
    task = asyncio.create_task(serve(plan, stop=stop, on_ready=ready.set))
    await ready.wait()
    try:
        yield listener.getsockname()[1], metrics.getsockname()[1]
    finally:
        stop.set()
        await task


async def test_what_a_call_took_is_in_the_histograms(database_url: str, config: Path) -> None:
    """From its webhook and from its end to the first message; of two messages one is the first."""
    started = datetime.now(UTC)
    told = {"resource_id": "CAL1", "call_type": "missed", "answered": False, "duration": 30}
    told["start_time"] = (started - timedelta(seconds=100)).isoformat()
    rules = "  - {id: missed, when: [call.missed], send: [{to: crm, id: a}, {to: crm, id: b}]}"
    async with running_destination() as destination:
        write(config, config_text(destination.url, rules))
        async with measured(config, database_url) as (port, _metrics_port):
            await post_signed(port, "/callrail/acme/post_call", json.dumps(told).encode(), key=KEY)
            await until(lambda: states_of(database_url) == ["delivered"] * 2)
    with opened(database_url) as database:
        metrics = Metrics(database, ["acme"], latencies=Latencies(started, settled_after=timedelta(0)))
        await until(lambda: parsed(metrics.text())("received_to_delivered_seconds_count", sink="crm") == 2)
        scraped = parsed(metrics.text())

    assert scraped("received_to_delivered_seconds_count", sink="crm") == 2  # and not again at the second look
    assert scraped("hang_up_to_first_message_seconds_count") == 1
    took = scraped("hang_up_to_first_message_seconds_sum")
    assert took is not None
    assert 70 <= took < 130


def write(path: Path, text: str) -> None:
    path.write_text(text)


def states_of(database_url: str) -> list[str]:
    with opened(database_url) as database:
        return [row.state for row in rows_of(database, deliveries)]


async def test_the_intake_is_counted_by_answer_and_the_metrics_have_a_port_of_their_own(
    sqlite_url: str, config: Path
) -> None:
    """What is no webhook is not counted, and the public port knows no metrics."""
    async with measured(config, sqlite_url) as (port, metrics_port):
        for key in (KEY, KEY, "another key"):
            await post_signed(port, "/callrail/acme/post_call", b"{}", key=key)
        await get(port, "/healthz")
        missing = await get(port, "/metrics")
        reply = await get(metrics_port, "/metrics")

    assert missing.status == 404
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = parsed(reply.body)
    assert [told("intake_answers_total", status=status) for status in ("204", "401", "200")] == [2, 1, None]
    assert told("intake_seconds_count") == 3


async def test_a_database_that_is_away_is_a_number_and_no_error(unmigrated_url: str, config: Path) -> None:
    """The intake's own numbers are told all the same."""
    async with measured(config, unmigrated_url, Role.INTAKE) as (_port, metrics_port):
        reply = await get(metrics_port, "/metrics")

    told = parsed(reply.body)
    assert reply.status == 200
    assert [told("database_up"), told("intake_seconds_count"), told("events_failed")] == [0, 0, None]


async def test_many_who_scrape_cost_no_more_than_one() -> None:
    """The database is asked once, however many ask at once and soon after."""
    asked = []

    def text() -> bytes:
        asked.append(1)
        return b"told"

    async with serving(metrics_app(text, text)) as port:
        replies = await asyncio.gather(*(get(port, "/metrics") for _ in range(5)))
        replies.append(await get(port, "/metrics"))
        fresh = len(asked)
    async with serving(metrics_app(text, text, fresh_for=timedelta(0))) as port:
        for _ in range(2):
            await get(port, "/metrics")

    assert {reply.body for reply in replies} == {b"told"}
    assert [fresh, len(asked)] == [1, 3]
    assert timedelta(0) < FRESH_FOR < timedelta(seconds=15)  # a usual scrape interval sees no old numbers


async def test_a_database_that_hangs_takes_only_its_own_numbers_away(sqlite_url: str) -> None:
    """The answers of the intake matter most just then; whoever scrapes does not wait for the database."""
    answers = threading.Event()
    with opened(sqlite_url) as database:
        metrics = Metrics(database, [])

        def hangs() -> bytes:
            answers.wait()
            return metrics.text()

        async with serving(metrics_app(hangs, metrics.text_without_database, answer_within=0.01)) as port:
            told = parsed((await get(port, "/metrics")).body)
            answers.set()

    assert [told("database_up"), told("intake_seconds_count"), told("events_failed")] == [0, 0, None]


def test_a_port_that_is_taken_is_said_with_the_option_that_chooses_it(sqlite_url: str, config: Path) -> None:
    """The other port has options of its own."""
    with bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        ran = run("serve", "--config", config, "--database-url", sqlite_url, "--port", "0", "--metrics-port", port)

    assert ran.code == 2
    assert f"cannot listen on 127.0.0.1:{port}: address already in use; choose another with --metrics-host" in ran.err


def metrics_of_the_program(url: str) -> Iterator[tuple[str, str, str]]:
    """Name, type and what it says, as Prometheus's parser reads them."""
    with opened(url) as database:
        text = Metrics(database, []).text().decode()
    for family in text_string_to_metric_families(text):
        yield family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation


def test_the_page_has_every_metric(sqlite_url: str) -> None:
    """By name, type and sentence, and no other."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]*\| (.+) \|$", DOCS.read_text(), re.MULTILINE)

    assert rows == sorted(metrics_of_the_program(sqlite_url))


def test_the_alerts_name_metrics_that_there_are(sqlite_url: str) -> None:
    """Each has an expression, a severity and a sentence for whoever is woken."""
    known = {name for name, *_ in metrics_of_the_program(sqlite_url)}
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]

    for alert in group["rules"]:
        named = {name.removesuffix("_bucket") for name in re.findall(rf"{PREFIX}\w+", alert["expr"])}
        assert named
        assert named <= known
        assert alert["labels"]["severity"] in ("page", "warn")
        assert alert["annotations"]["summary"]
