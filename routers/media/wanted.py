"""Which files there are to a call or a text. Pure.

What is asked for is named by a path of the API's, never by the link that a webhook tells: such a link may hold an
access key, and does not last. The link of a text's media is of another host, which refuses the API key; the same
path at the API's takes it (observed).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from routers.lifecycle import Stage


class MediaKind(StrEnum):
    """What a file is: what was said in a call, or what came with a text."""

    RECORDING = "recording"
    ATTACHMENT = "attachment"


class Wanted(NamedTuple):
    """A file of CallRail's. *source* is its path below the account; *problem* says why it cannot be asked for."""

    kind: MediaKind
    source: str
    problem: str | None = None


# How the paths begin that can be asked for; others stand for what cannot.
ASKED_FOR = ("calls/", "text-messages/")
# The most that a message holds is not documented; carriers let ten through.
MOST_OF_A_TEXT = 20
_ID = re.compile(r"[\w-]+", re.ASCII)
_MEDIA = re.compile(rf"/(?:text-)?messages/({_ID.pattern})/media/(\d{{1,4}})", re.ASCII)
_UNKNOWN_ID = "refused: CallRail's id of the call is none that can be asked for"
_UNKNOWN_LINK = "refused: its link is none that CallRail is known to tell"


def wanted_of(type_: str, callrail_id: str, stage: Stage, fields: Mapping[str, Any]) -> Iterator[Wanted]:
    """The files of an object of *type_*, as far as its *fields* tell of them.

    A call tells of its recording by a link, if only once CallRail has one; a call that goes on has none.
    """
    if type_ == "call" and stage is Stage.ENDED and fields.get("recording"):
        if _ID.fullmatch(callrail_id):
            yield Wanted(MediaKind.RECORDING, f"calls/{callrail_id}/recording.json")
        else:
            yield Wanted(MediaKind.RECORDING, "recording", _UNKNOWN_ID)
    if type_ == "text" and isinstance(links := fields.get("media_urls"), list):
        for position, link in enumerate(links[:MOST_OF_A_TEXT]):
            yield _attachment(position, link)


def _attachment(position: int, link: object) -> Wanted:
    try:
        found = _MEDIA.search(urlsplit(link).path) if isinstance(link, str) else None
    except ValueError:  # brackets that hold no address
        found = None
    if found is None:
        return Wanted(MediaKind.ATTACHMENT, f"media/{position}", _UNKNOWN_LINK)
    return Wanted(MediaKind.ATTACHMENT, f"text-messages/{found[1]}/media/{found[2]}")
