"""The kinds of objects and their fields: those of Salesforce, as far as a sink needs them, and our own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from tests.fakes.salesforce.refusals import Refused, Told

_OF_JSON: dict[str, tuple[type, ...]] = {"int": (int,), "double": (int, float), "boolean": (bool,)}


@dataclass(frozen=True)
class Field:
    """One field of a kind of objects.

    Attributes:
        values: The only ones it takes, where it is a restricted picklist.
        is_required: Whether no record is created without it.
        is_external_id: Whether records can be upserted by it.
        is_unique: Whether no two records may have one value; letters in any case are one (the default of set-up).
    """

    name: str
    type: str = "string"
    length: int = 255
    values: tuple[str, ...] = ()
    is_createable: bool = True
    is_updateable: bool = True
    is_required: bool = False
    is_external_id: bool = False
    is_unique: bool = False

    def check(self, value: Any) -> None:
        """Refuse a value that is not of the type; null clears the field."""
        if value is None:
            return
        wanted = _OF_JSON.get(self.type, (str,))
        if self.type in ("int", "double") and isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return  # assumed: a text that is a number is one
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            # Observed: the parser's own sentence, which names no field.
            said = f"Cannot deserialize instance of {self.type} from VALUE_STRING value {value} or request may be"
            raise Refused(400, "JSON_PARSER_ERROR", f"{said} missing a required field at [line:1, column:20]")
        if isinstance(value, str):
            self._check_text(value)

    def kept(self, value: Any) -> Any:
        """*value* as the field holds it."""
        is_number = self.type in ("int", "double") and isinstance(value, str) and value
        return float(value) if is_number else value

    def _check_text(self, value: str) -> None:
        if self.type == "date" and not _is_date(value):
            said = f"Cannot deserialize instance of date from VALUE_STRING value {value}"
            raise Refused(400, "JSON_PARSER_ERROR", f"{said} at [line:1, column:20]")
        if len(value) > self.length:
            said = f"{self.name}: data value too large: {value[:255]} (max length={self.length})"
            raise Refused(400, "STRING_TOO_LONG", said, [self.name])
        if self.type == "email" and value and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            said = f"{self.name}: invalid email address: {value}"
            raise Refused(400, "INVALID_EMAIL_ADDRESS", said, [self.name])
        if self.values and value not in self.values:
            said = f"{self.name}: bad value for restricted picklist field: {value}"
            raise Refused(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", said, [self.name])

    def told(self) -> Told:
        """As a description of the object shows it."""
        return {
            "name": self.name,
            "type": self.type,
            "length": self.length if self.type in ("string", "textarea", "phone", "email") else 0,
            "createable": self.is_createable,
            "updateable": self.is_updateable,
            "nillable": not self.is_required,
            "defaultedOnCreate": False,
            "externalId": self.is_external_id,
            "unique": self.is_unique,
            "restrictedPicklist": bool(self.values),
            "picklistValues": [{"value": value, "active": True, "label": value} for value in self.values],
        }


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _read_only(name: str, type_: str = "string") -> Field:
    return Field(name, type_, is_createable=False, is_updateable=False)


_OF_ALL = (
    _read_only("Id"),
    _read_only("IsDeleted", "boolean"),
    _read_only("CreatedDate", "datetime"),
    _read_only("LastModifiedDate", "datetime"),
    _read_only("CreatedById", "reference"),
    _read_only("LastModifiedById", "reference"),
    Field("OwnerId", "reference"),
    Field("Description", "textarea", 32_000),
)
_OF_PEOPLE = (
    Field("FirstName", length=40),
    Field("LastName", length=80, is_required=True),
    Field("Phone", "phone", 40),
    Field("MobilePhone", "phone", 40),
    Field("Email", "email", 80),
    Field("LeadSource"),
    _read_only("MasterRecordId", "reference"),
)
FIELDS: dict[str, tuple[Field, ...]] = {
    "Contact": (
        *_OF_ALL,
        *_OF_PEOPLE,
        Field("HomePhone", "phone", 40),
        Field("OtherPhone", "phone", 40),
        Field("AccountId", "reference"),
    ),
    "Lead": (
        *_OF_ALL,
        *_OF_PEOPLE,
        Field("Company", is_required=True),
        Field("Status"),
        _read_only("IsConverted", "boolean"),
        _read_only("ConvertedContactId", "reference"),
    ),
    "Task": (
        *_OF_ALL,
        Field("Subject"),
        Field("TaskSubtype", values=("Task", "Call", "Email"), is_updateable=False),  # documented: not updateable
        Field("Status", is_required=False),
        Field("Priority"),
        Field("ActivityDate", "date"),
        Field("WhoId", "reference"),
        Field("WhatId", "reference"),
        Field("CallType", values=("Internal", "Inbound", "Outbound")),
        Field("CallDurationInSeconds", "int"),
        Field("CallDisposition"),
        Field("CallObject"),
    ),
    "Opportunity": (
        *_OF_ALL,
        Field("Name", length=120, is_required=True),
        Field("StageName", values=("Prospecting", "Closed Won", "Closed Lost"), is_required=True),
        Field("CloseDate", "date", is_required=True),
        _read_only("IsClosed", "boolean"),
        Field("Amount", "double"),
        Field("ContactId", "reference", is_updateable=False),
        Field("LeadSource"),
    ),
}
PREFIXES = {"Contact": "003", "Lead": "00Q", "Task": "00T", "Opportunity": "006"}
PHONES = ("Phone", "MobilePhone", "HomePhone", "OtherPhone")
