"""The named questions about what is known: events to route, objects under lock, transitions that happened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Row, bindparam, exists, select, update

from callrail.kinds import FAMILY, Family, Kind
from callrail.payload import Fields, id_text, object_id
from receiver.bulk import BulkInsert, BulkQuery, BulkUpdate
from receiver.columns import fixed
from receiver.ids import Prefix, new_id
from receiver.schema import EventState, events
from routers.lifecycle import Newest, Object, Outcome, Source, Stage
from routers.schema import TransitionState, objects, transitions, versions
from routers.transitions import Transition


class ObjectKey(NamedTuple):
    """Which object of CallRail's: the company it belongs to, its sort and CallRail's id. Sorts in locking order."""

    company: str
    type: str
    object_id: str


_TYPES = {
    Family.CALL: "call",
    Family.TEXT: "text",
    Family.FORM: "form",
    Family.ASSIST: "assist",
    Family.UNKNOWN: "unknown",
}


def identity_of(kind: Kind, fields: Fields, event_id: str) -> tuple[str, str]:
    """The type of what *fields* tell of, and CallRail's id of it. Where it tells none each event is its own object."""
    match kind:
        case Kind.UNKNOWN:
            return "unknown", event_id
        case Kind.VOICE_ASSIST:  # tells of the call that the assistant took
            return "call", id_text(fields.get("call_id")) or event_id
        case Kind.CONVERT_ASSIST:  # one call or text may be looked at more than once
            about = id_text(fields.get("last_interaction_resource_id"))
            looked = f"{about}:{fields.get('timestamp')}:{fields.get('interaction_count')}"
            return "assist", (id_text(looked) if about else None) or event_id
        case _:
            return _TYPES[FAMILY[kind]], object_id(fields) or event_id


@dataclass(slots=True)
class TransitionRow:
    """A transition about to be stored."""

    id: str
    object_id: str
    company: str
    name: Transition
    event_id: str
    occurred_at: datetime
    created_at: datetime
    state: TransitionState
    version: int
    details: dict[str, Any] | None = None
    rules_hash: str | None = None
    verdicts: dict[str, str] | None = None
    reason: str | None = None
    n: int = 0
    due_at: datetime | None = None
    order_key: str | None = None


# --- events ----------------------------------------------------------------------------------------------------------

