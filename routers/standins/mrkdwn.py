"""Slack's mrkdwn as a person sees it: which words are bold, struck out or a link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from routers.escapes import plain


@dataclass(frozen=True, slots=True)
class Run:
    """Words that look alike. They hold nothing that could steer a terminal; *link* is where they lead, or empty."""

    text: str
    is_bold: bool = False
    is_struck: bool = False
    link: str = ""


# A mark stands at the edge of words and closes on its line; in `<>` are links, and dates with a text to show instead.
_MARKED = re.compile(r"(?<!\w)([*~])(?=\S)([^\n]+?)(?<=\S)\1(?!\w)|<([^<>|]+)(?:\|([^<>]*))?>")
_TIME = re.compile(r"!date\^(\d{1,10})\^\{time\}")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def read_mrkdwn(line: str, style: Run = Run("")) -> Iterator[Run]:
    """*line* as it is shown, where *style* is what stands around it."""
    end = 0
    for found in _MARKED.finditer(line):
        yield from _words(line[end : found.start()], style)
        end = found.end()
        mark, inside, target, label = found.groups()
        if mark == "*":
            yield from read_mrkdwn(inside, replace(style, is_bold=True))
        elif mark == "~":
            yield from read_mrkdwn(inside, replace(style, is_struck=True))
        else:
            link = "" if target.startswith("!") else _read(target)
            yield from _words(_time(target) or label or target, replace(style, link=link))
    yield from _words(line[end:], style)


def _time(target: str) -> str:
    """The time of day that `!date^1773148502^{time}` asks for, in the reader's own zone; empty for anything else."""
    found = _TIME.fullmatch(target)
    return f"{datetime.fromtimestamp(int(found[1]), UTC).astimezone():%H:%M}" if found else ""


def _words(text: str, style: Run) -> Iterator[Run]:
    if text:
        yield replace(style, text=_read(text))


def _read(text: str) -> str:
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return plain(text)
