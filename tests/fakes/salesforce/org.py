"""The org: records and their fields, its rules, and what the people who work in it do."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Literal

from tests.fakes.salesforce.definitions import FIELDS, PHONES, PREFIXES, Field
from tests.fakes.salesforce.refusals import Refused, Told, no_such_column, no_such_resource
from tests.fakes.salesforce.soql import Query, same

CLIENT_ID = "client-of-the-fake"
CLIENT_SECRET = "secret-of-the-fake"
USERNAME = "router@acme.example"
OWNER = "005000000000001AAA"
USER, HUMAN = "005000000000002AAA", "005000000000003AAA"  # of the app, and somebody else
KEY = "CallRail_Key__c"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
Values = dict[str, Any]


@dataclass
class Clock:
    """The fake's own time: it stands still until a test moves it."""

    now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


@dataclass
class Record:
    """One record. *versions* are what it was from when on, oldest first; None where it was deleted."""

    kind: str
    id: str
    created_at: datetime
    versions: list[tuple[datetime, Values | None]]
    created_by: str = USER
    changed_by: str = USER

    @property
    def is_deleted(self) -> bool:
        return self.versions[-1][1] is None

    @property
    def values(self) -> Values:
        """As they are now; of a deleted one, as they were last."""
        return next(values for _, values in reversed(self.versions) if values is not None)

    def seen_by_search(self, until: datetime) -> Values | None:
        """What the index holds of it that has come as far as *until*."""
        indexed = [values for since, values in self.versions if since <= until]
        return indexed[-1] if indexed else None

    def told(self, values: Values | None = None) -> Values:
        own: Values = {"Id": self.id, "IsDeleted": self.is_deleted, "CreatedDate": iso(self.created_at)}
        own["LastModifiedDate"] = iso(self.versions[-1][0])
        own |= {"CreatedById": self.created_by, "LastModifiedById": self.changed_by}
        told = {**own, **(self.values if values is None else values)}
        if self.kind == "Lead":
            told.setdefault("IsConverted", False)
        if self.kind == "Opportunity":
            told["IsClosed"] = str(told.get("StageName")).startswith("Closed")
        return told


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


@dataclass
class DuplicateRule:
    """An administrator's rule: a new *kind* with the last name of one of *against* is a duplicate.

    *compares*: `LastName`; `Phone`, its last seven digits, as a fuzzy comparison of numbers may; or `anything`.
    *is_silent*: whether those whom it finds are not shared with the user, and so not named.
    *may_be_saved*: whether who asks for it by a header may save it all the same (the rule alerts, and does not block).
    """

    kind: str = "Lead"
    against: tuple[str, ...] = ("Contact", "Lead")
    compares: Literal["LastName", "Phone", "anything"] = "LastName"
    may_be_saved: bool = True
    is_silent: bool = False
    name: str = "Standard_Lead_Duplicate_Rule"

    def fits(self, held: Values, new: Values) -> bool:
        if self.compares == "anything":
            return True
        if self.compares == "LastName":
            return bool(held.get("LastName") == new.get("LastName"))
        ends = {digits[-7:] for told in (held, new) for digits in [re.sub(r"\D", "", told.get("Phone") or "")]}
        return len(ends) == 1 and len(ends.pop()) == 7


def _defined() -> dict[str, dict[str, Field]]:
    return {kind: {found.name: found for found in fields} for kind, fields in FIELDS.items()}


