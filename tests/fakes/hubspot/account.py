"""The account: records, their properties and associations, and what the people who work in it do to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from tests.fakes.hubspot.definitions import KINDS, PIPELINE_OF, Kind, Property
from tests.fakes.hubspot.refusals import Refused, Told, invalid, invalid_value, not_found

TOKEN = "pat-of-the-fake"
OWNER = "70000001"
PORTAL = "4242"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
Properties = dict[str, str]


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
    """One object. *versions* are what it was from when on, oldest first; None where it was archived."""

    kind: Kind
    id: str
    created_at: datetime
    versions: list[tuple[datetime, Properties | None]]
    merged_into: str | None = None

    @property
    def is_archived(self) -> bool:
        return self.versions[-1][1] is None

    @property
    def updated_at(self) -> datetime:
        return self.versions[-1][0]

    @property
    def properties(self) -> Properties:
        """As they are now; of an archived one, as they were last."""
        return next(properties for _, properties in reversed(self.versions) if properties is not None)

    def seen_by_search(self, until: datetime) -> Properties | None:
        """What the index holds of it that has come as far as *until*."""
        indexed = [properties for since, properties in self.versions if since <= until]
        return indexed[-1] if indexed else None

    def told(self, names: Iterable[str], properties: Properties | None = None) -> Told:
        """As the API shows it; None for what is asked for and not set, as the types of HubSpot's clients have it."""
        held = self.properties if properties is None else properties
        shown = {name: held.get(name) for name in [*self.kind.always_shown, *names]}
        told: Told = {"id": self.id, "properties": shown, "archived": self.is_archived}
        told |= {"createdAt": iso(self.created_at), "updatedAt": iso(self.updated_at)}
        if self.is_archived:
            told["archivedAt"] = iso(self.updated_at)
        told["url"] = f"https://app.hubspot.com/contacts/{PORTAL}/record/{self.kind.type_id}/{self.id}"
        return told


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _all_scopes() -> set[str]:
    of_objects = {f"{kind.scopes}.{way}" for kind in KINDS.values() for way in ("read", "write")}
    schemas = {kind.scopes.replace("objects", "schemas") for kind in KINDS.values()}
    return of_objects | {f"{schema}.{way}" for schema in schemas for way in ("read", "write")}


def _defined() -> dict[str, dict[str, Property]]:
    return {name: {found.name: found for found in kind.properties} for name, kind in KINDS.items()}


