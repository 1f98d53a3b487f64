"""How the shell prints what CallRail told: word for word as JSON, or as a table or CSV of its plain values."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import click

FORMATS = ("json", "ndjson", "table", "csv")
# A spreadsheet runs what begins so; numbers and telephone numbers are none of it.
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d. ()-]*$)")
MAX_CELL = 60


class Printer:
    """Prints objects one by one; json and table, which need them all, at the end.

    Args:
        output: One of `FORMATS`.
        columns: Which keys to print, in this order; all when None (of the first object, for csv).
    """

    def __init__(self, output: str, *, columns: Sequence[str] | None = None) -> None:
        self._output = output
        self._columns = columns
        self._rows: list[Mapping[str, Any]] = []
        self._csv: csv.DictWriter[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        if self._output == "json" and self._rows:
            told = self._rows[0] if len(self._rows) == 1 else self._rows
            click.echo(json.dumps(told, ensure_ascii=False, indent=2))
        elif self._output == "table":
            self._print_table()

    def print(self, told: Mapping[str, Any]) -> None:
        """Print one object, or keep it until the end."""
        row = told if self._columns is None else {name: told.get(name) for name in self._columns}
        if self._output == "ndjson":
            click.echo(json.dumps(row, ensure_ascii=False))
        elif self._output == "csv":
            self._print_csv(row)
        else:
            self._rows.append(row)

    def _print_csv(self, row: Mapping[str, Any]) -> None:
        if self._csv is None:
            self._csv = csv.DictWriter(sys.stdout, list(row), extrasaction="ignore", lineterminator="\n")
            self._csv.writeheader()
        self._csv.writerow({name: safe_cell(cell(value)) for name, value in row.items()})

    def _print_table(self) -> None:
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        rows = [names, *([cell(row.get(name))[:MAX_CELL] for name in names] for row in self._rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
        for row in rows if names else []:
            click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def cell(value: Any) -> str:
    """*value* as one line of text; nested ones in JSON, and nothing for None."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split()) if text.isprintable() else " ".join("".join(_printable(text)).split())


def _printable(text: str) -> list[str]:
    return [each if each.isprintable() else " " for each in text]


def safe_cell(text: str) -> str:
    """*text* so that no spreadsheet takes it for a formula: callers choose their names."""
    return f"'{text}" if _FORMULA.match(text) else text
