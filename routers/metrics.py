"""What Prometheus scrapes, on a port of its own: docs/metrics.md has the list.

Gauges and the latencies of deliveries are read from the database, so that they are true after a restart and whoever
wrote them; each process tells the same, and none is to be added up. Only what the intake answers is of one process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.asking import ask
from receiver.database import Database
from receiver.loggers import get_logger
from routers.latencies import Arrived, Latencies
from routers.operating import clock_of
from routers.overview import Overview, SinkOverview, overview
from routers.schema import OPEN, DeliveryState

_log = get_logger(__name__)

# Many who scrape cost no more than one.
FRESH_FOR = timedelta(seconds=5)
_ANSWER_WITHIN = 5.0  # seconds; a scraper waits ten
UNKNOWN = "unknown"  # in place of the companies we do not know: anybody can invent those

_INTAKE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_DELIVERY_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
_SHOWN_STATES = (*OPEN, DeliveryState.DEAD, DeliveryState.UNCERTAIN)

# Of each gauge the labels and what it says.
_GAUGES: dict[str, tuple[tuple[str, ...], str]] = {
    "database_up": ((), "1 if the database answered; else the other gauges are missing."),
    "process_info": (("version",), "Always 1; the version of the program."),
    "processes_alive": (("role",), "Processes with a heartbeat in the last 35 s."),
    "dispatchers_alive": ((), "Those of them that route and send."),
    "events_waiting": ((), "Events that are not routed yet."),
    "events_waiting_oldest_seconds": ((), "How long the oldest of them has waited; 0 if there is none."),
    "lookups_waiting": ((), "Transitions that wait for what is looked up at CallRail, or behind one that does."),
    "lookups_waiting_oldest_seconds": ((), "How long the oldest of them has waited; 0 if there is none."),
    "media_pending": ((), "Recordings and media of texts that are to be fetched."),
    "media_pending_oldest_seconds": ((), "How long the oldest of them has waited; 0 if there is none."),
    "media_failed": (("state",), "Recordings and media of seven days that were refused, or given up as gone."),
    "events_failed": ((), "Events that could not be routed in five tries."),
    "events_last_hour": (("kind",), "Events that came in the last hour; counted up to 100,000."),
    "repeats_last_hour": ((), "Events of the last hour that repeat an earlier one."),
    "quarantine_requests": (("company",), "Requests in quarantine; those of no company of yours as unknown."),
    "quarantine_bytes": (("company",), "What they take of their buckets: bodies and headers."),
    "spooled_webhooks": ((), "Webhooks that wait in the spools of all living processes."),
    "spooling_seconds": ((), "For how long a process has taken webhooks into its spool; 0 if none does."),
    "deliveries": (("sink", "state"), "Deliveries that have not ended, and dead and uncertain ones."),
    "oldest_undelivered_seconds": (("sink",), "Since when the oldest that has not ended waits; 0 if there is none."),
    "delivered_last_hour": (("sink",), "Deliveries that arrived in the last hour."),
    "lane_paused": (("sink",), "1 while the lane rests or is held."),
    "lane_held": (("sink",), "1 while an operator holds the lane."),
    "lane_failures": (("sink",), "Failures in a row."),
}
_PREFIX = "callrail_router_"

Values = Iterable[tuple[str, tuple[str, ...], float]]


class Metrics:
    """All metrics of this process.

    Args:
        companies: The names that may stand in a label.
    """

    def __init__(self, database: Database, companies: Iterable[str], *, latencies: Latencies | None = None) -> None:
        self._database = database
        self._companies = frozenset(companies)
        self._clock = clock_of(database)
        self._latencies = latencies or Latencies(datetime.now(UTC))
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._values: Values = ()
        self._answers = Counter(
            f"{_PREFIX}intake_answers",
            "Webhooks answered by this process, by HTTP status.",
            ["status"],
            registry=self._registry,
        )
        self._intake = Histogram(
            f"{_PREFIX}intake_seconds",
            "From a webhook's head to the answer, in this process.",
            buckets=_INTAKE_BUCKETS,
            registry=self._registry,
        )
        self._received_to_delivered = Histogram(
            f"{_PREFIX}received_to_delivered_seconds",
            "From a webhook's arrival to the delivery of what it brought about.",
            ["sink"],
            buckets=_DELIVERY_BUCKETS,
            registry=self._registry,
        )
        self._hang_up_to_first_message = Histogram(
            f"{_PREFIX}hang_up_to_first_message_seconds",
            "From the end of a call to the first message about it that arrived.",
            buckets=_DELIVERY_BUCKETS,
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All of it as Prometheus reads it. Asks the database, and says so where that fails."""
        try:
            with self._database.reading.connect() as conn:
                self._values = list(self._look(conn))
        except Exception as error:  # whatever it is, the rest is still told
            _log.warning("metrics.database_not_read", error=type(error).__name__)
            return self.text_without_database()
        return generate_latest(self._registry)

    def text_without_database(self) -> bytes:
        """What this process knows by itself, for when the database does not answer. Waits for nothing."""
        self._values = [("database_up", (), 0)]
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry: the gauges as they were read last."""
        families = {
            name: GaugeMetricFamily(_PREFIX + name, told, labels=labels) for name, (labels, told) in _GAUGES.items()
        }
        families["process_info"].add_metric([version("callrail-router")], 1)
        for name, labels, value in self._values:
            families[name].add_metric(labels, value)
        yield from families.values()

    def timed(self, app: ASGIApp) -> ASGIApp:
        """*app*, with its answers to webhooks counted and timed."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith("/callrail/"):
                await app(scope, receive, send)
                return
            began = time.perf_counter()

            async def count(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._intake.observe(time.perf_counter() - began)
                    self._answers.labels(message["status"]).inc()
                await send(message)

            await app(scope, receive, count)

        return call

    def _look(self, conn: Connection) -> Values:
        now = self._clock.now(conn)
        yield "database_up", (), 1
        yield from self._of_all(overview(conn, now))
        self._latencies.look(conn, datetime.now(UTC), self._observe)  # ids are made by the clocks of processes

    def _of_all(self, seen: Overview) -> Values:
        for role in sorted({row.role for row in seen.processes}):
            yield "processes_alive", (role,), sum(row.role == role for row in seen.processes)
        yield "dispatchers_alive", (), seen.dispatchers
        yield "events_waiting", (), seen.waiting.count
        yield "events_waiting_oldest_seconds", (), seen.age(seen.waiting.oldest)
        yield "lookups_waiting", (), seen.looking_up.count
        yield "lookups_waiting_oldest_seconds", (), seen.age(seen.looking_up.oldest)
        yield "media_pending", (), seen.media.pending
        yield "media_pending_oldest_seconds", (), seen.age(seen.media.oldest)
        yield "media_failed", ("refused",), seen.media.refused
        yield "media_failed", ("gone",), seen.media.gone
        yield "events_failed", (), seen.failed
        yield from (("events_last_hour", (kind,), count) for kind, count in seen.kinds.items())
        yield "repeats_last_hour", (), seen.repeats
        yield "spooled_webhooks", (), seen.spooled
        yield "spooling_seconds", (), seen.age(seen.spooling_since)
        yield from self._of_quarantine(seen)
        for name, sink in seen.sinks.items():
            yield from _of_sink(name, sink, seen)

    def _of_quarantine(self, seen: Overview) -> Values:
        rows = {name: [0, 0] for name in (*sorted(self._companies), UNKNOWN)}
        for held in seen.held:
            counted = rows[held.company if held.company in self._companies else UNKNOWN]
            counted[0] += held.rows
            counted[1] += held.bytes
        for company, (requests, size) in rows.items():
            yield "quarantine_requests", (company,), requests
            yield "quarantine_bytes", (company,), size

    def _observe(self, arrived: Arrived) -> None:
        self._received_to_delivered.labels(arrived.sink).observe(arrived.since_received.total_seconds())
        if arrived.since_hang_up is not None:
            self._hang_up_to_first_message.observe(arrived.since_hang_up.total_seconds())


def _of_sink(name: str, sink: SinkOverview, seen: Overview) -> Values:
    for state in _SHOWN_STATES:
        yield "deliveries", (name, state.value), sink.of(state)
    yield "oldest_undelivered_seconds", (name,), seen.age(sink.oldest)
    yield "delivered_last_hour", (name,), sink.sent
    if sink.condition is not None:
        yield "lane_paused", (name,), sink.condition.is_paused(seen.now)
        yield "lane_held", (name,), sink.condition.is_held
        yield "lane_failures", (name,), sink.condition.failures


def metrics_app(
    text: Callable[[], bytes],
    instead: Callable[[], bytes],
    *,
    fresh_for: timedelta = FRESH_FOR,
    answer_within: float = _ANSWER_WITHIN,
) -> Starlette:
    """`GET /metrics`. *text* is called in a thread, once at a time; while what it said is fresh it is told again.

    Args:
        instead: Is told where *text* takes longer than *answer_within* (seconds).
    """
    asking: asyncio.Task[bytes] | None = None
    asked_at = 0.0

    async def metrics(_request: Request) -> Response:
        nonlocal asking, asked_at
        is_stale = time.monotonic() - asked_at > fresh_for.total_seconds()
        if asking is None or (asking.done() and is_stale):
            asking, asked_at = asyncio.create_task(ask(text)), time.monotonic()
        try:
            said = await asyncio.wait_for(asyncio.shield(asking), answer_within)
        except TimeoutError:
            said = instead()
        return Response(said, headers=_HEADERS)

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])


_HEADERS = {"content-type": CONTENT_TYPE_PLAIN_0_0_4}
