"""The opportunity that an inbound call, text or form of a contact opens, unless one of ours is open already.

A lead gets none: Salesforce makes one when it is converted. What it is worth is filled in once it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from routers.sinks.salesforce_people import KEY
from routers.sinks.salesforce_queries import cut, is_, select

DEAL = "Opportunity"
_READ = ("Id", "IsDeleted", "IsClosed", "Amount", KEY)
_NAME = 120  # documented


@dataclass(frozen=True, slots=True)
class Deal:
    """What there is to open. *key*: CallRail's id of the thing that opens it."""

    key: str
    name: str
    stage: str
    closes_on: date
    amount: float | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class SeenDeal:
    """What there is. *own* is the one that this thing has opened, *is_open* whether any of ours is."""

    own: Mapping[str, Any] | None = None
    is_open: bool = False


def deals(key: str, known: str | None) -> str:
    """The query for the one that the thing has opened, and for the last that we know of this person."""
    return select(_READ, DEAL, is_(KEY, key) + (f" OR {is_('Id', known)}" if known is not None else ""))


def seen_deal(rows: Iterable[Mapping[str, Any]], key: str) -> SeenDeal:
    """What the rows say."""
    rows = list(rows)
    own = next((row for row in rows if row.get(KEY) == key), None)
    return SeenDeal(own, any(row.get("IsDeleted") is not True and row.get("IsClosed") is not True for row in rows))


def new_deal(deal: Deal, contact_id: str) -> dict[str, Any]:
    """What it is created with; the key stands in the address."""
    told = {"Amount": deal.amount, "OwnerId": deal.owner}
    kept = {"Name": cut(deal.name, _NAME), "StageName": deal.stage, "CloseDate": deal.closes_on.isoformat()}
    return {**kept, "ContactId": contact_id, **{name: value for name, value in told.items() if value is not None}}


def worth(deal: Deal, seen: SeenDeal) -> dict[str, Any]:
    """What is filled in of the one that the thing has opened."""
    row = seen.own
    if row is None or deal.amount is None or row.get("Amount") is not None or row.get("IsDeleted") is True:
        return {}
    return {"Amount": deal.amount}
