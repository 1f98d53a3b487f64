"""Texts, as conversations with a customer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

from pydantic import Field

from callrail.bodies import Dialled
from callrail.dates import DateRange
from callrail.model import Id, Model, Moment, Number, Text, Texts, lenient
from callrail.operation import UNSET, Day, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Budget, Danger
from callrail.resources.sms_threads import SmsThread

ConversationField = Literal["lead_status", "source"]


class Agent(Model):
    """Whoever wrote an outgoing text in CallRail's app."""

    id: Id = ""
    name: Text = None


class Message(Model):
    """A text in a conversation. `media_urls` need the API key and do not last; `CallRail.download` saves them.

    `sms_thread` is told in part only: ``id``, ``notes``, ``tags``, ``value`` and ``lead_qualification`` (observed).
    """

    id: Id = ""
    content: Text = None
    created_at: Moment = None
    status: Text = None
    direction: Text = None
    type: Text = None
    message_type: Text = None
    media_urls: Texts = None
    user: Annotated[Agent | None, lenient] = None
    sms_thread: Annotated[SmsThread | None, lenient] = None


class Conversation(Model):
    """A conversation. Lists hold up to two `recent_messages`; a single one its `messages`, newest first, by pages."""

    id: Id = ""
    company_id: Text = None
    initial_tracker_id: Text = None
    current_tracker_id: Text = None
    customer_name: Text = None
    customer_phone_number: Text = None
    initial_tracking_number: Text = None
    current_tracking_number: Text = None
    last_message_at: Moment = None
    state: Text = None
    company_time_zone: Text = None
    formatted_customer_phone_number: Text = None
    formatted_initial_tracking_number: Text = None
    formatted_current_tracking_number: Text = None
    formatted_customer_name: Text = None
    recent_messages: Annotated[list[Message] | None, lenient] = None
    page: Number = None
    per_page: Number = None
    total_pages: Number = None
    total_records: Number = None
    messages: Annotated[list[Message] | None, lenient] = None
    lead_status: Text = None
    source: Text = None
    tracker_name: Text = None
    company_name: Text = None


# What a picture's file begins with: JPEG, PNG, GIF.
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8")
# Documented are 5 MB. Which megabyte is not: what is more than the larger is refused, the rest is CallRail's to judge.
_MOST_BYTES = 5 * 1024 * 1024


def _one_picture(media_url: Any, media_file: Any) -> str | None:
    """What CallRail takes with a text (documented)."""
    if media_file is UNSET:
        return None
    if media_url is not UNSET:
        return "give media_url or media_file, not both: CallRail refuses both"
    try:
        with Path(media_file).open("rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    except OSError as error:
        return f"media_file cannot be read: {error.strerror}"
    if not head.startswith(_PICTURES):
        return "media_file is no JPEG, PNG or GIF"
    if size > _MOST_BYTES:
        return f"media_file has {size:,} bytes, but CallRail takes {_MOST_BYTES:,} at most"
    return None


class TextMessages(Resource, named="text_messages"):
    """Texts (SMS and MMS), as conversations."""

    @listing("text-messages.json", "conversations", is_dated=True)
    def list(
        self,
        *,
        start_date: Day | None = None,
        end_date: Day | None = None,
        date_range: DateRange | None = None,
        time_zone: str | None = None,
        company_id: str | None = None,
        search: str | None = None,
        fields: Sequence[ConversationField] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Conversation]:
        """List conversations, by their last text, newest first.

        Args:
            start_date: First day or moment, at most 25 months ago.
            end_date: Last day (until its end) or moment.
            date_range: A range by name instead; ``recent`` is seven days and today.
            time_zone: IANA name for day borders.
            company_id: Only conversations of this company, ``COM...``.
            search: Part of the customer's number or name.
            fields: Fields to add.

        Raises:
            InvalidRequest: No date is given, or one further back than CallRail keeps.
        """

    @operation("GET", "text-messages/{conversation_id}.json")
    async def get(
        self,
        conversation_id: str,
        *,
        page: Annotated[int | None, Field(ge=1)] = None,
        per_page: Annotated[int | None, Field(ge=1, le=250)] = None,
        fields: Sequence[ConversationField] | None = None,
        **options: Unpack[Options],
    ) -> Conversation:
        """Get one conversation with a page of its texts, newest first.

        Args:
            conversation_id: Short code, such as ``k8mc8``.
            page: Page of texts, the first being 1.
            per_page: Texts a page, 250 at most.
            fields: Fields to add.
        """

    @operation(
        "POST",
        "text-messages.json",
        dangers=[Danger.TEXTS, Danger.COSTS],
        budget=Budget.TEXTS,
        rules=[_one_picture],
    )
    async def send(
        self,
        *,
        company_id: str,
        customer_phone_number: Dialled,
        content: str,
        tracking_number: str = UNSET,
        media_url: str = UNSET,
        media_file: Path = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Conversation:
        """Send a text to one person, in the United States or Canada; an allowance of its own, 150 an hour.

        The answer holds no id of the text. After `AnswerLost` never send again: look in the conversation first.
        CallRail forbids bulk and automated texts; numbers need a 10DLC registration.

        Args:
            company_id: ``COM...``.
            customer_phone_number: Whom to send it to.
            content: The text; documented are 140 characters, longer ones were delivered whole (observed).
            tracking_number: Number to send it from; required where there is no conversation yet.
            media_url: Public address of a JPEG, PNG or GIF up to 5 MB; not together with ``media_file``.
            media_file: Such a file of this machine.

        Raises:
            Forbidden: Texts are not enabled for the account or the company.
        """

    @operation("PUT", "text-messages/{conversation_id}.json", undocumented="the public package pycallrail")
    async def update(
        self, conversation_id: str, *, state: Literal["active", "archived"], **options: Unpack[WriteOptions]
    ) -> Conversation:
        """Archive a conversation.

        Args:
            conversation_id: Short code.
            state: ``archived`` was seen.
        """
