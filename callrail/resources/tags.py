"""Tags, of a company or of the whole account."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Unpack

from pydantic import AfterValidator

from callrail.model import Deleted, Id, Model, Moment, Text
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Danger

TagLevel = Literal["account", "company"]
TagColor = Literal[
    "gray1",
    "gray2",
    "blue1",
    "blue2",
    "cyan1",
    "cyan2",
    "purple1",
    "purple2",
    "pink1",
    "pink2",
    "pink3",
    "pink4",
    "red1",
    "red2",
    "orange1",
    "orange2",
    "orange3",
    "orange4",
    "yellow1",
    "yellow2",
    "green1",
    "green2",
    "green3",
    "green4",
]


class Tag(Model):
    """A tag. `id` is a number, told as text now and then; `company_id` is None for those of the account."""

    id: Id = ""
    name: Text = None
    tag_level: Text = None
    color: Text = None
    background_color: Text = None
    company_id: Text = None
    status: Text = None
    created_at: Moment = None


def _of_a_company_or_the_account(tag_level: Any, company_id: Any) -> str | None:
    wrong = tag_level != "account" and company_id is UNSET
    return "it needs company_id, or tag_level='account'" if wrong else None


def _not_both(tag_level: Any, company_id: Any) -> str | None:
    if tag_level == "account" and company_id is not UNSET:
        return "tag_level='account' and company_id are not given together: CallRail refuses both"
    return None


class Tags(Resource, named="tags"):
    """Tags that calls, texts and forms can carry."""

    @listing("tags.json", "tags", rules=[_not_both])
    def list(
        self,
        *,
        company_id: str | None = None,
        status: Literal["enabled", "disabled"] | None = None,
        tag_level: TagLevel | None = None,
        sort: Literal["name"] | None = None,
        order: Literal["asc", "desc"] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[Tag]:
        """List tags of companies and of the account.

        Args:
            company_id: Only tags of this company, ``COM...``; not together with ``tag_level="account"``.
            status: Only tags of this status.
            tag_level: Only tags of the account, or of companies.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
        """

    @operation("GET", "tags/{tag_id}.json", undocumented="the public package callrail-mcp")
    async def get(self, tag_id: str, **options: Unpack[Options]) -> Tag:
        """Get one tag by its id.

        Args:
            tag_id: Number of the tag.
        """

    @operation("POST", "tags.json", rules=[_of_a_company_or_the_account])
    async def create(
        self,
        *,
        name: str,
        company_id: str = UNSET,
        tag_level: TagLevel = UNSET,
        color: TagColor = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Tag:
        """Create a tag, of a company unless told otherwise.

        Args:
            name: Name of the tag.
            company_id: Company it is for; required unless ``tag_level="account"``.
            tag_level: ``account`` needs an administrator's key.
            color: One of CallRail's colours.

        Raises:
            Forbidden: The key's user may not.
        """

    @operation("PUT", "tags/{tag_id}.json")
    async def update(
        self,
        tag_id: str,
        *,
        name: str = UNSET,
        color: TagColor = UNSET,
        disabled: Annotated[bool, AfterValidator(lambda told: str(told).lower())] = UNSET,
        **options: Unpack[WriteOptions],
    ) -> Tag:
        """Rename, colour, or disable a tag.

        Args:
            tag_id: Number of the tag.
            name: New name, everywhere.
            color: New colour.
            disabled: Whether it can no longer be given; old things keep it.

        Raises:
            Forbidden: The key's user may not.
        """

    @operation("DELETE", "tags/{tag_id}.json", dangers=[Danger.DELETES])
    async def delete(self, tag_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a tag, and take it from everything that carries it.

        Args:
            tag_id: Number of the tag.

        Raises:
            Forbidden: The key's user may not.
        """
