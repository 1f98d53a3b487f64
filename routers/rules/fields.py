"""The fields a rule can ask about, with their types, for each transition."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from callrail.fields import FIELDS, FieldType
from routers.transitions import Transition


@dataclass(frozen=True, slots=True)
class RuleField:
    """One field. *values* are those it can have, empty where they are open."""

    name: str
    type: FieldType
    values: tuple[str, ...] = ()
    meaning: str = ""


_OWN = (
    RuleField("company", FieldType.TEXT, meaning="the company's name in router.yaml"),
    RuleField("outcome", FieldType.TEXT, ("answered", "missed", "abandoned", "voicemail", "unknown")),
    RuleField("stage", FieldType.TEXT, ("ringing", "routed", "ended", "complete")),
    RuleField("hours", FieldType.TEXT, ("open", "closed")),
)
_ALL = {field.name: RuleField(field.name, field.type) for field in FIELDS.values()} | {
    field.name: field for field in _OWN
}


def fields_of(transition: Transition) -> Mapping[str, RuleField]:
    """The fields by their names that may be told at *transition*."""
    return _ALL


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """A hint with the nearest of *known*, empty if none is near."""
    near = difflib.get_close_matches(written, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""
