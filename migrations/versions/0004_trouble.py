"""the operator's day: heartbeats, timers, replays, erased numbers, an audit, and alarms as events

Expands only: what the version before does not know it neither reads nor must fill.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")

BODY_BEFORE = "as it arrived, never rewritten"
BODY = "as it arrived; emptied by retention or erasure, never rewritten"
ORIGINS_BEFORE = "origin in ('webhook', 'api', 'simulated')"
ORIGINS = "origin in ('webhook', 'api', 'simulated', 'router')"

RARE = {
    "ix_events_failed": ("events", ["id"], "state = 'failed'"),
    "ix_events_repeats": ("events", ["id"], "repeat_of IS NOT NULL"),
    "ix_deliveries_retryable": (
        "deliveries",
        ["id", "sink", "state"],
        "state IN ('dead', 'uncertain', 'expired', 'cancelled')",
    ),
}


def upgrade() -> None:
    _allow_origins(ORIGINS_BEFORE, ORIGINS)
    _instances()
    _timers()
    _replays()
    _privacy()
    _quarantine()
    _quick_reads()
    _alarms()


def downgrade() -> None:
    for name, (table, _columns, _where) in RARE.items():
        op.drop_index(name, table)
    _quarantine_before()
    op.execute("DELETE FROM events WHERE origin = 'router'")
    op.drop_index("ix_deliveries_dead", "deliveries")
    for table in ("alarms", "audit", "retention", "erased", "replay_items", "replays", "timers", "instances"):
        op.drop_table(table)
    op.drop_index("ix_deliveries_replay", "deliveries")
    op.drop_column("deliveries", "replay")
    op.drop_column("objects", "erased_at")
    _comment_on_bodies(BODY, BODY_BEFORE)
    _allow_origins(ORIGINS, ORIGINS_BEFORE)


def _allow_origins(before: str, after: str) -> None:
    """Change the check on `events.origin` without rewriting the table, which may hold years of bodies."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint("ck_events_origin", "events")
        op.execute(f"ALTER TABLE events ADD CONSTRAINT ck_events_origin CHECK ({after}) NOT VALID")
        op.execute("ALTER TABLE events VALIDATE CONSTRAINT ck_events_origin")  # reads it all, but stops no writer
        return
    # The way SQLite's documentation gives for changes that leave what is stored as it is (lang_altertable.html, 7).
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE type = 'table' AND name = 'events' AND instr(sql, :before) > 0"
        ),
        {"before": before, "after": after},
    )
    if changed.rowcount != 1:
        raise RuntimeError("the table events does not look as the versions before left it")
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("id", ID, nullable=False),
        sa.Column("role", ID, nullable=False, comment="all, intake, dispatch"),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", ID, nullable=False, comment="of the program"),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("seen_at", INSTANT, nullable=False, comment="its last heartbeat"),
        sa.Column(
            "spooled", sa.Integer(), nullable=False, server_default="0", comment="webhooks that wait in its spool"
        ),
        sa.Column("spooling_since", INSTANT, nullable=True, comment="since when it takes webhooks into its spool"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
    )


def _timers() -> None:
    op.create_table(
        "timers",
        sa.Column("purpose", ID, nullable=False),
        sa.Column("subject", ID, nullable=False, comment="what it is about; empty for a job of the whole installation"),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("lease_until", INSTANT, nullable=True, comment="whoever does it has until then"),
        sa.PrimaryKeyConstraint("purpose", "subject", name="pk_timers"),
    )
    op.create_index("ix_timers_due_at", "timers", ["due_at"])


