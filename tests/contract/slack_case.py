"""Slack's Web API under contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from callrail.http import HttpClient
from routers.outcomes import Gone, Outcome, Rejected, Uncertain
from routers.sinks.slack import SlackBot
from tests.contract.case import SinkCase
from tests.fakes.slack import CHANNEL, TOKEN, told_as_json

# A 2xx that is not Slack's tells nothing. Nobody deploys Slack: its 404, 409 and 422 will be the same tomorrow.
EXPECTED: Mapping[str, type[Outcome]] = {
    **dict.fromkeys(("200", "200 with an error body", "200 with HTML", "200 without end", "204"), Uncertain),
    "404": Gone,
    "409": Rejected,
    "422": Rejected,
}


def client(timeout_s: float) -> HttpClient:
    return HttpClient(timeout=timedelta(seconds=timeout_s), allow_hosts=["127.0.0.1"])


CASE = SinkCase(
    name="slack_web_api",
    build=lambda url, timeout_s: SlackBot(client(timeout_s), url, TOKEN, CHANNEL),
    accepts=told_as_json({"ok": True, "channel": CHANNEL, "ts": "1773148502.000001"}),
    expected=EXPECTED,
)
