"""What a file holds, by its first bytes: what it is called or told to be proves nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD = 4_096  # bytes that are looked at
# Told of anything at all, so it tells nothing.
TELLS_NOTHING = ("", "application/octet-stream", "binary/octet-stream")


@dataclass(frozen=True, slots=True)
class Sort:
    """A sort of file: its *type*, like audio/mpeg, and the *suffix* that its name gets."""

    type: str
    suffix: str


# In this order; what MMS and recordings are made of, after 3GPP TS 26.140 and CallRail's MP3.
_BY_HEAD: tuple[tuple[re.Pattern[bytes], Sort], ...] = tuple(
    (re.compile(begin, re.DOTALL), Sort(type_, suffix))
    for begin, type_, suffix in (
        (rb"ID3", "audio/mpeg", ".mp3"),
        (rb"\xff[\xf0-\xf1\xf8-\xf9]", "audio/aac", ".aac"),
        (rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg", ".mp3"),  # a frame of layer III, without a tag before it
        (rb"RIFF....WAVE", "audio/wav", ".wav"),
        (rb"RIFF....WEBP", "image/webp", ".webp"),
        (rb"OggS", "audio/ogg", ".ogg"),
        (rb"fLaC", "audio/flac", ".flac"),
        (rb"#!AMR", "audio/amr", ".amr"),
        (rb"....ftypM4A", "audio/mp4", ".m4a"),
        (rb"....ftyp(?:heic|heix|mif1|msf1)", "image/heic", ".heic"),
        (rb"....ftyp3g", "video/3gpp", ".3gp"),
        (rb"....ftypqt", "video/quicktime", ".mov"),
        (rb"....ftyp", "video/mp4", ".mp4"),
        (rb"\x1aE\xdf\xa3", "video/webm", ".webm"),
        (rb"\x89PNG\r\n\x1a\n", "image/png", ".png"),
        (rb"\xff\xd8\xff", "image/jpeg", ".jpg"),
        (rb"GIF8[79]a", "image/gif", ".gif"),
        (rb"%PDF-", "application/pdf", ".pdf"),
        (rb"BEGIN:VCARD", "text/vcard", ".vcf"),
    )
)


SORTS = tuple(sort for _, sort in _BY_HEAD)


def sort_of(head: bytes) -> Sort | None:
    """The sort of a file that begins with *head*; None where it is none that we know."""
    return next((sort for begin, sort in _BY_HEAD if begin.match(head)), None)


# What servers call the same.
_SAME = {
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/x-m4a": "audio/mp4",
    "image/jpg": "image/jpeg",
}


def told_type(header: str) -> str:
    """The type that a Content-Type *header* tells, in its usual name and without what stands behind it."""
    told = header.partition(";")[0].strip().lower()
    return _SAME.get(told, told)
