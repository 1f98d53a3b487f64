"""Give all calls that were missed yesterday the tag "Call back"."""

import asyncio
import os

from callrail import CallRail


async def main() -> None:
    async with CallRail(os.environ["CALLRAIL_API_KEY"], base_url=os.environ["CALLRAIL_BASE_URL"]) as client:
        async for call in client.calls.list(date_range="yesterday", answer_status="missed"):
            await client.calls.update(call.id, tags=["Call back"], append_tags=True)
            print(f"tagged {call.id}")


asyncio.run(main())
