"""Loggers that load structlog when they first write: it brings rich along, which commands that only look never need."""

from __future__ import annotations

from typing import Any


class Logger:
    """As `structlog.get_logger(name)`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        import structlog

        return getattr(structlog.get_logger(self._name), method)


def get_logger(name: str) -> Any:
    """The logger of the module *name*; typed as structlog's is."""
    return Logger(name)
