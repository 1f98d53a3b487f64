"""Give all calls that were missed yesterday the tag "Call back", without an event loop."""

import os

from callrail.sync import CallRail

with CallRail(os.environ["CALLRAIL_API_KEY"], base_url=os.environ["CALLRAIL_BASE_URL"]) as client:
    for call in client.calls.list(date_range="yesterday", answer_status="missed"):
        client.calls.update(call.id, tags=["Call back"], append_tags=True)
        print(f"tagged {call.id}")
