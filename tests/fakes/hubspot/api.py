"""The API: what a request asks of the account, and the answer in the shape of its dated version. It knows no socket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.hubspot.account import Account, Properties, Record, iso, type_id
from tests.fakes.hubspot.definitions import KINDS, own_property
from tests.fakes.hubspot.limits import Limits
from tests.fakes.hubspot.refusals import (
    Answer,
    Refused,
    Told,
    invalid,
    missing_scopes,
    not_found,
    too_many,
    unauthenticated,
)
from tests.fakes.hubspot.searching import search

VERSIONS = ("2026-03", "2026-09")
MOST_INPUTS = 100  # documented, for every batch


@dataclass(frozen=True)
class Asked:
    """One request, read.

    Attributes:
        operation: A name for what it asks, such as `contacts.search` or `properties.create`; `unknown` if nothing.
        action: The same without the kind of objects: `search`, `properties.create`.
        parts: What stands at the places of its path that vary.
        path: Without the query.
        body: What its JSON holds; None without a body or if it is none.
    """

    method: str
    path: str
    operation: str
    action: str = ""
    version: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    raw: bytes = b""

    def names(self, parameter: str) -> list[str]:
        """The items of a list in the query."""
        return [name for name in self.query.get(parameter, "").split(",") if name]

    @property
    def inputs(self) -> list[Told]:
        """The inputs of a batch."""
        found = self.body.get("inputs")
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise invalid("Invalid input JSON: inputs must be a list of objects")
        if not 0 < len(found) <= MOST_INPUTS:
            raise invalid(f"A batch has from 1 to {MOST_INPUTS} inputs, not {len(found)}")
        return found

    @property
    def is_strict(self) -> bool:
        """Whether the administrator's validation rules hold."""
        return self.version >= "2026-09"


_OBJECTS = r"/crm/objects/(?P<version>[\d-]+)/(?P<kind>\w+)"
_PROPERTIES = r"/crm/properties/(?P<version>[\d-]+)/(?P<kind>\w+)"
_ASSOCIATIONS = r"/crm/associations/(?P<version>[\d-]+)/(?P<kind>\w+)/(?P<to>\w+)"
_ROUTES = [
    (method, re.compile(pattern), operation)
    for method, pattern, operation in (
        ("POST", rf"{_OBJECTS}/search", "search"),
        ("POST", rf"{_OBJECTS}/batch/upsert", "upsert"),
        ("POST", rf"{_OBJECTS}/batch/create", "batch_create"),
        ("POST", rf"{_OBJECTS}/batch/update", "batch_update"),
        ("POST", rf"{_OBJECTS}/batch/read", "batch_read"),
        ("POST", _OBJECTS, "create"),
        ("GET", rf"{_OBJECTS}/(?P<id>[^/]+)", "get"),
        ("PATCH", rf"{_OBJECTS}/(?P<id>[^/]+)", "update"),
        ("PUT", rf"{_OBJECTS}/(?P<id>[^/]+)/associations/default/(?P<to>\w+)/(?P<to_id>[^/]+)", "associate"),
        ("GET", rf"{_OBJECTS}/(?P<id>[^/]+)/associations/(?P<to>\w+)", "associations"),
        ("POST", rf"{_ASSOCIATIONS}/batch/associate/default", "batch_associate"),
        ("GET", rf"{_PROPERTIES}/groups", "groups.list"),
        ("POST", rf"{_PROPERTIES}/groups", "groups.create"),
        ("POST", rf"{_PROPERTIES}/batch/read", "properties.batch_read"),
        ("GET", _PROPERTIES, "properties.list"),
        ("POST", _PROPERTIES, "properties.create"),
        ("GET", rf"{_PROPERTIES}/(?P<name>\w+)", "properties.get"),
    )
]
_WRITES = {"upsert", "batch_create", "batch_update", "create", "update", "associate", "batch_associate"}


