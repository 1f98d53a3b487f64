"""What a database driver says, in one sentence and with the remedy."""

from __future__ import annotations

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


def _remedy(driver_text: str) -> str:
    if "no such table" in driver_text or ("relation" in driver_text and "does not exist" in driver_text):
        return "its tables are missing; run: callrail-router migrate"
    return f"{driver_text.splitlines()[0]}; check --database-url"
