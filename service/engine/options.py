"""Settings of the engine."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EngineOptions(BaseModel):
    """How much work is batched and how much may wait.

    `max_batch_rows`: rows of one denoiser call; a guided image takes two rows. More rows make a row
    cheaper until the device is full; a GPU wants more than the default.
    `max_queued_images`: images accepted but not yet running; beyond it callers get 503.
    `request_timeout_s`: from arrival to the signed picture; beyond it callers get 504.
    `pin_batch_rows`: pad every denoiser call to `max_batch_rows`. Bit-identical results on runners
    whose kernels depend on the batch size, at the price of the full batch's time.
    `stuck_after_s`: how long the engine may be in one call of the model before `/livez` fails. None
    allows 50 times the slowest shape's step, as measured lately, and 60 seconds at least.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_rows: int = Field(default=16, ge=2, le=1024)
    max_queued_images: int = Field(default=256, ge=1, le=100_000)
    request_timeout_s: float = Field(default=300.0, gt=0, le=3600)
    pin_batch_rows: bool = False
    stuck_after_s: float | None = Field(default=None, gt=0, le=86_400)