@dataclass
class Org:
    """Everything that Salesforce keeps, as plain state.

    Attributes:
        clock: Where its time comes from; a `Clock` unless a test brings its own.
        index_lag: How long search does not yet see a write. A query sees it at once (documented).
        owners: The users who may own records.
        hidden: By kind, the fields that the user of the API does not see; *forbidden*: the kinds that it does not see.
        read_only: The kinds of which it may create none.
        sessions: The tokens that are valid.
        has_app: Whether the app is known, and its user active.
        public_key: With which an app's certificate proves its assertions; None for an app without one.
        answers_empty: Whether an upsert that updates answers 204 without a body, as versions before 46 do.
    """

    clock: Callable[[], datetime] = field(default_factory=Clock)
    index_lag: timedelta = timedelta()
    owners: set[str] = field(default_factory=lambda: {OWNER})
    inactive_owners: set[str] = field(default_factory=set)
    hidden: dict[str, set[str]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    read_only: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    has_app: bool = True
    public_key: Any = None
    answers_empty: bool = False
    rules: list[DuplicateRule] = field(default_factory=list)
    fields: dict[str, dict[str, Field]] = field(default_factory=_defined)
    records: dict[str, dict[str, Record]] = field(default_factory=lambda: {kind: {} for kind in FIELDS})
    _numbers: Callable[[], int] = field(default_factory=lambda: count(1001).__next__)

    # --- what a test looks at and what people do ---------------------------------------------------------------------

    def all(self, kind: str) -> list[Record]:
        """All of a kind that are not deleted, and of leads those that are not converted either, oldest first."""
        found = self.records[kind].values()
        return [record for record in found if not record.is_deleted and not record.values.get("IsConverted")]

    def define_keys(self, *, task_is_external: bool = True) -> None:
        """The fields of our own that a set-up makes."""
        for kind in ("Contact", "Lead", "Opportunity"):
            self.define(kind, KEY, is_external_id=True, is_unique=True)
        self.define("Task", KEY, is_external_id=task_is_external)

    def define(self, kind: str, name: str, **how: Any) -> None:
        """A field of one's own; *how*: see `Field`."""
        self.fields[kind][name] = replace(Field(name), **how)

    def require(self, kind: str, name: str) -> None:
        """An administrator makes a field required."""
        self.fields[kind][name] = replace(self.fields[kind].get(name, Field(name)), is_required=True)

    def human_creates(self, kind: str, values: Values, *, since: datetime = LONG_AGO) -> Record:
        """A record from before us, which search knows already."""
        record = self._add(kind, values, since)
        record.created_by = record.changed_by = HUMAN
        return record

    def human_edits(self, record_id: str, **values: Any) -> None:
        record = self.find(record_id)
        self._write(record, values)
        record.changed_by = HUMAN

    def human_deletes(self, record_id: str) -> None:
        """Into the recycle bin, and a person's tasks with it (assumed)."""
        record = self.find(record_id)
        for task in list(self.all("Task")):
            if task.values.get("WhoId") == record.id:
                task.versions.append((self.clock(), None))
        record.versions.append((self.clock(), None))

    def human_converts(self, lead_id: str, *, maps_the_key: bool = False) -> Record:
        """Make a contact of a lead; its tasks hang on the contact then (documented)."""
        lead = self.find(lead_id)
        taken = ("FirstName", "LastName", "Phone", "MobilePhone", "Email", *([KEY] if maps_the_key else []))
        values = {name: lead.values[name] for name in taken if name in lead.values}
        contact = self._add("Contact", values, self.clock())
        self._write(lead, {"IsConverted": True, "ConvertedContactId": contact.id})
        self._rehang(lead.id, contact.id)
        return contact

    def human_merges(self, master_id: str, other_id: str) -> None:
        """The master keeps its id and its values; the other is deleted and names the master (documented)."""
        master, other = self.find(master_id), self.find(other_id)
        merged = {**{name: value for name, value in other.values.items() if name != KEY}, **master.values}
        self._write(other, {"MasterRecordId": master.id})
        other.versions.append((self.clock(), None))
        self._write(master, merged)
        self._rehang(other.id, master.id)

    def expire_sessions(self) -> None:
        self.sessions.clear()

    # --- what the API does -------------------------------------------------------------------------------------------

    def copy(self) -> dict[str, dict[str, Record]]:
        """The records as they are, to be put back."""
        return copy.deepcopy(self.records)

    def find(self, record_id: str) -> Record:
        """The record of an id, of 15 or 18 characters."""
        for records in self.records.values():
            for record in records.values():
                if record.id in (record_id, with_suffix(record_id)):
                    if record.is_deleted:
                        raise Refused(404, "ENTITY_IS_DELETED", "entity is deleted")
                    return record
        raise no_such_resource()

    def seen(self, kind: str) -> Mapping[str, Field]:
        """The fields of a kind that the user of the API sees."""
        if kind not in self.fields or kind in self.forbidden:
            raise no_such_resource()
        hidden = self.hidden.get(kind, set())
        return {name: found for name, found in self.fields[kind].items() if name not in hidden}

    def query(self, query: Query, *, with_deleted: bool = False) -> list[Values]:
        """What there is now."""
        self._check_query(query)
        records = self.records[query.kind].values()
        return query.answer([record.told() for record in records if with_deleted or not record.is_deleted])

    def search(self, words: Iterable[str], query: Query) -> list[Values]:
        """What the index knows of numbers whose digits are one of *words* (assumed: a whole number is one word)."""
        self._check_query(query)
        until = self.clock() - self.index_lag
        found = []
        for record in self.records[query.kind].values():
            values = record.seen_by_search(until)
            if values is not None and not record.is_deleted and _has_number(values, set(words)):
                found.append(record.told())
        return query.answer(found)

    def by_key(self, kind: str, name: str, value: str) -> list[Record]:
        """The records with a value of an external id."""
        if name not in self.seen(kind) or not self.fields[kind][name].is_external_id:
            said = f"Provided external ID field does not exist or is not accessible: {name}"
            raise Refused(404, "NOT_FOUND", said)
        records = self.records[kind].values()
        return [found for found in records if not found.is_deleted and same(found.values.get(name)) == same(value)]

    def create(self, kind: str, values: Values, *, allow_save: bool = False) -> Record:
        self._check_names(kind, values, "is_createable")
        if kind in self.read_only:
            raise Refused(403, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", [])
        missing = [name for name, found in self.fields[kind].items() if found.is_required and not values.get(name)]
        if missing:
            said = f"Required fields are missing: [{', '.join(missing)}]"
            raise Refused(400, "REQUIRED_FIELD_MISSING", said, missing)
        self._check(kind, values, None)
        self._refuse_duplicate(kind, values, allow_save=allow_save)
        return self._add(kind, values, self.clock())

    def update(self, record: Record, values: Values) -> None:
        self._check_names(record.kind, values, "is_updateable")
        if record.values.get("IsConverted"):
            raise Refused(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", [])
        emptied = [
            name for name, value in values.items() if value in (None, "") and self.fields[record.kind][name].is_required
        ]
        if emptied:
            said = f"Required fields are missing: [{', '.join(emptied)}]"
            raise Refused(400, "REQUIRED_FIELD_MISSING", said, emptied)
        self._check(record.kind, values, record)
        self._write(record, values)

    def _check_query(self, query: Query) -> None:
        if query.kind not in self.fields or query.kind in self.forbidden:
            raise Refused(400, "INVALID_TYPE", f"sObject type '{query.kind}' is not supported.")
        for name in sorted(query.named):
            if name not in self.seen(query.kind):
                raise no_such_column(name, query.kind)

    def _check_names(self, kind: str, values: Values, needed: str) -> None:
        seen = self.seen(kind)
        for name in values:
            if name not in seen:
                raise no_such_column(name, kind)
            if not getattr(seen[name], needed):
                said = f"Unable to create/update fields: {name}. Please check the security settings of this field"
                raise Refused(400, "INVALID_FIELD_FOR_INSERT_UPDATE", said, [name])

    def _check(self, kind: str, values: Values, record: Record | None) -> None:
        for name, value in values.items():
            found = self.fields[kind][name]
            found.check(value)
            if found.type == "reference" and value:
                self._check_reference(name, value)
            if found.is_unique and value:
                for other in self.by_key(kind, name, value):
                    if record is None or other.id != record.id:
                        said = f"duplicate value found: {name} duplicates value on record with id: {other.id[:15]}"
                        raise Refused(400, "DUPLICATE_VALUE", said, [])

    def _check_reference(self, name: str, value: str) -> None:
        if name == "OwnerId":
            if value in self.inactive_owners:
                said = "operation performed with inactive user [" + value[:15] + "] as owner of lead"
                raise Refused(400, "INACTIVE_OWNER_OR_USER", said, [])
            if value not in self.owners:
                raise Refused(400, "INVALID_CROSS_REFERENCE_KEY", "Owner ID: id value of incorrect type", [name])
            return
        if name == "RecordTypeId":  # observed
            said = f"Record Type ID: this ID value isn't valid for the user: {value}"
            raise Refused(400, "INVALID_CROSS_REFERENCE_KEY", said, [name])
        try:
            found = self.find(value)
        except Refused as refused:
            if refused.code == "ENTITY_IS_DELETED":
                raise Refused(400, "ENTITY_IS_DELETED", "entity is deleted", []) from None
            raise Refused(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", []) from None
        if found.values.get("IsConverted"):
            raise Refused(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", [])

    def _refuse_duplicate(self, kind: str, values: Values, *, allow_save: bool) -> None:
        for rule in self.rules:
            if rule.kind != kind or (allow_save and rule.may_be_saved):
                continue
            matches = [found for other in rule.against for found in self.all(other) if rule.fits(found.values, values)]
            if matches:
                raise _duplicates(rule, matches)

    def _add(self, kind: str, values: Values, now: datetime) -> Record:
        record = Record(kind, with_suffix(f"{PREFIXES[kind]}{self._numbers():012d}"), now, [])
        owned = {"OwnerId": OWNER, **self._kept(kind, values)}
        record.versions.append((now, {name: value for name, value in owned.items() if value not in (None, "")}))
        self.records[kind][record.id] = record
        return record

    def _kept(self, kind: str, values: Values) -> Values:
        fields = self.fields[kind]
        return {name: fields[name].kept(value) if name in fields else value for name, value in values.items()}

    def _write(self, record: Record, values: Values) -> None:
        changed = {**record.values, **self._kept(record.kind, values)}
        kept = {name: value for name, value in changed.items() if value not in (None, "")}
        record.versions.append((self.clock(), kept))
        record.changed_by = USER

    def _rehang(self, gone: str, heir: str) -> None:
        for task in self.records["Task"].values():
            if not task.is_deleted and task.values.get("WhoId") == gone:
                self._write(task, {"WhoId": heir})


def _duplicates(rule: DuplicateRule, matches: list[Record]) -> Refused:
    """The key really is misspelt (observed)."""
    results = [
        {
            "entityType": kind,
            "errors": [],
            "matchEngine": "FuzzyMatchEngine",
            "matchRecords": [_match(record) for record in matches if record.kind == kind and not rule.is_silent],
            "rule": f"Standard_{kind}_Match_Rule_v1_0",
            "size": sum(record.kind == kind for record in matches),
            "success": True,
        }
        for kind in dict.fromkeys(record.kind for record in matches)
    ]
    said = "Use one of these records?"
    result: Told = {"allowSave": rule.may_be_saved, "duplicateRule": rule.name, "errorMessage": said}
    result |= {"duplicateRuleEntityType": rule.kind, "matchResults": results}
    return Refused(400, "DUPLICATES_DETECTED", said, None, {"duplicateResut": result})


def _match(record: Record) -> Told:
    url = f"/services/data/v66.0/sobjects/{record.kind}/{record.id}"
    shown = {"attributes": {"type": record.kind, "url": url}, "Id": record.id}
    return {"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0, "record": shown}


def _has_number(values: Values, wanted: set[str]) -> bool:
    return any(re.sub(r"\D", "", values.get(name) or "") in wanted for name in PHONES)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def with_suffix(record_id: str) -> str:
    """An id of 15 characters with the three that tell its capitals (documented)."""
    if len(record_id) != 15:
        return record_id
    parts = (record_id[start : start + 5] for start in (0, 5, 10))
    bits = (sum(1 << at for at, letter in enumerate(part) if letter.isascii() and letter.isupper()) for part in parts)
    return record_id + "".join(_LETTERS[number] for number in bits)
