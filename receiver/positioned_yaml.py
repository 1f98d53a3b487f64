"""Reads YAML written by hand: plain values, the place of each, and every mistake in words the writer can act on.

Scalars are those of YAML 1.2: `null`, `true`, `false` and numbers; `yes`, `on`, `12:30`, `2026-12-31` and `0123` are
text, as is everything in quotes.
"""

from __future__ import annotations

import codecs
import difflib
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from types import UnionType
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar, Union, get_args, get_origin

import yaml
import yaml.reader
from pydantic import BaseModel, ValidationError

from receiver.exceptions import ConfigError, ConfigProblem, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

Loc: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]  # line and column, counted from 1
Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 1024 * 1024
MAX_VALUES = 50_000
MAX_DEPTH = 64

_FULL_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What a scalar is, `_plain_scalar` says; asking YAML 1.1's expressions too would take a third of the time.
_LOADER = type("_Loader", (_FULL_LOADER,), {"resolve": lambda _self, _kind, _value, _implicit: ""})


@dataclass(frozen=True)
class Document:
    """What a file says, and where it says it. A *loc* is a path from the top, such as ``("rules", 0, "when")``."""

    value: dict[str, object]
    file: str
    text: str = field(repr=False)
    _values: Mapping[Loc, Position] = field(repr=False)
    _keys: Mapping[Loc, Position] = field(repr=False)

    def place(self, loc: Loc) -> Place:
        """Where the value at *loc* stands, or its nearest ancestor that is in the file."""
        while loc not in self._values:
            loc = loc[:-1]
        return _place(self.file, self._values[loc], loc)

    def key_place(self, loc: Loc) -> Place:
        """Where the key of the mapping entry at *loc* stands; for anything else the same as `place`."""
        return _place(self.file, self._keys[loc], loc) if loc in self._keys else self.place(loc)

    def has(self, loc: Loc) -> bool:
        """Whether something is written at *loc*."""
        return loc in self._values

    def character(self, loc: Loc) -> str:
        """The character with which the value at *loc* begins: tells whether it is in quotes."""
        where = self.place(loc)
        return _LINE_BREAK.split(self.text)[where.line - 1][where.column - 1 :][:1]

    def loc_in_file(self, loc: Loc) -> Loc:
        """*loc* without the parts that lead nowhere, which pydantic adds to name a member of a union."""
        known: Loc = ()
        for part in loc:
            if self.has((*known, part)):
                known = (*known, part)
        return known


def read(path: Path) -> Document:
    """The document in *path*; an empty file is an empty mapping.

    Raises:
        ConfigError: The file cannot be read or is not the plain YAML described above. Anchors and aliases are allowed
            within bounds; tags, merge keys, duplicate keys and keys that are not text are not.
    """
    file = str(path)
    text = _read_text(path)
    try:
        problems = _tags(text, file)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        # from None here and below: the original holds lines of the file, and so perhaps a secret.
        raise ConfigError([_syntax_problem(error, text, file)]) from None
    constructor = _Constructor(file)
    value = None if root is None else constructor.build(root, ())
    problems += constructor.problems
    if value is None:
        value = {}
    if not isinstance(value, dict):
        where = Place(file, *constructor.values[()])
        problems.append(ConfigProblem(f"the top of the file must be {_BLOCK}, found {_kind(value)}", where))
        raise ConfigError(problems)
    if problems:
        raise ConfigError(problems)
    return Document(value, file, text, {(): (1, 1)} | constructor.values, constructor.keys)


def validated(
    model: type[Model], document: Document, value: object, loc: Loc = ()
) -> tuple[Model | None, list[ConfigProblem]]:
    """As `validate`, but what is wrong is returned, so that one bad block does not hide the mistakes of others."""
    try:
        return validate(model, document, value, loc), []
    except ConfigError as error:
        return None, error.problems


