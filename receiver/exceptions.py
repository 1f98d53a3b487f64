"""Everything the receiver raises on purpose."""

from __future__ import annotations

from dataclasses import dataclass


class ReceiverError(Exception):
    """Base of all errors of this package."""


@dataclass(frozen=True)
class Place:
    """Where in a file something stands. *line* and *column* count from 1; *path* is like ``rules[0].when``."""

    file: str
    line: int
    column: int
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" + (f" ({self.path})" if self.path else "")


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake in a configuration: what is wrong, where, and what to do about it."""

    problem: str
    where: Place
    hint: str = ""

    def __str__(self) -> str:
        said = f"{self.where}: {self.problem}" + (f"; {self.hint}" if self.hint else "")
        # On one line, whatever names the file gives.
        return said if said.isprintable() else "".join(char if char.isprintable() else " " for char in said)


class ConfigError(ReceiverError):
    """A configuration that cannot be used; holds every mistake found, in file order."""

    def __init__(self, problems: list[ConfigProblem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.where.file, p.where.line, p.where.column))
        super().__init__("\n".join(map(str, self.problems)))


class SecretMissing(ReceiverError):
    """A reference that leads to no secret: *problem* names the variable or file, *hint* says what to do."""

    def __init__(self, problem: str, hint: str) -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}; {hint}")


class DatabaseUnavailable(ReceiverError):
    """The database refused, broke off or took too long; nothing of the transaction is stored for certain."""
