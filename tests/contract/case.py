"""What a sink has to say of itself to be run through the table of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from routers.outcomes import Outcome
from routers.sinks.sink import Sink
from tests.fakes.destination import Behaviour


@dataclass(frozen=True)
class SinkCase:
    """One sink under contract.

    Attributes:
        name: What the tests call it.
        build: Makes the sink, with all secrets given, sending to a base URL on loopback within a timeout in seconds.
        accepts: How its destination answers when all is well.
        expected: By the name of an answer in the table, the outcome where it differs from the table's own.
    """

    name: str
    build: Callable[[str, float], Sink]
    accepts: Behaviour
    expected: Mapping[str, type[Outcome]] = field(default_factory=dict)
