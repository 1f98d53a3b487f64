"""What rules and templates see: the fields of one version of an object, and what we know beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from callrail.phones import e164
from routers.hours import open_or_closed
from routers.rules.answers import LOOKUP
from routers.rules.ruleset import RuleSet

# As carriers and CallRail read them: the whole text is one of these words, whatever its case.
OPT_OUT_WORDS = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "revoke"})

_EMAIL = re.compile(r"[^\s@<>,;]{1,64}@[^\s@<>,;]+\.[A-Za-z]{2,24}")
_MAX_FORM_FIELDS = 200  # of a form with thousands the contact stands at the top
_MAX_VALUE = 320


def facts_of(
    company: str,
    type_: str,
    fields: Mapping[str, Any],
    outcome: str | None,
    stage: str,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The facts of one version of an object, and of one transition if it has *details*.

    Args:
        type_: What the object is: call, text, form, ...
        details: What a transition knows beside the version: changes, before, was_outcome, ...
    """
    own = {"company": company, "outcome": outcome, "stage": stage}
    facts = {**fields, **_derived(type_, fields), **(details or {}), **own}
    if LOOKUP in fields and LOOKUP not in (details or {}):  # CallRail tells no such field; answers are ours alone
        del facts[LOOKUP]
    return facts


def facts_in_time(
    rules: RuleSet,
    company: str,
    facts: dict[str, Any],
    *,
    occurred_at: datetime,
    received_at: datetime,
    told_zones: Mapping[str, str],
) -> dict[str, Any]:
    """*facts* with what is known beside the object: `hours`, if it can be known, `seen_before`, `$received`.

    Args:
        occurred_at: The thing's own time; the company was open then, or closed.
        told_zones: By company, the zone its calls told; `time_zone:` in the file goes before it.
    """
    zone = zone_of(rules, company, facts, told_zones)
    hours = open_or_closed(rules.hours.get(company), occurred_at, zone)
    in_time = {"seen_before": False, **facts, "$received": received_at}
    if hours:
        in_time["hours"] = hours
    return in_time


def zone_of(rules: RuleSet, company: str, facts: Mapping[str, Any], told_zones: Mapping[str, str]) -> str | None:
    """The company's zone: of the file, else as this call told it, else as the newest call did; None if nothing did."""
    told = facts.get("company_time_zone")
    return rules.zones.get(company) or (told if isinstance(told, str) else None) or told_zones.get(company)


# A time far from any telephone is a mistake, and at the ends of the calendar none that every database can keep.
_PLAUSIBLE_YEARS = range(1970, 2200)
_OWN_TIMES = ("start_time", "submitted_at", "timestamp", "received_at", "created_at")


def own_time(facts: Mapping[str, Any]) -> datetime | None:
    """The thing's own time as CallRail tells it; None if it tells none that can be read."""
    for name in _OWN_TIMES:
        told = facts.get(name)
        if isinstance(told, str):
            try:
                moment = datetime.fromisoformat(told)
            except ValueError:
                continue
            if moment.tzinfo is not None and moment.year in _PLAUSIBLE_YEARS:
                return moment
    return None


def is_opt_out(content: object) -> bool:
    """Whether a text asks for no more texts."""
    return isinstance(content, str) and re.sub(r"[\s.!\"'-]", "", content).lower() in OPT_OUT_WORDS


def _derived(type_: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    if type_ == "text" and "content" in fields:
        return {"opt_out": is_opt_out(fields["content"])}
    return contact_of(fields.get("form_data")) if type_ == "form" else {}


def number_of(type_: str, fields: Mapping[str, Any], *, is_sent: bool) -> str | None:
    """The number of the person that *fields* are about, not the company's.

    Args:
        type_: What the object is: call, text, form, ...
        is_sent: It is a text that was sent to the person.
    """
    match type_:
        case "text":
            number = fields.get("destination_number" if is_sent else "source_number")
        case "form":
            number = fields.get("customer_phone_number") or contact_of(fields.get("form_data"))["contact_phone"]
        case _:
            number = fields.get("customer_phone_number")
    return number if isinstance(number, str) else None


# --- forms -----------------------------------------------------------------------------------------------------------


def contact_of(form_data: object) -> dict[str, str | None]:
    """Name, e-mail address and number of whoever sent a form, found by the names its site gave the fields and by shape.

    The number is E.164. A part that is not found is None: the form was told, and does not hold it.
    """
    told = [(_words(name), text) for name, value in _pairs(form_data) if (text := _text(value))]
    return {
        "contact_name": _name(told),
        "contact_email": _first(told, _EMAIL_NAMES, _email) or _first(told, None, _email),
        "contact_phone": _first(told, _PHONE_NAMES, e164) or _first(told, None, _bare_number),
    }


_NAME_NAMES = frozenset({"name", "fullname", "yourname", "contactname", "customername"})
_FIRST_NAMES = frozenset({"firstname", "fname", "givenname", "namefirst", "first"})
_LAST_NAMES = frozenset({"lastname", "lname", "surname", "familyname", "namelast", "last"})
_EMAIL_NAMES = ("email", "mail")
_PHONE_NAMES = ("phone", "mobile", "cell", "telephone", "tel", "contactnumber", "callback")
_OF_OTHERS = ("company", "business", "user", "pet", "product", "file", "form", "page", "campaign", "utm")


def _pairs(form_data: object) -> list[tuple[str, Any]]:
    if isinstance(form_data, Mapping):
        return list(form_data.items())[:_MAX_FORM_FIELDS]
    return []


def _words(name: str) -> str:
    """*name* without what sites write around and between its words: `your-name`, `input_1[first]`."""
    return re.sub(r"[^a-z]", "", str(name)[:80].lower()).removeprefix("input").removeprefix("field")


def _text(value: object) -> str:
    if isinstance(value, list):
        value = " ".join(part for part in value if isinstance(part, str))
    return value.strip() if isinstance(value, str) and len(value) <= _MAX_VALUE else ""


def _name(told: list[tuple[str, str]]) -> str | None:
    first = next((text for name, text in told if name in _FIRST_NAMES), "")
    last = next((text for name, text in told if name in _LAST_NAMES), "")
    if first or last:
        return f"{first} {last}".strip()
    whole = next((text for name, text in told if name in _NAME_NAMES), None)
    loose = (text for name, text in told if name.endswith("name") and not name.startswith(_OF_OTHERS))
    return whole or next(loose, None)


def _first(told: list[tuple[str, str]], names: tuple[str, ...] | None, read: Any) -> str | None:
    """The first value that *read* makes something of, of fields with one of *names* in theirs; None for all fields."""
    for name, text in told:
        if names is None or any(part in name for part in names):
            found: str | None = read(text)
            if found:
                return found
    return None


def _email(text: str) -> str | None:
    found = _EMAIL.search(text)
    return found.group() if found else None


def _bare_number(text: str) -> str | None:
    """A number in a field whose name does not say so: written as one and as nothing else, with ten digits or more."""
    is_number = re.fullmatch(r"\+?[\d\s().-]+", text) and len(re.sub(r"\D", "", text)) >= 10
    return e164(text) if is_number else None
