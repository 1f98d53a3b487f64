"""Users. Only admins make or remove them."""

from __future__ import annotations

from routers.fake_callrail.asking import NO_CONTENT, Ask, Refused, Told, changed, found
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.times import local
from routers.fake_callrail.world import Json

_ROLES = ("admin", "manager", "reporting")


@answers("GET", "users")
def list_users(ask: Ask) -> Json:
    """By e-mail."""
    company, search = ask.text("company_id"), (ask.text("search") or "").casefold()
    sort = ask.one_of("sort", ("email", "created_at")) or "email"
    users = [
        each
        for each in ask.account.users.values()
        if (not company or any(one["id"] == company for one in each["companies"]))
        and any(search in each[name].casefold() for name in ("first_name", "last_name", "email"))
    ]
    users.sort(key=lambda each: each[sort], reverse=ask.text("order") == "desc")
    return page(ask, "users", users, dict)


@answers("GET", "users/*")
def get_user(ask: Ask) -> Json:
    """One user; whether the invitation was accepted is told by the list alone."""
    return _told(found(ask.account.users, ask.ids[0]))


def _told(user: Json) -> Json:
    return {name: value for name, value in user.items() if name != "accepted"}


@answers("POST", "users")
def create_user(ask: Ask) -> Told:
    """CallRail sends an invitation. None is sent here."""
    ask.needs_admin()
    ask.required_in_body("first_name", "last_name", "email", "role")
    body = ask.body
    if body["role"] not in _ROLES:
        raise Refused(400, "role is invalid")
    if body["role"] != "admin":
        ask.required_in_body("companies")
    companies = [ask.company(each) for each in body.get("companies") or ask.account.companies]
    user = new_user(ask.world.new_id("USR"), body, companies, local(ask.world.now()), is_accepted=False)
    ask.account.users[user["id"]] = user
    return Told(200, _told(user))


def new_user(user_id: str, who: Json, companies: list[Json], created_at: str, *, is_accepted: bool) -> Json:
    """A user as it is kept."""
    return {
        "id": user_id,
        "email": who["email"],
        "created_at": created_at,
        "role": who["role"],
        "first_name": who["first_name"],
        "last_name": who["last_name"],
        "name": f"{who['first_name']} {who['last_name']}",
        "accepted": is_accepted,
        "companies": [{"id": each["id"], "name": each["name"]} for each in companies],
    }


@answers("PUT", "users/*")
def update_user(ask: Ask) -> Json:
    """Names and address of the key's own user, the account's first here; the companies of any, by admins."""
    user = found(ask.account.users, ask.ids[0])
    if not user["accepted"]:
        raise Refused(400, "user has not accepted the invitation")
    names = ("first_name", "last_name", "email")
    if any(name in ask.body for name in names) and user["id"] != next(iter(ask.account.users)):
        raise Refused(403, "You do not have permission to perform the requested action")
    if "companies" in ask.body:
        ask.needs_admin()
        companies = [ask.company(each) for each in ask.body["companies"]]
        user["companies"] = [{"id": each["id"], "name": each["name"]} for each in companies]
    changed(user, ask.body, names)
    user["name"] = f"{user['first_name']} {user['last_name']}"
    return _told(user)


@answers("DELETE", "users/*")
def delete_user(ask: Ask) -> Told:
    """It is gone."""
    ask.needs_admin()
    del ask.account.users[found(ask.account.users, ask.ids[0])["id"]]
    return NO_CONTENT