def _replays() -> None:
    op.add_column(
        "deliveries",
        sa.Column("replay", ID, nullable=True, comment="replays.id of the replay that made it or took it up again"),
    )
    is_replayed = sa.text("replay IS NOT NULL")
    op.create_index(
        "ix_deliveries_replay",
        "deliveries",
        ["replay", "state"],
        sqlite_where=is_replayed,
        postgresql_where=is_replayed,
    )
    op.create_table(
        "replays",
        sa.Column("id", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("selection", sa.Text(), nullable=False, comment="what was asked for"),
        sa.Column("options", sa.Text(), nullable=False, comment="routing, again, to_people, rate"),
        sa.Column("summary", sa.Text(), nullable=False, comment="what the plan found"),
        sa.Column("next_item", sa.Integer(), nullable=False, server_default="0", comment="replay_items.n of the next"),
        sa.Column("due_at", INSTANT, nullable=True, comment="when its rate lets the next go"),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it stands where it stands"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.CheckConstraint(
            "state in ('planning', 'planned', 'running', 'paused', 'done', 'cancelled')", name=op.f("ck_replays_state")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_replays"),
    )
    running = sa.text("state = 'running'")
    op.create_index("ix_replays_running", "replays", ["id"], sqlite_where=running, postgresql_where=running)
    op.create_table(
        "replay_items",
        sa.Column("replay_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("transition_id", ID, nullable=False),
        sa.Column("delivery_id", ID, nullable=True, comment="the one to take up again; null for one to be made"),
        sa.Column(
            "new",
            sa.Text(),
            nullable=True,
            comment="the delivery to be made: key, rule, send, template, generation, ...",
        ),
        sa.Column("sink", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it is left out"),
        sa.CheckConstraint("state in ('waiting', 'queued', 'skipped')", name=op.f("ck_replay_items_state")),
        sa.ForeignKeyConstraint(["replay_id"], ["replays.id"], name="fk_replay_items_replay_id"),
        sa.PrimaryKeyConstraint("replay_id", "n", name="pk_replay_items"),
    )


def _privacy() -> None:
    _comment_on_bodies(BODY_BEFORE, BODY)
    op.add_column(
        "objects",
        sa.Column("erased_at", INSTANT, nullable=True, comment="when it was emptied because its person asked for it"),
    )
    op.create_table(
        "erased",
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="keyed, of the phone number"),
        sa.Column("erased_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_erased"),
    )
    op.create_table(
        "retention",
        sa.Column("kind", ID, nullable=False, comment="what is removed: bodies, transcripts, numbers"),
        sa.Column("done_to", ID, nullable=False, comment="events.id up to which it is removed"),
        sa.Column("begun_at", INSTANT, nullable=False, comment="when it began at the oldest"),
        sa.PrimaryKeyConstraint("kind", name="pk_retention"),
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="who, as the system knows them"),
        sa.Column("action", ID, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )


def _quarantine() -> None:
    op.add_column(
        "quarantine",
        sa.Column("bytes", sa.Integer(), nullable=True, comment="of body and headers: how much of its bucket it takes"),
    )
    op.add_column(
        "quarantine",
        sa.Column(
            "tried_with",
            sa.Text(),
            nullable=True,
            comment="mark of the company's settings with which it was last found unproved",
        ),
    )
    op.execute("UPDATE quarantine SET bytes = length(body) + length(headers)")
    op.create_index(
        "ix_quarantine_company_reason_id_bytes", "quarantine", ["company", "reason", "id", "bytes"], unique=False
    )
    op.create_index("ix_quarantine_company_tried_with", "quarantine", ["company", "tried_with"], unique=False)
    unknown = sa.text("reason = 'company_unknown'")
    op.create_index(
        "ix_quarantine_unknown", "quarantine", ["id", "bytes"], sqlite_where=unknown, postgresql_where=unknown
    )
    op.create_table(
        "key_uses",
        sa.Column("company", ID, nullable=False),
        sa.Column("fingerprint", ID, nullable=False, comment="of a signing key, never the key"),
        sa.Column("last_used_at", INSTANT, nullable=False, comment="when the newest event it signed was received"),
        sa.PrimaryKeyConstraint("company", "fingerprint", name="pk_key_uses"),
    )
    # Once over all that is stored: a key that is in use must not look as if it never had been.
    op.execute(
        "INSERT INTO key_uses (company, fingerprint, last_used_at) SELECT company, key_fingerprint, max(received_at) "
        "FROM events WHERE key_fingerprint IS NOT NULL GROUP BY company, key_fingerprint"
    )


def _quarantine_before() -> None:
    op.drop_table("key_uses")
    for index in ("unknown", "company_tried_with", "company_reason_id_bytes"):
        op.drop_index(f"ix_quarantine_{index}", "quarantine")
    op.drop_column("quarantine", "tried_with")
    op.drop_column("quarantine", "bytes")


def _comment_on_bodies(before: str, after: str) -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        op.alter_column("events", "body", comment=after, existing_comment=before)


def _quick_reads() -> None:
    """Indexes over rare rows alone, which cost nothing where all is well."""
    for name, (table, columns, condition) in RARE.items():
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("name", ID, nullable=False, comment="of the trouble, like router.sink_down"),
        sa.Column("type", ID, nullable=False, comment="what the subject is: sink, routing, host, source"),
        sa.Column("subject", ID, nullable=False, comment="the sink, the host, the company, or routing"),
        sa.Column("n", sa.Integer(), nullable=False, server_default="0", comment="how often it was raised"),
        sa.Column("raised_at", INSTANT, nullable=True, comment="when it was raised last"),
        sa.Column(
            "since",
            INSTANT,
            nullable=True,
            comment="since when there is the trouble that was raised; null when there is none",
        ),
        sa.Column("found_at", INSTANT, nullable=True, comment="when this trouble was first seen, raised or not"),
        sa.Column(
            "fine_at",
            INSTANT,
            nullable=True,
            comment="since when nothing more is seen of it; null while it goes on",
        ),
        sa.Column(
            "seen",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="how many were counted, where a count is told",
        ),
        sa.PrimaryKeyConstraint("name", "type", "subject", name="pk_alarms"),
    )
    dead = sa.text("state IN ('dead', 'uncertain')")
    op.create_index(
        "ix_deliveries_dead", "deliveries", ["sink", "finished_at"], sqlite_where=dead, postgresql_where=dead
    )
