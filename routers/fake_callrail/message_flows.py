"""Message flows: what is answered to a text, step by step."""

from __future__ import annotations

from routers.fake_callrail.asking import NO_CONTENT, Ask, Refused, Told, created, found
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.times import local
from routers.fake_callrail.world import Json

_STEP_TYPES = {"schedule", "sms_response", "no_response", "tag", "forward_message"}


@answers("GET", "message-flows")
def list_flows(ask: Ask) -> Json:
    """Without their steps; the list's name has a hyphen (documented so)."""
    flows = list(ask.account.message_flows.values())
    names = ("id", "name", "updated_at", "tracker_ids")
    return page(ask, "message-flows", flows, lambda flow: {name: flow[name] for name in names})


@answers("GET", "message-flows/*")
def get_flow(ask: Ask) -> Json:
    """One flow, with its steps."""
    return _told(found(ask.account.message_flows, ask.ids[0]))


@answers("POST", "message-flows")
def create_flow(ask: Ask) -> Told:
    """The ids of its steps are replaced by CallRail's."""
    ask.required_in_body("company_id", "name", "initial_step_id", "steps")
    company = ask.company(ask.body["company_id"])
    if any(flow["name"] == ask.body["name"] for flow in ask.account.message_flows.values()):
        raise Refused(400, "name has already been taken")
    flow = {
        "id": ask.world.new_id("MFL"),
        "name": ask.body["name"],
        "company_id": company["id"],
        "updated_at": local(ask.world.now()),
        "tracker_ids": [],
    } | _steps(ask, ask.body["initial_step_id"], ask.body["steps"])
    ask.account.message_flows[flow["id"]] = flow
    return created(_told(flow))


@answers("PUT", "message-flows/*")
def update_flow(ask: Ask) -> Json:
    """Its name, its steps, or both."""
    flow = found(ask.account.message_flows, ask.ids[0])
    flow["name"] = ask.body.get("name") or flow["name"]
    flow["updated_at"] = local(ask.world.now())
    if "steps" in ask.body:
        flow |= _steps(ask, ask.body.get("initial_step_id") or flow["initial_step_id"], ask.body["steps"])
    elif ask.body.get("initial_step_id"):
        flow["initial_step_id"] = ask.body["initial_step_id"]
    return _told(flow)


@answers("DELETE", "message-flows/*")
def delete_flow(ask: Ask) -> Told:
    """Not while a tracker uses it."""
    flow = found(ask.account.message_flows, ask.ids[0])
    if flow["tracker_ids"]:
        raise Refused(400, "message flow is assigned to a tracker")
    del ask.account.message_flows[flow["id"]]
    return NO_CONTENT


def _told(flow: Json) -> Json:
    return {name: value for name, value in flow.items() if name != "company_id"}


def _steps(ask: Ask, initial: str, steps: Json) -> Json:
    """Steps under new ids, with all that points at them."""
    if initial not in steps:
        raise Refused(400, "initial_step_id is not one of the steps")
    ids = {old: old if old.startswith("MFS") else ask.world.new_id("MFS") for old in steps}
    new: Json = {}
    for old, step in steps.items():
        if step.get("type") not in _STEP_TYPES:
            raise Refused(400, f"step {old}: type is invalid")
        kept = dict(step) | {
            "id": ids[old],
            "initial_step": old == initial,
            "next_step_id": ids.get(step.get("next_step_id") or ""),
        }
        if "branches" in step:
            kept["branches"] = [
                {**each, "next_step_id": ids.get(each.get("next_step_id") or "")} for each in step["branches"]
            ]
        new[ids[old]] = kept
    return {"initial_step_id": ids[initial], "steps": new}
