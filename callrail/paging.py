"""Lists that are longer than one answer: page by page, each asked for when the one before is read."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from callrail.exceptions import PagingError
from callrail.operation import Operation
from callrail.request import Request

if TYPE_CHECKING:
    from callrail.client import CallRail

MAX_PER_PAGE = 250
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One answer of a list. *total* is the number of rows of the whole list; None where it is not told (calls).

    Rows that the page before held already are left out: while a list is read, a new row shifts all others.
    """

    rows: Sequence[Row]
    total: int | None
    is_last: bool


class Listing(Generic[Row]):
    """The rows of a list, as an async iterator; nothing is asked for before it is read."""

    def __init__(self, client: CallRail, operation: Operation, given: Mapping[str, Any]) -> None:
        self._client = client
        self._operation = operation
        self._given = given

    async def __aiter__(self) -> AsyncIterator[Row]:
        async for page in self.pages():
            for row in page.rows:
                yield row

    async def pages(self) -> AsyncGenerator[Page[Row], None]:
        """The same, page by page; one request each.

        Raises:
            PagingError: The next page is on another host, or a page brings nothing new.
            AnswerError, NotSent, AnswerLost, BudgetSpent: As of any request.
        """
        request: Request | None = await self._client._first_page(self._operation, self._given)
        number = 1
        seen: set[str] = set()
        # Of the last pages; all of them would grow with the list.
        before: deque[frozenset[Any]] = deque(maxlen=_REMEMBERED_PAGES)
        repeats = 0
        while request:
            seen.add(request.target)
            told = await self._client._page(self._operation, request, self._given)
            everything: Sequence[Any] = told[self._operation.rows]
            rows = list(_new(everything, before))
            next_request = self._next(request, told, number)
            # One page may repeat the one before, where as many rows came meanwhile as a page holds.
            repeats = repeats + 1 if everything and not rows else 0
            if next_request and (repeats > 1 or next_request.target in seen):
                raise PagingError(f"{self._operation.name}: page {number} repeats an earlier one; reading stopped")
            yield Page(self._operation.read(rows), _number(told.get("total_records")), next_request is None)
            before.append(frozenset(map(_id_of, everything)) - {None})
            request, number = next_request, number + 1

    def _next(self, request: Request, told: Mapping[str, Any], number: int) -> Request | None:
        if "has_next_page" in told:
            return self._relative(request, told) if told["has_next_page"] else None
        pages = _number(told.get("total_pages"))
        if pages is None or number >= pages:
            return None
        if not told[self._operation.rows]:
            raise PagingError(f"{self._operation.name}: page {number} of {pages} is empty; reading stopped")
        return request.with_query(page=str(number + 1))

    def _relative(self, request: Request, told: Mapping[str, Any]) -> Request:
        """The next page, exactly as CallRail names it."""
        url = told.get("next_page")
        if not isinstance(url, str) or not self._client.is_api(url):
            host = _host(url)
            raise PagingError(
                f"{self._operation.name}: the next page is on {host or 'no host'}, not on the API's; the key stays here"
            )
        parts = urlsplit(url)
        return request.at(f"{parts.path}?{parts.query}")


def _host(url: Any) -> str | None:
    try:
        return urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return None


_REMEMBERED_PAGES = 10


def _new(rows: Sequence[Any], before: Collection[frozenset[Any]]) -> Iterator[Any]:
    """*rows* but for those that were on a page before, or stand twice on this one; what has no id is always new."""
    here: set[Any] = set()
    for row in rows:
        own = _id_of(row)
        if own is None or (own not in here and not any(own in page for page in before)):
            yield row
        here.add(own)


def _number(told: Any) -> int | None:
    """A number, which CallRail also tells as text."""
    try:
        return int(told)
    except (TypeError, ValueError):
        return None


def _id_of(row: Any) -> Any:
    return row.get("id") if isinstance(row, dict) else None
