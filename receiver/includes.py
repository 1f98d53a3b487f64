"""`include:` of router.yaml: several files read as one, each value with its place in the file it stands in."""

from __future__ import annotations

import glob
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from receiver.exceptions import ConfigError, ConfigProblem
from receiver.positioned_yaml import Document, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from receiver.exceptions import Place
    from receiver.positioned_yaml import Loc

# Blocks of named things, and lists. Whatever else concerns the whole installation and stands in the main file.
_BLOCKS = ("companies", "hours", "sinks", "templates")
_LISTS = ("rules",)
MAX_FILES = 500


@dataclass(frozen=True)
class Joined(Document):
    """A document and those it includes. Its *file* and *text* are those of the first."""

    parts: Sequence[Document] = ()
    _owners: Mapping[tuple[str, str], Document] = field(default_factory=dict, repr=False)
    _lists: Mapping[str, Sequence[Document]] = field(default_factory=dict, repr=False)

    def place(self, loc: Loc) -> Place:
        part, own = self._own(loc)
        return Document.place(part, own)

    def key_place(self, loc: Loc) -> Place:
        part, own = self._own(loc)
        return Document.key_place(part, own)

    def has(self, loc: Loc) -> bool:
        part, own = self._own(loc)
        return Document.has(part, own)

    def character(self, loc: Loc) -> str:
        part, own = self._own(loc)
        return Document.character(part, own)

    def _own(self, loc: Loc) -> tuple[Document, Loc]:
        """The document in which *loc* stands, and where in that."""
        if len(loc) < 2:
            return self.parts[0], loc
        block, name, *rest = loc
        if isinstance(name, str):
            return self._owners.get((str(block), name), self.parts[0]), loc
        position = name
        for part in self._lists.get(str(block), ()):
            if position < (count := len(_items(part, str(block)))):
                return part, (block, position, *rest)
            position -= count
        return self.parts[0], loc


def read_with_includes(path: Path) -> Document:
    """The document in *path*, joined with the files its `include:` names.

    Raises:
        ConfigError: A file cannot be read, includes others, holds what only the main file may, or a name stands twice.
    """
    main = read(path)
    patterns = main.value.get("include")
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        return main  # absent, or of a wrong type, which the model of the whole file refuses
    problems: list[ConfigProblem] = []
    parts = [main]
    for file in _files(main, patterns, problems):
        try:
            parts.append(read(file))
        except ConfigError as error:
            problems += error.problems
    joined = _join(parts, problems)
    if problems:
        raise ConfigError(problems)
    return joined


def text_hash(document: Document, *more: str) -> str:
    """A short name for the exact text of all files of *document*, and of *more*."""
    texts = [part.text for part in document.parts] if isinstance(document, Joined) else [document.text]
    return hashlib.sha256("\0".join([*texts, *more]).encode()).hexdigest()[:16]


def _files(main: Document, patterns: Sequence[str], problems: list[ConfigProblem]) -> list[Path]:
    folder = Path(main.file).parent
    found: dict[Path, Path] = {}
    for position, pattern in enumerate(patterns):
        where = main.place(("include", position))
        names = sorted(glob.glob(pattern, root_dir=folder))  # noqa: PTH207  (Path.glob refuses absolute paths)
        files = [folder / name for name in names if (folder / name).is_file()]
        if not files:
            problems.append(ConfigProblem(f"no file is called '{pattern}'", where, "it is relative to this file"))
        for file in files:
            if file.resolve() == Path(main.file).resolve():
                problems.append(ConfigProblem(f"'{pattern}' names this file itself", where, "include other files only"))
            else:
                found.setdefault(file.resolve(), file)
    if len(found) > MAX_FILES:
        problems.append(ConfigProblem(f"more than {MAX_FILES} files", main.place(("include",)), "include fewer"))
        return []
    return list(found.values())


def _join(parts: Sequence[Document], problems: list[ConfigProblem]) -> Document:
    main, *included = parts
    problems += [problem for part in included for problem in _misplaced(part)]
    value = dict(main.value)
    owners: dict[tuple[str, str], Document] = {}
    for block in _BLOCKS:
        holding = [part for part in parts if isinstance(part.value.get(block), dict)]
        if holding:
            value[block] = {name: item for part in holding for name, item in _named(part, block).items()}
        for part in holding:
            for name in _named(part, block):
                first = owners.setdefault((block, name), part)
                if first is not part:
                    problems.append(_twice(block, name, part, first))
    for block in _LISTS:
        if any(isinstance(part.value.get(block), list) for part in parts):
            value[block] = [item for part in parts for item in _items(part, block)]
    return Joined(
        value, main.file, main.text, main._values, main._keys, parts, owners, dict.fromkeys(_LISTS, tuple(parts))
    )


def _misplaced(part: Document) -> Iterator[ConfigProblem]:
    """What an included file may not hold."""
    for block, content in part.value.items():
        where = part.key_place((block,))
        if block == "include":
            yield ConfigProblem("an included file cannot include others", where, "name them all in the main file")
        elif block not in (*_BLOCKS, *_LISTS):
            allowed = ", ".join((*_BLOCKS, *_LISTS))
            yield ConfigProblem(f"'{block}' cannot stand in an included file", where, f"allowed here: {allowed}")
        elif not isinstance(content, list if block in _LISTS else dict):
            wanted = "a list" if block in _LISTS else "a block of key: value lines"
            yield ConfigProblem(f"expected {wanted}", part.place((block,)))
        elif block == "companies" and "defaults" in content:
            where = part.key_place((block, "defaults"))
            yield ConfigProblem("'defaults' cannot stand in an included file", where, "write it in the main file")


def _twice(block: str, name: str, part: Document, first: Document) -> ConfigProblem:
    there = first.key_place((block, name))
    what = f"'{name}' stands under {block} already: {there.file}:{there.line}:{there.column}"
    return ConfigProblem(what, part.key_place((block, name)), "keep one of them")


def _named(part: Document, block: str) -> Mapping[str, object]:
    found = part.value.get(block)
    return found if isinstance(found, dict) else {}


def _items(part: Document, block: str) -> Sequence[object]:
    found = part.value.get(block)
    return found if isinstance(found, list) else ()
