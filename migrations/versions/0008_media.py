"""recordings and media of texts that are fetched, and where they are kept

Expands only: what the version before does not know it neither reads nor must fill. Gone back to, it leaves the files
where they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
PENDING = sa.text("state = 'pending'")
FAILED = sa.text("state IN ('refused', 'gone')")


def upgrade() -> None:
    op.create_table(
        "media",
        sa.Column("id", ID, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("company", ID, nullable=False),
        sa.Column("kind", ID, nullable=False, comment="recording or attachment"),
        sa.Column("source", ID, nullable=False, comment="its path at the API, below the account; no link, and no key"),
        sa.Column("state", ID, nullable=False),
        sa.Column("next_attempt_at", INSTANT, comment="when a pending one is tried, or whoever is at it has time"),
        sa.Column("fence", sa.Integer(), nullable=False, server_default="0", comment="rises with each claim"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0", comment="real tries"),
        sa.Column("reason", sa.Text(), comment="why it stands where it stands"),
        sa.Column("path", ID, comment="where the file is"),
        sa.Column("size", sa.Integer(), comment="in bytes"),
        sa.Column("content_type", ID, comment="what the file holds, like audio/mpeg"),
        sa.Column("sha256", sa.LargeBinary()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.CheckConstraint("state in ('pending', 'stored', 'refused', 'gone')", name=op.f("ck_media_state")),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name=op.f("fk_media_object_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
        sa.UniqueConstraint("object_id", "source", name=op.f("uq_media_object_id_source")),
    )
    op.create_index(
        "ix_media_pending", "media", ["next_attempt_at", "id"], sqlite_where=PENDING, postgresql_where=PENDING
    )
    op.create_index("ix_media_failed", "media", ["id", "state"], sqlite_where=FAILED, postgresql_where=FAILED)


def downgrade() -> None:
    op.drop_table("media")
