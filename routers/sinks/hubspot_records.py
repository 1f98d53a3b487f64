"""What is written at HubSpot: the contact, and the record of one call, text or form. Decided without a request.

People who work there change titles and texts, and then those are theirs: only what we wrote last is written anew. What
the call was (its result, its length, what we keep in properties of our own) is ours always.

Source of names, values and lengths: developers.hubspot.com, "CRM API: contacts, calls, communications, tasks"
(documented; read 2026-11).
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from callrail.phones import e164
from routers.messages import Message
from routers.sinks.crm import Lead, Who, is_of
from routers.sinks.crm_reading import bare, digest, is_outbound, lines_of, links_of, present_of, title_of

Properties = Mapping[str, str]

# Properties of our own, with unique values: by what a contact, and by what any other record is found again.
PHONE, KEY = "callrail_phone", "callrail_id"
_PHONES = ("phone", "mobilephone")
_MOST_TEXT = 65_000  # documented are 65,536 characters
_MOST_LINE = 1_000
_MOST_KEYS = 10  # a search has room for 3,000 characters (documented)

CONTACTS = "contacts"
# The number of the default association with a contact, from each kind (documented for calls, communications, tasks).
TO_CONTACT = {"calls": 194, "communications": 81, "tasks": 204, "leads": 578, "deals": 3}
_TITLE = {"calls": "hs_call_title", "tasks": "hs_task_subject"}
_BODY = {"calls": "hs_call_body", "communications": "hs_communication_body", "tasks": "hs_task_body"}
_STATUS = {"answered": "COMPLETED"}
_KINDS = {"call": "calls", "text": "communications", "form": "tasks"}


# --- a thing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Thing:
    """The record of one call, text or form.

    Attributes:
        kind: What HubSpot calls such: calls, communications, tasks.
        key: CallRail's id of it.
        words: Title and text, which are for people, and theirs once they change them.
        truth: What is ours always.
        once: What is written when the record is created, and never again.
        only_changes: Whether it is not created, as of spam.
        more: Of *truth*, the names that the settings give, which may be left out.
    """

    kind: str
    key: str
    words: Properties
    truth: Properties
    once: Properties = field(default_factory=dict)
    only_changes: bool = False
    more: frozenset[str] = frozenset()

    @property
    def new(self) -> Properties:
        """All that it is created with."""
        return {KEY: self.key, **self.once, **self.words, **self.truth}

    def without(self, names: Collection[str]) -> Thing:
        """The same without some properties that the settings give."""
        truth = {name: value for name, value in self.truth.items() if name not in names}
        return Thing(
            self.kind,
            self.key,
            self.words,
            truth,
            {name: value for name, value in self.once.items() if name not in names},
            only_changes=self.only_changes,
            more=self.more - {*names},
        )


def thing_of(
    message: Message,
    more: Mapping[str, str],
    owner: str | None,
    *,
    logs_spam: bool,
    fields: Collection[str] | None = None,
) -> Thing:
    """What *message* wants to be there of the thing.

    Args:
        more: Further properties that the settings give, with their values.
        owner: HubSpot's id of the user who gets it when it is created.
        fields: The only ones that are told; None for all.
    """
    present, kind = present_of(message, fields), _KINDS[message.object_type]
    words = {_BODY[kind]: body_of(lines_of(message, present, fields))}
    if kind in _TITLE:
        words[_TITLE[kind]] = title_of(message, present)[:_MOST_LINE]
    once = {"hs_timestamp": str(round(message.occurred_at.timestamp() * 1000))}
    if owner is not None:
        once["hubspot_owner_id"] = owner
    recording = links_of(message, fields).get("recording", "")
    truth = _call(message, present, recording) if kind == "calls" else {}
    if kind == "communications":
        once |= {"hs_communication_channel_type": "SMS", "hs_communication_logged_from": "CRM"}
    elif kind == "tasks":
        once |= {"hs_task_type": "TODO", "hs_task_status": "COMPLETED"}
    return Thing(
        kind,
        message.callrail_id,
        words,
        {**truth, **more},
        once,
        only_changes=message.is_spam and not logs_spam,
        more=frozenset(more),
    )


def _call(message: Message, present: Mapping[str, Any], recording: str) -> dict[str, str]:
    """What a call was, for HubSpot; what was not told is left out."""
    outbound, duration = is_outbound(message, present), present.get("duration")
    numbers = [_number(present.get("customer_phone_number")), _number(present.get("tracking_phone_number"))]
    caller, called = reversed(numbers) if outbound else numbers
    told = {
        "hs_call_direction": "OUTBOUND" if outbound else "INBOUND",
        "hs_call_from_number": caller,
        "hs_call_to_number": called,
        "hs_call_status": _STATUS.get(str(present.get("outcome")), "NO_ANSWER" if present.get("outcome") else None),
    }
    if isinstance(duration, int) and not isinstance(duration, bool) and duration >= 0:
        told["hs_call_duration"] = str(duration * 1000)
    if recording.startswith("https://"):
        told["hs_call_recording_url"] = recording
    return {name: value for name, value in told.items() if value}


def _number(told: object) -> str | None:
    return e164(told) if isinstance(told, str) else None


def body_of(lines: Iterable[str]) -> str:
    """*lines* as HTML in which nothing of theirs is HTML, cut where HubSpot would refuse it."""
    parts: list[str] = []
    room = _MOST_TEXT
    for line in lines:
        for begin in range(0, max(len(line), 1), _MOST_LINE):
            part = html.escape(line[begin : begin + _MOST_LINE])
            if len(part) + len(_BREAK) > room:
                return _join(parts)
            parts.append(part if begin else f"{_BREAK}{part}")
            room -= len(part) + len(_BREAK)
    return _join(parts)


_BREAK = "<br>"


def _join(parts: Sequence[str]) -> str:
    return "".join(parts).removeprefix(_BREAK)


# --- later news ------------------------------------------------------------------------------------------------------


def names_of(thing: Thing) -> list[str]:
    """What has to be read before the record is changed."""
    return sorted({*thing.words, *thing.truth, KEY})


def changes(thing: Thing, held: Mapping[str, Any], written: str | None) -> dict[str, str]:
    """What of the record is otherwise than it should be, and may be changed.

    Args:
        written: The digests of words that are ours: those that we wrote last, and those of writes of which nobody knows
            the end. None if none is known, and then the words are left alone.
    """
    wanted = dict(thing.truth)
    if digest_of(held, thing) in (written or "").split():
        wanted |= thing.words
    return {name: value for name, value in wanted.items() if not _is_same(held.get(name), value)}


def digest_of(held: Mapping[str, Any], thing: Thing) -> str:
    """Of the bare words: HubSpot and its editor write HTML in ways of their own."""
    return digest(held.get(name) for name in sorted(thing.words))


def _is_same(held: object, wanted: str) -> bool:
    if held is None:
        return not wanted
    return str(held) == wanted or bare(held) == bare(wanted)


# --- a contact -------------------------------------------------------------------------------------------------------

_SEARCHED = ("firstname", "lastname", "email", *_PHONES, PHONE, "hs_merged_object_ids")


def search_of(lead: Lead) -> dict[str, Any]:
    """The search for the contact by its numbers, however people have typed them, and its e-mail addresses.

    Two of HubSpot's calculated properties hold digits with the country's code, two without (documented).
    """
    import phonenumbers  # on first use: its tables cost start time

    groups: list[tuple[str, list[str]]] = []
    if numbers := [phonenumbers.parse(phone) for phone in numbers_of(lead)]:
        national = [phonenumbers.national_significant_number(number) for number in numbers]
        whole = [f"{number.country_code}{rest}" for number, rest in zip(numbers, national, strict=True)]
        for kind in ("phone_number", "mobile_number"):
            groups.append((f"hs_searchable_calculated_international_{kind}", whole))
            groups.append((f"hs_searchable_calculated_{kind}", national))
    if lead.emails:
        groups.append(("email", [email.lower() for email in lead.emails[:_MOST_KEYS]]))
    filters = [{"filters": [_one_of(name, values)]} for name, values in groups]
    return {"filterGroups": filters, "properties": [*_SEARCHED], "limit": 100, "after": "0", "sorts": []}


def _one_of(name: str, values: Sequence[str]) -> dict[str, Any]:
    if len(values) == 1:
        return {"propertyName": name, "operator": "EQ", "value": values[0]}
    return {"propertyName": name, "operator": "IN", "values": [*values]}


def numbers_of(lead: Lead) -> list[str]:
    """The numbers by which the contact is found, the message's first."""
    return list(dict.fromkeys(filter(None, (lead.phone, *lead.phones))))[:_MOST_KEYS]


