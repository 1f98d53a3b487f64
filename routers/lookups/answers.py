"""Answers of look-ups, and the table in which they hold for a while: one process asks, the others wait for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, delete, or_, select, update

from receiver.bulk import BulkInsert
from routers.schema import lookups

_held = select(lookups).where(lookups.c.key == bindparam("key"))
_insert = BulkInsert(lookups, lookups.c.key, lookups.c.name, lookups.c.expires_at)


class Source(StrEnum):
    """Where an answer comes from; one that is not asked for is a problem of ours, or of the API a moment ago."""

    API = "api"
    CACHE = "cache"
    NOT_ASKED = "not_asked"


class Reach(StrEnum):
    """What a problem is with: what was asked, a look-up whatever it asks, or asking the account at all."""

    QUESTION = "question"
    LOOKUP = "lookup"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a look-up told, or why it told nothing.

    Attributes:
        fields: By name; None where there is no answer.
        problem: Why there is none, in a few words; None where there is one.
        holds: How long others may rely on it; not at all where None.
        may_pass: Whether the problem may pass, so that asking again helps.
    """

    fields: Mapping[str, Any] | None
    fetched_at: datetime
    problem: str | None = None
    holds: timedelta | None = None
    may_pass: bool = False
    reach: Reach = Reach.QUESTION
    source: Source = Source.API

    def noted(self, now: datetime) -> dict[str, Any]:
        """What is kept of it beside its fields: where it came from, and how old it was, in seconds."""
        age = max((now - self.fetched_at).total_seconds(), 0.0)
        noted: dict[str, Any] = {"from": self.source.value, "age": round(age, 1)}
        return noted | ({"problem": self.problem} if self.problem is not None else {})


def key_of(name: str, account: str, operation: str, arguments: Mapping[str, Any], about: str | None) -> str:
    """The key of what is asked. *about* is the thing that the answer is of use for alone, if it is for one."""
    asked = orjson.dumps([name, account, operation, arguments, about], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(asked).hexdigest()


@dataclass(frozen=True, slots=True)
class Fresh:
    """How new an answer must be: asked not before *answer*, or *none* where it says that there is none."""

    answer: datetime | None = None
    none: datetime | None = None

    def suits(self, answer: Answer) -> bool:
        """Whether *answer* is as new as that."""
        since = self.answer if answer.fields is not None else self.none
        return since is None or answer.fetched_at >= since


ANY_AGE = Fresh()


def cached(conn: Connection, key: str, now: datetime, fresh: Fresh = ANY_AGE) -> Answer | None:
    """The answer that still holds, and is *fresh* enough."""
    row = conn.execute(_held, {"key": key}).first()
    if row is None or row.fetched_at is None or row.expires_at <= now:
        return None
    answer = Answer(row.answer, row.fetched_at, row.problem, may_pass=row.may_pass, source=Source.CACHE)
    return answer if fresh.suits(answer) else None


def begin(conn: Connection, key: str, name: str, now: datetime, until: datetime, fresh: Fresh = ANY_AGE) -> bool:
    """Whether we are to ask: nobody has an answer that holds, and nobody else is at it. We have time *until* then."""
    if _insert(conn, [(key, name, until)]):
        return True
    ended = [lookups.c.expires_at <= now]
    if fresh.answer is not None:
        ended.append(and_(lookups.c.fetched_at < fresh.answer, lookups.c.problem.is_(None)))
    if fresh.none is not None:
        ended.append(and_(lookups.c.fetched_at < fresh.none, lookups.c.problem.is_not(None)))
    taken = update(lookups).where(lookups.c.key == key, or_(*ended))
    return conn.execute(taken.values(expires_at=until, fetched_at=None, answer=None, problem=None)).rowcount == 1


def keep(conn: Connection, key: str, answer: Answer) -> None:
    """The *answer* we asked for; if it holds not at all, whoever needs it next asks."""
    mine = lookups.c.key == key
    if answer.holds is None:
        conn.execute(delete(lookups).where(mine))
        return
    values = {"answer": answer.fields, "problem": answer.problem, "may_pass": answer.may_pass}
    times = {"fetched_at": answer.fetched_at, "expires_at": answer.fetched_at + answer.holds}
    conn.execute(update(lookups).where(mine).values(**values, **times))


def give_up(conn: Connection, key: str) -> None:
    """We ask no more, and have no answer."""
    conn.execute(delete(lookups).where(lookups.c.key == key, lookups.c.fetched_at.is_(None)))


def give_up_all(conn: Connection) -> None:
    """Nobody asks any more: whoever did has ended."""
    conn.execute(delete(lookups).where(lookups.c.fetched_at.is_(None)))


def drop_expired(conn: Connection, now: datetime) -> int:
    """Remove what holds no longer."""
    return conn.execute(delete(lookups).where(lookups.c.expires_at <= now)).rowcount


def drop_older(conn: Connection, before: datetime) -> None:
    """Remove what was told *before*: who must not be remembered as long is not, however long an answer holds."""
    conn.execute(delete(lookups).where(lookups.c.fetched_at < before))


def forget_all(conn: Connection) -> None:
    """Remove all answers: they may tell of somebody who was erased, and are asked for anew where they are needed."""
    conn.execute(delete(lookups))
