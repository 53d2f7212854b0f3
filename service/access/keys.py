"""API keys: how they are made, what is stored of them, and how a stored set is read.

Only SHA-256 digests are stored. A slow password hash such as bcrypt makes guessing dear where
secrets are guessable; a key here is 256 random bits, which nobody guesses at any speed, and a slow
hash would cost every single call what it is meant to cost an attacker.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import tomllib
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from service.access.caller import Caller, CallerLimits, Scope
from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

# For people and secret scanners who come across one.
KEY_PREFIX = "mm_"
_KEY_BYTES = 32
# Ours have 46 characters. A shorter one is never looked up, whatever digest somebody stored.
MIN_KEY_CHARS = 40
MAX_KEY_CHARS = 256
_MAX_FILE_BYTES = 1024 * 1024

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class KeyEntry(BaseModel):
    """One stored key. Several with one `name` are one caller, who is changing keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    sha256: _Sha256
    scopes: frozenset[Scope] = Field(min_length=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrent_requests: int | None = Field(default=None, ge=1)
    queued_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    expires_at: AwareDatetime | None = None

    def caller(self) -> Caller:
        """Return whom this key stands for."""
        limits = CallerLimits(
            self.requests_per_minute, self.concurrent_requests, self.queued_seconds
        )
        return Caller(self.name, self.scopes, limits)

    def has_expired(self, now: datetime) -> bool:
        """Tell whether the key no longer counts. `now` knows its time zone."""
        return self.expires_at is not None and now >= self.expires_at


class _KeySet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[KeyEntry, ...] = Field(min_length=1)


def new_key() -> str:
    """Return a fresh key: `mm_` and 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest(key: str) -> str:
    """Return what is stored of `key`: its SHA-256 in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def parse_keys(content: bytes, *, is_json: bool) -> Mapping[str, KeyEntry]:
    """Return the stored keys by digest.

    Raises ConfigurationError for what is no such file, and for two entries of one name that
    differ in scopes or limits: then it would depend on the key what its caller has used up.
    """
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"API keys: more than {_MAX_FILE_BYTES} bytes.")
    try:
        text = content.decode("utf-8")
        value: Any = json.loads(text) if is_json else tomllib.loads(text)
        entries = _KeySet.model_validate(value).keys
    except ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(f"API keys: {where}: {problem['msg']}.") from None
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"API keys: not {'JSON' if is_json else 'TOML'}: {exc}.") from None
    return _by_digest(entries)


def _by_digest(entries: Sequence[KeyEntry]) -> Mapping[str, KeyEntry]:
    found: dict[str, KeyEntry] = {}
    callers: dict[str, Caller] = {}
    for entry in entries:
        if entry.sha256 in found:
            raise ConfigurationError(f"API keys: {entry.name}: the same sha256 twice.")
        if callers.setdefault(entry.name, entry.caller()) != entry.caller():
            raise ConfigurationError(
                f"API keys: the entries named {entry.name} differ in scopes or limits."
            )
        found[entry.sha256] = entry
    return found


def to_toml(entry: KeyEntry) -> str:
    """Return `entry` as it stands in a keys file."""
    lines = ["[[keys]]", f'name = "{entry.name}"', f'sha256 = "{entry.sha256}"']
    scopes = ", ".join(f'"{scope}"' for scope in sorted(entry.scopes))
    lines.append(f"scopes = [{scopes}]")
    for limit in ("requests_per_minute", "concurrent_requests", "queued_seconds"):
        value = getattr(entry, limit)
        if value is not None:
            lines.append(f"{limit} = {value}")
    if entry.expires_at is not None:
        lines.append(f"expires_at = {entry.expires_at.isoformat()}")
    return "\n".join(lines) + "\n"
