"""Logging one thing at GoHighLevel: whose it is, a note of it, and later news of it, each id kept as it is told.

Nothing there has a unique key of ours. So of whatever was about to be made when an answer was lost, it is waited until
a search must show it, and then it is searched for by the number, or by our mark in the note, before it is made again.
What people may get messages by, a workflow, is not started again at all unless somebody says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, TypeGuard

from receiver.exceptions import DatabaseUnavailable
from routers.messages import Message
from routers.outcomes import AuthFailed, Delivered, Outcome, Postponed, Rejected, Retry, Uncertain
from routers.sinks.crm import CrmMemory, Known, Lead, Of, Turn, TurnLost, TurnTaken, is_of
from routers.sinks.crm_requests import Lost
from routers.sinks.gohighlevel_api import Api, Refused
from routers.sinks.gohighlevel_records import (
    LAG,
    NAMES,
    Wanted,
    Workflow,
    digest_of,
    gaps,
    marked,
    new_contact,
    numbers_of,
    without,
)

CONTACT, NOTE, FOLLOWS, WORKFLOW = "contact", "note", "follows", "workflow"  # as it is remembered
_SPAM = "spam is not logged, and was not before"
_STARTED, _LOST = "started", "lost"
_BARE = "bare"  # of a contact: it was made, and what follows was not told for certain
# Where somebody deletes or merges the contact between our look and our write, it takes another look.
_LOOKS = 3
_SOON = timedelta(seconds=10)
_IT_CHANGES = Retry("the contact changes while it is written to", _SOON)
_ACTS_AFTER = timedelta(seconds=30)  # a request that was given up on may still act, as the turn allows for
_GRACE = timedelta(milliseconds=500)  # the client knows better what its own timeout means


class Stop(Exception):
    """There is an outcome, and nothing more to do."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class _ContactGone(Exception):
    """The contact that we knew is no more."""


class Log:
    """Logs things at one location, in turns with all others who do.

    Args:
        within: How long all requests for one thing may take together. Whoever stops us later cannot know what was
            begun, and would call it uncertain.
    """

    def __init__(self, api: Api, memory: CrmMemory, *, within: timedelta) -> None:
        self._api = api
        self._memory = memory
        self._within = within + _GRACE

    async def log(self, message: Message, wanted: Wanted) -> Outcome:
        """See to it that all is there as *wanted*."""
        logging: _Logging | None = None
        outcome: Outcome
        try:
            async with asyncio.timeout(self._within.total_seconds()), self._memory.turn(message) as turn:
                logging = _Logging(self._api, turn, wanted, LAG + _ACTS_AFTER + self._within)
                try:
                    outcome = await logging.log()
                except Stop as stop:
                    outcome = stop.outcome
        except TurnTaken as taken:
            return Postponed(str(taken), min(taken.after, _SOON))
        except TimeoutError:
            outcome = Retry("no answer in time")
        except TurnLost:
            outcome = Retry("it took so long that another delivery may be at work", _SOON)
        except DatabaseUnavailable:
            outcome = Retry("the database does not answer", is_ours=True)
        return _doubt_of(logging.in_doubt) if logging is not None and logging.in_doubt else outcome


