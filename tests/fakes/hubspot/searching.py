"""Search as HubSpot does it: over an index that lags, by filters in groups, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from fnmatch import fnmatch
from typing import Any

import phonenumbers

from tests.fakes.hubspot.account import Account, Properties, Record
from tests.fakes.hubspot.definitions import KINDS, instant_of
from tests.fakes.hubspot.refusals import Told, invalid

_NUMBERS = (("phone", "phone_number"), ("mobilephone", "mobile_number"))
_SEARCHED_BY_QUERY = ("firstname", "lastname", "email", "phone", "mobilephone", "company")
_FURTHEST = 10_000  # documented: no search goes beyond its first ten thousand


def search(account: Account, kind: str, asked: Told) -> Told:
    """The answer of a search: `total`, one page of `results`, and `paging` where more follow."""
    groups = checked_groups(account, kind, asked)
    start, limit = page(asked)
    until = account.clock() - account.index_lag
    found = [
        (record, properties)
        for record in account.objects[kind].values()
        if (properties := indexed(record, until)) is not None and fits(properties, groups, asked.get("query"))
    ]
    found.sort(key=lambda hit: hit[0].created_at)
    sort(found, asked.get("sorts") or [])
    names = [name for name in asked.get("properties") or [] if name in account.properties[kind]]
    told: Told = {"total": len(found)}
    told["results"] = [record.told(names, properties) for record, properties in found[start : start + limit]]
    if start + limit < len(found):
        told["paging"] = {"next": {"after": str(start + limit)}}
    return told


def indexed(record: Record, until: datetime) -> Properties | None:
    properties = record.seen_by_search(until)
    return None if properties is None else {**properties, **calculated_phones(properties)}


def calculated_phones(properties: Properties) -> Properties:
    """The digits of both numbers, without the country's code and with it, however they were typed (documented).

    A number without one is taken as American, and one that is none is left out (assumed).
    """
    found: Properties = {}
    for source, name in _NUMBERS:
        try:
            number = phonenumbers.parse(properties.get(source, ""), "US")
        except phonenumbers.NumberParseException:
            continue
        national = phonenumbers.national_significant_number(number)
        found[f"hs_searchable_calculated_{name}"] = national
        found[f"hs_searchable_calculated_international_{name}"] = f"{number.country_code}{national}"
    return found


def checked_groups(account: Account, kind: str, asked: Told) -> list[list[Told]]:
    """The filters, group by group; refused beyond the limits or about properties that do not exist."""
    groups: list[list[Told]] = [group.get("filters", []) for group in asked.get("filterGroups") or []]
    if len(groups) > 5 or any(len(group) > 6 for group in groups) or sum(map(len, groups)) > 18:
        raise invalid("Too many filters: at most 5 groups, 6 filters a group, 18 in all")
    for condition in (condition for group in groups for condition in group):
        name, operator = condition.get("propertyName"), condition.get("operator")
        if name not in account.properties[kind]:
            raise invalid(f"There was a problem with the request: {KINDS[kind].singular} has no property {name}")
        if operator not in _OPERATORS:
            raise invalid(f"{operator} is no operator of a filter")
        for wanted in _WANTED.get(operator, ("value",)):
            kind_of_it = list if wanted == "values" else str
            if not isinstance(condition.get(wanted), kind_of_it):
                raise invalid(f"A filter by {operator} needs {wanted}")
    return groups


def page(asked: Told) -> tuple[int, int]:
    """Where the page begins and how long it is; both may be left out, as the documentation's examples do."""
    after, limit = asked.get("after") or "0", asked.get("limit", 10)
    if not isinstance(after, str) or not after.isdecimal() or int(after) >= _FURTHEST:
        raise invalid(f"after must be a number below {_FURTHEST}, as a text")
    if not isinstance(limit, int) or not 0 < limit <= 200:
        raise invalid("limit must be from 1 to 200")
    return int(after), limit


def sort(found: list[tuple[Record, Properties]], sorts: list[Any]) -> None:
    """By one property: an object with `propertyName` and `direction` (documentation), or a text (contract)."""
    if len(sorts) > 1:
        raise invalid("Only one sort is supported")
    for wanted in sorts:
        if isinstance(wanted, dict):
            name, down = wanted.get("propertyName", ""), wanted.get("direction") == "DESCENDING"
        else:
            name, down = wanted.removeprefix("-"), wanted.startswith("-")
        found.sort(key=lambda hit: comparable(hit[1].get(name, "")), reverse=down)


def fits(properties: Properties, groups: list[list[Told]], query: str | None) -> bool:
    """One group holds, with all of its filters; and each word of *query* stands somewhere."""
    in_query = all(
        any(word in properties.get(name, "").lower() for name in _SEARCHED_BY_QUERY)
        for word in (query or "").lower().split()
    )
    return in_query and (
        not groups or any(all(_holds(properties, condition) for condition in group) for group in groups)
    )


def _holds(properties: Properties, condition: Told) -> bool:
    return _OPERATORS[condition["operator"]](properties.get(condition["propertyName"]), condition)


def comparable(value: str) -> tuple[int, float, str]:
    """Numbers and times by size, all else by letters, in any case."""
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        return (0, float(value), "")
    moment = instant_of(value)
    return (0, moment.timestamp() * 1000, "") if moment is not None else (1, 0, value.lower())


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[str | None, Told], bool]:
    return lambda held, asked: held is not None and test(comparable(held), comparable(asked["value"]))


def _one_of(held: str | None, values: Iterable[str]) -> bool:
    return held is not None and held.lower() in {value.lower() for value in values}


def _has_token(held: str | None, asked: Told) -> bool:
    """Whole words, `*` for the rest of one; a value of several words wants them all."""
    words = [*re.findall(r"\w+", (held or "").lower()), (held or "").lower()]
    return all(any(fnmatch(word, wanted) for word in words) for wanted in asked["value"].lower().split())


_WANTED: dict[str, tuple[str, ...]] = {
    "IN": ("values",),
    "NOT_IN": ("values",),
    "HAS_PROPERTY": (),
    "NOT_HAS_PROPERTY": (),
    "BETWEEN": ("value", "highValue"),
}
_OPERATORS: dict[str, Callable[[str | None, Told], bool]] = {
    "EQ": lambda held, asked: _one_of(held, [asked["value"]]),
    "NEQ": lambda held, asked: not _one_of(held, [asked["value"]]),
    "IN": lambda held, asked: _one_of(held, asked["values"]),
    "NOT_IN": lambda held, asked: not _one_of(held, asked["values"]),
    "LT": _compared(lambda held, value: held < value),
    "LTE": _compared(lambda held, value: held <= value),
    "GT": _compared(lambda held, value: held > value),
    "GTE": _compared(lambda held, value: held >= value),
    "BETWEEN": lambda held, asked: (
        held is not None and comparable(asked["value"]) <= comparable(held) <= comparable(asked["highValue"])
    ),
    "HAS_PROPERTY": lambda held, asked: bool(held),
    "NOT_HAS_PROPERTY": lambda held, asked: not held,
    "CONTAINS_TOKEN": _has_token,
    "NOT_CONTAINS_TOKEN": lambda held, asked: not _has_token(held, asked),
}
