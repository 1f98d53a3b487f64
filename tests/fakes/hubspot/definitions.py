"""The kinds of objects and their properties: those that HubSpot defines, as far as a sink needs them, and our own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.fakes.hubspot.refusals import Refused, Told, invalid, invalid_value

CALCULATED_PHONES = (
    "hs_searchable_calculated_phone_number",
    "hs_searchable_calculated_mobile_number",
    "hs_searchable_calculated_international_phone_number",
    "hs_searchable_calculated_international_mobile_number",
)


@dataclass(frozen=True)
class Property:
    """One property of a kind of objects. *is_required*: an administrator's validation rule wants it on creation."""

    name: str
    type: str = "string"
    options: tuple[str, ...] = ()
    label: str = ""
    group: str = "contactinformation"
    field_type: str = "text"
    description: str = ""
    is_unique: bool = False
    is_read_only: bool = False
    is_required: bool = False
    is_ours: bool = False

    def check(self, value: str) -> None:
        """Refuse a value that is not of the type; an empty one clears the property."""
        if self.is_read_only:
            raise invalid_value(self.name, value, "READ_ONLY_VALUE")
        if not value:
            return
        if self.type == "number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
            raise invalid_value(self.name, value, "INVALID_NUMBER")
        if self.type == "datetime" and instant_of(value) is None:
            raise invalid_value(self.name, value, "INVALID_DATE")
        if self.type == "bool" and value not in ("true", "false"):
            raise invalid_value(self.name, value, "INVALID_BOOLEAN")
        if self.options and value not in self.options:
            raise invalid_value(self.name, value, "INVALID_OPTION")
        if self.name == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise invalid_value(self.name, value, "INVALID_EMAIL")
        if len(value) > 65_536:
            raise invalid_value(self.name, value[:20], "STRING_TOO_LONG")

    def told(self) -> Told:
        """As the properties API shows it."""
        options = [{"label": option, "value": option, "hidden": False} for option in self.options]
        shown: Told = {
            "name": self.name,
            "label": self.label or self.name,
            "type": self.type,
            "fieldType": self.field_type,
        }
        shown |= {"groupName": self.group, "description": self.description, "options": options, "hidden": False}
        shown |= {"hasUniqueValue": self.is_unique, "hubspotDefined": not self.is_ours, "archived": False}
        return shown | {"calculated": self.name in CALCULATED_PHONES}


def instant_of(value: str) -> datetime | None:
    """A time as HubSpot takes it: milliseconds since 1970, or ISO 8601 with a zone."""
    try:
        if value.isdecimal():
            return datetime.fromtimestamp(int(value) / 1000, UTC)
        found = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo is not None else None


def own_property(asked: Told, groups: Iterable[str], unique_so_far: int) -> Property:
    """What the properties API makes of a request to create one."""
    for name in ("name", "label", "type", "fieldType", "groupName"):
        if not isinstance(asked.get(name), str) or not asked[name]:
            raise invalid(
                f"Invalid input JSON: {name} is required and must be a text", context={"propertyName": [name]}
            )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", asked["name"]):
        raise invalid("Property names are lower case letters, digits and underscores, and begin with a letter")
    if asked["type"] not in ("bool", "date", "datetime", "enumeration", "number", "phone_number", "string"):
        raise invalid(f"{asked['type']} is no type of properties")
    if asked["groupName"] not in groups:
        raise invalid(f"Property group {asked['groupName']} does not exist")
    is_unique = asked.get("hasUniqueValue", False) is True
    if is_unique and unique_so_far >= 10:  # assumed: ten for each kind of objects
        raise Refused(400, "VALIDATION_ERROR", "There are ten properties with unique values already")
    options: list[Any] = asked.get("options", [])
    return Property(
        name=asked["name"],
        label=asked["label"],
        type=asked["type"],
        field_type=asked["fieldType"],
        group=asked["groupName"],
        description=asked.get("description", ""),
        options=tuple(option["value"] for option in options),
        is_unique=is_unique,
        is_ours=True,
    )


@dataclass(frozen=True)
class Kind:
    """A kind of objects.

    Attributes:
        type_id: HubSpot's number for it, which stands in the address of a record.
        required: Properties without which none is created.
        shown: Properties that are answered also where nobody asked for them.
        dates: What it calls the times of its creation and last change.
        to_contact, from_contact: Numbers of the default association with a contact, in both directions (documented for
            calls and leads, assumed for the others).
        scopes: To read and to write; calls and communications use those of contacts (documented), tasks too (assumed).
    """

    name: str
    type_id: str
    properties: tuple[Property, ...]
    required: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    dates: tuple[str, str] = ("hs_createdate", "hs_lastmodifieddate")
    to_contact: int = 0
    from_contact: int = 0
    scopes: str = "crm.objects.contacts"

    @property
    def singular(self) -> str:
        return self.name.removesuffix("s").upper()

    @property
    def always_shown(self) -> tuple[str, ...]:
        return ("hs_object_id", *self.dates, *self.shown)


def _texts(*names: str, group: str) -> tuple[Property, ...]:
    return tuple(Property(name, group=group) for name in names)


def _choice(name: str, *options: str, group: str) -> Property:
    return Property(name, "enumeration", options, group=group, field_type="select")


def _kept_by_hubspot(dates: tuple[str, str], group: str) -> tuple[Property, ...]:
    times = tuple(Property(name, "datetime", is_read_only=True, group=group) for name in dates)
    return (*times, Property("hs_object_id", "number", is_read_only=True, is_unique=True, group=group))


