"""What `sinks test` can prove of a sink that is reached by HTTP without sending it anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from callrail.exceptions import HttpError
from routers.sinks.config import host_of
from routers.sinks.sink import Check

if TYPE_CHECKING:
    from callrail.http import HttpClient


async def check_reached(client: HttpClient, url: str, unproved: str) -> Sequence[Check]:
    """Connect to the host of *url* and shake hands. No request leaves, for no request is safe with every receiver.

    Args:
        unproved: What this does not show, in words.
    """
    host = host_of(url)
    try:
        await client.reach(url)
    except HttpError as error:
        return [Check(f"{host} can be reached", ok=False, remedy=str(error))]
    how = (
        "accepts connections, and its certificate is right"
        if urlsplit(url).scheme == "https"
        else "accepts connections"
    )
    return [Check(f"{host} {how}; no message was sent, so {unproved} are not proved", ok=True)]
