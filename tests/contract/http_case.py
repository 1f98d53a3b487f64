"""Plain HTTP under contract, with an API that says in its body what it made."""

from __future__ import annotations

from routers.sinks.http import HttpConfig, HttpSink
from tests.contract.case import SinkCase
from tests.fakes.destination import answer


def build(url: str, timeout: float) -> HttpSink:
    block = {
        "type": "http",
        "url": url,
        "json": {"text": "{{ text }}", "who": "{{ customer_name }}"},
        "allow_hosts": ["127.0.0.1"],
        "timeout": f"{timeout * 1000:.0f}ms",
        "remote_id": "id",
    }
    return HttpConfig.model_validate(block).build()


CASE = SinkCase(name="http", build=build, accepts=answer(201, body=b'{"id": 7}'))
