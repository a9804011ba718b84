"""Numbers of receipts that are set aside, so that none is given twice after a power cut."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("gateway_sessions") as table:
        table.add_column(sa.Column("numbers_to", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("gateway_sessions") as table:
        table.drop_column("numbers_to")