def phone_of(lead: Lead) -> str | None:
    """The number by which the contact is one record for ever."""
    return next(iter(numbers_of(lead)), None)


def choose(rows: Iterable[Mapping[str, Any]], lead: Lead, gone: Collection[str]) -> Mapping[str, Any] | None:
    """The contact among what was found: by our own property, else by number or address; the last changed of several."""
    fitting = [row for row in rows if row["id"] not in gone and is_alike(row["properties"], lead)]
    own = [row for row in fitting if row["properties"].get(PHONE) in lead.phones]
    return max(own or fitting, key=lambda row: str(row.get("updatedAt")), default=None)


def is_alike(held: Mapping[str, Any], lead: Lead) -> bool:
    """Whether a contact has one of the lead's numbers, or of its addresses; it may have several (documented)."""
    told = [str(held.get("email") or ""), *str(held.get("hs_additional_emails") or "").split(";")]
    emails = {email.strip().lower() for email in told}
    if not emails.isdisjoint(email.lower() for email in lead.emails) or held.get(PHONE) in lead.phones:
        return True
    return any(e164(str(held.get(name) or ""), _region(phone)) == phone for phone in lead.phones for name in _PHONES)


def _region(phone: str) -> str:
    """In which country a number without a country code would be the lead's."""
    import phonenumbers

    return phonenumbers.region_code_for_number(phonenumbers.parse(phone)) or "US"


