"""Requests to GoHighLevel, one at a time: contacts, their notes, tags and workflows, as far as a sink needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from callrail.exceptions import HttpError
from routers.outcomes import Outcome, outcome_of_error
from routers.sinks.crm_requests import Lost, lost
from routers.sinks.gohighlevel_answers import Refusal, json_of, outcome_of_refusal, refusal_of, unreadable

if TYPE_CHECKING:
    from callrail.http import HttpClient

Told = Mapping[str, Any]
_TIMED_OUT = 408


@dataclass(frozen=True, slots=True)
class Refused:
    """GoHighLevel did not do it. *outcome* is what follows unless the caller knows better."""

    refusal: Refusal
    outcome: Outcome


class Api:
    """One location, by one token."""

    def __init__(self, client: HttpClient, base_url: str, version: str, token: str, location: str) -> None:
        self._client = client
        self._base_url = base_url
        self._location = location
        self._headers = {
            "authorization": f"Bearer {token}",
            "version": version,
            "content-type": "application/json",
            "accept": "application/json",
        }

    async def find_contact(self, *, number: str | None = None, email: str | None = None) -> Told | Refused | Lost:
        """The contact of a number in E.164, or of an address, under `contact`; which is null or absent if none is."""
        by = {"number": number} if number is not None else {"email": email or ""}
        return await self._ask("GET", f"/contacts/search/duplicate?{urlencode({'locationId': self._location, **by})}")

    async def contact(self, contact_id: str) -> Told | Refused | Lost:
        """One contact, under `contact`."""
        return await self._ask("GET", _contact(contact_id))

    async def upsert_contact(self, body: Told) -> Told | Refused | Lost:
        """Make a contact, or change the one that has the number or address already."""
        return await self._ask("POST", "/contacts/upsert", {"locationId": self._location, **body})

    async def change_contact(self, contact_id: str, body: Told) -> Told | Refused | Lost:
        """Change fields of a contact."""
        return await self._ask("PUT", _contact(contact_id), body)

    async def add_tags(self, contact_id: str, tags: Sequence[str]) -> Told | Refused | Lost:
        """Give a contact *tags* beside those that it has."""
        return await self._ask("POST", f"{_contact(contact_id)}/tags", {"tags": [*tags]})

    async def notes(self, contact_id: str) -> Told | Refused | Lost:
        """All notes of a contact, under `notes`."""
        return await self._ask("GET", f"{_contact(contact_id)}/notes")

    async def note(self, contact_id: str, note_id: str) -> Told | Refused | Lost:
        """One note, under `note`."""
        return await self._ask("GET", _note(contact_id, note_id))

    async def create_note(self, contact_id: str, body: Told) -> Told | Refused | Lost:
        """Make a note, told under `note`."""
        return await self._ask("POST", f"{_contact(contact_id)}/notes", body)

    async def change_note(self, contact_id: str, note_id: str, body: Told) -> Told | Refused | Lost:
        """Write a note anew."""
        return await self._ask("PUT", _note(contact_id, note_id), body)

    async def start_workflow(self, contact_id: str, workflow_id: str) -> Told | Refused | Lost:
        """Let a contact enter a workflow."""
        return await self._ask("POST", f"{_contact(contact_id)}/workflow/{quote(workflow_id, safe='')}", {})

    async def workflows(self) -> Told | Refused | Lost:
        """The workflows of the location, under `workflows`."""
        return await self._ask("GET", f"/workflows/?{urlencode({'locationId': self._location})}")

    async def _ask(self, method: str, path: str, body: Told | None = None) -> Told | Refused | Lost:
        content = orjson.dumps(body) if body is not None else None
        writes = method != "GET"
        try:
            answer = await self._client.request(
                method, f"{self._base_url}{path}", content=content, headers=self._headers
            )
        except HttpError as error:
            return lost(outcome_of_error(error), writes=writes)
        if 200 <= answer.status < 300:
            told = json_of(answer.body)
            return told if isinstance(told, dict) else lost(unreadable(answer), writes=writes)
        refusal = refusal_of(answer)
        outcome = outcome_of_refusal(answer, refusal, now=datetime.now(UTC))
        if answer.status >= 500 or answer.status == _TIMED_OUT:  # a gateway may have given up on what is done yet
            return Lost(outcome, may_act=writes)
        return Refused(refusal, outcome)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _contact(contact_id: str) -> str:
    return f"/contacts/{quote(contact_id, safe='')}"


def _note(contact_id: str, note_id: str) -> str:
    return f"{_contact(contact_id)}/notes/{quote(note_id, safe='')}"
