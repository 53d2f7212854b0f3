"""What `mintmark ledger` does: looks at a database without changing it, or migrates it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.database.address import read_address
from service.database.database import opened_engine
from service.database.migrate import check_revision, migrate, read_revision
from service.database.schema import HEAD, outputs

if TYPE_CHECKING:
    from service.database.options import LedgerOptions


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """A database as it is. `revision`: None if there is no ledger in it. `outputs`: recorded."""

    shown: str
    revision: str | None
    outputs: int

    @property
    def is_current(self) -> bool:
        """Tell whether this release can serve with it as it is."""
        return self.revision == HEAD


def ledger_status(options: LedgerOptions, state_dir: Path) -> LedgerStatus:
    """Return what there is, and make nothing.

    Raises ConfigurationError if the database cannot be used or is newer than this release.
    """
    address = read_address(options, state_dir)
    if not address.is_postgresql and not Path(address.shown).exists():
        return LedgerStatus(address.shown, None, 0)
    with opened_engine(options, state_dir) as engine:
        with engine.connect() as connection:
            revision = read_revision(connection)
            check_revision(revision)
            count = 0
            if revision is not None:
                count = connection.execute(select(func.count()).select_from(outputs)).scalar_one()
        engine.dispose()
        return LedgerStatus(address.shown, revision, count)


def migrate_ledger(options: LedgerOptions, state_dir: Path) -> tuple[str | None, str]:
    """Bring the tables up to this release; return the revision before and after.

    Raises ConfigurationError.
    """
    with opened_engine(options, state_dir) as engine:
        revisions = migrate(engine)
        engine.dispose()
        return revisions
