"""Companies of an account: what trackers, tags and integrations belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Unpack

from pydantic import Field

from callrail.model import Deleted, Flag, Id, Model, Moment, Number, Objects, Text
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.parameter import Risk
from callrail.request import Danger

CompanyField = Literal["verified_caller_ids"]


class Company(Model):
    """A company. `dni_active` is None where CallRail's script was never installed."""

    id: Id = ""
    name: Text = None
    time_zone: Text = None
    status: Text = None
    created_at: Moment = None
    disabled_at: Moment = None
    dni_active: Flag = None
    form_capture: Flag = None
    script_url: Text = None
    callscore_enabled: Flag = None
    callscribe_enabled: Flag = None
    keyword_spotting_enabled: Flag = None
    lead_scoring_enabled: Flag = None
    swap_exclude_jquery: Flag = None
    swap_ppc_override: Flag = None
    swap_landing_override: Text = None
    swap_cookie_duration: Number = None
    swap_cookie_duration_unit: Text = None
    verified_caller_ids: Objects = None


class BulkUpdated(Model):
    """How many companies were changed."""

    updated_records: Number = None


# The longest six months, by unit.
_LONGEST = {"months": 6, "weeks": 26, "days": 184}


def _six_months_at_most(swap_cookie_duration: Any, swap_cookie_duration_unit: Any) -> str | None:
    if swap_cookie_duration is UNSET:
        return None
    unit = "days" if swap_cookie_duration_unit is UNSET else swap_cookie_duration_unit
    wrong = swap_cookie_duration > _LONGEST[unit]
    return f"swap_cookie_duration is more than six months: {_LONGEST[unit]} {unit}" if wrong else None


def all_or_some(company_ids: Any) -> str | None:
    """`all` stands alone."""
    wrong = "all" in company_ids and len(company_ids) > 1
    return "company_ids takes ids, or 'all' alone" if wrong else None


class Companies(Resource, named="companies"):
    """Companies of the account."""

    @listing("companies.json", "companies")
    def list(
        self,
        *,
        status: Literal["active", "disabled"] | None = None,
        search: str | None = None,
        sort: Literal["name"] | None = None,
        order: Literal["asc", "desc"] | None = None,
        fields: Sequence[CompanyField] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Company]:
        """List companies, disabled ones too unless ``status`` says otherwise (observed).

        Args:
            status: Only companies of this status.
            search: Part of the name.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
            fields: Fields to add.
        """

    @operation("GET", "companies/{company_id}.json")
    async def get(
        self, company_id: str, *, fields: Sequence[CompanyField] | None = None, **options: Unpack[Options]
    ) -> Company:
        """Get one company by its id.

        Args:
            company_id: ``COM...``.
            fields: Fields to add.
        """

    @operation("POST", "companies.json")
    async def create(self, *, name: str, time_zone: str = UNSET, **options: Unpack[WriteOptions]) -> Company:
        """Create a company.

        Args:
            name: Name of the company.
            time_zone: IANA name, such as ``America/New_York``.
        """

    @operation("PUT", "companies/{company_id}.json", rules=[_six_months_at_most])
    async def update(
        self,
        company_id: str,
        *,
        name: str = UNSET,
        time_zone: str = UNSET,
        callscore_enabled: bool = UNSET,
        callscribe_enabled: bool = UNSET,
        external_form_capture: bool = UNSET,
        swap_ppc_override: bool | None = UNSET,
        swap_landing_override: str | None = UNSET,
        swap_cookie_duration: Annotated[int, Field(ge=1)] = UNSET,
        swap_cookie_duration_unit: Literal["months", "weeks", "days"] = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Company:
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

    @operation("POST", "companies/bulk_update.json", rules=[all_or_some])
    async def bulk_update(
        self,
        *,
        company_ids: Sequence[str],
        external_form_capture: Annotated[bool, Risk(Danger.DELETES, (False,))],
        **options: Unpack[WriteOptions],
    ) -> BulkUpdated:
        """Switch the capture of forms for several companies.

        Args:
            company_ids: ``COM...`` ids, or ``all`` alone.
            external_form_capture: On or off.
        """

    @operation("DELETE", "companies/{company_id}.json", dangers=[Danger.DELETES])
    async def delete(self, company_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Disable a company: all its numbers stop and its script is switched off. It stays readable (observed).

        Args:
            company_id: ``COM...``.

        Raises:
            Rejected: It is the last active company.
        """
