"""`callrail-router serve`, started again and again: a process of its own each time, whose imports are done already.

It is forked from a process that has imported the program and done nothing else: three quarters of a start are imports
(measured), and the crash tests start a hundred. That the installed command starts is shown by all who use `running`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.routers.running import Process, environment_of, read_lines

_starts = multiprocessing.get_context("forkserver")
_starts.set_forkserver_preload(["routers.cli.serving", "routers.serve", "tests.crash.starting"])


class Forked:
    """What `Process` needs of a `subprocess.Popen`."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        process.start()
        assert process.pid is not None
        self.pid: int = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"it still runs after {timeout:g} s"
        return self._process.exitcode

    def send_signal(self, sig: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], environ: dict[str, str], stderr: Connection) -> None:
    from routers.cli import main

    os.dup2(stderr.fileno(), 2)
    stderr.close()
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["callrail-router", *arguments]
    main()


@contextmanager
def starting(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> Iterator[Process]:
    """The command in a process of its own, killed at the end if it still runs."""
    ours, theirs = _starts.Pipe(duplex=False)
    words = [str(word) for word in arguments]
    process = Process(Forked(_starts.Process(target=_run, args=(words, environment_of(arguments, environ), theirs))))
    theirs.close()
    with os.fdopen(os.dup(ours.fileno())) as source:
        ours.close()
        reader = threading.Thread(target=read_lines, args=(source, process.lines))
        reader.start()
        try:
            yield process
        finally:
            process.kill()
            reader.join()