_ENGAGEMENT_DATES = ("hs_createdate", "hs_lastmodifieddate")
_CALLS, _COMMUNICATIONS, _TASKS = "call", "communication", "task"
_LEADS, _DEALS, _CONTACTS = "leadinformation", "dealinformation", "contactinformation"

# Groups other than that of contacts are named as we like (assumed): a sink must ask for them.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "contacts",
            "0-1",
            (
                *_kept_by_hubspot(("createdate", "lastmodifieddate"), _CONTACTS),
                *_texts("firstname", "lastname", "phone", "mobilephone", "company", "jobtitle", group=_CONTACTS),
                *_texts("address", "city", "state", "zip", "country", "website", group=_CONTACTS),
                *_texts("hubspot_owner_id", group=_CONTACTS),
                Property("hs_merged_object_ids", is_read_only=True),
                Property("email", is_unique=True),
                Property("hs_additional_emails"),
                _choice(
                    "lifecyclestage",
                    "subscriber",
                    "lead",
                    "marketingqualifiedlead",
                    "salesqualifiedlead",
                    "opportunity",
                    "customer",
                    "other",
                    group=_CONTACTS,
                ),
                _choice("hs_lead_status", "NEW", "OPEN", "IN_PROGRESS", "CONNECTED", "UNQUALIFIED", group=_CONTACTS),
                *(Property(name, is_read_only=True) for name in CALCULATED_PHONES),
            ),
            shown=("firstname", "lastname", "email"),
            dates=("createdate", "lastmodifieddate"),
            to_contact=449,
            from_contact=449,
        ),
        Kind(
            "calls",
            "0-48",
            (
                *_kept_by_hubspot(_ENGAGEMENT_DATES, _CALLS),
                *_texts("hs_call_title", "hs_call_body", "hs_call_from_number", "hs_call_to_number", group=_CALLS),
                *_texts("hs_call_recording_url", "hs_call_disposition", "hubspot_owner_id", group=_CALLS),
                *_texts("hs_call_callee_object_id", "hs_call_callee_object_type_id", "hs_call_source", group=_CALLS),
                Property("hs_timestamp", "datetime", group=_CALLS),
                Property("hs_call_duration", "number", group=_CALLS),
                _choice("hs_call_direction", "INBOUND", "OUTBOUND", group=_CALLS),
                _choice(
                    "hs_call_status",
                    *("BUSY", "CALLING_CRM_USER", "CANCELED", "COMPLETED", "CONNECTING", "FAILED"),
                    *("IN_PROGRESS", "NO_ANSWER", "QUEUED", "RINGING"),
                    group=_CALLS,
                ),
            ),
            required=("hs_timestamp",),
            to_contact=194,
            from_contact=193,
        ),
        Kind(
            "communications",
            "0-18",
            (
                *_kept_by_hubspot(_ENGAGEMENT_DATES, _COMMUNICATIONS),
                *_texts("hs_communication_body", "hubspot_owner_id", group=_COMMUNICATIONS),
                Property("hs_timestamp", "datetime", group=_COMMUNICATIONS),
                _choice("hs_communication_channel_type", "SMS", "WHATS_APP", "LINKEDIN_MESSAGE", group=_COMMUNICATIONS),
                _choice("hs_communication_logged_from", "CRM", group=_COMMUNICATIONS),
            ),
            required=("hs_communication_channel_type", "hs_communication_logged_from", "hs_timestamp"),
            to_contact=81,
            from_contact=82,
        ),
        Kind(
            "tasks",
            "0-27",
            (
                *_kept_by_hubspot(_ENGAGEMENT_DATES, _TASKS),
                *_texts("hs_task_subject", "hs_task_body", "hubspot_owner_id", group=_TASKS),
                Property("hs_timestamp", "datetime", group=_TASKS),
                _choice("hs_task_type", "CALL", "EMAIL", "TODO", group=_TASKS),
                _choice("hs_task_priority", "NONE", "LOW", "MEDIUM", "HIGH", group=_TASKS),
                _choice(
                    "hs_task_status", "NOT_STARTED", "IN_PROGRESS", "WAITING", "COMPLETED", "DEFERRED", group=_TASKS
                ),
            ),
            required=("hs_timestamp",),
            to_contact=204,
            from_contact=203,
        ),
        Kind(
            "leads",
            "0-136",
            (
                *_kept_by_hubspot(_ENGAGEMENT_DATES, _LEADS),
                *_texts(
                    "hs_lead_name", "hs_lead_type", "hs_pipeline", "hs_pipeline_stage", "hubspot_owner_id", group=_LEADS
                ),
                _choice("hs_lead_label", "HOT", "WARM", "COLD", group=_LEADS),
            ),
            required=("hs_lead_name",),
            to_contact=578,
            from_contact=579,
            scopes="crm.objects.leads",
        ),
        Kind(
            "deals",
            "0-3",
            (
                *_kept_by_hubspot(("createdate", "hs_lastmodifieddate"), _DEALS),
                *_texts("dealname", "pipeline", "dealstage", "dealtype", "hubspot_owner_id", group=_DEALS),
                *_texts("description", group=_DEALS),
                Property("amount", "number", group=_DEALS),
                Property("closedate", "datetime", group=_DEALS),
            ),
            required=("dealname", "pipeline", "dealstage"),
            shown=("dealname", "pipeline", "dealstage", "amount", "closedate"),
            dates=("createdate", "hs_lastmodifieddate"),
            to_contact=3,
            from_contact=4,
            scopes="crm.objects.deals",
        ),
    )
}

PIPELINE_OF = {"deals": ("pipeline", "dealstage"), "leads": ("hs_pipeline", "hs_pipeline_stage")}
