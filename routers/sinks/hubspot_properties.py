"""What has to be in an account: properties of ours with unique values, by which records are found again.

Whether values are unique cannot be changed later (documented), so a property that is there without is told, and is
for somebody to remove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routers.outcomes import Rejected
from routers.sinks.crm_requests import Lost
from routers.sinks.hubspot_api import Api, Refused
from routers.sinks.hubspot_records import CONTACTS, KEY, PHONE
from routers.sinks.sink import Check

GROUP = "callrail"
_SETUP = "run `callrail-router sinks setup NAME`"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to be made, in words for an operator."""

    what: str
    kind: str
    body: Mapping[str, Any]
    is_group: bool = False


def _property(kind: str) -> tuple[str, str]:
    """The name of our property of *kind*, and its label."""
    return (PHONE, "CallRail phone number") if kind == CONTACTS else (KEY, "CallRail id")


def missing(kind: str, properties: Mapping[str, Any], groups: Mapping[str, Any]) -> list[Step]:
    """What of ours is not there yet, of what the account told."""
    name, label = _property(kind)
    if _named(properties, name) is not None:
        return []
    found = []
    if _named(groups, GROUP) is None:
        body = {"name": GROUP, "label": "CallRail", "displayOrder": -1}
        found.append(Step(f"the group {GROUP} of properties of {kind}", kind, body, is_group=True))
    about = {"type": "string", "fieldType": "text", "groupName": GROUP, "hasUniqueValue": True}
    body = {"name": name, "label": label, "description": "Written by callrail-router", **about}
    return [*found, Step(f"the property {name} of {kind}, with unique values", kind, body)]


async def steps(api: Api, kinds: Sequence[str]) -> list[Step]:
    """What there is to be made; of what cannot be looked at nothing, and `check_account` tells why."""
    found: list[Step] = []
    for kind in (CONTACTS, *kinds):
        properties, groups = await api.properties(kind), await api.groups(kind)
        if not isinstance(properties, Refused | Lost) and not isinstance(groups, Refused | Lost):
            found += missing(kind, properties, groups)
    return found


async def set_up(api: Api, kinds: Sequence[str]) -> list[Check]:
    """Make what is missing, and then look at all."""
    failed: dict[str, Check] = {}
    for step in await steps(api, kinds):
        make = api.create_group if step.is_group else api.create_property
        made = await make(step.kind, step.body)
        if isinstance(made, Refused | Lost):
            remedy = _give(made, "schemas", step.kind, "write") if _is_scope(made) else made.outcome.reason
            failed[step.what] = Check(f"{step.what} cannot be made", ok=False, remedy=remedy)
    # Of an answer that was lost, and where somebody else was faster, it may be there all the same.
    missing_still = {step.what for step in await steps(api, kinds)} if failed else set()
    return [*(failed[what] for what in failed if what in missing_still), *await check_account(api, kinds)]


async def check_account(api: Api, kinds: Sequence[str]) -> list[Check]:
    """Whether the token is taken and may do what it needs, and our properties are there. Nothing is written."""
    checks: list[Check] = []
    for kind in (CONTACTS, *kinds):
        properties = await api.properties(kind)
        looks = [
            (properties, "schemas", "read"),
            (await api.reads_nothing(kind), "objects", "read"),
            (await api.changes_nothing(kind), "objects", "write"),
        ]
        for told, _, _ in looks:
            if isinstance(told, Refused) and told.refusal.status == 401:
                return [Check("HubSpot takes the token", ok=False, remedy="make another; it is revoked or mistyped")]
            # An empty list may be found fault with, by whoever would take one that is not.
            is_of_list = told is not properties and isinstance(told, Refused) and isinstance(told.outcome, Rejected)
            if isinstance(told, Refused | Lost) and not _is_scope(told) and not is_of_list:
                return [*checks, Check(f"HubSpot tells of {kind}", ok=False, remedy=told.outcome.reason)]
        lacking = [_give(told, of, kind, way) for told, of, way in looks if _is_scope(told)]
        remedy = "; ".join(dict.fromkeys(lacking))
        checks.append(Check(f"the token may read and change {kind}", ok=not lacking, remedy=remedy))
        if not isinstance(properties, Refused | Lost):
            checks.append(_check_property(kind, properties))
    return checks


def _check_property(kind: str, properties: Mapping[str, Any]) -> Check:
    name, _ = _property(kind)
    found = _named(properties, name)
    if found is None:
        return Check(f"{kind} have the property {name}", ok=False, remedy=_SETUP)
    if found.get("hasUniqueValue") is not True:
        remedy = "its values are not unique, which cannot be changed: delete it in HubSpot, then " + _SETUP
        return Check(f"{kind} have the property {name}", ok=False, remedy=remedy)
    return Check(f"{kind} have the property {name}, with unique values", ok=True)


def _give(told: object, of: str, kind: str, way: str) -> str:
    """What to do where a scope is lacking: the one that HubSpot names, else the one that is documented."""
    named = told.refusal.scopes if isinstance(told, Refused) else ()
    owner = kind if kind in ("deals", "leads") else CONTACTS  # calls, texts and tasks use those of contacts
    return f"give the token the scope {' or '.join(named) or f'crm.{of}.{owner}.{way}'}"


def _is_scope(told: object) -> bool:
    return isinstance(told, Refused) and told.refusal.status == 403


def _named(told: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    rows = told.get("results")
    found = (row for row in rows if isinstance(row, dict) and row.get("name") == name) if isinstance(rows, list) else ()
    return next(iter(found), None)
