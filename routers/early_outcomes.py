"""How a call ended, before CallRail posts it.

A post-call is held back until recording and transcript are attached, up to twenty minutes after the hang-up
(documented). So while a call is open, its account's newest calls are looked at. One that is over becomes an event of
the API's, which is routed like any other; the post-call comes later, tells more, and confirms or corrects the outcome.

What the API tells of a call between its beginning and its post-call is *assumed*, for nobody documents it: `answered`
and `duration` are empty or grow until the hang-up, and stand still then. A call counts as over only if they tell an end
that lies some time back; one that tells no length is never over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, bindparam, select

from callrail.exceptions import CallRailError, NotFound
from callrail.kinds import Kind
from receiver.clock import Clock
from receiver.columns import fixed
from receiver.events import ReceivedRequest, event_row, insert_events
from receiver.ids import Prefix, new_id
from receiver.loggers import get_logger
from receiver.schema import Origin
from receiver.writer import Writer
from routers.schema import OPEN_STAGES, objects

if TYPE_CHECKING:
    from callrail.client import CallRail
    from callrail.resources.calls import CallField

_log = get_logger(__name__)

LOOK_EVERY = timedelta(seconds=20)
_ALONE_EVERY = timedelta(minutes=2)  # a call that is no longer on the account's newest page
_GIVEN_UP_AFTER = timedelta(hours=4)
_DEADLINE = timedelta(seconds=10)
# An end must lie so far back: while a call goes on, its beginning and its length so far add up to the present.
_SURELY_OVER = timedelta(seconds=20)
_PAGE = 250

FIELDS: Sequence[CallField] = (
    *("call_type", "company_id", "company_name", "company_time_zone", "tracker_id", "person_id", "created_at"),
    *("first_call", "prior_calls", "total_calls", "source", "source_name", "medium", "campaign", "keywords", "gclid"),
    *("landing_page_url", "referring_url", "utm_source", "utm_medium", "utm_campaign", "timeline_url"),
    *("device_type", "lead_status", "tags", "note", "value"),
)


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that has not ended, as far as we know. *id* is ours, *callrail_id* CallRail's."""

    id: str
    company: str
    callrail_id: str


class EarlyOutcomes:
    """Looks at the open calls of all accounts that ask for it.

    Args:
        account_of: By company, the name of its account.
        clients: By the account's name, its client; companies of other accounts are left alone.
        on_stored: Called after a COMMIT that stored events.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        account_of: Callable[[str], str | None],
        clients: Mapping[str, CallRail],
        on_stored: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._account_of = account_of
        self._clients = clients
        self._on_stored = on_stored
        self._asked_alone: dict[str, datetime] = {}

    async def look(self) -> None:
        """Once: store an event for each open call that is over."""
        now, calls = await self._writer.run(partial(_open_calls, clock=self._clock))
        self._asked_alone = {call.id: at for call in calls if (at := self._asked_alone.get(call.id)) is not None}
        by_account: dict[str, list[OpenCall]] = {}
        for call in calls:
            account = self._account_of(call.company)
            if account is not None and account in self._clients:
                by_account.setdefault(account, []).append(call)
        for account, mine in by_account.items():
            try:
                told = await self._told(self._clients[account], mine, now)
            except CallRailError as error:  # the next look may fare better, and the post-call comes in any case
                _log.warning("early_outcomes.not_asked", account=account, error=type(error).__name__)
                continue
            over = {call.id: (call, row) for call, row in told if is_over(row, now)}
            if over:
                await self._writer.run(partial(_store, over=over, now=now))
                self._on_stored()

    async def _told(
        self, client: CallRail, calls: Sequence[OpenCall], now: datetime
    ) -> list[tuple[OpenCall, Mapping[str, Any]]]:
        """What the account tells of its open *calls*: one page of its newest, and singly those that are not on it."""
        listing = client.calls.list(
            # A day to spare: the zone is that of the key's user.
            start_date=(now - timedelta(days=1)).date().isoformat(),
            sort="start_time",
            order="desc",
            fields=FIELDS,
            per_page=_PAGE,
            deadline=_DEADLINE,
        )
        pages = listing.pages()
        try:
            page = await anext(pages)
        finally:
            await pages.aclose()
        rows = {row.id: row.told for row in page.rows}
        found = [(call, rows[call.callrail_id]) for call in calls if call.callrail_id in rows]
        missing = [call for call in calls if call.callrail_id not in rows and not page.is_last]
        return found + [pair for call in missing if (pair := await self._alone(client, call, now)) is not None]

    async def _alone(
        self, client: CallRail, call: OpenCall, now: datetime
    ) -> tuple[OpenCall, Mapping[str, Any]] | None:
        asked = self._asked_alone.get(call.id)
        if asked is not None and now - asked < _ALONE_EVERY:
            return None
        self._asked_alone[call.id] = now
        try:
            return call, (await client.calls.get(call.callrail_id, fields=FIELDS, deadline=_DEADLINE)).told
        except NotFound:  # marked as spam, or deleted
            return None


def is_over(told: Mapping[str, Any], now: datetime) -> bool:
    """Whether what the API tells of a call tells of its end, and the end lies some time back."""
    duration, begun = told.get("duration"), told.get("start_time")
    if told.get("call_type") == "in_progress" or not isinstance(told.get("answered"), bool):
        return False
    if not isinstance(duration, int) or duration <= 0 or not isinstance(begun, str):
        return False
    try:
        start = datetime.fromisoformat(begun)
    except ValueError:
        return False
    return start.tzinfo is not None and start + timedelta(seconds=duration) + _SURELY_OVER <= now


# --- what is stored --------------------------------------------------------------------------------------------------

_is_open_call = (objects.c.type == fixed("call"), objects.c.stage.in_(OPEN_STAGES), objects.c.erased_at.is_(None))
_open = (
    select(objects.c.id, objects.c.company, objects.c.object_id)
    .where(*_is_open_call, objects.c.created_at > bindparam("since"))
    .order_by(objects.c.created_at)
)
_still_open = (
    select(objects.c.id)
    .where(*_is_open_call, objects.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(objects.c.id)
    .with_for_update()
)


def _open_calls(conn: Connection, *, clock: Clock) -> tuple[datetime, list[OpenCall]]:
    now = clock.now(conn)
    rows = conn.execute(_open, {"since": now - _GIVEN_UP_AFTER})
    return now, [OpenCall(row.id, row.company, row.object_id) for row in rows]


def _store(conn: Connection, *, over: Mapping[str, tuple[OpenCall, Mapping[str, Any]]], now: datetime) -> None:
    """Store an event for each call, by our id, that is open still."""
    ids = list(conn.execute(_still_open, {"ids": list(over)}).scalars())
    insert_events(conn, [_event(*over[own_id], now) for own_id in ids])


def _event(call: OpenCall, told: Mapping[str, Any], now: datetime) -> tuple[Any, ...]:
    body = orjson.dumps(told)
    request = ReceivedRequest(now, call.company, Kind.API_CALL, "application/json", {}, body)
    return event_row(new_id(Prefix.EVENT), request, hashlib.sha256(body).digest(), None, origin=Origin.API)
