"""The positioned YAML reader: plain values, their places, and mistakes told in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from receiver.exceptions import ConfigError, ConfigProblem, Place
from receiver.positioned_yaml import MAX_BYTES, Document, read, validate

BAD = Path(__file__).parent / "bad_yaml"

REFUSED = {
    "alias_bomb": ["1:32 (e[3][3][8][8][8]): more than 50,000 values, each use of an alias (*) counted; use fewer"],
    "anchor_twice": ["2:6: an anchor (&) of this name exists already"],
    "apostrophe_in_quotes": ["1:12: this text does not belong here; put the whole value in one pair of quotes"],
    "asterisk": [
        (
            "1:11: '*' and '&' name an alias or an anchor, and this one is not complete; "
            "put text that begins with '*' or '&' in quotes"
        )
    ],
    "at_sign": ["1:7: text cannot begin with '@'; put it in quotes"],
    "broken_tag": ["1:7: a tag (!) is not allowed; write the plain value; put text that begins with '!' in quotes"],
    "colon_without_space": [
        "4:17: a ':' is not allowed here; check the indentation, and that the line above has ': ' after its key"
    ],
    "colon_without_space_in_braces": [
        "2:7: a ':' without a space after it; write it as key: value, or put the text in quotes"
    ],
    "dash_in_line": ["1:7: a list item ('- ') is not allowed here; start the list on a line of its own"],
    "directive": ["1:1: this is not valid YAML: found incompatible YAML document"],
    "duplicate_key": ["5:5 (companies.acme): the key 'signing_keys' is already on line 3; keep one of them"],
    "key_is_block": ["1:8 (text): a key must be text; put text that begins with [ or { in quotes"],
    "key_is_number": ["2:3 (companies): a key must be text, found a number; put the key in quotes"],
    "key_without_colon": [
        "4:17: a ':' is not allowed here; check the indentation, and that the line above has ': ' after its key"
    ],
    "list_on_top": ["1:1: the top of the file must be a block of key: value lines, found a list"],
    "merge_key": ["3:3 (acme): a merge key (<<) is not allowed; write the keys out"],
    "python_tag": ["1:12: a tag (!) is not allowed; write the plain value; put text that begins with '!' in quotes"],
    "question_mark": ["1:7: text cannot begin with '? '; put it in quotes"],
    "recursive_alias": ["1:7 (when[1]): an alias (*) stands inside the anchor (&) it repeats; write the values out"],
    "second_colon": ["2:13: a second ':' in one value; put the text after the first ':' in quotes"],
    "secret_like_tag": [
        "1:16: a tag (!) is not allowed; write the plain value; put text that begins with '!' in quotes"
    ],
    "several_mistakes": [
        "1:12: a tag (!) is not allowed; write the plain value; put text that begins with '!' in quotes",
        "2:3 (companies): a key must be text, found a number; put the key in quotes",
        "4:3 (companies): the key 'acme' is already on line 3; keep one of them",
    ],
    "stray_comma": ["1:20: a value is missing here; put text that begins with , ] } in quotes"],
    "tab": ["2:1: a tab; indent with spaces", "3:1: a tab; indent with spaces"],
    "tab_before_value": ["3:3: a tab; indent with spaces"],
    "text_after_bar": [
        "1:9: text after '|' or '>' starts on the next line; put text that begins with '|' or '>' in quotes"
    ],
    "text_on_top": ["1:1: the top of the file must be a block of key: value lines, found text"],
    "two_documents": ["2:1: a second document begins here; keep one document in a file"],
    "unclosed_block": ["2:9: a ',' or the closing '}' is missing in the block that opens here"],
    "unclosed_list": ["3:19: a ',' or the closing ']' is missing in the list that opens here"],
    "unclosed_quote": ["3:20: the quote that opens here is never closed"],
    "undefined_alias": [
        "1:10: an alias (*) has no anchor (&) above it; put text that begins with '*' or '&' in quotes"
    ],
    "unknown_escape": ["1:11: unknown escape after a backslash; use single quotes, or write two backslashes"],
    "wrong_indentation": ["4:4: this line is not indented like the lines it belongs to; use the same number of spaces"],
}


@pytest.mark.parametrize(("name", "sentences"), REFUSED.items(), ids=REFUSED)
def test_a_mistake_in_the_yaml_is_told_at_its_place_with_a_remedy(name: str, sentences: list[str]) -> None:
    """Each bad file gives exactly these lines, with no word of PyYAML's own."""
    path = BAD / f"{name}.yaml"

    with pytest.raises(ConfigError) as caught:
        read(path)

    assert str(caught.value).splitlines() == [f"{path}:{sentence}" for sentence in sentences]


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "router.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def document_of(tmp_path: Path, text: str) -> Document:
    return read(written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"name: caf\xe9\n", "1:10: this is not UTF-8 text; save the file as UTF-8", id="latin-1"),
        pytest.param(b"\xff\xfea\x00", "1:1: this is not UTF-8 text; save the file as UTF-8", id="utf-16"),
        pytest.param(b"a: 1\nb: x\x07\n", "2:5: an invisible control character (U+0007); delete it", id="bell"),
        pytest.param(b"#" * (MAX_BYTES + 1), "1:1: the file is larger than 1 MiB", id="too large"),
        pytest.param(b"a: " + b"[" * 900 + b"]" * 900, "1:68 (PATH): nested more than 64 levels deep", id="deep"),
        pytest.param(b"a: " + b"[" * 5000, "1:1003: nested more than 64 levels deep", id="deeper than libyaml goes"),
    ],
)
def test_content_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    """A wrong encoding, a control character, sheer size and depth each give one sentence at a place."""
    path = written(tmp_path, content)

    with pytest.raises(ConfigError) as caught:
        read(path)

    assert str(caught.value) == f"{path}:{sentence}".replace("PATH", "a" + "[0]" * 64)


