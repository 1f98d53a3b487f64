"""Where files lie: another host than the API's, which takes a signature and no key.

The other host is this machine under its other name, so that a client which mixes hosts up is found out here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request as HttpRequest

from routers.fake_callrail.asking import Refused, Told, not_found
from routers.fake_callrail.call_fields import access_key

# A picture of one pixel, and the head of an MP3 with some silence.
_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" + bytes(413)


@dataclass(frozen=True)
class File:
    """What is stored, and as what it is told."""

    content: bytes
    media_type: str


_CONTENTS = {"png": File(_PNG, "image/png"), "mp3": File(_MP3, "audio/mpeg")}
_PLAYER = re.compile(r"/calls/([^/]+)/recording/redirect")
_PLACES = ("/calls/", "/storage/")
_FILE = re.compile(r"/storage/([A-Z]{3}[0-9a-f]+)(?:-\d+)?\.(mp3|png)")


def elsewhere(origin: str) -> str:
    """The same server under the other name of this machine."""
    return (
        origin.replace("127.0.0.1", "localhost") if "127.0.0.1" in origin else origin.replace("localhost", "127.0.0.1")
    )


def stored(http: HttpRequest, files: Mapping[str, File]) -> Told | None:
    """The answer where no API is asked: a recording's address, or a file. None for all else.

    Args:
        files: By the id of a call or a text, what is stored for it instead of the usual.

    Raises:
        Refused: The address has no valid signature, or the API key was sent along.
    """
    path = http.url.path
    if path.startswith(_PLACES) and "authorization" in http.headers:
        raise Refused(400, "the API key was sent to a store that must not see it")
    if player := _PLAYER.fullmatch(path):
        _check(http.query_params.get("access_key"), player[1])
        origin = f"{http.url.scheme}://{http.url.netloc}"
        place = f"{origin}/storage/{player[1]}.mp3?signature={access_key(player[1])}"
        return Told(302, headers={"location": place})
    if file := _FILE.fullmatch(path):
        _check(http.query_params.get("signature"), file[1])
        found = files.get(file[1], _CONTENTS[file[2]])
        return Told(200, content=found.content, media_type=found.media_type)
    return None


def _check(signature: str | None, of: str) -> None:
    if signature != access_key(of):
        raise not_found()
