"""order within a lane, amendments, uncertain sends, and lanes that operators pause and rates fill"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")

COLUMNS: dict[str, tuple[sa.Column[Any], ...]] = {
    "deliveries": (
        sa.Column(
            "order_key",
            ID,
            nullable=True,
            comment="whom it is about: those of one key and sink are sent one after another",
        ),
        sa.Column("amends", ID, nullable=True, comment="deliveries.id of the first message of the same thing"),
        sa.Column("amend", ID, nullable=True, comment="how later news amends the first message: edit, thread, new"),
        sa.Column(
            "blocks",
            sa.Boolean(),
            nullable=False,
            server_default=sa.true(),
            comment="holds back later ones of its order_key",
        ),
        sa.Column(
            "blocks_until", INSTANT, nullable=True, comment="a retried one holds the others back no longer than this"
        ),
        sa.Column(
            "may_repeat",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="an earlier try may have arrived",
        ),
        sa.Column("done", sa.Text(), nullable=True, comment="what earlier tries achieved"),
        sa.Column("cause", ID, nullable=True, comment="the reason's sort, by which dead letters are grouped"),
    ),
    "lanes": (
        sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.false(), comment="an operator has paused it"),
        sa.Column(
            "tokens", sa.Float(), nullable=True, comment="how many may be sent at once; null where it has no rate"
        ),
        sa.Column("tokens_at", INSTANT, nullable=True, comment="when that was so"),
    ),
}
INDEXES = {
    "ix_deliveries_expiring": (["expires_at"], "state IN ('pending', 'blocked') AND expires_at IS NOT NULL"),
    "ix_deliveries_pending_company": (["sink", "company", "due_at", "id"], "state = 'pending'"),
    "ix_deliveries_active": (
        ["sink", "order_key"],
        "state IN ('pending', 'leased', 'sending') AND order_key IS NOT NULL",
    ),
    "ix_deliveries_blocked": (["sink", "order_key", "id"], "state = 'blocked'"),
    "ix_deliveries_blocking": (["blocks_until"], "blocks_until IS NOT NULL"),
    "ix_deliveries_amends": (["amends"], "amends IS NOT NULL"),
}


def upgrade() -> None:
    for table, added in COLUMNS.items():
        for column in added:
            op.add_column(table, column)
    op.drop_index("ix_deliveries_expiring", "deliveries")  # made anew, over the blocked ones too
    for name, (columns, where) in INDEXES.items():
        op.create_index(name, "deliveries", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    # What was in the air when the old version stopped may have arrived.
    op.execute("UPDATE deliveries SET may_repeat = true WHERE state = 'pending' AND reason LIKE 'may repeat%'")
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("objects", "type", comment="call, text, form, assist, unknown")


def downgrade() -> None:
    for name in reversed(INDEXES):
        op.drop_index(name, "deliveries")
    was = sa.text("state = 'pending' AND expires_at IS NOT NULL")
    op.create_index("ix_deliveries_expiring", "deliveries", ["expires_at"], sqlite_where=was, postgresql_where=was)
    for table, added in COLUMNS.items():
        for column in reversed(added):
            op.drop_column(table, column.name)
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("objects", "type", comment="call, text, form, unknown")
