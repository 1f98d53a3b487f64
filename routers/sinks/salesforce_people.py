"""Whose record it is at Salesforce: how it is asked for, which of those found is it, and what may be filled in.

A person is a contact, else a lead that is not converted. Our own key finds first, for a query sees what was written a
moment ago; then the e-mail address and the number, which search finds however people have typed it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from callrail.phones import e164, spellings
from routers.sinks.crm import Lead
from routers.sinks.salesforce_answers import DUPLICATES, TAKEN, Refusal, id_of
from routers.sinks.salesforce_queries import begins, cut, is_, is_one_of, select

KEY = "CallRail_Key__c"
CONTACT, LEAD = "Contact", "Lead"
# Salesforce creates no lead without them.
NAMELESS, NO_COMPANY = "Unknown caller", "[not provided]"
_PREFIXES = {"003": CONTACT, "00Q": LEAD}
_PHONES = {CONTACT: ("Phone", "MobilePhone", "HomePhone", "OtherPhone"), LEAD: ("Phone", "MobilePhone")}
_OF_BOTH = ("Id", "IsDeleted", "MasterRecordId", "LastModifiedDate", "FirstName", "LastName", "Email", KEY)
_FIELDS = {
    CONTACT: (*_OF_BOTH, *_PHONES[CONTACT]),
    LEAD: (*_OF_BOTH, *_PHONES[LEAD], "IsConverted", "ConvertedContactId"),
}
_MOST = 20  # of people with one number
# Keys of one person that are asked for, the message's first: an address has 16,384 bytes at most (documented).
_NUMBERS, _ADDRESSES, _SEARCHED = 100, 20, 20
_LOCAL = 7  # digits of a number without its area code


@dataclass(frozen=True, slots=True)
class Person:
    """A contact or a lead. *told* is what it holds; None where only its id is known, through another record."""

    id: str
    told: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        return kind_of(self.id)

    def get(self, name: str) -> Any:
        return (self.told or {}).get(name)

    @property
    def heir(self) -> str | None:
        """Id of the record that it was converted to, or merged into."""
        found = self.get("ConvertedContactId") if self.get("IsConverted") is True else self.get("MasterRecordId")
        heir = id_of(found)
        return heir if heir is not None and kind_of(heir) else None

    @property
    def is_gone(self) -> bool:
        """Whether somebody has deleted it, or it lives on as its heir."""
        return self.get("IsDeleted") is True or self.get("IsConverted") is True


def kind_of(record_id: str) -> str:
    """What an id is of, by its first letters (documented)."""
    return _PREFIXES.get(record_id[:3], "")


def key_of(lead: Lead) -> str | None:
    """By what a person is one record for ever: the number, else the e-mail address; None where neither is known."""
    if lead.phone is not None or lead.phones:
        return lead.phone or lead.phones[0]
    return lead.emails[0].lower() if lead.emails else None


# --- asking ----------------------------------------------------------------------------------------------------------


def by_id(record_id: str) -> str:
    """The query for a record that we know, whatever has become of it."""
    kind = kind_of(record_id)
    return select(_FIELDS[kind], kind, is_("Id", record_id))


def by_key(kind: str, lead: Lead, ruled: Iterable[str] = ()) -> str:
    """The query for the person by our key, by the e-mail address, and for those whom a duplicate rule has found."""
    emails = lead.emails[:_ADDRESSES]
    where = is_one_of(KEY, (*lead.phones[:_NUMBERS], *(email.lower() for email in emails)))
    if (key := key_of(lead)) is not None:
        where += f" OR {begins(KEY, f'{key} ')}"
    if emails:
        where += f" OR {is_one_of('Email', emails)}"
    ids = [match for match in ruled if kind_of(match) == kind]
    if ids:
        where += f" OR {is_one_of('Id', ids)}"
    return select(_FIELDS[kind], kind, where, most=_MOST + len(ids))


def by_number(lead: Lead) -> str | None:
    """The search for the person by number, in the ways in which one is written; None where there is no number.

    What was typed is compared in E.164 afterwards. In the index a number is one word, without punctuation (assumed).
    """
    if not lead.phones:
        return None
    words = dict.fromkeys(word for phone in lead.phones[:_SEARCHED] for word in _words(phone))
    places = ", ".join(
        f"{kind}({', '.join(_FIELDS[kind])} ORDER BY LastModifiedDate DESC LIMIT {_MOST})" for kind in (CONTACT, LEAD)
    )
    return f"FIND {{{' OR '.join(words)}}} IN PHONE FIELDS RETURNING {places}"


def _words(phone: str) -> tuple[str, ...]:
    import phonenumbers  # on first use: its tables cost start time

    number = phonenumbers.parse(phone)
    national = phonenumbers.national_significant_number(number)
    return (national, f"{number.country_code}{national}", f"0{national}")


# --- choosing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a person.

    Attributes:
        others: How many others would have fitted as well.
        suffix: What a new lead's key ends in, where the key itself belongs to one whose contact was deleted: converted
            leads stay, and can be written to no longer. It is a blank and the id of such a lead.
    """

    person: Person | None = None
    others: int = 0
    suffix: str = ""


