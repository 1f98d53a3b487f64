"""How a call ended, before CallRail posts it.

A post-call is held back until recording and transcript are attached, up to twenty minutes after the hang-up
(documented). So while a call is open, its account's newest calls are looked at. One that is over becomes an event of
the API's, which is routed like any other; the post-call comes later, tells more, and confirms or corrects the outcome.

What the API tells of a call between its beginning and its post-call is *assumed*, for nobody documents it: `answered`
and `duration` are empty or grow until the hang-up, and stand still then. A call counts as over only if they tell an end
that lies some time back; one that tells no length is never over.

A call that stands there, and that CallRail should have posted long ago, becomes an event as well if no webhook came.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, bindparam, exists, select

from callrail.exceptions import AnswerLost, CallRailError, NotFound, ServerFault, UnexpectedAnswer
from callrail.kinds import Kind
from callrail.payload import read_payload
from receiver.clock import Clock
from receiver.columns import fixed
from receiver.events import ReceivedRequest, event_row, insert_events
from receiver.ids import Prefix, first_id, new_id
from receiver.loggers import get_logger
from receiver.schema import EventState, Origin, events
from receiver.writer import Writer
from routers.accounts import UnheardCalls
from routers.forgetting import Forgotten
from routers.lifecycle import Event
from routers.schema import OPEN_STAGES, objects

if TYPE_CHECKING:
    from callrail.client import CallRail
    from callrail.resources.calls import CallField

_log = get_logger(__name__)

LOOK_EVERY = timedelta(seconds=20)
# A call that is no longer on the account's newest page is asked for alone; one in a look, and each ever more seldom.
_ALONE_EVERY = timedelta(minutes=2)
_ALONE_SELDOM = timedelta(minutes=30)
_OFTEN = 10  # so many times it is asked as often as that
_GIVEN_UP_AFTER = timedelta(hours=4)
_DEADLINE = timedelta(seconds=10)
# An end must lie so far back: while a call goes on, its beginning and its length so far add up to the present.
_SURELY_OVER = timedelta(seconds=20)
# A post-call comes within twenty minutes (documented). What has not come then is lost: CallRail posts once.
POSTED_WITHIN = timedelta(minutes=25)
_LISTED_FOR = timedelta(days=2)  # a call stands in the list for no longer
_PAGE = 250

FIELDS: Sequence[CallField] = (
    *("call_type", "company_id", "company_name", "company_time_zone", "tracker_id", "person_id", "created_at"),
    *("first_call", "prior_calls", "total_calls", "source", "source_name", "medium", "campaign", "keywords", "gclid"),
    *("landing_page_url", "referring_url", "utm_source", "utm_medium", "utm_campaign", "timeline_url", "device_type"),
)
# What people say of a call. Where a post-call may be on its way it knows them better, and they are left to it.
_OPINIONS: Sequence[CallField] = ("tags", "note", "value", "lead_status")


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
        unheard: Whose calls become events although no webhook told of them; nobody's where None.
        on_stored: Called after a COMMIT that stored events.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        account_of: Callable[[str], str | None],
        clients: Mapping[str, CallRail],
        on_stored: Callable[[], None],
        unheard: Unheard | None = None,
    ) -> None:
        self._unheard = unheard
        self._writer = writer
        self._clock = clock
        self._account_of = account_of
        self._clients = clients
        self._on_stored = on_stored
        self._alone: dict[str, _Alone] = {}  # by the call's id, ours

    async def look(self) -> None:
        """Once: store an event for each open call that is over."""
        now, calls = await self._writer.run(partial(open_calls, clock=self._clock))
        self._alone = {call.id: self._alone.get(call.id) or _Alone() for call in calls}
        by_account: dict[str, list[OpenCall]] = {}
        for call in calls:
            account = self._account_of(call.company)
            if account is not None and account in self._clients:
                by_account.setdefault(account, []).append(call)
        await asyncio.gather(*(self._look_at(account, mine, now) for account, mine in by_account.items()))

    async def _look_at(self, account: str, calls: Sequence[OpenCall], now: datetime) -> None:
        """One page of the newest calls tells of the open *calls*; of those not on it one is asked for alone."""
        client = self._clients[account]
        try:
            rows, is_all = await newest_calls(client, now)
            if self._unheard is not None:
                await self._note_unheard(self._unheard, account, rows.values(), now)
            await self._note([(call, rows[call.callrail_id]) for call in calls if call.callrail_id in rows], now)
            missing = [call for call in calls if call.callrail_id not in rows and not is_all]
            due = [call for call in missing if self._alone[call.id].is_due(now)]
            if due:
                await self._ask_alone(client, min(due, key=lambda call: self._alone[call.id].times), now)
        except CallRailError as error:  # the next look may fare better, and the post-call comes in any case
            _log.warning("early_outcomes.not_asked", account=account, error=type(error).__name__)

    async def _note(self, told: Sequence[tuple[OpenCall, Mapping[str, Any]]], now: datetime) -> None:
        over = {call.id: (call, row) for call, row in told if is_over(row, now)}
        if over:
            stored = await self._writer.run(partial(_store, over=over, now=now))
            if stored:
                self._on_stored()

    async def _note_unheard(
        self, unheard: Unheard, account: str, rows: Iterable[Mapping[str, Any]], now: datetime
    ) -> None:
        """Store an event for each call that is long over, and of which no webhook came."""
        over = [
            OverCall(company, row["id"], row)
            for row in rows
            if is_over(row, now - POSTED_WITHIN)
            and (company := unheard.company_of(row)) is not None
            and self._account_of(company) == account
        ]
        if not over:
            return
        lost, stored = await self._writer.run(partial(_store_unheard, over=over, unheard=unheard, now=now))
        unheard.stored = stored
        if lost:
            _log.warning("early_outcomes.webhook_lost", account=account, calls=len(lost))
            self._on_stored()

    async def _ask_alone(self, client: CallRail, call: OpenCall, now: datetime) -> None:
        alone = self._alone[call.id]
        alone.asked(now)
        try:
            told = (await client.calls.get(call.callrail_id, fields=FIELDS, deadline=_DEADLINE)).told
        except NotFound:  # marked as spam, or deleted
            alone.is_gone = True
        except (
            UnexpectedAnswer,
            ServerFault,
            AnswerLost,
        ) as error:  # of this one, perhaps; others are asked all the same
            _log.warning("early_outcomes.not_told", object_id=call.id, error=type(error).__name__)
        else:
            await self._note([(call, told)], now)


async def newest_calls(client: CallRail, now: datetime) -> tuple[dict[str, Mapping[str, Any]], bool]:
    """The newest calls of an account by CallRail's id, and whether these are all of the last day; one request.

    Raises:
        CallRailError: It was not answered.
    """
    listing = client.calls.list(
        # A day to spare: the zone is that of the key's user.
        start_date=(now - timedelta(days=1)).date().isoformat(),
        sort="start_time",
        order="desc",
        fields=[*FIELDS, *_OPINIONS],
        per_page=_PAGE,
        deadline=_DEADLINE,
    )
    pages = listing.pages()
    try:
        page = await anext(pages)
    finally:
        await pages.aclose()
    return {row.id: row.told for row in page.rows if row.id}, page.is_last


@dataclass(frozen=True, slots=True)
class OverCall:
    """A call of a company that is over, as the API *told* it."""

    company: str
    callrail_id: str
    told: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Which it is."""
        return self.company, self.callrail_id

    @property
    def begun(self) -> datetime:
        """When it began."""
        return datetime.fromisoformat(self.told["start_time"])

    @property
    def event(self) -> Event:
        """As it would be routed."""
        return Event("", Kind.API_CALL, dict(self.told), "")


