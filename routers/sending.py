"""Sending: what a lane has claimed leaves, as many at once as its sink allows, and what came of it gathers.

A lane may claim ahead, more than there are slots: where the sink takes messages faster than a turn records them, a turn
of twice as many costs little more. What was claimed ahead leaves only behind what the sink took in at once. After
anything else it is taken back, so that it is never sent late, nor to a sink in trouble.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import cast

from receiver.loggers import get_logger
from routers.hours import time_zone
from routers.leases import Delivery
from routers.outcomes import Delivered, Outcome, Uncertain
from routers.sinks.sink import Prepared, Prepares, Sink, refused
from routers.templates import Templates, render

_log = get_logger(__name__)

_GATHER = timedelta(milliseconds=6)  # a slot that stands empty so long is hardly noticed where a sink takes 100
_AT_ONCE = timedelta(milliseconds=100)
_GRACE = timedelta(seconds=1)  # a sink knows better than we what its own timeout means


@dataclass(slots=True)
class Result:
    """What came of one try."""

    delivery: Delivery
    outcome: Outcome
    started_at: datetime
    took: timedelta

    @property
    def was_taken_at_once(self) -> bool:
        """Whether the sink took it in, and so fast that what waits behind it is not late."""
        return isinstance(self.outcome, Delivered) and self.took < _AT_ONCE


@dataclass(slots=True)
class _Ready:
    """A claimed delivery, and its message as it will leave."""

    delivery: Delivery
    send: Prepared


class Sending:
    """What one lane has claimed and not recorded. Belongs to the event loop.

    Args:
        slots: How many may be on the way at once.
        timeout: Bounds each try.

    Attributes:
        wake: Set when results are worth a turn: all that left is back, or a slot has stood empty for a moment.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        slots: int,
        timeout: timedelta,
        templates: Templates,
        zones: Mapping[str, str],
    ) -> None:
        self.wake = asyncio.Event()
        self._name = name
        self._sink = sink
        self._prepare = sink.prepare if isinstance(sink, Prepares) else lambda message: partial(sink.deliver, message)
        self._slots = slots
        self._within = (timeout + _GRACE).total_seconds()
        self._templates = templates
        self._zones = zones
        self._on_the_way: set[asyncio.Task[None]] = set()
        self._waiting: deque[_Ready] = deque()
        self._taken_back: list[Delivery] = []
        self._is_halted = False
        self._written: dict[str, _Ready] = {}
        self._results: deque[Result] = deque()
        self._unrecorded: list[Result] = []
        self._gathering: asyncio.TimerHandle | None = None

    @property
    def claimed(self) -> int:
        """How many are on the way or wait for a slot."""
        return len(self._on_the_way) + len(self._waiting)

    @property
    def has_results(self) -> bool:
        return bool(self._results or self._unrecorded)

    def write(self, claimed: Sequence[Delivery]) -> None:
        """Write the messages of *claimed* while the COMMIT that lets them be sent is still awaited.

        A turn that is tried again writes its own again. Where nobody is told of the COMMIT, they are taken back.
        """
        self._written |= {delivery.id: self._ready(delivery) for delivery in claimed}

    def send(self, claimed: Sequence[Delivery]) -> None:
        """Send *claimed*; what finds no free slot waits for one."""
        self.write([delivery for delivery in claimed if delivery.id not in self._written])
        # All of them are written before one is sent: see `Prepares`.
        for ready in [self._written.pop(delivery.id) for delivery in claimed]:
            if len(self._on_the_way) < self._slots:
                task = asyncio.create_task(self._send_on(ready))
                self._on_the_way.add(task)  # asyncio itself keeps only weak references to tasks
                task.add_done_callback(self._on_the_way.discard)
            else:
                self._waiting.append(ready)
        if self._on_the_way:  # what came back meanwhile waits for these
            self.wake.clear()
            if self._results:
                self._gather()

    def halt(self) -> None:
        """Let nothing more leave of what waits for a slot."""
        self._is_halted = True

    def take_results(self) -> list[Result]:
        """All that came back, to be recorded."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        new = [self._results.popleft() for _ in range(len(self._results))]
        for result in new:
            self._tell(result)
        results, self._unrecorded = [*self._unrecorded, *new], []
        return results

    def take_back(self) -> list[Delivery]:
        """What is not to leave any more, to be given back: what waits for a slot, and what was written for a turn of
        which nobody knows whether it was committed."""
        taken_back = [*self._taken_back, *(ready.delivery for ready in self._written.values())]
        self._taken_back, self._written = [], {}
        if self._is_halted:
            self._is_halted = False
            taken_back += [self._waiting.popleft().delivery for _ in range(len(self._waiting))]
        return taken_back

    def restore(self, results: Sequence[Result], taken_back: Sequence[Delivery]) -> None:
        """A turn has failed: the same is recorded and given back by a later one."""
        self._unrecorded = [*results]
        self._taken_back = [*taken_back]

    async def drain(self, within: timedelta) -> None:
        """Let come back what is on the way. What is late stays `sending`, and says at the next start that it may
        repeat."""
        self.halt()
        if not self._on_the_way:
            return
        _, late = await asyncio.wait(self._on_the_way, timeout=within.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def aclose(self) -> None:
        """Close the sink's connections."""
        await self._sink.aclose()

    def _ready(self, delivery: Delivery) -> _Ready:
        try:
            name = self._zones.get(delivery.company)
            zone = time_zone(name) if name else None
            message = render(delivery, self._templates, present=delivery.present, zone=zone)
            return _Ready(delivery, self._prepare(message))
        except Exception:
            _log.exception("delivery.not_rendered", id=delivery.id)
            return _Ready(delivery, refused("the message could not be made; see the log for this delivery's id"))

    async def _send_on(self, ready: _Ready) -> None:
        """Send *ready* and, as long as all is well, what waits."""
        while True:
            started_at, started = datetime.now(UTC), monotonic()
            outcome = await self._outcome(ready)
            result = Result(ready.delivery, outcome, started_at, timedelta(seconds=monotonic() - started))
            self._results.append(result)
            if not result.was_taken_at_once:
                self.halt()
            if self._is_halted or not self._waiting:
                self._free_slot()
                return
            ready = self._waiting.popleft()

    def _free_slot(self) -> None:
        self._on_the_way.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if self._on_the_way:
            self._gather()
        else:
            self.wake.set()

    def _gather(self) -> None:
        """Let results wait a moment for those that are still on the way."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER.total_seconds(), self.wake.set)

    async def _outcome(self, ready: _Ready) -> Outcome:
        try:
            async with asyncio.timeout(self._within):
                return await ready.send()
        except TimeoutError:
            return Uncertain("no answer in time")
        except Exception:
            _log.exception("delivery.sink_failed", id=ready.delivery.id, sink=self._name)
            return Uncertain("the sink failed; see the log for this delivery's id")

    def _tell(self, result: Result) -> None:
        _log.info(
            "delivery.attempted",
            id=result.delivery.id,
            sink=self._name,
            transition=result.delivery.transition.value,
            outcome=type(result.outcome).__name__,
            reason=None if isinstance(result.outcome, Delivered) else result.outcome.reason,
            milliseconds=round(result.took.total_seconds() * 1000),
        )