def test_a_missing_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    """No traceback and no errno, only the system's reason."""
    path = tmp_path / "router.yaml"

    with pytest.raises(ConfigError) as caught:
        read(path)

    assert str(caught.value) == f"{path}:1:1: the file cannot be read: no such file or directory"


def test_a_directory_is_told_in_one_sentence(tmp_path: Path) -> None:
    """A path that is no file is refused like one that is absent."""
    with pytest.raises(ConfigError, match=r":1:1: the file cannot be read: is a directory$"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "\ufeff"], ids=["empty", "comment", "dashes", "bom"])
def test_an_empty_file_is_an_empty_mapping(tmp_path: Path, text: str) -> None:
    """Whoever has written nothing yet hears what is missing, at the top of the file."""
    document = document_of(tmp_path, text)

    assert document.value == {}
    assert document.place(("companies",)).path == ""


@pytest.mark.parametrize("text", ["null", "Null", "NULL", "~", ""])
def test_null_is_none(tmp_path: Path, text: str) -> None:
    """The spellings of YAML 1.2, and no text at all."""
    assert document_of(tmp_path, f"a: {text}\n").value == {"a": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-17", -17),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-1e3", -1000.0),
        ("+15551234567", 15551234567),
    ],
)
def test_true_false_and_numbers_have_their_type(tmp_path: Path, text: str, value: float) -> None:
    """The core scalars of YAML 1.2, and a bool is not a number."""
    found = document_of(tmp_path, f"a: {text}\n").value["a"]

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "Off", "y", "12:30", "2026-12-31", "0123", "1_000", "0b1", "1e999", ".inf", ".nan", "9" * 5000],
)
def test_everything_else_stays_text(tmp_path: Path, text: str) -> None:
    """What YAML 1.1 made of yes, times, dates and leading zeros has surprised enough people."""
    assert document_of(tmp_path, f"a: {text}\n").value == {"a": text}