@dataclass
class Unheard:
    """Whose calls become events although no webhook told of them: by CallRail's id, the *companies*.

    *takes* says which calls. *stored* are those of which an event is stored; None until somebody needs to know.
    """

    companies: Mapping[str, str]
    takes: Mapping[str, UnheardCalls]  # by company
    forgotten: Forgotten
    stored: set[tuple[str, str]] | None = None

    def company_of(self, row: Mapping[str, Any]) -> str | None:
        """The company that wants to hear of the call that *row* tells; None if none does."""
        company = self.companies.get(str(row.get("company_id")))
        takes = UnheardCalls.NONE if company is None else self.takes.get(company, UnheardCalls.NONE)
        is_missed = row.get("direction") == "inbound" and (row.get("answered") is False or row.get("voicemail") is True)
        return company if takes is UnheardCalls.ALL or (takes is UnheardCalls.MISSED and is_missed) else None


@dataclass
class _Alone:
    """How often a call was asked for alone, and when last. One that *is_gone* is not asked for again."""

    times: int = 0
    last: datetime | None = None
    is_gone: bool = False

    def is_due(self, now: datetime) -> bool:
        """Whether it may be asked for; a clock that was set back makes nobody wait for it."""
        pause = _ALONE_EVERY if self.times < _OFTEN else _ALONE_SELDOM
        return not self.is_gone and (self.last is None or not self.last <= now < self.last + pause)

    def asked(self, now: datetime) -> None:
        """It is asked for now."""
        self.times, self.last = self.times + 1, now


def is_over(told: Mapping[str, Any], now: datetime) -> bool:
    """Whether what the API tells of a call tells of its end, and the end lies some time back."""
    duration, begun = told.get("duration"), told.get("start_time")
    if told.get("call_type") == "in_progress" or not isinstance(told.get("answered"), bool):
        return False
    if not isinstance(duration, int) or duration <= 0 or not isinstance(begun, str):
        return False
    try:
        start = datetime.fromisoformat(begun)
        return start.tzinfo is not None and start + timedelta(seconds=duration) + _SURELY_OVER <= now
    except (ValueError, OverflowError):
        return False


