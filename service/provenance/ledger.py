"""The record of every picture that was handed out, without its prompt (stop 9)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from service.database.database import Database, failed
from service.database.schema import FULL_PROFILE, outputs

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import ColumnElement, Connection

    from service.database.options import LedgerOptions
    from service.domain.identity import OutputId, RequestId

# What the output is: made from text, made from another picture, or either of them unfinished.
OutputKind = Literal["created", "altered", "preview"]


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

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, options: LedgerOptions, state_dir: Path) -> Ledger:
        """Open a ledger with a database of its own. Raises ConfigurationError."""
        return cls(Database.open(options, state_dir))

    def record(self, output: OutputRecord) -> None:
        """Append one output. Once returned, it survives a crash of this process.

        Recording the same output again changes nothing, so that whoever does not know whether it
        has been recorded may ask for it once more. Raises WatermarkIdTaken if another output has
        its (full-profile) watermark id, and LedgerFailed if it could not be recorded for any other
        reason.
        """

        def append(connection: Connection) -> None:
            connection.execute(insert(outputs).values(asdict(output)))

        try:
            self._database.write(append)
        except IntegrityError as error:
            if self.find_by_output(output.output_id) == output:
                return
            if self._is_taken(output):
                raise WatermarkIdTaken(f"watermark id {output.watermark_id:08x}") from error
            raise failed(error) from error

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
        self._database.check()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _find(self, condition: ColumnElement[bool], limit: int = 1) -> tuple[OutputRecord, ...]:
        query = select(outputs).where(condition).order_by(outputs.c.created_at.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(OutputRecord(**row) for row in rows)

    def _is_taken(self, output: OutputRecord) -> bool:
        if output.watermark_profile != FULL_PROFILE:
            return False
        found = self.find_by_watermark(output.watermark_id, output.watermark_profile)
        return any(other.output_id != output.output_id for other in found)
