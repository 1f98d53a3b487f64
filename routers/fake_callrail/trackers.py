"""Trackers: numbers that follow one source, and pools of numbers that follow visits."""

from __future__ import annotations

from routers.fake_callrail.asking import NO_CONTENT, Ask, Refused, Told, changed, created, found
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.times import utc
from routers.fake_callrail.world import Json

_BY_FIELDS = ("campaign_name", "swap_targets")
_SOURCES = {
    *("all", "landing_url", "landing_params", "offline", "web_referrer", "direct", "search"),
    *("google_ad_extension", "mobile_ad_extension", "google_my_business", "facebook_all", "bing_all"),
}
_SETTINGS = ("name", "call_flow", "source", "swap_targets", "whisper_message", "sms_enabled", "message_flow")
_POOL = range(4, 51)


@answers("GET", "trackers")
def list_trackers(ask: Ask) -> Json:
    """By name."""
    company, kind, status = ask.text("company_id"), ask.text("type"), ask.text("status")
    search = (ask.text("search") or "").casefold()
    trackers = [
        each
        for each in ask.account.trackers.values()
        if (not company or each["company"]["id"] == company)
        and (not kind or each["type"] == kind)
        and (not status or each["status"] == status)
        and search in each["name"].casefold()
    ]
    trackers.sort(key=lambda each: each["name"], reverse=ask.text("order") == "desc")
    return page(ask, "trackers", trackers, lambda each: _told(ask, each))


@answers("GET", "trackers/*")
def get_tracker(ask: Ask) -> Json:
    """One tracker."""
    return _told(ask, found(ask.account.trackers, ask.ids[0]))


def _told(ask: Ask, tracker: Json) -> Json:
    defaults = {name: value for name, value in tracker.items() if name not in (*_BY_FIELDS, "message_flow")}
    return ask.with_fields(defaults, {name: tracker[name] for name in _BY_FIELDS})


def new_tracker(tracker_id: str, name: str, kind: str, company: Json, numbers: list[str], created_at: str) -> Json:
    """A tracker as it is kept."""
    destination = "+14045550188"
    return {
        "id": tracker_id,
        "name": name,
        "type": kind,
        "status": "active",
        "destination_number": destination,
        "tracking_numbers": numbers,
        "whisper_message": None,
        "sms_enabled": True,
        "sms_supported": True,
        "company": {"id": company["id"], "name": company["name"]},
        "call_flow": {"type": "basic", "recording_enabled": True, "destination_number": destination},
        "source": {"type": "all"},
        "created_at": created_at,
        "disabled_at": None,
        "campaign_name": None,
        "swap_targets": [],
        "message_flow": None,
    }


@answers("POST", "trackers")
def create_tracker(ask: Ask) -> Told:
    """One number for a source, or a pool for visits."""
    ask.required_in_body("name", "type", "company_id", "call_flow", "source")
    body, kind = ask.body, ask.body["type"]
    company = ask.company(body["company_id"])
    if kind == "session":
        ask.required_in_body("pool_size", "pool_numbers")
        if int(body["pool_size"]) not in _POOL:
            raise Refused(400, "pool_size must be between 4 and 50")
        wanted, count = body["pool_numbers"], int(body["pool_size"])
    elif kind == "source":
        ask.required_in_body("tracking_number")
        _check_source(body["source"])
        wanted, count = body["tracking_number"], 1
    else:
        raise Refused(400, "type is invalid")
    numbers = _numbers(ask, wanted, count)
    tracker = new_tracker(ask.world.new_id("TRK"), body["name"], kind, company, numbers, utc(ask.world.now()))
    _apply(tracker, body)
    ask.account.trackers[tracker["id"]] = tracker
    return created(tracker)


@answers("PUT", "trackers/*")
def update_tracker(ask: Ask) -> Json:
    """Its settings; a pool may only grow."""
    tracker, body = found(ask.account.trackers, ask.ids[0]), ask.body
    if tracker["type"] == "source" and "source" in body:
        _check_source(body["source"])
    if "pool_size" in body:
        more = int(body["pool_size"]) - len(tracker["tracking_numbers"])
        if tracker["type"] != "session" or more < 0 or int(body["pool_size"]) not in _POOL:
            raise Refused(400, "pool_size may only grow, up to 50")
        tracker["tracking_numbers"] += _numbers(ask, {"area_code": tracker["tracking_numbers"][0][2:5]}, more)
    if "replace_tracking_number" in body:
        if body["replace_tracking_number"] not in tracker["tracking_numbers"]:
            raise Refused(400, "replace_tracking_number is not one of this tracker")
        at = tracker["tracking_numbers"].index(body["replace_tracking_number"])
        tracker["tracking_numbers"][at] = _numbers(ask, {"area_code": body["replace_tracking_number"][2:5]}, 1)[0]
    _apply(tracker, body)
    return tracker


def _apply(tracker: Json, body: Json) -> None:
    changed(tracker, body, (*_SETTINGS, *(("campaign_name",) if tracker["type"] == "source" else ())))
    if tracker["source"] == "all":  # written as a word, read as an object (documented)
        tracker["source"] = {"type": "all"}
    tracker["destination_number"] = tracker["call_flow"].get("destination_number", tracker["destination_number"])


def _check_source(source: object) -> None:
    if not isinstance(source, dict) or source.get("type") not in _SOURCES:
        raise Refused(400, "Source Unknown tracking source type")


def _numbers(ask: Ask, wanted: Json, count: int) -> list[str]:
    """Fresh numbers near those wanted; area code 999 is out of stock."""
    area = str(wanted.get("area_code") or str(wanted.get("local") or "+1770")[2:5])
    if wanted.get("toll_free"):
        area = "888"
    if not any(wanted.get(name) for name in ("area_code", "local", "toll_free")):
        raise Refused(400, "tracking_number needs area_code, local or toll_free")
    if area == "999":
        raise Refused(400, "No numbers available for this area code")
    taken = {number for tracker in ask.account.trackers.values() for number in tracker["tracking_numbers"]}
    fresh = (f"+1{area}555{number:04}" for number in range(100, 10_000))
    return [number for number, _ in zip((each for each in fresh if each not in taken), range(count), strict=False)]


@answers("DELETE", "trackers/*")
def disable_tracker(ask: Ask) -> Told:
    """It stays, disabled; its numbers are given back."""
    found(ask.account.trackers, ask.ids[0]).update(status="disabled", disabled_at=utc(ask.world.now()))
    return NO_CONTENT
