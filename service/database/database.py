"""A database that is ready for use: checked, migrated, and whose failures have one type."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from service.database.address import SETTING, read_address
from service.database.engines import WRITING, build_engine
from service.database.failures import sqlstate, unusable
from service.database.migrate import check_revision, migrate, read_revision
from service.database.schema import HEAD, answers, outputs
from service.errors import ConfigurationError, LedgerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from service.database.address import Address
    from service.database.options import LedgerOptions

T = TypeVar("T")

_ATTEMPTS = 2
# On one line, so that the server is asked once: may we do what we are going to do?
_MAY_WRITE = text(
    "SELECT current_setting('transaction_read_only') = 'off', "
    "has_table_privilege(:outputs, 'SELECT') AND has_table_privilege(:outputs, 'INSERT') "
    "AND has_table_privilege(:answers, 'SELECT') AND has_table_privilege(:answers, 'INSERT') "
    "AND has_table_privilege(:answers, 'UPDATE') AND has_table_privilege(:answers, 'DELETE')"
).bindparams(outputs=outputs.name, answers=answers.name)

logger = logging.getLogger(__name__)


class Database:
    """A pool of connections. Thread-safe; several processes may share one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**WRITING)

    @classmethod
    def open(cls, options: LedgerOptions, state_dir: Path) -> Database:
        """Connect, and bring the tables up to date unless the options leave that to others.

        Raises ConfigurationError with one sentence if the database cannot be used, is newer than
        this release, or is older and must not be migrated here.
        """
        with opened_engine(options, state_dir) as engine:
            _prepare(engine, migrates=options.migrate_at_start)
            return cls(engine)

    @property
    def is_shared(self) -> bool:
        """Tell whether other machines may use it too."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a connection. Raises LedgerFailed for whatever goes wrong with it."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise failed(error) from error

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction and return what it returns.

        `work` is done once more on a new connection if the first one was lost, perhaps after it
        was committed: it must be right to do it twice. Raises IntegrityError as it is, and
        LedgerFailed for everything else; then nothing is known to be written.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._writing.begin() as connection:
                    return work(connection)
            except IntegrityError:
                raise
            except DBAPIError as error:
                if attempt == _ATTEMPTS or not error.connection_invalidated:
                    raise failed(error) from error
                logger.warning("the connection to the ledger was lost; trying another")
            except SQLAlchemyError as error:
                raise failed(error) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def check(self) -> None:
        """Ask the database for nothing, to see whether it answers. Raises LedgerFailed."""
        with self.reading() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


@contextmanager
def opened_engine(options: LedgerOptions, state_dir: Path) -> Iterator[Engine]:
    """Lend a pool; dispose of it if the block fails, with the sentence that says why.

    Raises ConfigurationError.
    """
    address = read_address(options, state_dir)
    engine = _engine(address, options, state_dir)
    try:
        yield engine
    except SQLAlchemyError as error:
        engine.dispose()
        raise unusable(error, address) from error
    except BaseException:
        engine.dispose()
        raise


def failed(error: SQLAlchemyError) -> LedgerFailed:
    """Return the error for callers, and log what operators need: never values, never the URL."""
    kind = type(getattr(error, "orig", None) or error).__name__
    logger.error("the ledger failed: %s (SQLSTATE %s)", kind, sqlstate(error) or "none")
    return LedgerFailed("The output could not be looked up or recorded.")


def _engine(address: Address, options: LedgerOptions, state_dir: Path) -> Engine:
    try:
        if options.url is None:
            state_dir.mkdir(parents=True, exist_ok=True)
        return build_engine(address, options)
    except (ImportError, OSError) as error:
        raise unusable(error, address) from error


def _prepare(engine: Engine, *, migrates: bool) -> None:
    if migrates:
        migrate(engine)
    with engine.connect() as connection:
        revision = read_revision(connection)
        check_revision(revision)
        if revision != HEAD:
            raise ConfigurationError(
                f"{SETTING}: the ledger's database has the schema revision {revision or 'none'}, "
                f"this release needs {HEAD}, and MINTMARK_LEDGER__MIGRATE_AT_START is false: run "
                "`mintmark ledger migrate`."
            )
        if engine.dialect.name == "postgresql":
            _check_writable(connection)


def _check_writable(connection: Connection) -> None:
    is_writable, is_granted = connection.execute(_MAY_WRITE).one()
    if not is_writable:
        raise ConfigurationError(f"{SETTING}: the ledger's database is read-only.")
    if not is_granted:
        raise ConfigurationError(
            f"{SETTING}: the user lacks rights on the ledger's tables: SELECT and INSERT on "
            f"{outputs.name}, SELECT, INSERT, UPDATE and DELETE on {answers.name}."
        )