_received = (
    select(
        events.c.id,
        events.c.company,
        events.c.kind,
        events.c.origin,
        events.c.received_at,
        events.c.content_type,
        events.c.body,
        events.c.sha256,
        events.c.attempts,
        events.c.key_fingerprint,
    )
    .where(events.c.state == fixed(EventState.RECEIVED))
    .order_by(events.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_mark_routed = BulkUpdate(
    events, events.c.state, events.c.object_id, events.c.repeat_of, events.c.reason, key=[events.c.id]
)


def claim_received(conn: Connection, *, limit: int) -> Sequence[Any]:
    """Up to *limit* events that wait to be routed, oldest first, locked until the transaction ends."""
    return list(conn.execute(_received, {"limit": limit}))


def mark_routed(conn: Connection, rows: Sequence[tuple[str, str | None, str | None, str]]) -> None:
    """Events are routed: rows of (object, event it repeats, reason, event)."""
    _mark_routed(conn, [(EventState.ROUTED, *row) for row in rows])


def record_failure(conn: Connection, event_id: str, *, attempts: int, reason: str, final: bool) -> None:
    """An event could not be routed, for the *attempts*-th time; a *final* one waits no longer."""
    state = EventState.FAILED if final else EventState.RECEIVED
    conn.execute(
        update(events)
        .where(events.c.id == event_id, events.c.state == fixed(EventState.RECEIVED))
        .values(attempts=attempts, reason=reason, state=state.value)
    )


# --- objects ---------------------------------------------------------------------------------------------------------

_insert_objects = BulkInsert(objects, *(column for column in objects.c if column is not objects.c.erased_at))
_update_objects = BulkUpdate(
    objects,
    objects.c.stage,
    objects.c.outcome,
    objects.c.outcome_event,
    objects.c.outcome_kind,
    objects.c.version,
    objects.c.sources,
    objects.c.newest,
    objects.c.told,
    objects.c.matched,
    objects.c.updated_at,
    key=[objects.c.id],
)
_insert_versions = BulkInsert(versions, *versions.c)
_LOCKED = (
    *("id", "company", "type", "object_id", "stage", "outcome", "outcome_event", "outcome_kind", "version"),
    *("sources", "newest", "told", "matched", "erased_at"),
)
_WAITS = f"SELECT 1 FROM transitions AS t WHERE t.object_id = o.id AND t.state = '{TransitionState.WAITING}'"  # noqa: S608
# CROSS JOIN, in which SQLite keeps the order: each key is one search of the index.
_lock_objects = BulkQuery(
    f"""SELECT {", ".join(f"o.{name}" for name in _LOCKED)}, v.fields, ({_WAITS} LIMIT 1) IS NOT NULL AS waits
    FROM {{given}} CROSS JOIN objects AS o CROSS JOIN versions AS v
    WHERE o.company = given.company AND o.type = given.type AND o.object_id = given.object_id
    AND v.object_id = o.id AND v.version = o.version
    ORDER BY o.company, o.type, o.object_id""",  # noqa: S608  (words of our own)
    objects.c.company,
    objects.c.type,
    objects.c.object_id,
    locks="o",
)


class ObjectTaken(Exception):
    """Another worker made the same object meanwhile. Nothing is stored; taken again, the batch finds it."""


@dataclass(slots=True)
class Held:
    """An object under this transaction's lock.

    *stored*: its version in the store, 0 while it has no row. *erased*: its person asked for it, and nothing is to be
    known of it again. *waits*: a transition of it waits for look-ups, and later ones wait behind it.
    """

    id: str
    stored: int
    object: Object
    matched: bool = False
    changed: bool = False
    erased: bool = False
    waits: bool = False
    versions: list[tuple[str, Object]] = field(default_factory=list)

    def become(self, changed: Object, event_id: str) -> None:
        """The object is *changed*, by the event *event_id*."""
        if changed.version > self.object.version:
            self.versions.append((event_id, changed))
        self.object, self.changed = changed, True


def lock_objects(conn: Connection, keys: Iterable[ObjectKey]) -> dict[ObjectKey, Held]:
    """The objects of *keys*, locked until the transaction ends; those that nobody knows yet are new and empty.

    They are locked in key order, so that two workers wait for each other and never deadlock. It is this lock, not a
    lease, that makes concurrent routing of one call safe. New ones cannot be locked: `save_objects` finds out.
    """
    wanted = sorted(set(keys))
    rows = {ObjectKey(row.company, row.type, row.object_id): row for row in _lock_objects(conn, wanted)}
    return {key: _held(rows.get(key)) for key in wanted}


def save_objects(conn: Connection, held: Mapping[ObjectKey, Held], *, now: datetime) -> None:
    """Store what changed: the objects' rows, and each new version.

    Raises:
        ObjectTaken: One of the new ones is no longer new.
    """
    new = [(item.id, *key, *_values(item), now, now) for key, item in held.items() if _is_new(item)]
    if _insert_objects(conn, new) < len(new):
        raise ObjectTaken
    known = [(*_values(item), now, item.id) for item in held.values() if item.changed and not _is_new(item)]
    _update_objects(conn, known)
    _insert_versions(conn, [_version(item.id, *version) for item in held.values() for version in item.versions])


def _is_new(item: Held) -> bool:
    """Whether it needs a row: of one whose events all failed nothing is known."""
    return item.stored == 0 and item.changed


def _held(row: Row[Any] | None) -> Held:
    if row is None:
        return Held(new_id(Prefix.OBJECT), 0, Object())
    erased = row.erased_at is not None
    return Held(row.id, row.version, _object_of(row), matched=bool(row.matched), erased=erased, waits=bool(row.waits))


def _values(item: Held) -> tuple[Any, ...]:
    obj = item.object
    decided_by = obj.outcome_source or (None, None)
    return (
        obj.stage.name.lower(),
        obj.outcome,
        *decided_by,
        obj.version,
        _grouped(obj),
        {kind: [*newest] for kind, newest in obj.newest.items()},
        sorted(obj.told),
        item.matched,
    )


def _version(object_id: str, event_id: str, obj: Object) -> tuple[Any, ...]:
    return (object_id, obj.version, event_id, obj.stage.name.lower(), obj.outcome, obj.fields)


def _grouped(obj: Object) -> dict[str, list[Any]]:
    """The sources as stored: each event once, with its kind and the names it told."""
    grouped: dict[Source, list[str]] = {}
    last, names = None, []
    for name, source in obj.sources.items():
        if source is not last:  # in runs: one event tells many fields
            last, names = source, grouped.setdefault(source, [])
        names.append(name)
    return {source.event_id: [source.kind, names] for source, names in grouped.items()}


def _object_of(row: Row[Any]) -> Object:
    return Object(
        stage=Stage[row.stage.upper()],
        outcome=Outcome(row.outcome) if row.outcome else None,
        outcome_source=Source(row.outcome_event, row.outcome_kind) if row.outcome_event else None,
        version=row.version,
        fields=orjson.loads(row.fields),
        sources={
            name: source
            for event_id, (kind, names) in orjson.loads(row.sources).items()
            for source in [Source(event_id, kind)]
            for name in names
        },
        newest={
            kind: Newest(event_id, sha256, *map(tuple, older))
            for kind, (event_id, sha256, *older) in orjson.loads(row.newest).items()
        },
        told=frozenset(orjson.loads(row.told)),
    )


# --- transitions -----------------------------------------------------------------------------------------------------

_insert_transitions = BulkInsert(
    transitions,
    transitions.c.id,
    transitions.c.object_id,
    transitions.c.company,
    transitions.c.name,
    transitions.c.n,
    transitions.c.event_id,
    transitions.c.occurred_at,
    transitions.c.created_at,
    transitions.c.state,
    transitions.c.version,
    transitions.c.details,
    transitions.c.rules_hash,
    transitions.c.verdicts,
    transitions.c.reason,
    transitions.c.due_at,
    transitions.c.order_key,
)


def insert_transitions(conn: Connection, rows: Iterable[TransitionRow]) -> None:
    """Store what happened."""
    _insert_transitions(
        conn,
        [
            (
                row.id,
                row.object_id,
                row.company,
                row.name,
                row.n,
                row.event_id,
                row.occurred_at,
                row.created_at,
                row.state,
                row.version,
                row.details,
                row.rules_hash,
                row.verdicts,
                row.reason,
                row.due_at,
                row.order_key,
            )
            for row in rows
        ],
    )


# What waits for look-ups holds back what is about the same person for so long; what is of the same object, until it is
# decided.
HOLDS_BACK = timedelta(minutes=2)
# With the constant written out, as the partial indexes have it.
is_waiting = transitions.c.state == fixed(TransitionState.WAITING)
_anything_waits = select(exists().where(is_waiting))
_order_key_waits = select(
    exists().where(
        is_waiting, transitions.c.order_key == bindparam("order_key"), transitions.c.created_at > bindparam("since")
    )
)


def anything_waits(conn: Connection) -> bool:
    """Whether a transition of any object waits for look-ups."""
    return bool(conn.execute(_anything_waits).scalar())


def order_key_waits(conn: Connection, order_key: str, now: datetime) -> bool:
    """Whether a transition about the one whom *order_key* names waits for look-ups, and holds back what comes later."""
    return bool(conn.execute(_order_key_waits, {"order_key": order_key, "since": now - HOLDS_BACK}).scalar())
