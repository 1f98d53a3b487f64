"""Logs: one line an occurrence, a constant name and fields, on stderr. Never a secret, never personal data."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any

import orjson
import structlog


class _NeverFails:
    """A log that cannot be written (a full disk, a closed pipe) must not stop what it tells of."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def write(self, data: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._out.write(data)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._out.flush()


def set_up_logs(*, level: int = logging.INFO) -> None:
    """People get lines they can read, everything else gets JSON."""
    processors: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    if sys.stderr.isatty():
        # No locals in tracebacks: they hold bodies and keys. Values as Python writes them: none steers the terminal.
        renderer = structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback, repr_native_str=True
        )
        processors.append(renderer)
        out: Any = _NeverFails(sys.stderr)
        factory: Any = structlog.PrintLoggerFactory(out)
    else:
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ]
        out = _NeverFails(sys.stderr.buffer)
        factory = structlog.BytesLoggerFactory(out)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
