"""The router running: in the event loop of a test, or as the installed command in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import pytest

from routers.cli import cli, exit_code_of
from routers.config import read_config
from routers.listening import bind
from routers.serve import Plan, Role, serve
from tests.client import post_signed
from tests.fakes.receiver_of_webhooks import SECRET
from tests.routers.waiting import LONGEST, wait_until

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SECRETS = {"ACME_KEY": KEY, "CRM_SECRET": SECRET}

_COMMAND = Path(sys.executable).with_name("callrail-router")
# Of our own environment a command sees what any process needs, and none of what would configure it.
_INHERITED = {name: value for name, value in os.environ.items() if not name.startswith("CALLRAIL_ROUTER_")}


def config_text(
    url: str,
    rules: str = "",
    *,
    companies: Sequence[str] = ("acme",),
    sink: str = "concurrency: 4, timeout: 5s, retry: [0s, 0s, 0s, 0s, 0s, 0s]",
) -> str:
    """A file with *companies*, the webhook sink `crm` at *url*, and *rules* or one that tells of missed calls."""
    return "\n".join(
        [
            "companies:",
            *(f"  {company}: {{signing_keys: [env:ACME_KEY]}}" for company in companies),
            "sinks:",
            f"  crm: {{type: webhook, url: '{url}', signing_secrets: [env:CRM_SECRET],",
            f"        allow_hosts: [127.0.0.1], {sink}}}",
            "rules:",
            rules or "  - {id: missed, when: [call.missed], send: [{to: crm}]}",
            "",
        ]
    )


def a_missed_call(number: int = 1) -> bytes:
    """The body of a post-call webhook; each *number* is a call of its own."""
    told = {"resource_id": f"CAL{number}", "call_type": "missed", "answered": False, "duration": 30}
    return json.dumps(told).encode()


# --- in the test's event loop ----------------------------------------------------------------------------------------


@asynccontextmanager
async def serving_here(
    config: Path, database_url: str, *, role: Role = Role.ALL, spool: Path | None = None
) -> AsyncIterator[int]:
    """`serve` until the block ends; the port it listens on, 0 where it takes nothing in. Its spool is beside *config*
    unless named."""
    listener = bind("127.0.0.1", 0) if role is not Role.DISPATCH else None
    plan = Plan(read_config(config), database_url, role, listener, spool or config.parent / "spool")
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(plan, stop=stop, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task  # raises what kept it from starting
        yield listener.getsockname()[1] if listener is not None else 0
    finally:
        waiting.cancel()
        stop.set()
        if listener is not None and task.done():
            listener.close()
        await asyncio.gather(task, return_exceptions=True)
    await task


# --- as a process ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str


def run(
    *arguments: str | Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str | None = None
) -> Ran:
    """Run the installed command to its end."""
    done = subprocess.run(
        [_COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**_INHERITED, **SECRETS, **(environ or {})},
        cwd=cwd,
        input=stdin,
        timeout=LONGEST,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_here(
    *arguments: str | Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = ""
) -> Ran:
    """The same command in this process: a start of Python less, for whoever runs many. Not where a loop runs."""
    out, err = _stream(), _stream()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith("CALLRAIL_ROUTER_")]:
            patch.delenv(name)
        for name, value in {**SECRETS, **(environ or {})}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", _stream(stdin))
        if cwd is not None:
            patch.chdir(cwd)
        words = [str(word) for word in arguments]
        code = exit_code_of(lambda: cli.main(words, prog_name="callrail-router", standalone_mode=False))
    return Ran(code, _written_to(out), _written_to(err))


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", write_through=True)


def _written_to(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


class Started(Protocol):
    """What is needed of a `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...
    def send_signal(self, sig: signal.Signals, /) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Process:
    """A running command. *lines* are those it has written on stderr so far."""

    popen: Started
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens, once it says so."""
        found: list[str] = []

        def says_so() -> bool:
            found.extend(re.findall(r"(?:Listening on|intake +) ?http://127\.0\.0\.1:(\d+)/", "".join(self.lines)))
            assert found or self.popen.poll() is None, self.lines
            return bool(found)

        wait_until(says_so)
        return int(found[0])

    def wait_until_it_says(self, words: str) -> None:
        def says_it() -> bool:
            said = words in "".join(self.lines)
            assert said or self.popen.poll() is None, self.lines
            return said

        wait_until(says_it)

    def kill(self) -> None:
        """Without a warning, as a machine dies."""
        self.popen.kill()
        self.popen.wait(timeout=LONGEST)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.popen.send_signal(by)
        return self.popen.wait(timeout=LONGEST)

    def post(self, kind: str, body: bytes, *, company: str = "acme") -> int:
        """Post a webhook as CallRail does; the status of the answer."""
        return asyncio.run(post_signed(self.port, f"/callrail/{company}/{kind}", body, key=KEY)).status


@contextmanager
def running(
    *arguments: str | Path, environ: Mapping[str, str] | None = None, stdout_too: bool = False
) -> Iterator[Process]:
    """The installed command in a process of its own, killed at the end if it still runs.

    Args:
        stdout_too: Its lines are those of stdout as well.
    """
    popen = subprocess.Popen(
        [_COMMAND, *arguments],
        stdout=subprocess.PIPE if stdout_too else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if stdout_too else subprocess.PIPE,
        text=True,
        env=environment_of(arguments, environ),
    )
    process = Process(popen)
    source = popen.stdout if stdout_too else popen.stderr
    assert source is not None
    reader = threading.Thread(target=read_lines, args=(source, process.lines))
    reader.start()
    try:
        yield process
    finally:
        process.kill()
        reader.join()
        source.close()


def environment_of(arguments: Sequence[str | Path], environ: Mapping[str, str] | None) -> dict[str, str]:
    """What a command with *arguments* finds in its environment."""
    return {**_INHERITED, **SECRETS, **_spool_beside_config(arguments), **(environ or {})}


def _spool_beside_config(arguments: Sequence[str | Path]) -> Mapping[str, str]:
    """For each test its own, which a process started again finds."""
    if "--config" not in arguments:
        return {}
    return {"CALLRAIL_ROUTER_SPOOL": str(Path(arguments[arguments.index("--config") + 1]).parent / "spool")}


def read_lines(source: IO[str], lines: list[str]) -> None:
    with contextlib.suppress(ValueError):  # closed while being read
        for line in source:
            lines.append(line)
