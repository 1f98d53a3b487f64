"""versions of objects: what was known after each event, once, instead of a copy with each transition

And what the rules know by now: a reason for each transition that tells nobody, templates, expiry, told time zones.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "versions",
        sa.Column("object_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", ID, nullable=False, comment="events.id of the event that made it"),
        sa.Column("stage", ID, nullable=False),
        sa.Column("outcome", ID, nullable=True),
        sa.Column("fields", sa.Text(), nullable=False, comment="merged"),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name=op.f("fk_versions_object_id")),
        sa.PrimaryKeyConstraint("object_id", "version", name=op.f("pk_versions")),
    )
    op.add_column(
        "transitions",
        sa.Column(
            "version",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="the object's version it belongs to",
        ),
    )
    op.add_column(
        "transitions",
        sa.Column(
            "details", sa.Text(), nullable=True, comment="what the version does not tell: what changed, from what"
        ),
    )
    op.add_column(
        "transitions",
        sa.Column("reason", sa.Text(), nullable=True, comment="why nobody is told of it; null when somebody is"),
    )
    op.add_column("deliveries", sa.Column("template", ID, nullable=True, comment="null for the transition's own"))
    op.add_column(
        "deliveries", sa.Column("expires_at", INSTANT, nullable=True, comment="after it nobody wants to hear of it")
    )
    op.create_table(
        "time_zones",
        sa.Column("company", ID, nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False, comment="the newest that a call of the company told"),
        sa.PrimaryKeyConstraint("company", name=op.f("pk_time_zones")),
    )
    op.add_column(
        "objects",
        sa.Column("outcome_kind", ID, nullable=True, comment="that event's kind: a better source may revise it"),
    )
    op.add_column(
        "objects",
        sa.Column(
            "matched", sa.Boolean(), nullable=False, server_default=sa.false(), comment="a rule has spoken of it"
        ),
    )
    op.execute("UPDATE objects SET matched = true WHERE id IN (SELECT object_id FROM deliveries)")
    op.execute("UPDATE objects SET outcome_kind = (SELECT kind FROM events WHERE events.id = objects.outcome_event)")
    op.create_index(
        "ix_deliveries_expiring",
        "deliveries",
        ["expires_at"],
        sqlite_where=sa.text("state = 'pending' AND expires_at IS NOT NULL"),
        postgresql_where=sa.text("state = 'pending' AND expires_at IS NOT NULL"),
    )
    # One version for each event that brought something about, in the order of the events, and then the present one.
    op.execute(
        "UPDATE transitions SET version = ranked.version FROM (SELECT id, dense_rank() OVER (PARTITION BY object_id"
        " ORDER BY event_id) AS version FROM transitions) AS ranked WHERE ranked.id = transitions.id"
    )
    op.execute(
        "INSERT INTO versions (object_id, version, event_id, stage, outcome, fields)"
        " SELECT transitions.object_id, transitions.version, transitions.event_id,"
        " CASE transitions.name WHEN 'call.ringing' THEN 'ringing' WHEN 'call.routed' THEN 'routed'"
        " ELSE objects.stage END,"
        " CASE WHEN transitions.name IN ('call.ringing', 'call.routed') THEN NULL ELSE objects.outcome END,"
        " transitions.snapshot FROM transitions JOIN objects ON objects.id = transitions.object_id"
        " WHERE transitions.id IN (SELECT min(id) FROM transitions GROUP BY object_id, version)"
    )
    op.execute(
        "UPDATE objects SET version = 1 + coalesce((SELECT max(version) FROM transitions"
        " WHERE transitions.object_id = objects.id), 0)"
    )
    op.execute(
        "INSERT INTO versions (object_id, version, event_id, stage, outcome, fields)"
        " SELECT id, version, coalesce(outcome_event, id), stage, outcome, fields FROM objects"
    )
    op.drop_column("transitions", "snapshot")
    op.drop_column("objects", "fields")


def downgrade() -> None:
    op.add_column("objects", sa.Column("fields", sa.Text(), nullable=False, server_default="{}", comment="merged"))
    op.add_column(
        "transitions",
        sa.Column(
            "snapshot", sa.Text(), nullable=False, server_default="{}", comment="the object's fields at that moment"
        ),
    )
    op.execute(
        "UPDATE objects SET fields = (SELECT fields FROM versions WHERE versions.object_id = objects.id"
        " AND versions.version = objects.version)"
    )
    op.execute(
        "UPDATE transitions SET snapshot = (SELECT fields FROM versions WHERE versions.object_id ="
        " transitions.object_id AND versions.version = transitions.version)"
    )
    op.drop_table("time_zones")
    op.drop_column("objects", "matched")
    op.drop_column("objects", "outcome_kind")
    op.drop_index("ix_deliveries_expiring", "deliveries")
    op.drop_column("deliveries", "expires_at")
    op.drop_column("deliveries", "template")
    op.drop_column("transitions", "reason")
    op.drop_column("transitions", "details")
    op.drop_column("transitions", "version")
    op.drop_table("versions")
