"""How CallRail writes what it posts: bodies as JSON or as a form, times, telephone numbers, links."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

Body = dict[str, object]

ZONE = "America/New_York"
ACCOUNT = 700200300
COMPANY_NUMBER = 700200399  # webhooks still carry a number beside the COM id (observed until 2026)

# What Rails escapes in JSON, so that it can stand in a web page.
_RAILS_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "&<>\u2028\u2029"})
_TRUTHS = {True: "true", False: "false", None: ""}


def to_wire(body: Mapping[str, object]) -> bytes:
    """*body* in the very bytes a Rails application writes: compact, UTF-8 unescaped, but `&`, `<` and `>` escaped."""
    compact = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return compact.translate(_RAILS_ESCAPES).encode()


def to_form(body: Mapping[str, object]) -> bytes:
    """*body* as a form, so that every value is text (observed of calls in 2026).

    Lists and objects are left out: how CallRail would write them is not known.
    """
    flat = {name: value for name, value in body.items() if not isinstance(value, dict | list)}
    texts = {
        name: _TRUTHS[value] if value is None or isinstance(value, bool) else value for name, value in flat.items()
    }
    return urlencode(texts).encode()


def local(at: datetime) -> str:
    """*at* in the company's zone, to the millisecond and with its offset."""
    return at.astimezone(ZoneInfo(ZONE)).isoformat(timespec="milliseconds")


def dashed(number: str) -> str:
    """*number*, E.164 of the USA, as 404-555-0100; what is no such number stays as it is."""
    return re.sub(r"\+1(\d{3})(\d{3})(\d{4})", r"\1-\2-\3", number)


def timeline_url(person_id: str, event_id: str, event_type: str) -> str:
    """The page of CallRail that shows all a person did."""
    page = f"https://app.callrail.com/analytics/a/{ACCOUNT}/events/{person_id}"
    return f"{page}?event_id={event_id}&event_type={event_type}"
