"""A message as Slack shows it: one that grows over the life of a call, within Slack's limits.

On top stands how the thing is now, then what became known later, the links, and the way there. All text is mrkdwn with
its entities escaped. Each text object is `verbatim`, so that a caller named `@channel` pings nobody either: Slack then
reads only what stands in `<>`, and only we write that (documented).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import takewhile
from typing import Any

from routers import escapes
from routers.filters import link
from routers.messages import LINK_LABELS, Chapter, Message
from routers.sandbox import without_half_an_entity
from routers.transitions import Transition

Block = dict[str, Any]

# Slack takes 50 blocks, 3,000 characters in a section (documented) and near 13,200 in all (observed, bolt-js 2509).
MAX_SECTION = 3_000
MAX_ADDED = 5_000  # all that was added later, together
MAX_ADDITIONS = 10
_MAX_TITLE = 250
_MAX_FALLBACK = 300
_MAX_STEPS = 10
_MAX_LINKS = 3

# What is told of a thing that has been told of already. The others say how it is.
ADDITIONS = frozenset(
    {
        Transition.CALL_RECORDING_READY,
        Transition.CALL_TRANSCRIPT_READY,
        Transition.CALL_CHANGED,
        Transition.CALL_SPAM,
        Transition.OUTBOUND_CHANGED,
    }
)
_OUTCOMES = frozenset(
    {Transition.CALL_ANSWERED, Transition.CALL_MISSED, Transition.CALL_ABANDONED, Transition.CALL_VOICEMAIL}
)
_ONLY_A_LINK = re.compile(r"https?://[^\s<>|]+")


@dataclass(frozen=True, slots=True)
class Composed:
    """A message for Slack: *text* is for notifications and screen readers, *blocks* for the eye."""

    text: str
    blocks: list[Block]


def compose(message: Message, *, whole: bool = True) -> Composed:
    """*message* for Slack: the *whole* story in one, or only its last chapter and the way there."""
    chapters = message.chapters if whole else message.chapters[-1:]
    head = next((each for each in reversed(chapters) if each.transition not in ADDITIONS), chapters[-1])
    is_struck = message.is_spam and head.transition is not Transition.CALL_SPAM
    links = _links(message.links)
    page = _Page(links.values())
    title, lines = page.read(head)
    blocks = [_section([_struck(title) if is_struck else _bold(title), *lines], MAX_SECTION)]
    if was := _was(head, message.chapters):
        blocks.append(_context(f"Before: ~{_cut(was, _MAX_TITLE)}~"))
    added = [each for each in chapters if each.transition in ADDITIONS and each is not head]
    blocks += _additions([page.read(each) for each in added])
    if links:
        blocks.append(_section([" · ".join(f"<{url}|{label}>" for label, url in links.items())], MAX_SECTION))
    if len(message.chapters) > 1:
        blocks.append(_context(_way(message.chapters)))
    if message.may_repeat:
        blocks.append(_context("May repeat: an earlier try got no answer."))
    if message.is_replayed:
        blocks.append(_context(f"Replayed · happened {_moment(message)}"))
    fallback = " · ".join([title, *lines[:1]])
    return Composed(_cut(f"Spam: {fallback}" if is_struck else fallback, _MAX_FALLBACK), blocks)


class _Page:
    """Reads chapters and leaves out lines that the page has already: who called stands in each of them."""

    def __init__(self, shown: Iterable[str]) -> None:
        self._shown = set(shown)

    def read(self, chapter: Chapter) -> tuple[str, list[str]]:
        text = chapter.write(escapes.slack)
        lines = [line for line in dict.fromkeys(text.lines) if line not in self._shown]
        self._shown.update(lines)
        return _cut(text.title.strip() or chapter.transition.value, _MAX_TITLE), lines


def _was(head: Chapter, chapters: Sequence[Chapter]) -> str:
    """What a call was thought to be that was corrected: the title of the outcome told last before; else empty.

    The right outcome may stand on top, because the rule tells of it too.
    """
    till_now = [*takewhile(lambda each: each is not head, chapters), head]
    corrected = [n for n, each in enumerate(till_now) if each.transition is Transition.CALL_CORRECTED]
    earlier = [each for each in till_now[: corrected[-1]] if each.transition in _OUTCOMES] if corrected else []
    return _plain_print(earlier[-1].write(escapes.slack).title) if earlier else ""


def _additions(read: Sequence[tuple[str, list[str]]]) -> list[Block]:
    """A section for each, as far as there is room; the newest go first into it, and what is left out is said."""
    sections: list[Block] = []
    room = MAX_ADDED
    for title, lines in reversed(read[-MAX_ADDITIONS:]):
        if room < 2 * _MAX_TITLE:
            break
        section = _section([_bold(title), *lines], min(room, MAX_SECTION))
        room -= len(section["text"]["text"])
        sections.append(section)
    left_out = [_context("… earlier news is left out here")] if len(sections) < len(read) else []
    return [*left_out, *reversed(sections)]


def _links(links: Mapping[str, str]) -> dict[str, str]:
    """The links that may be shown to all, escaped, by what they say."""
    shown = {LINK_LABELS.get(name, escapes.slack(name.replace("_", " "))): link(url) for name, url in links.items()}
    usable = {label: escapes.slack(url).replace("|", "%7C") for label, url in shown.items() if url}
    return dict(list(usable.items())[:_MAX_LINKS])


def _way(chapters: Sequence[Chapter]) -> str:
    """The way of the thing, as `ringing 13:15 → missed 13:16`; times in the reader's own zone."""
    steps = [f"{_label(each.transition)} {_time(each)}" for each in chapters[-_MAX_STEPS:]]
    return " → ".join(["…", *steps] if len(chapters) > _MAX_STEPS else steps)


