"""Messages on the terminal as people would see them in Slack, in their mail and at HubSpot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from routers.escapes import plain
from routers.standins.hubspot import Card
from routers.standins.mailbox import Mail
from routers.standins.mrkdwn import Run, read_mrkdwn
from routers.standins.slack import Line, Post

if TYPE_CHECKING:
    from rich.text import Text

_FIRST_LINES = 9  # of a mail
_WIDTH = 120  # of a line of it: most of what is longer is a link


class Screen:
    """Prints to *out*. Where that is no terminal there are no links, and tildes stand around what is struck out."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console

        # What is told is no markup: neither "[bold]" nor ":smile:" of a caller's is anything but text.
        self._console = Console(file=out, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def posted(self, post: Post) -> None:
        """Show a message in Slack. Of one that is edited, the title it had is struck, and new lines have a plus."""
        was = post.was or ()
        what = "edited" if was else "in a thread" if post.answers is not None else ""
        self._head("Slack", "magenta", f"#{plain(post.channel)}", what)
        if post.answers is not None:
            self._line("↳ ", *self._read(Line(post.answers, is_quiet=True)))
        if was and was[0] != post.lines[0]:
            self._line("- ", *self._runs((Run(_bare(was[0]), is_struck=True),), "red"))
        for line in post.lines:
            self._line("+ " if was and line not in was else "  ", *self._read(line))
        self._console.print()

    def mailed(self, mail: Mail) -> None:
        """Show a mail: its head, and its first lines."""
        self._head("Mail", "cyan", f"from {plain(mail.sender)} to {plain(mail.recipients)}")
        if mail.thread is not None:
            self._line("↳ ", *self._runs((Run(f"in the thread of: {plain(mail.thread)}"),), "dim"))
        self._line("  ", *self._runs((Run(f"Subject: {plain(mail.subject)}", is_bold=True),)))
        told = [line for line in mail.lines if line.strip()]
        for line in told[:_FIRST_LINES]:
            self._line("  ", *self._runs((Run(_cut(plain(line))),)))
        if len(told) > _FIRST_LINES:
            self._line("  ", *self._runs((Run("…"),), "dim"))
        self._console.print()

    def logged(self, card: Card) -> None:
        """Show a contact at HubSpot, with its calls, texts and forms."""
        self._head("HubSpot", "yellow", f"{plain(card.name)} {plain(card.phone)}", card.what)
        for entry in card.entries:
            self._line("  ", *self._runs((Run(f"{entry.at:%d %b %H:%M} UTC  {plain(entry.title)}"),)))
        self._console.print()

    def _head(self, kind: str, color: str, where: str, what: str = "") -> None:
        from rich.text import Text

        mark = Text.assemble(("● ", color), (kind, f"bold {color}"), " ", (where, color))
        self._console.print(mark.append(f"  ({what})", "bold yellow") if what else mark)

    def _line(self, mark: str, *parts: Text) -> None:
        from rich.text import Text

        styles = {"+ ": "green", "- ": "red"}
        self._console.print(Text.assemble((mark, styles.get(mark, "dim")), *parts))

    def _read(self, line: Line) -> Iterable[Text]:
        return self._runs(read_mrkdwn(line.text), "dim" if line.is_quiet else "")

    def _runs(self, runs: Iterable[Run], style: str = "") -> Iterable[Text]:
        from rich.text import Text

        is_terminal = self._console.is_terminal
        for run in runs:
            shown = Text(f"~{run.text}~" if run.is_struck and not is_terminal else run.text, style)
            shown.stylize("bold" if run.is_bold else "")
            shown.stylize("strike" if run.is_struck else "")
            if run.link:
                shown.stylize(f"underline link {run.link}")
            yield shown


def _bare(line: Line) -> str:
    return "".join(run.text for run in read_mrkdwn(line.text))


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
