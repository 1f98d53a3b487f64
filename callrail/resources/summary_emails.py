"""E-mails with numbers of calls, sent daily, weekly or monthly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from callrail.bodies import SummaryFilters, SummaryParts
from callrail.model import Deleted, Id, Model, Object, Text, Texts
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, of_presence, operation
from callrail.paging import Listing
from callrail.request import Danger

Frequency = Literal["daily", "weekly", "monthly"]


class SummaryEmail(Model):
    """A summary e-mail. `config` holds which parts it has; `scope` the company or account it is about."""

    id: Id = ""
    scope: Object = None
    frequency: Texts = None
    config: Object = None
    filters: Object = None
    user: Object = None
    email: Text = None


@of_presence
def _to_somebody(user_id: Any, email: Any) -> str | None:
    return "it needs user_id or email: whom to send it to" if user_id is UNSET and email is UNSET else None


@of_presence
def _address_of_a_company(email: Any, company_id: Any) -> str | None:
    return "an e-mail address needs company_id" if email is not UNSET and company_id is UNSET else None


class SummaryEmails(Resource, named="summary_emails"):
    """E-mails that sum up calls."""

    @listing("summary_emails", "summary_emails")
    def list(
        self,
        *,
        frequency: Sequence[Frequency] | None = None,
        company_id: str | None = None,
        user_id: str | None = None,
        email: str | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[SummaryEmail]:
        """List summary e-mails; one's own only, but for administrators.

        Args:
            frequency: Only those sent so often.
            company_id: Only those about this company; those about the account when left out.
            user_id: Only those to this user.
            email: Only those to this address.
        """

    @operation("POST", "summary_emails.json", rules=[_to_somebody, _address_of_a_company])
    async def create(
        self,
        *,
        frequency: Sequence[Frequency],
        config: SummaryParts,
        user_id: str = UNSET,
        email: str = UNSET,
        company_id: str = UNSET,
        filters: SummaryFilters = UNSET,
        **options: Unpack[WriteOptions],
    ) -> SummaryEmail:
        """Create a summary e-mail, to a user or to an address.

        Args:
            frequency: How often.
            config: Its parts, each on or off: ``summary_statistics``, ``top_sources``, ``top_keywords``, ``call_log``.
            user_id: User to send it to, ``USR...``.
            email: Address to send it to instead; then ``company_id`` is required.
            company_id: Company it is about; the account when left out.
            filters: ``lead_status``: ``Lead``, ``Not a Lead``, ``Not Scored`` or ``All``.
        """

    @operation("GET", "summary_emails/{summary_email_id}.json")
    async def get(self, summary_email_id: str, **options: Unpack[Options]) -> SummaryEmail:
        """Get one summary e-mail by its id.

        Args:
            summary_email_id: ``CSS...``.
        """

    @operation("PUT", "summary_emails/{summary_email_id}.json")
    async def update(
        self,
        summary_email_id: str,
        *,
        config: SummaryParts,
        frequency: Sequence[Frequency] = UNSET,
        filters: SummaryFilters | None = UNSET,
        **options: Unpack[WriteOptions],
    ) -> SummaryEmail:
        """Change a summary e-mail.

        Args:
            summary_email_id: ``CSS...``.
            config: Its parts, each on or off.
            frequency: How often; replaces what was set.
            filters: ``lead_status``: ``Lead``, ``Not a Lead``, ``Not Scored`` or ``All``.
        """

    @operation("DELETE", "summary_emails/{summary_email_id}.json", dangers=[Danger.DELETES])
    async def delete(self, summary_email_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a summary e-mail.

        Args:
            summary_email_id: ``CSS...``.
        """
