"""The ledger's tables, and how a database comes to have them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Engine

FULL_PROFILE = "sst64"  # the watermark layout whose ids are long enough to be unique
SCHEMA_VERSION = 1


class _UtcDateTime(TypeDecorator[datetime]):
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


_metadata = MetaData()

_schema_version = Table(
    "schema_version",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)

outputs = Table(
    "outputs",
    _metadata,
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
    Column("created_at", _UtcDateTime, nullable=False),
)

# Small pictures carry too few bits for their ids to be unique; those are hints, not keys.
_is_full_profile = outputs.c.watermark_profile == FULL_PROFILE
_unique_watermark = Index(
    "outputs_watermark_unique",
    outputs.c.watermark_id,
    unique=True,
    sqlite_where=_is_full_profile,
    postgresql_where=_is_full_profile,
)
_watermark_lookup = Index(
    "outputs_watermark_lookup", outputs.c.watermark_id, outputs.c.watermark_profile
)


def ensure_schema(engine: Engine) -> None:
    """Make the tables and indexes that are missing.

    Raises ConfigurationError if the database has another schema version, SQLAlchemyError if it
    cannot be used.
    """
    # IF NOT EXISTS rather than a look first: several processes may start at once.
    with engine.begin() as connection:
        connection.execute(CreateTable(_schema_version, if_not_exists=True))
        connection.execute(CreateTable(outputs, if_not_exists=True))
        for index in (_unique_watermark, _watermark_lookup):
            connection.execute(CreateIndex(index, if_not_exists=True))
    # The first release: nothing to migrate from yet. A later one raises SCHEMA_VERSION and, here,
    # walks an older database up; the number is there so that it can.
    version = _stored_version(engine)
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"The ledger's database has schema version {version}, this release knows "
            f"{SCHEMA_VERSION}: run the release that wrote it, or set MINTMARK_LEDGER__URL to "
            "another database."
        )


def _stored_version(engine: Engine) -> int:
    stored = select(_schema_version.c.version).where(_schema_version.c.id == 1)
    with engine.connect() as connection:
        version: int | None = connection.execute(stored).scalar()
    if version is not None:
        return version
    try:
        with engine.begin() as connection:
            connection.execute(insert(_schema_version).values(id=1, version=SCHEMA_VERSION))
    except IntegrityError:  # another process was first, perhaps of another release
        with engine.connect() as connection:
            return int(connection.execute(stored).scalar_one())
    return SCHEMA_VERSION
