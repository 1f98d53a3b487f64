"""Asking CallRail: one request for all who want to know the same, within the account's allowance and a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from callrail.exceptions import (
    AnswerError,
    AnswerLost,
    BudgetSpent,
    CallRailError,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotSent,
    RateLimited,
    ServerFault,
    Unauthorized,
)
from callrail.payload import object_id
from receiver.clock import Clock
from receiver.loggers import get_logger
from receiver.writer import Writer
from routers.lookups.answers import Answer, begin, cached, keep, key_of
from routers.lookups.definitions import Facts, Lookup, OnFailure

if TYPE_CHECKING:
    from callrail.client import CallRail

_log = get_logger(__name__)

# An API that is down is not asked for each event, nor a key that is wrong.
_DOWN_HOLDS = timedelta(seconds=5)
_REFUSED_HOLDS = timedelta(seconds=30)
_ASK_AGAIN = 0.1  # seconds, whether another process has been answered
_MARGIN = timedelta(seconds=5)

AccountOf = Callable[[str], str | None]  # by company, the name of its account


@dataclass(frozen=True, slots=True)
class Question:
    """What one look-up asks for some facts."""

    lookup: Lookup
    account: str
    arguments: Mapping[str, Any]
    facts: Facts = field(repr=False)

    @property
    def key(self) -> str:
        """Under which its answer is found."""
        about = object_id(dict(self.facts)) if self.lookup.narrow is not None else None
        return key_of(self.lookup.name, self.account, self.lookup.operation, self.arguments, about)


class Lookups:
    """The look-ups of an installation.

    Args:
        known: All of them, by name.
        account_of: By company, the name of its account.
        clients: By the account's name, its client; an account without one cannot be asked.
    """

    def __init__(
        self,
        known: Mapping[str, Lookup],
        account_of: AccountOf,
        clients: Mapping[str, CallRail],
        writer: Writer,
        clock: Clock,
    ) -> None:
        self.known = known
        self._account_of = account_of
        self._clients = clients
        self._writer = writer
        self._clock = clock
        self._asking: dict[str, asyncio.Task[Answer]] = {}
        self._down: dict[str, Answer] = {}  # by account, the failure for which nobody else of it need wait as long
        self.dropping = frozenset(name for name, each in known.items() if each.settings.on_failure is OnFailure.DROP)

    def at_hand(
        self, conn: Connection, company: str, names: Collection[str], facts: Facts, now: datetime
    ) -> dict[str, Answer]:
        """The answers, by name, for which nobody need be asked: those that hold still, and what cannot be asked."""
        found: dict[str, Answer] = {}
        for name in names:
            question = self._question(company, name, facts, now)
            answer = question if isinstance(question, Answer) else cached(conn, question.key, now)
            if answer is None and isinstance(question, Question):
                answer = self._while_down(question.account, now)
            if answer is not None and not (answer.may_pass and self._waits(name)):
                found[name] = answer
        return found

    def _while_down(self, account: str, now: datetime) -> Answer | None:
        """The failure that holds for all of an account just now; None if there is none."""
        failed = self._down.get(account)
        if failed is None or failed.holds is None or failed.fetched_at + failed.holds <= now:
            return None
        return replace(failed, fetched_at=now, holds=None)

    def _waits(self, name: str) -> bool:
        return self.known[name].settings.on_failure is OnFailure.WAIT

    async def ask(self, company: str, name: str, facts: Facts, now: datetime) -> Answer:
        """The answer, of CallRail if need be. Never raises for what CallRail or the network does."""
        question = self._question(company, name, facts, now)
        if isinstance(question, Answer):
            return question
        key = question.key
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask_once(question, key))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """End what is asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _question(self, company: str, name: str, facts: Facts, now: datetime) -> Question | Answer:
        lookup = self.known[name]
        account = self._account_of(company)
        if account is None or account not in self._clients:
            return Answer(None, now, "the company's account at CallRail has no key here", may_pass=True)
        arguments = lookup.arguments(facts, now.date())
        if arguments is None:
            return Answer(None, now, f"CallRail did not tell {' or '.join(lookup.needs)}")
        return Question(lookup, account, arguments, facts)

    async def _ask_once(self, question: Question, key: str) -> Answer:
        """Ask, or wait for whoever asks the same."""
        lookup, clock = question.lookup, self._clock
        until: datetime | None = None

        def step(conn: Connection) -> tuple[Answer | None, bool, datetime]:
            now = clock.now(conn)
            if (answer := cached(conn, key, now)) is not None:
                return answer, False, now
            return None, begin(conn, key, lookup.name, now, now + lookup.settings.deadline + _MARGIN), now

        while True:
            answer, is_ours, now = await self._writer.run(step)
            until = until or now + lookup.settings.deadline
            if answer is None and not is_ours:
                answer = self._while_down(question.account, now)
            if answer is not None:
                return answer
            if is_ours:
                break
            if now >= until:
                return Answer(None, now, "another process still asks", may_pass=True)
            await asyncio.sleep(_ASK_AGAIN)
        answer = self._while_down(question.account, now) or await self._request(question, now)
        if answer.is_of_account and answer.holds is not None:
            self._down[question.account] = answer
        await self._writer.run(lambda conn: keep(conn, key, answer))
        return answer

    async def _request(self, question: Question, now: datetime) -> Answer:
        settings = question.lookup.settings
        try:
            async with asyncio.timeout(settings.deadline.total_seconds()):
                told = await self._told(question)
        except (CallRailError, TimeoutError) as error:
            return _failed(question.lookup, error, now)
        except Exception as error:
            _log.exception("lookups.failed", name=question.lookup.name, error=type(error).__name__)
            return Answer(None, now, type(error).__name__, _DOWN_HOLDS)
        return Answer(question.lookup.reads(told, question.facts), now, holds=settings.ttl)

    async def _told(self, question: Question) -> Mapping[str, Any]:
        """The API's answer; of a list its first page."""
        resource, verb = question.lookup.operation.split(".")
        call = getattr(getattr(self._clients[question.account], resource), verb)
        told = call(**question.arguments, deadline=question.lookup.settings.deadline)
        if hasattr(told, "pages"):
            pages = told.pages()
            try:
                page = await anext(pages)
            finally:
                await pages.aclose()
            return {call.operation.rows: [row.told for row in page.rows], "total_records": page.total}
        answer: Mapping[str, Any] = (await told).told
        return answer


