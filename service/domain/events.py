"""What the engine reports while it works, and to whom.

The engine knows only this protocol; telemetry implements it, so neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from service.domain.identity import RequestId


class Outcome(StrEnum):
    """The one terminal state each submitted request reaches."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Queued:
    """The request was accepted into the bounded queue (or refused: then nothing is reported)."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class Admitted:
    """The first image of the request has joined the running batch."""

    request_id: RequestId
    queued_s: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """One denoiser call over the batch finished. `rows` counts guidance rows as well."""

    batch_key: str
    rows: int
    images: int
    step_s: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """`images` latents became pixels in one call of the decoder."""

    images: int
    decode_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The request left the engine, for the one and only time."""

    request_id: RequestId
    outcome: Outcome
    total_s: float


EngineEvent = Queued | Admitted | StepDone | Decoded | Finished


class Observer(Protocol):
    """Whoever listens.

    `on_event` is called on the engine thread (or the submitter's); it must not block or raise.
    """

    def on_event(self, event: EngineEvent) -> None:
        """Take note of one event."""
