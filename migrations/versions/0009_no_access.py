"""what waits because an account takes nothing is found by an index, and so are the files of a company

Expands only: what the version before does not know it neither reads nor must fill.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's constants do.
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


def downgrade() -> None:
    op.drop_index("ix_media_company", "media")
    op.drop_index("ix_deliveries_no_access", "deliveries")
