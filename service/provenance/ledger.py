"""The record of every picture that was handed out, without its prompt (stop 9)."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import URL, create_engine, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from service.errors import ConfigurationError, LedgerFailed
from service.provenance.ledger_schema import FULL_PROFILE, ensure_schema, outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import ColumnElement, Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from service.domain.identity import OutputId, RequestId
    from service.provenance.options import LedgerOptions

# What the output is: made from text, made from another picture, or either of them unfinished.
OutputKind = Literal["created", "altered", "preview"]

_FILE_NAME = "ledger.sqlite3"
_BUSY_TIMEOUT_MS = 5000

logger = logging.getLogger(__name__)


class WatermarkIdTaken(Exception):
    """Another output already carries this watermark id: draw a new one. Never seen by callers."""


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One picture that was handed out. Digests are hexadecimal; `created_at` is in UTC."""

    output_id: OutputId
    request_id: RequestId
    watermark_id: int
    watermark_profile: str
    manifest_id: str
    content_sha256: str
    pixels_sha256: str
    mime_type: str
    width_px: int
    height_px: int
    size_bytes: int
    model_id: str
    model_revision: str
    kind: OutputKind
    seed: int
    created_at: datetime


class Ledger:
    """Append and look up outputs. Thread-safe; several processes may share one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, options: LedgerOptions, state_dir: Path) -> Ledger:
        """Connect and make the tables if there are none.

        Raises ConfigurationError if the database cannot be used or was written by a newer version.
        """
        try:
            if options.url is None:
                state_dir.mkdir(parents=True, exist_ok=True)
                url = URL.create("sqlite", database=str(state_dir / _FILE_NAME))
            else:
                url = make_url(options.url.get_secret_value())
            engine = create_engine(url, pool_pre_ping=True)
        except (ArgumentError, ImportError, OSError) as error:
            raise _unusable(error) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        try:
            ensure_schema(engine)
        except SQLAlchemyError as error:
            engine.dispose()
            raise _unusable(error) from error
        except ConfigurationError:
            engine.dispose()
            raise
        return cls(engine)

    def record(self, output: OutputRecord) -> None:
        """Append one output. Once returned, it survives a crash of this process.

        Raises WatermarkIdTaken if another output has its (full-profile) watermark id, and
        LedgerFailed if it could not be recorded for any other reason.
        """
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(outputs).values(asdict(output)))
        except IntegrityError as error:
            if self._is_taken(output):
                raise WatermarkIdTaken(f"watermark id {output.watermark_id:08x}") from error
            raise _failed(error) from error
        except SQLAlchemyError as error:
            raise _failed(error) from error

    def find_by_output(self, output_id: str) -> OutputRecord | None:
        """Return the output with this id. Raises LedgerFailed."""
        return next(iter(self._find(outputs.c.output_id == output_id)), None)

    def find_by_manifest(self, manifest_id: str) -> OutputRecord | None:
        """Return the output whose active manifest has this id. Raises LedgerFailed."""
        return next(iter(self._find(outputs.c.manifest_id == manifest_id)), None)

    def find_by_watermark(self, watermark_id: int, profile: str) -> tuple[OutputRecord, ...]:
        """Return the outputs with this watermark, newest first: at most one in the full profile.

        Of the short ids of other profiles several outputs may share one; the newest two are
        returned, which is enough to see that it is ambiguous. Raises LedgerFailed.
        """
        condition = (outputs.c.watermark_id == watermark_id) & (
            outputs.c.watermark_profile == profile
        )
        return self._find(condition, limit=2)

    def check(self) -> None:
        """Ask the database for nothing, to see whether it answers. Raises LedgerFailed."""
        with self._connected() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def _find(self, condition: ColumnElement[bool], limit: int = 1) -> tuple[OutputRecord, ...]:
        query = select(outputs).where(condition).order_by(outputs.c.created_at.desc()).limit(limit)
        with self._connected() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(OutputRecord(**row) for row in rows)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _failed(error) from error

    def _is_taken(self, output: OutputRecord) -> bool:
        if output.watermark_profile != FULL_PROFILE:
            return False
        found = self.find_by_watermark(output.watermark_id, output.watermark_profile)
        return any(other.output_id != output.output_id for other in found)


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",  # readers do not wait for the writer
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        "synchronous=NORMAL",  # with WAL: safe against crashes of the process, fast enough
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _failed(error: SQLAlchemyError) -> LedgerFailed:
    # The statement's parameters would be in the message; its class and code say enough.
    logger.error("the ledger failed: %s (%s)", type(error).__name__, error.code)
    return LedgerFailed("The output could not be looked up or recorded.")


def _unusable(error: Exception) -> ConfigurationError:
    # Not the error's text: SQLAlchemy repeats the URL, and with it the password.
    return ConfigurationError(
        f"MINTMARK_LEDGER__URL: the ledger's database cannot be used ({type(error).__name__})."
    )
