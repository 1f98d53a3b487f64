"""A webhook's raw body, read tolerantly: JSON or form, today's names or the old ones, real types or strings.

The raw bytes stay untouched in the event store; what is read here is what the rest of the program reasons about.
Reading never fails: a body that cannot be understood gives no fields and says why.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from callrail.fields import FIELDS, LEGACY_NAMES, FieldType
from callrail.phones import e164, is_withheld

MAX_DEPTH = 64
MAX_FORM_FIELDS = 20_000
MAX_KEY = 256
MAX_OBJECT_ID = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Payload:
    """A body as told. In *fields* None means "told, and empty"; an absent key means "not told".

    *problem* says why there are no fields, or None.
    """

    fields: Fields
    problem: str | None = None


def read_payload(body: bytes, content_type: str = "") -> Payload:
    """Read *body* by what it looks like and by its content type, whichever fits."""
    stripped = body.removeprefix(_BYTE_ORDER_MARK).strip()
    if not stripped:
        return Payload({}, "the body is empty")
    looks_like_json = stripped[:1] in (b"{", b"[")
    is_form = not looks_like_json and ("form" in content_type.lower() or b"=" in stripped)
    raw, problem = _read_form(stripped) if is_form else _read_json(stripped)
    if not isinstance(raw, dict):
        return Payload({}, problem or "the body is not an object")
    return Payload(normalise(_gathered(raw) if is_form else raw))


# Where a call's numbers stand as CallRail told them, if they are not told in E.164.
RAW_NUMBERS = "raw_numbers"


def object_id(fields: Fields) -> str | None:
    """CallRail's id of the call, text or form: `resource_id`, or the numeric `id` of older bodies; None if untold."""
    return id_text(fields.get("resource_id") or fields.get("id"))


def id_text(told: object) -> str | None:
    """*told* as an id; None if it is none. An absurdly long one is replaced by its hash, to be a key anywhere."""
    if not isinstance(told, str | int) or isinstance(told, bool) or told == "":
        return None
    text = str(told)
    return text if len(text) <= MAX_OBJECT_ID else "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:48]


def normalise(raw: dict[str, Any]) -> Fields:
    """*raw* under today's names and in real types.

    `""`, `[]` and `{}` become None (told empty). A value that does not fit its field's type counts as not told.
    `formatted_*` twins, made for display, are left out.
    """
    fields: Fields = {}
    for name, value in raw.items():
        if name[:10] == "formatted_":
            continue
        if value.__class__ is str and name not in _PARSED:  # most of them, and so without a call
            fields[name] = value or None
            continue
        value = _value(name, value)
        if value is not _MISFIT:
            fields[name] = value
    _rename_legacy(fields)
    _read_numbers(fields)
    return fields


def _gathered(raw: Fields) -> Fields:
    """The fields of a form, sent form-encoded as `form_data[zip]`, in one object as in JSON (assumed of Rails)."""
    flat = {name: value for name, value in raw.items() if name.startswith(_FLAT)} if FORM_DATA not in raw else {}
    if not flat:
        return raw
    data = {name.removeprefix(_FLAT).removesuffix("]"): value for name, value in flat.items()}
    return {**{name: value for name, value in raw.items() if name not in flat}, FORM_DATA: data}


_FLAT = "form_data["
FORM_DATA = "form_data"


def _read_numbers(fields: Fields) -> None:
    """Phone numbers as E.164, withheld ones as told empty; the text that was told is kept under `raw_numbers`.

    What is no number of the world's, a short code for example, stays as it is.
    """
    raw: Fields = {}
    for name in _NUMBERS.intersection(fields):
        told = fields[name]
        if isinstance(told, str):
            number = e164(told) or (None if is_withheld(told) else told)
            if number != told:
                fields[name], raw[name] = number, told
    if raw:
        fields[RAW_NUMBERS] = raw


def _rename_legacy(fields: Fields) -> None:
    for old, name in LEGACY_NAMES.items():
        if old not in fields:
            continue
        value = fields.pop(old)
        if fields.get(name) is None:
            value = _value(name, value)
            if value is not _MISFIT:
                fields[name] = value
    utc = fields.pop("datetime", None)  # "2018-02-19 18:41:00": UTC, but says so nowhere (observed)
    if isinstance(utc, str) and fields.get("start_time") is None:
        fields["start_time"] = utc.replace(" ", "T") + "Z"


# --- types -----------------------------------------------------------------------------------------------------------

_MISFIT: Any = object()
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    return _TRUTHS.get(str(value).strip().lower(), _MISFIT) if isinstance(value, str | int) else _MISFIT


def _integer(value: Any) -> Any:
    if isinstance(value, bool):
        return _MISFIT
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return round(value) if math.isfinite(value) and abs(value) < 2**53 else _MISFIT
    text = value.strip() if isinstance(value, str) else ""
    digits = text[1:] if text[:1] == "-" else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 16 else _MISFIT


def _list(value: Any) -> Any:
    if isinstance(value, str):  # form bodies and some JSON ones write one string for several names
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_CONVERTERS: dict[FieldType, Callable[[Any], Any]] = {
    FieldType.BOOLEAN: _boolean,
    FieldType.INTEGER: _integer,
    FieldType.LIST: _list,
    FieldType.TEXT: _text,
    FieldType.NUMBER: _text,
    FieldType.PHONE: _text,
}
# Fields whose text has to be read.
_PARSED = frozenset(
    field.name for field in FIELDS.values() if field.type in (FieldType.BOOLEAN, FieldType.INTEGER, FieldType.LIST)
)
_CONVERTER = {field.name: _CONVERTERS[field.type] for field in FIELDS.values() if field.type in _CONVERTERS}


_NUMBERS = frozenset(field.name for field in FIELDS.values() if field.type is FieldType.PHONE)


def _value(name: str, value: Any) -> Any:
    if not value and (value is None or value in ("", [], {})):
        return None
    convert = _CONVERTER.get(name)
    return convert(value) if convert else value


# --- bytes -----------------------------------------------------------------------------------------------------------


def _read_json(body: bytes) -> tuple[Any, str | None]:
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_json_leniently(body)
    return (_harmless(raw) if _needs_care(body) else raw), None


def _read_json_leniently(body: bytes) -> tuple[Any, str | None]:
    """What the strict reader refuses though a person could read it: NaN, 1e400, lone surrogates, bad UTF-8."""
    try:
        raw = json.loads(body.decode("utf-8", "replace"), strict=False, parse_constant=lambda _: None)
        return _harmless(raw), None
    except RecursionError:
        return None, "the JSON is nested too deeply"
    except ValueError:
        return None, "the body is not valid JSON"


def _read_form(body: bytes) -> tuple[Any, str | None]:
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        return None, f"the form has more than {MAX_FORM_FIELDS} fields"
    fields: Fields = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return _harmless(fields), None


def _needs_care(body: bytes) -> bool:
    """Whether strictly valid JSON may still hold what a database or a JSON writer refuses."""
    return b"\\u0000" in body or len(body) > 100_000 or body.count(b"[") + body.count(b"{") > MAX_DEPTH


def _harmless(value: Any, depth: int = 0) -> Any:
    """*value* without what breaks the next reader: NUL, lone surrogates, infinities, endless nesting and keys."""
    if isinstance(value, str):
        return _harmless_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else float(value) if abs(value) < 2**1000 else None
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_harmless(item, depth + 1) for item in value]
    return {_harmless_text(key)[:MAX_KEY]: _harmless(item, depth + 1) for key, item in value.items()}


def _harmless_text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\u0000")
