"""Links that only we can make and that end by themselves."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from typing import TYPE_CHECKING

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

FILES_PATH = "/v1/images/files"
_PURPOSE = b"mintmark picture link 1"
_KEY_FILE = "picture-link.key"
_KEY_BYTES = 32
_MAX_KEY_BYTES = 4096
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


class LinkSigner:
    """Signs a file's name together with when its link ends, by HMAC-SHA-256."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def path(self, name: str, expires_at_s: int) -> str:
        """Return the path and query of a link to `name` that works until `expires_at_s`."""
        signature = self._signature(name, str(expires_at_s))
        return f"{FILES_PATH}/{name}?expires={expires_at_s}&signature={signature}"

    def expiry(self, name: str, expires: str, signature: str) -> int | None:
        """Return when a link ends, Unix seconds; None unless we made it. In constant time."""
        wanted = self._signature(name, expires)
        is_ours = hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace"))
        return int(expires) if is_ours and _EXPIRES.fullmatch(expires) else None

    def _signature(self, name: str, expires: str) -> str:
        # None of the three can hold a line break where it matters: names and numbers are checked.
        message = b"\n".join(
            [_PURPOSE, *(part.encode("utf-8", "replace") for part in (name, expires))]
        )
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def load_link_key(path: Path | None, state_dir: Path) -> bytes:
    """Return the key that links are signed with; make it if none is configured and none is there.

    Raises ConfigurationError if it cannot be read or made, or is shorter than 32 bytes.
    """
    own = state_dir / _KEY_FILE
    try:
        if path is None:
            _make_key(own)
        with (path or own).open("rb") as file:
            key = file.read(_MAX_KEY_BYTES).strip()
    except OSError as exc:
        raise ConfigurationError(
            f"The key of picture links, {path or own}, cannot be read or made: {exc.strerror}."
        ) from exc
    if len(key) < _KEY_BYTES:
        raise ConfigurationError(
            f"The key of picture links, {path or own}, is shorter than {_KEY_BYTES} bytes."
        )
    return key


def _make_key(path: Path) -> None:
    """Create the key file, complete and readable by its owner only, unless there is one."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_KEY_BYTES).encode("ascii"))
        os.link(draft, path)  # fails, instead of replacing, if another process was faster
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
