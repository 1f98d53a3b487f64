"""Texts: conversations, the same as threads with tags and value, and the pictures in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from routers.fake_callrail.asking import Ask, Refused, Told, changed, not_found, tagged
from routers.fake_callrail.call_fields import access_key, formatted_number
from routers.fake_callrail.calls import person_with
from routers.fake_callrail.paging import page
from routers.fake_callrail.routing import answers
from routers.fake_callrail.storage import elsewhere
from routers.fake_callrail.times import local, utc, window_of
from routers.fake_callrail.world import Account, Json, World

_OPT_OUT = "Reply STOP to opt out."
_MOST_MEDIA_BYTES = 5_000_000
_THREAD_PAGE = 100


def new_conversation(world: World, account: Account, person: Json, tracker: Json) -> Json:
    """A conversation as it is kept: no message yet, times are no text."""
    conversation = {
        "id": world.new_code(),
        "thread_id": world.new_id("SMT"),
        "company_id": tracker["company"]["id"],
        "person_id": person["id"],
        "tracker": tracker,
        "state": "active",
        "messages": [],
        "notes": None,
        "tags": [],
        "value": None,
        "lead_qualification": None,
        "lead_status": None,
    }
    return account.conversations.setdefault(conversation["id"], conversation)


def new_message(world: World, conversation: Json, at: datetime, direction: str, text: str, media: int = 0) -> None:
    """Put a text at the end of a conversation; *media* is the number of its pictures."""
    message = {"id": world.new_id("SCI"), "number": world.new_number(), "at": at, "direction": direction}
    conversation["messages"].append(message | {"content": text, "media": media})


@answers("GET", "text-messages")
def list_conversations(ask: Ask) -> Json:
    """Newest first, by the last message; with the two latest messages of each."""
    return page(ask, "conversations", _asked_for(ask), lambda each: _conversation(ask, each) | _recent(ask, each))


def _asked_for(ask: Ask) -> list[Json]:
    window, company, search = window_of(ask), ask.text("company_id"), (ask.text("search") or "").casefold()
    conversations = [
        each
        for each in ask.account.conversations.values()
        if window.holds(_last(each))
        and (not company or each["company_id"] == company)
        and (not search or _matches(ask, each, search))
    ]
    return sorted(conversations, key=_last, reverse=True)


def _matches(ask: Ask, conversation: Json, search: str) -> bool:
    person = ask.account.people[conversation["person_id"]]
    texts = (person["name"] or "", person["phone"] or "", *conversation["tags"])
    return any(search in text.casefold() for text in texts)


def _last(conversation: Json) -> datetime:
    at: datetime = conversation["messages"][-1]["at"]
    return at


def _conversation(ask: Ask, conversation: Json) -> Json:
    defaults = _whose(ask, conversation) | {
        "id": conversation["id"],
        "last_message_at": utc(_last(conversation)),
        **_formatted(ask, conversation),
    }
    return ask.with_fields(defaults, {"lead_status": conversation["lead_status"], "source": "Google Ads"})


def _whose(ask: Ask, conversation: Json) -> Json:
    """What a conversation and a thread tell alike."""
    person, tracker = ask.account.people[conversation["person_id"]], conversation["tracker"]
    return {
        "company_id": conversation["company_id"],
        "initial_tracker_id": tracker["id"],
        "current_tracker_id": tracker["id"],
        "customer_name": person["name"],
        "customer_phone_number": person["phone"],
        "initial_tracking_number": tracker["tracking_numbers"][0],
        "current_tracking_number": tracker["tracking_numbers"][0],
        "state": conversation["state"],
        "company_time_zone": ask.account.companies[conversation["company_id"]]["time_zone"],
    }


def _formatted(ask: Ask, conversation: Json) -> Json:
    person, number = ask.account.people[conversation["person_id"]], conversation["tracker"]["tracking_numbers"][0]
    return {
        "formatted_customer_phone_number": formatted_number(person["phone"]),
        "formatted_initial_tracking_number": formatted_number(number),
        "formatted_current_tracking_number": formatted_number(number),
        "formatted_customer_name": (person["name"] or "").title() or None,
    }


def _recent(ask: Ask, conversation: Json) -> Json:
    latest = conversation["messages"][:-3:-1]
    return {"recent_messages": [_short(ask, message) for message in latest]}


def _short(ask: Ask, message: Json) -> Json:
    return {
        "direction": message["direction"],
        "content": message["content"],
        "created_at": local(message["at"]),
        "type": "mms" if message["media"] else "sms",
        "media_urls": _media_urls(ask, message),
    }


def _media_urls(ask: Ask, message: Json) -> list[str]:
    place = f"{ask.origin}/v3/a/{ask.account.id}/text-messages/{message['id']}/media"
    return [f"{place}/{number}" for number in range(message["media"])]


@answers("GET", "text-messages/*")
def get_conversation(ask: Ask) -> Json | Told:
    """With its messages, newest first."""
    conversation = ask.account.conversations.get(ask.ids[0])
    if conversation is None:
        raise not_found()
    if ask.quirks.texts_redirect and ask.account_as_asked != str(ask.account.numeric_id):
        place = f"{ask.origin}/v3/a/{ask.account.numeric_id}/text-messages/{conversation['id']}.json"
        return Told(302, headers={"location": place})
    return _conversation(ask, conversation) | page(
        ask, "messages", conversation["messages"][::-1], lambda message: _message(ask, message)
    )


def _message(ask: Ask, message: Json) -> Json:
    is_ours = message["direction"] == "outgoing"
    user = next(iter(ask.account.users.values()))
    return {
        "id": message["number"],
        "content": message["content"],
        "created_at": utc(message["at"]),
        "status": "sent" if is_ours else None,
        "direction": message["direction"],
        "type": "MMS" if message["media"] else "sms",  # in capitals in one documented example
        "media_urls": _media_urls(ask, message),
        "user": {"id": user["id"], "name": user["name"]} if is_ours else None,
    }


@answers("POST", "text-messages", budget="texts")
def send_text(ask: Ask) -> Told:
    """Send one; the answer has no id of it. A first text gets a sentence about opting out (documented)."""
    ask.required_in_body("company_id", "customer_phone_number")
    company, body = ask.company(ask.body["company_id"]), ask.body
    if body.get("media_url") and "media_file" in ask.files:
        raise Refused(422, "media_url and media_file cannot both be given")
    if any(len(content) > _MOST_MEDIA_BYTES for content in ask.files.values()):
        raise Refused(422, "media_file is too large")
    is_picture = bool(body.get("media_url") or ask.files)
    if not is_picture:
        ask.required_in_body("content")
    conversation = _conversation_with(ask, company, body)
    text = str(body.get("content") or "")
    is_first = not any(message["direction"] == "outgoing" for message in conversation["messages"])
    if is_first and "STOP" not in text:
        text = f"{text} {_OPT_OUT}"
    new_message(ask.world, conversation, ask.world.now(), "outgoing", text, int(is_picture))
    return Told(201, _conversation(ask, conversation) | _recent(ask, conversation))


def _conversation_with(ask: Ask, company: Json, body: Json) -> Json:
    number = f"+1{''.join(filter(str.isdigit, str(body['customer_phone_number'])))[-10:]}"
    person = person_with(ask, number, company)
    for each in ask.account.conversations.values():
        if each["person_id"] == person["id"]:
            return each
    ask.required_in_body("tracking_number")
    digits = "".join(filter(str.isdigit, str(body["tracking_number"])))[-10:]
    for tracker in ask.account.trackers.values():
        if tracker["company"]["id"] == company["id"] and f"+1{digits}" in tracker["tracking_numbers"]:
            return new_conversation(ask.world, ask.account, person, tracker)
    raise Refused(400, "tracking_number is not one of this company")


@answers("PUT", "text-messages/*")
def archive_conversation(ask: Ask) -> Json:
    """Put away, or back; not documented."""
    conversation = ask.account.conversations.get(ask.ids[0])
    if conversation is None:
        raise not_found()
    return _conversation(ask, changed(conversation, ask.body, ("state",)))


@answers("GET", "sms-threads")
def list_threads(ask: Ask) -> Json:
    """The same conversations, with what was noted about them."""
    if bool(ask.text("start_date")) != bool(ask.text("end_date")):
        raise Refused(400, "start_date and end_date must both be given")
    return page(ask, "sms_threads", _asked_for(ask), lambda each: _thread(ask, each))


def _thread(ask: Ask, conversation: Json) -> Json:
    names = ("notes", "tags", "value", "lead_qualification")
    defaults = {name: conversation[name] for name in names} | _whose(ask, conversation)
    extra = {"last_message_at": utc(_last(conversation)), **_formatted(ask, conversation)}
    return ask.with_fields({"id": conversation["thread_id"], **defaults}, extra)


@answers("GET", "sms-threads/*")
def get_thread(ask: Ask) -> Json:
    """With its messages, newest first, a hundred a page at most."""
    conversation = _thread_of(ask)
    shown = _thread(ask, conversation) | {"last_message_at": utc(_last(conversation)), **_formatted(ask, conversation)}
    messages = conversation["messages"][::-1]
    return shown | page(ask, "messages", messages, lambda each: _thread_message(ask, each), most=_THREAD_PAGE)


def _thread_message(ask: Ask, message: Json) -> Json:
    told: dict[str, Any] = {
        "id": message["id"],
        "content": message["content"],
        "created_at": utc(message["at"]),
        "status": "sent" if message["direction"] == "outgoing" else None,
        "direction": message["direction"],
        "message_type": "mms" if message["media"] else "sms",
        "media_urls": _media_urls(ask, message),
    }
    return told | ({"error": None} if ask.text("with_msg_errors") == "true" else {})


@answers("PUT", "sms-threads/*")
def update_thread(ask: Ask) -> Json:
    """Tag, note, score and value."""
    conversation = _thread_of(ask)
    if "tags" in ask.body:
        conversation["tags"] = tagged(ask, ask.company(conversation["company_id"]), conversation["tags"])
    if "value" in ask.body:
        written = ask.body["value"]
        conversation["value"] = float(str(written).replace("$", "")) if written not in (None, "") else None
    return _thread(ask, changed(conversation, ask.body, ("notes", "lead_qualification")))


def _thread_of(ask: Ask) -> Json:
    """By the thread's id or the conversation's (assumed: which of them is meant is not documented)."""
    for each in ask.account.conversations.values():
        if ask.ids[0] in (each["id"], each["thread_id"]):
            return each
    raise not_found()


@answers("GET", "text-messages/*/media/*", suffix="")
def media(ask: Ask) -> Told:
    """Sent on to a store that takes no key (observed)."""
    message_id, number = ask.ids
    for conversation in ask.account.conversations.values():
        for message in conversation["messages"]:
            if message["id"] == message_id and number.isdigit() and int(number) < message["media"]:
                place = f"{elsewhere(ask.origin)}/storage/{message_id}-{number}.png?signature={access_key(message_id)}"
                return Told(302, headers={"location": place})
    raise not_found()
