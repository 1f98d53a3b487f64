"""Asking CallRail: one request for all who want to know the same, within the account's allowance and a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from callrail.exceptions import (
    AnswerError,
    AnswerLost,
    BudgetSpent,
    CallRailError,
    Forbidden,
    InvalidRequest,
    NoFile,
    NotFound,
    NotSent,
    RateLimited,
    ServerFault,
    Unauthorized,
    UnexpectedAnswer,
)
from callrail.payload import object_id
from receiver.clock import Clock
from receiver.columns import json_text
from receiver.exceptions import DatabaseUnavailable
from receiver.loggers import get_logger
from routers.budgets import Transactions
from routers.lookups.answers import Answer, Fresh, Reach, Source, begin, cached, give_up, keep, key_of
from routers.lookups.definitions import About, Lookup, OnFailure
from routers.rules.answers import LOOKUP

if TYPE_CHECKING:
    from callrail.client import CallRail

_log = get_logger(__name__)

# An API that is down is not asked for each event, nor a key that is wrong.
_DOWN_HOLDS = timedelta(seconds=5)
_REFUSED_HOLDS = timedelta(seconds=30)
_ASK_AGAIN = 0.1  # seconds, whether another process has been answered
_MARGIN = timedelta(seconds=5)
_DEPTH = 8  # and a few more

AccountOf = Callable[[str], str | None]  # by company, the name of its account


@dataclass(frozen=True, slots=True)
class Question:
    """What one look-up asks about something."""

    lookup: Lookup
    account: str
    arguments: Mapping[str, Any]
    about: About = field(repr=False)
    since: datetime | None = None  # an answer from before is asked for anew

    @property
    def key(self) -> str:
        """Under which its answer is found."""
        thing = object_id(dict(self.about.facts)) if self.lookup.is_for_one_thing else None
        return key_of(self.lookup.name, self.account, self.lookup.operation, self.arguments, thing)

    @property
    def fresh(self) -> Fresh:
        """How new an answer must be to tell what is asked."""
        if self.since is not None:
            return Fresh(self.since, self.since)
        told_at = self.about.told_at
        return Fresh(
            told_at if self.lookup.is_of_itself else None,
            told_at if self.lookup.is_of_itself or self.lookup.is_for_one_thing else None,
        )


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
        writer: Transactions,
        clock: Clock,
    ) -> None:
        self.known = known
        self._account_of = account_of
        self._clients = clients
        self._writer = writer
        self._clock = clock
        self._asking: dict[str, asyncio.Task[Answer]] = {}
        # By account and look-up, or account alone: the failure for which nobody else need wait as long.
        self._down: dict[tuple[str, str | None], Answer] = {}
        self.dropping = frozenset(name for name, each in known.items() if each.settings.on_failure is OnFailure.DROP)

    def at_hand(self, conn: Connection, names: Collection[str], about: About, now: datetime) -> dict[str, Answer]:
        """The answers, by name, for which nobody need be asked: those that hold still, and what cannot be asked."""
        found: dict[str, Answer] = {}
        for name in names:
            question = self._question(name, about, now)
            answer = question if isinstance(question, Answer) else cached(conn, question.key, now, question.fresh)
            if answer is None and isinstance(question, Question):
                answer = self._while_down(question, now)
            if answer is not None and not (answer.may_pass and self._waits(name)):
                found[name] = answer
        return found

    def key_of(self, name: str, about: About, now: datetime) -> str:
        """What is asked, as a text: the same where the answer is the same."""
        question = self._question(name, about, now)
        return question.key if isinstance(question, Question) else f"{name}: {question.problem}"

    def _while_down(self, question: Question, now: datetime) -> Answer | None:
        """The failure of a moment ago that would be that of *question* too; None if there is none."""
        for key in ((question.account, question.lookup.name), (question.account, None)):
            failed = self._down.get(key)
            # A clock that was set back makes nobody wait for it.
            if failed is not None and failed.holds and failed.fetched_at <= now < failed.fetched_at + failed.holds:
                return replace(failed, fetched_at=now, holds=None, source=Source.NOT_ASKED)
        return None

    def _note_failure(self, question: Question, answer: Answer) -> None:
        if answer.reach is not Reach.QUESTION and answer.holds is not None:
            of = question.lookup.name if answer.reach is Reach.LOOKUP else None
            self._down[question.account, of] = answer

    def _waits(self, name: str) -> bool:
        return self.known[name].settings.on_failure is OnFailure.WAIT

    async def ask(self, name: str, about: About, now: datetime, *, since: datetime | None = None) -> Answer:
        """The answer, of CallRail if need be. Never raises for what CallRail or the network does.

        Args:
            since: Answers from before this are asked for anew; None where they are as good as long as they hold.
        """
        question = self._question(name, about, now)
        if isinstance(question, Answer):
            return question
        question = replace(question, since=since)
        if (others := self._asking.get(question.key)) is not None:
            answer = await asyncio.shield(others)
            if question.fresh.suits(answer):
                return answer
        return await asyncio.shield(self._begun(question))

    def _begun(self, question: Question) -> asyncio.Task[Answer]:
        """The task that asks *question*, for all who want to know the same."""
        key = question.key
        if (task := self._asking.get(key)) is None:
            task = self._asking[key] = asyncio.create_task(self._ask_once(question, key))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def aclose(self) -> None:
        """End what is asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _question(self, name: str, about: About, now: datetime) -> Question | Answer:
        lookup = self.known[name]
        account = self._account_of(about.company)
        if account is None or account not in self._clients:
            return _not_asked("the company's account at CallRail has no key here", now, may_pass=True)
        arguments = lookup.arguments(about.facts, now.date())
        if arguments is None:
            return _not_asked(f"CallRail did not tell {' or '.join(lookup.needs)}", now)
        return Question(lookup, account, arguments, about)

    async def _ask_once(self, question: Question, key: str) -> Answer:
        """Ask, or wait for whoever asks the same; if they are never heard of again, until their time is over."""
        lookup, clock = question.lookup, self._clock

        def step(conn: Connection) -> tuple[Answer | None, bool, datetime]:
            now = clock.now(conn)
            if (answer := cached(conn, key, now, question.fresh)) is not None:
                return answer, False, now
            given = now + lookup.settings.deadline + _MARGIN
            return None, begin(conn, key, lookup.name, now, given, question.fresh), now

        while True:
            answer, is_ours, now = await self._writer.run(step)
            if answer is None and not is_ours:
                answer = self._while_down(question, now)
            if answer is not None:
                return answer
            if is_ours:
                break
            await asyncio.sleep(_ASK_AGAIN)
        try:
            answer = self._while_down(question, now)
            if answer is None:
                answer = await self._request(question, now)
                self._note_failure(question, answer)
        except asyncio.CancelledError:  # an orderly end: who comes next need not wait for us
            with contextlib.suppress(DatabaseUnavailable):
                await self._writer.run(partial(give_up, key=key))
            raise
        await self._writer.run(partial(keep, key=key, answer=answer))
        return answer

    async def _request(self, question: Question, now: datetime) -> Answer:
        settings = question.lookup.settings
        try:
            async with asyncio.timeout(settings.deadline.total_seconds()):
                told = await self._told(question)
            fields = question.lookup.reads(told, question.about.facts)
            json_text(_as_deep_as_it_gets(fields))  # what cannot be kept is no answer
        except (CallRailError, TimeoutError) as error:
            return _failed(question.lookup, error, now)
        except DatabaseUnavailable:  # in which the allowance is counted; whoever waits tries again
            raise
        except Exception as error:
            _log.exception("lookups.failed", name=question.lookup.name, error=type(error).__name__)
            return Answer(None, now, f"its answer cannot be read ({type(error).__name__})", _DOWN_HOLDS, may_pass=True)
        return Answer(fields, now, holds=settings.ttl)

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
        if not answer:
            raise UnexpectedAnswer(f"GET {question.lookup.operation}", 200, "nothing is told")
        if question.lookup.is_prepared and not any(answer.values()):
            raise NoFile(f"GET {question.lookup.operation}", 200, "it tells of none yet")
        return answer


