"""What an operator can set about callers."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class AccessOptions(BaseModel):
    """Who may call, and how long finished answers are kept for retries (`MINTMARK_ACCESS__…`).

    `keys_file`: TOML or JSON (by its suffix) with the hashes of the API keys, read again when it
    changes; see access.md. None and no `keys` means that everybody may call.
    `keys`: the same, as JSON in the variable itself; read once. Not both.
    `reload_s`: how often, at most, the file is looked at.
    `allow_open`: serve an address that other machines can reach without any keys.
    `idempotency_ttl_s`: how long the answer to a request with an `Idempotency-Key` is kept.
    `idempotency_max_bytes`: what those answers may take up in memory; the least recently used
    ones go first. 0 keeps none, so that a retry generates again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys_file: Path | None = None
    keys: SecretStr | None = None
    reload_s: float = Field(default=5.0, ge=0.1, le=3600)
    allow_open: bool = False
    idempotency_ttl_s: float = Field(default=600.0, ge=1, le=86_400)
    idempotency_max_bytes: int = Field(default=128 * 1024 * 1024, ge=0)
