"""Logging one thing at HubSpot: whose it is, its record, and later news of it, each id kept as it is told.

Search lags behind writes. So nothing that we made is searched for: it has a unique property of ours, and a second
creation is refused by HubSpot itself. What is refused so is there already, and is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from receiver.exceptions import DatabaseUnavailable
from routers.messages import Message
from routers.outcomes import Delivered, Outcome, Postponed, Rejected, Retry
from routers.sinks.crm import CrmMemory, Known, Lead, Of, Turn, TurnLost, TurnTaken
from routers.sinks.crm_requests import Lost
from routers.sinks.hubspot_api import Api, Refused
from routers.sinks.hubspot_records import (
    CONTACTS,
    KEY,
    PHONE,
    TO_CONTACT,
    Extra,
    Thing,
    changes,
    choose,
    digest_of,
    gaps,
    is_alike,
    names_of,
    new_contact,
    numbers_of,
    phone_of,
    search_of,
)

CONTACT, EXTRAS = "contact", "extras"  # as it is remembered
# Where somebody merges or deletes the contact between our look and our write, it takes another look.
_LOOKS = 3
_SOON = timedelta(seconds=10)
_KEYS = {PHONE, "email"}  # without which nobody is a contact
_OF_CONTACT = ["firstname", "lastname", "email", "hs_additional_emails", "phone", "mobilephone", PHONE]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be there.

    Attributes:
        name: What the person is called.
        of_contact: Further properties of a contact that is made, which may be left out.
        owner: HubSpot's id of the user who gets a contact that is made.
        creates_contacts: Whether somebody who is not found becomes a contact.
        extras: What else is made when the thing is logged.
    """

    thing: Thing
    name: str | None = None
    of_contact: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    creates_contacts: bool = True
    extras: Sequence[Extra] = ()


