"""The HTTP client alone: what the dispatcher could send if it did nothing else. The yardstick of end to end."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from itertools import cycle, islice

import uvloop

from bench.config import SINK_CONCURRENCY
from callrail.http import HttpClient
from receiver.ids import Prefix, new_id
from routers.sinks.webhook import sign


def client_alone(url: str, bodies: Sequence[bytes], *, secret: bytes, count: int) -> float:
    """Posts a second of the router's own client, in a process of its own, with *bodies* over and over."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, url, list(bodies), secret, count).result()


def _run(url: str, bodies: list[bytes], secret: bytes, count: int) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_post_all(url, bodies, secret, count))


async def _post_all(url: str, bodies: list[bytes], secret: bytes, count: int) -> float:
    client = HttpClient(timeout=timedelta(seconds=20), allow_hosts=("127.0.0.1",), connections=SINK_CONCURRENCY)
    waiting = islice(cycle(bodies), count)

    async def work() -> None:
        for body in waiting:
            key, sent_at = new_id(Prefix.DELIVERY), int(time.time())
            headers = {
                "content-type": "application/json",
                "webhook-id": key,
                "webhook-timestamp": str(sent_at),
                "webhook-signature": sign([secret], key, sent_at, body),
            }
            await client.post(url, content=body, headers=headers)

    begun = time.monotonic()
    await asyncio.gather(*(work() for _ in range(SINK_CONCURRENCY)))
    took = time.monotonic() - begun
    await client.aclose()
    return count / took
