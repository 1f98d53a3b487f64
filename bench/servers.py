"""Databases and servers to be measured: made fresh, on this machine's disk, gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.config import SINK_SECRET, router_yaml, webhook_sink
from bench.traffic import CLIENTS
from routers.migrate import upgrade
from tests.postgresql import RunServer, fresh_database, new_run

ROUTER = (str(Path(sys.executable).with_name("callrail-router")),)
VERIFIER = (sys.executable, "-m", "bench.verify_app")
_ROOT = Path(__file__).parent.parent
_START_WITHIN = 20.0


class Kind(StrEnum):
    """The databases that can be measured."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class ServerFailed(Exception):
    """A server ended, or did not answer; the text holds the end of its log."""


class Workspace:
    """Where everything is kept while it is measured: a folder of the checkout, and a PostgreSQL of our own.

    Args:
        config: The text of its router.yaml.
    """

    def __init__(self, folder: Path, postgresql: RunServer, config: str) -> None:
        self.folder = folder
        self.config = folder / f"{secrets.token_hex(6)}.yaml"
        self.config.write_text(config)
        self._postgresql = postgresql

    def with_config(self, config: str) -> Workspace:
        """The same place with another router.yaml."""
        return Workspace(self.folder, self._postgresql, config)

    def postgresql_url(self) -> str:
        """URL of the server's maintenance database."""
        return self._postgresql.url().render_as_string(hide_password=False)

    @contextmanager
    def postgresql_halted(self) -> Iterator[None]:
        """Without a PostgreSQL for the length of the block."""
        self._postgresql.halt()
        try:
            yield
        finally:
            self._postgresql.resume()

    @contextmanager
    def database(self, kind: Kind) -> Iterator[str]:
        """URL of a new, migrated, empty database, dropped at the end."""
        if kind is Kind.POSTGRESQL:
            template = self._postgresql.migrated_template(upgrade)
            with fresh_database(self._postgresql, template=template) as url:
                yield url
            return
        folder = self.folder / secrets.token_hex(6)
        folder.mkdir()
        try:
            url = f"sqlite:///{folder / 'bench.db'}"
            upgrade(url)
            yield url
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def server(self, url: str, *, role: str = "all", command: Sequence[str] = ROUTER) -> Iterator[Server]:
        """A running server that answers, or that dispatches. It must end by itself when told to."""
        server = self.start(url, role=role, command=command)
        if role == "dispatch":
            server.wait_until_it_dispatches()
        else:
            server.wait_until_it_answers()
        try:
            yield server
        finally:
            server.stop()

    def start(self, url: str, *, role: str = "all", command: Sequence[str] = ROUTER) -> Server:
        """A server just executed; it need not answer yet."""
        port = _free_port()
        options = ["--config", str(self.config), "--database-url", url, "--port", str(port), "--role", role]
        keys = {client.variable: client.key.decode() for client in CLIENTS}
        sink_secret = f"whsec_{b64encode(SINK_SECRET).decode()}"
        log, spool = self.folder / f"{secrets.token_hex(6)}.log", str(self.folder / "spool")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "serve", *options],
                stdout=file,
                stderr=file,
                cwd=_ROOT,
                env={**os.environ, **keys, "SINK_SECRET": sink_secret, "CALLRAIL_ROUTER_SPOOL": spool},
            )
        return Server(process, port, log)


@dataclass(frozen=True)
class Server:
    """A `serve` process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def wait_until_it_answers(self) -> None:
        """Return as soon as it takes connections.

        Raises:
            ServerFailed: It ended instead, or took too long and was killed.
        """
        self._wait_until(self.accepts)

    def wait_until_it_dispatches(self) -> None:
        """Return as soon as its lanes are open, for one that takes no connections; raises as above."""
        self._wait_until(lambda: "serve.ready" in self.log.read_text())

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_WITHIN
        while not is_so():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise ServerFailed(self.log.read_text()[-2000:])
            time.sleep(0.002)

    def accepts(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def memory(self, measure: str = "VmRSS") -> float:
        """Resident MB: `VmRSS` now, `VmHWM` at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(measure))
        return int(line.split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, its own and the system's for it, to a hundredth."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it in order.

        Raises:
            ServerFailed: It had ended before, or with an error.
        """
        self.process.terminate()
        try:
            code = self.process.wait(timeout=_START_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerFailed(f"it did not end\n{self.log.read_text()[-2000:]}") from None
        if code != 0:
            raise ServerFailed(f"exit code {code}\n{self.log.read_text()[-2000:]}")
        self.log.unlink()


@contextmanager
def workspace(sink_url: str) -> Iterator[Workspace]:
    folder = _ROOT / ".bench" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    postgresql = RunServer(new_run())
    try:
        yield Workspace(folder, postgresql, router_yaml({"crm": webhook_sink(sink_url)}))
    finally:
        postgresql.stop()
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
