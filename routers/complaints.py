"""What is wrong with a configuration, and what is legal but surely not meant; each with its place."""

from __future__ import annotations

from collections.abc import Iterable

from receiver.exceptions import ConfigProblem
from receiver.positioned_yaml import Document, Loc


class Complaints:
    """Collects problems and warnings about *document*."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._problems: dict[ConfigProblem, None] = {}
        self._warnings: dict[ConfigProblem, None] = {}

    def complain(self, loc: Loc, problem: str, hint: str = "", *, key: bool = False, warning: bool = False) -> None:
        """Note *problem* at the value at *loc*, or with *key* at its key; the same problem counts once."""
        place = self.document.key_place(loc) if key else self.document.place(loc)
        (self._warnings if warning else self._problems)[ConfigProblem(problem, place, hint)] = None

    def add(self, problems: Iterable[ConfigProblem]) -> None:
        """Note problems that have their places."""
        self._problems |= dict.fromkeys(problems)

    @property
    def problems(self) -> list[ConfigProblem]:
        """What is wrong, by file and line."""
        return _sorted(self._problems)

    @property
    def warnings(self) -> list[ConfigProblem]:
        """What is surely not meant, by file and line."""
        return _sorted(self._warnings)


def _sorted(problems: Iterable[ConfigProblem]) -> list[ConfigProblem]:
    return sorted(problems, key=lambda p: (p.where.file, p.where.line, p.where.column))
