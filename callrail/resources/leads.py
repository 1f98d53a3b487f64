"""People, and everything that is known of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Unpack

from pydantic import Field

from callrail.model import Flag, Id, Model, Moment, Number, Object, Text, lenient
from callrail.operation import ListOptions, Options, Resource, listing, operation
from callrail.paging import Listing


class Lead(Model):
    """A person. `phone` is in E.164."""

    id: Id = ""
    name: Text = None
    phone: Text = None
    email: Text = None
    created_at: Moment = None
    company_id: Text = None
    company_name: Text = None


class Touch(Model):
    """A visit, a call or the like on a lead's way; told in part."""

    touchpoint_type: Text = None
    source: Text = None
    medium: Text = None
    created_at: Moment = None
    lead_creation_time: Moment = None


class LeadTag(Model):
    """A tag that a person's calls, texts or forms carry."""

    id: Id = ""
    name: Text = None
    color: Text = None


class AssistAnswer(Model):
    """An answer of Convert Assist to a question of its own."""

    answer_key: Text = None
    answer_text: Text = None


class ConvertAssist(Model):
    """What Convert Assist gathered of a person."""

    id: Id = ""
    created_at: Moment = None
    last_interaction_id: Text = None
    last_interaction_type: Text = None
    interaction_count: Number = None
    status: Text = None
    answers: Annotated[list[AssistAnswer] | None, lenient] = None


class ClickIds(Model):
    """The ids that advertisers give a click."""

    gclid: Text = None
    gbraid: Text = None
    wbraid: Text = None
    msclkid: Text = None
    fbclid: Text = None


class LeadProfile(Model):
    """What is known of a person; attribution is that of the first touch."""

    customer_name: Text = None
    customer_phone_number: Text = None
    total_interactions: Number = None
    first_touch: Annotated[Touch | None, lenient] = None
    last_touch: Annotated[Touch | None, lenient] = None
    lead_creation: Annotated[Touch | None, lenient] = None
    lead_qualification: Annotated[Touch | None, lenient] = None
    tags: Annotated[list[LeadTag] | None, lenient] = None
    convert_assist: Annotated[ConvertAssist | None, lenient] = None
    voice_assist: Flag = None
    transcript: Flag = None
    source: Text = None
    medium: Text = None
    campaign: Text = None
    landing_page_url: Text = None
    referrer_url: Text = None
    click_id: Annotated[ClickIds | None, lenient] = None


class LeadEvent(Model):
    """Something a person did. What is told depends on `type`; the rest is None.

    `type` is ``call``, ``form_submission``, ``sms``, ``chat`` or ``milestone``. An ``sms`` is a thread, told with its
    first text.
    """

    type: Text = None
    id: Id = ""
    event_date: Moment = None
    customer_name: Text = None
    customer_phone_number: Text = None
    direction: Text = None
    duration: Number = None
    answered: Flag = None
    recording: Text = None
    start_time: Moment = None
    tracking_phone_number: Text = None
    form_name: Text = None
    form_url: Text = None
    form_fields: Object = None
    form_submission_url: Text = None
    message_content: Text = None
    message_phone_number: Text = None
    message_type: Text = None
    thread_id: Text = None
    chat_id: Text = None
    chat_subject: Text = None
    conversation_participant_phone_number: Text = None
    milestone_type: Text = None
    touchpoint_type: Text = None


class LeadTimeline(Model):
    """A person, and a page of what that person did."""

    page: Number = None
    per_page: Number = None
    total_pages: Number = None
    total_records: Number = None
    lead: Annotated[LeadProfile | None, lenient] = None
    timeline: Annotated[list[LeadEvent] | None, lenient] = None


class Leads(Resource, named="leads"):
    """People who called, wrote or filled in a form."""

    @listing("leads.json", "leads")
    def list(
        self,
        *,
        company_id: str | None = None,
        sort: Literal["created_at", "name", "email"] | None = None,
        order: Literal["asc", "desc"] | None = None,
        fields: Sequence[str] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Lead]:
        """List people, newest first. There is no filter by date, number or name.

        Args:
            company_id: Only people of this company, ``COM...``.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Only these fields; here they narrow.
        """

    @operation("GET", "leads/{lead_id}/timeline.json")
    async def timeline(
        self,
        lead_id: str,
        *,
        page: Annotated[int | None, Field(ge=1)] = None,
        per_page: Annotated[int | None, Field(ge=1, le=250)] = None,
        sort: Literal["event_date", "created_at"] | None = None,
        fields: Sequence[str] | None = None,
        **options: Unpack[Options],
    ) -> LeadTimeline:
        """Get a person, with a page of everything that person did.

        Args:
            lead_id: ``PER...``, the `person_id` of calls and forms.
            page: Page of events, the first being 1.
            per_page: Events a page, 250 at most.
            sort: ``event_date`` is newest first, ``created_at`` oldest first.
            fields: Only these fields of events; here they narrow.
        """