def validate(model: type[Model], document: Document, value: object, loc: Loc = ()) -> Model:
    """*value*, found at *loc* in *document*, as a *model*.

    Raises:
        ConfigError: With every mistake at its place. No text of the file is repeated but the names of keys.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        mistakes = [_Mistake.of(detail, document, loc) for detail in error.errors(include_url=False)]
        raise ConfigError(_problems(mistakes, document, model, loc)) from None


def _place(file: str, position: Position, loc: Loc) -> Place:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return Place(file, *position, path=path.removeprefix("."))


# The text, before it is YAML


def _read_text(path: Path) -> str:
    start = Place(str(path), 1, 1)
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise ConfigError([ConfigProblem(f"the file cannot be read: {reason}", start)]) from error
    if len(data) > MAX_BYTES:
        raise ConfigError([ConfigProblem("the file is larger than 1 MiB", start)])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        where = _place_of_index(str(path), before, len(before))
        raise ConfigError([ConfigProblem("this is not UTF-8 text", where, "save the file as UTF-8")]) from None
    if problems := _forbidden_characters(text, str(path)):
        raise ConfigError(problems)
    return text


def _forbidden_characters(text: str, file: str) -> list[ConfigProblem]:
    controls = [
        ConfigProblem(f"an invisible control character (U+{ord(found[0]):04X})", where, "delete it")
        for found in yaml.reader.Reader.NON_PRINTABLE.finditer(text)
        for where in [_place_of_index(file, text, found.start())]
    ]
    tabs = [
        _tab(_place_of_index(file, text, found.end() - 1)) for found in re.finditer(r"^ *\t", text, flags=re.MULTILINE)
    ]
    return controls + tabs


def _place_of_index(file: str, text: str, index: int) -> Place:
    return Place(file, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _tab(where: Place) -> ConfigProblem:
    return ConfigProblem("a tab", where, "indent with spaces")


# YAML that the parser refuses


@dataclass(frozen=True)
class _Syntax:
    """What to say instead of a problem text of libyaml; *at_start*: at what was begun, not where it went wrong."""

    problem: str
    hint: str = ""
    at_start: bool = False


_NOT_CLOSED = _Syntax("the quote that opens here is never closed", at_start=True)
_INDENTATION = _Syntax("this line is not indented like the lines it belongs to", "use the same number of spaces")
_LEFT_OVER = _Syntax("this text does not belong here", "put the whole value in one pair of quotes")
_TAG = _Syntax(
    "a tag (!) is not allowed", "write the plain value; put text that begins with '!' in quotes", at_start=True
)
_TOO_DEEP = _Syntax(f"nested more than {MAX_DEPTH} levels deep")
_NO_ANCHOR = _Syntax(
    "'*' and '&' name an alias or an anchor, and this one is not complete",
    "put text that begins with '*' or '&' in quotes",
    at_start=True,
)
_SYNTAX = {
    "block sequence entries are not allowed in this context": _Syntax(
        "a list item ('- ') is not allowed here", "start the list on a line of its own"
    ),
    "but found another document": _Syntax("a second document begins here", "keep one document in a file"),
    "could not find expected ':'": _Syntax(
        "this line has no ':' after its key",
        "write it as key: value, or put text of several lines in quotes",
        at_start=True,
    ),
    "did not find expected ',' or ']'": _Syntax(
        "a ',' or the closing ']' is missing in the list that opens here", at_start=True
    ),
    "did not find expected ',' or '}'": _Syntax(
        "a ',' or the closing '}' is missing in the block that opens here", at_start=True
    ),
    "did not find expected alphabetic or numeric character": _NO_ANCHOR,
    "did not find expected comment or line break": _Syntax(
        "text after '|' or '>' starts on the next line", "put text that begins with '|' or '>' in quotes"
    ),
    "did not find expected node content": _Syntax(
        "a value is missing here", "put text that begins with , ] } in quotes"
    ),
    "did not find expected tag URI": _TAG,
    "did not find expected whitespace or line break": _TAG,
    "exceeded maximum nesting depth": _TOO_DEEP,
    "found undefined alias": _Syntax("an alias (*) has no anchor (&) above it", _NO_ANCHOR.hint),
    "found undefined tag handle": _TAG,
    "found unexpected ':'": _Syntax(
        "a ':' without a space after it", "write it as key: value, or put the text in quotes"
    ),
    "found unexpected document indicator": _NOT_CLOSED,
    "found unexpected end of stream": _NOT_CLOSED,
    "found unknown escape character": _Syntax(
        "unknown escape after a backslash", "use single quotes, or write two backslashes"
    ),
    "mapping keys are not allowed in this context": _Syntax("text cannot begin with '? '", "put it in quotes"),
    "second occurrence": _Syntax("an anchor (&) of this name exists already"),
}


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> ConfigProblem:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return ConfigProblem(f"this is not valid YAML: {error.problem}", Place(file, 1, 1))
    if text[mark.index : mark.index + 1] == "\t":
        return _tab(Place(file, mark.line + 1, mark.column + 1))
    syntax = _syntax(error.problem or "", before=text[mark.index - mark.column : mark.index], at=text[mark.index :][:1])
    if syntax.at_start and error.context_mark is not None:
        mark = error.context_mark
    return ConfigProblem(syntax.problem, Place(file, mark.line + 1, mark.column + 1), syntax.hint)


def _syntax(problem: str, *, before: str, at: str) -> _Syntax:
    """The words for *problem* of libyaml; *before* is its line up to the problem, *at* the character there."""
    match problem:
        case "found character that cannot start any token":
            return _Syntax(f"text cannot begin with '{at}'", "put it in quotes")
        case "mapping values are not allowed in this context" if ": " in before:
            return _Syntax("a second ':' in one value", "put the text after the first ':' in quotes")
        case "mapping values are not allowed in this context":
            return _Syntax(
                "a ':' is not allowed here", "check the indentation, and that the line above has ': ' after its key"
            )
        case (
            "did not find expected key"
            | "did not find expected '-' indicator"
            | "did not find expected <document start>"
        ):
            return _LEFT_OVER if before.strip() else _INDENTATION
        case _:
            return _SYNTAX.get(problem, _Syntax(f"this is not valid YAML: {problem}"))


def _tags(text: str, file: str) -> list[ConfigProblem]:
    # From the events, because a node no longer tells `!!str 5` from `5`. They take as long as the whole reading.
    if "!" not in text:
        return []
    marks = [event.start_mark for event in yaml.parse(text, Loader=_LOADER) if getattr(event, "tag", None) is not None]
    places = [Place(file, mark.line + 1, mark.column + 1) for mark in marks if mark is not None]
    return [ConfigProblem(_TAG.problem, where, _TAG.hint) for where in places]


# From nodes to values


class _Constructor:
    """Builds plain values, and remembers the place of each and what is wrong with the keys."""

    def __init__(self, file: str) -> None:
        self.values: dict[Loc, Position] = {}
        self.keys: dict[Loc, Position] = {}
        self.problems: list[ConfigProblem] = []
        self._file = file
        self._open: set[yaml.Node] = set()

    def build(self, node: yaml.Node, loc: Loc) -> object:
        self.values[loc] = _position(node)
        self._check_bounds(node, loc)
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.style else _plain_scalar(node.value)
        self._open.add(node)
        value: object
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, loc)
        else:
            value = [self.build(item, (*loc, index)) for index, item in enumerate(node.value)]
        self._open.discard(node)
        return value

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, object]:
        value: dict[str, object] = {}
        for key, item in node.value:
            if refusal := self._refusal(key, loc):
                self._refuse(key, loc, *refusal)
            else:
                self.keys[(*loc, key.value)] = _position(key)
                value[key.value] = self.build(item, (*loc, key.value))
        return value

    def _refusal(self, key: yaml.Node, parent: Loc) -> tuple[str, str] | None:
        """What is wrong with *key*, and the remedy; None if nothing is."""
        if not isinstance(key, yaml.ScalarNode):
            return "a key must be text", "put text that begins with [ or { in quotes"
        if key.value == "<<" and not key.style:
            return "a merge key (<<) is not allowed", "write the keys out"
        if not key.style and not isinstance(value := _plain_scalar(key.value), str):
            return f"a key must be text, found {_kind(value)}", "put the key in quotes"
        if first := self.keys.get((*parent, key.value)):
            return f"the key '{key.value}' is already on line {first[0]}", "keep one of them"
        return None

    def _check_bounds(self, node: yaml.Node, loc: Loc) -> None:
        if node in self._open:
            self._refuse(node, loc, "an alias (*) stands inside the anchor (&) it repeats", "write the values out")
        elif len(self.values) > MAX_VALUES:
            self._refuse(node, loc, f"more than {MAX_VALUES:,} values, each use of an alias (*) counted", "use fewer")
        elif len(loc) > MAX_DEPTH:
            self._refuse(node, loc, _TOO_DEEP.problem, _TOO_DEEP.hint)
        else:
            return
        raise ConfigError(self.problems)

    def _refuse(self, node: yaml.Node, loc: Loc, problem: str, hint: str) -> None:
        self.problems.append(ConfigProblem(problem, _place(self._file, _position(node), loc), hint))


def _position(node: yaml.Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# Bounded, because int() refuses thousands of digits; what is longer is somebody's id and stays text.
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what libyaml counts as the end of a line
# What YAML 1.1 took for true and false, and what is written in quotes by mistake.
_YES, _NO = {"yes", "on", "y", "true"}, {"no", "off", "n", "false"}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*|(\.[0-9]*)?[eE][-+]?[0-9]+))")


def _plain_scalar(text: str) -> str | int | float | None:
    """The value of *text* without quotes. `.nan` and `.inf` stay text: no setting has a use for them."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


