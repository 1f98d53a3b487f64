"""Logging one thing at an org: a look by one request, then what is missing by another, each id kept as it is told.

What was written a moment ago is seen, for the look is a query by our own key; only what people have typed is searched
for, and search lags. What is created is created by an upsert on that key, so that doing it twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from receiver.exceptions import DatabaseUnavailable
from routers.messages import Message
from routers.outcomes import AuthFailed, Delivered, Outcome, Postponed, Retry, Uncertain
from routers.sinks.crm import CrmMemory, Known, Of, Turn, TurnLost, TurnTaken
from routers.sinks.salesforce_answers import DUPLICATES, MOVED_ON, TAKEN, WRONG_VALUE, Part, Refusal, outcome_of_refusal
from routers.sinks.salesforce_deals import SeenDeal, seen_deal
from routers.sinks.salesforce_people import KEY, LEAD, Found, Person, choose, kind_of, without_refused
from routers.sinks.salesforce_plan import (
    ACTIVITY,
    OPENED,
    PERSON,
    Kept,
    Seen,
    Wanted,
    created_by,
    fewer,
    questions,
    without_references,
    writes_of,
    written_after,
    written_meanwhile,
)
from routers.sinks.salesforce_requests import look, write
from routers.sinks.salesforce_session import Session

# Where somebody merges, converts or deletes a record between our look and our write, it takes another look.
_LOOKS = 8
_SOON = timedelta(seconds=10)
_MOST_RULED = 50  # of those whom a duplicate rule names: they are asked for in one line


class Log:
    """Logs things at one org, in turns with all others who do."""

    def __init__(self, session: Session, memory: CrmMemory, base_url: str) -> None:
        self._session = session
        self._memory = memory
        self._base_url = base_url
        self._upserts_tasks = True  # until the org says that there the key of tasks is no external id

    async def log(self, message: Message, wanted: Wanted) -> Outcome:
        """See to it that all is there as *wanted*."""
        try:
            async with self._memory.turn(message) as turn:
                return await self._log(turn, wanted)
        except TurnTaken as taken:
            return Postponed(str(taken), min(taken.after, _SOON))
        except TurnLost:
            return Retry("it took so long that another delivery may be at work", _SOON)
        except DatabaseUnavailable:
            return Retry("the database does not answer", is_ours=True)

    async def _log(self, turn: Turn, wanted: Wanted) -> Outcome:
        gone: set[str] = set()
        for _ in range(_LOOKS):
            seen = await self._look(turn, wanted, gone)
            if seen is None:
                continue
            if not isinstance(seen, Seen):
                return seen
            done = await self._write(turn, wanted, seen)
            if not isinstance(done, Wanted):
                return done
            wanted = done
        return Retry("the records change while they are written to", _SOON)

    # --- looking -----------------------------------------------------------------------------------------------------

    async def _look(self, turn: Turn, wanted: Wanted, gone: set[str]) -> Seen | Outcome | None:
        """What there is; None where the person that we knew is *gone*, and another look finds who is there instead."""
        kept = await _kept(turn)
        parts = await look(self._session, questions(turn.lead, kept, wanted))
        if not isinstance(parts, dict):
            return parts
        rows = parts.pop(ACTIVITY).rows
        deal = seen_deal(parts.pop(OPENED).rows, wanted.activity.key) if OPENED in parts else SeenDeal()
        task = next((row for row in rows if row.get("IsDeleted") is not True), None)
        if task is None and (rows or kept.task is not None):
            task_id = kept.task.remote_id if kept.task is not None else rows[0]["Id"]
            return self._delivered("its task was deleted there, and is not written again", task_id)
        if task is not None and kept.task is None:
            await turn.keep(ACTIVITY, Of.THING, task["Id"])
        rows = [row for part in parts.values() for row in part.rows]
        found = await self._person(turn, kept.person, rows, gone, wanted)
        if found is None:
            return None
        opens = task is None or (turn.lead is not None and await turn.intended_for(OPENED, Of.LEAD) is not None)
        return Seen(found, task, kept.task.written if kept.task is not None else None, deal, opens)

    async def _person(
        self, turn: Turn, known: Known | None, rows: Sequence[Mapping[str, Any]], gone: set[str], wanted: Wanted
    ) -> Found | None:
        if turn.lead is None:
            return Found()
        if known is None:
            found = choose(rows, turn.lead, gone, ruled=wanted.ruled, name=wanted.told.name)
            if found.person is not None:
                await turn.keep(PERSON, Of.LEAD, found.person.id)
            return found
        person = Person(known.remote_id, rows[0]) if rows else None
        if person is not None and person.heir is not None and person.heir not in gone:
            gone.add(known.remote_id)  # who comes to it again, after its heir was gone too, goes no further
            await turn.keep(PERSON, Of.LEAD, person.heir)
            return Found(Person(person.heir))
        if person is None or person.is_gone:
            await turn.forget(PERSON, Of.LEAD)
            gone.add(known.remote_id)
            return None
        return Found(person)

    # --- writing -----------------------------------------------------------------------------------------------------

    async def _write(self, turn: Turn, wanted: Wanted, seen: Seen) -> Outcome | Wanted:
        """Write what is missing. What comes back to be wanted takes another look."""
        if wanted.only_changes and seen.task is None:
            return Delivered("spam is not logged, and was not before")
        writes = writes_of(turn.lead, wanted, seen, upserts_tasks=self._upserts_tasks)
        if not writes:
            return self._delivered("it was so already", seen.task["Id"] if seen.task is not None else None)
        created = created_by(writes, seen)
        for kind, of in created:
            await turn.intend(kind, of)
        if seen.task is not None and (both := written_meanwhile(writes, wanted.activity, seen)) is not None:
            await turn.keep(ACTIVITY, Of.THING, seen.task["Id"], both)
        parts = await write(self._session, writes)
        if not isinstance(parts, dict):
            if isinstance(parts, Uncertain | Retry):
                turn.may_still_act()
            else:
                for kind, of in created:
                    await turn.forget(kind, of)
            return parts
        return await self._written(turn, wanted, seen, parts)

    async def _written(self, turn: Turn, wanted: Wanted, seen: Seen, parts: Mapping[str, Part]) -> Outcome | Wanted:
        """What follows from the parts: each id is kept, and the first that was refused decides."""
        if (part := parts.get("lead")) is not None and (ends := await self._lead(turn, wanted, part)) is not None:
            if ACTIVITY in parts and seen.task is None:  # it names the lead, so it was not done either
                await turn.forget(ACTIVITY, Of.THING)
            return ends
        left_out = [
            *wanted.left_out,
            *(parts[name].refusal.said for name in _OPTIONAL & parts.keys() if not parts[name].is_done),
        ]
        # Both first, so that each id is kept.
        task = await self._task(turn, wanted, seen, parts[ACTIVITY]) if ACTIVITY in parts else None
        deal = await self._deal(turn, parts[OPENED]) if OPENED in parts else None
        if (ends := task if task is not None else deal) is not None:
            return ends
        part, person = parts.get("gaps"), seen.found.person
        if part is not None and not part.is_done and turn.lead is not None and person is not None:
            told = without_refused(person, turn.lead, wanted.told, part.refusal)
            if told is not None:
                return replace(wanted, told=told, left_out=tuple(left_out))
        part = parts.get(ACTIVITY)
        task_id = part.record_id if part is not None else None
        how = "logged" if seen.task is None else "updated"
        said = "; ".join([how, *_others(seen.found), *(f"left out: {name}" for name in left_out)])
        return self._delivered(said, task_id or (seen.task["Id"] if seen.task is not None else None))

    async def _lead(self, turn: Turn, wanted: Wanted, part: Part) -> Outcome | Wanted | None:
        """Keep the new lead; None if it is there."""
        if part.is_done:
            if part.record_id is None or kind_of(part.record_id) != LEAD:
                turn.may_still_act()
                return Uncertain("the lead was written, and Salesforce did not say which it is")
            await turn.keep(PERSON, Of.LEAD, part.record_id)
            return None
        refusal = part.refusal
        await turn.forget(PERSON, Of.LEAD)
        if refusal.code == DUPLICATES:
            return _after_rule(wanted, refusal)
        if refusal.code == TAKEN and TAKEN not in wanted.again:
            return replace(wanted, again=wanted.again | {TAKEN})
        has_moved_on = refusal.code in MOVED_ON and not refusal.fields
        if has_moved_on and LEAD not in wanted.again:
            return replace(wanted, again=wanted.again | {LEAD})
        more = without_references(wanted.told.more) if has_moved_on else fewer(wanted.told.more, refusal)
        if has_moved_on and more is None:
            return wanted
        if more is not None:
            told = replace(wanted.told, more=more)
            return replace(wanted, told=told, left_out=(*wanted.left_out, refusal.said))
        if refusal.code in WRONG_VALUE and refusal.fields == ("Email",) and "Email" not in wanted.told.without:
            told = replace(wanted.told, without=wanted.told.without | {"Email"})
            return replace(wanted, told=told, left_out=(*wanted.left_out, refusal.said))
        return outcome_of_refusal(refusal)

    async def _task(self, turn: Turn, wanted: Wanted, seen: Seen, part: Part) -> Outcome | Wanted | None:
        """Keep the task with the digest of its words; None if it is as it should be."""
        if part.is_done:
            task_id = seen.task["Id"] if seen.task is not None else part.record_id
            if task_id is None:
                turn.may_still_act()
                return Uncertain("the task was written, and Salesforce did not say which it is")
            await turn.keep(ACTIVITY, Of.THING, task_id, written_after(wanted.activity, seen))
            return None
        refusal = part.refusal
        if seen.task is None:
            await turn.forget(ACTIVITY, Of.THING)
            if refusal.code == "NOT_FOUND" and refusal.fields == (KEY,):
                self._upserts_tasks = False
                return wanted
        has_moved_on, person = refusal.code in MOVED_ON and set(refusal.fields) <= {"WhoId"}, seen.found.person
        if has_moved_on and person is not None and person.id not in wanted.again:
            return replace(wanted, again=wanted.again | {person.id})
        if refusal.fields == ("TaskSubtype",) and wanted.activity.with_subtype:  # or the task is there by now
            activity = replace(wanted.activity, with_subtype=False)
            return replace(wanted, activity=activity, left_out=(*wanted.left_out, refusal.said))
        names_none = has_moved_on and not refusal.fields
        more = without_references(wanted.activity.more) if names_none else fewer(wanted.activity.more, refusal)
        if has_moved_on and more is None:
            return wanted
        if more is not None:
            activity = replace(wanted.activity, more=more)
            return replace(wanted, activity=activity, left_out=(*wanted.left_out, refusal.said))
        return outcome_of_refusal(refusal)

    async def _deal(self, turn: Turn, part: Part) -> Outcome | None:
        """Keep the new opportunity; None if it is there. What was refused may be opened once it can be."""
        if not part.is_done and "StageName" in part.refusal.fields:
            return AuthFailed(f"{part.refusal.said}: there is no such stage; look at opportunity.stage")
        if not part.is_done:
            return outcome_of_refusal(part.refusal)
        if part.record_id is None:
            turn.may_still_act()
            return Uncertain("the opportunity was written, and Salesforce did not say which it is")
        await turn.keep(OPENED, Of.LEAD, part.record_id)
        return None

    def _delivered(self, reason: str, task_id: str | None) -> Delivered:
        return Delivered(reason, task_id, f"{self._base_url}/{task_id}" if task_id is not None else None)


# What may be refused without the call not being logged.
_OPTIONAL = {"gaps", "worth"}


def _after_rule(wanted: Wanted, refusal: Refusal) -> Wanted:
    """What is wanted after a duplicate rule: whom it has found is looked at, and a lead made if it is none of them.

    Where the rule lets nobody save one, the task is nobody's: to hang it on another person would be worse.
    """
    found = tuple(match for match in refusal.matches if kind_of(match))[:_MOST_RULED]
    if not wanted.allows_duplicates or (found and not wanted.ruled):
        return replace(wanted, ruled=found, allows_duplicates=True)
    return replace(wanted, creates_leads=False, left_out=(*wanted.left_out, f"the lead, {refusal.said}"))


async def _kept(turn: Turn) -> Kept:
    if turn.lead is None:
        return Kept(task=await turn.known(ACTIVITY, Of.THING))
    return Kept(
        await turn.known(PERSON, Of.LEAD), await turn.known(ACTIVITY, Of.THING), await turn.known(OPENED, Of.LEAD)
    )


def _others(found: Found) -> list[str]:
    return [f"{found.others} others fitted as well"] if found.others else []
