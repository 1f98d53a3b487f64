"""What a database driver says, in one sentence and with the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from receiver.exceptions import DatabaseUnavailable


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turns a driver's error into ours.

    Raises:
        DatabaseUnavailable: With the remedy.
    """
    try:
        yield
    except exc.DBAPIError as error:
        raise DatabaseUnavailable(f"the database cannot be used: {_remedy(str(error.orig))}") from None


# What SQLite says, and what PostgreSQL says, to whom a table is a relation.
_NO_TABLE = re.compile(r"no such table|^relation .* does not exist")
_NO_COLUMN = re.compile(r"no such column|has no column named|^column .* does not exist")


def _remedy(driver_text: str) -> str:
    if _NO_COLUMN.search(driver_text):
        return "its tables are those of another version; run: callrail-router migrate"
    if _NO_TABLE.search(driver_text):  # some of them, where it is of an older version
        return "its tables are missing or those of another version; run: callrail-router migrate"
    return f"{driver_text.splitlines()[0]}; check --database-url"
