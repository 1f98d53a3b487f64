"""Every call of today, of every account the key sees, with all that CallRail knows of it."""

import asyncio
import os

from callrail import CallRail


async def main() -> None:
    async with CallRail(os.environ["CALLRAIL_API_KEY"], base_url=os.environ["CALLRAIL_BASE_URL"]) as client:
        async for account in client.accounts.list():
            of_account = client.for_account(account.id)
            async for call in of_account.calls.list(date_range="today"):
                whole = await of_account.calls.get(call.id, fields=["source", "tags", "note", "first_call"])
                print(account.name, whole.start_time, whole.customer_name, whole.source, whole.tags)


asyncio.run(main())
