"""A small world to begin with. All of it is invented: numbers for fiction, addresses of example.com."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from routers.fake_callrail.companies import new_company
from routers.fake_callrail.forms import new_form
from routers.fake_callrail.integrations import WEBHOOK_KEYS
from routers.fake_callrail.texts import new_conversation, new_message
from routers.fake_callrail.times import local, utc
from routers.fake_callrail.trackers import new_tracker
from routers.fake_callrail.users import new_user
from routers.fake_callrail.world import Account, Call, Json, World

_DAYS = 30
_AREAS = ("404", "212", "303", "512")
_FIRST = ("TAYLOR", "JORDAN", "MORGAN", "CASEY", "RILEY", "QUINN", "AVERY", "ROWAN")
_LAST = ("EXAMPLE", "SAMPLE", "SPECIMEN", "FICTION")
# Source, medium and campaign, with how often they bring a call.
_SOURCES = (
    ("Google Ads", "cpc", "spring_drain_cleaning", 4),
    ("Google Organic", "organic", None, 3),
    ("Direct", "direct", None, 2),
    ("Google My Business", "gmb", None, 1),
)
_KIND_WEIGHTS = {"answered": 11, "missed": 3, "voicemail": 3, "outbound": 3}


def small_world(*, calls: int = 40, seed: int = 1, now: datetime | None = None) -> World:
    """Two accounts with three companies; the same each time for the same *seed* and *now*.

    Args:
        calls: Calls of the first account, over the last thirty days.
        now: When it is in this world, for ever; by default it is what it is.
    """
    begun = now or datetime.now(UTC)
    world = World((lambda: begun) if now else (lambda: datetime.now(UTC)), seed)
    agency = Account("ACC0191f00a0a1b7c2d8e3f405162738495", 227_799_611, "Example Agency")
    roofing = Account(world.new_id("ACC"), 227_799_622, "Example Roofing", has_premium=False)
    world.accounts += [agency, roofing]
    _settle(
        world, agency, {"COM0191f00a1b2c7d3e8f405162738495a6": "Acme Plumbing", world.new_id("COM"): "Globex Dental"}
    )
    _settle(world, roofing, {world.new_id("COM"): "Example Roofing"})
    dice = random.Random(seed)  # noqa: S311 - a world to play with
    _live(world, agency, calls, begun, dice)
    _live(world, roofing, 5, begun, dice)
    return world


def _settle(world: World, account: Account, names: dict[str, str]) -> None:
    """Companies with trackers, users, tags and all that is set up once."""
    created_at = datetime(2024, 4, 6, 20, 38, 27, 505_000, tzinfo=UTC)
    for company_id, name in names.items():
        company = new_company(company_id, name, "America/New_York", utc(created_at))
        account.companies[company_id] = company
        number = len(account.trackers) * 8
        pool = [f"+1770555{100 + number + at:04}" for at in range(4)]
        _add_tracker(world, account, company, "Website Pool", "session", pool)
        billboard = _add_tracker(world, account, company, "Highway Billboard", "source", [f"+1770555{104 + number:04}"])
        billboard |= {"source": {"type": "offline"}, "campaign_name": "Billboards 2026"}
        for tag in ("Sales", "Service"):
            tag_id = world.new_number()
            account.tags[tag_id] = _tag(tag_id, tag, company_id, local(created_at))
    companies = list(account.companies.values())
    for first, role in (("Sam", "admin"), ("Alex", "reporting")):
        address = f"{first.lower()}@example.com"
        who = {"first_name": first, "last_name": "Owner", "email": address, "role": role}
        user = new_user(world.new_id("USR"), who, companies, local(created_at), is_accepted=True)
        account.users[user["id"]] = user
    _connect(world, account, companies[0])


def _add_tracker(world: World, account: Account, company: Json, name: str, kind: str, numbers: list[str]) -> Json:
    tracker = new_tracker(world.new_id("TRK"), name, kind, company, numbers, "2024-07-05T19:06:10Z")
    return account.trackers.setdefault(tracker["id"], tracker)


def _tag(number: int, name: str, company_id: str, created_at: str) -> Json:
    told = {"id": number, "name": name, "tag_level": "company", "color": "blue2", "background_color": "blue2"}
    return told | {"company_id": company_id, "status": "enabled", "created_at": created_at}


def _connect(world: World, account: Account, company: Json) -> None:
    """What the first company has beside: other systems' webhooks, a filter, a notification, a verified number."""
    owner = next(iter(account.users.values()))
    _integrate(world, account, company)
    _tell(world, account, company, owner)
    _sum_up(world, account, company, owner)
    _answer_texts(world, account, company)


def _integrate(world: World, account: Account, company: Json) -> None:
    integration: Json = {
        "id": world.new_number(),
        "company_id": company["id"],
        "type": "Webhooks",
        "state": "active",
        "config": {key: [] for key in WEBHOOK_KEYS} | {"post_call_webhook": ["https://other.example.net/keep-me"]},
        "signing_key": world.new_id("")[:32],
    }
    account.integrations[integration["id"]] = integration
    analytics: Json = {
        "id": world.new_number(),
        "company_id": company["id"],
        "type": "GoogleAnalytics",
        "state": "disabled",
    }
    account.integrations[analytics["id"]] = analytics | {"config": {"api_key": "TEST-not-a-key"}}
    front_desk: Json = {
        "id": world.new_number(),
        "phone_number": "+14045550188",
        "name": "Front desk",
        "verified": True,
    }
    account.caller_ids[front_desk["id"]] = front_desk | {
        "company_id": company["id"],
        "created_at": "2025-08-26T09:29:00.198-04:00",
        "validation_code": "111201",
    }


