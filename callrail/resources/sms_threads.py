"""Texts as threads, which carry tags, a value and a score."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Unpack

from pydantic import Field

from callrail.dates import DateRange
from callrail.model import Amount, Id, Model, Moment, Number, TagNames, Text, Texts, lenient
from callrail.operation import UNSET, Day, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing

ThreadField = Literal[
    "last_message_at",
    "formatted_customer_phone_number",
    "formatted_initial_tracking_number",
    "formatted_current_tracking_number",
    "formatted_customer_name",
]


class ThreadMessage(Model):
    """A text in a thread. Its `id`, ``SCI...``, is that of the webhook."""

    id: Id = ""
    content: Text = None
    created_at: Moment = None
    status: Text = None
    direction: Text = None
    message_type: Text = None
    media_urls: Texts = None
    error: Text = None


class SmsThread(Model):
    """A thread; a single one with a page of its `messages`."""

    id: Id = ""
    notes: Text = None
    tags: TagNames = None
    value: Amount = None
    lead_qualification: Text = None
    company_id: Text = None
    initial_tracker_id: Text = None
    current_tracker_id: Text = None
    customer_name: Text = None
    customer_phone_number: Text = None
    initial_tracking_number: Text = None
    current_tracking_number: Text = None
    state: Text = None
    company_time_zone: Text = None
    last_message_at: Moment = None
    formatted_customer_phone_number: Text = None
    formatted_initial_tracking_number: Text = None
    formatted_current_tracking_number: Text = None
    formatted_customer_name: Text = None
    page: Number = None
    per_page: Number = None
    total_pages: Number = None
    total_records: Number = None
    messages: Annotated[list[ThreadMessage] | None, lenient] = None


_DAY = len("2026-03-09")


def _both_days(start_date: Any, end_date: Any) -> str | None:
    """Of this list alone (documented)."""
    if (start_date is UNSET) != (end_date is UNSET):
        return "start_date and end_date are given together"
    if any(
        isinstance(each, datetime) or (isinstance(each, str) and len(each) > _DAY) for each in (start_date, end_date)
    ):
        return "start_date and end_date are days here, without a time"
    return None


class SmsThreads(Resource, named="sms_threads"):
    """Threads of texts, with tags, notes, value and score."""

    @listing("sms-threads.json", "sms_threads", is_dated=True, rules=[_both_days])
    def list(
        self,
        *,
        start_date: Day | None = None,
        end_date: Day | None = None,
        date_range: DateRange | None = None,
        company_id: str | None = None,
        search: str | None = None,
        fields: Sequence[ThreadField] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[SmsThread]:
        """List threads, newest first.

        Args:
            start_date: First day, at most 25 months ago; a day, and together with ``end_date``.
            end_date: Last day.
            date_range: A range by name instead.
            company_id: Only threads of this company, ``COM...``.
            search: Part of the number or name, or a tag.
            fields: Fields to add.

        Raises:
            InvalidRequest: No date is given, or one further back than CallRail keeps.
        """

    @operation("GET", "sms-threads/{thread_id}.json")
    async def get(
        self,
        thread_id: str,
        *,
        page: Annotated[int | None, Field(ge=1)] = None,
        per_page: Annotated[int | None, Field(ge=1, le=100)] = None,
        with_msg_errors: bool | None = None,
        fields: Sequence[ThreadField] | None = None,
        **options: Unpack[Options],
    ) -> SmsThread:
        """Get one thread with a page of its texts by its id.

        Args:
            thread_id: As lists tell it; a short code (documented) or ``SMT...`` (observed).
            page: Page of texts, the first being 1.
            per_page: Texts a page, 100 at most.
            with_msg_errors: Tell why texts failed.
            fields: Fields to add.
        """

    @operation("PUT", "sms-threads/{thread_id}.json")
    async def update(
        self,
        thread_id: str,
        *,
        notes: str | None = UNSET,
        tags: Sequence[str] | None = UNSET,
        append_tags: bool = UNSET,
        value: str | None = UNSET,
        lead_qualification: Literal["good_lead", "not_a_lead"] | None = UNSET,
        **options: Unpack[WriteOptions],
    ) -> SmsThread:
        """Note, tag, value or score a thread. What is not given stays; None clears.

        Args:
            thread_id: As lists tell it.
            notes: Text.
            tags: Names; they replace all tags unless ``append_tags``.
            append_tags: Add to the tags there are.
            value: Amount such as ``"$5.00"``.
            lead_qualification: Score.
        """
