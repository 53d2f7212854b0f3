"""What the engine reports while it works, and to whom.

The engine knows only this protocol; telemetry implements it, so neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

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
class Encoded:
    """The engine has prepared one input of an image: its prompts, or the picture it starts from.

    Prompts that were encoded lately are remembered and take no time.
    """

    what: Literal["prompt", "picture"]
    encode_s: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """One denoiser call over the batch finished. `rows` counts guidance rows as well.

    `size_px`: (width, height) of all its pictures. `shares`: how many of the rows are whose.
    """

    batch_key: str
    rows: int
    images: int
    step_s: float
    model_id: str
    size_px: tuple[int, int]
    shares: tuple[tuple[RequestId, int], ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """`images` latents of one request became pixels in one call of the decoder."""

    images: int
    decode_s: float
    request_id: RequestId


@dataclass(frozen=True, slots=True)
class Finished:
    """The request left the engine, for the one and only time, and holds nothing any more.

    `has_started`: whether any of its images had joined the running batch. `cancel_s`: from the call
    that cancelled it until now; None if nobody did.
    """

    request_id: RequestId
    outcome: Outcome
    total_s: float
    has_started: bool
    cancel_s: float | None = None


@dataclass(frozen=True, slots=True)
class Woke:
    """The engine goes on after it had nothing to do."""


@dataclass(frozen=True, slots=True)
class Worked:
    """One turn of the engine's loop is over, in which there was something to do."""

    busy_s: float


EngineEvent = Queued | Admitted | Encoded | StepDone | Decoded | Finished | Woke | Worked


class Observer(Protocol):
    """Whoever listens.

    `on_event` is called on the engine thread (or the submitter's); it must not block or raise.
    """

    def on_event(self, event: EngineEvent) -> None:
        """Take note of one event."""
