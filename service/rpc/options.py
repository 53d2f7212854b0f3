"""Settings of the gRPC transport."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RpcOptions(BaseModel):
    """How gRPC is secured and bounded (`MINTMARK_RPC__…`). Address and port are the server's.

    `certificate_path`, `private_key_path`: PEM, leaf first, and its key; both or neither, and
    neither means plain text. Files that change are read again, without a restart.
    `client_ca_path`: PEM of the authorities whose client certificates are accepted; it goes with
    `require_client_certificate`, which turns everybody else away, health checks included.
    `max_connection_age_s`: after it, clients are asked to connect again, so that they spread over
    new replicas; calls that run are not cut.
    `max_concurrent_calls`: of all clients together, health watches included; beyond it callers get
    RESOURCE_EXHAUSTED. It bounds the memory of requests, each of which may hold an upload.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_path: Path | None = None
    private_key_path: Path | None = None
    client_ca_path: Path | None = None
    require_client_certificate: bool = False
    max_connection_age_s: float = Field(default=1800.0, ge=10, le=86_400)
    max_concurrent_calls: int = Field(default=512, ge=1, le=100_000)

    @property
    def uses_tls(self) -> bool:
        """Tell whether connections are encrypted."""
        return self.certificate_path is not None

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.certificate_path is None) != (self.private_key_path is None):
            raise ValueError(
                "MINTMARK_RPC__CERTIFICATE_PATH and MINTMARK_RPC__PRIVATE_KEY_PATH go together: "
                "set both or neither."
            )
        if (self.client_ca_path is not None) != self.require_client_certificate:
            raise ValueError(
                "MINTMARK_RPC__CLIENT_CA_PATH and MINTMARK_RPC__REQUIRE_CLIENT_CERTIFICATE=true go "
                "together: one has no effect without the other."
            )
        if self.client_ca_path is not None and not self.uses_tls:
            raise ValueError(
                "MINTMARK_RPC__CLIENT_CA_PATH needs MINTMARK_RPC__CERTIFICATE_PATH: without it "
                "connections are not encrypted, and no certificate is exchanged."
            )
        return self