# What pydantic found

_TEXT, _NUMBER, _LIST, _BLOCK = "text", "a number", "a list", "a block of key: value lines"
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": _BLOCK,
    "enum": "{expected}",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": _LIST,
    "literal_error": "{expected}",
    "mapping_type": _BLOCK,
    "model_attributes_type": _BLOCK,
    "model_type": _BLOCK,
    "none_required": "nothing",
    "string_type": _TEXT,
    "tuple_type": _LIST,
}
_SENTENCES = {
    "assertion_error": "{error}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "missing": "'{name}' is missing",
    "string_pattern_mismatch": "must have the form {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "too many entries: {max_length} or fewer wanted, found {actual_length}",
    "too_short": "too few entries: {min_length} or more wanted, found {actual_length}",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
    "value_error": "{error}",
}


@dataclass(frozen=True, eq=False)
class _Mistake:
    """One error of pydantic. Either *expected* names the type that was wanted, or *sentence* says all."""

    kind: str
    loc: Loc  # as far as it is in the file
    name: str  # the last part of pydantic's own loc
    found: object
    expected: str
    sentence: str
    hint: str

    @classmethod
    def of(cls, error: ErrorDetails, document: Document, base: Loc) -> _Mistake:
        kind, parts = error["type"], (*base, *error["loc"])
        details = {"name": parts[-1] if parts else "", "expected_tags": "", "tag": ""} | error.get("ctx", {})
        message = error["msg"].replace("Input should", "the value should")
        return cls(
            kind=kind,
            loc=document.loc_in_file(parts[:-1] if kind == "missing" else parts),
            name=str(details["name"]),
            found=error["input"],
            expected=_EXPECTED.get(kind, "").format(**details),
            sentence=_SENTENCES[kind].format(**details) if kind in _SENTENCES else message,
            hint=_did_you_mean(str(details["tag"]), _quoted(str(details["expected_tags"]))),
        )

    @property
    def is_vague(self) -> bool:
        return bool(self.expected) or self.kind == "too_short"

    def place(self, document: Document) -> Place:
        is_about_a_key = self.kind in ("missing", "extra_forbidden") or self.name == "[key]"
        return document.key_place(self.loc) if is_about_a_key else document.place(self.loc)