@dataclass
class Account:
    """Everything that HubSpot keeps, as plain state.

    Attributes:
        clock: Where its time comes from; a `Clock` unless a test brings its own.
        index_lag: How long search does not yet see a write.
        token: The one that is valid; None when it was revoked.
        enforces_rules: Whether the administrator's rules hold for writes by API in *every* version; in 2026-09 they do
            anyhow (documented).
        leads_need_a_contact: Whether a lead is refused that is not created together with its association (documented
            for the single create, assumed for the upsert, whose contract has no place for one).
        unique_conflict: Status for a value that another record has: 409, or 400 as was observed for properties of one's
            own.
        merged_values_are_found: Whether an upsert by the unique value of a contact that was merged away finds the other
            (assumed not: a sink that relies on it makes a second contact).
    """

    clock: Callable[[], datetime] = field(default_factory=Clock)
    index_lag: timedelta = timedelta()
    token: str | None = TOKEN
    scopes: set[str] = field(default_factory=_all_scopes)
    owners: set[str] = field(default_factory=lambda: {OWNER})
    pipelines: dict[str, dict[str, set[str]]] = field(
        default_factory=lambda: {
            "deals": {"default": {"appointmentscheduled", "closedwon", "closedlost"}},
            "leads": {"lead-pipeline-id": {"new-stage-id", "attempting-stage-id", "qualified-stage-id"}},
        }
    )
    enforces_rules: bool = False
    leads_need_a_contact: bool = True
    unique_conflict: int = 409
    merged_values_are_found: bool = False
    properties: dict[str, dict[str, Property]] = field(default_factory=_defined)
    groups: dict[str, dict[str, str]] = field(
        default_factory=lambda: {
            name: {group: group for group in sorted({found.group for found in kind.properties})}
            for name, kind in KINDS.items()
        }
    )
    objects: dict[str, dict[str, Record]] = field(default_factory=lambda: {name: {} for name in KINDS})
    associations: set[tuple[str, str, str, str]] = field(default_factory=set)
    _numbers: Callable[[], int] = field(default_factory=lambda: count(30_000_000_101).__next__)

    # --- what a test looks at and what people do ---------------------------------------------------------------------

    def all(self, kind: str) -> list[Record]:
        """All of a kind that are neither archived nor merged away, oldest first."""
        return [record for record in self.objects[kind].values() if not record.is_archived]

    def linked(self, kind: str, object_id: str, to: str) -> list[str]:
        """Ids of what a record is associated with."""
        found = {other for a, one, b, other in self.associations if (a, one, b) == (kind, object_id, to)}
        return sorted(found, key=int)

    def human_creates(self, kind: str, properties: Properties, *, since: datetime = LONG_AGO) -> Record:
        """A record from before us, which search knows already."""
        return self._add(KINDS[kind], properties, since)

    def human_edits(self, kind: str, object_id: str, **properties: str) -> None:
        self._write(self.find(kind, object_id), properties)

    def human_archives(self, kind: str, object_id: str) -> None:
        self.find(kind, object_id).versions.append((self.clock(), None))

    def human_merges(self, primary: str, secondary: str, *, into_a_new_id: bool = True) -> Record:
        """Merge two contacts into a third; both old ids lead to it, and the primary's values prevail (documented).

        Source: HubSpot's changelog, "Updated merge functionality for contacts and companies". That what the primary
        lacks is taken from the other is assumed.

        Args:
            into_a_new_id: False for the way until then: the primary keeps its id.
        """
        first, second = self.find("contacts", primary), self.find("contacts", secondary)
        gone_ids = [first.id, second.id] if into_a_new_id else [second.id]
        before = [record.properties.get("hs_merged_object_ids", "") for record in (first, second)]
        ids = {"hs_merged_object_ids": ";".join(filter(None, [*gone_ids, *before]))}
        merged = {**second.properties, **first.properties, **ids}
        for gone in [second, first] if into_a_new_id else [second]:
            gone.versions.append((self.clock(), None))
        winner = self._add(first.kind, merged, self.clock()) if into_a_new_id else first
        self._write(winner, merged)
        for gone in (first, second):
            if gone is not winner:
                gone.merged_into = winner.id
                self._relink(gone.id, winner.id)
        return winner

    def define(self, kind: str, name: str, **how: Any) -> None:
        """A property of our own, with unique values unless *how* (see `Property`) says otherwise."""
        group = next(iter(self.groups[kind]))
        self.properties[kind][name] = replace(Property(name, group=group, is_unique=True, is_ours=True), **how)

    def require(self, kind: str, name: str) -> None:
        """An administrator makes a property required."""
        self.properties[kind][name] = replace(self.properties[kind].get(name, Property(name)), is_required=True)

    # --- what the API does -------------------------------------------------------------------------------------------

    def find(self, kind: str, object_id: str, id_property: str | None = None, *, archived: bool = False) -> Record:
        """The record of an id, or of a unique value.

        The id of a contact that was merged away leads to the one that it was merged into: documented for reads, assumed
        for writes and associations, and for the dated paths.
        """
        if id_property not in (None, "hs_object_id"):
            found = self.by_value(kind, id_property, object_id)
        else:
            found = self.objects[kind].get(object_id)
            while found is not None and found.merged_into is not None:
                found = self.objects[kind][found.merged_into]
        if found is None or found.is_archived is not archived:
            raise not_found(object_id)
        return found

    def by_value(self, kind: str, name: str, value: str) -> Record | None:
        """The one record with a unique value. An archived one does not keep its value from others (assumed)."""
        self.unique(kind, name)
        for record in self.objects[kind].values():
            if same(name, record.properties.get(name), value):
                if not record.is_archived:
                    return record
                if record.merged_into is not None and self.merged_values_are_found:
                    return self.find(kind, record.id)
        return None

    def unique(self, kind: str, name: str) -> Property:
        found = self.properties[kind].get(name)
        if found is None or not found.is_unique:
            raise invalid(f"Property {name} of {kind} has no unique values", context={"idProperty": [name]})
        return found

    def create(self, kind: str, properties: Properties, associations: list[Told], *, strictly: bool) -> Record:
        to = [(self._other_end(kind, asked), asked["to"]["id"]) for asked in associations]
        self.check(kind, properties, None, strictly=strictly, with_contact=any(other == "contacts" for other, _ in to))
        linked = [(other, self.find(other, object_id).id) for other, object_id in to]
        record = self._add(KINDS[kind], properties, self.clock())
        for other, object_id in linked:
            self._link(kind, record.id, other, object_id)
        return record

    def update(self, record: Record, properties: Properties, *, strictly: bool) -> Record:
        self.check(record.kind.name, properties, record, strictly=strictly)
        self._write(record, properties)
        return record

    def associate(self, kind: str, object_id: str, to: str, to_id: str) -> list[Told]:
        """By the default type, as often as one likes. What it tells are both directions."""
        one, other = self.find(kind, object_id), self.find(to, to_id)
        self._link(kind, one.id, to, other.id)
        ways = [(kind, one.id, to, other.id), (to, other.id, kind, one.id)]
        return [
            {
                "from": {"id": from_id},
                "to": {"id": end_id},
                "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id(start, end)},
            }
            for start, from_id, end, end_id in ways
        ]

    def check(
        self,
        kind: str,
        properties: Properties,
        record: Record | None,
        *,
        strictly: bool,
        with_contact: bool = False,
    ) -> None:
        """Refuse what HubSpot would refuse of a write to *record*, or of a new one."""
        for name, value in properties.items():
            defined = self.properties[kind].get(name)
            if defined is None:
                raise invalid_value(name, value, "PROPERTY_DOESNT_EXIST")
            defined.check(value)
            if name == "hubspot_owner_id" and value and value not in self.owners:
                raise invalid_value(name, value, "INVALID_OWNER_ID")
            if defined.is_unique and value:
                self._refuse_second(kind, name, value, record)
        result = {**(record.properties if record else {}), **properties}
        self._check_stage(kind, result)
        if record is None:
            self._check_complete(kind, properties, strictly=strictly)
            if kind == "leads" and self.leads_need_a_contact and not with_contact:
                raise invalid("A lead must be associated with a contact or a company when it is created")

    def _refuse_second(self, kind: str, name: str, value: str, record: Record | None) -> None:
        holder = self.by_value(kind, name, value)
        if holder is None or holder is record:
            return
        if self.unique_conflict == 409:
            word = KINDS[kind].singular.capitalize()
            raise Refused(
                409, "CONFLICT", f"{word} already exists. Existing ID: {holder.id}", context={"id": [holder.id]}
            )
        raise invalid_value(name, value, "CONFLICTING_UNIQUE_VALUE")

    def _check_stage(self, kind: str, properties: Mapping[str, str]) -> None:
        if kind not in PIPELINE_OF:
            return
        pipeline, stage = (properties.get(name) for name in PIPELINE_OF[kind])
        if pipeline and pipeline not in self.pipelines[kind]:
            raise invalid_value(PIPELINE_OF[kind][0], pipeline, "INVALID_OPTION")
        if stage and stage not in self.pipelines[kind].get(pipeline or "", {stage}):
            raise invalid_value(PIPELINE_OF[kind][1], stage, "INVALID_OPTION")

    def _check_complete(self, kind: str, properties: Properties, *, strictly: bool) -> None:
        by_rule = [name for name, found in self.properties[kind].items() if found.is_required]
        wanted = [*KINDS[kind].required, *(by_rule if strictly or self.enforces_rules else [])]
        missing = [name for name in wanted if not properties.get(name)]
        if missing:
            message = f"Error creating {KINDS[kind].singular}. Some required properties were not set."
            raise invalid(message, context={"properties": missing})

    def _other_end(self, kind: str, asked: Told) -> str:
        """What an association of a new record leads to, by the numbers of its types."""
        numbers = {asked_type["associationTypeId"] for asked_type in asked["types"]}
        for other in KINDS:
            if numbers & {type_id(kind, other)} - {0}:
                return other
        raise invalid(f"No association of {kind} has one of the types {sorted(numbers)}")

    def _add(self, kind: Kind, properties: Properties, now: datetime) -> Record:
        record = Record(kind, str(self._numbers()), now, [])
        kept = {"hs_object_id": record.id, kind.dates[0]: iso(now), kind.dates[1]: iso(now)}
        record.versions.append((now, {name: value for name, value in {**properties, **kept}.items() if value}))
        self.objects[kind.name][record.id] = record
        return record

    def _write(self, record: Record, properties: Mapping[str, str]) -> None:
        own = {"hs_object_id": record.id, record.kind.dates[0]: iso(record.created_at)}
        changed = {**record.properties, **properties, **own, record.kind.dates[1]: iso(self.clock())}
        record.versions.append((self.clock(), {name: value for name, value in changed.items() if value}))

    def _link(self, kind: str, object_id: str, to: str, to_id: str) -> None:
        self.associations |= {(kind, object_id, to, to_id), (to, to_id, kind, object_id)}

    def _relink(self, gone: str, winner: str) -> None:
        """Everything that hung on a contact hangs on the one that it was merged into."""

        def renamed(kind: str, object_id: str) -> str:
            return winner if (kind, object_id) == ("contacts", gone) else object_id

        self.associations = {(a, renamed(a, one), b, renamed(b, other)) for a, one, b, other in self.associations}


def type_id(start: str, end: str) -> int:
    """Number of the default association; 0 where we know none."""
    if end == "contacts":
        return KINDS[start].to_contact
    return KINDS[end].from_contact if start == "contacts" else 0


def same(name: str, one: str | None, other: str) -> bool:
    """Whether two unique values are one: e-mail addresses in any case, all others to the letter."""
    if one is None:
        return False
    return one.lower() == other.lower() if name == "email" else one == other
