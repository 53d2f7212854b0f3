"""What an operator can set about logs and traces."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

# Names that gRPC keeps for itself, or for bytes, are none.
_HEADER_NAME = re.compile(r"(?!grpc-)[A-Za-z0-9][A-Za-z0-9._-]*(?<!-bin)", re.IGNORECASE)
_HEADER_VALUE = re.compile(r"[\x20-\x2b\x2d-\x7e]+")  # no comma: it separates


class TelemetryOptions(BaseModel):
    """How the service reports on itself (`MINTMARK_TELEMETRY__…`). Metrics are always on.

    `log_format`: `json` is one object per line, for machines; `text` is for people.
    `access_log`: one line per answered request; probes and scrapes are never logged.
    `log_prompts`: callers' words go into the log. They may be personal data, and whoever reads the
    log reads them: leave it off where you serve others.
    `otlp_endpoint`: URL of an OpenTelemetry collector, as in http://collector:4317; none, and
    nothing is traced. `otlp_protocol`: `grpc` or `http/protobuf`.
    `otlp_headers`: sent with every export, as in `authorization=Bearer abc,x-tenant=7`; secret.
    `trace_sample_ratio`: share of the traces begun here that is kept, 0 to 1; a caller's
    traceparent decides for its own.
    `energy`: whether the energy counters of processor and GPU are read, where there are any.
    `energy_gpu`: which GPU's, by its index or UUID as NVML counts; needed where it sees several.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    access_log: bool = True
    log_prompts: bool = False
    otlp_protocol: Literal["grpc", "http/protobuf"] = "grpc"
    otlp_endpoint: str | None = None
    otlp_headers: SecretStr | None = None
    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    energy: bool = True
    energy_gpu: str | None = Field(default=None, pattern=r"^([0-9]{1,3}|GPU-[0-9a-fA-F-]{1,64})$")

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str | None, info: ValidationInfo) -> str | None:
        if endpoint is None:
            return None
        try:
            url = urlsplit(endpoint)
            has_port = url.port is not None
        except ValueError:
            raise ValueError("must be a URL, as in http://collector:4317.") from None
        is_url = url.scheme in ("http", "https") and url.hostname
        if not is_url or not endpoint.isascii() or any(map(str.isspace, endpoint)):
            raise ValueError("must be a URL, as in http://collector:4317.")
        if url.username is not None or url.query or url.fragment:
            raise ValueError("must have no user, query or fragment; secrets go in OTLP_HEADERS.")
        if info.data.get("otlp_protocol") == "grpc":
            if url.path.strip("/"):
                raise ValueError("must have no path, because OTLP_PROTOCOL is grpc.")
            if not has_port:
                raise ValueError("must have a port, because OTLP_PROTOCOL is grpc.")
        return endpoint

    @field_validator("otlp_headers")
    @classmethod
    def _check_headers(cls, headers: SecretStr | None) -> SecretStr | None:
        if headers is not None:
            _header_pairs(headers.get_secret_value())
        return headers

    @property
    def otlp_header_pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of every export as (name, value)."""
        if self.otlp_headers is None:
            return ()
        return _header_pairs(self.otlp_headers.get_secret_value())


def _header_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Return `name=value,name=value` as pairs. Raises ValueError, which shows no value."""
    pairs = []
    for member in text.split(","):
        name, _, value = (part.strip() for part in member.partition("="))
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("must be name=value pairs, separated by commas.")
        pairs.append((name, value))
    return tuple(pairs)