def _tell(world: World, account: Account, company: Json, owner: Json) -> None:
    notification: Json = {
        "id": world.new_number(),
        "user_id": owner["id"],
        "email": None,
        "agent_id": None,
        "agent_name": None,
        "alert_type": "all",
        "call_enabled": True,
        "sms_enabled": True,
        "company_id": company["id"],
        "company_name": company["name"],
        "tracker_id": None,
        "tracker_name": None,
        "name": f"Notifications for {company['name']}",
        "send_desktop": False,
        "send_email": True,
        "send_push": False,
    }
    account.notifications[notification["id"]] = notification


def _sum_up(world: World, account: Account, company: Json, owner: Json) -> None:
    summary = {
        "id": world.new_id("CSS"),
        "scope": {"id": company["id"], "type": "Company", "name": company["name"]},
        "frequency": ["weekly"],
        "filters": {},
        "config": {"summary_statistics": True, "top_sources": True, "top_keywords": True, "call_log": True},
        "user": {name: owner[name] for name in ("id", "name", "email")},
        "email": owner["email"],
    }
    account.summary_emails[summary["id"]] = summary


def _answer_texts(world: World, account: Account, company: Json) -> None:
    step = world.new_id("MFS")
    flow = {
        "id": world.new_id("MFL"),
        "company_id": company["id"],
        "name": "Evening reply",
        "updated_at": "2026-02-26T11:11:53.353-05:00",
        "tracker_ids": [],
        "initial_step_id": step,
        "steps": {step: {"id": step, "type": "no_response", "initial_step": True, "next_step_id": None}},
    }
    account.message_flows[flow["id"]] = flow


def _live(world: World, account: Account, calls: int, now: datetime, dice: random.Random) -> None:
    """Thirty days of calls, some forms and some texts, oldest first."""
    trackers = list(account.trackers.values())
    gap = timedelta(days=_DAYS) / max(calls, 1)
    people: list[Json] = []
    for number in range(calls):
        start = now - timedelta(days=_DAYS) + gap * (number + 0.5)
        start = start.replace(microsecond=start.microsecond // 1000 * 1000)
        tracker = dice.choice(trackers)
        is_new = not people or dice.random() < 0.6
        person = _new_person(world, account, tracker, start, len(people), dice) if is_new else dice.choice(people)
        if is_new:
            people.append(person)
        account.calls.add(_call(world, person, tracker, start, is_new, dice))
    for person in people[-12:]:
        _write(world, account, person, now, dice)


def _new_person(world: World, account: Account, tracker: Json, at: datetime, number: int, dice: random.Random) -> Json:
    name = f"{dice.choice(_FIRST)} {dice.choice(_LAST)}"
    person = {
        "id": world.new_id("PER"),
        "name": name,
        "phone": f"+1{_AREAS[number % 4]}555{number // 4 % 10_000:04}",
        "email": None,
        "created_at": at,
        "company_id": tracker["company"]["id"],
        "company_name": tracker["company"]["name"],
    }
    return account.people.setdefault(person["id"], person)


def _call(world: World, person: Json, tracker: Json, start: datetime, is_first: bool, dice: random.Random) -> Call:
    kind = dice.choices(list(_KIND_WEIGHTS), list(_KIND_WEIGHTS.values()))[0]
    source, medium, campaign, _ = dice.choices(_SOURCES, [each[3] for each in _SOURCES])[0]
    is_talk = kind in ("answered", "outbound")
    return Call(
        id=world.new_id("CAL"),
        start=start,
        tracker=tracker,
        person=person,
        direction="outbound" if kind == "outbound" else "inbound",
        duration=dice.randrange(20, 400) if kind != "missed" else dice.randrange(3, 40),
        answered=kind != "missed",  # a voicemail too is told as answered (observed)
        voicemail=kind == "voicemail",
        is_recorded=kind != "missed",
        is_first=is_first and kind != "outbound",
        agent_email="alex@example.com" if is_talk else None,
        source=source,
        medium=medium,
        campaign=campaign,
        device=dice.choice(("desktop", "mobile")) if tracker["type"] == "session" else None,
        customer_name=person["name"],
        tags=("Sales",) if dice.random() < 0.2 else (),
        lead_status=dice.choices((None, "good_lead", "not_a_lead"), (6, 3, 1))[0],
    )


def _write(world: World, account: Account, person: Json, now: datetime, dice: random.Random) -> None:
    """A form or some texts of a person, in the last days."""
    at = now - timedelta(hours=dice.randrange(1, 120))
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    if dice.random() < 0.5:
        data = {
            "your_name": person["name"].title(),
            "email_address": "visitor@example.com",
            "phone_number": person["phone"],
        }
        form = new_form(world.new_id("FRM"), person["company_id"], person["id"], data, at)
        account.forms[form["id"]] = form
        return
    tracker = next(each for each in account.trackers.values() if each["company"]["id"] == person["company_id"])
    conversation = new_conversation(world, account, person, tracker)
    new_message(world, conversation, at, "incoming", "Can you come at 10am?")
    new_message(world, conversation, at + timedelta(minutes=2), "incoming", "Here is the leak", 1)
    new_message(world, conversation, at + timedelta(minutes=5), "outgoing", "Yes, 10am works. Reply STOP to opt out.")
