"""The types of `callrail.sync`. Written from the operations' declarations by `make reference`; do not edit."""


from callrail.bodies import CallFlow, Dialled, FlowStep, IntegrationConfig, NumberWanted, Source, SummaryFilters, SummaryParts, TextAnswer
from callrail.budgets import Budgets
from callrail.dates import DateRange
from callrail.downloading import Download
from callrail.model import Deleted
from callrail.operation import Day, ListOptions, Options, WriteOptions
from callrail.paging import Page
from callrail.parameter import Named, Risk
from callrail.request import Danger
from callrail.resources.accounts import Account, AccountField
from callrail.resources.caller_ids import CallerId
from callrail.resources.calls import AnswerStatus, Call, CallField, CallSort, CallSummary, CallTimeseries, CallType, Device, Direction, Grouping, Interval, LeadStatus, Metric, PageView, Recording, Value
from callrail.resources.companies import BulkUpdated, Company, CompanyField
from callrail.resources.form_submissions import FormField, FormGrouping, FormMetric, FormSubmission, FormSummary, IgnoredFields
from callrail.resources.integration_triggers import FilteredCalls, IntegrationTrigger
from callrail.resources.integrations import Integration, IntegrationField
from callrail.resources.leads import Lead, LeadTimeline
from callrail.resources.message_flows import MessageFlow
from callrail.resources.notifications import AlertType, Notification
from callrail.resources.sms_threads import SmsThread, ThreadField
from callrail.resources.summary_emails import Frequency, SummaryEmail
from callrail.resources.tags import Tag, TagColor, TagLevel
from callrail.resources.text_messages import Conversation, ConversationField
from callrail.resources.trackers import Tracker, TrackerField, TrackerType
from callrail.resources.users import Role, User
from callrail.sending import Pace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from pydantic import AfterValidator, Field
from types import TracebackType
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, Unpack

Row = TypeVar("Row")

class Listing(Generic[Row]):
    """The rows of a list, as an iterator; nothing is asked for before it is read."""

    def __iter__(self) -> Iterator[Row]: ...
    def pages(self) -> Iterator[Page[Row]]:
        """The same, page by page; one request each."""


class Accounts:
    """Accounts that the API key sees."""

    def list(self, *, hipaa_account: bool | None=..., sort: Literal['name'] | None=..., order: Literal['asc', 'desc'] | None=..., fields: Sequence[AccountField] | None=..., **options: Unpack[ListOptions]) -> Listing[Account]:
        """List the accounts of the API key.

        Args:
            hipaa_account: Only those that are, or are not, HIPAA accounts.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Fields to add: ``numeric_id``, the other id that paths take.
        """

    def get(self, account_id: str, *, fields: Sequence[AccountField] | None=..., **options: Unpack[Options]) -> Account:
        """Get one account by its id.

        Args:
            account_id: ``ACC...`` or the number in the app's address behind ``/a/``.
            fields: Fields to add: ``numeric_id``.

        Raises:
            NotFound: There is none, or it answers to its other id only (observed).
        """

