"""The client against a whole world: what is written is read back, lists are complete, odd behaviour does no harm.

The fake is written without the client's declarations, so a wrong path, name or body of either shows here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from callrail.bodies import CallFlow, FlowStep
from callrail.client import CallRail
from callrail.exceptions import (
    Forbidden,
    NotFound,
    PagingError,
    RateLimited,
    Rejected,
    ServerFault,
    Unauthorized,
    UnexpectedAnswer,
)
from callrail.sending import Pace
from routers.fake_callrail import FakeCallRail, Limits, Quirks, faults, small_world
from routers.fake_callrail.serving import serving
from tests.callrail.api.test_operations import OPERATIONS

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 20, 15, 0, tzinfo=UTC)
MONTH: Any = {"start_date": NOW - timedelta(days=31)}


@dataclass(frozen=True)
class Made:
    """A fake that is served, and a client of its first account."""

    fake: FakeCallRail
    client: CallRail
    url: str
    slept: list[float]

    @property
    def account(self) -> Any:
        return self.fake.world.accounts[0]

    @property
    def company(self) -> str:
        return str(next(iter(self.account.companies)))

    def another(self, key: str, account_id: str | int | None = None) -> CallRail:
        return CallRail(key, account_id or self.account.id, base_url=self.url, pace=pace(self.slept))


def pace(slept: list[float]) -> Pace:
    """A time in which waiting takes none."""

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return Pace(monotonic=lambda: sum(slept), now=lambda: NOW + timedelta(seconds=sum(slept)), sleep=sleep)


@asynccontextmanager
async def made(**how: Any) -> AsyncIterator[Made]:
    world = small_world(calls=how.pop("calls", 60), seed=7, now=NOW)
    fake, slept = FakeCallRail(world, **how), list[float]()
    async with (
        serving(fake) as url,
        CallRail(world.key, world.accounts[0].id, base_url=url, pace=pace(slept)) as client,
    ):
        yield Made(fake, client, url, slept)


@pytest.fixture
async def world() -> AsyncIterator[Made]:
    async with made() as each:
        yield each


async def rows(listing: Any) -> list[Any]:
    return [row async for row in listing]


async def test_accounts_with_both_ids(world: Made) -> None:
    agency, roofing = await rows(world.client.accounts.list(fields=["numeric_id"]))
    assert (agency.id, agency.numeric_id, agency.name) == (world.account.id, world.account.numeric_id, "Example Agency")
    assert (await world.client.accounts.get(str(agency.id))).id == agency.id
    assert (await world.client.accounts.get(str(roofing.id))).name == "Example Roofing"


async def test_all_calls_are_listed_page_by_page_each_once(world: Made) -> None:
    pages = [page async for page in world.client.calls.list(**MONTH, per_page=7).pages()]
    told = [row.id for page in pages for row in page.rows]

    assert len(told) == len(set(told)) == 60
    assert [len(page.rows) for page in pages] == [7] * 8 + [4]
    assert told == [call.id for call in reversed(list(world.account.calls))]
    assert {request.path for request in world.fake.requests[1:]} == {f"/v3/a/{world.account.numeric_id}/calls"}


async def test_calls_are_filtered_sorted_and_told_with_more_fields(world: Made) -> None:
    oldest_first = await rows(world.client.calls.list(**MONTH, sort="start_time", order="asc", per_page=9))
    assert [call.start_time for call in oldest_first] == sorted(call.start_time for call in oldest_first)

    missed = await rows(
        world.client.calls.list(**MONTH, answer_status="missed", fields=["call_type", "tags", "source"])
    )
    assert missed
    assert {call.call_type for call in missed} <= {"missed", "abandonded", "voicemail"}
    assert any(call.answered for call in missed)  # a voicemail is told as answered, and counts as missed

    number = missed[0].customer_phone_number
    assert number
    found = await rows(world.client.calls.list(**MONTH, search=number[-10:]))
    assert {call.customer_phone_number for call in found} == {number}


async def test_one_call_is_read_tagged_noted_scored_and_marked_as_spam(world: Made) -> None:
    call = next(each for each in world.account.calls if each.is_recorded and each.tracker["type"] == "session")
    calls = world.client.calls

    await calls.update(call.id, tags=["Sales"], note="Wants a quote", lead_status="good_lead", customer_name="Robin")
    await calls.update(call.id, tags=["Brand new"], append_tags=True)
    read = await calls.get(call.id, fields=["tags", "note", "lead_status", "conversational_transcript", "milestones"])
    assert (read.tags, read.note, read.lead_status) == (["Sales", "Brand new"], "Wants a quote", "good_lead")
    assert read.customer_name == "Robin"
    assert read.conversational_transcript
    assert "Brand new" in {tag.name for tag in await rows(world.client.tags.list())}

    await calls.update(call.id, note=None, lead_status=None)
    read = await calls.get(call.id, fields=["note", "lead_status"])
    assert (read.note, read.lead_status) == (None, None)

    assert [view.page_url async for view in calls.page_views(call.id)][-1] == "https://www.example.com/"
    with pytest.raises(ServerFault, match="in CallRail's app"):
        await calls.update(call.id, value="$5.00")

    await calls.update(call.id, spam=True)
    with pytest.raises(NotFound, match="spam"):
        await calls.get(call.id)


async def test_a_call_is_placed_and_may_say_little_of_itself(world: Made) -> None:
    placed = await world.client.calls.create(
        caller_id="+17705550100", customer_phone_number="4045550177", business_phone_number="4045550188"
    )
    assert (placed.direction, placed.answered, placed.duration) == ("outbound", None, None)
    assert (await world.client.calls.get(str(placed.id))).customer_phone_number == "+14045550177"
    with pytest.raises(Rejected, match="verified caller id"):
        await world.client.calls.create(
            caller_id="+14045550111", customer_phone_number="4045550177", business_phone_number="4045550188"
        )


async def test_totals_agree_with_the_list(world: Made) -> None:
    listed = await rows(world.client.calls.list(**MONTH, fields=["source"]))
    total = await world.client.calls.summary(**MONTH, group_by="source", fields=["total_calls", "missed_calls"])
    assert total.total_results
    assert total.grouped_results
    assert total.total_results.total_calls == len(listed)
    assert sum(group.total_calls or 0 for group in total.grouped_results) == len(listed)
    assert {group.key for group in total.grouped_results} == {call.source for call in listed}

    series = await world.client.calls.timeseries(**MONTH)
    assert series.data
    assert sum(point.total_calls or 0 for point in series.data) == len(listed)
    with pytest.raises(Rejected, match="200 points"):
        await world.client.calls.timeseries(**MONTH, interval="hour")


async def test_a_recording_is_saved_once_it_is_there(tmp_path: Path) -> None:
    async with made(quirks=Quirks(recording_asks_before_ready=1)) as world:
        call = next(each for each in world.account.calls if each.is_recorded)
        await world.client.calls.get(call.id)
        with pytest.raises(NotFound):
            await world.client.calls.recording(call.id)
        where = await world.client.calls.recording(call.id)

        saved = await world.client.download(str(where.url), tmp_path / "call.mp3")

        assert (saved.content_type, saved.path.read_bytes()[:3]) == ("audio/mpeg", b"ID3")
        # Two addresses on another host; that host refuses whoever shows it the key.
        assert [request.path.split("/")[1] for request in world.fake.requests[-2:]] == ["calls", "storage"]


async def test_without_the_plan_what_was_said_is_null(world: Made) -> None:
    roofing = world.client.for_account(world.fake.world.accounts[1].id)
    call = (await rows(roofing.calls.list(**MONTH)))[0]
    read = await roofing.calls.get(call.id, fields=["transcription", "conversational_transcript", "sentiment"])
    assert (read.transcription, read.conversational_transcript, read.sentiment) == (None, None, None)


async def test_tags_are_made_renamed_disabled_and_removed_everywhere(world: Made) -> None:
    tags, call = world.client.tags, next(iter(world.account.calls))
    made_tag = await tags.create(name="Hot", company_id=call.tracker["company"]["id"], color="red1")
    await world.client.calls.update(call.id, tags=["Hot"])

    await tags.update(made_tag.id, name="Very hot")
    assert (await tags.get(made_tag.id)).name == "Very hot"
    assert (await world.client.calls.get(call.id, fields=["tags"])).tags == ["Very hot"]
    await tags.update(made_tag.id, disabled=True)
    assert [tag.id async for tag in tags.list(status="disabled")] == [made_tag.id]

    await tags.delete(made_tag.id)
    assert (await world.client.calls.get(call.id, fields=["tags"])).tags == []
    assert (await tags.create(name="Everywhere", tag_level="account")).company_id is None
    async with world.another(world.fake.world.reporting_key) as reporter:
        with pytest.raises(Forbidden):
            await reporter.tags.create(name="No", company_id=world.company)


async def test_companies_are_made_changed_and_disabled_but_the_last(world: Made) -> None:
    companies = world.client.companies
    new = await companies.create(name="New Garden", time_zone="America/Denver")
    assert new.form_capture is None  # this answer alone does not tell of it
    await companies.update(new.id, callscribe_enabled=True, swap_landing_override="summer")
    await companies.update(new.id, swap_landing_override=None)
    read = await companies.get(new.id, fields=["verified_caller_ids"])
    assert (read.callscribe_enabled, read.swap_landing_override, read.verified_caller_ids) == (True, None, [])
    assert (await companies.bulk_update(company_ids=["all"], external_form_capture=True)).updated_records == 3
    assert (await companies.get(new.id)).form_capture is True
    assert [each.name async for each in companies.list(search="garden")] == ["New Garden"]

    active = [str(each.id) async for each in companies.list(status="active")]
    for each in active[:-1]:
        await companies.delete(each)
    with pytest.raises(Rejected, match="at least one active company"):
        await companies.delete(active[-1])
    assert len(await rows(companies.list(status="disabled"))) == 2


async def test_forms_are_made_read_scored_and_cleansed(world: Made) -> None:
    forms = world.client.form_submissions
    new = await forms.create(
        company_id=world.company,
        form_url="https://www.example.com/quote",
        form_data={"your_name": "Robin Example", "phone_number": "404-555-0166", "ssn": "none"},
        referrer="direct",
        referring_url="https://www.example.com/",
        landing_page_url="https://www.example.com/",
    )
    assert new.person_id
    assert new.person_id.startswith("PER")
    await forms.update(new.id, tags=["Quote"], value="$12.00", lead_status="good_lead", note="Called back")
    await forms.ignore_fields(company_ids=["all"], field_names=["ssn"])
    read = await forms.get(new.id, fields=["tags", "value", "lead_status", "note", "form_name"])
    assert (read.tags, read.value) == (["Quote"], Decimal(12))
    assert (read.lead_status, read.note) == ("good_lead", "Called back")
    assert read.form_data == {"your_name": "Robin Example", "phone_number": "404-555-0166"}
    assert read.submitted_at == NOW

    listed = await rows(forms.list(**MONTH, per_page=2))
    assert listed[0].id == new.id
    assert len(listed) == len(world.account.forms)
    total = await forms.summary(**MONTH, group_by="form_name", fields=["total_forms", "leads"])
    assert total.total_results
    assert (total.total_results.total_forms, total.total_results.leads) == (len(listed), 1)


async def test_webhooks_are_read_replaced_and_disabled(world: Made) -> None:
    integrations = world.client.integrations
    hooks, analytics = await rows(integrations.list(company_id=world.company, fields=["signing_key"]))
    assert (hooks.type, analytics.state) == ("Webhooks", "disabled")
    assert hooks.signing_key
    assert len(hooks.signing_key) == 32
    config: Any = {**(hooks.config or {}), "pre_call_webhook": ["https://hooks.example.com/pre"]}
    await integrations.update(hooks.id, config=config)
    assert (await integrations.get(hooks.id)).config == config

    with pytest.raises(Rejected, match="already exists"):
        await integrations.create(company_id=world.company, type="Webhooks", config={"pre_call_webhook": []})
    other = list(world.account.companies)[1]
    new = await integrations.create(
        company_id=other, type="Webhooks", config={"form_captured_webhook": ["https://hooks.example.com/form"]}
    )
    assert new.signing_key
    await integrations.delete(new.id)
    assert (await integrations.get(new.id)).state == "disabled"


async def test_filters_of_integrations(world: Made) -> None:
    triggers = world.client.integration_triggers
    hooks = next(iter(world.account.integrations))
    new = await triggers.create(company_id=world.company, integration_id=hooks, min_duration=30)
    with pytest.raises(Rejected):
        await triggers.create(company_id=world.company, integration_id=hooks)
    everything = await triggers.create(company_id=world.company, call_type="first_call")
    assert (everything.integration_id, everything.integration) != (None, None)
    await triggers.update(new.id, min_duration=None, max_duration=60)
    read = await triggers.get(new.id)
    assert (read.min_duration, read.max_duration, read.integration_id) == (None, 60, str(hooks))
    assert len(await rows(triggers.list(company_id=world.company))) == 2
    await triggers.delete(new.id)
    with pytest.raises(NotFound):
        await triggers.get(new.id)


async def test_notifications_and_summary_emails(world: Made) -> None:
    notifications, emails = world.client.notifications, world.client.summary_emails
    new = await notifications.create(company_id=world.company, call_enabled=True, alert_type="all", send_email=True)
    await notifications.update(new.id, alert_type="vm_only", sms_enabled=True)
    (listed,) = [each async for each in notifications.list() if each.id == new.id]
    assert (listed.alert_type, listed.sms_enabled, listed.company_id) == ("vm_only", True, world.company)
    await notifications.delete(new.id)
    assert new.id not in [each.id async for each in notifications.list()]

    email = await emails.create(
        frequency=["daily"], config={"call_log": True}, email="boss@example.com", company_id=world.company
    )
    await emails.update(email.id, config={"call_log": False}, frequency=["weekly"])
    read = await emails.get(email.id)
    assert (read.frequency, read.email, read.scope and read.scope["type"]) == (
        ["weekly"],
        "boss@example.com",
        "Company",
    )
    assert len(await rows(emails.list(company_id=world.company))) == 2
    await emails.delete(email.id)
    assert len(await rows(emails.list(company_id=world.company))) == 1


async def test_caller_ids(world: Made) -> None:
    caller_ids = world.client.caller_ids
    new = await caller_ids.create(company_id=world.company, phone_number="+14045550190", name="Van")
    assert new.validation_code
    assert not new.verified
    assert (await caller_ids.get(new.id)).name == "Van"
    await caller_ids.delete(new.id)
    assert [each.name async for each in caller_ids.list(company_id=world.company)] == ["Front desk"]


async def test_texts_are_sent_read_archived_and_noted(world: Made, tmp_path: Path) -> None:
    texts, threads = world.client.text_messages, world.client.sms_threads
    picture = tmp_path / "leak.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    sent = await texts.send(
        company_id=world.company,
        customer_phone_number="404-555-0166",
        tracking_number="+17705550100",
        content="Photo attached.",
        media_file=picture,
    )
    assert sent.recent_messages
    assert sent.recent_messages[0].content == "Photo attached. Reply STOP to opt out."
    assert world.fake.requests[-1].files == {"media_file": picture.read_bytes()}
    await texts.send(company_id=world.company, customer_phone_number="+14045550166", content="On our way.")
    read = await texts.get(sent.id, per_page=1)
    assert [message.content for message in read.messages or ()] == ["On our way."]
    await texts.update(sent.id, state="archived")
    listed = await rows(texts.list(**MONTH, fields=["lead_status"]))
    assert (listed[0].id, listed[0].state) == (sent.id, "archived")
    assert len(listed) == len(world.account.conversations)

    thread = (await rows(threads.list(start_date="2026-03-01", end_date="2026-03-20")))[0]
    await threads.update(thread.id, tags=["Urgent"], value="$5.00", lead_qualification="good_lead", notes="Leak")
    seen = await threads.get(thread.id, with_msg_errors=True)
    assert (seen.tags, seen.value) == (["Urgent"], Decimal(5))
    assert (seen.lead_qualification, seen.notes) == ("good_lead", "Leak")
    assert seen.messages
    assert seen.messages[-1].media_urls

    saved = await world.client.download(seen.messages[-1].media_urls[0], tmp_path / "media.png")
    assert saved.content_type == "image/png"


async def test_message_flows(world: Made) -> None:
    flows = world.client.message_flows
    steps: dict[str, FlowStep] = {
        "a": {"type": "schedule", "branches": [{"times": [], "next_step_id": "b"}], "next_step_id": None},
        "b": {"type": "sms_response", "message": "We answer in the morning.", "next_step_id": None},
    }
    new = await flows.create(company_id=world.company, name="At night", initial_step_id="a", steps=steps)
    assert new.initial_step_id
    assert new.initial_step_id.startswith("MFS")
    await flows.update(new.id, name="After hours")
    read = await flows.get(new.id)
    assert (read.name, len(read.steps or {})) == ("After hours", 2)
    assert [flow.name async for flow in flows.list()] == ["Evening reply", "After hours"]
    await flows.delete(new.id)
    with pytest.raises(NotFound):
        await flows.get(new.id)


async def test_trackers(world: Made) -> None:
    trackers = world.client.trackers
    flow: CallFlow = {"type": "basic", "destination_number": "+14045550188"}
    billboard = await trackers.create(
        name="Bus",
        type="source",
        company_id=world.company,
        call_flow=flow,
        source={"type": "offline"},
        tracking_number={"area_code": "404"},
        campaign_name="Buses",
    )
    pool = await trackers.create(
        name="Pool",
        type="session",
        company_id=world.company,
        call_flow=flow,
        source="all",
        pool_size=4,
        pool_numbers={"area_code": "404"},
    )
    assert len(pool.tracking_numbers or ()) == 4
    assert pool.source == {"type": "all"}
    grown = await trackers.update(pool.id, pool_size=6)
    assert len(grown.tracking_numbers or ()) == 6
    await trackers.update(billboard.id, whisper_message="Bus", campaign_name="Buses 2026")
    read = await trackers.get(billboard.id, fields=["campaign_name", "swap_targets"])
    assert (read.whisper_message, read.campaign_name) == ("Bus", "Buses 2026")
    await trackers.delete(billboard.id)
    assert [each.id async for each in trackers.list(status="disabled")] == [billboard.id]


async def test_users(world: Made) -> None:
    users = world.client.users
    new = await users.create(
        first_name="Kim", last_name="Example", email="kim@example.com", role="manager", companies=[world.company]
    )
    (listed,) = [each async for each in users.list(search="kim")]
    assert (listed.id, listed.accepted) == (new.id, False)
    owner = next(iter(world.account.users))
    await users.update(owner, first_name="Samuel")
    assert (await users.get(owner)).name == "Samuel Owner"
    await users.delete(new.id)
    with pytest.raises(NotFound):
        await users.get(new.id)


async def test_leads_and_all_that_they_did(world: Made) -> None:
    people = await rows(world.client.leads.list(per_page=10))
    assert len(people) == len(world.account.people)
    narrowed = await rows(world.client.leads.list(fields=["id", "name"]))
    assert narrowed[0].told.keys() == {"id", "name"}

    person = next(each["person_id"] for each in world.account.conversations.values())
    told = await world.client.leads.timeline(person)
    assert told.lead
    assert told.lead.customer_phone_number == world.account.people[person]["phone"]
    assert told.lead.first_touch
    assert told.lead.first_touch.created_at
    assert told.lead.lead_creation
    assert told.lead.lead_creation.lead_creation_time == told.lead.first_touch.created_at
    assert all(tag.id and tag.name for tag in told.lead.tags or ())
    kinds = [event.type for event in told.timeline or ()]
    assert {"call", "sms", "milestone"} <= set(kinds)


# --- odd behaviour and trouble ----------------------------------------------------------------------------------------


async def test_an_account_that_answers_to_its_number_only(world: Made) -> None:
    world.account.answers_to_masked_id = False
    assert len(await rows(world.client.calls.list(**MONTH))) == 60
    assert (await world.client.tags.get(next(iter(world.account.tags)))).name == "Sales"
    assert world.fake.requests[-1].path.startswith(f"/v3/a/{world.account.numeric_id}/")


async def test_an_account_that_the_key_does_not_see(world: Made) -> None:
    with pytest.raises(NotFound, match="account"):
        await rows(world.client.for_account("ACCffffffffffffffffffffffffffffffff").tags.list())


async def test_a_conversation_that_redirects_to_the_accounts_number() -> None:
    async with made(quirks=Quirks(texts_redirect=True)) as world:
        conversation = next(iter(world.account.conversations))
        assert (await world.client.text_messages.get(conversation)).id == conversation


async def test_tags_told_as_objects() -> None:
    async with made(quirks=Quirks(tags_are_objects=True)) as world:
        call = next(each for each in world.account.calls if each.tags)
        assert (await world.client.calls.get(call.id, fields=["tags"])).tags == ["Sales"]


async def test_wrong_and_read_only_keys_say_so_and_change_nothing(world: Made) -> None:
    async with world.another("f" * 32) as stranger:
        with pytest.raises(Unauthorized, match="key"):
            await rows(stranger.tags.list())
    async with world.another(world.fake.world.read_only_key) as reader:
        with pytest.raises(Forbidden, match="read-only"):
            await reader.companies.update(world.company, name="Changed")
    assert world.account.companies[world.company]["name"] == "Acme Plumbing"


async def test_the_limit_of_the_server_is_waited_for() -> None:
    async with made(limits=Limits(general=(3, 100), retry_after=20)) as world:
        for _ in range(3):
            await world.client.accounts.get(world.account.id)
        with pytest.raises(RateLimited):
            await world.client.accounts.get(world.account.id, deadline=timedelta(seconds=50))
        assert world.slept[:2] == [20.0, 20.0]


async def test_a_storm_of_429_passes(world: Made) -> None:
    world.fake.faults.add("*", "/v3/a/*", faults.too_many(retry_after=1), times=3)
    await world.client.companies.update(world.company, name="After the storm")
    assert world.account.companies[world.company]["name"] == "After the storm"
    assert world.slept == [1.0, 1.0, 1.0]


async def test_a_proxys_page_is_read_past(world: Made) -> None:
    world.fake.faults.add("GET", "*/tags.json", faults.html(502), times=2)
    assert await rows(world.client.tags.list())
    assert len(world.fake.requests) == 3


async def test_an_answer_that_was_cut_off_says_so(world: Made) -> None:
    world.fake.faults.add("GET", "*/tags.json", faults.truncated())
    with pytest.raises(UnexpectedAnswer, match="cut off"):
        await rows(world.client.tags.list())


@pytest.mark.parametrize("fault", [faults.html(502), faults.truncated()], ids=["html", "truncated"])
async def test_what_a_proxy_spoils_is_not_sent_twice(world: Made, fault: faults.Fault) -> None:
    count = len(world.account.conversations)
    world.fake.faults.add("POST", "*/text-messages.json", fault)
    with pytest.raises((ServerFault, UnexpectedAnswer)):
        await world.client.text_messages.send(
            company_id=world.company,
            customer_phone_number="+14045550166",
            tracking_number="+17705550100",
            content="Once",
        )
    assert len(world.account.conversations) == count + 1  # it was carried out, once


async def test_a_redirect_elsewhere_is_not_followed(world: Made) -> None:
    world.fake.faults.add("GET", "*/tags.json", faults.redirect("https://evil.example.net/v3/a/1/tags.json"))
    with pytest.raises(UnexpectedAnswer, match="302"):
        await rows(world.client.tags.list())


async def test_a_next_page_elsewhere_and_an_empty_one(world: Made) -> None:
    elsewhere = faults.changed(lambda told: {**told, "next_page": "https://evil.example.net/v3/a/1/calls"})
    world.fake.faults.add("GET", "*/calls.json", elsewhere)
    with pytest.raises(PagingError, match=r"evil\.example\.net"):
        await rows(world.client.calls.list(**MONTH, per_page=5))

    first = await rows(world.client.calls.list(**MONTH, per_page=5, search="EXAMPLE"))
    world.fake.faults.add("GET", "*/calls", faults.changed(lambda told: {**told, "calls": []}))
    assert len(await rows(world.client.calls.list(**MONTH, per_page=5, search="EXAMPLE"))) == len(first) - 5


def test_every_operation_is_known_to_the_fake() -> None:
    from routers.fake_callrail.routing import ROUTES, match

    assert len(ROUTES) == len(OPERATIONS)  # without the list of accounts, which is the app's; with media
    for operation in OPERATIONS:
        path = operation.full_path.removeprefix("/v3/a/{account_id}")
        if operation.name in ("accounts.list", "accounts.get"):
            continue
        ids = {name: "ID1" for name, each in operation.parameters.items() if each.place == "path"}
        assert not isinstance(match(operation.method, path.lstrip("/").format_map(ids), is_json=False), int), path
