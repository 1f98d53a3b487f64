"""What a rule can ask."""

from __future__ import annotations

from collections.abc import Mapping

from callrail.fields import FIELDS, FieldType
from routers.reference.markdown import code, page, table
from routers.rules.fields import RuleField, fields_at, told_at
from routers.transitions import ALARMS, Transition

_T = Transition


TYPES = {
    FieldType.TEXT: "text",
    FieldType.BOOLEAN: "true or false",
    FieldType.INTEGER: "number",
    FieldType.NUMBER: "number",
    FieldType.LIST: "list",
    FieldType.OBJECT: "block",
    FieldType.TIME: "time",
    FieldType.PHONE: "phone number",
}
_MOST_VALUES = 12  # more are not listed one by one


def _named(prefix: str, *left_out: Transition) -> tuple[Transition, ...]:
    return tuple(name for name in Transition if name.startswith(prefix) and name not in left_out)


# Words for where a field can be told, the widest first; `unknown.received` may hold any field and is not said.
_WHERE: Mapping[str, tuple[Transition, ...]] = {
    "everywhere": tuple(name for name in Transition if name is not _T.UNKNOWN_RECEIVED and name not in ALARMS),
    "calls": _named("call."),
    "calls put through": _named("call.", _T.CALL_RINGING),
    "ended calls": _named("call.", _T.CALL_RINGING, _T.CALL_ROUTED),
    "outbound": _named("outbound."),
    "texts": _named("text."),
    "forms": _named("form."),
    "assists": _named("assist."),
    "sources": _named("source."),
    "alarms": tuple(name for name in Transition if name in ALARMS),
}


def fields_page() -> str:
    """Our own fields and CallRail's, with where they can be told."""
    asked = fields_at(())
    ours = [field for name, field in asked.items() if name not in FIELDS or name == "changes"]
    told = [field for name, field in asked.items() if name in FIELDS and name != "changes"]
    header = ("Field", "Type", "Where", "Meaning")
    where = [(words, ", ".join(map(code, names))) for words, names in _WHERE.items() if words != "everywhere"]
    return page(
        "Fields",
        "What a rule can ask under `if` and `unless`. A field that can never be told where a rule listens is an error "
        "of `rules check`; a field that was not told in this case satisfies nothing (see [rules](../rules.md)).",
        "## Where a field is told",
        table(("Said below", "Transitions"), where),
        "Other names stand for themselves. *Everywhere* is at all transitions but alarms. `unknown.received` can hold "
        "every field.",
        "## Our own",
        table(header, [_field_row(field) for field in ours]),
        "## CallRail's",
        "A *fact* is filled once it is known, and nothing blanks it. An *opinion* is what people and models think now: "
        "the newest full telling replaces it, also by nothing. Before a call has ended, `answered`, `call_type`, "
        "`duration` and `voicemail` are not told, whatever CallRail posts. Below a block ask by dots: "
        "`form_data.zip`, `milestones.first_touch.source`.",
        table(
            (*header[:2], "Class", *header[2:]),
            [(*_field_row(field)[:2], FIELDS[field.name].cls.value, *_field_row(field)[2:]) for field in told],
        ),
    )


def _field_row(field: RuleField) -> tuple[str, str, str, str]:
    values = f": {', '.join(map(code, field.values))}" if 0 < len(field.values) <= _MOST_VALUES else ""
    return code(field.name), TYPES[field.type], where_told(field.name), field.meaning + values


def where_told(name: str) -> str:
    """Where the field *name* can be told, in the words of the page's first table."""
    left = {transition for transition in told_at(name) if transition is not _T.UNKNOWN_RECEIVED}
    words = []
    for word, transitions in _WHERE.items():
        if left.issuperset(transitions):
            words.append(word)
            left.difference_update(transitions)
    return ", ".join([*words, *(code(transition) for transition in Transition if transition in left)])
