"""Submissions of forms on a website."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Unpack

from callrail.dates import DateRange
from callrail.model import Amount, Flag, Id, Model, Moment, Number, Object, TagNames, Text, lenient
from callrail.operation import UNSET, Day, ListOptions, Options, Resource, WriteOptions, listing, of_presence, operation
from callrail.paging import Listing
from callrail.parameter import Named
from callrail.request import Danger
from callrail.resources.calls import LeadStatus, Milestones
from callrail.resources.companies import all_or_some

FormField = Literal[
    "company_name",
    "form_name",
    "lead_status",
    "milestones",
    "note",
    "tags",
    "timeline_url",
    "utm_campaign",
    "utm_medium",
    "utm_source",
    "value",
]
FormGrouping = Literal["source", "keywords", "campaign", "referrer", "landing_page", "form_name", "company"]
FormMetric = Literal["total_forms", "first_forms", "leads"]


class FormSubmission(Model):
    """A submission. The first block is always told, the rest by ``fields``.

    `form_data` is what was typed, under the form's own names. `person_id` may be ``anonymous``.
    """

    id: Id = ""
    company_id: Text = None
    person_id: Text = None
    form_data: Object = None
    form_url: Text = None
    landing_page_url: Text = None
    referrer: Text = None
    referring_url: Text = None
    submitted_at: Moment = None
    first_form: Flag = None
    customer_phone_number: Text = None
    customer_name: Text = None
    customer_email: Text = None
    formatted_customer_phone_number: Text = None
    formatted_customer_name: Text = None
    source: Text = None
    keywords: Text = None
    campaign: Text = None
    medium: Text = None

    company_name: Text = None
    lead_status: Text = None
    value: Amount = None
    note: Text = None
    tags: TagNames = None
    utm_source: Text = None
    utm_medium: Text = None
    utm_campaign: Text = None
    form_name: Text = None
    timeline_url: Text = None
    milestones: Annotated[Milestones | None, lenient] = None


class FormTotals(Model):
    """Numbers of submissions, those asked for by ``fields``. *key* names the group."""

    key: Text = None
    total_forms: Number = None
    first_forms: Number = None
    leads: Number = None


class FormSummary(Model):
    """Totals of a time; by group where ``group_by`` was given."""

    start_date: Moment = None
    end_date: Moment = None
    time_zone: Text = None
    total_results: Annotated[FormTotals | None, lenient] = None
    grouped_by: Text = None
    grouped_results: Annotated[list[FormTotals] | None, lenient] = None


class IgnoredFields(Model):
    """What CallRail says of fields to be ignored."""

    message: Text = None


@of_presence
def _from_somewhere(referrer: Any, referring_url: Any, landing_page_url: Any, session_id: Any) -> str | None:
    needed = {"referrer": referrer, "referring_url": referring_url, "landing_page_url": landing_page_url}
    missing = [name for name, value in needed.items() if value is UNSET]
    if missing and session_id is UNSET:
        return f"without session_id it needs {', '.join(missing)}"
    return None


class FormSubmissions(Resource, named="form_submissions"):
    """Submissions of forms."""

    @listing("form_submissions.json", "form_submissions", is_dated=True)
    def list(
        self,
        *,
        start_date: Day | None = None,
        end_date: Day | None = None,
        date_range: DateRange | None = None,
        time_zone: str | None = None,
        company_id: str | None = None,
        person_lead: bool | None = None,
        lead_status: LeadStatus | None = None,
        tags: Sequence[str] | None = None,
        sort: Literal["submitted_at", "form_url", "created_at"] | None = None,
        order: Literal["asc", "desc"] | None = None,
        fields: Sequence[FormField] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[FormSubmission]:
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

    @operation("GET", "form_submissions/{form_id}.json", undocumented="the public package callrail-mcp")
    async def get(
        self, form_id: str, *, fields: Sequence[FormField] | None = None, **options: Unpack[Options]
    ) -> FormSubmission:
        """Get one submission by its id.

        Args:
            form_id: ``FRM...``, the id of webhooks too.
            fields: Fields to add to those always told.
        """

    @operation("POST", "form_submissions.json", rules=[_from_somewhere])
    async def create(
        self,
        *,
        company_id: str,
        form_url: str,
        form_data: Mapping[str, Any],
        referrer: str = UNSET,
        referring_url: str = UNSET,
        landing_page_url: str = UNSET,
        session_id: str = UNSET,
        **options: Unpack[WriteOptions],
    ) -> FormSubmission:
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

    @operation("PUT", "form_submissions/{form_id}.json")
    async def update(
        self,
        form_id: str,
        *,
        tags: Sequence[str] | None = UNSET,
        append_tags: bool = UNSET,
        note: str | None = UNSET,
        value: str | None = UNSET,
        lead_status: Literal["good_lead", "not_a_lead"] | None = UNSET,
        **options: Unpack[WriteOptions],
    ) -> FormSubmission:
        """Tag, note, value or score a submission. What is not given stays; None clears.

        Args:
            form_id: ``FRM...``.
            tags: Names; they replace all tags unless ``append_tags``. Unknown ones are made, for the company.
            append_tags: Add to the tags there are.
            note: Text.
            value: Amount such as ``"$250.00"``.
            lead_status: Score.
        """

    @operation("POST", "form_submissions/ignored_fields.json", dangers=[Danger.DELETES], rules=[all_or_some])
    async def ignore_fields(
        self, *, company_ids: Sequence[str], field_names: Sequence[str], **options: Unpack[WriteOptions]
    ) -> IgnoredFields:
        """Drop fields of forms, from submissions to come and, in the background, from those there are.

        Args:
            company_ids: ``COM...`` ids, or ``all`` alone.
            field_names: Names of the fields.
        """

    @operation("GET", "forms/summary.json", is_dated=True)
    async def summary(
        self,
        *,
        start_date: Day | None = None,
        end_date: Day | None = None,
        date_range: DateRange | None = None,
        time_zone: str | None = None,
        group_by: FormGrouping | None = None,
        company_id: str | None = None,
        lead_status: LeadStatus | None = None,
        tags: Sequence[str] | None = None,
        custom_form_ids: Sequence[str] | None = None,
        form_url: Annotated[str | None, Named("form_URL")] = None,
        fields: Sequence[FormMetric] | None = None,
        **options: Unpack[Options],
    ) -> FormSummary:
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
