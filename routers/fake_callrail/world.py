"""What there is: accounts with all that CallRail keeps of them. Objects are kept as they are told, as JSON.

Calls alone are kept in a form of their own, since there may be a hundred thousand.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

Json = dict[str, Any]

OWNER_ZONE = ZoneInfo("America/New_York")  # of the user to whom all keys belong


@dataclass(frozen=True)
class Key:
    """An API key. Keys belong to a user; whether one may write is a switch of its own (observed)."""

    text: str = field(repr=False)
    may_write: bool = True
    role: str = "admin"


@dataclass(slots=True, kw_only=True)
class Call:
    """One phone call. *start* is in UTC, *duration* in seconds; *value* in the account's currency, *page* where a
    person finds it, None for a page of the stand-in's own."""

    id: str
    start: datetime
    tracker: Json
    person: Json
    direction: str = "inbound"
    duration: int | None = 0
    answered: bool | None = True
    voicemail: bool = False
    is_recorded: bool = False
    is_first: bool = False
    agent_email: str | None = None
    source: str = "Direct"
    medium: str = "direct"
    campaign: str | None = None
    device: str | None = None
    customer_name: str | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None
    value: int | None = None
    lead_status: str | None = None
    recording_asks: int = 0
    page: str | None = None

    @property
    def is_missed(self) -> bool:
        """As CallRail counts: a voicemail is a missed call, although it is also told as answered (observed)."""
        return self.direction == "inbound" and (not self.answered or self.voicemail)


class CallLog:
    """The calls of an account, oldest first."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._starts: list[datetime] = []
        self._by_id: dict[str, Call] = {}
        self._by_person: dict[str, list[Call]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        """Keep *call* at its place in time."""
        at = bisect.bisect_right(self._starts, call.start)
        self._calls.insert(at, call)
        self._starts.insert(at, call.start)
        self._by_id[call.id] = call
        self._by_person.setdefault(call.person["id"], []).append(call)

    def remove(self, call: Call) -> None:
        """Forget *call*, as CallRail does with spam."""
        at = self._calls.index(call)
        del self._calls[at], self._starts[at], self._by_id[call.id]
        self._by_person[call.person["id"]].remove(call)

    def get(self, call_id: str) -> Call | None:
        """The call with this id."""
        return self._by_id.get(call_id)

    def between(self, start: datetime, end: datetime) -> Sequence[Call]:
        """Those that began from *start* to *end*, oldest first."""
        return self._calls[bisect.bisect_left(self._starts, start) : bisect.bisect_right(self._starts, end)]

    def of_person(self, person_id: str) -> Sequence[Call]:
        """All calls with one person."""
        return self._by_person.get(person_id, ())

    def __iter__(self) -> Any:
        return iter(self._calls)


@dataclass
class Account:
    """One account, with two ids. *has_premium*: whether its plan shows what is said in calls."""

    id: str
    numeric_id: int
    name: str
    has_premium: bool = True
    # Some accounts answer to one of their ids only (observed).
    answers_to_masked_id: bool = True
    calls: CallLog = field(default_factory=CallLog)
    companies: dict[str, Json] = field(default_factory=dict)
    trackers: dict[str, Json] = field(default_factory=dict)
    users: dict[str, Json] = field(default_factory=dict)
    tags: dict[int, Json] = field(default_factory=dict)
    people: dict[str, Json] = field(default_factory=dict)
    forms: dict[str, Json] = field(default_factory=dict)
    conversations: dict[str, Json] = field(default_factory=dict)
    integrations: dict[int, Json] = field(default_factory=dict)
    triggers: dict[int, Json] = field(default_factory=dict)
    notifications: dict[int, Json] = field(default_factory=dict)
    caller_ids: dict[int, Json] = field(default_factory=dict)
    summary_emails: dict[str, Json] = field(default_factory=dict)
    message_flows: dict[str, Json] = field(default_factory=dict)

    def answers_to(self, account_id: str) -> bool:
        """Whether a path with this id is one of ours."""
        return account_id == str(self.numeric_id) or (self.answers_to_masked_id and account_id == self.id)


@dataclass
class World:
    """All accounts, the keys that see them, and what time it is.

    Args:
        now: The clock, an aware time.
        seed: From which ids are made; the same seed makes the same ids.
    """

    now: Callable[[], datetime]
    seed: int = 1
    accounts: list[Account] = field(default_factory=list)
    admin: Key = Key("c0ffee00000000000000000000000001")
    reader: Key = Key("c0ffee00000000000000000000000002", may_write=False)
    reporter: Key = Key("c0ffee00000000000000000000000003", role="reporting")
    _made: int = 0

    @property
    def key(self) -> str:
        """A key that may do everything."""
        return self.admin.text

    @property
    def read_only_key(self) -> str:
        """A key of the same user without write access: 403 for all that changes something."""
        return self.reader.text

    @property
    def reporting_key(self) -> str:
        """A key of a user who may read, note, tag and score, and no more."""
        return self.reporter.text

    def key_of(self, text: str) -> Key | None:
        """The key that *text* is."""
        return next((key for key in (self.admin, self.reader, self.reporter) if key.text == text), None)

    def new_id(self, kind: str) -> str:
        """A fresh id as CallRail's: three letters and 32 characters."""
        self._made += 1
        return kind + hashlib.blake2b(f"{self.seed} {self._made}".encode(), digest_size=16).hexdigest()

    def new_number(self) -> int:
        """A fresh id of those things that have a number for one."""
        self._made += 1
        return 4000 + self._made

    def new_code(self) -> str:
        """A fresh short code, as conversations have."""
        self._made += 1
        return hashlib.blake2b(f"{self.seed} {self._made}".encode(), digest_size=3).hexdigest()[:5]
