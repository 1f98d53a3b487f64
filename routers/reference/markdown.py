"""Markdown for pages that nobody writes by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

COMMAND = "make reference"
MADE = f"<!-- Written by `{COMMAND}`: change the program, not this page. -->"


def page(title: str, *parts: str) -> str:
    """A whole page of *parts*, which are paragraphs, headings and tables."""
    return "\n\n".join([f"# {title}", MADE, *parts]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells may hold Markdown, but no line break."""
    lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: object) -> str:
    """*text* as it is typed."""
    return f"`{text}`"


def flow(written: str) -> dict[str, Any]:
    """The block that *written* is in YAML, without the braces around it."""
    block: dict[str, Any] = yaml.safe_load(f"{{{written}}}")
    return block