def _problems(
    mistakes: Sequence[_Mistake], document: Document, model: type[BaseModel], base: Loc
) -> list[ConfigProblem]:
    """Each mistake once: a misspelt key is not also missing, and the members of a union complain as one."""
    allowed = {m: _keys_allowed(model, m.loc[len(base) : -1]) for m in mistakes if m.kind == "extra_forbidden"}
    misspelt = {(*m.loc[:-1], meant) for m, keys in allowed.items() for meant in _closest(m.name, keys)}
    problems = [_unknown_key(m, keys, document) for m, keys in allowed.items()]
    wrong_types: defaultdict[Loc, list[_Mistake]] = defaultdict(list)
    for mistake in _without_echoes(mistakes):
        if mistake.expected:
            wrong_types[mistake.loc].append(mistake)
        elif mistake not in allowed and (*mistake.loc, mistake.name) not in misspelt:
            problems.append(ConfigProblem(mistake.sentence, mistake.place(document), mistake.hint))
    problems += [_wrong_type(members, document) for members in wrong_types.values()]
    return list(dict.fromkeys(problems))


def _without_echoes(mistakes: Sequence[_Mistake]) -> list[_Mistake]:
    """*mistakes* without the vague ones at a place where another goes deeper or says more.

    That other tells which member of a union was meant; and pydantic does not count entries with mistakes of their own.
    """
    explained = {m.loc[:depth] for m in mistakes for depth in range(len(m.loc))}
    explained |= {m.loc for m in mistakes if not m.is_vague}
    return [m for m in mistakes if not m.is_vague or m.loc not in explained]


