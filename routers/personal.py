"""Taking personal data out of what is stored of a thing, so that what is left still explains itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from callrail.fields import Personal, personal
from routers.lifecycle import BEFORE
from routers.rules.answers import LOOKUP

_GONE: Any = object()


def without(fields: Mapping[str, Any], removed: Collection[Personal]) -> dict[str, Any]:
    """*fields* but for those that tell such things of a person. A field that is gone is *not told*, not empty."""
    return {name: value for name, value in fields.items() if personal(name) not in removed}


def details_without(details: Mapping[str, Any], removed: Collection[Personal]) -> dict[str, Any]:
    """The *details* of a transition, without the same of what the fields were before, and without what was looked up,
    which may be any of it."""
    kept = {name: value for name, value in details.items() if name != LOOKUP}
    before = kept.get(BEFORE)
    return {**kept, BEFORE: without(before, removed)} if isinstance(before, Mapping) else kept


def without_mentions(value: Any, mentions: re.Pattern[str]) -> Any:
    """A JSON *value* without whatever in it mentions someone; None if it is all gone."""
    kept = _kept(value, mentions)
    return None if kept is _GONE else kept


def _kept(value: Any, mentions: re.Pattern[str]) -> Any:
    if isinstance(value, Mapping):
        kept = {name: _kept(item, mentions) for name, item in value.items() if not mentions.search(name)}
        return {name: item for name, item in kept.items() if item is not _GONE}
    if isinstance(value, list):
        return [item for item in (_kept(item, mentions) for item in value) if item is not _GONE]
    if isinstance(value, str | int | float) and not isinstance(value, bool) and mentions.search(str(value)):
        return _GONE
    return value
