"""Reading a body: whatever CallRail sends, and whatever somebody else may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from callrail.fields import FIELDS, LEGACY_NAMES, FieldType
from callrail.payload import MAX_DEPTH, MAX_FORM_FIELDS, MAX_OBJECT_ID, RAW_NUMBERS, object_id, read_payload
from tests.callrail.samples import ABSENT, SAMPLES, as_sent, sample

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def fields_of(told: dict[str, Any]) -> dict[str, Any]:
    """What is read of *told*, sent as JSON."""
    return read_payload(json.dumps(told).encode(), JSON).fields


# --- which form a body has -------------------------------------------------------------------------------------------

SNIFFED = {
    "JSON as such": (b'{"answered":true}', JSON),
    "JSON with a charset": (b'{"answered":true}', "application/json; charset=utf-8"),
    "JSON called a form": (b'{"answered":true}', FORM),
    "JSON called nothing": (b'{"answered":true}', ""),
    "JSON called an image": (b'{"answered":true}', "image/png"),
    "JSON with an equals sign": (b'{"answered":true,"note":"a=b&c=d"}', FORM),
    "JSON in white space": (b' \r\n\t{"answered": true}\n', JSON),
    "form as such": (b"answered=true", FORM),
    "form called JSON": (b"answered=true", JSON),
    "form called nothing": (b"answered=true", ""),
    "form in capitals": (b"answered=true", FORM.upper()),
    "form with a newline": (b"answered=true\r\n", FORM),
}


@pytest.mark.parametrize(("body", "content_type"), SNIFFED.values(), ids=SNIFFED)
def test_a_body_is_read_by_what_it_looks_like(body: bytes, content_type: str) -> None:
    """A lying or missing content type hides nothing."""
    payload = read_payload(body, content_type)

    assert payload.problem is None
    assert payload.fields["answered"] is True


WITHOUT_FIELDS = {
    "empty": (b"", "the body is empty"),
    "white space": (b" \n ", "the body is empty"),
    "broken JSON": (b'{"answered":', "the body is not valid JSON"),
    "words": (b"hello", "the body is not valid JSON"),
    "list": (b'[{"answered":true}]', "the body is not an object"),
    "number": (b"17", "the body is not an object"),
    "null": (b"null", "the body is not an object"),
    "NUL": (b"\x00", "the body is not valid JSON"),
    "10,000 lists deep": (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "the JSON is nested too deeply"),
    "10,000 objects deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "the JSON is nested too deeply"),
    "10,000 open lists": (b"[" * 10_000, "the JSON is nested too deeply"),
    "a number of 10,000 digits": (b'{"duration":' + b"9" * 10_000 + b"}", "the body is not valid JSON"),
    "too many form fields": (
        b"&".join(b"a=1" for _ in range(MAX_FORM_FIELDS + 1)),
        f"the form has more than {MAX_FORM_FIELDS} fields",
    ),
}


@pytest.mark.parametrize(("body", "problem"), WITHOUT_FIELDS.values(), ids=WITHOUT_FIELDS)
def test_a_body_that_cannot_be_understood_says_why(body: bytes, problem: str) -> None:
    """No fields, one sentence, no exception."""
    payload = read_payload(body)

    assert payload.fields == {}
    assert payload.problem == problem


def test_a_form_of_many_fields_is_read_to_the_last() -> None:
    """The bound on a form stands far above what CallRail sends, and nothing below it is cut."""
    body = "&".join(f"field_{n}={n}" for n in range(MAX_FORM_FIELDS)).encode()

    assert read_payload(body, FORM).fields[f"field_{MAX_FORM_FIELDS - 1}"] == str(MAX_FORM_FIELDS - 1)


FORMS = {
    "blank value": (b"note=&answered=true", {"note": None, "answered": True}),
    "plus and percent": (b"customer_name=Kim+O%27Hara+%26+Co", {"customer_name": "Kim O'Hara & Co"}),
    "UTF-8": ("customer_city=Caf%C3%A9&customer_state=Québec".encode(), {"customer_city": "Café"}),
    "broken UTF-8": (b"customer_city=Caf%E9", {"customer_city": "Caf\ufffd"}),
    "NUL": (b"note=a%00b", {"note": "a\\u0000b"}),
    "a name twice": (b"tags=a&tags=b&tags=c", {"tags": ["a", "b", "c"]}),
    "numbers and booleans": (b"duration=13&first_call=false", {"duration": 13, "first_call": False}),
    "text that looks like a number": (b"company_id=422269185", {"company_id": "422269185"}),
}


@pytest.mark.parametrize(("body", "expected"), FORMS.values(), ids=FORMS)
def test_a_form_gives_the_same_fields_as_json_would(body: bytes, expected: dict[str, Any]) -> None:
    """A form's strings become the types the fields have."""
    fields = read_payload(body, FORM).fields

    assert fields | expected == fields


