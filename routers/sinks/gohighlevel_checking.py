"""What `sinks test` looks at in GoHighLevel: token, location, scopes and workflows. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from routers.outcomes import AuthFailed, Rejected
from routers.sinks.crm_requests import Lost
from routers.sinks.gohighlevel_api import Api, Refused, Told
from routers.sinks.sink import Check

# Of an address that nobody has, and of a contact that is none (the names under .invalid are nobody's: RFC 2606).
_NOBODY, _NONE = "nobody@callrail-router.invalid", "callrail-router-none"


async def check_location(api: Api, workflows: Sequence[str]) -> list[Check]:
    """Look at all; the first that makes the rest pointless ends it."""
    reads = await api.find_contact(email=_NOBODY)
    if not isinstance(reads, Refused | Lost):
        checks = [Check("the token may read contacts of the location", ok=True)]
    elif _is_right_lacking(reads):
        remedy = "make another token in the location's private integrations, with the scope contacts.readonly"
        return [Check("the token may read contacts of the location", ok=False, remedy=remedy)]
    else:
        return [Check("GoHighLevel answers", ok=False, remedy=reads.outcome.reason)]
    # No tags for nobody: refused by whoever may not write, and otherwise because there is no such contact (assumed).
    writes = await api.add_tags(_NONE, [])
    if isinstance(writes, Lost) or (isinstance(writes, Refused) and not _is_decided(writes)):
        return [*checks, Check("GoHighLevel answers", ok=False, remedy=writes.outcome.reason)]
    may_write = not _is_right_lacking(writes)
    remedy = "" if may_write else "give the token the scope contacts.write"
    checks.append(Check("the token may write contacts, notes and tags", ok=may_write, remedy=remedy))
    return [*checks, *(await _check_workflows(api, workflows) if workflows else [])]


async def _check_workflows(api: Api, workflows: Sequence[str]) -> list[Check]:
    told = await api.workflows()
    if _is_right_lacking(told):
        remedy = "give the token the scope workflows.readonly, by which they are looked at"
        return [Check("the token may read workflows", ok=False, remedy=remedy)]
    if isinstance(told, Refused | Lost):
        return [Check("GoHighLevel tells of workflows", ok=False, remedy=told.outcome.reason)]
    listed = told.get("workflows")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    return [_check_workflow(each, [row for row in rows if row.get("id") == each]) for each in workflows]


def _check_workflow(workflow: str, found: Sequence[Told]) -> Check:
    what = f"the workflow {workflow} is published"
    if not found:
        return Check(what, ok=False, remedy="there is none in this location; its id is the last part of its address")
    return Check(what, ok=found[0].get("status") == "published", remedy="publish it: who enters a draft gets nothing")


def _is_right_lacking(told: object) -> bool:
    return isinstance(told, Refused) and isinstance(told.outcome, AuthFailed)


def _is_decided(refused: Refused) -> bool:
    """Whether it was understood, and refused for its rights or for its values."""
    return isinstance(refused.outcome, AuthFailed | Rejected)
