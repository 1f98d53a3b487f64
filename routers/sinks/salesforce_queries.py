"""How Salesforce is asked, in its language for queries (SOQL), and how long a text may be there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def select(fields: Sequence[str], kind: str, where: str, *, most: int = 20) -> str:
    """The query for the records of *kind* where something holds, the newest first."""
    parts = ("SELECT", ", ".join(fields), "FROM", kind, "WHERE", where)
    return " ".join((*parts, "ORDER BY LastModifiedDate DESC LIMIT", str(most)))


def is_(field: str, value: str) -> str:
    """The condition that a field has one value."""
    return f"{field} = {quoted(value)}"


def is_one_of(field: str, values: Iterable[str]) -> str:
    """The condition that a field has one of several values, of which there is one at least."""
    return f"{field} IN ({', '.join(map(quoted, values))})"


def begins(field: str, text: str) -> str:
    """The condition that a field begins with *text*, in which nothing stands for anything else."""
    escaped = re.sub(r"[%_]", r"\\\g<0>", quoted(text)[:-1])
    return f"{field} LIKE {escaped}%'"


def quoted(text: str) -> str:
    """*text* as a value in a query, where nothing can end it."""
    return "'" + re.sub(r"[\\']", r"\\\g<0>", "".join(char for char in text if char.isprintable())) + "'"


def cut(text: str, most: int) -> str:
    """*text* with at most so many characters, as Salesforce counts them: one beyond the first 65,536 is two."""
    units = text.encode("utf-16-le", "replace")
    if len(units) <= 2 * most:
        return text
    return units[: 2 * (most - 1)].decode("utf-16-le", "ignore").rstrip() + "…"
