"""Write all pages, and the types of the synchronous client: `python -m routers.reference`."""

from __future__ import annotations

from pathlib import Path

from routers.reference import pages
from routers.reference.markdown import MADE
from routers.reference.sync_types import sync_types

FOLDER = Path("docs", "reference")
SYNC_TYPES = Path("callrail", "sync.pyi")


def main(folder: Path = FOLDER) -> None:
    """Write all pages into *folder*, and take away those that were written before and are none of them now."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for stale in folder.glob("*.md"):
        if stale.name not in written and MADE in stale.read_text(encoding="utf-8"):
            stale.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
    SYNC_TYPES.write_text(sync_types(), encoding="utf-8")
