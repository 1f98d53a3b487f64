"""Tags, of the account or of one company."""

from __future__ import annotations

from routers.fake_callrail.asking import NO_CONTENT, Ask, Refused, Told, created, found_by_number, new_tag
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.world import Json

_COLORS = {
    f"{name}{shade}"
    for name, shades in {
        **dict.fromkeys(("gray", "blue", "cyan", "purple", "red", "yellow"), 2),
        **dict.fromkeys(("pink", "orange", "green"), 4),
    }.items()
    for shade in range(1, shades + 1)
}


@answers("GET", "tags")
def list_tags(ask: Ask) -> Json:
    """By name; those of a company with those of its account."""
    company, level, status = ask.text("company_id"), ask.text("tag_level"), ask.text("status")
    if level == "account" and company:
        raise Refused(400, "tag_level account cannot be used with company_id")
    tags = [
        tag
        for tag in ask.account.tags.values()
        if (not company or tag["company_id"] in (company, None))
        and (not level or tag["tag_level"] == level)
        and (not status or tag["status"] == status)
    ]
    return page(ask, "tags", sorted(tags, key=lambda tag: tag["name"], reverse=ask.text("order") == "desc"), dict)


@answers("GET", "tags/*")
def get_tag(ask: Ask) -> Json:
    """One tag; not documented."""
    return found_by_number(ask.account.tags, ask.ids[0])


@answers("POST", "tags")
def create_tag(ask: Ask) -> Told:
    """Of a company, or with an admin's key of the account."""
    _needs_right(ask)
    ask.required_in_body("name")
    is_of_account = ask.body.get("tag_level") == "account"
    if is_of_account:
        ask.needs_admin()
    else:
        ask.required_in_body("company_id")
    company_id = None if is_of_account else ask.company(ask.body["company_id"])["id"]
    number = ask.world.new_number()
    tag = new_tag(ask, number, ask.body["name"], company_id=company_id, color=_color(ask, "gray1"))
    ask.account.tags[number] = tag
    return created(tag | {"id": str(number)})  # a string here, a number elsewhere (documented so)


@answers("PUT", "tags/*")
def update_tag(ask: Ask) -> Json:
    """A new name is one everywhere."""
    _needs_right(ask)
    tag = found_by_number(ask.account.tags, ask.ids[0])
    tag["color"] = tag["background_color"] = _color(ask, tag["color"])
    if "disabled" in ask.body:
        tag["status"] = "disabled" if str(ask.body["disabled"]).lower() == "true" else "enabled"
    if "name" in ask.body:
        _replace(ask, tag["name"], ask.body["name"])
        tag["name"] = ask.body["name"]
    return tag


@answers("DELETE", "tags/*")
def delete_tag(ask: Ask) -> Told:
    """From everything that had it."""
    _needs_right(ask)
    tag = found_by_number(ask.account.tags, ask.ids[0])
    _replace(ask, tag["name"], None)
    del ask.account.tags[tag["id"]]
    return NO_CONTENT


def _replace(ask: Ask, old: str, new: str | None) -> None:
    for call in ask.account.calls:
        if old in call.tags:
            call.tags = tuple(name for name in (new if each == old else each for each in call.tags) if name)
    for thing in (*ask.account.forms.values(), *ask.account.conversations.values()):
        thing["tags"] = [name for name in (new if each == old else each for each in thing["tags"]) if name]


def _color(ask: Ask, default: str) -> str:
    color = str(ask.body.get("color") or default)
    if color not in _COLORS:
        raise Refused(400, "Color is not included in the list")
    return color


def _needs_right(ask: Ask) -> None:
    ask.needs_admin()
