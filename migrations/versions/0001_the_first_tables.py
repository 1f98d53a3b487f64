"""the first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", ID, nullable=False),
        sa.Column("delivery_id", ID, nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("outcome", ID, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_delivery_id", "attempts", ["delivery_id"])

    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("company", ID, nullable=False),
        sa.Column("kind", ID, nullable=False, comment="as the URL path named it"),
        sa.Column("origin", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False, comment="those worth keeping; never the signature"),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="as it arrived, never rewritten"),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "key_fingerprint",
            sa.Text(),
            nullable=True,
            comment="of the signing key that matched; null when none was asked for",
        ),
        sa.Column("object_id", ID, nullable=True, comment="objects.id, once routed"),
        sa.Column("repeat_of", ID, nullable=True, comment="events.id of the equal event before this one"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False, comment="failed tries to route it"),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it failed, or what was odd about it"),
        sa.CheckConstraint("origin in ('webhook', 'api', 'simulated')", name=op.f("ck_events_origin")),
        sa.CheckConstraint("state in ('received', 'routed', 'failed')", name=op.f("ck_events_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(
        "ix_events_received",
        "events",
        ["id"],
        sqlite_where=sa.text("state = 'received'"),
        postgresql_where=sa.text("state = 'received'"),
    )

    op.create_table(
        "lanes",
        sa.Column("sink", ID, nullable=False),
        sa.Column("paused_until", INSTANT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it is paused"),
        sa.Column("failures", sa.Integer(), nullable=False, comment="in a row"),
        sa.PrimaryKeyConstraint("sink", name=op.f("pk_lanes")),
    )
    op.create_table(
        "objects",
        sa.Column("id", ID, nullable=False),
        sa.Column("company", ID, nullable=False),
        sa.Column("type", ID, nullable=False, comment="call, text, form, unknown"),
        sa.Column("object_id", ID, nullable=False, comment="CallRail's id"),
        sa.Column("stage", ID, nullable=False),
        sa.Column("outcome", ID, nullable=True),
        sa.Column("outcome_event", ID, nullable=True, comment="events.id of the event that decided the outcome"),
        sa.Column("version", sa.Integer(), nullable=False, comment="how many events were applied"),
        sa.Column("fields", sa.Text(), nullable=False, comment="merged"),
        sa.Column(
            "sources", sa.Text(), nullable=False, comment="per event: its kind and the fields it is the source of"
        ),
        sa.Column("newest", sa.Text(), nullable=False, comment="per kind: the newest event and its sha256"),
        sa.Column("told", sa.Text(), nullable=False, comment="names of the transitions that happen once and did"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objects")),
        sa.UniqueConstraint("company", "type", "object_id", name=op.f("uq_objects_company_type_object_id")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", ID, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("company", ID, nullable=False, comment="as the URL path named it; perhaps no company of ours"),
        sa.Column("kind", ID, nullable=False),
        sa.Column("reason", ID, nullable=False),
        sa.Column(
            "signature", sa.Text(), nullable=True, comment="as given, so that it can be verified once the key is known"
        ),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "reason in ('signature_missing', 'signature_wrong', 'company_unknown', 'company_mismatch')",
            name=op.f("ck_quarantine_reason"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "transitions",
        sa.Column("id", ID, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("company", ID, nullable=False),
        sa.Column("name", ID, nullable=False, comment="like call.missed"),
        sa.Column("n", sa.Integer(), nullable=False, comment="0 for what happens once an object"),
        sa.Column("event_id", ID, nullable=False, comment="events.id of the event that brought it about"),
        sa.Column("occurred_at", INSTANT, nullable=False, comment="the thing's own time"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False, comment="the object's fields at that moment"),
        sa.Column("rules_hash", ID, nullable=True, comment="which rules gave the verdicts"),
        sa.Column(
            "verdicts", sa.Text(), nullable=True, comment="per rule that looks at this transition: fired, or why not"
        ),
        sa.CheckConstraint("state in ('new', 'waiting', 'routed', 'superseded')", name=op.f("ck_transitions_state")),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name=op.f("fk_transitions_object_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
        sa.UniqueConstraint("object_id", "name", "n", name=op.f("uq_transitions_object_id_name_n")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", ID, nullable=False, comment="the idempotency key"),
        sa.Column("transition_id", ID, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("company", ID, nullable=False),
        sa.Column("rule", ID, nullable=False),
        sa.Column("send", ID, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("sink", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("lease_until", INSTANT, nullable=True),
        sa.Column("leased_by", ID, nullable=True, comment="the instance that holds it"),
        sa.Column(
            "fence", sa.Integer(), nullable=False, comment="rises with each claim and shuts out an earlier holder"
        ),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="real tries"),
        sa.Column("remote_id", sa.Text(), nullable=True, comment="what the destination calls it"),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it stands where it stands"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.CheckConstraint(
            "state in ('pending', 'blocked', 'leased', 'sending', 'delivered', 'dead', 'cancelled', 'expired', "
            "'superseded', 'uncertain')",
            name=op.f("ck_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(["transition_id"], ["transitions.id"], name=op.f("fk_deliveries_transition_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("key", name=op.f("uq_deliveries_key")),
    )
    op.create_index(
        "ix_deliveries_leased",
        "deliveries",
        ["lease_until"],
        sqlite_where=sa.text("state IN ('leased', 'sending')"),
        postgresql_where=sa.text("state IN ('leased', 'sending')"),
    )
    op.create_index(
        "ix_deliveries_pending",
        "deliveries",
        ["sink", "due_at", "id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_deliveries_transition_id", "deliveries", ["transition_id"])


def downgrade() -> None:

    op.drop_table("deliveries")
    op.drop_table("transitions")
    op.drop_table("quarantine")
    op.drop_table("objects")
    op.drop_table("lanes")

    op.drop_table("events")

    op.drop_table("attempts")
