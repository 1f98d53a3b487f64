"""The router behind nginx and Caddy, as examples/deploy sets them up: what passes, what does not, what is logged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from receiver.events import MAX_BODY_BYTES
from receiver.schema import events
from tests.proxies import PROXIES, Proxy, free_port, running_proxy
from tests.routers.running import Process, a_missed_call, config_text, running
from tests.routers.store import opened, rows_of
from tests.routers.waiting import wait_until

QUERY = "callernum=%2B14045550193&callername=HARPER"
TARGET = "/callrail/acme/post_call"


@pytest.fixture(params=PROXIES)
def proxy_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(config_text("http://127.0.0.1:9/"))
    return path


@pytest.fixture
def intakes() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def proxy(tmp_path: Path, proxy_name: str, intakes: tuple[int, int]) -> Iterator[Proxy]:
    folder = tmp_path / proxy_name
    folder.mkdir()
    with running_proxy(proxy_name, folder, intakes) as proxy:
        yield proxy


def test_a_webhook_passes_unchanged_and_who_called_is_not_logged(
    proxy: Proxy, config: Path, sqlite_url: str, intakes: tuple[int, int]
) -> None:
    """Its signature still proves it, whatever its size and however long its URL; the log has the path only."""
    long_query = f"{QUERY}&more={'x' * 20_000}"
    largest = b'{"resource_id": "CAL2", "note": "' + b"x" * (MAX_BODY_BYTES - 35) + b'"}'
    assert len(largest) == MAX_BODY_BYTES
    with serving(intakes[0], config, sqlite_url, "all"):
        assert proxy.post(f"{TARGET}?{long_query}", a_missed_call()) == 204
        assert proxy.post(TARGET, largest) == 204
        assert proxy.post(f"{TARGET}?{QUERY}", b"x" * (6 * 1024 * 1024)) == 413

    with opened(sqlite_url) as database:
        assert [row.body for row in rows_of(database, events)] == [a_missed_call(), largest]
    wait_until(lambda: TARGET in proxy.logged())
    assert "HARPER" not in proxy.logged()


def test_what_is_not_for_the_internet_does_not_reach_the_router(
    proxy: Proxy, config: Path, sqlite_url: str, intakes: tuple[int, int]
) -> None:
    """Health and readiness are there for the machine itself; behind the proxy they are not found."""
    with serving(intakes[0], config, sqlite_url, "all"):
        asked = [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("POST", "/"), ("GET", TARGET)]
        statuses = [proxy.ask(method, target) for method, target in asked]

    assert set(statuses) <= {403, 404}


def test_a_proxy_without_an_intake_says_so_and_logs_nobody_s_name(proxy: Proxy) -> None:
    """What goes wrong is logged too, without the query string."""
    assert proxy.post(f"{TARGET}?{QUERY}", a_missed_call()) in (502, 503)

    wait_until(lambda: TARGET in proxy.logged())
    assert "HARPER" not in proxy.logged()


def test_two_intakes_restart_in_turn_and_no_webhook_is_lost(
    proxy: Proxy, config: Path, database_url: str, intakes: tuple[int, int]
) -> None:
    """One is told to end and the other killed, while webhooks come; CallRail sees 204 only, and each is stored."""
    sent: list[bytes] = []
    statuses: list[int] = []
    enough = threading.Event()

    def post() -> None:
        while not enough.is_set():
            sent.append(a_missed_call(len(sent) + 1))
            statuses.append(proxy.post(TARGET, sent[-1]))

    def more_are_answered(count: int = 10) -> None:
        answered = len(statuses)
        wait_until(lambda: len(statuses) >= answered + count or not sender.is_alive())

    sender = threading.Thread(target=post)
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(serving(port, config, database_url, role))
            for port, role in zip(intakes, ("all", "intake"), strict=True)
        )
        sender.start()
        stack.callback(sender.join)
        stack.callback(enough.set)
        more_are_answered()
        assert first.end() == 0
        more_are_answered()
        stack.enter_context(serving(intakes[0], config, database_url, "all"))
        more_are_answered()
        second.kill()
        more_are_answered()
        stack.enter_context(serving(intakes[1], config, database_url, "intake"))
        more_are_answered()
        enough.set()
        sender.join()

    assert set(statuses) == {204}
    with opened(database_url) as database:
        assert {row.body for row in rows_of(database, events)} == set(sent)


@contextmanager
def serving(port: int, config: Path, database_url: str, role: str) -> Iterator[Process]:
    """`serve` at *port*, once it is ready."""
    where = ("--port", str(port), "--config", config, "--database-url", database_url)
    with running("serve", "--role", role, *where) as process:
        process.wait_until_it_says("serve.ready")
        yield process
