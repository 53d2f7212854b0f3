"""Answers that replicas share. The old number of the version goes: Alembic tells revisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of answers. Nothing of the outputs changes."""
    op.create_table(
        "answers",
        sa.Column("key_sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("request_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("claim", sa.String(32), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("answers_expiry", "answers", ["expires_at"])
    op.drop_table("schema_version", if_exists=True)