def test_words_that_yaml_1_1_took_for_true_and_false_are_keys_too(tmp_path: Path) -> None:
    """A key `on` is the text "on"."""
    assert document_of(tmp_path, "on: 1\nno: 2\n").value == {"on": 1, "no": 2}


@pytest.mark.parametrize("text", ["'5'", '"true"', "|-\n  null", ">-\n  1.5"])
def test_quoted_and_block_scalars_are_always_text(tmp_path: Path, text: str) -> None:
    """Quotes are the remedy that the errors recommend, so they must work for everything."""
    assert isinstance(document_of(tmp_path, f"a: {text}\n").value["a"], str)


def test_a_tab_that_indents_nothing_is_allowed(tmp_path: Path) -> None:
    """In quotes, before a comment and after a colon a tab does no harm."""
    assert document_of(tmp_path, "a:\t'x\ty'\t# z\n").value == {"a": "x\ty"}


def test_an_alias_repeats_its_anchor(tmp_path: Path) -> None:
    """Sharing a block is allowed, and the copies do not share their lists."""
    value = document_of(tmp_path, "a: &a {b: [1]}\nc: *a\n").value

    assert value["a"] == value["c"] == {"b": [1]}
    assert value["a"] is not value["c"]


RULES = """\
rules:
  - id: missed
    when: [call.missed,
           call.voicemail]
"""


@pytest.mark.parametrize(
    ("loc", "place"),
    [
        ((), "1:1"),
        (("rules",), "2:3 (rules)"),
        (("rules", 0, "when"), "3:11 (rules[0].when)"),
        (("rules", 0, "when", 1), "4:12 (rules[0].when[1])"),
        (("rules", 0, "send", 0, "to"), "2:5 (rules[0])"),
        (("rules", 7, "id"), "2:3 (rules)"),
    ],
)
def test_a_value_is_found_at_its_place_or_its_nearest_ancestor(
    tmp_path: Path, loc: tuple[str | int, ...], place: str
) -> None:
    """Lines and columns count from 1, and the path is written as people write it."""
    document = document_of(tmp_path, RULES)

    assert str(document.place(loc)) == f"{document.file}:{place}"


def test_a_key_has_a_place_of_its_own(tmp_path: Path) -> None:
    """An unknown key is shown where it is written, not where its value begins."""
    document = document_of(tmp_path, RULES)

    assert str(document.key_place(("rules", 0, "when"))) == f"{document.file}:3:5 (rules[0].when)"
    assert document.key_place(("rules", 0)) == document.place(("rules", 0))


