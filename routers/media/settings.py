"""How an account's media are kept: the block `fetch_media`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from routers.durations import Duration, at_least_a_day
from routers.media.content import SORTS, told_type
from routers.sizes import Size

DEFAULT_FOLDER = "callrail-router-media"
_TYPE = re.compile(r"[a-z]+/(\*|[a-z0-9.+-]+)")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


def _of_types(written: str) -> str:
    if not _TYPE.fullmatch(written):
        raise ValueError(f"{written!r} is no type of a file; write one like audio/mpeg, or all of a sort like audio/*")
    usual = told_type(written)
    known = sorted({sort.type for sort in SORTS})
    if not usual.endswith("/*") and usual not in known:
        raise ValueError(f"{written!r} is none that a file is known to be of; there are: {', '.join(known)}")
    return usual


def _domain(written: str) -> str:
    if not _DOMAIN.fullmatch(written):
        raise ValueError(f"{written!r} is no domain; write one like files.example.com")
    return written


def whether_or_how(written: object) -> object:
    """The block that `fetch_media` means: true is all by default, false none."""
    if isinstance(written, bool):
        return {} if written else None
    if written is None or isinstance(written, Mapping):
        return written
    raise ValueError("write true or false, or a block that says how")


class MediaConfig(BaseModel):
    """How recordings and the media of texts are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    folder: Annotated[str, Field(min_length=1)] = DEFAULT_FOLDER
    """Where the files are kept; relative to the working directory of the server, as its database and spool are."""
    max_size: Size = Field(default="25MB", validate_default=True)
    """What is larger is not kept, like 25MB; a minute of a recording takes about half a megabyte (assumed)."""
    types: Annotated[tuple[Annotated[str, AfterValidator(_of_types)], ...], Field(min_length=1)] = (
        *("audio/*", "image/*", "video/*"),
    )
    """What may be kept, by what a file is told to be and by what it holds."""
    keep_for: Annotated[Duration, AfterValidator(at_least_a_day)] | None = None
    """The age at which a file is removed; without it that of transcripts or of numbers in retention, the lower."""
    hosts: tuple[Annotated[str, AfterValidator(_domain)], ...] = ()
    """Domains from which files are fetched beside CallRail's and signed links to its storage at Amazon."""

    def allows(self, type_: str) -> bool:
        """Whether a file of *type_*, like audio/mpeg, may be kept."""
        return any(type_ == one or (one.endswith("/*") and type_.startswith(one[:-1])) for one in self.types)

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder).expanduser().resolve()
