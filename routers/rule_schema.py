"""The JSON Schema of `router.yaml`, made of the models that read it: for completion and checks in editors.

It knows the shape of the file. What a name leads to, and whether a rule makes sense, `rules check` tells.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from callrail.fields import FieldType
from receiver.companies import DEFAULTS, CompanyConfig, DefaultsConfig
from routers.accounts import AccountConfig
from routers.blocks import RouterConfig, RuleConfig
from routers.durations import written_duration
from routers.hours import CLOSED, DAYS
from routers.lookups.config import LookupConfig
from routers.rates import Rate
from routers.rules.answers import LOOKUP
from routers.rules.fields import RuleField, fields_of
from routers.rules.operators import OPERATORS
from routers.sinks import SINK_TYPES
from routers.transitions import Transition

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAME = "^[a-z0-9][a-z0-9_-]{0,63}$"
_DURATION = r"^\s*[0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h|d)\s*$"
_DAY = f"({'|'.join(DAYS)})"
_SPAN = r"^[0-9]{1,2}:[0-9]{2}\s*-\s*[0-9]{1,2}:[0-9]{2}$"
_JOINERS = ("all", "any")

Schema = dict[str, Any]


def router_schema() -> Schema:
    """The schema of the whole file, in the draft of 2020-12."""
    models: list[type[BaseModel]] = [
        RouterConfig,
        CompanyConfig,
        DefaultsConfig,
        AccountConfig,
        RuleConfig,
        LookupConfig,
    ]
    models += SINK_TYPES.values()
    _, generated = models_json_schema([(model, "validation") for model in models], schema_generator=_Written)
    defs: Schema = generated["$defs"]
    whole = defs.pop("RouterConfig")
    for name in ("CompanyConfig", "DefaultsConfig"):
        defs[name] |= {"additionalProperties": {"type": ["string", "null"]}}  # roles
    short = defs["SigningKeyConfig"]["properties"]["secret"]
    defs["CompanyConfig"]["properties"]["signing_keys"]["items"] = {"anyOf": [short, _ref("SigningKeyConfig")]}
    secrets = defs["WebhookConfig"]["properties"]["signing_secrets"]
    secrets["items"] = {"anyOf": [short, _ref("SigningSecretConfig")]}
    success = defs["HttpConfig"]["properties"]["success"]
    success["anyOf"] = [defs["SuccessConfig"]["properties"]["status"], {"$ref": success.pop("$ref")}]
    fetch_media = defs["AccountConfig"]["properties"]["fetch_media"]
    fetch_media |= {"anyOf": [{"type": "boolean"}, _ref("MediaConfig")], "default": False}
    rule = defs["RuleConfig"]["properties"]
    rule["when"]["items"] = {"enum": [name.value for name in Transition]}
    for block in ("if", "unless"):
        rule[block] = _ref("Conditions") | {"description": rule[block]["description"]}
    defs |= {"Conditions": _conditions(), "Operators": _operators(), "Hours": _hours()}
    properties = whole["properties"]
    companies = {
        "type": "object",
        "minProperties": 1,
        "properties": {DEFAULTS: _ref("DefaultsConfig")},
        "additionalProperties": _ref("CompanyConfig"),
        "propertyNames": {"pattern": _NAME},
    }
    blocks: Schema = {
        "companies": companies,
        "accounts": _named(_ref("AccountConfig")),
        "hours": _named(_ref("Hours")),
        "lookups": _named(_ref("LookupConfig")),
        "sinks": _named(_sink()),
        "rules": {"type": "array", "items": _ref("RuleConfig")},
    }
    for name, block in blocks.items():
        properties[name] = block | {"description": properties[name]["description"]}
    return {"$schema": _DIALECT, "title": "router.yaml of callrail-router", **_without(whole, "title"), "$defs": defs}


class _Written(GenerateJsonSchema):
    """Durations as they are written here, which is not ISO 8601, and no titles, which only repeat the names."""

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": _DURATION}

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Rate):
            return str(dft)
        return written_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}


def _named(item: Schema) -> Schema:
    return {"type": "object", "propertyNames": {"pattern": _NAME}, "additionalProperties": item}


def _sink() -> Schema:
    """Which settings a sink may have, by its type; an editor completes those of the type that is written."""
    by_type = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": _ref(model.__name__),
        }
        for name, model in SINK_TYPES.items()
    ]
    types = {"enum": list(SINK_TYPES), "description": "Where it sends."}
    return {"type": "object", "required": ["type"], "properties": {"type": types}, "allOf": by_type}


# --- conditions ------------------------------------------------------------------------------------------------------

_JSON_TYPES = {FieldType.BOOLEAN: "boolean", FieldType.INTEGER: "number"}


def _conditions() -> Schema:
    fields: dict[str, RuleField] = {}
    for transition in Transition:
        fields |= fields_of(transition)
    objects = [name for name, field in fields.items() if field.type is FieldType.OBJECT]
    joined: Schema = {"type": "array", "items": _ref("Conditions")}
    asked = {name: _field(field) for name, field in fields.items() if field.type is not FieldType.OBJECT}
    asked |= dict.fromkeys(_JOINERS, joined) | {"not": _ref("Conditions")}
    return {
        "type": "object",
        "properties": asked,
        "patternProperties": {rf"^({'|'.join(objects)})\.": {}, rf"^{LOOKUP}\.[a-z0-9_]+\.[a-z0-9_]+$": {}},
        "additionalProperties": False,
    }


def _field(field: RuleField) -> Schema:
    value: Schema = {"enum": list(field.values)} if field.values else {"type": _JSON_TYPES.get(field.type, "string")}
    described = {"description": field.meaning} if field.meaning else {}
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}, _ref("Operators")], **described}


def _operators() -> Schema:
    """The operators; what each takes depends on the field, and `rules check` knows."""
    return {"type": "object", "properties": {name: {} for name in OPERATORS}, "additionalProperties": False}


def _hours() -> Schema:
    span: Schema = {"type": "string", "pattern": _SPAN}
    day = {"anyOf": [span, {"type": "array", "items": span, "minItems": 1}]}
    return {
        "type": "object",
        "properties": {CLOSED: {"type": "array", "items": {"type": "string", "format": "date"}}},
        "patternProperties": {f"^{_DAY}(-{_DAY})?$": day},
        "additionalProperties": False,
    }