def _without_opinions(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in _OPINIONS}


# --- what is stored --------------------------------------------------------------------------------------------------

_is_open_call = (objects.c.type == fixed("call"), objects.c.stage.in_(OPEN_STAGES), objects.c.erased_at.is_(None))
_open = (
    select(objects.c.id, objects.c.company, objects.c.object_id)
    .where(*_is_open_call, objects.c.created_at > bindparam("since"))
    .order_by(objects.c.created_at)
)
_still_open = (
    select(objects.c.id)
    .where(
        *_is_open_call,
        objects.c.id.in_(bindparam("ids", expanding=True)),
        # One of which an event waits to be routed may be over, or was told of by us already.
        ~exists().where(events.c.state == fixed(EventState.RECEIVED), events.c.company == objects.c.company),
    )
    .order_by(objects.c.company, objects.c.type, objects.c.object_id)  # as routing locks them
    .with_for_update()
)
_of_api = select(events.c.company, events.c.body, events.c.content_type).where(
    events.c.id >= bindparam("first"), events.c.origin == fixed(Origin.API)
)
_known = select(objects.c.company, objects.c.object_id).where(
    objects.c.company.in_(bindparam("companies", expanding=True)),
    objects.c.type == fixed("call"),
    objects.c.object_id.in_(bindparam("ids", expanding=True)),
)
_waiting = (
    select(events.c.company)
    .where(events.c.state == fixed(EventState.RECEIVED), events.c.company.in_(bindparam("companies", expanding=True)))
    .distinct()
)
# So that what happened before we were told anything of a company is no news.
_heard_before = (
    select(objects.c.id)
    .where(objects.c.company == bindparam("company"), objects.c.created_at < bindparam("begun"))
    .limit(1)
)


def open_calls(conn: Connection, *, clock: Clock) -> tuple[datetime, list[OpenCall]]:
    """The present, and the calls of the last hours that have not ended, oldest first."""
    now = clock.now(conn)
    rows = conn.execute(_open, {"since": now - _GIVEN_UP_AFTER})
    return now, [OpenCall(row.id, row.company, row.object_id) for row in rows]


def _store(conn: Connection, *, over: Mapping[str, tuple[OpenCall, Mapping[str, Any]]], now: datetime) -> int:
    """Store an event for each call, by our id, that is open still. How many."""
    ids = list(conn.execute(_still_open, {"ids": list(over)}).scalars())
    insert_events(conn, [_event(call, _without_opinions(told), now) for call, told in map(over.__getitem__, ids)])
    return len(ids)


def _store_unheard(
    conn: Connection, *, over: Sequence[OverCall], unheard: Unheard, now: datetime
) -> tuple[list[OverCall], set[tuple[str, str]] | None]:
    """Store an event for each call that we do not know, of a company that we had heard of before it began.

    Which those were, and all of which one is stored; None where nobody needed to know.
    """
    ids = {"companies": sorted({call.company for call in over}), "ids": [call.callrail_id for call in over]}
    known = {(row.company, row.object_id) for row in conn.execute(_known, ids)}
    waiting = set(conn.execute(_waiting, ids).scalars())  # one of theirs may be it
    is_anybody_erased = unheard.forgotten.knows_any(conn)
    lost = [
        call
        for call in over
        if call.key not in known
        and call.company not in waiting
        and conn.execute(_heard_before, {"company": call.company, "begun": call.begun}).first() is not None
        and not (is_anybody_erased and unheard.forgotten.covers("call", call.event, now))
    ]
    if not lost:
        return [], unheard.stored
    stored = unheard.stored if unheard.stored is not None else _stored_lately(conn, now)
    lost = [call for call in lost if call.key not in stored]
    insert_events(conn, [_event(call, call.told, now) for call in lost])
    return lost, {*stored, *(call.key for call in lost)}


def _stored_lately(conn: Connection, now: datetime) -> set[tuple[str, str]]:
    """The calls of which an event of the API's is stored: one that was not routed makes no object, nor one of somebody
    who was erased."""
    rows = conn.execute(_of_api, {"first": first_id(Prefix.EVENT, now - _LISTED_FOR)})
    told = ((row.company, read_payload(row.body, row.content_type).fields.get("resource_id")) for row in rows)
    return {(company, call_id) for company, call_id in told if isinstance(call_id, str)}


def _event(call: OpenCall | OverCall, told: Mapping[str, Any], now: datetime) -> tuple[Any, ...]:
    body = orjson.dumps({**told, "resource_id": call.callrail_id})  # whatever the API calls it
    request = ReceivedRequest(now, call.company, Kind.API_CALL, "application/json", {}, body)
    return event_row(new_id(Prefix.EVENT), request, hashlib.sha256(body).digest(), None, origin=Origin.API)
