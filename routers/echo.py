"""Whether a change that CallRail tells of is one that we made: told values held against written ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]
Written = Mapping[str, Any]  # fields by the names that webhooks give them; with `append_tags`, tags were added


def is_echo(
    written: Sequence[Written], changed: Collection[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> bool:
    """Whether all that is *changed* is as we have *written* it, so that the change is our own."""
    return bool(changed) and all(
        any(name in one and _is_as_written(one, name, before.get(name), after.get(name)) for one in written)
        for name in changed
    )


def _is_as_written(written: Written, name: str, before: Any, after: Any) -> bool:
    if name == "tags":
        ours, were, are = names_of(written[name]), names_of(before), names_of(after)
        return were <= are and are - were <= ours <= are if written.get("append_tags") else are == ours
    return is_same(written[name], after)


def is_same(ours: Any, told: Any) -> bool:
    """Whether CallRail tells what we wrote; it writes amounts and names in a way of its own."""
    if ours in (None, "") or told in (None, ""):
        return ours in (None, "") and told in (None, "")
    if isinstance(ours, bool) or isinstance(told, bool):
        return ours is told
    amounts = _amount(ours), _amount(told)
    if None not in amounts:
        return amounts[0] == amounts[1]
    return " ".join(str(ours).split()).casefold() == " ".join(str(told).split()).casefold()


def names_of(tags: Any) -> set[str]:
    """The names of *tags*, told as names or as objects."""
    named = (tag.get("name") if isinstance(tag, Mapping) else tag for tag in tags or () if tag)
    return {str(name).casefold() for name in named}


def _amount(told: Any) -> float | None:
    if isinstance(told, int | float):
        return float(told)
    found = re.fullmatch(r"\$?\s*(-?[0-9][0-9,]*(\.[0-9]+)?)", told.strip()) if isinstance(told, str) else None
    return float(found[1].replace(",", "")) if found else None
