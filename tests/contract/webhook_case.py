"""The signed webhook under contract."""

from __future__ import annotations

from datetime import timedelta

from callrail.http import HttpClient
from receiver.companies import SigningKey
from routers.sinks.webhook import Body, WebhookSink
from tests.contract.case import SinkCase
from tests.fakes.destination import answer


def build(url: str, timeout: float) -> WebhookSink:
    client = HttpClient(timeout=timedelta(seconds=timeout), allow_hosts=["127.0.0.1"])
    return WebhookSink(client, url, [SigningKey(bytes(range(32)))], Body(), headers={})


CASE = SinkCase(name="webhook", build=build, accepts=answer(204))
