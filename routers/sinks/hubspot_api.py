"""Requests to HubSpot, one at a time: the objects of the dated API, as far as a sink needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from callrail.exceptions import HttpError
from routers.outcomes import Outcome, Retry, outcome_of_error
from routers.sinks.crm_requests import Lost, lost
from routers.sinks.hubspot_answers import Refusal, json_of, no_such_path, outcome_of_refusal, refusal_of, unreadable

if TYPE_CHECKING:
    from callrail.http import HttpClient

Told = Mapping[str, Any]

_TIMED_OUT = 408
_NOT_THERE = ("OBJECT_NOT_FOUND", "NOT_FOUND")
_ASKING = ("/search", "/batch/read")  # by POST, and yet nothing is written


@dataclass(frozen=True, slots=True)
class Refused:
    """HubSpot did not do it, for certain. *outcome* is what follows unless the caller knows better."""

    refusal: Refusal
    outcome: Outcome


class Api:
    """HubSpot, by one token."""

    def __init__(self, client: HttpClient, base_url: str, version: str, token: str) -> None:
        self._client = client
        self._base_url = base_url
        self._version = version
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    async def search(self, kind: str, asked: Told) -> Told | Refused | Lost:
        """Search records of *kind*."""
        return await self._ask("POST", f"/crm/objects/{self._version}/{kind}/search", asked)

    async def read(self, kind: str, record_id: str, names: list[str]) -> Told | Refused | Lost:
        """One record with the properties *names*."""
        return await self._ask("GET", f"{self._path(kind, record_id)}?{urlencode({'properties': ','.join(names)})}")

    async def find(self, kind: str, by: str | None, value: str, names: list[str]) -> Told | Refused | Lost | None:
        """The record whose unique property *by* has *value*, which may be somebody's number and stands in no URL.

        If *by* is None, the record with this id. That it is gone is told otherwise than that there is no such path.
        """
        asked = {"inputs": [{"id": value}], "properties": names, "propertiesWithHistory": []}
        if by is not None:
            asked["idProperty"] = by
        told = await self._ask("POST", f"/crm/objects/{self._version}/{kind}/batch/read", asked)
        if isinstance(told, Refused | Lost):
            return told
        rows, errors = told.get("results"), told.get("errors")
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            return rows[0]
        # Errors stand beside a status of success.
        failed = [error for error in errors if not _is_not_there(error)] if isinstance(errors, list) else []
        if failed or not isinstance(rows, list):
            return Lost(Retry("HubSpot could not look it up"), may_act=False)
        return None

    async def create(
        self, kind: str, properties: Told, *, contact: tuple[int, str] | None = None
    ) -> Told | Refused | Lost:
        """Create a record; with *contact*, the number of an association's type and an id, it is the contact's."""
        to = []
        if contact is not None:
            number, contact_id = contact
            types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}]
            to = [{"to": {"id": contact_id}, "types": types}]
        body = {"properties": dict(properties), "associations": to}
        return await self._ask("POST", f"/crm/objects/{self._version}/{kind}", body)

    async def change(self, kind: str, record_id: str, properties: Told) -> Told | Refused | Lost:
        """Change properties of a record."""
        return await self._ask("PATCH", self._path(kind, record_id), {"properties": dict(properties)})

    async def associate(self, kind: str, record_id: str, contact_id: str) -> Told | Refused | Lost:
        """Make a record the contact's, if it is not."""
        path = f"{self._path(kind, record_id)}/associations/default/contacts/{quote(contact_id, safe='')}"
        return await self._ask("PUT", path)

    async def reads_nothing(self, kind: str) -> Told | Refused | Lost:
        """Read no record of *kind*, to learn whether the token may read any."""
        asked: Told = {"inputs": [], "properties": [], "propertiesWithHistory": []}
        return await self._ask("POST", f"/crm/objects/{self._version}/{kind}/batch/read", asked)

    async def changes_nothing(self, kind: str) -> Told | Refused | Lost:
        """Change no record of *kind*, to learn whether the token may change any."""
        return await self._ask("POST", f"/crm/objects/{self._version}/{kind}/batch/update", {"inputs": []})

    async def properties(self, kind: str) -> Told | Refused | Lost:
        """The properties that records of *kind* have."""
        return await self._ask("GET", f"/crm/properties/{self._version}/{kind}")

    async def groups(self, kind: str) -> Told | Refused | Lost:
        """The groups of those."""
        return await self._ask("GET", f"/crm/properties/{self._version}/{kind}/groups")

    async def create_group(self, kind: str, body: Told) -> Told | Refused | Lost:
        """Make a group of properties."""
        return await self._ask("POST", f"/crm/properties/{self._version}/{kind}/groups", body)

    async def create_property(self, kind: str, body: Told) -> Told | Refused | Lost:
        """Make a property."""
        return await self._ask("POST", f"/crm/properties/{self._version}/{kind}", body)

    def _path(self, kind: str, record_id: str) -> str:
        return f"/crm/objects/{self._version}/{kind}/{quote(record_id, safe='')}"

    async def _ask(self, method: str, path: str, body: Told | None = None) -> Told | Refused | Lost:
        content = orjson.dumps(body) if body is not None else None
        url, writes = f"{self._base_url}{path}", method != "GET" and not path.endswith(_ASKING)
        try:
            answer = await self._client.request(method, url, content=content, headers=self._headers)
        except HttpError as error:
            return lost(outcome_of_error(error), writes=writes)
        if 200 <= answer.status < 300:
            told = json_of(answer.body)
            return told if isinstance(told, dict) else lost(unreadable(answer), writes=writes)
        refusal = refusal_of(answer)
        outcome = outcome_of_refusal(answer, refusal, now=datetime.now(UTC))
        if answer.status >= 500 or answer.status == _TIMED_OUT:  # a gateway may have given up on what is done yet
            return Lost(outcome, may_act=writes)
        if refusal.is_gone and path.endswith(_ASKING):  # which tell of a record that is not there by success
            outcome = no_such_path(refusal)
        return Refused(refusal, outcome)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _is_not_there(error: object) -> bool:
    return isinstance(error, dict) and error.get("category") in _NOT_THERE
