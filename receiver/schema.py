"""The tables of the receiver: what came in, proved and unproved."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from receiver.columns import Id, Instant, Json

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class EventState(StrEnum):
    """How far an event is: stored, understood and routed, or given up with an alarm."""

    RECEIVED = "received"
    ROUTED = "routed"
    FAILED = "failed"


class Origin(StrEnum):
    """Who told us: CallRail by webhook, CallRail's API when asked, or ourselves, for a trial or as an alarm."""

    WEBHOOK = "webhook"
    API = "api"
    SIMULATED = "simulated"
    ROUTER = "router"


class QuarantineReason(StrEnum):
    """Why a request could not be believed."""

    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_WRONG = "signature_wrong"
    COMPANY_UNKNOWN = "company_unknown"
    COMPANY_MISMATCH = "company_mismatch"


def one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    """The database's own list of a column's states, so that no hand-written statement can invent one."""
    allowed = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"{column} in ({allowed})", name=column)


def waiting_index(name: str, *columns: Column[object], where: object) -> Index:
    """A partial index over the rows that wait for something: its size does not grow with history."""
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("company", Id, nullable=False),
    Column("kind", Id, nullable=False, comment="as the URL path named it"),
    Column("origin", Id, nullable=False),
    Column("state", Id, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("headers", Json, nullable=False, comment="those worth keeping; never the signature"),
    Column("body", LargeBinary, nullable=False, comment="as it arrived, never rewritten"),
    Column("sha256", LargeBinary, nullable=False),
    Column("key_fingerprint", Text, comment="of the signing key that matched; null when none was asked for"),
    Column("object_id", Id, comment="objects.id, once routed"),
    Column("repeat_of", Id, comment="events.id of the equal event before this one"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="failed tries to route it"),
    Column("reason", Text, comment="why it failed, or what was odd about it"),
    one_of("state", EventState),
    one_of("origin", Origin),
)
waiting_index("ix_events_received", events.c.id, where=events.c.state == EventState.RECEIVED.value)
waiting_index("ix_events_failed", events.c.id, where=events.c.state == EventState.FAILED.value)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Id, primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("company", Id, nullable=False, comment="as the URL path named it; perhaps no company of ours"),
    Column("kind", Id, nullable=False),
    Column("reason", Id, nullable=False),
    Column("signature", Text, comment="as given, so that it can be verified once the key is known"),
    Column("content_type", Text, nullable=False),
    Column("headers", Json, nullable=False),
    Column("body", LargeBinary, nullable=False),
    one_of("reason", QuarantineReason),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Id, primary_key=True),
    Column("role", Id, nullable=False, comment="all, intake, dispatch"),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Id, nullable=False, comment="of the program"),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False, comment="its last heartbeat"),
    Column("spooled", Integer, nullable=False, server_default="0", comment="webhooks that wait in its spool"),
    Column("spooling_since", Instant, comment="since when it takes webhooks into its spool"),
)
