"""How a value is written into a destination's text, so that it can be nothing there but text.

What callers, websites and models tell is escaped; what the template's author wrote is not.
"""

from __future__ import annotations

import html as _html
import re
from collections.abc import Callable

Escape = Callable[[str], str]

# Line breaks too: a name must not begin a line of its own.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Overrides and embeddings turn around what stands after them. The marks U+200E and U+200F stay: real names hold them.
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """*text* on one line, without control characters and direction overrides. Right-to-left text stays as it is."""
    if text.isprintable():
        return text
    return _SURROGATES.sub("\ufffd", _TURNS.sub("", _CONTROLS.sub(" ", text)))


def html(text: str) -> str:
    """*text* for HTML, also inside a quoted attribute."""
    return _html.escape(plain(text))


_MARKS = re.compile(r"[\\`*_\[\]~|<>]")


def markdown(text: str) -> str:
    """*text* for Markdown as Discord, Teams and Mattermost read it: neither emphasis nor a link with another face."""
    return _MARKS.sub(r"\\\g<0>", plain(text))


def slack(text: str) -> str:
    """*text* for Slack's mrkdwn: a caller named `<!channel>` pings nobody, and no link can be made."""
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
