"""What can be looked up at CallRail."""

from __future__ import annotations

from routers.durations import written_duration
from routers.lookups.built_in import BUILT_IN
from routers.lookups.definitions import Lookup
from routers.reference.fields import TYPES
from routers.reference.markdown import code, page, table
from routers.rules.answers import LOOKUP
from routers.transitions import Transition


def lookups_page() -> str:
    """Each built-in look-up with its fields."""
    return page(
        "Look-ups",
        "What rules and templates can see beside a webhook, by `lookup.NAME.FIELD`. Each costs one request of the "
        "account's allowance, unless an answer still holds. How to use them, and how to make your own: "
        "[look-ups](../lookups.md).",
        table(
            ("Look-up", "What it tells", "Operation", "Answer holds", "If it fails"),
            [
                (
                    f"[{code(name)}](#{name})",
                    lookup.meaning,
                    code(lookup.operation),
                    written_duration(lookup.settings.ttl),
                    code(lookup.settings.on_failure),
                )
                for name, lookup in BUILT_IN.items()
            ],
        ),
        *(part for lookup in BUILT_IN.values() for part in _one(lookup)),
    )


def _one(lookup: Lookup) -> list[str]:
    able = [transition for transition in Transition if lookup.is_possible_at(transition)]
    notes = [f"Needs {', '.join(map(code, lookup.needs))}, so it can be made at {', '.join(map(code, able))}."]
    notes += [f"Plan: {lookup.plan}."] if lookup.plan else []
    fields = [
        (code(f"{LOOKUP}.{lookup.name}.{name}"), TYPES[each.field.type], each.field.meaning)
        for name, each in lookup.fields.items()
    ]
    return [f"## {lookup.name}", " ".join(notes), table(("Field", "Type", "Meaning"), fields)]
