"""Calls, in and out: the largest of CallRail's objects, and the list with the most traps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Unpack

from callrail.bodies import Dialled
from callrail.dates import DateRange
from callrail.model import (
    Amount,
    Flag,
    Fraction,
    Id,
    Joined,
    Model,
    Moment,
    Number,
    Object,
    Objects,
    TagNames,
    Text,
    Texts,
    lenient,
)
from callrail.operation import UNSET, Day, ListOptions, Options, Resource, WriteOptions, listing, of_presence, operation
from callrail.paging import Listing
from callrail.parameter import Remedy
from callrail.request import Budget, Danger

CallType = Literal["first_call", "missed", "voicemails", "inbound", "outbound"]
AnswerStatus = Literal["answered", "missed", "voicemail"]
Direction = Literal["inbound", "outbound"]
Device = Literal["desktop", "mobile"]
LeadStatus = Literal["good_lead", "not_a_lead", "not_scored"]
CallSort = Literal[
    "customer_name",
    "customer_phone_number",
    "duration",
    "start_time",
    "source",
    "customer_city",
    "customer_country",
    "landing_page_url",
    "device_type",
    "answered",
    "first_call",
    "source_name",
    "lead_status",
    "tags",
]
CallField = Literal[
    "agent_email",
    "call_highlights",
    "call_summary",
    "call_type",
    "campaign",
    "company_id",
    "company_name",
    "company_time_zone",
    "conversational_transcript",
    "created_at",
    "custom",
    "device_type",
    "fbclid",
    "first_call",
    "formatted_business_phone_number",
    "formatted_call_type",
    "formatted_customer_location",
    "formatted_customer_name",
    "formatted_customer_name_or_phone_number",
    "formatted_customer_phone_number",
    "formatted_duration",
    "formatted_tracking_phone_number",
    "formatted_tracking_source",
    "formatted_value",
    "ga",
    "gclid",
    "good_lead_call_id",
    "good_lead_call_time",
    "integration_data",
    "keypad_entries",
    "keywords",
    "keywords_spotted",
    "landing_page_url",
    "last_requested_url",
    "lead_explanation",
    "lead_score",
    "lead_status",
    "medium",
    "milestones",
    "msclkid",
    "note",
    "person_id",
    "prior_calls",
    "referrer_domain",
    "referring_url",
    "sentiment",
    "session_uuid",
    "source",
    "source_name",
    "speaker_percent",
    "tags",
    "timeline_url",
    "total_calls",
    "tracker_id",
    "transcription",
    "utm_campaign",
    "utm_content",
    "utm_medium",
    "utm_source",
    "utm_term",
    "value",
    "voice_assist_message",
    "waveforms",
    "zip_code",
]
Metric = Literal[
    "total_calls",
    "missed_calls",
    "answered_calls",
    "first_time_callers",
    "average_duration",
    "formatted_average_duration",
    "leads",
    "abandoned_calls",
]
Grouping = Literal[
    "source", "keywords", "campaign", "referrer", "landing_page", "company", "company_id", "last_requested_page"
]
Interval = Literal["hour", "day", "week", "month", "year"]


class Milestone(Model):
    """A stage of a lead's way; a stage not reached is all None."""

    event_date: Moment = None
    ad_position: Text = None
    campaign: Text = None
    device: Text = None
    keywords: Text = None
    landing: Text = None
    landing_page_url_params: Object = None
    match_type: Text = None
    medium: Text = None
    referrer: Text = None
    referrer_url_params: Object = None
    session_browser: Text = None
    url_utm_params: Object = None
    source: Text = None


class Milestones(Model):
    """The stages of a lead's way."""

    first_touch: Annotated[Milestone | None, lenient] = None
    lead_created: Annotated[Milestone | None, lenient] = None
    qualified: Annotated[Milestone | None, lenient] = None
    last_touch: Annotated[Milestone | None, lenient] = None


class Phrase(Model):
    """One phrase of a transcript. *start* is in seconds."""

    speaker: Text = None
    phrase: Text = None
    start: Fraction = None