def _failed(lookup: Lookup, error: Exception, now: datetime) -> Answer:
    """What *error* means for whoever looks up. Its text may name what was asked, and stays here."""
    match error:
        case NotFound() | NoFile():  # that it may say so without a 404 is assumed
            said = "CallRail knows none (404)" if isinstance(error, NotFound) else "CallRail tells of none yet"
            return Answer(None, now, said, lookup.settings.negative_ttl, may_pass=lookup.is_prepared)
        case Unauthorized():
            return _down(Reach.ACCOUNT, "the key is wrong (401)", now, _REFUSED_HOLDS)
        case Forbidden():  # of this operation; it may do others
            return _down(Reach.LOOKUP, "the key may not (403)", now, _REFUSED_HOLDS)
        case BudgetSpent() | RateLimited():
            return _down(Reach.ACCOUNT, "the account's allowance is used up", now)
        case TimeoutError():  # within the time that this look-up has
            return _down(Reach.LOOKUP, "CallRail did not answer in time", now)
        case ServerFault():
            return _down(Reach.LOOKUP, f"CallRail answered {error.status}", now)
        case NotSent() | AnswerLost():
            return _down(Reach.ACCOUNT, "CallRail could not be reached", now)
        case InvalidRequest():
            return Answer(None, now, f"it cannot be asked: {error}", lookup.settings.negative_ttl)
        case AnswerError():
            return Answer(None, now, f"CallRail answered {error.status}", _DOWN_HOLDS, may_pass=True)
        case _:
            return Answer(None, now, type(error).__name__, _DOWN_HOLDS, may_pass=True)


def _down(reach: Reach, problem: str, now: datetime, holds: timedelta = _DOWN_HOLDS) -> Answer:
    """A failure that would be that of other questions too."""
    return Answer(None, now, problem, holds, may_pass=True, reach=reach)


def _not_asked(problem: str, now: datetime, *, may_pass: bool = False) -> Answer:
    return Answer(None, now, problem, may_pass=may_pass, source=Source.NOT_ASKED)


def _as_deep_as_it_gets(fields: Mapping[str, Any]) -> Any:
    """*fields* as deep as a transition's details and a message hold them: JSON is written to a certain depth only."""
    deep: Any = {LOOKUP: fields}
    for _ in range(_DEPTH):
        deep = [deep]
    return deep