def choose(
    rows: Iterable[Mapping[str, Any]],
    lead: Lead,
    gone: Collection[str] = (),
    *,
    ruled: Iterable[str] = (),
    name: str | None = None,
) -> Found:
    """The person's record among *rows*, and nobody else's: by our key, else a contact, else a lead; the newest of each.

    A lead that was converted stands for its contact, unless that is *gone*.

    Args:
        ruled: Ids of those whom a duplicate rule has found. It may compare names alone, so each is asked whether it
            can be this person, who has *name*.
    """
    people = {row["Id"]: Person(row["Id"], row) for row in rows if kind_of(row["Id"])}
    keys = {*lead.phones, *(email.lower() for email in lead.emails)}
    own = [person for person in people.values() if _key_held(person).partition(" ")[0] in keys]
    alike = [person for person in people.values() if person not in own and _is_alike(person, lead)]
    ids = {match[:15] for match in ruled}
    likely = [person for person in people.values() if person.id[:15] in ids and _may_be(person, lead, name)]
    for fitting in (own, alike, likely):
        living = sorted((person for person in fitting if not person.is_gone), key=_newest)
        if living:
            best = next((person for person in reversed(living) if person.kind == CONTACT), living[-1])
            return Found(best, len(living) - 1)
        heir = max((person for person in fitting if person.heir is not None), key=_newest, default=Person("")).heir
        if heir is not None and heir not in gone:  # if the last one's is gone, those before were gone before
            return Found(people.get(heir, Person(heir)))
    return Found(suffix=_suffix(own, key_of(lead) or ""))


def _suffix(dead: Collection[Person], key: str) -> str:
    held = {_key_held(person) for person in dead}
    if key.lower() not in held:
        return ""
    suffixes = (f" {person.id}" for person in sorted(dead, key=_newest))
    return next((suffix for suffix in suffixes if f"{key}{suffix}".lower() not in held), "")


def _key_held(person: Person) -> str:
    return str(person.get(KEY) or "").lower()


def _newest(person: Person) -> tuple[str, str]:
    return str(person.get("LastModifiedDate") or ""), person.id


def _is_alike(person: Person, lead: Lead) -> bool:
    emails = {email.lower() for email in lead.emails}
    if str(person.get("Email") or "").lower() in emails:
        return True
    return any(
        e164(str(person.get(name) or ""), _region(phone)) == phone
        for phone in lead.phones
        for name in _PHONES[person.kind]
    )


def _may_be(person: Person, lead: Lead, name: str | None) -> bool:
    """Whether one whom a duplicate rule has found can be the lead, though no key of it is there as a whole."""
    numbers = [str(told) for field in _PHONES[person.kind] if (told := person.get(field))]
    if numbers or person.get("Email") or person.get(KEY):
        return any(_is_written_in(number, phone) for number in numbers for phone in lead.phones)
    return _is_named(person, name)


def _is_written_in(number: str, phone: str) -> bool:
    """Whether *phone* stands in what somebody has typed, beside others or without its area code."""
    digits = re.sub(r"[^0-9]", "", number)
    if len(digits) >= _LOCAL and phone.endswith(digits):
        return True
    return spellings(phone).search(number) is not None


def _is_named(person: Person, name: str | None) -> bool:
    """Whether two have one name, which is none of ours for nobody; a first name may be missing."""
    ours, theirs = _name(name), _name(" ".join(str(person.get(each) or "") for each in ("FirstName", "LastName")))
    if person.get("LastName") == NAMELESS or NAMELESS in (ours["LastName"], theirs["LastName"]):
        return False
    first, other = (str(each.get("FirstName", "")).casefold().split()[:1] for each in (ours, theirs))
    is_same = ours["LastName"].casefold() == theirs["LastName"].casefold()
    return is_same and (first == other or not first or not other)


def _region(phone: str) -> str:
    """In which country a number without a country code would be the lead's."""
    import phonenumbers

    return phonenumbers.region_code_for_number(phonenumbers.parse(phone)) or "US"


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What we know of a person beside the keys.

    Attributes:
        more: Fields that the settings give a new lead.
        without: Of what we would write ourselves, the fields that Salesforce did not take.
    """

    name: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


def new_lead(lead: Lead, told: Told) -> dict[str, Any]:
    """What a lead is created with; the key stands in the address."""
    phone = {"Phone": lead.phone or lead.phones[0]} if lead.phone or lead.phones else {}
    email = {"Email": lead.emails[0]} if lead.emails and "Email" not in told.without else {}
    return {**_name(told.name), "Company": NO_COMPANY, **phone, **email, **told.more}


def gaps(person: Person, lead: Lead, told: Told) -> dict[str, Any]:
    """What is filled in where nothing stands. What a person has typed is never overwritten."""
    if person.told is None:
        return {}
    wanted: dict[str, Any] = {KEY: key_of(lead)}
    if lead.emails:
        wanted["Email"] = lead.emails[0]
    if lead.phones and not any(person.get(name) for name in _PHONES[person.kind]):
        wanted["Phone"] = lead.phone or lead.phones[0]
    if person.kind == LEAD and person.get("LastName") == NAMELESS and not person.get("FirstName") and told.name:
        wanted |= _name(told.name)
    return {
        name: value
        for name, value in wanted.items()
        if value and name not in told.without and (name == "LastName" or not person.get(name))
    }


def without_refused(person: Person, lead: Lead, told: Told, refusal: Refusal) -> Told | None:
    """*told* without the gaps that were refused, so that the others are filled; None if no others are known.

    Two refusals name no field: that of a duplicate rule, which is about names, addresses and numbers, and that of a
    value which another record has, which is the key.
    """
    tried = gaps(person, lead, told).keys()
    unnamed = {DUPLICATES: tried - {KEY}, TAKEN: {KEY}}
    refused = unnamed.get(refusal.code, tried & set(refusal.fields))
    return replace(told, without=told.without | refused) if refused and tried - refused else None


def _name(name: str | None) -> dict[str, Any]:
    """A name as first and last; of one word it is the last."""
    words = (name or "").split()
    if not words:
        return {"LastName": NAMELESS}
    first = {"FirstName": cut(" ".join(words[:-1]), 40)} if len(words) > 1 else {}
    return {**first, "LastName": cut(words[-1], 80)}
