"""CallRail's API as the demo's look-ups find it: the stand-in, which hears of each call that is played before we do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from callrail.kinds import Kind
from callrail.payload import read_payload
from routers.fake_callrail import FakeCallRail, small_world
from routers.fake_callrail.companies import new_company
from routers.fake_callrail.times import utc
from routers.fake_callrail.trackers import new_tracker
from routers.fake_callrail.world import Account, Call
from routers.scenarios import Posting

# As far back as earlier calls of a person lie, one after another.
_BETWEEN_CALLS = timedelta(days=9, hours=3)
_LONG_OVER = timedelta(seconds=21)
_HELD_BACK = timedelta(minutes=3)
_BILLBOARDS = "Billboards 2026"


class DemoWorld:
    """The stand-in, and what it has heard of.

    Args:
        speed: How many times faster than life everything goes.
        on_over: Called when a call is over whose post-call is held back.
    """

    def __init__(self, speed: float = 1, on_over: Callable[[], None] = lambda: None) -> None:
        self._speed = speed
        self._on_over = on_over
        self._begins: dict[str, float] = {}  # by call, on the clock of the event loop
        self.fake = FakeCallRail(small_world(calls=0))
        self.account: Account = self.fake.world.accounts[0]

    def hear(self, body: bytes, content_type: str) -> None:
        """Know the company, the number and the person of a webhook, as CallRail did before it posted it."""
        told = read_payload(body, content_type).fields
        company_id, person_id = told.get("company_resource_id"), told.get("person_resource_id")
        if not company_id or not person_id:
            return
        company = self._company(str(company_id), str(told.get("company_name") or "Example"))
        tracker = self._tracker(told, company) if told.get("tracker_resource_id") else None
        if str(person_id) not in self.account.people:
            self._meet(str(person_id), told, company, tracker)

    def announce(self, posting: Posting, at: float) -> None:
        """CallRail knows how a call ended when its caller hangs up, and posts it later."""
        if posting.kind not in (Kind.PRE_CALL, Kind.POST_CALL):
            return
        told = read_payload(posting.body, posting.content_type).fields
        call_id = str(told.get("resource_id"))
        if posting.kind == Kind.PRE_CALL:
            self._begins[call_id] = at
        elif call_id in self._begins:
            over_at = self._begins[call_id] + int(told.get("duration") or 0) / self._speed
            is_held_back = at - over_at > _HELD_BACK.total_seconds() / self._speed
            asyncio.get_running_loop().call_at(over_at, self._hang_up, told, is_held_back)

    def _hang_up(self, told: Mapping[str, Any], is_held_back: bool) -> None:
        tracker = self.account.trackers.get(str(told.get("tracker_resource_id")))
        person = self.account.people.get(str(told.get("person_resource_id")))
        if tracker is None or person is None:
            return
        duration = int(told.get("duration") or 0)
        # As long ago as a call at life's pace would be for which the router is sure that it is over.
        start = datetime.now(UTC) - timedelta(seconds=duration) - _LONG_OVER
        call = Call(
            id=str(told["resource_id"]),
            start=start,
            tracker=tracker,
            person=person,
            duration=duration,
            answered=bool(told.get("answered")),
            voicemail=bool(told.get("voicemail")),
            is_first=bool(told.get("first_call")),
            source=str(told.get("source") or "Direct"),
            medium=str(told.get("medium") or "direct"),
            customer_name=told.get("customer_name"),
            page=told.get("timeline_url"),
        )
        self.account.calls.add(call)
        if is_held_back:
            self._on_over()

    def _company(self, company_id: str, name: str) -> dict[str, Any]:
        known = self.account.companies.get(company_id)
        if known is None:
            known = new_company(company_id, name, "America/New_York", utc(datetime.now(UTC)))
            self.account.companies[company_id] = known
        return known

    def _tracker(self, told: Mapping[str, Any], company: Mapping[str, Any]) -> dict[str, Any]:
        tracker_id = str(told["tracker_resource_id"])
        known = self.account.trackers.get(tracker_id)
        if known is None:
            name, number = str(told.get("source_name") or "Website"), str(told.get("tracking_phone_number") or "")
            known = new_tracker(tracker_id, name, "source", dict(company), [number], "2024-07-05T19:06:10Z")
            known["campaign_name"] = told.get("campaign") or (_BILLBOARDS if "ill" in name else None)
            self.account.trackers[tracker_id] = known
        return known

    def _meet(
        self, person_id: str, told: Mapping[str, Any], company: Mapping[str, Any], tracker: dict[str, Any] | None
    ) -> None:
        """Somebody who has called as often before as the webhook says; every second time nobody answered."""
        now = datetime.now(UTC)
        before = max(int(told.get("total_calls") or 1) - 1, 0)
        person = {
            "id": person_id,
            "name": told.get("customer_name") or told.get("contact_name"),
            "phone": told.get("customer_phone_number") or told.get("source_number") or "",
            "email": None,
            "created_at": now - _BETWEEN_CALLS * (before + 1),
            "company_id": company["id"],
            "company_name": company["name"],
        }
        self.account.people[person_id] = person
        for number in range(before if tracker is not None else 0):
            self.account.calls.add(
                Call(
                    id=self.fake.world.new_id("CAL"),
                    start=now - _BETWEEN_CALLS * (before - number),
                    tracker=tracker or {},
                    person=person,
                    duration=95,
                    answered=number % 2 == 0,
                    source=str(told.get("source") or "Direct"),
                    medium=str(told.get("medium") or "direct"),
                    is_first=number == 0,
                )
            )