def _failed(lookup: Lookup, error: Exception, now: datetime) -> Answer:
    """What *error* means for whoever looks up. Its text may name what was asked, and stays here."""
    match error:
        case NotFound():
            holds = lookup.settings.negative_ttl
            return Answer(None, now, "CallRail knows none (404)", holds, may_pass=lookup.is_prepared)
        case Unauthorized():
            return _of_account("the key is wrong (401)", now, _REFUSED_HOLDS)
        case Forbidden():  # of this operation; it may do others
            return Answer(None, now, "the key may not (403)", _REFUSED_HOLDS, may_pass=True)
        case BudgetSpent() | RateLimited():
            return _of_account("the account's allowance is used up", now)
        case TimeoutError():
            return _of_account("CallRail did not answer in time", now)
        case ServerFault():
            return _of_account(f"CallRail answered {error.status}", now)
        case NotSent() | AnswerLost():
            return _of_account("CallRail could not be reached", now)
        case InvalidRequest():
            return Answer(None, now, f"it cannot be asked: {error}", lookup.settings.negative_ttl)
        case AnswerError():
            return Answer(None, now, f"CallRail answered {error.status}", _DOWN_HOLDS, may_pass=True)
        case _:
            return Answer(None, now, type(error).__name__, _DOWN_HOLDS, may_pass=True)


def _of_account(problem: str, now: datetime, holds: timedelta = _DOWN_HOLDS) -> Answer:
    """A failure that would be that of every other question to the account."""
    return Answer(None, now, problem, holds, may_pass=True, is_of_account=True)