def read(method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Asked:
    """What a request asks for."""
    path, query = unquote(urlsplit(target).path), dict(parse_qsl(urlsplit(target).query))
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    for wanted, pattern, operation in _ROUTES:
        found = pattern.fullmatch(path)
        if wanted == method and found is not None:
            parts = found.groupdict()
            name = operation if "." in operation else f"{parts['kind']}.{operation}"
            return Asked(method, path, name, operation, parts["version"], parts, query, headers, body, raw)
    return Asked(method, path, "unknown", query=query, headers=headers, body=body, raw=raw)


@dataclass
class Api:
    """The account as its API shows it."""

    account: Account = field(default_factory=Account)
    limits: Limits = field(default_factory=Limits)

    def answer(self, asked: Asked) -> Answer:
        """Do what is asked, and tell; what cannot be done changes nothing."""
        is_search = asked.action == "search"
        try:
            self._check_token(asked)
            policy = self.limits.refuses(self.account.clock(), is_search=is_search)
            told = self._answer(asked) if policy is None else too_many(policy)
        except Refused as refused:
            told = refused.as_answer()
        return told if is_search else Answer(told.status, told.body, {**told.headers, **self.limits.headers()})

    def _answer(self, asked: Asked) -> Answer:
        kind = asked.parts.get("kind", "")
        if not asked.action or asked.version not in VERSIONS:
            raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
        for name in (kind, asked.parts.get("to", kind)):
            if name not in KINDS:
                raise invalid(f"Unable to infer object type from: {name}")
        self._check_scope(asked)
        if asked.method in ("POST", "PATCH"):
            check_body(asked)
        return self._operations[asked.action](asked)

    def _check_token(self, asked: Asked) -> None:
        if self.account.token is None or asked.headers.get("authorization") != f"Bearer {self.account.token}":
            raise unauthenticated()

    def _check_scope(self, asked: Asked) -> None:
        """A property is created by a scope of its own (documented), read by that of the objects (assumed)."""
        kinds = {asked.parts["kind"], asked.parts.get("to", asked.parts["kind"])}
        for scopes in sorted({KINDS[kind].scopes for kind in kinds}):
            if asked.action in ("properties.create", "groups.create"):
                wanted = f"{scopes.replace('objects', 'schemas')}.write"
            else:
                wanted = f"{scopes}.{'write' if asked.action in _WRITES else 'read'}"
            if wanted not in self.account.scopes:
                raise missing_scopes(wanted)

    @property
    def _operations(self) -> Mapping[str, Callable[[Asked], Answer]]:
        return {
            "search": self._search,
            "upsert": self._upsert,
            "batch_create": self._batch_create,
            "batch_update": self._batch_update,
            "batch_read": self._batch_read,
            "create": self._create,
            "get": self._get,
            "update": self._update,
            "associate": self._associate,
            "associations": self._associations,
            "batch_associate": self._batch_associate,
            "groups.list": self._list_groups,
            "groups.create": self._create_group,
            "properties.list": self._list_properties,
            "properties.create": self._create_property,
            "properties.get": self._get_property,
            "properties.batch_read": self._read_properties,
        }

    # --- objects -----------------------------------------------------------------------------------------------------

    def _search(self, asked: Asked) -> Answer:
        return Answer(200, search(self.account, asked.parts["kind"], asked.body))

    def _create(self, asked: Asked) -> Answer:
        return Answer(201, self._new(asked, asked.body))

    def _get(self, asked: Asked) -> Answer:
        kind, archived = asked.parts["kind"], asked.query.get("archived") == "true"
        record = self.account.find(kind, asked.parts["id"], asked.query.get("idProperty"), archived=archived)
        told = record.told(self._known(kind, asked.names("properties")))
        associations = {
            to: {"results": [{"id": other, "type": f"{kind}_to_{to}"} for other in others]}
            for to in asked.names("associations")
            if to in KINDS and (others := self.account.linked(kind, record.id, to))
        }
        return Answer(200, {**told, "associations": associations} if associations else told)

    def _update(self, asked: Asked) -> Answer:
        record = self.account.find(asked.parts["kind"], asked.parts["id"], asked.query.get("idProperty"))
        properties = texts_of(asked.body)
        return Answer(200, written(self.account.update(record, properties, strictly=asked.is_strict), properties))

    def _upsert(self, asked: Asked) -> Answer:
        refuse_twins(asked.inputs)
        return self._batch(asked, self._upsert_one)

    def _upsert_one(self, asked: Asked, row: Told) -> Told:
        """By a unique value, create or update; by HubSpot's own id only update."""
        kind, name, properties = asked.parts["kind"], row.get("idProperty") or "hs_object_id", texts_of(row)
        if name == "hs_object_id":
            found: Record | None = self.account.find(kind, row["id"])
        else:
            found = self.account.by_value(kind, name, row["id"])
        is_new = found is None
        if found is None:
            properties = {**properties, name: row["id"]}
            found = self.account.create(kind, properties, [], strictly=asked.is_strict)
        else:
            self.account.update(found, properties, strictly=asked.is_strict)
        return {**written(found, properties), "new": is_new}

    def _batch_create(self, asked: Asked) -> Answer:
        return self._batch(asked, self._new, status=201)

    def _batch_update(self, asked: Asked) -> Answer:
        refuse_twins(asked.inputs)
        return self._batch(asked, self._update_one)

    def _new(self, asked: Asked, row: Told) -> Told:
        properties, associations = texts_of(row), checked_associations(row)
        record = self.account.create(asked.parts["kind"], properties, associations, strictly=asked.is_strict)
        return written(record, properties)

    def _update_one(self, asked: Asked, row: Told) -> Told:
        properties = texts_of(row)
        record = self.account.find(asked.parts["kind"], row["id"], row.get("idProperty"))
        return written(self.account.update(record, properties, strictly=asked.is_strict), properties)

    def _batch_read(self, asked: Asked) -> Answer:
        kind, by = asked.parts["kind"], asked.body.get("idProperty")
        names = self._known(kind, asked.body.get("properties") or [])
        results, missing = [], []
        for object_id in ids_of(asked.inputs):
            try:
                results.append(self.account.find(kind, object_id, by).told(names))
            except Refused as refused:
                if refused.status != 404:
                    raise
                missing.append(object_id)
        message = f"Could not get some {KINDS[kind].singular} objects, they may be deleted or not exist."
        gone = Refused(404, "OBJECT_NOT_FOUND", message, context={"ids": missing})
        return self._batch_answer(asked, results, [gone.as_row(None)] if missing else [])

    def _batch(self, asked: Asked, one: Callable[[Asked, Told], Told], *, status: int = 200) -> Answer:
        """Input for input, if each has an `objectWriteTraceId`; else all or none.

        Documented for the batch create, assumed for the others: without trace ids one bad input is a 400 for the whole.
        """
        rows = asked.inputs
        is_partial = all("objectWriteTraceId" in row for row in rows)
        before = (
            None
            if is_partial
            else {name: {key: list(r.versions) for key, r in of.items()} for name, of in self.account.objects.items()}
        )
        associations = set(self.account.associations)
        results, errors = [], []
        for row in rows:
            trace = {"objectWriteTraceId": row["objectWriteTraceId"]} if "objectWriteTraceId" in row else {}
            try:
                results.append({**one(asked, row), **trace})
            except Refused as refused:
                if before is not None:
                    self._put_back(before, associations)
                    raise
                errors.append(refused.as_row(row["objectWriteTraceId"]))
        return self._batch_answer(asked, results, errors, status=status)

    def _put_back(self, before: dict[str, dict[str, Any]], associations: set[tuple[str, str, str, str]]) -> None:
        for name, records in self.account.objects.items():
            for key in [key for key in records if key not in before[name]]:
                del records[key]
            for key, record in records.items():
                record.versions = before[name][key]
        self.account.associations = associations

    def _batch_answer(self, asked: Asked, results: list[Told], errors: list[Told], *, status: int = 200) -> Answer:
        """With errors 207 in 2026-03; in 2026-09 the status of success, and who reads no further misses them."""
        now = iso(self.account.clock())
        told: Told = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
        if not errors:
            return Answer(status, told)
        return Answer(
            207 if asked.version == "2026-03" else status, {**told, "numErrors": len(errors), "errors": errors}
        )

    # --- associations ------------------------------------------------------------------------------------------------

    def _associate(self, asked: Asked) -> Answer:
        parts = asked.parts
        return self._batch_answer(
            asked, self.account.associate(parts["kind"], parts["id"], parts["to"], parts["to_id"]), []
        )

    def _batch_associate(self, asked: Asked) -> Answer:
        results, errors = [], []
        for row in asked.inputs:
            try:
                ends = row["from"]["id"], row["to"]["id"]
                results += self.account.associate(asked.parts["kind"], ends[0], asked.parts["to"], ends[1])
            except KeyError as missing:
                raise invalid(f"Invalid input JSON: {missing} is required") from None
            except Refused as refused:
                errors.append(refused.as_row(None))
        told = self._batch_answer(asked, results, errors)
        return Answer(200, told.body)  # its one status in the contract, which has no 207 for it

    def _associations(self, asked: Asked) -> Answer:
        """Gone from the document of 2026-09; that it answers 404 there is assumed, so that nobody relies on it."""
        if asked.version != "2026-03":
            raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
        kind, to = asked.parts["kind"], asked.parts["to"]
        record = self.account.find(kind, asked.parts["id"])
        found = self.account.linked(kind, record.id, to)
        start, limit = int(asked.query.get("after", "0")), int(asked.query.get("limit", "500"))
        types = [{"category": "HUBSPOT_DEFINED", "typeId": type_id(kind, to)}]
        told: Told = {"results": [{"toObjectId": o, "associationTypes": types} for o in found[start : start + limit]]}
        if start + limit < len(found):
            told["paging"] = {"next": {"after": str(start + limit)}}
        return Answer(200, told)

    # --- properties --------------------------------------------------------------------------------------------------

    def _known(self, kind: str, names: list[str]) -> list[str]:
        """Names that do not exist are left out of an answer, not refused (documented)."""
        return [name for name in names if name in self.account.properties[kind]]

    def _list_properties(self, asked: Asked) -> Answer:
        return Answer(
            200, {"results": [found.told() for found in self.account.properties[asked.parts["kind"]].values()]}
        )

    def _get_property(self, asked: Asked) -> Answer:
        found = self.account.properties[asked.parts["kind"]].get(asked.parts["name"])
        if found is None:
            raise not_found(asked.parts["name"])
        return Answer(200, found.told())

    def _read_properties(self, asked: Asked) -> Answer:
        known = self.account.properties[asked.parts["kind"]]
        names = [str(row.get("name")) for row in asked.inputs]
        missing = [not_found(name).as_row(None) for name in names if name not in known]
        return self._batch_answer(asked, [known[name].told() for name in names if name in known], missing)

    def _create_property(self, asked: Asked) -> Answer:
        kind = asked.parts["kind"]
        known = self.account.properties[kind]
        unique = sum(found.is_unique and found.is_ours for found in known.values())
        created = own_property(asked.body, self.account.groups[kind], unique)
        if created.name in known:
            raise Refused(409, "OBJECT_ALREADY_EXISTS", f"A property named '{created.name}' already exists.")
        known[created.name] = created
        return Answer(201, created.told())

    def _list_groups(self, asked: Asked) -> Answer:
        groups = self.account.groups[asked.parts["kind"]]
        return Answer(200, {"results": [group_told(name, label) for name, label in groups.items()]})

    def _create_group(self, asked: Asked) -> Answer:
        groups, name, label = self.account.groups[asked.parts["kind"]], asked.body.get("name"), asked.body.get("label")
        if not isinstance(name, str) or not isinstance(label, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise invalid("A property group needs a name of lower case letters, digits and underscores, and a label")
        if name in groups:
            raise Refused(409, "OBJECT_ALREADY_EXISTS", f"A property group named '{name}' already exists.")
        groups[name] = label
        return Answer(201, group_told(name, label))


def group_told(name: str, label: str) -> Told:
    return {"name": name, "label": label, "archived": False, "displayOrder": -1}


def written(record: Record, properties: Properties) -> Told:
    """A record as a write answers it: what was written and what is always shown (assumed)."""
    return record.told(properties)


def check_body(asked: Asked) -> None:
    if not asked.headers.get("content-type", "").startswith("application/json"):
        raise Refused(415, "VALIDATION_ERROR", "Unsupported Media Type: the body must be application/json")
    if not isinstance(asked.body, dict):
        raise invalid("Invalid input JSON on line 1, column 1: an object is wanted")


def texts_of(asked: Told) -> Properties:
    """The `properties` of a write, all texts (contract). That a number is refused, not turned into one, is assumed."""
    found = asked.get("properties")
    if not isinstance(found, dict):
        raise invalid("Invalid input JSON: properties must be an object", context={"propertyName": ["properties"]})
    for name, value in found.items():
        if not isinstance(value, str):
            message = f"Invalid input JSON: Cannot deserialize value of type `java.lang.String` of properties.{name}"
            raise invalid(message, context={"propertyName": [name]})
    return dict(found)


def checked_associations(asked: Told) -> list[Told]:
    """Of a new record: to what, and by which types."""
    found: list[Told] = asked.get("associations") or []
    for association in found:
        if not isinstance(association.get("to", {}).get("id"), str) or not association.get("types"):
            raise invalid("Invalid input JSON: an association needs to.id, a text, and types")
    return found


def refuse_twins(rows: list[Told]) -> None:
    """A batch that has one record twice is refused as a whole (assumed)."""
    ids = ids_of(rows)
    twins = sorted({found for found in ids if ids.count(found) > 1})
    if twins:
        raise invalid(f"Duplicate IDs found in batch input: {twins}", context={"ids": twins})


def ids_of(rows: list[Told]) -> list[str]:
    ids = [row.get("id") for row in rows]
    found = [one for one in ids if isinstance(one, str) and one]
    if len(found) < len(ids):
        raise invalid("Invalid input JSON: each input needs an id, a text")
    return found
