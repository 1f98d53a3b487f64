"""How rows are printed: a table for people, JSON for everything else. Personal data is masked unless asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from callrail.fields import FIELDS, personal
from routers.lookups.built_in import BUILT_IN
from routers.rules.answers import is_answer
from routers.rules.fields import own_fields
from routers.rules.values import shown

_EMAIL = re.compile(r"[^@\s]+@([^@\s]+\.[^@\s]+)")
_DIGIT = re.compile(r"\d")
_PIPE_WIDTH = 160
_ID_WIDTH = 29  # of a prefix like dl_ and 26 characters

# Everything a visitor wrote into a form says something of a person, and so may any field we do not know.
_SHOWN = frozenset(name for name in FIELDS if personal(name) is None)
# Of what we know beside CallRail's fields, only what is found in a form is of a person.
_SHOWN_FACTS = _SHOWN | {name for name in own_fields() if not name.startswith("contact_")}


def print_rows(
    rows: Sequence[Mapping[str, Any]], *, output: str, empty: str, columns: Sequence[str] | None = None
) -> None:
    """Print rows that have the same keys.

    Args:
        empty: Is said on stderr where a table would have no rows.
        columns: What a table shows of them, where all would not fit a terminal.
    """
    if output == "json":
        click.echo(orjson.dumps(rows, default=str, option=orjson.OPT_INDENT_2).decode())
    elif output == "ndjson":
        for row in rows:
            click.echo(orjson.dumps(row, default=str).decode())
    elif not rows:
        click.echo(empty, err=True)
    else:
        _print_table(rows if columns is None else [{name: row[name] for name in columns} for row in rows])


def print_one(row: Mapping[str, Any], *, output: str) -> None:
    """Print one thing with all it holds."""
    if output != "table":
        option = orjson.OPT_INDENT_2 if output == "json" else 0
        click.echo(orjson.dumps(row, default=str, option=option).decode())
        return
    for line in _tree(row, indent=""):
        click.echo(line)


def masked(fields: Mapping[str, Any], *, show_personal: bool) -> dict[str, Any]:
    """*fields* with personal data made unreadable, but so that two different numbers still look different."""
    if show_personal:
        return dict(fields)
    return {name: value if name in _SHOWN else _mask(value) for name, value in fields.items()}


def masked_fact(name: str, value: Any) -> str:
    """What a rule found in the field *name*, with dots below objects, as it reads with personal data masked."""
    return shown(value if _is_shown(name, value) else _mask(value))


def _is_shown(name: str, value: Any) -> bool:
    if not is_answer(name):
        return name.partition(".")[0] in _SHOWN_FACTS
    _, lookup, field = name.split(".")
    if isinstance(value, bool):
        return True
    # Counts, and what is known of the company's own. What a look-up of one's own tells may be about anybody.
    is_known = lookup in ("tracker", "company", "previous_calls") or field in _SHOWN_FACTS or isinstance(value, int)
    return lookup in BUILT_IN and is_known


def _mask(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _mask(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _mask(str(value))  # a website may send a telephone number as a number
    if not isinstance(value, str):
        return value
    if len(_DIGIT.findall(value)) >= 7 and len(value) <= 20:
        return f"…{value[-2:]}"
    if _EMAIL.fullmatch(value):
        return _EMAIL.sub(r"…@\1", value)
    return f"… ({len(value)} characters)" if len(value) > 3 else "…"


def local(moment: datetime) -> str:
    """A moment as people read it: in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        table.add_column(
            name.replace("_", " "),
            # In a narrow terminal the widest cells take two lines, so that nothing is cut off; ids stay whole.
            no_wrap=name == "id",
            overflow="fold",
            min_width=_ID_WIDTH if name == "id" else None,
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, markup=False, width=width).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return local(value) if isinstance(value, datetime) else plain(str(value))


def plain(text: str) -> str:
    """*text*, which anybody may have sent, without what could steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _tree(value: Mapping[str, Any], indent: str) -> list[str]:
    width = max((len(name) for name in value), default=0)
    lines: list[str] = []
    for name, item in value.items():
        label = f"{indent}{click.style(plain(name).replace('_', ' ').ljust(width), dim=True)}"
        if isinstance(item, Mapping) and item:
            lines += [label, *_tree(item, indent + "  ")]
        elif isinstance(item, list) and item and isinstance(item[0], Mapping):
            lines.append(label)
            for part in item:
                first, *rest = _tree(part, "")
                lines += [f"{indent}  - {first}", *(f"{indent}    {line}" for line in rest)]
        else:
            lines.append(f"{label}  {_plain_value(item)}")
    return lines


def _plain_value(item: Any) -> str:
    if item is None:
        return "-"
    return "none" if item in ([], {}) else _cell(item)
