"""The synchronous face of the client: `from callrail.sync import CallRail`.

Its types stand in `sync.pyi`, which is written from the operations' declarations; what it does in `callrail.blocking`.
"""

from callrail.blocking import CallRail, Listing
from callrail.paging import Page

__all__ = ["CallRail", "Listing", "Page"]