# --- values ----------------------------------------------------------------------------------------------------------

VALUES: dict[str, tuple[str, Any, Any]] = {
    "boolean": ("answered", False, False),
    "boolean as text": ("answered", "false", False),
    "boolean in capitals": ("answered", "TRUE", True),
    "boolean with a space": ("voicemail", " true", True),
    "boolean as a digit": ("voicemail", "0", False),
    "boolean as a number": ("spam", 1, True),
    "integer": ("duration", 13, 13),
    "integer as text": ("duration", "13", 13),
    "integer with a space": ("duration", " 13 ", 13),
    "negative integer": ("duration", "-1", -1),
    "zero": ("duration", 0, 0),
    "zero as text": ("duration", "0", 0),
    "fraction": ("duration", 12.6, 13),
    "number where text is meant": ("company_id", 422269185, "422269185"),
    "score as a number": ("score", 1, "1"),
    "phone as a number": ("customer_phone_number", 14045550123, "+14045550123"),
    "phone as people write it": ("customer_phone_number", "(404) 555-0123", "+14045550123"),
    "short code": ("source_number", "72345", "72345"),
    "filler code": ("customer_phone_number", "+266696687", None),
    "withheld": ("customer_phone_number", "Restricted", None),
    "tags": ("tags", ["a", "b"], ["a", "b"]),
    "tags as text": ("tags", "new lead, Spanish,,", ["new lead", "Spanish"]),
    "one tag as text": ("tags", "new lead", ["new lead"]),
    "tags as one object": ("tags", {"name": "a"}, [{"name": "a"}]),
    "object": ("milestones", {"first_touch": {"source": None}}, {"first_touch": {"source": None}}),
    "unknown name": ("lead_temperature", {"value": 7}, {"value": 7}),
    "unknown text": ("lead_temperature", "true", "true"),
    "time": ("start_time", "2018-02-19T13:41:00.236-05:00", "2018-02-19T13:41:00.236-05:00"),
}


@pytest.mark.parametrize(("name", "told", "read"), VALUES.values(), ids=VALUES)
def test_a_value_is_read_in_the_type_of_its_field(name: str, told: Any, read: Any) -> None:
    """Strings that stand for booleans, numbers and lists become them; what is not known is kept as told."""
    found = fields_of({name: told})[name]

    assert found == read
    assert type(found) is type(read)


MISFITS: dict[str, tuple[str, Any]] = {
    "boolean in words": ("answered", "maybe"),
    "boolean of another number": ("answered", 2),
    "boolean as a list": ("answered", [True]),
    "integer in words": ("duration", "long"),
    "integer with a fraction": ("duration", "12.6"),
    "integer as boolean": ("duration", True),
    "integer as an object": ("duration", {"seconds": 13}),
    "integer of 16 digits": ("duration", "1" * 16),
    "integer with two signs": ("duration", "--1"),
    "integer in Arabic digits": ("duration", "\u0661\u0663"),
    "number out of reach": ("duration", 1e300),
}


@pytest.mark.parametrize(("name", "told"), MISFITS.values(), ids=MISFITS)
def test_a_value_that_cannot_be_meant_counts_as_not_told(name: str, told: Any) -> None:
    """Unknown is not false: no guess is made, and the field is absent rather than empty."""
    assert fields_of({name: told}) == {}


@pytest.mark.parametrize("told", ["", [], {}, None], ids=["text", "list", "object", "null"])
@pytest.mark.parametrize("name", ["note", "tags", "duration", "answered", "milestones", "start_time", "new_field"])
def test_told_and_empty_is_none_whatever_the_type(name: str, told: Any) -> None:
    """CallRail writes "nothing" in four ways, which all mean: told, and empty."""
    assert fields_of({name: told}) == {name: None}


@pytest.mark.parametrize("told", [0, False, "0", "false"])
def test_zero_and_false_are_not_empty(told: Any) -> None:
    """A call of no seconds, and one that nobody answered, are told."""
    assert None not in fields_of({"duration": told, "answered": told, "new_field": told}).values()


def test_what_is_made_for_display_is_left_out() -> None:
    """`formatted_*` repeats other fields in a form that only misleads rules."""
    assert fields_of({"formatted_duration": "13s", "formatted_new": "x", "duration": "13"}) == {"duration": 13}


