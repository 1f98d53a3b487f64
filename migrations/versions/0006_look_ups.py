"""transitions that wait for look-ups, the answers that hold for a while, and the calls whose end is not known

Expands only: what the version before does not know it neither reads nor must fill. It routes no transition that waits:
gone back to, it leaves those as they are, and this version takes them up again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
WAITING = sa.text("state = 'waiting'")
OPEN_CALL = sa.text("type = 'call' AND stage IN ('ringing', 'routed')")


def upgrade() -> None:
    op.add_column("transitions", sa.Column("due_at", INSTANT, comment="when a waiting one is looked at next"))
    op.execute("UPDATE transitions SET due_at = created_at WHERE state = 'waiting'")
    op.create_index(
        "ix_transitions_waiting", "transitions", ["due_at", "id"], sqlite_where=WAITING, postgresql_where=WAITING
    )
    op.create_index(
        "ix_transitions_waiting_object",
        "transitions",
        ["object_id", "id"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index("ix_objects_open", "objects", ["created_at"], sqlite_where=OPEN_CALL, postgresql_where=OPEN_CALL)
    op.add_column(
        "budgets",
        sa.Column(
            "paused_until", INSTANT, comment="CallRail refused and did not say until when; nothing is taken before"
        ),
    )
    op.create_table(
        "lookups",
        sa.Column("key", ID, primary_key=True, comment="a hash of what was asked, in which account"),
        sa.Column("name", ID, nullable=False, comment="of the look-up"),
        sa.Column("answer", sa.Text(), comment="its fields; null while it is asked, or if there is none"),
        sa.Column("problem", sa.Text(), comment="why there is no answer"),
        sa.Column(
            "may_pass",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="whether the problem may pass",
        ),
        sa.Column("fetched_at", INSTANT, comment="when it was answered"),
        sa.Column("expires_at", INSTANT, nullable=False, comment="until when it holds, or whoever asks has time"),
    )
    op.create_index("ix_lookups_expires_at", "lookups", ["expires_at"])


def downgrade() -> None:
    op.drop_table("lookups")
    op.drop_column("budgets", "paused_until")
    op.drop_index("ix_objects_open", "objects")
    op.drop_index("ix_transitions_waiting_object", "transitions")
    op.drop_index("ix_transitions_waiting", "transitions")
    op.drop_column("transitions", "due_at")
