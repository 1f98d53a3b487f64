"""Integrations: the company's webhooks with their addresses and key; and the filters that hold deliveries back."""

from __future__ import annotations

from routers.fake_callrail.asking import (
    NO_CONTENT,
    NO_PERMISSION,
    Ask,
    Refused,
    Told,
    changed,
    created,
    found_by_number,
)
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.world import Json

WEBHOOK_KEYS = (
    *("pre_call_webhook", "answered_call_webhook", "post_call_webhook", "updated_call_webhook"),
    *("post_outbound_call_webhook", "updated_outbound_call_webhook"),
    *("sms_received_webhook", "sms_sent_webhook", "form_captured_webhook"),
)
_BY_API = ("Webhooks", "Custom")
_STATES = ("active", "disabled")
_FILTER = ("tracker_ids", "call_type", "min_duration", "max_duration", "lead_status")
_DEFAULT_FILTER = {"id": None, "type": "All (Default Integration Trigger)"}


@answers("GET", "integrations")
def list_integrations(ask: Ask) -> Json:
    """Of one company."""
    company = ask.company(ask.required("company_id"))
    integrations = [each for each in ask.account.integrations.values() if each["company_id"] == company["id"]]
    return page(ask, "integrations", integrations, lambda each: _told(ask, each))


@answers("GET", "integrations/*")
def get_integration(ask: Ask) -> Json:
    """One integration."""
    return _told(ask, found_by_number(ask.account.integrations, ask.ids[0]))


def _told(ask: Ask, integration: Json) -> Json:
    names = ("id", "config", "state", "type")
    return ask.with_fields({name: integration[name] for name in names}, {"signing_key": integration.get("signing_key")})


@answers("POST", "integrations")
def create_integration(ask: Ask) -> Told:
    """Webhooks or cookies to keep, one of each for a company."""
    _needs_right(ask)
    ask.required_in_body("company_id", "type", "config")
    company, kind = ask.company(ask.body["company_id"]), ask.body["type"]
    if kind not in _BY_API:
        raise Refused(400, "type is not supported")
    if any(each["company_id"] == company["id"] and each["type"] == kind for each in ask.account.integrations.values()):
        raise Refused(400, "integration already exists for this company")
    integration = {
        "id": ask.world.new_number(),
        "company_id": company["id"],
        "type": kind,
        "state": "active",
        "config": _config(kind, ask.body["config"]),
        "signing_key": ask.world.new_id("")[:32],
    }
    ask.account.integrations[integration["id"]] = integration
    return created({name: value for name, value in integration.items() if name != "company_id"})


@answers("PUT", "integrations/*")
def update_integration(ask: Ask) -> Json:
    """The whole `config` is replaced (assumed: whether parts are merged is not documented)."""
    _needs_right(ask)
    integration = found_by_number(ask.account.integrations, ask.ids[0])
    if integration["type"] not in _BY_API:
        raise Refused(400, "integration cannot be changed by the API")
    if ask.body.get("state", "active") not in _STATES:
        raise Refused(400, "state is invalid")
    if "config" in ask.body:
        integration["config"] = _config(integration["type"], ask.body["config"])
    integration["state"] = ask.body.get("state", integration["state"])
    return _told(ask, integration)


def _config(kind: str, config: Json) -> Json:
    """As it is told again: each event with its addresses, unknown keys left out (assumed)."""
    if kind == "Custom":
        return {"grab_cookies": list(config.get("grab_cookies", ()))}
    for name, urls in config.items():
        if name in WEBHOOK_KEYS and not isinstance(urls, list):
            raise Refused(400, f"{name} must be an array")
    return {name: list(config.get(name) or ()) for name in WEBHOOK_KEYS}


@answers("DELETE", "integrations/*")
def disable_integration(ask: Ask) -> Told:
    """It stays, disabled."""
    _needs_right(ask)
    found_by_number(ask.account.integrations, ask.ids[0])["state"] = "disabled"
    return NO_CONTENT


@answers("GET", "integration_triggers")
def list_filters(ask: Ask) -> Json:
    """Of one company; told under another name than the path has."""
    company = ask.company(ask.required("company_id"))
    filters = [each for each in ask.account.triggers.values() if each["company_id"] == company["id"]]
    return page(ask, "integration_criteria", filters, dict)


@answers("GET", "integration_triggers/*")
def get_filter(ask: Ask) -> Json:
    """One filter."""
    return found_by_number(ask.account.triggers, ask.ids[0])


@answers("POST", "integration_triggers")
def create_filter(ask: Ask) -> Told:
    """For one integration, or for all of a company that have none of their own."""
    _needs_right(ask)
    ask.required_in_body("company_id")
    company, number = ask.company(ask.body["company_id"]), ask.body.get("integration_id")
    integration = found_by_number(ask.account.integrations, str(number)) if number else _DEFAULT_FILTER
    if any(
        each["company_id"] == company["id"] and each["integration_id"] == number
        for each in ask.account.triggers.values()
    ):
        raise Refused(400, "integration already has a trigger")
    trigger = {
        "id": ask.world.new_number(),
        "company_id": company["id"],
        "integration_id": number,
        **dict.fromkeys(_FILTER),
        "tracker_ids": [],
        "integration": {"id": integration["id"], "type": integration["type"]},
    }
    ask.account.triggers[trigger["id"]] = changed(trigger, ask.body, _FILTER)
    return created(trigger)


@answers("PUT", "integration_triggers/*")
def update_filter(ask: Ask) -> Json:
    """Its attributes; not whose it is."""
    _needs_right(ask)
    return changed(found_by_number(ask.account.triggers, ask.ids[0]), ask.body, _FILTER)


@answers("DELETE", "integration_triggers/*")
def delete_filter(ask: Ask) -> Told:
    """The integration goes on without."""
    _needs_right(ask)
    del ask.account.triggers[found_by_number(ask.account.triggers, ask.ids[0])["id"]]
    return NO_CONTENT


def _needs_right(ask: Ask) -> None:
    if ask.key.role == "reporting":
        raise Refused(403, NO_PERMISSION)
