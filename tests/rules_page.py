"""Reads docs/rules.md: its examples, and what it says of them.

An example is a block of YAML. One that begins with the comment `# NAME.yaml` is a further file of the example before;
one that begins with `# wrong` holds mistakes. Tables with the columns When, Is told and Then, and `console` blocks,
belong to the example before them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).parent.parent / "docs" / "rules.md"

_BLOCK = re.compile(
    r"^```(\w*)\n([\s\S]*?)^```$|^## (.+)$|^\| `([\w.]+)` \| `(.*?)` \| (.+) \|$",
    re.MULTILINE,
)
_SAID = re.compile(
    r"(?:`(?P<rule>[\w-]+)` )?(?:(?P<fires>fires)(?:, tells (?P<sinks>`.+`))?|silent, `(?P<reason>[^`]+)`)"
)


@dataclass(frozen=True)
class Said:
    """What the page says of one rule: the reason that keeps it silent, None if it fires, and the sinks it tells."""

    rule: str | None
    reason: str | None
    sinks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One line of a table: what happens, what is told of it, and what each rule makes of it."""

    when: str
    told: dict[str, Any]
    said: tuple[Said, ...]


@dataclass
class Example:
    """An example under *heading*, and all that the page says of it. *consoles* are commands and what they print."""

    heading: str
    files: dict[str, str]
    is_wrong: bool = False
    rows: list[Row] = field(default_factory=list)
    consoles: list[tuple[str, str]] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Write the files into *folder*, with a company and the sinks that they do not show; the main one's path."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + (self._surroundings() if name == "router.yaml" else ""))
        return folder / "router.yaml"

    def _surroundings(self) -> str:
        """Blocks that stand below the example, so that its lines keep their numbers."""
        files = [yaml.safe_load(text) for text in self.files.values()]
        companies = {name: block for file in files for name, block in file.get("companies", {}).items()}
        roles = {role: sink for block in companies.values() for role, sink in block.items() if role in _ROLES}
        to = {send["to"] for file in files for rule in file["rules"] for send in rule.get("send", ())}
        to |= {name for file in files for name in file.get("unmatched", {}).values()}
        sinks = {*to - roles.keys(), *filter(None, roles.values())} - {
            name for file in files for name in file.get("sinks", {})
        }
        added: dict[str, Any] = {}
        if not companies:
            added["companies"] = {"acme-plumbing": {"signing_keys": ["env:ACME_KEY"]}}
        if sinks:
            added["sinks"] = {name: {"type": "stdout"} for name in sorted(sinks)}
        return yaml.safe_dump(added) if added else ""


_ROLES = {"alerts", "records"}


def examples() -> list[Example]:
    """Every example of the page, in its order."""
    found: list[Example] = []
    heading = ""
    for language, text, title, when, told, then in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if title:
            heading = title
        elif when:
            found[-1].rows.append(Row(when, yaml.safe_load(_braced(told)), _said(then)))
        elif language == "console":
            command, _, printed = text.partition("\n")
            found[-1].consoles.append((command.removeprefix("$ callrail-router "), printed))
        elif language == "yaml":
            named = re.match(r"# (\S+\.yaml)\n", text)
            if named and named[1] != "router.yaml":
                found[-1].files[named[1]] = text
            else:
                found.append(Example(heading, {"router.yaml": text}, text.startswith("# wrong\n")))
    return found


def _braced(told: str) -> str:
    return told if told.startswith("{") else f"{{{told}}}"


def _said(then: str) -> tuple[Said, ...]:
    said = []
    for part in then.split("; "):
        match = _SAID.fullmatch(part)
        assert match, f"cannot read '{part}' in docs/rules.md"
        sinks = tuple(re.findall(r"`([\w-]+)`", match["sinks"] or ""))
        said.append(Said(match["rule"], None if match["fires"] else match["reason"], sinks))
    return tuple(said)
