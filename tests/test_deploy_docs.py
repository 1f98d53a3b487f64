"""docs/deploy.md and the files it hands out say what the program does, and can be used as they are.

tests/test_proxies.py plays webhooks through nginx and Caddy with them.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import uvicorn
import yaml

from receiver.database import open_database
from receiver.events import MAX_BODY_BYTES
from receiver.protocol import MAX_HEAD_BYTES
from routers.cli import cli
from routers.serve import Role
from tests.proxies import free_port
from tests.routers.running import SECRETS, config_text
from tests.routers.waiting import LONGEST, wait_until

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "examples" / "deploy"
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = [ROOT / "compose.yaml", DEPLOY / "compose-scaled.yaml"]
UNITS = sorted(DEPLOY.glob("*.service"))
SCALED = "docker compose -f examples/deploy/compose-scaled.yaml "
DRAINED_AFTER = 10
"""Seconds that `serve` may need to end, as its help says."""


def settings(path: Path) -> dict[str, list[str]]:
    """By its key, what a unit says; a key may stand more than once."""
    said: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE):
        said.setdefault(key, []).append(value)
    return said


def services(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(path.read_text())["services"]
    return read


def ours(path: Path) -> dict[str, Any]:
    """The services that run the router."""
    return {name: service for name, service in services(path).items() if "build" in service}


def test_the_page_hands_out_every_file() -> None:
    """Each file is named, a unit without its ending where one starts it."""
    files = [path.name for path in DEPLOY.iterdir()]

    assert [name for name in files if name not in PAGE and f"{name.removesuffix('.service')}" not in PAGE] == []


def test_the_page_s_figures_are_those_of_the_benchmark() -> None:
    """Each row of its table stands so in docs/performance.md."""
    performance = (ROOT / "docs" / "performance.md").read_text().splitlines()
    table = PAGE.split("\n## Sizes\n", 1)[1].split("\n|---", 1)[1].split("\n\n", 1)[0].splitlines()[1:]

    assert len(table) > 3
    assert [row for row in table if row not in performance] == []


def test_the_page_and_the_proxies_have_the_router_s_limits() -> None:
    """A proxy that is stricter refuses a webhook, and one that keeps idle connections longer breaks off requests."""
    nginx, caddy = (DEPLOY / "nginx.conf").read_text(), (DEPLOY / "Caddyfile").read_text()
    idle = inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default

    assert f"{MAX_BODY_BYTES:,} bytes" in PAGE
    assert f"client_max_body_size {MAX_BODY_BYTES // 1024**2}m;" in nginx
    assert caddy.count(f" {MAX_BODY_BYTES // 1024**2}MiB\n") == 2
    assert f"{MAX_HEAD_BYTES // 1024} kB" in PAGE
    assert f"large_client_header_buffers 4 {MAX_HEAD_BYTES // 1024}k;" in nginx
    assert f"before {idle} s" in PAGE
    assert f"keepalive_timeout {idle - 1}s;" in nginx
    assert f"keepalive {idle - 1}s\n" in caddy


def test_a_process_has_as_many_connections_as_the_page_says() -> None:
    """Who sets `max_connections` counts on it."""
    database = open_database("postgresql://nobody@127.0.0.1/nothing")
    sizes = [engine.pool.size() for engine in (database.writing, database.reading)]  # type: ignore[attr-defined]

    assert sizes == [2, 4]
    assert "at most seven a process (two write, four read, one is for hints)" in PAGE


@pytest.mark.parametrize(
    "written", sorted(set(re.findall(r"(?:^|/bin/)callrail-router (.+)$", "\n".join(BLOCKS), re.M)))
)
def test_a_command_of_a_block_exists(written: str) -> None:
    """Also where it stands behind a path or another program. (tests/test_docs.py looks at their options.)"""
    words = [word for word in written.split() if not word.startswith("-")]
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words:
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_gives_the_router_what_it_needs(path: Path) -> None:
    """Time to drain, a role there is, volumes that are declared, and a health check only where something listens."""
    whole = yaml.safe_load(path.read_text())

    assert ours(path)
    for service in ours(path).values():
        role = service["environment"].get("CALLRAIL_ROUTER_ROLE", Role.ALL.value)
        serves = "migrate" not in service.get("command", [])
        assert Role(role)
        assert int(service["stop_grace_period"].removesuffix("s")) > DRAINED_AFTER
        assert service.get("healthcheck", {}).get("disable", False) == (not serves or role == Role.DISPATCH.value)
    volumes = [volume for service in whole["services"].values() for volume in service.get("volumes", [])]
    named = {volume.split(":")[0] for volume in volumes if volume[0] not in "./$"}
    assert named == set(whole["volumes"])


def test_the_scaled_file_is_what_the_page_says() -> None:
    """Two intakes that the proxy knows, each with a spool of its own, three dispatchers; the page names these."""
    scaled = services(DEPLOY / "compose-scaled.yaml")
    intakes = [name for name in scaled if name.startswith("intake")]

    assert scaled["proxy"]["environment"]["INTAKES"].split() == [f"{name}:8080" for name in intakes]
    assert len(intakes) == 2
    assert len({scaled[name]["volumes"][-1] for name in intakes}) == 2
    assert scaled["dispatch"]["deploy"]["replicas"] == 3
    lines = [line for line in "\n".join(BLOCKS).splitlines() if line.startswith(SCALED)]
    asked = [line.rpartition(" ")[2] for line in lines]
    assert [name for name in asked if name in scaled] == ["migrate", *intakes, "dispatch"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_what_exists_and_waits_for_its_end(path: Path) -> None:
    """The commands, the role, the time to drain, and one user and state folder for all of them."""
    unit = settings(path)
    starts = [*unit["ExecStart"], *unit.get("ExecStartPre", [])]
    environ = dict(pair.split("=", 1) for pair in unit["Environment"])

    assert {start.lstrip("-").split(" ")[0] for start in starts} == {"/opt/callrail-router/bin/callrail-router"}
    assert {start.split(" ", 1)[1] for start in starts} <= set(cli.list_commands(click.Context(cli)))
    assert Role(environ.get("CALLRAIL_ROUTER_ROLE", "all"))
    assert int(unit["TimeoutStopSec"][0]) > DRAINED_AFTER
    assert unit["Restart"] == ["always"]
    assert unit["User"] == unit["StateDirectory"] == ["callrail-router"]


def test_units_are_right_to_systemd(tmp_path: Path) -> None:
    """Every key and value is known to it; the program is one that exists here."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    names = []
    for path in UNITS:
        text = path.read_text().replace("/opt/callrail-router/bin/callrail-router", "/bin/true")
        (tmp_path / path.name).write_text(text)
        names.append(path.name.replace("@", "@1"))

    done = subprocess.run(
        [analyze, "verify", *names], check=False, capture_output=True, text=True, cwd=tmp_path, timeout=LONGEST
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_s_command_serves_is_healthy_and_ends_when_told(tmp_path: Path) -> None:
    """CMD, ENV and HEALTHCHECK as they stand in the Dockerfile, with folders of the test for /data and /config."""
    (tmp_path / "router.yaml").write_text(config_text("http://127.0.0.1:9/"))
    joined = DOCKERFILE.replace("\\\n", " ")
    environ = dict(pair.split("=", 1) for pair in re.findall(r"(\w+=\S+)", re.findall(r"^ENV (.*)$", joined, re.M)[0]))
    environ = {name: re.sub(r"/(data|config)/", f"{tmp_path}/", value) for name, value in environ.items()}
    environ |= {
        **SECRETS,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "CALLRAIL_ROUTER_PORT": str(free_port()),
    }
    health, command = map(json.loads, re.findall(r"\bCMD (\[.*\])$", joined, re.M))

    def is_healthy() -> bool:
        assert process.poll() is None
        return subprocess.run(health, check=False, env=environ, capture_output=True, timeout=LONGEST).returncode == 0

    process = subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_until(is_healthy)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LONGEST) == 0
    finally:
        process.kill()
        process.wait(timeout=LONGEST)

    assert (tmp_path / "callrail-router.db").exists()


@pytest.mark.parametrize(
    "path", [ROOT / "docs" / "deploy.md", ROOT / "Dockerfile", *COMPOSE, *UNITS], ids=lambda path: path.name
)
def test_a_variable_that_is_set_for_the_router_is_one(path: Path) -> None:
    """A misspelt one would be overlooked by the program, and a spool would lie where nobody expects it."""
    known = {param.envvar for name in ("serve", "migrate") for param in _command(name).params}

    assert set(re.findall(r"\bCALLRAIL_ROUTER_[A-Z_]+", path.read_text())) <= known


def _command(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def test_all_that_the_wheel_is_built_from_reaches_the_builder() -> None:
    """`.dockerignore` lets in every file and package that pyproject.toml names, and nothing else."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert let_in == {
        "callrail",
        "receiver",
        "routers",
        "migrations",
        "examples",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
