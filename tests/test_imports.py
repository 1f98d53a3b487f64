"""The layers, as the imports show them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

MAY_IMPORT = {
    "callrail": {"callrail"},
    "receiver": {"receiver", "callrail"},
    "routers": {"routers", "receiver", "callrail", "migrations"},
    "migrations": {"migrations", "receiver", "routers"},  # env.py compares with the tables of both
}
OUR_PACKAGES = {*MAY_IMPORT, "tests", "bench"}
HTTP_CLIENT = {"httpx2", "httpcore2"}
SAYS_NOTHING = {"utils", "helpers", "common", "base"}


class Import(NamedTuple):
    """One import, wherever it stands in the file. *package* is the first part of the absolute name."""

    line: int
    package: str


def imports_of(source: str) -> list[Import]:
    """All absolute imports of a module. Relative ones stay in their package, Python sees to that."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(node.lineno, name.name.partition(".")[0]) for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(Import(node.lineno, node.module.partition(".")[0]))
    return found


def against_the_layers(path: Path, source: str) -> list[str]:
    """One sentence for each import that *path*, relative to the root, may not have."""
    package = path.parts[0]
    return [
        f"{path}:{line}: {package} imports {imported}, allowed are {sorted(MAY_IMPORT[package])}"
        for line, imported in imports_of(source)
        if imported in OUR_PACKAGES - MAY_IMPORT[package]
    ]


def against_the_one_client(path: Path, source: str) -> list[str]:
    """One sentence for each import of the HTTP client that does not stand in its module."""
    if path == Path("callrail/http.py"):
        return []
    return [
        f"{path}:{line}: imports {imported}, which only callrail/http.py may"
        for line, imported in imports_of(source)
        if imported in HTTP_CLIENT
    ]


def modules(*packages: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_go_from_routers_over_receiver_to_callrail(package: str) -> None:
    """`callrail` and `receiver` work without what stands above them, and nothing shipped needs tests or bench."""
    found = [line for path in modules(package) for line in against_the_layers(path, (ROOT / path).read_text())]

    assert not found, "\n" + "\n".join(found)


def test_one_module_imports_the_http_client() -> None:
    """Another HTTP client would change one file of what we ship."""
    shipped = modules(*MAY_IMPORT)
    found = [line for path in shipped for line in against_the_one_client(path, (ROOT / path).read_text())]

    assert not found, "\n" + "\n".join(found)


def test_every_module_is_named_after_its_idea() -> None:
    """A name that could hold anything soon does."""
    found = [f"{path}:1" for path in modules(*OUR_PACKAGES) if SAYS_NOTHING & {path.stem, *path.parts}]

    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import routers", id="import"),
        pytest.param("import callrail, routers.config as config", id="among-others"),
        pytest.param("from routers.config import load", id="from"),
        pytest.param("def late():\n    from routers import config", id="in-a-function"),
        pytest.param("if TYPE_CHECKING:\n    import tests.conftest", id="for-types-only"),
    ],
)
def test_an_import_against_the_layers_is_found_in_every_form(source: str) -> None:
    """The check sees each way to import, and names file and line."""
    (found,) = against_the_layers(Path("receiver/intake.py"), source)

    assert found.startswith(f"receiver/intake.py:{len(source.splitlines())}: receiver imports ")


def test_a_second_use_of_the_http_client_is_found() -> None:
    """The check of the client is no empty promise either."""
    (found,) = against_the_one_client(Path("routers/sinks/webhook.py"), "import httpx2")

    assert found.startswith("routers/sinks/webhook.py:1: imports httpx2")


def test_the_client_needs_httpx2_and_pydantic_alone() -> None:
    """Whoever wants the API only installs two packages, and reading webhooks loads no client."""
    program = (
        "import sys, callrail; assert 'callrail.client' not in sys.modules\n"
        "from callrail import CallRail; assert 'httpx2' not in sys.modules\n"
        "CallRail('key', 'ACC1'); import callrail.downloading, callrail.http\n"
        "print(*sorted(name.partition('.')[0] for name in sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert {"httpx2", "pydantic"} <= set(loaded)
    assert not {"orjson", "phonenumbers", "sqlalchemy", "starlette", "click", "yaml", "receiver", "routers"} & set(
        loaded
    )


@pytest.mark.parametrize("command", ["explain", "deliveries", "looking", "rules", "status"])
def test_commands_that_only_look_load_no_client_no_server_and_no_log(command: str) -> None:
    """They are to answer in a second beside a million events, and each of these takes a tenth of it to load."""
    code = f"import sys, routers.cli.{command}, routers.config; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"httpx2", "structlog", "rich", "starlette", "uvicorn", "alembic"}.isdisjoint(done.stdout.split())
