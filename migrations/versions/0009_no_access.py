"""what waits because an account takes nothing is found by an index, and so are files; each says how long it is kept

Expands only: what the version before does not know it neither reads nor must fill.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program does.
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
IS_KEPT = sa.text("keep_until IS NOT NULL")
NO_ACCESS = sa.text("cause = 'no access'")


def upgrade() -> None:
    op.create_index(
        "ix_deliveries_no_access",
        "deliveries",
        ["sink", "finished_at"],
        sqlite_where=NO_ACCESS,
        postgresql_where=NO_ACCESS,
    )
    op.create_index("ix_media_company", "media", ["company", "id"])
    op.add_column("media", sa.Column("keep_until", INSTANT, comment="of a stored one, by the setting of then"))
    op.create_index("ix_media_keep_until", "media", ["keep_until"], sqlite_where=IS_KEPT, postgresql_where=IS_KEPT)


def downgrade() -> None:
    op.drop_index("ix_media_keep_until", "media")
    op.drop_column("media", "keep_until")
    op.drop_index("ix_media_company", "media")
    op.drop_index("ix_deliveries_no_access", "deliveries")
