"""Admissions: which workload of a cluster each job pays for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "admissions",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("system", sa.String(length=16), nullable=False),
        sa.Column("workload", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("admissions")
