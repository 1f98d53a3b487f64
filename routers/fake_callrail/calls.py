"""Calls: listed, read, placed and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from routers.fake_callrail.asking import Ask, Refused, Told, changed, created, not_found, tagged
from routers.fake_callrail.call_fields import access_key, default_fields, every_field, session_page_views
from routers.fake_callrail.call_totals import summary, timeseries
from routers.fake_callrail.paging import page, relative_page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.storage import elsewhere
from routers.fake_callrail.times import window_of, zone_of
from routers.fake_callrail.world import Call, Json

_CALL_TYPES: dict[str, Callable[[Call], bool]] = {
    "first_call": lambda call: call.is_first,
    "missed": lambda call: call.is_missed,
    "voicemails": lambda call: call.voicemail,
    "inbound": lambda call: call.direction == "inbound",
    "outbound": lambda call: call.direction == "outbound",
}
_ANSWER_STATUSES: dict[str, Callable[[Call], bool]] = {
    "answered": lambda call: not call.is_missed,
    "missed": lambda call: call.is_missed,
    "voicemail": lambda call: call.voicemail,
}
_SORTS: dict[str, Callable[[Call], Any]] = {
    "customer_name": lambda call: call.customer_name or "",
    "customer_phone_number": lambda call: call.person["phone"] or "",
    "duration": lambda call: call.duration or 0,
    "source": lambda call: call.source,
    "device_type": lambda call: call.device or "",
    "answered": lambda call: bool(call.answered),
    "first_call": lambda call: call.is_first,
    "source_name": lambda call: call.tracker["name"],
    "lead_status": lambda call: call.lead_status or "",
    "tags": lambda call: call.tags,
}


@answers("GET", "calls")
def list_calls(ask: Ask) -> Json:
    """By number of the page, or with `relative_pagination=true` by the address of the next."""
    zone = zone_of(ask)
    tell = partial(_told, ask, zone=zone, is_single=False)
    if ask.text("relative_pagination") == "true":
        return relative_page(ask, "calls", _sorted(ask, _asked_for(ask)), tell)
    return page(ask, "calls", _sorted(ask, _asked_for(ask)), tell)


def _asked_for(ask: Ask) -> Sequence[Call]:
    window = window_of(ask)
    calls = selected(ask, ask.account.calls.between(window.start, window.end))
    call_type = ask.one_of("call_type", _CALL_TYPES)
    search = (ask.text("search") or "").casefold()
    if call_type:
        calls = [call for call in calls if _CALL_TYPES[call_type](call)]
    if search:
        calls = [call for call in calls if _matches(call, search)]
    return calls


def selected(ask: Ask, calls: Sequence[Call]) -> Sequence[Call]:
    """Those of *calls* that the filters common to lists and summaries leave. Unknown filters leave all (observed)."""
    tests: list[Callable[[Call], bool]] = []
    if company := ask.text("company_id"):
        tests.append(lambda call: call.tracker["company"]["id"] == company)
    if trackers := {*ask.many("tracker_ids"), *ask.many("tracker_id")}:
        tests.append(lambda call: call.tracker["id"] in trackers)
    if status := ask.one_of("answer_status", _ANSWER_STATUSES):
        tests.append(_ANSWER_STATUSES[status])
    if device := ask.one_of("device", ("desktop", "mobile")):
        tests.append(lambda call: call.device == device)
    if direction := ask.one_of("direction", ("inbound", "outbound")):
        tests.append(lambda call: call.direction == direction)
    if score := ask.one_of("lead_status", ("good_lead", "not_a_lead", "not_scored")):
        tests.append(lambda call: (call.lead_status or "not_scored") == score)
    if tags := set(ask.many("tags")):
        tests.append(lambda call: not tags.isdisjoint(call.tags))
    return [call for call in calls if all(test(call) for test in tests)] if tests else calls


def _matches(call: Call, search: str) -> bool:
    """As the search of calls does: any fragment of a number, and the texts (observed)."""
    digits = "".join(filter(str.isdigit, search))
    numbers = (call.person["phone"] or "", call.tracker["destination_number"], *call.tracker["tracking_numbers"])
    texts = (call.customer_name or "", call.note or "", call.source)
    return bool(digits and any(digits in number for number in numbers)) or any(
        search in text.casefold() for text in texts
    )


def _sorted(ask: Ask, calls: Sequence[Call]) -> Sequence[Call]:
    """By time, newest first, where nothing else is asked for."""
    sort = ask.text("sort") or "start_time"
    is_descending = (ask.text("order") or ("desc" if sort == "start_time" else "asc")) == "desc"
    ordered = calls if sort not in _SORTS else sorted(calls, key=_SORTS[sort])
    return ordered[::-1] if is_descending else ordered


def _told(ask: Ask, call: Call, *, zone: ZoneInfo, is_single: bool) -> Json:
    told = default_fields(ask, call, zone)
    wanted = ask.many("fields")
    if wanted:
        every = every_field(ask, call, zone, is_single=is_single)
        told |= {name: every[name] for name in wanted if name in every}
    return told


@answers("GET", "calls/summary")
def summarize(ask: Ask) -> Json:
    """Totals of a time, and of groups where they are asked for."""
    window = window_of(ask)
    return summary(ask, selected(ask, ask.account.calls.between(window.start, window.end)), window)


@answers("GET", "calls/timeseries")
def by_interval(ask: Ask) -> Json:
    """Totals of each interval of a time."""
    window = window_of(ask)
    return timeseries(ask, selected(ask, ask.account.calls.between(window.start, window.end)), window)


@answers("POST", "calls", budget="calls")
def place(ask: Ask) -> Told:
    """The business is rung, then the customer. Nobody is, here; the call is there at once, not yet answered."""
    ask.required_in_body("caller_id", "customer_phone_number", "business_phone_number")
    caller_id = _digits(ask.body["caller_id"])
    tracker = next(
        (
            each
            for each in ask.account.trackers.values()
            if any(_digits(number) == caller_id for number in each["tracking_numbers"])
        ),
        None,
    )
    verified = {_digits(each["phone_number"]) for each in ask.account.caller_ids.values() if each["verified"]}
    if tracker is None and caller_id not in verified:
        raise Refused(400, "caller_id must be a tracking number or a verified caller id")
    tracker = tracker or next(iter(ask.account.trackers.values()))
    number = f"+1{_digits(ask.body['customer_phone_number'])}"
    person = person_with(ask, number, tracker["company"])
    call = Call(
        id=ask.world.new_id("CAL"),
        start=ask.world.now(),
        tracker=tracker,
        person=person,
        direction="outbound",
        duration=None,
        answered=None,
    )
    ask.account.calls.add(call)
    told = default_fields(ask, call, zone_of(ask))
    del told["recording_player"]
    return created(told)


def _digits(number: object) -> str:
    """The ten digits of an American number."""
    return "".join(filter(str.isdigit, str(number)))[-10:]


def person_with(ask: Ask, number: str, company: Json) -> Json:
    """The person of *company* with this number; a new one where there was none."""
    for person in ask.account.people.values():
        if person["phone"] == number and person["company_id"] == company["id"]:
            return person
    person = {
        "id": ask.world.new_id("PER"),
        "name": None,
        "phone": number,
        "email": None,
        "created_at": ask.world.now(),
        "company_id": company["id"],
        "company_name": company["name"],
    }
    return ask.account.people.setdefault(person["id"], person)


@answers("GET", "calls/*")
def get_call(ask: Ask) -> Json:
    """One call."""
    return _told(ask, _call(ask), zone=zone_of(ask), is_single=True)


@answers("PUT", "calls/*")
def update_call(ask: Ask) -> Json:
    """Tag, note, score, rename, or mark as spam, which cannot be undone."""
    call, body = _call(ask), ask.body
    if "value" in body and ask.quirks.value_of_a_call_fails:
        raise Refused(500, "Internal Server Error")
    if body.get("lead_status") == "good_lead" and call.lead_status == "previously_marked_good_lead":
        raise Refused(400, "lead_status is previously_marked_good_lead")
    if "tags" in body:
        call.tags = tuple(tagged(ask, call.tracker["company"], call.tags))
    new = changed({}, body, ("note", "lead_status", "customer_name"))
    for name, value in new.items():
        setattr(call, name, value)
    if "value" in body:
        call.value = amount(body["value"])
    if body.get("spam") is True:
        ask.account.calls.remove(call)
    told = default_fields(ask, call, zone_of(ask))
    del told["recording_player"]
    return told


def amount(written: object) -> int | None:
    """The whole currency of `"$1.00"` or `"1.00"`."""
    if written in (None, ""):
        return None
    try:
        return int(float(str(written).replace("$", "").replace(",", "")))
    except ValueError:
        raise Refused(400, "value is invalid") from None


@answers("GET", "calls/*/recording")
def recording(ask: Ask) -> Json:
    """Where the recording is: an address with an access key, which sends on to the audio."""
    call = _call(ask)
    call.recording_asks += 1
    if not call.is_recorded or call.recording_asks <= ask.quirks.recording_asks_before_ready:
        raise not_found()
    return {"url": f"{elsewhere(ask.origin)}/calls/{call.id}/recording/redirect?access_key={access_key(call.id)}"}


@answers("GET", "calls/*/page_views")
def page_views(ask: Ask) -> Json:
    """What the caller saw before calling, newest first; there is nothing where a tracker of a source was called."""
    call, zone = _call(ask), zone_of(ask)
    if call.tracker["type"] != "session":
        raise not_found()
    return page(ask, "page_views", session_page_views(call, zone), dict)


def _call(ask: Ask) -> Call:
    call = ask.account.calls.get(ask.ids[0])
    if call is None:
        raise not_found()
    return call
