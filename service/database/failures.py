"""Says in one sentence why a database cannot be used; never with its password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from service.database.address import SETTING
from service.errors import ConfigurationError

if TYPE_CHECKING:
    from service.database.address import Address

INSUFFICIENT_PRIVILEGE = "42501"
LOCK_NOT_AVAILABLE = "55P03"
READ_ONLY_TRANSACTION = "25006"

# Connecting fails without a SQLSTATE; what the server has said comes after this word. It names
# user or database, never a password.
_SERVER_SAID = re.compile(r"\bFATAL:\s+([^\n]+)")
# What libpq says when no server has said anything, in its own words and in ours.
_REASONS = (
    ("refused", "nobody listens there"),
    ("resolve", "the name of its host is not known"),
    ("timeout", "no answer came in time"),
    ("timed out", "no answer came in time"),
    ("no password supplied", "it asks for a password and the URL has none"),
    ("SSL", "TLS could not be agreed on"),
    ("certificate", "its certificate does not hold"),
    ("invalid connection option", "the URL has a parameter that is none of libpq's"),
    ("closed the connection", "it closed the connection"),
    ("No such file", "there is no such socket"),
)
_BY_STATE = {
    INSUFFICIENT_PRIVILEGE: (
        "the user may not make or read the ledger's tables; grant it, or run "
        "`mintmark ledger migrate` as one who may"
    ),
    LOCK_NOT_AVAILABLE: "another process has been migrating it for too long",
    READ_ONLY_TRANSACTION: "it is read-only",
}
_BY_SQLITE = {
    "SQLITE_CANTOPEN": "the file cannot be opened or made",
    "SQLITE_NOTADB": "the file is no SQLite database",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_READONLY": "the file is read-only",
    "SQLITE_BUSY": "another process has locked the file for too long",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk cannot be read or written",
}


def sqlstate(error: Exception) -> str | None:
    """Return the server's code for what failed, if it has given one."""
    found = getattr(getattr(error, "orig", None), "sqlstate", None)
    return found if isinstance(found, str) else None


def unusable(error: Exception, address: Address) -> ConfigurationError:
    """Return the sentence that stops the start."""
    return ConfigurationError(
        f"{SETTING}: the database {address.shown} cannot be used: {_reason(error)}."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "its driver is missing; install it with: pip install 'mintmark[postgres]'"
    if not isinstance(error, DBAPIError):
        return getattr(error, "strerror", None) or type(error).__name__
    state = sqlstate(error)
    if state is not None:
        return _BY_STATE.get(state, f"it answers with SQLSTATE {state}")
    name = getattr(error.orig, "sqlite_errorname", "")
    if name:
        primary = "_".join(name.split("_")[:2])
        return _BY_SQLITE.get(primary, name)
    text = str(error.orig)
    said = _SERVER_SAID.search(text)
    if said:
        return f"the server says: {said[1].strip().rstrip('.')}"
    known = [ours for theirs, ours in _REASONS if theirs in text]
    return known[0] if known else type(error.orig).__name__
