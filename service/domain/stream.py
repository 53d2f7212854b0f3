"""What a caller who watches a generation is told, in this order, whatever the transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.domain.identity import RequestId
    from service.domain.result import GenerationResult, SignedImage


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request is queued. First, and once.

    `queue_position`: images ahead of it that are not running yet. `estimated_wait_s`: until those
    and the running ones are done, from recent requests.
    """

    request_id: RequestId
    queue_position: int
    estimated_wait_s: float


@dataclass(frozen=True, slots=True)
class StepsTaken:
    """The engine went on. Both count over all images; a slow reader may miss some of these."""

    steps_done: int
    steps_total: int


@dataclass(frozen=True, slots=True)
class PartialImage:
    """What an image looks like by now, marked and signed like every picture.

    `partial_index`: 0, 1, 2, of one image.
    """

    image_index: int
    partial_index: int
    image: SignedImage


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """One image is done."""

    image_index: int
    image: SignedImage


@dataclass(frozen=True, slots=True)
class Completed:
    """All are done. Last, unless the stream ends with a ServiceError."""

    result: GenerationResult


StreamEvent = Accepted | StepsTaken | PartialImage | FinishedImage | Completed
