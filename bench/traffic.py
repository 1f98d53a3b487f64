"""What is posted: signed post-call webhooks as CallRail writes them, each of another call by another person."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice

from callrail.kinds import Kind
from callrail.payload import read_payload
from callrail.signature import sign
from routers.simulator import Story, life_cycle

# The size of body that CallRail posts of an answered and transcribed call (5.5 kB), within a few hundred bytes.
BODY_SIZES = range(5200, 5801)
_MODELS_PER_COMPANY = 5


@dataclass(frozen=True)
class Client:
    """A company that CallRail posts for."""

    slug: str
    callrail_id: str
    key: bytes

    @property
    def variable(self) -> str:
        """Name of the environment variable that holds the key."""
        return f"{self.slug.upper().replace('-', '_')}_KEY"


# One for each rule of the benchmark's router.yaml.
CLIENTS = [
    Client(f"client-{n:02}", f"COM019{n:029x}", hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(20)
]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be written to a socket, and how to find again what it told."""

    wire: bytes
    sha256: bytes
    call_id: str


@dataclass(frozen=True, slots=True)
class _Model:
    """A body that unique ones are made of."""

    client: Client
    body: bytes
    call_id: bytes
    person_id: bytes


def requests(count: int, *, port: int) -> list[Request]:
    """*count* requests for the router at *port*, going round the clients; no two bodies are ever the same."""
    return [_request(model, port) for model in islice(cycle(_models()), count)]


def _request(model: _Model, port: int) -> Request:
    call_id = f"CAL019{os.urandom(16).hex()[:29]}"
    person_id = f"PER019{os.urandom(16).hex()[:29]}"
    body = model.body.replace(model.call_id, call_id.encode()).replace(model.person_id, person_id.encode())
    head = (
        f"POST /callrail/{model.client.slug}/{Kind.POST_CALL} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        "User-Agent: CallRail\r\n"
        "Accept: */*\r\n"
        "Content-Type: application/json\r\n"
        f"Signature: {sign(model.client.key, body)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode() + body, hashlib.sha256(body).digest(), call_id)


def _models() -> list[_Model]:
    rng = random.Random(1)
    makers = [islice(_models_of(client, rng), _MODELS_PER_COMPANY) for client in CLIENTS]
    return [model for round_ in zip(*makers, strict=True) for model in round_]


def _models_of(client: Client, rng: random.Random) -> Iterator[_Model]:
    while True:
        story = life_cycle(
            Story.ANSWERED,
            rng=rng,
            started_at=datetime.now(UTC),
            callrail_id=client.callrail_id,
            company_name=client.slug.replace("-", " ").title(),
        )
        body = next(posting.body for posting in story if posting.kind == Kind.POST_CALL)
        if len(body) in BODY_SIZES:
            told = read_payload(body, "application/json").fields
            yield _Model(client, body, told["resource_id"].encode(), told["person_resource_id"].encode())
