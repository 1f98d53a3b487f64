"""What CallRail's API shows of calls from their beginning to their post-call, held against what early outcomes assume.

Nobody documents it, so it is looked at where it can be seen: on a live account, beside a server that receives webhooks.
What is recorded tells of nobody: times, lengths and whether somebody answered, by CallRail's id of the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, select

from callrail.exceptions import CallRailError
from callrail.kinds import Kind
from callrail.payload import read_payload
from receiver.clock import Clock
from receiver.columns import fixed
from receiver.database import Database
from receiver.ids import Prefix, first_id
from receiver.schema import events
from routers.early_outcomes import POSTED_WITHIN, OpenCall, is_over, newest_calls, open_calls
from routers.rules.values import instant_of

if TYPE_CHECKING:
    from callrail.client import CallRail

LOOK_EVERY = timedelta(seconds=20)
_SHOWN = ("answered", "voicemail", "duration", "call_type", "start_time")
_OUTCOME = ("answered", "voicemail", "duration")


@dataclass
class Observed:
    """A call, and what was *shown* of it and when, *since* a moment.

    *over_at* is when it first seemed to be over, *open_at* when it was last open as far as webhooks tell.
    """

    call: OpenCall
    account: str
    since: datetime
    shown: list[dict[str, Any]] = field(default_factory=list)
    open_at: datetime | None = None
    over_at: datetime | None = None
    over_as: Mapping[str, Any] = field(default_factory=dict)

    def see(self, row: Mapping[str, Any], now: datetime) -> None:
        """Note what a look shows, if it is something new."""
        told = {name: row.get(name) for name in _SHOWN} | {"recording": bool(row.get("recording"))}
        if not self.shown or told != {name: value for name, value in self.shown[-1].items() if name != "at"}:
            self.shown.append({"at": now.isoformat(), **told})
        if self.over_at is None and is_over(row, now):
            self.over_at, self.over_as = now, told

    def record(self, post: Mapping[str, Any], posted_at: datetime) -> dict[str, Any]:
        """All of it, once its post-call has come."""
        hung_up = hung_up_at(post)
        findings = dict(_findings(self, post, hung_up))
        return {
            "call": self.call.callrail_id,
            "account": self.account,
            "hung_up_at": hung_up.isoformat() if hung_up else None,
            "post_call_after": _seconds(posted_at, hung_up),
            "known_after": _seconds(self.over_at, hung_up),
            "post_call": {name: post.get(name) for name in _SHOWN},
            "shown": self.shown,
            **findings,
        }


# What early outcomes assume, by the name in a record.
ASSUMED = {
    "not_over_too_early": "a call that goes on is not shown as one that is over",
    "stands_still": "what is shown of a call that is over does not change any more",
    "agrees": "the API shows the outcome that the post-call tells",
    "known_before_post_call": "a call is known to be over before its post-call comes",
}


def _findings(seen: Observed, post: Mapping[str, Any], hung_up: datetime | None) -> Iterable[tuple[str, bool | None]]:
    """Whether each assumption held; None where it could not be seen."""
    was_over = seen.over_at is not None
    too_early = was_over and hung_up is not None and seen.over_at is not None and seen.over_at < hung_up
    yield "not_over_too_early", not too_early if was_over and hung_up is not None else None
    last = seen.shown[-1] if seen.shown else {}
    yield "stands_still", all(last.get(name) == seen.over_as.get(name) for name in _OUTCOME) if was_over else None
    as_posted = all(bool(seen.over_as.get(name)) is bool(post.get(name)) for name in ("answered", "voicemail"))
    yield "agrees", as_posted if was_over else None
    yield "known_before_post_call", was_over if seen.shown else None


def hung_up_at(post: Mapping[str, Any]) -> datetime | None:
    """When a call ended, as its post-call tells it; None if it does not."""
    begun, duration = instant_of(post.get("start_time")), post.get("duration")
    if begun is None or not isinstance(duration, int) or isinstance(duration, bool):
        return None
    return begun + timedelta(seconds=duration)


def _seconds(moment: datetime | None, since: datetime | None) -> float | None:
    return round((moment - since).total_seconds(), 1) if moment is not None and since is not None else None


class Observer:
    """Looks at the open calls of some accounts.

    Args:
        account_of: By company, the name of its account.
        clients: By the account's name, its client.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        account_of: Callable[[str], str | None],
        clients: Mapping[str, CallRail],
    ) -> None:
        self._database = database
        self._clock = clock
        self._account_of = account_of
        self._clients = clients
        self._observed: dict[str, Observed] = {}  # by the call's id, ours

    @property
    def open(self) -> int:
        """How many calls are looked at."""
        return len(self._observed)

    def posted(self) -> list[dict[str, Any]]:
        """The records of those calls whose post-call has come, which are looked at no longer."""
        with self._database.reading.connect() as conn:
            posts = _post_calls(conn, self._observed)
        return [self._observed.pop(own_id).record(*post) for own_id, post in posts.items()]

    async def look(self) -> None:
        """Look at each call once.

        Raises:
            CallRailError: The API was not answered; what was observed before stays.
        """
        with self._database.reading.connect() as conn:
            now, calls = open_calls(conn, clock=self._clock)
            for call in calls:
                account = self._account_of(call.company)
                if account in self._clients:
                    self._observed.setdefault(call.id, Observed(call, str(account), now)).open_at = now
        for own_id, each in list(self._observed.items()):
            if each.open_at is not None and now - each.open_at > POSTED_WITHIN:  # its post-call was lost
                del self._observed[own_id]
        errors = []
        for account in sorted({each.account for each in self._observed.values()}):
            try:
                rows, _ = await newest_calls(self._clients[account], now)
            except CallRailError as error:  # the others are looked at all the same
                errors.append(error)
                continue
            for each in self._observed.values():
                if each.account == account and each.call.callrail_id in rows:
                    each.see(rows[each.call.callrail_id], now)
        if errors:
            raise errors[0]


_posts = (
    select(events.c.object_id, events.c.received_at, events.c.body, events.c.content_type)
    .where(
        events.c.id >= bindparam("first"),
        events.c.object_id.in_(bindparam("ids", expanding=True)),
        events.c.kind == fixed(Kind.POST_CALL),
    )
    .order_by(events.c.id.desc())
)


def _post_calls(conn: Connection, observed: Mapping[str, Observed]) -> dict[str, tuple[Mapping[str, Any], datetime]]:
    """By our id, the first post-call of each call that has one, and when it came."""
    since = min((each.since for each in observed.values()), default=None)
    if since is None:
        return {}
    rows = conn.execute(_posts, {"first": first_id(Prefix.EVENT, since), "ids": list(observed)})
    return {row.object_id: (read_payload(row.body, row.content_type).fields, row.received_at) for row in rows}


def summary_of(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each assumption with how often it held, how often not, and how often that could not be seen."""
    counts = {name: Counter(record[name] for record in records) for name in ASSUMED}
    return [
        {"assumed": sentence, "held": counts[name][True], "failed": counts[name][False], "unseen": counts[name][None]}
        for name, sentence in ASSUMED.items()
    ]
