"""A file is what its first bytes say, whatever it is told to be."""

from __future__ import annotations

import pytest

from routers.media.content import sort_of, told_type


@pytest.mark.parametrize(
    ("head", "type_"),
    [
        (b"ID3\x04\x00", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf3\x90\x00", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"#!AMR\n", "audio/amr"),
        (b"\x00\x00\x00\x20ftypM4A \x00", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypmp42", "video/mp4"),
        (b"\x00\x00\x00\x18ftyp3gp4", "video/3gpp"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, type_: str) -> None:
    found = sort_of(head)
    assert found is not None
    assert found.type == type_


@pytest.mark.parametrize("head", [b"", b"<html>", b"{}", b"MZ\x90", b"#!/bin/sh", b"\xff\xfe<\x00h\x00", b"\x7fELF"])
def test_what_is_neither_sound_nor_picture_is_nothing(head: bytes) -> None:
    assert sort_of(head) is None


@pytest.mark.parametrize("header", ["audio/mpeg", "Audio/MPEG; charset=binary", " audio/mp3 "])
def test_a_type_is_told_in_several_ways(header: str) -> None:
    assert told_type(header) == "audio/mpeg"