class CallerIds:
    """Caller ids for outbound calls."""

    def list(self, *, company_id: str, **options: Unpack[ListOptions]) -> Listing[CallerId]:
        """List a company's caller ids.

        Args:
            company_id: ``COM...``.

        Raises:
            Forbidden: The account has no caller ids (observed on some).
        """

    def create(self, *, company_id: str, phone_number: str, name: str, **options: Unpack[WriteOptions]) -> CallerId:
        """Register a number: it is rung at once, and asked for the answer's `validation_code`.

        Args:
            company_id: ``COM...``.
            phone_number: Number to be verified.
            name: Name of the caller id.

        Raises:
            Forbidden: The account has no caller ids (observed on some).
        """

    def get(self, caller_id: str, **options: Unpack[Options]) -> CallerId:
        """Get one caller id by its id.

        Args:
            caller_id: Number of the caller id in CallRail; no telephone number.
        """

    def delete(self, caller_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a caller id.

        Args:
            caller_id: Number of the caller id in CallRail; no telephone number.
        """

class Calls:
    """Phone calls, in and out."""

    def list(self, *, start_date: Day | None=..., end_date: Day | None=..., date_range: DateRange | None=..., time_zone: str | None=..., company_id: str | None=..., tracker_id: str | None=..., call_type: CallType | None=..., answer_status: AnswerStatus | None=..., device: Device | None=..., direction: Direction | None=..., lead_status: LeadStatus | None=..., tags: Sequence[str] | None=..., search: str | None=..., sort: CallSort | None=..., order: Literal['asc', 'desc'] | None=..., fields: Sequence[CallField] | None=..., **options: Unpack[ListOptions]) -> Listing[Call]:
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

    def get(self, call_id: str, *, fields: Sequence[CallField] | None=..., **options: Unpack[Options]) -> Call:
        """Get one call by its id.

        Args:
            call_id: ``CAL...``.
            fields: Fields to add to those always told; texts of conversations need Premium Conversation Intelligence
                and are None without it, also where CallRail's own pages show them.

        Raises:
            NotFound: There is none, or it was marked as spam.
        """

    def create(self, *, caller_id: str, customer_phone_number: Dialled, business_phone_number: Dialled, recording_enabled: bool=..., outbound_greeting_recording_url: str=..., outbound_greeting_text: str=..., agent_id: str=..., **options: Unpack[WriteOptions]) -> Call:
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

    def update(self, call_id: str, *, tags: Sequence[str] | None=..., append_tags: bool=..., note: str | None=..., value: Value=..., lead_status: Literal['good_lead', 'not_a_lead'] | None=..., customer_name: str | None=..., spam: Annotated[Literal[True], Danger.DELETES]=..., **options: Unpack[WriteOptions]) -> Call:
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

    def summary(self, *, start_date: Day | None=..., end_date: Day | None=..., date_range: DateRange | None=..., time_zone: str | None=..., group_by: Grouping | None=..., company_id: str | None=..., tracker_ids: Sequence[str] | None=..., device: Literal['desktop', 'mobile', 'all'] | None=..., direction: Literal['inbound', 'outbound', 'all'] | None=..., answer_status: Literal['answered', 'missed', 'voicemail', 'all'] | None=..., lead_status: LeadStatus | None=..., min_duration: int | None=..., max_duration: int | None=..., first_time_callers: bool | None=..., tags: Sequence[str] | None=..., agent: str | None=..., search: str | None=..., fields: Sequence[Metric] | None=..., **options: Unpack[Options]) -> CallSummary:
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

    def timeseries(self, *, start_date: Day | None=..., end_date: Day | None=..., date_range: DateRange | None=..., time_zone: str | None=..., interval: Interval | None=..., company_id: str | None=..., tracker_ids: Sequence[str] | None=..., device: Literal['desktop', 'mobile', 'all'] | None=..., direction: Literal['inbound', 'outbound', 'all'] | None=..., answer_status: Literal['answered', 'missed', 'voicemail', 'all'] | None=..., lead_status: LeadStatus | None=..., min_duration: int | None=..., max_duration: int | None=..., first_time_callers: bool | None=..., tags: Sequence[str] | None=..., agent: str | None=..., search: str | None=..., fields: Sequence[Metric] | None=..., **options: Unpack[Options]) -> CallTimeseries:
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

    def recording(self, call_id: str, **options: Unpack[Options]) -> Recording:
        """Get the address of a call's recording, an MP3.

        It holds an access key and lasts a day or more, not for ever; `CallRail.download` saves the file.

        Args:
            call_id: ``CAL...``.

        Raises:
            NotFound: Nothing was recorded, or CallRail still prepares it (one to three minutes, observed).
        """

    def page_views(self, call_id: str, *, time_zone: str | None=..., **options: Unpack[ListOptions]) -> Listing[PageView]:
        """List the pages that the caller saw before the call, newest first; of session trackers only.

        Args:
            call_id: ``CAL...``.
            time_zone: IANA name for told times.
        """

class Companies:
    """Companies of the account."""

    def list(self, *, status: Literal['active', 'disabled'] | None=..., search: str | None=..., sort: Literal['name'] | None=..., order: Literal['asc', 'desc'] | None=..., fields: Sequence[CompanyField] | None=..., **options: Unpack[ListOptions]) -> Listing[Company]:
        """List companies, disabled ones too unless ``status`` says otherwise (observed).

        Args:
            status: Only companies of this status.
            search: Part of the name.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Fields to add.
        """

    def get(self, company_id: str, *, fields: Sequence[CompanyField] | None=..., **options: Unpack[Options]) -> Company:
        """Get one company by its id.

        Args:
            company_id: ``COM...``.
            fields: Fields to add.
        """

    def create(self, *, name: str, time_zone: str=..., **options: Unpack[WriteOptions]) -> Company:
        """Create a company.

        Args:
            name: Name of the company.
            time_zone: IANA name, such as ``America/New_York``.
        """

    def update(self, company_id: str, *, name: str=..., time_zone: str=..., callscore_enabled: bool=..., callscribe_enabled: bool=..., external_form_capture: bool=..., swap_ppc_override: bool | None=..., swap_landing_override: str | None=..., swap_cookie_duration: Annotated[int, Field(ge=1)]=..., swap_cookie_duration_unit: Literal['months', 'weeks', 'days']=..., **options: Unpack[WriteOptions]) -> Company:
        """Change a company's settings; what is not given stays.

        Args:
            company_id: ``COM...``.
            name: New name.
            time_zone: IANA name.
            callscore_enabled: Automatic scoring of calls.
            callscribe_enabled: Transcripts of calls.
            external_form_capture: Capture of forms on the website; read back as `form_capture`.
            swap_ppc_override: Whether a visit by an advertisement changes the number shown.
            swap_landing_override: Text in a landing page's address that changes the number shown; None is off.
            swap_cookie_duration: How long a visitor is remembered, six months at most.
            swap_cookie_duration_unit: Unit of the duration.
        """

    def bulk_update(self, *, company_ids: Sequence[str], external_form_capture: Annotated[bool, Risk(Danger.DELETES, (False,))], **options: Unpack[WriteOptions]) -> BulkUpdated:
        """Switch the capture of forms for several companies.

        Args:
            company_ids: ``COM...`` ids, or ``all`` alone.
            external_form_capture: On or off.
        """

    def delete(self, company_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Disable a company: all its numbers stop and its script is switched off. It stays readable (observed).

        Args:
            company_id: ``COM...``.

        Raises:
            Rejected: It is the last active company.
        """

class FormSubmissions:
    """Submissions of forms."""

    def list(self, *, start_date: Day | None=..., end_date: Day | None=..., date_range: DateRange | None=..., time_zone: str | None=..., company_id: str | None=..., person_lead: bool | None=..., lead_status: LeadStatus | None=..., tags: Sequence[str] | None=..., sort: Literal['submitted_at', 'form_url', 'created_at'] | None=..., order: Literal['asc', 'desc'] | None=..., fields: Sequence[FormField] | None=..., **options: Unpack[ListOptions]) -> Listing[FormSubmission]:
        """List submissions, newest first.

        Args:
            start_date: First day or moment, at most 25 months ago.
            end_date: Last day (until its end) or moment; today when left out.
            date_range: A range by name instead; ``recent`` is seven days and today.
            time_zone: IANA name for day borders and told times.
            company_id: Only submissions to this company, ``COM...``.
            person_lead: Only those of leads.
            lead_status: Only those scored so.
            tags: Only those with any of these tags.
            sort: Field to sort by; ``created_at`` is to be dropped by CallRail.
            order: Direction; needs ``sort``.
            fields: Fields to add to those always told.

        Raises:
            InvalidRequest: No date is given, or one further back than CallRail keeps.
            Forbidden: No company has form tracking (observed).
        """

    def get(self, form_id: str, *, fields: Sequence[FormField] | None=..., **options: Unpack[Options]) -> FormSubmission:
        """Get one submission by its id.

        Args:
            form_id: ``FRM...``, the id of webhooks too.
            fields: Fields to add to those always told.
        """

    def create(self, *, company_id: str, form_url: str, form_data: Mapping[str, Any], referrer: str=..., referring_url: str=..., landing_page_url: str=..., session_id: str=..., **options: Unpack[WriteOptions]) -> FormSubmission:
        """Add a submission. A phone number in it links or makes the person.

        Without ``session_id``, CallRail requires ``referrer``, ``referring_url`` and ``landing_page_url``.

        Args:
            company_id: ``COM...``.
            form_url: Address of the page with the form.
            form_data: What was typed, by name.
            referrer: Where the visitor came from, such as ``google_organic``.
            referring_url: Address of the page the visitor came from.
            landing_page_url: Address of the first page the visitor saw.
            session_id: The visitor's session, ``SES...``.
        """

    def update(self, form_id: str, *, tags: Sequence[str] | None=..., append_tags: bool=..., note: str | None=..., value: str | None=..., lead_status: Literal['good_lead', 'not_a_lead'] | None=..., **options: Unpack[WriteOptions]) -> FormSubmission:
        """Tag, note, value or score a submission. What is not given stays; None clears.

        Args:
            form_id: ``FRM...``.
            tags: Names; they replace all tags unless ``append_tags``. Unknown ones are made, for the company.
            append_tags: Add to the tags there are.
            note: Text.
            value: Amount such as ``"$250.00"``.
            lead_status: Score.
        """

    def ignore_fields(self, *, company_ids: Sequence[str], field_names: Sequence[str], **options: Unpack[WriteOptions]) -> IgnoredFields:
        """Drop fields of forms, from submissions to come and, in the background, from those there are.

        Args:
            company_ids: ``COM...`` ids, or ``all`` alone.
            field_names: Names of the fields.
        """

    def summary(self, *, start_date: Day | None=..., end_date: Day | None=..., date_range: DateRange | None=..., time_zone: str | None=..., group_by: FormGrouping | None=..., company_id: str | None=..., lead_status: LeadStatus | None=..., tags: Sequence[str] | None=..., custom_form_ids: Sequence[str] | None=..., form_url: Annotated[str | None, Named('form_URL')]=..., fields: Sequence[FormMetric] | None=..., **options: Unpack[Options]) -> FormSummary:
        """Count submissions, all together or by group.

        Args:
            start_date: First day or moment, at most 25 months ago.
            end_date: Last day or moment.
            date_range: A range by name instead.
            time_zone: IANA name for day borders.
            group_by: What to group by.
            company_id: Only submissions to this company.
            lead_status: Only those scored so.
            tags: Only those with any of these tags.
            custom_form_ids: Only those of these forms, ``FOR...``.
            form_url: Only those from this page; CallRail's name is ``form_URL``.
            fields: Numbers to tell beside ``total_forms``.
        """

class IntegrationTriggers:
    """Filters of integrations, called integration criteria in the app."""

    def list(self, *, company_id: str, **options: Unpack[ListOptions]) -> Listing[IntegrationTrigger]:
        """List a company's filters.

        Args:
            company_id: ``COM...``.
        """

    def create(self, *, company_id: str, integration_id: int | str | None=..., tracker_ids: Sequence[str] | None=..., call_type: FilteredCalls | None=..., min_duration: int | None=..., max_duration: int | None=..., lead_status: int | str | None=..., **options: Unpack[WriteOptions]) -> IntegrationTrigger:
        """Create a filter. The integration is told of fewer calls from then on.

        Args:
            company_id: ``COM...``.
            integration_id: Number of the integration; left out, the filter is the company's default (assumed).
            tracker_ids: Only calls of these trackers, ``TRK...``.
            call_type: Only calls of this type: first ones, voicemails, or missed ones and voicemails.
            min_duration: Seconds at least.
            max_duration: Seconds at most.
            lead_status: Score; typed a number, described as ``good_lead`` or ``not_a_lead``.

        Raises:
            Rejected: The integration has a filter already, or cannot have one.
        """

    def get(self, trigger_id: str, **options: Unpack[Options]) -> IntegrationTrigger:
        """Get one filter by its id.

        Args:
            trigger_id: Number of the filter.
        """

    def update(self, trigger_id: str, *, tracker_ids: Sequence[str] | None=..., call_type: FilteredCalls | None=..., min_duration: int | None=..., max_duration: int | None=..., lead_status: int | str | None=..., **options: Unpack[WriteOptions]) -> IntegrationTrigger:
        """Change a filter; None takes a condition away.

        Args:
            trigger_id: Number of the filter.
            tracker_ids: Only calls of these trackers.
            call_type: Only calls of this type.
            min_duration: Seconds at least.
            max_duration: Seconds at most.
            lead_status: Score.
        """

    def delete(self, trigger_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a filter; the integration goes on without.

        Args:
            trigger_id: Number of the filter.
        """

class Integrations:
    """Integrations of a company, one of each type."""

    def list(self, *, company_id: str, fields: Sequence[IntegrationField] | None=..., **options: Unpack[ListOptions]) -> Listing[Integration]:
        """List a company's integrations, of all types.

        Args:
            company_id: ``COM...``.
            fields: Fields to add: ``signing_key`` is the key that signs webhooks.
        """

    def get(self, integration_id: str, *, fields: Sequence[IntegrationField] | None=..., **options: Unpack[Options]) -> Integration:
        """Get one integration by its id.

        Args:
            integration_id: Number of the integration.
            fields: Fields to add: ``signing_key``.
        """

    def create(self, *, company_id: str, type: Literal['Webhooks', 'Custom'], config: IntegrationConfig, **options: Unpack[WriteOptions]) -> Integration:
        """Create an integration; only these two types can be.

        Args:
            company_id: ``COM...``.
            type: ``Webhooks``, or ``Custom`` to keep cookies of the website's visitors.
            config: Lists of addresses by event for Webhooks; ``grab_cookies``, a list of names, for Custom.

        Raises:
            Forbidden: The key's user may not administer integrations (observed).
        """

    def update(self, integration_id: str, *, state: Annotated[Literal['active', 'disabled'], Risk(Danger.DELETES, ('disabled',))]=..., config: Annotated[IntegrationConfig, Danger.DELETES]=..., **options: Unpack[WriteOptions]) -> Integration:
        """Switch an integration on or off, or set its configuration.

        Whether a part of ``config`` is merged into the rest is not known: read it, change it, send all of it.

        Args:
            integration_id: Number of the integration.
            state: On or off.
            config: All of the configuration; what is left out may be gone.
        """

    def delete(self, integration_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Disable an integration.

        Args:
            integration_id: Number of the integration.
        """

class Leads:
    """People who called, wrote or filled in a form."""

    def list(self, *, company_id: str | None=..., sort: Literal['created_at', 'name', 'email'] | None=..., order: Literal['asc', 'desc'] | None=..., fields: Sequence[str] | None=..., **options: Unpack[ListOptions]) -> Listing[Lead]:
        """List people, newest first. There is no filter by date, number or name.

        Args:
            company_id: Only people of this company, ``COM...``.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Only these fields; here they narrow.
        """

    def timeline(self, lead_id: str, *, page: Annotated[int | None, Field(ge=1)]=..., per_page: Annotated[int | None, Field(ge=1, le=250)]=..., sort: Literal['event_date', 'created_at'] | None=..., fields: Sequence[str] | None=..., **options: Unpack[Options]) -> LeadTimeline:
        """Get a person, with a page of everything that person did.

        Args:
            lead_id: ``PER...``, the `person_id` of calls and forms.
            page: Page of events, the first being 1.
            per_page: Events a page, 250 at most.
            sort: ``event_date`` is newest first, ``created_at`` oldest first.
            fields: Only these fields of events; here they narrow.
        """

class MessageFlows:
    """Flows that answer texts: by schedule, with a text, a tag, or a forward.

    A step has ``id``, ``type``, ``initial_step`` and ``next_step_id`` (None ends the flow). Its type is ``schedule``
    (``branches`` with ``times`` of ``day``, ``start_time`` and ``end_time`` as HHMM), ``sms_response`` (``message``,
    ``first_text``), ``no_response``, ``tag`` (``tag_ids``) or ``forward_message`` (``destination_number``).
    """

    def list(self, **options: Unpack[ListOptions]) -> Listing[MessageFlow]:
        """List flows that answer texts."""

    def create(self, *, company_id: str, name: str, initial_step_id: str, steps: Mapping[str, FlowStep], **options: Unpack[WriteOptions]) -> MessageFlow:
        """Create a flow. Its numbers must be local ones with a 10DLC registration, and take texts.

        Not in accounts with Lead Center; ``forward_message`` neither in HIPAA nor in white-label accounts.

        Args:
            company_id: ``COM...``.
            name: Name of the flow, a new one.
            initial_step_id: Step to begin with.
            steps: Steps by ids of your own; CallRail replaces the ids.
        """

    def get(self, flow_id: str, **options: Unpack[Options]) -> MessageFlow:
        """Get one flow with its steps by its id.

        Args:
            flow_id: ``MFL...``.
        """

    def update(self, flow_id: str, *, name: str=..., initial_step_id: str=..., steps: Mapping[str, FlowStep]=..., **options: Unpack[WriteOptions]) -> MessageFlow:
        """Change a flow or its name.

        Args:
            flow_id: ``MFL...``.
            name: New name.
            initial_step_id: Step to begin with.
            steps: Steps by their ids.
        """

    def delete(self, flow_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a flow that no tracker uses.

        Args:
            flow_id: ``MFL...``.
        """

class Notifications:
    """Whom CallRail itself tells of calls and texts."""

    def list(self, *, notification_type: Literal['send_desktop', 'send_email', 'send_push'] | None=..., user_id: str | None=..., email: str | None=..., **options: Unpack[ListOptions]) -> Listing[Notification]:
        """List notifications.

        Args:
            notification_type: Only those of this way.
            user_id: Only those of this user, ``USR...``.
            email: Only those to this address.
        """

    def create(self, *, user_id: str=..., email: str=..., agent_id: str=..., company_id: str=..., tracker_id: str=..., call_enabled: bool=..., alert_type: AlertType=..., sms_enabled: bool=..., send_desktop: bool=..., send_email: bool=..., send_push: bool=..., **options: Unpack[WriteOptions]) -> Notification:
        """Create a notification, for the key's own user unless told otherwise.

        Args:
            user_id: User to be told, ``USR...``.
            email: Address to be told instead. One that is no user's needs ``company_id`` or ``tracker_id``, and takes
                ``send_email`` alone.
            agent_id: Only calls of this user.
            company_id: Only calls of this company.
            tracker_id: Only calls of this tracker.
            call_enabled: Tell of calls; then ``alert_type`` is required.
            alert_type: Of which calls.
            sms_enabled: Tell of texts.
            send_desktop: Tell on the desktop.
            send_email: Tell by e-mail.
            send_push: Tell on the telephone.

        Raises:
            Forbidden: The key's user may not.
        """

    def update(self, notification_id: str, *, company_id: str | None=..., tracker_id: str | None=..., call_enabled: bool=..., alert_type: AlertType | None=..., sms_enabled: bool=..., send_desktop: bool=..., send_email: bool=..., send_push: bool=..., **options: Unpack[WriteOptions]) -> Notification:
        """Change a notification.

        Args:
            notification_id: Number of the notification.
            company_id: Only calls of this company.
            tracker_id: Only calls of this tracker.
            call_enabled: Tell of calls.
            alert_type: Of which calls.
            sms_enabled: Tell of texts.
            send_desktop: Tell on the desktop.
            send_email: Tell by e-mail.
            send_push: Tell on the telephone.
        """

    def delete(self, notification_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a notification.

        Args:
            notification_id: Number of the notification.

        Raises:
            Forbidden: It belongs to somebody else.
        """

class SmsThreads:
    """Threads of texts, with tags, notes, value and score."""

    def list(self, *, start_date: Day | None=..., end_date: Day | None=..., date_range: DateRange | None=..., company_id: str | None=..., search: str | None=..., fields: Sequence[ThreadField] | None=..., **options: Unpack[ListOptions]) -> Listing[SmsThread]:
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

    def get(self, thread_id: str, *, page: Annotated[int | None, Field(ge=1)]=..., per_page: Annotated[int | None, Field(ge=1, le=100)]=..., with_msg_errors: bool | None=..., fields: Sequence[ThreadField] | None=..., **options: Unpack[Options]) -> SmsThread:
        """Get one thread with a page of its texts by its id.

        Args:
            thread_id: As lists tell it; a short code (documented) or ``SMT...`` (observed).
            page: Page of texts, the first being 1.
            per_page: Texts a page, 100 at most.
            with_msg_errors: Tell why texts failed.
            fields: Fields to add.
        """

    def update(self, thread_id: str, *, notes: str | None=..., tags: Sequence[str] | None=..., append_tags: bool=..., value: str | None=..., lead_qualification: Literal['good_lead', 'not_a_lead'] | None=..., **options: Unpack[WriteOptions]) -> SmsThread:
        """Note, tag, value or score a thread. What is not given stays; None clears.

        Args:
            thread_id: As lists tell it.
            notes: Text.
            tags: Names; they replace all tags unless ``append_tags``.
            append_tags: Add to the tags there are.
            value: Amount such as ``"$5.00"``.
            lead_qualification: Score.
        """

class SummaryEmails:
    """E-mails that sum up calls."""

    def list(self, *, frequency: Sequence[Frequency] | None=..., company_id: str | None=..., user_id: str | None=..., email: str | None=..., **options: Unpack[ListOptions]) -> Listing[SummaryEmail]:
        """List summary e-mails; one's own only, but for administrators.

        Args:
            frequency: Only those sent so often.
            company_id: Only those about this company; those about the account when left out.
            user_id: Only those to this user.
            email: Only those to this address.
        """

    def create(self, *, frequency: Sequence[Frequency], config: SummaryParts, user_id: str=..., email: str=..., company_id: str=..., filters: SummaryFilters=..., **options: Unpack[WriteOptions]) -> SummaryEmail:
        """Create a summary e-mail, to a user or to an address.

        Args:
            frequency: How often.
            config: Its parts, each on or off: ``summary_statistics``, ``top_sources``, ``top_keywords``, ``call_log``.
            user_id: User to send it to, ``USR...``.
            email: Address to send it to instead; then ``company_id`` is required.
            company_id: Company it is about; the account when left out.
            filters: ``lead_status``: ``Lead``, ``Not a Lead``, ``Not Scored`` or ``All``.
        """

    def get(self, summary_email_id: str, **options: Unpack[Options]) -> SummaryEmail:
        """Get one summary e-mail by its id.

        Args:
            summary_email_id: ``CSS...``.
        """

    def update(self, summary_email_id: str, *, config: SummaryParts, frequency: Sequence[Frequency]=..., filters: SummaryFilters | None=..., **options: Unpack[WriteOptions]) -> SummaryEmail:
        """Change a summary e-mail.

        Args:
            summary_email_id: ``CSS...``.
            config: Its parts, each on or off.
            frequency: How often; replaces what was set.
            filters: ``lead_status``: ``Lead``, ``Not a Lead``, ``Not Scored`` or ``All``.
        """

    def delete(self, summary_email_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a summary e-mail.

        Args:
            summary_email_id: ``CSS...``.
        """

class Tags:
    """Tags that calls, texts and forms can carry."""

    def list(self, *, company_id: str | None=..., status: Literal['enabled', 'disabled'] | None=..., tag_level: TagLevel | None=..., sort: Literal['name'] | None=..., order: Literal['asc', 'desc'] | None=..., **options: Unpack[ListOptions]) -> Listing[Tag]:
        """List tags of companies and of the account.

        Args:
            company_id: Only tags of this company, ``COM...``; not together with ``tag_level="account"``.
            status: Only tags of this status.
            tag_level: Only tags of the account, or of companies.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
        """

    def get(self, tag_id: str, **options: Unpack[Options]) -> Tag:
        """Get one tag by its id.

        Args:
            tag_id: Number of the tag.
        """

    def create(self, *, name: str, company_id: str=..., tag_level: TagLevel=..., color: TagColor=..., **options: Unpack[WriteOptions]) -> Tag:
        """Create a tag, of a company unless told otherwise.

        Args:
            name: Name of the tag.
            company_id: Company it is for; required unless ``tag_level="account"``.
            tag_level: ``account`` needs an administrator's key.
            color: One of CallRail's colours.

        Raises:
            Forbidden: The key's user may not.
        """

    def update(self, tag_id: str, *, name: str=..., color: TagColor=..., disabled: Annotated[bool, AfterValidator(lambda told: str(told).lower())]=..., **options: Unpack[WriteOptions]) -> Tag:
        """Rename, colour, or disable a tag.

        Args:
            tag_id: Number of the tag.
            name: New name, everywhere.
            color: New colour.
            disabled: Whether it can no longer be given; old things keep it.

        Raises:
            Forbidden: The key's user may not.
        """

    def delete(self, tag_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a tag, and take it from everything that carries it.

        Args:
            tag_id: Number of the tag.

        Raises:
            Forbidden: The key's user may not.
        """

class TextMessages:
    """Texts (SMS and MMS), as conversations."""

    def list(self, *, start_date: Day | None=..., end_date: Day | None=..., date_range: DateRange | None=..., time_zone: str | None=..., company_id: str | None=..., search: str | None=..., fields: Sequence[ConversationField] | None=..., **options: Unpack[ListOptions]) -> Listing[Conversation]:
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

    def get(self, conversation_id: str, *, page: Annotated[int | None, Field(ge=1)]=..., per_page: Annotated[int | None, Field(ge=1, le=250)]=..., fields: Sequence[ConversationField] | None=..., **options: Unpack[Options]) -> Conversation:
        """Get one conversation with a page of its texts, newest first.

        Args:
            conversation_id: Short code, such as ``k8mc8``.
            page: Page of texts, the first being 1.
            per_page: Texts a page, 250 at most.
            fields: Fields to add.
        """

    def send(self, *, company_id: str, customer_phone_number: Dialled, content: str, tracking_number: str=..., media_url: str=..., media_file: Path=..., **options: Unpack[WriteOptions]) -> Conversation:
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

    def update(self, conversation_id: str, *, state: Literal['active', 'archived'], **options: Unpack[WriteOptions]) -> Conversation:
        """Archive a conversation.

        Args:
            conversation_id: Short code.
            state: ``archived`` was seen.
        """

class Trackers:
    """Tracking numbers, single ones (``source``) and pools that follow a visitor (``session``)."""

    def list(self, *, company_id: str | None=..., type: TrackerType | None=..., status: Literal['active', 'disabled'] | None=..., search: str | None=..., sort: Literal['name'] | None=..., order: Literal['asc', 'desc'] | None=..., fields: Sequence[TrackerField] | None=..., **options: Unpack[ListOptions]) -> Listing[Tracker]:
        """List tracking numbers and pools.

        Args:
            company_id: Only trackers of this company, ``COM...``.
            type: Only trackers of this type.
            status: Only trackers of this status.
            search: Part of the name.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Fields to add.
        """

    def get(self, tracker_id: str, *, fields: Sequence[TrackerField] | None=..., **options: Unpack[Options]) -> Tracker:
        """Get one tracker by its id.

        Args:
            tracker_id: ``TRK...``.
            fields: Fields to add.
        """

    def create(self, *, name: str, type: TrackerType, company_id: str, call_flow: CallFlow, source: Source | Literal['all'], tracking_number: NumberWanted=..., pool_size: Annotated[int, Field(ge=4, le=50)]=..., pool_numbers: NumberWanted=..., campaign_name: str=..., swap_targets: Sequence[str]=..., whisper_message: str=..., sms_enabled: bool=..., message_flow: TextAnswer | None=..., **options: Unpack[WriteOptions]) -> Tracker:
        """Buy a tracking number, or a pool of them.

        A number is asked for by ``area_code`` (an error where there is none left), ``local`` (near that number) or
        ``toll_free``. A ``source`` tracker takes ``tracking_number``, a ``session`` tracker ``pool_size`` and
        ``pool_numbers``.

        Args:
            name: Name of the tracker.
            type: One number, or a pool.
            company_id: ``COM...``.
            call_flow: Such as ``{"type": "basic", "destination_number": "+1...", "recording_enabled": true}``.
            source: What the calls are counted for, such as ``{"type": "offline"}``; ``all`` for a pool.
            tracking_number: The number wanted, for a ``source`` tracker.
            pool_size: How many numbers, 4 to 50, for a ``session`` tracker.
            pool_numbers: The numbers wanted, for a ``session`` tracker.
            campaign_name: Name of the campaign, for a ``source`` tracker.
            swap_targets: Numbers on the website that are replaced.
            whisper_message: Text the agent hears first; ``[source]`` is spoken as the source.
            sms_enabled: Whether it takes texts.
            message_flow: Answer to texts, such as ``{"type": "auto-reply", "message": "..."}``; None for none.

        Raises:
            Rejected: There is no such number, or what the type needs is missing.
        """

    def update(self, tracker_id: str, *, name: str=..., call_flow: CallFlow=..., source: Source | Literal['all']=..., pool_size: Annotated[int, Field(ge=4, le=50), Danger.COSTS]=..., replace_tracking_number: Annotated[Dialled, Danger.COSTS]=..., campaign_name: str | None=..., swap_targets: Sequence[str]=..., whisper_message: str | None=..., sms_enabled: bool=..., message_flow: TextAnswer | None=..., **options: Unpack[WriteOptions]) -> Tracker:
        """Change a tracker. A larger pool and a replaced number cost money.

        Args:
            tracker_id: ``TRK...``.
            name: New name.
            call_flow: All of the call flow; it is replaced as a whole (observed).
            source: What the calls are counted for.
            pool_size: How many numbers; it can only grow.
            replace_tracking_number: Number in E.164 to be replaced by another, one that gets too much spam.
            campaign_name: Name of the campaign, for a ``source`` tracker.
            swap_targets: Numbers on the website that are replaced.
            whisper_message: Text the agent hears first.
            sms_enabled: Whether it takes texts.
            message_flow: Answer to texts; None for none.
        """

    def delete(self, tracker_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Disable a tracker; its numbers stop.

        Args:
            tracker_id: ``TRK...``.

        Raises:
            Rejected: It is needed elsewhere, for calls after forms for example.
        """

class Users:
    """Users of the account."""

    def list(self, *, company_id: str | None=..., search: str | None=..., sort: Literal['email', 'created_at'] | None=..., order: Literal['asc', 'desc'] | None=..., **options: Unpack[ListOptions]) -> Listing[User]:
        """List users of the account.

        Args:
            company_id: Only users of this company, ``COM...``.
            search: Part of first name, last name or e-mail address.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
        """

    def create(self, *, first_name: str, last_name: str, email: str, role: Role, companies: Sequence[str]=..., **options: Unpack[WriteOptions]) -> User:
        """Invite a user; an e-mail goes out. Needs an administrator's key.

        Args:
            first_name: First name.
            last_name: Last name.
            email: Address that is invited.
            role: What the user may do.
            companies: ``COM...`` ids; required unless the role is ``admin``.
        """

    def get(self, user_id: str, **options: Unpack[Options]) -> User:
        """Get one user by its id.

        Args:
            user_id: ``USR...``.
        """

    def update(self, user_id: str, *, first_name: str=..., last_name: str=..., email: str=..., companies: Sequence[str]=..., **options: Unpack[WriteOptions]) -> User:
        """Change a user: the name and address only of the key's own one, the companies by an administrator.

        Args:
            user_id: ``USR...``; one who has accepted the invitation.
            first_name: First name.
            last_name: Last name.
            email: Address.
            companies: ``COM...`` ids; they replace those there are.
        """

    def delete(self, user_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a user. Needs an administrator's key.

        Args:
            user_id: ``USR...``.
        """


class CallRail:
    """As `callrail.CallRail`, for programs without an event loop. Close it, or use it in a `with`."""

    accounts: Accounts
    caller_ids: CallerIds
    calls: Calls
    companies: Companies
    form_submissions: FormSubmissions
    integration_triggers: IntegrationTriggers
    integrations: Integrations
    leads: Leads
    message_flows: MessageFlows
    notifications: Notifications
    sms_threads: SmsThreads
    summary_emails: SummaryEmails
    tags: Tags
    text_messages: TextMessages
    trackers: Trackers
    users: Users

    def __init__(
        self,
        api_key: str,
        account_id: str | int | None = None,
        *,
        base_url: str = ...,
        budgets: Budgets | None = None,
        timeout: timedelta = ...,
        deadline: timedelta = ...,
        allow_hosts: Iterable[str] = (),
        pace: Pace | None = None,
    ) -> None: ...
    def for_account(self, account_id: str | int) -> Self:
        """The same client for another account of the key; closing this one closes that one too."""

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        deadline: timedelta | None = None,
    ) -> Any:
        """Any request to the API; see `callrail.CallRail.request`."""

    def download(
        self, url: str, to: Path, *, max_bytes: int | None = None, only_from: Collection[str] | None = None
    ) -> Download:
        """Save a recording or a text's media; see `callrail.CallRail.download`."""

    def close(self) -> None:
        """Close all connections, and end the thread. May be called twice."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
