"""leads: who is one person, and what CRMs call them and what they did

Expands only: what the version before does not know it neither reads nor must fill.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
MERGED = sa.text("merged_into IS NOT NULL")
ROOTS = sa.text("merged_into IS NULL")


def upgrade() -> None:
    op.create_table(
        "leads",
        sa.Column("id", ID, nullable=False),
        sa.Column("company", ID, nullable=False),
        sa.Column("first_object", ID, nullable=False, comment="objects.id of the first thing of this person"),
        sa.Column("merged_into", ID, comment="leads.id of whom it proved to be, which may have been merged in turn"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("used_at", INSTANT, nullable=False, comment="when somebody was told of this person last"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads")),
    )
    op.create_index("ix_leads_used_at", "leads", ["used_at"], sqlite_where=ROOTS, postgresql_where=ROOTS)
    op.create_index("ix_leads_merged_into", "leads", ["merged_into"], sqlite_where=MERGED, postgresql_where=MERGED)
    op.create_table(
        "lead_keys",
        sa.Column("company", ID, nullable=False),
        sa.Column("kind", ID, nullable=False, comment="person, phone, email or thread"),
        sa.Column("value", ID, nullable=False),
        sa.Column(
            "lead_id", ID, nullable=False, comment="leads.id of whom it was first told; a merge leaves it as it is"
        ),
        sa.PrimaryKeyConstraint("company", "kind", "value", name=op.f("pk_lead_keys")),
    )
    op.create_index("ix_lead_keys_lead_id", "lead_keys", ["lead_id"])
    op.create_table(
        "lead_merges",
        sa.Column("id", ID, nullable=False),
        sa.Column("lead_id", ID, nullable=False, comment="leads.id of the merged one"),
        sa.Column("into_id", ID, nullable=False, comment="leads.id of whom it proved to be"),
        sa.Column("object_id", ID, nullable=False, comment="objects.id of what told keys of both"),
        sa.Column("merged_at", INSTANT, nullable=False),
        sa.Column("undone_at", INSTANT, comment="when an operator took it back; the two are never merged again"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead_merges")),
    )
    op.create_index("ix_lead_merges_lead_id", "lead_merges", ["lead_id"])
    op.create_index("ix_lead_merges_into_id", "lead_merges", ["into_id"])
    op.create_table(
        "turns",
        sa.Column("sink", ID, nullable=False),
        sa.Column("subject", ID, nullable=False, comment="leads.id, or objects.id where nobody is known"),
        sa.Column("token", ID, nullable=False, comment="of the one turn, and shuts out an earlier holder"),
        sa.Column("lease_until", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("sink", "subject", name=op.f("pk_turns")),
    )
    op.create_table(
        "remote_ids",
        sa.Column("sink", ID, nullable=False),
        sa.Column("subject", ID, nullable=False, comment="leads.id or objects.id"),
        sa.Column("kind", ID, nullable=False, comment="a word of the destination's, like contact"),
        sa.Column(
            "remote_id",
            sa.Text(),
            comment="what the destination calls it; null while nobody knows whether it is there",
        ),
        sa.Column("written", sa.Text(), comment="what was noted of the text written last, as a digest"),
        sa.Column("intended_at", INSTANT, comment="since when there is a creation of which nobody knows the end"),
        sa.PrimaryKeyConstraint("sink", "subject", "kind", name=op.f("pk_remote_ids")),
    )
    op.create_index("ix_remote_ids_subject", "remote_ids", ["subject"])


def downgrade() -> None:
    for table in ("remote_ids", "turns", "lead_merges", "lead_keys", "leads"):
        op.drop_table(table)