@pytest.mark.parametrize(("old", "name"), LEGACY_NAMES.items(), ids=LEGACY_NAMES)
def test_an_old_name_is_read_as_the_present_one(old: str, name: str) -> None:
    """What only older webhooks say is found under today's name, in its type, and no more under the old one."""
    expected = ["x"] if name in FIELDS and FIELDS[name].type is FieldType.LIST else "x"

    assert fields_of({old: "x"}) == {name: expected}


def test_a_present_name_beats_the_old_one() -> None:
    """The documentation says not to rely on old names; they only fill what is not told or empty."""
    assert fields_of({"callername": "old", "customer_name": "new"}) == {"customer_name": "new"}
    assert fields_of({"customer_name": "new", "callername": ""}) == {"customer_name": "new"}
    assert fields_of({"callername": "old", "customer_name": ""}) == {"customer_name": "old"}
    assert fields_of({"callername": "", "customer_name": ""}) == {"customer_name": None}


def test_the_old_time_without_a_zone_is_utc() -> None:
    """`datetime` is UTC and says so nowhere; it stands in for the start only where that is not told."""
    told = "2018-02-19T13:41:00.236-05:00"

    assert fields_of({"datetime": "2018-02-19 18:41:00"}) == {"start_time": "2018-02-19T18:41:00Z"}
    assert fields_of({"datetime": "2018-02-19 18:41:00", "start_time": told}) == {"start_time": told}


# --- what breaks parsers and stores ----------------------------------------------------------------------------------

DANGEROUS: dict[str, tuple[bytes, Any]] = {
    "NUL, escaped": (b'{"note":"a\\u0000b"}', "a\\u0000b"),
    "NUL, raw": (b'{"note":"a\x00b"}', "a\\u0000b"),
    "lone high surrogate": (b'{"note":"a\\ud83d"}', "a\\ud83d"),
    "lone low surrogate": (b'{"note":"\\udebfa"}', "\\udebfa"),
    "whole pair": (b'{"note":"\\ud83d\\udebf"}', "🚿"),
    "broken UTF-8": (b'{"note":"caf\xe9"}', "caf\ufffd"),
    "surrogate in UTF-8": (b'{"note":"\xed\xa0\xbd"}', "\ufffd\ufffd\ufffd"),
    "raw newline": (b'{"note":"a\nb"}', "a\nb"),
    "NaN": (b'{"note":NaN}', None),
    "Infinity": (b'{"note":-Infinity}', None),
    "1e400": (b'{"note":1e400}', None),
    "a key twice": (b'{"note":"a","note":"b"}', "b"),
}


@pytest.mark.parametrize(("body", "note"), DANGEROUS.values(), ids=DANGEROUS)
def test_what_breaks_the_next_reader_is_escaped(body: bytes, note: Any) -> None:
    """What a person could read is read, and nothing of it breaks a database or a JSON writer."""
    payload = read_payload(body, JSON)

    assert payload.problem is None
    assert payload.fields == {"note": note}


def test_deep_nesting_ends_where_nobody_looks_any_more() -> None:
    """A value of 500 levels is valid JSON, yet what is kept of it is at most `MAX_DEPTH` deep."""
    value = read_payload(b'{"custom":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b',"note":"kept"}').fields

    assert value["note"] == "kept"
    depth = 0
    level: Any = value
    while level:
        level = level.get("custom") or level.get("a")
        depth += 1
    assert depth == MAX_DEPTH


# --- the id of the object --------------------------------------------------------------------------------------------

IDS: dict[str, tuple[dict[str, Any], str | None]] = {
    "resource_id": ({"resource_id": "CAL1", "id": 7}, "CAL1"),
    "numeric id of older bodies": ({"id": 766970532}, "766970532"),
    "numeric resource_id": ({"resource_id": 17}, "17"),
    "id as text": ({"id": "766970532"}, "766970532"),
    "resource_id told empty": ({"resource_id": "", "id": 7}, "7"),
    "missing": ({"call_type": "missed"}, None),
    "null": ({"resource_id": None}, None),
    "true": ({"id": True}, None),
    "a list": ({"resource_id": ["CAL1"]}, None),
    "an object": ({"resource_id": {"id": "CAL1"}}, None),
    "a fraction": ({"id": 1.5}, None),
    "just short enough": ({"resource_id": "C" * MAX_OBJECT_ID}, "C" * MAX_OBJECT_ID),
}


@pytest.mark.parametrize(("told", "expected"), IDS.values(), ids=IDS)
def test_an_object_has_callrails_id_or_none(told: dict[str, Any], expected: str | None) -> None:
    """Today's id, else the numeric one of older bodies, else none: never something made of a wrong type."""
    assert object_id(fields_of(told)) == expected


