"""The collected samples of CallRail's webhooks, which are not part of the repository.

`CALLRAIL_ROUTER_SHARED` names the directory that holds `callrail/samples`; else it is `shared` beside the checkout.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("CALLRAIL_ROUTER_SHARED") or Path(__file__).parents[3] / "shared")
SAMPLES = SHARED / "callrail" / "samples"
ABSENT = f"the samples of CallRail's webhooks are not at {SAMPLES}"


def signature_vectors(sort: str) -> list[dict[str, Any]]:
    """The vectors of *sort* `valid` or `invalid`; empty where the file is absent."""
    path = SAMPLES / "signatures.json"
    vectors: list[dict[str, Any]] = json.loads(path.read_text())[sort] if path.exists() else []
    return vectors


def sample(name: str) -> dict[str, Any]:
    """The object of one sample file."""
    fields: dict[str, Any] = json.loads((SAMPLES / name).read_text())
    return fields


def as_sent(name: str) -> bytes:
    """The bytes CallRail would post for a sample file: compact JSON, or the file itself where it is a form."""
    if name.endswith(".txt"):
        return (SAMPLES / name).read_bytes()
    return json.dumps(sample(name), separators=(",", ":"), ensure_ascii=False).encode()
