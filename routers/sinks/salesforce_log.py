"""Logging one thing at an org: a look by one request, then what is missing by another, each id kept as it is told.

What was written a moment ago is seen, for the look is a query by our own key; only what people have typed is searched
for, and search lags. What is created is created by an upsert on that key, so that doing it twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from receiver.exceptions import DatabaseUnavailable
from routers.messages import Message
from routers.outcomes import Delivered, Outcome, Postponed, Retry, Uncertain
from routers.sinks.crm import CrmMemory, Known, Lead, Of, Turn, TurnLost, TurnTaken
from routers.sinks.salesforce_answers import (
    DUPLICATES,
    MOVED_ON,
    UNREADABLE,
    WRONG_VALUE,
    Part,
    Refusal,
    outcome_of_refusal,
)
from routers.sinks.salesforce_people import (
    CONTACT,
    KEY,
    LEAD,
    Found,
    Person,
    Told,
    by_id,
    by_key,
    by_number,
    choose,
    gaps,
    key_of,
    kind_of,
    new_lead,
)
from routers.sinks.salesforce_requests import Question, Write, look, write
from routers.sinks.salesforce_session import Session
from routers.sinks.salesforce_tasks import (
    TASK,
    Activity,
    changes,
    digest_of,
    is_as_written,
    new_task,
    task_by_id,
    task_by_key,
)

# What is remembered, by words of Salesforce's.
PERSON, ACTIVITY = "person", "task"
# Where somebody merges, converts or deletes a record between our look and our write, it takes another look.
_LOOKS = 4
_SOON = timedelta(seconds=10)
_ALLOW = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be there in the end.

    Attributes:
        only_changes: Whether nothing is made where there is no task of it yet, as of spam.
        left_out: The fields that Salesforce did not take, with its word.
    """

    activity: Activity
    told: Told = field(default_factory=Told)
    creates_leads: bool = True
    allows_duplicates: bool = False
    only_changes: bool = False
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is before anything is written.

    Attributes:
        task: The task's fields; None where there is none yet.
        written: The digest of the words that we wrote last; None if that is not known.
    """

    found: Found
    task: Mapping[str, Any] | None = None
    written: str | None = None


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
        person = await turn.known(PERSON, Of.LEAD) if turn.lead is not None else None
        task = await turn.known(ACTIVITY, Of.THING)
        parts = await look(self._session, questions(turn.lead, person, task, wanted.activity))
        if not isinstance(parts, dict):
            return parts
        rows = parts.pop(ACTIVITY).rows
        living = next((row for row in rows if row.get("IsDeleted") is not True), None)
        if living is None and (rows or task is not None):
            task_id = task.remote_id if task is not None else rows[0]["Id"]
            return self._delivered("its task was deleted there, and is not written again", task_id)
        if living is not None and task is None:
            await turn.keep(ACTIVITY, Of.THING, living["Id"])
        found = await self._person(turn, person, [row for part in parts.values() for row in part.rows], gone)
        return None if found is None else Seen(found, living, task.written if task is not None else None)

    async def _person(
        self, turn: Turn, known: Known | None, rows: Sequence[Mapping[str, Any]], gone: set[str]
    ) -> Found | None:
        if turn.lead is None:
            return Found()
        if known is None:
            found = choose(rows, turn.lead, gone)
            if found.person is not None:
                await turn.keep(PERSON, Of.LEAD, found.person.id)
            return found
        person = Person(known.remote_id, rows[0]) if rows else None
        if person is not None and person.heir is not None:
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
        created = [_KEPT_AS[each.name] for each in writes if _creates(each, seen)]
        for kind, of in created:
            await turn.intend(kind, of)
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
        left_out = wanted.left_out
        if (part := parts.get("gaps")) is not None and not part.is_done:
            left_out = (*left_out, part.refusal.said)
        if (part := parts.get(ACTIVITY)) is not None:
            ends = await self._task(turn, wanted, seen, part)
            if ends is not None:
                return ends
        task_id = part.record_id if part is not None else None
        how = "logged" if seen.task is None else "updated"
        said = "; ".join([how, *_others(seen.found), *(f"left out: {name}" for name in left_out)])
        return self._delivered(said, task_id or (seen.task["Id"] if seen.task is not None else None))

    async def _lead(self, turn: Turn, wanted: Wanted, part: Part) -> Outcome | Wanted | None:
        """Keep the new lead; None if it is there."""
        if part.is_done:
            if part.record_id is None:
                turn.may_still_act()
                return Uncertain("the lead was written, and Salesforce did not say which it is")
            await turn.keep(PERSON, Of.LEAD, part.record_id)
            return None
        refusal = part.refusal
        if refusal.code == DUPLICATES and refusal.matches:
            match = min(refusal.matches, key=lambda found: kind_of(found) != CONTACT)
            await turn.keep(PERSON, Of.LEAD, match)
            return wanted
        await turn.forget(PERSON, Of.LEAD)
        if refusal.code in MOVED_ON and not refusal.fields:
            return wanted
        fewer = _fewer(wanted.told.more, refusal)
        if fewer is not None:
            told = replace(wanted.told, more=fewer)
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
        if (refusal.code in MOVED_ON and "OwnerId" not in refusal.fields) or refusal.fields == ("TaskSubtype",):
            return wanted
        fewer = _fewer(wanted.activity.more, refusal)
        if fewer is not None:
            activity = replace(wanted.activity, more=fewer)
            return replace(wanted, activity=activity, left_out=(*wanted.left_out, refusal.said))
        return outcome_of_refusal(refusal)

    def _delivered(self, reason: str, task_id: str | None) -> Delivered:
        return Delivered(reason, task_id, f"{self._base_url}/{task_id}" if task_id is not None else None)


# --- pure ------------------------------------------------------------------------------------------------------------


def questions(lead: Lead | None, person: Known | None, task: Known | None, activity: Activity) -> list[Question]:
    """What has to be known before anything is written."""
    more = tuple(activity.more)
    about_task = task_by_id(task.remote_id, more) if task is not None else task_by_key(activity.key, more)
    asked = [Question(ACTIVITY, "queryAll", about_task)]
    if person is not None:
        return [*asked, Question("person", "queryAll", by_id(person.remote_id))]
    if lead is None or key_of(lead) is None:
        return asked
    asked += [Question("contacts", "query", by_key(CONTACT, lead)), Question("leads", "query", by_key(LEAD, lead))]
    number = by_number(lead)
    return [*asked, Question("search", "search", number)] if number is not None else asked


def writes_of(lead: Lead | None, wanted: Wanted, seen: Seen, *, upserts_tasks: bool) -> list[Write]:
    """What is to be written, so that all is there as *wanted*; nothing where it is."""
    writes, who = [], None
    person, key = seen.found.person, key_of(lead) if lead is not None else None
    if person is not None and lead is not None:
        who = person.id
        if missing := gaps(person, lead, wanted.told):
            writes.append(Write("gaps", "PATCH", f"/sobjects/{person.kind}/{person.id}", missing))
    elif key is not None and lead is not None and wanted.creates_leads and not wanted.only_changes:
        who = "@{lead.id}"
        headers = _ALLOW if wanted.allows_duplicates else {}
        path = _by_key(LEAD, f"{key}{seen.found.suffix}")
        writes.append(Write("lead", "PATCH", path, new_lead(lead, wanted.told), headers))
    if seen.task is not None:
        if changed := changes(seen.task, wanted.activity, written=seen.written, who=who):
            writes.append(Write(ACTIVITY, "PATCH", f"/sobjects/{TASK}/{seen.task['Id']}", changed))
        return writes
    task = {**new_task(wanted.activity), **({"WhoId": who} if who is not None else {})}
    if upserts_tasks:
        return [*writes, Write(ACTIVITY, "PATCH", _by_key(TASK, wanted.activity.key), task)]
    return [*writes, Write(ACTIVITY, "POST", f"/sobjects/{TASK}", {**task, KEY: wanted.activity.key})]


def written_after(activity: Activity, seen: Seen) -> str:
    """The digest to be kept: that of our words, or one that fits no words where somebody has put others there."""
    if seen.task is None or is_as_written(seen.task, seen.written):
        return digest_of(activity)
    return seen.written or _THEIRS


_THEIRS = "-"
_KEPT_AS = {"lead": (PERSON, Of.LEAD), ACTIVITY: (ACTIVITY, Of.THING)}


def _creates(each: Write, seen: Seen) -> bool:
    return each.name == "lead" or (each.name == ACTIVITY and seen.task is None)


def _by_key(kind: str, key: str) -> str:
    return f"/sobjects/{kind}/{KEY}/{quote(key, safe='')}"


def _fewer(more: Mapping[str, Any], refusal: Refusal) -> Mapping[str, Any] | None:
    """*more* without the fields that were refused for their values; None where the refusal is about others."""
    if refusal.code not in WRONG_VALUE or not more:
        return None
    if refusal.code == UNREADABLE:  # it names no field
        return {}
    fewer = {name: value for name, value in more.items() if name not in refusal.fields}
    return fewer if len(fewer) < len(more) else None


def _others(found: Found) -> list[str]:
    return [f"{found.others} others fitted as well"] if found.others else []
