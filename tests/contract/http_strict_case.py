"""Plain HTTP under contract, with an API that answers 200 with an error in its body."""

from __future__ import annotations

from routers.outcomes import Rejected, Uncertain
from routers.sinks.http import HttpConfig, HttpSink
from tests.contract.case import SinkCase
from tests.fakes.destination import answer


def build(url: str, timeout: float) -> HttpSink:
    block = {
        "type": "http",
        "url": url,
        "form": {"text": "{{ text }}"},
        "success": {"status": [200], "json": {"ok": True}},
        "allow_hosts": ["127.0.0.1"],
        "timeout": f"{timeout * 1000:.0f}ms",
    }
    return HttpConfig.model_validate(block).build()


CASE = SinkCase(
    name="http that looks into the answer",
    build=build,
    accepts=answer(200, body=b'{"ok": true}'),
    expected={
        "200": Uncertain,
        "200 with an error body": Rejected,
        "200 with HTML": Uncertain,
        "200 without end": Uncertain,
        "204": Rejected,
    },
)
