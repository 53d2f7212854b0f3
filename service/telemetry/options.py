"""What an operator can set about logs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class TelemetryOptions(BaseModel):
    """How the service reports on itself (`MINTMARK_TELEMETRY__…`). Metrics are always on.

    `log_format`: `json` is one object per line, for machines; `text` is for people.
    `access_log`: one line per answered request; probes and scrapes are never logged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    access_log: bool = True
