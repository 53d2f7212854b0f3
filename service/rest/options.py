"""What an operator can set about answers over HTTP."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RestOptions(BaseModel):
    """How long answers may take to be read, and what uploads may take (`MINTMARK_REST__…`).

    - `keepalive_s`: a stream without an event for so long gets a comment line, so that proxies
    keep the connection; below the idle limit of whatever stands in front.
    - `write_stall_s`: a client that takes nothing of a stream for so long is taken to have left.
    - `max_held_upload_bytes`: what the uploads of all edits under way may take together; beyond it
    callers get 503.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keepalive_s: float = Field(default=15.0, ge=0.05, le=300)
    write_stall_s: float = Field(default=60.0, ge=0.05, le=3600)
    max_held_upload_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
