"""Whether a change that CallRail tells of is one that we made: told values held against written ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Fields by the names that webhooks give them. With `append_tags`, tags were added to those of `tags_before`, if known.
Written = Mapping[str, Any]
TAGS, APPEND, BEFORE = "tags", "append_tags", "tags_before"

# What CallRail changes by itself with a field, and that field.
FOLLOWS = {
    "good_lead_call_id": "lead_status",
    "good_lead_call_time": "lead_status",
    "qualified": "lead_status",
    "formatted_value": "value",
    "formatted_customer_name": "customer_name",
    "formatted_customer_name_or_phone_number": "customer_name",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What we wrote once, as it is kept: its echo has yet to come."""

    id: str
    written: Written

    def without(self, name: str) -> Kept:
        """What of it has no echo yet when CallRail has told of the field *name*."""
        gone = (TAGS, APPEND, BEFORE) if name == TAGS else (name,)
        return Kept(self.id, {each: value for each, value in self.written.items() if each not in gone})


@dataclass(frozen=True, slots=True)
class Echo:
    """Which fields of what we wrote a webhook *told*, and whether all that it tells is ours."""

    told: Sequence[tuple[Kept, str]]
    is_all: bool


def echo_in(
    kept: Sequence[Kept], changed: Collection[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Echo:
    """What of *changed* is the echo of what we wrote. If somebody changed something too, it is news all the same."""
    names = {name for name in changed if FOLLOWS.get(name) not in changed} if kept else set()
    told: list[tuple[Kept, str]] = []
    is_all = bool(names)
    for name in names:
        ours, is_ours = _of_tags(kept, before, after) if name == TAGS else _of_field(kept, name, after.get(name))
        is_all = is_all and is_ours
        told += [(one, name) for one in ours]
    return Echo(told, is_all)


def _of_field(kept: Sequence[Kept], name: str, told: Any) -> tuple[list[Kept], bool]:
    ours = [one for one in kept if name in one.written and is_same(name, one.written[name], told, in_any_case=True)]
    return ours, bool(ours)


def _of_tags(kept: Sequence[Kept], before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[Kept], bool]:
    """What replaced the tags by those there are, else all that added some; and whether nobody changed another one."""
    are = names_of(after.get(TAGS))
    tagging = [one for one in kept if TAGS in one.written]
    if replaced := [one for one in tagging if not one.written.get(APPEND) and names_of(one.written[TAGS]) == are]:
        return replaced, True
    adding = [one for one in tagging if one.written.get(APPEND) and names_of(one.written[TAGS]) <= are]
    known = [before.get(TAGS), *(one.written.get(BEFORE) for one in adding)]
    were = names_of(next((tags for tags in known if tags is not None), None))
    ours = [one for one in adding if are == were or names_of(one.written[TAGS]) & (are - were)]
    added = {name for one in ours for name in names_of(one.written[TAGS])}
    return ours, bool(ours) and were <= are and are - were <= added


def is_same(name: str, ours: Any, told: Any, *, in_any_case: bool = False) -> bool:
    """Whether CallRail tells of a field what we wrote, or would write; it writes amounts in a way of its own.

    Args:
        in_any_case: Whether the name of a customer may be written in other letters, as CallRail does.
    """
    if ours in (None, "") or told in (None, ""):
        return ours in (None, "") and told in (None, "")
    if isinstance(ours, bool) or isinstance(told, bool):
        return ours is told
    if name == "value" and None not in (amounts := (_amount(ours), _amount(told))):
        return amounts[0] == amounts[1]
    if name == "customer_name" and in_any_case:
        return " ".join(str(ours).split()).casefold() == " ".join(str(told).split()).casefold()
    return bool(_text(ours) == _text(told))


def names_of(tags: Any) -> set[str]:
    """The names of *tags*, told as names or as objects. To CallRail `VIP` and `vip` are one tag (assumed)."""
    named = (tag.get("name") if isinstance(tag, Mapping) else tag for tag in tags or () if tag)
    return {str(name).casefold() for name in named}


def _text(value: Any) -> Any:
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else value


def _amount(told: Any) -> float | None:
    if isinstance(told, int | float):
        return float(told)
    found = re.fullmatch(r"(-?)\$?\s*([0-9][0-9,]*(\.[0-9]+)?)", told.strip()) if isinstance(told, str) else None
    return float(found[1] + found[2].replace(",", "")) if found else None