class _Logging:
    """One thing within its turn.

    Attributes:
        in_doubt: Workflows of which it is not known whether they were started.

    Args:
        shown_after: How long after an intent a search shows what came of it.
    """

    def __init__(self, api: Api, turn: Turn, wanted: Wanted, shown_after: timedelta) -> None:
        self.in_doubt: set[str] = set()
        self._api = api
        self._turn = turn
        self._wanted = wanted
        self._shown_after = shown_after
        self._left_out: set[str] = set()
        self._gone: set[str] = set()

    async def log(self) -> Outcome:
        known = await self._turn.known(NOTE, Of.THING)
        if known is not None:
            return await self._bring_up_to_date(known)
        if self._wanted.only_changes and await self._turn.intended_for(NOTE, Of.THING) is None:
            return Delivered(_SPAM)
        for _ in range(_LOOKS):
            contact = await self._contact()
            if contact is None:
                return Delivered("not logged: nobody there is it, and a note is always somebody's")
            try:
                held = await self._noted(contact)
                if held is None and self._wanted.only_changes:
                    return Delivered(_SPAM)
                note_id = str(held["id"]) if held is not None else await self._create_note(contact)
                await self._follow(contact)
            except _ContactGone:
                continue
            known = await self._turn.known(NOTE, Of.THING) if held is not None else None
            if held is not None and known is not None:
                return await self._change(known, contact, note_id, held)
            return self._delivered("logged", note_id)
        return _IT_CHANGES

    # --- the contact -------------------------------------------------------------------------------------------------

    async def _contact(self) -> str | None:
        """The contact's id; None where nobody can be known, or is made."""
        lead = self._turn.lead
        if lead is None or not (numbers_of(lead) or lead.emails):
            return None
        known = await self._turn.known(CONTACT, Of.LEAD)
        if known is not None:
            return await self._filled(known.remote_id, lead) if known.written == _BARE else known.remote_id
        await self._wait_for_search(CONTACT, Of.LEAD)
        found = await self._find(lead)
        if found is None:
            makes_one = self._wanted.creates_contacts and not self._wanted.only_changes
            return await self._new_contact(lead) if makes_one else None
        if gaps(found, lead, self._wanted.name):
            return await self._filled(found["id"], lead)
        await self._turn.keep(CONTACT, Of.LEAD, found["id"])
        return str(found["id"])

    async def _find(self, lead: Lead) -> Mapping[str, Any] | None:
        numbers = numbers_of(lead)
        for by in (*({"number": number} for number in numbers), *({"email": email} for email in lead.emails[:1])):
            answer = await self._api.find_contact(**by)
            if numbers and "email" in by and _is_rejected(answer):  # nobody has what is no address
                continue
            told = self._told(answer).get("contact")
            if isinstance(told, dict) and isinstance(told.get("id"), str) and told["id"] not in self._gone:
                return told
        return None

    async def _new_contact(self, lead: Lead) -> str:
        """The contact, made. Its name follows, for whoever has one that a search does not show yet."""
        body = new_contact(lead, self._wanted)
        await self._turn.intend(CONTACT, Of.LEAD)
        made = await self._api.upsert_contact(body)
        # A refusal has been seen of what was made all the same. Made again by an upsert, it is still one.
        while _is_rejected(made):
            if "assignedTo" in made.refusal.names:
                raise Stop(AuthFailed(f"{made.outcome.reason}: there is no such user; look at owner"))
            other, left_out = without(made.refusal.names, body, lead, self._wanted)
            if other == body:
                break
            self._left_out |= left_out
            body = other
            made = await self._api.upsert_contact(body)
        if isinstance(made, Refused) and not _is_rejected(made):
            await self._turn.forget(CONTACT, Of.LEAD)
        told = self._told(made)
        contact_id = _id_of(told, CONTACT)
        if contact_id in self._gone:
            raise Stop(_IT_CHANGES)
        await self._turn.keep(CONTACT, Of.LEAD, contact_id, _BARE)
        if told.get("new") is not True:
            return await self._filled(contact_id, lead)
        return await self._fill(contact_id, body, lead)  # what stands there, whatever they tell of it

    async def _filled(self, contact_id: str, lead: Lead) -> str:
        """The contact, with what it lacks filled in. It is read first: a search may show what stood there before."""
        found = await self._api.contact(contact_id)
        if isinstance(found, Refused) and found.refusal.is_gone:  # search still shows who was deleted
            await self._turn.forget(CONTACT, Of.LEAD)
            self._gone.add(contact_id)
            return await self._contact() or contact_id
        held = self._told(found).get("contact")
        if not isinstance(held, dict):
            raise Stop(Retry("GoHighLevel did not say what stands in the contact"))
        return await self._fill(contact_id, held, lead)

    async def _fill(self, contact_id: str, held: Mapping[str, Any], lead: Lead) -> str:
        """Write what *held* lacks. What is refused is left out: what is named, or all but the name, or that, too."""
        lacking = gaps(held, lead, self._wanted.name)
        missing = {name: value for name, value in lacking.items() if name not in self._left_out}
        while missing:
            done = await self._api.change_contact(contact_id, missing)
            if not _is_rejected(done):
                self._told(done)
                break
            refused = done.refusal.names & missing.keys() or missing.keys() - NAMES or missing.keys()
            self._left_out |= refused
            missing = {name: value for name, value in missing.items() if name not in refused}
        await self._turn.keep(CONTACT, Of.LEAD, contact_id)
        return contact_id

    async def _wait_for_search(self, kind: str, of: Of) -> None:
        """Not yet, where something may have been made that search does not show so far."""
        age = await self._turn.intended_for(kind, of)
        if age is not None and age < self._shown_after:
            later = self._shown_after - age
            raise Stop(Postponed(f"an answer was lost; whether there is a {kind} now is looked up later", later))

    # --- the note ----------------------------------------------------------------------------------------------------

    async def _noted(self, contact: str) -> Mapping[str, Any] | None:
        """The note of an earlier try of which nobody knows the end."""
        if await self._turn.intended_for(NOTE, Of.THING) is None:
            return None
        await self._wait_for_search(NOTE, Of.THING)
        told = await self._of_contact(contact, await self._api.notes(contact))
        listed = told.get("notes")
        if not isinstance(listed, list):
            raise Stop(Retry("GoHighLevel did not say which notes there are"))
        noted = await self._turn.noted(NOTE, Of.THING)
        found = marked(listed, self._wanted.note.mark, (noted or "").split())
        if found is not None:
            await self._turn.keep(NOTE, Of.THING, _place(contact, str(found["id"])), noted)
        return found

    async def _create_note(self, contact: str) -> str:
        note = self._wanted.note
        if self._wanted.tags or self._wanted.workflows:
            await self._turn.intend(FOLLOWS, Of.THING)
        await self._turn.intend(NOTE, Of.THING, note.digest)
        made = await self._api.create_note(contact, note.written)
        if isinstance(made, Refused):
            await self._turn.forget(NOTE, Of.THING)
        note_id = _id_of(await self._of_contact(contact, made), NOTE)
        await self._turn.keep(NOTE, Of.THING, _place(contact, note_id), note.digest)
        return note_id

    async def _bring_up_to_date(self, known: Known) -> Outcome:
        """Write what later news changed, unless somebody else has changed the note."""
        contact, note_id = known.remote_id.split("/", 1)
        found = await self._api.note(contact, note_id)
        is_gone = isinstance(found, Refused) and found.refusal.is_gone
        held = None if is_gone else self._told(found).get("note")
        if not is_gone and not (isinstance(held, dict) and isinstance(held.get("body"), str)):
            raise Stop(Retry("GoHighLevel did not say what stands in the note"))
        if await self._has_to_follow():
            try:
                await self._follow(contact)
            except _ContactGone:
                return self._delivered("its contact was deleted there, and its tags and workflows are left", note_id)
        if held is None:
            return self._delivered("its note was deleted there, or its contact, and is not written again", note_id)
        return await self._change(known, contact, note_id, held)

    async def _change(self, known: Known, contact: str, note_id: str, held: Mapping[str, Any]) -> Outcome:
        note, now = self._wanted.note, digest_of(held)
        if now == note.digest:
            return self._delivered("it was so already", note_id)
        if now not in (known.written or "").split():
            return self._delivered("somebody has changed the note, and it stays as it is", note_id)
        # If the answer is lost, either may stand there, and either is ours.
        await self._turn.keep(NOTE, Of.THING, known.remote_id, f"{now} {note.digest}")
        done = await self._api.change_note(contact, note_id, note.written)
        if isinstance(done, Refused) and done.refusal.is_gone:
            return self._delivered("its note was deleted there, or its contact, and is not written again", note_id)
        self._told(done)
        await self._turn.keep(NOTE, Of.THING, known.remote_id, note.digest)
        return self._delivered("updated", note_id)

    # --- what follows ------------------------------------------------------------------------------------------------

    async def _follow(self, contact: str) -> None:
        """Tag the contact and start what is wanted, each thing once."""
        if self._wanted.tags:
            await self._of_contact(contact, await self._api.add_tags(contact, self._wanted.tags))
        for each in self._wanted.workflows:
            if is_of(each.who, self._turn.lead):
                await self._start(contact, each)
        if self.in_doubt:
            raise Stop(_doubt_of(self.in_doubt))
        if self._wanted.tags or self._wanted.workflows:
            await self._turn.forget(FOLLOWS, Of.THING)

    async def _has_to_follow(self) -> bool:
        """Whether an answer was lost before all was done, or somebody sends again what may not have been started."""
        if await self._turn.intended_for(FOLLOWS, Of.THING) is not None:
            return True
        kinds = [f"{WORKFLOW} {each.id}" for each in self._wanted.workflows]
        started = [await self._turn.known(kind, Of.THING) for kind in kinds]
        return any(known is not None and _is_lost(known, self._wanted.delivery) for known in started)

    async def _start(self, contact: str, workflow: Workflow) -> None:
        """Start it, unless it was, or nobody knows. Then the same delivery, sent again by somebody, starts it."""
        kind, mine = f"{WORKFLOW} {workflow.id}", self._wanted.delivery
        if await self._turn.intended_for(kind, Of.THING) is not None:  # somebody was stopped before there was an answer
            noted = await self._turn.noted(kind, Of.THING)
            if mine in (noted or "").split():
                self.in_doubt.add(workflow.id)
            await self._turn.keep(kind, Of.THING, _LOST, noted)
            return
        known = await self._turn.known(kind, Of.THING)
        if known is not None and not _is_lost(known, mine):
            return
        await self._turn.intend(kind, Of.THING, mine)
        self.in_doubt.add(workflow.id)
        done = await self._api.start_workflow(contact, workflow.id)
        if isinstance(done, Lost) and done.may_act:
            await self._turn.keep(kind, Of.THING, _LOST, mine)
            return
        self.in_doubt.remove(workflow.id)
        if isinstance(done, Refused | Lost):
            await self._turn.forget(kind, Of.THING)
        if _is_rejected(done):
            if done.refusal.is_gone and not done.refusal.is_of_workflow:
                await self._forget_if_gone(contact)
            raise Stop(AuthFailed(f"{done.outcome.reason}: there is no such workflow, or it is a draft: {workflow.id}"))
        told = self._told(done)
        if any(told.get(word) is False for word in ("succeded", "succeeded")):  # documented; the latter of v3 alone
            await self._turn.forget(kind, Of.THING)
            raise Stop(Rejected(f"logged; GoHighLevel did not start the workflow {workflow.id}"))
        await self._turn.keep(kind, Of.THING, _STARTED)

    # --- answers -----------------------------------------------------------------------------------------------------

    async def _of_contact(self, contact: str, found: Mapping[str, Any] | Refused | Lost) -> Mapping[str, Any]:
        """What was answered about the contact.

        Raises:
            _ContactGone: It is no more.
            Stop: Nothing that could be gone on with.
        """
        if isinstance(found, Refused) and found.refusal.is_gone:
            await self._forget_if_gone(contact)
            raise Stop(Retry(f"{found.outcome.reason}: not found, it says, though the contact is there"))
        return self._told(found)

    async def _forget_if_gone(self, contact: str) -> None:
        """Something is said to be not there, and not always what. If it is the contact, it is forgotten.

        Raises:
            _ContactGone: It was.
            Stop: Nobody knows.
        """
        found = await self._api.contact(contact)
        if isinstance(found, Refused) and found.refusal.is_gone:
            await self._turn.forget(CONTACT, Of.LEAD)
            self._gone.add(contact)
            raise _ContactGone
        self._told(found)

    def _told(self, found: Mapping[str, Any] | Refused | Lost) -> Mapping[str, Any]:
        """What was answered.

        Raises:
            Stop: Nothing that could be gone on with.
        """
        if isinstance(found, Lost):
            if found.may_act:
                self._turn.may_still_act()
            raise Stop(_tried_again(found.outcome))
        if isinstance(found, Refused):
            raise Stop(found.outcome)
        return found

    def _delivered(self, how: str, note_id: str) -> Outcome:
        left = [f"left out: {name}" for name in sorted(self._left_out)]
        return Delivered("; ".join([how, *left]), note_id)


def _tried_again(outcome: Outcome) -> Outcome:
    """A lost answer of what is searched for before it is made again; held is only what is not."""
    return Retry(outcome.reason) if isinstance(outcome, Uncertain) else outcome


def _doubt_of(workflows: Collection[str]) -> Uncertain:
    return Uncertain(f"logged; whether the workflow {', '.join(sorted(workflows))} was started is not known")


def _is_rejected(answer: object) -> TypeGuard[Refused]:
    """Whether what was sent is refused for what it is."""
    return isinstance(answer, Refused) and isinstance(answer.outcome, Rejected)


def _is_lost(known: Known, delivery: str) -> bool:
    """Whether it is not known if a workflow was started for *delivery*."""
    return known.remote_id == _LOST and delivery in (known.written or "").split()


def _place(contact: str, note_id: str) -> str:
    """A note is found under its contact alone."""
    return f"{contact}/{note_id}"


def _id_of(told: Mapping[str, Any], kind: str) -> str:
    found = told.get(kind)
    record_id = found.get("id") if isinstance(found, dict) else None
    if not isinstance(record_id, str) or not record_id:
        raise Stop(Retry(f"GoHighLevel did not say which {kind} it is"))
    return record_id
