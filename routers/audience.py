"""Who is told by a sink."""

from __future__ import annotations

from enum import StrEnum


class Audience(StrEnum):
    """Who is at the other end. People are told soon or not at all; systems are told in the end."""

    PEOPLE = "people"
    SYSTEMS = "systems"
