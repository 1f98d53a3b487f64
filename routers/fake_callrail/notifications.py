"""Notifications, which tell a user or an address of calls and texts; and summary e-mails, which tell of days."""

from __future__ import annotations

from routers.fake_callrail.asking import (
    NO_CONTENT,
    NO_PERMISSION,
    Ask,
    Refused,
    Told,
    changed,
    created,
    found,
    found_by_number,
)
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.world import Json

_ALERTS = ("all", "first_call", "missed_and_vm", "vm_only")
_SETTINGS = (
    *("company_id", "tracker_id", "call_enabled", "sms_enabled", "alert_type"),
    *("send_desktop", "send_email", "send_push"),
)
_LISTED = ("id", "user_id", "name", *_SETTINGS)


@answers("GET", "notifications")
def list_notifications(ask: Ask) -> Json:
    """A list tells less of each than an answer to a change does."""
    user, email, kind = ask.text("user_id"), ask.text("email"), ask.text("notification_type")
    notifications = [
        each
        for each in ask.account.notifications.values()
        if (not user or each["user_id"] == user)
        and (not email or each["email"] == email)
        and (not kind or each.get(kind))
    ]
    return page(ask, "notifications", notifications, lambda each: {name: each[name] for name in _LISTED})


@answers("POST", "notifications")
def create_notification(ask: Ask) -> Told:
    """For a user, an address, or the key's own user."""
    body = ask.body
    _check(body)
    user_id = None if body.get("email") else body.get("user_id") or next(iter(ask.account.users))
    if user_id:
        found(ask.account.users, user_id)
    elif not (body.get("company_id") or body.get("tracker_id")):
        raise Refused(400, "company_id or tracker_id is required for an e-mail address")
    agent = ask.account.users.get(body.get("agent_id") or "")
    notification: Json = {
        "id": ask.world.new_number(),
        "user_id": user_id,
        "email": body.get("email"),
        "agent_id": body.get("agent_id"),
        "agent_name": agent["name"] if agent else None,
        **dict.fromkeys(_SETTINGS),
        **dict.fromkeys(("call_enabled", "sms_enabled", "send_desktop", "send_email", "send_push"), False),
    }
    ask.account.notifications[notification["id"]] = changed(notification, body, _SETTINGS)
    return created(_named(ask, notification))


@answers("PUT", "notifications/*")
def update_notification(ask: Ask) -> Json:
    """Everything but whose it is."""
    _check(ask.body)
    return _named(ask, changed(found_by_number(ask.account.notifications, ask.ids[0]), ask.body, _SETTINGS))


@answers("DELETE", "notifications/*")
def delete_notification(ask: Ask) -> Told:
    """Refused to who may only read."""
    if ask.key.role == "reporting":
        raise Refused(403, NO_PERMISSION)
    del ask.account.notifications[found_by_number(ask.account.notifications, ask.ids[0])["id"]]
    return NO_CONTENT


def _check(body: Json) -> None:
    if body.get("call_enabled") and not body.get("alert_type"):
        raise Refused(400, "missing required parameter 'alert_type'")
    if body.get("alert_type") not in (None, *_ALERTS):
        raise Refused(400, "Alert type Invalid Call Type")


def _named(ask: Ask, notification: Json) -> Json:
    """With the names of what it tells of."""
    company = ask.account.companies.get(notification["company_id"] or "")
    tracker = ask.account.trackers.get(notification["tracker_id"] or "")
    notification["company_name"] = company["name"] if company else None
    notification["tracker_name"] = tracker["name"] if tracker else None
    of = tracker or company
    notification["name"] = f"Notifications for {of['name'] if of else ask.account.name}"
    return notification


@answers("GET", "summary_emails", suffix="")
def list_summary_emails(ask: Ask) -> Json:
    """The one list whose path has no `.json` (documented so)."""
    company, user, email = ask.text("company_id"), ask.text("user_id"), ask.text("email")
    often = set(ask.many("frequency"))
    emails = [
        each
        for each in ask.account.summary_emails.values()
        if (not company or each["scope"]["id"] == company)
        and (not user or each["user"].get("id") == user)
        and (not email or each["email"] == email)
        and (not often or often.intersection(each["frequency"]))
    ]
    return page(ask, "summary_emails", emails, dict)


@answers("GET", "summary_emails/*")
def get_summary_email(ask: Ask) -> Json:
    """One of them."""
    return found(ask.account.summary_emails, ask.ids[0])


@answers("POST", "summary_emails")
def create_summary_email(ask: Ask) -> Told:
    """To a user or to an address."""
    ask.required_in_body("frequency", "config")
    body = ask.body
    if not body.get("user_id"):
        ask.required_in_body("email", "company_id")
    user = found(ask.account.users, body["user_id"]) if body.get("user_id") else None
    company = ask.company(body["company_id"]) if body.get("company_id") else None
    scope = {"id": ask.account.id, "type": "Account", "name": ask.account.name}
    if company:
        scope = {"id": company["id"], "type": "Company", "name": company["name"]}
    email = {
        "id": ask.world.new_id("CSS"),
        "scope": scope,
        "frequency": body["frequency"],
        "filters": body.get("filters") or {},
        "config": body["config"],
        "user": {name: user[name] for name in ("id", "name", "email")} if user else {},
        "email": user["email"] if user else body.get("email"),
    }
    ask.account.summary_emails[email["id"]] = email
    return created(email)


@answers("PUT", "summary_emails/*")
def update_summary_email(ask: Ask) -> Json:
    """How often, what, and of which calls."""
    ask.required_in_body("config")
    return changed(found(ask.account.summary_emails, ask.ids[0]), ask.body, ("frequency", "config", "filters"))


@answers("DELETE", "summary_emails/*")
def delete_summary_email(ask: Ask) -> Told:
    """It is gone."""
    del ask.account.summary_emails[found(ask.account.summary_emails, ask.ids[0])["id"]]
    return NO_CONTENT
