"""Sealed votes of watchers, proofs against those that equivocate, and the GPU time they have co-signed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("refusals") as table:
        table.add_column(sa.Column("statement", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("reviews") as table:
        table.add_column(sa.Column("checks", sa.Text(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("claims", sa.Text(), nullable=False, server_default="[]"))
    op.create_table(
        "gpu_claims",
        sa.Column("gpu", sa.String(length=128), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("share_ppm", sa.Integer(), nullable=False),
        sa.Column("first_mj", sa.BigInteger(), nullable=True),
        sa.Column("last_mj", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gpu", "job_id"),
    )
    op.create_table(
        "ballots",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("watcher_set", sa.BigInteger(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("seal", sa.String(), nullable=False),
        sa.Column("commitment_signature", sa.String(), nullable=False),
        sa.Column("reveal_signature", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revealed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "evidence"),
    )
    op.create_index("ix_ballots_at_ms", "ballots", ["at_ms"])
    op.create_table(
        "seen_commitments",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("watcher", sa.String(length=42), nullable=False),
        sa.Column("seal", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "evidence", "watcher"),
    )
    op.create_table(
        "equivocations",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("watcher", sa.String(length=42), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "evidence", "watcher"),
    )
    op.create_index("ix_equivocations_at_ms", "equivocations", ["at_ms"])


def downgrade() -> None:
    """Take back."""
    for name in ("equivocations", "seen_commitments", "ballots", "gpu_claims"):
        op.drop_table(name)
    with op.batch_alter_table("reviews") as table:
        table.drop_column("claims")
        table.drop_column("checks")
    with op.batch_alter_table("refusals") as table:
        table.drop_column("statement")