def _label(transition: Transition) -> str:
    return transition.value.partition(".")[2].replace("_", " ")


def _moment(message: Message) -> str:
    moment = message.occurred_at.astimezone(UTC)
    written = f"{moment:%a %d %b %H:%M} UTC"
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time}}|{written}>"


def _time(chapter: Chapter) -> str:
    moment = chapter.occurred_at.astimezone(UTC)
    return f"<!date^{int(moment.timestamp())}^{{time}}|{moment:%H:%M} UTC>"


# --- mrkdwn ----------------------------------------------------------------------------------------------------------


# What would end the bold or struck print that a title stands in: the operators that look like them instead.
_LOOKALIKES = str.maketrans({"*": "\u2217", "~": "\u223c"})


def _plain_print(title: str) -> str:
    return title.translate(_LOOKALIKES).strip()


def _bold(title: str) -> str:
    return f"*{_plain_print(title)}*"


def _struck(title: str) -> str:
    return f"~{_bold(title)}~ *· spam*"


def _section(lines: Sequence[str], room: int) -> Block:
    return {"type": "section", "text": _mrkdwn("\n".join(_fitting(lines, room)))}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_mrkdwn(text)]}


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _fitting(lines: Iterable[str], room: int) -> list[str]:
    """*lines* in at most *room* characters with a break behind each. What is cut ends in an ellipsis."""
    fitting: list[str] = []
    room -= 2
    for line in lines:
        is_link = _ONLY_A_LINK.fullmatch(line) is not None
        written = f"<{line}>" if is_link else line
        if len(written) >= room:
            fitting.append("…" if is_link else _cut(line, room))
            break
        fitting.append(written)
        room -= len(written) + 1
    return fitting


def _cut(text: str, room: int) -> str:
    """*text* in at most *room* characters, never cut inside of `&amp;` or of what stands in `<>`."""
    if len(text) <= room:
        return text
    kept = without_half_an_entity(text[: max(room - 1, 0)])
    before, _, opened = kept.rpartition("<")
    return (kept if ">" in opened or "<" not in kept else before) + "…"
