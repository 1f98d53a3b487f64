"""what waits for look-ups holds back what comes later of the same person, not of the same object alone

Expands only: what the version before does not know it neither reads nor must fill.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    op.add_column("transitions", sa.Column("order_key", ID, comment="of a waiting one: whom it is about"))
    op.create_index(
        "ix_transitions_waiting_order",
        "transitions",
        ["order_key", "id"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )


def downgrade() -> None:
    op.drop_index("ix_transitions_waiting_order", "transitions")
    op.drop_column("transitions", "order_key")
