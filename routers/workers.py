"""Several intake processes on one port: made before anything else is begun, watched, and ended together.

They share the listening socket, so the system hands each connection to one that is free. One that ends by itself is
made anew; what it had not answered CallRail never counted as taken.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.loggers import get_logger

_log = get_logger(__name__)

# A worker that has lived so long died of an accident; one that dies sooner is not made anew at once.
_LIVED = 10.0
_PAUSE = 1.0
# These say that the next one would end the same way: wrong use, and refused to protect data.
_HOPELESS = (2, 3)


@dataclass(slots=True)
class Workers:
    """The watcher of as many processes as there is *work*. Each is given what to watch for the watcher's own end.

    What a piece of work returns is the exit code of its process.
    """

    work: Sequence[Callable[[int], int]]
    _started: dict[int, tuple[int, float]] = field(default_factory=dict)
    _stopping: bool = False
    _code: int = 0

    def run(self) -> int:
        """Make them and watch until they are told to end by SIGTERM or Ctrl-C; the exit code.

        To be called before there is an event loop, a thread or a connection, for each would be shared.
        """
        lifeline, held = os.pipe()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        for position in range(len(self.work)):
            self._start(position, lifeline, held)
        while self._started:
            pid, status = os.wait()
            code = os.waitstatus_to_exitcode(status)
            position, started = self._started.pop(pid)
            lived = time.monotonic() - started
            if self._stopping:
                continue
            _log.error("workers.ended", pid=pid, code=code, seconds=round(lived, 1))
            if code in _HOPELESS:
                self._code = code
                self._stop()
                continue
            if lived < _LIVED:
                time.sleep(_PAUSE)
            if not self._stopping:
                self._start(position, lifeline, held)
        return self._code

    def _start(self, position: int, lifeline: int, held: int) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.close(held)  # so that it is closed for good when the watcher ends, however that comes about
                code = self.work[position](lifeline)
            finally:
                os._exit(code)
        self._started[pid] = position, time.monotonic()
        if self._stopping:  # told to end while this one was made
            os.kill(pid, signal.SIGTERM)

    def _stop(self, *_: Any) -> None:
        self._stopping = True
        for pid in list(self._started):
            with contextlib.suppress(ProcessLookupError):  # it has just ended, and is not taken off the list yet
                os.kill(pid, signal.SIGTERM)
