"""What CallRail is: its API's client, its webhooks' kinds, signature and payload forms, and the one HTTP client.

Imports nothing from `receiver` or `routers`; knows no SQL, no ASGI and no YAML. What is named here is loaded when it is
first used: reading webhooks needs no API client, and the client, with httpx2 and pydantic alone, nothing of webhooks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callrail.budgets import InMemoryBudgets as InMemoryBudgets
    from callrail.client import CallRail as CallRail
    from callrail.exceptions import CallRailError as CallRailError
    from callrail.operation import UNSET as UNSET

_HOMES = {
    "CallRail": "callrail.client",
    "CallRailError": "callrail.exceptions",
    "InMemoryBudgets": "callrail.budgets",
    "UNSET": "callrail.operation",
}
__all__ = ["UNSET", "CallRail", "CallRailError", "InMemoryBudgets"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
