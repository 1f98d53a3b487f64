"""Numbers that outbound calls may show, once their owner has typed a code."""

from __future__ import annotations

from routers.fake_callrail.asking import NO_CONTENT, Ask, Told, created, found_by_number
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.times import local
from routers.fake_callrail.world import Json


@answers("GET", "caller_ids")
def list_caller_ids(ask: Ask) -> Json:
    """Of one company."""
    company = ask.company(ask.required("company_id"))
    caller_ids = [each for each in ask.account.caller_ids.values() if each["company_id"] == company["id"]]
    return page(ask, "caller_ids", caller_ids, _listed)


def _listed(caller_id: Json) -> Json:
    """Without its company, as the examples have it."""
    return {name: value for name, value in caller_id.items() if name != "company_id"}


@answers("GET", "caller_ids/*")
def get_caller_id(ask: Ask) -> Json:
    """One of them."""
    return found_by_number(ask.account.caller_ids, ask.ids[0])


@answers("POST", "caller_ids")
def create_caller_id(ask: Ask) -> Told:
    """CallRail rings the number at once, and asks for the code that is told here. Nobody answers here."""
    ask.required_in_body("company_id", "phone_number", "name")
    number = ask.world.new_number()
    caller_id = {
        "id": number,
        "phone_number": ask.body["phone_number"],
        "name": ask.body["name"],
        "company_id": ask.company(ask.body["company_id"])["id"],
        "verified": False,
        "created_at": local(ask.world.now()),
        "validation_code": f"{number:06}",
    }
    ask.account.caller_ids[number] = caller_id
    return created(caller_id)


@answers("DELETE", "caller_ids/*")
def delete_caller_id(ask: Ask) -> Told:
    """It is gone."""
    del ask.account.caller_ids[found_by_number(ask.account.caller_ids, ask.ids[0])["id"]]
    return NO_CONTENT
