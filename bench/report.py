"""The table: what was measured, under which conditions, and whether it is what it must be."""

from __future__ import annotations

import json
import operator
import os
import platform
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench.servers import Kind
from bench.traffic import BODY_SIZES
from receiver.database import open_database

_HOLDS = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Target:
    """What a figure must be: `Target("<", 30)`."""

    relation: Literal["<", "<=", ">="]
    bound: float

    def is_met(self, value: float) -> bool:
        return bool(_HOLDS[self.relation](value, self.bound))

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the table. Without a *target* it is there to be known."""

    part: str
    database: str
    what: str
    value: float
    unit: str = ""
    target: Target | None = None

    @property
    def is_missed(self) -> bool:
        return self.target is not None and not self.target.is_met(self.value)

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "missed" if self.is_missed else "met"

    def shown(self) -> str:
        digits = 0 if self.value >= 100 else 1 if self.value >= 10 else 2
        return f"{self.value:,.{digits}f} {self.unit}".strip()


def conditions(rounds: int, seconds: float, postgresql_url: str | None) -> dict[str, str]:
    """Under which circumstances the figures came about."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": _version(postgresql_url) if postgresql_url else "not measured",
        "bodies": f"unique, signed, {BODY_SIZES.start} to {BODY_SIZES.stop - 1} bytes",
        "rounds": f"{rounds} interleaved, {seconds:g} s each; medians of them",
    }


def _version(url: str) -> str:
    database = open_database(url)
    with database.reading.connect() as conn:
        version = str(conn.execute(text("SHOW server_version")).scalar_one())
    database.dispose()
    return version


def print_table(figures: Iterable[Figure], circumstances: dict[str, str]) -> None:
    console = Console(width=None if os.isatty(1) else 130)
    table = Table("", "database", "what", "target", "measured", "", box=None, header_style="bold")
    for column in (3, 4):
        table.columns[column].justify = "right"
    part = ""
    for figure in figures:
        if part and part != figure.part:
            table.add_row()
        shown_part, part = "" if part == figure.part else figure.part, figure.part
        style = "red" if figure.is_missed else ""
        target = f"{figure.target} {figure.unit}".strip() if figure.target else ""
        table.add_row(shown_part, figure.database, figure.what, target, figure.shown(), figure.verdict, style=style)
    for name, value in circumstances.items():
        console.print(f"{name + ':':<12} {value}", highlight=False)
    console.print()
    console.print(table)


def write_json(path: Path, figures: Iterable[Figure], circumstances: dict[str, str]) -> None:
    lines: list[dict[str, Any]] = [
        {
            **asdict(figure),
            "target": str(figure.target) if figure.target else None,
            "verdict": figure.verdict or None,
        }
        for figure in figures
    ]
    path.write_text(json.dumps({"conditions": circumstances, "figures": lines}, indent=1) + "\n")


def both(kind: Kind, *, sqlite: Target, postgresql: Target) -> Target:
    """The target for *kind*, where the databases' differ."""
    return sqlite if kind is Kind.SQLITE else postgresql
