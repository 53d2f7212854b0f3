"""The tables as this release knows them. The migrations lead here, and a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
)

# Oldest first; the last one is this release's. Files of these names are in migrations/versions.
REVISIONS = ("0001", "0002")
HEAD = REVISIONS[-1]
# Not Alembic's own name for it: another application in the same database may use that.
REVISION_TABLE = "ledger_revision"

FULL_PROFILE = "sst64"  # the watermark layout whose ids are long enough to be unique


class UtcDateTime(TypeDecorator[datetime]):
    """UTC in the database, aware in Python: SQLite itself forgets the time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return `value` in UTC, without a zone where the database keeps none."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored time as an aware one in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


metadata = MetaData()

outputs = Table(
    "outputs",
    metadata,
    Column("output_id", String(64), primary_key=True),
    Column("request_id", String(64), nullable=False),
    Column("watermark_id", BigInteger, nullable=False),
    Column("watermark_profile", String(32), nullable=False),
    Column("manifest_id", String(255), nullable=False, unique=True),
    Column("content_sha256", String(64), nullable=False),
    Column("pixels_sha256", String(64), nullable=False),
    Column("mime_type", String(32), nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("model_id", String(255), nullable=False),
    Column("model_revision", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Small pictures carry too few bits for their ids to be unique; those are hints, not keys.
_is_full_profile = outputs.c.watermark_profile == FULL_PROFILE
Index(
    "outputs_watermark_unique",
    outputs.c.watermark_id,
    unique=True,
    sqlite_where=_is_full_profile,
    postgresql_where=_is_full_profile,
)
Index("outputs_watermark_lookup", outputs.c.watermark_id, outputs.c.watermark_profile)

# Requests with an Idempotency-Key that a replica carries out or has answered. Used on PostgreSQL.
answers = Table(
    "answers",
    metadata,
    # SHA-256 of caller and key: neither is kept.
    Column("key_sha256", LargeBinary(32), primary_key=True),
    Column("request_sha256", LargeBinary(32), nullable=False),
    # Who carries it out, drawn anew for each attempt.
    Column("claim", String(32), nullable=False),
    Column("content", LargeBinary, nullable=True),  # None until it is answered
    Column("size_bytes", BigInteger, nullable=False),
    # Until when the claim, and later the answer, counts. By the database's clock.
    Column("expires_at", UtcDateTime, nullable=False),
)
Index("answers_expiry", answers.c.expires_at)