class Call(Model):
    """A call. The first block is always told, the rest by ``fields``.

    `answered` is true also where voicemail answered (observed): a person answered if `answered and not voicemail`.

    Without Premium Conversation Intelligence CallRail tells None of `transcription`, `conversational_transcript`,
    `call_summary`, `sentiment` and what else was drawn from what people said (documented since May 2026), also where
    its own pages show a transcript. From `device_type` to `utm_term` most is of session trackers only. `duration` and
    `recording_duration` are in seconds.
    """

    id: Id = ""
    start_time: Moment = None
    direction: Text = None
    answered: Flag = None
    voicemail: Flag = None
    duration: Number = None
    customer_name: Text = None
    customer_city: Text = None
    customer_state: Text = None
    customer_country: Text = None
    customer_phone_number: Text = None
    tracking_phone_number: Text = None
    business_phone_number: Text = None
    recording: Text = None
    recording_duration: Number = None
    recording_player: Text = None
    agent_email: Text = None

    call_type: Text = None
    company_id: Text = None
    company_name: Text = None
    company_time_zone: Text = None
    tracker_id: Text = None
    created_at: Moment = None
    source: Text = None
    source_name: Text = None
    medium: Text = None
    campaign: Text = None
    keywords: Text = None
    first_call: Flag = None
    prior_calls: Number = None
    total_calls: Number = None
    lead_status: Text = None
    good_lead_call_id: Text = None
    good_lead_call_time: Moment = None
    value: Amount = None
    formatted_value: Text = None
    note: Text = None
    tags: TagNames = None
    person_id: Text = None
    timeline_url: Text = None
    transcription: Text = None
    call_summary: Joined = None
    sentiment: Text = None
    call_highlights: Texts = None
    keywords_spotted: Objects = None
    lead_score: Text = None
    lead_explanation: Text = None
    speaker_percent: Any = None
    voice_assist_message: Object = None
    waveforms: Texts = None
    keypad_entries: Any = None
    zip_code: Any = None
    integration_data: Objects = None
    device_type: Text = None
    custom: Object = None
    fbclid: Text = None
    ga: Text = None
    gclid: Text = None
    msclkid: Text = None
    landing_page_url: Text = None
    last_requested_url: Text = None
    referring_url: Text = None
    referrer_domain: Text = None
    session_uuid: Text = None
    utm_source: Text = None
    utm_medium: Text = None
    utm_campaign: Text = None
    utm_content: Text = None
    utm_term: Text = None
    formatted_call_type: Text = None
    formatted_customer_location: Text = None
    formatted_business_phone_number: Text = None
    formatted_customer_name: Text = None
    formatted_customer_name_or_phone_number: Text = None
    formatted_customer_phone_number: Text = None
    formatted_duration: Text = None
    formatted_tracking_phone_number: Text = None
    formatted_tracking_source: Text = None

    # Read when they are first asked for: they take as long as all the rest.
    @cached_property
    def milestones(self) -> Milestones | None:
        """The stages of the lead's way."""
        told = self.told.get("milestones")
        return Milestones.model_validate(told) if isinstance(told, dict) else None

    @cached_property
    def conversational_transcript(self) -> Sequence[Phrase] | None:
        """What was said, phrase by phrase; of single calls only."""
        told = self.told.get("conversational_transcript")
        return (
            [Phrase.model_validate(each) for each in told if isinstance(each, dict)] if isinstance(told, list) else None
        )


class Totals(Model):
    """Numbers of calls, those asked for by ``fields``. *key* names the group; *average_duration* is in seconds."""

    key: Text = None
    total_calls: Number = None
    missed_calls: Number = None
    answered_calls: Number = None
    abandoned_calls: Number = None
    first_time_callers: Number = None
    average_duration: Number = None
    formatted_average_duration: Text = None
    leads: Number = None


class CallSummary(Model):
    """Totals of a time; by group where ``group_by`` was given."""

    start_date: Moment = None
    end_date: Moment = None
    time_zone: Text = None
    total_results: Annotated[Totals | None, lenient] = None
    grouped_by: Text = None
    grouped_results: Annotated[list[Totals] | None, lenient] = None


class Point(Totals):
    """Totals of one interval. *date* is a day, or a time with offset where the interval is an hour."""

    date: Text = None


class CallTimeseries(Model):
    """Totals of a time, and of each interval in it."""

    start_date: Moment = None
    end_date: Moment = None
    time_zone: Text = None
    total_results: Annotated[Totals | None, lenient] = None
    data: Annotated[list[Point] | None, lenient] = None


Value = Annotated[
    str | None, Remedy(500, "some accounts answer so to the value of a call (observed); set it in CallRail's app")
]


@of_presence
def _value_alone(
    value: Any, tags: Any, append_tags: Any, note: Any, lead_status: Any, customer_name: Any, spam: Any
) -> str | None:
    others = (tags, append_tags, note, lead_status, customer_name, spam)
    if value is UNSET or all(each is UNSET for each in others):
        return None
    return "value goes in a request of its own: where CallRail answers 500 to it (observed), the rest would be lost"


class Recording(Model):
    """Where a recording is. The address holds an access key and does not last: save the file, or ask again."""

    url: Text = None


