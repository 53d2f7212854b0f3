"""Brings a database up to this release's tables, once, whoever else starts at the same time.

Alembic is imported only when there is something to do: a start that finds everything as it should
be asks one question and goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import column, inspect, select, table, text

from service.database.address import SETTING
from service.database.engines import WRITING
from service.database.schema import HEAD, REVISION_TABLE, REVISIONS, outputs
from service.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"

# "mintmark" as a number: the name of the lock under which one process migrates.
_LOCK_KEY = int.from_bytes(b"mintmark", "big")
_LOCK_TIMEOUT_S = 60
_ADOPTED = REVISIONS[0]
_OLD_VERSION_TABLE = "schema_version"  # of the releases before there were revisions
_OLD_VERSION = 1


def read_revision(connection: Connection) -> str | None:
    """Return the revision of a database, known to this release or not; None if it is empty.

    Raises ConfigurationError for tables that are not the ledger's.
    """
    tables = set(inspect(connection).get_table_names())
    if REVISION_TABLE in tables:
        revision: str | None = connection.execute(
            select(column("version_num")).select_from(table(REVISION_TABLE))
        ).scalar()
        return revision
    return _ADOPTED if _is_unversioned_ledger(connection, tables) else None


def check_revision(revision: str | None) -> None:
    """Raise ConfigurationError unless `revision` is one that can be brought up to this release."""
    if revision is not None and revision not in REVISIONS:
        raise ConfigurationError(
            f"{SETTING}: the ledger's database has the schema revision {revision}, which this "
            f"release, of {HEAD}, does not know: run the release that wrote it, or name another "
            "database."
        )


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Bring a database to this release's revision; return the one it had and the one it has.

    All or nothing, in one transaction, under a lock. Raises ConfigurationError if the database is
    newer or not ours, SQLAlchemyError if it cannot be used.
    """
    with engine.connect() as connection:
        before = read_revision(connection)
    check_revision(before)
    if before == HEAD:
        return before, HEAD
    with engine.execution_options(**WRITING).begin() as connection:
        _lock(connection)
        before = read_revision(connection)  # again: another process may have been first
        check_revision(before)
        _run(connection, before)
    return before, HEAD


def _lock(connection: Connection) -> None:
    """Wait until no other process migrates. SQLite's transaction has begun with its one lock."""
    if connection.dialect.name == "postgresql":
        # Other processes' migrations may take longer than a statement may.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})


def _run(connection: Connection, before: str | None) -> None:
    from alembic import command  # noqa: PLC0415 - see the module's docstring
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if before is not None and not inspect(connection).has_table(REVISION_TABLE):
        command.stamp(config, before)
    command.upgrade(config, HEAD)


def _is_unversioned_ledger(connection: Connection, tables: set[str]) -> bool:
    """Tell whether a release without revisions made this. Raises ConfigurationError if unsure."""
    if outputs.name not in tables:
        return False
    found = {str(each["name"]) for each in inspect(connection).get_columns(outputs.name)}
    version: int | None = _OLD_VERSION
    if _OLD_VERSION_TABLE in tables:
        version = connection.execute(
            select(column("version")).select_from(table(_OLD_VERSION_TABLE))
        ).scalar()
    if found != set(outputs.c.keys()) or version not in (_OLD_VERSION, None):
        raise ConfigurationError(
            f"{SETTING}: the database has a table '{outputs.name}' that no release of Mintmark has "
            "made: name another database."
        )
    return True
