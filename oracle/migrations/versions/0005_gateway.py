"""Session accounts of the gateway: sessions, calls, API keys and claims."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "gateway_claims",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("rows_json", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("after_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("tx_hash", sa.String(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_gateway_claims_stage", "gateway_claims", ["stage"])
    _sessions()
    _of_sessions()


def _sessions() -> None:
    op.create_table(
        "gateway_sessions",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("class_id", sa.String(), nullable=False),
        sa.Column("deposit", sa.String(), nullable=False),
        sa.Column("claimed", sa.String(), nullable=False),
        sa.Column("close_at", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("authorised", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("charged", sa.String(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.String(), nullable=False),
        sa.Column("owed_ms", sa.BigInteger(), nullable=False),
        sa.Column("owed_units", sa.BigInteger(), nullable=False),
        sa.Column("urgent_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("claim_id", sa.Integer(), nullable=True),
        sa.Column("claim_tries", sa.Integer(), nullable=False),
        sa.Column("claim_after_ms", sa.BigInteger(), nullable=False),
        sa.Column("claim_reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["claim_id"], ["gateway_claims.id"]),
        sa.PrimaryKeyConstraint("session_id"),
    )
    op.create_index("ix_gateway_sessions_claim_id", "gateway_sessions", ["claim_id"])
    op.create_index("ix_gateway_sessions_owed", "gateway_sessions", ["claim_id", "owed_ms"])
    op.create_index("ix_gateway_sessions_closed", "gateway_sessions", ["closed"])


def _of_sessions() -> None:
    op.create_table(
        "gateway_calls",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("call_id", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("voucher", sa.String(), nullable=True),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["gateway_sessions.session_id"]),
        sa.PrimaryKeyConstraint("session_id", "number"),
        sa.UniqueConstraint("call_id"),
    )
    op.create_index("ix_gateway_calls_at_ms", "gateway_calls", ["at_ms"])
    op.create_table(
        "gateway_call_bodies",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "number"),
    )
    op.create_index("ix_gateway_call_bodies_at_ms", "gateway_call_bodies", ["at_ms"])
    op.create_table(
        "gateway_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("cap", sa.String(), nullable=False),
        sa.Column("spent", sa.String(), nullable=False),
        sa.Column("models_json", sa.Text(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("per_minute", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["gateway_sessions.session_id"]),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("secret_hash"),
    )
    op.create_index("ix_gateway_keys_session_id", "gateway_keys", ["session_id"])


def downgrade() -> None:
    """Take back."""
    for name in (
        "gateway_keys",
        "gateway_call_bodies",
        "gateway_calls",
        "gateway_sessions",
        "gateway_claims",
    ):
        op.drop_table(name)
