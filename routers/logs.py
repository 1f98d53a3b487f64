"""Logs: one line an occurrence, a constant name and fields, on stderr. Never a secret, never personal data."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from types import TracebackType
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


def set_up_logs(level: str = "info", written_as: str = "auto") -> None:
    """Send our lines and those of the libraries to stderr.

    Args:
        written_as: `console` for people, `json` for everything else, `auto` for what fits stderr.
    """
    for_people = sys.stderr.isatty() if written_as == "auto" else written_as == "console"
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_texts_of_errors,
    ]
    if for_people:
        # Values as Python writes them: none steers the terminal.
        renderer: Any = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), repr_native_str=True)
    else:
        renderer = structlog.processors.JSONRenderer(serializer=lambda *args, **kw: orjson.dumps(*args, **kw).decode())
    out = _NeverFails(sys.stderr)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    _take_in_libraries(level, out, processors, renderer)


def _take_in_libraries(level: str, out: Any, processors: list[Any], renderer: Any) -> None:
    """Lines of uvicorn, asyncio and the like, in the same form. Below warnings they tell of bytes and addresses."""
    handler = logging.StreamHandler(out)
    only_the_line = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    chain = [_first_line, *processors]
    written = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=chain, processors=[only_the_line, renderer])
    handler.setFormatter(written)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


def _first_line(_logger: Any, _method: str, line: Any) -> Any:
    line["event"] = str(line["event"]).partition("\n")[0]  # asyncio shows the error, with its text, in the next ones
    return line


def _without_texts_of_errors(_logger: Any, _method: str, line: Any) -> Any:
    """Errors by their types and where they were raised. Their texts may hold what came in, and so who called."""
    error = line.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        line["exception"] = "\n".join(_told(error))
    return line


def _told(error: BaseException) -> list[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [*_told(cause), "", "and from that:", ""] if cause is not None else []
    parts = [line for part in error.exceptions for line in _told(part)] if isinstance(error, BaseExceptionGroup) else []
    return [*before, *_frames(error.__traceback__), type(error).__qualname__, *parts]


def _frames(where: TracebackType | None) -> list[str]:
    return [line.rstrip() for line in traceback.format_tb(where)]