def test_it_is_known_whether_a_value_is_in_quotes(tmp_path: Path) -> None:
    """By the character it begins with, also below a line separator that only YAML takes for the end of a line."""
    document = document_of(tmp_path, "a: 'x\u2028  y'\nb: \"8:00\"\nc: 8:00\nd: |\n  x\n")

    assert [document.character((name,)) for name in "abcd"] == ["'", '"', "8", "|"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Slack(Strict):
    type: Literal["slack"]
    channel: str


class Webhook(Strict):
    type: Literal["webhook"]
    url: str
    attempts: int = Field(default=1, ge=1)


class AllBut(Strict):
    names: list[str] = Field(alias="except")


class Router(Strict):
    sinks: dict[str, Annotated[Slack | Webhook, Field(discriminator="type")]] = {}
    companies: Literal["all"] | list[str] | AllBut = "all"
    keys: tuple[str, ...] = Field(default=("x",), min_length=1)
    hours: dict[Literal["mon", "tue"], str] = {}
    mute: bool = False


def sentences_about(document: Document) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(Router, document, document.value)
    return [str(problem).removeprefix(f"{document.file}:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("mutes: true", "1:1 (mutes): unknown key 'mutes'; did you mean 'mute'?", id="misspelt key"),
        pytest.param(
            "zzz: 1",
            "1:1 (zzz): unknown key 'zzz'; allowed here: sinks, companies, keys, hours, mute",
            id="strange key",
        ),
        pytest.param("mute: maybe", "1:7 (mute): expected true or false, found text", id="not a bool"),
        pytest.param("mute:", "1:6 (mute): expected true or false, found nothing", id="no value"),
        pytest.param("keys: x", "1:7 (keys): expected a list, found text", id="not a list"),
        pytest.param("keys: []", "1:7 (keys): too few entries: 1 or more wanted, found 0", id="empty list"),
        pytest.param(
            "keys: [5]", "1:8 (keys[0]): expected text, found a number; put it in quotes", id="number for text"
        ),
        pytest.param(
            "hours: {tues: 8-18}",
            "1:9 (hours.tues): expected 'mon' or 'tue', found something else; did you mean 'tue'?",
            id="key of a closed list",
        ),
        pytest.param(
            "sinks: {a: {type: slack, chanel: C1}}",
            "1:26 (sinks.a.chanel): unknown key 'chanel'; did you mean 'channel'?",
            id="misspelt key is not missing as well",
        ),
        pytest.param("sinks: {a: {type: slack}}", "1:9 (sinks.a): 'channel' is missing", id="missing key"),
        pytest.param(
            "sinks: {a: {type: slak}}",
            "1:12 (sinks.a): 'type' must be one of 'slack', 'webhook'; did you mean 'slack'?",
            id="misspelt type",
        ),
        pytest.param("sinks: {a: {url: x}}", "1:12 (sinks.a): 'type' is missing", id="no type"),
        pytest.param(
            "sinks: {a: {type: webhook, url: x, attempts: 0}}",
            "1:46 (sinks.a.attempts): must be 1 or more",
            id="out of bounds",
        ),
        pytest.param(
            "companies: 5",
            "1:12 (companies): expected 'all' or a list or a block of key: value lines, found a number",
            id="union, no member meant",
        ),
        pytest.param(
            "companies: {exept: []}",
            "1:13 (companies.exept): unknown key 'exept'; did you mean 'except'?",
            id="union, one member meant",
        ),
    ],
)
def test_what_pydantic_finds_is_told_in_plain_words(tmp_path: Path, text: str, sentence: str) -> None:
    """One mistake gives one sentence, at its place, with a remedy where there is one."""
    assert sentences_about(document_of(tmp_path, text)) == [sentence]


def test_all_mistakes_are_told_at_once_in_file_order(tmp_path: Path) -> None:
    """Nobody has to start the program once per mistake."""
    document = document_of(tmp_path, "mute: 7\nsinks:\n  a: {type: slack, chanel: C1}\nkeys: [[], x, 5]\n")

    assert sentences_about(document) == [
        "1:7 (mute): expected true or false, found a number",
        "3:20 (sinks.a.chanel): unknown key 'chanel'; did you mean 'channel'?",
        "4:8 (keys[0]): expected text, found a list",
        "4:15 (keys[2]): expected text, found a number; put it in quotes",
    ]


def test_a_part_of_the_file_can_be_validated_alone(tmp_path: Path) -> None:
    """Places and suggestions hold for a value from the middle of the document."""
    document = document_of(tmp_path, "sinks:\n  a: {type: slack, chanel: C1}\n")
    sinks = document.value["sinks"]
    assert isinstance(sinks, dict)

    with pytest.raises(ConfigError) as caught:
        validate(Slack, document, sinks["a"], ("sinks", "a"))

    where = Place(document.file, 2, 20, "sinks.a.chanel")
    assert caught.value.problems == [ConfigProblem("unknown key 'chanel'", where, "did you mean 'channel'?")]


def test_the_validated_model_is_returned(tmp_path: Path) -> None:
    """A document without mistakes becomes the model."""
    document = document_of(tmp_path, "companies: {except: [acme]}\n")

    assert validate(Router, document, document.value).companies == AllBut(**{"except": ["acme"]})