class Stop(Exception):
    """There is an outcome, and nothing more to do."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class _ContactGone(Exception):
    """The contact that we knew is no more."""


class Log:
    """Logs things at one account, in turns with all others who do."""

    def __init__(self, api: Api, memory: CrmMemory) -> None:
        self._api = api
        self._memory = memory

    async def log(self, message: Message, wanted: Wanted) -> Outcome:
        """See to it that all is there as *wanted*."""
        try:
            async with self._memory.turn(message) as turn:
                try:
                    return await _Logging(self._api, turn, wanted).log()
                except Stop as stop:
                    return stop.outcome
        except TurnTaken as taken:
            return Postponed(str(taken), min(taken.after, _SOON))
        except TurnLost:
            return Retry("it took so long that another delivery may be at work", _SOON)
        except DatabaseUnavailable:
            return Retry("the database does not answer", is_ours=True)


class _Logging:
    """One thing within its turn."""

    def __init__(self, api: Api, turn: Turn, wanted: Wanted) -> None:
        self._api = api
        self._turn = turn
        self._wanted = wanted
        self._left_out: set[str] = set()
        self._gone: set[str] = set()
        self._refused: list[str] = []
        self._was_begun: bool | None = None

    async def log(self) -> Outcome:
        thing = self._wanted.thing
        known = await self._turn.known(thing.kind, Of.THING)
        if known is not None:
            return await self._bring_up_to_date(known)
        if thing.only_changes:
            return await self._mark_what_may_be_there()
        for _ in range(_LOOKS):
            contact = await self._contact()
            try:
                record_id = await self._create(contact)
            except _ContactGone:
                continue
            if record_id is None:  # it was there: an answer was lost, or somebody else's memory was
                found = await self._api.find(thing.kind, KEY, thing.key, names_of(thing))
                if found is None and (others := thing.more - self._left_out):  # then it is one of those that clashes
                    self._left_out |= others
                    continue
                return await self._take_over(found, contact)
            await self._make_extras(contact)
            return self._delivered("logged", record_id)
        return Retry("the contact changes while it is written to", _SOON)

    async def _mark_what_may_be_there(self) -> Outcome:
        """Bring up to date what was made when its answer was lost; nothing else is made of spam."""
        thing = self._wanted.thing
        found = None
        if await self._turn.intended_for(thing.kind, Of.THING) is not None:
            found = await self._api.find(thing.kind, KEY, thing.key, names_of(thing))
        if found is None:
            return Delivered("spam is not logged, and was not before")
        return await self._take_over(found, None)

    # --- the contact -------------------------------------------------------------------------------------------------

    async def _contact(self) -> str | None:
        """The contact's id; None where nobody can be known or made."""
        lead = self._turn.lead
        if lead is None:
            return None
        known = await self._turn.known(CONTACT, Of.LEAD)
        if known is not None:
            return known.remote_id
        if phone_of(lead) is None and not lead.emails:
            return None
        found = self._told(await self._api.search(CONTACTS, search_of(lead)))
        row = choose(_rows(found), lead, self._gone)
        if row is None:
            return await self._new_contact(lead) if self._wanted.creates_contacts else None
        if gaps(row["properties"], lead, self._wanted.name):
            return await self._filled(row["id"], lead)
        contact_id: str = row["id"]
        await self._turn.keep(CONTACT, Of.LEAD, contact_id)
        return contact_id

    async def _new_contact(self, lead: Lead) -> str | None:
        """The contact, made; None where nothing is left to make it with, as of an address that is none."""
        owned = {"hubspot_owner_id": self._wanted.owner} if self._wanted.owner is not None else {}
        whole = new_contact(lead, self._wanted.name, {**owned, **self._wanted.of_contact})
        body = {name: value for name, value in whole.items() if name not in self._left_out}
        if not (body.keys() & _KEYS):
            return None
        if self._was_begun is None:
            self._was_begun = await self._turn.intended_for(CONTACT, Of.LEAD) is not None
            if self._was_begun and (begun := await self._made_otherwise(lead)) is not None:
                return begun
        await self._turn.intend(CONTACT, Of.LEAD)
        made = await self._api.create(CONTACTS, body)
        if isinstance(made, Refused):
            if optional := made.refusal.names & self._wanted.of_contact.keys() & body.keys():
                self._left_out |= optional
                return await self._new_contact(lead)
            if made.refusal.is_conflict:
                return await self._holder(lead, made)
            if not self._was_begun:
                await self._turn.forget(CONTACT, Of.LEAD)
            if _is_of_values(made) and (refused := made.refusal.names & body.keys() - {PHONE}):
                self._left_out |= refused
                return await self._new_contact(lead)
        contact_id = _id_of(self._told(made))
        await self._turn.keep(CONTACT, Of.LEAD, contact_id)
        return contact_id

    async def _made_otherwise(self, lead: Lead) -> str | None:
        """Whom an earlier try may have made, of which nobody knows the end, by another number or address of the lead.

        By the same one HubSpot itself refuses a second.
        """
        others = [(PHONE, number) for number in numbers_of(lead)[1:]] + [("email", each) for each in lead.emails[1:]]
        for name, value in others:
            found = await self._api.find(CONTACTS, name, value, _OF_CONTACT)
            if found is not None:
                told = self._told(found)
                return await self._fill(_id_of(told), _held_by(told), lead)
        return None

    async def _holder(self, lead: Lead, refused: Refused) -> str | None:
        """The contact that has our number, or the address, already; search did not see it yet."""
        ways = [(None, refused.refusal.holder), (PHONE, phone_of(lead)), ("email", next(iter(lead.emails), None))]
        for name, value in ways:
            if value is None:
                continue
            found = await self._api.find(CONTACTS, name, value, _OF_CONTACT)
            if found is not None:
                told = self._told(found)
                held = _held_by(told)
                if name is None and not is_alike(held, lead):  # it has a value that the settings give
                    continue
                if held.get(PHONE) != phone_of(lead):
                    return await self._fill(_id_of(told), held, lead)
                await self._turn.keep(CONTACT, Of.LEAD, _id_of(told))  # a first call has no request left for a name
                return _id_of(told)
        others = self._wanted.of_contact.keys() - self._left_out  # then it is one of those that clashes
        if not others and phone_of(lead) is not None and lead.emails:
            others = {"email"} - self._left_out
        if others:
            self._left_out |= others
            return await self._new_contact(lead)
        raise Stop(Rejected(f"{refused.refusal.said}, and who has it cannot be found"))

    async def _filled(self, contact_id: str, lead: Lead) -> str | None:
        """The contact, with what it lacks filled in. It is read first: search may show what stood there before."""
        found = await self._api.read(CONTACTS, contact_id, _OF_CONTACT)
        if _is_gone(found):  # search still shows who was deleted
            self._gone.add(contact_id)
            return await self._contact()
        told = self._told(found)
        return await self._fill(_id_of(told), _held_by(told), lead)

    async def _fill(self, contact_id: str, held: Mapping[str, Any], lead: Lead) -> str | None:
        """Write what *held* lacks. What is refused is left out: what is named, or the address where another has it, or
        all but our property, or that, too.
        """
        lacking = gaps(held, lead, self._wanted.name)
        missing = {name: value for name, value in lacking.items() if name not in self._left_out}
        while missing:
            done = await self._api.change(CONTACTS, contact_id, missing)
            if _is_gone(done):
                self._gone.add(contact_id)
                return await self._contact()
            if not isinstance(done, Refused) or not _is_of_values(done):
                self._told(done)
                break
            if done.refusal.is_conflict and PHONE in missing:
                found = await self._api.find(CONTACTS, PHONE, missing[PHONE], _OF_CONTACT)
                if found is not None:
                    contact_id = _id_of(self._told(found))
                    break
            unsaid = {"email"} if done.refusal.is_conflict else missing.keys() - {PHONE}
            refused = done.refusal.names & missing.keys() or unsaid & missing.keys() or missing.keys()
            self._left_out |= refused
            missing = {name: value for name, value in missing.items() if name not in refused}
        await self._turn.keep(CONTACT, Of.LEAD, contact_id)
        return contact_id

    # --- the record --------------------------------------------------------------------------------------------------

    async def _create(self, contact: str | None) -> str | None:
        """The new record's id; None if there is one already.

        Raises:
            _ContactGone: So that nothing was created.
        """
        thing = self._wanted.thing.without(self._left_out)
        if self._wanted.extras:
            await self._turn.intend(EXTRAS, Of.THING)
        earlier, digest = await self._turn.noted(thing.kind, Of.THING), digest_of(thing.words, thing)
        await self._turn.intend(thing.kind, Of.THING, digest if digest not in (earlier or "").split() else None)
        to = (TO_CONTACT[thing.kind], contact) if contact is not None else None
        made = await self._api.create(thing.kind, thing.new, contact=to)
        if isinstance(made, Refused):
            optional = _optional(made, thing)
            if made.refusal.is_conflict and not optional:
                return None
            if not made.refusal.is_conflict and earlier is None:  # else it may be there all the same, by an earlier try
                await self._turn.forget(thing.kind, Of.THING)
            if contact is not None and await self._is_contact_gone(contact, made):
                raise _ContactGone
            if optional:
                self._left_out |= optional
                return await self._create(contact)
        record_id = _id_of(self._told(made))
        await self._turn.keep(thing.kind, Of.THING, record_id, digest)
        return record_id

    async def _take_over(self, found: Mapping[str, Any] | Refused | Lost | None, contact: str | None) -> Outcome:
        """Go on with the record that has our key, though we do not know it."""
        thing = self._wanted.thing
        if found is None:
            raise Stop(Retry("HubSpot says that it is there, and does not find it", _SOON))
        told = self._told(found)
        record_id, held = _id_of(told), _held_by(told)
        # Of whoever's memory was lost, at least the words that would be written now are known to be ours.
        written = await self._turn.noted(thing.kind, Of.THING) or digest_of(thing.words, thing)
        if contact is not None:  # before it is known: what is known is somebody's
            contact = await self._associated(thing.kind, record_id, contact)
        await self._turn.keep(thing.kind, Of.THING, record_id, written)
        await self._make_extras(contact)
        return await self._change(record_id, held, written)

    async def _associated(self, kind: str, record_id: str, contact: str) -> str | None:
        """Whose the record is now: the contact's, or, where that was deleted, whoever is found or made instead."""
        done = await self._api.associate(kind, record_id, contact)
        if not await self._is_contact_gone(contact, done):
            self._told(done)
            return contact
        other = await self._contact()
        if other is not None:
            self._told(await self._api.associate(kind, record_id, other))
        return other

    async def _bring_up_to_date(self, known: Known) -> Outcome:
        """Write what later news changed, and what is ours to change."""
        thing = self._wanted.thing
        found = await self._api.read(thing.kind, known.remote_id, names_of(thing))
        if _is_gone(found):  # or nothing of the sort is found at all
            same = await self._api.find(thing.kind, KEY, thing.key, names_of(thing))
            if same is None:
                return self._delivered("its record was deleted there, and is not written again", known.remote_id)
            found = same
        told = self._told(found)
        record_id, held = _id_of(told), _held_by(told)
        if await self._turn.intended_for(EXTRAS, Of.THING) is not None:  # an answer was lost before all were made
            await self._make_extras(await self._contact())
        return await self._change(record_id, held, known.written)

    async def _change(self, record_id: str, held: Mapping[str, Any], written: str | None) -> Outcome:
        thing = self._wanted.thing.without(self._left_out)
        changed = changes(thing, held, written)
        if not changed:
            return self._delivered("it was so already", record_id)
        changes_words = bool(thing.words.keys() & changed.keys())
        if changes_words:  # if the answer is lost, both may stand there, and both are ours
            both = f"{digest_of(held, thing)} {digest_of(thing.words, thing)}"
            await self._turn.keep(thing.kind, Of.THING, record_id, both)
        done = await self._api.change(thing.kind, record_id, changed)
        if isinstance(done, Refused) and (optional := _optional(done, thing)):
            self._left_out |= optional
            return await self._change(record_id, held, written)
        self._told(done)
        if changes_words:
            await self._turn.keep(thing.kind, Of.THING, record_id, digest_of(thing.words, thing))
        return self._delivered("updated", record_id)

    async def _make_extras(self, contact: str | None) -> None:
        """Make the tasks, leads and deals that are wanted of the contact, those that are not there."""
        for extra in self._wanted.extras:
            if contact is not None and extra.is_of(self._turn.lead):
                made = await self._make(extra, contact)
                if await self._is_contact_gone(contact, made) and (contact := await self._contact()) is not None:
                    made = await self._make(extra, contact)
                if contact is None or await self._is_made(extra, made):
                    continue
                if isinstance(made, Refused) and _is_of_values(made):  # it costs neither the others nor later news
                    self._refused.append(f"{extra.kind}: {made.outcome.reason}")
                else:
                    self._told(made)
        if self._wanted.extras and not self._refused:
            await self._turn.forget(EXTRAS, Of.THING)

    async def _is_made(self, extra: Extra, made: Mapping[str, Any] | Refused | Lost) -> bool:
        """Whether it was there already: what is refused for a value of another record may be another value."""
        if not isinstance(made, Refused) or not made.refusal.is_conflict:
            return False
        if made.refusal.names:
            return KEY in made.refusal.names
        found = await self._api.find(extra.kind, KEY, extra.key, [KEY])
        return found is not None and bool(self._told(found))

    async def _make(self, extra: Extra, contact: str) -> Mapping[str, Any] | Refused | Lost:
        properties = {KEY: extra.key, **extra.properties}
        return await self._api.create(extra.kind, properties, contact=(TO_CONTACT[extra.kind], contact))

    async def _is_contact_gone(self, contact: str, done: Mapping[str, Any] | Refused | Lost) -> bool:
        """Whether *done* was refused because the contact is no more; then it is forgotten. What is not there is asked,
        for it is not always told.

        Raises:
            Stop: Nobody knows.
        """
        if not isinstance(done, Refused) or not done.refusal.is_gone:
            return False
        found = await self._api.find(CONTACTS, None, contact, _OF_CONTACT)
        if found is not None:
            self._told(found)
            if isinstance(done.outcome, Rejected):
                raise Stop(Retry(f"{done.outcome.reason}: not found, it says, though the contact is there"))
            return False
        await self._turn.forget(CONTACT, Of.LEAD)
        self._gone.add(contact)
        return True

    # --- answers -----------------------------------------------------------------------------------------------------

    def _told(self, found: Mapping[str, Any] | Refused | Lost) -> Mapping[str, Any]:
        """What was answered.

        Raises:
            Stop: Nothing that could be gone on with.
        """
        if isinstance(found, Lost):
            if found.may_act:
                self._turn.may_still_act()
            raise Stop(found.outcome)
        if isinstance(found, Refused):
            raise Stop(found.outcome)
        return found

    def _delivered(self, how: str, record_id: str) -> Outcome:
        left = [f"left out: {name}" for name in sorted(self._left_out)]
        if self._refused:
            return Rejected("; ".join([how, *self._refused, *left]))
        return Delivered("; ".join([how, *left]), record_id)


def _rows(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = found.get("results")
    if not isinstance(listed, list):
        raise Stop(Retry("HubSpot did not say whom it has found"))
    return [
        row
        for row in listed
        if isinstance(row, dict) and isinstance(row.get("id"), str) and isinstance(row.get("properties"), dict)
    ]


def _id_of(told: Mapping[str, Any]) -> str:
    found = told.get("id")
    if not isinstance(found, str) or not found:
        raise Stop(Retry("HubSpot did not say which record it is"))
    return found


def _held_by(told: Mapping[str, Any]) -> Mapping[str, Any]:
    held = told.get("properties")
    if not isinstance(held, dict):
        raise Stop(Retry("HubSpot did not say what stands in it"))
    return held


def _is_of_values(refused: Refused) -> bool:
    """Whether what was refused are values, as of a contact that has an invalid address already."""
    return isinstance(refused.outcome, Rejected)


def _optional(refused: Refused, thing: Thing) -> frozenset[str]:
    """What is refused of the record, if it may be left out: what the settings give, and values of what it was."""
    return refused.refusal.names & (thing.truth.keys() if _is_of_values(refused) else thing.more)


def _is_gone(done: object) -> bool:
    return isinstance(done, Refused) and done.refusal.is_gone
