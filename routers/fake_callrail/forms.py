"""Form submissions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from routers.fake_callrail.asking import Ask, Refused, Told, changed, created, found, tagged
from routers.fake_callrail.call_fields import formatted_number
from routers.fake_callrail.calls import amount, person_with
from routers.fake_callrail.companies import companies_of
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.times import local, window_of, without_colon, zone_of
from routers.fake_callrail.world import Json

_LEAD_STATUSES = ("good_lead", "not_a_lead", "not_scored")


@answers("GET", "form_submissions")
def list_forms(ask: Ask) -> Json:
    """Newest first."""
    forms = sorted(_asked_for(ask), key=lambda form: form["submitted_at"], reverse=ask.text("order") != "asc")
    return page(ask, "form_submissions", forms, lambda form: _told(ask, form))


def _asked_for(ask: Ask) -> list[Json]:
    window, company, tags = window_of(ask), ask.text("company_id"), set(ask.many("tags"))
    score, is_person = ask.one_of("lead_status", _LEAD_STATUSES), ask.text("person_lead") == "true"
    return [
        form
        for form in ask.account.forms.values()
        if window.holds(form["submitted_at"])
        and (not company or form["company_id"] == company)
        and (not score or (form["lead_status"] or "not_scored") == score)
        and (not is_person or form["person_id"] != "anonymous")
        and (not tags or tags.intersection(form["tags"]))
    ]


def _told(ask: Ask, form: Json) -> Json:
    zone = zone_of(ask)
    person = ask.account.people.get(form["person_id"], {})
    number = person.get("phone")
    name = person.get("name")
    defaults = {
        "id": form["id"],
        "company_id": form["company_id"],
        "person_id": form["person_id"],
        "form_data": form["form_data"],
        "form_url": form["form_url"],
        "landing_page_url": form["landing_page_url"],
        "referrer": form["referrer"],
        "referring_url": form["referring_url"],
        "submitted_at": local(form["submitted_at"], zone),
        "first_form": form["first_form"],
        "customer_phone_number": number or "",  # an empty text where there is none (observed)
        "customer_name": name,
        "customer_email": person.get("email") or form["form_data"].get("email_address"),
        "formatted_customer_phone_number": formatted_number(number),
        "formatted_customer_name": name,
        "source": "Google Organic" if form["referrer"] == "google_organic" else "Direct",
        "keywords": None,
        "campaign": None,
        "medium": "organic" if form["referrer"] == "google_organic" else "direct",
    }
    extra = {
        "company_name": ask.account.companies[form["company_id"]]["name"],
        "lead_status": form["lead_status"],
        "value": form["value"],
        "note": form["note"],
        "tags": form["tags"],
        "utm_source": None,
        "utm_medium": None,
        "utm_campaign": None,
        "form_name": form["form_name"],
        "timeline_url": f"{ask.origin}/forms/{form['id']}",
        "milestones": {},
    }
    return ask.with_fields(defaults, extra)


@answers("GET", "form_submissions/*")
def get_form(ask: Ask) -> Json:
    """One form; not documented."""
    return _told(ask, found(ask.account.forms, ask.ids[0]))


@answers("POST", "form_submissions")
def create_form(ask: Ask) -> Told:
    """A number in its data links or makes the person."""
    ask.required_in_body("company_id", "form_url", "form_data")
    if not ask.body.get("session_id"):
        ask.required_in_body("referrer", "referring_url", "landing_page_url")
    company = ask.company(ask.body["company_id"])
    data = ask.body["form_data"]
    digits = "".join(filter(str.isdigit, str(data.get("phone_number") or data.get("phone") or "")))[-10:]
    person = person_with(ask, f"+1{digits}", company)["id"] if len(digits) == 10 else "anonymous"
    form = new_form(ask.world.new_id("FRM"), company["id"], person, data, ask.world.now()) | {
        "form_url": ask.body["form_url"],
        "landing_page_url": ask.body.get("landing_page_url"),
        "referrer": ask.body.get("referrer"),
        "referring_url": ask.body.get("referring_url"),
    }
    ask.account.forms[form["id"]] = form
    names = ("id", "company_id", "person_id", "form_data", "form_url", "landing_page_url", "referrer", "referring_url")
    return created(
        {name: form[name] for name in names}
        | {"submitted_at": local(form["submitted_at"], zone_of(ask)), "first_form": form["first_form"]}
    )


def new_form(form_id: str, company_id: str, person_id: str, data: Json, at: object) -> Json:
    """A form as it is kept; its time is no text."""
    return {
        "id": form_id,
        "company_id": company_id,
        "person_id": person_id,
        "form_data": data,
        "form_url": "https://www.example.com/contact",
        "landing_page_url": "https://www.example.com/",
        "referrer": "google_organic",
        "referring_url": "https://www.google.com/",
        "submitted_at": at,
        "first_form": True,
        "form_name": "Contact form",
        "lead_status": None,
        "value": None,
        "note": None,
        "tags": [],
    }


@answers("PUT", "form_submissions/*")
def update_form(ask: Ask) -> Json:
    """Tag, note, score and value."""
    form = found(ask.account.forms, ask.ids[0])
    if "tags" in ask.body:
        form["tags"] = tagged(ask, ask.company(form["company_id"]), form["tags"])
    if "value" in ask.body:
        form["value"] = amount(ask.body["value"])
    return _told(ask, changed(form, ask.body, ("note", "lead_status")))


@answers("POST", "form_submissions/ignored_fields")
def ignore_fields(ask: Ask) -> Json:
    """From now on, and in what is kept."""
    ask.required_in_body("company_ids", "field_names")
    ids = {company["id"] for company in companies_of(ask)}
    for form in ask.account.forms.values():
        if form["company_id"] in ids:
            form["form_data"] = {
                name: value for name, value in form["form_data"].items() if name not in ask.body["field_names"]
            }
    return {"message": "The fields will be ignored."}


@answers("GET", "forms/summary")
def summarize(ask: Ask) -> Json:
    """Totals of a time, and of groups where they are asked for."""
    window, forms = window_of(ask), _asked_for(ask)
    url, metrics = ask.text("form_URL"), [name for name in ask.many("fields") if name in _METRICS] or ["total_forms"]
    forms = [form for form in forms if not url or form["form_url"] == url]
    told: Json = {
        "start_date": without_colon(window.start),
        "end_date": without_colon(window.end),
        "time_zone": window.zone.key,
        "total_results": {name: _METRICS[name](forms) for name in metrics},
    }
    group_by = ask.text("group_by")
    if group_by is None:
        return told
    if group_by not in _GROUPS:
        raise Refused(400, f"group_by must be: '{', '.join(_GROUPS)}'")
    groups: dict[object, list[Json]] = {}
    for form in forms:
        groups.setdefault(_told(ask, form).get(_GROUPS[group_by], form.get(_GROUPS[group_by])), []).append(form)
    return told | {
        "grouped_by": group_by,
        "grouped_results": [
            {"key": key, **{name: _METRICS[name](members) for name in metrics}} for key, members in groups.items()
        ],
    }


_GROUPS = {
    "source": "source",
    "keywords": "keywords",
    "campaign": "campaign",
    "referrer": "referrer",
    "landing_page": "landing_page_url",
    "form_name": "form_name",
    "company": "company_id",
}
_METRICS: dict[str, Callable[[Sequence[Json]], int]] = {
    "total_forms": len,
    "first_forms": lambda forms: sum(form["first_form"] for form in forms),
    "leads": lambda forms: sum(form["lead_status"] == "good_lead" for form in forms),
}