class PageView(Model):
    """A page that the caller saw before calling."""

    page_url: Text = None
    referrer_url: Text = None
    created_at: Moment = None


class Calls(Resource, named="calls"):
    """Phone calls, in and out."""

    @listing("calls.json", "calls", is_dated=True, is_relative=True)
    def list(
        self,
        *,
        start_date: Day | None = None,
        end_date: Day | None = None,
        date_range: DateRange | None = None,
        time_zone: str | None = None,
        company_id: str | None = None,
        tracker_id: str | None = None,
        call_type: CallType | None = None,
        answer_status: AnswerStatus | None = None,
        device: Device | None = None,
        direction: Direction | None = None,
        lead_status: LeadStatus | None = None,
        tags: Sequence[str] | None = None,
        search: str | None = None,
        sort: CallSort | None = None,
        order: Literal["asc", "desc"] | None = None,
        fields: Sequence[CallField] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Call]:
        """List calls, newest first.

        There is no filter by source, by person or by time of change: later tags, notes and transcripts are found by
        reading the days again. ``conversational_transcript`` and ``integration_data`` are told of single calls only.

        Args:
            start_date: First day or moment, at most 25 months ago.
            end_date: Last day (until its end) or moment; today when left out.
            date_range: A range by name instead; ``recent`` is seven days and today.
            time_zone: IANA name for day borders and told times; the key owner's zone when left out.
            company_id: Only calls of this company, ``COM...``.
            tracker_id: Only calls of this tracker, ``TRK...``.
            call_type: Only calls of this type.
            answer_status: Only calls answered so; ``missed`` holds those that voicemail took (observed).
            device: Only calls from a page seen on such a device.
            direction: Only calls of this direction.
            lead_status: Only calls scored so.
            tags: Only calls with any of these tags.
            search: One term, looked for in customer's name and numbers, note and source; fragments of numbers match.
            sort: Field to sort by; ``start_time`` with ``order="asc"`` when new calls may arrive meanwhile.
            order: Direction; needs ``sort``.
            fields: Fields to add to those always told; texts of conversations need Premium Conversation Intelligence.

        Raises:
            InvalidRequest: No date is given, or one further back than CallRail keeps.
        """

    @operation("GET", "calls/{call_id}.json", remedies={404: "a call marked as spam is not told of either"})
    async def get(self, call_id: str, *, fields: Sequence[CallField] | None = None, **options: Unpack[Options]) -> Call:
        """Get one call by its id.

        Args:
            call_id: ``CAL...``.
            fields: Fields to add to those always told; texts of conversations need Premium Conversation Intelligence
                and are None without it, also where CallRail's own pages show them.

        Raises:
            NotFound: There is none, or it was marked as spam.
        """

    @operation("POST", "calls.json", dangers=[Danger.RINGS, Danger.COSTS], budget=Budget.CALLS)
    async def create(
        self,
        *,
        caller_id: str,
        customer_phone_number: Dialled,
        business_phone_number: Dialled,
        recording_enabled: bool = UNSET,
        outbound_greeting_recording_url: str = UNSET,
        outbound_greeting_text: str = UNSET,
        agent_id: str = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Call:
        """Place a call: the business is rung first, then the customer is dialled.

        United States and Canada only; an allowance of its own, 100 an hour. The answer's `answered`, `duration` and
        `recording` may be None.

        Args:
            caller_id: Number shown to the customer: a tracking number, or a verified caller id.
            customer_phone_number: Number to dial, ten digits or E.164.
            business_phone_number: Number to ring first.
            recording_enabled: Whether to record.
            outbound_greeting_recording_url: Recording played to the customer.
            outbound_greeting_text: Text read to the customer.
            agent_id: User to whom the call is credited, ``USR...``.
        """

    @operation("PUT", "calls/{call_id}.json", rules=[_value_alone])
    async def update(
        self,
        call_id: str,
        *,
        tags: Sequence[str] | None = UNSET,
        append_tags: bool = UNSET,
        note: str | None = UNSET,
        value: Value = UNSET,
        lead_status: Literal["good_lead", "not_a_lead"] | None = UNSET,
        customer_name: str | None = UNSET,
        spam: Annotated[Literal[True], Danger.DELETES] = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Call:
        """Tag, note, score or rename a call, or mark it as spam.

        What is not given stays; None clears. The answer holds no tags: get the call again to see them.

        Args:
            call_id: ``CAL...``.
            tags: Names; they replace all tags unless ``append_tags``. Unknown ones are made, for the company.
            append_tags: Add to the tags there are.
            note: Text.
            value: Amount such as ``"$250.00"``, in a request of its own: on some accounts CallRail answers 500 to it
                (observed), and what stands beside it is lost.
            lead_status: Score.
            customer_name: Renames the lead.
            spam: Marks as spam, for good: the call leaves log, reports and this API.

        Raises:
            Rejected: ``good_lead`` for a call that was one before.
        """

    @operation("GET", "calls/summary.json", is_dated=True)
    async def summary(
        self,
        *,
        start_date: Day | None = None,
        end_date: Day | None = None,
        date_range: DateRange | None = None,
        time_zone: str | None = None,
        group_by: Grouping | None = None,
        company_id: str | None = None,
        tracker_ids: Sequence[str] | None = None,
        device: Literal["desktop", "mobile", "all"] | None = None,
        direction: Literal["inbound", "outbound", "all"] | None = None,
        answer_status: Literal["answered", "missed", "voicemail", "all"] | None = None,
        lead_status: LeadStatus | None = None,
        min_duration: int | None = None,
        max_duration: int | None = None,
        first_time_callers: bool | None = None,
        tags: Sequence[str] | None = None,
        agent: str | None = None,
        search: str | None = None,
        fields: Sequence[Metric] | None = None,
        **options: Unpack[Options],
    ) -> CallSummary:
        """Count calls, all together or by group.

        Args:
            start_date: First day or moment, at most 25 months ago.
            end_date: Last day or moment.
            date_range: A range by name instead.
            time_zone: IANA name for day borders.
            group_by: What to group by.
            company_id: Only calls of this company.
            tracker_ids: Only calls of these trackers.
            device: Only calls from such a device.
            direction: Only calls of this direction.
            answer_status: Only calls answered so.
            lead_status: Only calls scored so.
            min_duration: Seconds at least.
            max_duration: Seconds at most.
            first_time_callers: Only first calls of a person.
            tags: Only calls with any of these tags.
            agent: Only calls of this user.
            search: Term to look for in the source.
            fields: Numbers to tell beside ``total_calls``; ``abandoned_calls`` is undocumented (observed).
        """

    @operation("GET", "calls/timeseries.json", is_dated=True)
    async def timeseries(
        self,
        *,
        start_date: Day | None = None,
        end_date: Day | None = None,
        date_range: DateRange | None = None,
        time_zone: str | None = None,
        interval: Interval | None = None,
        company_id: str | None = None,
        tracker_ids: Sequence[str] | None = None,
        device: Literal["desktop", "mobile", "all"] | None = None,
        direction: Literal["inbound", "outbound", "all"] | None = None,
        answer_status: Literal["answered", "missed", "voicemail", "all"] | None = None,
        lead_status: LeadStatus | None = None,
        min_duration: int | None = None,
        max_duration: int | None = None,
        first_time_callers: bool | None = None,
        tags: Sequence[str] | None = None,
        agent: str | None = None,
        search: str | None = None,
        fields: Sequence[Metric] | None = None,
        **options: Unpack[Options],
    ) -> CallTimeseries:
        """Count calls by hour, day, week, month or year; 200 points at most (observed).

        Args:
            start_date: First day or moment, at most 25 months ago.
            end_date: Last day or moment.
            date_range: A range by name instead.
            time_zone: IANA name for the borders of intervals.
            interval: Length of an interval; a day when left out.
            company_id: Only calls of this company.
            tracker_ids: Only calls of these trackers.
            device: Only calls from such a device.
            direction: Only calls of this direction.
            answer_status: Only calls answered so.
            lead_status: Only calls scored so.
            min_duration: Seconds at least.
            max_duration: Seconds at most.
            first_time_callers: Only first calls of a person.
            tags: Only calls with any of these tags.
            agent: Only calls of this user.
            search: Term to look for in the source.
            fields: Numbers to tell beside ``total_calls``.

        Raises:
            Rejected: The range holds more than 200 intervals.
        """

    @operation(
        "GET", "calls/{call_id}/recording.json", remedies={404: "the call was not recorded, or is not ready yet"}
    )
    async def recording(self, call_id: str, **options: Unpack[Options]) -> Recording:
        """Get the address of a call's recording, an MP3.

        It holds an access key and lasts a day or more, not for ever; `CallRail.download` saves the file.

        Args:
            call_id: ``CAL...``.

        Raises:
            NotFound: Nothing was recorded, or CallRail still prepares it (one to three minutes, observed).
        """

    @listing("calls/{call_id}/page_views.json", "page_views")
    def page_views(
        self, call_id: str, *, time_zone: str | None = None, **options: Unpack[ListOptions]
    ) -> Listing[PageView]:
        """List the pages that the caller saw before the call, newest first; of session trackers only.

        Args:
            call_id: ``CAL...``.
            time_zone: IANA name for told times.
        """
