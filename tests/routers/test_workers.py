"""Several intake processes on one port: made anew when they die, ended together, and never orphaned."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from receiver.schema import events
from tests.routers.running import Process, a_missed_call, config_text, run, running
from tests.routers.store import opened, rows_of
from tests.routers.waiting import wait_until

ARGUMENTS = ("serve", "--role", "intake", "--port", "0", "--workers")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(config_text("http://127.0.0.1:9/"))
    return path


def workers_of(process: Process) -> list[int]:
    """The processes that *process* has made and that live."""
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def ready(process: Process, count: int) -> None:
    wait_until(lambda: "".join(process.lines).count("serve.ready") >= count)


def test_all_take_in_on_one_port_and_one_that_dies_is_made_anew(postgresql_url: str, config: Path) -> None:
    """Killed without a warning, each in turn, while webhooks come: the port never goes away."""
    with running(*ARGUMENTS, "2", "--config", str(config), "--database-url", postgresql_url) as process:
        ready(process, 2)
        first = workers_of(process)
        assert len(first) == 2
        for count, pid in enumerate(first, 1):
            os.kill(pid, signal.SIGKILL)
            ready(process, 2 + count)
            assert process.post("post-call", a_missed_call(count)) == 204
        assert not set(first) & set(workers_of(process))
        left = workers_of(process)
        assert process.end() == 0

    assert not any(map(is_alive, left))
    with opened(postgresql_url) as database:
        assert len(rows_of(database, events)) == 2


def test_they_end_with_their_watcher_however_it_ends(postgresql_url: str, config: Path) -> None:
    """A worker left behind would hold the port, and nobody could tell it to end."""
    with running(*ARGUMENTS, "2", "--config", str(config), "--database-url", postgresql_url) as process:
        ready(process, 2)
        workers = workers_of(process)
        process.kill()
        wait_until(lambda: not any(map(is_alive, workers)))


@pytest.mark.parametrize(
    ("role", "sentence"), [("all", "--workers is for --role intake"), ("intake", "--workers needs PostgreSQL")]
)
def test_several_are_refused_where_they_cannot_share(sqlite_url: str, config: Path, role: str, sentence: str) -> None:
    """With the remedy, as wrong use."""
    ran = run("serve", "--role", role, "--workers", "2", "--config", config, "--database-url", sqlite_url)

    assert ran.code == 2
    assert sentence in ran.err
