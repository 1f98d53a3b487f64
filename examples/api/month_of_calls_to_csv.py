"""A month of calls as CSV, oldest first, on standard output: `month_of_calls_to_csv.py 2026-10-01 2026-10-31`."""

import asyncio
import csv
import os
import sys

from callrail import CallRail

COLUMNS = ["id", "start_time", "direction", "answered", "duration", "customer_phone_number", "source"]


async def main(first_day: str, last_day: str) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    async with CallRail(os.environ["CALLRAIL_API_KEY"], base_url=os.environ["CALLRAIL_BASE_URL"]) as client:
        calls = client.calls.list(
            start_date=first_day, end_date=last_day, sort="start_time", order="asc", fields=["source"]
        )
        async for call in calls:
            writer.writerow(call.told)


asyncio.run(main(*sys.argv[1:3]))
