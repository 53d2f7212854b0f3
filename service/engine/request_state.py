"""The engine's own view of a request: one job, one state per image (stop 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from service.domain.progress import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.schedules.solvers import SolverTable
    from service.domain.events import Outcome
    from service.domain.identity import Deadline, RequestId
    from service.domain.request import GenerationRequest
    from service.domain.result import DecodedImage
    from service.errors import ServiceError


class BatchKey(NamedTuple):
    """What must agree for two images to share a denoiser call, and nothing more.

    Scheduler, step count, guidance, seed and prompt are per-row values, never part of the key.
    """

    model_id: str
    latent_shape: tuple[int, int, int]

    def __str__(self) -> str:
        """Return a short label for metrics, e.g. `mintmark-emoji-64/4x16x16`."""
        return f"{self.model_id}/{'x'.join(map(str, self.latent_shape))}"


class JobSink(Protocol):
    """Where the one terminal result of a job goes. Called once, on the engine thread."""

    def resolve(self, images: Sequence[DecodedImage]) -> None:
        """Hand over all images of the request."""

    def reject(self, error: ServiceError) -> None:
        """Hand over why there are none."""


@dataclass(slots=True, eq=False)
class Job:
    """One submitted request. Only the engine thread changes it, `cancel_requested` excepted."""

    request_id: RequestId
    request: GenerationRequest
    key: BatchKey
    table: SolverTable
    deadline: Deadline
    sink: JobSink
    submitted_at_s: float
    images: list[DecodedImage | None] = field(init=False)
    cancel_requested: bool = False
    admitted_at_s: float | None = None
    outcome: Outcome | None = None
    steps_done: int = 0

    def __post_init__(self) -> None:
        """Make room for one result per image."""
        self.images = [None] * self.request.num_images

    @property
    def is_guided(self) -> bool:
        """Tell whether classifier-free guidance applies (diffusers: above 1)."""
        return self.request.sampling.guidance_scale > 1

    @property
    def rows_per_image(self) -> int:
        """Return 2 with guidance, which adds an unconditional row; else 1."""
        return 2 if self.is_guided else 1

    @property
    def steps_total(self) -> int:
        """Return the denoising steps of all its images together."""
        return self.table.num_steps * self.request.num_images

    def progress(self, queue_position: int) -> Progress:
        """Return a snapshot for a caller who asks while the job is in the engine."""
        phase = Phase.QUEUED if self.admitted_at_s is None else Phase.RUNNING
        if self.outcome is not None:
            phase = Phase(self.outcome.value)
        return Progress(phase, self.steps_done, self.steps_total, queue_position)


@dataclass(slots=True, eq=False)
class ImageState:
    """One image while it is being denoised; its latents live in slot `slot` of its key's table.

    `prompt_embeds`, `negative_embeds`: native arrays (1, T, D); the latter None without guidance.
    """

    job: Job
    image_index: int
    slot: int
    prompt_embeds: Any
    negative_embeds: Any | None
    step_index: int = 0

    @property
    def seed(self) -> int:
        """Return the seed of this one image."""
        return self.job.request.sampling.seed + self.image_index

    @property
    def key(self) -> BatchKey:
        """Return what it may share a call with."""
        return self.job.key

    @property
    def rows(self) -> int:
        """Return the rows it takes in a denoiser call."""
        return self.job.rows_per_image

    @property
    def is_denoised(self) -> bool:
        """Tell whether every step has been taken."""
        return self.step_index >= self.job.table.num_steps
