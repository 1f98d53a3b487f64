"""Slack's incoming webhooks under contract."""

from __future__ import annotations

from routers.sinks.slack import SlackHook
from tests.contract.case import SinkCase
from tests.contract.slack_case import EXPECTED, client
from tests.fakes.destination import answer

CASE = SinkCase(
    name="slack_hook",
    build=lambda url, timeout_s: SlackHook(client(timeout_s), url),
    accepts=answer(200, body=b"ok"),
    expected=EXPECTED,
)