def test_an_absurd_id_becomes_a_key_of_its_own() -> None:
    """Ids of 4 kB fit every database and stay different from each other."""
    one, other = (object_id(fields_of({"resource_id": "C" * 4096 + end})) for end in "ab")

    assert one is not None
    assert other is not None
    assert one != other
    assert max(len(one), len(other)) <= MAX_OBJECT_ID
    assert one == object_id(fields_of({"resource_id": "C" * 4096 + "a"}))


# --- for all bodies --------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(sorted({*FIELDS, *LEGACY_NAMES, "datetime", "id", "formatted_duration"})) | st.text()
_ANY_TEXT = st.text(st.characters(exclude_categories=()))
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _ANY_TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_ANY_TEXT, children, max_size=4),
    max_leaves=15,
)
# json.dumps writes what strict writers refuse: NaN, infinities, integers of any size, lone surrogates.
_BODIES = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(_NAMES, _ANY_JSON, max_size=6).map(lambda told: json.dumps(told).encode()),
    st.dictionaries(_NAMES, st.text(), max_size=6).map(lambda told: json.dumps(told, ensure_ascii=False).encode()),
    st.dictionaries(_NAMES, st.text(), max_size=6).map(lambda told: urlencode(told).encode()),
    st.dictionaries(_NAMES, _ANY_TEXT, max_size=6).map(lambda told: json.dumps(told).encode()[:-1]),
)
_CONTENT_TYPES = st.sampled_from([JSON, FORM, "", "text/plain"]) | st.text(max_size=20)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in *value*, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *texts_in(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


@settings(max_examples=400, deadline=None)
@given(_BODIES, _CONTENT_TYPES)
def test_reading_never_fails_and_what_is_read_can_be_kept(body: bytes, content_type: str) -> None:
    """For any bytes there are fields or a reason, and the fields pass every JSON writer and every text column."""
    payload = read_payload(body, content_type)
    key = object_id(payload.fields)

    assert payload.problem is None or payload.fields == {}
    assert orjson.loads(orjson.dumps(payload.fields)) == payload.fields
    assert not any("\x00" in text for text in texts_in(payload.fields))
    assert key is None or 0 < len(key.encode()) <= 4 * MAX_OBJECT_ID


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_NAMES, _ANY_JSON, max_size=6))
def test_json_without_any_space_says_the_same(told: dict[str, Any]) -> None:
    """White space between values, which changes the signature, does not change the meaning."""
    compact, wide = json.dumps(told, separators=(",", ":")), json.dumps(told, indent=2)

    assert read_payload(compact.encode()) == read_payload(wide.encode())


@pytest.fixture
def postgresql_text(postgresql_url: str) -> Iterator[psycopg.Connection]:
    """A connection of the driver alone, without anything that we put between."""
    conninfo = make_url(postgresql_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_BODIES)
def test_postgresql_keeps_every_text_that_was_read(postgresql_text: psycopg.Connection, body: bytes) -> None:
    """The stricter of our databases takes each single text, and gives it back as it was."""
    texts = list(texts_in(read_payload(body).fields))

    kept = [postgresql_text.execute("SELECT %s::text", [text]).fetchone() for text in texts]

    assert kept == [(text,) for text in texts]


# --- the samples -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SAMPLES.exists(), reason=ABSENT)
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_sample_is_read_without_a_problem(path: Any) -> None:
    """Of every collected body all that is not for display is told, under its own or its present name."""
    payload = read_payload(as_sent(path.name), JSON)
    expected = {LEGACY_NAMES.get(name, name) for name in sample(path.name) if not name.startswith("formatted_")}

    assert payload.problem is None
    assert payload.fields.keys() - {RAW_NUMBERS} == {"start_time" if name == "datetime" else name for name in expected}


@pytest.mark.skipif(not SAMPLES.exists(), reason=ABSENT)
def test_a_call_says_the_same_as_form_and_as_json() -> None:
    """What the form-encoded sample tells, all strings, has the values of the JSON sample."""
    as_form = read_payload(as_sent("post_call.form_urlencoded.txt"), FORM).fields
    as_json = read_payload(as_sent("post_call.json"), JSON).fields
    both = [name for name in as_form if name in as_json and as_form[name] is not None]

    assert {"answered", "duration", "prior_calls", "customer_phone_number", "first_call"} <= set(both)
    assert {name: as_form[name] for name in both} == {name: as_json[name] for name in both}
