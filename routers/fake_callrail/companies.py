"""Companies. Deleting one only disables it, with all its numbers."""

from __future__ import annotations

from routers.fake_callrail.asking import NO_CONTENT, Ask, Refused, Told, changed, created
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.times import utc
from routers.fake_callrail.world import Json

_SETTINGS = (
    *("name", "time_zone", "callscore_enabled", "callscribe_enabled", "swap_ppc_override", "swap_landing_override"),
    *("swap_cookie_duration", "swap_cookie_duration_unit"),
)


def new_company(company_id: str, name: str, time_zone: str, created_at: str) -> Json:
    """A company as it is kept."""
    return {
        "id": company_id,
        "name": name,
        "status": "active",
        "time_zone": time_zone,
        "created_at": created_at,
        "disabled_at": None,
        "dni_active": None,
        "script_url": f"//cdn.callrail.com/companies/{company_id[3:]}/swap.js",
        "callscribe_enabled": False,
        "callscore_enabled": False,
        "lead_scoring_enabled": False,
        "keyword_spotting_enabled": False,
        "swap_exclude_jquery": None,
        "swap_ppc_override": None,
        "swap_landing_override": None,
        "swap_cookie_duration": 6,
        "swap_cookie_duration_unit": "months",
        "form_capture": False,
    }


@answers("GET", "companies")
def list_companies(ask: Ask) -> Json:
    """By name, disabled ones too where `status` does not say otherwise (observed)."""
    status, search = ask.one_of("status", ("active", "disabled")), (ask.text("search") or "").casefold()
    companies = [
        company
        for company in ask.account.companies.values()
        if (not status or company["status"] == status) and search in company["name"].casefold()
    ]
    companies.sort(key=lambda each: each["name"], reverse=ask.text("order") == "desc")
    return page(ask, "companies", companies, lambda each: _told(ask, each))


@answers("GET", "companies/*")
def get_company(ask: Ask) -> Json:
    """One company."""
    return _told(ask, ask.company(ask.ids[0]))


def _told(ask: Ask, company: Json) -> Json:
    verified = [
        {"name": each["name"], "phone_number": each["phone_number"]}
        for each in ask.account.caller_ids.values()
        if each["verified"] and each["company_id"] == company["id"]
    ]
    return ask.with_fields(company, {"verified_caller_ids": verified})


@answers("POST", "companies")
def create_company(ask: Ask) -> Told:
    """Its answer alone does not tell of `form_capture` (documented)."""
    ask.needs_admin()
    ask.required_in_body("name")
    zone = ask.body.get("time_zone") or "America/New_York"
    company = new_company(ask.world.new_id("COM"), ask.body["name"], zone, utc(ask.world.now()))
    ask.account.companies[company["id"]] = company
    return created({name: value for name, value in company.items() if name != "form_capture"})


@answers("PUT", "companies/*")
def update_company(ask: Ask) -> Json:
    """What is not told of stays as it is."""
    ask.needs_admin()
    company = changed(ask.company(ask.ids[0]), ask.body, _SETTINGS)
    if "external_form_capture" in ask.body:
        company["form_capture"] = ask.body["external_form_capture"]
    return company


@answers("POST", "companies/bulk_update")
def update_companies(ask: Ask) -> Json:
    """Whether forms of other makers are captured, for some or for `["all"]`."""
    ask.needs_admin()
    companies = companies_of(ask)
    for company in companies:
        company["form_capture"] = ask.body.get("external_form_capture")
    return {"updated_records": len(companies)}


def companies_of(ask: Ask) -> list[Json]:
    """Those that `company_ids` in the body names."""
    ask.required_in_body("company_ids")
    ids = ask.body["company_ids"]
    return list(ask.account.companies.values()) if ids == ["all"] else [ask.company(each) for each in ids]


@answers("DELETE", "companies/*")
def disable_company(ask: Ask) -> Told:
    """Its numbers stop. The last active company stays."""
    ask.needs_admin()
    company = ask.company(ask.ids[0])
    if not any(each["status"] == "active" for each in ask.account.companies.values() if each is not company):
        raise Refused(400, "You must have at least one active company.")
    company |= {"status": "disabled", "disabled_at": utc(ask.world.now())}
    for tracker in ask.account.trackers.values():
        if tracker["company"]["id"] == company["id"]:
            tracker |= {"status": "disabled", "disabled_at": utc(ask.world.now())}
    return NO_CONTENT
