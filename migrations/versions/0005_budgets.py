"""the allowances of accounts at CallRail, shared by all processes

Expands only: what the version before does not know it neither reads nor must fill.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

# Frozen here: a migration must not change when the program's column types do.
ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INSTANT = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("account_id", ID, primary_key=True, comment="at CallRail, as it was given"),
        sa.Column("kind", ID, primary_key=True, comment="requests, texts or outbound calls"),
        sa.Column("hourly", sa.Integer(), nullable=False, comment="allowed in an hour"),
        sa.Column("daily", sa.Integer(), nullable=False, comment="allowed in a day"),
    )
    op.create_table(
        "budget_uses",
        sa.Column("account_id", ID, primary_key=True),
        sa.Column("kind", ID, primary_key=True),
        sa.Column("minute", INSTANT, primary_key=True, comment="in which they were taken"),
        sa.Column("taken", sa.Integer(), nullable=False, comment="requests, those taken ahead among them"),
    )


def downgrade() -> None:
    op.drop_table("budget_uses")
    op.drop_table("budgets")
