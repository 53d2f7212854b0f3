"""Makes the connection pools, with what each kind of database needs to be safe and bounded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from service.database.failures import READ_ONLY_TRANSACTION

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from service.database.address import Address
    from service.database.options import LedgerOptions

# An execution option: how a transaction begins on SQLite.
BEGIN = "mintmark_begin"
WRITING = {BEGIN: "BEGIN IMMEDIATE"}

_BUSY_TIMEOUT_MS = 5000
_MOUNTS = Path("/proc/self/mounts")
_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "fuse.glusterfs"}

logger = logging.getLogger(__name__)


class LedgerFileReplaced(SQLAlchemyError):
    """The file at the ledger's path is not the one that was opened, or there is none."""


def build_engine(address: Address, options: LedgerOptions) -> Engine:
    """Return a pool of no connections yet. Raises ImportError if there is no driver."""
    return _postgresql(address, options) if address.is_postgresql else _sqlite(address)


def _postgresql(address: Address, options: LedgerOptions) -> Engine:
    timeout_ms = options.statement_timeout_s * 1000
    defaults: dict[str, Any] = {
        "connect_timeout": options.connect_timeout_s,
        "application_name": "mintmark",
        # A server that is gone without a word is noticed in about a minute when idle, and within
        # the statement's time when something was sent to it.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": timeout_ms,
        # A pooler in front of the server may hand each transaction to another session.
        "prepare_threshold": None,
    }
    engine = create_engine(
        address.url,
        pool_pre_ping=True,
        pool_size=options.pool_size,
        max_overflow=0,
        pool_timeout=options.statement_timeout_s,
        connect_args={k: v for k, v in defaults.items() if k not in address.url.query},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def bound_statements(connection: Any, _: ConnectionPoolEntry) -> None:
        # Not a startup parameter: poolers refuse those.
        connection.autocommit = True
        connection.execute(f"SET statement_timeout = {timeout_ms}")
        connection.autocommit = False

    @event.listens_for(engine, "handle_error")
    def leave_standby(context: ExceptionContext) -> None:
        # After a failover the pool may hold sessions of what is a standby now.
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_TRANSACTION:
            context.is_disconnect = True

    return engine


def _sqlite(address: Address) -> Engine:
    path = Path(address.shown)
    _warn_of_network(path)
    engine = create_engine(address.url, pool_pre_ping=True, hide_parameters=True)
    same_file = _SameFile(path)
    event.listen(engine, "do_connect", same_file.check_opened)
    event.listen(engine, "checkout", same_file.check)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


class _SameFile:
    """Refuses connections once the file was removed or replaced.

    Whoever has it open could go on writing to it, and every row would be lost with the process.
    Another file is not opened in its place: two of one name would share a write-ahead log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None

    def check_opened(self, *_: object) -> None:
        """Do as `check`, but let the first connection make the file."""
        if self._opened is not None:
            self.check()

    def check(self, *_: object) -> None:
        """Raise LedgerFileReplaced unless the path still leads to the file of the first call."""
        try:
            stat = self._path.stat()
        except OSError as error:
            raise LedgerFileReplaced(f"{self._path} is gone") from error
        found = (stat.st_dev, stat.st_ino)
        if self._opened is None:
            self._opened = found
        if found != self._opened:
            raise LedgerFileReplaced(f"{self._path} is another file than at the start")


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The library would begin no transaction before reading or changing tables. We do, always.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",  # readers do not wait for the writer
        "foreign_keys=ON",
        "synchronous=NORMAL",  # with WAL: safe against crashes of the process, fast enough
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))


def _warn_of_network(path: Path) -> None:
    """Say so if the file is not on a disk of this machine: two machines would damage it."""
    kind = file_system_of(path.absolute(), _mounts())
    if kind in _NETWORK_FILE_SYSTEMS:
        logger.warning(
            "the ledger is an SQLite file on a network file system (%s); a second machine that "
            "opens it would damage it. Use PostgreSQL: MINTMARK_LEDGER__URL",
            kind,
        )


def _mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return ""


def file_system_of(path: Path, mounts: str) -> str | None:
    """Return the kind of file system below `path`. `mounts`: as in /proc/self/mounts."""
    found: dict[Path, str] = {}
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split()
        # Spaces and the like are written as octal numbers.
        found[Path(where.encode().decode("unicode_escape"))] = kind
    return next((found[folder] for folder in (path, *path.parents) if folder in found), None)
