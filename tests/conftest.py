"""Fresh real databases for every test, on SQLite and PostgreSQL.

A test that takes `database_url` runs once on each; `sqlite_url` and `postgresql_url` are for what only one of them has.
All three are migrated and without a row; `unmigrated_url` has no table either.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.postgresql import OTHER_SERVER, RunServer, ServerUnavailable, fresh_database, new_run
from tests.spare_databases import SpareDatabases

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVER = pytest.StashKey[RunServer]()


# How long an example takes says more of what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Workers use the run of the process that started them."""
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # hundreds of commands are started, and each would compile all of it
    workerinput: dict[str, str] | None = getattr(config, "workerinput", None)
    config.stash[_SERVER] = RunServer(Path(workerinput["postgresql_run"]) if workerinput else new_run())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker which run it belongs to."""
    node.workerinput["postgresql_run"] = str(node.config.stash[_SERVER].directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that began the run ends its server, also after a crash of a worker or Ctrl-C."""
    if not hasattr(config, "workerinput"):
        config.stash[_SERVER].stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first: a worker that begins one last keeps all others waiting for it."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests, marked `anyio`, run on the event loop that the program runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest) -> RunServer:
    """The run's server, running. Where none can be had the test is skipped, but never in CI."""
    server = request.config.stash[_SERVER]
    try:
        server.url()
    except ServerUnavailable as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL: {error}")
    return server


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: RunServer) -> str:
    """Name of a migrated database to copy, instead of a migration for each."""
    from routers import migrate

    return postgresql_server.migrated_template(migrate.upgrade)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    from routers import migrate

    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    if path.with_name("template.db-wal").exists():
        raise RuntimeError("routers.migrate.upgrade() left a connection open; a copy of the file would miss its log")
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A migrated SQLite file without rows."""
    return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'test.db')}"


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: RunServer, postgresql_template: str) -> Iterator[SpareDatabases]:
    """Copies of it, to be used one test after another."""
    with closing(SpareDatabases(postgresql_server, postgresql_template)) as databases:
        yield databases


@pytest.fixture
def postgresql_url(postgresql_databases: SpareDatabases) -> Iterator[str]:
    """A migrated PostgreSQL database without rows."""
    with postgresql_databases.lent() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database without rows: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def unmigrated_postgresql_url(postgresql_server: RunServer) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    with fresh_database(postgresql_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def unmigrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'unmigrated.db'}"
    url: str = request.getfixturevalue("unmigrated_postgresql_url")
    return url


@pytest.fixture
def own_server() -> Iterator[RunServer]:
    """A PostgreSQL that a test may stop."""
    if os.environ.get(OTHER_SERVER):
        pytest.skip("the server of this run is not ours to stop")
    server = RunServer(new_run())
    try:
        try:
            server.url()
        except ServerUnavailable as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no PostgreSQL: {error}")
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_url(own_server: RunServer) -> str:
    """A migrated database on it."""
    from routers import migrate

    name = own_server.migrated_template(migrate.upgrade)
    return own_server.url().set(database=name).render_as_string(hide_password=False)
