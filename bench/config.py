"""The router.yaml of a benchmark: a rule a client, and sinks that take what the rules send."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from bench.traffic import CLIENTS

SINK_CONCURRENCY = 8
SINK_SECRET = secrets.token_bytes(32)
_REACHED = f'allow_hosts: ["127.0.0.1"], concurrency: {SINK_CONCURRENCY}'


def webhook_sink(url: str) -> str:
    """A sink that signs and sends all fields."""
    return f'{{type: webhook, url: "{url}", signing_secrets: [env:SINK_SECRET], {_REACHED}}}'


def text_sink(url: str) -> str:
    """A sink that sends what people read: the transition's template, laid out in a JSON body of templates."""
    headers = "idempotency_header: webhook-id"
    body = 'json: {resource_id: "{{ resource_id }}", title: "{{ title }}", text: "{{ text }}"}'
    return f'{{type: http, url: "{url}", {headers}, {body}, {_REACHED}}}'


def router_yaml(sinks: Mapping[str, str]) -> str:
    """Twenty rules look at every call, each with seven conditions, and exactly one of them fires: its client's.

    Args:
        sinks: By name as they stand in the file. They are dealt out to the rules, and each has a rule at least.
    """
    companies = [
        f"  {client.slug}: {{callrail_id: {client.callrail_id}, signing_keys: [env:{client.variable}]}}"
        for client in CLIENTS
    ]
    rules = [
        f"  - id: answered-{client.slug}\n"
        "    when: [call.answered]\n"
        "    if: {direction: inbound, call_type: [answered, voicemail], duration: {gt: 0}, source: {not: Test},"
        f" company: {client.slug}}}\n"
        "    unless: {spam: true, tags: [wrong number, vendor]}\n"
        f"    send: [{', '.join(f'{{to: {name}}}' for name in _sinks_of(n, list(sinks)))}]"
        for n, client in enumerate(CLIENTS)
    ]
    written = [f"  {name}: {sink}" for name, sink in sinks.items()]
    return "\n".join(["companies:", *companies, "sinks:", *written, "rules:", *rules, ""])


def _sinks_of(client: int, sinks: list[str]) -> list[str]:
    """Those of *sinks* that the rule of *client*, counted from 0, sends to."""
    most = max(len(sinks), len(CLIENTS))
    return [sinks[n % len(sinks)] for n in range(client, most, len(CLIENTS))]
