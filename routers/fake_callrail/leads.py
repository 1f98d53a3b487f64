"""People, and all that they did. Here `fields=` narrows, and does not add (documented)."""

from __future__ import annotations

from routers.fake_callrail.asking import Ask, found
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.times import local, utc
from routers.fake_callrail.world import Call, Json


@answers("GET", "leads")
def list_leads(ask: Ask) -> Json:
    """Newest first; there is no filter but the company."""
    company, sort = ask.text("company_id"), ask.one_of("sort", ("created_at", "name", "email")) or "created_at"
    people = [each for each in ask.account.people.values() if not company or each["company_id"] == company]
    is_descending = (ask.text("order") or "desc") == "desc"
    if sort == "created_at":
        people.sort(key=lambda each: each["created_at"], reverse=is_descending)
    else:
        people.sort(key=lambda each: each[sort] or "", reverse=is_descending)
    return page(ask, "leads", people, lambda each: _narrowed(ask, each | {"created_at": utc(each["created_at"])}))


def _narrowed(ask: Ask, told: Json, *always: str) -> Json:
    wanted = ask.many("fields")
    return {name: value for name, value in told.items() if not wanted or name in (*always, *wanted)}


@answers("GET", "leads/*/timeline")
def timeline(ask: Ask) -> Json:
    """One person, and every event of theirs."""
    person = found(ask.account.people, ask.ids[0])
    events = _events(ask, person)
    is_oldest_first = ask.text("sort") == "created_at"
    events.sort(key=lambda event: event["event_date"], reverse=not is_oldest_first)
    paged = page(ask, "timeline", events, lambda event: _narrowed(ask, event, "type", "id", "event_date"))
    return {name: value for name, value in paged.items() if name != "timeline"} | {
        "lead": _lead(ask, person, events),
        "timeline": paged["timeline"],
    }


def _lead(ask: Ask, person: Json, events: list[Json]) -> Json:
    calls = ask.account.calls.of_person(person["id"])
    first = calls[0] if calls else None
    touch = {
        "touchpoint_type": "paid_search" if first and first.medium == "cpc" else "direct",
        "source": first.source if first else None,
        "medium": first.medium if first else None,
        "created_at": utc(person["created_at"]),
    }
    numbers = {tag["name"]: tag for tag in ask.account.tags.values()}
    names = dict.fromkeys(name for call in calls for name in call.tags)
    return {
        "customer_name": person["name"],
        "customer_phone_number": person["phone"],
        "total_interactions": sum(event["type"] != "milestone" for event in events),
        "first_touch": touch,
        "last_touch": {"touchpoint_type": "direct", "created_at": events[0]["event_date"] if events else None},
        "lead_creation": {"touchpoint_type": touch["touchpoint_type"], "lead_creation_time": touch["created_at"]},
        "lead_qualification": None,
        # An id in a string, although tags have numbers (documented so).
        "tags": [
            {"id": str(numbers[name]["id"]), "name": name, "color": numbers[name]["color"]}
            for name in names
            if name in numbers
        ],
        "convert_assist": None,
        "voice_assist": False,
        "transcript": ask.account.has_premium and any(call.is_recorded for call in calls),
        "source": touch["source"],
        "medium": touch["medium"],
        "campaign": first.campaign if first else None,
        "landing_page_url": "https://www.example.com/",
        "referrer_url": None,
        "click_id": {"gclid": f"TEST{first.id[-8:]}"} if first and first.medium == "cpc" else None,
    }


def _events(ask: Ask, person: Json) -> list[Json]:
    calls = [_call(call) for call in ask.account.calls.of_person(person["id"])]
    forms = [_form(ask, each) for each in ask.account.forms.values() if each["person_id"] == person["id"]]
    texts = [_text(person, each) for each in ask.account.conversations.values() if each["person_id"] == person["id"]]
    created = {"type": "milestone", "id": person["id"], "event_date": utc(person["created_at"])}
    return [*calls, *forms, *texts, created | {"milestone_type": "lead_created", "touchpoint_type": "direct"}]


def _call(call: Call) -> Json:
    return {
        "type": "call",
        "id": call.id,
        "event_date": utc(call.start),
        "customer_name": call.customer_name,
        "customer_phone_number": call.person["phone"],
        "direction": call.direction,
        "duration": call.duration,
        "answered": call.answered,
        "recording": None,
        "start_time": local(call.start),
        "tracking_phone_number": call.tracker["tracking_numbers"][0],
    }


def _form(ask: Ask, form: Json) -> Json:
    return {
        "type": "form_submission",
        "id": form["id"],
        "event_date": utc(form["submitted_at"]),
        "form_name": form["form_name"],
        "form_url": form["form_url"],
        "form_fields": form["form_data"],
        "form_submission_url": f"{ask.origin}/forms/{form['id']}",
    }


def _text(person: Json, conversation: Json) -> Json:
    first = conversation["messages"][0]
    return {
        "type": "sms",
        "id": conversation["id"],
        "event_date": utc(first["at"]),
        "message_content": first["content"],
        "message_phone_number": person["phone"],
        "message_type": "sms",
        "thread_id": conversation["id"],
    }
