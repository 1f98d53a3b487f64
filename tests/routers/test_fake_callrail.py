"""The stand-in for CallRail's API: its answers look like those documented, and it refuses what CallRail refuses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routers.fake_callrail import FakeCallRail, Limits, Quirks, World, small_world
from routers.fake_callrail.routing import ROUTES
from routers.fake_callrail.serving import serve_in_background

NOW = datetime(2026, 3, 20, 15, 0, tzinfo=UTC)
SAMPLES = Path(__file__).parents[3] / "shared" / "callrail" / "samples" / "api"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Asking:
    """Asks the fake as any HTTP client would, one that is not ours."""

    url: str
    fake: FakeCallRail

    @property
    def world(self) -> World:
        return self.fake.world

    def __call__(
        self, path: str, *, method: str = "GET", body: Any = None, key: str | None = None, header: str | None = None
    ) -> Answer:
        account = self.world.accounts[0].id
        url = self.url + (path if path.startswith("/") else f"/v3/a/{account}/{path}")
        headers = {"Authorization": header or f'Token token="{key or self.world.key}"'}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers | {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read().decode())


@pytest.fixture(scope="module")
def ask() -> Iterator[Asking]:
    fake = FakeCallRail(small_world(calls=60, seed=7, now=NOW))
    with serve_in_background(fake) as url:
        yield Asking(url, fake)


def company(ask: Asking) -> str:
    return next(iter(ask.world.accounts[0].companies))


def first(ask: Asking, kind: str) -> Any:
    return next(iter(getattr(ask.world.accounts[0], kind)))


# Each sample with the request that answers it; {x} is an id of that kind in our world.
LOOKED_AT = {
    "account.json": "/v3/a/{account}.json",
    "accounts_list.json": "/v3/a.json",
    "calls_list.json": "calls.json",
    "calls_list_relative_page1.json": "calls.json?relative_pagination=true&per_page=2"
    "&fields=company_id,tracker_id,person_id,lead_status,tags",
    "call.json": "calls/{call}.json",
    "call_page_views.json": "calls/{session_call}/page_views.json",
    "call_recording.json": "calls/{call}/recording.json",
    "calls_summary.json": "calls/summary.json?group_by=source&fields=total_calls,missed_calls,answered_calls,"
    "first_time_callers,average_duration,formatted_average_duration,leads",
    "calls_summary_ungrouped.json": "calls/summary.json",
    "calls_timeseries.json": "calls/timeseries.json?fields=total_calls,missed_calls",
    "companies_list.json": "companies.json",
    "tags_list.json": "tags.json",
    "form_submissions_list.json": "form_submissions.json?start_date=2026-02-20",
    "forms_summary.json": "forms/summary.json?group_by=source&fields=total_forms,first_forms,leads",
    "integrations_list.json": "integrations.json?company_id={company}",
    "integrations_list_signing_key.json": "integrations.json?company_id={company}&fields=signing_key",
    "caller_ids_list.json": "caller_ids.json?company_id={company}",
    "conversations_list.json": "text-messages.json?start_date=2026-02-20",
    "conversation.json": "text-messages/{conversation}.json",
    "sms_threads_list.json": "sms-threads.json?start_date=2026-02-20&end_date=2026-03-20",
    "sms_thread.json": "sms-threads/{conversation}.json",
    "message_flows_list.json": "message-flows.json",
    "message_flow.json": "message-flows/{flow}.json",
    "notifications_list.json": "notifications.json",
    "summary_emails_list.json": "summary_emails",
    "trackers_list.json": "trackers.json",
    "user.json": "users/{user}.json",
    "users_list.json": "users.json",
    "leads_list.json": "leads.json",
    "lead_timeline.json": "leads/{person}/timeline.json",
}
# Keys that stand in some samples only: by `fields=`, of some kinds only, or not documented.
_NOT_ALWAYS = {
    *("message_flow", "campaign_name", "swap_targets", "verified_caller_ids", "email", "numeric_id", "source"),
    *("sms_thread", "company_name", "tracker_name", "lead_status", "filters"),
}


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not part of the project")
@pytest.mark.parametrize(("sample", "path"), LOOKED_AT.items(), ids=list(LOOKED_AT))
def test_its_answers_have_the_keys_of_the_samples(ask: Asking, sample: str, path: str) -> None:
    account = ask.world.accounts[0]
    ids = {
        "account": account.id,
        "company": company(ask),
        "call": next(call.id for call in account.calls if call.is_recorded),
        "session_call": next(call.id for call in account.calls if call.tracker["type"] == "session"),
        "conversation": first(ask, "conversations"),
        "flow": first(ask, "message_flows"),
        "user": first(ask, "users"),
        "person": next(each["person_id"] for each in account.conversations.values()),
    }
    wanted = json.loads((SAMPLES / sample).read_text())

    told = ask(path.format_map(ids)).json

    assert told.keys() - _NOT_ALWAYS == wanted.keys() - _NOT_ALWAYS
    for name, rows in wanted.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict) and name != "timeline":
            assert told[name], f"the fake has no {name} to compare"
            assert told[name][0].keys() - _NOT_ALWAYS == rows[0].keys() - _NOT_ALWAYS


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("nothing.json", 404, "Not found"),
        ("calls", 404, "Not found"),  # without .json
        ("summary_emails.json", 405, "Method"),  # the one list without: only creating has it
        ("webhooks.json", 404, "Not found"),
        ("/v3/b.json", 404, "Not found"),
        ("calls/CALx.json", 404, "Not found"),
        ("calls/CAL%2Fx.json", 404, "Not found"),
        ("integrations.json", 400, "company_id"),
        ("calls.json?date_range=all_time", 400, "25 months"),
        ("calls.json?start_date=2024-01-01", 400, "25 months"),
        ("calls.json?start_date=yesterday", 400, "invalid date"),
        ("calls.json?time_zone=Mars/Olympus", 400, "time_zone"),
        ("calls.json?page=x", 400, "page"),
        ("calls/summary.json?group_by=moon", 400, "group_by must be"),
        ("calls/timeseries.json?interval=hour&date_range=last_30_days", 400, "200 points"),
        ("tags.json?tag_level=account&company_id=COM1", 400, "tag_level"),
        ("sms-threads.json?start_date=2026-03-01", 400, "both"),
    ],
)
def test_it_refuses_what_callrail_refuses(ask: Asking, path: str, status: int, said: str) -> None:
    answer = ask(path)
    assert (answer.status, said in answer.json["error"]) == (status, True)
    assert answer.headers["x-request-id"]


def test_it_takes_the_key_with_quotes_and_without_and_no_other(ask: Asking) -> None:
    assert ask("tags.json", header=f"Token token={ask.world.key}").status == 200
    refused = ask("tags.json", key="wrong")
    assert (refused.status, refused.text) == (401, "HTTP Token: Access denied.\n")


def test_without_a_date_it_tells_of_seven_days_and_ignores_what_it_does_not_know(ask: Asking) -> None:
    all_of_them = ask("calls.json?start_date=2026-02-01").json["total_records"]
    recent = ask("calls.json").json["total_records"]
    assert all_of_them == 60
    assert 0 < recent < 60
    assert ask("calls.json?answered=true&source=Moon").json["total_records"] == recent
    assert ask("calls.json?start_date=2026-03-19&end_date=2026-03-18").json["total_pages"] == 0


def test_a_page_has_250_rows_at_most_and_those_of_a_thread_100(ask: Asking) -> None:
    assert ask("calls.json?per_page=1000").json["per_page"] == 250
    thread = first(ask, "conversations")
    assert ask(f"sms-threads/{thread}.json?per_page=250").json["per_page"] == 100


def test_next_page_is_an_address_of_callrails_own_making(ask: Asking) -> None:
    told = ask("calls.json?relative_pagination=true&per_page=7&start_date=2026-02-01&tags[]=Sales&fields=tags").json
    address = told["next_page"]
    assert f"/v3/a/{ask.world.accounts[0].numeric_id}/calls?" in address
    assert "controller=api%2Fv3%2Fcalls" in address

    following = ask(address.removeprefix(ask.url)).json
    assert {tag for call in following["calls"] for tag in call["tags"]} == {"Sales"}
    assert not {call["id"] for call in following["calls"]} & {call["id"] for call in told["calls"]}


def test_parameters_of_a_get_in_the_body_are_refused(ask: Asking) -> None:
    assert ask("notifications.json", body={"user_id": "USR1"}).status == 406


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "trackers.json", {"name": "x"}, 400),
        ("POST", "tags.json", {"name": "x", "company_id": "{company}", "color": "mauve9"}, 400),
        ("POST", "notifications.json", {"call_enabled": True}, 400),
        ("POST", "notifications.json", {"call_enabled": True, "alert_type": "some"}, 400),
        ("POST", "users.json", {"first_name": "x"}, 400),
        ("POST", "integrations.json", {"company_id": "{company}", "type": "Slack", "config": {"x": 1}}, 400),
        ("PATCH", "tags.json", {}, 405),
        ("POST", "calls.json", "no object", 400),
    ],
)
def test_it_refuses_bodies_that_callrail_refuses(ask: Asking, method: str, path: str, body: Any, status: int) -> None:
    if isinstance(body, dict) and body.get("company_id") == "{company}":
        body = body | {"company_id": company(ask)}
    assert ask(path, method=method, body=body).status == status


def test_limits_are_counted_for_each_account_and_tell_of_themselves() -> None:
    now = NOW
    world = small_world(calls=3, seed=1, now=NOW)
    world.now = lambda: now
    fake = FakeCallRail(world, limits=Limits(general=(2, 3)), quirks=Quirks(limits_on_all_answers=True))
    with serve_in_background(fake) as url:
        ask = Asking(url, fake)
        assert ask("tags.json").headers["x-rate-limit-hourly-used"] == "1"
        assert ask("tags.json").headers["x-rate-limit-daily-used"] == "2"
        assert ask("tags.json").status == 429
        assert ask(f"/v3/a/{world.accounts[1].id}/tags.json").status == 200
        now += timedelta(hours=1)
        assert ask("tags.json").status == 200
        now += timedelta(hours=1)
        assert ask("tags.json").status == 429  # the day is spent


def test_the_same_seed_makes_the_same_world() -> None:
    one, same, other = (small_world(calls=20, seed=seed, now=NOW) for seed in (1, 1, 2))
    assert [call.id for call in one.accounts[0].calls] == [call.id for call in same.accounts[0].calls]
    assert [call.id for call in one.accounts[0].calls] != [call.id for call in other.accounts[0].calls]


def test_requests_are_kept_without_the_key(ask: Asking) -> None:
    ask("tags.json?search=x")
    request = ask.fake.requests[-1]
    assert (request.method, request.query, request.body) == ("GET", [("search", "x")], None)
    assert ask.world.key not in repr(request)
    assert ask.world.key not in repr(ask.world)


# --- whatever is asked ------------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [None, True, 0, -1, 7, 1e9, "", "x", "all", "$1.00", "2026-03-01", [], ["x"], [1], {}, {"type": "x"}]
)
ODD_TEXT = st.sampled_from(["", "x", "0", "-1", "9" * 30, "true", "2026-03-01", "COM1", "a,b", "é", "2026-13-45"])
QUERIES = (
    *("company_id", "page", "per_page", "offset", "fields", "sort", "order", "search", "start_date", "end_date"),
    *("date_range", "time_zone", "group_by", "interval", "min_duration", "max_duration", "tags", "tags[]", "status"),
    *("relative_pagination", "agent", "tracker_ids[]", "call_type", "frequency[]", "notification_type", "tag_level"),
)
BODIES = (
    *("name", "company_id", "type", "config", "state", "tags", "append_tags", "note", "value", "lead_status", "spam"),
    *("company_ids", "field_names", "form_data", "form_url", "session_id", "customer_phone_number", "content"),
    *("tracking_number", "media_url", "frequency", "filters", "user_id", "email", "alert_type", "call_enabled"),
    *("pool_size", "pool_numbers", "call_flow", "source", "steps", "initial_step_id", "companies", "role", "color"),
    *(
        "first_name",
        "last_name",
        "phone_number",
        "integration_id",
        "caller_id",
        "business_phone_number",
        "message_flow",
    ),
    *(
        "message_flow",
        "replace_tracking_number",
        "external_form_capture",
        "disabled",
        "customer_name",
        "notes",
        "tracker_id",
    ),
)

# What is enough for each, so that one odd value gets past the others' checks.
RIGHT: dict[str, dict[str, Any]] = {
    "calls": {
        "caller_id": "+17705550100",
        "customer_phone_number": "4045550123",
        "business_phone_number": "4045550188",
    },
    "tags": {"name": "New"},
    "companies": {"name": "New"},
    "companies/bulk_update": {"company_ids": ["all"]},
    "form_submissions": {"form_url": "https://e.com/", "form_data": {"phone": "404"}, "session_id": "SES1"},
    "form_submissions/ignored_fields": {"company_ids": ["all"], "field_names": ["x"]},
    "integrations": {"type": "Custom", "config": {"grab_cookies": ["x"]}},
    "caller_ids": {"phone_number": "+14045550190", "name": "Van"},
    "summary_emails": {"frequency": ["daily"], "config": {"call_log": True}, "email": "a@example.com"},
    "text-messages": {
        "customer_phone_number": "4045550123",
        "content": "x",
        "tracking_number": "+17705550100",
    },
    "message-flows": {"name": "New", "initial_step_id": "a", "steps": {"a": {"type": "no_response"}}},
    "trackers": {
        "name": "New",
        "type": "source",
        "call_flow": {"type": "basic"},
        "source": {"type": "all"},
        "tracking_number": {"area_code": "404"},
    },
    "users": {"first_name": "A", "last_name": "B", "email": "a@example.com", "role": "admin"},
}


@pytest.fixture
def changing() -> Iterator[Asking]:
    fake = FakeCallRail(small_world(calls=0, seed=7, now=NOW))
    with serve_in_background(fake) as url:
        yield Asking(url, fake)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_is_asked_makes_it_fail(changing: Asking, data: st.DataObject) -> None:
    """A mistake of the client's is refused as CallRail would; our own would be a 500."""
    ask = changing
    ask.fake.world = small_world(calls=12, seed=7, now=NOW)  # as it was: what is asked changes it
    account = ask.world.accounts[0]
    route = data.draw(st.sampled_from(ROUTES))
    kinds = [getattr(account, kind) for kind in ("companies", "tags", "trackers", "forms", "conversations", "users")]
    kinds += [getattr(account, kind) for kind in ("integrations", "notifications", "message_flows", "summary_emails")]
    ids = [str(key) for kind in kinds for key in list(kind)[:1]] + [next(iter(account.calls)).id, "x", "0"]
    path = route.path
    while "*" in path:
        path = path.replace("*", data.draw(st.sampled_from(ids)), 1)
    query = data.draw(st.dictionaries(st.sampled_from(QUERIES), ODD_TEXT, max_size=4))
    body = None
    if route.method in ("POST", "PUT"):
        right = {**RIGHT.get(route.path, {}), **({"company_id": company(ask)} if data.draw(st.booleans()) else {})}
        body = right | data.draw(st.dictionaries(st.sampled_from([*right, *BODIES]), ODD, max_size=4))
    target = f"{path}{route.suffix}?{urlencode(query)}" if path else f"/v3/a/{account.id}.json?{urlencode(query)}"

    answer = ask(target, method=route.method, body=body)

    assert answer.status < 500 or (body is not None and "value" in body), f"{route.method} {target} {body}"
