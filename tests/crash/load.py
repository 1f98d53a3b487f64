"""The load of the crash tests: webhooks posted by several senders, whatever happens to who takes them in."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from callrail.signature import sign
from tests.routers.running import KEY

SENDERS = 3

Told = tuple[str, str]
"""Call and kind of one webhook."""


@dataclass
class Load:
    """Webhooks of ever new calls, posted by several senders; CallRail posts each of them once, whatever is answered.

    It goes to the first of *ports* that answers at all, as a proxy does it. *answered* are those that got a 2xx; of all
    others nobody was promised anything: *refused* are the statuses of answers, *unanswered* counts those without one.
    *pause*, in seconds, follows each.
    """

    ports: Sequence[int]
    pause: float = 0.0
    answered: list[Told] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    unanswered: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def send(self, sender: int) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            call = f"CAL{sender:02}x{number:06}"
            for kind, duration in (("pre_call", 0), ("post_call", 30)):
                self._post(call, kind, duration)

    def _post(self, call: str, kind: str, duration: int) -> None:
        told = {"resource_id": call, "call_type": "missed", "answered": False, "duration": duration}
        body = json.dumps(told).encode()
        headers = {"Content-Type": "application/json", "Signature": sign(KEY.encode(), body)}
        for port in self.ports:
            status = self._answer_of(port, f"/callrail/acme/{kind}", body, headers)
            if status is not None:
                break
        self._note(status, (call, kind))

    def _answer_of(self, port: int, path: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):  # killed amid it, or not up again yet
            return None
        finally:
            connection.close()

    def _note(self, status: int | None, told: Told) -> None:
        if status is None:
            self.unanswered += 1
            self.stopping.wait(0.02)  # leaves the processor to what starts
            return
        self.stopping.wait(self.pause)
        if 200 <= status < 300:
            self.answered.append(told)
        else:
            self.refused.add(status)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.send, args=(number,)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join()


def a_free_port() -> int:
    """A port to be named, below those that the system gives out by itself: while nobody listens there, no server of
    another test may get it, and answer in its place."""
    for port in random.sample(range(20_000, 32_000), 1_000):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:  # somebody has it
                continue
            return port
    raise AssertionError("no port is free")


def more_than(load: Load, count: int) -> Callable[[], bool]:
    return lambda: len(load.answered) >= count