def new_contact(lead: Lead, name: str | None, more: Properties) -> dict[str, str]:
    """What a contact is created with."""
    phone = phone_of(lead)
    told = {PHONE: phone, "phone": phone, "email": lead.emails[0] if lead.emails else None, **_names(name)}
    return {**{name: value for name, value in told.items() if value}, **more}


def gaps(held: Mapping[str, Any], lead: Lead, name: str | None) -> dict[str, str]:
    """What is filled in where nothing stands. What a person has typed is never overwritten."""
    wanted = new_contact(lead, name if not (held.get("firstname") or held.get("lastname")) else None, {})
    if any(held.get(each) for each in _PHONES):
        wanted.pop("phone", None)
    return {name: value for name, value in wanted.items() if not held.get(name)}


def _names(name: str | None) -> dict[str, str]:
    """A name as first and last; of one word it is the first."""
    first, _, last = (name or "").partition(" ")
    told = {"firstname": first[:255], "lastname": last.strip()[:255]}
    return {name: value for name, value in told.items() if value}


# --- what else is made -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extra:
    """A task, a lead or a deal that is made when a thing is logged, once. *key* is its own.

    *who*: of whom it is made: of `new` people, of `known` ones, or of `anybody`.
    """

    kind: str
    key: str
    properties: Properties
    who: Who = "anybody"

    def is_of(self, lead: Lead | None) -> bool:
        """Whether it is made of *lead*."""
        return is_of(self.who, lead)


def extra_key(message: Message, position: int) -> str:
    """By what it is found again."""
    return f"{message.callrail_id}-{position + 1}"


def due_at(message: Message, after: timedelta) -> str:
    """When a task is to be done, as HubSpot takes it."""
    return str(round((message.occurred_at + after).timestamp() * 1000))
