"""Every key of `router.yaml`, from the JSON Schema that its models make."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from receiver.companies import DEFAULTS
from routers.audience import Audience
from routers.durations import written_duration
from routers.hours import CLOSED
from routers.reference.markdown import code, page, table
from routers.rule_schema import Schema, router_schema
from routers.sinks import SINK_TYPES
from routers.sinks.config import SCHEDULES, SinkConfig
from routers.transitions import Transition

_HOURS_ROWS = (
    ("`mon` ... `sun`, or a span like `mon-fri`", "time span, or list of them", "closed", "When it is open that day."),
    (f"`{CLOSED}`", "list of days", "none", "Days on which it is closed all the same, like 2026-12-25."),
)


def settings_page() -> str:
    """A table for each block of the file."""
    schema = router_schema()
    defs = schema["$defs"]
    own = [
        part
        for name, model in SINK_TYPES.items()
        for part in (
            f"### `type: {name}`",
            inspect.cleandoc(model.__doc__ or ""),
            _settings(_of_type(defs[model.__name__], _common(defs)), defs),
            *_blocks_in(defs[model.__name__], defs),
        )
    ]
    return page(
        "Settings",
        "Every key of `router.yaml`. How the parts go together is told in [configuration](../configuration.md). "
        "A *duration* is a number and its unit, like `500ms`, `30s`, `5m`, `2h`, `7d`, and so is a *size*, like "
        "`25MB`; a *reference* to a secret is "
        "`env:NAME` or `file:/path`. Names are of 1 to 64 small letters, digits, `-` and `_`.",
        "## The file",
        _settings(schema, defs),
        "## companies",
        "By name; the name is part of the URL that CallRail posts to. Any key that is not listed is a *role*: behind "
        "it stands the sink that plays it for this company.",
        _settings(defs["CompanyConfig"], defs),
        "### A key in `signing_keys`",
        "The reference alone, or a block:",
        _settings(defs["SigningKeyConfig"], defs),
        f"### `companies.{DEFAULTS}`",
        "What holds for each company that does not say otherwise; roles too.",
        _settings(defs["DefaultsConfig"], defs),
        "## accounts",
        "By name.",
        _settings(defs["AccountConfig"], defs),
        "### A block in `fetch_media`",
        "See [recordings and media](../media.md).",
        _settings(defs["MediaConfig"], defs),
        "## lookups",
        "By name, of small letters, digits and `_`. What is not written is as [the look-up](lookups.md) has it.",
        _settings(defs["LookupConfig"], defs),
        "### A field of an answer that is no text",
        _settings(defs["AnswerFieldConfig"], defs),
        "## hours",
        'Schedules by name. A day that is not named is closed. Times are written in quotes: `"08:00-18:00"`.',
        table(_SETTINGS_HEADER, _HOURS_ROWS),
        "## sinks",
        "By name. Each has a `type`, and whatever its type:",
        _settings({"properties": _common(defs)}, defs),
        "The waits between tries, where `retry` is not written: for people "
        f"{_waits(Audience.PEOPLE)}; for systems {_waits(Audience.SYSTEMS)}.",
        *own,
        "## rules",
        _settings(defs["RuleConfig"], defs),
        "### A destination in `send`",
        _settings(defs["SendConfig"], defs),
        "## unmatched",
        "Each is a sink or a role.",
        _settings(defs["UnmatchedConfig"], defs),
        "## leads",
        _settings(defs["LeadsConfig"], defs),
        "## retention",
        "Each is an age, like `90d`. See [privacy](../privacy.md).",
        _settings(defs["RetentionConfig"], defs),
        "## privacy",
        _settings(defs["PrivacyConfig"], defs),
    )


def _blocks_in(schema: Schema, defs: Schema) -> Iterator[str]:
    """A heading, a sentence and a table for each block among the settings of *schema*, and for those within."""
    for key, wanted in schema["properties"].items():
        for name in _named_in(wanted):
            block = defs[name]
            if "properties" in block:
                yield from (f"#### A block in `{key}`", " ".join(block["description"].split()), _settings(block, defs))
                yield from _blocks_in(block, defs)


def _named_in(schema: object) -> Iterator[str]:
    """The definitions that *schema* refers to."""
    if isinstance(schema, dict):
        if isinstance(found := schema.get("$ref"), str):
            yield found.rpartition("/")[2]
        for part in schema.values():
            yield from _named_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _named_in(part)


_SETTINGS_HEADER = ("Key", "Type", "Default", "Meaning")


def _settings(schema: Schema, defs: Schema) -> str:
    required = schema.get("required", ())
    settings = sorted(schema["properties"].items(), key=lambda setting: setting[0] not in required)
    return table(
        _SETTINGS_HEADER,
        [
            (code(key), _type_of(wanted, defs), _default_of(wanted, key in required), wanted["description"])
            for key, wanted in settings
        ],
    )


def _common(defs: Schema) -> Schema:
    """The settings of every sink, as `SinkConfig` has them; what it has no default of, each type has."""
    settings = defs[next(iter(SINK_TYPES.values())).__name__]["properties"]
    return {
        key: {
            **settings[key],
            "description": inspect.cleandoc(field.description or ""),
            **({"default": "by type"} if field.is_required() else {}),
        }
        for key, field in SinkConfig.model_fields.items()
    }


def _of_type(schema: Schema, common: Schema) -> Schema:
    """The settings that a sink of one type has beside the common ones, or with a default of its own."""
    own = {
        key: setting
        for key, setting in schema["properties"].items()
        if key not in common or setting.get("default") != common[key].get("default")
    }
    return {**schema, "properties": own}


def _type_of(schema: Schema, defs: Schema) -> str:
    """The type that *schema* describes, in a word or a few."""
    if "$ref" in schema:
        return _type_of_name(schema["$ref"].rpartition("/")[2], defs)
    if "anyOf" in schema:
        words = dict.fromkeys(_type_of(item, defs) for item in schema["anyOf"] if item.get("type") != "null")
        return " or ".join(words)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return "a transition" if values == list(Transition) else " or ".join(code(value) for value in values)
    match schema.get("type"):
        case "array":
            return f"list of: {_type_of(schema['items'], defs)}"
        case "object":
            return "block"
        case "boolean":
            return "`true` or `false`"
        case "integer":
            return f"number, {schema['minimum']} to {schema['maximum']}"
        case _:
            return _text_type(schema)


def _type_of_name(name: str, defs: Schema) -> str:
    """The type of a definition: of an enumeration its values, of a block what to call it."""
    if "enum" in defs[name]:
        return _type_of(defs[name], defs)
    if name == "Conditions":
        return "[conditions](operators.md)"
    return "`{except: [...]}`" if name == "ExceptCompanies" else "block"


def _text_type(schema: Schema) -> str:
    if schema.get("format") == "date":
        return "day"
    if "type" not in schema:
        return "anything"
    pattern = schema.get("pattern", "")
    if "env:" in pattern:
        return "reference"
    return next((word for units, word in _BY_UNITS.items() if units in pattern), "text")


_BY_UNITS = {"(ms|s|m|h|d)": "duration", "(KB|MB|GB)": "size"}


def _default_of(schema: Schema, is_required: bool) -> str:
    if is_required:
        return "required"
    match schema.get("default"):
        case None | [] | {} as told if not told:
            return "none"
        case bool(told):
            return code(str(told).lower())
        case "by type":
            return "by type"
        case [*told]:
            return ", ".join(map(code, told))
        case told:
            return code(told)


def _waits(audience: Audience) -> str:
    return ", ".join(written_duration(wait) for wait in SCHEDULES[audience])
