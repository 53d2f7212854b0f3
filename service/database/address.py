"""Which database a URL names, and how to speak of it without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from service.database.options import LedgerOptions

SETTING = "MINTMARK_LEDGER__URL"

_FILE_NAME = "ledger.sqlite3"
_POSTGRESQL = {"postgresql", "postgres", "postgresql+psycopg"}
_SQLITE = {"sqlite", "sqlite+pysqlite"}
_FORMS = "postgresql://user:password@host:5432/database or sqlite:////path/of/the/file"
# Anything else in a scheme may be part of a secret that stands in the wrong place.
_SCHEME = re.compile(r"[a-z][a-z0-9_+.\-]{0,40}")
_HOST = re.compile(r"[A-Za-z0-9_.:\-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A database that can be asked for. `url` holds the password; `shown` is for people."""

    url: URL
    is_postgresql: bool

    @property
    def shown(self) -> str:
        """Return the URL without password and parameters, or the path of an SQLite file."""
        if self.is_postgresql:
            url = self.url
            # Made anew: `URL.set` takes no password away.
            shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database)
            return shown.render_as_string()
        return str(self.url.database)


def read_address(options: LedgerOptions, state_dir: Path) -> Address:
    """Return the database that the options name; by default a file in `state_dir`.

    Touches neither disk nor network. Raises ConfigurationError.
    """
    if options.url is None:
        return Address(URL.create("sqlite", database=str(state_dir / _FILE_NAME)), False)
    try:
        url = make_url(options.url.get_secret_value())
    except (ArgumentError, ValueError):
        # Without its cause, which repeats parts of the URL.
        raise ConfigurationError(f"{SETTING} is no database URL; write {_FORMS}.") from None
    if url.drivername in _SQLITE:
        if url.database in (None, "", ":memory:") or str(url.database).startswith("file:"):
            raise ConfigurationError(f"{SETTING}: SQLite needs a file; write {_FORMS}.")
        return Address(url.set(drivername="sqlite"), False)
    if url.drivername in _POSTGRESQL:
        return Address(_checked_postgresql(url), True)
    named = f" {url.drivername!r}" if _SCHEME.fullmatch(url.drivername) else ""
    raise ConfigurationError(f"{SETTING}: the scheme{named} is not supported; write {_FORMS}.")


def _checked_postgresql(url: URL) -> URL:
    if url.host is not None and not _HOST.fullmatch(url.host):
        raise ConfigurationError(
            f"{SETTING}: the host cannot be read; write '@', ':', '/' and '%' in user and password "
            "percent-encoded."
        )
    if not url.database:
        raise ConfigurationError(f"{SETTING} names no database; write {_FORMS}.")
    return url.set(drivername="postgresql+psycopg")
