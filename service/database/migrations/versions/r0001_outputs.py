"""The ledger of the releases that had no revisions yet; such a database is adopted here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the outputs and the number that versions were told by."""
    op.create_table(
        "outputs",
        sa.Column("output_id", sa.String(64), primary_key=True),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("watermark_id", sa.BigInteger, nullable=False),
        sa.Column("watermark_profile", sa.String(32), nullable=False),
        sa.Column("manifest_id", sa.String(255), nullable=False, unique=True),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("pixels_sha256", sa.String(64), nullable=False),
        sa.Column("mime_type", sa.String(32), nullable=False),
        sa.Column("width_px", sa.Integer, nullable=False),
        sa.Column("height_px", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("model_id", sa.String(255), nullable=False),
        sa.Column("model_revision", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    full_profile = sa.text("watermark_profile = 'sst64'")
    op.create_index(
        "outputs_watermark_unique",
        "outputs",
        ["watermark_id"],
        unique=True,
        sqlite_where=full_profile,
        postgresql_where=full_profile,
    )
    op.create_index("outputs_watermark_lookup", "outputs", ["watermark_id", "watermark_profile"])
    op.create_table(
        "schema_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