def _unknown_key(mistake: _Mistake, allowed: Sequence[str], document: Document) -> ConfigProblem:
    hint = _did_you_mean(mistake.name, allowed) or f"allowed here: {', '.join(allowed)}"
    return ConfigProblem(f"unknown key '{mistake.name}'", mistake.place(document), hint)


def _wrong_type(members: Sequence[_Mistake], document: Document) -> ConfigProblem:
    expected, found = " or ".join(dict.fromkeys(m.expected for m in members)), members[0].found
    choices, what, hint = _quoted(expected), _kind(found), ""
    if isinstance(found, str) and choices:
        what, hint = "something else", _did_you_mean(found, choices)
    elif what == _NUMBER and _TEXT in expected:
        hint = "put it in quotes"
    elif expected == "true or false" and isinstance(found, str) and found.lower() in _YES | _NO:
        hint = f"write {str(found.lower() in _YES).lower()}, without quotes"
    return ConfigProblem(f"expected {expected}, found {what}", members[0].place(document), hint)


def _kind(value: object) -> str:
    """What *value* is, in the words of the file. Never the value: it may be a secret in the wrong place."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _NUMBER
        case str():
            return _TEXT
        case list():
            return _LIST
        case _:
            return _BLOCK


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _closest(word: str, choices: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, choices, n=1)


def _did_you_mean(word: str, choices: Sequence[str]) -> str:
    return "".join(f"did you mean '{choice}'?" for choice in _closest(word, choices))


def _keys_allowed(model: type[BaseModel], loc: Loc) -> list[str]:
    return list(dict.fromkeys(name for found in _models_at(model, loc) for name, _ in _fields(found)))


def _models_at(kind: object, loc: Loc) -> Iterator[type[BaseModel]]:
    """Every model that the annotation *kind* allows at *loc*."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not loc:
            yield kind
        for name, annotation in _fields(kind):
            if loc[:1] == (name,):
                yield from _models_at(annotation, loc[1:])
    elif get_origin(kind) in (Annotated, Union, UnionType):
        for member in get_args(kind):
            yield from _models_at(member, loc)
    elif loc:
        for item in get_args(kind):
            yield from _models_at(item, loc[1:])


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, object]]:
    """The keys of *model* as they are written in the file, with their annotations."""
    for name, info in model.model_fields.items():
        yield info.alias or name, info.annotation
