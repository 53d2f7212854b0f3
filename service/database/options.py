"""What an operator can set about the database."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class LedgerOptions(BaseModel):
    """Where outputs are recorded and replicas meet (`MINTMARK_LEDGER__…`); see ledger.md.

    `url`: postgresql://user:password@host:5432/database, or sqlite:////path/of/the/file; it may
    hold a password, so it is never shown. None means an SQLite file in the state directory, which
    serves one machine.
    `migrate_at_start`: bring an older or empty database up to this release when the server starts;
    if not, such a database is refused until `mintmark ledger migrate` has run.
    `pool_size`: connections that one process holds at most. PostgreSQL only, as the next two.
    `connect_timeout_s`: how long to try for a connection.
    `statement_timeout_s`: how long one statement, or the wait for a free connection, may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr | None = None
    migrate_at_start: bool = True
    pool_size: int = Field(default=5, ge=1, le=100)
    # libpq itself takes 1 for 2.
    connect_timeout_s: int = Field(default=5, ge=2, le=60)
    statement_timeout_s: int = Field(default=10, ge=1, le=300)
