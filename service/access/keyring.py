"""The keys that count right now, read again while the server runs."""

from __future__ import annotations

import hmac
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.access.keys import (
    MAX_KEY_CHARS,
    MIN_KEY_CHARS,
    KeyEntry,
    digest,
    parse_keys,
)
from service.errors import ConfigurationError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from service.access.caller import Caller

logger = logging.getLogger(__name__)

_BEARER = "bearer"

# Which version of a file: replaced, rewritten or swapped by a secret mount, one of these changes.
_FileVersion = tuple[int, int, int]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KeyRing:
    """Finds the caller of a key. Used from the event loop.

    `now`: the time of day, for expiry.
    """

    def __init__(
        self, entries: Mapping[str, KeyEntry], now: Callable[[], datetime] = _utc_now
    ) -> None:
        self._entries = entries
        self._now = now

    def authenticate(self, authorization: str | None) -> Caller:
        """Return the caller named by an `Authorization` header's value.

        Raises Unauthenticated if there is no key in it, or none that counts.
        """
        if authorization is None:
            raise Unauthenticated("An API key is required: 'Authorization: Bearer <key>'.")
        scheme, _, key = authorization.strip().partition(" ")
        if scheme.lower() != _BEARER or not key.strip():
            raise Unauthenticated("The Authorization header must be 'Bearer <key>'.")
        entry = self._find(key.strip())
        if entry is None:
            raise Unauthenticated("This API key is not known.")
        if entry.has_expired(self._now()):
            raise Unauthenticated("This API key has expired.")
        return entry.caller()

    def _find(self, key: str) -> KeyEntry | None:
        # A dict lookup takes time that depends on the digest, not on the key. Whoever times it
        # learns at best how a stored digest begins, and cannot make a key to a digest. The
        # comparison that decides takes the same time for every digest.
        if not MIN_KEY_CHARS <= len(key) <= MAX_KEY_CHARS:
            return None
        offered = digest(key)
        entry = self._entries.get(offered)
        if entry is None or not hmac.compare_digest(entry.sha256, offered):
            return None
        return entry


class KeyFile(KeyRing):
    """A key ring that follows a file.

    The file is looked at when a key is used, at most every `reload_s` seconds, so that a revoked
    key ends within that time. A new file counts as a whole or not at all: one that cannot be read
    leaves the keys as they are and is logged once. `clock`: monotonic seconds.

    Reading blocks the event loop for a small file, once per change; a secret mount is memory.
    """

    def __init__(
        self,
        path: Path,
        reload_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Read the file; raises ConfigurationError if it cannot be used."""
        self._path = path
        self._reload_s = reload_s
        self._clock = clock
        self._version = _version(path)
        self._looked_at_s = clock()
        super().__init__(read_key_file(path), now)

    def authenticate(self, authorization: str | None) -> Caller:
        """Return the caller, by the file as it is now; raises Unauthenticated."""
        self._follow()
        return super().authenticate(authorization)

    def _follow(self) -> None:
        now_s = self._clock()
        if now_s - self._looked_at_s < self._reload_s:
            return
        self._looked_at_s = now_s
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._entries = read_key_file(self._path)
        except ConfigurationError as error:
            logger.error("the API keys stay as they were: %s", error)  # noqa: TRY400 - a sentence
        else:
            logger.info("API keys read again", extra={"keys": len(self._entries)})


def read_key_file(path: Path) -> Mapping[str, KeyEntry]:
    """Return the keys stored in `path`, by digest; raises ConfigurationError."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"API keys: {path} cannot be read: {exc.strerror}.") from exc
    return parse_keys(content, is_json=path.suffix.lower() == ".json")


def _version(path: Path) -> _FileVersion | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
