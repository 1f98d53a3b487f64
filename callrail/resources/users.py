"""Users of an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from callrail.model import Deleted, Flag, Id, Model, Moment, Objects, Text
from callrail.operation import UNSET, ListOptions, Options, Resource, WriteOptions, listing, operation
from callrail.paging import Listing
from callrail.request import Danger

Role = Literal["admin", "manager", "reporting"]


class User(Model):
    """A user. `companies` holds id and name of each company the user sees."""

    id: Id = ""
    email: Text = None
    created_at: Moment = None
    role: Text = None
    first_name: Text = None
    last_name: Text = None
    name: Text = None
    accepted: Flag = None
    companies: Objects = None


def _of_companies(role: str, companies: Any) -> str | None:
    wrong = role != "admin" and (companies is UNSET or not companies)
    return "a user who is no admin needs companies" if wrong else None


class Users(Resource, named="users"):
    """Users of the account."""

    @listing("users.json", "users")
    def list(
        self,
        *,
        company_id: str | None = None,
        search: str | None = None,
        sort: Literal["email", "created_at"] | None = None,
        order: Literal["asc", "desc"] | None = None,
        **options: Unpack[ListOptions],
    ) -> Listing[User]:
        """List users of the account.

        Args:
            company_id: Only users of this company, ``COM...``.
            search: Part of first name, last name or e-mail address.
            sort: Field to sort by.
            order: Direction; needs ``sort``.
        """

    @operation("POST", "users.json", dangers=[Danger.MAILS], rules=[_of_companies])
    async def create(
        self,
        *,
        first_name: str,
        last_name: str,
        email: str,
        role: Role,
        companies: Sequence[str] = UNSET,
        **options: Unpack[WriteOptions],
    ) -> User:
        """Invite a user; an e-mail goes out. Needs an administrator's key.

        Args:
            first_name: First name.
            last_name: Last name.
            email: Address that is invited.
            role: What the user may do.
            companies: ``COM...`` ids; required unless the role is ``admin``.
        """

    @operation("GET", "users/{user_id}.json")
    async def get(self, user_id: str, **options: Unpack[Options]) -> User:
        """Get one user by its id.

        Args:
            user_id: ``USR...``.
        """

    @operation("PUT", "users/{user_id}.json")
    async def update(
        self,
        user_id: str,
        *,
        first_name: str = UNSET,
        last_name: str = UNSET,
        email: str = UNSET,
        companies: Sequence[str] = UNSET,
        **options: Unpack[WriteOptions],
    ) -> User:
        """Change a user: the name and address only of the key's own one, the companies by an administrator.

        Args:
            user_id: ``USR...``; one who has accepted the invitation.
            first_name: First name.
            last_name: Last name.
            email: Address.
            companies: ``COM...`` ids; they replace those there are.
        """

    @operation("DELETE", "users/{user_id}.json", dangers=[Danger.DELETES])
    async def delete(self, user_id: str, **options: Unpack[WriteOptions]) -> Deleted:
        """Delete a user. Needs an administrator's key.

        Args:
            user_id: ``USR...``.
        """
