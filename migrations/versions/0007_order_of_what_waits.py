"""what waits holds back what comes later of the same person; what we changed at CallRail ourselves

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
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
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
    op.create_table(
        "own_writes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("company", ID, nullable=False),
        sa.Column("type", ID, nullable=False),
        sa.Column("object_id", ID, nullable=False, comment="CallRail's id"),
        sa.Column("written", sa.Text(), nullable=False, comment="what we wrote, by the names that webhooks give it"),
        sa.Column("written_at", INSTANT, nullable=False),
    )
    op.create_index("ix_own_writes_object_id", "own_writes", ["object_id"])
    op.create_index("ix_own_writes_written_at", "own_writes", ["written_at"])


def downgrade() -> None:
    op.drop_table("own_writes")
    op.drop_index("ix_transitions_waiting_order", "transitions")
    op.drop_column("transitions", "order_key")
